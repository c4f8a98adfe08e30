//! The sessions that use a conversation: what their coming, choosing and going means for its server.

use super::partner::uri_params;
use super::{Worker, ticket};
use crate::id::{ConnectionId, SessionKey};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::method::Method;
use crate::mcp::params::LEVELS;
use crate::upstream::key::Key;

impl Worker {
    /// A session has ended: its own conversations end, and the shared ones forget it.
    pub(super) fn session_ended(&mut self, session: SessionKey) {
        self.forget_user(session);
        self.forget_asks(session);
        let now = self.now;
        let used: Vec<Key> = self
            .partners
            .iter()
            .filter(|(key, partner)| {
                key.session == Some(session) || partner.conversation.has_user(session)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in used {
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
            self.wake_at(now + crate::config::limits::CONVERSATION_IDLE_TIMEOUT);
        }
    }

    pub(super) fn level_chosen(&mut self, session: SessionKey, level: u8) {
        let used: Vec<Key> = self
            .partners
            .iter()
            .filter(|(_, partner)| partner.conversation.has_user(session))
            .map(|(key, _)| key.clone())
            .collect();
        for key in used {
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
            partner.conversation.want_level(level);
            self.set_level(key);
        }
    }

    pub(super) fn roots_changed(&mut self, session: SessionKey) {
        let own = self.partners.iter().filter(|(key, partner)| {
            partner.conversation.is_open()
                && partner.conversation.speaks_legacy()
                && (key.session == Some(session)
                    || partner.conversation.sole_user(self.now) == Some(session))
        });
        let own: Vec<Key> = own.map(|(key, _)| key.clone()).collect();
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
