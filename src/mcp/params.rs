//! What the router needs of a request's parameters, as places in its text.
//!
//! Members that decide where a request goes, or what it may do, must stand there once, and nothing beside
//! them may be taken for them by a reader who ignores case: else a server could read another name than
//! the one that was judged here.

use super::meta::{Fault, Meta};
use crate::jsonrpc::parse::{self, Among, Span};
use std::borrow::Cow;

/// The members of a request's `params` that somebody here looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `name` of a tool or prompt.
    pub name: Option<Span>,
    /// `arguments` of a tool or prompt.
    pub arguments: Option<Span>,
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
    /// `task`: the client wants the call to become a task.
    pub task: Option<Span>,
    /// `taskId` of what is done with a task.
    pub task_id: Option<Span>,
    /// `inputResponses`: what the client answers to an earlier `input_required`.
    pub input_responses: Option<Span>,
    /// `requestState`: what such a result said is to be sent back.
    pub request_state: Option<Span>,
    /// `notifications` that a listen asks for.
    pub notifications: Option<Span>,
    /// `_meta`
    pub meta: Option<Span>,
    /// The members of `_meta`.
    pub modern: Meta,
}

const NAMES: [&str; 14] = [
    "name",
    "arguments",
    "_meta",
    "uri",
    "cursor",
    "level",
    "ref",
    "requestId",
    "progressToken",
    "task",
    "taskId",
    "inputResponses",
    "requestState",
    "notifications",
];

impl Params {
    /// Reads the object at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The first member that stands there twice or is spelt in another case, in `_meta` too; `params` or
    /// `_meta` if it is no object.
    pub fn parse(text: &[u8], span: Option<Span>) -> Result<Params, Fault> {
        Params::parse_knowing(text, span, None)
    }

    /// Like [`parse`](Params::parse), where a `_meta` is known that was read before: its text, and what that reads
    /// as by itself.
    ///
    /// # Errors
    /// As [`parse`](Params::parse).
    pub fn parse_knowing(
        text: &[u8],
        span: Option<Span>,
        known: Option<(&[u8], &Meta)>,
    ) -> Result<Params, Fault> {
        let (known, read) = known.unzip();
        let known = known.unwrap_or_default();
        let mut params = Params::default();
        let Some(span) = span else { return Ok(params) };
        if text[span.start] != b'{' {
            return Err(Fault::no_object("params"));
        }
        for (key, value) in parse::members_knowing(text, span, known) {
            let at = match key.among(&NAMES) {
                Among::Is(at) => at,
                Among::Resembles(at) => return Err(Fault::twin(NAMES[at])),
                Among::Unknown => continue,
            };
            let place = match at {
                0 => &mut params.name,
                1 => &mut params.arguments,
                2 => &mut params.meta,
                3 => &mut params.uri,
                4 => &mut params.cursor,
                5 => &mut params.level,
                6 => &mut params.reference,
                7 => &mut params.request_id,
                8 => &mut params.progress_token,
                9 => &mut params.task,
                10 => &mut params.task_id,
                11 => &mut params.input_responses,
                12 => &mut params.request_state,
                _ => &mut params.notifications,
            };
            if place.replace(value).is_some() {
                return Err(Fault::twice(NAMES[at]));
            }
        }
        if let Some(meta) = params.meta {
            params.modern = match read {
                Some(read) if meta.of(text) == known => read.behind(meta.start),
                _ => Meta::parse(text, meta)?,
            };
        }
        Ok(params)
    }
}

const REFERENCE_NAMES: [&str; 3] = ["type", "name", "uri"];

/// The same in faults, where `name` alone would be that of the params.
const REFERENCE_FULL: [&str; 3] = ["ref.type", "ref.name", "ref.uri"];

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
    /// What is wrong, if it is neither reference, or has a member twice or spelt in another case.
    pub fn parse(text: &'a [u8], span: Span) -> Result<Reference<'a>, Fault> {
        let mut places = [None; 3];
        for (key, value) in parse::members(text, span) {
            let at = match key.among(&REFERENCE_NAMES) {
                Among::Is(at) => at,
                Among::Resembles(at) => return Err(Fault::twin(REFERENCE_FULL[at])),
                Among::Unknown => continue,
            };
            if places[at].replace(value).is_some() {
                return Err(Fault::twice(REFERENCE_FULL[at]));
            }
        }
        let string = |at: usize| {
            let place = places[at]?;
            Some((parse::string(text, place)?, place))
        };
        let needed = |at| string(at).ok_or(Fault::new(REFERENCE_FULL[at], "must be a string"));
        match string(0).as_ref().map(|(kind, _)| &**kind) {
            Some("ref/prompt") => {
                let (name, place) = needed(1)?;
                Ok(Reference::Prompt(name, place))
            }
            Some("ref/resource") => Ok(Reference::Resource(needed(2)?.0)),
            _ => Err(Fault::new(
                REFERENCE_FULL[0],
                "must be \"ref/prompt\" or \"ref/resource\"",
            )),
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

    fn params(json: &str) -> Result<Params, Fault> {
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
        assert_eq!(found.modern.token.unwrap().of(json.as_bytes()), b"7");
        assert_eq!(found.uri, None);
    }

    #[test]
    fn known_meta_reads_as_if_it_were_not_known() {
        let said = r#"{"progressToken":7,"io.modelcontextprotocol/logLevel":"info","x":{}}"#;
        let read = Meta::parse(said.as_bytes(), parse::check(said.as_bytes()).unwrap()).unwrap();
        for json in [
            r#"{"name":"t","_meta":@}"#,
            r#"{ "_meta" : @ , "arguments":@}"#,
            r#"{"_meta":{"progressToken":8},"arguments":{"_meta":@}}"#,
            r#"{"_meta":@,"_meta":@}"#,
            r#"{"name":"t"}"#,
        ] {
            let json = json.replace('@', said);
            let text = json.as_bytes();
            let whole = Some(parse::check(text).unwrap());
            let known = Some((said.as_bytes(), &read));
            let found = Params::parse_knowing(text, whole, known);
            assert_eq!(found, Params::parse(text, whole), "{json}");
        }
    }

    #[test]
    fn every_known_member_has_its_own_place() {
        let json = NAMES.map(|name| format!(r#""{name}":{{"{name}":0}}"#));
        let json = json
            .join(",")
            .replace(r#"{"progressToken":0}"#, r#"{"x":0}"#);
        let json = format!("{{{json}}}");
        let found = params(&json).unwrap();
        let places = [
            found.name,
            found.arguments,
            found.meta,
            found.uri,
            found.cursor,
            found.level,
            found.reference,
            found.request_id,
            found.progress_token,
            found.task,
            found.task_id,
            found.input_responses,
            found.request_state,
            found.notifications,
        ];
        for (name, place) in NAMES.iter().zip(places) {
            let before = &json[..place.unwrap().start];
            assert!(before.ends_with(&format!(r#""{name}":"#)), "{name}");
        }
    }

    #[test]
    fn what_two_readers_would_see_differently_is_refused() {
        let check = |json, member| {
            let fault = params(json).unwrap_err();
            assert_eq!(fault.member, member, "{json}");
        };
        check(r#"{"name":"a","name":"b"}"#, "name");
        check(r#"{"name":"a","Name":"b"}"#, "name");
        check(r#"{"name":"a","n\u0061me":"b"}"#, "name");
        check(r#"{"requeststate":"a"}"#, "requestState");
        check(
            r#"{"inputResponses":{},"inputResponses":{}}"#,
            "inputResponses",
        );
        check(
            r#"{"_meta":{"progressToken":1,"progressToken":2}}"#,
            "progressToken",
        );
        check(r#"{"_meta":[]}"#, "_meta");
        check("[]", "params");
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

    #[test]
    fn reference_names_one_thing_whoever_reads_it() {
        let check = |json: &str, member| {
            let span = parse::check(json.as_bytes()).unwrap();
            let fault = Reference::parse(json.as_bytes(), span).unwrap_err();
            assert_eq!(fault.member, member, "{json}");
        };
        let both =
            |first, second| format!(r#"{{"type":"ref/prompt","name":"p",{first},{second}}}"#);
        check(&both(r#""x":1"#, r#""name":"q""#), "ref.name");
        check(&both(r#""x":1"#, r#""Name":"q""#), "ref.name");
        check(&both(r#""x":1"#, r#""n\u0061me":"q""#), "ref.name");
        check(&both(r#""x":1"#, r#""type":"ref/resource""#), "ref.type");
        check(&both(r#""uri":"a://""#, r#""uri":"b://""#), "ref.uri");
        check(&both(r#""x":1"#, r#""URI":"b://""#), "ref.uri");
    }
}
