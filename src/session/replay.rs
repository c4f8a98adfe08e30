//! The events that a session's streams carried lately, kept for a client that comes back.
//!
//! A ring bounded in bytes: what no longer fits is forgotten, the oldest first. It costs nothing until
//! the first event (2025-11-25 basic/transports, "Resumability and Redelivery").

use crate::config::limits::REPLAY_BYTES_MAX;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The place of an event: its stream within the session, and its number on that stream, from 1.
/// Number 0 is the priming event that precedes all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The stream.
    pub stream: u32,
    /// The event's number on it.
    pub number: u32,
}

impl EventId {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<EventId> {
        let (stream, number) = text.split_once('-')?;
        let decimal = |s: &str| {
            if s.bytes().all(|b| b.is_ascii_digit()) {
                s.parse().ok()
            } else {
                None
            }
        };
        Some(EventId {
            stream: decimal(stream)?,
            number: decimal(number)?,
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

/// The ring.
#[derive(Debug, Default)]
pub struct Replay {
    events: VecDeque<(EventId, Arc<[u8]>)>,
    bytes: usize,
}

impl Replay {
    /// Keeps an event. One larger than the ring is not kept and leaves what is there alone.
    pub fn push(&mut self, id: EventId, message: Arc<[u8]>) {
        if message.len() > REPLAY_BYTES_MAX {
            return;
        }
        self.bytes += message.len();
        self.events.push_back((id, message));
        while self.bytes > REPLAY_BYTES_MAX || self.events.len() > REPLAY_BYTES_MAX / 64 {
            if let Some((_, oldest)) = self.events.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    /// The events of that stream after that number, in their order.
    pub fn after(&self, last: EventId) -> impl Iterator<Item = &(EventId, Arc<[u8]>)> {
        self.events
            .iter()
            .filter(move |(id, _)| id.stream == last.stream && id.number > last.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stream: u32, number: u32) -> EventId {
        EventId { stream, number }
    }

    #[test]
    fn only_the_asked_stream_is_replayed() {
        let mut replay = Replay::default();
        for (stream, number) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)] {
            replay.push(
                id(stream, number),
                format!("{stream}/{number}").into_bytes().into(),
            );
        }
        let seen: Vec<_> = replay.after(id(1, 1)).map(|(id, _)| *id).collect();
        assert_eq!(seen, [id(1, 2), id(1, 3)]);
    }

    #[test]
    fn oldest_give_way_at_the_byte_limit() {
        let mut replay = Replay::default();
        let half: Arc<[u8]> = vec![b'x'; REPLAY_BYTES_MAX / 2].into();
        for number in 1..=3 {
            replay.push(id(1, number), half.clone());
        }
        assert_eq!(
            replay
                .after(id(1, 0))
                .map(|(id, _)| id.number)
                .collect::<Vec<_>>(),
            [2, 3]
        );
        replay.push(id(1, 4), vec![b'x'; REPLAY_BYTES_MAX + 1].into());
        assert_eq!(replay.after(id(1, 0)).count(), 2);
    }

    #[test]
    fn event_id_survives_a_round_trip() {
        assert_eq!(EventId::parse(&id(7, 0).to_string()), Some(id(7, 0)));
        for wrong in ["", "1", "-", "1-", "a-1", "1-2-3", "+1-2", "99999999999-1"] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
        }
    }
}
