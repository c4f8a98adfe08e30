//! Event streams, both ways (WHATWG HTML §9.2).
//!
//! The reader takes any split of the bytes and any of the three line ends; an event that lies whole in
//! what has just arrived is handed out without being copied. The writer produces events whose data may
//! be read back byte for byte, as long as it has no CR.

use std::fmt;

use memchr::{memchr, memchr2};

/// One block of a stream that says anything.
///
/// Browsers do not deliver a block without data; it is given out here because its `id` and `retry` count
/// all the same: MCP primes its streams with such a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// What `Last-Event-ID` shall be from now on, if the block says so. May be empty: forget it.
    pub id: Option<&'a [u8]>,
    /// The event's type; `message` when the block does not name one.
    pub kind: Option<&'a [u8]>,
    /// The data: lines joined with LF. `None` without a `data` line.
    pub data: Option<&'a [u8]>,
    /// How many milliseconds to wait before asking for the stream again.
    pub retry: Option<u64>,
}

impl Event<'_> {
    /// Whether this is a plain message with something in it, which is all that MCP sends.
    pub fn is_message(&self) -> bool {
        let message = self
            .kind
            .is_none_or(|kind| kind.is_empty() || kind == b"message");
        message && self.data.is_some_and(|data| !data.is_empty())
    }
}

/// An event is longer than its reader takes. The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLong {
    /// The reader's limit in bytes.
    pub limit: usize,
}

impl fmt::Display for EventTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event exceeds {} bytes", self.limit)
    }
}

impl std::error::Error for EventTooLong {}

/// The reader of one stream.
#[derive(Debug)]
pub struct EventReader {
    /// What arrived of a block that is not complete, or the block handed out last.
    block: Vec<u8>,
    /// Data of several lines, joined.
    joined: Vec<u8>,
    limit: usize,
    place: Place,
    /// Whether the block in `block` was handed out and is to be forgotten.
    spent: bool,
    /// Whether nothing was read yet, so that a byte order mark may come.
    first: bool,
}

/// Where in the lines of a stream the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LineStart,
    /// At the start of a line, after CR: an LF still belongs to that line end.
    AfterReturn,
    InLine,
}

/// Buffers longer than this are given back after use.
const BUFFER_BYTES_KEPT: usize = 4096;

impl EventReader {
    /// A reader that refuses events longer than `limit` bytes, names and line ends included.
    pub const fn new(limit: usize) -> Self {
        EventReader {
            block: Vec::new(),
            joined: Vec::new(),
            limit,
            place: Place::LineStart,
            spent: false,
            first: true,
        }
    }

    /// Bytes kept of a block that is not complete.
    pub fn pending(&self) -> usize {
        if self.spent { 0 } else { self.block.len() }
    }

    /// The next event of `input`, which is moved past it; `None` when more bytes are needed.
    ///
    /// Comments, empty blocks and unknown fields are passed over. Never call again after an error.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'s>>, EventTooLong> {
        let too_long = EventTooLong { limit: self.limit };
        loop {
            if std::mem::take(&mut self.spent) {
                forget(&mut self.block);
                forget(&mut self.joined);
            }
            let Some((length, used)) = self.find_end(input) else {
                if self.block.len() + input.len() > self.limit {
                    return Err(too_long);
                }
                self.block.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            };
            let part = &input[..length];
            *input = &input[used..];
            if self.block.len() + part.len() > self.limit {
                return Err(too_long);
            }
            if self.block.is_empty() {
                let block = without_mark(part, std::mem::take(&mut self.first));
                if says_anything(block) {
                    // Only `joined` can be used, and is forgotten at the next call.
                    self.spent = true;
                    return Ok(Some(read_block(block, &mut self.joined)));
                }
                continue;
            }
            self.block.extend_from_slice(part);
            self.spent = true;
            let first = std::mem::take(&mut self.first);
            if says_anything(without_mark(&self.block, first)) {
                let block = without_mark(&self.block, first);
                return Ok(Some(read_block(block, &mut self.joined)));
            }
        }
    }

    /// Looks for the empty line that ends the block: how much of `input` belongs to the block, and how
    /// much of it is used up with that line.
    fn find_end(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match (self.place, byte) {
                (Place::AfterReturn, b'\n') => {
                    self.place = Place::LineStart;
                    at += 1;
                    if self.block.is_empty() && at == 1 {
                        // The rest of a line end whose block is gone.
                        return Some((0, 1));
                    }
                }
                (Place::LineStart | Place::AfterReturn, b'\r') => {
                    self.place = Place::AfterReturn;
                    return Some((at, at + 1));
                }
                (Place::LineStart, b'\n') => return Some((at, at + 1)),
                _ => match memchr2(b'\r', b'\n', &input[at..]) {
                    None => {
                        self.place = Place::InLine;
                        return None;
                    }
                    Some(length) => {
                        at += length + 1;
                        self.place = match input[at - 1] {
                            b'\r' => Place::AfterReturn,
                            _ => Place::LineStart,
                        };
                    }
                },
            }
        }
        None
    }
}

fn forget(buffer: &mut Vec<u8>) {
    match buffer.capacity() > BUFFER_BYTES_KEPT {
        true => *buffer = Vec::new(),
        false => buffer.clear(),
    }
}

/// A stream may begin with a byte order mark, which says nothing.
fn without_mark(block: &[u8], first: bool) -> &[u8] {
    match first {
        true => block.strip_prefix(b"\xef\xbb\xbf").unwrap_or(block),
        false => block,
    }
}

/// Lines of a block: ended by CR LF, LF, CR or its end.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = match after {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => after,
        };
        Some(line)
    })
}

/// Name and value of a line: `data: x`, `data:x` and `data` are all fields.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

fn says_anything(block: &[u8]) -> bool {
    lines(block)
        .map(split_field)
        .any(|(name, _)| matches!(name, b"data" | b"id" | b"event" | b"retry"))
}

fn read_block<'a>(block: &'a [u8], joined: &'a mut Vec<u8>) -> Event<'a> {
    let mut event = Event::default();
    let mut several = false;
    for (name, value) in lines(block).map(split_field) {
        match name {
            b"data" => match event.data {
                None => event.data = Some(value),
                Some(before) => {
                    if !several {
                        joined.extend_from_slice(before);
                        several = true;
                    }
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            },
            b"event" => event.kind = Some(value),
            b"id" if !value.contains(&0) => event.id = Some(value),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).unwrap_or_default();
                event.retry = digits.parse().ok().or(event.retry);
            }
            _ => {}
        }
    }
    if several {
        event.data = Some(joined);
    }
    event
}

/// Writes one event, none of whose parts may contain a line end.
pub fn write_event(out: &mut Vec<u8>, event: &Event<'_>) {
    out.reserve(event.data.map_or(0, <[u8]>::len) + 64);
    if let Some(id) = event.id {
        line(out, b"id: ", id);
    }
    if let Some(kind) = event.kind {
        line(out, b"event: ", kind);
    }
    if let Some(retry) = event.retry {
        out.extend_from_slice(b"retry: ");
        super::write::number(out, retry);
        out.push(b'\n');
    }
    if let Some(data) = event.data {
        line(out, b"data: ", data);
    }
    out.push(b'\n');
}

/// A comment, which keeps a silent stream from being taken for a dead one.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(memchr2(b'\r', b'\n', value).is_none(), "a line is one line");
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
