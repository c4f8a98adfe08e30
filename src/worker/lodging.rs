//! Lodging: a call of a modern client has a lane to a legacy server, a conversation to itself, one call at a time.
//!
//! Servers do not always say which call a question belongs to, so a call that may be asked something has a guest
//! with a conversation of its own. Those who declare the same as the same principal use each other's again. Each
//! server has so many and no more, whoever they are for: past that, one that nobody uses gives way, and else calls
//! wait.
//!
//! ```text
//!   call ─▶ lodge ──────────────▶ busy ◀──▶ parked      its client was asked something
//!             │                    ▲ │
//!             ▼ no lane            │ ▼ answered
//!           waiting ── served ─────┘ free ─▶ dismissed  idle, or another needs the place
//! ```

use super::exchange::Awaits;
use super::guests::Who;
use super::lanes::{Lane, Left, State, Turn, Use};
use super::parcel::{Outgoing, Parcel, Said};
use super::{Worker, exchange_ticket};
use crate::config::limits::{
    CONVERSATION_IDLE_TIMEOUT, LANE_PATIENCE, LANE_REST, LANES_EAGER, LANES_HTTP_MAX, LANES_MAX,
};
use crate::config::{Server, Share, Transport};
use crate::event::Event;
use crate::id::{ExchangeId, SessionKey};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::key::Key;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// How long a call has waited for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// It has just come, and nobody was there before it.
    NotYet,
    /// Not for long: those whose lane becomes free go first.
    Some,
    /// Long enough to have one opened whatever others do, as far as there may be more.
    Long,
}

impl Worker {
    // ── a call comes ─────────────────────────────────────────────────────────────────────────────

    /// Has a modern client's exchange be asked for by a guest, where the server needs one; `None` if it has to
    /// wait for that.
    pub(super) fn lodge(
        &mut self,
        id: ExchangeId,
        key: Key,
        outgoing: Outgoing,
    ) -> Option<(Key, Outgoing)> {
        let place = key.server;
        let server = &self.table.servers[place];
        let exchange = self.exchanges.get(exchange_ticket(id))?;
        let Some(declared) = &exchange.declared else {
            return Some((key, outgoing));
        };
        let asked = declared.capabilities.may_be_asked();
        let needed = self.table.eras[place] == Era::Legacy
            && (asked || server.share == Share::PerSession)
            && !server.has_one_conversation()
            && exchange.session.is_none();
        if !needed {
            return Some((key, outgoing));
        }
        let (server, declared) = (server.clone(), declared.clone());
        let who = (
            declared.capabilities.text().clone(),
            exchange.principal.clone(),
        );
        if self.lanes.is_waited_for(place) {
            self.wait_for_lane(id, (place, who.clone()), server, outgoing);
            self.serve_lanes(place, who);
            return None;
        }
        match self.take_lane(place, &who, &declared.capabilities, id, Waited::NotYet) {
            Some(guest) => self.move_in(id, guest, place, &server, outgoing),
            None => {
                self.wait_for_lane(id, (place, who), server, outgoing);
                None
            }
        }
    }

    /// Makes `guest` the one that asks for an exchange.
    fn move_in(
        &mut self,
        id: ExchangeId,
        guest: Arc<Session>,
        place: usize,
        server: &Arc<Server>,
        outgoing: Outgoing,
    ) -> Option<(Key, Outgoing)> {
        let key = Key::alone(place, &guest.capabilities, guest.key);
        if let Some(level) = outgoing.level
            && guest.level() != Some(level)
        {
            guest.choose_level(level);
            let owner = self.owner(&key);
            self.post(owner, Parcel::LevelChosen(guest.key, level));
        }
        let exchange = self.exchanges.get_mut(exchange_ticket(id))?;
        // Calls that may be asked something are told apart by what they ask for.
        exchange.original = Some(Box::new(outgoing.clone()));
        guest.begin_exchange(usize::MAX);
        exchange.session = Some(guest);
        exchange.awaits = Awaits::Owner {
            server: server.clone(),
            key: key.clone(),
        };
        Some((key, outgoing))
    }

    /// A lane for a call, which has it from now on.
    fn take_lane(
        &mut self,
        place: usize,
        who: &Who,
        capabilities: &ClientCapabilities,
        id: ExchangeId,
        waited: Waited,
    ) -> Option<Arc<Session>> {
        let now = self.now;
        let lanes = self.lanes.places.entry(place).or_default();
        let held = State::Held(Use::Busy, id);
        if let Some(lane) = lanes.rested(who, now) {
            lane.state = held;
            let guest = lane.guest.clone();
            self.lanes.held.insert(guest.key, place);
            return Some(guest);
        }
        // A session at an HTTP server costs little, a child costs a process.
        let is_child = matches!(self.table.servers[place].transport, Transport::Stdio(_));
        if is_child && waited != Waited::Long && lanes.busy(who) >= LANES_EAGER {
            return None;
        }
        if !self.has_room(place, who, waited) {
            return None;
        }
        let guest = self.open_lane(place, who, capabilities, held);
        self.lanes.held.insert(guest.key, place);
        Some(guest)
    }

    fn open_lane(
        &mut self,
        place: usize,
        who: &Who,
        capabilities: &ClientCapabilities,
        state: State,
    ) -> Arc<Session> {
        let guest = self.open_guest(&who.1, capabilities);
        let lane = Lane {
            guest: guest.clone(),
            who: who.clone(),
            state,
        };
        self.lanes.places.entry(place).or_default().lanes.push(lane);
        guest
    }

    /// Whether there may be one lane more, if need be in place of one that nobody uses.
    fn has_room(&mut self, place: usize, who: &Who, waited: Waited) -> bool {
        let most = lanes_max(&self.table.servers[place], self.workers);
        let lanes = self.lanes.places.entry(place).or_default();
        if lanes.lanes.len() < most {
            return true;
        }
        let spare = match waited {
            Waited::NotYet => lanes.free_for_longest(|own| own != who),
            Waited::Some => None,
            Waited::Long => lanes.free_for_longest(|_| true),
        };
        let Some(spare) = spare.map(|at| lanes.lanes.swap_remove(at)) else {
            return false;
        };
        self.dismiss(&spare.guest);
        true
    }

    /// A lane in which a server is asked what it lists, which the first call will have; `None` if there is one
    /// already, or no room for it.
    pub(super) fn lane_for_lists(
        &mut self,
        place: usize,
        who: &Who,
        capabilities: &ClientCapabilities,
    ) -> Option<Arc<Session>> {
        let lanes = self.lanes.places.entry(place).or_default();
        if lanes.lanes.iter().any(|lane| lane.who == *who) || !lanes.waiting.is_empty() {
            return None;
        }
        let free = State::Free(self.now);
        self.has_room(place, who, Waited::NotYet)
            .then(|| self.open_lane(place, who, capabilities, free))
    }

    // ── it waits ─────────────────────────────────────────────────────────────────────────────────

    fn wait_for_lane(
        &mut self,
        id: ExchangeId,
        (place, who): (usize, Who),
        server: Arc<Server>,
        outgoing: Outgoing,
    ) {
        let now = self.now;
        let turn = self.lanes.queue(place, id, who, now);
        if let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) {
            exchange.awaits = Awaits::Lane {
                server,
                turn,
                outgoing: Box::new(outgoing),
            };
        }
        self.wake_at(now + LANE_PATIENCE);
    }

    /// Gives lanes to who waits, as far as there are any: to the oldest first whosever they were, then to the oldest
    /// of those whose lane was left.
    fn serve_lanes(&mut self, place: usize, left: Who) {
        let Some(lanes) = self.lanes.places.get_mut(&place) else {
            return;
        };
        if lanes.waiting.is_empty() {
            return;
        }
        lanes.left.push(left);
        if std::mem::replace(&mut lanes.serving, true) {
            return;
        }
        loop {
            let lanes = self.lanes.places.entry(place).or_default();
            let oldest = lanes.waiting.keys().next().copied();
            if oldest.is_some_and(|number| self.serve((place, number))) {
                continue;
            }
            let lanes = self.lanes.places.entry(place).or_default();
            let Some(left) = lanes.left.last() else {
                lanes.serving = false;
                return;
            };
            let turns = lanes.turns.get(left);
            let own = turns.and_then(|turns| turns.first().copied());
            if !own.is_some_and(|number| Some(number) != oldest && self.serve((place, number))) {
                self.lanes.places.entry(place).or_default().left.pop();
            }
        }
    }

    /// Gives a call that waits a lane, if it may have one.
    fn serve(&mut self, turn: Turn) -> bool {
        let place = turn.0;
        let Some(waiting) = self.lanes.waiting(turn) else {
            return false;
        };
        let (id, who) = (waiting.exchange, waiting.who.clone());
        let waited = match self.now >= waiting.since + LANE_PATIENCE {
            true => Waited::Long,
            false => Waited::Some,
        };
        let exchange = self.exchanges.get(exchange_ticket(id));
        let declared = exchange.and_then(|exchange| exchange.declared.as_ref());
        let Some(capabilities) = declared.map(|declared| declared.capabilities.clone()) else {
            self.lanes.forget(turn);
            return true;
        };
        let Some(guest) = self.take_lane(place, &who, &capabilities, id, waited) else {
            return false;
        };
        self.lanes.forget(turn);
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return true;
        };
        if let Awaits::Lane {
            server, outgoing, ..
        } = std::mem::replace(&mut exchange.awaits, Awaits::Nothing)
            && let Some((key, outgoing)) = self.move_in(id, guest, place, &server, *outgoing)
        {
            self.send_in(id, key, outgoing);
        }
        true
    }

    /// A call does not wait for a lane any more.
    pub(super) fn leave_queue(&mut self, turn: Turn) {
        self.lanes.forget(turn);
    }

    /// Gives up a parked call where nothing but that makes room: people who take their time stand in nobody's way.
    /// It is one of those who have the most lanes there, so that who asks for much takes nothing from others.
    fn make_room(&mut self, place: usize) {
        let now = self.now;
        let Some(lanes) = self.lanes.places.get_mut(&place) else {
            return;
        };
        let Some(oldest) = lanes.waiting.values().next() else {
            return;
        };
        if oldest.since.max(lanes.yielded_at) + LANE_PATIENCE > now {
            return;
        }
        let own = |who: &Who| lanes.lanes.iter().filter(|lane| lane.who == *who).count();
        let parked = lanes.lanes.iter().filter_map(|lane| match lane.state {
            State::Held(Use::Parked, id) => {
                let exchange = self.exchanges.get(exchange_ticket(id))?;
                Some(((Reverse(own(&lane.who)), exchange.deadline), id))
            }
            _ => None,
        });
        let Some((_, id)) = parked.min_by_key(|(rank, _)| *rank) else {
            return;
        };
        lanes.yielded_at = now;
        let refusal = Refusal::Busy("too many calls wait for their clients to answer");
        self.give_up(id, refusal, "another call needs its place");
    }

    // ── it goes on, and ends ─────────────────────────────────────────────────────────────────────

    /// Notes that an exchange was parked, or goes on.
    pub(super) fn use_lane(&mut self, guest: SessionKey, to: Use) {
        if let Some(State::Held(used, _)) = self.lanes.lane(guest).map(|lane| &mut lane.state) {
            let before = std::mem::replace(used, to);
            self.lanes.parked -= usize::from(before == Use::Parked);
            self.lanes.parked += usize::from(to == Use::Parked);
        }
    }

    /// Gives a lane back. One on which something may still be going on is not used again: what is asked there
    /// could be taken for the next call's.
    pub(super) fn leave_lane(&mut self, guest: &Arc<Session>, left: Left) {
        let now = self.now;
        self.use_lane(guest.key, Use::Busy);
        let Some(place) = self.lanes.held.remove(&guest.key) else {
            return;
        };
        let lanes = self.lanes.places.entry(place).or_default();
        let Some(at) = lanes.position(guest.key) else {
            return;
        };
        let who = lanes.lanes[at].who.clone();
        let rest = match left {
            Left::Unclear => {
                lanes.lanes.swap_remove(at);
                self.dismiss(guest);
                return self.serve_lanes(place, who);
            }
            Left::Asked => LANE_REST,
            Left::Clean => Duration::ZERO,
        };
        lanes.lanes[at].state = State::Free(now + rest);
        self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        self.serve_lanes(place, who);
    }

    /// Takes in what a server said to a guest of this worker outside any of its calls: it has but one.
    pub(super) fn said_to_guest(&mut self, guest: SessionKey, said: Said) {
        match (self.lanes.lane(guest).map(|lane| lane.state), said) {
            (Some(State::Held(_, id)), said) => self.say(id, said),
            (_, Said::Request(_, ask)) => {
                self.ask_undelivered(ask, "the client has no call under way");
            }
            _ => self.event(Event::ParcelStale),
        }
    }

    // ── time passes ──────────────────────────────────────────────────────────────────────────────

    /// Lets go of lanes that nobody needs, and opens some for who has waited long enough; when to look again.
    pub(super) fn sweep_lanes(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut idle = Vec::new();
        let mut waiting = Vec::new();
        for (place, lanes) in &mut self.lanes.places {
            lanes.lanes.retain(|lane| match lane.state {
                State::Free(since) if since + CONVERSATION_IDLE_TIMEOUT <= now => {
                    idle.push(lane.guest.clone());
                    false
                }
                State::Free(since) => {
                    next = next.min(since + CONVERSATION_IDLE_TIMEOUT);
                    true
                }
                State::Held(..) => true,
            });
            let oldest = lanes.waiting.values().next();
            waiting.extend(oldest.map(|oldest| (*place, oldest.who.clone(), oldest.since)));
        }
        self.lanes.places.retain(|_, lanes| !lanes.is_empty());
        for guest in idle {
            self.dismiss(&guest);
        }
        for (place, who, since) in waiting {
            if since + LANE_PATIENCE <= now {
                self.serve_lanes(place, who);
                self.make_room(place);
                next = next.min(now + LANE_PATIENCE);
            } else {
                next = next.min(since + LANE_PATIENCE);
            }
        }
        next
    }
}

/// How many lanes to a server each worker may have: one at least, though it may have to share its conversation.
fn lanes_max(server: &Server, workers: usize) -> usize {
    let most = match &server.transport {
        // One of them is the server's first, which is everybody's.
        Transport::Stdio(_) => LANES_MAX.min(server.connections.saturating_sub(1)),
        Transport::Http(_) if server.has_one_stream() => LANES_MAX,
        Transport::Http(_) => LANES_HTTP_MAX,
    };
    (most / workers).max(1)
}

#[cfg(test)]
mod tests;
