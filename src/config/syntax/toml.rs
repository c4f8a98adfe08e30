//! TOML, by the `toml` crate, whose values know their spans.

use super::SyntaxFault;
use crate::config::limits::CONFIG_DEPTH_MAX;
use crate::config::node::{Entry, Node, Span, Value};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) fn read(text: &str) -> Result<Node, Vec<SyntaxFault>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(faults(text, &errors));
    }
    let span = span(root.span());
    let value = table(text, root.into_inner(), 1).map_err(|fault| vec![fault])?;
    Ok(Node { value, span })
}

/// The errors, one a line: after the first, the parser's recovery mostly restates it.
fn faults(text: &str, errors: &[toml::de::Error]) -> Vec<SyntaxFault> {
    let mut faults: Vec<(usize, SyntaxFault)> = Vec::new();
    for error in errors {
        let at = error.span().map_or(
            Span {
                start: text.len(),
                end: text.len(),
            },
            span,
        );
        let before = &text.as_bytes()[..at.start.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count();
        if faults.iter().any(|(known, _)| *known == line) {
            continue;
        }
        let message = error.message();
        let (message, expected) = match message.split_once(", expected ") {
            Some((message, expected)) => (message, Some(expected.to_string())),
            None => (message, None),
        };
        let message = message.to_string();
        faults.push((
            line,
            SyntaxFault {
                span: at,
                message,
                expected,
            },
        ));
    }
    faults.sort_by_key(|(_, fault)| fault.span);
    faults.into_iter().map(|(_, fault)| fault).collect()
}

fn span(range: Range<usize>) -> Span {
    Span {
        start: range.start,
        end: range.end,
    }
}

fn node(text: &str, spanned: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, SyntaxFault> {
    let span = span(spanned.span());
    if depth > CONFIG_DEPTH_MAX {
        return Err(SyntaxFault::too_deep(span.start));
    }
    let raw = || text.get(span.start..span.end).unwrap_or("").to_string();
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) if integer.radix() == 10 => {
            Value::Number(integer.as_str().to_string())
        }
        DeValue::Integer(_) => Value::Number(raw()),
        DeValue::Float(float) => Value::Number(float.as_str().to_string()),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => Value::Date(raw()),
        DeValue::Array(array) => Value::List(
            array
                .into_iter()
                .map(|item| node(text, item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(inner) => table(text, inner, depth)?,
    };
    Ok(Node { value, span })
}

fn table(text: &str, table: DeTable<'_>, depth: usize) -> Result<Value, SyntaxFault> {
    let mut entries = table
        .into_iter()
        .map(|(key, value)| {
            Ok(Entry {
                key_span: span(key.span()),
                key: key.into_inner().into_owned(),
                node: node(text, value, depth + 1)?,
            })
        })
        .collect::<Result<Vec<_>, SyntaxFault>>()?;
    // The crate keeps tables sorted by name; the order of the file is meaningful to us.
    entries.sort_by_key(|entry| entry.key_span);
    Ok(Value::Map(entries))
}
