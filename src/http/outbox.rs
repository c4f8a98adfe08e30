//! Bytes on their way out of a connection or into a child's pipe.
//!
//! Small pieces are collected in one buffer; shared ones are queued as they are, so that a long answer
//! that many clients get exists once. An empty outbox holds no memory. It does not bound itself: whoever
//! appends looks at [`Outbox::len`] first, and knows what to refuse.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

/// A part of what is to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Bytes to be copied.
    Bytes(&'a [u8]),
    /// Bytes to be sent from where they are, when they are long enough for that to pay.
    Shared(&'a Arc<[u8]>),
}

impl Piece<'_> {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Piece::Bytes(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }
}

/// Total length of some pieces.
pub fn pieces_len(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|piece| piece.as_bytes().len()).sum()
}

/// Shorter shared pieces are copied: a slice of its own in `writev` costs about as much.
const SHARED_BYTES_MIN: usize = 2048;

/// How much sent prefix the buffer may keep before it is moved up.
const SENT_BYTES_MAX: usize = 64 * 1024;

enum Segment {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Segment {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Segment::Owned(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
        }
    }
}

/// A shared piece that is to be sent, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct SharedAhead<'a> {
    /// The whole piece.
    pub piece: &'a Arc<[u8]>,
    /// Bytes of it that are sent already.
    pub sent: usize,
    /// How many of the slices that [`Outbox::slices`] gives come before it.
    pub place: usize,
}

/// A queue of bytes: appended at one end, sent from the other.
#[derive(Default)]
pub struct Outbox {
    /// What goes before `tail`. Mostly empty, and then without memory.
    queue: VecDeque<Segment>,
    /// What was appended last, in one piece.
    tail: Vec<u8>,
    /// Bytes of the first segment that are sent already.
    sent: usize,
    len: usize,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Outbox({} bytes in {} segments)",
            self.len,
            self.queue.len() + 1
        )
    }
}

impl Outbox {
    /// An empty one.
    pub const fn new() -> Self {
        Outbox {
            queue: VecDeque::new(),
            tail: Vec::new(),
            sent: 0,
            len: 0,
        }
    }

    /// Bytes not sent yet.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether everything is sent.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends what `write` writes; it must only append.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        assert!(
            self.tail.len() >= before,
            "what is queued is not taken back"
        );
        self.len += self.tail.len() - before;
    }

    /// Appends `bytes` without copying them, unless they are few.
    pub fn push_shared(&mut self, bytes: &Arc<[u8]>) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.push(bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.queue.push_back(Segment::Shared(Arc::clone(bytes)));
    }

    /// Appends a buffer without copying it, unless it is short.
    pub fn push_owned(&mut self, bytes: Vec<u8>) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.push(&bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.queue.push_back(Segment::Owned(bytes));
    }

    /// Appends a piece, copied or not as it asks for.
    pub fn push_piece(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => self.push(bytes),
            Piece::Shared(bytes) => self.push_shared(bytes),
        }
    }

    /// Fills `slices` with what goes next, for one `writev`; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let queued = self.queue.iter().map(Segment::as_bytes);
        let mut sent = self.sent;
        let pending = queued
            .chain([self.tail.as_slice()])
            .map(|bytes| &bytes[std::mem::take(&mut sent)..])
            .filter(|bytes| !bytes.is_empty());
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(pending) {
            *slice = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// The first shared piece, for whoever can send that without copying it.
    pub fn shared_ahead(&self) -> Option<SharedAhead<'_>> {
        self.queue.iter().enumerate().find_map(|(place, segment)| {
            let Segment::Shared(piece) = segment else {
                return None;
            };
            Some(SharedAhead {
                piece,
                sent: if place == 0 { self.sent } else { 0 },
                place,
            })
        })
    }

    /// The bytes that go next and lie in one piece; empty when everything is sent.
    pub fn front(&self) -> &[u8] {
        let first = self
            .queue
            .front()
            .map_or(self.tail.as_slice(), Segment::as_bytes);
        &first[self.sent..]
    }

    /// Forgets the next `count` bytes, which were sent.
    ///
    /// Panics if there are not so many: then something was sent that was not here.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "only what is queued can be sent");
        self.len -= count;
        self.sent += count;
        while let Some(first) = self.queue.front() {
            let length = first.as_bytes().len();
            if self.sent < length {
                return;
            }
            self.sent -= length;
            self.queue.pop_front();
        }
        if self.len == 0 {
            self.clear();
        } else if self.sent > SENT_BYTES_MAX && self.sent > self.tail.len() / 2 {
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        *self = Outbox::new();
    }

    /// Makes the buffer a segment of its own, so that something can go after it.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue
                .push_back(Segment::Owned(std::mem::take(&mut self.tail)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends everything, `step` bytes at a time, through at most two slices.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = outbox.slices(&mut slices);
            let bytes: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            assert!(bytes.starts_with(outbox.front()));
            if let Some(shared) = outbox.shared_ahead()
                && let Some(slice) = slices[..filled].get(shared.place)
            {
                assert_eq!(slice.as_ptr(), shared.piece[shared.sent..].as_ptr());
                assert_eq!(slice.len(), shared.piece.len() - shared.sent);
            }
            let count = bytes.len().min(step);
            sent.extend_from_slice(&bytes[..count]);
            outbox.consume(count);
        }
        sent
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let shared: Arc<[u8]> = vec![b's'; 3000].into();
        let little: Arc<[u8]> = vec![b'l'; 3].into();
        for step in [1, 7, 1000, 100_000] {
            let mut outbox = Outbox::new();
            outbox.push(b"head");
            outbox.push_shared(&shared);
            outbox.push_piece(Piece::Bytes(b"mid"));
            outbox.push_piece(Piece::Shared(&little));
            outbox.push_owned(vec![b'o'; 5000]);
            outbox.push_owned(vec![b'p'; 5]);
            outbox.push_with(|tail| tail.extend_from_slice(b"end"));
            let expected = [
                b"head",
                &shared[..],
                b"mid",
                b"lll",
                &[b'o'; 5000],
                b"ppppp",
                b"end",
            ]
            .concat();
            assert_eq!(outbox.len(), expected.len());
            assert!(drain(&mut outbox, step) == expected, "in steps of {step}");
            assert_eq!(Arc::strong_count(&shared), 1);
        }
    }

    #[test]
    fn what_is_appended_while_sending_comes_after() {
        let mut outbox = Outbox::new();
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        for round in 0..200u32 {
            let piece = vec![round as u8; 2000];
            expected.extend_from_slice(&piece);
            outbox.push(&piece);
            let count = outbox.front().len().min(1500);
            sent.extend_from_slice(&outbox.front()[..count]);
            outbox.consume(count);
        }
        assert!(outbox.tail.len() <= outbox.len() + SENT_BYTES_MAX + 2000);
        sent.extend(drain(&mut outbox, 4096));
        assert!(sent == expected);
    }

    #[test]
    fn empty_outbox_holds_no_memory() {
        let mut outbox = Outbox::new();
        outbox.push(&[0; 10_000]);
        outbox.push_shared(&vec![1; 10_000].into());
        outbox.push(&[2; 10]);
        outbox.consume(20_010);
        assert!(outbox.is_empty() && outbox.front().is_empty());
        assert_eq!((outbox.tail.capacity(), outbox.queue.capacity()), (0, 0));
        assert!(size_of::<Outbox>() <= 72);
    }

    #[test]
    #[should_panic(expected = "only what is queued can be sent")]
    fn more_than_queued_cannot_be_sent() {
        Outbox::new().consume(1);
    }
}
