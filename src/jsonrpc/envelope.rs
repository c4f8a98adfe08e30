//! One JSON-RPC message, taken apart as far as routing needs it.
//!
//! Stricter than the specification where lenience lets two readers see two messages: a member of the
//! envelope may stand there once, and nothing may stand there that a reader who ignores case would take
//! for one (CVE-2026-27896).

use super::parse::{self, Among, ParseError, Span};
use crate::config::limits::ID_BYTES_MAX;
use std::borrow::Cow;

/// A message, its members as places in its text.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The whole message as it came.
    pub text: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// The parameters: always an object or an array, if there are any.
    pub params: Option<Span>,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind<'a> {
    /// It wants an answer under this id.
    Request { method: Cow<'a, str>, id: Span },
    /// It wants none.
    Notification { method: Cow<'a, str> },
    /// A result for this id.
    Result { id: Span, result: Span },
    /// An error for this id; `None` where the sender could not tell which.
    Error { id: Option<Span>, error: Span },
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EnvelopeError {
    /// It is no JSON: -32700.
    Parse(ParseError),
    /// It is JSON, but no JSON-RPC message: -32600. The id is its own if that much could be read.
    Invalid {
        id: Option<Vec<u8>>,
        fact: &'static str,
    },
    /// It is an array of messages: only 2025-03-26 knew those.
    Batch,
}

const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'a> Envelope<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// See [`EnvelopeError`]. JSON-RPC 2.0 §4, §5; MCP 2025-11-25 basic: ids are strings or integers.
    pub fn parse(text: &'a [u8]) -> Result<Envelope<'a>, EnvelopeError> {
        Envelope::parse_knowing(text, &[])
    }

    /// Like [`parse`](Envelope::parse); `known` is an object that stood in the params of a message that was
    /// accepted before, or nothing, see [`parse::check_members`].
    ///
    /// # Errors
    /// As [`parse`](Envelope::parse).
    pub fn parse_knowing(text: &'a [u8], known: &[u8]) -> Result<Envelope<'a>, EnvelopeError> {
        let mut found: [Option<Span>; 6] = [None; 6];
        let mut twice = None;
        let whole = parse::check_members(text, known, |key, value| match key.among(&MEMBERS) {
            Among::Is(index) if found[index].replace(value).is_some() => {
                twice = Some("a member of the envelope stands there twice");
            }
            Among::Resembles(_) => {
                twice = Some("a member differs from one of the envelope only in case");
            }
            Among::Is(_) | Among::Unknown => {}
        })
        .map_err(EnvelopeError::Parse)?;
        match text[whole.start] {
            b'{' => {}
            b'[' => return Err(EnvelopeError::Batch),
            _ => return invalid(None, "a message is a JSON object"),
        }
        let [version, id, method, params, result, error] = found;
        let own = id.map(|id| id.of(text)).filter(|id| is_id(id));
        if let Some(fact) = twice {
            return invalid(own, fact);
        }
        if version.is_none_or(|v| v.of(text) != b"\"2.0\"") {
            return invalid(own, "jsonrpc must be \"2.0\"");
        }
        if params.is_some_and(|p| !matches!(text[p.start], b'{' | b'[')) {
            return invalid(own, "params must be an object");
        }
        let kind = match (method, id, result, error) {
            (Some(method), _, None, None) => {
                let Some(method) = parse::string(text, method) else {
                    return invalid(own, "method must be a string");
                };
                match id {
                    None => Kind::Notification { method },
                    Some(id) if own.is_some() => Kind::Request { method, id },
                    Some(_) => {
                        return invalid(
                            None,
                            "id must be a string or an integer of at most 256 bytes",
                        );
                    }
                }
            }
            (None, Some(id), Some(result), None) if own.is_some() => Kind::Result { id, result },
            (None, id, None, Some(error)) if text[error.start] == b'{' => Kind::Error {
                id: id.filter(|_| own.is_some()),
                error,
            },
            (None, _, None, None) => return invalid(own, "no method, result or error"),
            _ => return invalid(own, "the members fit neither a request nor a response"),
        };
        Ok(Envelope { text, kind, params })
    }

    /// The id as it is written, if there is one.
    pub fn id(&self) -> Option<&'a [u8]> {
        match self.kind {
            Kind::Request { id, .. } | Kind::Result { id, .. } => Some(id.of(self.text)),
            Kind::Error { id, .. } => id.map(|id| id.of(self.text)),
            Kind::Notification { .. } => None,
        }
    }
}

fn invalid<T>(id: Option<&[u8]>, fact: &'static str) -> Result<T, EnvelopeError> {
    let id = id.map(<[u8]>::to_vec);
    Err(EnvelopeError::Invalid { id, fact })
}

/// Whether this is a string or an integer short enough to be kept.
fn is_id(raw: &[u8]) -> bool {
    raw.len() <= ID_BYTES_MAX
        && match raw.first() {
            Some(b'"') => true,
            Some(b'-') => raw.len() > 1 && raw[1..].iter().all(u8::is_ascii_digit),
            _ => !raw.is_empty() && raw.iter().all(u8::is_ascii_digit),
        }
}

const _: () = assert!(ID_BYTES_MAX == 256, "the facts above name it");

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(json: &str) -> &'static str {
        match Envelope::parse(json.as_bytes()) {
            Err(EnvelopeError::Invalid { fact, .. }) => fact,
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let check = |json: &str, expected: fn(&Kind) -> bool| {
            let envelope = Envelope::parse(json.as_bytes()).unwrap();
            assert!(expected(&envelope.kind), "{json}: {envelope:?}");
        };
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, |k| {
            matches!(k, Kind::Request { .. })
        });
        check(
            r#"{"jsonrpc":"2.0","id":"a","method":"x","params":{}}"#,
            |k| matches!(k, Kind::Request { .. }),
        );
        check(r#"{"method":"n","jsonrpc":"2.0"}"#, |k| {
            matches!(k, Kind::Notification { .. })
        });
        check(r#"{"jsonrpc":"2.0","id":-7,"result":{}}"#, |k| {
            matches!(k, Kind::Result { .. })
        });
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
            |k| matches!(k, Kind::Error { id: Some(_), .. }),
        );
        check(
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
            |k| matches!(k, Kind::Error { id: None, .. }),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"ping","x-own":[1.0]}"#,
            |k| matches!(k, Kind::Request { .. }),
        );
    }

    #[test]
    fn what_two_readers_would_see_differently_is_refused() {
        let check = |json: &str| assert!(fact(json).contains("member"), "{json}: {}", fact(json));
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#);
        check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"PARAMS":{}}"#);
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#);
        check(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#);
    }

    #[test]
    fn ids_are_strings_or_integers() {
        let check = |id: &str| {
            let json = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
            assert!(fact(&json).starts_with("id must"), "{id}");
        };
        check("null");
        check("1.5");
        check("1e3");
        check("{}");
        check("true");
        check(&format!("\"{}\"", "x".repeat(ID_BYTES_MAX)));
    }

    #[test]
    fn refusal_names_the_id_where_there_is_one() {
        let json = br#"{"jsonrpc":"1.0","id":"q","method":"a"}"#;
        let Err(EnvelopeError::Invalid { id, .. }) = Envelope::parse(json) else {
            panic!()
        };
        assert_eq!(id.as_deref(), Some(&b"\"q\""[..]));
    }

    #[test]
    fn batch_and_scalars_are_told_apart() {
        assert_eq!(Envelope::parse(b"[]").unwrap_err(), EnvelopeError::Batch);
        assert_eq!(fact("7"), "a message is a JSON object");
        assert!(matches!(
            Envelope::parse(b"{").unwrap_err(),
            EnvelopeError::Parse(_)
        ));
    }
}
