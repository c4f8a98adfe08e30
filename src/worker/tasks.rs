//! Whose tasks they are: what a conversation's owner remembers, so that a server's news of a task reach whom they are
//! for, and nobody else.
//!
//! It is remembered while the conversation lasts, and for the latest tasks only: news are a courtesy, and whoever
//! misses one can ask. Whose task an id stands for does not depend on it.

use super::Worker;
use super::forward::{Awaiter, Pending};
use super::heard::Addressee;
use super::parcel::{Began, Parcel, Said, TaskFor};
use crate::config::limits::{TASK_ID_BYTES_MAX, TASKS_MAX};
use crate::id::{Home, SessionKey};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::parse::Span;
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::listen;
use crate::mcp::bridge::task::{self, Naming};
use crate::mcp::method::Method;
use crate::session::Session;
use crate::upstream::key::Key;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a conversation's owner remembers of tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Whose the tasks are, by the server's ids, and in which order they began.
    owners: BTreeMap<String, Owner>,
    order: VecDeque<String>,
    /// Who listens for news of which.
    followers: BTreeMap<String, BTreeSet<SessionKey>>,
    /// The same by who listens.
    followed: BTreeMap<SessionKey, BTreeSet<String>>,
}

#[derive(Debug)]
struct Owner {
    session: Option<SessionKey>,
    home: Option<Home>,
    token: Option<(u64, Box<[u8]>)>,
}

impl Tasks {
    /// The tasks that somebody listens for.
    pub(super) fn followed(&self) -> Vec<String> {
        self.followers.keys().cloned().collect()
    }

    /// Forgets a session; whether fewer tasks are listened for.
    pub(super) fn leave(&mut self, session: SessionKey) -> bool {
        let before = self.followers.len();
        for id in self.followed.remove(&session).unwrap_or_default() {
            self.drop_follower(&id, session);
        }
        let owners = &mut self.owners;
        owners.retain(|_, owner| owner.session != Some(session));
        if owners.len() < self.order.len() {
            self.order.retain(|id| owners.contains_key(id));
        }
        self.followers.len() < before
    }

    /// Notes that a listener wants news of a task.
    pub(super) fn follow(&mut self, id: &str, session: SessionKey) {
        let followers = self.followers.entry(id.into()).or_default();
        followers.insert(session);
        let followed = self.followed.entry(session).or_default();
        followed.insert(id.into());
    }

    /// Notes that it will not have them.
    pub(super) fn unfollow(&mut self, id: &str, session: SessionKey) {
        if let Some(followed) = self.followed.get_mut(&session) {
            followed.remove(id);
            if followed.is_empty() {
                self.followed.remove(&session);
            }
        }
        self.drop_follower(id, session);
    }

    fn drop_follower(&mut self, id: &str, session: SessionKey) {
        if let Some(followers) = self.followers.get_mut(id) {
            followers.remove(&session);
            if followers.is_empty() {
                self.followers.remove(id);
            }
        }
    }

    fn remember(&mut self, id: String, owner: Owner) {
        if self.owners.insert(id.clone(), owner).is_none() {
            self.order.push_back(id);
        }
        if self.owners.len() > TASKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.owners.remove(&oldest);
        }
        assert_eq!(self.owners.len(), self.order.len());
    }

    fn forget(&mut self, id: &str) {
        if self.owners.remove(id).is_some() {
            self.order.retain(|own| own != id);
        }
    }
}

impl Worker {
    // ── at the conversation's owner ──────────────────────────────────────────────────────────────

    /// Takes note of an answer to a call that may have become a task.
    pub(super) fn note_task(&mut self, pending: &Pending, wire: u64, text: &[u8], result: Span) {
        let Some((whose, token)) = &pending.task else {
            return;
        };
        let Some(id) = task::created(text, result) else {
            return;
        };
        let owner = self.owner(&pending.key);
        let home = match pending.awaiter {
            Awaiter::Client(home) => home,
            _ if *whose == TaskFor::Us => {
                let key = Arc::new(pending.key.clone());
                return self.post(owner, Parcel::TaskUnwanted(key, id.into()));
            }
            _ => return,
        };
        let began = Began {
            key: pending.key.clone(),
            id: id.into_owned(),
            session: pending.session,
            home: (*whose == TaskFor::Us).then_some(home),
            token: token.clone().map(|token| (wire, token)),
        };
        self.post(owner, Parcel::TaskBegan(Box::new(began)));
    }

    pub(super) fn task_began(&mut self, began: Began) {
        let Some(partner) = self.partners.get_mut(&began.key) else {
            return;
        };
        if began.id.len() <= TASK_ID_BYTES_MAX {
            let owner = Owner {
                session: began.session,
                home: began.home,
                token: began.token,
            };
            partner.tasks.remember(began.id, owner);
        }
    }

    /// Nobody waits for a task any more that is ours.
    pub(super) fn task_unwanted(&mut self, key: &Key, id: &str) {
        let own_or_first = key.session.is_some() || key.is_base();
        let partner = self.partners.get_mut(key);
        let it = partner.filter(|it| own_or_first || it.tasks.owners.contains_key(id));
        let Some(partner) = it else {
            // It may have had to share a conversation, perhaps of another worker.
            if let Some(key) = self.shared_instead(key) {
                let owner = self.owner(&key);
                self.post(owner, Parcel::TaskUnwanted(Arc::new(key), id.into()));
            }
            return;
        };
        partner.tasks.forget(id);
        if partner.conversation.is_open() {
            self.ask_quietly(key, Method::TasksCancel, &task::about(id));
        }
    }

    /// Whose the task is in which something came up that a server says.
    pub(super) fn owner_of_task(&self, key: &Key, envelope: &Envelope<'_>) -> Option<Addressee> {
        let id = task::related(envelope.text, envelope.params)?;
        let owner = self.partners.get(key)?.tasks.owners.get(&*id)?;
        if let Some(home) = owner.home {
            return Some(Addressee::Exchange(home));
        }
        let session = owner.session?;
        let exchange = self.latest_exchange(key, owner.session);
        Some(exchange.map_or(Addressee::Session(session), Addressee::Exchange))
    }

    /// The session for which an exchange waits for a task.
    pub(super) fn session_of_task(&self, key: &Key, home: Home) -> Option<SessionKey> {
        let mut owners = self.partners.get(key)?.tasks.owners.values();
        owners.find(|owner| owner.home == Some(home))?.session
    }

    /// A legacy server says how far a task has come.
    pub(super) fn task_status(&mut self, key: &Key, envelope: &Envelope<'_>) {
        let text = envelope.text;
        let owner = task::subject(text, envelope.params)
            .and_then(|id| self.partners.get(key)?.tasks.owners.get(&*id));
        match owner.map(|owner| (owner.home, owner.session)) {
            Some((Some(home), _)) => {
                let said = Parcel::Said(home.exchange, Box::new(Said::Status(text.into())));
                self.post(home.worker, said);
            }
            Some((None, Some(session))) => match self.session_of(key, session) {
                Some(session) => {
                    let message = self.named_for_session(key, &session, text, Naming::Subject);
                    self.tell_session(&session, message);
                }
                None => self.dropped(key, Method::TaskStatus, "its session has ended"),
            },
            _ => self.dropped(key, Method::TaskStatus, "it is no session's task"),
        }
    }

    /// A server says how far a task has come, under the progress token of the call that became it; whether it is one.
    pub(super) fn task_progress(
        &mut self,
        key: &Key,
        wire: Option<u64>,
        text: &[u8],
        place: Span,
    ) -> bool {
        let Some(partner) = self.partners.get(key) else {
            return false;
        };
        let is_it =
            |owner: &&Owner| owner.token.as_ref().map(|(own, _)| *own) == wire && wire.is_some();
        let Some(owner) = partner.tasks.owners.values().find(is_it) else {
            return false;
        };
        if let Some(home) = owner.home {
            let said = Said::Progress(text.into(), place);
            self.post(home.worker, Parcel::Said(home.exchange, Box::new(said)));
            return true;
        }
        let (Some(session), Some((_, token))) = (owner.session, &owner.token) else {
            return false;
        };
        let mut message = Vec::with_capacity(text.len() + token.len());
        write::spliced(&mut message, text, &[(place, token)]);
        let Some(session) = self.session_of(key, session) else {
            return false;
        };
        let message = self.named_for_session(key, &session, &message, Naming::Related);
        self.tell_session(&session, message);
        true
    }

    // ── news of modern tasks ─────────────────────────────────────────────────────────────────────

    /// The modern server of a task that `principal` knows under this id, and the server's id of it.
    pub(super) fn task_to_follow(
        &self,
        id: &str,
        principal: Option<&str>,
    ) -> Option<(usize, String)> {
        let task = self.task_of(id, principal);
        task.filter(|(place, _)| self.table.eras[*place] == Era::Modern)
    }

    /// A modern server has news of a task.
    pub(super) fn task_changed(&mut self, key: &Key, envelope: &Envelope<'_>) {
        let text = envelope.text;
        let followers = task::subject(text, envelope.params)
            .and_then(|id| self.partners.get(key)?.tasks.followers.get(&*id).cloned());
        let Some(followers) = followers else {
            return self.dropped(key, Method::TaskChanged, "nobody listens for that task");
        };
        // Which of our own streams it came on is nobody's business.
        let untagged = listen::untagged(text);
        for session in followers {
            if let Some(session) = self.session_of(key, session) {
                let message = self.named_for_session(key, &session, &untagged, Naming::Subject);
                self.tell_session(&session, message);
            }
        }
    }

    /// A message on its way to a session, with tasks as that knows them.
    pub(super) fn named_for_session(
        &self,
        key: &Key,
        session: &Session,
        text: &[u8],
        naming: Naming,
    ) -> Arc<[u8]> {
        let server = &self.table.servers[key.server].name;
        let name = |id: &str| {
            let principal = session.principal.as_deref();
            Some(self.task_ids.seal(server, principal, id))
        };
        match task::renamed(text, naming, name) {
            Some(renamed) => renamed.into(),
            None => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkerId;

    #[test]
    fn nothing_is_left_of_who_listens_for_no_task_any_more() {
        let mut tasks = Tasks::default();
        let key = |number| SessionKey::new(number, WorkerId(0));
        for (id, session) in [("a", 1), ("b", 1), ("b", 2), ("c", 2)] {
            tasks.follow(id, key(session));
        }
        tasks.unfollow("c", key(2));
        tasks.unfollow("c", key(2));
        assert_eq!(tasks.followed(), ["a", "b"]);
        assert!(tasks.leave(key(1)));
        assert_eq!(tasks.followed(), ["b"]);
        assert!(!tasks.leave(key(1)) && tasks.leave(key(2)));
        assert!(tasks.followers.is_empty() && tasks.followed.is_empty());
    }

    #[test]
    fn tasks_of_a_session_are_forgotten_with_it() {
        let mut tasks = Tasks::default();
        let key = |number| SessionKey::new(number, WorkerId(0));
        for (id, session) in [("a", 1), ("b", 2)] {
            let owner = Owner {
                session: Some(key(session)),
                home: None,
                token: None,
            };
            tasks.remember(id.into(), owner);
        }
        tasks.leave(key(3));
        assert_eq!(tasks.order, ["a", "b"]);
        tasks.leave(key(1));
        assert_eq!(tasks.order, ["b"]);
        assert_eq!(tasks.owners.len(), 1);
    }
}
