//! Requests of servers to clients: sampling, elicitation, roots.
//!
//! Each goes out under an id of ours and its answer is taken from no session but the one that was asked.

use super::heard::Addressee;
use super::parcel::{ClientAnswer, Parcel, Said};
use super::slots::{Slots, Ticket};
use super::{Worker, exchange_ticket, wire_id};
use crate::config::limits::{CLIENT_REQUEST_TIMEOUT, CLIENT_REQUESTS_MAX};
use crate::event::Event;
use crate::id::{ExchangeId, Home, SessionKey, WorkerId};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::need::Need;
use crate::mcp::bridge::task::{self, Naming};
use crate::mcp::method::{Direction, Kind, Method};
use crate::mcp::params::Params;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::key::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What clients were asked and have not answered.
#[derive(Debug)]
pub(super) struct Asks {
    worker: WorkerId,
    all: Slots<Ask>,
    /// Which of it each session was asked, so that nobody pays for what others were.
    of_session: BTreeMap<SessionKey, BTreeSet<Ticket>>,
    /// Which of it the server of each conversation wants to know.
    of_server: BTreeMap<Key, BTreeSet<Ticket>>,
}

/// A request to a client that it has not answered.
#[derive(Debug)]
pub(super) struct Ask {
    asker: Asker,
    session: Arc<Session>,
    method: Method,
    pub(super) until: Time,
}

/// Who wants to know.
#[derive(Clone, Debug)]
enum Asker {
    /// A server, in a request of its own.
    Server {
        key: Key,
        /// Which opening of the conversation asked: the next one may use the same ids for something else.
        epoch: Option<u32>,
        /// The server's id, as it is written.
        id: Box<[u8]>,
        /// The server's progress token, as it is written.
        token: Option<Box<[u8]>>,
        /// The server's id of the task in which it asked.
        task: Option<Box<str>>,
        /// The exchange on whose stream it went out, if it was one's.
        home: Option<Home>,
    },
    /// A modern server, as one of the questions with which it answered that exchange.
    Inquiry(ExchangeId, usize),
}

impl Asks {
    /// None yet.
    pub(super) fn new(worker: WorkerId) -> Asks {
        Asks {
            worker,
            all: Slots::new(wire_id::GENERATIONS),
            of_session: BTreeMap::new(),
            of_server: BTreeMap::new(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many further requests a session may be sent before it has answered some.
    pub(super) fn room(&self, session: SessionKey) -> usize {
        let own = self.of_session.get(&session).map_or(0, BTreeSet::len);
        CLIENT_REQUESTS_MAX.saturating_sub(own)
    }

    /// Takes one in; our id of it.
    fn insert(&mut self, ask: Ask) -> u64 {
        let whose = ask.session.clone();
        let session = whose.key;
        let server = ask.server().cloned();
        let ticket = self.all.insert(ask);
        let wire = wire_id::pack(self.worker, ticket);
        whose.ask(wire);
        self.of_session.entry(session).or_default().insert(ticket);
        if let Some(key) = server {
            self.of_server.entry(key).or_default().insert(ticket);
        }
        wire
    }

    /// Takes one out, if it is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Ask> {
        let ask = self.all.remove(ticket)?;
        ask.session.settle_ask(wire_id::pack(self.worker, ticket));
        forget(&mut self.of_session, &ask.session.key, ticket);
        if let Some(key) = ask.server() {
            forget(&mut self.of_server, key, ticket);
        }
        Some(ask)
    }
}

/// Takes a ticket out of the set that is kept under `key`, and an empty set out of the map.
fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<Ticket>>, key: &K, ticket: Ticket) {
    if let Some(own) = index.get_mut(key) {
        own.remove(&ticket);
        if own.is_empty() {
            index.remove(key);
        }
    }
}

impl Ask {
    /// The conversation whose server wants to know, if it asked in a request of its own.
    fn server(&self) -> Option<&Key> {
        match &self.asker {
            Asker::Server { key, .. } => Some(key),
            Asker::Inquiry(..) => None,
        }
    }
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
        let need = Need::of(method, envelope.text, envelope.params);
        if !need.is_some_and(|need| need.is_met_by(key.capabilities.as_bytes())) {
            // Whoever's exchange it is may declare it the next time.
            let home = match addressee {
                Addressee::Exchange(home) => Some(home),
                _ => self.only_exchange(key).map(|(home, _)| home),
            };
            if let Some(home) = home {
                let lacking = Said::Lacking(need.map_or("{}", Need::to_json));
                self.post(home.worker, Parcel::Said(home.exchange, Box::new(lacking)));
            }
            let why = "the client has not declared this capability";
            return self.refuse_server(key, id, method, Refusal::ClientCannot(why));
        }
        let asked = match addressee {
            Addressee::Exchange(home) => self.session_in_flight(key, home),
            Addressee::Session(session) => self.session_of(key, session),
            Addressee::Unclear => None,
        };
        let Some(session) = asked else {
            let why = "it cannot be told which client this is for; give each session its own conversation \
                       (share = \"per_session\")";
            return self.refuse_server(key, id, method, Refusal::ClientUnreached(why));
        };
        if self.asks.room(session.key) == 0 {
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
        let wire = self.asks.insert(Ask {
            asker: Asker::Server {
                key: key.clone(),
                epoch: self.epoch(key),
                id: id.into(),
                token: token.map(|span| span.of(text).into()),
                task: task::related(text, envelope.params).map(Into::into),
                home: match addressee {
                    Addressee::Exchange(home) => Some(home),
                    _ => None,
                },
            },
            session: session.clone(),
            method,
            until,
        });
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
                if let Some(host) = session.host {
                    let said = Box::new(Said::Request(message, wire));
                    return self.post(host, Parcel::SaidToGuest(session.key, said));
                }
                let message = self.named_for_session(key, &session, &message, Naming::Related);
                if !self.tell_session(&session, message) {
                    self.ask_failed(wire, "the client holds no stream open");
                }
            }
        }
    }

    /// Notes one of the questions with which a modern server answered; gives the id to ask it under.
    pub(super) fn ask_in_round(
        &mut self,
        session: &Arc<Session>,
        id: ExchangeId,
        number: usize,
        method: Method,
    ) -> u64 {
        let until = self.now + CLIENT_REQUEST_TIMEOUT;
        self.wake_at(until);
        let ask = Ask {
            asker: Asker::Inquiry(id, number),
            session: session.clone(),
            method,
            until,
        };
        self.asks.insert(ask)
    }

    /// Whose the exchange is in which a server asks.
    fn session_in_flight(&self, key: &Key, home: Home) -> Option<Arc<Session>> {
        let pending = self.pendings.of(home).map(|(_, pending)| pending);
        let session = match pending.filter(|pending| pending.key == *key) {
            Some(pending) => pending.session,
            None => self.session_of_task(key, home),
        }?;
        // What is asked on a connection of this worker belongs to an exchange of this worker.
        let exchange = (home.worker == self.id)
            .then(|| self.exchanges.get(exchange_ticket(home.exchange)))
            .flatten();
        let own = exchange.and_then(|exchange| exchange.session.as_ref());
        match own.filter(|own| own.key == session) {
            Some(own) => Some(own.clone()).filter(|own| !own.is_ended()),
            None => self.session_of(key, session),
        }
    }

    fn refuse_server(&mut self, key: &Key, id: &[u8], method: Method, refusal: Refusal) {
        let mut message = Vec::new();
        write::error(&mut message, id, &refusal.to_json(Era::Legacy));
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
        match ask.asker {
            Asker::Inquiry(exchange, number) => {
                self.inquiry_answered(exchange, number, Some(answer));
            }
            Asker::Server { key, epoch, .. } if self.epoch(&key) != epoch => {
                self.event(Event::ParcelStale);
            }
            Asker::Server { key, id, task, .. } => {
                let mut message = Vec::with_capacity(answer.text.len());
                write::spliced(&mut message, &answer.text, &[(answer.id, &id)]);
                if let Some(task) = task {
                    message = task::answered_in(&message, &task);
                }
                self.tell_server(&key, message);
            }
        }
    }

    /// What was asked under this id of ours, if it was asked of that session.
    fn take_ask(&mut self, session: SessionKey, wire: u64) -> Option<Ask> {
        let (_, ticket) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)?;
        let asked = self.asks.all.get(ticket);
        asked.filter(|ask| ask.session.key == session)?;
        self.asks.remove(ticket)
    }

    /// A request did not reach its client.
    pub(super) fn ask_failed(&mut self, wire: u64, why: &'static str) {
        let Some((_, ticket)) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)
        else {
            return;
        };
        let Some(ask) = self.asks.remove(ticket) else {
            return;
        };
        match ask.asker {
            Asker::Inquiry(exchange, number) => self.inquiry_answered(exchange, number, None),
            Asker::Server { key, epoch, id, .. } if self.epoch(&key) == epoch => {
                self.refuse_server(&key, &id, ask.method, Refusal::ClientUnreached(why));
            }
            Asker::Server { .. } => {}
        }
    }

    /// A client makes progress on what a server asked.
    pub(super) fn client_progress(&mut self, session: SessionKey, wire: u64, text: &[u8]) {
        let Some((_, ticket)) = wire_id::unpack(wire).filter(|(worker, _)| *worker == self.id)
        else {
            return;
        };
        let asked = self.asks.all.get_mut(ticket);
        let Some(ask) = asked.filter(|ask| ask.session.key == session) else {
            return;
        };
        ask.until = self.now + CLIENT_REQUEST_TIMEOUT;
        let Asker::Server {
            key,
            epoch,
            token: Some(token),
            ..
        } = ask.asker.clone()
        else {
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
        let is_it = |ticket: &&Ticket| {
            let ask = self.asks.all.get(**ticket);
            ask.is_some_and(
                |ask| matches!(&ask.asker, Asker::Server { id: own, .. } if **own == *id),
            )
        };
        let own = self.asks.of_server.get(key);
        let Some(ticket) = own.and_then(|own| own.iter().find(is_it)).copied() else {
            return;
        };
        let ask = self.asks.remove(ticket);
        let Some(Ask { session, asker, .. }) = ask.filter(|ask| !ask.session.is_ended()) else {
            return;
        };
        let wire = wire_id::pack(self.id, ticket);
        let ours = wire.to_string();
        let mut message = Vec::new();
        write::spliced(&mut message, text, &[(place, ours.as_bytes())]);
        // It goes the way that the question went.
        match (asker, session.host) {
            (
                Asker::Server {
                    home: Some(home), ..
                },
                _,
            ) => {
                let said = Box::new(Said::Withdrawn(message, wire));
                self.post(home.worker, Parcel::Said(home.exchange, said));
            }
            (_, Some(host)) => {
                let said = Box::new(Said::Withdrawn(message, wire));
                self.post(host, Parcel::SaidToGuest(session.key, said));
            }
            _ => {
                self.tell_session(&session, message.into());
            }
        }
    }

    /// Gives up on requests whose time is over; when the next one's is.
    pub(super) fn expire_asks(&mut self) -> Time {
        let mut next = Time::NEVER;
        for ticket in self.asks.all.tickets() {
            let Some(ask) = self.asks.all.get(ticket) else {
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
        let own = self.asks.of_session.get(&session).cloned();
        for ticket in own.into_iter().flatten() {
            self.ask_failed(
                wire_id::pack(self.id, ticket),
                "the client's session has ended",
            );
        }
    }

    /// A conversation has ended: nobody wants the answers.
    pub(super) fn drop_asks(&mut self, key: &Key) {
        let own = self.asks.of_server.get(key).cloned();
        for ticket in own.into_iter().flatten() {
            self.asks.remove(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::store::SessionId;
    use crate::worker::scene::Scene;
    use serde_json::json;

    fn withdraws(scene: &mut Scene, child: crate::id::ConnectionId, id: u64) {
        let (method, params) = ("notifications/cancelled", json!({"requestId": id}));
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "method": method, "params": params}),
        );
    }

    #[test]
    fn question_is_taken_back_where_it_was_asked() {
        let mut scene = Scene::new(Era::Legacy);
        let fields = scene.opens_session();
        let params = json!({"name": "t", "arguments": {}});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let client = scene.post(&fields, &call);
        let (child, _) = scene.asked("tools/call");
        scene.elicits(child, 7);
        assert!(scene.heard(client).contains("elicitation/create"));
        withdraws(&mut scene, child, 7);
        let heard = scene.heard(client);
        assert!(heard.contains("notifications/cancelled"), "{heard}");
    }

    #[test]
    fn answers_to_what_nobody_asked_are_not_passed_on() {
        let mut scene = Scene::beside_another();
        let fields = scene.opens_session();
        let name = fields.trim().rsplit(' ').next().expect("its id");
        let session = SessionId::parse(name.as_bytes());
        let session = session.and_then(|id| scene.worker.sessions.find(id));
        let wire = wire_id::pack(WorkerId(1), (0, 1));
        let answer = json!({"jsonrpc": "2.0", "id": wire, "result": {}});
        let passed_on = |scene: &mut Scene| {
            scene.post(&fields, &answer);
            let answers = |parcel: &&Parcel| matches!(parcel, Parcel::ClientAnswered(..));
            scene.sent.iter().filter(answers).count()
        };
        assert_eq!(passed_on(&mut scene), 0);
        session.expect("it is open").ask(wire);
        assert_eq!(passed_on(&mut scene), 1);
        assert_eq!(passed_on(&mut scene), 1);
    }

    #[test]
    fn question_that_was_taken_back_is_not_asked_again() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        scene.elicits(child, 8);
        withdraws(&mut scene, child, 8);
        let client = scene.returns("t", &state);
        scene.pass(std::time::Duration::from_millis(100));
        assert_eq!(scene.heard(client), "");
        scene.answers(child, &call, &json!({"content": []}));
        assert!(scene.answer(client)["result"]["content"].is_array());
    }
}
