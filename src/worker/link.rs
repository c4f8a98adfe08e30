//! Connections to HTTP servers: what each is used for, and what came of it.

use super::effect::Effect;
use super::forward::Waiter;
use super::letter::Letter;
use super::parcel::{Opened, Parcel};
use super::peers::{LinkPeer, Peer};
use super::{Worker, slots, ticket, wire_id};
use crate::config::Transport;
use crate::config::limits::{
    ANSWER_BYTES_QUOTED, INITIALIZE_TIMEOUT, STREAM_RETRY_MAX, STREAM_RETRY_MIN,
};
use crate::http::sse::Event as SseEvent;
use crate::http::write;
use crate::id::ConnectionId;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse;
use crate::time::Time;
use crate::upstream::key::Key;
use crate::upstream::link::{Arrival, Link, Opening};
use crate::upstream::pool::Lease;
use std::sync::Arc;
use std::time::Duration;

/// What a connection to a server is used for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// A request, whose answer is due.
    Request {
        pending: slots::Ticket,
        key: Arc<Key>,
    },
    /// A message that wants no answer, and how often it was lost on its way.
    Tell {
        key: Arc<Key>,
        message: Arc<[u8]>,
        lost: u8,
    },
    /// `notifications/initialized`: the conversation is open once it was taken.
    Confirm { key: Arc<Key>, epoch: u32 },
    /// The server's standing stream.
    Listen { key: Arc<Key> },
    /// The stream of an HTTP+SSE server, in that opening of its conversation.
    Feed { key: Arc<Key>, epoch: u32 },
    /// The rest of a request's stream that broke.
    Catch {
        pending: slots::Ticket,
        key: Arc<Key>,
    },
    /// The end of the conversation.
    Farewell,
}

/// How far an errand has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) opening: Option<Opening>,
    /// The last event's id, to come back with.
    pub(super) last_event: Option<Vec<u8>>,
    /// How long the server wants us to wait before that.
    pub(super) retry: Option<Duration>,
    pub(super) answered: bool,
    /// The server has asked something, which a person may have to answer.
    pub(super) asked: bool,
    pub(super) done: bool,
}

/// A broken stream that will be asked for again.
#[derive(Debug)]
pub(super) struct Catching {
    pub(super) at: Time,
    pub(super) pending: slots::Ticket,
    pub(super) key: Arc<Key>,
    /// The server's session that the stream is of: event ids mean nothing in another.
    pub(super) opened: Arc<Opened>,
    pub(super) last_event: Vec<u8>,
}

impl Worker {
    // ── sending ──────────────────────────────────────────────────────────────────────────────────

    /// Opens a connection to a server; it may be written to at once.
    pub(super) fn open_link(&mut self, server: usize) -> ConnectionId {
        self.connect(server, true)
    }

    pub(super) fn connect(&mut self, server: usize, pooled: bool) -> ConnectionId {
        let peer = LinkPeer {
            link: Link::default(),
            server,
            pooled,
            connected: false,
            until: Time::NEVER,
            errand: None,
            progress: Progress::default(),
        };
        let id = self.plug(Peer::Link(Box::new(peer)));
        self.effects
            .push_back(Effect::Connect(id, self.table.servers[server].clone()));
        id
    }

    /// Sends something to a server as soon as a connection is free.
    pub(super) fn run_errand(&mut self, errand: Errand, letter: Letter) {
        let Some(server) = errand.key().map(|key| key.server) else {
            return;
        };
        // What waited for a connection may have lost its meaning meanwhile.
        let wanted = match &errand {
            Errand::Request { pending, key } => match self.pendings.get(*pending) {
                Some(waiting) if waiting.epoch == self.epoch(key) => true,
                Some(_) => {
                    let cause = "it has forgotten the session before this was sent";
                    return self.pending_failed(*pending, cause);
                }
                None => false,
            },
            Errand::Tell { key, .. } => {
                let slice = self.slices.get(&**key);
                slice.is_some_and(|slice| !slice.head.is_empty())
            }
            Errand::Confirm { key, epoch } => self.epoch(key) == Some(*epoch),
            _ => true,
        };
        if !wanted {
            return;
        }
        match self.pools[server].lease() {
            Lease::Idle(link) => self.put_on(link, errand, &letter),
            Lease::New => {
                let link = self.open_link(server);
                self.put_on(link, errand, &letter);
            }
            // An answer or a cancellation may be what those wait for that hold every connection: it takes one
            // of its own. There are no more of them than requests in flight, which are bounded.
            Lease::Full if matches!(errand, Errand::Tell { .. }) => {
                let link = self.connect(server, false);
                self.put_on(link, errand, &letter);
            }
            Lease::Full => self.pools[server].wait(Waiter::Errand(Box::new((errand, letter)))),
        }
    }

    /// Sends a message that wants no answer.
    pub(super) fn tell(&mut self, key: Arc<Key>, message: Arc<[u8]>, lost: u8) {
        let letter = Letter::plain(message.to_vec());
        self.run_errand(Errand::Tell { key, message, lost }, letter);
    }

    /// Sends a message on a connection that is free.
    pub(super) fn put_on(&mut self, id: ConnectionId, errand: Errand, letter: &Letter) {
        let Some(key) = errand.key().cloned() else {
            return;
        };
        let confirmed = match &errand {
            // The session is named before the slice may be used for anything else, and however it stands.
            Errand::Confirm { .. } => self.partners.get(&*key).and_then(|p| p.opened.clone()),
            _ => None,
        };
        let head = match (self.feed_head(&key), confirmed, self.slices.get(&*key)) {
            (Some(head), _, _) => head,
            (None, Some(opened), _) => self.request_head(key.server, &opened),
            (None, None, Some(slice)) if !slice.head.is_empty() => slice.head.clone(),
            _ => self.bare_head(key.server),
        };
        let until = self.errand_until(&errand);
        let Some(peer) = self.link(id) else { return };
        peer.until = until;
        peer.link.outbox.push_with(|out| {
            let Letter { fields, body } = letter;
            out.reserve(head.len() + fields.len() + body.len() + 32);
            out.extend_from_slice(&head);
            out.extend_from_slice(fields);
            write::field_number(out, "content-length", body.len() as u64);
            write::end(out);
            out.extend_from_slice(body);
        });
        peer.link.expect();
        let pending = errand.pending();
        peer.errand = Some(errand);
        peer.progress = Progress::default();
        if let Some(pending) = pending {
            self.pendings.put_on(pending, id);
        }
        self.flush(id);
    }

    /// Asks for a stream or ends a session: a request without a body.
    pub(super) fn put_bodiless(
        &mut self,
        id: ConnectionId,
        method: crate::http::Method,
        key: &Key,
        opened: Option<Arc<Opened>>,
        last: Option<&[u8]>,
        errand: Errand,
    ) {
        let server = self.table.servers[key.server].clone();
        let Transport::Http(http) = &server.transport else {
            return;
        };
        let mut head = Vec::new();
        write::request_line(&mut head, method, &http.path);
        write::field(&mut head, "host", http.authority().as_bytes());
        write::field(&mut head, "accept", b"text/event-stream");
        for (name, value) in &http.headers {
            write::field(&mut head, name, value.expose().as_bytes());
        }
        if let Some(opened) = opened {
            if let Some(id) = &opened.session_id {
                write::field(&mut head, "mcp-session-id", id.as_bytes());
            }
            if opened.revision.has_version_header() {
                write::field(
                    &mut head,
                    "mcp-protocol-version",
                    opened.revision.name().as_bytes(),
                );
            }
        }
        if let Some(last) = last {
            write::field(&mut head, "last-event-id", last);
        }
        write::end(&mut head);
        let until = self.errand_until(&errand);
        let Some(peer) = self.link(id) else { return };
        peer.until = until;
        peer.link.outbox.push_owned(head);
        peer.link.expect();
        let pending = errand.pending();
        peer.errand = Some(errand);
        peer.progress = Progress {
            last_event: last.map(<[u8]>::to_vec),
            ..Progress::default()
        };
        if let Some(pending) = pending {
            self.pendings.put_on(pending, id);
        }
        self.flush(id);
    }

    /// Opens the server's standing stream, on a connection beside the pool.
    pub(super) fn listen(&mut self, key: &Key, last: Option<&[u8]>) -> ConnectionId {
        let id = self.connect(key.server, false);
        let errand = Errand::Listen {
            key: Arc::new(key.clone()),
        };
        let opened = self
            .partners
            .get(key)
            .and_then(|partner| partner.opened.clone());
        self.put_bodiless(id, crate::http::Method::Get, key, opened, last, errand);
        id
    }

    /// Ends a session at its server.
    pub(super) fn say_farewell(&mut self, key: &Key, opened: Arc<Opened>) {
        let id = self.connect(key.server, false);
        let delete = crate::http::Method::Delete;
        self.put_bodiless(id, delete, key, Some(opened), None, Errand::Farewell);
    }

    /// Asks for the rest of a stream that broke.
    pub(super) fn catch_up(&mut self, catching: Catching) {
        if self.pendings.get(catching.pending).is_none() {
            return;
        }
        let Catching {
            pending,
            key,
            opened,
            last_event,
            ..
        } = catching;
        let id = self.connect(key.server, false);
        let errand = Errand::Catch {
            pending,
            key: key.clone(),
        };
        self.put_bodiless(
            id,
            crate::http::Method::Get,
            &key,
            Some(opened),
            Some(&last_event),
            errand,
        );
    }

    /// When an errand is given up that nothing else has an eye on.
    fn errand_until(&mut self, errand: &Errand) -> Time {
        match errand {
            Errand::Tell { .. } | Errand::Confirm { .. } | Errand::Farewell => {
                let until = self.now + INITIALIZE_TIMEOUT;
                self.wake_at(until);
                until
            }
            Errand::Request { key, .. } if self.is_fed(key) => {
                let until = self.now + INITIALIZE_TIMEOUT;
                self.wake_at(until);
                until
            }
            Errand::Request { .. }
            | Errand::Listen { .. }
            | Errand::Feed { .. }
            | Errand::Catch { .. } => Time::NEVER,
        }
    }

    // ── what arrives ─────────────────────────────────────────────────────────────────────────────

    /// A connection that was asked for is open, or a child runs.
    pub(super) fn connected(&mut self, id: ConnectionId) {
        if let Some(peer) = self.link(id) {
            peer.connected = true;
        } else if let Some(child) = self.child(id) {
            let key = child.key.clone();
            self.introduce(&key);
        }
    }

    pub(super) fn read_link(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(wire) = self.wires.get_mut(ticket(id)) else {
            return;
        };
        // What arrives may lead to new requests, but never on this connection before it is back.
        let Peer::Link(mut peer) = std::mem::replace(&mut wire.peer, Peer::Lent) else {
            return;
        };
        let LinkPeer {
            link,
            errand,
            progress,
            ..
        } = &mut *peer;
        let read = link.read(bytes, &mut |arrival| {
            if let Some(errand) = errand {
                self.arrived(errand, progress, arrival);
            }
        });
        let done = std::mem::take(&mut peer.progress.done);
        let asked = std::mem::take(&mut peer.progress.asked);
        match self.wires.get_mut(ticket(id)) {
            Some(wire) => wire.peer = Peer::Link(peer),
            None => return,
        }
        if asked {
            self.stand_alone(id);
        }
        match read {
            Err(error) => self.drop_link(id, &error.to_string()),
            Ok(()) if done => self.link_done(id),
            Ok(()) => {}
        }
    }

    pub(super) fn arrived(
        &mut self,
        errand: &Errand,
        progress: &mut Progress,
        arrival: Arrival<'_>,
    ) {
        match arrival {
            Arrival::Opening(opening) => {
                if let (Errand::Listen { key }, 200..300) = (errand, opening.status) {
                    self.stream_opened(key);
                }
                progress.opening = Some(opening);
            }
            Arrival::Body(body) => {
                if let Some(opening) = progress.opening.take() {
                    progress.answered = true;
                    self.body_arrived(errand, &opening, body);
                }
            }
            Arrival::Event(event) => self.event_arrived(errand, progress, &event),
            Arrival::Done => progress.done = true,
        }
    }

    pub(super) fn body_arrived(&mut self, errand: &Errand, opening: &Opening, body: &[u8]) {
        match errand {
            Errand::Feed { key, epoch } => self.feed_refused(key, *epoch, opening.status),
            Errand::Request { pending, key } if self.is_fed(key) => {
                self.post_answered(Some(*pending), key, opening.status, body);
            }
            Errand::Tell { key, .. } if self.is_fed(key) => {
                self.post_answered(None, key, opening.status, body);
            }
            // The request itself was taken, so that it may have been carried out: it is not sent again.
            Errand::Catch { pending, key } if opening.status == 404 && self.has_session_id(key) => {
                self.report_forgotten(key);
                self.pending_failed(*pending, "it has forgotten the session (HTTP 404)");
            }
            Errand::Request { pending, key } | Errand::Catch { pending, key } => {
                self.answer_arrived(*pending, key, opening, body);
            }
            // It may have failed meanwhile, or be opening once more.
            Errand::Confirm { key, epoch } if self.epoch(key) != Some(*epoch) => {}
            Errand::Confirm { key, .. } if opening.status < 300 => self.confirmed(key),
            Errand::Confirm { key, .. } => {
                let cause = format!(
                    "it answered notifications/initialized with HTTP {}",
                    opening.status
                );
                self.conversation_failed(key, &cause);
            }
            Errand::Tell { key, .. } => {
                if opening.status == 404 && self.has_session_id(key) {
                    self.report_forgotten(key);
                }
            }
            // A server in trouble is asked again. For any other it has no such stream; 404 says the same,
            // since a session that is really forgotten shows with the next request.
            Errand::Listen { key } if opening.status < 500 => self.not_listening(key),
            Errand::Listen { .. } => {}
            Errand::Farewell => {}
        }
    }

    pub(super) fn answer_arrived(
        &mut self,
        pending: slots::Ticket,
        key: &Arc<Key>,
        opening: &Opening,
        body: &[u8],
    ) {
        let wire = wire_id::pack(self.id, pending);
        if opening.status == 404 && self.is_forgotten(pending, key) {
            return self.session_forgotten(pending, key);
        }
        if self.tries_feed(pending, key, opening.status, body) {
            return;
        }
        let probe = self
            .pendings
            .get(pending)
            .is_some_and(|asked| asked.is_probe_of(key));
        let envelope = Envelope::parse_knowing(body, self.said_in(key));
        let envelope = envelope.map(|envelope| envelope.kind);
        // That it is not let in, or that the server is in trouble, says nothing about its era. Anything else that
        // is no answer does: whoever knew the question would have answered it.
        let says_nothing = matches!(opening.status, 401 | 403 | 407 | 408 | 429 | 500..);
        if probe
            && !says_nothing
            && !matches!(envelope, Ok(Kind::Result { .. } | Kind::Error { .. }))
        {
            self.pendings.remove(pending);
            let cause = format!("it answered server/discover with HTTP {}", opening.status);
            return self.not_modern(key, &cause);
        }
        match envelope {
            Ok(Kind::Error { .. }) if probe && says_nothing => {
                let cause = format!("it answered HTTP {}", opening.status);
                self.pending_failed(pending, &cause);
            }
            Ok(Kind::Result { id, result })
                if parse::integer(body, id) == Some(wire) && opening.status < 300 =>
            {
                self.pending_answered(pending, body, id, Ok(result), opening.session_id.as_deref());
            }
            Ok(Kind::Error {
                id: Some(id),
                error,
            }) if parse::integer(body, id) == Some(wire)
                && !self.is_contradicted(pending, opening.status, body, error) =>
            {
                self.pending_answered(pending, body, id, Err(error), None);
            }
            Ok(Kind::Error { error, .. })
                if self.is_contradicted(pending, opening.status, body, error) =>
            {
                self.era_doubted(pending, key);
            }
            // A server that refuses a request before it reads it does not know the id.
            Ok(Kind::Error { error, .. }) => {
                let mut text = Vec::new();
                crate::jsonrpc::write::error(&mut text, b"0", error.of(body));
                let envelope = Envelope::parse(&text);
                if let Ok(Kind::Error {
                    id: Some(id),
                    error,
                }) = envelope.map(|envelope| envelope.kind)
                {
                    self.pending_answered(pending, &text, id, Err(error), None);
                }
            }
            _ => {
                let quoted = self.redactor.quote(body, ANSWER_BYTES_QUOTED);
                let cause = match opening.status {
                    200..300 => format!("its answer is no answer to what was asked: {quoted}"),
                    401 | 403 => format!(
                        "it answered HTTP {}: check the headers configured for it: {quoted}",
                        opening.status
                    ),
                    status => format!("it answered HTTP {status}: {quoted}"),
                };
                self.pending_failed(pending, cause.trim_end_matches([':', ' ']));
            }
        }
    }

    pub(super) fn event_arrived(
        &mut self,
        errand: &Errand,
        progress: &mut Progress,
        event: &SseEvent<'_>,
    ) {
        if let Some(id) = event.id {
            progress.last_event = Some(id.to_vec());
        }
        if let Some(millis) = event.retry {
            progress.retry =
                Some(Duration::from_millis(millis).clamp(STREAM_RETRY_MIN, STREAM_RETRY_MAX));
        }
        if let Errand::Feed { key, epoch } = errand {
            return self.feed_event(key, *epoch, event);
        }
        if !event.is_message() {
            return;
        }
        let (Some(data), Some(key)) = (event.data, errand.key()) else {
            return;
        };
        let Ok(envelope) = Envelope::parse(data) else {
            return;
        };
        let pending = match errand {
            Errand::Request { pending, .. } | Errand::Catch { pending, .. } => Some(*pending),
            _ => None,
        };
        let own =
            |id| pending.filter(|p| parse::integer(data, id) == Some(wire_id::pack(self.id, *p)));
        if matches!(errand, Errand::Listen { .. }) {
            // Some servers give the rest of a broken stream to whichever stream comes next.
            if let Kind::Result { id, .. } | Kind::Error { id: Some(id), .. } = envelope.kind
                && let Some((worker, _)) = parse::integer(data, id).and_then(wire_id::unpack)
                && usize::from(worker.0) < self.workers
            {
                let strayed = Parcel::Strayed(key.clone(), data.to_vec());
                return self.post(worker, strayed);
            }
        }
        match envelope.kind {
            Kind::Result { id, result } => {
                if let Some(pending) = own(id) {
                    progress.answered = true;
                    let session_id = progress.opening.as_ref().and_then(|o| o.session_id.clone());
                    self.pending_answered(pending, data, id, Ok(result), session_id.as_deref());
                }
            }
            Kind::Error {
                id: Some(id),
                error,
            } => {
                if let Some(pending) = own(id) {
                    progress.answered = true;
                    self.pending_answered(pending, data, id, Err(error), None);
                }
            }
            _ => {
                progress.asked |= matches!(envelope.kind, Kind::Request { .. });
                self.heard(key, &envelope, pending);
            }
        }
    }
}

impl Errand {
    /// The request whose answer it brings.
    pub(super) fn pending(&self) -> Option<slots::Ticket> {
        match self {
            Errand::Request { pending, .. } | Errand::Catch { pending, .. } => Some(*pending),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Errand::Request { key, .. }
            | Errand::Tell { key, .. }
            | Errand::Confirm { key, .. }
            | Errand::Listen { key }
            | Errand::Feed { key, .. }
            | Errand::Catch { key, .. } => Some(key),
            Errand::Farewell => None,
        }
    }
}
