//! The printed table: rows of figures, medians over rounds.

/// Figures under one heading each, by work and subject.
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

/// The figures of one work at one subject; `None` where a column does not apply.
pub(crate) struct Row {
    work: String,
    subject: &'static str,
    figures: Vec<Option<f64>>,
}

impl Row {
    /// Figures that were measured once.
    pub(crate) fn once(work: &str, subject: &'static str, figures: Vec<Option<f64>>) -> Row {
        Row {
            work: work.to_owned(),
            subject,
            figures,
        }
    }

    /// The median of each figure over rounds, of which there is at least one.
    pub(crate) fn median(work: &str, subject: &'static str, rounds: &[Vec<Option<f64>>]) -> Row {
        let figures = (0..rounds[0].len())
            .map(|column| {
                let mut values: Vec<f64> =
                    rounds.iter().filter_map(|round| round[column]).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied()
            })
            .collect();
        Row::once(work, subject, figures)
    }
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(columns: &[&'static str]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints it in Markdown, so that it can be pasted as it is. Nothing when it has no rows.
    pub(crate) fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        let width = self
            .rows
            .iter()
            .map(|row| row.work.chars().count())
            .max()
            .unwrap_or(0);
        let cells = |first: &str, second: &str, rest: Vec<String>| {
            let rest: String = rest.iter().map(|cell| format!(" {cell:>13} |")).collect();
            println!("| {first:<width$} | {second:<10} |{rest}");
        };
        cells(
            "",
            "",
            self.columns
                .iter()
                .map(|column| (*column).to_owned())
                .collect(),
        );
        println!(
            "|{}|{}|{}",
            "-".repeat(width + 2),
            "-".repeat(12),
            "--------------:|".repeat(self.columns.len())
        );
        for row in &self.rows {
            cells(
                &row.work,
                row.subject,
                row.figures.iter().map(|figure| shown(*figure)).collect(),
            );
        }
        println!();
    }
}

/// Three significant digits are what such a measurement supports.
fn shown(figure: Option<f64>) -> String {
    match figure {
        None => String::new(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
