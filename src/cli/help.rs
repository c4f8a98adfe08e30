//! `switchbox help`: what to type, in 80 columns.

use super::flags::FLAGS;
use super::{Stop, Verb};
use crate::config::problem::nearest;
use std::ffi::OsString;
use std::fmt::Write;

/// Whether the arguments of a verb ask for its help instead.
pub fn is_wanted(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--help" || argument == "-h")
}

/// The help on the verb that the arguments name, or on all.
pub fn run(arguments: &[OsString]) -> Result<String, Stop> {
    let Some(name) = arguments.first() else {
        return Ok(of(Verb::Help));
    };
    let name = name.to_string_lossy();
    match Verb::parse(&name) {
        Some(verb) => Ok(of(verb)),
        None => {
            let hint = nearest(&name, Verb::SHOWN.iter().map(|(_, known, _)| *known));
            let hint = hint
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            Err(Stop::usage("", format!("unknown verb {name:?}{hint}")))
        }
    }
}

/// The help on one verb; on [`Verb::Help`], all of them.
pub fn of(verb: Verb) -> String {
    match verb {
        Verb::Help => overview(),
        Verb::Serve => with_flags(verb, SERVE),
        Verb::Stdio => with_flags(verb, STDIO),
        Verb::Validate => with_flags(verb, VALIDATE),
        Verb::Keygen => KEYGEN.into(),
        Verb::DemoServer => DEMO_SERVER.into(),
        Verb::Version => VERSION.into(),
        Verb::Guard => GUARD.into(),
    }
}

fn overview() -> String {
    let mut text = String::from(OVERVIEW);
    for (_, name, about) in Verb::SHOWN {
        let _ = writeln!(text, "  {name:<13} {about}");
    }
    text.push_str(OVERVIEW_END);
    text
}

fn with_flags(verb: Verb, about: &str) -> String {
    let mut text = String::from(about);
    text.push_str("\nFlags:\n");
    for flag in FLAGS.iter().filter(|flag| flag.is_of(verb)) {
        let left = format!("{} {}", flag.name, flag.value);
        let _ = writeln!(text, "  {:<30} {}", left.trim_end(), flag.about);
    }
    let _ = writeln!(text, "  {:<30} this text", "--help");
    text.push_str(SOURCES);
    text
}

const OVERVIEW: &str = "\
switchbox: every MCP server you have behind one endpoint

Usage:
  switchbox                             try it: serve the built-in demo server
  switchbox --config FILE               serve the servers of FILE
  switchbox VERB [FLAG…]

FILE is what your client has already: its \"mcpServers\" or \"servers\" in JSON,
or the same in TOML or YAML.

Verbs:
";

const OVERVIEW_END: &str = "
`switchbox help VERB` has the flags of a verb.

Exit codes: 0 done, 1 failed, 64 wrong command line, 69 unavailable (such as an
address in use), 78 wrong configuration.
";

const SERVE: &str = "\
switchbox serve: serve over HTTP at http://127.0.0.1:3050/mcp

Usage:
  switchbox [serve] [--config FILE] [FLAG…]

Without a configuration the built-in demo server is served. The endpoint speaks
streamable HTTP; /health, /status and /metrics are beside it. SIGTERM finishes
what is in flight and ends with 0; a second one ends at once.

An address that other machines can reach is refused unless there is an API key
(auth.keys, or the variable SWITCHBOX_API_KEYS).
";

const STDIO: &str = "\
switchbox stdio: serve one client on stdin and stdout

Usage:
  switchbox stdio [--config FILE] [FLAG…]

For clients that only start commands. The end of stdin ends it. Messages go to
stderr.
";

const VALIDATE: &str = "\
switchbox validate: check a configuration and say all that is wrong

Usage:
  switchbox validate --config FILE

Prints one line and ends with 0 if the file can be served. Otherwise every
problem goes to stderr with its line, and it ends with 78. Nothing is started,
no server is contacted.
";

const SOURCES: &str = "
Every setting has a variable, too: --log-level is SWITCHBOX_LOG_LEVEL. The
environment wins over flags, flags over the file. Lengths of time are written
30s, 500ms or 2m.
";

const KEYGEN: &str = "\
switchbox keygen: make an API key

Usage:
  switchbox keygen [NAME]

Prints NAME, a dot and 64 random hexadecimal digits. Logs show the NAME, never
the rest. Put the key into auth.keys or SWITCHBOX_API_KEYS; clients send it as
`Authorization: Bearer KEY` or `X-API-Key: KEY`.
";

const DEMO_SERVER: &str = "\
switchbox demo-server: be an MCP server on stdin and stdout

Usage:
  switchbox demo-server

Offers network_interfaces, system_info, disk_usage, time and echo. All of them
only read. The end of stdin ends it.
";

const VERSION: &str = "\
switchbox version: say version, commit, target and protocol revisions

Usage:
  switchbox version
";

const GUARD: &str = "\
switchbox guard: stand between switchbox and a child; not for people
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_80_columns() {
        for (verb, ..) in Verb::SHOWN {
            for line in of(*verb).lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn every_flag_is_explained() {
        let all: String = [Verb::Serve, Verb::Stdio, Verb::Validate].map(of).concat();
        for flag in FLAGS {
            assert!(all.contains(flag.name), "{}", flag.name);
        }
    }
}
