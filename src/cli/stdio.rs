//! `switchbox stdio`: the same servers as one stdio server, for clients that only start commands.

use super::serve::{Prepared, prepare};
use super::surroundings::Real;
use super::{Exit, Stop, Verb};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the verb. Returns when the client has closed stdin.
pub fn run(arguments: &[OsString], around: &Real) -> Result<ExitCode, Stop> {
    let Prepared { notes, .. } = prepare(Verb::Stdio, arguments, around)?;
    for note in &notes {
        eprintln!("note: {note}");
    }
    Err(Stop {
        exit: Exit::Unavailable,
        message: "serving is not part of this build".into(),
    })
}
