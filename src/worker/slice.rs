//! Sending exchanges to HTTP servers from whichever worker they came to.

use super::exchange::Awaits;
use super::forward::{Awaiter, Pending, Waiter, write_request};
use super::intent::Sending;
use super::link::Errand;
use super::parcel::{self, Asker, Forward, Opened, Parcel, Standing};
use super::{Worker, exchange_ticket, wire_id};
use crate::config::{Server, Transport};
use crate::id::{ConnectionId, ExchangeId, Home, SessionKey};
use crate::upstream::conversation::Key;
use crate::upstream::pool::Lease;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What one worker knows of a conversation with an HTTP server.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) standing: Standing,
    /// The head of every request of this conversation, up to its length.
    pub(super) head: Arc<[u8]>,
    turns: VecDeque<ExchangeId>,
    users: BTreeSet<SessionKey>,
}

impl Worker {
    /// Sends an exchange's request on its way.
    pub(super) fn send(&mut self, id: ExchangeId, sending: Sending) {
        let now = self.now;
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        exchange.sent = Some(now);
        let session = exchange.session.clone();
        if let Some(session) = &session {
            session.reach_servers();
        }
        let Sending { key, outgoing } = sending;
        let server = &self.table.servers[key.server];
        let through_owner = match server.transport {
            Transport::Stdio(_) => true,
            // The owner keeps the books of who wants to hear of what.
            Transport::Http(_) => outgoing.subscription.is_some(),
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
        self.use_slice(&key, session);
        let Some(slice) = self.slices.get_mut(&key) else {
            return;
        };
        match &slice.standing {
            Standing::Opening => slice.turns.push_back(id),
            Standing::Down(reason) => {
                let refusal = parcel::unavailable(&server.name, reason);
                self.refuse(id, refusal);
            }
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

    /// Sees to it that this worker knows of the conversation, and its owner of the session.
    pub(super) fn use_slice(
        &mut self,
        key: &Arc<Key>,
        session: Option<Arc<crate::session::Session>>,
    ) {
        let owner = self.owner(key);
        if !self.slices.contains_key(key) {
            let slice = Slice {
                standing: Standing::Opening,
                head: Arc::from([]),
                turns: VecDeque::new(),
                users: session.iter().map(|session| session.key).collect(),
            };
            self.slices.insert((**key).clone(), slice);
            let asker = Asker {
                key: (**key).clone(),
                session,
            };
            return self.post(owner, Parcel::Attach(Box::new(asker), self.id));
        }
        if let (Some(slice), Some(session)) = (self.slices.get_mut(key), session)
            && slice.users.insert(session.key)
        {
            let asker = Asker {
                key: (**key).clone(),
                session: Some(session),
            };
            self.post(owner, Parcel::Open(Box::new(asker)));
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
        let pending = self.pendings.insert(Pending {
            key: (*key).clone(),
            awaiter: Awaiter::Client(home),
            session: exchange.session.as_ref().map(|session| session.key),
            subscription: None,
        });
        let wire = wire_id::pack(self.id, pending);
        let mut body = Vec::with_capacity(outgoing.params.len() + 80);
        write_request(&mut body, wire, &outgoing);
        exchange.awaits = Awaits::Link {
            server,
            key: key.clone(),
            pending,
            resend: (!resent).then_some(outgoing),
        };
        self.put_on(link, Errand::Request { pending, key }, &body);
    }

    /// The owner of a conversation says how it stands.
    pub(super) fn slice_told(&mut self, key: &Key, standing: Standing) {
        let head = match &standing {
            Standing::Open(opened) => self.request_head(key.server, opened),
            _ => Arc::from([]),
        };
        let Some(slice) = self.slices.get_mut(key) else {
            return;
        };
        slice.standing = standing;
        slice.head = head;
        if matches!(slice.standing, Standing::Opening) {
            return;
        }
        for id in std::mem::take(&mut slice.turns) {
            self.take_turn(id);
        }
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
        let slice = self.slices.entry(key.clone()).or_insert_with(|| Slice {
            standing: Standing::Opening,
            head: Arc::from([]),
            turns: VecDeque::new(),
            users: BTreeSet::new(),
        });
        slice.head = head;
    }

    /// Forgets what a session that has ended used here.
    pub(super) fn forget_user(&mut self, session: SessionKey) {
        self.slices.retain(|key, _| key.session != Some(session));
        for slice in self.slices.values_mut() {
            slice.users.remove(&session);
        }
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
        let head: Arc<[u8]> = bare_head(&self.table.servers[place]).into();
        self.request_heads[place] = Some(head.clone());
        head
    }
}

fn bare_head(server: &Server) -> Vec<u8> {
    use crate::http::Method;
    use crate::http::write::{field, request_line};
    let mut head = Vec::new();
    if let Transport::Http(http) = &server.transport {
        request_line(&mut head, Method::Post, &http.path);
        field(&mut head, "host", http.authority().as_bytes());
        field(&mut head, "content-type", b"application/json");
        field(&mut head, "accept", b"application/json, text/event-stream");
        for (name, value) in &http.headers {
            field(&mut head, name, value.expose().as_bytes());
        }
    }
    head
}
