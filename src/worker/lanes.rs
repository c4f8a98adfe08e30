//! Lanes: conversations with legacy servers that calls of modern clients have to themselves, one call at a time.
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
use crate::upstream::conversation::Key;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The lanes of a worker.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By the server's place in the table.
    places: BTreeMap<usize, Place>,
    /// At which server the lanes are that calls have.
    held: BTreeMap<SessionKey, usize>,
    /// How many of those calls are parked.
    parked: usize,
    /// How many calls have had to wait, ever.
    turns: u64,
}

/// The lanes to one server, and who waits for one.
#[derive(Debug, Default)]
struct Place {
    /// No more than the server's share, so that looking at each costs little.
    lanes: Vec<Lane>,
    /// The oldest first.
    waiting: BTreeMap<u64, Waiting>,
    /// The numbers of those that would have each other's lanes.
    turns: BTreeMap<Who, BTreeSet<u64>>,
    /// Whose lane was left, so that who waits for it is to be served.
    left: Vec<Who>,
    /// Whether that is being done: what is served may fail at once, and leave its lane in the middle of it.
    serving: bool,
    /// When a parked call had to give way last.
    yielded_at: Time,
}

#[derive(Debug)]
struct Lane {
    guest: Arc<Session>,
    who: Who,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody uses it, since then or from then on.
    Free(Time),
    /// A call has it.
    Held(Use, ExchangeId),
}

#[derive(Debug)]
struct Waiting {
    exchange: ExchangeId,
    who: Who,
    since: Time,
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

    fn is_waited_for(&self, place: usize) -> bool {
        let lanes = self.places.get(&place);
        lanes.is_some_and(|lanes| !lanes.waiting.is_empty())
    }

    /// The lane of a guest that a call has.
    fn lane(&mut self, guest: SessionKey) -> Option<&mut Lane> {
        let lanes = self.places.get_mut(self.held.get(&guest)?)?;
        let at = lanes.position(guest)?;
        lanes.lanes.get_mut(at)
    }

    fn queue(&mut self, place: usize, exchange: ExchangeId, who: Who, since: Time) -> Turn {
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

    fn waiting(&self, (place, number): Turn) -> Option<&Waiting> {
        self.places.get(&place)?.waiting.get(&number)
    }

    fn forget(&mut self, (place, number): Turn) {
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
    fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.waiting.is_empty()
    }

    fn position(&self, guest: SessionKey) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.guest.key == guest)
    }

    /// The lane of these that a call may have at once; the one used last, so that the others can go.
    fn rested(&mut self, who: &Who, now: Time) -> Option<&mut Lane> {
        let rested = self.lanes.iter_mut().filter_map(|lane| match lane.state {
            State::Free(since) if since <= now && lane.who == *who => Some((since, lane)),
            _ => None,
        });
        rested.max_by_key(|(since, _)| *since).map(|(_, lane)| lane)
    }

    /// How many of these have calls that are under way.
    fn busy(&self, who: &Who) -> usize {
        let busy = |lane: &&Lane| matches!(lane.state, State::Held(Use::Busy, _));
        let own = self.lanes.iter().filter(|lane| lane.who == *who);
        own.filter(busy).count()
    }

    /// The lane that nobody has used for the longest.
    fn free_for_longest(&self, of: impl Fn(&Who) -> bool) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate();
        let free = lanes.filter_map(|(at, lane)| match lane.state {
            State::Free(since) if of(&lane.who) => Some((since, at)),
            _ => None,
        });
        free.min().map(|(_, at)| at)
    }
}

/// How many lanes to a server each worker may have.
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
mod tests {
    use super::*;
    use crate::config::limits::{REFUSED_TIMEOUT, WORKERS_MAX};
    use crate::id::ConnectionId;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::collections::VecDeque;
    use std::time::Duration;

    /// A client that is like no other calls a tool.
    fn calls(scene: &mut Scene, number: usize) -> ConnectionId {
        let declared = json!({"elicitation": {}, "experimental": {"n": {"n": number}}});
        let params = json!({"name": "t", "arguments": {}, "_meta": {"progressToken": "p"}});
        scene.modern_with("tools/call", params, &declared)
    }

    /// Has every lane taken by those who declare that; the children and what they were asked.
    fn fills(scene: &mut Scene, number: usize) -> Vec<(ConnectionId, Value)> {
        for _ in 0..LANES_MAX {
            calls(scene, number);
        }
        scene.pass(Duration::from_secs(1));
        let asked = all_asked(scene);
        assert_eq!(asked.len(), LANES_MAX);
        asked
    }

    fn all_asked(scene: &mut Scene) -> Vec<(ConnectionId, Value)> {
        let children = scene.children.clone();
        let said = children.into_iter().flat_map(|child| {
            let lines = scene.lines(child).into_iter();
            lines.map(move |line| (child, line)).collect::<Vec<_>>()
        });
        said.filter(|(_, line)| line["method"] == "tools/call")
            .collect()
    }

    fn answers(scene: &mut Scene, (child, call): &(ConnectionId, Value)) {
        scene.answers(*child, call, &json!({"content": []}));
    }

    #[test]
    fn lanes_are_bounded_whatever_their_clients_declare() {
        let mut scene = Scene::new(Era::Legacy);
        let shared = scene.children.len();
        let clients: Vec<_> = (0..2 * LANES_MAX)
            .map(|number| calls(&mut scene, number))
            .collect();
        scene.pass(Duration::from_secs(1));
        assert_eq!(scene.children.len(), shared + LANES_MAX);
        // All of them are answered nevertheless, in the order in which they came.
        let mut asked = VecDeque::from(all_asked(&mut scene));
        for client in clients {
            let first = asked.pop_front().expect("a call that is served");
            answers(&mut scene, &first);
            assert!(scene.answer(client)["result"].is_object());
            asked.extend(all_asked(&mut scene));
        }
        assert_eq!(scene.children.len(), shared + LANES_MAX);
    }

    #[test]
    fn lane_that_nobody_has_used_for_the_longest_gives_way() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..LANES_MAX {
            calls(&mut scene, number);
        }
        let asked = all_asked(&mut scene);
        for call in asked.iter().rev() {
            scene.pass(Duration::from_millis(10));
            answers(&mut scene, call);
        }
        calls(&mut scene, LANES_MAX);
        assert_eq!(all_asked(&mut scene).len(), 1);
        let gone = |child| scene.closed.contains(child);
        let gone: Vec<_> = asked.iter().filter(|(child, _)| gone(child)).collect();
        assert_eq!(gone, [&asked[LANES_MAX - 1]]);
    }

    #[test]
    fn oldest_call_is_served_first_whosever_the_lane_was() {
        let mut scene = Scene::new(Era::Legacy);
        let asked = fills(&mut scene, 0);
        let waiting = [1, 2, 0, 3].map(|number| calls(&mut scene, number));
        scene.pass(Duration::from_secs(1));
        answers(&mut scene, &asked[0]);
        for client in waiting {
            let served = all_asked(&mut scene);
            assert_eq!(served.len(), 1);
            answers(&mut scene, &served[0]);
            assert!(scene.answer(client)["result"].is_object());
        }
    }

    #[test]
    fn call_for_which_no_lane_became_free_is_told_so() {
        let mut scene = Scene::new(Era::Legacy);
        let asked = fills(&mut scene, 0);
        let client = calls(&mut scene, 1);
        scene.pass(Duration::from_secs(30));
        for (child, call) in &asked {
            let token = &call["params"]["_meta"]["progressToken"];
            let params = json!({"progressToken": token, "progress": 1});
            let method = "notifications/progress";
            scene.says(
                *child,
                &json!({"jsonrpc": "2.0", "method": method, "params": params}),
            );
        }
        scene.pass(Duration::from_secs(31));
        assert_eq!(scene.answer(client)["error"]["code"], -32006);
        assert_eq!(scene.worker.census().lanes, LANES_MAX);
    }

    #[test]
    fn server_that_is_down_is_so_for_all_who_wait() {
        let mut scene = Scene::new(Era::Legacy);
        fills(&mut scene, 0);
        let clients: Vec<_> = (0..2_000).map(|_| calls(&mut scene, 0)).collect();
        scene.pass(Duration::from_secs(1));
        scene.is_gone();
        for child in scene.children.clone() {
            scene.handle(Input::Exited(child, "exit 1".into()));
        }
        scene.pass(Duration::from_secs(1));
        for child in scene.children.clone() {
            scene.handle(Input::Exited(child, "exit 1".into()));
        }
        scene.pass(Duration::from_secs(1));
        for client in clients {
            assert!(scene.answer(client)["error"].is_object());
        }
    }

    #[test]
    fn shares_of_all_workers_are_no_more_than_all_may_have() {
        let check = |connections: usize, workers: usize, expected: usize| {
            let mut server = (*crate::router::testing::server("s")).clone();
            server.connections = connections;
            assert_eq!(lanes_max(&server, workers), expected);
        };
        check(1024, 1, LANES_MAX);
        check(1024, 3, LANES_MAX / 3);
        check(1024, WORKERS_MAX, 1);
        check(5, 1, 4);
        check(1, 2, 1);
    }

    fn refused(scene: &mut Scene, tool: &str) -> (ConnectionId, Value) {
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
}
