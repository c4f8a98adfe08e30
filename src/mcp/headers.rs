//! The fields of a modern HTTP request that say again what its body says, both ways.
//!
//! Whoever stands between client and server may route by them without reading the body, so whoever reads
//! the body must see that they agree: else the two act on different requests. Checked on the way in,
//! written anew on the way out, never passed on.
//! MCP 2026-07-28, transports/streamable-http, "Request Metadata".

mod param;

pub use param::{HeaderParam, ParamKind, check_params, header_params, write_params};

use crate::base64::{self, Form};
use crate::http::{Mirrored, RequestHead};
use std::borrow::Cow;
use std::fmt;

/// The field that names the revision.
pub const VERSION: &str = "MCP-Protocol-Version";
/// The field that names the method.
pub const METHOD: &str = "Mcp-Method";
/// The field that names the tool, prompt, resource or task.
pub const NAME: &str = "Mcp-Name";
/// What the fields that hold arguments begin with.
pub const PARAM_PREFIX: &str = "Mcp-Param-";

const SENTINEL_START: &str = "=?base64?";
const SENTINEL_END: &str = "?=";

/// Whether a reader takes this for Base64. The shortest is no Base64 of anything, but looks like it.
fn looks_encoded(value: &str) -> bool {
    value.starts_with(SENTINEL_START) && value.ends_with(SENTINEL_END)
}

/// Whether a value can stand in a field as it is.
fn is_plain(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends_blank = [bytes.first(), bytes.last()].contains(&Some(&b' '));
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) && !ends_blank && !looks_encoded(value)
}

/// A value as it stands in a field: itself, or as Base64 between `=?base64?` and `?=` if it could not be
/// read back otherwise. "Value Encoding".
pub fn encode(value: &str) -> Cow<'_, str> {
    if is_plain(value) {
        return Cow::Borrowed(value);
    }
    let text = base64::encode(value.as_bytes(), Form::Standard);
    Cow::Owned(format!("{SENTINEL_START}{text}{SENTINEL_END}"))
}

/// The value that stands in a field, without the white space around it; `None` if it has bytes that no
/// value may have, or looks encoded and is not Base64 of UTF-8.
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    let value = value.trim_matches([' ', '\t']);
    if !value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    {
        return None;
    }
    if !looks_encoded(value) {
        return Some(Cow::Borrowed(value));
    }
    let end = value.len() - SENTINEL_END.len();
    let text = value.get(SENTINEL_START.len()..end)?;
    let bytes = base64::decode(text.as_bytes(), Form::Standard)?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// A field that does not agree with the body: -32020, and 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Name of the field.
    pub header: Cow<'static, str>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// How a field fails to agree with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not stand there, though the body has what it mirrors.
    Missing,
    /// The body has another value, or none.
    Differs,
    /// Its value has bytes that no value may have, or is not the Base64 it looks like.
    Undecodable,
    /// It stands there more than once.
    Repeated,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::Missing => "is missing",
            Reason::Differs => "differs from the body",
            Reason::Undecodable => "is neither printable ASCII nor Base64 of UTF-8",
            Reason::Repeated => "stands there twice",
        };
        write!(f, "{} {reason}", self.header)
    }
}

impl std::error::Error for Mismatch {}

fn mismatch<T>(header: impl Into<Cow<'static, str>>, reason: Reason) -> Result<T, Mismatch> {
    Err(Mismatch {
        header: header.into(),
        reason,
    })
}

/// The fields of one request that every modern one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirror<'a> {
    /// `MCP-Protocol-Version`
    pub version: Option<&'a str>,
    /// `Mcp-Method`
    pub method: Mirrored<&'a [u8]>,
    /// `Mcp-Name`
    pub name: Mirrored<&'a [u8]>,
}

impl<'a> Mirror<'a> {
    /// Those of this head.
    pub fn of(head: &RequestHead<'a>) -> Mirror<'a> {
        Mirror {
            version: head.protocol_version,
            method: head.mcp_method,
            name: head.mcp_name,
        }
    }

    /// Whether the field says that the request is written in the revision that its `_meta` names.
    ///
    /// # Errors
    /// See [`Reason`].
    pub fn check_version(&self, version: &str) -> Result<(), Mismatch> {
        match self.version {
            None => mismatch(VERSION, Reason::Missing),
            Some(value) if value == version => Ok(()),
            Some(_) => mismatch(VERSION, Reason::Differs),
        }
    }

    /// Whether the field names the method of the body. It is never encoded.
    ///
    /// # Errors
    /// See [`Reason`].
    pub fn check_method(&self, method: &str) -> Result<(), Mismatch> {
        match self.method {
            // The way of nearly all.
            Mirrored::Once(value) if value == method.as_bytes() && value.is_ascii() => Ok(()),
            field => {
                once(METHOD, field)?;
                mismatch(METHOD, Reason::Differs)
            }
        }
    }

    /// Whether the field names the tool, prompt, resource or task that the body names.
    ///
    /// # Errors
    /// See [`Reason`].
    pub fn check_name(&self, name: &str) -> Result<(), Mismatch> {
        // What stands there as it is, and would be written so.
        if let Mirrored::Once(value) = self.name
            && value == name.as_bytes()
            && is_plain(name)
        {
            return Ok(());
        }
        match decode(once(NAME, self.name)?) {
            Some(value) if value == name => Ok(()),
            Some(_) => mismatch(NAME, Reason::Differs),
            None => mismatch(NAME, Reason::Undecodable),
        }
    }
}

/// The one value of a field, as text.
fn once<'a>(header: &'static str, field: Mirrored<&'a [u8]>) -> Result<&'a str, Mismatch> {
    match field {
        Mirrored::Absent => mismatch(header, Reason::Missing),
        Mirrored::Repeated => mismatch(header, Reason::Repeated),
        Mirrored::Once(value) => match std::str::from_utf8(value) {
            Ok(text) if text.is_ascii() => Ok(text),
            _ => mismatch(header, Reason::Undecodable),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::write;

    #[test]
    fn values_are_encoded_where_they_must_be() {
        let check = |value: &str, expected: &str| {
            let encoded = encode(value);
            assert_eq!(encoded, expected);
            assert_eq!(decode(&encoded).as_deref(), Some(value), "{expected}");
        };
        // The table of "Value Encoding".
        check("us-west1", "us-west1");
        check("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?=");
        check(" padded ", "=?base64?IHBhZGRlZCA=?=");
        check("line1\nline2", "=?base64?bGluZTEKbGluZTI=?=");
        check("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
        check("", "");
        check("inner space", "inner space");
        check("inner\ttab", "=?base64?aW5uZXIJdGFi?=");
        check("\u{7f}", "=?base64?fw==?=");
        check("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?=");
        check("=?base64?SGVsbG8=", "=?base64?SGVsbG8=");
        check("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?=");
    }

    #[test]
    fn values_that_no_reader_is_sure_of_are_not_decoded() {
        for value in [
            "=?base64?SGVsbG8?=",
            "=?base64?SGVs!!!bG8=?=",
            "=?base64?SGVsbG9=?=",
            "=?base64?/w==?=",
            "=?base64?SGVs bG8=?=",
            "=?base64?=",
            "é",
            "a\u{7f}",
            "a\nb",
        ] {
            assert_eq!(decode(value), None, "{value}");
        }
        assert_eq!(decode("=?base64??=").as_deref(), Some(""));
        assert_eq!(decode(" \ta\tb ").as_deref(), Some("a\tb"));
    }

    fn said<T>(verdict: Result<T, Mismatch>) -> String {
        match verdict {
            Ok(_) => "agrees".into(),
            Err(mismatch) => mismatch.to_string(),
        }
    }

    #[test]
    fn version_and_method_are_compared_as_they_stand() {
        let check = |version, method, expected: [&str; 2]| {
            let mirror = Mirror {
                version,
                method,
                ..Mirror::default()
            };
            let verdicts = [
                said(mirror.check_version("2026-07-28")),
                said(mirror.check_method("tools/call")),
            ];
            assert_eq!(verdicts, expected);
        };
        let encoded = encode("tools/call\n");
        check(
            Some("2026-07-28"),
            Mirrored::Once(b"tools/call"),
            ["agrees", "agrees"],
        );
        check(
            Some("2025-11-25"),
            Mirrored::Once(b"Tools/call"),
            [
                "MCP-Protocol-Version differs from the body",
                "Mcp-Method differs from the body",
            ],
        );
        check(
            None,
            Mirrored::Absent,
            ["MCP-Protocol-Version is missing", "Mcp-Method is missing"],
        );
        check(
            Some("2026-07-28"),
            Mirrored::Repeated,
            ["agrees", "Mcp-Method stands there twice"],
        );
        check(
            Some("2026-07-28"),
            Mirrored::Once(encoded.as_bytes()),
            ["agrees", "Mcp-Method differs from the body"],
        );
    }

    #[test]
    fn name_is_compared_after_decoding() {
        let check = |name: Mirrored<&[u8]>, body: &str, expected: &str| {
            let mirror = Mirror {
                name,
                ..Mirror::default()
            };
            assert_eq!(said(mirror.check_name(body)), expected, "{name:?}");
        };
        check(Mirrored::Once(b"echo"), "echo", "agrees");
        check(Mirrored::Once(b" echo\t"), "echo", "agrees");
        check(Mirrored::Once(b"=?base64?w6k=?="), "é", "agrees");
        check(Mirrored::Once(b"=?base64?ZWNobw==?="), "echo", "agrees");
        check(
            Mirrored::Once(b"Echo"),
            "echo",
            "Mcp-Name differs from the body",
        );
        check(Mirrored::Absent, "echo", "Mcp-Name is missing");
        check(Mirrored::Repeated, "echo", "Mcp-Name stands there twice");
        let undecodable = "Mcp-Name is neither printable ASCII nor Base64 of UTF-8";
        check(Mirrored::Once("é".as_bytes()), "é", undecodable);
        check(Mirrored::Once(b"\xe9"), "é", undecodable);
        check(Mirrored::Once(b"=?base64?w6k?="), "é", undecodable);
    }

    #[test]
    fn encoded_name_agrees_when_it_is_read() {
        for name in ["echo", " é\r\nX: y", "=?base64??="] {
            let mut out = b"POST /mcp HTTP/1.1\r\nHost: h\r\n".to_vec();
            write::plain_field(&mut out, NAME, &encode(name));
            write::end(&mut out);
            let (head, _) = RequestHead::parse(&out).unwrap().unwrap();
            assert_eq!(Mirror::of(&head).check_name(name), Ok(()), "{name}");
        }
    }
}
