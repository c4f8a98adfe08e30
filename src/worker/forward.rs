//! Sending exchanges to servers: which conversation carries them, and what waits for it.
//!
//! A child is reached through the worker that owns it. An HTTP server is reached from every worker, over
//! connections of its own; what they need to know of the conversation is kept in a [`Slice`], which the
//! owner keeps up to date.

use super::exchange::Awaits;
use super::intent::Sending;
use super::link::Errand;
use super::parcel::{self, Abandoned, Asker, Forward, Opened, Outgoing, Parcel, Standing};
use super::{Worker, exchange_ticket, slots, wire_id};
use crate::config::limits::{CHILD_BACKLOG_BYTES_MAX, SUBSCRIPTIONS_MAX, UPSTREAM_EXCHANGES_MAX};
use crate::config::{Server, Transport};
use crate::id::{ConnectionId, ExchangeId, Home, SessionKey};
use crate::jsonrpc::parse::Span;
use crate::jsonrpc::write;
use crate::mcp::listing::Kind;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::time::Time;
use crate::upstream::conversation::Key;
use crate::upstream::pool::Lease;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a server may still be busy with an exchange that was given up.
const GHOST_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that we sent to a server and that is not answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: Key,
    pub(super) awaiter: Awaiter,
    /// Whose exchange it is.
    pub(super) session: Option<SessionKey>,
    /// What to take back if the server refuses.
    pub(super) subscription: Option<String>,
}

/// Who waits for the answer.
#[derive(Debug)]
pub(super) enum Awaiter {
    /// A client.
    Client(Home),
    /// The conversation itself.
    Step(Step, Time),
    /// Nobody any more; until then, what the server says could still be about it.
    Ghost(Time),
}

/// What a conversation asks for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `initialize`
    Initialize,
    /// A page of a list.
    List(Kind),
    /// Something whose answer changes nothing.
    Quiet,
}

/// What waits for a connection to an HTTP server.
#[derive(Debug)]
pub(super) enum Waiter {
    /// An exchange.
    Exchange(ExchangeId),
    /// Anything else, ready to be sent.
    Errand(Box<(Errand, Vec<u8>)>),
}

/// What one worker knows of a conversation with an HTTP server.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) standing: Standing,
    /// The head of every request of this conversation, up to its length.
    pub(super) head: Arc<[u8]>,
    turns: VecDeque<ExchangeId>,
    users: BTreeSet<SessionKey>,
}

impl Worker {
    // ── from the exchange's home ─────────────────────────────────────────────────────────────────

    /// Sends an exchange's request on its way.
    pub(super) fn send(&mut self, id: ExchangeId, sending: Sending) {
        let now = self.now;
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        exchange.sent = Some(now);
        let session = exchange.session.clone();
        if let Some(session) = &session {
            session.reach_servers();
        }
        let Sending { key, outgoing } = sending;
        let server = &self.table.servers[key.server];
        let through_owner = match server.transport {
            Transport::Stdio(_) => true,
            // The owner keeps the books of who wants to hear of what.
            Transport::Http(_) => outgoing.subscription.is_some(),
        };
        if through_owner {
            let owner = self.owner(&key);
            let forward = Forward {
                asker: Asker { key, session },
                home,
                outgoing,
            };
            return self.post(owner, Parcel::Forward(Box::new(forward)));
        }
        exchange.awaits = Awaits::Turn {
            server: server.clone(),
            key: Arc::new(key),
            outgoing: Box::new(outgoing),
            resent: false,
        };
        self.take_turn(id);
    }

    /// Sends an exchange to its HTTP server, or queues it until that is possible.
    pub(super) fn take_turn(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let Awaits::Turn { key, server, .. } = &exchange.awaits else {
            return;
        };
        let (key, server) = (key.clone(), server.clone());
        let session = exchange.session.clone();
        self.use_slice(&key, session);
        let Some(slice) = self.slices.get_mut(&key) else {
            return;
        };
        match &slice.standing {
            Standing::Opening => slice.turns.push_back(id),
            Standing::Down(reason) => {
                let refusal = parcel::unavailable(&server.name, reason);
                self.refuse(id, refusal);
            }
            Standing::Open(_) => match self.pools[key.server].lease() {
                Lease::Idle(link) => self.send_on(link, id),
                Lease::New => {
                    let link = self.open_link(key.server);
                    self.send_on(link, id);
                }
                Lease::Full => self.pools[key.server].wait(Waiter::Exchange(id)),
            },
        }
    }

    /// Sees to it that this worker knows of the conversation, and its owner of the session.
    fn use_slice(&mut self, key: &Arc<Key>, session: Option<Arc<crate::session::Session>>) {
        let owner = self.owner(key);
        if !self.slices.contains_key(key) {
            let slice = Slice {
                standing: Standing::Opening,
                head: Arc::from([]),
                turns: VecDeque::new(),
                users: session.iter().map(|session| session.key).collect(),
            };
            self.slices.insert((**key).clone(), slice);
            let asker = Asker {
                key: (**key).clone(),
                session,
            };
            return self.post(owner, Parcel::Attach(Box::new(asker), self.id));
        }
        if let (Some(slice), Some(session)) = (self.slices.get_mut(key), session)
            && slice.users.insert(session.key)
        {
            let asker = Asker {
                key: (**key).clone(),
                session: Some(session),
            };
            self.post(owner, Parcel::Open(Box::new(asker)));
        }
    }

    /// Sends an exchange whose turn it is on a connection that is free.
    fn send_on(&mut self, link: ConnectionId, id: ExchangeId) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return self.link_free(link);
        };
        let Awaits::Turn {
            server,
            key,
            outgoing,
            resent,
        } = std::mem::replace(&mut exchange.awaits, Awaits::Nothing)
        else {
            return self.link_free(link);
        };
        let pending = self.pendings.insert(Pending {
            key: (*key).clone(),
            awaiter: Awaiter::Client(home),
            session: exchange.session.as_ref().map(|session| session.key),
            subscription: None,
        });
        let wire = wire_id::pack(self.id, pending);
        let mut body = Vec::with_capacity(outgoing.params.len() + 80);
        write_request(&mut body, wire, &outgoing);
        exchange.awaits = Awaits::Link {
            server,
            key: key.clone(),
            pending,
            resend: (!resent).then_some(outgoing),
        };
        self.put_on(link, Errand::Request { pending, key }, &body);
    }

    /// The owner of a conversation says how it stands.
    pub(super) fn slice_told(&mut self, key: &Key, standing: Standing) {
        let head = match &standing {
            Standing::Open(opened) => self.request_head(key.server, opened),
            _ => Arc::from([]),
        };
        let Some(slice) = self.slices.get_mut(key) else {
            return;
        };
        slice.standing = standing;
        slice.head = head;
        if matches!(slice.standing, Standing::Opening) {
            return;
        }
        for id in std::mem::take(&mut slice.turns) {
            self.take_turn(id);
        }
    }

    /// Has an exchange that was not carried out wait for its turn once more; whether that is allowed.
    pub(super) fn take_back(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return false;
        };
        match std::mem::replace(&mut exchange.awaits, Awaits::Nothing) {
            Awaits::Link {
                server,
                key,
                pending,
                resend: Some(outgoing),
                ..
            } => {
                exchange.awaits = Awaits::Turn {
                    server,
                    key,
                    outgoing,
                    resent: true,
                };
                self.pendings.remove(pending);
                true
            }
            other => {
                exchange.awaits = other;
                false
            }
        }
    }

    // ── at the conversation's owner ──────────────────────────────────────────────────────────────

    /// Takes in a request for a conversation of this worker.
    pub(super) fn admit(&mut self, forward: Forward) {
        let Forward {
            mut asker,
            home,
            outgoing,
        } = forward;
        if self.must_share(&asker.key) {
            asker.key.session = None;
            let owner = self.owner(&asker.key);
            if owner != self.id {
                return self.post(
                    owner,
                    Parcel::Forward(Box::new(Forward {
                        asker,
                        home,
                        outgoing,
                    })),
                );
            }
        }
        if let Err(refusal) = self.ensure_partner(&asker) {
            return self.fail_home(home, refusal);
        }
        let now = self.now;
        let Some(partner) = self.partners.get_mut(&asker.key) else {
            return;
        };
        let conversation = &mut partner.conversation;
        if let (Some(uri), Some(session)) = (&outgoing.subscription, &asker.session) {
            let session = session.key;
            let must_ask = if outgoing.method == Method::ResourcesSubscribe {
                if conversation.subscriptions_of(session) >= SUBSCRIPTIONS_MAX {
                    let fact = "this session is subscribed to too many resources";
                    return self.fail_home(home, Refusal::Params(fact.into()));
                }
                conversation.subscribe(session, uri)
            } else {
                conversation.unsubscribe(session, uri)
            };
            if !must_ask {
                return self.answer_home(
                    home,
                    b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}",
                    SPAN_OF_ZERO,
                    false,
                );
            }
        }
        if conversation.is_open() {
            let session = asker.session.as_ref().map(|session| session.key);
            return self.dispatch(&asker.key, home, session, outgoing);
        }
        if let Some(reason) = conversation.unavailable(now) {
            let refusal = parcel::unavailable(&conversation.server.name, &reason);
            return self.fail_home(home, refusal);
        }
        if partner.waiting.len() >= UPSTREAM_EXCHANGES_MAX {
            return self.fail_home(
                home,
                Refusal::Busy("too many exchanges wait for that server"),
            );
        }
        partner.waiting.push_back(Forward {
            asker,
            home,
            outgoing,
        });
    }

    /// Sends what waited for a conversation to open.
    pub(super) fn dispatch_waiting(&mut self, key: &Key) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        for forward in std::mem::take(&mut partner.waiting) {
            let session = forward.asker.session.as_ref().map(|session| session.key);
            self.dispatch(key, forward.home, session, forward.outgoing);
        }
    }

    /// Sends a client's request in a conversation that is open.
    fn dispatch(&mut self, key: &Key, home: Home, session: Option<SessionKey>, outgoing: Outgoing) {
        if self.pendings.len() >= wire_id::PLACES.min(2 * UPSTREAM_EXCHANGES_MAX) {
            return self.fail_home(
                home,
                Refusal::Busy("too many requests to servers are in flight"),
            );
        }
        let Some(partner) = self.partners.get(key) else {
            return;
        };
        if let Some(child) = partner.child {
            let unsent = self.child(child).map_or(0, |child| child.outbox.len());
            if unsent + outgoing.params.len() > CHILD_BACKLOG_BYTES_MAX {
                return self.fail_home(home, Refusal::Busy("that server reads too slowly"));
            }
        }
        let pending = Pending {
            key: key.clone(),
            awaiter: Awaiter::Client(home),
            session,
            subscription: outgoing.subscription.clone(),
        };
        self.ask_server(key, pending, &outgoing);
    }

    /// Sends a request to a conversation's server, whoever waits for it.
    pub(super) fn ask_server(&mut self, key: &Key, pending: Pending, outgoing: &Outgoing) {
        let Some(partner) = self.partners.get(key) else {
            return;
        };
        let child = partner.child;
        let ticket = self.pendings.insert(pending);
        let wire = wire_id::pack(self.id, ticket);
        match child {
            Some(id) => {
                if let Some(child) = self.child(id) {
                    child.outbox.push_with(|out| {
                        write_request(out, wire, outgoing);
                        out.push(b'\n');
                    });
                    self.flush(id);
                }
            }
            None => {
                let mut body = Vec::with_capacity(outgoing.params.len() + 80);
                write_request(&mut body, wire, outgoing);
                self.run_errand(
                    Errand::Request {
                        pending: ticket,
                        key: Arc::new(key.clone()),
                    },
                    body,
                );
            }
        }
    }

    pub(super) fn fail_home(&mut self, home: Home, refusal: Refusal) {
        self.post(
            home.worker,
            Parcel::Failed(home.exchange, Box::new(refusal)),
        );
    }

    /// Gives an answer to the worker that waits for it.
    pub(super) fn answer_home(&mut self, home: Home, text: &[u8], id: Span, error: bool) {
        if home.worker == self.id {
            return self.answer(home.exchange, text, id, error);
        }
        let answered = parcel::Answered {
            exchange: home.exchange,
            text: text.to_vec(),
            id,
            error,
        };
        self.post(home.worker, Parcel::Answered(Box::new(answered)));
    }

    // ── giving up ────────────────────────────────────────────────────────────────────────────────

    /// Ends an exchange whose answer nobody waits for any more, and lets its server know.
    pub(super) fn give_up(&mut self, id: ExchangeId, refusal: Refusal, reason: &'static str) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        match &exchange.awaits {
            Awaits::Owner { key, .. } => {
                let abandoned = Abandoned {
                    key: key.clone(),
                    home,
                    reason,
                };
                self.post(
                    self.owner(&abandoned.key),
                    Parcel::Abandoned(Box::new(abandoned)),
                );
            }
            Awaits::Link { pending, .. } => {
                let pending = *pending;
                self.abandon(pending, reason);
            }
            Awaits::Turn { .. } | Awaits::Lists(..) | Awaits::Servers(_) | Awaits::Nothing => {}
        }
        self.refuse(id, refusal);
    }

    pub(super) fn abandon_at_owner(&mut self, abandoned: &Abandoned) {
        if let Some(partner) = self.partners.get_mut(&abandoned.key) {
            partner
                .waiting
                .retain(|forward| forward.home != abandoned.home);
        }
        let found = self.pendings.iter().find(
            |(_, pending)| matches!(pending.awaiter, Awaiter::Client(home) if home == abandoned.home),
        );
        if let Some((ticket, _)) = found {
            self.abandon(ticket, abandoned.reason);
        }
    }

    /// Tells a server that nobody waits for its answer. What it says in the meantime could still be about
    /// that, so the request is remembered for a while.
    fn abandon(&mut self, ticket: slots::Ticket, reason: &str) {
        let until = self.now + GHOST_TIMEOUT;
        let wire = wire_id::pack(self.id, ticket);
        let Some(pending) = self.pendings.get_mut(ticket) else {
            return;
        };
        pending.awaiter = Awaiter::Ghost(until);
        let key = pending.key.clone();
        self.wake_at(until);
        let mut params = b"{\"requestId\":".to_vec();
        write::integer(&mut params, wire);
        params.extend_from_slice(b",\"reason\":");
        write::string(&mut params, reason);
        params.push(b'}');
        let mut message = Vec::new();
        write::notification(&mut message, Method::Cancelled.name(), &params);
        self.tell_server(&key, message);
    }

    /// Sends a message that wants no answer.
    pub(super) fn tell_server(&mut self, key: &Key, message: Vec<u8>) {
        match self.partners.get(key).and_then(|partner| partner.child) {
            Some(id) => {
                if let Some(child) = self.child(id) {
                    child.outbox.push(&super::answer::one_line(&message));
                    child.outbox.push(b"\n");
                    self.flush(id);
                }
            }
            None if matches!(self.table.servers[key.server].transport, Transport::Http(_)) => {
                self.run_errand(
                    Errand::Tell {
                        key: Arc::new(key.clone()),
                    },
                    message,
                );
            }
            None => {}
        }
    }

    /// Has this worker's own errands of a conversation carry its session, before others may use it.
    pub(super) fn prepare_slice(&mut self, key: &Key, opened: &Opened) {
        let head = self.request_head(key.server, opened);
        let slice = self.slices.entry(key.clone()).or_insert_with(|| Slice {
            standing: Standing::Opening,
            head: Arc::from([]),
            turns: VecDeque::new(),
            users: BTreeSet::new(),
        });
        slice.head = head;
    }

    /// Forgets what a session that has ended used here.
    pub(super) fn forget_user(&mut self, session: SessionKey) {
        self.slices.retain(|key, _| key.session != Some(session));
        for slice in self.slices.values_mut() {
            slice.users.remove(&session);
        }
    }

    /// The requests in flight of a conversation: the sessions they are of.
    pub(super) fn sessions_in_flight(&self, key: &Key) -> BTreeSet<Option<SessionKey>> {
        let own = self
            .pendings
            .iter()
            .filter(|(_, pending)| pending.key == *key);
        own.filter(|(_, pending)| !matches!(pending.awaiter, Awaiter::Step(..)))
            .map(|(_, pending)| pending.session)
            .collect()
    }

    /// The head of requests to an HTTP server, up to their length.
    fn request_head(&mut self, place: usize, opened: &Opened) -> Arc<[u8]> {
        let mut head = self.bare_head(place).to_vec();
        if let Some(id) = &opened.session_id {
            crate::http::write::field(&mut head, "mcp-session-id", id.as_bytes());
        }
        if opened.revision.has_version_header() {
            crate::http::write::field(
                &mut head,
                "mcp-protocol-version",
                opened.revision.name().as_bytes(),
            );
        }
        head.into()
    }

    /// The part of it that is the same in every conversation.
    pub(super) fn bare_head(&mut self, place: usize) -> Arc<[u8]> {
        if let Some(head) = &self.request_heads[place] {
            return head.clone();
        }
        let head: Arc<[u8]> = bare_head(&self.table.servers[place]).into();
        self.request_heads[place] = Some(head.clone());
        head
    }
}

/// Where the id stands in an answer that we write in a server's place.
const SPAN_OF_ZERO: Span = Span { start: 22, end: 23 };

/// A request with our id, and our progress token where the client wants progress.
fn write_request(out: &mut Vec<u8>, id: u64, outgoing: &Outgoing) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    write::integer(out, id);
    out.extend_from_slice(br#","method":""#);
    out.extend_from_slice(outgoing.method.name().as_bytes());
    out.push(b'"');
    if !outgoing.params.is_empty() {
        out.extend_from_slice(br#","params":"#);
        let params = &outgoing.params;
        let start = out.len();
        match outgoing.token {
            Some(token) => {
                out.extend_from_slice(&params[..token.start]);
                write::integer(out, id);
                out.extend_from_slice(&params[token.end..]);
            }
            None => out.extend_from_slice(params),
        }
        // One message is one line.
        for byte in &mut out[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    out.push(b'}');
}

fn bare_head(server: &Server) -> Vec<u8> {
    use crate::http::Method;
    use crate::http::write::{field, request_line};
    let mut head = Vec::new();
    if let Transport::Http(http) = &server.transport {
        request_line(&mut head, Method::Post, &http.path);
        field(&mut head, "host", http.authority().as_bytes());
        field(&mut head, "content-type", b"application/json");
        field(&mut head, "accept", b"application/json, text/event-stream");
        for (name, value) in &http.headers {
            field(&mut head, name, value.expose().as_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_of_zero_is_where_the_zero_is() {
        assert_eq!(
            SPAN_OF_ZERO.of(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}"),
            b"0"
        );
    }

    #[test]
    fn request_is_one_line_with_our_id_and_token() {
        let params = b"{\"_meta\":{\"progressToken\":\"mine\"},\r\n \"name\":\"x\"}".to_vec();
        let token = Some(Span { start: 26, end: 32 });
        let outgoing = Outgoing {
            method: Method::ToolsCall,
            params,
            token,
            subscription: None,
        };
        let mut out = Vec::new();
        write_request(&mut out, 77, &outgoing);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"_meta":{"progressToken":77},   "name":"x"}}"#
        );
    }
}
