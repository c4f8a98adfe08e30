//! A worker's thread: waits for readiness, letters and deadlines, and carries what comes to the pure
//! worker and what that wants back to the world.
//!
//! One turn: wait; take every event; take every letter; tell the time; then do what the worker wants until
//! it wants nothing. Effects come last, so that one write carries the answers to all that came together.
//! Every descriptor is registered once, edge-triggered for both directions. A read that does not fill the
//! buffer has emptied the socket, so that an exchange costs two reads, two writes and its share of a wait.

use super::clock::Clock;
use super::driven::{Driven, Links, Witness};
use super::entries::{Entries, Side};
use super::helpers::Names;
use super::inbox::Mailbox;
use super::linger::{Lingering, Visit};
use super::mail::{Front, Mail, Order};
use super::panics::caught;
use super::socket::{Child, Lane, Socket, fact, token, untoken};
use crate::event::Event;
use crate::id::{ConnectionId, Place};
use crate::time::Time;
use crate::worker::effect::{Effect, Input};
use mio::net::{TcpStream, UnixStream};
use mio::{Events, Poll, Token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

/// The token of the bell that other threads ring.
pub(super) const BELL: Token = Token(usize::MAX);
/// Bytes of the one buffer that everything is read into.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes read of one connection before the others have their turn.
pub(super) const TURN_BYTES: usize = 256 * 1024;
/// Events taken with one wait.
const EVENTS: usize = 256;
/// Letters taken in one turn.
const LETTERS: usize = 1024;
/// One worker's thread.
pub(super) struct Loop<W> {
    pub(super) worker: W,
    pub(super) witness: Box<dyn Witness>,
    pub(super) links: Links,
    clock: Clock,
    /// When this turn began to be worked on.
    pub(super) now: Time,
    pub(super) poll: Poll,
    mailbox: Mailbox<Mail>,
    pub(super) entries: Entries,
    pub(super) names: Names<ConnectionId>,
    pub(super) lingering: Lingering,
    /// What was not read to its end, in turn.
    pub(super) ready: VecDeque<Token>,
    /// When to look at which token; whether it is still time is seen then.
    alarms: BinaryHeap<Reverse<(Time, Token)>>,
    pub(super) buffer: Box<[u8]>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Drained,
}

impl<W: Driven> Loop<W> {
    pub(super) fn new(
        worker: W,
        witness: Box<dyn Witness>,
        links: Links,
        clock: Clock,
        poll: Poll,
        mailbox: Mailbox<Mail>,
    ) -> Loop<W> {
        Loop {
            worker,
            witness,
            names: Names::new(links.lookups.clone()),
            links,
            clock,
            now: clock.now(),
            poll,
            mailbox,
            entries: Entries::default(),
            lingering: Lingering::default(),
            ready: VecDeque::new(),
            alarms: BinaryHeap::new(),
            buffer: vec![0; BUFFER_BYTES].into(),
            phase: Phase::Serving,
        }
    }

    /// Turns until the process ends.
    ///
    /// # Errors
    /// What the kernel said about waiting; nothing else ends it.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        // What was asked for before the first event: a worker opens its servers on its own.
        self.tell(Input::Tick);
        self.carry_out();
        loop {
            self.turn(&mut events)?;
        }
    }

    /// Waits for something and deals with it.
    pub(super) fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        self.mailbox.wake_up();
        self.now = self.clock.now();
        for event in events.iter() {
            self.take_event(event);
        }
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            self.read_on(token);
        }
        for _ in 0..LETTERS {
            let Some(mail) = self.mailbox.take() else {
                break;
            };
            self.take_letter(mail);
        }
        self.ring_alarms();
        if self.worker.deadline().is_some_and(|end| end <= self.now) {
            self.tell(Input::Tick);
        }
        self.carry_out();
        if self.phase == Phase::Draining && self.worker.is_drained() {
            self.phase = Phase::Drained;
            let drained = Order::Drained(self.links.own);
            self.links.controller.post(drained);
        }
        Ok(())
    }

    /// How long nothing will be due. Says that this thread sleeps, unless it is not going to.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.ready.is_empty() || !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let alarm = self.alarms.peek().map(|Reverse((time, _))| *time);
        let next = [alarm, self.worker.deadline()].into_iter().flatten().min();
        next.map(|next| next.since(self.clock.now()))
    }

    // ── events ───────────────────────────────────────────────────────────────────────────────────

    fn take_event(&mut self, event: &mio::event::Event) {
        if event.token() == BELL {
            return;
        }
        let (slot, lane) = untoken(event.token());
        let Some((id, entry)) = (match lane {
            Lane::Lingering => return self.read_on(event.token()),
            _ => self.entries.in_slot(slot),
        }) else {
            return;
        };
        match (lane, &entry.socket) {
            (Lane::Main, Socket::Dialing(_)) => self.dial_on(id),
            (Lane::Main, _) => {
                let broken = event.is_error();
                if event.is_readable() || event.is_read_closed() || broken {
                    entry.unread = true;
                    entry.at_end |= event.is_read_closed() || broken;
                    self.read(id);
                }
                if event.is_writable() {
                    self.unblock(id);
                }
                if broken {
                    self.look_for_error(id);
                }
            }
            (Lane::Stdin, _) => self.unblock(id),
            (Lane::Stderr | Lane::Lingering, _) => self.read_stderr(id),
        }
    }

    /// Goes on with what had its turn and was not done.
    fn read_on(&mut self, token: Token) {
        let (slot, lane) = untoken(token);
        match lane {
            Lane::Lingering => {
                if self.lingering.visit(slot, &mut self.buffer) == Visit::Talking {
                    self.ready.push_back(token);
                }
            }
            Lane::Main | Lane::Stdin => {
                if let Some((id, _)) = self.entries.in_slot(slot) {
                    self.read(id);
                }
            }
            Lane::Stderr => {
                if let Some((id, _)) = self.entries.in_slot(slot) {
                    self.read_stderr(id);
                }
            }
        }
    }

    /// Reads what is there, up to its share of this turn.
    pub(super) fn read(&mut self, id: ConnectionId) {
        let mut taken = 0;
        loop {
            let Some(entry) = self.entries.get_mut(id) else {
                return;
            };
            if entry.paused || entry.ended || !entry.unread {
                return;
            }
            if taken >= TURN_BYTES {
                self.ready.push_back(token(id.slot, Lane::Main));
                return;
            }
            let length = match entry.socket.read(&mut self.buffer) {
                Ok(0) => return self.end(id),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    entry.unread = false;
                    // Reading TLS may have made something to send.
                    entry.blocked |= entry.socket.has_unsent();
                    return;
                }
                Err(error) => return self.fail(id, fact(&error)),
            };
            if length < self.buffer.len() && entry.socket.short_read_drains() && !entry.at_end {
                entry.unread = false;
            }
            taken += length;
            let input = Input::Received(id, &self.buffer[..length]);
            let told = caught(|| self.worker.handle(self.now, input));
            if let Err(message) = told {
                return self.pay_for_panic(Some(id), message);
            }
        }
    }

    /// The main lane has come to its end.
    fn end(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.unread = false;
        if let Socket::Child(child) = &mut entry.socket {
            child.stdout = None;
            return self.settle(id);
        }
        entry.ended = true;
        self.tell(Input::Ended(id));
    }

    /// A connection that was read to its end may still break, and the worker should not wait for nothing.
    fn look_for_error(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.ended
            && let Some(error) = entry.socket.error()
        {
            self.fail(id, fact(&error));
        }
    }

    // ── letters ──────────────────────────────────────────────────────────────────────────────────

    fn take_letter(&mut self, mail: Mail) {
        match mail {
            Mail::Parcel(parcel) => self.tell(Input::Parcel(parcel)),
            Mail::Adopt(stream, peer, front) => self.adopt(stream, peer, front),
            Mail::Stdio(stream) => self.adopt_stdio(stream),
            Mail::Attach(id, pipes) => self.attach(id, Child::new(pipes)),
            Mail::NotStarted(id, fact) => {
                if self.entries.remove(id).is_some() {
                    self.tell(Input::ConnectFailed(id, fact));
                }
            }
            Mail::Gone(id, how) => {
                if let Some(entry) = self.entries.get_mut(id)
                    && let Socket::Child(child) = &mut entry.socket
                {
                    child.exit = Some(how);
                    child.deadline = Time::NEVER;
                    self.settle(id);
                }
            }
            Mail::Resolved(host, answer) => {
                for id in self.names.learn(self.now, &host, &answer) {
                    self.dial_resolved(id, &answer);
                }
            }
            Mail::Table(table) => {
                self.tell(Input::Table(table));
                // The lists of the table before it are not asked for again.
                self.links.memfiles.forget_dead();
            }
            Mail::Drain => {
                self.phase = Phase::Draining;
                self.tell(Input::Drain);
            }
            Mail::Stop => self.close_all(),
        }
    }

    fn adopt(&mut self, stream: TcpStream, peer: SocketAddr, front: Front) {
        // The worker may give the newcomer the slot of one that it has closed in this very turn: that one
        // has to be gone here as well.
        self.carry_out();
        match caught(|| self.worker.accept(self.now, peer, front)) {
            Ok(id) => self.take_in(id, Side::Client, Socket::Tcp(stream)),
            Err(message) => {
                self.links.loads.give_place(self.links.own);
                self.pay_for_panic(None, message);
            }
        }
    }

    fn adopt_stdio(&mut self, stream: UnixStream) {
        match caught(|| self.worker.open_stdio(self.now)) {
            Ok(id) => self.take_in(id, Side::Stdio, Socket::Stdio(stream)),
            Err(message) => self.pay_for_panic(None, message),
        }
    }

    fn take_in(&mut self, id: ConnectionId, side: Side, socket: Socket) {
        let entry = self.entries.insert(id, side, socket);
        if let Err(error) = entry.socket.register(self.poll.registry(), id.slot) {
            self.fail(id, fact(&error));
        }
    }

    pub(super) fn place(&self, connection: ConnectionId) -> Place {
        Place {
            worker: self.links.own,
            connection,
        }
    }

    // ── deadlines ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn set_alarm(&mut self, time: Time, token: Token) {
        self.alarms.push(Reverse((time, token)));
    }

    fn ring_alarms(&mut self) {
        while let Some(Reverse((time, token))) = self.alarms.peek().copied()
            && time <= self.now
        {
            self.alarms.pop();
            let (slot, lane) = untoken(token);
            if lane == Lane::Lingering {
                self.lingering.expire(self.now, slot);
                continue;
            }
            let Some((id, entry)) = self.entries.in_slot(slot) else {
                continue;
            };
            match &entry.socket {
                Socket::Dialing(dial) if dial.deadline() <= self.now => self.dial_expired(id),
                Socket::Child(_) => self.give_up_on_end(id),
                _ => {}
            }
        }
    }

    // ── the worker ───────────────────────────────────────────────────────────────────────────────

    /// Does what the worker wants until it wants nothing.
    fn carry_out(&mut self) {
        loop {
            match caught(|| self.worker.poll()) {
                Ok(Some(effect)) => self.do_effect(effect),
                Ok(None) => return,
                Err(message) => return self.pay_for_panic(None, message),
            }
        }
    }

    fn do_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Flush(id) => self.flush(id),
            Effect::Pause(id) => {
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.paused = true;
                }
            }
            Effect::Resume(id) => {
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.paused = false;
                    // Most have been sent a long answer and sent nothing themselves meanwhile: a turn for
                    // such a one is a wait that does not wait.
                    if entry.unread {
                        self.ready.push_back(token(id.slot, Lane::Main));
                    }
                }
            }
            Effect::Connect(id, server) => self.dial(id, &server),
            Effect::Spawn(id, server) => {
                self.entries.insert(id, Side::Server, Socket::Spawning);
                let order = Order::Spawn(self.place(id), server);
                self.links.controller.post(order);
            }
            Effect::Close(id, how) => self.close(id, how),
            Effect::Post(worker, parcel) => self.post(worker, parcel),
            Effect::Report(report) => self.links.controller.post(Order::Report(report)),
            Effect::Ops(id, request) => {
                let answer = self.witness.answer(self.now, &request);
                self.tell(Input::OpsAnswer(id, answer));
            }
            Effect::Event(event) => self.witness.record(self.now, &event),
        }
    }

    /// Tells the worker; if it panics over that, the connection concerned pays.
    pub(super) fn tell(&mut self, input: Input<'_>) {
        let concerned = concerned(&input);
        if let Err(message) = caught(|| self.worker.handle(self.now, input)) {
            self.pay_for_panic(concerned, message);
        }
    }

    /// The connection is broken.
    pub(super) fn fail(&mut self, id: ConnectionId, fact: String) {
        self.forget(id);
        self.tell(Input::Failed(id, fact));
    }

    /// A panic costs the connection that it was over, and no more.
    pub(super) fn pay_for_panic(&mut self, concerned: Option<ConnectionId>, message: String) {
        self.witness
            .record(self.now, &Event::HandlerPanicked { message });
        let Some(id) = concerned else { return };
        self.forget(id);
        let failed = Input::Failed(id, "handling it panicked".into());
        // If it cannot bear even that, there is nobody left to tell.
        let _ = caught(|| self.worker.handle(self.now, failed));
    }
}

/// The connection that an input is about, if it is about one.
fn concerned(input: &Input<'_>) -> Option<ConnectionId> {
    match input {
        Input::Connected(id)
        | Input::ConnectFailed(id, _)
        | Input::Received(id, _)
        | Input::Ended(id)
        | Input::Failed(id, _)
        | Input::Wrote(id, _)
        | Input::Stderr(id, _)
        | Input::Exited(id, _)
        | Input::OpsAnswer(id, _) => Some(*id),
        Input::Parcel(_) | Input::Bounced(..) | Input::Table(_) | Input::Tick | Input::Drain => {
            None
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
