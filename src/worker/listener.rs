//! Modern clients that listen for changes (`subscriptions/listen`).
//!
//! Each such stream has a session of its own, which no client knows of: it is told what a legacy client would be
//! told on its standing stream, and subscribes as that would. What it is told carries the id of the request
//! that began the stream. It ends with its stream.

use super::answer::event_bytes;
use super::intent::Intent;
use super::message::Caller;
use super::parcel::{Asker, Parcel};
use super::{Worker, exchange::Sink};
use crate::config::limits::{LISTENS_MAX, SUBSCRIPTIONS_MAX};
use crate::event::Event;
use crate::id::{ConnectionId, Place, SessionKey};
use crate::jsonrpc::envelope::Envelope;
use crate::mcp::Era;
use crate::mcp::bridge::listen::{self, Filter};
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::params::Params;
use crate::refusal::Refusal;
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
        let acknowledged = listen::acknowledged(&listen.id, &filter);
        let listener = Listener {
            id: listen.id,
            filter,
        };
        let (now, principal) = (self.now, listen.principal);
        let session = self
            .sessions
            .listener(now, principal, listen.capabilities, listener);
        let place = Place {
            worker: self.id,
            connection,
        };
        let (resumed, _) = session.resume(place, None);
        if let Some(front) = self.stdio(connection) {
            front.listeners.push(session.clone());
            self.say_line(connection, &acknowledged);
        } else {
            self.begin_event_stream(connection, &[]);
            if let (Some(client), Resumed::Fresh(first)) = (self.client(connection), resumed) {
                client.shown = first;
                client.standing = Some(session.clone());
            }
            self.event(Event::StreamOpened);
            self.stream_bytes(connection, &event_bytes(None, &acknowledged));
        }
        self.listeners += 1;
        for (place, uri) in followed {
            session.reach_servers();
            let asker = Asker {
                key: Key::base(place),
                session: Some(session.clone()),
            };
            let owner = self.owner(&asker.key);
            self.post(owner, Parcel::Follow(Box::new(asker), uri.into()));
        }
    }

    /// A stream on which a client listened has ended.
    pub(super) fn end_listening(&mut self, session: &Arc<Session>) {
        self.listeners -= 1;
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

    /// To a conversation's owner: this listener wants to hear of a resource.
    pub(super) fn follow_for(&mut self, asker: &Asker, uri: &str) {
        let Some(session) = asker.session.as_ref().filter(|session| !session.is_ended()) else {
            return;
        };
        if self.ensure_partner(asker).is_err() {
            return;
        }
        let Some(partner) = self.partners.get_mut(&asker.key) else {
            return;
        };
        let conversation = &mut partner.conversation;
        // What is subscribed to before it is open, is asked for when it is.
        if conversation.subscribe(session.key, uri) && conversation.is_open() {
            match self.era_in(&asker.key) {
                Some(Era::Modern) => self.listen_for_changes(&asker.key),
                _ => {
                    let params = super::partner::uri_params(uri);
                    let method = crate::mcp::method::Method::ResourcesSubscribe;
                    self.ask_quietly(&asker.key, method, &params);
                }
            }
        }
    }
}
