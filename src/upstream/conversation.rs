//! One conversation with a server: a child, or a session with an HTTP server, from `initialize` on.
//!
//! It belongs to one worker. It knows how far the handshake and the lists have come, who uses it, and what
//! the server was asked to do for whom. It neither sends nor receives: the worker does, and tells it.

use super::backoff::Backoff;
use super::key::Key;
use super::stderr::Stderr;
use super::subscriptions::Subscriptions;
use crate::config::Server;
use crate::config::limits::{EXCHANGE_TIMEOUT_MAX, FAREWELL, LIST_PAGES_MAX};
use crate::id::{SessionKey, WorkerId};
use crate::mcp::Era;
use crate::mcp::handshake::Introduced;
use crate::mcp::listing::{Kind, Listing};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far a conversation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum State {
    /// Waiting for the answer to `initialize`, or before that for the child or the connection.
    Opening { since: Time },
    /// It may be used.
    Open { since: Time },
    /// It failed and is opened again then.
    Waiting { until: Time, cause: Arc<str> },
}

/// `info`, which servers begin with where nobody has said what to tell.
const LEVEL_USUAL: u8 = 1;

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Which one.
    pub key: Key,
    /// With whom.
    pub server: Arc<Server>,
    /// How far it has come.
    pub state: State,
    /// The last lines of the child's stderr.
    pub stderr: Stderr,
    /// Since when nobody uses it, as far as is known here.
    pub idle_since: Time,
    /// What the server last said of itself.
    pub introduced: Option<Introduced>,
    backoff: Backoff,
    /// Who uses it, and the least serious level each wants to hear of, if it chose one.
    users: BTreeMap<SessionKey, Option<u8>>,
    /// Who only listens for changes, and is told of nothing else.
    listeners: BTreeSet<SessionKey>,
    strangers_until: Time,
    /// The workers from which callers without a session use it directly, one bit each.
    strangers: u64,
    served: Served,
    /// The least serious level that any of those wants to hear of, and until when.
    strangers_level: Option<(u8, Time)>,
    subscriptions: Subscriptions,
    lists: Lists,
    level: Option<u8>,
}

/// Whose requests were answered lately.
#[derive(Debug, Default)]
struct Served {
    /// Whose the last one was, and when that was. Callers without a session cannot be told apart.
    last: Option<(Option<SessionKey>, Time)>,
    /// When the last one of anybody else was.
    other: Option<Time>,
}

/// Lists being fetched.
#[derive(Debug, Default)]
struct Lists {
    listing: Option<Listing>,
    todo: Vec<Kind>,
    pages: usize,
    /// Something changed while they were being fetched: fetch them once more.
    again: bool,
}

impl Conversation {
    /// One that is being opened.
    pub fn new(now: Time, key: Key, server: Arc<Server>, seed: u64) -> Conversation {
        Conversation {
            key,
            server,
            state: State::Opening { since: now },
            stderr: Stderr::default(),
            idle_since: now,
            introduced: None,
            backoff: Backoff::new(seed),
            users: BTreeMap::new(),
            listeners: BTreeSet::new(),
            strangers_until: Time::ZERO,
            strangers: 0,
            served: Served::default(),
            strangers_level: None,
            subscriptions: Subscriptions::default(),
            lists: Lists::default(),
            level: None,
        }
    }

    /// Notes that it is being opened again.
    pub fn reopen(&mut self, now: Time) {
        if let State::Open { since } = self.state {
            self.backoff.forgive(now, since);
        }
        self.state = State::Opening { since: now };
        self.stderr = Stderr::default();
        self.lists = Lists::default();
    }

    /// Notes the server's answer to `initialize`.
    pub fn opened(&mut self, now: Time, introduced: Introduced) {
        self.state = State::Open { since: now };
        self.introduced = Some(introduced);
        self.level = None;
        self.strangers_level = None;
        self.subscriptions.grant_nothing();
    }

    /// Notes that it ended; gives the wait until it is opened again.
    pub fn failed(&mut self, now: Time, cause: &str) -> Duration {
        let up_since = match self.state {
            State::Open { since } => Some(since),
            _ => None,
        };
        let wait = self.backoff.fail(now, up_since);
        self.state = State::Waiting {
            until: now + wait,
            cause: cause.into(),
        };
        self.lists = Lists::default();
        wait
    }

    /// Whether requests may be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Why a request cannot be sent and should not wait either; `None` if it should.
    ///
    /// A first start and the first new start after a failure are waited for: they mostly succeed.
    pub fn unavailable(&self, now: Time) -> Option<String> {
        match &self.state {
            State::Open { .. } => None,
            State::Opening { .. } if self.backoff.failures() <= 1 && self.introduced.is_some() => {
                None
            }
            State::Opening { .. } if self.backoff.failures() == 0 && !self.key.is_base() => None,
            State::Opening { since } => Some(format!(
                "it was started {:.1} s ago and has not answered initialize yet{}",
                now.since(*since).as_secs_f64(),
                self.last_words()
            )),
            State::Waiting { .. } if self.backoff.failures() <= 1 && self.introduced.is_some() => {
                None
            }
            State::Waiting { until, cause } => Some(format!(
                "{cause}; next try in {:.1} s",
                until.since(now).as_secs_f64()
            )),
        }
    }

    fn last_words(&self) -> String {
        match self.backoff.failures() {
            0 => String::new(),
            1 => ", after 1 failure".into(),
            n => format!(", after {n} failures in a row"),
        }
    }

    // ── lists ────────────────────────────────────────────────────────────────────────────────────

    /// Begins to fetch all lists that the server has, or notes that they must be fetched once more.
    /// Whether to ask [`Conversation::next_list`] now.
    pub fn relist(&mut self) -> bool {
        let Some(introduced) = &self.introduced else {
            return false;
        };
        if self.lists.listing.is_some() {
            self.lists.again = true;
            return false;
        }
        let offers = introduced.capabilities;
        self.lists.todo = Kind::ALL
            .into_iter()
            .rev()
            .filter(|kind| match kind {
                Kind::Tools => offers.tools,
                Kind::Prompts => offers.prompts,
                Kind::Resources | Kind::Templates => offers.resources,
            })
            .collect();
        self.lists.listing = Some(Listing::new(introduced.clone()));
        self.lists.again = false;
        self.lists.pages = 0;
        true
    }

    /// Forgets how far the lists have come.
    pub fn drop_lists(&mut self) {
        self.lists = Lists::default();
    }

    /// The list to be fetched next; `None` when all are there.
    pub fn next_list(&self) -> Option<Kind> {
        self.lists.todo.last().copied()
    }

    /// The listing that is being filled.
    pub fn listing(&mut self) -> Option<&mut Listing> {
        self.lists.listing.as_mut()
    }

    /// Notes that a page was taken; whether the next page of the same list may be asked for.
    pub fn paged(&mut self, more: bool) -> bool {
        self.lists.pages += 1;
        let goes_on = more && self.lists.pages < LIST_PAGES_MAX;
        if !goes_on {
            self.lists.todo.pop();
            self.lists.pages = 0;
        }
        goes_on
    }

    /// The listing, once complete; and whether it has to be fetched once more.
    pub fn listed(&mut self) -> Option<(Listing, bool)> {
        if !self.lists.todo.is_empty() {
            return None;
        }
        let listing = self.lists.listing.take()?;
        Some((listing, std::mem::take(&mut self.lists.again)))
    }

    // ── users ────────────────────────────────────────────────────────────────────────────────────

    /// Notes that a session uses it, and what it wants to hear of; whether it is new here.
    pub fn join(&mut self, session: SessionKey, level: Option<u8>) -> bool {
        if self.users.contains_key(&session) {
            return false;
        }
        self.users.insert(session, level);
        true
    }

    /// Notes that a stream on which a client listens for changes uses it; whether it is new here.
    pub fn join_listener(&mut self, session: SessionKey) -> bool {
        self.listeners.insert(session)
    }

    /// Notes that callers without a session use it directly from that worker, until [`Self::strangers_left`].
    pub fn join_stranger(&mut self, worker: WorkerId) {
        self.strangers |= 1 << worker.0;
    }

    /// Notes that no caller without a session uses it directly from that worker any more.
    pub fn strangers_left(&mut self, now: Time, worker: WorkerId) {
        self.strangers &= !(1 << worker.0);
        self.unsettle(now);
    }

    /// Notes that a session has ended; gives the URIs that nobody is subscribed to any more.
    pub fn leave(&mut self, now: Time, session: SessionKey) -> Vec<String> {
        if self.users.remove(&session).is_none() && !self.listeners.remove(&session) {
            return Vec::new();
        }
        self.strangers_until = now + FAREWELL;
        self.idle_since = now;
        self.subscriptions.leave(session)
    }

    /// Notes that a caller without a session uses it, who does not say when it is through: nobody may be given what
    /// the server says of its own accord for a while.
    pub fn unsettle(&mut self, now: Time) {
        self.strangers_until = now + FAREWELL;
        self.idle_since = now;
    }

    /// Notes that a request was answered, or will not be.
    pub fn serve(&mut self, now: Time, whose: Option<SessionKey>) {
        match &mut self.served.last {
            Some((last, at)) if *last == whose => *at = now,
            last => {
                let before = last.replace((whose, now));
                self.served.other = before.map(|(_, at)| at);
            }
        }
    }

    /// Whether what the server says while it works for nobody but this session, or for this one caller without
    /// a session, is meant for it; otherwise it could still be about what another session asked before.
    ///
    /// A caller without a session is taken for the one before, since else none were told anything on its second
    /// request: this is the one place where what a server says too late may come to another of those.
    pub fn serves_only(&self, now: Time, whose: Option<SessionKey>) -> bool {
        let other = match self.served.last {
            Some((last, _)) if last == whose => self.served.other,
            last => last.map(|(_, at)| at),
        };
        other.is_none_or(|at| now >= at + FAREWELL)
    }

    /// The one session that anything the server says must be meant for; `None` if it could be another. Who listens for
    /// changes is meant by nothing else.
    pub fn sole_user(&self, now: Time) -> Option<SessionKey> {
        if self.key.session.is_some() {
            return self.key.session;
        }
        let mut users = self.users.keys();
        match (users.next(), users.next()) {
            (Some(&session), None) if self.is_quiet(now) => Some(session),
            _ => None,
        }
    }

    /// Whether nobody uses it, or has lately, but those who are known to.
    fn is_quiet(&self, now: Time) -> bool {
        now >= self.strangers_until && self.strangers == 0
    }

    /// The one session that a change must be meant for which nobody is subscribed to by that name; `None` if it could
    /// be another.
    pub fn sole_subscriber(&self, now: Time) -> Option<SessionKey> {
        let mut listeners = self.listeners.iter();
        let sole = match (self.users.is_empty(), listeners.next(), listeners.next()) {
            (_, None, _) => self.sole_user(now),
            (true, Some(&listener), None) if self.is_quiet(now) => Some(listener),
            _ => None,
        };
        sole.filter(|sole| self.subscriptions_of(*sole) > 0)
    }

    /// Whether anybody uses it who says when that is over.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty() || !self.listeners.is_empty() || self.strangers != 0
    }

    /// Notes the level that a session chose.
    pub fn choose_level(&mut self, session: SessionKey, level: u8) {
        if let Some(chosen) = self.users.get_mut(&session) {
            *chosen = Some(level);
        }
    }

    /// Notes that a call of somebody without a session wants to hear of a level.
    pub fn want_level(&mut self, now: Time, level: u8) {
        if self.strangers_level.is_none_or(|(least, _)| level <= least) {
            self.strangers_level = Some((level, now + EXCHANGE_TIMEOUT_MAX));
        }
    }

    /// Until when a call of somebody without a session may want to hear of a level.
    pub fn level_until(&self) -> Option<Time> {
        self.strangers_level.map(|(_, until)| until)
    }

    /// Notes that no such call is left.
    pub fn drop_level(&mut self) {
        self.strangers_level = None;
    }

    /// Whether its server is one with `initialize`.
    pub fn speaks_legacy(&self) -> bool {
        let introduced = self.introduced.as_ref();
        introduced.is_some_and(|introduced| introduced.revision.era() == Era::Legacy)
    }

    /// The level to set at the server, if it differs from the one set last: the least serious that any
    /// user wants. Who wanted less serious ones may be gone; then it is what most servers begin with.
    pub fn level_to_set(&mut self) -> Option<u8> {
        if !self
            .introduced
            .as_ref()
            .is_some_and(|i| i.capabilities.logging && i.revision.era() == Era::Legacy)
        {
            return None;
        }
        let strangers_level = self.strangers_level.map(|(level, _)| level);
        let wanted = self.users.values().copied().chain([strangers_level]);
        let wanted = wanted.flatten().min().or(self.level.and(Some(LEVEL_USUAL)));
        if wanted == self.level {
            return None;
        }
        self.level = wanted;
        wanted
    }

    // ── subscriptions ────────────────────────────────────────────────────────────────────────────

    /// Notes that a session wants to hear of `uri`; whether the server must be asked for it: it may not have
    /// said yet what others were told.
    pub fn subscribe(&mut self, session: SessionKey, uri: &str) -> bool {
        self.subscriptions.add(session, uri);
        !self.is_granted(uri)
    }

    /// Notes that the server tells of `uri`, if anybody wants to hear of it.
    pub fn grant(&mut self, uri: &str) {
        self.subscriptions.grant(uri);
    }

    /// Notes that it is not certain any more what the server tells of.
    pub fn grant_nothing(&mut self) {
        self.subscriptions.grant_nothing();
    }

    /// Whether it is certain that the server tells of `uri`.
    pub fn is_granted(&self, uri: &str) -> bool {
        self.subscriptions.is_granted(uri)
    }

    /// Notes that it no longer does; whether the server must be told.
    pub fn unsubscribe(&mut self, session: SessionKey, uri: &str) -> bool {
        self.subscriptions.remove(session, uri)
    }

    /// How many resources a session wants to hear of.
    pub fn subscriptions_of(&self, session: SessionKey) -> usize {
        self.subscriptions.len_of(session)
    }

    /// The sessions that want to hear of `uri`.
    pub fn subscribers(&self, uri: &str) -> impl Iterator<Item = SessionKey> {
        let sessions = self.subscriptions.subscribers(uri);
        sessions.into_iter().flatten().copied()
    }

    /// Whether anybody wants to hear of `uri`.
    pub fn is_wanted(&self, uri: &str) -> bool {
        self.subscriptions.subscribers(uri).is_some()
    }

    /// Whether that session does.
    pub fn is_subscribed(&self, session: SessionKey, uri: &str) -> bool {
        let sessions = self.subscriptions.subscribers(uri);
        sessions.is_some_and(|sessions| sessions.contains(&session))
    }

    /// Everything that the server must be asked for again when it has forgotten.
    pub fn subscribed(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.uris()
    }
}

#[cfg(test)]
pub(super) mod tests;
