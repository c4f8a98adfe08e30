//! What servers say beside answers: whom it is for, and whether that is certain.
//!
//! What belongs to an exchange goes to that exchange's client. What could be meant for more than one
//! client goes to none.

use super::Worker;
use super::answer::event_bytes;
use super::forward::{Awaiter, Pending};
use super::listener::tells;
use super::parcel::{Parcel, Said};
use super::slots::Ticket;
use super::wire_id;
use crate::config::Transport;
use crate::config::limits::REPLAY_BYTES_MAX;
use crate::event::Event;
use crate::id::{ConnectionId, Home, SessionKey};
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::listen;
use crate::mcp::bridge::task::Naming;
use crate::mcp::method::Method;
use crate::mcp::params::{self, Params};
use crate::session::Session;
use crate::session::replay::EventId;
use crate::upstream::key::Key;
use std::sync::Arc;

/// Whom something is for that a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    /// Who waits for this exchange's answer.
    Exchange(Home),
    /// This session, outside any exchange.
    Session(SessionKey),
    /// It cannot be told.
    Unclear,
}

/// How certain it must be whom something is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It concerns who alone has exchanges in flight, and alone had any lately.
    Likely,
    /// Nobody else can be meant.
    Sure,
}

/// Whose requests a conversation's server is working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InFlight {
    Nobodys,
    /// One session's, or those of callers without a session.
    Ones(Option<SessionKey>),
    Several,
}

impl Worker {
    /// Takes in a request or notification of a server; `pending` is the request on whose stream it came,
    /// if it came on one.
    pub(super) fn heard(&mut self, key: &Key, envelope: &Envelope<'_>, pending: Option<Ticket>) {
        match &envelope.kind {
            Kind::Notification { method } => {
                self.notified(key, Method::parse(method), envelope, pending)
            }
            // Servers of the modern era have no requests of their own.
            Kind::Request { method, .. } if self.era_in(key) == Some(Era::Modern) => {
                self.dropped(
                    key,
                    Method::parse(method),
                    "it is a request, which its era does not have",
                );
            }
            Kind::Request { method, id } => {
                // What a forgotten session still asks must not be answered in the one after it.
                let sent = pending.and_then(|ticket| self.pendings.get(ticket));
                if sent.is_some_and(|sent| sent.epoch != self.epoch(key)) {
                    return;
                }
                let method = Method::parse(method);
                let id = id.of(envelope.text);
                if method == Method::Ping {
                    let mut message = Vec::new();
                    write::result(&mut message, id, b"{}");
                    return self.tell_server(key, message);
                }
                let addressee = self.addressee_of(key, envelope, pending, Certainty::Sure);
                self.ask_client(key, addressee, method, id, envelope);
            }
            Kind::Result { .. } | Kind::Error { .. } => {}
        }
    }

    fn notified(
        &mut self,
        key: &Key,
        method: Method,
        envelope: &Envelope<'_>,
        pending: Option<Ticket>,
    ) {
        let text = envelope.text;
        match method {
            Method::ToolsChanged | Method::PromptsChanged | Method::ResourcesChanged => {
                if self.owner(key) == self.id {
                    self.relist(key);
                } else {
                    self.pass_to_owner(key, text);
                }
            }
            Method::ResourceUpdated => {
                if self.owner(key) == self.id {
                    self.resource_updated(key, envelope);
                } else {
                    self.pass_to_owner(key, text);
                }
            }
            Method::Progress => {
                let Ok(params) = Params::parse(text, envelope.params) else {
                    return;
                };
                let Some(place) = params.progress_token else {
                    return;
                };
                // The token is the id that the request went out with, so it says which exchange is meant,
                // provided that it went to this very server.
                let token = parse::integer(text, place).and_then(wire_id::unpack);
                let home =
                    token
                        .filter(|(worker, _)| *worker == self.id)
                        .and_then(|(_, ticket)| {
                            let pending = self
                                .pendings
                                .get(ticket)
                                .filter(|pending| pending.key == *key)?;
                            if let Awaiter::Client(home) = pending.awaiter {
                                Some(home)
                            } else {
                                None
                            }
                        });
                match home {
                    Some(home) => {
                        self.post(
                            home.worker,
                            Parcel::Said(
                                home.exchange,
                                Box::new(Said::Progress(text.into(), place)),
                            ),
                        );
                    }
                    None if self.owner(key) != self.id => self.pass_to_owner(key, text),
                    None if self.task_progress(key, parse::integer(text, place), text, place) => {}
                    None => self.dropped(key, method, "its token belongs to no exchange in flight"),
                }
            }
            Method::LogMessage => {
                let level = Params::parse(text, envelope.params)
                    .ok()
                    .and_then(|params| params.level);
                let level = level
                    .and_then(|span| params::level(text, span))
                    .unwrap_or(1);
                match self.addressee_of(key, envelope, pending, Certainty::Likely) {
                    Addressee::Exchange(home) => {
                        let said = Said::Log(text.into(), level);
                        self.post(home.worker, Parcel::Said(home.exchange, Box::new(said)));
                    }
                    Addressee::Session(session) => {
                        let session = self.session_of(key, session);
                        // A guest's earlier call may have been another client's.
                        if session
                            .as_ref()
                            .is_some_and(|session| session.host.is_some())
                        {
                            return self.dropped(key, method, "it could be about a call before");
                        }
                        if let Some(session) = session.filter(|s| level >= s.level().unwrap_or(0)) {
                            let message =
                                self.named_for_session(key, &session, text, Naming::Related);
                            self.tell_session(&session, message);
                        }
                    }
                    Addressee::Unclear => {
                        self.dropped(key, method, "it could be for more than one client")
                    }
                }
            }
            Method::TaskStatus | Method::TaskChanged
                if pending.is_none() && self.owner(key) != self.id =>
            {
                self.pass_to_owner(key, text);
            }
            Method::TaskStatus => match self.addressee_on_stream(pending) {
                Some(home) => {
                    let said = Said::Status(text.into());
                    self.post(home.worker, Parcel::Said(home.exchange, Box::new(said)));
                }
                None => self.task_status(key, envelope),
            },
            Method::TaskChanged if self.owner(key) == self.id => self.task_changed(key, envelope),
            Method::TaskChanged => self.pass_to_owner(key, text),
            Method::Cancelled if self.changes_cancelled(key, envelope) => {}
            Method::Cancelled => self.server_cancelled(key, envelope),
            Method::Acknowledged => {
                // The one before may be acknowledged when it has been replaced already.
                let named = listen::subscription_id(text, envelope.params);
                let named = named.and_then(|span| parse::integer(text, span));
                if let Some((_, ticket)) = named.and_then(wire_id::unpack) {
                    let granted = listen::granted(text, envelope.params);
                    self.changes_acknowledged(key, ticket, granted);
                }
            }
            Method::Initialized | Method::RootsChanged => {}
            _ => match self.addressee_of(key, envelope, pending, Certainty::Likely) {
                Addressee::Exchange(home) => {
                    let said = Said::Notification(method, text.into());
                    self.post(home.worker, Parcel::Said(home.exchange, Box::new(said)));
                }
                Addressee::Session(session) => match self.session_of(key, session) {
                    Some(session) => {
                        let message = self.named_for_session(key, &session, text, Naming::Related);
                        self.tell_session(&session, message);
                    }
                    None => self.dropped(key, method, "its session has ended"),
                },
                Addressee::Unclear => {
                    self.dropped(key, method, "it could be for more than one client")
                }
            },
        }
    }

    /// What another worker heard on one of its connections, and what concerns the whole conversation.
    pub(super) fn noted(&mut self, key: &Key, text: &[u8]) {
        if let Ok(envelope) = Envelope::parse(text) {
            self.heard(key, &envelope, None);
        }
    }

    fn pass_to_owner(&mut self, key: &Key, text: &[u8]) {
        self.post(
            self.owner(key),
            Parcel::Noted(Arc::new(key.clone()), text.into()),
        );
    }

    fn resource_updated(&mut self, key: &Key, envelope: &Envelope<'_>) {
        let text = envelope.text;
        let params = Params::parse(text, envelope.params).ok();
        let uri = params
            .and_then(|params| params.uri)
            .and_then(|span| parse::string(text, span));
        let (Some(uri), Some(partner)) = (uri, self.partners.get(key)) else {
            return;
        };
        // A server may name a part of what was subscribed to; then only who is there alone is certain.
        let subscribers = partner.conversation.subscribers(&uri);
        let mut subscribers: Vec<SessionKey> = subscribers.collect();
        if subscribers.is_empty() {
            subscribers.extend(partner.conversation.sole_subscriber(self.now));
        }
        // Which of our own streams it came on is nobody's business.
        // Of a conversation that broke since, the era is not known any more.
        let message: Arc<[u8]> = match self.era_in(key) {
            Some(Era::Legacy) => text.into(),
            _ => listen::untagged(text).into(),
        };
        for session in subscribers {
            if let Some(session) = self.session_of(key, session) {
                self.tell_session(&session, message.clone());
            }
        }
    }

    /// Who waits for the answer on whose stream something came.
    fn addressee_on_stream(&self, pending: Option<Ticket>) -> Option<Home> {
        match self.pendings.get(pending?).map(|pending| &pending.awaiter) {
            Some(Awaiter::Client(home)) => Some(*home),
            _ => None,
        }
    }

    /// Whom a message is for that a server sent: who owns the task in which it came up, if it says so, else whom it
    /// must be for as things are.
    fn addressee_of(
        &self,
        key: &Key,
        envelope: &Envelope<'_>,
        pending: Option<Ticket>,
        certainty: Certainty,
    ) -> Addressee {
        let owner = match pending {
            None => self.owner_of_task(key, envelope),
            Some(_) => None,
        };
        owner.unwrap_or_else(|| self.addressee(key, pending, certainty))
    }

    /// Whom something is for that a server said in a conversation.
    fn addressee(&self, key: &Key, pending: Option<Ticket>, certainty: Certainty) -> Addressee {
        if let Some(ticket) = pending {
            return match self.pendings.get(ticket).map(|pending| &pending.awaiter) {
                Some(Awaiter::Client(home)) => Addressee::Exchange(*home),
                _ => Addressee::Unclear,
            };
        }
        // Requests to an HTTP server are in flight on all workers, and its standing stream is for what
        // belongs to none of them. A server that gave no session id cannot tell its streams apart, either.
        let http = matches!(self.table.servers[key.server].transport, Transport::Http(_));
        if http && !self.is_fed(key) {
            let partner = self.partners.get(key).filter(|partner| {
                let opened = partner.opened.as_ref();
                opened.is_some_and(|opened| opened.session_id.is_some())
            });
            let sole = partner.and_then(|partner| partner.conversation.sole_user(self.now));
            return sole.map_or(Addressee::Unclear, Addressee::Session);
        }
        // A modern server says nothing of a request that it has answered (2026-07-28 server/utilities/logging), and
        // what it was told to give up is still in flight here until it is known to be done with it.
        if self.era_in(key) == Some(Era::Modern) {
            let only = self.only_exchange(key);
            return only.map_or(Addressee::Unclear, |(home, _)| Addressee::Exchange(home));
        }
        let partner = self.partners.get(key);
        // What the server says may be about what another one asked of it a moment ago.
        let serves_only =
            |whose| partner.is_some_and(|p| p.conversation.serves_only(self.now, whose));
        // What a modern client, or one without a session, asked for is told apart only if it is alone.
        if certainty == Certainty::Likely
            && let Some((home, whose)) = self.only_exchange(key)
            && serves_only(whose)
        {
            return Addressee::Exchange(home);
        }
        let sole = match key.session {
            Some(session) => Some(session),
            // What a server asks must be certain: that nobody else has anything in flight is not enough,
            // since another client's earlier exchange may still occupy the server. What it merely tells is
            // given to whom alone it has served for a while.
            None => {
                let sole = partner.and_then(|p| p.conversation.sole_user(self.now));
                let session = match (self.in_flight(key), certainty) {
                    (InFlight::Ones(only), Certainty::Likely) => {
                        only.filter(|only| serves_only(Some(*only)))
                    }
                    (InFlight::Ones(only), Certainty::Sure) => only.filter(|_| only == sole),
                    (InFlight::Nobodys, _) => sole,
                    (InFlight::Several, _) => None,
                };
                let Some(session) = session else {
                    return Addressee::Unclear;
                };
                Some(session)
            }
        };
        // The latest exchange is the likeliest; all of them are the same client's.
        match (self.latest_exchange(key, sole), sole) {
            (Some(home), _) => Addressee::Exchange(home),
            (None, Some(session)) => Addressee::Session(session),
            (None, None) => Addressee::Unclear,
        }
    }

    /// Who waits for the latest request in a conversation that is that session's, or of callers without one.
    pub(super) fn latest_exchange(&self, key: &Key, whose: Option<SessionKey>) -> Option<Home> {
        let waits = |pending: &Pending| match pending.awaiter {
            Awaiter::Client(home) if pending.session == whose => Some(home),
            _ => None,
        };
        let own = self.in_flight_in(key);
        let own = own.filter_map(|(number, _, pending)| Some((number, waits(pending)?)));
        let latest = own.max_by_key(|(number, _)| *number);
        latest.map(|(_, home)| home)
    }

    /// Requests in a conversation that are not answered, each with its number.
    ///
    /// Only in one with a server on streamable HTTP are they looked for among all: they have no line there, since
    /// each comes and goes on a connection of its own, and hardly ever has to be found like this.
    fn in_flight_in(&self, key: &Key) -> impl Iterator<Item = (u64, Ticket, &Pending)> {
        let partner = self.partners.get(key);
        let has_line = self.table.servers[key.server].has_one_stream();
        let line = partner.map(|partner| partner.line).filter(|_| has_line);
        let listed = line.map(|line| self.pendings.in_line(line));
        let walked = (!has_line).then(|| self.pendings.numbered());
        let walked = walked.into_iter().flatten();
        let own = walked.filter(move |(_, _, pending)| pending.key == *key);
        listed.into_iter().flatten().chain(own)
    }

    /// Those of them that are such.
    pub(super) fn requests_in(&self, key: &Key, such: impl Fn(&Pending) -> bool) -> Vec<Ticket> {
        let own = self.in_flight_in(key);
        let own = own.filter(|(_, _, pending)| such(pending));
        own.map(|(_, ticket, _)| ticket).collect()
    }

    /// Who waits for the only request that clients have in flight in a conversation, and whose it is.
    pub(super) fn only_exchange(&self, key: &Key) -> Option<(Home, Option<SessionKey>)> {
        let own = self.in_flight_in(key).map(|(_, _, pending)| pending);
        let mut clients = own.filter(|p| !matches!(p.awaiter, Awaiter::Step(..)));
        let (only, None) = (clients.next()?, clients.next()) else {
            return None;
        };
        match only.awaiter {
            Awaiter::Client(home) => Some((home, only.session)),
            _ => None,
        }
    }

    /// A session that uses a conversation of this worker.
    pub(super) fn session_of(&self, key: &Key, session: SessionKey) -> Option<Arc<Session>> {
        let own = self.partners.get(key)?.sessions.get(&session);
        own.filter(|session| !session.is_ended()).cloned()
    }

    /// Whose requests are in flight in a conversation. Looks no further than to the second one: there may be
    /// thousands, and a server may say something to each.
    pub(super) fn in_flight(&self, key: &Key) -> InFlight {
        let own = self.in_flight_in(key).map(|(_, _, pending)| pending);
        let mut sessions = own
            .filter(|pending| !matches!(pending.awaiter, Awaiter::Step(..)))
            .map(|pending| pending.session);
        match sessions.next() {
            None => InFlight::Nobodys,
            Some(first) if sessions.all(|session| session == first) => InFlight::Ones(first),
            Some(_) => InFlight::Several,
        }
    }

    // ── a session's standing stream ──────────────────────────────────────────────────────────────

    /// Puts a message on a session's standing stream; whether it has one.
    pub(super) fn tell_session(&mut self, session: &Session, message: Arc<[u8]>) -> bool {
        let Some((at, place)) = session.post(&message) else {
            return false;
        };
        if let Some(place) = place {
            self.post(place.worker, Parcel::Show(place, session.key, at, message));
        }
        true
    }

    /// Shows an event on a standing stream of this worker, if it is still that session's.
    pub(super) fn show(
        &mut self,
        id: ConnectionId,
        session: SessionKey,
        at: EventId,
        message: &[u8],
    ) {
        // It is kept until the client knows that it is listened for.
        if self.unheard.contains_key(&session) {
            return;
        }
        let on_line = self.listener_on_line(id, session);
        if let Some(listener) = on_line.as_ref().and_then(|own| own.listener.as_ref()) {
            if tells(listener, message) {
                self.say_line(id, &listen::tagged(message, &listener.id));
            }
            return;
        }
        if let Some(own) = self.front_session(id) {
            if own.key == session {
                self.say_line(id, message);
            }
            return;
        }
        let Some(client) = self.client(id) else {
            return self.event(Event::ParcelStale);
        };
        let (own, shown) = (client.standing.clone(), client.shown);
        let Some(own) = own.filter(|own| own.key == session && shown.stream == at.stream) else {
            return self.event(Event::ParcelStale);
        };
        // Events are numbered where they arise and may overtake each other on their way here. They are
        // shown in the order of their numbers, since a client comes back with the last one that it saw.
        let mut show = |at, message: &[u8]| match &own.listener {
            None => self.stream_bytes(id, &event_bytes(Some(at), message)),
            Some(listener) if tells(listener, message) => {
                let tagged = listen::tagged(message, &listener.id);
                self.stream_bytes(id, &event_bytes(None, &tagged));
            }
            Some(_) => {}
        };
        let due = own.missed(shown);
        let kept = due.iter().any(|(kept, _)| *kept == at);
        for (at, message) in &due {
            show(*at, message);
        }
        let mut last = due.last().map_or(shown, |(at, _)| *at);
        if !kept && at.number > last.number {
            show(at, message);
            last = at;
        } else if !kept && message.len() > REPLAY_BYTES_MAX {
            // Too large to be kept, so it was not shown before; it comes out of order, without a number.
            self.stream_bytes(id, &event_bytes(None, message));
        }
        if let Some(client) = self.client(id) {
            client.shown = last;
        }
    }

    pub(super) fn dropped(&mut self, key: &Key, method: Method, why: &'static str) {
        let server = self.table.servers[key.server].clone();
        self.event(Event::NotificationDropped {
            server,
            method,
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn question_comes_on_the_stream_of_the_latest_call() {
        let mut scene = Scene::new(Era::Legacy);
        let fields = scene.opens_session();
        let calls = |scene: &mut Scene, id: u32| {
            let params = json!({"name": "t", "arguments": {}});
            let call =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            (scene.post(&fields, &call), scene.asked("tools/call"))
        };
        let (_, (child, first)) = calls(&mut scene, 1);
        let (second, _) = calls(&mut scene, 2);
        // The next one's request has the place of the first one's.
        scene.answers(child, &first, &json!({"content": []}));
        let (third, _) = calls(&mut scene, 3);
        scene.elicits(child, 7);
        assert_eq!(scene.heard(second), "");
        let heard = scene.heard(third);
        assert!(heard.contains("elicitation/create"), "{heard}");
    }
}
