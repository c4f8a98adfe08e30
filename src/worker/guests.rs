//! Modern clients at legacy servers: sessions that we hold there in their name.
//!
//! A modern client has no session, and a legacy server does nothing without one. So a *guest* is opened for
//! it: a session that no client knows of, for whoever declares the same as the same principal. An HTTP server
//! says with each question which call it belongs to, so that one guest is enough for all of them. A child does
//! not: there a call that may be asked something has a guest, and with it a child, to itself for as long as it
//! takes. Such guests are *lanes*; they are used again, and let go when they are not.

use super::exchange::Awaits;
use super::parcel::{Asker, Outgoing, Parcel};
use super::{Worker, exchange_ticket};
use crate::config::limits::{CONVERSATION_IDLE_TIMEOUT, LANE_PATIENCE, LANES_EAGER, LANES_MAX};
use crate::config::{Server, Share, Transport};
use crate::id::{ExchangeId, SessionKey};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::conversation::Key;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// For whom guests are opened alike.
type Who = (Arc<str>, Option<Arc<str>>);
/// And at which server.
type LaneKey = (usize, Who);

/// The guests of a worker.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// At HTTP servers, and for lists.
    common: BTreeMap<Who, (Arc<Session>, Time)>,
    /// At children.
    lanes: BTreeMap<LaneKey, Lanes>,
    /// Lanes in use.
    held: BTreeMap<SessionKey, (LaneKey, Use)>,
}

/// The lanes to one server for the same capabilities and principal.
#[derive(Debug, Default)]
struct Lanes {
    /// Those that nobody uses, the one used last at the end.
    free: Vec<(Arc<Session>, Time)>,
    /// How many are in use by calls that are under way.
    busy: usize,
    /// How many are held by calls whose clients were asked something.
    parked: usize,
    /// Who waits for one, and since when.
    waiting: VecDeque<(ExchangeId, Time)>,
}

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
    /// Given up.
    Unclear,
}

/// What a call may have to wait for.
enum Room {
    Lane(Arc<Session>),
    Wait,
}

impl Worker {
    /// Has a modern client's exchange be asked for by a guest, where the server needs one; whether it has to
    /// wait for that.
    pub(super) fn lodge(
        &mut self,
        id: ExchangeId,
        key: Key,
        outgoing: Outgoing,
    ) -> Option<(Key, Outgoing)> {
        let place = key.server;
        let server = self.table.servers[place].clone();
        let exchange = self.exchanges.get(exchange_ticket(id))?;
        let Some(declared) = exchange.declared.clone() else {
            return Some((key, outgoing));
        };
        let asked = declared.capabilities.may_be_asked();
        let needed = self.table.eras[place] == Era::Legacy
            && (asked || server.share == Share::PerSession)
            && exchange.session.is_none();
        if !needed {
            return Some((key, outgoing));
        }
        let who = (
            declared.capabilities.text().clone(),
            exchange.principal.clone(),
        );
        let guest = match server.transport {
            Transport::Http(_) => self.common_guest(&who, &declared.capabilities),
            _ => match self.take_lane(place, &who, &declared.capabilities) {
                Room::Lane(guest) => guest,
                Room::Wait => {
                    self.wait_for_lane(id, (place, who), server, outgoing);
                    return None;
                }
            },
        };
        self.move_in(id, guest, place, &server, outgoing)
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
        let capabilities = Some(&guest.capabilities);
        let key = Key::of(place, server, capabilities, Some(guest.key));
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

    /// Has legacy servers asked what they list for a modern client that declares what none before did.
    pub(super) fn ask_for_lists_of(&mut self, guest: &Arc<Session>) {
        let capabilities = &guest.capabilities;
        let who = (capabilities.text().clone(), guest.principal.clone());
        for place in 0..self.table.servers.len() {
            let legacy = self.table.eras[place] == Era::Legacy;
            if !legacy || self.table.base.unlisted.contains(&place) {
                continue;
            }
            let server = self.table.servers[place].clone();
            let is_child = matches!(server.transport, Transport::Stdio(_));
            let alone = capabilities.may_be_asked() || server.share == Share::PerSession;
            let session = match is_child && alone {
                false => guest.clone(),
                true if self.guests.lanes.contains_key(&(place, who.clone())) => continue,
                // The child that lists is the one that the first call will have.
                true => {
                    let (now, principal) = (self.now, who.1.clone());
                    let lane = self.sessions.guest(now, principal, capabilities.clone());
                    let lanes = self.guests.lanes.entry((place, who.clone())).or_default();
                    lanes.free.push((lane.clone(), now));
                    lane
                }
            };
            let key = Key::of(place, &server, Some(capabilities), Some(session.key));
            let owner = self.owner(&key);
            let session = Some(session);
            self.post(owner, Parcel::Open(Box::new(Asker { key, session })));
        }
    }

    /// The guest that serves everyone who declares the same.
    pub(super) fn common_guest(
        &mut self,
        who: &Who,
        capabilities: &ClientCapabilities,
    ) -> Arc<Session> {
        let now = self.now;
        self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        let (sessions, principal) = (&self.sessions, &who.1);
        let open = || {
            (
                sessions.guest(now, principal.clone(), capabilities.clone()),
                now,
            )
        };
        let (guest, used_at) = self.guests.common.entry(who.clone()).or_insert_with(open);
        *used_at = now;
        guest.clone()
    }

    fn take_lane(&mut self, place: usize, who: &Who, capabilities: &ClientCapabilities) -> Room {
        let most = LANES_MAX.div_ceil(self.workers);
        let lanes = self.guests.lanes.entry((place, who.clone())).or_default();
        match lanes.free.pop() {
            Some((guest, _)) => Room::Lane(self.occupy(place, who, guest)),
            None if lanes.busy >= LANES_EAGER || lanes.busy + lanes.parked >= most => Room::Wait,
            None => {
                let guest = self
                    .sessions
                    .guest(self.now, who.1.clone(), capabilities.clone());
                Room::Lane(self.occupy(place, who, guest))
            }
        }
    }

    fn occupy(&mut self, place: usize, who: &Who, guest: Arc<Session>) -> Arc<Session> {
        let lanes = (place, who.clone());
        self.guests.lanes.entry(lanes.clone()).or_default().busy += 1;
        self.guests.held.insert(guest.key, (lanes, Use::Busy));
        guest
    }

    fn wait_for_lane(
        &mut self,
        id: ExchangeId,
        lanes: LaneKey,
        server: Arc<Server>,
        outgoing: Outgoing,
    ) {
        let now = self.now;
        if let Some(lanes) = self.guests.lanes.get_mut(&lanes) {
            lanes.waiting.push_back((id, now));
        }
        if let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) {
            let outgoing = Box::new(outgoing);
            exchange.awaits = Awaits::Lane { server, outgoing };
        }
        self.wake_at(now + LANE_PATIENCE);
    }

    /// Notes that an exchange was parked, or goes on. Parked ones do not count among those that are busy, so that
    /// people who take their time stand in nobody's way.
    pub(super) fn use_lane(&mut self, guest: SessionKey, to: Use) {
        let Some((place, used)) = self.guests.held.get_mut(&guest) else {
            return;
        };
        let before = std::mem::replace(used, to);
        if let Some(lanes) = self.guests.lanes.get_mut(place) {
            *lanes.count(before) -= 1;
            *lanes.count(to) += 1;
        }
    }

    /// Gives a lane back. One on which something may still be going on is not used again: what is asked there
    /// could be taken for the next call's.
    pub(super) fn leave_lane(&mut self, guest: &Arc<Session>, left: Left) {
        let Some((place, used)) = self.guests.held.remove(&guest.key) else {
            return;
        };
        if let Some(lanes) = self.guests.lanes.get_mut(&place) {
            *lanes.count(used) -= 1;
        }
        if left == Left::Unclear {
            self.dismiss(guest);
        } else if let Some(lanes) = self.guests.lanes.get_mut(&place) {
            lanes.free.push((guest.clone(), self.now));
            self.wake_at(self.now + CONVERSATION_IDLE_TIMEOUT);
        }
        self.serve_lane(&place);
    }

    /// Gives who waits longest a lane, if there is one.
    fn serve_lane(&mut self, lanes: &LaneKey) {
        let (place, who) = lanes;
        while let Some((id, since)) = self.guests.next_waiting(lanes) {
            let waits = self.exchanges.get_mut(exchange_ticket(id));
            let Some(exchange) = waits.filter(|e| matches!(e.awaits, Awaits::Lane { .. })) else {
                continue;
            };
            let capabilities = match &exchange.declared {
                Some(declared) => declared.capabilities.clone(),
                None => continue,
            };
            let patience = self.now >= since + LANE_PATIENCE;
            let guest = match self.take_lane(*place, who, &capabilities) {
                Room::Lane(guest) => guest,
                Room::Wait if patience && self.guests.has_room(lanes, self.workers) => {
                    let guest = self.sessions.guest(self.now, who.1.clone(), capabilities);
                    self.occupy(*place, who, guest)
                }
                Room::Wait => {
                    if let Some(lanes) = self.guests.lanes.get_mut(lanes) {
                        lanes.waiting.push_front((id, since));
                    }
                    return;
                }
            };
            let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
                continue;
            };
            if let Awaits::Lane { server, outgoing } =
                std::mem::replace(&mut exchange.awaits, Awaits::Nothing)
                && let Some((key, outgoing)) = self.move_in(id, guest, *place, &server, *outgoing)
            {
                self.send_in(id, key, outgoing);
            }
        }
    }

    /// Ends a guest's session: nobody needs its conversations any more.
    fn dismiss(&mut self, guest: &Arc<Session>) {
        let key = guest.key;
        self.sessions.dismiss(guest);
        self.post_to_all(|| Parcel::Ended(key));
    }

    /// Lets go of guests that nobody needs, and opens lanes for who has waited long enough; when to look again.
    pub(super) fn sweep_guests(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut idle = Vec::new();
        let mut is_idle = |guest: &Arc<Session>, used_at: Time| {
            let until = used_at + CONVERSATION_IDLE_TIMEOUT;
            let gone = until <= now && !guest.has_exchanges();
            if gone {
                idle.push(guest.clone());
            } else {
                next = next.min(until.max(now + CONVERSATION_IDLE_TIMEOUT / 4));
            }
            gone
        };
        let guests = &mut self.guests;
        guests
            .common
            .retain(|_, (guest, used_at)| !is_idle(guest, *used_at));
        for lanes in guests.lanes.values_mut() {
            lanes
                .free
                .retain(|(guest, used_at)| !is_idle(guest, *used_at));
        }
        guests.lanes.retain(|_, lanes| !lanes.is_empty());
        let waiting: Vec<(LaneKey, Time)> = guests
            .lanes
            .iter()
            .filter_map(|(key, lanes)| Some((key.clone(), lanes.waiting.front()?.1)))
            .collect();
        for guest in idle {
            self.dismiss(&guest);
        }
        for (key, since) in waiting {
            if since + LANE_PATIENCE <= now {
                self.serve_lane(&key);
                next = next.min(now + LANE_PATIENCE);
            } else {
                next = next.min(since + LANE_PATIENCE);
            }
        }
        next
    }
}

impl Guests {
    fn next_waiting(&mut self, lanes: &LaneKey) -> Option<(ExchangeId, Time)> {
        self.lanes.get_mut(lanes)?.waiting.pop_front()
    }

    fn has_room(&self, lanes: &LaneKey, workers: usize) -> bool {
        let most = LANES_MAX.div_ceil(workers);
        let lanes = self.lanes.get(lanes);
        lanes.is_none_or(|lanes| lanes.busy + lanes.parked < most)
    }
}

impl Lanes {
    fn count(&mut self, used: Use) -> &mut usize {
        match used {
            Use::Busy => &mut self.busy,
            Use::Parked => &mut self.parked,
        }
    }

    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.busy + self.parked == 0 && self.waiting.is_empty()
    }
}
