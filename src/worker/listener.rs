//! Modern clients that listen for changes (`subscriptions/listen`).
//!
//! Each such stream has a session of its own, which no client knows of: it is told what a legacy client would be
//! told on its standing stream, and subscribes as that would. What it is told carries the id of the request
//! that began the stream. It ends with its stream.

use super::answer::event_bytes;
use super::exchange::{Awaits, Exchange, Sink};
use super::intent::Intent;
use super::message::Caller;
use super::parcel::{Asker, Follow, Parcel};
use super::{Worker, exchange_id, exchange_ticket};
use crate::config::limits::{
    EXCHANGES_MAX, LISTENED_OF_ONE_MAX, LISTENS_MAX, LISTENS_OF_ONE_MAX, SUBSCRIBE_TIMEOUT,
    SUBSCRIPTIONS_MAX,
};
use crate::event::{Event, Outcome};
use crate::id::{ConnectionId, ExchangeId, Home, Place, SessionKey};
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse;
use crate::mcp::bridge::listen::{self, Filter};
use crate::mcp::capabilities::{ClientCapabilities, TASKS_DECLARED};
use crate::mcp::method::Method;
use crate::mcp::params::Params;
use crate::refusal::Refusal;
use crate::session::replay::EventId;
use crate::session::{Listener, Resumed, Session};
use crate::upstream::key::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// A client that wants to listen.
#[derive(Debug)]
pub(super) struct Listen {
    id: Box<[u8]>,
    filter: Filter,
    capabilities: ClientCapabilities,
    principal: Option<Arc<str>>,
    lister: Lister,
}

/// Whose streams are counted together: a principal's, or those from one address where there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lister {
    Principal(Arc<str>),
    Address(Option<IpAddr>),
}

/// Who listens, and how much of it each does.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// How much each stream names.
    streams: BTreeMap<SessionKey, (Lister, usize)>,
    /// How many streams each has, and how much all of them name.
    totals: BTreeMap<Lister, (usize, usize)>,
}

impl Listeners {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether one more may listen, that names so much.
    fn admit(&self, lister: &Lister, named: usize) -> Result<(), Refusal> {
        let (streams, total) = self.totals.get(lister).copied().unwrap_or_default();
        if self.len() >= LISTENS_MAX {
            return Err(Refusal::Busy("too many clients listen for changes"));
        }
        if streams >= LISTENS_OF_ONE_MAX {
            let fact = "this client listens for changes on too many streams";
            return Err(Refusal::Busy(fact));
        }
        if total + named > LISTENED_OF_ONE_MAX {
            let fact = "the streams on which this client listens name too many resources and tasks";
            return Err(Refusal::Busy(fact));
        }
        Ok(())
    }

    fn add(&mut self, session: SessionKey, lister: Lister, named: usize) {
        let (streams, total) = self.totals.entry(lister.clone()).or_default();
        *streams += 1;
        *total += named;
        self.streams.insert(session, (lister, named));
    }

    fn remove(&mut self, session: SessionKey) {
        let Some((lister, named)) = self.streams.remove(&session) else {
            return;
        };
        if let Some((streams, total)) = self.totals.get_mut(&lister) {
            *streams -= 1;
            *total -= named;
            if *streams == 0 {
                self.totals.remove(&lister);
            }
        }
    }
}

/// A listener that has not been told yet that it is one: servers are still being asked.
#[derive(Debug)]
pub(super) struct Unheard {
    connection: ConnectionId,
    /// What it wants to hear of, but for what servers have said that they will not tell.
    granted: Filter,
    asked: Vec<Asked>,
    last: EventId,
    session: Arc<Session>,
}

/// One server that is asked in a listener's name.
#[derive(Debug)]
struct Asked {
    place: usize,
    exchange: ExchangeId,
    wanted: Wanted,
}

/// What a listener wants to hear of that is one server's.
#[derive(Debug, Default)]
struct Wanted {
    uris: Vec<String>,
    /// The server's ids of tasks, and the client's.
    tasks: Vec<(String, String)>,
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
        let lister = match &caller.principal {
            Some(principal) => Lister::Principal(principal.clone()),
            None => Lister::Address(caller.peer),
        };
        self.listeners.admit(&lister, filter.named())?;
        // One for each server that has to be asked.
        if self.exchanges.len() >= EXCHANGES_MAX {
            return Err(Refusal::Busy("too many exchanges are in flight"));
        }
        Ok(Intent::Listen(Box::new(Listen {
            id: id.into(),
            filter,
            capabilities: caller
                .capabilities()
                .cloned()
                .unwrap_or(ClientCapabilities::none()),
            principal: caller.principal.clone(),
            lister,
        })))
    }

    /// Begins to tell a client what it wants to hear of.
    pub(super) fn begin_listening(&mut self, connection: ConnectionId, listen: Listen) {
        let catalog = self.table.catalog(Some(&listen.capabilities)).clone();
        // Lists are ours, and we tell when they change.
        let mut granted = listen.filter.honoured(catalog.capabilities);
        let named = listen.filter.named();
        let mut wanted: BTreeMap<usize, Wanted> = BTreeMap::new();
        granted.uris.retain(|uri| match catalog.owner(uri) {
            Some(place) => {
                wanted.entry(place).or_default().uris.push(uri.clone());
                true
            }
            None => false,
        });
        for id in &listen.filter.task_ids {
            if let Some((place, own)) = self.task_to_follow(id, listen.principal.as_deref()) {
                let tasks = &mut wanted.entry(place).or_default().tasks;
                tasks.push((own, id.clone()));
                granted.task_ids.push(id.clone());
            }
        }
        let listener = Listener {
            id: listen.id,
            filter: granted.clone(),
            granted: OnceLock::new(),
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
        self.listeners.add(session.key, listen.lister, named);
        let asked = wanted.into_iter().map(|(place, wanted)| Asked {
            place,
            exchange: self.begin_asking(&session, place),
            wanted,
        });
        let asked: Vec<Asked> = asked.collect();
        let follows: Vec<Follow> = asked.iter().map(|a| self.follow_of(&session, a)).collect();
        let unheard = Unheard {
            connection,
            granted,
            asked,
            last: first,
            session: session.clone(),
        };
        self.unheard.insert(session.key, unheard);
        for follow in follows {
            let owner = self.owner(&follow.asker.key);
            self.post(owner, Parcel::Follow(Box::new(follow)));
        }
        self.acknowledge(session.key);
    }

    /// Begins an exchange in a listener's name, with a server whose answer it waits for before it is told anything.
    fn begin_asking(&mut self, session: &Arc<Session>, place: usize) -> ExchangeId {
        session.reach_servers();
        let server = self.table.servers[place].clone();
        let (now, key) = (self.now, Key::base(place));
        session.begin_exchange(usize::MAX);
        let mut exchange = Exchange::new(now, Sink::Heard, Method::Listen);
        exchange.session = Some(session.clone());
        exchange.principal = session.principal.clone();
        // The conversation's owner keeps the time; this is for when nothing comes from there.
        exchange.deadline = now + 2 * server.timeout.min(SUBSCRIBE_TIMEOUT);
        exchange.awaits = Awaits::Owner { server, key };
        self.wake_at(exchange.deadline);
        exchange_id(self.exchanges.insert(exchange))
    }

    fn follow_of(&self, session: &Arc<Session>, asked: &Asked) -> Follow {
        let own = asked.wanted.tasks.iter().map(|(own, _)| own.clone());
        Follow {
            asker: Asker {
                key: Key::base(asked.place),
                session: Some(session.clone()),
            },
            wanted: Filter {
                uris: asked.wanted.uris.clone(),
                task_ids: own.collect(),
                ..Filter::default()
            },
            home: Home {
                worker: self.id,
                exchange: asked.exchange,
            },
            timeout: self.table.servers[asked.place]
                .timeout
                .min(SUBSCRIBE_TIMEOUT),
        }
    }

    /// A server has said what it grants of what a client listens for.
    pub(super) fn heard_of(&mut self, id: ExchangeId, granted: &Filter) {
        match self.exchanges.remove(exchange_ticket(id)) {
            Some(exchange) => self.close_heard(id, exchange, Outcome::Success, granted),
            None => self.event(Event::ParcelStale),
        }
    }

    /// One more of the servers that a listener waits for grants this, and nothing else.
    pub(super) fn close_heard(
        &mut self,
        id: ExchangeId,
        exchange: Exchange,
        outcome: Outcome,
        granted: &Filter,
    ) {
        let session = exchange.session.as_ref().map(|session| session.key);
        self.close_exchange(exchange, outcome, 0);
        let unheard = session.and_then(|session| self.unheard.get_mut(&session));
        let Some((session, unheard)) = session.zip(unheard) else {
            return;
        };
        let Some(at) = unheard.asked.iter().position(|asked| asked.exchange == id) else {
            return;
        };
        let wanted = unheard.asked.swap_remove(at).wanted;
        let mut lacking: BTreeSet<String> = wanted.uris.into_iter().collect();
        for uri in &granted.uris {
            lacking.remove(uri);
        }
        unheard.granted.uris.retain(|uri| !lacking.contains(uri));
        let followed: BTreeSet<&String> = granted.task_ids.iter().collect();
        let tasks = wanted.tasks.into_iter();
        let lacking = tasks.filter(|(own, _)| !followed.contains(own));
        let lacking: BTreeSet<String> = lacking.map(|(_, id)| id).collect();
        unheard.granted.task_ids.retain(|id| !lacking.contains(id));
        self.acknowledge(session);
    }

    /// Tells a listener what it is listened for, if all servers have said so, and then what has been said since:
    /// before that, nothing may be (2026-07-28 basic/utilities/subscriptions).
    fn acknowledge(&mut self, session: SessionKey) {
        let unheard = self.unheard.get(&session);
        if !unheard.is_some_and(|unheard| unheard.asked.is_empty()) {
            return;
        }
        let Some(unheard) = self.unheard.remove(&session) else {
            return;
        };
        let Unheard {
            connection,
            granted,
            last,
            session,
            ..
        } = unheard;
        let Some(listener) = &session.listener else {
            return;
        };
        let mut messages = vec![listen::acknowledged(&listener.id, &granted)];
        if granted != listener.filter {
            let _ = listener.granted.set(granted);
        }
        let missed = session.missed(last);
        let due = missed
            .iter()
            .filter(|(_, message)| tells(listener, message));
        messages.extend(due.map(|(_, message)| listen::tagged(message, &listener.id)));
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
        self.listeners.remove(session.key);
        if let Some(unheard) = self.unheard.remove(&session.key) {
            for asked in unheard.asked {
                self.give_up(asked.exchange, Refusal::Cancelled, "the client hung up");
            }
        }
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

    /// That session, if it listens on the stdio front.
    pub(super) fn listener_on_line(
        &mut self,
        connection: ConnectionId,
        session: SessionKey,
    ) -> Option<Arc<Session>> {
        let mut listeners = self.stdio(connection)?.listeners.iter();
        listeners.find(|own| own.key == session).cloned()
    }
}

/// Whether a message that reached a listener is one of what it was told that it will hear of: it may have been said
/// before that was decided.
pub(super) fn tells(listener: &Listener, message: &[u8]) -> bool {
    let granted = listener.granted.get();
    let Ok(envelope) = Envelope::parse(message) else {
        return false;
    };
    let Kind::Notification { method } = envelope.kind else {
        return false;
    };
    let member = |name| {
        let span = parse::member(message, envelope.params?, name)?;
        parse::string(message, span)
    };
    match Method::parse(&method) {
        Method::ToolsChanged | Method::PromptsChanged | Method::ResourcesChanged => true,
        Method::ResourceUpdated => granted
            .is_none_or(|granted| granted.wants(Method::ResourceUpdated, member("uri").as_deref())),
        Method::TaskChanged => granted.is_none_or(|granted| {
            let mut ids = granted.task_ids.iter();
            member("taskId").is_some_and(|id| ids.any(|own| *own == id))
        }),
        // Nothing else may be said on such a stream (2026-07-28 basic/utilities/subscriptions).
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Era;
    use crate::worker::Front;
    use crate::worker::scene::Scene;
    use serde_json::json;
    use std::time::Duration;

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
            lister: Lister::Address(None),
        };
        scene.worker.begin_listening(connection, listen);
        assert_eq!(scene.worker.listeners.len(), 0);
    }

    #[test]
    fn listener_is_told_of_nothing_but_what_it_listens_for() {
        let mut scene = Scene::new(Era::Legacy);
        let client = scene.listens(&["a:1"]);
        let (child, subscribe) = scene.asked("resources/subscribe");
        scene.answers(child, &subscribe, &json!({}));
        assert_eq!(scene.told(client), Some(json!(["a:1"])));
        scene.pass(Duration::from_secs(12));
        for method in ["notifications/message", "notifications/other"] {
            let params = json!({"level": "error", "data": "d"});
            let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
            scene.says(child, &message);
        }
        assert_eq!(scene.heard(client), "");
        scene.updates("a:1");
        assert!(scene.heard(client).contains("\"a:1\""));
    }

    #[test]
    fn listen_waits_for_each_server_once() {
        let mut scene = Scene::new(Era::Modern);
        let uris: Vec<String> = (0..SUBSCRIPTIONS_MAX).map(|n| format!("a:{n}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        let client = scene.listens(&uris);
        assert_eq!(scene.worker.exchanges_in_flight(), 1);
        scene.hangs_up(client);
        assert_eq!(scene.worker.exchanges_in_flight(), 0);
    }

    #[test]
    fn listen_is_refused_where_any_exchange_is() {
        let mut scene = Scene::new(Era::Modern);
        for _ in 0..EXCHANGES_MAX {
            let exchange = Exchange::new(scene.now, Sink::Gone, Method::Ping);
            scene.worker.exchanges.insert(exchange);
        }
        let client = scene.listens(&["a:1"]);
        assert_eq!(scene.answer(client)["error"]["code"], -32006);
    }

    #[test]
    fn one_client_has_so_many_streams_and_no_more() {
        let mut scene = Scene::new(Era::Modern);
        let first = scene.listens(&[]);
        for _ in 1..LISTENS_OF_ONE_MAX {
            scene.listens(&[]);
        }
        let late = scene.listens(&[]);
        let answer = scene.answer(late);
        assert_eq!(answer["error"]["code"], -32006, "{answer}");
        assert!(answer.to_string().contains("too many streams"), "{answer}");
        scene.hangs_up(first);
        let next = scene.listens(&[]);
        assert!(scene.told(next).is_some());
    }

    #[test]
    fn streams_of_one_client_name_so_much_and_no_more() {
        let mut scene = Scene::new(Era::Modern);
        let uris: Vec<String> = (0..SUBSCRIPTIONS_MAX).map(|n| format!("a:{n}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        for _ in 0..LISTENED_OF_ONE_MAX / SUBSCRIPTIONS_MAX {
            scene.listens(&uris);
        }
        let late = scene.listens(&["a:1"]);
        let answer = scene.answer(late);
        assert_eq!(answer["error"]["code"], -32006, "{answer}");
        assert!(answer.to_string().contains("name too many"), "{answer}");
        let other = scene.listens(&[]);
        assert!(scene.told(other).is_some());
    }
}
