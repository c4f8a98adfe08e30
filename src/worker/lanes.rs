//! The lanes of a worker, and who waits for one: what [`lodging`](super::lodging) keeps its books in.

use super::guests::Who;
use crate::id::{ExchangeId, SessionKey};
use crate::session::Session;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The lanes of a worker.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By the server's place in the table.
    pub(super) places: BTreeMap<usize, Place>,
    /// At which server the lanes are that calls have.
    pub(super) held: BTreeMap<SessionKey, usize>,
    /// How many of those calls are parked.
    pub(super) parked: usize,
    /// How many calls have had to wait, ever.
    pub(super) turns: u64,
}

/// The lanes to one server, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// No more than the server's share, so that looking at each costs little.
    pub(super) lanes: Vec<Lane>,
    /// The oldest first.
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// The numbers of those that would have each other's lanes.
    pub(super) turns: BTreeMap<Who, BTreeSet<u64>>,
    /// Whose lane was left, so that who waits for it is to be served.
    pub(super) left: Vec<Who>,
    /// Whether that is being done: what is served may fail at once, and leave its lane in the middle of it.
    pub(super) serving: bool,
    /// When a parked call had to give way last.
    pub(super) yielded_at: Time,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) guest: Arc<Session>,
    pub(super) who: Who,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody uses it, since then or from then on.
    Free(Time),
    /// A call has it.
    Held(Use, ExchangeId),
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) exchange: ExchangeId,
    pub(super) who: Who,
    pub(super) since: Time,
}

/// Which call waits: the server's place in the table, and a number.
pub(super) type Turn = (usize, u64);

/// What is going on in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A call.
    Busy,
    /// A call whose client was asked something.
    Parked,
}

/// How a call left its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Answered.
    Clean,
    /// Answered, after its server had asked something; it may ask once more, about the same.
    Asked,
    /// Given up.
    Unclear,
}

impl Lanes {
    /// Lanes that calls have, and calls that wait for one.
    pub(super) fn in_use(&self) -> usize {
        let waiting = self.places.values().map(|lanes| lanes.waiting.len());
        self.held.len() + waiting.sum::<usize>()
    }

    /// Calls whose clients were asked something.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    pub(super) fn is_waited_for(&self, place: usize) -> bool {
        let lanes = self.places.get(&place);
        lanes.is_some_and(|lanes| !lanes.waiting.is_empty())
    }

    /// The lane of a guest that a call has.
    pub(super) fn lane(&mut self, guest: SessionKey) -> Option<&mut Lane> {
        let lanes = self.places.get_mut(self.held.get(&guest)?)?;
        let at = lanes.position(guest)?;
        lanes.lanes.get_mut(at)
    }

    pub(super) fn queue(
        &mut self,
        place: usize,
        exchange: ExchangeId,
        who: Who,
        since: Time,
    ) -> Turn {
        self.turns += 1;
        let lanes = self.places.entry(place).or_default();
        let turns = lanes.turns.entry(who.clone()).or_default();
        turns.insert(self.turns);
        let waiting = Waiting {
            exchange,
            who,
            since,
        };
        lanes.waiting.insert(self.turns, waiting);
        (place, self.turns)
    }

    pub(super) fn waiting(&self, (place, number): Turn) -> Option<&Waiting> {
        self.places.get(&place)?.waiting.get(&number)
    }

    pub(super) fn forget(&mut self, (place, number): Turn) {
        let Some(lanes) = self.places.get_mut(&place) else {
            return;
        };
        let Some(waiting) = lanes.waiting.remove(&number) else {
            return;
        };
        if let Some(turns) = lanes.turns.get_mut(&waiting.who) {
            turns.remove(&number);
            if turns.is_empty() {
                lanes.turns.remove(&waiting.who);
            }
        }
    }
}

impl Place {
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn position(&self, guest: SessionKey) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.guest.key == guest)
    }

    /// The lane of these that a call may have at once; the one used last, so that the others can go.
    pub(super) fn rested(&mut self, who: &Who, now: Time) -> Option<&mut Lane> {
        let rested = self.lanes.iter_mut().filter_map(|lane| match lane.state {
            State::Free(since) if since <= now && lane.who == *who => Some((since, lane)),
            _ => None,
        });
        rested.max_by_key(|(since, _)| *since).map(|(_, lane)| lane)
    }

    /// How many of these have calls that are under way.
    pub(super) fn busy(&self, who: &Who) -> usize {
        let busy = |lane: &&Lane| matches!(lane.state, State::Held(Use::Busy, _));
        let own = self.lanes.iter().filter(|lane| lane.who == *who);
        own.filter(busy).count()
    }

    /// The lane that nobody has used for the longest.
    pub(super) fn free_for_longest(&self, of: impl Fn(&Who) -> bool) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate();
        let free = lanes.filter_map(|(at, lane)| match lane.state {
            State::Free(since) if of(&lane.who) => Some((since, at)),
            _ => None,
        });
        free.min().map(|(_, at)| at)
    }
}
