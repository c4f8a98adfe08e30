//! Sending exchanges to HTTP servers from whichever worker they came to.

use super::exchange::{Awaits, Exchange};
use super::forward::{Awaiter, Pending, Waiter};
use super::letter::{Letter, misfit, suited};
use super::link::Errand;
use super::parcel::{self, Asker, Forward, Opened, Outgoing, Parcel, Standing};
use super::{Worker, exchange_ticket, wire_id};
use crate::config::limits::{CONVERSATION_IDLE_TIMEOUT, EXCHANGE_TIMEOUT_MAX};
use crate::config::{Http, Server, Share, Transport};
use crate::id::{ConnectionId, ExchangeId, Home, SessionKey};
use crate::mcp::Era;
use crate::mcp::bridge::input;
use crate::time::Time;
use crate::upstream::key::Key;
use crate::upstream::pool::Lease;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What one worker knows of a conversation with an HTTP server.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) standing: Standing,
    /// The head of every request of this conversation, up to its length.
    pub(super) head: Arc<[u8]>,
    turns: VecDeque<ExchangeId>,
    /// Who uses it from here, callers without a session as one, and whether its owner knows. Nobody's
    /// request is sent before: what the server says of its own accord could be given to another.
    users: BTreeMap<Option<SessionKey>, Known>,
    /// When it was used last.
    used_at: Time,
    /// The least serious level of log messages that its owner knows somebody to want here, and when it was told.
    level_told: Option<(u8, Time)>,
}

/// How long an owner need not be told again which level is wanted: it remembers it for as long as a call can take.
const LEVEL_TOLD_INTERVAL: Duration = Duration::from_secs(60);
const _: () = assert!(LEVEL_TOLD_INTERVAL.as_secs() < EXCHANGE_TIMEOUT_MAX.as_secs());

/// Whether a conversation's owner knows of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    NotYet,
}

impl Default for Slice {
    fn default() -> Slice {
        Slice {
            standing: Standing::Opening,
            head: Arc::from([]),
            turns: VecDeque::new(),
            users: BTreeMap::new(),
            used_at: Time::ZERO,
            level_told: None,
        }
    }
}

impl Worker {
    /// Sends an exchange's request on its way.
    pub(super) fn send(&mut self, id: ExchangeId, key: Key, outgoing: Outgoing) {
        // A modern client may need a session at its server that it does not have itself.
        if let Some((key, outgoing)) = self.lodge(id, key, outgoing) {
            self.send_in(id, key, outgoing);
        }
    }

    /// Sends it in that conversation.
    pub(super) fn send_in(&mut self, id: ExchangeId, key: Key, outgoing: Outgoing) {
        let now = self.now;
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        // A server that speaks both eras may have been found to by this conversation alone.
        let may_be_modern =
            self.table.eras[key.server] == Era::Modern || self.era_in(&key) == Some(Era::Modern);
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        exchange.sent = Some(now);
        let session = exchange.session.clone();
        if let Some(session) = &session {
            session.reach_servers();
        }
        // A modern server may want to know something first, and be sent the same again with that.
        if exchange.era() == Era::Legacy
            && may_be_modern
            && exchange.original.is_none()
            && input::may_ask(outgoing.method)
        {
            exchange.original = Some(Box::new(outgoing.clone()));
            exchange.inquiry = Some(Box::default());
        }
        let server = &self.table.servers[key.server];
        let through_owner = match server.transport {
            Transport::Stdio(_) => true,
            // The owner keeps the books of who wants to hear of what.
            Transport::Http(_) => outgoing.subscription.is_some() || server.has_one_stream(),
        };
        if through_owner {
            let owner = self.owner(&key);
            let forward = Forward {
                asker: Asker { key, session },
                home,
                outgoing,
            };
            return self.post(owner, Parcel::Forward(Box::new(forward)));
        }
        exchange.awaits = Awaits::Turn {
            server: server.clone(),
            key: Arc::new(key),
            outgoing: Box::new(outgoing),
            resent: false,
        };
        self.take_turn(id);
    }

    /// Sends an exchange to its HTTP server, or queues it until that is possible.
    pub(super) fn take_turn(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let Awaits::Turn { key, server, .. } = &exchange.awaits else {
            return;
        };
        let (key, server) = (key.clone(), server.clone());
        let session = exchange.session.clone();
        if session.as_ref().is_some_and(|session| session.is_ended()) {
            let refusal = parcel::unavailable(&server.name, "your session has ended");
            return self.refuse(id, refusal);
        }
        let user = session.as_ref().map(|session| session.key);
        let slice = match self.slices.get_mut(&*key) {
            Some(slice) => slice,
            None => self.slices.entry((*key).clone()).or_default(),
        };
        slice.used_at = self.now;
        if slice.users.get(&user) != Some(&Known::Yes) {
            // The owner may be this worker, and answer at once.
            slice.turns.push_back(id);
            return self.use_slice(&key, session);
        }
        match &slice.standing {
            Standing::Opening | Standing::Ended => slice.turns.push_back(id),
            Standing::Down(reason) => {
                let refusal = parcel::unavailable(&server.name, reason);
                self.refuse(id, refusal);
            }
            Standing::Open(opened) if opened.fed => self.send_by_owner(id),
            Standing::Open(_) => match self.pools[key.server].lease() {
                Lease::Idle(link) => self.send_on(link, id),
                Lease::New => {
                    let link = self.open_link(key.server);
                    self.send_on(link, id);
                }
                Lease::Full => self.pools[key.server].wait(Waiter::Exchange(id)),
            },
        }
    }

    /// Sends an exchange through the conversation's owner, since it turned out that this is the only way.
    fn send_by_owner(&mut self, id: ExchangeId) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let session = exchange.session.clone();
        match std::mem::replace(&mut exchange.awaits, Awaits::Nothing) {
            Awaits::Turn {
                server,
                key,
                outgoing,
                ..
            } => {
                let key = (*key).clone();
                exchange.awaits = Awaits::Owner {
                    server,
                    key: key.clone(),
                };
                let forward = Forward {
                    asker: Asker { key, session },
                    home,
                    outgoing: *outgoing,
                };
                self.post(
                    self.owner(&forward.asker.key),
                    Parcel::Forward(Box::new(forward)),
                );
            }
            other => exchange.awaits = other,
        }
    }

    /// Sees to it that this worker knows of the conversation, and its owner of the session.
    pub(super) fn use_slice(
        &mut self,
        key: &Arc<Key>,
        session: Option<Arc<crate::session::Session>>,
    ) {
        let user = session.as_ref().map(|session| session.key);
        let slice = self.slices.entry((**key).clone()).or_default();
        if slice.users.contains_key(&user) {
            return;
        }
        slice.users.insert(user, Known::NotYet);
        match user {
            Some(session) => self.slice_uses.add(session, key),
            None => self.wake_at(self.now + CONVERSATION_IDLE_TIMEOUT),
        }
        let asker = Asker {
            key: (**key).clone(),
            session,
        };
        self.post(self.owner(key), Parcel::Attach(Box::new(asker), self.id));
    }

    /// The owner of a conversation knows of a user.
    pub(super) fn user_joined(&mut self, key: &Key, user: Option<SessionKey>) {
        let Some(slice) = self.slices.get_mut(key) else {
            return;
        };
        if let Some(known) = slice.users.get_mut(&user) {
            *known = Known::Yes;
            self.take_turns(key);
        }
    }

    /// Has all that waits look whether its turn has come.
    fn take_turns(&mut self, key: &Key) {
        if let Some(slice) = self.slices.get_mut(key)
            && !matches!(slice.standing, Standing::Opening)
        {
            for id in std::mem::take(&mut slice.turns) {
                self.take_turn(id);
            }
        }
    }

    /// Sends an exchange whose turn it is on a connection that is free.
    pub(super) fn send_on(&mut self, link: ConnectionId, id: ExchangeId) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return self.link_free(link);
        };
        let Awaits::Turn {
            server,
            key,
            outgoing,
            resent,
        } = std::mem::replace(&mut exchange.awaits, Awaits::Nothing)
        else {
            return self.link_free(link);
        };
        let misplaced = key.is_base() && exchange.needs_more_than_base(&server, key.server);
        let session = exchange.session.clone();
        let user = session.as_ref().map(|session| session.key);
        let era = self.era_in(&key).unwrap_or(outgoing.era);
        if let Some(refusal) = misfit(&outgoing, Some(era), &server.name) {
            self.refuse(id, refusal);
            return self.link_free(link);
        }
        if misplaced && era == Era::Legacy {
            let why = "it speaks another protocol revision than before; try again";
            let refusal = parcel::unavailable(&server.name, why);
            self.refuse(id, refusal);
            return self.link_free(link);
        }
        if let (Some(level), None, Era::Legacy) = (outgoing.level, user, era) {
            self.tell_level(&key, level);
        }
        let pending = Pending {
            key: (*key).clone(),
            epoch: self.epoch(&key),
            awaiter: Awaiter::Client(home),
            session: user,
            subscription: None,
            task: outgoing.task_with_token(),
            era,
        };
        let pending = self.pendings.insert(pending, None);
        let wire = wire_id::pack(self.id, pending);
        let suited = suited(&outgoing, era, session.as_deref(), &mut self.own_metas);
        let letter = Letter::request(wire, &suited);
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        exchange.awaits = Awaits::Link {
            server,
            key: key.clone(),
            pending,
            resend: (!resent).then_some(outgoing),
        };
        self.put_on(link, Errand::Request { pending, key }, &letter);
    }

    /// Has the owner of a conversation know which level of log messages a call from here wants, unless it does.
    fn tell_level(&mut self, key: &Arc<Key>, level: u8) {
        let now = self.now;
        let Some(slice) = self.slices.get_mut(&**key) else {
            return;
        };
        let knows = |(least, at)| least <= level && now < at + LEVEL_TOLD_INTERVAL;
        if !slice.level_told.is_some_and(knows) {
            slice.level_told = Some((level, now));
            self.post(self.owner(key), Parcel::Wants(key.clone(), level));
        }
    }

    /// The owner of a conversation says how it stands.
    pub(super) fn slice_told(&mut self, key: &Key, standing: Standing) {
        let head = match &standing {
            Standing::Open(opened) => Some(self.request_head(key.server, opened)),
            // Its owner's own errands may be on their way under what will be open.
            Standing::Opening => None,
            Standing::Down(_) | Standing::Ended => Some(Arc::from([])),
        };
        let Some(slice) = self.slices.get_mut(key) else {
            return;
        };
        slice.standing = standing;
        // What is opened anew has not been told.
        slice.level_told = None;
        if let Some(head) = head {
            slice.head = head;
        }
        if let Standing::Ended = slice.standing
            && let Some(slice) = self.slices.remove(key)
        {
            for session in slice.users.into_keys().flatten() {
                self.slice_uses.remove(session, key);
            }
            for id in slice.turns {
                self.take_turn(id);
            }
            return;
        }
        self.take_turns(key);
    }

    /// Has an exchange that was not carried out wait for its turn once more; whether that is allowed.
    pub(super) fn take_back(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return false;
        };
        match std::mem::replace(&mut exchange.awaits, Awaits::Nothing) {
            Awaits::Link {
                server,
                key,
                pending,
                resend: Some(outgoing),
                ..
            } => {
                exchange.awaits = Awaits::Turn {
                    server,
                    key,
                    outgoing,
                    resent: true,
                };
                self.pendings.remove(pending);
                true
            }
            other => {
                exchange.awaits = other;
                false
            }
        }
    }

    // ── what it knows ────────────────────────────────────────────────────────────────────────────

    /// Has this worker's own errands of a conversation carry its session, before others may use it.
    pub(super) fn prepare_slice(&mut self, key: &Key, opened: &Opened) {
        let head = self.request_head(key.server, opened);
        self.slices.entry(key.clone()).or_default().head = head;
    }

    /// Forgets what a session that has ended used here.
    pub(super) fn forget_user(&mut self, session: SessionKey) {
        for key in self.slice_uses.take(session) {
            if let Some(slice) = self.slices.get_mut(&key) {
                slice.users.remove(&Some(session));
            }
        }
    }

    /// Has the owners of conversations know that callers without a session have not used them from here for a while;
    /// when to look again. A server's first conversation is never ended, so that nobody has to leave it.
    pub(super) fn sweep_slices(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut left = Vec::new();
        for (key, slice) in &mut self.slices {
            if key.is_base() || slice.users.get(&None) != Some(&Known::Yes) {
                continue;
            }
            if slice.used_at + CONVERSATION_IDLE_TIMEOUT <= now {
                let mut own = self.pendings.iter().map(|(_, pending)| pending);
                if slice.turns.is_empty()
                    && !own.any(|own| own.session.is_none() && own.key == *key)
                {
                    slice.users.remove(&None);
                    left.push(Arc::new(key.clone()));
                    continue;
                }
                slice.used_at = now;
            }
            next = next.min(slice.used_at + CONVERSATION_IDLE_TIMEOUT);
        }
        for key in left {
            self.post(self.owner(&key), Parcel::StrangersLeft(key, self.id));
        }
        next
    }

    /// The head of requests to an HTTP server, up to their length.
    pub(super) fn request_head(&mut self, place: usize, opened: &Opened) -> Arc<[u8]> {
        let mut head = self.bare_head(place).to_vec();
        if let Some(id) = &opened.session_id {
            crate::http::write::field(&mut head, "mcp-session-id", id.as_bytes());
        }
        if opened.revision.has_version_header() {
            crate::http::write::field(
                &mut head,
                "mcp-protocol-version",
                opened.revision.name().as_bytes(),
            );
        }
        head.into()
    }

    /// The part of it that is the same in every conversation.
    pub(super) fn bare_head(&mut self, place: usize) -> Arc<[u8]> {
        if let Some(head) = &self.request_heads[place] {
            return head.clone();
        }
        let head: Arc<[u8]> = match &self.table.servers[place].transport {
            Transport::Http(http) => post_head(http, &http.path).into(),
            Transport::Stdio(_) => Arc::from([]),
        };
        self.request_heads[place] = Some(head.clone());
        head
    }
}

/// What every message that is posted to that path of a server begins with, up to its length.
pub(super) fn post_head(http: &Http, path: &str) -> Vec<u8> {
    use crate::http::Method;
    use crate::http::write::{field, request_line};
    let mut head = Vec::new();
    request_line(&mut head, Method::Post, path);
    field(&mut head, "host", http.authority().as_bytes());
    field(&mut head, "content-type", b"application/json");
    field(&mut head, "accept", b"application/json, text/event-stream");
    for (name, value) in &http.headers {
        field(&mut head, name, value.expose().as_bytes());
    }
    head
}

impl Exchange {
    /// Whether a legacy server would have to be asked for it in a conversation of its client's, and not in the one
    /// that is anybody's, as a modern server is.
    fn needs_more_than_base(&self, server: &Server, place: usize) -> bool {
        match (&self.declared, &self.session) {
            (Some(declared), None) => {
                declared.capabilities.may_be_asked() || server.share == Share::PerSession
            }
            (None, Some(session)) => {
                let capabilities = Some(&session.capabilities);
                !Key::of(place, server, capabilities, Some(session.key)).is_base()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn legacy_server_is_set_to_the_level_that_a_call_wants() {
        let mut scene = Scene::well_over_http();
        scene.is_gone();
        let mut calls = |level: &str| {
            let meta = json!({"io.modelcontextprotocol/logLevel": level});
            let params = json!({"name": "t", "arguments": {}, "_meta": meta});
            scene.modern_with("tools/call", params, &json!({}));
            let links = scene.links.clone();
            let said = links.into_iter().map(|link| scene.heard(link));
            let said: Vec<String> = said.collect();
            let times = |what: &str| said.iter().filter(|said| said.contains(what)).count();
            assert_eq!(times("tools/call"), 1);
            times("logging/setLevel")
        };
        assert_eq!(calls("warning"), 1);
        assert_eq!(calls("warning"), 0);
        assert_eq!(calls("debug"), 1);
        assert_eq!(calls("warning"), 0);
    }
}
