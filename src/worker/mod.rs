//! One worker: the whole line from a client's bytes to a server's and back, without touching either.
//!
//! ```text
//!   intake ─▶ message ─▶ carry ─▶ forward ─▶ partner ─▶ letter ─▶ child, link     forward, by value
//!          └▶ modern ─┘    ▲
//!                          └──────── answer ◀─ crossing ◀─ pending, heard ◀─┘    back, by id
//! ```
//!
//! Beside the line, what lasts longer than one message: `partner`, `placing` and `probe` (a server's conversation),
//! `users` and `uses` (which sessions use it), `guests`, `lanes` and `lodging`, `parked` and `inquiry` (questions in the
//! middle of a call), `listener`, `followers` and `changes` (who hears of what).
//!
//! This is the only module that knows the line from end to end; each of its files knows one stretch. A
//! worker is told what happened ([`Input`]), asked what it wants done ([`Effect`]) and never waits. All of
//! its state belongs to it alone, but for the sessions, which any worker may look up.

mod abandon;
mod answer;
mod asks;
mod batch;
mod carry;
pub mod census;
mod changes;
mod child;
mod crossing;
pub mod effect;
mod exchange;
mod followers;
mod forward;
mod guests;
mod heard;
mod inquiry;
mod intake;
mod intent;
mod lanes;
mod letter;
mod link;
mod listener;
mod lists;
mod lodging;
mod message;
mod modern;
pub mod parcel;
mod parked;
mod parting;
mod partner;
mod peers;
mod pending;
mod pendings;
mod placing;
mod probe;
#[cfg(test)]
mod scene;
mod shown;
mod slice;
mod slots;
mod sse_front;
mod sse_server;
mod standing;
mod sweep;
mod tasking;
mod tasks;
mod users;
mod uses;
mod wire_id;

use crate::auth::keys::Keys;
use crate::config::Config;
use crate::config::redact::Redactor;
use crate::downstream::gate::Gate;
use crate::event::Event;
use crate::http::{DateClock, HttpDate};
use crate::id::{ConnectionId, ExchangeId, SessionKey, WorkerId};
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::state::Sealer;
use crate::mcp::task::TaskIds;
use crate::router::table::Table;
use crate::session::Session;
use crate::session::store::Store;
use crate::time::{Time, Wall};
use crate::upstream::key::Key;
use crate::upstream::pool::Pool;
use answer::Response;
use asks::Asks;
use batch::Batch;
use effect::{Effect, Input};
use exchange::{Declared, Exchange};
use guests::Guests;
use lanes::Lanes;
use letter::OwnMetas;
use listener::{Listeners, Unheard};
use parcel::{Answered, Parcel};
use partner::Partner;
use peers::Wire;
use pendings::Pendings;
use slice::Slice;
use slots::Slots;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use uses::Uses;

/// What a worker is given when it begins.
pub struct Seat {
    /// Which worker it is.
    pub id: WorkerId,
    /// How many there are.
    pub workers: usize,
    /// What the operator decided.
    pub config: Arc<Config>,
    /// The first table.
    pub table: Arc<Table>,
    /// The sessions of all workers.
    pub sessions: Arc<Store>,
    /// Decides every jitter.
    pub seed: u64,
    /// The wall clock at [`Time::ZERO`].
    pub wall_at_zero: Wall,
}

/// Which of our listeners a client came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// One that serves everything.
    Main,
    /// One that serves health and metrics only.
    Metrics,
}

/// A worker.
pub struct Worker {
    id: WorkerId,
    workers: usize,
    config: Arc<Config>,
    table: Arc<Table>,
    sessions: Arc<Store>,
    gate: Gate,
    /// What knows the secrets that servers were given, for what is quoted of theirs.
    redactor: Redactor,
    keys: Keys,
    seed: u64,
    wall_at_zero: Wall,
    dates: DateClock,
    now: Time,
    wires: Slots<Wire>,
    exchanges: Slots<Exchange>,
    pendings: Pendings,
    asks: Asks,
    batches: Slots<Batch>,
    partners: BTreeMap<Key, Partner>,
    /// Which of those each session uses, or has to itself.
    uses: Uses,
    /// How many of those each server has.
    conversations: Vec<usize>,
    /// Where sessions have to share a conversation with a server, see [`placing`].
    placed: BTreeMap<SessionKey, BTreeMap<usize, Key>>,
    slices: BTreeMap<Key, Slice>,
    /// Which of those each session uses.
    slice_uses: Uses,
    pools: Vec<Pool<forward::Waiter>>,
    request_heads: Vec<Option<Arc<[u8]>>>,
    catchings: Vec<link::Catching>,
    effects: VecDeque<Effect>,
    /// Clients whose next request lies in their buffer already.
    ready: VecDeque<ConnectionId>,
    sweep_at: Time,
    sessions_swept_at: Time,
    catalogs_swept_at: Time,
    /// The table that clients were told of last, while they do not know the present one.
    announced: Option<(Arc<Table>, Time)>,
    /// What sessions of this worker declared, and the one that did so last.
    declared: BTreeMap<Arc<str>, Weak<Session>>,
    draining: bool,
    /// Seals what parked calls give their clients.
    sealer: Sealer,
    /// Ids of tasks, as clients know them.
    task_ids: TaskIds,
    /// What modern requests declared, by how it was written, and whether they understand tasks.
    declarations: BTreeMap<Box<[u8]>, Declared>,
    /// What those declare who declare nothing.
    nothing: ClientCapabilities,
    own_metas: OwnMetas,
    guests: Guests,
    lanes: Lanes,
    /// Of the answers that are kept for parked calls.
    parked_bytes: usize,
    /// Streams on which modern clients listen.
    listeners: Listeners,
    /// Those of them that wait for servers, by their sessions.
    unheard: BTreeMap<SessionKey, Unheard>,
}

impl Worker {
    /// A worker that opens the first conversations of the servers that it owns.
    pub fn new(seat: Seat) -> Worker {
        let servers = seat.table.servers.len();
        let mut worker = Worker {
            id: seat.id,
            workers: seat.workers,
            gate: Gate::new(
                &seat.config.listen,
                &seat.config.hosts,
                &seat.config.origins,
            ),
            redactor: Redactor::new(&seat.config),
            keys: Keys::new(&seat.config.keys),
            seed: seat.seed,
            wall_at_zero: seat.wall_at_zero,
            dates: DateClock::default(),
            now: Time::ZERO,
            wires: Slots::new(u32::MAX),
            exchanges: Slots::new(u32::MAX),
            pendings: Pendings::new(),
            asks: Asks::new(seat.id),
            batches: Slots::new(u32::MAX),
            partners: BTreeMap::new(),
            uses: Uses::default(),
            conversations: vec![0; servers],
            placed: BTreeMap::new(),
            slices: BTreeMap::new(),
            slice_uses: Uses::default(),
            pools: seat
                .table
                .servers
                .iter()
                .map(|server| Pool::new(server.connections))
                .collect(),
            request_heads: vec![None; servers],
            catchings: Vec::new(),
            effects: VecDeque::new(),
            ready: VecDeque::new(),
            sweep_at: Time::NEVER,
            sessions_swept_at: Time::ZERO,
            catalogs_swept_at: Time::ZERO,
            announced: None,
            declared: BTreeMap::new(),
            draining: false,
            sealer: Sealer::new(&seat.sessions.derive("requestState")),
            task_ids: TaskIds::new(&seat.config.keys),
            declarations: BTreeMap::new(),
            nothing: ClientCapabilities::none(),
            own_metas: OwnMetas::default(),
            guests: Guests::default(),
            lanes: Lanes::default(),
            parked_bytes: 0,
            listeners: Listeners::default(),
            unheard: BTreeMap::new(),
            config: seat.config,
            table: seat.table,
            sessions: seat.sessions,
        };
        for place in 0..servers {
            let key = Key::base(place);
            if worker.owner(&key) == worker.id {
                worker.open_conversation(key, None);
            }
        }
        worker
    }

    // ── the surface ──────────────────────────────────────────────────────────────────────────────

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.now = now;
        match input {
            Input::Received(id, bytes) => self.received(id, bytes),
            Input::Wrote(id, count) => self.wrote(id, count),
            Input::Parcel(parcel) => self.unpack(parcel),
            Input::Connected(id) => self.connected(id),
            Input::ConnectFailed(id, cause) => {
                self.lost(id, &format!("it could not be reached: {cause}"))
            }
            Input::Ended(id) => self.ended(id),
            Input::Failed(id, cause) => self.lost(id, &format!("its connection broke: {cause}")),
            Input::Stderr(id, bytes) => self.child_complained(id, bytes),
            Input::Exited(id, how) => self.child_exited(id, &how),
            Input::Bounced(_, parcel) => self.bounced(parcel),
            Input::Table(table) => self.adopt(table),
            Input::OpsAnswer(id, answer) => self.ops_answered(id, answer),
            Input::Tick => self.sweep(),
            Input::Drain => self.begin_drain(),
        }
        while let Some(id) = self.ready.pop_front() {
            self.resume_client(id);
        }
    }

    /// What the worker wants done next.
    pub fn poll(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front()?;
        if let Effect::Flush(id) = effect
            && let Some(wire) = self.wires.get_mut(ticket(id))
        {
            wire.flushing = false;
        }
        Some(effect)
    }

    /// When [`Input::Tick`] is due, if nothing else happens; [`None`] if there is nothing to wait for.
    pub fn deadline(&self) -> Option<Time> {
        (self.sweep_at < Time::NEVER).then_some(self.sweep_at)
    }

    /// Whether nothing is in flight any more.
    pub fn is_drained(&self) -> bool {
        self.exchanges.len() == 0
            && self
                .wires
                .iter()
                .all(|(_, wire)| !wire.peer.has_unsent_answer())
    }

    /// Exchanges in flight.
    pub fn exchanges_in_flight(&self) -> usize {
        self.exchanges.len()
    }

    // ── between workers ──────────────────────────────────────────────────────────────────────────

    /// Gives a parcel to a worker, which may be this one.
    fn post(&mut self, to: WorkerId, parcel: Parcel) {
        if to == self.id {
            self.unpack(parcel);
        } else {
            self.effects.push_back(Effect::Post(to, parcel));
        }
    }

    /// Gives a parcel to every worker, this one included.
    fn post_to_all(&mut self, parcel: impl Fn() -> Parcel) {
        for worker in 0..self.workers {
            self.post(WorkerId(worker as u8), parcel());
        }
    }

    fn unpack(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Forward(forward) => self.admit(*forward),
            Parcel::Open(asker) => self.open_for(*asker),
            Parcel::Answered(answered) => {
                let Answered {
                    exchange,
                    text,
                    id,
                    body,
                    era,
                } = *answered;
                self.answer(exchange, &text, Response { id, body, era });
            }
            Parcel::Failed(exchange, refusal) => self.refuse(exchange, *refusal),
            Parcel::Said(exchange, said) => self.say(exchange, *said),
            Parcel::Abandoned(abandoned) => self.abandon_at_owner(&abandoned),
            Parcel::Attach(asker, from) => self.attach(&asker, from),
            Parcel::Opened(key, standing) => self.slice_told(&key, standing),
            Parcel::Joined(key, user) => self.user_joined(&key, user),
            Parcel::StrangersLeft(key, from) => self.strangers_left(&key, from),
            Parcel::Forgotten(key, epoch) => self.forgotten(&key, epoch),
            Parcel::Unreachable(key, cause) => self.unreachable(&key, &cause),
            Parcel::EraFound(key, era) => self.era_found(&key, era),
            Parcel::Strayed(key, text) => self.strayed(&key, &text),
            Parcel::Noted(key, text) => self.noted(&key, &text),
            Parcel::Cancel(session, id) => self.cancel(&session, &id),
            Parcel::ClientAnswered(session, ask, answer) => {
                self.client_answered(session, ask, &answer)
            }
            Parcel::AskFailed(ask, why) => self.ask_failed(ask, why),
            Parcel::Show(place, session, at, message) => {
                self.show(place.connection, session, at, &message);
            }
            Parcel::Replaced(place) => self.replaced(place.connection),
            Parcel::Resumed(home, place, last, session) => {
                self.resumed(home.exchange, place, last, &session);
            }
            Parcel::Relayed(relayed) => self.relayed(*relayed),
            Parcel::Ended(session) => self.session_ended(session),
            Parcel::SaidToGuest(guest, said) => self.said_to_guest(guest, *said),
            Parcel::Returned(returned) => self.returned(*returned),
            Parcel::Left(call, visitor) => self.left(call, visitor),
            Parcel::Wants(key, level) => self.level_wanted(&key, level),
            Parcel::Follow(follow) => self.follow_for(*follow),
            Parcel::Followed(exchange, granted) => self.heard_of(exchange, &granted),
            Parcel::TaskBegan(began) => self.task_began(*began),
            Parcel::TaskUnwanted(key, id) => self.task_unwanted(&key, &id),
            Parcel::LevelChosen(session, level) => self.level_chosen(session, level),
            Parcel::RootsChanged(session) => self.roots_changed(session),
            Parcel::ClientProgress(session, ask, text) => self.client_progress(session, ask, &text),
            Parcel::Posted(posted) => self.posted(*posted),
            Parcel::Taken(place, refusal) => self.post_taken(place.connection, refusal.as_deref()),
        }
    }

    /// A parcel came back: whoever waits for what it was to bring about is told.
    fn bounced(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Forward(forward) => {
                let busy =
                    crate::refusal::Refusal::Busy("the worker of that server has a full inbox");
                // Not always one of ours: a request may be sent on by a conversation's former owner.
                self.fail_home(forward.home, busy);
            }
            Parcel::Follow(follow) => {
                let busy =
                    crate::refusal::Refusal::Busy("the worker of that server has a full inbox");
                self.fail_home(follow.home, busy);
            }
            Parcel::Posted(posted) => {
                let busy = "the worker of that stream has a full inbox";
                let refusal = crate::refusal::Refusal::Busy(busy);
                self.post_taken(posted.from.connection, Some(&refusal));
            }
            Parcel::Said(_, said) | Parcel::SaidToGuest(_, said) => {
                if let parcel::Said::Request(_, ask) = *said {
                    self.ask_failed(ask, "the worker of that client has a full inbox");
                }
                self.event(Event::ParcelLost);
            }
            _ => self.event(Event::ParcelLost),
        }
    }

    // ── small things ─────────────────────────────────────────────────────────────────────────────

    fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    fn date(&mut self) -> HttpDate {
        let wall = Wall(self.wall_at_zero.0 + self.now.as_micros() / 1000);
        self.dates.at(wall)
    }

    /// Sees to it that the worker is woken then, or soon after.
    fn wake_at(&mut self, deadline: Time) {
        self.sweep_at = self.sweep_at.min(deadline);
    }

    /// A number of its own for every conversation's jitter.
    fn draw_seed(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.seed
    }
}

/// A connection's place in the slab of wires.
fn ticket(id: ConnectionId) -> slots::Ticket {
    (id.slot, id.generation)
}

/// The connection that lives there.
fn connection_id((slot, generation): slots::Ticket) -> ConnectionId {
    ConnectionId { slot, generation }
}

/// An exchange's place in the slab of exchanges.
fn exchange_ticket(id: ExchangeId) -> slots::Ticket {
    (id.slot, id.generation)
}

/// The exchange that lives there.
fn exchange_id((slot, generation): slots::Ticket) -> ExchangeId {
    ExchangeId { slot, generation }
}
