//! All sessions of the process, found by their id from any worker.
//!
//! Sharded, so that two workers seldom meet; a connection remembers its session, so that the steady
//! state does not look here at all. Ids are unguessable: a digest of a secret and a counter, cut to 128
//! bits, so that whoever holds one was given it.

use super::endpoints::Endpoints;
use super::{Listener, Session};
use crate::config::limits::{SESSION_IDLE_TIMEOUT, SESSIONS_MAX};
use crate::id::{Place, SessionKey, WorkerId};
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::revision::Revision;
use crate::time::Time;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A session's id as clients see it: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Reads what `Display` wrote; lower case only.
    pub fn parse(text: &[u8]) -> Option<SessionId> {
        let mut bytes = [0; 16];
        if text.len() != 32 {
            return None;
        }
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(SessionId(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A session id lets its holder act as the session: it does not belong in a log.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

const SHARDS: usize = 16;

/// The sessions.
pub struct Store {
    secret: [u8; 32],
    counter: AtomicU64,
    open: AtomicUsize,
    endpoints: Endpoints,
    // Ordered maps, so that nothing depends on a randomly seeded order; ids are uniform, so they are
    // also balanced.
    shards: [Mutex<BTreeMap<SessionId, Arc<Session>>>; SHARDS],
}

impl Store {
    /// An empty store. `secret` must be drawn from the system's source of randomness.
    pub fn new(secret: [u8; 32]) -> Store {
        Store {
            secret,
            counter: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            endpoints: Endpoints::default(),
            shards: Default::default(),
        }
    }

    /// Opens a session for the worker `host`. `None`: there are [`SESSIONS_MAX`] and none of them may be evicted.
    /// The second of the pair is a session that had to give way.
    pub fn open(
        &self,
        now: Time,
        host: WorkerId,
        principal: Option<Arc<str>>,
        revision: Revision,
        capabilities: ClientCapabilities,
    ) -> Option<(Arc<Session>, Option<Arc<Session>>)> {
        let key = self.next_key(host);
        let id = self.draw(key);
        let mut evicted = None;
        if self.open.load(Ordering::Relaxed) >= SESSIONS_MAX {
            evicted = Some(self.evict(now, id)?);
        }
        let session = Arc::new(Session::new(
            now,
            key,
            id,
            principal,
            revision,
            capabilities,
        ));
        self.shard(id).lock().insert(id, session.clone());
        self.open.fetch_add(1, Ordering::Relaxed);
        Some((session, evicted))
    }

    /// A session that no client knows of, opened by the worker `host`: it cannot be found, is not counted and does not
    /// end by itself.
    pub fn guest(
        &self,
        now: Time,
        host: WorkerId,
        principal: Option<Arc<str>>,
        capabilities: ClientCapabilities,
    ) -> Arc<Session> {
        let key = self.next_key(host);
        let (id, revision) = (self.draw(key), Revision::MODERN);
        let mut session = Session::new(now, key, id, principal, revision, capabilities);
        session.host = Some(host);
        Arc::new(session)
    }

    /// Such a session for a stream of the worker `host` on which a modern client listens.
    pub fn listener(
        &self,
        now: Time,
        host: WorkerId,
        principal: Option<Arc<str>>,
        capabilities: ClientCapabilities,
        listener: Listener,
    ) -> Arc<Session> {
        let key = self.next_key(host);
        let (id, revision) = (self.draw(key), Revision::MODERN);
        let mut session = Session::new(now, key, id, principal, revision, capabilities);
        session.listener = Some(listener);
        Arc::new(session)
    }

    /// Ends such a session.
    pub fn dismiss(&self, guest: &Session) {
        guest.end();
    }

    /// A secret of its own for `purpose`, which nobody who knows another can find.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(purpose);
        hash.finalize().into()
    }

    /// The session of that id, if it is open.
    pub fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// Ends a session; whether it was open.
    pub fn close(&self, session: &Session) -> bool {
        let was_open = self.shard(session.id).lock().remove(&session.id).is_some();
        if was_open {
            session.end();
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        was_open
    }

    /// Ends the sessions in every `step`-th shard from `first` on that nobody used for
    /// [`SESSION_IDLE_TIMEOUT`], and gives them. Each worker sweeps its own share.
    pub fn sweep(&self, now: Time, first: usize, step: usize) -> Vec<Arc<Session>> {
        let mut idle = Vec::new();
        for shard in self.shards.iter().skip(first).step_by(step) {
            let shard = shard.lock();
            idle.extend(
                shard
                    .values()
                    .filter(|s| s.is_idle(now, SESSION_IDLE_TIMEOUT))
                    .cloned(),
            );
        }
        idle.retain(|session| self.close(session));
        idle
    }

    /// Looks at every session in such a share.
    pub fn look(&self, first: usize, step: usize, look: impl Fn(&Session)) {
        for shard in self.shards.iter().skip(first).step_by(step) {
            shard.lock().values().for_each(|session| look(session));
        }
    }

    /// Gives the stream of an HTTP+SSE client an endpoint for its messages.
    pub fn open_endpoint(&self, place: Place, principal: Option<Arc<str>>) -> SessionId {
        let id = self.draw(self.next_key(place.worker));
        self.endpoints.open(id, place, principal);
        id
    }

    /// The endpoints of HTTP+SSE clients.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Sessions open now.
    pub fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room in the shard that `id` falls into: ids are uniform, so every session is as likely to be
    /// looked at, and the cost is that of one shard.
    fn evict(&self, now: Time, id: SessionId) -> Option<Arc<Session>> {
        let longest = {
            let shard = self.shard(id).lock();
            let candidates = shard.values().filter(|s| s.is_evictable());
            candidates.max_by_key(|s| s.idle_for(now)).cloned()
        }?;
        self.close(&longest).then_some(longest)
    }

    fn next_key(&self, host: WorkerId) -> SessionKey {
        SessionKey::new(self.counter.fetch_add(1, Ordering::Relaxed), host)
    }

    fn draw(&self, key: SessionKey) -> SessionId {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(key.to_bytes())
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        SessionId(id)
    }

    fn shard(&self, id: SessionId) -> &Mutex<BTreeMap<SessionId, Arc<Session>>> {
        &self.shards[usize::from(id.0[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn open(store: &Store, now: Time) -> Arc<Session> {
        store
            .open(
                now,
                WorkerId(3),
                None,
                Revision::LATEST,
                ClientCapabilities::none(),
            )
            .unwrap()
            .0
    }

    #[test]
    fn session_is_found_until_it_is_closed() {
        let store = Store::new([7; 32]);
        let session = open(&store, Time::ZERO);
        let id = SessionId::parse(session.id.to_string().as_bytes()).unwrap();
        let found = store.find(id).unwrap();
        assert_eq!((found.key, found.key.worker()), (session.key, WorkerId(3)));
        assert!(store.close(&session));
        assert!(!store.close(&session));
        assert!(store.find(id).is_none() && session.is_ended() && store.is_empty());
    }

    #[test]
    fn ids_depend_on_the_secret() {
        let (a, b) = (
            open(&Store::new([1; 32]), Time::ZERO),
            open(&Store::new([2; 32]), Time::ZERO),
        );
        assert_ne!(a.id, b.id);
    }

    #[test]
    fn what_is_no_id_is_not_read_as_one() {
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(SessionId::parse(good.as_bytes()).unwrap().to_string(), good);
        for wrong in [
            "",
            "0123",
            &good.to_uppercase(),
            &format!("{good}0"),
            &good.replace('0', "g"),
        ] {
            assert!(SessionId::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn idle_sessions_are_swept_and_used_ones_stay() {
        let store = Store::new([7; 32]);
        let (idle, used) = (open(&store, Time::ZERO), open(&store, Time::ZERO));
        let later = Time::ZERO + SESSION_IDLE_TIMEOUT + Duration::from_secs(1);
        used.touch(later);
        let swept: Vec<SessionKey> = (0..3)
            .flat_map(|worker| store.sweep(later, worker, 3))
            .map(|session| session.key)
            .collect();
        assert_eq!((swept, store.len()), (vec![idle.key], 1));
    }
}
