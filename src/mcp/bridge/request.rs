//! Requests on their way to a server: parameters and declared capabilities, from either era to either.
//!
//! Each hop says for itself which revision it speaks and what its client can do; everything else in the
//! parameters is the client's and travels as it is: arguments, trace context, tokens, vendor members.

use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::Span;
use crate::jsonrpc::write;
use crate::mcp::meta;
use crate::mcp::params::LEVELS;
use crate::mcp::revision::Revision;
use std::borrow::Cow;

/// A client's params, of either era, as a modern server's: `own_meta` (see [`own_meta`]) stands first in
/// `_meta`, what else the client wrote there stays, and what only legacy servers know is gone.
///
/// `params` is the value alone, or nothing. Also returns where the value of `progressToken` now stands.
/// MCP 2026-07-28, basic, "Per-request protocol fields".
pub fn for_modern(params: &[u8], own_meta: &[u8]) -> (Vec<u8>, Option<Span>) {
    if params.is_empty() {
        return ([br#"{"_meta":{"#, own_meta, b"}}"].concat(), None);
    }
    let mut edits = Edits::new(params);
    let whole = edits.whole();
    let mut token = None;
    let mut has_meta = false;
    let stay = edits.members(whole, |edits, key, value| {
        if key.is("_meta") && params[value.start] == b'{' {
            has_meta = true;
            let stay = edits.members(value, |_, key, value| {
                if meta::OF_HOP.iter().any(|name| key.is(name)) || key.is(meta::RELATED_TASK) {
                    return Fate::Drop;
                }
                if key.is(meta::TOKEN) {
                    token = Some(value);
                }
                Fate::Keep
            });
            edits.put_first(value, &[own_meta], stay);
            Fate::Keep
        } else if key.is("_meta") || key.is("task") {
            Fate::Drop
        } else {
            Fate::Keep
        }
    });
    if !has_meta {
        edits.put_first(whole, &[br#""_meta":{"#, own_meta, b"}"], stay);
    }
    let token = token.map(|span| edits.moved(span));
    (edits.finished().into_owned(), token)
}

/// The same of an object that has neither `_meta` nor `task`: most have none, and are not looked through then.
pub fn bare_for_modern(params: &[u8], own_meta: &[u8]) -> Vec<u8> {
    let rest = params.strip_prefix(b"{").unwrap_or(params);
    let comma: &[u8] = match rest.trim_ascii_start() {
        b"}" => b"",
        _ => b",",
    };
    [br#"{"_meta":{"#, own_meta, b"}", comma, rest].concat()
}

/// What a request to a modern server says of its sender: members of `_meta`, without braces.
///
/// `capabilities` is the client's object as [`capabilities_for_modern`] leaves it; `client` its `clientInfo` as it
/// is written, switchbox's own if it gave none; `level` the place in [`LEVELS`] from which on it wants log
/// messages, none if it wants none.
pub fn own_meta(capabilities: &str, client: Option<&[u8]>, level: Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + capabilities.len());
    let mut member = |name: &str, value: &[u8]| {
        if !out.is_empty() {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    };
    member(meta::VERSION, &write::quoted(Revision::MODERN.name()));
    member(meta::CAPABILITIES, capabilities.as_bytes());
    member(meta::CLIENT, client.unwrap_or(meta::OURSELVES.as_bytes()));
    if let Some(level) = level.and_then(|level| LEVELS.get(usize::from(level))) {
        member(meta::LEVEL, &write::quoted(level));
    }
    out
}

/// A modern client's params as a legacy server's: what the request said of its sender is gone, and so are
/// the answers and the state of earlier rounds, which are this side's affair; an empty `_meta` goes with them.
///
/// `params` is the value alone, or nothing; `hop` is where its `_meta` stands if that is known to say nothing else.
/// Also returns where the value of `progressToken` now stands.
pub fn for_legacy(params: &[u8], hop: Option<Span>) -> (Vec<u8>, Option<Span>) {
    let known = hop.map(|hop| hop.of(params)).unwrap_or_default();
    let mut edits = Edits::knowing(params, known);
    let whole = edits.whole();
    let mut token = None;
    edits.members(whole, |edits, key, value| {
        if key.is("_meta") {
            if hop == Some(value) {
                return Fate::Drop;
            }
            let stay = edits.members(value, |_, key, value| {
                if meta::OF_HOP.iter().any(|name| key.is(name)) {
                    return Fate::Drop;
                }
                if key.is(meta::TOKEN) {
                    token = Some(value);
                }
                Fate::Keep
            });
            if stay == 0 && params[value.start] == b'{' {
                return Fate::Drop;
            }
            Fate::Keep
        } else if key.is("inputResponses") || key.is("requestState") {
            Fate::Drop
        } else {
            Fate::Keep
        }
    });
    let token = token.map(|span| edits.moved(span));
    (edits.finished().into_owned(), token)
}

/// Extensions that survive the crossing between eras: those whose whole vocabulary is `_meta` and URIs.
///
/// MCP Apps is one. Tasks is not: its results have another shape in each era.
const EXTENSIONS_CROSSING: &[&str] = &["io.modelcontextprotocol/ui"];

/// Extensions that survive between a modern client and a modern server.
const EXTENSIONS_MODERN: &[&str] = &[
    "io.modelcontextprotocol/ui",
    "io.modelcontextprotocol/tasks",
];

/// What a modern client declared in a request, as it is declared to a legacy server in `initialize`.
pub fn capabilities_for_legacy(declared: &str) -> String {
    capabilities(declared, EXTENSIONS_CROSSING)
}

/// What a legacy client declared in `initialize`, as it is declared to a modern server in each request.
pub fn capabilities_for_modern(declared: &str) -> String {
    capabilities(declared, EXTENSIONS_CROSSING)
}

/// What a modern client declared in a request, as it is declared to a modern server: without the extensions
/// that are not carried here.
pub fn capabilities_within_modern(declared: &str) -> String {
    capabilities(declared, EXTENSIONS_MODERN)
}

/// Elicitation and sampling are declared alike in both eras (`elicitation: {}` means forms in either), so what
/// differs is what goes: experimental tasks, news of changed roots, and extensions that are not carried.
fn capabilities(declared: &str, extensions: &[&str]) -> String {
    let mut edits = Edits::new(declared.as_bytes());
    let whole = edits.whole();
    edits.members(whole, |edits, key, value| {
        if key.is("tasks") {
            Fate::Drop
        } else if key.is("roots") {
            edits.members(value, |_, key, _| {
                if key.is("listChanged") {
                    Fate::Drop
                } else {
                    Fate::Keep
                }
            });
            Fate::Keep
        } else if key.is("extensions") {
            let carried = edits.members(value, |_, key, _| {
                if extensions.iter().any(|name| key.is(name)) {
                    Fate::Keep
                } else {
                    Fate::Drop
                }
            });
            if carried == 0 { Fate::Drop } else { Fate::Keep }
        } else {
            Fate::Keep
        }
    });
    match edits.finished() {
        Cow::Borrowed(_) => declared.to_owned(),
        Cow::Owned(text) => {
            String::from_utf8(text).expect("members of UTF-8 are cut at their ends")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::parse;

    const OWN: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

    /// What `check` was given, with `OWN` for `@`.
    fn own(text: &str) -> String {
        text.replace('@', OWN)
    }

    #[test]
    fn legacy_params_become_modern_and_keep_what_nobody_knows() {
        let check = |params: &str, expected: &str, token: Option<&str>| {
            let (text, place) = for_modern(params.as_bytes(), OWN.as_bytes());
            assert_eq!(String::from_utf8_lossy(&text), own(expected), "{params}");
            let found = place.map(|place| String::from_utf8_lossy(place.of(&text)).into_owned());
            assert_eq!(found.as_deref(), token, "{params}");
            parse::check(&text).unwrap();
        };
        check("", r#"{"_meta":{@}}"#, None);
        check("{}", r#"{"_meta":{@}}"#, None);
        check(
            r#"{"name":"t","arguments":{"n":1.0,"task":1}}"#,
            r#"{"_meta":{@},"name":"t","arguments":{"n":1.0,"task":1}}"#,
            None,
        );
        check(
            r#"{"name":"t","_meta":{"progressToken":7,"x":1e400}}"#,
            r#"{"name":"t","_meta":{@,"progressToken":7,"x":1e400}}"#,
            Some("7"),
        );
        check(
            r#"{"task":{"ttl":1},"_meta":{},"name":"t"}"#,
            r#"{"_meta":{@},"name":"t"}"#,
            None,
        );
        check(
            r#"{"_meta":{"io.modelcontextprotocol/logLevel":"debug","io.modelcontextprotocol/related-task":{"taskId":"1"},"progressToken":"a"},"task":{}}"#,
            r#"{"_meta":{@,"progressToken":"a"}}"#,
            Some("\"a\""),
        );
        check(r#"{"_meta":7,"a":1}"#, r#"{"_meta":{@},"a":1}"#, None);
    }

    #[test]
    fn bare_params_need_no_look() {
        for params in [
            "{}",
            "{ }",
            "{ \"a\":1}",
            r#"{"name":"t","arguments":{"_meta":{},"task":1}}"#,
        ] {
            let (looked_through, token) = for_modern(params.as_bytes(), OWN.as_bytes());
            let bare = bare_for_modern(params.as_bytes(), OWN.as_bytes());
            assert_eq!(String::from_utf8(bare), String::from_utf8(looked_through));
            assert_eq!(token, None);
        }
    }

    #[test]
    fn modern_params_keep_answers_and_state_for_a_modern_server() {
        let params = br#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"requestState":"s","inputResponses":{"a":{}}}"#;
        assert_eq!(
            String::from_utf8(for_modern(params, OWN.as_bytes()).0).unwrap(),
            own(r#"{"_meta":{@},"requestState":"s","inputResponses":{"a":{}}}"#)
        );
    }

    #[test]
    fn modern_params_become_legacy_and_keep_what_nobody_knows() {
        let check = |params: &str, expected: &str, token: Option<&str>| {
            let (text, place) = for_legacy(own(params).as_bytes(), None);
            assert_eq!(String::from_utf8_lossy(&text), expected, "{params}");
            let found = place.map(|place| String::from_utf8_lossy(place.of(&text)).into_owned());
            assert_eq!(found.as_deref(), token, "{params}");
        };
        check("", "", None);
        check(r#"{"_meta":{@}}"#, "{}", None);
        check(
            r#"{"name":"t","_meta":{"a/b":2.50,@,"traceparent":"00-1","progressToken":3},"inputResponses":{"k":{}},"requestState":"s"}"#,
            r#"{"name":"t","_meta":{"a/b":2.50,"traceparent":"00-1","progressToken":3}}"#,
            Some("3"),
        );
        check(
            r#"{"requestState":"s","_meta":{@},"uri":"a:\u0062"}"#,
            r#"{"uri":"a:\u0062"}"#,
            None,
        );
    }

    #[test]
    fn meta_that_is_only_of_the_hop_goes_unread() {
        for params in [
            r#"{"_meta":{@},"name":"t","arguments":{"_meta":{@}}}"#,
            r#"{ "name":"t" , "_meta" : {@} , "requestState":"s"}"#,
            r#"{"_meta":{@}}"#,
        ] {
            let params = own(params);
            let text = params.as_bytes();
            let hop = parse::member(text, parse::check(text).unwrap(), "_meta");
            assert_eq!(for_legacy(text, hop), for_legacy(text, None), "{params}");
        }
    }

    #[test]
    fn legacy_params_survive_a_round_trip() {
        for params in [
            r#"{"name":"t","arguments":{"big":123456789012345678901234567890}}"#,
            r#"{"_meta":{"progressToken":1, "x/y" : {"z":[1.0]}},"uri":"a"}"#,
            r#"{"cursor":""}"#,
        ] {
            let (modern, _) = for_modern(params.as_bytes(), OWN.as_bytes());
            let (back, _) = for_legacy(&modern, None);
            assert_eq!(String::from_utf8_lossy(&back), params);
        }
    }

    #[test]
    fn own_meta_says_who_asks_and_what_for() {
        let check = |client: Option<&[u8]>, level, expected: &str| {
            let text = own_meta(r#"{"roots":{}}"#, client, level);
            let text = String::from_utf8(text).unwrap();
            assert!(text.starts_with(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":""#));
            assert!(text.ends_with(expected), "{text}");
            parse::check(format!("{{{text}}}").as_bytes()).unwrap();
        };
        check(None, None, concat!(env!("CARGO_PKG_VERSION"), "\"}"));
        check(
            Some(br#"{"name":"c","version":"1"}"#),
            Some(3),
            r#"{"name":"c","version":"1"},"io.modelcontextprotocol/logLevel":"warning""#,
        );
    }

    #[test]
    fn capabilities_lose_what_the_other_side_could_not_use() {
        let check = |declared: &str, crossing: &str, within: &str| {
            assert_eq!(capabilities_for_legacy(declared), crossing, "{declared}");
            assert_eq!(capabilities_for_modern(declared), crossing, "{declared}");
            assert_eq!(capabilities_within_modern(declared), within, "{declared}");
        };
        let same = |declared: &str| check(declared, declared, declared);
        same("{}");
        same(r#"{"elicitation":{}}"#);
        same(r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"context":{}}}"#);
        same(r#"{"experimental":{"x":{"n":1.0}},"vendor":[1]}"#);
        same(
            r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}"#,
        );
        check(
            r#"{"roots":{"listChanged":true}}"#,
            r#"{"roots":{}}"#,
            r#"{"roots":{}}"#,
        );
        check(
            r#"{"tasks":{"list":{}},"sampling":{}}"#,
            r#"{"sampling":{}}"#,
            r#"{"sampling":{}}"#,
        );
        check(
            r#"{"sampling":{},"extensions":{"io.modelcontextprotocol/tasks":{},"com.example/x":{}}}"#,
            r#"{"sampling":{}}"#,
            r#"{"sampling":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        );
    }
}
