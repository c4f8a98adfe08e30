//! Settings as one source makes them: a few of many, each with its place.
//!
//! The file, the command line and the environment are each read into a [`Draft`] by the same
//! function; `resolve` lays them over each other.

use super::limits::{DRAIN_TIMEOUT, EXCHANGE_TIMEOUT_MAX, KEY_BYTES_MAX, WORKERS_MAX};
use super::problem::Place;
use super::words::{self, Expected, Unit};
use super::{Access, Key, Level, LogFormat, Names};
use crate::secret::{Secret, equal_in_constant_time};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The key of published examples. Whoever knows the documents knows it.
const PUBLISHED_KEY: &str = "dev-key-12345";

/// A value and where it was given.
#[derive(Clone, Debug)]
pub struct Made<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

/// What one source says. What it does not mention is `None`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Draft {
    pub listen: Option<Made<Vec<SocketAddr>>>,
    pub host: Option<Made<IpAddr>>,
    pub port: Option<Made<u16>>,
    pub names: Option<Made<Names>>,
    pub wait_for_servers: Option<Made<Duration>>,
    pub workers: Option<Made<usize>>,
    pub drain: Option<Made<Duration>>,
    pub keys: Option<Made<Vec<Key>>>,
    pub allow_unauthenticated: Option<Made<bool>>,
    pub hosts: Option<Made<Vec<String>>>,
    pub origins: Option<Made<Vec<String>>>,
    pub http_sse: Option<Made<bool>>,
    pub log_level: Option<Made<Level>>,
    pub log_format: Option<Made<LogFormat>>,
    pub log_access: Option<Made<Access>>,
    pub metrics_enabled: Option<Made<bool>>,
    pub metrics_listen: Option<Made<SocketAddr>>,
    pub metrics_port: Option<Made<u16>>,
}

/// One setting that file, command line and environment can all make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Setting {
    Listen,
    Host,
    Port,
    Names,
    WaitForServers,
    Workers,
    Drain,
    Keys,
    AllowUnauthenticated,
    Hosts,
    Origins,
    HttpSse,
    LogLevel,
    LogFormat,
    LogAccess,
    MetricsEnabled,
    MetricsListen,
    MetricsPort,
}

/// What kind of value a setting takes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Text.
    Text,
    /// Text or a number.
    TextOrNumber,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Text, or a list of texts; numbers too.
    Texts,
}

/// What was wrong with the n-th of the given texts.
pub type Unfit = (usize, Expected);

impl Setting {
    /// Every setting, with its path in the file.
    pub const ALL: &[(Setting, &str)] = &[
        (Setting::Listen, "listen"),
        (Setting::Host, "host"),
        (Setting::Port, "port"),
        (Setting::Names, "names"),
        (Setting::WaitForServers, "wait_for_servers"),
        (Setting::Workers, "workers"),
        (Setting::Drain, "drain"),
        (Setting::Keys, "auth.keys"),
        (Setting::AllowUnauthenticated, "auth.allow_unauthenticated"),
        (Setting::Hosts, "hosts"),
        (Setting::Origins, "origins"),
        (Setting::HttpSse, "http_sse"),
        (Setting::LogLevel, "log.level"),
        (Setting::LogFormat, "log.format"),
        (Setting::LogAccess, "log.access"),
        (Setting::MetricsEnabled, "metrics.enabled"),
        (Setting::MetricsListen, "metrics.listen"),
        (Setting::MetricsPort, "metrics.port"),
    ];

    /// Its path in the file.
    pub fn path(self) -> &'static str {
        Setting::ALL
            .iter()
            .find(|(setting, _)| *setting == self)
            .map(|(_, path)| *path)
            .expect("the table lists every setting")
    }

    /// The setting at this path of the file.
    pub fn at(path: &str) -> Option<Setting> {
        Setting::ALL
            .iter()
            .find(|(_, known)| *known == path)
            .map(|(setting, _)| *setting)
    }

    /// What a file must give for it.
    pub fn takes(self) -> Takes {
        match self {
            Setting::Listen | Setting::Keys | Setting::Hosts | Setting::Origins => Takes::Texts,
            Setting::Port | Setting::Workers | Setting::MetricsPort => Takes::Number,
            Setting::WaitForServers | Setting::Drain | Setting::MetricsListen => {
                Takes::TextOrNumber
            }
            Setting::AllowUnauthenticated | Setting::HttpSse | Setting::MetricsEnabled => {
                Takes::Boolean
            }
            Setting::Host
            | Setting::Names
            | Setting::LogLevel
            | Setting::LogFormat
            | Setting::LogAccess => Takes::Text,
        }
    }

    /// Whether its value is a secret.
    pub fn is_secret(self) -> bool {
        self == Setting::Keys
    }
}

impl Draft {
    /// Makes one setting; on error nothing is changed.
    pub fn set(
        &mut self,
        setting: Setting,
        texts: &[String],
        place: Place,
    ) -> Result<(), Vec<Unfit>> {
        let one = || texts.first().map_or("", String::as_str);
        let first = |expected: Expected| vec![(0, expected)];
        macro_rules! make {
            ($field:ident, $value:expr) => {
                self.$field = Some(Made {
                    value: $value,
                    place,
                })
            };
        }
        match setting {
            Setting::Listen => make!(listen, each(texts, words::listen)?),
            Setting::Host => make!(host, words::host(one()).map_err(first)?),
            Setting::Port => make!(port, words::port(one()).map_err(first)?),
            Setting::Names => make!(names, words::names(one()).map_err(first)?),
            Setting::WaitForServers => {
                let wait = match one() {
                    "off" | "no" => Ok(Duration::ZERO),
                    text => words::duration(text, Unit::Seconds, EXCHANGE_TIMEOUT_MAX),
                };
                make!(wait_for_servers, wait.map_err(first)?);
            }
            Setting::Workers => make!(workers, words::count(one(), 1, WORKERS_MAX).map_err(first)?),
            Setting::Drain => {
                let most = DRAIN_TIMEOUT * 20;
                make!(
                    drain,
                    words::duration(one(), Unit::Seconds, most).map_err(first)?
                );
            }
            Setting::Keys => make!(keys, keys(texts)?),
            Setting::AllowUnauthenticated => {
                make!(allow_unauthenticated, words::boolean(one()).map_err(first)?);
            }
            Setting::Hosts => make!(hosts, each(texts, words::allowed_host)?),
            Setting::Origins => make!(origins, each(texts, words::origin)?),
            Setting::HttpSse => make!(http_sse, words::boolean(one()).map_err(first)?),
            Setting::LogLevel => make!(log_level, words::level(one()).map_err(first)?),
            Setting::LogFormat => make!(log_format, words::log_format(one()).map_err(first)?),
            Setting::LogAccess => make!(log_access, words::access(one()).map_err(first)?),
            Setting::MetricsEnabled => {
                make!(metrics_enabled, words::boolean(one()).map_err(first)?)
            }
            Setting::MetricsListen => make!(metrics_listen, words::listen(one()).map_err(first)?),
            Setting::MetricsPort => make!(metrics_port, words::port(one()).map_err(first)?),
        }
        Ok(())
    }

    /// Where the setting was made, if it was.
    pub fn place(&self, setting: Setting) -> Option<&Place> {
        fn of<T>(made: &Option<Made<T>>) -> Option<&Place> {
            made.as_ref().map(|made| &made.place)
        }
        match setting {
            Setting::Listen => of(&self.listen),
            Setting::Host => of(&self.host),
            Setting::Port => of(&self.port),
            Setting::Names => of(&self.names),
            Setting::WaitForServers => of(&self.wait_for_servers),
            Setting::Workers => of(&self.workers),
            Setting::Drain => of(&self.drain),
            Setting::Keys => of(&self.keys),
            Setting::AllowUnauthenticated => of(&self.allow_unauthenticated),
            Setting::Hosts => of(&self.hosts),
            Setting::Origins => of(&self.origins),
            Setting::HttpSse => of(&self.http_sse),
            Setting::LogLevel => of(&self.log_level),
            Setting::LogFormat => of(&self.log_format),
            Setting::LogAccess => of(&self.log_access),
            Setting::MetricsEnabled => of(&self.metrics_enabled),
            Setting::MetricsListen => of(&self.metrics_listen),
            Setting::MetricsPort => of(&self.metrics_port),
        }
    }
}

fn each<T>(texts: &[String], read: fn(&str) -> Result<T, Expected>) -> Result<Vec<T>, Vec<Unfit>> {
    let mut values = Vec::new();
    let mut unfit = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match read(text) {
            Ok(value) => values.push(value),
            Err(expected) => unfit.push((index, expected)),
        }
    }
    if unfit.is_empty() {
        Ok(values)
    } else {
        Err(unfit)
    }
}

/// The keys of one list, named by what stands before their first `.`, or by their number.
fn keys(texts: &[String]) -> Result<Vec<Key>, Vec<Unfit>> {
    let mut keys: Vec<Key> = Vec::new();
    let mut unfit = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let text = text.trim();
        let known =
            |key: &Key| equal_in_constant_time(key.secret.expose().as_bytes(), text.as_bytes());
        if text == PUBLISHED_KEY {
            let expected = Expected::new("a key of your own, not the one of published examples");
            unfit.push((index, expected.hinting("`switchbox keygen` makes one")));
        } else if text.is_empty()
            || text.len() > KEY_BYTES_MAX
            || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            let what = format!("1 to {KEY_BYTES_MAX} visible ASCII characters without a space");
            unfit.push((index, Expected::new(what)));
        } else if !keys.iter().any(known) {
            let id = match text.split_once('.') {
                Some((id, _)) if !id.is_empty() && id.len() <= 32 => id.to_string(),
                _ => format!("key-{}", index + 1),
            };
            keys.push(Key {
                id,
                secret: Secret::new(text.to_string()),
            });
        }
    }
    if unfit.is_empty() {
        Ok(keys)
    } else {
        Err(unfit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_one_path() {
        for (setting, path) in Setting::ALL {
            assert_eq!(setting.path(), *path);
            assert_eq!(Setting::at(path), Some(*setting));
        }
    }

    #[test]
    fn key_is_named_by_its_first_part_or_its_number() {
        let keys = keys(&["ci.0123456789".into(), "plain".into(), "plain".into()]).unwrap();
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["ci", "key-2"]);
    }

    #[test]
    fn published_key_is_refused() {
        let unfit = keys(&["fine".into(), "dev-key-12345".into()]).unwrap_err();
        assert_eq!(unfit[0].0, 1);
        assert!(unfit[0].1.hint.as_deref().unwrap().contains("keygen"));
    }
}
