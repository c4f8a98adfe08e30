//! How fast switchbox is, measured by whoever wants to know: `cargo bench --bench load`.
//!
//! Starts the release binary in front of servers of its own, drives it over loopback, checks every answer, and
//! prints requests per second, CPU time of switchbox's processes for each request, latency and memory. Where nginx
//! is installed it is driven beside it as a plain reverse proxy, round by round in turn, since that is the practical
//! lower bound of one hop. Figures are medians over rounds.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the real clock and waits for real processes"
)]

mod answer;
mod drive;
mod eras;
mod fixture;
mod process;
mod report;
mod subject;
mod work;

use drive::Plan;
use report::{Row, Table};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use subject::{Subject, Upstreams};
use work::{Call, Churn, Era, List, Work};

const USAGE: &str = "\
cargo bench --bench load -- [OPTIONS]

  --seconds N      length of one measurement (3)
  --rounds N       measurements of each figure, whose median is printed (3)
  --only WORK,…    of: http stdio eras list churn idle start (all)
  --idle N         sessions with an open stream (1000)
  --bytes N        text in each call and in its answer (200)
  --switchbox FILE another binary to measure
  --front FILE     a further program to measure, see benches/fronts";

/// What is measured, and for how long.
struct Options {
    seconds: f64,
    rounds: usize,
    only: Option<Vec<String>>,
    idle: usize,
    bytes: usize,
    switchbox: PathBuf,
    front: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Options, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Options {
            seconds: 3.0,
            rounds: 3,
            only: None,
            idle: 1000,
            bytes: 200,
            switchbox: PathBuf::from(env!("CARGO_BIN_EXE_switchbox")),
            front: None,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("seconds") => options.seconds = parser.value()?.parse()?,
                Long("rounds") => options.rounds = parser.value()?.parse::<usize>()?.max(1),
                Long("only") => {
                    options.only = Some(
                        parser
                            .value()?
                            .string()?
                            .split(',')
                            .map(str::to_owned)
                            .collect(),
                    )
                }
                Long("idle") => options.idle = parser.value()?.parse()?,
                Long("bytes") => options.bytes = parser.value()?.parse()?,
                Long("switchbox") => options.switchbox = parser.value()?.into(),
                Long("front") => options.front = Some(parser.value()?.into()),
                // Cargo says so to every bench.
                Long("bench") => {}
                Long("help") => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }

    fn wants(&self, work: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(|name| name == work))
    }

    fn plan(&self, connections: usize) -> Plan {
        Plan {
            connections,
            warm_up: Duration::from_millis(500),
            length: Duration::from_secs_f64(self.seconds),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("fixture-http") => fixture::serve_http(),
        Some("fixture-stdio") => {
            fixture::serve_stdio(words.get(1).map_or("", String::as_str));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let options = Options::parse().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{USAGE}");
        std::process::exit(64)
    });
    process::raise_descriptor_limit();
    println!("{}\n", process::machine());
    let measured = measure(&options);
    // What a failed run was configured with stays there to be looked at.
    match measured.and_then(|()| process::remove_folder()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    let mut table = Table::new(&["req/s", "CPU µs/req", "p50 µs", "p99 µs"]);
    if options.wants("http") {
        let fixture = fixture::Http::start();
        let upstreams = Upstreams::http(&fixture, 1);
        let mut subjects = vec![Subject::direct(&fixture)];
        subjects.push(Subject::switchbox(&options.switchbox, &upstreams));
        subjects.extend(Subject::nginx(&fixture));
        if let Some(front) = &options.front {
            subjects.push(Subject::front(front, &fixture));
        }
        calls(options, &mut table, "HTTP", &subjects)?;
    }
    if options.wants("stdio") {
        let subject = Subject::switchbox(&options.switchbox, &Upstreams::stdio(1));
        calls(options, &mut table, "stdio", &[subject])?;
    }
    if options.wants("list") {
        let fixture = fixture::Http::start();
        let upstreams = Upstreams::http(&fixture, 20);
        let subject = Subject::switchbox(&options.switchbox, &upstreams);
        let list = |_: &Subject| -> Box<dyn Work> { Box::new(List::new(20 * fixture::TOOLS)) };
        let label = "list, 20 servers, 500 tools";
        compare(options, &mut table, label, 16, &[subject], list)?;
    }
    if options.wants("churn") {
        let fixture = fixture::Http::start();
        let upstreams = Upstreams::http(&fixture, 1);
        let subject = Subject::switchbox(&options.switchbox, &upstreams);
        let churn = |_: &Subject| -> Box<dyn Work> { Box::new(Churn::default()) };
        compare(
            options,
            &mut table,
            "session opened and ended",
            16,
            &[subject],
            churn,
        )?;
    }
    table.print();
    if options.wants("eras") {
        let mut table = Table::new(&["req/s", "CPU µs/req", "p50 µs", "p99 µs", "ratio"]);
        eras::measure(options, &mut table)?;
        table.print();
    }
    let mut table = Table::new(&["first list ms", "RSS MiB", "KiB/session"]);
    if options.wants("idle") {
        table.add(idle(options)?);
    }
    if options.wants("start") {
        starts(options, &mut table);
    }
    table.print();
    Ok(())
}

/// Calls of one tool at each subject, by few and by many clients.
fn calls(
    options: &Options,
    table: &mut Table,
    kind: &str,
    subjects: &[Subject],
) -> Result<(), String> {
    let label = format!("call, {kind} server");
    for connections in [1, 16, 64] {
        let call = |subject: &Subject| -> Box<dyn Work> {
            Box::new(Call::new(
                subject.tool("echo"),
                options.bytes,
                Era::Legacy,
                "{}",
            ))
        };
        compare(options, table, &label, connections, subjects, call)?;
    }
    Ok(())
}

/// Measures `work` at every subject in turn, round by round, and adds the medians to the table.
fn compare(
    options: &Options,
    table: &mut Table,
    label: &str,
    connections: usize,
    subjects: &[Subject],
    work: impl Fn(&Subject) -> Box<dyn Work>,
) -> Result<(), String> {
    let plural = if connections == 1 { "" } else { "s" };
    let label = format!("{label}, {connections} client{plural}");
    let mut rounds = vec![Vec::new(); subjects.len()];
    for _ in 0..options.rounds {
        for (subject, rows) in subjects.iter().zip(&mut rounds) {
            let measured = drive::drive(subject, &options.plan(connections), &|| work(subject));
            let measured =
                measured.map_err(|fault| format!("{label}, {}: {fault}", subject.name))?;
            rows.push(measured.figures());
        }
    }
    for (subject, rows) in subjects.iter().zip(&rounds) {
        table.add(Row::median(&label, subject.name, rows));
    }
    Ok(())
}

/// Memory for each session that holds a stream open.
fn idle(options: &Options) -> Result<Row, String> {
    let fixture = fixture::Http::start();
    let subject = Subject::switchbox(&options.switchbox, &Upstreams::http(&fixture, 1));
    // The first few sessions make the process allocate what it then keeps for all.
    let _few = drive::hold_streams(&subject, 16)?;
    let before = subject.resident_kib();
    let held = drive::hold_streams(&subject, options.idle)?;
    std::thread::sleep(Duration::from_millis(500));
    let after = subject.resident_kib();
    let each = after.saturating_sub(before) as f64 / options.idle as f64;
    let label = format!("{} idle sessions with a stream", held.len());
    let figures = vec![None, Some(after as f64 / 1024.0), Some(each)];
    Ok(Row::once(&label, subject.name, figures))
}

/// From the start of the process to the first list that is full, and memory a moment later.
fn starts(options: &Options, table: &mut Table) {
    let fixture = fixture::Http::start();
    let http = |count| ("HTTP", count, Upstreams::http(&fixture, count));
    let stdio = |count| ("stdio", count, Upstreams::stdio(count));
    for (kind, count, upstreams) in [http(1), stdio(1), http(20), stdio(20)] {
        let round = || {
            let began = Instant::now();
            let subject = Subject::switchbox_at_once(&options.switchbox, &upstreams);
            subject.wait_for_tools(count * fixture::TOOLS);
            let took = began.elapsed().as_secs_f64() * 1000.0;
            std::thread::sleep(Duration::from_secs(1));
            vec![
                Some(took),
                Some(subject.resident_kib() as f64 / 1024.0),
                None,
            ]
        };
        let rounds: Vec<_> = (0..options.rounds).map(|_| round()).collect();
        let plural = if count == 1 { "" } else { "s" };
        let label = format!("start, {count} {kind} server{plural}");
        table.add(Row::median(&label, "switchbox", &rounds));
    }
}
