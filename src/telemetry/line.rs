//! One event as one line: text for people, JSON for machines.
//!
//! ```text
//! 2026-11-20T09:30:00.125Z INFO upstream ready server=time took=312ms name=mcp-time version=1.2.0
//! {"timestamp":"2026-11-20T09:30:00.125Z","level":"INFO","message":"upstream ready","server":"time",…}
//! ```
//!
//! In JSON a `duration` stands twice, as text (`"125ms"`) and as a number of milliseconds (`durationMs`),
//! since dashboards made for other gateways expect the one or the other.

use super::escape;
use crate::config::redact::Redactor;
use crate::config::{Level, LogFormat};
use crate::event::{Event, Field};
use crate::time::Wall;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// The line of `event`, its line feed included; `held` lines of the same kind were left out before it.
pub(super) fn of_event(
    format: LogFormat,
    wall: Wall,
    event: &Event,
    held: u64,
    redactor: &Redactor,
) -> String {
    let mut line = Line::new(format, wall, event.level(), event.name());
    event.fields(&mut |name, field| line.field(name, field, redactor));
    if held > 0 {
        line.field("held", Field::Number(held), redactor);
    }
    line.end()
}

/// A line being written.
pub(super) struct Line {
    format: LogFormat,
    out: String,
}

impl Line {
    /// Begins a line.
    pub(super) fn new(format: LogFormat, wall: Wall, level: Level, name: &str) -> Line {
        let mut out = String::with_capacity(160);
        let level = word(level);
        match format {
            LogFormat::Text => write!(out, "{wall} {level} {name}"),
            LogFormat::Json => write!(
                out,
                r#"{{"timestamp":"{wall}","level":"{level}","message":"{name}""#
            ),
        }
        .expect("a String takes everything");
        Line { format, out }
    }

    /// Adds a value.
    pub(super) fn field(&mut self, name: &str, field: Field, redactor: &Redactor) {
        match self.format {
            LogFormat::Text => {
                write!(self.out, " {name}=").expect("a String takes everything");
                self.value(field, redactor);
            }
            LogFormat::Json => {
                write!(self.out, r#","{name}":"#).expect("a String takes everything");
                self.value(field, redactor);
                if let ("duration", Field::Length(length)) = (name, field) {
                    write!(self.out, r#","durationMs":{}"#, Millis(length))
                        .expect("a String takes everything");
                }
            }
        }
    }

    /// The whole line.
    pub(super) fn end(mut self) -> String {
        if self.format == LogFormat::Json {
            self.out.push('}');
        }
        self.out.push('\n');
        self.out
    }

    fn value(&mut self, field: Field, redactor: &Redactor) {
        let text: Cow<str> = match field {
            Field::Word(word) => word.into(),
            Field::Foreign(text) => redactor.clean(text),
            Field::Length(length) => format!("{}ms", Millis(length)).into(),
            Field::Address(address) => address.to_canonical().to_string().into(),
            Field::Number(number) => {
                write!(self.out, "{number}").expect("a String takes everything");
                return;
            }
        };
        match self.format {
            LogFormat::Text => escape::text(&mut self.out, &text),
            LogFormat::Json => escape::json(&mut self.out, &text),
        }
    }
}

/// The word of a level.
pub(super) const fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    }
}

/// A length in milliseconds, to the microsecond, without idle zeros: `312`, `0.085`.
pub(super) struct Millis(pub(super) Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        let (whole, part) = (micros / 1000, micros % 1000);
        match part {
            0 => write!(f, "{whole}"),
            _ if part % 100 == 0 => write!(f, "{whole}.{}", part / 100),
            _ if part % 10 == 0 => write!(f, "{whole}.{:02}", part / 10),
            _ => write!(f, "{whole}.{part:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::{every_event, exchange, server};

    /// What servers and clients may send to be believed to be us.
    const NASTY: &[&str] = &[
        "",
        " ",
        "=",
        "\"",
        "\\",
        "\\\"",
        "a\nb",
        "a\r\nb",
        "\n2026-11-20T09:30:00.125Z INFO upstream ready server=forged",
        "x\" level=ERROR message=\"forged",
        "x\",\"level\":\"ERROR\",\"message\":\"forged",
        "x\\\",\"level\":\"ERROR\"",
        "\x1b[2J\x1b[31mred\x1b[0m",
        "\u{9b}31m",
        "\u{85}next line\u{2028}line\u{2029}paragraph",
        "\u{202e}gnp.exe\u{2066}\u{2069}",
        "zero\u{200b}width\u{feff}",
        "\u{e0041}\u{e0042}tags",
        "nul\0byte",
        "\x0b\x0c\x08\x7f",
        "tab\tbed",
        "{}",
        "}\n{\"timestamp\":\"2026-11-20T09:30:00.125Z\"",
        "größe 漢字 🙂",
    ];

    fn foreign_values(event: &Event) -> usize {
        let mut count = 0;
        event.fields(&mut |_, field| count += usize::from(matches!(field, Field::Foreign(_))));
        count
    }

    /// Takes a text line apart again, as a strict reader of `key=value` would.
    fn parse_text(line: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut rest = line;
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.rsplit(' ').next().unwrap().to_string();
            if let Some(quoted) = after.strip_prefix('"') {
                let mut end = 0;
                let bytes = quoted.as_bytes();
                while bytes[end] != b'"' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                pairs.push((key, quoted[..end].to_string()));
                rest = &quoted[end + 1..];
            } else {
                let end = after.find(' ').unwrap_or(after.len());
                pairs.push((key, after[..end].to_string()));
                rest = &after[end..];
            }
        }
        pairs
    }

    #[test]
    fn no_value_can_forge_a_line_or_a_field() {
        let redactor = Redactor::default();
        for nasty in NASTY {
            for event in every_event(nasty) {
                let mut names = Vec::new();
                event.fields(&mut |name, _| names.push(name.to_string()));

                let line = of_event(LogFormat::Text, Wall(0), &event, 0, &redactor);
                let body = line.strip_suffix('\n').unwrap();
                assert!(!body.chars().any(escape::is_hidden), "{body}");
                let keys: Vec<_> = parse_text(body).into_iter().map(|(key, _)| key).collect();
                assert_eq!(keys, names, "{body}");

                let line = of_event(LogFormat::Json, Wall(0), &event, 0, &redactor);
                let body = line.strip_suffix('\n').unwrap();
                assert!(!body.chars().any(escape::is_hidden), "{body}");
                let object: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(body).unwrap();
                let keys: Vec<_> = object
                    .keys()
                    .skip(3)
                    .filter(|key| *key != "durationMs")
                    .cloned()
                    .collect();
                assert_eq!(keys, names, "{body}");
                assert_eq!(object["message"], event.name());
            }
        }
    }

    #[test]
    fn nasty_list_reaches_every_event_with_foreign_text() {
        let reached = every_event("\n")
            .iter()
            .filter(|event| foreign_values(event) > 0)
            .count();
        assert!(reached >= 9, "{reached} events");
    }

    #[test]
    fn text_line_reads_as_documented() {
        let event = Event::UpstreamReady {
            server: server("time"),
            took: Duration::from_micros(312_000),
            name: "mcp time".into(),
            version: "1.2.0".into(),
        };
        assert_eq!(
            of_event(
                LogFormat::Text,
                Wall(1_795_167_000_125),
                &event,
                0,
                &Redactor::default()
            ),
            "2026-11-20T09:30:00.125Z INFO upstream ready server=time took=312ms name=\"mcp time\" version=1.2.0\n"
        );
    }

    #[test]
    fn json_line_has_the_names_that_dashboards_expect() {
        let event = Event::ExchangeEnded(Box::new(exchange("time__now")));
        assert_eq!(
            of_event(
                LogFormat::Json,
                Wall(1_795_167_000_125),
                &event,
                0,
                &Redactor::default()
            ),
            concat!(
                r#"{"timestamp":"2026-11-20T09:30:00.125Z","level":"DEBUG","message":"request completed","#,
                r#""peer":"192.0.2.7","clientId":"ci","method":"tools/call","tool":"time__now","server":"time","#,
                r#""outcome":"success","status":200,"duration":"125ms","durationMs":125,"upstream":"124.5ms"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn lengths_are_shown_to_the_microsecond() {
        let check = |micros, expected: &str| {
            assert_eq!(Millis(Duration::from_micros(micros)).to_string(), expected);
        };
        check(0, "0");
        check(85, "0.085");
        check(1_250, "1.25");
        check(1_500, "1.5");
        check(312_000, "312");
    }
}
