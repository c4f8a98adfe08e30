//! Which conversation an asker gets where a server may have only so many: its own, one that it shares with those who
//! declare the same, or the server's first, in which nothing is declared and nobody is asked anything.
//!
//! Each worker has its part of what a server may have, so that nobody counts for all. Where a part would be small, one
//! worker has all of it.

use super::Worker;
use super::parcel::{Asker, Parcel};
use crate::config::limits::{ASKED_CHILDREN_MAX, CHILDREN_MAX, CHILDREN_OF_ONE_MIN};
use crate::config::{Share, Transport};
use crate::id::WorkerId;
use crate::upstream::key::Key;

impl Worker {
    /// The worker that owns a conversation.
    pub(super) fn owner(&self, key: &Key) -> WorkerId {
        let spread = match self.is_gathered(key.server) {
            true => Key::spread_of_base(key.server),
            false => key.spread(),
        };
        WorkerId((spread % self.workers as u64) as u8)
    }

    /// Whether all conversations with a server have the one owner.
    fn is_gathered(&self, place: usize) -> bool {
        let server = &self.table.servers[place];
        let is_child = matches!(server.transport, Transport::Stdio(_));
        is_child && server.connections < CHILDREN_OF_ONE_MIN * self.workers
    }

    /// This worker's part of that many conversations with a server. The parts add up to the whole.
    fn part(&self, place: usize, whole: usize) -> usize {
        let first = Key::spread_of_base(place) % self.workers as u64;
        let after = (usize::from(self.id.0) + self.workers - first as usize) % self.workers;
        match (self.is_gathered(place), after) {
            (true, 0) => whole,
            (true, _) => 0,
            (false, _) => whole / self.workers + usize::from(after < whole % self.workers),
        }
    }

    /// Whether this worker may open one more conversation with a server.
    pub(super) fn has_room_at(&self, place: usize) -> bool {
        let server = &self.table.servers[place];
        let most = match server.transport {
            Transport::Stdio(_) => server.connections,
            Transport::Http(_) => CHILDREN_MAX,
        };
        !server.has_one_stream() || self.conversations[place] < self.part(place, most)
    }

    /// Has somebody share a conversation who may not have the one that was asked for; whether it is another.
    ///
    /// A session that asks for one of its own gets it, or is refused. One that has it only because it can be asked
    /// something shares past [`ASKED_CHILDREN_MAX`], and where there is no room: what a server asks is then refused
    /// unless it is clear for whom it is. Where there is no room for that either, the first is everybody's. A session
    /// that shares goes on to, since what it is subscribed to is known there.
    pub(super) fn place(&mut self, asker: &mut Asker) -> bool {
        let key = &asker.key;
        let server = &self.table.servers[key.server];
        if key.is_base() || !server.has_one_stream() {
            return false;
        }
        let is_open = self.partners.contains_key(key);
        if is_open && key.session.is_some() {
            return false;
        }
        let session = asker.session.as_ref().filter(|session| !session.is_ended());
        let before = session.and_then(|session| self.placed.get(&session.key)?.get(&key.server));
        if let Some(before) = before.filter(|before| *before != key) {
            asker.key = before.clone();
            return true;
        }
        if is_open || server.share == Share::PerSession {
            return false;
        }
        let shared = match key.session {
            Some(_) if !self.must_share(key) => return false,
            Some(_) => Key {
                session: None,
                ..key.clone()
            },
            None if self.has_room_at(key.server) => return false,
            None => Key::base(key.server),
        };
        if let Some(session) = session {
            let placed = self.placed.entry(session.key).or_default();
            placed.insert(shared.server, shared.clone());
        }
        asker.key = shared;
        true
    }

    /// Whether a session may not have a conversation of its own that it does not have yet.
    fn must_share(&self, key: &Key) -> bool {
        let alone = self
            .partners
            .keys()
            .filter(|own| own.server == key.server && own.session.is_some());
        !self.has_room_at(key.server) || alone.count() >= self.part(key.server, ASKED_CHILDREN_MAX)
    }

    /// Opens a conversation, so that its lists become known.
    pub(super) fn open_for(&mut self, mut asker: Asker) {
        if self.place(&mut asker) {
            let owner = self.owner(&asker.key);
            return self.post(owner, Parcel::Open(Box::new(asker)));
        }
        // A refusal here costs nobody anything: the conversation is asked for again with the first request.
        let _ = self.ensure_partner(&asker);
    }

    /// Where what was to go there went, if not there.
    pub(super) fn shared_instead(&self, key: &Key) -> Option<Key> {
        if key.session.is_some() {
            let mut shared = key.clone();
            shared.session = None;
            return Some(shared);
        }
        let server = &self.table.servers[key.server];
        (server.has_one_stream() && !key.is_base()).then(|| Key::base(key.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnectionId, SessionKey};
    use crate::mcp::Era;
    use crate::router::directory::Directory;
    use crate::router::testing;
    use crate::session::store::Store;
    use crate::time::Wall;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use crate::worker::{Front, Seat};
    use serde_json::json;
    use std::sync::Arc;

    /// The parts of so many workers in so many children of a server, and which of them owns the first.
    fn parts(workers: usize, children: usize) -> (Vec<usize>, usize) {
        let mut server = (*testing::server("s")).clone();
        server.connections = children;
        let config = Arc::new(testing::config(vec![Arc::new(server)]));
        let table = Directory::new(&config).table();
        let worker = |number: usize| {
            Worker::new(Seat {
                id: WorkerId(number as u8),
                workers,
                table: table.clone(),
                config: config.clone(),
                sessions: Arc::new(Store::new([7; 32])),
                seed: 1,
                wall_at_zero: Wall(0),
            })
        };
        let parts = (0..workers).map(|number| worker(number).part(0, children));
        let first = worker(0).owner(&Key::base(0));
        (parts.collect(), usize::from(first.0))
    }

    #[test]
    fn parts_of_all_workers_add_up_to_what_a_server_may_have() {
        for workers in [1, 2, 3, 8] {
            for children in [1, 2, 5, 31, 100, 129, 1024] {
                let (parts, first) = parts(workers, children);
                assert_eq!(parts.iter().sum::<usize>(), children, "{parts:?}");
                assert!(parts[first] > 0, "{parts:?}");
            }
        }
    }

    fn calls(scene: &mut Scene, session: &str) -> ConnectionId {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"},
        });
        scene.post(session, &call)
    }

    #[test]
    fn clients_share_what_few_children_a_server_may_have() {
        for most in 1..4 {
            let mut scene = Scene::with_children(most);
            for _ in 0..4 {
                let session = scene.opens_session();
                let legacy = calls(&mut scene, &session);
                let (child, call) = scene.asked("tools/call");
                scene.answers(child, &call, &json!({"content": []}));
                let answer = scene.answer(legacy);
                assert!(answer["result"].is_object(), "{most}: {answer}");
                let modern = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
                let (child, call) = scene.asked("tools/call");
                scene.answers(child, &call, &json!({"content": []}));
                let answer = scene.answer(modern);
                assert!(answer["result"].is_object(), "{most}: {answer}");
            }
            assert!(scene.children.len() <= most);
        }
    }

    #[test]
    fn list_of_a_server_with_one_child_is_not_waited_for() {
        let mut scene = Scene::with_children(1);
        let session = scene.opens_session();
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let legacy = scene.post(&session, &list);
        assert!(scene.answer(legacy)["result"]["tools"].is_array());
        let modern = scene.modern("tools/list", json!({}));
        assert!(scene.answer(modern)["result"]["tools"].is_array());
    }

    #[test]
    fn session_that_shares_goes_on_to_though_there_is_room() {
        let mut scene = Scene::with_children(2);
        let (first, second) = (scene.opens_session(), scene.opens_session());
        calls(&mut scene, &first);
        let (own, _) = scene.asked("tools/call");
        calls(&mut scene, &second);
        let (shared, _) = scene.asked("tools/call");
        assert_ne!(own, shared);
        let from = ([127, 0, 0, 1], 9).into();
        let client = scene.worker.accept(scene.now, from, Front::Main);
        let leaves = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\n{first}\r\n");
        scene.handle(Input::Received(client, leaves.as_bytes()));
        assert!(scene.closed.contains(&own));
        calls(&mut scene, &second);
        assert_eq!(scene.asked("tools/call").0, shared);
    }

    #[test]
    fn session_at_a_server_on_streamable_http_need_not_share() {
        let mut scene = Scene::over_http(Era::Legacy);
        let key = |session| Key {
            server: 0,
            capabilities: r#"{"roots":{}}"#.into(),
            session: Some(SessionKey::new(session, WorkerId(0))),
        };
        for session in 0..ASKED_CHILDREN_MAX as u64 {
            scene.worker.open_conversation(key(session), None);
        }
        let mut asker = Asker {
            key: key(ASKED_CHILDREN_MAX as u64),
            session: None,
        };
        assert!(!scene.worker.place(&mut asker));
    }
}
