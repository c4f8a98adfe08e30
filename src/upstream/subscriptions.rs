//! What the sessions that use a conversation want to hear of, and what its server has said that it tells of.
//!
//! It is kept by resource and by session, so that nobody who subscribes or leaves pays for what others want.

use crate::id::SessionKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who wants to hear of what.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    of_uri: BTreeMap<Arc<str>, BTreeSet<SessionKey>>,
    /// The same by who wants it.
    of_session: BTreeMap<SessionKey, BTreeSet<Arc<str>>>,
    /// Of those, what the server has said that it tells of.
    granted: BTreeSet<Arc<str>>,
}

impl Subscriptions {
    /// Notes that a session wants to hear of `uri`.
    pub(super) fn add(&mut self, session: SessionKey, uri: &str) {
        let uri = match self.of_uri.get_key_value(uri) {
            Some((known, _)) => known.clone(),
            None => uri.into(),
        };
        let own = self.of_session.entry(session).or_default();
        own.insert(uri.clone());
        self.of_uri.entry(uri).or_default().insert(session);
    }

    /// Notes that it no longer does; whether it was the last that did.
    pub(super) fn remove(&mut self, session: SessionKey, uri: &str) -> bool {
        if let Some(own) = self.of_session.get_mut(&session) {
            own.remove(uri);
            if own.is_empty() {
                self.of_session.remove(&session);
            }
        }
        self.drop_subscriber(session, uri)
    }

    /// Notes that a session wants to hear of nothing any more; gives what nobody wants to hear of now.
    pub(super) fn leave(&mut self, session: SessionKey) -> Vec<String> {
        let own = self.of_session.remove(&session).unwrap_or_default();
        let orphans = own.iter().filter(|uri| self.drop_subscriber(session, uri));
        orphans.map(|uri| String::from(&**uri)).collect()
    }

    fn drop_subscriber(&mut self, session: SessionKey, uri: &str) -> bool {
        let Some(subscribers) = self.of_uri.get_mut(uri) else {
            return false;
        };
        subscribers.remove(&session);
        let last = subscribers.is_empty();
        if last {
            self.of_uri.remove(uri);
            self.granted.remove(uri);
        }
        last
    }

    /// Notes that the server tells of `uri`, if anybody wants to hear of it.
    pub(super) fn grant(&mut self, uri: &str) {
        if let Some((known, _)) = self.of_uri.get_key_value(uri) {
            self.granted.insert(known.clone());
        }
    }

    /// Notes that it is not certain any more what the server tells of.
    pub(super) fn grant_nothing(&mut self) {
        self.granted.clear();
    }

    /// Whether it is certain that the server tells of `uri`.
    pub(super) fn is_granted(&self, uri: &str) -> bool {
        self.granted.contains(uri)
    }

    /// How many resources a session wants to hear of.
    pub(super) fn len_of(&self, session: SessionKey) -> usize {
        self.of_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Who wants to hear of `uri`.
    pub(super) fn subscribers(&self, uri: &str) -> Option<&BTreeSet<SessionKey>> {
        self.of_uri.get(uri)
    }

    /// All that anybody wants to hear of.
    pub(super) fn uris(&self) -> impl Iterator<Item = &str> {
        self.of_uri.keys().map(|uri| &**uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::conversation::tests::key;

    fn is_empty(all: &Subscriptions) -> bool {
        all.of_uri.is_empty() && all.of_session.is_empty() && all.granted.is_empty()
    }

    #[test]
    fn nothing_is_left_of_who_unsubscribed() {
        let mut all = Subscriptions::default();
        for session in [1, 2, 2] {
            all.add(key(session), "a");
        }
        all.grant("a");
        assert_eq!((all.len_of(key(1)), all.len_of(key(2))), (1, 1));
        assert!(!all.remove(key(1), "a") && !all.remove(key(1), "a"));
        assert!(all.is_granted("a") && all.len_of(key(1)) == 0);
        assert!(all.remove(key(2), "a"));
        assert!(is_empty(&all), "{all:?}");
    }

    #[test]
    fn nothing_is_left_of_who_left() {
        let mut all = Subscriptions::default();
        for (session, uri) in [(1, "a"), (1, "b"), (2, "b")] {
            all.add(key(session), uri);
            all.grant(uri);
        }
        assert_eq!(all.leave(key(1)), ["a"]);
        assert!(all.leave(key(1)).is_empty() && all.leave(key(3)).is_empty());
        assert_eq!(all.uris().collect::<Vec<_>>(), ["b"]);
        assert_eq!(all.leave(key(2)), ["b"]);
        assert!(is_empty(&all), "{all:?}");
    }
}
