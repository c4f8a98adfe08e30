//! JSON-RPC messages, written piece by piece into a buffer.
//!
//! Ids and contents come as the bytes they are on the wire; nothing here checks them again.

use super::parse::Span;
use memchr::memchr2;
use std::borrow::Cow;

/// Appends a decimal integer.
pub fn integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `text` as a JSON string, with quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => {
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// `text` as a JSON string, with quotes.
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    string(&mut out, text);
    out
}

/// Appends a request; `params` as it stands, nothing if empty.
pub fn request(out: &mut Vec<u8>, id: u64, method: &str, params: &[u8]) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    integer(out, id);
    out.extend_from_slice(br#","method":"#);
    string(out, method);
    end_with_params(out, params);
}

/// Appends a notification; `params` as it stands, nothing if empty.
pub fn notification(out: &mut Vec<u8>, method: &str, params: &[u8]) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
    string(out, method);
    end_with_params(out, params);
}

fn end_with_params(out: &mut Vec<u8>, params: &[u8]) {
    if !params.is_empty() {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params);
    }
    out.push(b'}');
}

/// Appends a response with this result.
pub fn result(out: &mut Vec<u8>, id: &[u8], result: &[u8]) {
    result_head(out, id);
    out.extend_from_slice(result);
    out.push(b'}');
}

/// Appends a response up to where its result begins; a `}` must follow that.
pub fn result_head(out: &mut Vec<u8>, id: &[u8]) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id);
    out.extend_from_slice(br#","result":"#);
}

/// Appends a response with this error object.
pub fn error(out: &mut Vec<u8>, id: &[u8], error: &[u8]) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id);
    out.extend_from_slice(br#","error":"#);
    out.extend_from_slice(error);
    out.push(b'}');
}

/// Appends an error object; `data` as it stands, nothing if empty.
pub fn error_object(out: &mut Vec<u8>, code: i32, message: &str, data: &[u8]) {
    out.extend_from_slice(br#"{"code":"#);
    if code < 0 {
        out.push(b'-');
    }
    integer(out, u64::from(code.unsigned_abs()));
    out.extend_from_slice(br#","message":"#);
    string(out, message);
    if !data.is_empty() {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    out.push(b'}');
}

/// JSON that was checked as one line: line ends stand between its tokens only, and become spaces.
pub fn one_line(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\n', b'\r', text).is_none() {
        return Cow::Borrowed(text);
    }
    let line = text.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        other => other,
    });
    Cow::Owned(line.collect())
}

/// Appends `text` with the places in `changes` replaced; they come in order and do not overlap.
pub fn spliced(out: &mut Vec<u8>, text: &[u8], changes: &[(Span, impl AsRef<[u8]>)]) {
    let mut at = 0;
    for (span, new) in changes {
        out.extend_from_slice(&text[at..span.start]);
        out.extend_from_slice(new.as_ref());
        at = span.end;
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn written_messages_read_back() {
        let check = |write: &dyn Fn(&mut Vec<u8>), expected: serde_json::Value| {
            let mut out = Vec::new();
            write(&mut out);
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&out).unwrap(),
                expected
            );
        };
        check(
            &|o| request(o, u64::MAX, "a\"b", b"{}"),
            json!({"jsonrpc":"2.0","id":u64::MAX,"method":"a\"b","params":{}}),
        );
        check(
            &|o| notification(o, "n", b""),
            json!({"jsonrpc":"2.0","method":"n"}),
        );
        check(
            &|o| result(o, b"\"x\"", b"[1]"),
            json!({"jsonrpc":"2.0","id":"x","result":[1]}),
        );
        check(
            &|o| {
                let mut object = Vec::new();
                error_object(&mut object, -32601, "é\u{1}\n", b"{\"a\":0}");
                error(o, b"0", &object);
            },
            json!({"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"é\u{1}\n","data":{"a":0}}}),
        );
    }

    #[test]
    fn splice_leaves_everything_else_alone() {
        let mut out = Vec::new();
        spliced(
            &mut out,
            b"abcdef",
            &[
                (Span { start: 1, end: 2 }, &b"XX"[..]),
                (Span { start: 4, end: 4 }, b"-"),
            ],
        );
        assert_eq!(out, b"aXXcd-ef");
    }
}
