//! What request heads and response heads have in common: where they end, what is refused, their fields.
//!
//! Verdicts do not depend on how the bytes were split on their way: a head is judged when it is whole,
//! and what is refused earlier ([`HeadEnd`]) is found in the order of the bytes. A refused head ends
//! its connection, since nothing after it can be framed.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::Header;
use memchr::{memchr, memmem};

use crate::config::limits::{
    CONTENT_LENGTH_MAX, HEAD_BYTES_MAX, HEADER_FIELDS_MAX, TARGET_BYTES_MAX,
};

/// Why a head is refused. The peer's doing, always: it must send something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line ends in LF without CR, or CR stands alone. RFC 9112 §2.2.
    BareLineEnd,
    /// The request line is not `method SP target SP version`. RFC 9112 §3.
    RequestLine,
    /// The status line is not `version SP status SP reason`. RFC 9112 §4.
    StatusLine,
    /// A well-formed version other than 1.0 and 1.1.
    Version,
    /// A method that nothing here implements.
    Method,
    /// The target has bytes or a form that are not allowed. RFC 9112 §3.2.
    Target,
    /// The target is too long.
    TargetTooLong,
    /// A field line is malformed: name, folding, control characters. RFC 9112 §5.
    FieldLine,
    /// Too many fields.
    TooManyFields,
    /// The head is too long.
    TooLong,
    /// A field that may stand once stands twice.
    Repeated(&'static str),
    /// A field whose value is not plain ASCII though its grammar is.
    NotAscii(&'static str),
    /// A field spelled with `_`, which some servers take for the one with `-`.
    Underscore(&'static str),
    /// HTTP/1.1 without `Host`.
    HostMissing,
    /// `Host` is not a host with an optional port. RFC 9110 §7.2.
    HostMalformed,
    /// The target names another host than `Host` does.
    HostDisagrees,
    /// `Content-Length` is not a plain number. RFC 9110 §8.6.
    ContentLength,
    /// `Content-Length` is beyond anything that is meant seriously.
    ContentLengthAbsurd,
    /// `Content-Length` and `Transfer-Encoding` together. RFC 9112 §6.3.
    LengthAndEncoding,
    /// `Transfer-Encoding` on HTTP/1.0, or chunked other than once and alone.
    TransferEncoding,
    /// A transfer coding that nothing here implements.
    TransferCoding,
    /// An expectation other than `100-continue`. RFC 9110 §10.1.1.
    Expectation,
    /// A WebSocket of another version than 13. RFC 6455 §4.2.2.
    WebSocketVersion,
}

impl HeadError {
    /// The status that answers a request with such a head.
    pub const fn status(self) -> u16 {
        match self {
            HeadError::TargetTooLong => 414,
            HeadError::Expectation => 417,
            HeadError::TooManyFields | HeadError::TooLong => 431,
            HeadError::Method | HeadError::TransferCoding => 501,
            HeadError::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::BareLineEnd => f.write_str("a line of the head does not end in CR LF"),
            HeadError::RequestLine => f.write_str("request line is malformed"),
            HeadError::StatusLine => f.write_str("status line is malformed"),
            HeadError::Version => f.write_str("version is neither HTTP/1.1 nor HTTP/1.0"),
            HeadError::Method => f.write_str("method is not implemented"),
            HeadError::Target => f.write_str("request target is malformed"),
            HeadError::TargetTooLong => write!(f, "target exceeds {TARGET_BYTES_MAX} bytes"),
            HeadError::FieldLine => f.write_str("a field line is malformed"),
            HeadError::TooManyFields => write!(f, "head exceeds {HEADER_FIELDS_MAX} fields"),
            HeadError::TooLong => write!(f, "head exceeds {HEAD_BYTES_MAX} bytes"),
            HeadError::Repeated(name) => write!(f, "{name} stands twice"),
            HeadError::NotAscii(name) => write!(f, "{name} is not ASCII"),
            HeadError::Underscore(name) => write!(f, "{name} is spelled with an underscore"),
            HeadError::HostMissing => f.write_str("host is missing"),
            HeadError::HostMalformed => f.write_str("host is malformed"),
            HeadError::HostDisagrees => f.write_str("target and host name different hosts"),
            HeadError::ContentLength => f.write_str("content-length is not a plain number"),
            HeadError::ContentLengthAbsurd => {
                write!(f, "content-length exceeds {CONTENT_LENGTH_MAX}")
            }
            HeadError::LengthAndEncoding => {
                f.write_str("content-length and transfer-encoding exclude each other")
            }
            HeadError::TransferEncoding => f.write_str("transfer-encoding is malformed"),
            HeadError::TransferCoding => f.write_str("transfer coding is not implemented"),
            HeadError::Expectation => f.write_str("expectation is not 100-continue"),
            HeadError::WebSocketVersion => f.write_str("websocket version is not 13"),
        }
    }
}

impl std::error::Error for HeadError {}

/// Where a head ends, found once however many pieces it arrives in.
///
/// Keeps what was searched already, so that a head which arrives byte by byte costs no more than one
/// which arrives whole. Belongs to one head: take a new one for the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadEnd {
    searched: u32,
    line: u32,
}

impl HeadEnd {
    /// The length of the head at the start of `input`, blank line included, once it is all there.
    ///
    /// `input` begins where it began at the last call, and has only grown. One empty line before the
    /// head is passed over and counted in (RFC 9112 §2.2). [`HeadError::BareLineEnd`] and
    /// [`HeadError::TooLong`] are found before the end is.
    pub fn find(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        let within = &input[..input.len().min(HEAD_BYTES_MAX)];
        while let Some(at) = memchr(b'\n', &within[self.searched as usize..]) {
            let feed = self.searched as usize + at;
            if feed == 0 || within[feed - 1] != b'\r' {
                return Err(HeadError::BareLineEnd);
            }
            let empty = feed - 1 == self.line as usize;
            if empty && self.line > 0 {
                return Ok(Some(feed + 1));
            }
            (self.searched, self.line) = (feed as u32 + 1, feed as u32 + 1);
        }
        self.searched = within.len() as u32;
        match within.len() {
            HEAD_BYTES_MAX => Err(HeadError::TooLong),
            _ => Ok(None),
        }
    }
}

/// Room for the fields of one head, on the stack and not written to before it is needed.
pub(super) type FieldSlots<'a> = [MaybeUninit<Header<'a>>; HEADER_FIELDS_MAX];

/// Empty [`FieldSlots`].
pub(super) const fn field_slots<'a>() -> FieldSlots<'a> {
    [const { MaybeUninit::uninit() }; HEADER_FIELDS_MAX]
}

/// Where `part`, which is a slice of `whole`, begins in it.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Whether the line that ends where `name` begins does so in CR LF.
///
/// httparse takes a bare LF for a line's end; this is asked at each field and of the head's end, so
/// that no second pass over the bytes is needed.
pub(super) fn line_ends_before(whole: &[u8], name: &str) -> bool {
    whole[..offset(whole, name.as_bytes())].ends_with(b"\r\n")
}

/// Field values of one head as text, checked all at once where that is possible.
pub(super) struct Texts<'a> {
    head: &'a [u8],
    /// The head itself as text, when all of it is ASCII: values are then cut out of it.
    ascii: Option<&'a str>,
}

impl<'a> Texts<'a> {
    pub(super) fn of(head: &'a [u8]) -> Self {
        let ascii = head.is_ascii().then(|| std::str::from_utf8(head).ok());
        Texts {
            head,
            ascii: ascii.flatten(),
        }
    }

    /// The value of a field, which must be ASCII.
    pub(super) fn text(&self, name: &'static str, value: &'a [u8]) -> Result<&'a str, HeadError> {
        match self.ascii {
            _ if value.is_empty() => Ok(""),
            Some(head) => {
                let start = offset(self.head, value);
                Ok(&head[start..start + value.len()])
            }
            None if value.is_ascii() => {
                std::str::from_utf8(value).map_err(|_| HeadError::NotAscii(name))
            }
            None => Err(HeadError::NotAscii(name)),
        }
    }

    /// Puts the one value of a field where it belongs, unless there is one already.
    pub(super) fn once(
        &self,
        slot: &mut Option<&'a str>,
        name: &'static str,
        value: &'a [u8],
    ) -> Result<(), HeadError> {
        match slot.replace(self.text(name, value)?) {
            None => Ok(()),
            Some(_) => Err(HeadError::Repeated(name)),
        }
    }
}

/// The number that a `Content-Length` is: digits only, no superfluous zero. RFC 9110 §8.6.
pub(super) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if !matches!(value, [b'0'] | [b'1'..=b'9', ..]) {
        return Err(HeadError::ContentLength);
    }
    let number = value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.ok_or(HeadError::ContentLength)
}

/// The fields of a head that was accepted, in the order they came, names as they were written.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields of an accepted head; its first line is passed over.
    pub(super) fn of(head: &'a [u8]) -> Self {
        let first = memmem::find(head, b"\r\n").map_or(head.len(), |end| end + 2);
        Fields {
            rest: &head[first..],
        }
    }

    /// The value of the first field of that name, in any case.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.clone()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memmem::find(self.rest, b"\r\n")?;
        let line = &self.rest[..end];
        let colon = memchr(b':', line)?;
        self.rest = &self.rest[end + 2..];
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_found_whatever_the_pieces() {
        let check = |input: &[u8], expected: Result<Option<usize>, HeadError>| {
            assert_eq!(HeadEnd::default().find(input), expected);
            let mut end = HeadEnd::default();
            let bytewise = (1..=input.len())
                .map(|len| end.find(&input[..len]))
                .find(|found| !matches!(found, Ok(None)))
                .unwrap_or(Ok(None));
            assert_eq!(bytewise, expected, "{:?}", input.escape_ascii().to_string());
        };
        check(b"a\r\n\r\n", Ok(Some(5)));
        check(b"a\r\n\r\nrest", Ok(Some(5)));
        check(b"\r\na\r\n\r\n", Ok(Some(7)));
        check(b"\r\n\r\n", Ok(Some(4)));
        check(b"a\r\nb: c\r\n", Ok(None));
        check(b"a\nb", Err(HeadError::BareLineEnd));
        check(b"\n", Err(HeadError::BareLineEnd));
        check(&[b'a'; HEAD_BYTES_MAX - 1], Ok(None));
        check(&[b'a'; HEAD_BYTES_MAX], Err(HeadError::TooLong));
        let mut exact = vec![b'a'; HEAD_BYTES_MAX - 4];
        exact.extend_from_slice(b"\r\n\r\n");
        check(&exact, Ok(Some(HEAD_BYTES_MAX)));
        exact.insert(0, b'a');
        check(&exact, Err(HeadError::TooLong));
    }

    #[test]
    fn length_is_a_plain_number() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(content_length(text.as_bytes()).ok(), expected, "{text}");
        };
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for bad in [
            "",
            "00",
            "05",
            "+5",
            "-0",
            "5,5",
            "0x5",
            "1_0",
            "5 5",
            "18446744073709551616",
        ] {
            check(bad, None);
        }
    }
}
