//! Modern clients at legacy servers: sessions that we hold there in their name.
//!
//! A modern client has no session, and a legacy server asks nobody who has none. So a call that may be asked
//! something has a *guest*: a session that no client knows of. It has it, and with it a child or a session at an
//! HTTP server, to itself for as long as it takes, because servers do not always say which call a question
//! belongs to. Such guests are *lanes*, one for each call under way of those who declare the same as the same
//! principal; they are used again, and let go when they are not.

use super::exchange::Awaits;
use super::exchange::Exchange;
use super::parcel::{Asker, Outgoing, Parcel, Said};
use super::{Worker, exchange_id, exchange_ticket};
use crate::config::limits::{
    COMMON_GUESTS_MAX, CONVERSATION_IDLE_TIMEOUT, LANE_PATIENCE, LANE_REST, LANES_EAGER, LANES_MAX,
};
use crate::config::{Server, Share, Transport};
use crate::event::Event;
use crate::id::{ExchangeId, SessionKey};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::conversation::Key;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// For whom guests are opened alike.
type Who = (Arc<str>, Option<Arc<str>>);
/// And at which server.
type LaneKey = (usize, Who);

/// The guests of a worker.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// Those who wait for lists.
    common: BTreeMap<Who, (Arc<Session>, Time)>,
    /// Those with calls.
    lanes: BTreeMap<LaneKey, Lanes>,
    /// Lanes in use.
    held: BTreeMap<SessionKey, (LaneKey, Use)>,
}

/// The lanes to one server for the same capabilities and principal.
#[derive(Debug, Default)]
struct Lanes {
    /// Those that nobody uses, since then or from then on, the one used last at the end.
    free: Vec<(Arc<Session>, Time)>,
    /// How many are in use by calls that are under way.
    busy: usize,
    /// How many are held by calls whose clients were asked something.
    parked: usize,
    /// Who waits for one, and since when.
    waiting: VecDeque<(ExchangeId, Time)>,
    /// When a parked call had to give way last.
    yielded_at: Time,
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
    /// Answered, after its server had asked something; it may ask once more, about the same.
    Asked,
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
        let server = &self.table.servers[place];
        let exchange = self.exchanges.get(exchange_ticket(id))?;
        let Some(declared) = &exchange.declared else {
            return Some((key, outgoing));
        };
        let asked = declared.capabilities.may_be_asked();
        let needed = self.table.eras[place] == Era::Legacy
            && (asked || server.share == Share::PerSession)
            && exchange.session.is_none();
        if !needed {
            return Some((key, outgoing));
        }
        let (server, declared) = (server.clone(), declared.clone());
        let who = (
            declared.capabilities.text().clone(),
            exchange.principal.clone(),
        );
        match self.take_lane(place, &who, &declared.capabilities) {
            Room::Lane(guest) => self.move_in(id, guest, place, &server, outgoing),
            Room::Wait => {
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

    /// Has servers that are there only now asked what they list for the modern clients that have asked before.
    pub(super) fn ask_for_lists_of_all(&mut self) {
        let known = &self.table.catalogs;
        let lacks = |guest: &Arc<Session>| {
            let catalog = known.get(guest.capabilities.text());
            catalog.is_none_or(|catalog| !catalog.unlisted.is_empty())
        };
        let common = self.guests.common.values().map(|(guest, _)| guest.clone());
        for guest in common.filter(lacks).collect::<Vec<_>>() {
            self.ask_for_lists_of(&guest);
        }
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
            let alone = capabilities.may_be_asked() || server.share == Share::PerSession;
            let asker = match alone {
                false => Asker {
                    key: Key::of(place, &server, Some(capabilities), None),
                    session: None,
                },
                true if self.guests.lanes.contains_key(&(place, who.clone())) => continue,
                // What lists is what the first call will have.
                true => {
                    let lane = self.open_guest(&who.1, capabilities);
                    let lanes = self.guests.lanes.entry((place, who.clone())).or_default();
                    lanes.free.push((lane.clone(), self.now));
                    Asker {
                        key: Key::alone(place, capabilities, lane.key),
                        session: Some(lane),
                    }
                }
            };
            self.post(self.owner(&asker.key), Parcel::Open(Box::new(asker)));
        }
    }

    /// The guest that stands for everyone who declares the same, where lists are concerned; `None` if there are
    /// too many already.
    pub(super) fn common_guest(
        &mut self,
        who: &Who,
        capabilities: &ClientCapabilities,
    ) -> Option<Arc<Session>> {
        let now = self.now;
        self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        if !self.guests.common.contains_key(who) {
            if self.guests.common.len() >= COMMON_GUESTS_MAX {
                return None;
            }
            let guest = self.open_guest(&who.1, capabilities);
            self.guests.common.insert(who.clone(), (guest, now));
        }
        let (guest, used_at) = self.guests.common.get_mut(who)?;
        *used_at = now;
        Some(guest.clone())
    }

    fn open_guest(
        &mut self,
        principal: &Option<Arc<str>>,
        capabilities: &ClientCapabilities,
    ) -> Arc<Session> {
        let (principal, capabilities) = (principal.clone(), capabilities.clone());
        self.sessions
            .guest(self.now, self.id, principal, capabilities)
    }

    /// Takes in what a server said to a guest of this worker outside any of its calls: it has but one.
    pub(super) fn said_to_guest(&mut self, guest: SessionKey, said: Said) {
        let of_guest = |session: &Arc<Session>| session.key == guest;
        let own = |exchange: &Exchange| exchange.session.as_ref().is_some_and(of_guest);
        let found = self.exchanges.iter().find(|(_, exchange)| own(exchange));
        match (found.map(|(ticket, _)| exchange_id(ticket)), said) {
            (Some(id), said) => self.say(id, said),
            (None, Said::Request(_, ask)) => {
                self.ask_undelivered(ask, "the client has no call under way");
            }
            (None, _) => self.event(Event::ParcelStale),
        }
    }

    fn take_lane(&mut self, place: usize, who: &Who, capabilities: &ClientCapabilities) -> Room {
        let (now, most) = (self.now, LANES_MAX.div_ceil(self.workers));
        // A session at an HTTP server costs little, a child costs a process.
        let eager = match self.table.servers[place].transport {
            Transport::Stdio(_) => LANES_EAGER,
            _ => most,
        };
        let lanes = self.guests.lanes.entry((place, who.clone())).or_default();
        let rested = lanes.free.iter().rposition(|(_, since)| *since <= now);
        match rested.map(|at| lanes.free.remove(at)) {
            Some((guest, _)) => Room::Lane(self.occupy(place, who, guest)),
            None if lanes.busy >= eager || lanes.in_use() >= most => Room::Wait,
            None => {
                let guest = self.open_guest(&who.1, capabilities);
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
            let rest = match left {
                Left::Asked => LANE_REST,
                _ => Duration::ZERO,
            };
            lanes.free.push((guest.clone(), self.now + rest));
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
                    let guest = self.open_guest(&who.1, &capabilities);
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

    /// Gives up the call that has been parked for the longest where nothing but that makes room: people who take
    /// their time stand in nobody's way.
    fn make_room(&mut self, key: &LaneKey) {
        let now = self.now;
        if self.guests.has_room(key, self.workers) {
            return;
        }
        let Some(lanes) = self.guests.lanes.get_mut(key) else {
            return;
        };
        let Some((_, since)) = lanes.waiting.front() else {
            return;
        };
        if *since.max(&lanes.yielded_at) + LANE_PATIENCE > now || lanes.parked == 0 {
            return;
        }
        lanes.yielded_at = now;
        let held = &self.guests.held;
        let parked = self.exchanges.iter().filter(|(_, exchange)| {
            let guest = exchange.session.as_ref();
            let held = guest.and_then(|guest| held.get(&guest.key));
            held.is_some_and(|(lanes, used)| lanes == key && *used == Use::Parked)
        });
        let longest = parked.min_by_key(|(_, exchange)| exchange.deadline);
        if let Some(id) = longest.map(|(ticket, _)| exchange_id(ticket)) {
            let refusal = Refusal::Busy("too many calls wait for their clients to answer");
            self.give_up(id, refusal, "another call needs its place");
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
                self.make_room(&key);
                next = next.min(now + LANE_PATIENCE);
            } else {
                next = next.min(since + LANE_PATIENCE);
            }
        }
        next
    }
}

impl Guests {
    /// Lanes that calls have, and calls that wait for one.
    pub(super) fn in_use(&self) -> usize {
        let waiting = self.lanes.values().map(|lanes| lanes.waiting.len());
        self.held.len() + waiting.sum::<usize>()
    }

    fn next_waiting(&mut self, lanes: &LaneKey) -> Option<(ExchangeId, Time)> {
        self.lanes.get_mut(lanes)?.waiting.pop_front()
    }

    fn has_room(&self, lanes: &LaneKey, workers: usize) -> bool {
        let most = LANES_MAX.div_ceil(workers);
        let lanes = self.lanes.get(lanes);
        lanes.is_none_or(|lanes| lanes.in_use() < most)
    }
}

impl Lanes {
    fn count(&mut self, used: Use) -> &mut usize {
        match used {
            Use::Busy => &mut self.busy,
            Use::Parked => &mut self.parked,
        }
    }

    /// How many have calls; those that rest will be used again.
    fn in_use(&self) -> usize {
        self.busy + self.parked
    }

    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.busy + self.parked == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{CATALOGS_MAX, REFUSED_TIMEOUT};
    use crate::worker::scene::Scene;
    use serde_json::json;
    use std::time::Duration;

    fn refused(scene: &mut Scene, tool: &str) -> (crate::id::ConnectionId, serde_json::Value) {
        let client = scene.modern("tools/call", json!({"name": tool, "arguments": {}}));
        let (child, call) = scene.asked("tools/call");
        let sampling = json!({"messages": [], "maxTokens": 1});
        let wants = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage",
            "params": sampling});
        scene.says(child, &wants);
        let answer = scene.answer(client);
        assert_eq!(answer["error"]["code"], -32021, "{answer}");
        assert!(scene.lines(child)[0]["error"].is_object());
        (child, call)
    }

    #[test]
    fn call_whose_client_lacks_a_capability_costs_no_child() {
        let mut scene = Scene::new(Era::Legacy);
        let before = scene.closed.len();
        let (first, call) = refused(&mut scene, "t");
        scene.answers(first, &call, &json!({"content": []}));
        let (second, call) = refused(&mut scene, "t");
        scene.says(
            second,
            &json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "no"}}),
        );
        assert_eq!(refused(&mut scene, "t").0, first);
        assert_eq!(first, second);
        assert!(!scene.closed[before..].contains(&first));
        assert_eq!(scene.worker.census().exchanges, 1);
    }

    #[test]
    fn server_that_goes_on_after_it_was_refused_loses_its_lane() {
        let mut scene = Scene::new(Era::Legacy);
        let (first, _) = refused(&mut scene, "t");
        scene.pass(REFUSED_TIMEOUT + Duration::from_secs(1));
        assert!(scene.closed.contains(&first));
        assert_eq!(scene.worker.census().lanes, 0);
        assert_ne!(refused(&mut scene, "t").0, first);
    }

    #[test]
    fn answer_that_a_client_cannot_take_costs_no_child() {
        let mut scene = Scene::new(Era::Legacy);
        let mut calls = || {
            let client = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
            let (child, call) = scene.asked("tools/call");
            let url = json!({"mode": "url", "url": "https://a.example", "message": "m",
                "elicitationId": "1"});
            let error = json!({"code": -32042, "message": "m", "data": {"elicitations": [url]}});
            scene.says(
                child,
                &json!({"jsonrpc": "2.0", "id": call["id"], "error": error}),
            );
            assert_eq!(scene.answer(client)["error"]["code"], -32021);
            child
        };
        assert_eq!(calls(), calls());
    }

    #[test]
    fn parked_calls_do_not_keep_others_from_being_made() {
        let mut scene = Scene::new(Era::Legacy);
        let states: Vec<_> = (0..LANES_MAX).map(|_| scene.parks("t").2).collect();
        scene.modern("tools/call", json!({"name": "u", "arguments": {}}));
        scene.pass(Duration::from_secs(1));
        let (_, call) = scene.asked("tools/call");
        assert_eq!(call["params"]["name"], "u");
        // The one that was parked first gave way, and no other.
        let gone = scene.returns("t", &states[0]);
        assert_eq!(scene.answer(gone)["error"]["code"], -32602);
        let kept = scene.returns("t", &states[1]);
        assert_eq!(scene.heard(kept), "");
    }

    fn declares(scene: &mut Scene, number: usize) -> crate::id::ConnectionId {
        let declared = json!({"experimental": {"n": {"n": number}}});
        scene.modern_with("tools/list", json!({}), &declared)
    }

    #[test]
    fn clients_that_declare_ever_new_things_are_not_all_remembered() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..COMMON_GUESTS_MAX + 2 {
            declares(&mut scene, number);
        }
        assert_eq!(scene.worker.guests.common.len(), COMMON_GUESTS_MAX);
    }

    #[test]
    fn list_does_not_wait_for_a_catalog_that_is_not_kept() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..CATALOGS_MAX + 2 {
            let client = declares(&mut scene, number);
            scene.pass(Duration::from_millis(100));
            assert!(scene.answer(client)["result"]["tools"].is_array());
        }
    }
}
