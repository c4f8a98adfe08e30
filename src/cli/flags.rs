//! The flags that make settings, and the few beside them.

use super::{Stop, Verb};
use crate::config::draft::{Draft, Setting};
use crate::config::problem::{Place, nearest};
use lexopt::Arg;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a flag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It makes a setting from its value.
    Sets(Setting),
    /// It makes a setting true.
    Turns(Setting),
    /// It names the configuration file.
    Config,
    /// It has the environment's compatibility names read.
    Compat,
    /// What it asks for is the case anyway.
    Granted,
}

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// What it does.
    pub effect: Effect,
    /// What its value is called; empty if it has none.
    pub value: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// The verbs that have it.
    verbs: &'static [Verb],
}

const ALL: &[Verb] = &[Verb::Serve, Verb::Stdio, Verb::Validate];
const BOTH: &[Verb] = &[Verb::Serve, Verb::Stdio];
const SERVE: &[Verb] = &[Verb::Serve];

const fn flag(
    name: &'static str,
    effect: Effect,
    value: &'static str,
    verbs: &'static [Verb],
    about: &'static str,
) -> Flag {
    Flag {
        name,
        effect,
        value,
        about,
        verbs,
    }
}

/// Every flag of the verbs that read a configuration.
pub static FLAGS: &[Flag] = &[
    flag(
        "--config",
        Effect::Config,
        "FILE",
        ALL,
        "configuration, as .toml, .yaml, .json or .jsonc",
    ),
    flag(
        "--listen",
        Effect::Sets(Setting::Listen),
        "ADDR:PORT",
        SERVE,
        "where clients connect; may be repeated",
    ),
    flag(
        "--host",
        Effect::Sets(Setting::Host),
        "ADDR",
        SERVE,
        "the address alone",
    ),
    flag(
        "--port",
        Effect::Sets(Setting::Port),
        "PORT",
        SERVE,
        "the port alone",
    ),
    flag(
        "--names",
        Effect::Sets(Setting::Names),
        "STYLE",
        BOTH,
        "prefixed (server__tool) or bare (tool)",
    ),
    flag(
        "--wait-for-servers",
        Effect::Sets(Setting::WaitForServers),
        "DURATION",
        BOTH,
        "have lists wait for servers that start",
    ),
    flag(
        "--workers",
        Effect::Sets(Setting::Workers),
        "N",
        BOTH,
        "worker threads; default: one for each core",
    ),
    flag(
        "--drain",
        Effect::Sets(Setting::Drain),
        "DURATION",
        BOTH,
        "time for what is in flight at the end",
    ),
    flag(
        "--allow-unauthenticated",
        Effect::Turns(Setting::AllowUnauthenticated),
        "",
        SERVE,
        "listen beyond loopback without a key",
    ),
    flag(
        "--http-sse",
        Effect::Sets(Setting::HttpSse),
        "BOOL",
        SERVE,
        "serve /sse, deprecated; default: true",
    ),
    flag(
        "--log-level",
        Effect::Sets(Setting::LogLevel),
        "LEVEL",
        BOTH,
        "debug, info, warn or error",
    ),
    flag(
        "--log-format",
        Effect::Sets(Setting::LogFormat),
        "FORMAT",
        BOTH,
        "text or json",
    ),
    flag(
        "--access-log",
        Effect::Sets(Setting::LogAccess),
        "WHERE",
        SERVE,
        "off, stderr or a file",
    ),
    flag(
        "--metrics-listen",
        Effect::Sets(Setting::MetricsListen),
        "ADDR:PORT",
        SERVE,
        "a second place for /metrics and health",
    ),
    flag(
        "--compat",
        Effect::Compat,
        "",
        ALL,
        "read variables such as LOG_LEVEL, too",
    ),
    flag(
        "--enable-async-loading",
        Effect::Granted,
        "",
        BOTH,
        "accepted: servers always start behind",
    ),
];

/// What a command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The settings it makes.
    pub draft: Draft,
    /// The configuration file it names.
    pub config: Option<PathBuf>,
    /// Whether compatibility names are read.
    pub compat: bool,
}

impl Flag {
    /// Whether the verb has this flag.
    pub fn is_of(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }
}

/// Reads the arguments of a verb.
pub fn read(verb: Verb, arguments: &[OsString]) -> Result<Flags, Stop> {
    let mut flags = Flags::default();
    let mut listen: Vec<String> = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
    let usage = |message: String| Stop::usage(verb.name(), message);
    while let Some(argument) = parser.next().map_err(|error| usage(error.to_string()))? {
        let name = match argument {
            Arg::Long(name) => format!("--{name}"),
            Arg::Short('c') => "--config".to_string(),
            Arg::Short(letter) => format!("-{letter}"),
            Arg::Value(value) if verb == Verb::Validate && flags.config.is_none() => {
                flags.config = Some(value.into());
                continue;
            }
            Arg::Value(value) => {
                let value = value.to_string_lossy().into_owned();
                let hint = if value.contains('.') {
                    "; did you mean --config?"
                } else {
                    ""
                };
                return Err(usage(format!("unexpected argument {value:?}{hint}")));
            }
        };
        let flag = find(verb, &name).map_err(usage)?;
        let value = match flag.value {
            "" => None,
            what => Some(
                parser
                    .value()
                    .map_err(|_| usage(format!("{name} wants a value: {name} {what}")))?,
            ),
        };
        match (flag.effect, value) {
            (Effect::Config, Some(path)) => flags.config = Some(path.into()),
            (Effect::Compat, _) => flags.compat = true,
            (Effect::Turns(setting), _) => {
                set(&mut flags.draft, setting, flag.name, &["true".into()]).map_err(usage)?;
            }
            (Effect::Sets(setting), Some(value)) => {
                let value = value
                    .into_string()
                    .map_err(|_| usage(format!("{name} is not UTF-8")))?;
                let values = if setting == Setting::Listen {
                    listen.push(value);
                    listen.clone()
                } else {
                    vec![value]
                };
                set(&mut flags.draft, setting, flag.name, &values).map_err(usage)?;
            }
            (Effect::Granted | Effect::Config | Effect::Sets(_), _) => {}
        }
    }
    Ok(flags)
}

fn find(verb: Verb, name: &str) -> Result<&'static Flag, String> {
    let known = FLAGS.iter().find(|flag| flag.name == name);
    match known {
        Some(flag) if flag.is_of(verb) => Ok(flag),
        Some(_) => Err(format!(
            "{name} has no meaning for \"switchbox {}\"",
            verb.name()
        )),
        None => {
            let names = FLAGS
                .iter()
                .filter(|flag| flag.is_of(verb))
                .map(|flag| flag.name);
            let hint = nearest(name, names).map(|near| format!("; did you mean {near}?"));
            Err(format!("unknown flag {name}{}", hint.unwrap_or_default()))
        }
    }
}

fn set(
    draft: &mut Draft,
    setting: Setting,
    name: &'static str,
    values: &[String],
) -> Result<(), String> {
    draft
        .set(setting, values, Place::Flag(name))
        .map_err(|unfit| {
            let (index, expected) = &unfit[0];
            let hint = expected.hint.as_ref().map(|hint| format!("; {hint}"));
            format!(
                "{name} {:?}: expected {}{}",
                values[*index],
                expected.what,
                hint.unwrap_or_default()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(verb: Verb, line: &str) -> Result<Flags, String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        read(verb, &arguments).map_err(|stop| stop.message)
    }

    #[test]
    fn flags_make_settings() {
        let flags = parsed(
            Verb::Serve,
            "-c a.toml --listen 127.0.0.1:1 --listen=[::1]:2 --names bare --workers 2 --compat \
             --allow-unauthenticated --enable-async-loading --access-log stderr",
        )
        .unwrap();
        assert_eq!(flags.config.as_deref(), Some("a.toml".as_ref()));
        assert_eq!(flags.draft.listen.unwrap().value.len(), 2);
        assert_eq!(flags.draft.workers.unwrap().value, 2);
        assert!(flags.compat && flags.draft.allow_unauthenticated.unwrap().value);
    }

    #[test]
    fn wrong_flags_say_what_would_be_right() {
        let check = |verb, line: &str, part: &str| {
            let message = parsed(verb, line).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check(
            Verb::Serve,
            "--lisen 1",
            "unknown flag --lisen; did you mean --listen?",
        );
        check(
            Verb::Serve,
            "--listen",
            "--listen wants a value: --listen ADDR:PORT",
        );
        check(Verb::Serve, "--names bar", "did you mean \"bare\"?");
        check(Verb::Serve, "--workers 0", "a whole number from 1 to 64");
        check(Verb::Serve, "mcp.json", "did you mean --config?");
        check(Verb::Serve, "--compat=yes", "unexpected argument");
        check(
            Verb::Stdio,
            "--listen 1",
            "--listen has no meaning for \"switchbox stdio\"",
        );
        check(Verb::Serve, "-x", "unknown flag -x");
    }
}
