//! The sessions that use a conversation: what their coming, choosing and going means for its server.

use super::heard::InFlight;
use super::partner::uri_params;
use super::{Worker, ticket};
use crate::config::limits::{CONVERSATION_IDLE_TIMEOUT, EXCHANGE_TIMEOUT_MAX};
use crate::id::{ConnectionId, SessionKey};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::method::Method;
use crate::mcp::params::LEVELS;
use crate::time::Time;
use crate::upstream::key::Key;

impl Worker {
    /// A session has ended: its own conversations end, and the shared ones forget it.
    pub(super) fn session_ended(&mut self, session: SessionKey) {
        self.forget_user(session);
        self.forget_asks(session);
        self.placed.remove(&session);
        let now = self.now;
        for key in self.uses.take(session) {
            if key.session == Some(session) {
                self.retire(&key);
                continue;
            }
            let Some(partner) = self.partners.get_mut(&key) else {
                continue;
            };
            partner.sessions.remove(&session);
            let orphans = partner.conversation.leave(now, session);
            let unfollowed = partner.tasks.leave(session);
            if partner.conversation.is_open() {
                if (unfollowed || !orphans.is_empty()) && self.era_in(&key) == Some(Era::Modern) {
                    self.listen_soon(&key);
                    continue;
                }
                for uri in orphans {
                    self.ask_quietly(&key, Method::ResourcesUnsubscribe, &uri_params(&uri));
                }
            }
            self.set_level(&key);
            self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        }
    }

    /// Lets go of what nobody wants any more who uses a conversation, and of itself if nobody does; when to look again.
    pub(super) fn sweep_users(&mut self, key: &Key) -> Time {
        let next = self.sweep_level(key);
        next.min(self.end_if_idle(key))
    }

    fn sweep_level(&mut self, key: &Key) -> Time {
        let Some(partner) = self.partners.get_mut(key) else {
            return Time::NEVER;
        };
        match partner.conversation.level_until() {
            Some(until) if until <= self.now => {
                partner.conversation.drop_level();
                self.set_level(key);
                Time::NEVER
            }
            until => until.unwrap_or(Time::NEVER),
        }
    }

    /// Ends a conversation that nobody has used for a while, unless it is its server's first.
    fn end_if_idle(&mut self, key: &Key) -> Time {
        let now = self.now;
        let Some(partner) = self.partners.get(key) else {
            return Time::NEVER;
        };
        if key.is_base() || partner.conversation.has_users() || !partner.waiting.is_empty() {
            return Time::NEVER;
        }
        let until = partner.conversation.idle_since + CONVERSATION_IDLE_TIMEOUT;
        if until > now {
            return until;
        }
        // Callers without a session do not say when they are through.
        if self.in_flight(key) != InFlight::Nobodys {
            return now + CONVERSATION_IDLE_TIMEOUT;
        }
        self.retire(key);
        Time::NEVER
    }

    pub(super) fn level_chosen(&mut self, session: SessionKey, level: u8) {
        for key in self.uses.of(session).to_vec() {
            if let Some(partner) = self.partners.get_mut(&key) {
                partner.conversation.choose_level(session, level);
            }
            self.set_level(&key);
        }
    }

    /// Sets a server to the least serious level that any of its users wants to hear of.
    pub(super) fn set_level(&mut self, key: &Key) {
        let Some(partner) = self
            .partners
            .get_mut(key)
            .filter(|partner| partner.conversation.is_open())
        else {
            return;
        };
        if let Some(level) = partner.conversation.level_to_set() {
            let params = format!("{{\"level\":\"{}\"}}", LEVELS[usize::from(level)]);
            self.ask_quietly(key, Method::SetLevel, params.as_bytes());
        }
    }

    /// Somebody without a session wants to hear of that level of log messages.
    pub(super) fn level_wanted(&mut self, key: &Key, level: u8) {
        if let Some(partner) = self.partners.get_mut(key) {
            partner.conversation.want_level(self.now, level);
            self.wake_at(self.now + EXCHANGE_TIMEOUT_MAX);
            self.set_level(key);
        }
    }

    pub(super) fn roots_changed(&mut self, session: SessionKey) {
        let own = self.uses.of(session).iter().filter(|key| {
            self.partners.get(*key).is_some_and(|partner| {
                partner.conversation.is_open()
                    && partner.conversation.speaks_legacy()
                    && partner.conversation.sole_user(self.now) == Some(session)
            })
        });
        let own: Vec<Key> = own.cloned().collect();
        for key in own {
            let mut message = Vec::new();
            write::notification(&mut message, Method::RootsChanged.name(), b"");
            self.tell_server(&key, message);
        }
    }

    /// Why a server that is not in the catalog cannot be asked.
    pub(super) fn why_unlisted(&self, place: usize) -> String {
        if let Some(reason) = &self.table.reasons[place] {
            return reason.to_string();
        }
        let own = self
            .partners
            .get(&Key::base(place))
            .and_then(|p| p.conversation.unavailable(self.now));
        own.unwrap_or_else(|| "it is starting and has not listed anything yet".into())
    }

    /// Whether this wire is still the child of a conversation.
    pub(super) fn is_current_child(&self, key: &Key, id: ConnectionId) -> bool {
        self.wires.get(ticket(id)).is_some()
            && self
                .partners
                .get(key)
                .is_some_and(|partner| partner.child == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::scene::Scene;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn server_is_as_talkative_as_before_when_who_wanted_more_is_gone() {
        let mut scene = Scene::new(Era::Legacy);
        scene.is_gone();
        let meta = json!({"io.modelcontextprotocol/logLevel": "debug"});
        let params = json!({"name": "t", "arguments": {}, "_meta": meta});
        scene.modern_with("tools/call", params, &json!({}));
        let (child, set) = scene.asked("logging/setLevel");
        assert_eq!(set["params"]["level"], "debug");
        scene.answers(child, &set, &json!({}));
        scene.pass(EXCHANGE_TIMEOUT_MAX + Duration::from_secs(1));
        let (_, set) = scene.asked("logging/setLevel");
        assert_eq!(set["params"]["level"], "info");
    }

    /// Conversations other than the server's first.
    fn others(scene: &Scene) -> usize {
        let partners = scene.worker.partners.keys();
        partners.filter(|key| !key.is_base()).count()
    }

    #[test]
    fn conversation_of_callers_without_a_session_lasts_while_they_use_it() {
        for mut scene in [Scene::new(Era::Legacy), Scene::well_over_http()] {
            let calls = |scene: &mut Scene| {
                let declared = json!({"experimental": {"x": {}}});
                let params = json!({"name": "t", "arguments": {}});
                let client = scene.modern_with("tools/call", params, &declared);
                scene.pass(Duration::from_millis(100));
                client
            };
            for _ in 0..4 {
                let client = calls(&mut scene);
                scene.pass(CONVERSATION_IDLE_TIMEOUT * 3 / 4);
                let heard = scene.heard(client);
                assert!(!heard.contains("error"), "{heard}");
                assert_eq!(others(&scene), 1);
                let result = json!({"content": []});
                if scene.children.is_empty() {
                    let (link, asked) = scene.posted("tools/call");
                    scene.responds(link, &asked, &result);
                } else {
                    let (child, asked) = scene.asked("tools/call");
                    scene.answers(child, &asked, &result);
                }
                let heard = scene.heard(client);
                assert!(heard.contains("\"content\""), "{heard}");
            }
            scene.pass(CONVERSATION_IDLE_TIMEOUT * 5 / 2);
            assert_eq!(others(&scene), 0);
        }
    }
}
