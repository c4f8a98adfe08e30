//! Modern clients at legacy servers: sessions that we hold there in their name.
//!
//! A modern client has no session, and a legacy server asks and lists nothing to anybody who has none. A *guest* is
//! a session that no client knows of; each call under way has one of its own, see [`super::lanes`]. Where lists are
//! concerned, all who declare the same as the same principal are *alike*, and no session stands for them.

use super::Worker;
use super::parcel::{Asker, Parcel};
use crate::config::Share;
use crate::config::limits::{COMMON_GUESTS_MAX, CONVERSATION_IDLE_TIMEOUT};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::key::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For whom guests are opened alike: what is declared, and as whom.
pub(super) type Who = (Arc<str>, Option<Arc<str>>);

/// Those who are shown the same lists.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    pub(super) capabilities: ClientCapabilities,
    pub(super) principal: Option<Arc<str>>,
    /// When the first of them asked.
    pub(super) since: Time,
}

/// Those whom a worker shows lists, and when each was last needed.
#[derive(Debug, Default)]
pub(super) struct Guests {
    alike: BTreeMap<Who, (Alike, Time)>,
}

impl Worker {
    /// Has servers that are there only now asked what they list for the modern clients that have asked before.
    pub(super) fn ask_for_lists_of_all(&mut self) {
        let alike = self.guests.alike.values().map(|(alike, _)| alike.clone());
        for alike in alike.collect::<Vec<_>>() {
            self.ask_for_lists_of(&alike);
        }
    }

    /// Has those legacy servers asked what they list for a modern client that have not listed for any that declares
    /// the same.
    pub(super) fn ask_for_lists_of(&mut self, alike: &Alike) {
        let capabilities = &alike.capabilities;
        let who = (capabilities.text().clone(), alike.principal.clone());
        let unlisted = match self.table.catalogs.get(capabilities.text()) {
            Some(catalog) => catalog.unlisted.clone(),
            None => (0..self.table.servers.len()).collect(),
        };
        for place in unlisted {
            let legacy = self.table.eras[place] == Era::Legacy;
            if !legacy || self.table.base.unlisted.contains(&place) {
                continue;
            }
            let server = self.table.servers[place].clone();
            if server.has_one_conversation() {
                continue;
            }
            let alone = capabilities.may_be_asked() || server.share == Share::PerSession;
            let asker = match alone {
                false => Asker {
                    key: Key::of(place, &server, Some(capabilities), None),
                    session: None,
                },
                true => match self.lane_for_lists(place, &who, capabilities) {
                    Some(lane) => Asker {
                        key: Key::alone(place, capabilities, lane.key),
                        session: Some(lane),
                    },
                    None => continue,
                },
            };
            self.post(self.owner(&asker.key), Parcel::Open(Box::new(asker)));
        }
    }

    /// Those who declare the same as the same principal, and whether this is the first of them; `None` if there are
    /// too many of such already.
    pub(super) fn alike(
        &mut self,
        capabilities: &ClientCapabilities,
        principal: &Option<Arc<str>>,
    ) -> Option<(Alike, bool)> {
        let now = self.now;
        self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        let who = (capabilities.text().clone(), principal.clone());
        if let Some((alike, used_at)) = self.guests.alike.get_mut(&who) {
            *used_at = now;
            return Some((alike.clone(), false));
        }
        if self.guests.alike.len() >= COMMON_GUESTS_MAX {
            return None;
        }
        let alike = Alike {
            capabilities: capabilities.clone(),
            principal: principal.clone(),
            since: now,
        };
        self.guests.alike.insert(who, (alike.clone(), now));
        Some((alike, true))
    }

    pub(super) fn open_guest(
        &mut self,
        principal: &Option<Arc<str>>,
        capabilities: &ClientCapabilities,
    ) -> Arc<Session> {
        let (principal, capabilities) = (principal.clone(), capabilities.clone());
        self.sessions
            .guest(self.now, self.id, principal, capabilities)
    }

    /// Ends a guest's session: nobody needs its conversations any more.
    pub(super) fn dismiss(&mut self, guest: &Arc<Session>) {
        let key = guest.key;
        self.sessions.dismiss(guest);
        self.post_to_all(|| Parcel::Ended(key));
    }

    /// Forgets those who have asked for no list for long; when to look again.
    pub(super) fn sweep_guests(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        self.guests.alike.retain(|_, (_, used_at)| {
            let until = *used_at + CONVERSATION_IDLE_TIMEOUT;
            if until <= now {
                return false;
            }
            next = next.min(until.max(now + CONVERSATION_IDLE_TIMEOUT / 4));
            true
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::CATALOGS_MAX;
    use crate::worker::scene::Scene;
    use serde_json::json;
    use std::time::Duration;

    fn declares(scene: &mut Scene, number: usize) -> crate::id::ConnectionId {
        let declared = json!({"experimental": {"n": {"n": number}}});
        scene.modern_with("tools/list", json!({}), &declared)
    }

    #[test]
    fn clients_that_declare_ever_new_things_are_not_all_remembered() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..COMMON_GUESTS_MAX + 2 {
            declares(&mut scene, number);
        }
        assert_eq!(scene.worker.guests.alike.len(), COMMON_GUESTS_MAX);
    }

    #[test]
    fn list_waits_for_nobody_who_is_not_asked() {
        let mut scene = Scene::with_servers(2);
        scene.is_gone();
        let early = declares(&mut scene, 1);
        // The second one does not answer.
        let first = scene.children[2];
        scene.obliges(first);
        scene.pass(CONVERSATION_IDLE_TIMEOUT * 3);
        assert!(scene.answer(early)["result"]["tools"].is_array());
        scene.wakes();
        let late = declares(&mut scene, 1);
        scene.pass(Duration::from_millis(100));
        assert!(scene.answer(late)["result"]["tools"].is_array());
        assert_eq!(scene.children.len(), 3);
    }

    #[test]
    fn list_does_not_wait_for_a_catalog_that_is_not_kept() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..CATALOGS_MAX + 2 {
            let client = declares(&mut scene, number);
            scene.pass(Duration::from_millis(100));
            assert!(scene.answer(client)["result"]["tools"].is_array());
        }
    }
}
