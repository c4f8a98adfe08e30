//! The network: bytes between workers and their peers, in whatever pieces and at whatever time chance has it.

use crate::world::{Action, Peer, Place, Plant, World, shown};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;
use switchbox::time::Time;
use switchbox::worker::Front;
use switchbox::worker::effect::{Close, Input};

/// A wire between a worker and a peer.
pub(crate) struct Wire {
    pub(crate) peer: Peer,
    connected: bool,
    /// What the peer has sent and the worker has not been given.
    input: VecDeque<u8>,
    ended: bool,
    ended_told: bool,
    exit: Option<String>,
    /// Reset: nothing moves any more, and the worker is about to hear of it.
    dead: bool,
    pub(crate) paused: bool,
    in_due: bool,
    out_due: bool,
    stalled_until: Time,
    /// Whether its bytes come and go in crumbs.
    crumbs: bool,
}

impl World {
    pub(crate) fn wire(&mut self, (w, id): Place, peer: Peer, connected: bool) {
        let wire = Wire {
            peer,
            connected,
            input: VecDeque::new(),
            ended: false,
            ended_told: false,
            exit: None,
            dead: false,
            paused: false,
            in_due: false,
            out_due: false,
            stalled_until: Time::ZERO,
            crumbs: self.chance.one_in(9),
        };
        // Whose answers come in crumbs may be taken for one that does not answer.
        let server = match peer {
            Peer::Child(brain) => Some(self.brains[brain].server),
            Peer::Web(web) => Some(self.webs[web].server),
            _ => None,
        };
        if let Some(server) = server {
            self.specs[server].doubtful |= wire.crumbs;
        }
        let before = self.wires[w].insert(id, wire);
        assert!(before.is_none(), "worker {w} named two connections {id}");
    }

    /// A client connects to a worker.
    pub(crate) fn accept(&mut self, w: usize, client: Peer) -> Place {
        let peer = ([127, 0, 0, 1], 40_000).into();
        let id = self.workers[w].accept(self.now, peer, Front::Main);
        self.wire((w, id), client, true);
        self.settle(w);
        (w, id)
    }

    /// The client on standard input and output connects.
    pub(crate) fn open_stdio(&mut self, client: Peer) -> Place {
        let id = self.workers[0].open_stdio(self.now);
        self.wire((0, id), client, true);
        self.settle(0);
        (0, id)
    }

    /// A peer sends bytes.
    pub(crate) fn send(&mut self, place: Place, bytes: &[u8]) {
        let Some(wire) = self.wires[place.0].get_mut(&place.1) else {
            return;
        };
        if !wire.dead && !wire.ended {
            wire.input.extend(bytes);
            self.schedule_in(place);
        }
    }

    /// A peer sends no more. A child says how it ended.
    pub(crate) fn end(&mut self, place: Place, exit: Option<String>) {
        if let Some(wire) = self.wires[place.0].get_mut(&place.1) {
            wire.ended = true;
            wire.exit = exit;
            self.schedule_in(place);
        }
    }

    /// A connection breaks, with everything that was on its way.
    pub(crate) fn reset(&mut self, place: Place) {
        if let Some(wire) = self.wires[place.0].get_mut(&place.1)
            && !wire.dead
        {
            wire.dead = true;
            let delay = self.delay();
            self.after(delay, Action::Fail(place));
        }
    }

    /// Nothing moves on this wire for a while.
    pub(crate) fn stall(&mut self, place: Place, length: Duration) {
        let until = self.now + length;
        if let Some(wire) = self.wires[place.0].get_mut(&place.1) {
            wire.stalled_until = until;
        }
    }

    pub(crate) fn schedule_in(&mut self, place: Place) {
        let delay = self.delay();
        let now = self.now;
        if let Some(wire) = self.wires[place.0].get_mut(&place.1)
            && !wire.in_due
            && wire.connected
        {
            wire.in_due = true;
            let at = (now + delay).max(wire.stalled_until);
            self.at(at, Action::In(place));
        }
    }

    pub(crate) fn schedule_out(&mut self, place: Place) {
        let delay = self.delay();
        let now = self.now;
        if let Some(wire) = self.wires[place.0].get_mut(&place.1)
            && !wire.out_due
            && wire.connected
        {
            wire.out_due = true;
            let at = (now + delay).max(wire.stalled_until);
            self.at(at, Action::Out(place));
        }
    }

    /// How many of `all` bytes move at once.
    fn cut(&mut self, all: usize, crumbs: bool) -> usize {
        if crumbs && !self.calm {
            self.count("bytes in crumbs");
            return self.chance.between(1, 80).min(all);
        }
        if all > 1 && self.fault(4, "bytes split") {
            return self.chance.between(1, all);
        }
        all
    }

    pub(crate) fn move_in(&mut self, place: Place) {
        let (w, id) = place;
        let (now, calm) = (self.now, self.calm);
        let Some(wire) = self.wires[w].get_mut(&id) else {
            return;
        };
        wire.in_due = false;
        if wire.dead || wire.paused {
            return;
        }
        if wire.stalled_until > now && !calm {
            return self.schedule_in(place);
        }
        if wire.input.is_empty() {
            if !wire.ended || wire.ended_told {
                return;
            }
            wire.ended_told = true;
            let input = match wire.exit.clone() {
                Some(how) => {
                    self.wires[w].remove(&id);
                    Input::Exited(id, how)
                }
                None => Input::Ended(id),
            };
            return self.handle(w, input);
        }
        let (all, crumbs) = (wire.input.len(), wire.crumbs);
        let count = self.cut(all, crumbs);
        let Some(wire) = self.wires[w].get_mut(&id) else {
            return;
        };
        let bytes: Vec<u8> = wire.input.drain(..count).collect();
        let more = !wire.input.is_empty() || wire.ended;
        self.note(format_args!("w{w} {id} <- {}", shown(&bytes)));
        self.handle(w, Input::Received(id, &bytes));
        if more {
            self.schedule_in(place);
        }
    }

    pub(crate) fn move_out(&mut self, place: Place) {
        let (w, id) = place;
        let (now, calm) = (self.now, self.calm);
        let Some(wire) = self.wires[w].get_mut(&id) else {
            return;
        };
        wire.out_due = false;
        if wire.dead {
            return;
        }
        if wire.stalled_until > now && !calm {
            return self.schedule_out(place);
        }
        let (peer, crumbs) = (wire.peer, wire.crumbs);
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = self.workers[w].outgoing(id, &mut slices);
        let mut bytes: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        if bytes.is_empty() {
            return;
        }
        let all = bytes.len();
        let count = self.cut(all, crumbs);
        bytes.truncate(count);
        if count < all {
            self.count("short write");
        }
        self.note(format_args!("w{w} {id} -> {}", shown(&bytes)));
        if self.plant == Some(Plant::ByteChanged)
            && matches!(peer, Peer::Client(..))
            && let Some(at) = bytes
                .windows(9)
                .position(|window| window == b"\"echo\":\"c")
        {
            bytes[at + 8] = b'd';
        }
        // Peers only put things in the queue, so that the order of the next two makes no difference to
        // them; the worker may close the wire in the second.
        match peer {
            Peer::Client(client, connection) => {
                let lost = self.plant == Some(Plant::AnswerLost)
                    && bytes.starts_with(b"HTTP/1.1 200")
                    && bytes.ends_with(b"}")
                    && bytes.windows(6).any(|window| window == b"\"echo\"");
                if !lost {
                    self.client_reads(client, connection, &bytes);
                }
            }
            Peer::Caller(caller, connection) => self.caller_reads(caller, connection, &bytes),
            Peer::Child(brain) => self.child_reads(brain, &bytes),
            Peer::Web(web) => self.web_reads(web, &bytes),
        }
        self.handle(w, Input::Wrote(id, count));
        // What the kernel did not take is written when there is room again, without being asked.
        if count < all || filled == 8 {
            self.schedule_out(place);
        }
    }

    pub(crate) fn connect(&mut self, place: Place, outcome: Result<(), String>) {
        let (w, id) = place;
        self.note(format_args!("w{w} {id} connected: {outcome:?}"));
        let Some(wire) = self.wires[w].get_mut(&id) else {
            return;
        };
        match outcome {
            Ok(()) => {
                wire.connected = true;
                self.handle(w, Input::Connected(id));
                self.schedule_out(place);
                self.schedule_in(place);
            }
            Err(cause) => {
                let peer = wire.peer;
                self.wires[w].remove(&id);
                self.peer_gone(peer, Close::Reset);
                self.handle(w, Input::ConnectFailed(id, cause));
            }
        }
    }

    pub(crate) fn close(&mut self, (w, id): Place, how: Close) {
        self.note(format_args!("w{w} {id} closed: {how:?}"));
        if let Some(wire) = self.wires[w].remove(&id) {
            self.peer_gone(wire.peer, how);
        }
    }

    pub(crate) fn peer_gone(&mut self, peer: Peer, how: Close) {
        match peer {
            Peer::Client(client, connection) => self.client_cut_off(client, connection, how),
            Peer::Caller(caller, connection) => self.caller_cut_off(caller, connection, how),
            Peer::Child(brain) => self.brain_dies(brain),
            Peer::Web(web) => self.web_cut_off(web),
        }
    }
}
