//! The command line: one file a verb.
//!
//! Data goes to stdout, messages to stderr. What a verb decides, it decides before it touches
//! anything: arguments and surroundings in, a value or a [`Stop`] out.

pub mod demo;
pub mod demo_server;
pub mod flags;
pub mod help;
pub mod keygen;
pub mod serve;
pub mod stdio;
pub mod surroundings;
pub mod validate;
pub mod version;

use crate::config::problem::nearest;
use crate::runtime::guard;
use std::ffi::OsString;
use std::process::ExitCode;

/// How the process ends. The numbers beyond 2 are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As it should.
    Done = 0,
    /// Something that is nobody's mistake went wrong.
    Failed = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// An address is taken, or something else that is needed is not there (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The configuration is wrong (`EX_CONFIG`).
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb stops before its work begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The exit code.
    pub exit: Exit,
    /// For stderr; may have several lines.
    pub message: String,
}

impl Stop {
    /// A mistake on the command line of `verb`.
    pub fn usage(verb: &str, message: impl std::fmt::Display) -> Stop {
        Stop {
            exit: Exit::Usage,
            message: format!("{message}\ntry: switchbox help {verb}"),
        }
    }
}

/// A verb of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Serve,
    Stdio,
    Validate,
    Keygen,
    DemoServer,
    Version,
    Help,
    /// Between us and a child; not for people.
    Guard,
}

impl Verb {
    /// Every verb that people use, with what it does.
    pub const SHOWN: &[(Verb, &str, &str)] = &[
        (
            Verb::Serve,
            "serve",
            "serve over HTTP (what happens without a verb)",
        ),
        (Verb::Stdio, "stdio", "serve one client on stdin and stdout"),
        (
            Verb::Validate,
            "validate",
            "check a configuration and say all that is wrong",
        ),
        (Verb::Keygen, "keygen", "make an API key"),
        (
            Verb::DemoServer,
            "demo-server",
            "be an MCP server on stdin and stdout, to try with",
        ),
        (
            Verb::Version,
            "version",
            "say version, commit, target and protocol revisions",
        ),
        (Verb::Help, "help", "explain a verb"),
    ];

    /// The verb of this name.
    pub fn parse(name: &str) -> Option<Verb> {
        match name {
            "start" => Some(Verb::Serve),
            "guard" => Some(Verb::Guard),
            _ => Verb::SHOWN
                .iter()
                .find(|(_, known, _)| *known == name)
                .map(|(verb, ..)| *verb),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Verb::SHOWN
            .iter()
            .find(|(verb, ..)| *verb == self)
            .map_or("guard", |(_, name, _)| *name)
    }
}

/// Runs the command line, without the program's own name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let (verb, rest) = match verb(&arguments) {
        Ok(split) => split,
        Err(stop) => return stopped(stop),
    };
    if verb != Verb::Guard && help::is_wanted(rest) {
        return told(&help::of(verb));
    }
    let around = surroundings::Real::new();
    let done = match verb {
        Verb::Guard => return guard::run(rest.iter().cloned()),
        Verb::Serve => serve::run(rest, &around),
        Verb::Stdio => stdio::run(rest, &around),
        Verb::Validate => validate::run(rest, &around).map(|line| told(&line)),
        Verb::Keygen => keygen::run(rest).map(|line| told(&line)),
        Verb::DemoServer => demo_server::run(rest),
        Verb::Version => Ok(told(&version::text())),
        Verb::Help => help::run(rest).map(|text| told(&text)),
    };
    done.unwrap_or_else(stopped)
}

/// The verb, and the arguments that are its own.
fn verb(arguments: &[OsString]) -> Result<(Verb, &[OsString]), Stop> {
    let Some(first) = arguments.first() else {
        return Ok((Verb::Serve, arguments));
    };
    let first = first.to_string_lossy();
    match first.as_ref() {
        "-h" | "--help" => Ok((Verb::Help, &arguments[1..])),
        "-V" | "--version" => Ok((Verb::Version, &arguments[1..])),
        flag if flag.starts_with('-') => Ok((Verb::Serve, arguments)),
        name => match Verb::parse(name) {
            Some(verb) => Ok((verb, &arguments[1..])),
            None => {
                let names = Verb::SHOWN
                    .iter()
                    .map(|(_, name, _)| *name)
                    .chain(["start"]);
                let hint = match nearest(name, names) {
                    Some(near) => format!("; did you mean {near:?}?"),
                    None if name.contains('.') => format!("; did you mean --config {name}?"),
                    None => String::new(),
                };
                Err(Stop::usage("", format!("unknown verb {name:?}{hint}")))
            }
        },
    }
}

fn told(text: &str) -> ExitCode {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done.into(),
        // `switchbox help | head -1` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(_) => Exit::Failed.into(),
    }
}

fn stopped(stop: Stop) -> ExitCode {
    eprintln!("{}", stop.message);
    stop.exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn first_word_is_the_verb_and_none_means_serve() {
        let check = |line: &str, expected: Verb, rest: usize| {
            let arguments = arguments(line);
            let (verb, own) = verb(&arguments).unwrap();
            assert_eq!((verb, own.len()), (expected, rest), "{line}");
        };
        check("", Verb::Serve, 0);
        check("--config mcp.json", Verb::Serve, 2);
        check("start --config mcp.json", Verb::Serve, 2);
        check("demo-server", Verb::DemoServer, 0);
        check("--version", Verb::Version, 0);
        check("--help", Verb::Help, 0);
        check("guard --keeper", Verb::Guard, 1);
    }

    #[test]
    fn unknown_verb_names_what_was_meant() {
        let check = |line: &str, part: &str| {
            let stop = verb(&arguments(line)).unwrap_err();
            assert_eq!(stop.exit, Exit::Usage);
            assert!(stop.message.contains(part), "{}", stop.message);
        };
        check("srve", "did you mean \"serve\"?");
        check("mcp.json", "did you mean --config mcp.json?");
        check("frobnicate", "unknown verb \"frobnicate\"");
    }
}
