//! The head of a response: what a server behind us answers, read as strictly as requests are.
//!
//! Interim responses (1xx) are heads without a body like any other; whoever asked skips them.

use std::time::Duration;

use super::head::{
    Fields, HeadEnd, HeadError, Texts, content_length, field_slots, line_ends_before,
};
use super::media_type;
use super::request::{ConnectionOptions, Version};
use crate::config::limits::HEAD_BYTES_MAX;

/// How the body of a response is told from what follows it. RFC 9112 §6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no body: 1xx, 204, 304.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the empty one.
    Chunked,
    /// Whatever comes until the connection ends.
    UntilClose,
}

/// What a body is, as far as MCP tells kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// `application/json`
    Json,
    /// `text/event-stream`
    EventStream,
    /// Something else.
    Other,
    /// Nothing is said.
    Unstated,
}

/// The head of a response that was accepted.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    /// Three digits, 100 to 999.
    pub status: u16,
    /// The version the server speaks.
    pub version: Version,
    /// How the body is framed, for a request other than `HEAD`.
    pub framing: ResponseFraming,
    /// Whether the connection can carry another request afterwards.
    pub keep_alive: bool,
    /// How long the server keeps it open, when it says so: `Keep-Alive: timeout=5`.
    pub keep_alive_timeout: Option<Duration>,
    /// What kind of body it is.
    pub content: ContentKind,
    /// `Mcp-Session-Id`
    pub session_id: Option<&'a str>,
    bytes: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// Reads the head at the start of `input`, and says how many bytes it took.
    ///
    /// `Ok(None)` when more bytes are needed.
    pub fn parse(input: &'a [u8]) -> Result<Option<(Self, usize)>, HeadError> {
        match read(input) {
            Ok(Some((head, used))) if used < HEAD_BYTES_MAX => Ok(Some((head, used))),
            _ => Self::parse_in_pieces(input, &mut HeadEnd::default()),
        }
    }

    /// Like [`parse`](Self::parse), for an `input` that has grown since `end` was last used on it.
    pub fn parse_in_pieces(
        input: &'a [u8],
        end: &mut HeadEnd,
    ) -> Result<Option<(Self, usize)>, HeadError> {
        let Some(used) = end.find(input)? else {
            return Ok(None);
        };
        match read(&input[..used])? {
            Some((head, _)) => Ok(Some((head, used))),
            None => Err(HeadError::StatusLine),
        }
    }

    /// All fields, as they came.
    pub fn fields(&self) -> Fields<'a> {
        Fields::of(self.bytes)
    }
}

fn read(input: &[u8]) -> Result<Option<(ResponseHead<'_>, usize)>, HeadError> {
    let mut slots = field_slots();
    let mut raw = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut raw, input, &mut slots);
    let used = match parsed {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(HeadError::FieldLine);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(httparse::Error::NewLine) => return Err(HeadError::BareLineEnd),
        Err(_) => return Err(HeadError::StatusLine),
    };
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::StatusLine);
    }
    if !input[..used].ends_with(b"\r\n\r\n") {
        return Err(HeadError::BareLineEnd);
    }
    let status = raw
        .code
        .filter(|code| *code >= 100)
        .ok_or(HeadError::StatusLine)?;
    let version = match raw.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let mut head = ResponseHead {
        status,
        version,
        framing: ResponseFraming::None,
        keep_alive: false,
        keep_alive_timeout: None,
        content: ContentKind::Unstated,
        session_id: None,
        bytes: &input[..used],
    };
    let mut length = None;
    let mut coding = None;
    let mut content_type = None;
    let mut connection = ConnectionOptions::default();
    let texts = Texts::of(&input[..used]);
    for field in raw.headers.iter() {
        if !line_ends_before(input, field.name) {
            return Err(HeadError::BareLineEnd);
        }
        let (name, value) = (field.name, field.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if is("connection") => connection.add(texts.text("connection", value)?),
            10 if is("keep-alive") => {
                head.keep_alive_timeout = keep_alive_timeout(texts.text("keep-alive", value)?);
            }
            12 if is("content-type") => texts.once(&mut content_type, "content-type", value)?,
            14 if is("content-length") => texts.once(&mut length, "content-length", value)?,
            14 if is("mcp-session-id") => {
                texts.once(&mut head.session_id, "mcp-session-id", value)?
            }
            17 if is("transfer-encoding") => texts.once(&mut coding, "transfer-encoding", value)?,
            _ => {}
        }
    }
    head.content = match content_type.map(media_type) {
        None => ContentKind::Unstated,
        Some(name) if name.eq_ignore_ascii_case("application/json") => ContentKind::Json,
        Some(name) if name.eq_ignore_ascii_case("text/event-stream") => ContentKind::EventStream,
        Some(_) => ContentKind::Other,
    };
    head.framing = framing(version, status, length, coding)?;
    head.keep_alive = connection.keep_alive(version) && head.framing != ResponseFraming::UntilClose;
    Ok(Some((head, used)))
}

/// The seconds in `timeout=5, max=100`.
fn keep_alive_timeout(value: &str) -> Option<Duration> {
    let parameters = value
        .split(',')
        .filter_map(|parameter| parameter.split_once('='));
    let mut timeouts = parameters.filter(|(name, _)| name.trim_ascii() == "timeout");
    let seconds: u32 = timeouts.next()?.1.trim_ascii().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

fn framing(
    version: Version,
    status: u16,
    length: Option<&str>,
    coding: Option<&str>,
) -> Result<ResponseFraming, HeadError> {
    let framing = match (length, coding) {
        (Some(_), Some(_)) => return Err(HeadError::LengthAndEncoding),
        (Some(length), None) => ResponseFraming::Length(content_length(length.as_bytes())?),
        (None, Some(_)) if version == Version::Http10 => return Err(HeadError::TransferEncoding),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => ResponseFraming::Chunked,
        (None, Some(_)) => return Err(HeadError::TransferCoding),
        (None, None) => ResponseFraming::UntilClose,
    };
    match status {
        100..200 | 204 | 304 => Ok(ResponseFraming::None),
        _ => Ok(framing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ResponseHead<'_>, HeadError> {
        let parsed = ResponseHead::parse(text.as_bytes())?;
        let (head, used) = parsed.expect("the head is whole");
        assert!(text[..used].ends_with("\r\n\r\n"));
        Ok(head)
    }

    #[test]
    fn body_is_framed_one_way() {
        let check = |status_line: &str, fields: &str, expected| {
            let framing = parse(&format!("{status_line}\r\n{fields}\r\n")).map(|head| head.framing);
            assert_eq!(framing, expected, "{status_line} {fields}");
        };
        let ok = "HTTP/1.1 200 OK";
        check(ok, "Content-Length: 5\r\n", Ok(ResponseFraming::Length(5)));
        check(
            ok,
            "Content-Length:   5 \r\n",
            Ok(ResponseFraming::Length(5)),
        );
        check(
            ok,
            "Transfer-Encoding: Chunked\r\n",
            Ok(ResponseFraming::Chunked),
        );
        check(ok, "", Ok(ResponseFraming::UntilClose));
        check("HTTP/1.1 204 No Content", "", Ok(ResponseFraming::None));
        check(
            "HTTP/1.1 304 x",
            "Content-Length: 5\r\n",
            Ok(ResponseFraming::None),
        );
        check("HTTP/1.1 100 Continue", "", Ok(ResponseFraming::None));
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        check(ok, both, Err(HeadError::LengthAndEncoding));
        check(
            ok,
            "Transfer-Encoding: gzip\r\n",
            Err(HeadError::TransferCoding),
        );
        check(
            "HTTP/1.0 200 OK",
            "Transfer-Encoding: chunked\r\n",
            Err(HeadError::TransferEncoding),
        );
        let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
        check(ok, twice, Err(HeadError::Repeated("content-length")));
        check(ok, "Content-Length: -1\r\n", Err(HeadError::ContentLength));
    }

    #[test]
    fn connection_goes_on_only_where_it_can() {
        let check = |text: &str, expected| {
            assert_eq!(
                parse(text).map(|head| head.keep_alive),
                Ok(expected),
                "{text}"
            );
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            false,
        );
        check("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false);
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n",
            true,
        );
        check("HTTP/1.1 200 OK\r\n\r\n", false);
    }

    #[test]
    fn fields_are_gathered() {
        let head = parse(
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
             MCP-Session-ID: abc\r\nKeep-Alive: timeout=5, max=9\r\nX-Other: 1\r\n\r\n",
        )
        .expect("the head is lawful");
        assert_eq!(head.status, 401);
        assert_eq!(head.content, ContentKind::EventStream);
        assert_eq!(head.session_id, Some("abc"));
        assert_eq!(head.keep_alive_timeout, Some(Duration::from_secs(5)));
        assert_eq!(head.fields().first("x-other"), Some(&b"1"[..]));
    }

    #[test]
    fn malformed_heads_are_refused() {
        let check = |text: &str, expected| {
            assert_eq!(
                parse(text).map(|head| head.status),
                Err(expected),
                "{text:?}"
            );
        };
        check("HTTP/1.1 20 OK\r\n\r\n", HeadError::StatusLine);
        check("HTTP/2.0 200 OK\r\n\r\n", HeadError::StatusLine);
        check("HTTP/1.1 099 x\r\n\r\n", HeadError::StatusLine);
        check("ICY 200 OK\r\n\r\n", HeadError::StatusLine);
        check("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::StatusLine);
        check("HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLineEnd);
        check(
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            HeadError::FieldLine,
        );
        check("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::FieldLine);
    }
}
