//! A client's conversation: who it is, what it can do, and the streams on which it can be reached.
//!
//! What does not change is read without a lock. What does (the standing stream, the numbers of streams and
//! the replay ring) is behind one small mutex that a plain exchange does not touch. A session does not know
//! servers.

pub mod endpoints;
pub mod replay;
pub mod store;

use crate::id::{Home, Place, SessionKey, WorkerId};
use crate::mcp::bridge::listen::Filter;
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::listing::Kind;
use crate::mcp::revision::Revision;
use crate::time::Time;
use parking_lot::Mutex;
use replay::{EventId, Replay};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::SessionId;

/// Level that stands for "the client never chose one": everything passes.
const LEVEL_UNSET: u8 = u8::MAX;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub key: SessionKey,
    /// Its id.
    pub id: SessionId,
    /// Who opened it; nobody else may use it.
    pub principal: Option<Arc<str>>,
    /// The revision that was agreed on.
    pub revision: Revision,
    /// What the client declared.
    pub capabilities: ClientCapabilities,
    /// When it was opened.
    pub opened_at: Time,
    /// The worker that is told what its servers ask and say, if it stands for a modern client's calls.
    pub host: Option<WorkerId>,
    /// What is listened for, if it is no client's session but one of its streams.
    pub listener: Option<Listener>,
    level: AtomicU8,
    ended: AtomicBool,
    reached_servers: AtomicBool,
    used_at: AtomicU64,
    in_flight: AtomicU32,
    /// What the client was shown of each list last, as a digest; 0: nothing yet.
    shown: [AtomicU64; 4],
    streams: Mutex<Streams>,
}

/// A modern client's stream of changes.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The id of the request that began it, as it is written: everything on the stream names it.
    pub id: Box<[u8]>,
    /// What it wants to be told.
    pub filter: Filter,
    /// What of it will be told, once that is known.
    pub granted: OnceLock<Filter>,
}

#[derive(Debug, Default)]
struct Streams {
    last: u32,
    standing: Option<Standing>,
    /// Streams of exchanges in flight, and where the exchange lives.
    exchanges: Vec<(u32, Home)>,
    /// Our ids of what servers asked the client and it has not answered.
    asked: BTreeSet<u64>,
    replay: Replay,
}

/// The stream that a client holds open for whatever belongs to no request of its own.
#[derive(Clone, Copy, Debug)]
struct Standing {
    stream: u32,
    number: u32,
    place: Option<Place>,
}

/// What a client gets that asks for a stream, with or without `Last-Event-ID`.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Resumed {
    /// A new standing stream.
    Fresh(EventId),
    /// The standing stream again: what it missed, and what it replaces.
    Standing {
        missed: Vec<(EventId, Arc<[u8]>)>,
        last: EventId,
    },
    /// The stream of an exchange that is still in flight there.
    Exchange {
        missed: Vec<(EventId, Arc<[u8]>)>,
        last: EventId,
        home: Home,
    },
    /// A stream that has ended: this is the rest of it.
    Ended { missed: Vec<(EventId, Arc<[u8]>)> },
}

impl Session {
    fn new(
        now: Time,
        key: SessionKey,
        id: SessionId,
        principal: Option<Arc<str>>,
        revision: Revision,
        capabilities: ClientCapabilities,
    ) -> Session {
        Session {
            key,
            id,
            principal,
            revision,
            capabilities,
            opened_at: now,
            host: None,
            listener: None,
            level: AtomicU8::new(LEVEL_UNSET),
            ended: AtomicBool::new(false),
            reached_servers: AtomicBool::new(false),
            used_at: AtomicU64::new(now.as_micros()),
            in_flight: AtomicU32::new(0),
            shown: Default::default(),
            streams: Mutex::default(),
        }
    }

    /// Notes that the client did something.
    pub fn touch(&self, now: Time) {
        self.used_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Whether it was closed; whoever still holds it lets go.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes the state of a list that the client is shown.
    pub fn show(&self, kind: Kind, digest: u64) {
        self.shown[kind as usize].store(digest, Ordering::Relaxed);
    }

    /// Whether the client was shown another state of a list than this one.
    pub fn has_outdated(&self, kind: Kind, digest: u64) -> bool {
        let shown = self.shown[kind as usize].load(Ordering::Relaxed);
        shown != 0 && shown != digest
    }

    /// Counts an exchange that begins; whether it may, since there are fewer than `most`.
    pub fn begin_exchange(&self, most: usize) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let allowed = (before as usize) < most;
        if !allowed {
            self.end_exchange();
        }
        allowed
    }

    /// Counts an exchange that has ended.
    pub fn end_exchange(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether an exchange of it is in flight.
    pub fn has_exchanges(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Notes that servers may know of it, so that they must hear of its end.
    pub fn reach_servers(&self) {
        self.reached_servers.store(true, Ordering::Relaxed);
    }

    /// Whether servers may know of it.
    pub fn has_reached_servers(&self) -> bool {
        self.reached_servers.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// How long nothing was asked.
    pub fn idle_for(&self, now: Time) -> Duration {
        now.since(Time::from_micros(self.used_at.load(Ordering::Relaxed)))
    }

    fn is_idle(&self, now: Time, timeout: Duration) -> bool {
        self.idle_for(now) >= timeout && self.is_evictable()
    }

    /// Whether nobody would notice at once: no stream is open and nothing streams.
    fn is_evictable(&self) -> bool {
        let streams = self.streams.lock();
        streams.standing.is_none_or(|s| s.place.is_none()) && streams.exchanges.is_empty()
    }

    /// The least serious level the client wants to hear of (place in `mcp::params::LEVELS`), if it chose.
    pub fn level(&self) -> Option<u8> {
        Some(self.level.load(Ordering::Relaxed)).filter(|level| *level != LEVEL_UNSET)
    }

    /// Sets it.
    pub fn choose_level(&self, level: u8) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Notes that the client is asked something under that id of ours.
    pub fn ask(&self, id: u64) {
        self.streams.lock().asked.insert(id);
    }

    /// Notes that it need not answer that any more; whether it had to until now.
    pub fn settle_ask(&self, id: u64) -> bool {
        self.streams.lock().asked.remove(&id)
    }

    /// Begins the stream of an exchange; gives the place of its priming event.
    pub fn begin_stream(&self, home: Home) -> EventId {
        let mut streams = self.streams.lock();
        streams.last += 1;
        let stream = streams.last;
        streams.exchanges.push((stream, home));
        EventId { stream, number: 0 }
    }

    /// Keeps an event of an exchange's stream.
    pub fn keep(&self, id: EventId, message: Arc<[u8]>) {
        self.streams.lock().replay.push(id, message);
    }

    /// Ends the stream of an exchange. Its events stay for who missed them.
    pub fn end_stream(&self, stream: u32) {
        self.streams
            .lock()
            .exchanges
            .retain(|(open, _)| *open != stream);
    }

    /// Gives `place` the stream that the client asks for. A standing stream that was open elsewhere is
    /// replaced; the second of the pair is where it was.
    pub fn resume(&self, place: Place, last: Option<EventId>) -> (Resumed, Option<Place>) {
        let mut streams = self.streams.lock();
        let missed =
            |streams: &Streams, last| streams.replay.after(last).cloned().collect::<Vec<_>>();
        if let Some(last) = last.filter(|last| last.stream <= streams.last) {
            let missed = missed(&streams, last);
            let end = missed.last().map_or(last, |(id, _)| *id);
            if let Some(standing) = streams
                .standing
                .as_mut()
                .filter(|s| s.stream == last.stream)
            {
                let replaced = standing.place.replace(place).filter(|old| *old != place);
                let last = EventId {
                    stream: standing.stream,
                    number: standing.number.max(end.number),
                };
                return (Resumed::Standing { missed, last }, replaced);
            }
            let exchange = streams
                .exchanges
                .iter()
                .find(|(stream, _)| *stream == last.stream);
            return match exchange {
                Some(&(_, home)) => (
                    Resumed::Exchange {
                        missed,
                        last: end,
                        home,
                    },
                    None,
                ),
                None => (Resumed::Ended { missed }, None),
            };
        }
        streams.last += 1;
        let stream = streams.last;
        let replaced = streams.standing.replace(Standing {
            stream,
            number: 0,
            place: Some(place),
        });
        let replaced = replaced
            .and_then(|old| old.place)
            .filter(|old| *old != place);
        (Resumed::Fresh(EventId { stream, number: 0 }), replaced)
    }

    /// The events after `last` on its stream that are still kept.
    pub fn missed(&self, last: EventId) -> Vec<(EventId, Arc<[u8]>)> {
        self.streams.lock().replay.after(last).cloned().collect()
    }

    /// Notes that the standing stream at `place` is gone; what comes meanwhile is kept for its return.
    pub fn lose_stream(&self, place: Place) {
        let mut streams = self.streams.lock();
        if let Some(standing) = streams.standing.as_mut().filter(|s| s.place == Some(place)) {
            standing.place = None;
        }
    }

    /// Numbers a message for the standing stream and keeps it; gives where the stream is open now.
    /// `None`: the client never had one.
    pub fn post(&self, message: &Arc<[u8]>) -> Option<(EventId, Option<Place>)> {
        let mut streams = self.streams.lock();
        let standing = streams.standing.as_mut()?;
        standing.number += 1;
        let id = EventId {
            stream: standing.stream,
            number: standing.number,
        };
        let place = standing.place;
        streams.replay.push(id, message.clone());
        Some((id, place))
    }

    /// Where the client holds its standing stream open now.
    pub fn stream_place(&self) -> Option<Place> {
        self.streams.lock().standing.and_then(|s| s.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnectionId, ExchangeId, WorkerId};

    fn session() -> Arc<Session> {
        let store = store::Store::new([0; 32]);
        store
            .open(
                Time::ZERO,
                WorkerId(0),
                None,
                Revision::LATEST,
                ClientCapabilities::none(),
            )
            .unwrap()
            .0
    }

    fn place(slot: u32) -> Place {
        Place {
            worker: WorkerId(0),
            connection: ConnectionId {
                slot,
                generation: 1,
            },
        }
    }

    fn home(slot: u32) -> Home {
        Home {
            worker: WorkerId(0),
            exchange: ExchangeId {
                slot,
                generation: 1,
            },
        }
    }

    fn numbers(missed: &[(EventId, Arc<[u8]>)]) -> Vec<u32> {
        missed.iter().map(|(id, _)| id.number).collect()
    }

    #[test]
    fn standing_stream_resumes_with_what_it_missed() {
        let session = session();
        let (Resumed::Fresh(prime), None) = session.resume(place(1), None) else {
            panic!()
        };
        let message: Arc<[u8]> = (*b"{}").into();
        assert_eq!(session.post(&message).unwrap().1, Some(place(1)));
        session.lose_stream(place(1));
        assert_eq!(session.post(&message).unwrap().1, None);
        let (Resumed::Standing { missed, last }, None) = session.resume(place(2), Some(prime))
        else {
            panic!()
        };
        assert_eq!((numbers(&missed), last.number), (vec![1, 2], 2));
        assert_eq!(session.post(&message).unwrap().0.number, 3);
    }

    #[test]
    fn second_standing_stream_replaces_the_first() {
        let session = session();
        session.resume(place(1), None);
        let (Resumed::Fresh(_), replaced) = session.resume(place(2), None) else {
            panic!()
        };
        assert_eq!(replaced, Some(place(1)));
        session.lose_stream(place(1));
        assert_eq!(session.stream_place(), Some(place(2)));
    }

    #[test]
    fn exchange_stream_is_resumed_alone() {
        let session = session();
        session.resume(place(1), None);
        session.post(&(*b"other").into());
        let prime = session.begin_stream(home(9));
        session.keep(EventId { number: 1, ..prime }, (*b"mine").into());
        let (
            Resumed::Exchange {
                missed,
                home: found,
                ..
            },
            None,
        ) = session.resume(place(2), Some(prime))
        else {
            panic!()
        };
        assert_eq!(
            (missed.len(), &*missed[0].1, found),
            (1, &b"mine"[..], home(9))
        );
        session.end_stream(prime.stream);
        assert!(matches!(
            session.resume(place(2), Some(prime)).0,
            Resumed::Ended { .. }
        ));
    }

    #[test]
    fn message_without_any_stream_is_not_kept() {
        assert!(session().post(&(*b"{}").into()).is_none());
    }
}
