//! Listening to a modern server for changes: one `subscriptions/listen` for everything that anybody wants to
//! hear of, made anew whenever that becomes more or less.

use super::followers::{Asking, Follower, Granted};
use super::forward::{Awaiter, Pending, Step};
use super::parcel::Outgoing;
use super::partner::Partner;
use super::slots::Ticket;
use super::{Worker, wire_id};
use crate::config::limits::{LISTEN_INTERVAL, STREAM_RETRY, STREAM_RETRY_DOUBLINGS_MAX};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::parse;
use crate::mcp::Era;
use crate::mcp::bridge::listen::{self, Filter};
use crate::mcp::bridge::request;
use crate::mcp::capabilities::TASKS_DECLARED;
use crate::mcp::method::Method;
use crate::mcp::params::Params;
use crate::time::Time;
use crate::upstream::key::Key;

/// How a server is listened to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The request whose answers are being listened to, at a modern one.
    pub(super) listen: Option<Ticket>,
    /// Who came since the server was asked, and is part of what it is asked next.
    pub(super) unsent: Vec<Follower>,
    /// Who is part of what it was asked, and is told what it grants once it has said so.
    pub(super) waiting: Vec<Follower>,
    /// What a legacy one is being asked for.
    pub(super) asking: Asking,
    /// When to listen anew: for more or for less, or because the server has stopped.
    pub(super) due: Option<Time>,
    /// How often in a row it stopped before it had said that it knows.
    lost: u32,
}

impl Changes {
    /// Those who wait.
    pub(super) fn followers(&self) -> impl Iterator<Item = &Follower> {
        self.unsent.iter().chain(&self.waiting)
    }

    /// Those of them who do not wait any longer.
    pub(super) fn take(&mut self, is_it: impl Fn(&Follower) -> bool) -> Vec<Follower> {
        let taken = self.unsent.extract_if(.., |follower| is_it(follower));
        let mut taken: Vec<Follower> = taken.collect();
        taken.extend(self.waiting.extract_if(.., |follower| is_it(follower)));
        taken
    }
}

impl Worker {
    /// Asks a modern server to say what changes, in place of what it was asked before.
    pub(super) fn listen_for_changes(&mut self, key: &Key) {
        let modern = self.era_in(key) == Some(Era::Modern);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if !modern {
            // It was started again, in the other era, before it was time to listen again.
            return self.drop_changes(key, "it cannot be listened to for that");
        }
        let Some(introduced) = &partner.conversation.introduced else {
            return;
        };
        let offers = introduced.capabilities;
        let filter = Filter {
            tools: offers.tools,
            prompts: offers.prompts,
            resources: offers.resources,
            uris: partner
                .conversation
                .subscribed()
                .map(String::from)
                .collect(),
            task_ids: match offers.tasks_extension {
                true => partner.tasks.followed(),
                false => Vec::new(),
            },
        };
        let declared = match filter.task_ids.is_empty() {
            true => "{}",
            false => TASKS_DECLARED,
        };
        partner.changes.due = None;
        let unsent = std::mem::take(&mut partner.changes.unsent);
        partner.changes.waiting.extend(unsent);
        let before = partner.changes.listen.take();
        let params = listen::listen_params(&request::own_meta(declared, None, None), &filter);
        let outgoing = Outgoing {
            era: Era::Modern,
            ..Outgoing::own(Method::Listen, params)
        };
        let pending = Pending {
            key: key.clone(),
            epoch: self.epoch(key),
            awaiter: Awaiter::Step(Step::Listen, Time::NEVER),
            session: None,
            subscription: None,
            task: None,
            era: outgoing.era,
        };
        let listen = self.ask_server(key, pending, &outgoing);
        if let Some(partner) = self.partners.get_mut(key) {
            partner.changes.listen = listen;
        }
        if let Some(before) = before {
            self.abandon(before, "replaced by another");
        }
    }

    /// Has a modern server listened to for more, or for less, together with what else becomes different at this
    /// moment: each time it is asked for all.
    pub(super) fn listen_soon(&mut self, key: &Key) {
        let at = self.now + LISTEN_INTERVAL;
        if let Some(partner) = self.partners.get_mut(key) {
            let due = partner.changes.due.unwrap_or(Time::NEVER);
            partner.changes.due = Some(due.min(at));
            self.wake_at(at);
        }
    }

    /// The server knows what it is listened to for, and has said what of that it grants. What it may have said
    /// before, while it was not listened to, is fetched.
    pub(super) fn changes_acknowledged(&mut self, key: &Key, listen: Ticket, granted: Filter) {
        let partner = self.partners.get_mut(key);
        let Some(partner) = partner.filter(|partner| partner.changes.listen == Some(listen)) else {
            return;
        };
        let waiting = std::mem::take(&mut partner.changes.waiting);
        let missed = std::mem::take(&mut partner.changes.lost) > 0;
        partner.conversation.grant_nothing();
        for uri in &granted.uris {
            partner.conversation.grant(uri);
        }
        let granted = Granted {
            uris: granted.uris.into_iter().collect(),
            tasks: granted.task_ids.into_iter().collect(),
        };
        for follower in waiting {
            self.settle_follower(key, follower, &granted);
        }
        if missed {
            self.relist(key);
        }
    }

    /// Takes in that a server cancels what it was asked; whether that is to be listened to.
    pub(super) fn changes_cancelled(&mut self, key: &Key, envelope: &Envelope<'_>) -> bool {
        let params = Params::parse(envelope.text, envelope.params).ok();
        let id = params.and_then(|params| params.request_id);
        let id = id.and_then(|id| parse::integer(envelope.text, id));
        let partner = self.partners.get(key);
        let listen = partner.and_then(|partner| partner.changes.listen);
        match id.and_then(wire_id::unpack) {
            Some((worker, ticket)) if worker == self.id && listen == Some(ticket) => {
                self.pendings.remove(ticket);
                self.changes_lost(key);
                true
            }
            _ => false,
        }
    }

    /// The server has ended what it was listened to for, or refused it.
    pub(super) fn changes_ended(&mut self, key: &Key, how: Result<(), ()>) {
        match how {
            Ok(()) => self.changes_lost(key),
            // Whoever cannot say what changes is not asked again until somebody new wants to know.
            Err(()) => self.drop_changes(key, "it refuses to be listened to for changes"),
        }
    }

    /// What the server says of changes does not arrive any more. The less it can be listened to, the less often
    /// that is tried.
    pub(super) fn changes_lost(&mut self, key: &Key) {
        let now = self.now;
        if let Some(partner) = self.partners.get_mut(key) {
            // What it granted it may not grant again.
            partner.conversation.grant_nothing();
            let changes = &mut partner.changes;
            let at = now + STREAM_RETRY * (1 << changes.lost.min(STREAM_RETRY_DOUBLINGS_MAX));
            changes.lost += 1;
            changes.listen = None;
            changes.due = Some(at);
            self.wake_at(at);
        }
    }

    /// Nobody is listened to any more; who waits for it is told why.
    pub(super) fn drop_changes(&mut self, key: &Key, why: &str) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let changes = std::mem::take(&mut partner.changes);
        partner.conversation.grant_nothing();
        for follower in changes.unsent.into_iter().chain(changes.waiting) {
            self.fail_follower(key, follower, why);
        }
    }

    /// Listens anew where it is time; when to look again.
    pub(super) fn sweep_changes(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut due = Vec::new();
        for (key, partner) in &self.partners {
            match partner.changes.due {
                Some(at) if at <= now && partner.conversation.is_open() => due.push(key.clone()),
                Some(at) if at > now => next = next.min(at),
                _ => {}
            }
        }
        for key in due {
            self.listen_for_changes(&key);
        }
        let waited_for = |partner: &&Partner| partner.changes.followers().next().is_some();
        let keys = self
            .partners
            .iter()
            .filter(|(_, partner)| waited_for(partner));
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            next = next.min(self.sweep_followers(&key));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnectionId;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// How often the server was asked to be listened to since this was looked at last, and what it was asked at the
    /// end.
    fn listens(scene: &mut Scene) -> (usize, Value) {
        let child = scene.children[0];
        let asked = scene.lines(child);
        let mut asked = asked.into_iter();
        let asked: Vec<Value> = asked
            .by_ref()
            .filter(|line| line["method"] == "subscriptions/listen")
            .collect();
        (asked.len(), asked.last().cloned().unwrap_or_default())
    }

    fn acknowledges(scene: &mut Scene, listen: &Value) {
        scene.acknowledges(listen, &listen["params"]["notifications"]);
    }

    fn subscribes(scene: &mut Scene, uris: &[String]) -> ConnectionId {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        scene.modern("subscriptions/listen", params)
    }

    #[test]
    fn server_is_asked_once_for_all_that_is_subscribed_to_at_a_time() {
        let mut scene = Scene::new(Era::Modern);
        let (_, first) = listens(&mut scene);
        acknowledges(&mut scene, &first);
        let uris: Vec<String> = (0..50).map(|n| format!("a:{n}")).collect();
        subscribes(&mut scene, &uris);
        subscribes(&mut scene, &["b:1".to_string()]);
        scene.pass(Duration::from_millis(100));
        let (times, last) = listens(&mut scene);
        let asked = last["params"]["notifications"]["resourceSubscriptions"].clone();
        assert_eq!((times, asked.as_array().map(Vec::len)), (1, Some(51)));
    }

    #[test]
    fn who_subscribes_is_not_told_so_for_what_was_asked_before() {
        let mut scene = Scene::new(Era::Modern);
        let (_, first) = listens(&mut scene);
        let client = subscribes(&mut scene, &["a:1".to_string()]);
        scene.pass(Duration::from_millis(100));
        let (_, second) = listens(&mut scene);
        acknowledges(&mut scene, &first);
        assert!(!scene.heard(client).contains("acknowledged"));
        acknowledges(&mut scene, &second);
        assert!(scene.heard(client).contains("acknowledged"));
    }

    #[test]
    fn log_message_is_the_only_calls_though_other_things_are_listened_for() {
        let mut scene = Scene::new(Era::Modern);
        let (_, first) = listens(&mut scene);
        acknowledges(&mut scene, &first);
        subscribes(&mut scene, &["a:1".to_string()]);
        scene.pass(Duration::from_millis(100));
        let (times, second) = listens(&mut scene);
        acknowledges(&mut scene, &second);
        assert_eq!(times, 1);
        let meta = json!({"io.modelcontextprotocol/logLevel": "info"});
        let params = json!({"name": "t", "arguments": {}, "_meta": meta});
        let client = scene.modern("tools/call", params);
        let (child, _) = scene.asked("tools/call");
        let params = json!({"level": "error", "data": "d"});
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
        scene.says(child, &message);
        let heard = scene.heard(client);
        assert!(heard.contains("notifications/message"), "{heard}");
    }

    #[test]
    fn child_that_cancels_what_it_was_asked_is_listened_to_again() {
        let mut scene = Scene::new(Era::Modern);
        let (_, first) = listens(&mut scene);
        acknowledges(&mut scene, &first);
        let child = scene.children[0];
        let params = json!({"requestId": first["id"]});
        let method = "notifications/cancelled";
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "method": method, "params": params}),
        );
        scene.pass(Duration::from_secs(2));
        assert_eq!(listens(&mut scene).0, 1);
    }

    #[test]
    fn server_that_stops_at_once_is_listened_to_less_and_less_often() {
        let mut scene = Scene::new(Era::Modern);
        let child = scene.children[0];
        let (mut times, mut listen) = listens(&mut scene);
        for _ in 0..120 {
            let (more, last) = match listen.is_null() {
                false => {
                    scene.answers(child, &listen, &json!({"resultType": "complete"}));
                    (0, Value::Null)
                }
                true => listens(&mut scene),
            };
            (times, listen) = (times + more, last);
            scene.pass(Duration::from_secs(1));
        }
        assert!((6..10).contains(&times), "{times}");
    }

    #[test]
    fn who_has_given_up_is_not_waited_for() {
        let mut scene = Scene::new(Era::Modern);
        for _ in 0..3 {
            let client = subscribes(&mut scene, &["a:1".to_string()]);
            scene.pass(Duration::from_secs(6));
            scene.hangs_up(client);
            scene.pass(Duration::from_secs(1));
        }
        let waiting = scene.worker.partners.values().map(|p| &p.changes.waiting);
        assert_eq!(waiting.map(Vec::len).sum::<usize>(), 0);
    }
}
