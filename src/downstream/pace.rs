//! How long a client may take: for its next request, for a head, for a body, for reading answers.
//!
//! In each direction there is one deadline or none. What moves in small pieces does not move: a client
//! gains time by [`PIECE_BYTES_MIN`] bytes or more, so that a byte now and then holds nothing open.

use crate::config::limits::{
    BODY_IDLE_TIMEOUT, BODY_TIMEOUT, HEAD_TIMEOUT, KEEP_ALIVE_TIMEOUT, PIECE_BYTES_MIN,
    WRITE_TIMEOUT,
};
use crate::time::Time;

/// The deadlines of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    read_deadline: Time,
    /// When the body must be complete.
    body_deadline: Time,
    write_deadline: Time,
    /// Bytes that moved since the deadline of their direction was set.
    received: u32,
    sent: u32,
}

impl Pace {
    /// Of a connection that owes a head.
    pub(super) fn of_head(now: Time) -> Self {
        Pace {
            read_deadline: now + HEAD_TIMEOUT,
            body_deadline: Time::NEVER,
            write_deadline: Time::NEVER,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn read_deadline(&self) -> Time {
        self.read_deadline
    }

    pub(super) fn write_deadline(&self) -> Time {
        self.write_deadline
    }

    /// The earlier of the two, if there is any.
    pub(super) fn deadline(&self) -> Option<Time> {
        let earliest = self.read_deadline.min(self.write_deadline);
        (earliest < Time::NEVER).then_some(earliest)
    }

    /// The client may ask something, or leave it.
    pub(super) fn await_request(&mut self, now: Time) {
        self.read_deadline = now + KEEP_ALIVE_TIMEOUT;
    }

    /// The client has begun a head.
    pub(super) fn await_head(&mut self, now: Time) {
        self.read_deadline = now + HEAD_TIMEOUT;
    }

    /// The client owes a body.
    pub(super) fn await_body(&mut self, now: Time) {
        self.body_deadline = now + BODY_TIMEOUT;
        self.read_deadline = now + BODY_IDLE_TIMEOUT;
        self.received = 0;
    }

    /// The client owes nothing.
    pub(super) fn await_nothing(&mut self) {
        self.read_deadline = Time::NEVER;
    }

    /// So much of a body came.
    pub(super) fn note_received(&mut self, now: Time, count: usize) {
        if gained(&mut self.received, count) {
            self.read_deadline = self.body_deadline.min(now + BODY_IDLE_TIMEOUT);
        }
    }

    /// There is something for the client to take. Its time for it begins, unless it has begun.
    pub(super) fn note_unsent(&mut self, now: Time) {
        if self.write_deadline == Time::NEVER {
            self.write_deadline = now + WRITE_TIMEOUT;
            self.sent = 0;
        }
    }

    /// So much was taken, and so much is left.
    pub(super) fn note_sent(&mut self, now: Time, count: usize, left: usize) {
        if left == 0 {
            self.write_deadline = Time::NEVER;
        } else if gained(&mut self.sent, count) {
            self.write_deadline = now + WRITE_TIMEOUT;
        }
    }
}

/// Counts what moved; whether it makes a piece by now.
fn gained(moved: &mut u32, count: usize) -> bool {
    let sum = *moved as usize + count;
    let piece = sum >= PIECE_BYTES_MIN;
    *moved = if piece { 0 } else { sum as u32 };
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn crumbs_gain_no_time_and_pieces_do() {
        let mut pace = Pace::of_head(Time::ZERO);
        pace.await_body(Time::ZERO);
        let first = pace.deadline();
        pace.note_received(Time::ZERO + SECOND, PIECE_BYTES_MIN - 1);
        assert_eq!(pace.deadline(), first);
        pace.note_received(Time::ZERO + SECOND, 1);
        assert_eq!(pace.deadline(), first.map(|deadline| deadline + SECOND));
    }

    #[test]
    fn body_deadline_is_the_last() {
        let mut pace = Pace::of_head(Time::ZERO);
        pace.await_body(Time::ZERO);
        pace.note_received(Time::ZERO + (BODY_TIMEOUT - SECOND), PIECE_BYTES_MIN);
        assert_eq!(pace.deadline(), Some(Time::ZERO + BODY_TIMEOUT));
    }

    #[test]
    fn time_to_read_begins_once_and_ends_with_the_last_byte() {
        let mut pace = Pace::of_head(Time::ZERO);
        pace.await_nothing();
        assert_eq!(pace.deadline(), None);
        pace.note_unsent(Time::ZERO);
        pace.note_unsent(Time::ZERO + SECOND);
        assert_eq!(pace.deadline(), Some(Time::ZERO + WRITE_TIMEOUT));
        pace.note_sent(Time::ZERO + SECOND, 5, 0);
        assert_eq!(pace.deadline(), None);
    }
}
