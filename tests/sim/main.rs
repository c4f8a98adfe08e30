//! A simulated world around real workers: clock, network, inboxes, children, HTTP servers and clients, all
//! decided by one seed.
//!
//! Clients and servers are of either era. Every cell in which they meet, over every transport and about every
//! method and interaction, is visited on some seed, or the run fails (`cells.rs`).
//!
//! A run has a stormy part, in which everything that can go wrong does, and a calm one, in which it must
//! turn out that nothing was lost for good. What was meant for one client must never reach another.
//!
//! `SWITCHBOX_SIM_SEED=n cargo test --test sim` replays one seed with everything that happened;
//! `SWITCHBOX_SIM_SEEDS=a..b` runs a range.

mod caller;
mod calls;
mod cells;
mod chance;
mod client;
mod feeds;
mod hearing;
mod listened;
mod minding;
mod modern;
mod offers;
mod older;
mod parting;
mod reader;
mod returning;
mod rounds;
mod run;
mod sending;
mod server;
mod spec;
mod web;
mod wires;
mod world;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use world::Plant;

/// Seeds of an ordinary run.
const SEEDS: u64 = 256;
/// Lines of the conversation that a failure prints.
const LINES_SHOWN: usize = 120;
const THREADS: usize = 2;

thread_local! {
    /// What a run on this thread died of, and where; `None` outside a run.
    static DEATH: RefCell<Option<String>> = const { RefCell::new(None) };
    static TRACE: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// Keeps a line of what happened on this thread.
pub(crate) fn tell(line: String) {
    TRACE.with_borrow_mut(|trace| trace.push_back(line));
}

/// What happened how often, over all runs.
type Cover = BTreeMap<Cow<'static, str>, u64>;

/// Runs one seed; the failure, if there is one.
fn attempt(seed: u64, plant: Option<Plant>, trace: bool) -> Result<Cover, String> {
    TRACE.with_borrow_mut(VecDeque::clear);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let in_run = DEATH.with_borrow_mut(|death| {
                death
                    .as_mut()
                    .map(|death| *death = panic.to_string())
                    .is_some()
            });
            if !in_run {
                before(panic);
            }
        }));
    });
    DEATH.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| run::run(seed, plant, trace)));
    let death = DEATH.take().unwrap_or_default();
    outcome.map_err(|_| death)
}

/// What a failure shows: the seed, how to replay it, the end of the conversation.
fn report(seed: u64, failure: &str) -> String {
    let _ = attempt(seed, None, true);
    let trace = TRACE.with_borrow(|trace| {
        let from = trace.len().saturating_sub(LINES_SHOWN);
        trace.range(from..).cloned().collect::<Vec<_>>().join("\n")
    });
    format!(
        "{trace}\n\nseed {seed}: {failure}\n\
         replay: SWITCHBOX_SIM_SEED={seed} cargo test --test sim any_seed -- --nocapture\n"
    )
}

fn seeds() -> std::ops::Range<u64> {
    if let Ok(range) = std::env::var("SWITCHBOX_SIM_SEEDS") {
        let (first, last) = range.split_once("..").expect("SWITCHBOX_SIM_SEEDS is a..b");
        let number = |text: &str| text.parse().expect("SWITCHBOX_SIM_SEEDS is a..b");
        return number(first)..number(last);
    }
    0..SEEDS
}

#[test]
fn nothing_goes_astray_or_is_lost_on_any_seed() {
    if let Ok(seed) = std::env::var("SWITCHBOX_SIM_SEED") {
        let seed = seed.parse().expect("SWITCHBOX_SIM_SEED is a number");
        let outcome = attempt(seed, None, true);
        TRACE.with_borrow(|trace| trace.iter().for_each(|line| println!("{line}")));
        match outcome {
            Ok(cover) => println!("{cover:#?}"),
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
        return;
    }
    let (all, next) = (seeds(), AtomicU64::new(seeds().start));
    let (cover, failures) = (Mutex::new(Cover::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= all.end || failures.lock().unwrap().len() >= 8 {
                        break;
                    }
                    match attempt(seed, None, false) {
                        Ok(own) => {
                            let mut cover = cover.lock().unwrap();
                            own.iter().for_each(|(what, times)| {
                                *cover.entry(what.clone()).or_default() += times
                            });
                        }
                        Err(failure) => failures.lock().unwrap().push((seed, failure)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    if let Some((seed, failure)) = failures.first() {
        let others: Vec<_> = failures
            .iter()
            .map(|(seed, f)| format!("  {seed}: {f}"))
            .collect();
        panic!(
            "{}\nall that failed:\n{}",
            report(*seed, failure),
            others.join("\n")
        );
    }
    let cover = cover.into_inner().unwrap();
    println!("{cover:#?}");
    if all == (0..SEEDS) {
        for what in run::EXPECTED {
            assert!(
                cover.contains_key(*what),
                "never happened on any seed: {what}"
            );
        }
        let all: Vec<String> = cells::Cell::all().map(|cell| cell.to_string()).collect();
        let missing: Vec<&String> = all
            .iter()
            .filter(|cell| !cover.contains_key(cell.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "{} of {} cells were never visited: {missing:#?}",
            missing.len(),
            all.len()
        );
    }
}

/// A planted fault is found on one of the first seeds, and named for what it is.
fn finds(plant: Plant, expected: &str) {
    let failures = (0..20).filter_map(|seed| attempt(seed, Some(plant), false).err());
    let mut others = Vec::new();
    for failure in failures {
        if failure.contains(expected) {
            return;
        }
        others.push(failure);
    }
    panic!("{plant:?} was not found as {expected:?}: {others:#?}");
}

#[test]
fn swapped_answer_is_found() {
    finds(Plant::AnswerSwapped, "misrouted");
}

#[test]
fn log_told_to_another_is_found() {
    finds(Plant::LogSwapped, "hears what is about");
}

#[test]
fn call_delivered_twice_is_found() {
    finds(Plant::CallTwice, "reached a server 2 times");
}

#[test]
fn question_to_another_is_found() {
    finds(Plant::QuestionSwapped, "hears what is about");
}

#[test]
fn answer_to_another_visitor_is_found() {
    finds(Plant::VisitorSwapped, "misrouted: m");
}

#[test]
fn state_taken_from_another_principal_is_found() {
    finds(Plant::StateLent, "with a state that is not its");
}

#[test]
fn modern_member_before_a_legacy_client_is_found() {
    finds(Plant::ModernShown, "is shown \"resultType\"");
}

#[test]
fn result_without_its_type_is_found() {
    finds(Plant::TypeMissing, "is not said to be one");
}

#[test]
fn changed_byte_is_found() {
    finds(Plant::ByteChanged, "misrouted");
}

#[test]
fn lost_answer_is_found() {
    finds(Plant::AnswerLost, "not answered");
}

#[test]
fn panic_is_a_failure() {
    finds(Plant::Panic, "planted");
}
