//! Requests of servers to clients: sampling, elicitation, roots.
//!
//! Each goes out under an id of ours and its answer is taken from no session but the one that was asked.

use super::Worker;
use super::heard::Addressee;
use super::parcel::{ClientAnswer, Parcel, Said};
use super::wire_id;
use crate::config::limits::{CLIENT_REQUEST_TIMEOUT, CLIENT_REQUESTS_MAX};
use crate::event::Event;
use crate::id::SessionKey;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::write;
use crate::mcp::method::{Direction, Kind, Method};
use crate::mcp::params::Params;
use crate::refusal::Refusal;
use crate::time::Time;
use crate::upstream::conversation::Key;

/// A server's request that a client has not answered.
#[derive(Debug)]
pub(super) struct Ask {
    key: Key,
    /// Which opening of the conversation asked: the next one may use the same ids for something else.
    epoch: Option<u32>,
    session: SessionKey,
    /// The server's id, as it is written.
    id: Box<[u8]>,
    /// The server's progress token, as it is written.
    token: Option<Box<[u8]>>,
    method: Method,
    pub(super) until: Time,
}

impl Worker {
    /// Passes a server's request on to the client that it is for, or refuses it.
    pub(super) fn ask_client(
        &mut self,
        key: &Key,
        addressee: Addressee,
        method: Method,
        id: &[u8],
        envelope: &Envelope<'_>,
    ) {
        let to_client = method.direction() == Direction::ToClient && method.kind() == Kind::Request;
        if !to_client {
            return self.refuse_server(
                key,
                id,
                method,
                Refusal::ClientCannot("clients know no such method"),
            );
        }
        let asked = match addressee {
            Addressee::Exchange(home) => self.session_in_flight(key, home),
            Addressee::Session(session) => Some(session),
            Addressee::Unclear => None,
        };
        let Some(session) = asked.and_then(|session| self.session_of(key, session)) else {
            let why = "it cannot be told which client this is for; give each session its own conversation \
                       (share = \"per_session\")";
            return self.refuse_server(key, id, method, Refusal::ClientUnreached(why));
        };
        if !session.capabilities.allows(method) {
            return self.refuse_server(
                key,
                id,
                method,
                Refusal::ClientCannot("the client has not declared this capability"),
            );
        }
        let own = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.session == session.key)
            .count();
        if own >= CLIENT_REQUESTS_MAX {
            return self.refuse_server(
                key,
                id,
                method,
                Refusal::ClientUnreached("the client has too many requests to answer"),
            );
        }
        let text = envelope.text;
        let token = Params::parse(text, envelope.params)
            .ok()
            .and_then(|params| params.modern.token);
        let until = self.now + CLIENT_REQUEST_TIMEOUT;
        self.wake_at(until);
        let wire = wire_id::pack(
            self.id,
            self.asks.insert(Ask {
                key: key.clone(),
                epoch: self.epoch(key),
                session: session.key,
                id: id.into(),
                token: token.map(|span| span.of(text).into()),
                method,
                until,
            }),
        );
        let crate::jsonrpc::envelope::Kind::Request { id: place, .. } = envelope.kind else {
            return;
        };
        let ours = wire.to_string();
        let mut changes = vec![(place, ours.as_bytes())];
        changes.extend(token.map(|span| (span, ours.as_bytes())));
        changes.sort_by_key(|(span, _)| span.start);
        let mut message = Vec::with_capacity(text.len() + 32);
        write::spliced(&mut message, text, &changes);
        match addressee {
            Addressee::Exchange(home) => {
                self.post(
                    home.worker,
                    Parcel::Said(home.exchange, Box::new(Said::Request(message, wire))),
                );
            }
            _ => {
                if !self.tell_session(&session, message.into()) {
                    self.ask_failed(wire, "the client holds no stream open");
                }
            }
        }
    }

    fn session_in_flight(&self, key: &Key, home: crate::id::Home) -> Option<SessionKey> {
        let found = self.pendings.iter().find(|(_, pending)| {
            pending.key == *key
                && matches!(pending.awaiter, super::forward::Awaiter::Client(own) if own == home)
        });
        found.and_then(|(_, pending)| pending.session)
    }

    fn refuse_server(&mut self, key: &Key, id: &[u8], method: Method, refusal: Refusal) {
        let mut message = Vec::new();
        write::error(&mut message, id, &refusal.to_json());
        self.tell_server(key, message);
        let (Refusal::ClientCannot(why) | Refusal::ClientUnreached(why)) = refusal else {
            return;
        };
        let server = self.table.servers[key.server].clone();
        self.event(Event::ServerRequestRefused {
            server,
            method,
            why,
        });
    }

    /// A client answered.
    pub(super) fn client_answered(
        &mut self,
        session: SessionKey,
        wire: u64,
        answer: &ClientAnswer,
    ) {
        let Some(ask) = self.take_ask(session, wire) else {
            return self.event(Event::ParcelStale);
        };
        if self.epoch(&ask.key) != ask.epoch {
            return self.event(Event::ParcelStale);
        }
        let mut message = Vec::with_capacity(answer.text.len());
        write::spliced(&mut message, &answer.text, &[(answer.id, &ask.id)]);
        self.tell_server(&ask.key, message);
    }

    /// What was asked under this id of ours, if it was asked of that session.
    fn take_ask(&mut self, session: SessionKey, wire: u64) -> Option<Ask> {
        let (_, ticket) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)?;
        self.asks.get(ticket).filter(|ask| ask.session == session)?;
        self.asks.remove(ticket)
    }

    /// A request did not reach its client.
    pub(super) fn ask_failed(&mut self, wire: u64, why: &'static str) {
        let Some((_, ticket)) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)
        else {
            return;
        };
        if let Some(ask) = self.asks.remove(ticket)
            && self.epoch(&ask.key) == ask.epoch
        {
            self.refuse_server(&ask.key, &ask.id, ask.method, Refusal::ClientUnreached(why));
        }
    }

    /// A client makes progress on what a server asked.
    pub(super) fn client_progress(&mut self, session: SessionKey, wire: u64, text: &[u8]) {
        let Some((_, ticket)) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)
        else {
            return;
        };
        let Some(ask) = self
            .asks
            .get_mut(ticket)
            .filter(|ask| ask.session == session)
        else {
            return;
        };
        ask.until = self.now + CLIENT_REQUEST_TIMEOUT;
        let (Some(token), key, epoch) = (ask.token.clone(), ask.key.clone(), ask.epoch) else {
            return;
        };
        if self.epoch(&key) != epoch {
            return;
        }
        let params = Envelope::parse(text)
            .ok()
            .and_then(|e| Params::parse(text, e.params).ok());
        if let Some(place) = params.and_then(|params| params.progress_token) {
            let mut message = Vec::with_capacity(text.len());
            write::spliced(&mut message, text, &[(place, &token)]);
            self.tell_server(&key, message);
        }
    }

    /// A server does not want to know any more: its client is told under the id that it knows.
    pub(super) fn server_cancelled(&mut self, key: &Key, envelope: &Envelope<'_>) {
        let text = envelope.text;
        let Some(place) = Params::parse(text, envelope.params)
            .ok()
            .and_then(|params| params.request_id)
        else {
            return;
        };
        let id = place.of(text);
        let found = self
            .asks
            .iter()
            .find(|(_, ask)| ask.key == *key && *ask.id == *id);
        let Some((ticket, ask)) = found else { return };
        let session = ask.session;
        self.asks.remove(ticket);
        if let Some(session) = self.session_of(key, session) {
            let ours = wire_id::pack(self.id, ticket).to_string();
            let mut message = Vec::new();
            write::spliced(&mut message, text, &[(place, ours.as_bytes())]);
            self.tell_session(&session, message.into());
        }
    }

    /// Gives up on requests whose time is over; when the next one's is.
    pub(super) fn expire_asks(&mut self) -> Time {
        let mut next = Time::NEVER;
        for ticket in self.asks.tickets() {
            let Some(ask) = self.asks.get(ticket) else {
                continue;
            };
            if ask.until <= self.now {
                self.ask_failed(
                    wire_id::pack(self.id, ticket),
                    "the client did not answer in time",
                );
            } else {
                next = next.min(ask.until);
            }
        }
        next
    }

    /// A session has ended: servers get no answer of its client any more.
    pub(super) fn forget_asks(&mut self, session: SessionKey) {
        for ticket in self.asks.tickets() {
            if self
                .asks
                .get(ticket)
                .is_some_and(|ask| ask.session == session)
            {
                self.ask_failed(
                    wire_id::pack(self.id, ticket),
                    "the client's session has ended",
                );
            }
        }
    }

    /// A conversation has ended: nobody wants the answers.
    pub(super) fn drop_asks(&mut self, key: &Key) {
        for ticket in self.asks.tickets() {
            if self.asks.get(ticket).is_some_and(|ask| ask.key == *key) {
                self.asks.remove(ticket);
            }
        }
    }
}
