//! The conversations that this worker owns, from the first word to the last.
//!
//! ```text
//!   open ─▶ introduce ─▶ (initialize answered) ─▶ confirm ─▶ ready ─▶ lists … ─▶ retire
//!     ▲                                                        │
//!     └──────────── wait ◀────────── failed ◀──────────────────┘
//! ```

use super::Worker;
use super::changes::Changes;
use super::effect::{Close, Effect};
use super::forward::{Awaiter, Pending, Step};
use super::letter::Letter;
use super::link::Errand;
use super::parcel::{self, Asker, Forward, Opened, Outgoing, Parcel, Standing};
use super::peers::{Child, Peer};
use super::probe::Guess;
use super::slots::Ticket;
use super::sse_server::Feed;
use super::tasks::Tasks;
use crate::config::limits::INITIALIZE_TIMEOUT;
use crate::config::{Speaks, Transport};
use crate::event::Event;
use crate::http::Outbox;
use crate::id::{ConnectionId, SessionKey, WorkerId};
use crate::jsonrpc::parse::Span;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::handshake::Introduced;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::router::directory::Report;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::conversation::Conversation;
use crate::upstream::key::Key;
use crate::upstream::lines::Lines;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A conversation, and what carries it.
#[derive(Debug)]
pub(super) struct Partner {
    pub(super) conversation: Conversation,
    /// The child, while there is one.
    pub(super) child: Option<ConnectionId>,
    /// The stream of an HTTP+SSE server, while it is asked for or open.
    pub(super) feed: Option<Feed>,
    /// The session at an HTTP server, while one is open or being confirmed.
    pub(super) opened: Option<Arc<Opened>>,
    /// Requests that wait for it to open.
    pub(super) waiting: VecDeque<Forward>,
    /// What it was asked and has not answered. What exchanges ask of a server on streamable HTTP is not among it:
    /// they do so on connections of their own, and on every worker.
    pub(super) line: Ticket,
    /// The sessions that use it.
    pub(super) sessions: BTreeMap<SessionKey, Arc<Session>>,
    /// The server's standing stream.
    pub(super) listening: Listening,
    /// Workers that want to know how it stands, one bit each.
    pub(super) attached: u64,
    /// How often it was opened.
    pub(super) epoch: u32,
    /// When the opening began that is under way.
    pub(super) opening_since: Time,
    /// Listings in a row that were out of date when they were complete.
    pub(super) lists_skipped: u8,
    /// How often in a row its server forgot the session at once.
    pub(super) forgotten_early: u8,
    /// Whether it ever listed what it offers.
    pub(super) has_listed: bool,
    /// Whether its server's standing stream was ever open in this session.
    pub(super) has_listened: bool,
    /// When it may be used even if its standing stream is not open by then.
    pub(super) ready_at: Option<Time>,
    /// What is known of its server's era before that has answered.
    pub(super) guess: Guess,
    /// How a modern server is listened to.
    pub(super) changes: Changes,
    /// Whose its tasks are.
    pub(super) tasks: Tasks,
    /// When its lists are to be fetched again, after they were not answered.
    pub(super) relist_at: Option<Time>,
}

/// Whether an HTTP server's standing stream is open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// No: not asked for, or the server has none.
    No,
    /// Asked for or open, on this connection.
    On(ConnectionId),
    /// To be asked for again then, from after that event.
    Again(Time, Option<Vec<u8>>),
}

impl Worker {
    // ── opening ──────────────────────────────────────────────────────────────────────────────────

    /// Sees to it that a conversation exists and knows its user.
    pub(super) fn ensure_partner(&mut self, asker: &Asker) -> Result<(), Refusal> {
        if !self.partners.contains_key(&asker.key) {
            if !self.has_room_at(asker.key.server) {
                return Err(Refusal::Busy(
                    "that server has as many conversations as it may have",
                ));
            }
            self.open_conversation(asker.key.clone(), asker.session.as_ref());
        }
        let Some(session) = &asker.session else {
            return Ok(());
        };
        let Some(partner) = self.partners.get_mut(&asker.key) else {
            return Ok(());
        };
        let conversation = &mut partner.conversation;
        let joins = match session.listener {
            _ if session.is_ended() => false,
            Some(_) => conversation.join_listener(session.key),
            None => conversation.join(session.key, session.level()),
        };
        if joins {
            partner.sessions.insert(session.key, session.clone());
            self.uses.add(session.key, &asker.key);
            self.set_level(&asker.key);
        }
        Ok(())
    }

    /// Opens a conversation.
    pub(super) fn open_conversation(&mut self, key: Key, session: Option<&Arc<Session>>) {
        let server = self.table.servers[key.server].clone();
        let seed = self.draw_seed();
        let partner = Partner {
            conversation: Conversation::new(self.now, key.clone(), server, seed),
            child: None,
            feed: None,
            opened: None,
            waiting: VecDeque::new(),
            line: self.pendings.open_line(),
            sessions: session.iter().map(|s| (s.key, (*s).clone())).collect(),
            listening: Listening::No,
            attached: 0,
            epoch: 0,
            opening_since: self.now,
            lists_skipped: 0,
            forgotten_early: 0,
            has_listed: false,
            has_listened: false,
            ready_at: None,
            guess: Guess::default(),
            changes: Changes::default(),
            tasks: Tasks::default(),
            relist_at: None,
        };
        let server = key.server;
        self.partners.insert(key.clone(), partner);
        if let Some(own) = key.session {
            self.uses.add(own, &key);
        }
        self.conversations[server] += 1;
        self.effects
            .push_back(Effect::Report(Report::Conversations { server, change: 1 }));
        self.start(&key);
    }

    /// Starts the child, or asks the HTTP server to open a session.
    pub(super) fn start(&mut self, key: &Key) {
        let now = self.now;
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        partner.conversation.reopen(now);
        partner.opening_since = now;
        partner.has_listened = false;
        if partner.guess == Guess::Refused {
            partner.guess = Guess::Open;
        }
        partner.epoch += 1;
        let server = partner.conversation.server.clone();
        self.wake_at(now + INITIALIZE_TIMEOUT);
        self.event(Event::UpstreamStarting {
            server: server.clone(),
        });
        if key.is_base() {
            self.effects
                .push_back(Effect::Report(Report::Starting { server: key.server }));
        }
        match &server.transport {
            Transport::Stdio(_) => {
                let child = Child {
                    key: key.clone(),
                    lines: Lines::default(),
                    outbox: Outbox::new(),
                };
                let id = self.plug(Peer::Child(Box::new(child)));
                if let Some(partner) = self.partners.get_mut(key) {
                    partner.child = Some(id);
                }
                self.effects.push_back(Effect::Spawn(id, server));
            }
            Transport::Http(http) => {
                // The session that was is not named any more.
                if let Some(slice) = self.slices.get_mut(key) {
                    slice.head = Arc::from([]);
                }
                match http.speaks {
                    Speaks::Sse => self.open_feed(key, None),
                    Speaks::Streamable | Speaks::SseAfterAll => self.introduce(key),
                }
            }
        }
    }

    /// Sends a request that the conversation itself wants answered.
    pub(super) fn ask_for_itself(
        &mut self,
        key: &Key,
        step: Step,
        deadline: Time,
        outgoing: &Outgoing,
    ) {
        self.wake_at(deadline);
        let pending = Pending {
            key: key.clone(),
            epoch: self.epoch(key),
            awaiter: Awaiter::Step(step, deadline),
            session: None,
            subscription: None,
            task: None,
            era: outgoing.era,
        };
        self.ask_server(key, pending, outgoing);
    }

    /// A request of the conversation itself was answered.
    pub(super) fn step_answered(
        &mut self,
        key: &Key,
        step: Step,
        text: &[u8],
        answer: Result<Span, Span>,
        session_id: Option<&str>,
    ) {
        match (step, answer) {
            (Step::Initialize, Ok(result)) => match Introduced::parse(text, result) {
                Ok(introduced) => self.introduced(key, introduced, session_id),
                Err(cause) => self.conversation_failed(key, &cause),
            },
            (Step::Initialize, Err(error)) => self.not_initialized(key, text, error),
            (Step::Probe, answer) => self.probed(key, text, answer),
            (Step::Subscribe(uri), answer) => {
                self.subscribe_answered(key, &uri, answer.map(drop).map_err(drop))
            }
            (Step::Listen, answer) => self.changes_ended(key, answer.map(drop).map_err(drop)),
            (Step::List(kind), Ok(result)) => self.take_list(key, kind, text, result),
            // A server that announces a capability and does not know its list has an empty one.
            (Step::List(_), Err(_)) => {
                if let Some(partner) = self.partners.get_mut(key) {
                    partner.conversation.paged(false);
                }
                self.ask_next_list(key, None);
            }
            (Step::Quiet, _) => {}
        }
    }

    pub(super) fn introduced(
        &mut self,
        key: &Key,
        introduced: Introduced,
        session_id: Option<&str>,
    ) {
        let now = self.now;
        // Whichever question it answered first has settled what it is.
        for ticket in self.requests_in(key, |pending| pending.introduces(key)) {
            self.pendings.remove(ticket);
        }
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let opened = Arc::new(Opened {
            session_id: session_id.map(String::from),
            revision: introduced.revision,
            fed: partner.feed.is_some(),
            epoch: partner.epoch,
            said: introduced.said.clone(),
        });
        partner.opened = Some(opened.clone());
        partner.conversation.introduced = Some(introduced);
        let (era, base) = (opened.revision.era(), Key::base(key.server));
        let listed = !self.table.base.unlisted.contains(&key.server);
        if !key.is_base() && listed && era != self.table.eras[key.server] {
            self.post(self.owner(&base), Parcel::EraFound(Arc::new(base), era));
        }
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let mut message = Vec::new();
        write::notification(&mut message, Method::Initialized.name(), b"");
        match partner.child {
            _ if opened.revision.era() == Era::Modern => {
                self.prepare_slice(key, &opened);
                self.conversation_ready(key);
            }
            Some(_) => {
                self.tell_server(key, message);
                self.conversation_ready(key);
            }
            None => {
                // Requests travel on other connections and could arrive first, so they wait for this.
                self.prepare_slice(key, &opened);
                self.wake_at(now + INITIALIZE_TIMEOUT);
                self.run_errand(
                    Errand::Confirm {
                        key: Arc::new(key.clone()),
                        epoch: opened.epoch,
                    },
                    Letter::plain(message),
                );
            }
        }
    }

    /// A conversation may be used.
    pub(super) fn conversation_ready(&mut self, key: &Key) {
        let now = self.now;
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let Some(introduced) = partner.conversation.introduced.clone() else {
            return;
        };
        let took = now.since(partner.opening_since);
        let (name, version) = (introduced.name.clone(), introduced.version.clone());
        let modern = introduced.revision.era() == Era::Modern;
        partner.conversation.opened(now, introduced);
        let server = partner.conversation.server.clone();
        let is_http = partner.child.is_none() && partner.feed.is_none();
        self.event(Event::UpstreamReady {
            server,
            took,
            name,
            version,
        });
        if key.is_base() {
            self.effects
                .push_back(Effect::Report(Report::Ready { server: key.server }));
        }
        self.note_transport(key);
        self.tell_standing(key);
        let asked = self.dispatch_waiting(key);
        if modern {
            self.relist(key);
            return self.listen_for_changes(key);
        }
        self.ask_for_all(key, &asked);
        self.set_level(key);
        self.relist(key);
        if is_http
            && self
                .partners
                .get(key)
                .is_some_and(|partner| partner.listening == Listening::No)
        {
            let id = self.listen(key, None);
            if let Some(partner) = self.partners.get_mut(key) {
                partner.listening = Listening::On(id);
            }
        }
    }

    /// Sends a request whose answer changes nothing.
    pub(super) fn ask_quietly(&mut self, key: &Key, method: Method, params: &[u8]) {
        let deadline = self.now + INITIALIZE_TIMEOUT;
        let outgoing = Outgoing::own(method, params.to_vec());
        self.ask_for_itself(key, Step::Quiet, deadline, &outgoing);
    }

    // ── ending ───────────────────────────────────────────────────────────────────────────────────

    /// A conversation broke. What is in flight fails with the cause; it is opened again after a wait.
    pub(super) fn conversation_failed(&mut self, key: &Key, cause: &str) {
        let now = self.now;
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let stderr = partner.conversation.stderr.quote(&self.redactor);
        let cause = match stderr.is_empty() {
            true => cause.to_string(),
            false => format!("{cause}; the last lines of its stderr:\n{stderr}"),
        };
        // Clients are told as well, of whom none needs to know what a server may print of its environment.
        let cause = self.redactor.clean(&cause).into_owned();
        let server = partner.conversation.server.clone();
        let wait = partner.conversation.failed(now, &cause);
        self.sever(key, &cause);
        let refused = self
            .partners
            .get(key)
            .and_then(|partner| partner.conversation.unavailable(now))
            .or(self.draining.then(|| cause.clone()));
        if let Some(reason) = refused
            && let Some(partner) = self.partners.get_mut(key)
        {
            for forward in std::mem::take(&mut partner.waiting) {
                self.refuse_forward(&forward, parcel::unavailable(&server.name, &reason));
            }
        }
        self.event(Event::UpstreamFailed {
            server,
            cause: cause.clone(),
            retry_in: Some(wait),
        });
        if key.is_base() {
            self.effects.push_back(Effect::Report(Report::Failed {
                server: key.server,
                cause,
            }));
        }
        self.tell_standing(key);
        self.wake_at(now + wait);
    }

    /// Begins a conversation anew whose server is well, but not who it was. Nobody who asks meanwhile is refused.
    pub(super) fn begin_anew(&mut self, key: &Key, cause: &str) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let server = partner.conversation.server.clone();
        // Nothing more is sent in the one that was open.
        partner.conversation.reopen(self.now);
        self.sever(key, cause);
        self.event(Event::UpstreamReopened { server });
        self.start(key);
        self.tell_standing(key);
    }

    /// Closes what a conversation was held over, and fails what was asked for in it.
    fn sever(&mut self, key: &Key, cause: &str) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let (child, listening) = (
            partner.child.take(),
            std::mem::replace(&mut partner.listening, Listening::No),
        );
        partner.opened = None;
        partner.ready_at = None;
        if let Some(id) = child {
            self.close(id, Close::Now);
        }
        if let Listening::On(id) = listening {
            self.close(id, Close::Now);
        }
        let feed = self.drop_feed(key);
        let asked = self.requests_in(key, |_| true);
        self.fail_pendings(key, asked, cause);
        self.drop_changes(key, cause);
        feed.into_iter().for_each(|id| self.close(id, Close::Now));
    }

    /// Ends a conversation for good.
    pub(super) fn retire(&mut self, key: &Key) {
        self.drop_changes(key, "its session has ended");
        let feed = self.drop_feed(key);
        let asked = self.requests_in(key, |_| true);
        let Some(partner) = self.partners.remove(key) else {
            return;
        };
        for session in partner.sessions.keys().copied().chain(key.session) {
            self.uses.remove(session, key);
        }
        self.conversations[key.server] -= 1;
        self.pendings.close_line(partner.line);
        if let Some(id) = partner.child {
            self.close(id, Close::Now);
        }
        if let Listening::On(id) = partner.listening {
            self.close(id, Close::Now);
        }
        self.fail_pendings(key, asked, "its conversation was ended");
        feed.into_iter().for_each(|id| self.close(id, Close::Now));
        for forward in partner.waiting {
            let refusal =
                parcel::unavailable(&partner.conversation.server.name, "its session has ended");
            self.fail_home(forward.home, refusal);
        }
        if let Some(opened) = partner.opened.filter(|opened| opened.session_id.is_some()) {
            self.say_farewell(key, opened);
        }
        let attached = partner.attached | 1 << self.id.0;
        for worker in (0..self.workers).filter(|worker| attached >> worker & 1 == 1) {
            self.post(
                WorkerId(worker as u8),
                Parcel::Opened(Arc::new(key.clone()), Standing::Ended),
            );
        }
        let server = key.server;
        self.effects
            .push_back(Effect::Report(Report::Conversations { server, change: -1 }));
        self.event(Event::UpstreamRetired {
            server: partner.conversation.server,
        });
    }

    fn fail_pendings(&mut self, key: &Key, asked: Vec<Ticket>, cause: &str) {
        for ticket in asked {
            // A step's failure is the conversation's, which is what is being dealt with. What a connection
            // of its own carries to an HTTP server may still be answered on that.
            match self.pendings.get(ticket).map(|pending| &pending.awaiter) {
                Some(Awaiter::Client(_)) if self.link_of(ticket).is_some() => {}
                Some(Awaiter::Client(_)) => self.pending_failed(ticket, cause),
                _ => {
                    self.pendings.remove(ticket);
                }
            }
        }
        self.drop_asks(key);
    }
}

impl Partner {
    pub(super) fn standing(&self, now: Time) -> Standing {
        match &self.opened {
            Some(opened) if self.conversation.is_open() => Standing::Open(opened.clone()),
            _ => match self.conversation.unavailable(now) {
                Some(reason) => Standing::Down(reason.into()),
                None => Standing::Opening,
            },
        }
    }
}

pub(super) fn uri_params(uri: &str) -> Vec<u8> {
    let mut params = b"{\"uri\":".to_vec();
    write::string(&mut params, uri);
    params.push(b'}');
    params
}
