//! Environment variables that make settings: one table of names, ours and those of other products.
//!
//! Every setting has a variable `SWITCHBOX_` and its path. The names that the products before this
//! one used are read as well; those so general that they are more likely meant for a child server
//! are read in compatibility mode only.

use super::draft::{Draft, Setting, Takes};
use super::expand;
use super::problem::{Fault, Place, Problem, nearest};
use super::resolve::Note;
use super::surroundings::Surroundings;
use super::words;

/// What a variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It makes a setting.
    Sets(Setting),
    /// It names a file with the value of a setting.
    SetsFromFile(Setting),
    /// The configuration file's path; read by the command line.
    ConfigFile,
    /// Whether compatibility names are read.
    Compat,
    /// What it asks for is the case anyway.
    Granted,
    /// A feature that this version does not have, and nobody must believe it is on.
    Refused,
    /// A feature that this version does not have, and that nobody relies on for safety.
    PassedOver,
}

/// When a variable is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Always.
    Always,
    /// In compatibility mode: children are often given a variable of the same name.
    Compat,
}

use Meaning::{Compat, ConfigFile, Granted, PassedOver, Refused, Sets, SetsFromFile};
use Reading::Always;

/// Every variable, most specific name first: the first that is set makes the setting.
pub const VARIABLES: &[(&str, Meaning, Reading)] = &[
    ("SWITCHBOX_CONFIG", ConfigFile, Always),
    ("SWITCHBOX_COMPAT", Compat, Always),
    ("SWITCHBOX_LISTEN", Sets(Setting::Listen), Always),
    ("SWITCHBOX_HOST", Sets(Setting::Host), Always),
    ("SWITCHBOX_PORT", Sets(Setting::Port), Always),
    ("SWITCHBOX_NAMES", Sets(Setting::Names), Always),
    (
        "SWITCHBOX_WAIT_FOR_SERVERS",
        Sets(Setting::WaitForServers),
        Always,
    ),
    ("SWITCHBOX_WORKERS", Sets(Setting::Workers), Always),
    ("SWITCHBOX_DRAIN", Sets(Setting::Drain), Always),
    ("SWITCHBOX_API_KEYS", Sets(Setting::Keys), Always),
    (
        "SWITCHBOX_API_KEYS_FILE",
        SetsFromFile(Setting::Keys),
        Always,
    ),
    ("SWITCHBOX_AUTH_KEYS", Sets(Setting::Keys), Always),
    (
        "SWITCHBOX_AUTH_KEYS_FILE",
        SetsFromFile(Setting::Keys),
        Always,
    ),
    (
        "SWITCHBOX_ALLOW_UNAUTHENTICATED",
        Sets(Setting::AllowUnauthenticated),
        Always,
    ),
    (
        "SWITCHBOX_AUTH_ALLOW_UNAUTHENTICATED",
        Sets(Setting::AllowUnauthenticated),
        Always,
    ),
    ("SWITCHBOX_HOSTS", Sets(Setting::Hosts), Always),
    ("SWITCHBOX_ORIGINS", Sets(Setting::Origins), Always),
    ("SWITCHBOX_HTTP_SSE", Sets(Setting::HttpSse), Always),
    ("SWITCHBOX_LOG_LEVEL", Sets(Setting::LogLevel), Always),
    ("SWITCHBOX_LOG_FORMAT", Sets(Setting::LogFormat), Always),
    ("SWITCHBOX_LOG_ACCESS", Sets(Setting::LogAccess), Always),
    ("SWITCHBOX_ACCESS_LOG", Sets(Setting::LogAccess), Always),
    (
        "SWITCHBOX_METRICS_ENABLED",
        Sets(Setting::MetricsEnabled),
        Always,
    ),
    (
        "SWITCHBOX_METRICS_LISTEN",
        Sets(Setting::MetricsListen),
        Always,
    ),
    ("SWITCHBOX_METRICS_PORT", Sets(Setting::MetricsPort), Always),
    ("SWITCHBOX_ENABLE_ASYNC_LOADING", Granted, Always),
    // 1MCP: every flag has its variable.
    ("ONE_MCP_CONFIG", ConfigFile, Always),
    ("ONE_MCP_LISTEN", Sets(Setting::Listen), Always),
    ("ONE_MCP_HOST", Sets(Setting::Host), Always),
    ("ONE_MCP_PORT", Sets(Setting::Port), Always),
    ("ONE_MCP_NAMES", Sets(Setting::Names), Always),
    (
        "ONE_MCP_WAIT_FOR_SERVERS",
        Sets(Setting::WaitForServers),
        Always,
    ),
    ("ONE_MCP_WORKERS", Sets(Setting::Workers), Always),
    ("ONE_MCP_LOG_LEVEL", Sets(Setting::LogLevel), Always),
    ("ONE_MCP_LOG_FORMAT", Sets(Setting::LogFormat), Always),
    ("ONE_MCP_ACCESS_LOG", Sets(Setting::LogAccess), Always),
    (
        "ONE_MCP_ALLOW_UNAUTHENTICATED",
        Sets(Setting::AllowUnauthenticated),
        Always,
    ),
    ("ONE_MCP_ENABLE_ASYNC_LOADING", Granted, Always),
    ("ONE_MCP_ENABLE_AUTH", Refused, Always),
    // Only1MCP.
    ("ONLY1MCP_CONFIG_PATH", ConfigFile, Always),
    ("ONLY1MCP_CONFIG", ConfigFile, Always),
    ("ONLY1MCP_HOST", Sets(Setting::Host), Always),
    ("ONLY1MCP_PORT", Sets(Setting::Port), Always),
    ("ONLY1MCP_LOG_LEVEL", Sets(Setting::LogLevel), Always),
    ("ONLY1MCP_METRICS_PORT", Sets(Setting::MetricsPort), Always),
    ("ONLY1MCP_TLS_CERT", Refused, Always),
    ("ONLY1MCP_TLS_KEY", Refused, Always),
    ("ONLY1MCP_JWT_SECRET", Refused, Always),
    ("ONLY1MCP_ADMIN_API_KEY", Refused, Always),
    ("ONLY1MCP_ENV", PassedOver, Always),
    // MCPO.
    ("MCP_API_KEYS", Sets(Setting::Keys), Always),
    ("MCP_PORT", Sets(Setting::Port), Reading::Compat),
    ("BIND_IP", Sets(Setting::Host), Reading::Compat),
    (
        "METRICS_ENABLED",
        Sets(Setting::MetricsEnabled),
        Reading::Compat,
    ),
    ("RATE_LIMIT_WINDOW_MS", Refused, Reading::Compat),
    ("RATE_LIMIT_MAX_REQUESTS", Refused, Reading::Compat),
    (
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
        PassedOver,
        Reading::Compat,
    ),
    ("CIRCUIT_BREAKER_RESET_TIMEOUT", PassedOver, Reading::Compat),
    // The deployment patterns' bare names.
    ("SERVER_HOST", Sets(Setting::Host), Reading::Compat),
    ("SERVER_PORT", Sets(Setting::Port), Reading::Compat),
    ("LOG_LEVEL", Sets(Setting::LogLevel), Reading::Compat),
    ("API_KEY", Sets(Setting::Keys), Reading::Compat),
    ("OAUTH_ISSUER", Refused, Reading::Compat),
    ("OAUTH_CLIENT_ID", Refused, Reading::Compat),
    ("OAUTH_CLIENT_SECRET", Refused, Reading::Compat),
    ("NODE_ENV", PassedOver, Reading::Compat),
    ("REDIS_URL", PassedOver, Reading::Compat),
    ("SENTRY_DSN", PassedOver, Reading::Compat),
];

/// Beginnings of names that Kubernetes makes of a service called like us.
const SERVICE_LINKS: &[&str] = &["SWITCHBOX_SERVICE_", "SWITCHBOX_PORT_"];

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// The settings that could be read.
    pub draft: Draft,
    /// What is wrong, by the order of the table.
    pub problems: Vec<Problem>,
    /// What the operator should know.
    pub notes: Vec<Note>,
}

/// Whether compatibility names are read, as far as the environment says.
pub fn compat(around: &dyn Surroundings) -> Option<bool> {
    let text = around.variable("SWITCHBOX_COMPAT")?.into_string().ok()?;
    words::boolean(&text).ok()
}

/// The path of the configuration file, if the environment names one, and the variable that does.
pub fn config_file(around: &dyn Surroundings) -> Option<(&'static str, std::ffi::OsString)> {
    VARIABLES
        .iter()
        .filter(|(_, meaning, _)| *meaning == ConfigFile)
        .find_map(|(name, ..)| {
            Some((
                *name,
                around.variable(name).filter(|path| !path.is_empty())?,
            ))
        })
}

/// Reads every variable of the table that is set. An empty one counts as not set.
pub fn read(around: &dyn Surroundings, names: Reading) -> Environment {
    let mut read = Environment::default();
    for (name, meaning, reading) in VARIABLES {
        if *reading == Reading::Compat && names == Always {
            continue;
        }
        if around.variable(name).is_none_or(|value| value.is_empty()) {
            continue;
        }
        match meaning {
            Sets(setting) | SetsFromFile(setting) => {
                read.make(*setting, name, *meaning, around);
            }
            Compat => {
                if compat(around).is_none() {
                    let fault = Fault::Fact("neither true nor false".into());
                    read.problem(name, fault).expected = Some("true or false".into());
                }
            }
            Refused => {
                read.problem(name, Fault::NotYet((*name).into())).hint = Some("unset it".into());
            }
            PassedOver => read.notes.push(Note::NotYet {
                what: (*name).into(),
            }),
            ConfigFile | Granted => {}
        }
    }
    read.unknown(around);
    read
}

impl Environment {
    fn problem(&mut self, name: &str, fault: Fault) -> &mut Problem {
        self.problems
            .push(Problem::new(Place::Variable(name.into()), fault));
        self.problems.last_mut().expect("one was just pushed")
    }

    fn make(&mut self, setting: Setting, name: &str, meaning: Meaning, around: &dyn Surroundings) {
        let value = match expand::variable(name, around) {
            Ok(value) => value.unwrap_or_default(),
            Err((reason, _)) => {
                self.problem(name, Fault::Fact(reason));
                return;
            }
        };
        // Kubernetes sets NAME_PORT=tcp://… for every service; a service may be called like us.
        if setting == Setting::Port && value.starts_with("tcp://") {
            self.notes.push(Note::ServiceLink {
                variable: name.into(),
            });
            return;
        }
        if let Some(Place::Variable(first)) = self.draft.place(setting) {
            let first = first.clone();
            self.notes.push(Note::Shadowed {
                variable: name.into(),
                by: first,
            });
            return;
        }
        let text = match meaning {
            SetsFromFile(_) => match expand::file(value.trim(), around) {
                Ok(text) => text,
                Err((reason, _)) => {
                    self.problem(name, Fault::Fact(reason));
                    return;
                }
            },
            _ => value.clone(),
        };
        let texts = match setting.takes() {
            Takes::Texts => separate(&text),
            _ => vec![text.trim().to_string()],
        };
        if texts.is_empty() {
            self.problem(name, Fault::Fact("nothing but separators".into()));
            return;
        }
        let place = Place::Variable(name.into());
        if let Err(unfit) = self.draft.set(setting, &texts, place) {
            for (index, expected) in unfit {
                let found = match texts.get(index) {
                    Some(text) if !setting.is_secret() => format!("{text:?}"),
                    _ => String::new(),
                };
                let fault = Fault::Unfit {
                    key: setting.path().into(),
                    found,
                };
                let problem = self.problem(name, fault);
                problem.expected = Some(expected.what);
                problem.hint = expected.hint;
            }
        }
    }

    /// Notes the variables that begin like ours and are none.
    fn unknown(&mut self, around: &dyn Surroundings) {
        for name in around.variables() {
            let ours = name.starts_with("SWITCHBOX_");
            let known = VARIABLES.iter().any(|(known, ..)| *known == name);
            let linked = SERVICE_LINKS.iter().any(|start| name.starts_with(start));
            if ours && !known && !linked {
                let near = nearest(&name, VARIABLES.iter().map(|(known, ..)| *known));
                self.notes.push(Note::UnknownVariable {
                    variable: name,
                    near,
                });
            }
        }
    }
}

/// The parts of a list in one text: separated by commas or lines, lines that begin with `#` left out.
pub(super) fn separate(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(String::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::surroundings::Given;
    use super::*;

    #[test]
    fn every_setting_has_a_variable_of_its_path() {
        for (setting, path) in Setting::ALL {
            let name = format!("SWITCHBOX_{}", path.to_uppercase().replace('.', "_"));
            let found = VARIABLES.iter().find(|(known, ..)| **known == name);
            assert_eq!(
                found.map(|(_, meaning, _)| *meaning),
                Some(Sets(*setting)),
                "{name}"
            );
        }
    }

    #[test]
    fn names_of_child_servers_are_read_in_compatibility_mode_only() {
        let around = Given::variables(&[
            ("LOG_LEVEL", "debug"),
            ("SERVER_PORT", "3000"),
            ("API_KEY", "k.1"),
        ]);
        let read_always = read(&around, Always);
        assert!(read_always.draft.log_level.is_none() && read_always.draft.port.is_none());
        assert!(read_always.draft.keys.is_none());
        let read_compat = read(&around, Reading::Compat);
        assert_eq!(read_compat.draft.port.unwrap().value, 3000);
        assert_eq!(read_compat.draft.keys.unwrap().value.len(), 1);
    }

    #[test]
    fn own_name_wins_over_an_alias() {
        let around = Given::variables(&[("ONE_MCP_PORT", "1"), ("SWITCHBOX_PORT", "2")]);
        let read = read(&around, Always);
        assert_eq!(read.draft.port.unwrap().value, 2);
        assert_eq!(read.notes.len(), 1);
    }

    #[test]
    fn service_links_of_kubernetes_are_passed_over() {
        let around = Given::variables(&[
            ("SWITCHBOX_PORT", "tcp://10.0.0.1:3050"),
            ("SWITCHBOX_SERVICE_HOST", "10.0.0.1"),
            ("SWITCHBOX_PORT_3050_TCP", "tcp://10.0.0.1:3050"),
        ]);
        let read = read(&around, Always);
        assert!(read.draft.port.is_none());
        assert_eq!(read.problems, []);
        assert_eq!(read.notes.len(), 1);
    }

    #[test]
    fn misspelt_variable_is_noted() {
        let around = Given::variables(&[("SWITCHBOX_LOGLEVEL", "debug")]);
        let notes = read(&around, Always).notes;
        assert_eq!(
            notes[0].to_string(),
            "environment variable SWITCHBOX_LOGLEVEL has no meaning; did you mean SWITCHBOX_LOG_LEVEL?"
        );
    }

    #[test]
    fn key_in_a_variable_is_never_repeated() {
        let around = Given::variables(&[("SWITCHBOX_API_KEYS", "good,hunter2 hunter2")]);
        let told = format!("{:?}", read(&around, Always));
        assert!(!told.contains("hunter2"), "{told}");
    }
}
