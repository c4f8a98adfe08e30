//! Chunked bodies, read from whatever pieces they arrive in and written as plainly as can be.
//!
//! Reading copies nothing: content is handed out as slices of the input. It is strict (RFC 9112 §7.1):
//! CR LF alone ends a line, a size is hexadecimal digits and nothing else, extensions are checked
//! against their grammar and ignored, trailer fields likewise. Of how long a body may be in all it
//! knows nothing; whoever collects the content bounds it.

use std::fmt;

use super::is_token_byte;
use crate::config::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Why a chunked body is refused. What follows cannot be framed: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk's size is not a hexadecimal number, or no size at all fits it.
    ChunkSize,
    /// A chunk extension is malformed.
    ChunkExtension,
    /// The line with size and extensions is too long.
    ChunkLineTooLong,
    /// A line or a chunk does not end in CR LF.
    LineEnd,
    /// A trailer field is malformed, or one that may not be a trailer. RFC 9110 §6.5.1.
    Trailer,
    /// The trailer section is too long.
    TrailerTooLong,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::ChunkSize => f.write_str("chunk size is not a hexadecimal number"),
            BodyError::ChunkExtension => f.write_str("chunk extension is malformed"),
            BodyError::ChunkLineTooLong => {
                write!(f, "chunk size line exceeds {CHUNK_LINE_BYTES_MAX} bytes")
            }
            BodyError::LineEnd => f.write_str("chunk does not end in CR LF"),
            BodyError::Trailer => f.write_str("trailer field is malformed or not allowed"),
            BodyError::TrailerTooLong => write!(f, "trailer exceeds {TRAILER_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for BodyError {}

/// What came of one step of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Content, never empty.
    Content(&'a [u8]),
    /// The input is used up and the body is not complete.
    More,
    /// The body is complete; what is left of the input comes after it.
    End,
}

/// What is read next. Between two bytes of a body the decoder is always in one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    FirstDigit,
    Digit,
    ExtensionName,
    ExtensionNameRest,
    ExtensionValue,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscaped,
    ExtensionEnd,
    SizeFeed,
    Content,
    ContentReturn,
    ContentFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerFeed,
    LastFeed,
    Nothing,
}

/// The reader of one chunked body.
#[derive(Clone, Debug)]
pub struct Chunks {
    next: Next,
    /// Bytes of the line or trailer section being read.
    line: u16,
    /// Hash of the trailer name being read.
    name: u32,
    /// Bytes of the chunk not read yet.
    remaining: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// At the start of a body.
    pub const fn new() -> Self {
        Chunks {
            next: Next::FirstDigit,
            line: 0,
            name: NAME_START,
            remaining: 0,
        }
    }

    /// Bytes that the current chunk still announces. May be used to refuse early.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Reads on, and moves `input` past what was read.
    ///
    /// Call until it says [`Decoded::More`] or [`Decoded::End`]; never again after an error.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Decoded<'a>, BodyError> {
        loop {
            match self.next {
                Next::Nothing => return Ok(Decoded::End),
                Next::Content if !input.is_empty() => {
                    let length = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                    let (content, rest) = input.split_at(length.min(input.len()));
                    self.remaining -= content.len() as u64;
                    if self.remaining == 0 {
                        self.next = Next::ContentReturn;
                    }
                    *input = rest;
                    return Ok(Decoded::Content(content));
                }
                _ => {}
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(Decoded::More);
            };
            *input = rest;
            self.step(byte)?;
        }
    }

    /// Reads one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        self.line += 1;
        let in_trailer = matches!(
            self.next,
            Next::TrailerStart
                | Next::TrailerName
                | Next::TrailerValue
                | Next::TrailerFeed
                | Next::LastFeed
        );
        match in_trailer {
            true if usize::from(self.line) > TRAILER_BYTES_MAX => {
                return Err(BodyError::TrailerTooLong);
            }
            false if usize::from(self.line) > CHUNK_LINE_BYTES_MAX => {
                return Err(BodyError::ChunkLineTooLong);
            }
            _ => {}
        }
        self.next = match (self.next, byte) {
            (Next::FirstDigit | Next::Digit, digit) if digit.is_ascii_hexdigit() => {
                let digit = (digit as char).to_digit(16).unwrap_or_default();
                let size = self.remaining.checked_mul(16).ok_or(BodyError::ChunkSize)?;
                self.remaining = size + u64::from(digit);
                Next::Digit
            }
            (Next::FirstDigit, _) => return Err(BodyError::ChunkSize),

            (
                Next::Digit | Next::ExtensionNameRest | Next::ExtensionToken | Next::ExtensionEnd,
                b'\r',
            ) => Next::SizeFeed,
            (
                Next::Digit | Next::ExtensionNameRest | Next::ExtensionToken | Next::ExtensionEnd,
                b';',
            ) => Next::ExtensionName,
            (Next::Digit, _) => return Err(BodyError::ChunkSize),

            (Next::ExtensionName | Next::ExtensionNameRest, token) if is_token_byte(token) => {
                Next::ExtensionNameRest
            }
            (Next::ExtensionNameRest, b'=') => Next::ExtensionValue,
            (Next::ExtensionValue, b'"') => Next::ExtensionQuoted,
            (Next::ExtensionValue | Next::ExtensionToken, token) if is_token_byte(token) => {
                Next::ExtensionToken
            }
            (Next::ExtensionQuoted, b'"') => Next::ExtensionEnd,
            (Next::ExtensionQuoted, b'\\') => Next::ExtensionEscaped,
            (Next::ExtensionQuoted | Next::ExtensionEscaped, b'\t' | b' '..=b'~' | 0x80..) => {
                Next::ExtensionQuoted
            }
            (
                Next::ExtensionName
                | Next::ExtensionNameRest
                | Next::ExtensionValue
                | Next::ExtensionToken
                | Next::ExtensionQuoted
                | Next::ExtensionEscaped
                | Next::ExtensionEnd,
                _,
            ) => return Err(BodyError::ChunkExtension),

            (Next::SizeFeed, b'\n') => {
                self.line = 0;
                match self.remaining {
                    0 => Next::TrailerStart,
                    _ => Next::Content,
                }
            }
            (Next::ContentReturn, b'\r') => Next::ContentFeed,
            (Next::ContentFeed, b'\n') => {
                self.line = 0;
                Next::FirstDigit
            }

            (Next::TrailerStart, b'\r') => Next::LastFeed,
            (Next::TrailerStart | Next::TrailerName, token) if is_token_byte(token) => {
                self.name = name_step(self.name, token);
                Next::TrailerName
            }
            (Next::TrailerName, b':') if !NOT_TRAILERS.contains(&self.name) => {
                self.name = NAME_START;
                Next::TrailerValue
            }
            (Next::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Next::TrailerValue,
            (Next::TrailerValue, b'\r') => Next::TrailerFeed,
            (Next::TrailerFeed, b'\n') => Next::TrailerStart,
            (Next::LastFeed, b'\n') => Next::Nothing,

            (Next::TrailerStart | Next::TrailerName | Next::TrailerValue, _) => {
                return Err(BodyError::Trailer);
            }
            _ => return Err(BodyError::LineEnd),
        };
        Ok(())
    }
}

const NAME_START: u32 = 0x811c_9dc5;

/// One letter of a field name more (FNV-1a), case folded. A name that shares a hash with one of
/// [`NOT_TRAILERS`] is refused with it, which harms nobody and spares a buffer for split names.
const fn name_step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte.to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193)
}

const fn name_hash(name: &str) -> u32 {
    let name = name.as_bytes();
    let mut hash = NAME_START;
    let mut at = 0;
    while at < name.len() {
        hash = name_step(hash, name[at]);
        at += 1;
    }
    hash
}

/// Fields that may not come after a body, since they would have framed, routed or allowed it.
const NOT_TRAILERS: [u32; 12] = [
    name_hash("content-length"),
    name_hash("transfer-encoding"),
    name_hash("content-type"),
    name_hash("content-encoding"),
    name_hash("host"),
    name_hash("authorization"),
    name_hash("x-api-key"),
    name_hash("cookie"),
    name_hash("connection"),
    name_hash("trailer"),
    name_hash("mcp-session-id"),
    name_hash("mcp-protocol-version"),
];

/// The end of a chunked body: the empty chunk, and no trailer.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the line before a chunk of `length` bytes; CR LF must follow the chunk.
///
/// `length` is not 0: an empty chunk is the end of the body.
pub fn write_chunk_size(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length > 0, "an empty chunk ends the body");
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = length;
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes `content` as one chunk; nothing if it is empty.
pub fn write_chunk(out: &mut Vec<u8>, content: &[u8]) {
    if content.is_empty() {
        return;
    }
    out.reserve(content.len() + 20);
    write_chunk_size(out, content.len());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content and remainder, and that they are the same however the bytes are split in two.
    fn decode(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, BodyError> {
        let run = |pieces: &[&[u8]]| {
            let mut chunks = Chunks::new();
            let mut content = Vec::new();
            let mut left: usize = pieces.iter().map(|piece| piece.len()).sum();
            for mut piece in pieces.iter().copied() {
                loop {
                    let before = piece.len();
                    let decoded = chunks.decode(&mut piece)?;
                    left -= before - piece.len();
                    match decoded {
                        Decoded::Content(part) => content.extend_from_slice(part),
                        Decoded::More => break,
                        Decoded::End => return Ok(Some((content, left))),
                    }
                }
            }
            Ok(None)
        };
        let whole = run(&[input]);
        for at in 0..=input.len() {
            let (a, b) = input.split_at(at);
            assert_eq!(run(&[a, b]), whole, "{} at {at}", input.escape_ascii());
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(run(&bytes), whole, "{} bytewise", input.escape_ascii());
        whole
    }

    #[test]
    fn content_is_what_was_chunked() {
        let check = |input: &[u8], content: &[u8], left| {
            assert_eq!(decode(input), Ok(Some((content.to_vec(), left))));
        };
        check(b"0\r\n\r\n", b"", 0);
        check(b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", 3);
        check(
            b"00A;a;b=c;d=\"e;\\\"\"\r\n0123456789\r\n000\r\n\r\n",
            b"0123456789",
            0,
        );
        check(
            b"1\r\n\n\r\n1\r\n\r\r\n0\r\nExpires: never\r\nX:\r\n\r\n",
            b"\n\r",
            0,
        );
    }

    #[test]
    fn unfinished_body_is_waited_for() {
        for input in [
            "",
            "5",
            "5\r\n",
            "5\r\nhello",
            "5\r\nhello\r\n",
            "0\r\n",
            "0\r\nA: b\r\n",
        ] {
            assert_eq!(decode(input.as_bytes()), Ok(None), "{input:?}");
        }
    }

    #[test]
    fn malformed_body_is_refused() {
        let check = |input: &str, expected| {
            assert_eq!(decode(input.as_bytes()), Err(expected), "{input:?}");
        };
        for size in [
            "\r\n", "+5\r\n", "-1\r\n", " 5\r\n", "5 \r\n", "0x5\r\n", "1_0\r\n", "g\r\n", "5\n",
        ] {
            check(size, BodyError::ChunkSize);
        }
        check("FFFFFFFFFFFFFFFF0\r\n", BodyError::ChunkSize);
        for line in [
            "5;\r\n",
            "5;\n",
            "5;a[\r\n",
            "5;a=\r\n",
            "5;a=\"\r\n",
            "5;\0\r\n",
            "5; a\r\n",
            "5;a \r\n",
        ] {
            check(line, BodyError::ChunkExtension);
        }
        check("5\rhello", BodyError::LineEnd);
        check("5;a\rX\r\n", BodyError::LineEnd);
        check("5\r\nhello0\r\n\r\n", BodyError::LineEnd);
        check("5\r\nhello!!\r\n", BodyError::LineEnd);
        check("5\r\nhello\n0\r\n\r\n", BodyError::LineEnd);
        check("0\r\n\n", BodyError::Trailer);
        check("0\r\n\rX", BodyError::LineEnd);
        check("0\r\nA b\r\n\r\n", BodyError::Trailer);
        check("0\r\n: b\r\n\r\n", BodyError::Trailer);
        check("0\r\nA: \0\r\n\r\n", BodyError::Trailer);
        check("0\r\nA: b\n\r\n", BodyError::Trailer);
        check("0\r\nCONTENT-length: 5\r\n\r\n", BodyError::Trailer);
        check("0\r\nA: b\r\nHost: h\r\n\r\n", BodyError::Trailer);
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let zeros = |count: usize| format!("{}\r\n\r\n", "0".repeat(count));
        assert!(matches!(
            decode(zeros(CHUNK_LINE_BYTES_MAX - 2).as_bytes()),
            Ok(Some(_))
        ));
        assert_eq!(
            decode(zeros(CHUNK_LINE_BYTES_MAX - 1).as_bytes()),
            Err(BodyError::ChunkLineTooLong)
        );
        let trailer = |count: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(count)).into_bytes();
        let check = |count, expected| {
            assert_eq!(Chunks::new().decode(&mut &trailer(count)[..]), expected);
        };
        check(TRAILER_BYTES_MAX - 6, Ok(Decoded::End));
        check(TRAILER_BYTES_MAX - 5, Err(BodyError::TrailerTooLong));
    }

    #[test]
    fn written_chunks_are_read_back() {
        let mut out = Vec::new();
        let pieces = [&b"a"[..], &[b'x'; 16], b"", &[b'y'; 4096]];
        for piece in pieces {
            write_chunk(&mut out, piece);
        }
        out.extend_from_slice(LAST_CHUNK);
        assert!(out.starts_with(b"1\r\na\r\n10\r\nxxxx"));
        assert_eq!(decode(&out), Ok(Some((pieces.concat(), 0))));
    }
}
