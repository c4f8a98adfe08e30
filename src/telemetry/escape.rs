//! How a value is written into a line so that it cannot be taken for anything else.
//!
//! Whatever a peer says ends up as one value of one line: no line break, no terminal sequence, no text
//! that is shown in another order than it is stored, and no quote that would end the value early.

use crate::config::limits::LOG_VALUE_BYTES_MAX;
use std::fmt::Write as _;

/// Whether `c` is better shown by its number: control characters (ESC among them), line and paragraph
/// separators, what turns the direction of text, and what has no width.
pub(super) const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// At most [`LOG_VALUE_BYTES_MAX`] bytes of `text`, and whether something was left out.
pub(super) fn cut(text: &str) -> (&str, bool) {
    if text.len() <= LOG_VALUE_BYTES_MAX {
        return (text, false);
    }
    let mut end = LOG_VALUE_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], true)
}

/// Writes a value of a text line: bare where that is unambiguous, in double quotes elsewhere.
pub(super) fn text(out: &mut String, value: &str) {
    let (value, more) = cut(value);
    let bare = !more
        && !value.is_empty()
        && value
            .chars()
            .all(|c| !c.is_whitespace() && !is_hidden(c) && !matches!(c, '"' | '\\' | '='));
    if bare {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' => out.push(' '),
            c if is_hidden(c) || c.is_whitespace() => number(out, c),
            c => out.push(c),
        }
    }
    if more {
        out.push('…');
    }
    out.push('"');
}

/// Writes a value of an access line: one word whatever it holds, `-` for nothing.
pub(super) fn word(out: &mut String, value: &str) {
    if value.is_empty() {
        out.push('-');
        return;
    }
    let (value, more) = cut(value);
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '[' | ']' | '=' => number(out, c),
            c if is_hidden(c) || c.is_whitespace() => number(out, c),
            c => out.push(c),
        }
    }
    if more {
        out.push('…');
    }
}

/// Writes a JSON string (RFC 8259 §7) that is also harmless when shown as it is.
pub(super) fn json(out: &mut String, value: &str) {
    let (value, more) = cut(value);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a String takes everything");
                }
            }
            c => out.push(c),
        }
    }
    if more {
        out.push('…');
    }
    out.push('"');
}

fn number(out: &mut String, c: char) {
    write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut String, &str), value: &str) -> String {
        let mut out = String::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn text_value_is_bare_where_that_is_unambiguous() {
        let check = |value, expected: &str| assert_eq!(written(text, value), expected);
        check("time", "time");
        check("größe", "größe");
        check("", r#""""#);
        check("two words", r#""two words""#);
        check("a=b", r#""a=b""#);
        check("say \"hi\" \\", r#""say \"hi\" \\""#);
        check("a\r\nb\tc", r#""a\r\nb\tc""#);
        check("\x1b[31mred\u{202e}", r#""\u{1b}[31mred\u{202e}""#);
        check("a\u{85}b\u{2028}c\u{a0}", r#""a\u{85}b\u{2028}c\u{a0}""#);
    }

    #[test]
    fn access_value_is_one_word() {
        let check = |value, expected: &str| assert_eq!(written(word, value), expected);
        check("ci", "ci");
        check("", "-");
        check("a b", r"a\u{20}b");
        check("x\" 200", r#"x\"\u{20}200"#);
        check("[now]", r"\u{5b}now\u{5d}");
        check("a\nb", r"a\u{a}b");
    }

    #[test]
    fn json_value_reads_back_the_same() {
        for value in [
            "",
            "a\"\\b",
            "\x1b[0m\u{9b}",
            "\u{2028}\u{202e}\u{e0041}",
            "größe 漢字 🙂",
            "a/b\u{7f}\0",
        ] {
            let out = written(json, value);
            assert!(!out.chars().any(is_hidden), "{out}");
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), value);
        }
    }

    #[test]
    fn long_value_is_cut_between_characters() {
        let value = "é".repeat(LOG_VALUE_BYTES_MAX);
        for write in [text, word, json] {
            let out = written(write, &value);
            assert!(out.len() <= LOG_VALUE_BYTES_MAX + 8, "{} bytes", out.len());
            assert!(out.trim_end_matches('"').ends_with('…'));
        }
    }
}
