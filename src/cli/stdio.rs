//! `switchbox stdio`: the same servers as one stdio server, for clients that only start commands.

use super::serve::prepare;
use super::surroundings::Real;
use super::{Stop, Verb};
use crate::runtime::Face;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the verb. Returns when the client has closed stdin.
pub fn run(arguments: &[OsString], around: &Real) -> Result<ExitCode, Stop> {
    let (config, options) = prepare(Verb::Stdio, arguments, around)?.into_parts(Face::Stdio);
    Ok(crate::runtime::serve(config, options))
}
