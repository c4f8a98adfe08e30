//! What single values look like: lengths of time, addresses, levels and other words.
//!
//! The same functions read the file, the command line and the environment. Each says what it would
//! have taken, never what it got: that may be a secret, and only the caller knows.

use super::problem::nearest;
use super::{Access, EraChoice, Level, LogFormat, Names, Share};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What a value should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// In words.
    pub what: String,
    /// The word that was probably meant, or what to write instead.
    pub hint: Option<String>,
}

impl Expected {
    /// Only what it should have been.
    pub fn new(what: impl Into<String>) -> Expected {
        Expected {
            what: what.into(),
            hint: None,
        }
    }

    /// With what to write instead.
    pub fn hinting(mut self, hint: impl Into<String>) -> Expected {
        self.hint = Some(hint.into());
        self
    }
}

/// One of a few words; case and the choice between `-` and `_` do not count.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Expected> {
    let wanted = text.trim().to_ascii_lowercase().replace('-', "_");
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == wanted) {
        return Ok(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = nearest(text, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
    Err(Expected {
        what: any_of(&known),
        hint,
    })
}

/// `"a", "b" or "c"`.
pub(super) fn any_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// `prefixed` or `bare`.
pub fn names(text: &str) -> Result<Names, Expected> {
    word(
        text,
        &[("prefixed", Names::Prefixed), ("bare", Names::Bare)],
    )
}

/// `debug`, `info`, `warn` or `error`.
pub fn level(text: &str) -> Result<Level, Expected> {
    let words = [
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    match text.trim().to_ascii_lowercase().as_str() {
        "warning" => Ok(Level::Warn),
        _ => word(text, &words),
    }
}

/// `text` or `json`.
pub fn log_format(text: &str) -> Result<LogFormat, Expected> {
    word(
        text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    )
}

/// `shared` or `per_session`.
pub fn share(text: &str) -> Result<Share, Expected> {
    word(
        text,
        &[
            ("shared", Share::Shared),
            ("per_session", Share::PerSession),
        ],
    )
}

/// `auto`, `legacy` or `modern`.
pub fn era(text: &str) -> Result<EraChoice, Expected> {
    word(
        text,
        &[
            ("auto", EraChoice::Auto),
            ("legacy", EraChoice::Legacy),
            ("modern", EraChoice::Modern),
        ],
    )
}

/// `off`, `stderr`, or a path, told from a mistyped word by its `/` or `.`.
pub fn access(text: &str) -> Result<Access, Expected> {
    match text.trim() {
        "off" => Ok(Access::Off),
        "stderr" => Ok(Access::Stderr),
        path if path.contains(['/', '.']) && !path.contains('\0') => {
            Ok(Access::File(PathBuf::from(path)))
        }
        other => Err(Expected {
            what: "\"off\", \"stderr\", or a path with a '/' or '.' in it".into(),
            hint: nearest(other, ["off", "stderr"]).map(|near| format!("did you mean {near:?}?")),
        }),
    }
}

/// True or false, as configuration files and environments spell them.
pub fn boolean(text: &str) -> Result<bool, Expected> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(Expected::new("true or false")),
    }
}

/// A whole number of a range.
pub fn count(text: &str, least: usize, most: usize) -> Result<usize, Expected> {
    match text.trim().parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Expected::new(format!(
            "a whole number from {least} to {most}"
        ))),
    }
}

/// A port that can be listened on.
pub fn port(text: &str) -> Result<u16, Expected> {
    count(text, 1, usize::from(u16::MAX)).map(|port| port as u16)
}

/// The unit of a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As everywhere else.
    Seconds,
    /// In keys that end in `_ms`.
    Milliseconds,
}

/// A length of time: `500ms`, `30s`, `1m30s`, `2h`, or a plain number of the given unit.
pub fn duration(text: &str, unit: Unit, most: Duration) -> Result<Duration, Expected> {
    let expected = || Expected::new(expected_duration(unit, most));
    let text = text.trim();
    let millis = match text.parse::<u64>() {
        Ok(number) => number.checked_mul(match unit {
            Unit::Seconds => 1000,
            Unit::Milliseconds => 1,
        }),
        Err(_) if unit == Unit::Seconds => with_units(text),
        Err(_) => None,
    };
    let millis = millis.ok_or_else(expected)?;
    let length = Duration::from_millis(millis);
    if length <= most {
        return Ok(length);
    }
    // Many client files count in milliseconds where we count in seconds.
    let seconds = text.parse::<u64>().ok().map(Duration::from_millis);
    Err(match seconds {
        Some(meant) if meant <= most && unit == Unit::Seconds => expected().hinting(format!(
            "plain numbers are seconds; for milliseconds write \"{text}ms\""
        )),
        _ => expected(),
    })
}

fn expected_duration(unit: Unit, most: Duration) -> String {
    match unit {
        Unit::Seconds => format!(
            "a length of time such as \"30s\", \"500ms\" or \"2m\", at most {} s",
            most.as_secs()
        ),
        Unit::Milliseconds => {
            format!(
                "a whole number of milliseconds, at most {}",
                most.as_millis()
            )
        }
    }
}

/// Milliseconds of a row of numbers with units; `None` if it is none or too much.
fn with_units(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let factor = match &rest[..letters] {
            "ms" => 1,
            "s" | "sec" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(factor)?)?;
        rest = rest[letters..].trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

/// An address to listen on: `127.0.0.1:3050`, `[::1]:3050`, `localhost:3050`, or a port alone.
pub fn listen(text: &str) -> Result<SocketAddr, Expected> {
    let text = text.trim();
    let expected = || {
        Expected::new(
            "an address and a port such as \"127.0.0.1:3050\" or \"[::1]:3050\", or a port",
        )
    };
    if let Ok(port) = text.parse::<u16>() {
        return match port {
            0 => Err(expected()),
            port => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(ip) => {
                expected().hinting(format!("did you mean \"{}\"?", SocketAddr::new(ip, 3050)))
            }
            Err(_) => expected(),
        });
    };
    let hint_all = |port: &str| {
        expected().hinting(format!(
            "\"0.0.0.0:{port}\" listens on every IPv4 address, \"[::]:{port}\" on every address"
        ))
    };
    match (host, port.parse::<u16>()) {
        ("localhost", Ok(port @ 1..)) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        ("" | "*", Ok(_)) => Err(hint_all(port)),
        (_, Ok(1..)) => text.parse().map_err(|_| match text.parse::<IpAddr>() {
            Ok(ip) => expected().hinting(format!("did you mean \"[{ip}]:3050\"?")),
            Err(_) => expected(),
        }),
        // Port 0 is for tests, which ask the system for a free one.
        (_, Ok(0)) => text.parse().map_err(|_| expected()),
        _ => Err(expected()),
    }
}

/// An address without a port.
pub fn host(text: &str) -> Result<IpAddr, Expected> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    match bare {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => bare.parse().map_err(|_| {
            Expected::new("an IP address such as \"127.0.0.1\" or \"0.0.0.0\", or \"localhost\"")
        }),
    }
}

/// A host name that requests may name, with or without a port.
pub fn allowed_host(text: &str) -> Result<String, Expected> {
    let text = text.trim().to_ascii_lowercase();
    let expected = Expected::new("a host name such as \"mcp.example.org\", with or without a port");
    if text.contains("://") {
        return Err(expected.hinting("without a scheme"));
    }
    let fits = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
    if fits { Ok(text) } else { Err(expected) }
}

/// An origin: `https://app.example.org`, with a port if it is not the scheme's.
pub fn origin(text: &str) -> Result<String, Expected> {
    let text = text.trim().to_ascii_lowercase();
    let expected = Expected::new("an origin such as \"https://app.example.org\"");
    match text.split_once("://") {
        None => Err(expected.hinting("with a scheme")),
        Some((scheme, rest)) => {
            let rest_fits = !rest.is_empty() && allowed_host(rest).is_ok();
            if rest.ends_with('/') {
                return Err(expected.hinting("without a path"));
            }
            let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
            if scheme_fits && rest_fits {
                Ok(text)
            } else {
                Err(expected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn lengths_of_time_are_read_with_their_unit() {
        let check = |text, millis: Option<u64>| {
            let read = duration(text, Unit::Seconds, HOUR).ok();
            assert_eq!(read, millis.map(Duration::from_millis), "{text}");
        };
        check("30s", Some(30_000));
        check("30", Some(30_000));
        check("500ms", Some(500));
        check("1m30s", Some(90_000));
        check("1 h", Some(3_600_000));
        check("0", Some(0));
        check("61m", None);
        check("", None);
        check("s", None);
        check("-1s", None);
        check("1.5s", None);
        check("5 parsecs", None);
        check("99999999999999999999s", None);
        check("18446744073709551615h", None);
    }

    #[test]
    fn milliseconds_taken_for_seconds_are_noticed() {
        let expected = duration("30000", Unit::Seconds, HOUR).unwrap_err();
        assert!(expected.hint.unwrap().contains("\"30000ms\""));
    }

    #[test]
    fn addresses_to_listen_on_are_read() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(
                listen(text).ok().map(|a| a.to_string()).as_deref(),
                expected,
                "{text}"
            );
        };
        check("127.0.0.1:3050", Some("127.0.0.1:3050"));
        check("[::1]:80", Some("[::1]:80"));
        check("localhost:1", Some("127.0.0.1:1"));
        check("8080", Some("127.0.0.1:8080"));
        check("127.0.0.1:0", Some("127.0.0.1:0"));
        for bad in [
            "",
            ":3050",
            "*:3050",
            "::1",
            "127.0.0.1",
            "example.org:80",
            "0",
            "1.2.3.4:99999",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn words_forgive_case_and_name_what_was_meant() {
        assert_eq!(level("WARNING"), Ok(Level::Warn));
        assert_eq!(share("per-session"), Ok(Share::PerSession));
        let expected = names("prefxied").unwrap_err();
        assert_eq!(expected.what, "\"prefixed\" or \"bare\"");
        assert_eq!(expected.hint.as_deref(), Some("did you mean \"prefixed\"?"));
        assert_eq!(
            access("sdterr").unwrap_err().hint.as_deref(),
            Some("did you mean \"stderr\"?")
        );
        assert_eq!(
            access("/var/log/a.log"),
            Ok(Access::File("/var/log/a.log".into()))
        );
    }

    #[test]
    fn origins_and_hosts_are_names_only() {
        assert!(origin("https://App.example.org:8443").is_ok());
        for bad in [
            "app.example.org",
            "https://",
            "https://a/b",
            "https://a/",
            "*",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert!(allowed_host("mcp.example.org:8443").is_ok());
        for bad in ["", "https://a", "a/b", "a b"] {
            assert!(allowed_host(bad).is_err(), "{bad}");
        }
    }
}
