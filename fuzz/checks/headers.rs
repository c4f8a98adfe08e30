//! Mirrored headers: what is encoded is printable and read back, which annotations a schema has is what a
//! reader of its value finds, and arguments that were mirrored agree with their headers until one is changed.

use serde_json::Value;
use std::collections::BTreeSet;
use switchbox::config::limits::{HEAD_BYTES_MAX, HEADER_PARAM_BYTES_MAX, HEADER_PARAMS_MAX};
use switchbox::http::RequestHead;
use switchbox::jsonrpc::parse::{self, Span};
use switchbox::mcp::headers::{
    HeaderParam, ParamKind, Reason, check_params, decode, encode, header_params, write_params,
};

/// The input is up to three lines: a value, an `inputSchema`, `arguments`.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (value, schema, arguments) = (next(), next(), next());
    check_value(value);
    let Ok(place) = parse::check(schema.as_bytes()) else {
        return;
    };
    let params = header_params(schema.as_bytes(), place);
    if let Some(read) = read(schema.as_bytes(), place) {
        check_params_of(&read, &params);
    }
    let (Ok(params), Ok(place)) = (params, parse::check(arguments.as_bytes())) else {
        return;
    };
    if read(arguments.as_bytes(), place).is_some() {
        check_arguments(&params, arguments.as_bytes(), place);
    }
}

fn check_value(value: &str) {
    let encoded = encode(value);
    assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    assert_eq!(encoded.trim(), encoded);
    assert_eq!(decode(&encoded).as_deref(), Some(value));
    let trimmed = value.trim_matches([' ', '\t']);
    match decode(value) {
        Some(decoded) if decoded == trimmed => {}
        Some(decoded) => {
            let text = trimmed.strip_prefix("=?base64?").expect("it was decoded");
            let text = text.strip_suffix("?=").expect("it was decoded");
            assert_eq!(decoded.as_bytes(), bit_by_bit(text), "{value}");
        }
        None => {
            let odd = !trimmed
                .bytes()
                .all(|b| b == b'\t' || (0x20..0x7f).contains(&b));
            assert!(odd || trimmed.starts_with("=?base64?") && trimmed.ends_with("?="));
        }
    }
}

/// What Base64 stands for.
fn bit_by_bit(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.chars().filter_map(|letter| LETTERS.find(letter));
    let bits: Vec<usize> = values
        .flat_map(|value| (0..6).rev().map(move |bit| value >> bit & 1))
        .collect();
    bits.chunks_exact(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
        .collect()
}

/// The value, if serde_json can hold it and no member stands twice anywhere in it.
fn read(text: &[u8], place: Span) -> Option<Value> {
    fn in_text(text: &[u8], place: Span) -> usize {
        let members = parse::members(text, place).map(|(_, value)| 1 + in_text(text, value));
        let elements = parse::elements(text, place).map(|value| in_text(text, value));
        members.sum::<usize>() + elements.sum::<usize>()
    }
    fn in_value(value: &Value) -> usize {
        match value {
            Value::Object(members) => members.values().map(|value| 1 + in_value(value)).sum(),
            Value::Array(elements) => elements.iter().map(in_value).sum(),
            _ => 0,
        }
    }
    let value = serde_json::from_slice(place.of(text)).ok()?;
    (in_text(text, place) == in_value(&value)).then_some(value)
}

fn check_params_of(schema: &Value, params: &Result<Vec<HeaderParam>, &'static str>) {
    let (mut lawful, mut unlawful) = (Vec::new(), 0);
    annotations(schema, Some(&mut Vec::new()), &mut lawful, &mut unlawful);
    let names: BTreeSet<String> = lawful
        .iter()
        .map(|param| param.header.to_lowercase())
        .collect();
    let whole = unlawful == 0 && names.len() == lawful.len() && names.len() <= HEADER_PARAMS_MAX;
    match params {
        Ok(params) => assert!(
            whole && sorted(params) == sorted(&lawful),
            "{params:?} {lawful:?}"
        ),
        Err(fact) => assert!(!whole, "{fact}"),
    }
}

fn sorted(params: &[HeaderParam]) -> Vec<(&str, &[String], ParamKind)> {
    let mut all: Vec<_> = params
        .iter()
        .map(|param| (&*param.header, &*param.path, param.kind))
        .collect();
    all.sort_by_key(|(header, path, _)| (*header, *path));
    all
}

/// Adds up the annotations of a schema; `path` leads to it, if properties alone do.
fn annotations(
    schema: &Value,
    mut path: Option<&mut Vec<String>>,
    lawful: &mut Vec<HeaderParam>,
    unlawful: &mut usize,
) {
    for element in schema.as_array().into_iter().flatten() {
        annotations(element, None, lawful, unlawful);
    }
    let Some(schema) = schema.as_object() else {
        return;
    };
    for (key, value) in schema {
        match (&**key, value) {
            ("x-mcp-header" | "const" | "enum" | "default" | "examples", _) => {}
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    match path.as_deref_mut() {
                        Some(path) => {
                            path.push(name.clone());
                            annotations(property, Some(path), lawful, unlawful);
                            path.pop();
                        }
                        None => annotations(property, None, lawful, unlawful),
                    }
                }
            }
            ("type" | "properties", _) => {}
            (
                "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies",
                named,
            ) => {
                for value in named
                    .as_object()
                    .into_iter()
                    .flat_map(|named| named.values())
                {
                    annotations(value, None, lawful, unlawful);
                }
            }
            _ => annotations(value, None, lawful, unlawful),
        }
    }
    let Some(annotation) = schema.get("x-mcp-header") else {
        return;
    };
    let kind = match schema.get("type").and_then(Value::as_str) {
        Some("string") => Some(ParamKind::Text),
        Some("integer") => Some(ParamKind::Integer),
        Some("boolean") => Some(ParamKind::Boolean),
        _ => None,
    };
    let token = |name: &&str| {
        let fits = (1..=HEADER_PARAM_BYTES_MAX).contains(&name.len());
        fits && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    match (annotation.as_str().filter(token), kind, path) {
        (Some(header), Some(kind), Some(path)) if !path.is_empty() => lawful.push(HeaderParam {
            header: header.into(),
            path: path.clone(),
            kind,
        }),
        _ => *unlawful += 1,
    }
}

fn check_arguments(params: &[HeaderParam], text: &[u8], place: Span) {
    let mut head = b"POST /mcp HTTP/1.1\r\nHost: h\r\n".to_vec();
    write_params(&mut head, params, text, Some(place));
    head.extend_from_slice(b"\r\n");
    if head.len() >= HEAD_BYTES_MAX {
        return;
    }
    let (head, _) = RequestHead::parse(&head)
        .expect("it is lawful")
        .expect("it is whole");
    let fields: Vec<_> = head.mcp_params().collect();
    let verdict = |fields: &[(&str, &[u8])]| {
        check_params(fields.iter().copied(), params, text, Some(place))
            .map_err(|mismatch| mismatch.reason)
    };
    assert_eq!(verdict(&fields), Ok(()));
    for at in 0..fields.len() {
        let mut less = fields.clone();
        let (name, value) = less.remove(at);
        assert_eq!(verdict(&less), Err(Reason::Missing));
        let changed = [b"x".as_slice(), value].concat();
        less.push((name, &changed));
        assert_eq!(verdict(&less), Err(Reason::Differs));
        less.push((name, value));
        assert_eq!(verdict(&less), Err(Reason::Repeated));
    }
}
