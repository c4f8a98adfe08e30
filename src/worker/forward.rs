//! Sending exchanges to servers: which conversation carries them, and what waits for it.
//!
//! A child is reached through the worker that owns it. An HTTP server is reached from every worker, over
//! connections of its own; what they need to know of the conversation is kept in a [`Slice`], which the
//! owner keeps up to date.

use super::answer::Response;
use super::followers::Follower;
use super::letter::{Letter, misfit, suited, write_request};
use super::link::Errand;
use super::parcel::{self, Forward, Outgoing, Parcel, TaskFor};
use super::slots::Ticket;
use super::{Worker, wire_id};
use crate::config::limits::{CHILD_BACKLOG_BYTES_MAX, SUBSCRIPTIONS_MAX, UPSTREAM_EXCHANGES_MAX};
use crate::config::{Share, Transport};
use crate::event::Event;
use crate::id::{ExchangeId, Home, SessionKey};
use crate::jsonrpc::parse::Span;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::listing::Kind;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::refusal::Refusal;
use crate::time::Time;
use crate::upstream::key::Key;
use std::sync::Arc;

/// A request that we sent to a server and that is not answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: Key,
    pub(super) awaiter: Awaiter,
    /// Which opening of the conversation it was sent in, if its server can forget one.
    pub(super) epoch: Option<u32>,
    /// Whose exchange it is.
    pub(super) session: Option<SessionKey>,
    /// What to take back if the server refuses.
    pub(super) subscription: Option<String>,
    /// Whose task it may become, and the client's progress token as it is written.
    pub(super) task: Option<(TaskFor, Option<Box<[u8]>>)>,
    /// That in which it was asked, and so that of its answer: by then the conversation may be another.
    pub(super) era: Era,
}

impl Pending {
    /// Whether it is one of the first words of that conversation.
    pub(super) fn introduces(&self, key: &Key) -> bool {
        let first = matches!(
            self.awaiter,
            Awaiter::Step(Step::Probe | Step::Initialize, _)
        );
        first && self.key == *key
    }

    /// Whether that conversation has it find out which era its server speaks.
    pub(super) fn is_probe_of(&self, key: &Key) -> bool {
        self.key == *key && matches!(self.awaiter, Awaiter::Step(Step::Probe, _))
    }

    /// Whether that conversation itself waits for it.
    pub(super) fn is_step_of(&self, key: &Key) -> bool {
        self.key == *key && matches!(self.awaiter, Awaiter::Step(..))
    }
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
    /// `server/discover`, to find out which era it is.
    Probe,
    /// `subscriptions/listen`: it is answered when it is over.
    Listen,
    /// `initialize`
    Initialize,
    /// `resources/subscribe`, for those who follow that resource.
    Subscribe(String),
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
    Errand(Box<(Errand, Letter)>),
}

impl Worker {
    // ── at the conversation's owner ──────────────────────────────────────────────────────────────

    /// Takes in a request for a conversation of this worker.
    pub(super) fn admit(&mut self, forward: Forward) {
        let Forward {
            mut asker,
            home,
            outgoing,
        } = forward;
        if self.place(&mut asker) {
            let owner = self.owner(&asker.key);
            let forward = Forward {
                asker,
                home,
                outgoing,
            };
            return self.post(owner, Parcel::Forward(Box::new(forward)));
        }
        if asker
            .session
            .as_ref()
            .is_some_and(|session| session.is_ended())
        {
            return self.fail_home(home, Refusal::SessionUnknown);
        }
        // A server that is known to be down is not tried again for each who asks.
        if !self.partners.contains_key(&asker.key)
            && let Some(reason) = self.table.reasons[asker.key.server].clone()
        {
            let name = &self.table.servers[asker.key.server].name;
            let refusal = parcel::unavailable(name, &reason);
            return self.fail_home(home, refusal);
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
                return self.answer_home(home, EMPTY_RESPONSE.0, EMPTY_RESPONSE.1);
            }
        }
        let forward = Forward {
            asker,
            home,
            outgoing,
        };
        if conversation.is_open() {
            return self.dispatch(forward);
        }
        if let Some(reason) = conversation.unavailable(now) {
            let refusal = parcel::unavailable(&conversation.server.name, &reason);
            return self.refuse_forward(&forward, refusal);
        }
        if partner.waiting.len() >= UPSTREAM_EXCHANGES_MAX {
            let fact = "too many exchanges wait for that server";
            return self.refuse_forward(&forward, Refusal::Busy(fact));
        }
        partner.waiting.push_back(forward);
    }

    /// Sends what waited for a conversation to open; which session asked in it to be subscribed to what.
    pub(super) fn dispatch_waiting(&mut self, key: &Key) -> Vec<(SessionKey, String)> {
        let mut subscribes = Vec::new();
        let Some(partner) = self.partners.get_mut(key) else {
            return subscribes;
        };
        let waiting = std::mem::take(&mut partner.waiting);
        // What was meant for a modern server is everybody's; a legacy one may have to be asked by each alone.
        let turned = self.table.eras[key.server] == Era::Modern
            && self.era_in(key) == Some(Era::Legacy)
            && !self.table.base.unlisted.contains(&key.server);
        for forward in waiting {
            let name = &self.table.servers[key.server].name;
            if let Some(refusal) = misfit(&forward.outgoing, self.era_in(key), name) {
                self.refuse_forward(&forward, refusal);
                continue;
            }
            if turned && forward.outgoing.subscription.is_none() {
                let why = "it speaks another protocol revision than before; try again";
                self.fail_home(forward.home, parcel::unavailable(name, why));
                continue;
            }
            if let (Method::ResourcesSubscribe, Some(session), Some(uri)) = (
                forward.outgoing.method,
                &forward.asker.session,
                &forward.outgoing.subscription,
            ) {
                subscribes.push((session.key, uri.clone()));
            }
            self.dispatch(forward);
        }
        subscribes
    }

    /// Sends a client's request in a conversation that is open.
    fn dispatch(&mut self, forward: Forward) {
        let Forward {
            asker,
            home,
            outgoing,
        } = &forward;
        let (key, home) = (&asker.key, *home);
        let session = asker.session.as_ref().map(|session| session.key);
        let (era, server) = (self.era_in(key), &self.table.servers[key.server]);
        if let Some(refusal) = misfit(outgoing, era, &server.name) {
            return self.refuse_forward(&forward, refusal);
        }
        // Sent when the server was of the other era, for which nobody needs a child alone.
        let misplaced = key.is_base() && session.is_none() && outgoing.era == Era::Modern;
        if misplaced && era == Some(Era::Legacy) && server.share == Share::PerSession {
            let why = "it speaks another protocol revision than before; try again";
            return self.fail_home(home, parcel::unavailable(&server.name, why));
        }
        if let Some(uri) = &outgoing.subscription
            && era == Some(Era::Modern)
        {
            // Those of this era have no such methods: they are listened to for more, or for less.
            if let (Method::ResourcesSubscribe, Some(session)) = (outgoing.method, session) {
                let follower = Follower::subscriber(home, session, uri.clone());
                return self.follow(key, follower);
            }
            self.listen_soon(key);
            return self.answer_home(home, EMPTY_RESPONSE.0, EMPTY_RESPONSE.1);
        }
        let Some(partner) = self.partners.get(key) else {
            return;
        };
        if self.pendings.len() >= wire_id::PLACES - 1
            || self.pendings.len_of_line(partner.line) >= UPSTREAM_EXCHANGES_MAX
        {
            let fact = "that server has too many requests to answer";
            return self.refuse_forward(&forward, Refusal::Busy(fact));
        }
        if let Some(child) = partner.child {
            let unsent = self.child(child).map_or(0, |child| child.outbox.len());
            if unsent + outgoing.params.len() > CHILD_BACKLOG_BYTES_MAX {
                let fact = "that server reads too slowly";
                return self.refuse_forward(&forward, Refusal::Busy(fact));
            }
        }
        if session.is_none()
            && let Some(partner) = self.partners.get_mut(key)
        {
            // Nobody will tell when a caller without a session is through.
            partner.conversation.unsettle(self.now);
        }
        let pending = Pending {
            key: key.clone(),
            epoch: self.epoch(key),
            awaiter: Awaiter::Client(home),
            session,
            subscription: outgoing.subscription.clone(),
            task: outgoing.task_with_token(),
            era: outgoing.era,
        };
        if let (Some(level), None) = (outgoing.level, session) {
            self.level_wanted(key, level);
        }
        self.ask_server(key, pending, outgoing);
    }

    /// Refuses a request that was not sent.
    pub(super) fn refuse_forward(&mut self, forward: &Forward, refusal: Refusal) {
        self.forget_forward(forward);
        self.fail_home(forward.home, refusal);
    }

    /// Takes back what was noted of a request that will not be sent.
    pub(super) fn forget_forward(&mut self, forward: &Forward) {
        let session = forward.asker.session.as_ref().map(|session| session.key);
        let uri = forward.outgoing.subscription.as_deref();
        self.take_back_subscription(&forward.asker.key, session, uri);
    }

    /// Has a session that was not told that it is subscribed to a resource hear nothing of it.
    pub(super) fn take_back_subscription(
        &mut self,
        key: &Key,
        session: Option<SessionKey>,
        uri: Option<&str>,
    ) {
        if let (Some(uri), Some(session)) = (uri, session)
            && let Some(partner) = self.partners.get_mut(key)
        {
            partner.conversation.unsubscribe(session, uri);
        }
    }

    /// Sends a request to a conversation's server, whoever waits for it.
    pub(super) fn ask_server(
        &mut self,
        key: &Key,
        pending: Pending,
        outgoing: &Outgoing,
    ) -> Option<Ticket> {
        let partner = self.partners.get(key)?;
        let (child, line) = (partner.child, partner.line);
        // What finds out which era it is goes out as it is.
        let era = self.era_in(key).unwrap_or(outgoing.era);
        let session = pending
            .session
            .and_then(|session| partner.sessions.get(&session));
        let suited = suited(
            outgoing,
            era,
            session.map(|session| &**session),
            &mut self.own_metas,
        );
        let pending = Pending { era, ..pending };
        let ticket = self.pendings.insert(pending, Some(line));
        let wire = wire_id::pack(self.id, ticket);
        match child {
            Some(id) => {
                if let Some(child) = self.child(id) {
                    child.outbox.push_with(|out| {
                        write_request(out, wire, &suited);
                        out.push(b'\n');
                    });
                    self.flush(id);
                }
            }
            None => {
                let errand = Errand::Request {
                    pending: ticket,
                    key: Arc::new(key.clone()),
                };
                let mut letter = Letter::request(wire, &suited);
                if outgoing.method == Method::Discover {
                    // The conversation's own head does not name the revision before it is agreed on.
                    letter.name_revision(Revision::MODERN);
                }
                if outgoing.method == Method::Listen {
                    // It lasts: it must not hold a connection that others wait for.
                    let link = self.connect(key.server, false);
                    self.put_on(link, errand, &letter);
                } else {
                    self.run_errand(errand, letter);
                }
            }
        }
        Some(ticket)
    }

    pub(super) fn fail_home(&mut self, home: Home, refusal: Refusal) {
        self.post(
            home.worker,
            Parcel::Failed(home.exchange, Box::new(refusal)),
        );
    }

    /// Gives an answer to the worker that waits for it.
    pub(super) fn answer_home(&mut self, home: Home, text: &[u8], response: Response) {
        if home.worker == self.id {
            return self.answer(home.exchange, text, response);
        }
        let answered = parcel::Answered {
            exchange: home.exchange,
            text: text.to_vec(),
            id: response.id,
            body: response.body,
            era: response.era,
        };
        self.post(home.worker, Parcel::Answered(Box::new(answered)));
    }

    /// Sends a message that wants no answer.
    pub(super) fn tell_server(&mut self, key: &Key, message: Vec<u8>) {
        match self.partners.get(key).and_then(|partner| partner.child) {
            Some(id) => {
                if let Some(child) = self.child(id) {
                    if child.outbox.len() + message.len() > CHILD_BACKLOG_BYTES_MAX {
                        let server = self.table.servers[key.server].clone();
                        let (method, why) = (Method::Other, "the server reads too slowly");
                        return self.event(Event::NotificationDropped {
                            server,
                            method,
                            why,
                        });
                    }
                    child.outbox.push(&write::one_line(&message));
                    child.outbox.push(b"\n");
                    self.flush(id);
                }
            }
            None if matches!(self.table.servers[key.server].transport, Transport::Http(_)) => {
                self.tell(Arc::new(key.clone()), message.into(), 0);
            }
            None => {}
        }
    }
}

/// An answer that we write in a server's place, and where what stands in it.
pub(super) const EMPTY_RESPONSE: (&[u8], Response) = (
    b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}",
    Response {
        id: Span { start: 22, end: 23 },
        body: Ok(Span { start: 33, end: 35 }),
        era: Era::Legacy,
    },
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnectionId;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn state_of_a_modern_server_is_not_dropped_on_the_way_to_a_legacy_one() {
        let mut scene = Scene::new(Era::Legacy);
        scene.is_found_to_speak(Era::Modern);
        let params = json!({"name": "t", "arguments": {}, "requestState": "theirs"});
        let client = scene.modern("tools/call", params);
        let error = scene.answer(client)["error"].clone();
        assert_eq!(error["code"], -32602);
        assert!(error["message"].to_string().contains("requestState"));
        let child = scene.children[0];
        let lines = scene.lines(child);
        assert!(lines.iter().all(|line| line["method"] != "tools/call"));
    }

    /// A legacy client with a conversation of its own subscribes to that; where it waits for the answer.
    fn subscribes(scene: &mut Scene, session: &str, uri: &str) -> ConnectionId {
        let (method, params) = ("resources/subscribe", json!({"uri": uri}));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        scene.post(session, &body)
    }

    /// How often children were asked that, since this was looked at last.
    fn times_asked(scene: &mut Scene, method: &str) -> usize {
        let children = scene.children.clone();
        let lines = children.into_iter().flat_map(|child| scene.lines(child));
        let lines: Vec<Value> = lines.collect();
        lines.iter().filter(|line| line["method"] == method).count()
    }

    #[test]
    fn subscription_that_waited_for_an_opening_is_asked_for_once() {
        let mut scene = Scene::new(Era::Legacy);
        scene.is_gone();
        let session = scene.opens_session();
        let client = subscribes(&mut scene, &session, "a:1");
        scene.wakes();
        let child = *scene.children.last().expect("a child");
        let mut asked = scene.lines(child);
        asked.retain(|line| line["method"] == "resources/subscribe");
        assert_eq!(asked.len(), 1, "{asked:?}");
        scene.answers(child, &asked[0], &json!({}));
        assert_eq!(scene.answer(client)["result"], json!({}));
    }

    #[test]
    fn subscription_that_was_refused_is_not_asked_for_later() {
        let mut scene = Scene::new(Era::Legacy);
        scene.is_gone();
        let session = scene.opens_session();
        let client = subscribes(&mut scene, &session, "a:1");
        let child = scene.children.pop().expect("a child");
        scene.handle(Input::Exited(child, "exit status: 1".into()));
        assert!(scene.answer(client)["error"].is_object());
        scene.wakes();
        scene.pass(Duration::from_secs(1));
        assert_eq!(scene.children.len(), 2);
        assert_eq!(times_asked(&mut scene, "resources/subscribe"), 0);
    }

    #[test]
    fn subscription_that_was_cancelled_while_it_waited_is_not_asked_for_later() {
        let mut scene = Scene::new(Era::Legacy);
        scene.is_gone();
        let session = scene.opens_session();
        subscribes(&mut scene, &session, "a:1");
        let method = "notifications/cancelled";
        let cancel = json!({"jsonrpc": "2.0", "method": method, "params": {"requestId": 1}});
        scene.post(&session, &cancel);
        scene.wakes();
        assert_eq!(times_asked(&mut scene, "resources/subscribe"), 0);
    }

    #[test]
    fn subscription_that_a_busy_server_is_not_asked_for_is_not_kept() {
        let mut scene = Scene::new(Era::Legacy);
        let session = scene.opens_session();
        subscribes(&mut scene, &session, "a:1");
        let own = |key: &&Key| key.session.is_some();
        let key = scene.worker.partners.keys().find(own).expect("one");
        let (key, line) = (key.clone(), scene.worker.partners[key].line);
        while scene.worker.pendings.len_of_line(line) < UPSTREAM_EXCHANGES_MAX {
            let pending = Pending {
                key: key.clone(),
                epoch: None,
                awaiter: Awaiter::Ghost(Time::NEVER),
                session: None,
                subscription: None,
                task: None,
                era: Era::Legacy,
            };
            scene.worker.pendings.insert(pending, Some(line));
        }
        let client = subscribes(&mut scene, &session, "a:2");
        assert_eq!(scene.answer(client)["error"]["code"], -32006);
        let subscribed = scene.worker.partners[&key].conversation.subscribed();
        assert_eq!(subscribed.collect::<Vec<_>>(), ["a:1"]);
    }

    #[test]
    fn server_that_grants_a_subscription_too_late_has_it_taken_back() {
        let mut scene = Scene::new(Era::Legacy);
        let session = scene.opens_session();
        let list = json!({"jsonrpc": "2.0", "id": 0, "method": "tools/list"});
        scene.post(&session, &list);
        let client = subscribes(&mut scene, &session, "a:1");
        let (child, subscribe) = scene.asked("resources/subscribe");
        scene.pass(Duration::from_secs(61));
        assert!(scene.answer(client)["error"].is_object());
        scene.answers(child, &subscribe, &json!({}));
        assert_eq!(times_asked(&mut scene, "resources/unsubscribe"), 1);
    }

    #[test]
    fn spans_are_where_they_should_be() {
        let (text, response) = EMPTY_RESPONSE;
        assert_eq!(response.id.of(text), b"0");
        assert_eq!(response.body.map(|result| result.of(text)), Ok(&b"{}"[..]));
    }
}
