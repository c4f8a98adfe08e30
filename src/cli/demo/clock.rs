//! `time`: the machine's idea of the time.

use super::{Arguments, Tool, object, text};
use crate::runtime::clock::Clock;
use crate::time::Wall;
use serde_json::{Value, json};

pub(super) const TOOL: Tool = Tool {
    name: "time",
    title: "Time",
    description: "The current time of the machine that runs this server, in UTC and at an offset from it.",
    input: || {
        let offset = json!({
            "type": "string",
            "description": "Offset from UTC of the local time to add, such as +02:00",
            "pattern": "^[+-][0-9]{2}:[0-9]{2}$",
        });
        (json!({"utc_offset": offset}), &[])
    },
    output: || {
        let properties = json!({
            "utc": {"type": "string", "description": "RFC 3339"},
            "unix_seconds": {"type": "integer"},
            "local": {"type": "string", "description": "RFC 3339, at the offset that was asked for"},
        });
        object(properties, &["utc", "unix_seconds"])
    },
    call,
};

fn call(arguments: &Arguments) -> Result<Value, String> {
    let now = Clock::start().wall_at_zero();
    let mut told = json!({"utc": now.to_string(), "unix_seconds": now.0 / 1000});
    if let Some(offset) = text(arguments, "utc_offset")? {
        let minutes = minutes(offset).ok_or_else(|| {
            format!("argument \"utc_offset\" must be like +02:00, at most 18 hours, not {offset:?}")
        })?;
        told["local"] = local(now, minutes, offset).into();
    }
    Ok(told)
}

/// Minutes of an offset such as `+02:00`.
fn minutes(offset: &str) -> Option<i64> {
    let (sign, rest) = match offset.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two_digits = |text: &str| {
        let fits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn local(now: Wall, minutes: i64, offset: &str) -> String {
    let shifted = Wall(now.0.saturating_add_signed(minutes * 60_000)).to_string();
    format!("{}{offset}", shifted.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_applied() {
        let check = |offset, expected: Option<&str>| {
            let told = minutes(offset).map(|m| local(Wall(1_795_166_400_125), m, offset));
            assert_eq!(told.as_deref(), expected, "{offset}");
        };
        check("+02:00", Some("2026-11-20T11:20:00.125+02:00"));
        check("-09:30", Some("2026-11-19T23:50:00.125-09:30"));
        check("+00:00", Some("2026-11-20T09:20:00.125+00:00"));
        for wrong in [
            "", "Z", "02:00", "+2:00", "+02:60", "+19:00", "+aa:00", "+é:00", "++1:00",
        ] {
            check(wrong, None);
        }
    }
}
