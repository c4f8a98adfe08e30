//! What a call costs within an era and across: clients of both eras at servers of both, over both transports.
//!
//! One switchbox has all the servers, and the cells take turns within each round, so that a machine that grows
//! slower does so for all of them. Each ratio is taken within a round; its median over the rounds is printed.

use crate::Options;
use crate::drive;
use crate::fixture;
use crate::report::{Row, Table};
use crate::subject::{Subject, Upstreams};
use crate::work::{Call, Era, Work};
use Era::{Legacy, Modern};

/// Connections that call at once.
const CLIENTS: usize = 16;
/// What a client declares that may be asked something, so that its calls must be told apart at its server.
const ASKABLE: &str = r#"{"elicitation":{},"sampling":{}}"#;

/// Which client calls which server.
struct Cell {
    client: Era,
    declares: &'static str,
    server: Era,
    /// The cells whose mean its cost is compared with.
    beside: &'static [usize],
}

const fn cell(client: Era, declares: &'static str, server: Era, beside: &'static [usize]) -> Cell {
    Cell {
        client,
        declares,
        server,
        beside,
    }
}

/// Who may be asked has a child of its own at a legacy server, or takes turns at a few: that is compared with itself.
const CELLS: [Cell; 6] = [
    cell(Legacy, "{}", Legacy, &[]),
    cell(Modern, "{}", Modern, &[0]),
    cell(Legacy, "{}", Modern, &[0, 1]),
    cell(Modern, "{}", Legacy, &[0, 1]),
    cell(Legacy, ASKABLE, Legacy, &[]),
    cell(Modern, ASKABLE, Legacy, &[4]),
];

impl Cell {
    fn label(&self) -> String {
        let (client, server) = (self.client.word(), self.server.word());
        let declares = if self.declares == ASKABLE {
            " that may be asked"
        } else {
            ""
        };
        format!("{client} client{declares}, {server} server")
    }

    fn work(&self, transport: &str, bytes: usize) -> Box<dyn Work> {
        let tool = format!("{}-{transport}__echo", self.server.word());
        Box::new(Call::new(tool, bytes, self.client, self.declares))
    }
}

/// Adds a row for each cell: the figures of a call, and what its CPU time is of that of the cells beside it: across
/// eras of the mean of the two within them, within the modern era of that within the legacy one.
///
/// # Errors
/// The first answer that is not what it must be.
pub(crate) fn measure(options: &Options, table: &mut Table) -> Result<(), String> {
    let fixture = fixture::Http::start();
    let subject = Subject::switchbox(&options.switchbox, &Upstreams::of_both_eras(&fixture));
    for (transport, shown) in [("http", "HTTP"), ("stdio", "stdio")] {
        let mut rounds = vec![Vec::new(); CELLS.len()];
        for _ in 0..options.rounds {
            let mut micros = Vec::new();
            for (cell, rows) in CELLS.iter().zip(&mut rounds) {
                let work = || cell.work(transport, options.bytes);
                let measured = drive::drive(&subject, &options.plan(CLIENTS), &work);
                let measured =
                    measured.map_err(|fault| format!("{}, {shown}: {fault}", cell.label()))?;
                let own = measured.cpu_micros();
                let beside: f64 = cell.beside.iter().map(|place| micros[*place]).sum();
                let ratio = own * cell.beside.len() as f64 / beside;
                micros.push(own);
                let mut figures = measured.figures();
                figures.push((!cell.beside.is_empty()).then_some(ratio));
                rows.push(figures);
            }
        }
        for (cell, rows) in CELLS.iter().zip(&rounds) {
            let label = format!("{}, {shown}", cell.label());
            table.add(Row::median(&label, "switchbox", rows));
        }
    }
    Ok(())
}
