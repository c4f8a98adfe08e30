//! Conversations with servers of the HTTP+SSE transport of 2024-11-05, which is deprecated and in use.
//!
//! ```text
//!   GET ─▶ feed: endpoint, then everything that the server says
//!   POST to the endpoint ─▶ 202, which says no more than that it was taken
//! ```
//!
//! To the rest of the worker such a conversation is like a child: one stream, one owner, reached by parcel; what
//! is asked on it does not say for whom. When the feed is gone, so is the conversation. A server that is
//! configured for streamable HTTP and does not take `initialize` is tried this way (2025-11-25
//! basic/transports, "Backwards Compatibility"), anew whenever its conversation is opened.

use super::effect::Close;
use super::forward::{Awaiter, Step};
use super::link::Errand;
use super::slice::post_head;
use super::slots::Ticket;
use super::{Worker, connection_id};
use crate::config::limits::{ANSWER_BYTES_QUOTED, ENDPOINT_TIMEOUT};
use crate::config::{Speaks, Transport};
use crate::event::Event;
use crate::http::Method;
use crate::http::sse::Event as SseEvent;
use crate::id::ConnectionId;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse;
use crate::mcp::discover;
use crate::refusal::Refusal;
use crate::router::directory::Report;
use crate::time::Time;
use crate::upstream::endpoint;
use crate::upstream::key::Key;
use std::sync::Arc;

/// The stream of a conversation with an HTTP+SSE server.
#[derive(Debug)]
pub(super) struct Feed {
    link: ConnectionId,
    /// What a message to the server begins with, once it has said where it wants them.
    head: Option<Arc<[u8]>>,
    /// When it must have said so.
    until: Time,
    /// Why the stream was asked for, if the configuration does not say that there is one.
    reason: Option<Box<str>>,
}

impl Worker {
    /// Whether a conversation of this worker is carried by such a stream.
    pub(super) fn is_fed(&self, key: &Key) -> bool {
        self.partners
            .get(key)
            .is_some_and(|partner| partner.feed.is_some())
    }

    /// What a message begins with in a conversation that is carried so.
    pub(super) fn feed_head(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.partners.get(key)?.feed.as_ref()?.head.clone()
    }

    // ── opening ──────────────────────────────────────────────────────────────────────────────────

    /// Asks for the stream.
    pub(super) fn open_feed(&mut self, key: &Key, reason: Option<Box<str>>) {
        let until = self.now + ENDPOINT_TIMEOUT;
        self.wake_at(until);
        let link = self.connect(key.server, false);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let epoch = partner.epoch;
        partner.feed = Some(Feed {
            link,
            head: None,
            until,
            reason,
        });
        let errand = Errand::Feed {
            key: Arc::new(key.clone()),
            epoch,
        };
        self.put_bodiless(link, Method::Get, key, None, None, errand);
    }

    /// Tries HTTP+SSE with a server that did not take `initialize`, if that may be why; whether it does.
    pub(super) fn tries_feed(
        &mut self,
        pending: Ticket,
        key: &Arc<Key>,
        status: u16,
        body: &[u8],
    ) -> bool {
        let introduces = self.pendings.get(pending).is_some_and(|asked| {
            asked.key == **key && matches!(asked.awaiter, Awaiter::Step(Step::Initialize, _))
        });
        if !introduces || !matches!(status, 400 | 404 | 405) {
            return false;
        }
        let error = match Envelope::parse(body).map(|envelope| envelope.kind) {
            Ok(Kind::Error { error, .. }) => Some(error),
            _ => None,
        };
        if error.is_some_and(|error| discover::is_modern_error(body, error)) {
            return false;
        }
        let message = error
            .and_then(|error| parse::member(body, error, "message"))
            .and_then(|message| parse::string(body, message));
        let reason = match message {
            Some(message) => format!("it refused initialize: {message}"),
            None => {
                let quoted = self.redactor.quote(body, ANSWER_BYTES_QUOTED);
                let reason = format!("it answered initialize with HTTP {status}: {quoted}");
                reason.trim_end_matches([':', ' ']).to_string()
            }
        };
        self.pendings.remove(pending);
        self.open_feed(key, Some(reason.into()));
        true
    }

    /// Whether that opening of a conversation is still the one that goes on, and how far its stream has come.
    fn feed_in(&mut self, key: &Key, epoch: u32) -> Option<&mut Feed> {
        let partner = self.partners.get_mut(key)?;
        partner.feed.as_mut().filter(|_| partner.epoch == epoch)
    }

    /// The server answered with something else than a stream.
    pub(super) fn feed_refused(&mut self, key: &Key, epoch: u32, status: u16) {
        let cause = match status {
            401 | 403 => format!(
                "it answered HTTP {status} to the request for its event stream: check the headers configured for it"
            ),
            404 | 405 => format!(
                "it answered HTTP {status} to the request for its event stream; it may speak streamable HTTP \
                 (transport = \"http\")"
            ),
            200..300 => "it answered the request for its event stream with something else".into(),
            _ => format!("it answered HTTP {status} to the request for its event stream"),
        };
        self.feed_lost(key, epoch, &cause);
    }

    /// The stream is gone, or never came.
    pub(super) fn feed_lost(&mut self, key: &Key, epoch: u32, cause: &str) {
        let Some(feed) = self.feed_in(key, epoch) else {
            return;
        };
        // If this was a last resort, what went before it is what the operator can do something about.
        let reason = feed.reason.take().filter(|_| feed.head.is_none());
        let cause = match reason {
            Some(reason) => format!("{reason}; nor does it speak HTTP+SSE there"),
            None => cause.to_string(),
        };
        self.conversation_failed(key, &cause);
    }

    /// Gives up on servers that do not say where they want messages; when the next one's time is over.
    pub(super) fn sweep_feeds(&mut self) -> Time {
        let mut next = Time::NEVER;
        let opening = self.partners.iter().filter_map(|(key, partner)| {
            let feed = partner.feed.as_ref().filter(|feed| feed.head.is_none())?;
            Some((key.clone(), partner.epoch, feed.until))
        });
        let opening: Vec<_> = opening.collect();
        for (key, epoch, until) in opening {
            if until <= self.now {
                let limit = ENDPOINT_TIMEOUT.as_secs();
                let cause = format!("its event stream named no endpoint within {limit} s");
                self.feed_lost(&key, epoch, &cause);
            } else {
                next = next.min(until);
            }
        }
        next
    }

    // ── what arrives ─────────────────────────────────────────────────────────────────────────────

    /// Something came on the stream.
    pub(super) fn feed_event(&mut self, key: &Arc<Key>, epoch: u32, event: &SseEvent<'_>) {
        let Some(feed) = self.feed_in(key, epoch) else {
            return;
        };
        let Some(data) = event.data else { return };
        match (&feed.head, event.kind) {
            (None, Some(b"endpoint")) => self.endpoint_named(key, epoch, data),
            (None, _) if event.is_message() => {
                let cause = "its event stream did not begin with an endpoint";
                self.feed_lost(key, epoch, cause);
            }
            (Some(_), _) if event.is_message() => self.fed(key, data),
            _ => {}
        }
    }

    fn endpoint_named(&mut self, key: &Arc<Key>, epoch: u32, reference: &[u8]) {
        let server = self.table.servers[key.server].clone();
        let Transport::Http(http) = &server.transport else {
            return;
        };
        let path = match endpoint::resolve(http, reference) {
            Ok(path) => path,
            Err(error) => return self.conversation_failed(key, &error.to_string()),
        };
        let head = post_head(http, &path).into();
        if let Some(feed) = self.feed_in(key, epoch) {
            feed.head = Some(head);
            self.initialize(key);
        }
    }

    /// A message of the server.
    fn fed(&mut self, key: &Arc<Key>, data: &[u8]) {
        let Ok(envelope) = Envelope::parse(data) else {
            return;
        };
        match envelope.kind {
            Kind::Result { id, result } => self.child_answered(key, data, id, Ok(result)),
            Kind::Error {
                id: Some(id),
                error,
            } => self.child_answered(key, data, id, Err(error)),
            Kind::Error { id: None, .. } => {
                let server = self.table.servers[key.server].clone();
                self.event(Event::AnswerStray { server });
            }
            Kind::Request { .. } | Kind::Notification { .. } => self.heard(key, &envelope, None),
        }
    }

    /// A message was posted, and the server said whether it took it.
    pub(super) fn post_answered(
        &mut self,
        pending: Option<Ticket>,
        key: &Arc<Key>,
        status: u16,
        body: &[u8],
    ) {
        match (status, pending) {
            (200..300, _) => {}
            (404 | 410, _) => {
                let cause = format!("it has forgotten its event stream (HTTP {status})");
                self.conversation_failed(key, &cause);
            }
            (_, Some(pending)) => {
                let quoted = self.redactor.quote(body, ANSWER_BYTES_QUOTED);
                let cause = format!("it answered HTTP {status}: {quoted}");
                self.post_failed(pending, cause.trim_end_matches([':', ' ']));
            }
            (_, None) => {}
        }
    }

    /// A request was posted, and it cannot be told whether the server took it. Its client waits no longer; what
    /// the server says could still be about it.
    pub(super) fn post_failed(&mut self, ticket: Ticket, cause: &str) {
        let Some(pending) = self.pendings.get(ticket) else {
            return;
        };
        let Awaiter::Client(home) = pending.awaiter else {
            return self.pending_failed(ticket, cause);
        };
        let place = pending.key.server;
        let refusal = Refusal::Failed {
            server: self.table.servers[place].name.clone(),
            cause: cause.into(),
        };
        self.fail_home(home, refusal);
        self.abandon(ticket, "its delivery failed");
    }

    /// Hangs up on a server that does not say whether it took a message. The answer may come all the same.
    pub(super) fn forget_post(&mut self, id: ConnectionId) {
        if let Some(peer) = self.link(id) {
            peer.errand = None;
        }
        self.close(id, Close::Now);
    }

    // ── standing and ending ──────────────────────────────────────────────────────────────────────

    /// Notes which transport a conversation that was just opened has turned out to use.
    pub(super) fn note_transport(&mut self, key: &Key) {
        let Some(partner) = self.partners.get(key) else {
            return;
        };
        let (fed, first) = (partner.feed.is_some(), !partner.has_listed && key.is_base());
        let server = partner.conversation.server.clone();
        if fed {
            self.event(Event::HttpSseUsed {
                server: Some(server),
                first,
            });
        }
        let Transport::Http(http) = &self.table.servers[key.server].transport else {
            return;
        };
        let found = match (http.speaks, fed) {
            (Speaks::Streamable, true) => Speaks::SseAfterAll,
            (Speaks::SseAfterAll, false) => Speaks::Streamable,
            _ => return,
        };
        let server = key.server;
        let report = Report::Speaks {
            server,
            speaks: found,
        };
        self.effects
            .push_back(super::effect::Effect::Report(report));
    }

    /// Lets go of the stream, and of whatever is being posted: the connections, which are to be closed when
    /// nobody waits for them any more.
    pub(super) fn drop_feed(&mut self, key: &Key) -> Vec<ConnectionId> {
        let feed = self
            .partners
            .get_mut(key)
            .and_then(|partner| partner.feed.take());
        let Some(feed) = feed else {
            return Vec::new();
        };
        let mut links = vec![feed.link];
        for ticket in self.wires.tickets() {
            let id = connection_id(ticket);
            if let Some(peer) = self.link(id)
                && matches!(&peer.errand, Some(Errand::Request { key: own, .. }) if **own == *key)
            {
                peer.errand = None;
                links.push(id);
            }
        }
        links
    }
}
