//! The Prometheus text format, version 0.0.4: how families and samples are written.
//!
//! Knows no metric's name. A family's samples stand together under one HELP and one TYPE; label values are
//! escaped as the format asks.

use std::fmt::Write as _;
use std::time::Duration;

/// The media type of what this writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers do over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Counts of observations up to each edge.
    Histogram,
}

/// One metric, with all its label sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// Upper edges, in microseconds, against which every length is recorded; each family shows some of them,
/// and is exact, because what lies between two edges that it shows is added up.
pub(super) const EDGES: [u64; 15] = [
    50, 100, 250, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// Lengths of time, counted by edges.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// One for each edge, not cumulative, and one for what lies past the last.
    counts: [u64; EDGES.len() + 1],
    micros: u64,
}

impl Histogram {
    /// Counts one length.
    pub(super) fn observe(&mut self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let place = EDGES
            .iter()
            .position(|edge| micros <= *edge)
            .unwrap_or(EDGES.len());
        self.counts[place] += 1;
        self.micros = self.micros.saturating_add(micros);
    }

    /// Adds what another has counted.
    pub(super) fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.micros = self.micros.saturating_add(other.micros);
    }

    /// How many lengths were counted.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A page being written.
#[derive(Default)]
pub(super) struct Page {
    out: String,
    family: &'static str,
}

impl Page {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, family: Family) -> &mut Page {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = family.name;
        put(
            &mut self.out,
            format_args!(
                "# HELP {0} {1}\n# TYPE {0} {kind}\n",
                family.name, family.help
            ),
        );
        self
    }

    /// One number of the family begun last.
    pub(super) fn sample(
        &mut self,
        labels: &[(&str, &str)],
        value: impl Into<Number>,
    ) -> &mut Page {
        self.line("", labels, None, value.into());
        self
    }

    /// One label set of a histogram, shown at `edges` (microseconds, all of them in [`EDGES`]).
    pub(super) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        histogram: &Histogram,
        edges: &[u64],
    ) {
        let mut below = 0;
        let mut counted = EDGES.iter().zip(&histogram.counts).peekable();
        for &edge in edges {
            while let Some((_, count)) = counted.next_if(|(recorded, _)| **recorded <= edge) {
                below += count;
            }
            self.line(
                "_bucket",
                labels,
                Some(&seconds(edge).to_string()),
                Number::Whole(below),
            );
        }
        self.line(
            "_bucket",
            labels,
            Some("+Inf"),
            Number::Whole(histogram.count()),
        );
        self.line(
            "_sum",
            labels,
            None,
            Number::Real(seconds(histogram.micros)),
        );
        self.line("_count", labels, None, Number::Whole(histogram.count()));
    }

    /// The whole page.
    pub(super) fn end(self) -> String {
        self.out
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], edge: Option<&str>, value: Number) {
        self.out.push_str(self.family);
        self.out.push_str(suffix);
        let mut opening = '{';
        for (name, label) in labels.iter().copied().chain(edge.map(|edge| ("le", edge))) {
            self.out.push(opening);
            self.out.push_str(name);
            self.out.push_str("=\"");
            for c in label.chars() {
                match c {
                    '\\' => self.out.push_str(r"\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str(r"\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
            opening = ',';
        }
        if opening == ',' {
            self.out.push('}');
        }
        match value {
            Number::Whole(number) => put(&mut self.out, format_args!(" {number}\n")),
            Number::Real(number) => put(&mut self.out, format_args!(" {number}\n")),
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(holds: bool) -> Number {
        Number::Whole(holds.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Real(number)
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn put(out: &mut String, what: std::fmt::Arguments) {
    out.write_fmt(what).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: Family = Family {
        name: "a_seconds",
        kind: Kind::Histogram,
        help: "What it is.",
    };

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.family(FAMILY)
            .sample(&[("tool", "a\"b\\c\nd"), ("more", "é")], 3);
        assert!(
            page.end()
                .ends_with("a_seconds{tool=\"a\\\"b\\\\c\\nd\",more=\"é\"} 3\n")
        );
    }

    #[test]
    fn shown_edges_are_exact_whatever_lies_between() {
        let mut histogram = Histogram::default();
        for micros in [1, 1_000, 1_001, 7_000, 400_000, 1_000_000, 90_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut page = Page::default();
        page.family(FAMILY)
            .histogram(&[], &histogram, &[1_000, 500_000, 1_000_000]);
        assert_eq!(
            page.end(),
            "# HELP a_seconds What it is.\n# TYPE a_seconds histogram\n\
             a_seconds_bucket{le=\"0.001\"} 2\na_seconds_bucket{le=\"0.5\"} 5\na_seconds_bucket{le=\"1\"} 6\n\
             a_seconds_bucket{le=\"+Inf\"} 7\na_seconds_sum 91.409002\na_seconds_count 7\n"
        );
    }

    #[test]
    fn edges_ascend() {
        assert!(EDGES.is_sorted_by(|a, b| a < b));
    }
}
