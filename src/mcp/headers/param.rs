//! Arguments of a tool that are mirrored in headers, because its `inputSchema` says so (`x-mcp-header`).
//!
//! The rules on where such an annotation may stand exist so that a client can find the value without
//! judging the schema: only on a string, integer or boolean that is reached by `properties` alone. A tool
//! that breaks them is one that clients over HTTP leave out.
//! MCP 2026-07-28, transports/streamable-http, "Custom Headers from Tool Parameters".

use super::{Mismatch, PARAM_PREFIX, Reason, decode, encode};
use crate::config::limits::{HEADER_FIELDS_MAX, HEADER_PARAM_BYTES_MAX, HEADER_PARAMS_MAX};
use crate::http::{is_token_byte, write};
use crate::jsonrpc::decimal::Decimal;
use crate::jsonrpc::parse::{self, Cursor, Span};
use crate::mcp::schema::{self, Inside};
use memchr::memmem;
use std::borrow::Cow;

const ANNOTATION: &str = "x-mcp-header";

/// One argument that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderParam {
    /// What follows `Mcp-Param-` in the name of its header.
    pub header: String,
    /// The names that lead to it from `arguments`.
    pub path: Vec<String>,
    /// What it is.
    pub kind: ParamKind,
}

/// What an argument that is mirrored may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A string.
    Text,
    /// An integer: however it is written, it is compared by value.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// The arguments that a tool wants mirrored, in the order of its `inputSchema`; mostly none.
///
/// `text` was checked before.
///
/// # Errors
/// The rule that the tool breaks, as a fact.
pub fn header_params(text: &[u8], input_schema: Span) -> Result<Vec<HeaderParam>, &'static str> {
    let schema = input_schema.of(text);
    // Nearly no tool has one, which can be told without taking the schema apart. Letters need no escape; who
    // escapes them all the same is looked at.
    if memmem::find(schema, ANNOTATION.as_bytes()).is_none()
        && memmem::find(schema, b"\\u00").is_none()
    {
        return Ok(Vec::new());
    }
    let mut search = Search {
        text,
        cursor: Cursor::new(text, input_schema),
        path: Vec::new(),
        found: Vec::new(),
    };
    search.look(Way::Properties)?;
    Ok(search.found)
}

/// How a schema inside the tool's was reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By nothing but `properties`: it describes the argument at the path.
    Properties,
    /// Otherwise.
    Other,
}

struct Search<'a> {
    text: &'a [u8],
    cursor: Cursor<'a>,
    path: Vec<String>,
    found: Vec<HeaderParam>,
}

impl Search<'_> {
    /// Looks through a schema and all schemas inside it. Depth is bounded by that of JSON that was checked.
    fn look(&mut self, way: Way) -> Result<(), &'static str> {
        if self.cursor.enter_array() {
            while self.cursor.element() {
                self.look(Way::Other)?;
            }
            return Ok(());
        }
        if !self.cursor.enter_object() {
            self.cursor.pass();
            return Ok(());
        }
        let (mut annotation, mut kind) = (None, None);
        while let Some(key) = self.cursor.member() {
            if key.is(ANNOTATION) {
                if annotation.is_some() {
                    return Err("x-mcp-header stands there twice");
                }
                annotation = self.cursor.pass();
                continue;
            }
            match schema::inside(key) {
                Inside::Schema if key.is("type") => {
                    let value = self.cursor.pass();
                    kind = value.and_then(|value| parse::string(self.text, value));
                }
                Inside::Schema => self.look(Way::Other)?,
                Inside::Names if self.cursor.enter_object() => {
                    let leads_on = way == Way::Properties && key.is("properties");
                    while let Some(name) = self.cursor.member() {
                        match name.text().filter(|_| leads_on) {
                            Some(name) => {
                                self.path.push(name.into_owned());
                                self.look(Way::Properties)?;
                                self.path.pop();
                            }
                            None => self.look(Way::Other)?,
                        }
                    }
                }
                Inside::Names | Inside::Data => {
                    self.cursor.pass();
                }
            }
        }
        match annotation {
            Some(annotation) => self.add(annotation, kind.as_deref(), way),
            None => Ok(()),
        }
    }

    fn add(&mut self, annotation: Span, kind: Option<&str>, way: Way) -> Result<(), &'static str> {
        if way != Way::Properties || self.path.is_empty() {
            return Err("x-mcp-header stands where properties alone do not lead");
        }
        let header = parse::string(self.text, annotation).ok_or("x-mcp-header is no string")?;
        if header.is_empty() || !header.bytes().all(is_token_byte) {
            return Err("x-mcp-header is no name of a header");
        }
        if header.len() > HEADER_PARAM_BYTES_MAX {
            return Err("x-mcp-header exceeds 128 bytes");
        }
        let kind = match kind {
            Some("string") => ParamKind::Text,
            Some("integer") => ParamKind::Integer,
            Some("boolean") => ParamKind::Boolean,
            _ => {
                return Err("x-mcp-header is on an argument that is no string, integer or boolean");
            }
        };
        let same = |other: &HeaderParam| other.header.eq_ignore_ascii_case(&header);
        if self.found.iter().any(same) {
            return Err("two arguments have the same x-mcp-header");
        }
        if self.found.len() == HEADER_PARAMS_MAX {
            return Err("more than 32 arguments have an x-mcp-header");
        }
        self.found.push(HeaderParam {
            header: header.into_owned(),
            path: self.path.clone(),
            kind,
        });
        Ok(())
    }
}

const _: () = assert!(HEADER_PARAM_BYTES_MAX == 128 && HEADER_PARAMS_MAX == 32);
const _: () = assert!(HEADER_PARAMS_MAX < HEADER_FIELDS_MAX);

/// Writes the fields that mirror `arguments`. What is absent or null, or has no form in a header, has none.
pub fn write_params(
    out: &mut Vec<u8>,
    params: &[HeaderParam],
    text: &[u8],
    arguments: Option<Span>,
) {
    for (param, found) in params.iter().zip(find_all(params, text, arguments)) {
        if let Some(value) = found.value.and_then(|value| param.shown(text, value)) {
            let name = format!("{PARAM_PREFIX}{}", param.header);
            write::field(out, &name, encode(&value).as_bytes());
        }
    }
}

/// Whether the fields of a `tools/call` say what its arguments say.
///
/// `fields` are all that begin with `Mcp-Param-`, without that, as
/// [`RequestHead::mcp_params`](crate::http::RequestHead::mcp_params) has them. Those that the tool knows
/// nothing of are none of its business.
///
/// # Errors
/// The first mirrored argument, in the order of the schema, whose field does not agree with it.
pub fn check_params<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    params: &[HeaderParam],
    text: &[u8],
    arguments: Option<Span>,
) -> Result<(), Mismatch> {
    if params.is_empty() {
        return Ok(());
    }
    let fields: Vec<_> = fields.collect();
    for (param, found) in params.iter().zip(find_all(params, text, arguments)) {
        let mut values = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(&param.header))
            .map(|(_, value)| *value);
        let verdict = match (values.next(), values.next()) {
            (_, Some(_)) => Err(Reason::Repeated),
            (value, None) => param.agrees(value, text, found),
        };
        verdict.map_err(|reason| Mismatch {
            header: format!("{PARAM_PREFIX}{}", param.header).into(),
            reason,
        })?;
    }
    Ok(())
}

/// What was found of an argument.
#[derive(Clone, Copy, Default)]
struct Found {
    /// The last, as most readers have it, if there are several.
    value: Option<Span>,
    /// Whether another reader could find another, or one at all: a member on the way stands there twice.
    ambiguous: bool,
}

/// What there is at the end of each path, in the order of `params`. Every byte of the arguments is passed once.
fn find_all(params: &[HeaderParam], text: &[u8], arguments: Option<Span>) -> Vec<Found> {
    let mut walk = Walk {
        params,
        found: vec![Found::default(); params.len()],
    };
    if let Some(arguments) = arguments {
        let all = (0..params.len()).fold(0, |set, place| set | 1 << place);
        walk.look(&mut Cursor::new(text, arguments), 0, all);
    }
    walk.found
}

/// Places of `params`, as bits.
type Places = u32;

const _: () = assert!(HEADER_PARAMS_MAX <= Places::BITS as usize);

struct Walk<'a> {
    params: &'a [HeaderParam],
    found: Vec<Found>,
}

impl Walk<'_> {
    /// Passes over the value at the cursor, to which the first `depth` names of the paths of `led` lead. No path is
    /// deeper than JSON that was checked.
    fn look(&mut self, cursor: &mut Cursor<'_>, depth: usize, led: Places) {
        if led == 0 || !cursor.enter_object() {
            cursor.pass();
            return;
        }
        let mut met: Places = 0;
        while let Some(key) = cursor.member() {
            let (mut ends, mut leads_on): (Places, Places) = (0, 0);
            for (place, param) in self.params.iter().enumerate() {
                let bit = 1 << place;
                if led & bit == 0 || !param.path.get(depth).is_some_and(|name| key.is(name)) {
                    continue;
                }
                // What stands there again counts in place of what did before, and of what was found within.
                let ambiguous = self.found[place].ambiguous || met & bit != 0;
                self.found[place] = Found {
                    value: None,
                    ambiguous,
                };
                met |= bit;
                match param.path.len() == depth + 1 {
                    true => ends |= bit,
                    false => leads_on |= bit,
                }
            }
            let start = cursor.place();
            self.look(cursor, depth + 1, leads_on);
            let end = cursor.place();
            for (place, found) in self.found.iter_mut().enumerate() {
                if ends & (1 << place) != 0 {
                    found.value = Some(Span { start, end });
                }
            }
        }
    }
}

impl HeaderParam {
    /// A value as its header shows it, before it is encoded; `None` if headers do not show such values.
    fn shown<'a>(&self, text: &'a [u8], value: Span) -> Option<Cow<'a, str>> {
        let raw = std::str::from_utf8(value.of(text)).ok()?;
        match raw.as_bytes()[0] {
            b'"' => parse::string(text, value),
            b'n' | b'{' | b'[' => None,
            b't' | b'f' => Some(raw.into()),
            _ if self.kind == ParamKind::Integer => {
                let plain = Decimal::parse(raw).and_then(|number| number.plain());
                Some(plain.map_or(raw.into(), Cow::Owned))
            }
            _ => Some(raw.into()),
        }
    }

    /// Whether the field's value, if there is one, says what the arguments say.
    fn agrees(&self, field: Option<&[u8]>, text: &[u8], found: Found) -> Result<(), Reason> {
        let shown = found.value.and_then(|value| self.shown(text, value));
        let (field, value, shown) = match (field, found.value, shown) {
            (None, _, None) if !found.ambiguous => return Ok(()),
            (None, _, Some(_)) => return Err(Reason::Missing),
            (Some(field), Some(value), Some(shown)) => (field, value, shown),
            _ => return Err(Reason::Differs),
        };
        let field = std::str::from_utf8(field).map_err(|_| Reason::Undecodable)?;
        let field = decode(field).ok_or(Reason::Undecodable)?;
        let same_number = || {
            let is_number = !matches!(text[value.start], b'"' | b't' | b'f');
            let number = Decimal::parse(&field).filter(|_| is_number);
            self.kind == ParamKind::Integer && number.is_some() && number == Decimal::parse(&shown)
        };
        match !found.ambiguous && (field == shown || same_number()) {
            true => Ok(()),
            false => Err(Reason::Differs),
        }
    }
}

#[cfg(test)]
mod tests;
