//! Entries of lists on their way to a client, from either era to the other.
//!
//! Prompts, resources and templates are alike in both. Tools differ in three members: `outputSchema`, which
//! describes an object in the legacy era and anything in the modern one; `execution`, which only the
//! legacy era knows; and `x-mcp-header` within `inputSchema`, by which modern clients send headers.

use super::result::Output;
use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Cursor, Key, Span};
use crate::jsonrpc::write;
use crate::mcp::caching::Caching;
use crate::mcp::headers;
use crate::mcp::meta;
use crate::mcp::schema::{self, Inside};
use std::borrow::Cow;

/// What a modern list has beside its entries and its cursor, as members without braces: what kind of result
/// it is, for how long it may be kept, and whose it is (`server`, a name and version as a JSON object).
pub fn modern_members(caching: Caching, server: &str) -> String {
    format!(
        r#""resultType":"complete",{},"_meta":{{"{}":{server}}}"#,
        caching.to_members(),
        meta::SERVER
    )
}

/// A modern server's tool as a legacy client must see it: an `outputSchema` that does not say it describes an
/// object becomes the schema of the only property, `result`, of an object (SEP-2106).
///
/// `entry` is the tool's object alone, as it stands in a text that was checked before.
pub fn tool_for_legacy(entry: &[u8]) -> Cow<'_, [u8]> {
    let mut edits = Edits::new(entry);
    let whole = edits.whole();
    edits.members(whole, |_, key, value| {
        if !key.is("outputSchema") {
            return Fate::Keep;
        }
        match entry[value.start] {
            b'{' if describes_object(entry, value) => Fate::Keep,
            b'{' => Fate::Become(wrapped(value.of(entry)).into()),
            _ => Fate::Drop,
        }
    });
    edits.finished()
}

/// Whether structured content of this modern server's tool must be wrapped for legacy clients, because
/// [`tool_for_legacy`] wraps its schema.
pub fn output(entry: &[u8]) -> Output {
    let whole = Edits::new(entry).whole();
    match parse::member(entry, whole, "outputSchema") {
        Some(schema) if entry[schema.start] == b'{' && !describes_object(entry, schema) => {
            Output::Wrapped
        }
        _ => Output::Natural,
    }
}

/// A legacy server's tool as a modern client must see it: without `execution`, and otherwise as
/// [`tool_within_modern`] has it.
///
/// `entry` is the tool's object alone, as it stands in a text that was checked before.
pub fn tool_for_modern(entry: &[u8]) -> Cow<'_, [u8]> {
    let mut edits = Edits::new(entry);
    let whole = edits.whole();
    edits.members(whole, |edits, key, value| {
        if key.is("execution") {
            return Fate::Drop;
        }
        drop_broken_headers(edits, key, value);
        Fate::Keep
    });
    edits.finished()
}

/// A modern server's tool as a modern client must see it: without annotations for headers if they break a rule.
///
/// Over stdio, where they mean nothing, a server may well do so; our clients over HTTP would leave out the whole tool
/// (MCP 2026-07-28, transports/streamable-http, "Custom Headers from Tool Parameters").
///
/// `entry` is the tool's object alone, as it stands in a text that was checked before.
pub fn tool_within_modern(entry: &[u8]) -> Cow<'_, [u8]> {
    let mut edits = Edits::new(entry);
    let whole = edits.whole();
    edits.members(whole, |edits, key, value| {
        drop_broken_headers(edits, key, value);
        Fate::Keep
    });
    edits.finished()
}

fn drop_broken_headers(edits: &mut Edits<'_>, key: Key<'_>, value: Span) {
    if key.is("inputSchema") && headers::header_params(edits.text(), value).is_err() {
        drop_headers(edits, value);
    }
}

fn drop_headers(edits: &mut Edits<'_>, input_schema: Span) {
    let mut cursor = Cursor::new(edits.text(), input_schema);
    let drop = |_: &mut Edits<'_>, key: Key<'_>, _| match key.is("x-mcp-header") {
        true => Verdict::Becomes(Fate::Drop),
        false => Verdict::LooksInside,
    };
    through(edits, &mut cursor, Inside::Schema, &drop);
}

fn describes_object(text: &[u8], schema: Span) -> bool {
    parse::member(text, schema, "type")
        .and_then(|kind| parse::string(text, kind))
        .is_some_and(|kind| kind == "object")
}

/// Where the schema stands after it was wrapped, as seen from its own root.
const ROOT: &str = "#/properties/result";

/// The schema of an object whose only property, `result`, has this one.
///
/// References from the root (`#`, `#/…`) lead to where the root now stands. Names (`$anchor`) need no change, and
/// within a schema that has an address of its own (`$id`) references start there. `$recursiveRef` of dialect
/// 2019-09 is a reference to the root unless the root says otherwise.
fn wrapped(schema: &[u8]) -> Vec<u8> {
    let mut edits = Edits::new(schema);
    let whole = edits.whole();
    let dialect = parse::member(schema, whole, "$schema");
    let recursive = dialect
        .and_then(|dialect| parse::string(schema, dialect))
        .is_some_and(|dialect| dialect.contains("/draft/2019-09/"))
        && parse::member(schema, whole, "$recursiveAnchor").map(|it| it.of(schema))
            != Some(b"true");
    let keyword = |edits: &mut Edits<'_>, key: Key<'_>, scalar: Option<Span>| {
        if key.is("$id") {
            return match scalar.is_some_and(|id| id.of(schema).starts_with(b"\"#")) {
                true => Verdict::LooksInside,
                false => Verdict::LeavesAlone,
            };
        }
        let Some(value) = scalar else {
            return Verdict::LooksInside;
        };
        if key.is("$ref") || key.is("$dynamicRef") {
            let target = parse::string(schema, value);
            let path = target.as_deref().and_then(|it| it.strip_prefix('#'));
            if let Some(path) = path.filter(|path| path.is_empty() || path.starts_with('/')) {
                let moved = write::quoted(&[ROOT, path].concat());
                return Verdict::Becomes(Fate::Become(moved.into()));
            }
        } else if recursive && key.is("$recursiveRef") && value.of(schema) == b"\"#\"" {
            let member = Span {
                start: key.start(),
                end: value.end,
            };
            edits.replace(member, format!(r#""$ref":"{ROOT}""#).into_bytes());
        }
        Verdict::LooksInside
    };
    // Every reference from the root has a `#`, if only an escaped one; other schemas are spared the walk.
    if schema.iter().any(|byte| matches!(byte, b'#' | b'\\')) {
        let mut cursor = Cursor::new(schema, whole);
        through(&mut edits, &mut cursor, Inside::Schema, &keyword);
    }
    let mut out = Vec::with_capacity(schema.len() + 160);
    out.push(b'{');
    if let Some(dialect) = dialect.filter(|dialect| schema[dialect.start] == b'"') {
        out.extend_from_slice(br#""$schema":"#);
        out.extend_from_slice(dialect.of(schema));
        out.push(b',');
    }
    out.extend_from_slice(br#""type":"object","properties":{"result":"#);
    out.extend_from_slice(&edits.finished());
    out.extend_from_slice(br#"},"required":["result"]}"#);
    out
}

/// What is decided about a keyword.
enum Verdict<'a> {
    /// Its value is looked into.
    LooksInside,
    /// Its value is done with.
    Becomes(Fate<'a>),
    /// The schema that it stands in is left as it was, and all inside it.
    LeavesAlone,
}

/// Goes through the schema at the cursor, or the names of schemas, and all schemas inside it, keyword by keyword.
///
/// `keyword` is told the place of a value that is no container. Every byte is passed once: a list may be as long as
/// a message, and as deep. Depth is bounded by that of JSON that was checked.
fn through<'a>(
    edits: &mut Edits<'a>,
    cursor: &mut Cursor<'a>,
    position: Inside,
    keyword: &dyn Fn(&mut Edits<'a>, Key<'a>, Option<Span>) -> Verdict<'a>,
) {
    if position == Inside::Data || !cursor.is_at_container() {
        cursor.pass();
        return;
    }
    if cursor.enter_array() {
        while cursor.element() {
            through(edits, cursor, Inside::Schema, keyword);
        }
        return;
    }
    let mark = edits.mark();
    let mut leaves_alone = false;
    edits.members_at(cursor, |edits, key, cursor| {
        if position == Inside::Names {
            through(edits, cursor, Inside::Schema, keyword);
            return Fate::Keep;
        }
        let scalar = match cursor.is_at_container() {
            true => None,
            false => cursor.pass(),
        };
        let verdict = keyword(edits, key, scalar);
        leaves_alone |= matches!(verdict, Verdict::LeavesAlone);
        if scalar.is_none() {
            let inside = match verdict {
                Verdict::LooksInside => schema::inside(key),
                Verdict::Becomes(_) | Verdict::LeavesAlone => Inside::Data,
            };
            through(edits, cursor, inside, keyword);
        }
        match verdict {
            Verdict::Becomes(fate) => fate,
            Verdict::LooksInside | Verdict::LeavesAlone => Fate::Keep,
        }
    });
    if leaves_alone {
        edits.forget(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: Cow<'_, [u8]>) -> String {
        parse::check(&text).unwrap();
        String::from_utf8(text.into_owned()).unwrap()
    }

    /// What becomes of an output schema: `@` stands for what a wrapped one is wrapped in.
    fn check_output(schema: &str, expected: &str) {
        let entry = format!(r#"{{"name":"t","outputSchema":{schema},"x":1.0}}"#);
        let became = checked(tool_for_legacy(entry.as_bytes()));
        let expected = match expected.strip_prefix('@') {
            Some(inner) => {
                assert_eq!(output(entry.as_bytes()), Output::Wrapped, "{schema}");
                format!(
                    r#"{{"type":"object","properties":{{"result":{inner}}},"required":["result"]}}"#
                )
            }
            None => {
                assert_eq!(output(entry.as_bytes()), Output::Natural, "{schema}");
                expected.to_owned()
            }
        };
        assert_eq!(
            became,
            format!(r#"{{"name":"t","outputSchema":{expected},"x":1.0}}"#),
            "{schema}"
        );
    }

    #[test]
    fn schema_of_an_object_is_left_alone() {
        let schema = r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"minimum":1.0}}}"##;
        check_output(schema, schema);
        check_output(r#"{"type":"obj\u0065ct"}"#, r#"{"type":"obj\u0065ct"}"#);
    }

    #[test]
    fn schema_of_anything_else_becomes_that_of_a_property() {
        check_output(
            r#"{"type":"array","items":{"maximum":1e2}}"#,
            r#"@{"type":"array","items":{"maximum":1e2}}"#,
        );
        check_output("{}", "@{}");
        check_output(
            r##"{"$ref":"\u0023/a"}"##,
            r##"@{"$ref":"#/properties/result/a"}"##,
        );
        check_output(
            r#"{"type":["object","null"]}"#,
            r#"@{"type":["object","null"]}"#,
        );
        check_output(
            r##"{"anyOf":[{"$ref":"#"},{"$ref":"#/$defs/a~1b"},{"$ref":"#\/$defs\/c"}],"$defs":{"a/b":{"$dynamicRef":"#/x"}}}"##,
            r##"@{"anyOf":[{"$ref":"#/properties/result"},{"$ref":"#/properties/result/$defs/a~1b"},{"$ref":"#/properties/result/$defs/c"}],"$defs":{"a/b":{"$dynamicRef":"#/properties/result/x"}}}"##,
        );
    }

    #[test]
    fn references_that_do_not_start_at_the_root_are_left_alone() {
        let same = |schema: &str| check_output(schema, &format!("@{schema}"));
        same(r##"{"items":{"$ref":"#name"},"$defs":{"a":{"$anchor":"name"}}}"##);
        same(r##"{"items":{"$ref":"https://example.com/s#/a"}}"##);
        same(r##"{"$id":"https://example.com/s","items":{"$ref":"#/$defs/a"}}"##);
        same(r##"{"items":{"$id":"s","properties":{"a":{"$ref":"#/b"}}}}"##);
        same(
            r##"{"enum":[{"$ref":"#"}],"const":{"$ref":"#"},"default":{"$ref":"#/a"},"examples":[{"$ref":"#"}]}"##,
        );
        same(r##"{"$ref":7}"##);
        check_output(
            r##"{"$id":"#old","items":{"$ref":"#/a"}}"##,
            r##"@{"$id":"#old","items":{"$ref":"#/properties/result/a"}}"##,
        );
    }

    #[test]
    fn names_that_look_like_keywords_are_names() {
        check_output(
            r##"{"anyOf":[],"properties":{"$ref":{"$ref":"#"},"default":{"$ref":"#/a"},"$id":{"$ref":"#"}}}"##,
            r##"@{"anyOf":[],"properties":{"$ref":{"$ref":"#/properties/result"},"default":{"$ref":"#/properties/result/a"},"$id":{"$ref":"#/properties/result"}}}"##,
        );
    }

    #[test]
    fn dialect_is_said_at_the_new_root_too() {
        let entry = br##"{"outputSchema":{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"array","items":{"$recursiveRef":"#"}}}"##;
        assert_eq!(
            checked(tool_for_legacy(entry)),
            r##"{"outputSchema":{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"object","properties":{"result":{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"array","items":{"$ref":"#/properties/result"}}},"required":["result"]}}"##
        );
        let entry = String::from_utf8(entry.to_vec()).unwrap();
        let entry = entry.replace(r#""type""#, r#""$recursiveAnchor":true,"type""#);
        assert!(checked(tool_for_legacy(entry.as_bytes())).contains("$recursiveRef"));
    }

    #[test]
    fn schema_that_is_no_object_is_not_shown() {
        let entry = br#"{"name":"t","outputSchema":true}"#;
        assert_eq!(checked(tool_for_legacy(entry)), r#"{"name":"t"}"#);
        assert_eq!(output(entry), Output::Natural);
    }

    #[test]
    fn modern_tool_says_nothing_of_its_execution() {
        let entry = br#"{"name":"t","execution":{"taskSupport":"required"},"inputSchema":{"execution":1.0}}"#;
        assert_eq!(
            checked(tool_for_modern(entry)),
            r#"{"name":"t","inputSchema":{"execution":1.0}}"#
        );
        assert!(matches!(
            tool_for_modern(br#"{"name":"t"}"#),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn headers_that_break_a_rule_are_not_shown() {
        let check = |schema: &str, expected: &str| {
            let entry = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
            let expected = format!(r#"{{"name":"t","inputSchema":{expected}}}"#);
            assert_eq!(checked(tool_for_modern(entry.as_bytes())), expected);
            assert_eq!(checked(tool_within_modern(entry.as_bytes())), expected);
        };
        let lawful = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#;
        check(lawful, lawful);
        check(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"number","x-mcp-header":"B"}}}"#,
            r#"{"properties":{"a":{"type":"string"},"b":{"type":"number"}}}"#,
        );
    }

    #[test]
    fn headers_are_taken_out_where_they_are_keywords() {
        let entry = br#"{"inputSchema":{"x-mcp-header":"A","properties":{"x-mcp-header":{"type":"string","x-mcp-header":"B"},"c":{"items":[{"x-mcp-header":"D"}],"default":{"x-mcp-header":1}}}}}"#;
        assert_eq!(
            checked(tool_for_modern(entry)),
            r#"{"inputSchema":{"properties":{"x-mcp-header":{"type":"string"},"c":{"items":[{}],"default":{"x-mcp-header":1}}}}}"#
        );
    }

    #[test]
    fn modern_list_says_what_it_is_and_whose() {
        assert_eq!(
            modern_members(Caching::NONE, "{}"),
            r#""resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{}}"#
        );
    }
}
