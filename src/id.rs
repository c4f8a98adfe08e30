//! Names of things that other threads, other hops or earlier moments may still speak of.
//!
//! A slot is reused; a generation is not, for as long as anyone could remember it. What arrives for a
//! dead generation is dropped and counted.

use std::fmt;

/// One worker thread, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

/// One byte stream of one worker, either side: a socket, or a child's pipes taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Place in the worker's slab.
    pub slot: u32,
    /// Which tenant of that place.
    pub generation: u32,
}

/// One exchange of one worker: a client's request, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// Place in the worker's slab.
    pub slot: u32,
    /// Which tenant of that place.
    pub generation: u32,
}

/// An exchange named across threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// Whose it is: the worker that took the request in.
    pub worker: WorkerId,
    /// Which of that worker's.
    pub exchange: ExchangeId,
}

/// A session's number: unique in the process, never reused and, unlike the session's id, no secret. Its last eight
/// bits are the worker that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u64);

impl SessionKey {
    /// The `number`-th session of the process, opened by that worker.
    pub fn new(number: u64, worker: WorkerId) -> SessionKey {
        SessionKey(number << 8 | u64::from(worker.0))
    }

    /// The worker that opened it.
    pub fn worker(self) -> WorkerId {
        WorkerId(self.0 as u8)
    }

    /// The same as bytes, for a digest.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection named across threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Whose it is.
    pub worker: WorkerId,
    /// Which of that worker's.
    pub connection: ConnectionId,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
