//! Modern clients that listen for changes (`subscriptions/listen`).
//!
//! Each such stream has a session of its own, which no client knows of: it is told what a legacy client would be
//! told on its standing stream, and subscribes as that would. What it is told carries the id of the request
//! that began the stream. It ends with its stream.

use super::answer::event_bytes;
use super::exchange::{Awaits, Exchange, Sink};
use super::intent::Intent;
use super::message::Caller;
use super::parcel::{Asker, Outgoing, Parcel};
use super::partner::uri_params;
use super::{Worker, exchange_id};
use crate::config::limits::{LISTENS_MAX, SUBSCRIBE_TIMEOUT, SUBSCRIPTIONS_MAX};
use crate::event::Event;
use crate::id::{ConnectionId, ExchangeId, Home, Place, SessionKey};
use crate::jsonrpc::envelope::Envelope;
use crate::mcp::bridge::listen::{self, Filter};
use crate::mcp::capabilities::{ClientCapabilities, TASKS_DECLARED};
use crate::mcp::method::Method;
use crate::mcp::params::Params;
use crate::refusal::Refusal;
use crate::session::replay::EventId;
use crate::session::{Listener, Resumed, Session};
use crate::upstream::conversation::Key;
use std::sync::Arc;

/// A client that wants to listen.
#[derive(Debug)]
pub(super) struct Listen {
    id: Box<[u8]>,
    filter: Filter,
    capabilities: ClientCapabilities,
    principal: Option<Arc<str>>,
}

/// A listener that has not been told yet that it is one: servers are still being asked.
#[derive(Debug)]
pub(super) struct Unheard {
    connection: ConnectionId,
    acknowledged: Vec<u8>,
    waiting: usize,
    last: EventId,
    session: Arc<Session>,
}

impl Worker {
    /// What `subscriptions/listen` comes to.
    pub(super) fn consider_listen(
        &self,
        caller: &Caller,
        envelope: &Envelope<'_>,
        params: &Params,
        id: &[u8],
    ) -> Result<Intent, Refusal> {
        let wanted = params.notifications;
        let wanted = wanted.ok_or_else(|| Refusal::Params("notifications is missing".into()))?;
        let filter = Filter::parse(envelope.text, wanted);
        let filter = filter.map_err(|fact| Refusal::Params(fact.into()))?;
        if filter.uris.len() > SUBSCRIPTIONS_MAX {
            let fact = format!("resourceSubscriptions: more than {SUBSCRIPTIONS_MAX}");
            return Err(Refusal::Params(fact));
        }
        let knows_tasks = caller.declared.as_ref().is_some_and(|it| it.tasks);
        if !filter.task_ids.is_empty() && !knows_tasks {
            return Err(Refusal::CapabilityMissing(TASKS_DECLARED.into()));
        }
        if matches!(
            caller.sink,
            Sink::Answer {
                may_stream: false,
                ..
            }
        ) {
            return Err(Refusal::NotAcceptable);
        }
        if self.listeners >= LISTENS_MAX {
            return Err(Refusal::Busy("too many clients listen for changes"));
        }
        Ok(Intent::Listen(Box::new(Listen {
            id: id.into(),
            filter,
            capabilities: caller
                .capabilities()
                .cloned()
                .unwrap_or(ClientCapabilities::none()),
            principal: caller.principal.clone(),
        })))
    }

    /// Begins to tell a client what it wants to hear of.
    pub(super) fn begin_listening(&mut self, connection: ConnectionId, listen: Listen) {
        let catalog = self.table.catalog(Some(&listen.capabilities)).clone();
        let mut filter = listen.filter.honoured(catalog.capabilities);
        filter.uris.retain(|uri| catalog.owner(uri).is_some());
        let followed: Vec<(usize, String)> = filter
            .uris
            .iter()
            .filter_map(|uri| Some((catalog.owner(uri)?, uri.clone())))
            .collect();
        let principal = listen.principal.as_deref();
        let (tasks, granted) = self.tasks_to_follow(&listen.filter.task_ids, principal);
        filter.task_ids = granted;
        let acknowledged = listen::acknowledged(&listen.id, &filter);
        let listener = Listener {
            id: listen.id,
            filter,
        };
        let (now, principal) = (self.now, listen.principal);
        let session =
            self.sessions
                .listener(now, self.id, principal, listen.capabilities, listener);
        let place = Place {
            worker: self.id,
            connection,
        };
        let (resumed, _) = session.resume(place, None);
        let Resumed::Fresh(first) = resumed else {
            return;
        };
        if let Some(front) = self.stdio(connection) {
            front.listeners.push(session.clone());
        } else {
            self.begin_event_stream(connection, &[]);
            let client = self.client(connection);
            // Whose connection is gone, or cannot stream, does not listen.
            let Some(client) = client.filter(|client| client.connection.is_streaming()) else {
                return self.sessions.dismiss(&session);
            };
            client.shown = first;
            client.standing = Some(session.clone());
            self.event(Event::StreamOpened);
        }
        self.listeners += 1;
        let unheard = Unheard {
            connection,
            acknowledged,
            waiting: followed.len() + tasks.len() + 1,
            last: first,
            session: session.clone(),
        };
        self.unheard.insert(session.key, unheard);
        for (place, uri) in followed {
            self.follow_for(&session, place, uri);
        }
        for (place, ids) in tasks {
            let (id, key) = self.follow_in_name_of(&session, place, Method::Listen);
            let home = Home {
                worker: self.id,
                exchange: id,
            };
            let owner = self.owner(&key);
            let session = Some(session.clone());
            let asker = Box::new(Asker { key, session });
            self.post(owner, Parcel::FollowTasks(asker, ids.into(), home));
        }
        self.followed(session.key);
    }

    /// Subscribes to a resource in a listener's name.
    fn follow_for(&mut self, session: &Arc<Session>, place: usize, uri: String) {
        let (id, key) = self.follow_in_name_of(session, place, Method::ResourcesSubscribe);
        let outgoing = Outgoing {
            subscription: Some(uri.clone()),
            ..Outgoing::own(Method::ResourcesSubscribe, uri_params(&uri))
        };
        self.send_in(id, key, outgoing);
    }

    /// Begins an exchange in a listener's name, whose answer it waits for before it is told anything.
    fn follow_in_name_of(
        &mut self,
        session: &Arc<Session>,
        place: usize,
        method: Method,
    ) -> (ExchangeId, Key) {
        session.reach_servers();
        let server = self.table.servers[place].clone();
        let (now, key) = (self.now, Key::base(place));
        session.begin_exchange(usize::MAX);
        let mut exchange = Exchange::new(now, Sink::Heard, method);
        exchange.session = Some(session.clone());
        exchange.principal = session.principal.clone();
        exchange.deadline = now + server.timeout.min(SUBSCRIBE_TIMEOUT);
        exchange.awaits = Awaits::Owner {
            server,
            key: key.clone(),
        };
        self.wake_at(exchange.deadline);
        (exchange_id(self.exchanges.insert(exchange)), key)
    }

    /// One more of the servers that a listener waits for has answered. After the last, it is told what it is
    /// listened for, and then what has been said since: before that, nothing may be (2026-07-28
    /// basic/utilities/subscriptions).
    pub(super) fn followed(&mut self, session: SessionKey) {
        let Some(unheard) = self.unheard.get_mut(&session) else {
            return;
        };
        unheard.waiting -= 1;
        if unheard.waiting > 0 {
            return;
        }
        let Some(unheard) = self.unheard.remove(&session) else {
            return;
        };
        let Unheard {
            connection,
            acknowledged,
            last,
            session,
            ..
        } = unheard;
        let mut messages = vec![acknowledged];
        let missed = session.missed(last);
        if let Some(listener) = &session.listener {
            let tagged = missed
                .iter()
                .map(|(_, message)| listen::tagged(message, &listener.id));
            messages.extend(tagged);
        }
        for message in messages {
            match self.stdio(connection) {
                Some(_) => self.say_line(connection, &message),
                None => self.stream_bytes(connection, &event_bytes(None, &message)),
            }
        }
        if let (Some(client), Some((at, _))) = (self.client(connection), missed.last()) {
            client.shown = *at;
        }
    }

    /// A stream on which a client listened has ended.
    pub(super) fn end_listening(&mut self, session: &Arc<Session>) {
        self.listeners -= 1;
        self.unheard.remove(&session.key);
        self.sessions.dismiss(session);
        if session.has_reached_servers() {
            let key = session.key;
            self.post_to_all(|| Parcel::Ended(key));
        }
    }

    /// A client on the stdio front does not want to listen any more; whether it did.
    pub(super) fn stop_listening(&mut self, connection: ConnectionId, id: &[u8]) -> bool {
        let Some(front) = self.stdio(connection) else {
            return false;
        };
        let is_it =
            |session: &Arc<Session>| session.listener.as_ref().is_some_and(|l| *l.id == *id);
        let Some(at) = front.listeners.iter().position(is_it) else {
            return false;
        };
        let session = front.listeners.remove(at);
        self.end_listening(&session);
        true
    }

    /// The id of the request with which that session listens on the stdio front, if it does.
    pub(super) fn listener_on_line(
        &mut self,
        connection: ConnectionId,
        session: SessionKey,
    ) -> Option<Box<[u8]>> {
        let listeners = &self.stdio(connection)?.listeners;
        let own = listeners.iter().find(|own| own.key == session)?;
        own.listener.as_ref().map(|listener| listener.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Era;
    use crate::worker::Front;
    use crate::worker::scene::Scene;

    #[test]
    fn client_whose_stream_cannot_begin_does_not_count() {
        let mut scene = Scene::new(Era::Modern);
        let from = ([127, 0, 0, 1], 9).into();
        // Nothing was asked on it, so that nothing can be answered.
        let connection = scene.worker.accept(scene.now, from, Front::Main);
        let listen = Listen {
            id: b"1".as_slice().into(),
            filter: Filter::default(),
            capabilities: ClientCapabilities::none(),
            principal: None,
        };
        scene.worker.begin_listening(connection, listen);
        assert_eq!(scene.worker.listeners, 0);
    }
}
