//! The world around real workers: time, the network, the inboxes between workers, the controller.
//!
//! Everything that happens is an [`Action`] at a time; the seed decides the times. Peers (clients,
//! children, HTTP servers) never touch a worker: they put bytes on wires and actions in the queue.

use crate::caller::{Caller, Step};
use crate::cells::Cell;
use crate::chance::Chance;
use crate::client::{Client, Deed};
use crate::server::{Brain, Doing};
use crate::spec::Spec;
use crate::web::Web;
use crate::wires::Wire;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::sync::Arc;
use std::time::Duration;
use switchbox::config::Config;
use switchbox::id::{ConnectionId, WorkerId};
use switchbox::router::directory::Directory;
use switchbox::router::table::Table;
use switchbox::session::store::Store;
use switchbox::time::{Time, Wall};
use switchbox::worker::effect::{Effect, Input, OpsAnswer};
use switchbox::worker::parcel::Parcel;
use switchbox::worker::{Seat, Worker};

/// A connection of a worker.
pub(crate) type Place = (usize, ConnectionId);

/// Who is at the other end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This connection of this client.
    Client(usize, u32),
    /// This connection of this modern client.
    Caller(usize, u32),
    /// The child with this brain.
    Child(usize),
    /// This connection of an HTTP server.
    Web(usize),
}

/// Something that is going to happen.
pub(crate) enum Action {
    In(Place),
    Out(Place),
    Connect(Place, Result<(), String>),
    Fail(Place),
    Parcel(usize, Parcel),
    Bounce(usize, WorkerId, Parcel),
    Table(usize, Arc<Table>),
    Directory,
    Ops(Place),
    Drain(usize),
    Client(usize, Deed),
    Caller(usize, Step),
    Brain(usize, Doing),
    /// A server comes back in the other era.
    Turn(usize),
}

/// A fault that is planted to see whether the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A server answers with another request's tag.
    AnswerSwapped,
    /// A server tells one client's log to another.
    LogSwapped,
    /// A server asks one client what is another's to answer.
    QuestionSwapped,
    /// A legacy server answers who came back to it with what is another's.
    VisitorSwapped,
    /// A client shows the state of another with that other's key.
    StateLent,
    /// A legacy client is shown what belongs to the modern era.
    ModernShown,
    /// A modern client is not told what kind of result it gets.
    TypeMissing,
    /// A server sends an answer twice, under an id that is in use again.
    CallTwice,
    /// The network changes a byte on its way to a client.
    ByteChanged,
    /// A worker's answer to a client is lost on its way.
    AnswerLost,
    /// Work on an event panics.
    Panic,
}

/// The world.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) now: Time,
    pub(crate) config: Arc<Config>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) sessions: Arc<Store>,
    directory: Directory,
    directory_due: bool,
    queue: BTreeMap<(Time, u64), Action>,
    turn: u64,
    /// For each worker: its deadline, and when the clock gets round to it.
    ticks: Vec<(Option<Time>, Time)>,
    pub(crate) wires: Vec<BTreeMap<ConnectionId, Wire>>,
    /// When the last parcel from one worker to another arrives: between two, order is kept.
    arrivals: BTreeMap<(usize, usize), Time>,
    tables_at: Vec<Time>,
    pub(crate) clients: Vec<Client>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) specs: Vec<Spec>,
    pub(crate) brains: Vec<Brain>,
    pub(crate) webs: Vec<Web>,
    /// How often each tool call reached a server, by its tag.
    pub(crate) delivered: BTreeMap<String, u32>,
    /// The brain that a client's request came to, by its tag.
    pub(crate) asked_at: BTreeMap<String, usize>,
    /// The brain that said last that a resource was updated.
    pub(crate) updated_at: BTreeMap<String, usize>,
    /// Tags of what clients cancelled.
    pub(crate) cancelled: BTreeSet<String>,
    /// Tags of calls that their clients, or others, came back for otherwise than they should.
    pub(crate) tampered: BTreeSet<String>,
    /// Tags of calls that a server spoke of on its standing stream though they had their own.
    pub(crate) on_two_streams: BTreeSet<String>,
    /// The states that the gateway gave to clients.
    pub(crate) sealed: BTreeSet<String>,
    pub(crate) cells: BTreeMap<Cell, u64>,
    /// How often everything happened.
    pub(crate) cover: BTreeMap<&'static str, u64>,
    /// No more faults.
    pub(crate) calm: bool,
    pub(crate) draining: bool,
    pub(crate) plant: Option<Plant>,
    pub(crate) trace: bool,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64, workers: usize, config: Config, specs: Vec<Spec>) -> World {
        let directory = Directory::new(&config);
        let config = Arc::new(config);
        let sessions = Arc::new(Store::new([seed as u8; 32]));
        let seat = |id: usize| Seat {
            id: WorkerId(id as u8),
            workers,
            config: config.clone(),
            table: directory.table(),
            sessions: sessions.clone(),
            seed: seed ^ id as u64,
            wall_at_zero: Wall(1_795_000_000_000),
        };
        World {
            chance: Chance::new(seed),
            now: Time::ZERO,
            workers: (0..workers).map(|id| Worker::new(seat(id))).collect(),
            config,
            sessions,
            directory,
            directory_due: false,
            queue: BTreeMap::new(),
            turn: 0,
            ticks: vec![(None, Time::NEVER); workers],
            wires: (0..workers).map(|_| BTreeMap::new()).collect(),
            arrivals: BTreeMap::new(),
            tables_at: vec![Time::ZERO; workers],
            clients: Vec::new(),
            callers: Vec::new(),
            specs,
            brains: Vec::new(),
            webs: Vec::new(),
            delivered: BTreeMap::new(),
            asked_at: BTreeMap::new(),
            updated_at: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            tampered: BTreeSet::new(),
            on_two_streams: BTreeSet::new(),
            sealed: BTreeSet::new(),
            cells: BTreeMap::new(),
            cover: BTreeMap::new(),
            calm: false,
            draining: false,
            plant: None,
            trace: false,
            steps: 0,
        }
    }

    // ── what everyone uses ───────────────────────────────────────────────────────────────────────

    pub(crate) fn note(&self, line: Arguments<'_>) {
        if self.trace {
            crate::tell(format!("{:>12} {line}", self.now.as_micros()));
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.cover.entry(what).or_default() += 1;
    }

    /// Whether a fault happens that happens once in so many times; never in the calm.
    pub(crate) fn fault(&mut self, times: usize, what: &'static str) -> bool {
        let happens = self.chance.one_in(times) && !self.calm;
        if happens {
            self.count(what);
        }
        happens
    }

    pub(crate) fn at(&mut self, time: Time, action: Action) {
        self.turn += 1;
        self.queue.insert((time.max(self.now), self.turn), action);
    }

    pub(crate) fn after(&mut self, length: Duration, action: Action) {
        self.at(self.now + length, action);
    }

    /// How long something takes on the network or between threads.
    pub(crate) fn delay(&mut self) -> Duration {
        match self.calm {
            true => self.chance.micros(300),
            false if self.chance.one_in(25) => self.chance.millis(150),
            false => self.chance.micros(2500),
        }
    }

    // ── running ──────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn begin(&mut self) {
        for server in 0..self.specs.len() {
            if let Some(at) = self.specs[server].turns_at {
                self.at(at, Action::Turn(server));
            }
        }
        for worker in 0..self.workers.len() {
            self.settle(worker);
        }
    }

    pub(crate) fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            let tick = self.ticks.iter().enumerate().map(|(w, t)| (t.1, w)).min();
            let (tick, worker) = tick.expect("there are workers");
            let next = self.queue.keys().next().map_or(Time::NEVER, |key| key.0);
            if tick.min(next) > end {
                break;
            }
            self.steps += 1;
            assert!(self.steps < 400_000, "the world does not come to rest");
            if tick < next {
                self.now = tick.max(self.now);
                self.note(format_args!("w{worker} tick"));
                self.handle(worker, Input::Tick);
            } else if let Some(((time, _), action)) = self.queue.pop_first() {
                self.now = time;
                self.act(action);
            }
        }
        self.now = end;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::In(place) => self.move_in(place),
            Action::Out(place) => self.move_out(place),
            Action::Connect(place, outcome) => self.connect(place, outcome),
            Action::Fail((w, id)) => {
                if self.wires[w].remove(&id).is_some() {
                    self.handle(w, Input::Failed(id, "connection reset".into()));
                }
            }
            Action::Parcel(w, parcel) => {
                self.note(format_args!("w{w} parcel {}", short(&parcel)));
                self.handle(w, Input::Parcel(parcel));
            }
            Action::Bounce(w, to, parcel) => {
                self.note(format_args!("w{w} bounced {}", short(&parcel)));
                self.handle(w, Input::Bounced(to, parcel));
            }
            Action::Table(w, table) => {
                self.note(format_args!("w{w} table"));
                self.handle(w, Input::Table(table));
            }
            Action::Directory => self.build_table(),
            Action::Ops((w, id)) => {
                let answer = OpsAnswer {
                    status: 200,
                    content_type: "text/plain",
                    body: b"well".to_vec(),
                };
                if self.wires[w].contains_key(&id) {
                    self.handle(w, Input::OpsAnswer(id, answer));
                }
            }
            Action::Drain(w) => {
                self.note(format_args!("w{w} drain"));
                self.handle(w, Input::Drain);
            }
            Action::Client(client, deed) => self.client_does(client, deed),
            Action::Caller(caller, step) => self.caller_does(caller, step),
            Action::Brain(brain, doing) => self.brain_does(brain, doing),
            Action::Turn(server) => self.turn(server),
        }
    }

    pub(crate) fn handle(&mut self, w: usize, input: Input<'_>) {
        if self.plant == Some(Plant::Panic) && self.now > Time::from_micros(900_000) {
            panic!("planted");
        }
        self.workers[w].handle(self.now, input);
        self.settle(w);
    }

    /// Does what a worker wants done, and notes when it wants to be woken.
    pub(crate) fn settle(&mut self, w: usize) {
        while let Some(effect) = self.workers[w].poll() {
            self.carry(w, effect);
        }
        let deadline = self.workers[w].deadline();
        if deadline != self.ticks[w].0 {
            let late = match self.chance.one_in(3) {
                true => self.chance.millis(30),
                false => Duration::ZERO,
            };
            let at = deadline.map_or(Time::NEVER, |deadline| (deadline + late).max(self.now));
            self.ticks[w] = (deadline, at);
        } else if let Some(deadline) = deadline {
            self.ticks[w].1 = self.ticks[w].1.max(deadline).max(self.now);
        }
    }

    fn carry(&mut self, w: usize, effect: Effect) {
        match effect {
            Effect::Flush(id) => self.schedule_out((w, id)),
            Effect::Pause(id) => {
                if let Some(wire) = self.wires[w].get_mut(&id) {
                    wire.paused = true;
                    self.count("client paused");
                }
            }
            Effect::Resume(id) => {
                if let Some(wire) = self.wires[w].get_mut(&id) {
                    wire.paused = false;
                    self.schedule_in((w, id));
                }
            }
            Effect::Connect(id, server) => self.dial((w, id), &server.name),
            Effect::Spawn(id, server) => self.spawn((w, id), &server.name),
            Effect::Close(id, how) => self.close((w, id), how),
            Effect::Post(to, parcel) => self.post(w, to, parcel),
            Effect::Report(report) => {
                let wall = Wall(1_795_000_000_000 + self.now.as_micros() / 1000);
                self.directory.report(self.now, wall, report);
                self.await_table();
            }
            Effect::Ops(id, _) => {
                let delay = self.delay();
                self.after(delay, Action::Ops((w, id)));
            }
            Effect::Event(event) => {
                self.note(format_args!("w{w} event {}", event.name()));
                self.count(event.name());
            }
        }
    }

    // ── between threads ──────────────────────────────────────────────────────────────────────────

    fn post(&mut self, from: usize, to: WorkerId, parcel: Parcel) {
        if !parcel.must_arrive() && self.fault(60, "inbox full") {
            return self.at(self.now, Action::Bounce(from, to, parcel));
        }
        let mut delay = self.delay();
        if self.fault(80, "parcel late") {
            delay += self.chance.millis(700);
        }
        let to = usize::from(to.0);
        assert!(
            to < self.workers.len() && to != from,
            "parcel to worker {to}"
        );
        let earliest = self
            .arrivals
            .get(&(from, to))
            .copied()
            .unwrap_or(Time::ZERO);
        let at = (self.now + delay).max(earliest);
        self.arrivals.insert((from, to), at);
        self.at(at, Action::Parcel(to, parcel));
    }

    fn await_table(&mut self) {
        if let Some(deadline) = self.directory.deadline()
            && !self.directory_due
        {
            self.directory_due = true;
            self.at(deadline, Action::Directory);
        }
    }

    fn build_table(&mut self) {
        self.directory_due = false;
        if let Some((table, _)) = self.directory.poll(self.now) {
            for w in 0..self.workers.len() {
                let mut delay = self.delay();
                if self.fault(6, "table late") {
                    delay += self.chance.millis(900);
                }
                let at = (self.now + delay).max(self.tables_at[w]);
                self.tables_at[w] = at;
                self.at(at, Action::Table(w, table.clone()));
            }
        }
        self.await_table();
    }
}

/// Bytes for a person to read.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace("\r\n", "¶")
        .replace('\n', "⏎")
}

fn short(parcel: &Parcel) -> String {
    let mut text = format!("{parcel:?}");
    let mut end = text.len().min(160);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
