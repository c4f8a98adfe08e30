//! What the router needs of a request's parameters, as places in its text.
//!
//! Members that decide where a request goes, or what it may do, must stand there once, and nothing beside
//! them may be taken for them by a reader who ignores case: else a server could read another name than
//! the one that was judged here.

use crate::jsonrpc::parse::{self, Span};
use std::borrow::Cow;

/// The members of a request's `params` that somebody here looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `name` of a tool or prompt.
    pub name: Option<Span>,
    /// `uri` of a resource.
    pub uri: Option<Span>,
    /// `cursor` of a list.
    pub cursor: Option<Span>,
    /// `level` of `logging/setLevel`.
    pub level: Option<Span>,
    /// `ref` of a completion.
    pub reference: Option<Span>,
    /// `requestId` of a cancellation.
    pub request_id: Option<Span>,
    /// `progressToken` of a progress notification.
    pub progress_token: Option<Span>,
    /// `_meta.progressToken` of a request.
    pub meta_progress_token: Option<Span>,
    /// `task`: the client wants the call to become a task.
    pub task: Option<Span>,
}

const NAMES: [&str; 9] = [
    "name",
    "uri",
    "cursor",
    "level",
    "ref",
    "requestId",
    "progressToken",
    "_meta",
    "task",
];

impl Params {
    /// Reads the object at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The fact, if a member stands there twice or is spelt in another case.
    pub fn parse(text: &[u8], span: Option<Span>) -> Result<Params, &'static str> {
        let mut params = Params::default();
        let Some(span) = span else { return Ok(params) };
        if text[span.start] != b'{' {
            return Err("params must be an object");
        }
        let mut meta = None;
        for (key, value) in parse::members(text, span) {
            let place = match NAMES.iter().position(|name| key.is(name)) {
                Some(0) => &mut params.name,
                Some(1) => &mut params.uri,
                Some(2) => &mut params.cursor,
                Some(3) => &mut params.level,
                Some(4) => &mut params.reference,
                Some(5) => &mut params.request_id,
                Some(6) => &mut params.progress_token,
                Some(7) => &mut meta,
                Some(_) => &mut params.task,
                None if NAMES.iter().any(|name| key.resembles(name)) => {
                    return Err("a member of params differs from a known one only in case");
                }
                None => continue,
            };
            if place.replace(value).is_some() {
                return Err("a member of params stands there twice");
            }
        }
        if let Some(meta) = meta {
            if text[meta.start] != b'{' {
                return Err("_meta must be an object");
            }
            for (key, value) in parse::members(text, meta) {
                if key.is("progressToken") && params.meta_progress_token.replace(value).is_some() {
                    return Err("progressToken stands there twice");
                }
            }
        }
        Ok(params)
    }
}

/// A completion's reference: what is to be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// An argument of this prompt; the span is that of the name.
    Prompt(Cow<'a, str>, Span),
    /// A variable of this resource template.
    Resource(Cow<'a, str>),
}

impl<'a> Reference<'a> {
    /// Reads the object at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The fact, if it is neither reference.
    pub fn parse(text: &'a [u8], span: Span) -> Result<Reference<'a>, &'static str> {
        let string =
            |name| parse::member(text, span, name).and_then(|v| Some((parse::string(text, v)?, v)));
        match string("type").as_ref().map(|(kind, _)| &**kind) {
            Some("ref/prompt") => {
                let (name, place) = string("name").ok_or("ref.name must be a string")?;
                Ok(Reference::Prompt(name, place))
            }
            Some("ref/resource") => Ok(Reference::Resource(
                string("uri").ok_or("ref.uri must be a string")?.0,
            )),
            _ => Err("ref.type must be \"ref/prompt\" or \"ref/resource\""),
        }
    }
}

/// Levels of log messages, the least serious first (RFC 5424).
pub const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// The place of the level at `span` in [`LEVELS`].
pub fn level(text: &[u8], span: Span) -> Option<u8> {
    let name = parse::string(text, span)?;
    LEVELS
        .iter()
        .position(|level| *level == name)
        .map(|place| place as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: &str) -> Result<Params, &'static str> {
        Params::parse(
            json.as_bytes(),
            Some(parse::check(json.as_bytes()).unwrap()),
        )
    }

    #[test]
    fn members_are_found() {
        let json =
            r#"{"arguments":{"name":"not me"},"name":"me","_meta":{"progressToken":7,"x":{}}}"#;
        let found = params(json).unwrap();
        assert_eq!(found.name.unwrap().of(json.as_bytes()), b"\"me\"");
        assert_eq!(found.meta_progress_token.unwrap().of(json.as_bytes()), b"7");
        assert_eq!(found.uri, None);
    }

    #[test]
    fn what_two_readers_would_see_differently_is_refused() {
        let check = |json| assert!(params(json).is_err(), "{json}");
        check(r#"{"name":"a","name":"b"}"#);
        check(r#"{"name":"a","Name":"b"}"#);
        check(r#"{"name":"a","n\u0061me":"b"}"#);
        check(r#"{"_meta":{"progressToken":1,"progressToken":2}}"#);
        check(r#"{"_meta":[]}"#);
        check("[]");
    }

    #[test]
    fn references_are_told_apart() {
        let check = |json: &str| {
            let span = parse::check(json.as_bytes()).unwrap();
            format!("{:?}", Reference::parse(json.as_bytes(), span))
        };
        assert!(check(r#"{"type":"ref/prompt","name":"p"}"#).contains("Prompt(\"p\""));
        assert!(
            check(r#"{"type":"ref/resource","uri":"a://{b}"}"#).contains("Resource(\"a://{b}\")")
        );
        assert!(check(r#"{"type":"ref/other"}"#).contains("Err"));
        assert!(check(r#"{"type":"ref/prompt"}"#).contains("Err"));
    }
}
