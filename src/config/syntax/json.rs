//! JSON with comments and trailing commas, with positions, and no key twice.
//!
//! Our own hundred and fifty lines because no parser at hand keeps the place of every value, and
//! because the last of two equal keys must not win in silence.

use super::SyntaxFault;
use crate::config::limits::CONFIG_DEPTH_MAX;
use crate::config::node::{Entry, Node, Span, Value};
use std::collections::BTreeSet;

pub(super) fn read(text: &str) -> Result<Node, SyntaxFault> {
    let mut reader = Reader { text, at: 0 };
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.space()?;
    let root = reader.value(1)?;
    reader.space()?;
    match reader.peek() {
        None => Ok(root),
        Some(_) => Err(reader.unexpected("nothing after the value")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &str) -> SyntaxFault {
        let message = match self.text[self.at..].chars().next() {
            None => "the file ends".to_string(),
            Some(c) if c.is_control() => "a control character".to_string(),
            // Letters and digits could begin a secret.
            Some(c) if c.is_alphanumeric() => "a bare word".to_string(),
            Some(c) => format!("'{c}'"),
        };
        SyntaxFault::at(self.at, format!("{message} where it does not belong")).expecting(expected)
    }

    /// Passes over space and comments.
    fn space(&mut self) -> Result<(), SyntaxFault> {
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with([' ', '\t', '\r', '\n']) {
                self.at += 1;
            } else if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return Err(SyntaxFault::at(self.at, "comment without an end")),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxFault> {
        if depth > CONFIG_DEPTH_MAX {
            return Err(SyntaxFault::too_deep(self.at));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        let span = Span {
            start,
            end: self.at,
        };
        Ok(Node { value, span })
    }

    fn map(&mut self, depth: usize) -> Result<Value, SyntaxFault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut keys = BTreeSet::new();
        self.at += 1;
        loop {
            self.space()?;
            match self.peek() {
                Some(b'}') => break,
                Some(b'"') => {}
                _ => return Err(self.unexpected("a key in double quotes, or '}'")),
            }
            let start = self.at;
            let key = self.string()?;
            let key_span = Span {
                start,
                end: self.at,
            };
            if !keys.insert(key.clone()) {
                return Err(SyntaxFault::repeated(&key, key_span));
            }
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected("':'"));
            }
            self.at += 1;
            self.space()?;
            let node = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                key_span,
                node,
            });
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("',' or '}'")),
            }
        }
        self.at += 1;
        Ok(Value::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value, SyntaxFault> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.space()?;
            if self.peek() == Some(b']') {
                break;
            }
            items.push(self.value(depth + 1)?);
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("',' or ']'")),
            }
        }
        self.at += 1;
        Ok(Value::List(items))
    }

    /// A string. Its end is found here, its escapes are undone by `serde_json`.
    fn string(&mut self) -> Result<String, SyntaxFault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(0..0x20) | None => {
                    return Err(SyntaxFault::at(start, "string without an end on its line"));
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| SyntaxFault {
            span: Span {
                start,
                end: self.at,
            },
            message: "string with an unknown escape".into(),
            expected: Some("\\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four digits".into()),
        })
    }

    fn number(&mut self) -> Result<Value, SyntaxFault> {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let number = &rest[..length];
        if serde_json::from_str::<serde_json::Number>(number).is_err() {
            return Err(SyntaxFault {
                span: Span {
                    start: self.at,
                    end: self.at + length,
                },
                message: "not a number".into(),
                expected: Some("a number such as 5, -1 or 0.5".into()),
            });
        }
        self.at += length;
        Ok(Value::Number(number.into()))
    }

    fn word(&mut self) -> Result<Value, SyntaxFault> {
        let rest = &self.text[self.at..];
        for (word, value) in [
            ("true", Value::Boolean(true)),
            ("false", Value::Boolean(false)),
            ("null", Value::Null),
        ] {
            if rest.starts_with(word) && !rest[word.len()..].starts_with(char::is_alphanumeric) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("a value: text in double quotes, a number, true, false, [ or {"))
    }
}
