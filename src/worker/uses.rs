//! Which conversations each session uses, so that its choices and its end cost no walk over what others use.

use crate::id::SessionKey;
use crate::upstream::key::Key;
use std::collections::BTreeMap;

/// The conversations of sessions. One has few: one with each server, as a rule.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<SessionKey, Vec<Key>>);

impl Uses {
    /// Notes that a session uses a conversation.
    pub(super) fn add(&mut self, session: SessionKey, key: &Key) {
        let own = self.0.entry(session).or_default();
        if !own.contains(key) {
            own.push(key.clone());
        }
    }

    /// Notes that it does not any more.
    pub(super) fn remove(&mut self, session: SessionKey, key: &Key) {
        if let Some(own) = self.0.get_mut(&session) {
            own.retain(|used| used != key);
            if own.is_empty() {
                self.0.remove(&session);
            }
        }
    }

    /// Forgets a session; gives what it used.
    pub(super) fn take(&mut self, session: SessionKey) -> Vec<Key> {
        self.0.remove(&session).unwrap_or_default()
    }

    /// What a session uses.
    pub(super) fn of(&self, session: SessionKey) -> &[Key] {
        self.0.get(&session).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::CONVERSATION_IDLE_TIMEOUT;
    use crate::id::{ConnectionId, WorkerId};
    use crate::mcp::Era;
    use crate::worker::Front;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn nothing_is_left_of_who_uses_nothing() {
        let (mut uses, session) = (Uses::default(), SessionKey::new(7, WorkerId(0)));
        for place in [0, 1, 1] {
            uses.add(session, &Key::base(place));
        }
        uses.remove(session, &Key::base(0));
        assert_eq!(uses.of(session), [Key::base(1)]);
        uses.remove(session, &Key::base(1));
        uses.remove(session, &Key::base(1));
        assert!(uses.0.is_empty(), "{uses:?}");
        uses.add(session, &Key::base(0));
        assert_eq!(uses.take(session), [Key::base(0)]);
        assert!(
            uses.0.is_empty() && uses.take(session).is_empty(),
            "{uses:?}"
        );
    }

    fn calls(scene: &mut Scene, fields: &str) -> ConnectionId {
        let params = json!({"name": "t", "arguments": {}});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        scene.post(fields, &call)
    }

    fn leaves(scene: &mut Scene, fields: &str) {
        let from = ([127, 0, 0, 1], 9).into();
        let client = scene.worker.accept(scene.now, from, Front::Main);
        let leaves = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        scene.handle(Input::Received(client, leaves.as_bytes()));
    }

    fn counts(scene: &Scene) -> (usize, usize) {
        let worker = &scene.worker;
        (worker.uses.0.len(), worker.slice_uses.0.len())
    }

    #[test]
    fn nothing_is_left_of_sessions_that_have_ended() {
        for mut scene in [Scene::new(Era::Legacy), Scene::well_over_http()] {
            let sliced = usize::from(scene.children.is_empty());
            let before = counts(&scene);
            let (first, second) = (scene.opens_session(), scene.opens_session());
            calls(&mut scene, &first);
            calls(&mut scene, &second);
            assert_eq!(counts(&scene), (before.0 + 2, before.1 + 2 * sliced));
            leaves(&mut scene, &first);
            assert_eq!(counts(&scene), (before.0 + 1, before.1 + sliced));
            leaves(&mut scene, &second);
            assert_eq!(counts(&scene), before);
        }
    }

    #[test]
    fn nothing_is_left_of_lanes_that_were_dismissed() {
        let mut scene = Scene::new(Era::Legacy);
        let before = counts(&scene);
        let params = json!({"name": "t", "arguments": {}});
        let client = scene.modern_with("tools/call", params, &json!({"elicitation": {}}));
        let (child, call) = scene.asked("tools/call");
        assert!(counts(&scene).0 > before.0);
        scene.answers(child, &call, &json!({"content": []}));
        scene.heard(client);
        scene.pass(CONVERSATION_IDLE_TIMEOUT * 3);
        assert_eq!(counts(&scene), before);
    }
}
