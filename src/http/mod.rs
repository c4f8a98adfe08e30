//! HTTP/1.1 as a grammar, both ways: heads, bodies, event streams, and the bytes on their way out.
//!
//! Everything here is a function of bytes: no sockets, no clock, no routes. Reading is strict by
//! refusal, since what two readers of one stream can understand differently is a hole between them
//! (RFC 9112 §11.2); writing only ever produces the plain form of each thing. Reading borrows from
//! what arrived, and nothing is allocated per field.

pub mod body;
pub mod date;
pub mod head;
pub mod outbox;
pub mod request;
pub mod response;
pub mod sse;
pub mod target;
pub mod write;

pub use body::{BodyError, Chunks, Decoded};
pub use date::{DateClock, HttpDate};
pub use head::{Fields, HeadEnd, HeadError};
pub use outbox::{Outbox, Piece};
pub use request::{Accept, Familiar, Framing, Method, Mirrored, RequestHead, Version};
pub use response::{ContentKind, ResponseFraming, ResponseHead};
pub use target::{Host, Target};

/// Whether a byte may be part of a method, a field name or another token. RFC 9110 §5.6.2.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// A media type without its parameters: `application/json` of `application/json; charset=utf-8`.
pub fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim_ascii()
}
