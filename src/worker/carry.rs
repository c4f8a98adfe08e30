//! Carrying out what a client's request came to: answering what needs nobody else, opening and ending
//! sessions and streams, beginning exchanges.

use super::answer::{EVENT_STREAM, JSON, event_bytes, prime};
use super::effect::{Effect, OpsAnswer};
use super::exchange::{Exchange, Sink};
use super::intent::{Intent, Local, LocalAnswer, Note, Opening, Sending};
use super::parcel::{Asker, Parcel};
use super::{Worker, exchange_id, exchange_ticket, wire_id};
use crate::config::limits::CATALOGS_MAX;
use crate::event::{Event, ExchangeEnded, Outcome, RequestAnswered, SessionEnd};
use crate::http::Piece;
use crate::http::write::Field;
use crate::id::{ConnectionId, ExchangeId, Place};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::handshake;
use crate::mcp::listing::Kind;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::session::replay::EventId;
use crate::session::{Resumed, Session};
use crate::upstream::key::Key;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Worker {
    pub(super) fn carry_out(&mut self, id: ConnectionId, intent: Intent) {
        match intent {
            Intent::Reply(reply) => {
                let fields: Vec<Field<'_>> = reply
                    .fields
                    .iter()
                    .map(|(name, value)| (*name, &**value))
                    .collect();
                self.respond(id, reply.status, &fields, &[Piece::Bytes(&reply.body)]);
                if let Some(note) = reply.note {
                    self.event(Event::RequestAnswered(note));
                }
            }
            Intent::Local(local) => self.answer_locally(id, local, None),
            Intent::Welcome(opening) => self.welcome(id, opening),
            Intent::Begin(exchange, sending) => self.begin_exchange(id, *exchange, sending),
            Intent::Note(note, answered) => {
                if let Some(answered) = answered {
                    self.respond(id, 202, &[], &[]);
                    self.event(Event::RequestAnswered(answered));
                }
                self.take_in(note);
            }
            Intent::Stream(session, last, note) => self.open_stream_for(id, session, last, note),
            Intent::Listen(listen) => self.begin_listening(id, *listen),
            Intent::End(session, note) => {
                self.end_session(&session, SessionEnd::Closed);
                self.respond(id, 200, &[], &[]);
                self.event(Event::RequestAnswered(note));
            }
            Intent::Front(principal, note) => self.open_front(id, principal, note),
            Intent::Post(place, text, note) => self.pass_on_post(id, place, text, note),
            Intent::Batch(batched) => self.begin_batch(id, *batched),
            Intent::Ops(request, note) => {
                let Some(client) = self.client(id) else {
                    return;
                };
                client.asked_shell = Some(note);
                self.effects.push_back(Effect::Ops(id, request));
            }
        }
    }

    /// Answers an HTTP request; a page that may read the answer is told so.
    pub(super) fn respond(
        &mut self,
        id: ConnectionId,
        status: u16,
        fields: &[Field<'_>],
        body: &[Piece<'_>],
    ) {
        let (now, date) = (self.now, self.date());
        let Some(client) = self.client(id) else {
            return;
        };
        client.exchange = None;
        match client.origin.take() {
            None => client.connection.respond(now, &date, status, fields, body),
            Some(origin) => {
                let mut fields = fields.to_vec();
                fields.extend_from_slice(&for_page(&origin));
                client.connection.respond(now, &date, status, &fields, body);
            }
        }
        self.settle(id);
    }

    pub(super) fn ops_answered(&mut self, id: ConnectionId, answer: OpsAnswer) {
        let fields: [Field<'_>; 2] = [
            ("content-type", answer.content_type.as_bytes()),
            ("cache-control", b"no-store"),
        ];
        let note = self.client(id).and_then(|client| client.asked_shell.take());
        self.respond(id, answer.status, &fields, &[Piece::Bytes(&answer.body)]);
        if let Some(mut note) = note {
            note.status = answer.status;
            self.event(Event::RequestAnswered(note));
        }
    }

    // ── JSON-RPC requests that need nobody else ──────────────────────────────────────────────────

    /// Answers a request; `session` is the one that the answer opens.
    pub(super) fn answer_locally(
        &mut self,
        id: ConnectionId,
        local: Local,
        session: Option<&Session>,
    ) {
        let (before, body, after, outcome, refused): (&[u8], Piece<'_>, &[u8], _, _);
        let error;
        match &local.answer {
            LocalAnswer::Result(result) => {
                (before, body, after) = (b",\"result\":", Piece::Bytes(result), b"}");
                (outcome, refused) = (Outcome::Success, None);
            }
            LocalAnswer::Shared(result) => {
                (before, body, after) = (b",\"result\":", Piece::Shared(result), b"}");
                (outcome, refused) = (Outcome::Success, None);
            }
            LocalAnswer::Refused(refusal) => {
                error = refusal.to_json(local.era);
                (before, body, after) = (b",\"error\":", Piece::Bytes(&error), b"}");
                (outcome, refused) = (Outcome::Refused, Some(refusal));
            }
        }
        let pieces = [
            Piece::Bytes(b"{\"jsonrpc\":\"2.0\",\"id\":"),
            Piece::Bytes(&local.id),
            Piece::Bytes(before),
            body,
            Piece::Bytes(after),
        ];
        let mut status = 0;
        if let Some(front) = self.stdio(id) {
            pieces
                .iter()
                .for_each(|piece| front.outbox.push_piece(*piece));
            front.outbox.push(b"\n");
            self.settle(id);
        } else if self.is_sse_front(id) {
            let message: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.as_bytes())
                .copied()
                .collect();
            self.say_line(id, &message);
        } else {
            status = refused.map_or(200, |refusal| refusal.status(local.era));
            let (retry, session_id);
            let mut fields: Vec<Field<'_>> = Vec::with_capacity(3);
            if let Some(seconds) = refused.and_then(Refusal::retry_after) {
                retry = seconds.to_string();
                fields.push(("retry-after", retry.as_bytes()));
            }
            if let Some(session) = session {
                session_id = session.id.to_string();
                fields.push(("mcp-session-id", session_id.as_bytes()));
            }
            if local.stream_only && status == 200 {
                let message: Vec<u8> = pieces
                    .iter()
                    .flat_map(|piece| piece.as_bytes())
                    .copied()
                    .collect();
                self.begin_event_stream(id, &fields);
                self.stream_bytes(id, &event_bytes(None, &message));
                self.end_event_stream(id);
            } else {
                fields.push(JSON);
                self.respond(id, status, &fields, &pieces);
            }
        }
        let peer = self.client(id).map(|client| client.address);
        self.event(Event::ExchangeEnded(Box::new(ExchangeEnded {
            peer,
            principal: local.principal,
            method: local.method,
            tool: local.tool,
            server: None,
            outcome,
            status,
            took: Duration::ZERO,
            upstream: None,
        })));
    }

    // ── sessions ─────────────────────────────────────────────────────────────────────────────────

    fn welcome(&mut self, id: ConnectionId, opening: Opening) {
        let Opening {
            id: request,
            hello,
            principal,
            stream_only,
        } = opening;
        let mut local = Local {
            id: request,
            method: Method::Initialize,
            tool: None,
            principal: principal.clone(),
            answer: LocalAnswer::Refused(Refusal::Busy("too many sessions are open")),
            era: Era::Legacy,
            stream_only,
        };
        if self.front_session(id).is_some() {
            let fact = "this session is initialized already";
            local.answer = LocalAnswer::Refused(Refusal::Invalid(fact.into()));
            return self.answer_locally(id, local, None);
        }
        let opened = self.sessions.open(
            self.now,
            self.id,
            principal,
            hello.revision,
            hello.capabilities,
        );
        let Some((session, evicted)) = opened else {
            return self.answer_locally(id, local, None);
        };
        if let Some(evicted) = evicted {
            self.event(Event::SessionEnded {
                why: SessionEnd::Evicted,
            });
            self.forget_session(&evicted);
        }
        self.event(Event::SessionOpened);
        let catalog = self.table.catalog(Some(&session.capabilities));
        let welcome = handshake::welcome(
            session.revision,
            catalog.capabilities,
            &catalog.instructions,
        );
        local.answer = LocalAnswer::Result(welcome);
        self.answer_locally(id, local, Some(&session));
        if self.join_front(id, &session) {
            // All there is to say to this client goes the one way.
            let place = Place {
                worker: self.id,
                connection: id,
            };
            session.resume(place, None);
        } else if let Some(client) = self.client(id) {
            client.session = Some(session.clone());
        }
        self.wake_at(self.now + crate::config::limits::SESSION_IDLE_TIMEOUT);
        self.ask_for_lists(&session);
    }

    /// Where a session declared what none before did, has its servers asked what they list for it.
    pub(super) fn ask_for_lists(&mut self, session: &Arc<Session>) {
        let capabilities = session.capabilities.text();
        if &**capabilities == "{}" {
            return;
        }
        if self.declared.len() >= CATALOGS_MAX {
            self.declared
                .retain(|_, session| session.strong_count() > 0);
        }
        if self.declared.len() < CATALOGS_MAX || self.declared.contains_key(capabilities) {
            let session = Arc::downgrade(session);
            self.declared.insert(capabilities.clone(), session);
        }
        let known = self.table.catalogs.get(capabilities);
        let unlisted: Vec<usize> = match known {
            Some(catalog) => catalog.unlisted.clone(),
            None => (0..self.table.servers.len()).collect(),
        };
        for place in unlisted {
            // Only servers that are known to answer: the others will be asked when they do. Those of the modern
            // era list the same for all.
            let modern = self.table.eras[place] == Era::Modern;
            let server = &self.table.servers[place];
            let alike = modern || server.has_one_conversation();
            if alike || self.table.base.unlisted.contains(&place) {
                continue;
            }
            let key = Key::of(
                place,
                server,
                Some(&session.capabilities),
                Some(session.key),
            );
            session.reach_servers();
            let asker = Asker {
                key,
                session: Some(session.clone()),
            };
            self.post(self.owner(&asker.key), Parcel::Open(Box::new(asker)));
        }
    }

    /// Ends a session, if it is still open.
    pub(super) fn end_session(&mut self, session: &Arc<Session>, why: SessionEnd) {
        if self.sessions.close(session) {
            self.event(Event::SessionEnded { why });
            self.forget_session(session);
        }
    }

    /// Has everyone let go of a session that has ended.
    pub(super) fn forget_session(&mut self, session: &Arc<Session>) {
        if let Some(place) = session.stream_place() {
            self.post(place.worker, Parcel::Replaced(place));
        }
        if session.has_reached_servers() {
            let key = session.key;
            self.post_to_all(|| Parcel::Ended(key));
        }
    }

    // ── streams that a client asks for ───────────────────────────────────────────────────────────

    fn open_stream_for(
        &mut self,
        id: ConnectionId,
        session: Arc<Session>,
        last: Option<EventId>,
        note: Box<RequestAnswered>,
    ) {
        let place = Place {
            worker: self.id,
            connection: id,
        };
        let (resumed, replaced) = session.resume(place, last);
        if let Some(replaced) = replaced {
            self.post(replaced.worker, Parcel::Replaced(replaced));
        }
        self.begin_event_stream(id, &[]);
        self.event(Event::RequestAnswered(note));
        let show = |worker: &mut Worker, missed: &[(EventId, Arc<[u8]>)]| {
            for (at, message) in missed {
                worker.stream_bytes(id, &event_bytes(Some(*at), message));
            }
        };
        match resumed {
            Resumed::Fresh(first) => {
                if session.revision.primes_streams() {
                    self.stream_bytes(id, &prime(first));
                }
                self.hold_standing(id, session, first);
            }
            Resumed::Standing { missed, last } => {
                show(self, &missed);
                self.hold_standing(id, session, last);
            }
            Resumed::Exchange { missed, last, home } => {
                show(self, &missed);
                if let Some(client) = self.client(id) {
                    client.relaying = Some(home);
                }
                self.post(home.worker, Parcel::Resumed(home, place, last, session));
            }
            Resumed::Ended { missed } => {
                show(self, &missed);
                self.end_event_stream(id);
            }
        }
    }

    fn hold_standing(&mut self, id: ConnectionId, session: Arc<Session>, shown: EventId) {
        let Some(client) = self.client(id) else {
            return;
        };
        client.shown = shown;
        client.standing = Some(session.clone());
        self.event(Event::StreamOpened);
        // What changed before there was a stream to say so on.
        let catalog = self.table.catalog(Some(&session.capabilities)).clone();
        let outdated = Kind::ALL
            .into_iter()
            .filter(|kind| session.has_outdated(*kind, catalog.digest(*kind)));
        let changed: BTreeSet<Method> = outdated.map(Kind::changed).collect();
        for method in changed {
            let mut message = Vec::new();
            write::notification(&mut message, method.name(), b"");
            self.tell_session(&session, message.into());
        }
    }

    /// A standing stream was replaced by a later one of the same session, or its session has ended.
    pub(super) fn replaced(&mut self, id: ConnectionId) {
        let Some(client) = self.client(id) else {
            return self.event(Event::ParcelStale);
        };
        if client.standing.take().is_some() {
            self.event(Event::StreamClosed);
            self.end_event_stream(id);
        } else {
            self.end_front(id);
        }
    }

    /// Begins to answer with an event stream.
    pub(super) fn begin_event_stream(&mut self, id: ConnectionId, fields: &[Field<'_>]) {
        let (now, date) = (self.now, self.date());
        let Some(client) = self.client(id) else {
            return;
        };
        let origin = client.origin.take();
        let mut all = Vec::with_capacity(fields.len() + 6);
        all.extend_from_slice(fields);
        all.extend_from_slice(&EVENT_STREAM);
        if let Some(origin) = &origin {
            all.extend_from_slice(&for_page(origin));
        }
        client.spoke_at = now;
        client.connection.begin_stream(now, &date, 200, &all);
        self.settle(id);
        self.wake_at(now + crate::config::limits::STREAM_KEEP_ALIVE);
    }

    /// Sends more of an event stream; cuts it if its reader is too slow.
    pub(super) fn stream_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let now = self.now;
        let Some(client) = self.client(id) else {
            return;
        };
        client.spoke_at = now;
        if client.connection.stream(now, bytes).is_err() {
            let bytes = client.connection.outbox().len();
            self.event(Event::StreamCut { bytes });
        }
        self.settle(id);
    }

    /// Ends an event stream.
    pub(super) fn end_event_stream(&mut self, id: ConnectionId) {
        let now = self.now;
        if let Some(client) = self.client(id) {
            client.exchange = None;
            client.relaying = None;
            client.connection.end_stream(now);
            self.settle(id);
        }
    }

    // ── exchanges and notes ──────────────────────────────────────────────────────────────────────

    fn begin_exchange(&mut self, id: ConnectionId, exchange: Exchange, sending: Option<Sending>) {
        self.wake_at(exchange.deadline);
        if exchange.session.is_some() && exchange.stream_or_waits() {
            self.wake_at(self.now + crate::config::limits::STREAM_KEEP_ALIVE);
        }
        let refers = exchange_id(self.exchanges.insert(exchange));
        if let Some(client) = self.client(id).filter(|client| client.sse.is_none()) {
            client.exchange = Some(refers);
        }
        self.send_off(refers, sending);
    }

    /// Sends an exchange's request wherever it goes.
    pub(super) fn send_off(&mut self, id: ExchangeId, sending: Option<Sending>) {
        match sending {
            Some(Sending::Request(key, outgoing)) => self.send(id, key, outgoing),
            Some(Sending::Return(back)) => self.visit(id, back),
            None => {}
        }
    }

    pub(super) fn take_in(&mut self, note: Note) {
        match note {
            Note::Nothing => {}
            Note::Cancel(session, id) => {
                self.post_to_all(|| Parcel::Cancel(session.clone(), id.clone()));
            }
            Note::CancelLine(connection, id) => self.cancel_line(connection, &id),
            Note::RootsChanged(session) => self.post_to_all(|| Parcel::RootsChanged(session.key)),
            Note::Progress(session, ask, text) => {
                if let Some((worker, _)) = self.worker_of(ask) {
                    self.post(worker, Parcel::ClientProgress(session.key, ask, text));
                }
            }
            Note::Answer(session, ask, answer) => {
                // What nobody asked, or was answered before, is not worth a parcel.
                if !session.settle_ask(ask) {
                    return self.event(Event::ParcelStale);
                }
                if let Some((worker, _)) = self.worker_of(ask) {
                    self.post(worker, Parcel::ClientAnswered(session.key, ask, answer));
                }
            }
        }
    }

    /// The client at the other end of a line cancelled its request of that id.
    fn cancel_line(&mut self, connection: ConnectionId, id: &[u8]) {
        if self.stop_listening(connection, id) {
            return;
        }
        let found = self.exchanges.iter().find(|(_, exchange)| {
            exchange.method != Method::Initialize
                && exchange.sink.connection() == Some(connection)
                && *exchange.id == *id
        });
        if let Some((ticket, _)) = found {
            let reason = "cancelled by the client";
            self.give_up(exchange_id(ticket), Refusal::Cancelled, reason);
        }
    }

    fn worker_of(&self, id: u64) -> Option<(crate::id::WorkerId, super::slots::Ticket)> {
        wire_id::unpack(id).filter(|(worker, _)| usize::from(worker.0) < self.workers)
    }

    /// A client cancelled its request: whichever of ours that is ends without an answer that counts.
    pub(super) fn cancel(&mut self, session: &Arc<Session>, id: &[u8]) {
        // Most come too late, and then nobody else's are looked at. An index would be kept by every call for this.
        if !session.has_exchanges() {
            return;
        }
        let found = self.exchanges.iter().find(|(_, exchange)| {
            *exchange.id == *id
                && exchange
                    .session
                    .as_ref()
                    .is_some_and(|owner| owner.key == session.key)
        });
        if let Some((ticket, exchange)) = found
            && exchange.method != Method::Initialize
        {
            self.give_up(
                exchange_id(ticket),
                Refusal::Cancelled,
                "cancelled by the client",
            );
        }
    }

    /// Whether an exchange is still there.
    pub(super) fn exchange(&mut self, id: crate::id::ExchangeId) -> Option<&mut Exchange> {
        self.exchanges.get_mut(exchange_ticket(id))
    }
}

impl Exchange {
    /// Whether comments may have to be sent while it waits.
    fn stream_or_waits(&self) -> bool {
        matches!(
            self.sink,
            Sink::Answer {
                may_stream: true,
                ..
            } | Sink::Stream { .. }
        )
    }
}

/// What lets a page of `origin` read an answer.
fn for_page(origin: &str) -> [Field<'_>; 3] {
    [
        ("access-control-allow-origin", origin.as_bytes()),
        ("access-control-expose-headers", b"mcp-session-id"),
        ("vary", b"origin"),
    ]
}
