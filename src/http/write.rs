//! Heads as they are written: status lines, request lines, fields.
//!
//! Everything appends to a buffer that is there already; nothing is formatted. What a peer could have
//! put into a value cannot end a line: control bytes are written as spaces.

use super::request::Method;

/// A field of a message that is written: its name, in the case it shall have, and its value.
pub type Field<'a> = (&'a str, &'a [u8]);

/// Writes `HTTP/1.1 200 OK`. RFC 9112 §4.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..1000).contains(&status), "a status has three digits");
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, status.into());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes `POST /mcp HTTP/1.1`. `target` is one that [`Target`](super::Target) or the configuration took.
pub fn request_line(out: &mut Vec<u8>, method: Method, target: &str) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes `name: value`.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    out.extend_from_slice(value);
    for byte in &mut out[start..] {
        let may_stand = !matches!(byte, 0..=8 | 10..=31 | 127);
        *byte = if may_stand { *byte } else { b' ' };
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes `name: value` for a value that is printable ASCII as it is.
pub fn plain_field(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes `name: value` for a number.
pub fn field_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    number(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the blank line after the last field.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes a number in decimal.
pub fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Media type of [`problem`].
pub const PROBLEM_TYPE: &[u8] = b"application/problem+json";

/// Writes a problem document (RFC 9457) that says which status this is and, in `detail`, why.
///
/// `detail` must not need escaping in JSON; the texts of our errors do not.
pub fn problem(out: &mut Vec<u8>, status: u16, detail: &str) {
    debug_assert!(
        !detail
            .bytes()
            .any(|byte| matches!(byte, 0..=31 | b'"' | b'\\')),
        "the detail goes in as it is"
    );
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":\"");
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    number(out, status.into());
    out.extend_from_slice(b",\"detail\":\"");
    out.extend_from_slice(detail.as_bytes());
    out.extend_from_slice(b"\"}");
}

/// The words that go with a status. RFC 9110 §15.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Framing, RequestHead, ResponseHead};

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("heads are text")
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 99, 100, 4096, u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
    }

    #[test]
    fn status_line_has_its_words() {
        let check =
            |status, expected| assert_eq!(written(|out| status_line(out, status)), expected);
        check(200, "HTTP/1.1 200 OK\r\n");
        check(405, "HTTP/1.1 405 Method Not Allowed\r\n");
        check(799, "HTTP/1.1 799 Status\r\n");
    }

    #[test]
    fn value_cannot_end_its_line() {
        let line = written(|out| field(out, "a", b"b\r\nc: d\0\x7f"));
        assert_eq!(line, "a: b  c: d  \r\n");
    }

    #[test]
    fn written_heads_are_read_back() {
        let request = written(|out| {
            request_line(out, Method::Post, "/mcp?a");
            field(out, "host", b"h:1");
            field_number(out, "content-length", 1234);
            end(out);
        });
        let (head, used) = RequestHead::parse(request.as_bytes()).unwrap().unwrap();
        assert_eq!(used, request.len());
        assert_eq!(
            (head.method, head.framing),
            (Method::Post, Framing::Length(1234))
        );

        let response = written(|out| {
            status_line(out, 503);
            field_number(out, "retry-after", 0);
            end(out);
        });
        let (head, used) = ResponseHead::parse(response.as_bytes()).unwrap().unwrap();
        assert_eq!((head.status, used), (503, response.len()));
        assert_eq!(head.fields().first("retry-after"), Some(&b"0"[..]));
    }

    #[test]
    fn problem_is_json() {
        let text = written(|out| problem(out, 431, "head exceeds 16384 bytes"));
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json["title"], "Request Header Fields Too Large");
        assert_eq!(json["status"], 431);
        assert_eq!(json["detail"], "head exceeds 16384 bytes");
    }
}
