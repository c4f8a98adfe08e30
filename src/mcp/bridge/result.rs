//! Results on their way to a client, from either era to the other.
//!
//! A modern result says what kind it is, whose it is and, where it may be kept, for how long; a legacy one says
//! none of that. A tool's structured content may be any value in the modern era and is an object in the
//! legacy one.

use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::meta;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;

/// What a modern server's result says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the answer. Also what says nothing, which is how servers of the legacy era answer.
    Complete,
    /// The client is asked something first: see [`super::input::InputRequired`].
    InputRequired,
    /// It became a task (extension `io.modelcontextprotocol/tasks`).
    Task,
    /// It says something that is not known here, or is no object: it must not be used.
    Unknown,
}

/// What the result at `span` of a message that was checked before says it is.
///
/// MCP 2026-07-28, basic, "Result types".
pub fn result_type(text: &[u8], span: Span) -> Outcome {
    if text[span.start] != b'{' {
        return Outcome::Unknown;
    }
    let kind = parse::member(text, span, "resultType");
    kind.map_or(Outcome::Complete, |kind| Outcome::named(text, kind))
}

impl Outcome {
    /// The one that is named at `span`.
    fn named(text: &[u8], span: Span) -> Outcome {
        match parse::string(text, span).as_deref() {
            Some("complete") => Outcome::Complete,
            Some("input_required") => Outcome::InputRequired,
            Some("task") => Outcome::Task,
            _ => Outcome::Unknown,
        }
    }
}

/// Whether results of `method` say for how long and for whom they may be kept.
pub fn is_cacheable(method: Method) -> bool {
    matches!(
        method,
        Method::Discover
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
    )
}

/// Whether the `outputSchema` that the client was shown for a tool is the server's own, or was wrapped
/// (see [`super::listing::tool_for_legacy`]), so that structured content must be wrapped alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// As the server gave it, or there is none, or it is not known.
    #[default]
    Natural,
    /// As the only property, `result`, of an object.
    Wrapped,
}

/// A legacy server's result at `span` of a message that was checked before, as a modern client must see it.
///
/// `server` is a server's name and version as a JSON object. What may be kept is not to be kept, since the
/// server did not say that it may. The legacy task that a result belongs to is not named: the client knows
/// no such task, or knows it by another id. What is no object is left alone.
pub fn for_modern(method: Method, text: &[u8], span: Span, server: &str) -> Vec<u8> {
    let text = span.of(text);
    let mut edits = Edits::new(text);
    let whole = edits.whole();
    if text[0] != b'{' {
        return text.to_vec();
    }
    let caching: &[u8] = if is_cacheable(method) {
        br#","ttlMs":0,"cacheScope":"private""#
    } else {
        b""
    };
    let mut has_meta = false;
    let mut has_content = method != Method::ToolsCall;
    let stay = edits.members(whole, |edits, key, value| {
        if key.is("_meta") && text[value.start] == b'{' {
            has_meta = true;
            let stay = edits.members(value, |_, key, _| {
                if key.is(meta::SERVER) || key.is(meta::RELATED_TASK) {
                    Fate::Drop
                } else {
                    Fate::Keep
                }
            });
            edits.put_first(
                value,
                &[b"\"", meta::SERVER.as_bytes(), b"\":", server.as_bytes()],
                stay,
            );
            return Fate::Keep;
        }
        has_content |= key.is("content") || key.is("task");
        let replaced = key.is("resultType")
            || key.is("_meta")
            || (!caching.is_empty() && (key.is("ttlMs") || key.is("cacheScope")));
        if replaced { Fate::Drop } else { Fate::Keep }
    });
    let content: &[u8] = if has_content {
        b""
    } else {
        br#","content":[]"#
    };
    let head: &[u8] = br#""resultType":"complete""#;
    if has_meta {
        edits.put_first(whole, &[head, caching, content], stay);
    } else {
        edits.put_first(
            whole,
            &[
                head,
                caching,
                content,
                br#","_meta":{""#,
                meta::SERVER.as_bytes(),
                b"\":",
                server.as_bytes(),
                b"}",
            ],
            stay,
        );
    }
    edits.finished().into_owned()
}

/// A modern server's result at `span` of a message that was checked before, as a legacy client must see it;
/// `None` if it is that already.
///
/// Structured content that is no object, or whose schema was shown wrapped, is wrapped (SEP-2106); the same in
/// words is added where a client that cannot use it would have nothing to read. `revision` is the client's:
/// before 2025-06-18 there was no structured content at all, so that the words are needed whatever it is.
///
/// # Errors
/// What it is, if it is not complete.
pub fn for_legacy(
    method: Method,
    text: &[u8],
    span: Span,
    revision: Revision,
    output: Output,
) -> Result<Option<Vec<u8>>, Outcome> {
    let text = span.of(text);
    if text[0] != b'{' {
        return Err(Outcome::Unknown);
    }
    let mut edits = Edits::new(text);
    let whole = edits.whole();
    let mut outcome = Outcome::Complete;
    let mut structured = None;
    let mut content = None;
    let stay = edits.members(whole, |edits, key, value| {
        if key.is("resultType") {
            outcome = Outcome::named(text, value);
            return Fate::Drop;
        }
        if is_cacheable(method) && (key.is("ttlMs") || key.is("cacheScope")) {
            return Fate::Drop;
        }
        if key.is("_meta") {
            let mut dropped = false;
            let stay = edits.members(value, |_, key, _| {
                if key.is(meta::SERVER) || key.is(meta::SUBSCRIPTION) {
                    dropped = true;
                    Fate::Drop
                } else {
                    Fate::Keep
                }
            });
            return if dropped && stay == 0 {
                Fate::Drop
            } else {
                Fate::Keep
            };
        }
        if key.is("structuredContent") {
            structured = Some(value);
        } else if key.is("content") {
            content = Some(value);
        }
        Fate::Keep
    });
    if outcome != Outcome::Complete {
        return Err(outcome);
    }
    if method == Method::ToolsCall {
        structure(&mut edits, structured, content, stay, revision, output);
    }
    Ok(edits.finish())
}

/// Wraps structured content and adds what it says in words, where that is needed.
fn structure(
    edits: &mut Edits<'_>,
    structured: Option<Span>,
    content: Option<Span>,
    stay: usize,
    revision: Revision,
    output: Output,
) {
    let text = edits.text();
    let natural = structured.is_none_or(|value| text[value.start] == b'{');
    let mut words = Vec::new();
    if let Some(value) = structured {
        let blocks = || parse::elements(text, content.unwrap_or_default());
        let said = |block| {
            parse::member(text, block, "type").is_some_and(|kind| kind.of(text) == b"\"text\"")
        };
        let must_be_said = !natural || !revision.has_structured_content();
        if blocks().next().is_none() || (must_be_said && !blocks().any(said)) {
            words.extend_from_slice(br#"{"type":"text","text":"#);
            let json = std::str::from_utf8(value.of(text)).expect("checked JSON is UTF-8");
            write::string(&mut words, json);
            words.push(b'}');
        }
        if !natural || output == Output::Wrapped {
            let wrapped = [br#"{"result":"#, value.of(text), b"}"].concat();
            edits.replace(value, wrapped);
        }
    }
    match content {
        Some(list) if text[list.start] == b'[' && !words.is_empty() => {
            let last = parse::elements(text, list).last();
            let at = last.map_or(list.start + 1, |block| block.end);
            if last.is_some() {
                words.insert(0, b',');
            }
            edits.replace(Span { start: at, end: at }, words);
        }
        Some(_) => {}
        None => {
            let whole = edits.whole();
            let comma: &[u8] = if stay > 0 { b"," } else { b"" };
            let member = [br#""content":["#, &*words, b"]", comma].concat();
            let front = Span {
                start: whole.start + 1,
                end: whole.start + 1,
            };
            edits.replace(front, member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = r#"{"name":"s","version":"1"}"#;
    const META: &str =
        r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}"#;

    fn whole(text: &str) -> Span {
        parse::check(text.as_bytes()).unwrap()
    }

    #[test]
    fn result_says_what_it_is_or_is_complete() {
        let check = |text: &str, expected| {
            let (bytes, whole) = (text.as_bytes(), whole(text));
            assert_eq!(result_type(bytes, whole), expected, "{text}");
            let (method, revision) = (Method::PromptsGet, Revision::V2025_11_25);
            let adapted = for_legacy(method, bytes, whole, revision, Output::Natural);
            assert_eq!(
                adapted.err().unwrap_or(Outcome::Complete),
                expected,
                "{text}"
            );
        };
        check("{}", Outcome::Complete);
        check(r#"{"resultType":"complete"}"#, Outcome::Complete);
        check(
            r#"{"a":{},"result\u0054ype":"complete"}"#,
            Outcome::Complete,
        );
        check(r#"{"resultType":"input_required"}"#, Outcome::InputRequired);
        check(r#"{"resultType":"task"}"#, Outcome::Task);
        check(r#"{"resultType":"later"}"#, Outcome::Unknown);
        check(r#"{"resultType":null}"#, Outcome::Unknown);
        check("[]", Outcome::Unknown);
    }

    #[test]
    fn legacy_result_becomes_modern_and_keeps_what_nobody_knows() {
        let check = |method, text: &str, expected: &str| {
            let message = format!("[{text}]");
            let span = Span {
                start: 1,
                end: message.len() - 1,
            };
            let became = for_modern(method, message.as_bytes(), span, SERVER);
            assert_eq!(
                String::from_utf8(became).unwrap(),
                expected.replace('@', META),
                "{text}"
            );
        };
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"text","text":"a\u0062"}],"x":1.0,"ttlMs":1}"#,
            r#"{"resultType":"complete",@,"content":[{"type":"text","text":"a\u0062"}],"x":1.0,"ttlMs":1}"#,
        );
        check(
            Method::ToolsCall,
            "{}",
            r#"{"resultType":"complete","content":[],@}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"task":{}}"#,
            r#"{"resultType":"complete",@,"task":{}}"#,
        );
        check(
            Method::ResourcesRead,
            r#"{"contents":[],"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{}}}"#,
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"},"a":1}}"#,
        );
        check(
            Method::ResourcesRead,
            r#"{"ttlMs":"x","contents":[],"cacheScope":"public"}"#,
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private",@,"contents":[]}"#,
        );
        check(
            Method::PromptsGet,
            r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}},"resultType":"odd"}"#,
            r#"{"resultType":"complete",@}"#,
        );
        check(Method::Complete, "[]", "[]");
    }

    fn legacy(method: Method, text: &str, revision: Revision, output: Output) -> String {
        for_legacy(method, text.as_bytes(), whole(text), revision, output)
            .unwrap()
            .map_or(text.to_owned(), |text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn modern_result_becomes_legacy_and_keeps_what_nobody_knows() {
        let check = |method, text: &str, expected: &str| {
            let became = legacy(method, text, Revision::V2025_11_25, Output::Natural);
            assert_eq!(became, expected, "{text}");
        };
        check(
            Method::ToolsCall,
            r#"{"resultType":"complete","content":[{"type":"image"}],"x":1.0,"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#,
            r#"{"content":[{"type":"image"}],"x":1.0}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"content":[],"ttlMs":5}"#,
            r#"{"content":[],"ttlMs":5}"#,
        );
        check(
            Method::ResourcesRead,
            r#"{"resultType":"complete","ttlMs":5,"contents":[{}],"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{},"x/y":[1.50]}}"#,
            r#"{"contents":[{}],"_meta":{"x/y":[1.50]}}"#,
        );
        check(
            Method::PromptsGet,
            r#"{"messages":[],"_meta":{}}"#,
            r#"{"messages":[],"_meta":{}}"#,
        );
    }

    #[test]
    fn result_that_is_legacy_already_is_not_written_anew() {
        let check = |method, text: &str| {
            let became = for_legacy(
                method,
                text.as_bytes(),
                whole(text),
                Revision::V2025_11_25,
                Output::Natural,
            );
            assert_eq!(became, Ok(None), "{text}");
        };
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"text","text":""}],"structuredContent":{}}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"image"}],"structuredContent":{}}"#,
        );
        check(Method::PromptsGet, r#"{"messages":[]}"#);
    }

    #[test]
    fn structured_content_becomes_an_object_and_is_said_in_words() {
        let check = |revision, output, text: &str, expected: &str| {
            let became = legacy(Method::ToolsCall, text, revision, output);
            assert_eq!(became, expected, "{text}");
        };
        let (new, old) = (Revision::V2025_11_25, Revision::V2025_03_26);
        check(
            new,
            Output::Natural,
            r#"{"content":[],"structuredContent":[1.0,"a"]}"#,
            r#"{"content":[{"type":"text","text":"[1.0,\"a\"]"}],"structuredContent":{"result":[1.0,"a"]}}"#,
        );
        check(
            new,
            Output::Natural,
            r#"{"structuredContent":null,"content":[{"type":"image"}]}"#,
            r#"{"structuredContent":{"result":null},"content":[{"type":"image"},{"type":"text","text":"null"}]}"#,
        );
        check(
            new,
            Output::Natural,
            r#"{"structuredContent":7,"content":[{"type":"text","text":"seven"}]}"#,
            r#"{"structuredContent":{"result":7},"content":[{"type":"text","text":"seven"}]}"#,
        );
        check(
            new,
            Output::Natural,
            r#"{"resultType":"complete","structuredContent":{"a":1}}"#,
            r#"{"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}"#,
        );
        check(
            new,
            Output::Wrapped,
            r#"{"structuredContent":{"a":1},"content":[{"type":"text","text":""}]}"#,
            r#"{"structuredContent":{"result":{"a":1}},"content":[{"type":"text","text":""}]}"#,
        );
        check(
            old,
            Output::Natural,
            r#"{"structuredContent":{"a":1},"content":[{"type":"image"}]}"#,
            r#"{"structuredContent":{"a":1},"content":[{"type":"image"},{"type":"text","text":"{\"a\":1}"}]}"#,
        );
        check(
            new,
            Output::Natural,
            r#"{"resultType":"complete"}"#,
            r#"{"content":[]}"#,
        );
    }

    #[test]
    fn legacy_result_survives_a_round_trip() {
        for (method, text) in [
            (
                Method::ToolsCall,
                r#"{"content":[{"type":"text","text":"x"}],"isError":false,"n":1e2}"#,
            ),
            (
                Method::ResourcesRead,
                r#"{"contents":[{"uri":"a:b","text":""}], "_meta" : {"a/b":1}}"#,
            ),
            (Method::Complete, r#"{"completion":{"values":[]}}"#),
        ] {
            let modern = for_modern(method, text.as_bytes(), whole(text), SERVER);
            let modern = String::from_utf8(modern).unwrap();
            let back = legacy(method, &modern, Revision::V2025_11_25, Output::Natural);
            assert_eq!(back, text);
        }
    }
}
