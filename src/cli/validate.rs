//! `switchbox validate`: a configuration is right, or all that is wrong with it.

use super::serve;
use super::surroundings::Real;
use super::{Stop, Verb, flags};
use crate::config::Transport;
use crate::config::env;
use crate::config::resolve::Resolved;
use std::ffi::OsString;

/// Checks the configuration; the line to print if it is right. Notes go to stderr.
pub fn run(arguments: &[OsString], around: &Real) -> Result<String, Stop> {
    let flags = flags::read(Verb::Validate, arguments)?;
    if flags.config.is_none() && env::config_file(around).is_none() {
        return Err(Stop::usage(
            "validate",
            "no configuration is named: --config FILE",
        ));
    }
    let resolved = serve::read(&flags, around)?;
    for note in &resolved.notes {
        eprintln!("note: {note}");
    }
    Ok(summary(&resolved))
}

fn summary(resolved: &Resolved) -> String {
    let servers = &resolved.config.servers;
    let stdio = servers
        .iter()
        .filter(|server| matches!(server.transport, Transport::Stdio(_)))
        .count();
    let disabled = servers.iter().filter(|server| !server.enabled).count();
    let s = if servers.len() == 1 { "" } else { "s" };
    let mut line = format!(
        "ok: {} server{s} ({stdio} stdio, {} http",
        servers.len(),
        servers.len() - stdio
    );
    if disabled > 0 {
        line.push_str(&format!("; {disabled} disabled"));
    }
    line.push(')');
    line
}
