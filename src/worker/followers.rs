//! Who waits for a server to say what it will tell of, at the owner of the conversation with it.
//!
//! A modern server is asked for everything at once, and says what of that it grants ([`super::changes`]). A legacy
//! one is asked for one resource after another, a few at a time. Either way each who waits is told what of its own
//! will come, and nothing is kept of the rest: what was not granted is not promised.

use super::Worker;
use super::forward::{EMPTY_RESPONSE, Step};
use super::parcel::{Follow, Outgoing, Parcel, unavailable};
use super::partner::uri_params;
use crate::config::limits::{SUBSCRIBE_TIMEOUT, SUBSCRIBES_AT_ONCE};
use crate::id::{Home, SessionKey};
use crate::mcp::Era;
use crate::mcp::bridge::listen::Filter;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::time::Time;
use crate::upstream::key::Key;
use std::collections::{BTreeSet, HashSet, VecDeque};

/// Somebody who wants to hear of resources and tasks.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) home: Home,
    session: SessionKey,
    manner: Manner,
    /// What the server has not decided on.
    uris: BTreeSet<String>,
    tasks: BTreeSet<String>,
    /// What it will tell of.
    granted: Filter,
    /// When the rest is not waited for any longer.
    until: Time,
}

/// How a follower is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Its client subscribes to one resource, and is answered yes or no.
    Subscriber,
    /// Its client listens, and is told what of all was granted.
    Listener,
}

/// What a legacy server is being asked to tell of.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// All that it is being asked for, or will be.
    all: BTreeSet<String>,
    /// What it will be asked for.
    unasked: VecDeque<String>,
    /// How much it has not answered.
    unanswered: usize,
}

impl Asking {
    fn add(&mut self, uri: String) {
        if self.all.insert(uri.clone()) {
            self.unasked.push_back(uri);
        }
    }
}

impl Follower {
    /// A client that subscribes.
    pub(super) fn subscriber(home: Home, session: SessionKey, uri: String) -> Follower {
        Follower {
            home,
            session,
            manner: Manner::Subscriber,
            uris: BTreeSet::from([uri]),
            tasks: BTreeSet::new(),
            granted: Filter::default(),
            until: Time::NEVER,
        }
    }

    fn waits(&self) -> bool {
        !self.uris.is_empty() || !self.tasks.is_empty()
    }

    /// Takes in what was granted of everything that it waits for; what was not.
    pub(super) fn decide(&mut self, granted: &Granted) -> Filter {
        let mut lacking = Filter::default();
        for uri in std::mem::take(&mut self.uris) {
            let list = match granted.uris.contains(&uri) {
                true => &mut self.granted.uris,
                false => &mut lacking.uris,
            };
            list.push(uri);
        }
        for id in std::mem::take(&mut self.tasks) {
            let list = match granted.tasks.contains(&id) {
                true => &mut self.granted.task_ids,
                false => &mut lacking.task_ids,
            };
            list.push(id);
        }
        lacking
    }
}

/// What a server grants.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) uris: BTreeSet<String>,
    pub(super) tasks: BTreeSet<String>,
}

impl Worker {
    // ── who comes and goes ───────────────────────────────────────────────────────────────────────

    /// A client listens, and wants to hear of this.
    pub(super) fn follow_for(&mut self, follow: Follow) {
        let Follow {
            asker,
            wanted,
            home,
            timeout,
        } = follow;
        let Some(session) = asker.session.as_ref().filter(|session| !session.is_ended()) else {
            return self.fail_home(home, Refusal::SessionUnknown);
        };
        let (key, session) = (&asker.key, session.key);
        // A server that is known to be down is not tried again for each who asks.
        if !self.partners.contains_key(key)
            && let Some(reason) = self.table.reasons[key.server].clone()
        {
            let name = &self.table.servers[key.server].name;
            let refusal = unavailable(name, &reason);
            return self.fail_home(home, refusal);
        }
        if let Err(refusal) = self.ensure_partner(&asker) {
            return self.fail_home(home, refusal);
        }
        let now = self.now;
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let conversation = &mut partner.conversation;
        if let Some(reason) = conversation.unavailable(now) {
            let refusal = unavailable(&conversation.server.name, &reason);
            return self.fail_home(home, refusal);
        }
        for uri in &wanted.uris {
            conversation.subscribe(session, uri);
        }
        for id in &wanted.task_ids {
            partner.tasks.follow(id, session);
        }
        let follower = Follower {
            home,
            session,
            manner: Manner::Listener,
            uris: wanted.uris.into_iter().collect(),
            tasks: wanted.task_ids.into_iter().collect(),
            granted: Filter::default(),
            until: now + timeout,
        };
        self.wake_at(follower.until);
        self.follow(key, follower);
    }

    /// Has a server tell of more. Who wants to hear of that is answered when the server has decided on it.
    pub(super) fn follow(&mut self, key: &Key, mut follower: Follower) {
        let era = self.era_in(key);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if !partner.conversation.is_open() {
            return partner.changes.unsent.push(follower);
        }
        let conversation = &partner.conversation;
        let known = follower.uris.iter().filter(|u| conversation.is_granted(u));
        let known: Vec<String> = known.cloned().collect();
        for uri in known {
            follower.uris.remove(&uri);
            follower.granted.uris.push(uri);
        }
        if !follower.waits() {
            return self.answer_follower(follower);
        }
        if era == Some(Era::Modern) {
            partner.changes.unsent.push(follower);
            return self.listen_soon(key);
        }
        partner.changes.unsent.push(follower);
        self.ask_for_followers(key);
    }

    /// Who waits there has given up, and wants to hear of nothing.
    pub(super) fn unfollow(&mut self, key: &Key, home: Home) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        for mut follower in partner.changes.take(|follower| follower.home == home) {
            let mut unwanted = follower.decide(&Granted::default());
            unwanted = unwanted.union(&follower.granted);
            self.want_no_more(key, follower.session, &unwanted);
        }
    }

    /// Those who have waited for long enough are told what was granted so far; when to look again.
    pub(super) fn sweep_followers(&mut self, key: &Key) -> Time {
        let now = self.now;
        let Some(partner) = self.partners.get_mut(key) else {
            return Time::NEVER;
        };
        let late = partner.changes.take(|follower| follower.until <= now);
        let next = partner.changes.followers().map(|f| f.until).min();
        for follower in late {
            self.settle_follower(key, follower, &Granted::default());
        }
        next.unwrap_or(Time::NEVER)
    }

    // ── what the server says to it ───────────────────────────────────────────────────────────────

    /// The server has decided on all that this one wants.
    pub(super) fn settle_follower(&mut self, key: &Key, mut follower: Follower, granted: &Granted) {
        let lacking = follower.decide(granted);
        self.want_no_more(key, follower.session, &lacking);
        self.answer_follower(follower);
    }

    fn answer_follower(&mut self, follower: Follower) {
        let Follower { home, granted, .. } = follower;
        match follower.manner {
            Manner::Subscriber if granted.uris.is_empty() => {
                let fact = "uri: its server does not tell of changes of this resource";
                self.fail_home(home, Refusal::Params(fact.into()));
            }
            Manner::Subscriber => self.answer_home(home, EMPTY_RESPONSE.0, EMPTY_RESPONSE.1),
            Manner::Listener => self.post(
                home.worker,
                Parcel::Followed(home.exchange, Box::new(granted)),
            ),
        }
    }

    /// The server cannot be asked: who waits is told why, or what was granted before.
    pub(super) fn fail_follower(&mut self, key: &Key, mut follower: Follower, why: &str) {
        let lacking = follower.decide(&Granted::default());
        self.want_no_more(key, follower.session, &lacking);
        if follower.granted.is_empty() {
            let server = self.table.servers[key.server].name.clone();
            return self.fail_home(follower.home, unavailable(&server, why));
        }
        self.answer_follower(follower);
    }

    /// A session does not want to hear of this any more, or never will.
    fn want_no_more(&mut self, key: &Key, session: SessionKey, unwanted: &Filter) {
        let era = self.era_in(key);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let mut orphans = Vec::new();
        for uri in &unwanted.uris {
            let granted = partner.conversation.is_granted(uri);
            if partner.conversation.unsubscribe(session, uri) && granted {
                orphans.push(uri);
            }
        }
        for id in &unwanted.task_ids {
            partner.tasks.unfollow(id, session);
        }
        if !partner.conversation.is_open() {
            return;
        }
        // What a modern server did not grant need not be taken back.
        if era == Some(Era::Modern) && !orphans.is_empty() {
            return self.listen_soon(key);
        }
        for uri in orphans {
            self.ask_quietly(key, Method::ResourcesUnsubscribe, &uri_params(uri));
        }
    }

    // ── legacy servers ───────────────────────────────────────────────────────────────────────────

    /// Asks a legacy server anew for all that anybody is subscribed to, but for what only those want who have just
    /// asked for it themselves: should one of them give up, nobody wants it.
    pub(super) fn ask_for_all(&mut self, key: &Key, asked: &[(SessionKey, String)]) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        partner.changes.asking = Asking::default();
        let asked: HashSet<(SessionKey, &str)> =
            asked.iter().map(|(who, uri)| (*who, &**uri)).collect();
        for uri in partner.conversation.subscribed() {
            let mut subscribers = partner.conversation.subscribers(uri);
            if !subscribers.all(|who| asked.contains(&(who, uri))) {
                partner.changes.asking.add(uri.into());
            }
        }
        // It may have been one of the other era before.
        partner.changes.listen = None;
        partner.changes.due = None;
        self.ask_for_followers(key);
    }

    /// Asks a legacy server for what those want who came since.
    fn ask_for_followers(&mut self, key: &Key) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let mut unfollowed = Vec::new();
        for mut follower in std::mem::take(&mut partner.changes.unsent) {
            // It has tasks, but none that can be followed.
            unfollowed.extend(
                std::mem::take(&mut follower.tasks)
                    .into_iter()
                    .map(|id| (id, follower.session)),
            );
            for uri in &follower.uris {
                partner.changes.asking.add(uri.clone());
            }
            partner.changes.waiting.push(follower);
        }
        for (id, session) in unfollowed {
            partner.tasks.unfollow(&id, session);
        }
        for follower in partner.changes.take(|follower| !follower.waits()) {
            self.answer_follower(follower);
        }
        self.ask_for_more(key);
    }

    fn ask_for_more(&mut self, key: &Key) {
        while let Some(partner) = self.partners.get_mut(key)
            && partner.changes.asking.unanswered < SUBSCRIBES_AT_ONCE
            && let Some(uri) = partner.changes.asking.unasked.pop_front()
        {
            if !partner.conversation.is_wanted(&uri) {
                partner.changes.asking.all.remove(&uri);
                continue;
            }
            partner.changes.asking.unanswered += 1;
            let outgoing = Outgoing::own(Method::ResourcesSubscribe, uri_params(&uri));
            let deadline = self.now + SUBSCRIBE_TIMEOUT;
            self.ask_for_itself(key, Step::Subscribe(uri), deadline, &outgoing);
        }
    }

    /// A legacy server has said whether it tells of that resource, or has not said so in time.
    pub(super) fn subscribe_answered(&mut self, key: &Key, uri: &str, granted: Result<(), ()>) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let asking = &mut partner.changes.asking;
        asking.unanswered = asking.unanswered.saturating_sub(1);
        asking.all.remove(uri);
        let wanted = partner.conversation.is_wanted(uri);
        if granted.is_ok() && wanted {
            partner.conversation.grant(uri);
        }
        let mut lacking = Vec::new();
        for follower in &mut partner.changes.waiting {
            if follower.uris.remove(uri) {
                match granted {
                    Ok(()) => follower.granted.uris.push(uri.into()),
                    Err(()) => lacking.push(follower.session),
                }
            }
        }
        for session in lacking {
            partner.conversation.unsubscribe(session, uri);
        }
        for follower in partner.changes.take(|follower| !follower.waits()) {
            self.answer_follower(follower);
        }
        // Who wanted it has given up meanwhile.
        if granted.is_ok() && !wanted {
            self.ask_quietly(key, Method::ResourcesUnsubscribe, &uri_params(uri));
        }
        self.ask_for_more(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnectionId;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(100);

    fn subscribes(scene: &mut Scene, uri: &str) -> ConnectionId {
        let client = scene.introduces_itself();
        let heard = scene.heard(client).to_ascii_lowercase();
        let (_, rest) = heard.split_once("mcp-session-id: ").expect("a session");
        let id = rest.split("\r\n").next().expect("its id");
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri},
        });
        scene.post(&format!("mcp-session-id: {id}\r\n"), &body)
    }

    fn refuses(scene: &mut Scene, asked: &Value) {
        let error = json!({"code": -32602, "message": "no"});
        let child = scene.children[0];
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}),
        );
    }

    /// What a legacy server was asked of that method.
    fn asked(scene: &mut Scene, method: &str) -> Vec<Value> {
        let child = scene.children[0];
        let mut lines = scene.lines(child);
        lines.retain(|line| line["method"] == method);
        lines
    }

    #[test]
    fn what_a_modern_server_does_not_grant_is_not_promised() {
        let mut scene = Scene::new(Era::Modern);
        let client = scene.listens(&["a:1", "a:2", "a:3"]);
        scene.pass(SOON);
        let (_, listen) = scene.asked("subscriptions/listen");
        scene.acknowledges(
            &listen,
            &json!({"resourceSubscriptions": ["a:3", "a:2", "b:9"]}),
        );
        assert_eq!(scene.told(client), Some(json!(["a:2", "a:3"])));
        scene.updates("a:1");
        assert_eq!(scene.heard(client), "");
        scene.updates("a:2");
        assert!(scene.heard(client).contains("\"a:2\""));
    }

    #[test]
    fn legacy_client_is_refused_what_a_modern_server_does_not_grant() {
        let mut scene = Scene::new(Era::Modern);
        let (one, other) = (subscribes(&mut scene, "a:1"), subscribes(&mut scene, "a:2"));
        scene.pass(SOON);
        let (_, listen) = scene.asked("subscriptions/listen");
        scene.acknowledges(&listen, &json!({"resourceSubscriptions": ["a:2"]}));
        assert_eq!(scene.answer(one)["error"]["code"], -32602);
        assert_eq!(scene.answer(other)["result"], json!({}));
        // Nor is it asked for again.
        subscribes(&mut scene, "a:3");
        scene.pass(SOON);
        let (_, listen) = scene.asked("subscriptions/listen");
        let wanted = &listen["params"]["notifications"]["resourceSubscriptions"];
        assert_eq!(*wanted, json!(["a:2", "a:3"]));
    }

    #[test]
    fn who_comes_second_is_told_no_earlier_than_the_first() {
        for era in [Era::Legacy, Era::Modern] {
            let mut scene = Scene::new(era);
            let (one, other) = (scene.listens(&["a:1"]), scene.listens(&["a:1"]));
            scene.pass(SOON);
            assert_eq!((scene.told(one), scene.told(other)), (None, None));
            match era {
                Era::Modern => {
                    let (_, listen) = scene.asked("subscriptions/listen");
                    scene.acknowledges(&listen, &json!({}));
                }
                Era::Legacy => {
                    let (_, subscribe) = scene.asked("resources/subscribe");
                    refuses(&mut scene, &subscribe);
                }
            }
            let nothing = Some(Value::Null);
            assert_eq!(scene.told(one), nothing, "{era:?}");
            assert_eq!(scene.told(other), nothing, "{era:?}");
        }
    }

    #[test]
    fn what_is_granted_is_not_asked_for_again() {
        let mut scene = Scene::new(Era::Modern);
        scene.listens(&["a:1"]);
        scene.pass(SOON);
        let (child, listen) = scene.asked("subscriptions/listen");
        scene.acknowledges(&listen, &listen["params"]["notifications"]);
        let client = scene.listens(&["a:1"]);
        assert_eq!(scene.told(client), Some(json!(["a:1"])));
        scene.pass(SOON);
        assert!(scene.lines(child).is_empty());
    }

    #[test]
    fn what_a_legacy_server_refuses_is_not_promised() {
        let mut scene = Scene::new(Era::Legacy);
        let client = scene.listens(&["a:1", "a:2"]);
        let both = asked(&mut scene, "resources/subscribe");
        assert_eq!(both.len(), 2);
        for subscribe in &both {
            assert_eq!(scene.told(client), None);
            match subscribe["params"]["uri"] == "a:1" {
                true => refuses(&mut scene, subscribe),
                false => {
                    let child = scene.children[0];
                    scene.answers(child, subscribe, &json!({}));
                }
            }
        }
        assert_eq!(scene.told(client), Some(json!(["a:2"])));
        scene.updates("a:2");
        assert!(scene.heard(client).contains("\"a:2\""));
        scene.hangs_up(client);
        let unwanted = asked(&mut scene, "resources/unsubscribe");
        assert_eq!(unwanted.len(), 1);
        assert_eq!(unwanted[0]["params"]["uri"], "a:2");
    }

    #[test]
    fn what_is_not_granted_in_time_is_not_promised() {
        for era in [Era::Legacy, Era::Modern] {
            let mut scene = Scene::new(era);
            let client = scene.listens(&["a:1", "a:2"]);
            scene.pass(SOON);
            let subscribe = asked(&mut scene, "resources/subscribe");
            if let Some(subscribe) = subscribe.first() {
                let child = scene.children[0];
                scene.answers(child, subscribe, &json!({}));
            }
            assert_eq!(scene.told(client), None);
            scene.pass(SUBSCRIBE_TIMEOUT);
            let granted = match era {
                Era::Legacy => json!(["a:1"]),
                Era::Modern => Value::Null,
            };
            assert_eq!(scene.told(client), Some(granted), "{era:?}");
            assert_eq!(scene.worker.exchanges_in_flight(), 0);
            scene.updates("a:2");
            assert_eq!(scene.heard(client), "", "{era:?}");
        }
    }

    #[test]
    fn legacy_server_is_asked_for_a_few_at_a_time() {
        let mut scene = Scene::new(Era::Legacy);
        let uris: Vec<String> = (100..300).map(|n| format!("a:{n}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        let client = scene.listens(&uris);
        let mut subscribes = asked(&mut scene, "resources/subscribe");
        let child = scene.children[0];
        let mut answered = 0;
        while let Some(subscribe) = subscribes.pop() {
            assert!(subscribes.len() < SUBSCRIBES_AT_ONCE);
            scene.answers(child, &subscribe, &json!({}));
            answered += 1;
            subscribes.extend(asked(&mut scene, "resources/subscribe"));
        }
        assert_eq!(answered, uris.len());
        assert_eq!(scene.told(client), Some(json!(uris)));
    }

    #[test]
    fn who_hangs_up_is_waited_for_by_nothing() {
        let mut scene = Scene::new(Era::Legacy);
        let client = scene.listens(&["a:1"]);
        let subscribes = asked(&mut scene, "resources/subscribe");
        scene.hangs_up(client);
        assert_eq!(scene.worker.exchanges_in_flight(), 0);
        let waits = |partner: &crate::worker::Partner| partner.changes.followers().count();
        assert_eq!(scene.worker.partners.values().map(waits).sum::<usize>(), 0);
        // What it was being asked for is taken back as soon as it is known to have been granted.
        let child = scene.children[0];
        scene.answers(child, &subscribes[0], &json!({}));
        assert_eq!(asked(&mut scene, "resources/unsubscribe").len(), 1);
    }

    #[test]
    fn server_that_starts_again_is_asked_for_what_is_waited_for() {
        let mut scene = Scene::new(Era::Legacy);
        let one = scene.listens(&["a:1"]);
        let (child, subscribe) = scene.asked("resources/subscribe");
        scene.answers(child, &subscribe, &json!({}));
        assert_eq!(scene.told(one), Some(json!(["a:1"])));
        scene.handle(crate::worker::effect::Input::Exited(
            child,
            "exit status: 1".into(),
        ));
        scene.children.retain(|own| *own != child);
        scene.pass(Duration::from_secs(1));
        let again = asked(&mut scene, "resources/subscribe");
        assert_eq!(again.len(), 1);
        // Until it has said so again, it is not certain.
        let other = scene.listens(&["a:1"]);
        assert_eq!(scene.told(other), None);
        let child = scene.children[0];
        scene.answers(child, &again[0], &json!({}));
        assert_eq!(scene.told(other), Some(json!(["a:1"])));
    }
}
