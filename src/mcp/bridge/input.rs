//! Questions that come up during a call, and their answers, from either era to the other.
//!
//! A legacy server sends a request and waits for its response. A modern one ends the call with
//! `input_required`, and the client makes the same call again with the answers and the server's
//! `requestState` (MCP 2026-07-28, basic/patterns/mrtr).
//!
//! ```text
//!  legacy client          bridge          modern server      modern client          bridge          legacy server
//!     │── call ──────────────▶── call ───────────▶│             │── call ─────────────▶── call ─────────────▶│
//!     │                       ◀─ input_required ──│             │                      ◀── question ─────────│
//!     ◀── question ──────────│                    │             ◀─ input_required ─────│ parked              │
//!     │── answer ────────────▶── call, answers ──▶│             │── call, answers ─────▶── answer ──────────▶│
//!     ◀── result ────────────◀── result ──────────│             ◀── result ────────────◀── result ───────────│
//! ```
//!
//! What is said here is only what the messages become; who waits, and for how long, is the worker's affair.

use crate::config::limits::CLIENT_REQUESTS_MAX;
use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::meta::{self, Fault};
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use std::borrow::Cow;

/// One question of a modern server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest<'a> {
    /// Under which its answer is expected.
    pub key: Cow<'a, str>,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Method,
    /// An object; only `roots/list` may have none.
    pub params: Option<Span>,
}

/// What a modern server wants before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequired<'a> {
    /// Its questions, in their order; none if it only wants the call made again.
    pub requests: Vec<InputRequest<'a>>,
    /// `requestState` as it is written, to be given back byte for byte.
    pub state: Option<Span>,
}

impl<'a> InputRequired<'a> {
    /// Reads the result at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The fact, if the server asks nothing, or what no client could answer.
    pub fn parse(text: &'a [u8], span: Span) -> Result<InputRequired<'a>, &'static str> {
        let (mut asked, mut state) = (None, None);
        for (key, value) in parse::members(text, span) {
            if key.is("inputRequests") {
                asked = Some(value);
            } else if key.is("requestState") {
                state = Some(value);
            }
        }
        if state.is_some_and(|state| text[state.start] != b'"') {
            return Err("requestState must be a string");
        }
        let mut requests: Vec<InputRequest> = Vec::new();
        if let Some(asked) = asked {
            if text[asked.start] != b'{' {
                return Err("inputRequests must be an object");
            }
            for (key, value) in parse::members(text, asked) {
                if requests.len() == CLIENT_REQUESTS_MAX {
                    return Err("more than 64 inputRequests");
                }
                let key = key.text().ok_or("a key of inputRequests is no text")?;
                if requests.iter().any(|request| request.key == key) {
                    return Err("a key of inputRequests stands there twice");
                }
                let method = parse::member(text, value, "method")
                    .and_then(|method| parse::string(text, method))
                    .map_or(Method::Other, |method| Method::parse(&method));
                if !is_question(method) {
                    return Err("an input request's method is none that clients answer");
                }
                let params = parse::member(text, value, "params");
                match params {
                    Some(params) if text[params.start] != b'{' => {
                        return Err("an input request's params must be an object");
                    }
                    None if method != Method::RootsList => {
                        return Err("an input request has no params");
                    }
                    _ => {}
                }
                requests.push(InputRequest {
                    key,
                    method,
                    params,
                });
            }
        }
        if requests.is_empty() && state.is_none() {
            return Err("input_required has neither inputRequests nor requestState");
        }
        Ok(InputRequired { requests, state })
    }
}

/// Whether clients are asked this, as a request in the legacy era and within `input_required` in the modern one.
pub fn is_question(method: Method) -> bool {
    matches!(
        method,
        Method::Elicit | Method::CreateMessage | Method::RootsList
    )
}

/// Whether a modern server may answer `method` with `input_required`.
pub fn may_ask(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
    )
}

/// The request that a legacy client of this revision is sent for a modern server's question: its method and
/// params, empty if it has none. `None` if that revision knows no such question.
///
/// `elicitation_id` names an elicitation by URL, which the modern era does not name.
pub fn legacy_question(
    request: &InputRequest<'_>,
    text: &[u8],
    revision: Revision,
    elicitation_id: &str,
) -> Option<(Method, Vec<u8>)> {
    let Some(span) = request.params else {
        return Some((request.method, Vec::new()));
    };
    let params = span.of(text);
    if request.method != Method::Elicit {
        return Some((request.method, params.to_vec()));
    }
    if !revision.has_elicitation() {
        return None;
    }
    let mut edits = Edits::new(params);
    let whole = edits.whole();
    let mode = parse::member(params, whole, "mode").and_then(|mode| parse::string(params, mode));
    let by_url = mode.as_deref() == Some("url");
    if by_url && !revision.has_elicitation_modes() {
        return None;
    }
    let stay = edits.members(whole, |_, key, _| {
        if key.is("elicitationId") || (key.is("mode") && !by_url) {
            Fate::Drop
        } else {
            Fate::Keep
        }
    });
    let id = write::quoted(elicitation_id);
    if by_url {
        edits.put_first(whole, &[br#""elicitationId":"#, &id], stay);
    } else if revision.has_elicitation_modes() {
        edits.put_first(whole, &[br#""mode":"form""#], stay);
    }
    Some((request.method, edits.finished().into_owned()))
}

/// What a legacy client said to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// This result.
    Result(&'a [u8]),
    /// An error, or nothing in time.
    Refused,
}

/// Appends the `inputResponses` that a modern server gets.
///
/// An elicitation that was refused is cancelled, which is what a user does who closes the form.
///
/// # Errors
/// The key of an answer that cannot be given: there is no way to say that sampling or roots were refused, no
/// roots is not the same, and leaving the answer out would have the server ask again. The call must end:
/// see [`unanswered`].
pub fn write_input_responses<'k>(
    out: &mut Vec<u8>,
    answers: &[(&'k str, Method, Answer<'_>)],
) -> Result<(), &'k str> {
    out.push(b'{');
    for (index, (key, method, answer)) in answers.iter().enumerate() {
        let result = match answer {
            Answer::Result(result) if result.first() == Some(&b'{') => result,
            _ if *method == Method::Elicit => &br#"{"action":"cancel"}"#[..],
            _ => return Err(key),
        };
        if index > 0 {
            out.push(b',');
        }
        write::string(out, key);
        out.push(b':');
        out.extend_from_slice(result);
    }
    out.push(b'}');
    Ok(())
}

/// What a legacy client gets whose call ends because a question of its server had no answer: a tool's error,
/// which a model can read. `None` for other methods: they end with an error of ours.
pub fn unanswered(method: Method, why: &str) -> Option<Vec<u8>> {
    if method != Method::ToolsCall {
        return None;
    }
    let mut out = br#"{"content":[{"type":"text","text":"#.to_vec();
    write::string(&mut out, why);
    out.extend_from_slice(br#"}],"isError":true}"#);
    Some(out)
}

/// The params of a call that is made again: `responses` and `state`, as they are written, take the place of those
/// of earlier rounds.
///
/// `params` are the client's; what [`super::request::for_modern`] does to them comes after this.
pub fn retry_params(params: &[u8], responses: Option<&[u8]>, state: Option<&[u8]>) -> Vec<u8> {
    let params = if params.is_empty() { b"{}" } else { params };
    let mut edits = Edits::new(params);
    let whole = edits.whole();
    let stay = edits.members(whole, |_, key, _| {
        if key.is("inputResponses") || key.is("requestState") {
            Fate::Drop
        } else {
            Fate::Keep
        }
    });
    let mut first: Vec<&[u8]> = Vec::with_capacity(5);
    if let Some(responses) = responses {
        first.extend([&br#""inputResponses":"#[..], responses]);
    }
    if let Some(state) = state {
        if !first.is_empty() {
            first.push(b",");
        }
        first.extend([&br#""requestState":"#[..], state]);
    }
    edits.put_first(whole, &first, stay);
    edits.finished().into_owned()
}

/// The key of the question that is the `number`th of its call: readable, and the same in every run.
pub fn key(method: Method, number: usize) -> String {
    let kind = match method {
        Method::Elicit => "elicitation",
        Method::CreateMessage => "sampling",
        Method::RootsList => "roots",
        _ => "input",
    };
    format!("{kind}-{number}")
}

/// The result that a modern client gets while a legacy server waits for answers.
///
/// `questions` are the server's requests with the keys that were given to them, params as they came and empty if
/// there were none; `server` is a server's name and version as a JSON object. Without `state` the answers are not
/// needed to go on, only the client's word that it asked.
pub fn input_required(
    questions: &[(&str, Method, &[u8])],
    state: Option<&str>,
    server: &str,
) -> Vec<u8> {
    let mut out = br#"{"resultType":"input_required","inputRequests":{"#.to_vec();
    for (index, (key, method, params)) in questions.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write::string(&mut out, key);
        out.extend_from_slice(br#":{"method":"#);
        write::string(&mut out, method.name());
        let params = modern_question(*method, params);
        if !(params.is_empty() || (*method == Method::RootsList && &*params == b"{}")) {
            out.extend_from_slice(br#","params":"#);
            out.extend_from_slice(&params);
        }
        out.push(b'}');
    }
    out.push(b'}');
    if let Some(state) = state {
        out.extend_from_slice(br#","requestState":"#);
        write::string(&mut out, state);
    }
    out.extend_from_slice(br#","_meta":{""#);
    out.extend_from_slice(meta::SERVER.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(server.as_bytes());
    out.extend_from_slice(b"}}");
    out
}

/// A legacy server's question without what only a request of its own could have: a token for progress, a task,
/// and an id by which its end would be told.
fn modern_question<'a>(method: Method, params: &'a [u8]) -> Cow<'a, [u8]> {
    let mut edits = Edits::new(params);
    let whole = edits.whole();
    edits.members(whole, |edits, key, value| {
        if key.is("task") || (method == Method::Elicit && key.is("elicitationId")) {
            return Fate::Drop;
        }
        if key.is("_meta") {
            let stay = edits.members(value, |_, key, _| {
                if key.is(meta::TOKEN) || key.is(meta::RELATED_TASK) {
                    Fate::Drop
                } else {
                    Fate::Keep
                }
            });
            if stay == 0 {
                return Fate::Drop;
            }
        }
        Fate::Keep
    });
    edits.finished()
}

/// A modern client's `inputResponses` at `span` of a message that was checked before: each key with the result
/// that the legacy server gets.
///
/// # Errors
/// What is wrong with it.
pub fn answers(text: &[u8], span: Span) -> Result<Vec<(Cow<'_, str>, Span)>, Fault> {
    let fault = |fact| Fault::new("inputResponses", fact);
    if text[span.start] != b'{' {
        return Err(Fault::no_object("inputResponses"));
    }
    let mut answers: Vec<(Cow<str>, Span)> = Vec::new();
    for (key, value) in parse::members(text, span) {
        if answers.len() == CLIENT_REQUESTS_MAX {
            return Err(fault("has more than 64 members"));
        }
        let key = key.text().ok_or(fault("has a key that is no text"))?;
        if text[value.start] != b'{' {
            return Err(fault("has a member that is no object"));
        }
        if answers.iter().any(|(known, _)| *known == key) {
            return Err(fault("has two members of one key"));
        }
        answers.push((key, value));
    }
    Ok(answers)
}

const _: () = assert!(CLIENT_REQUESTS_MAX == 64, "the facts above name it");

#[cfg(test)]
mod tests;
