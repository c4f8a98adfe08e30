//! Everything that happens because time passes, and what happens to all at once.
//!
//! There is no timer for each thing: every deadline is a field, the earliest of them is known, and when it
//! has come all are looked at. A deadline that moved on costs nothing until then.

use super::answer::event_bytes;
use super::effect::Close;
use super::exchange::{Awaits, Exchange, Sink};
use super::forward::{Awaiter, Step};
use super::intent::{Local, LocalAnswer, Opening};
use super::link::Errand;
use super::message::Caller;
use super::partner::Listening;
use super::peers::Peer;
use super::shown::CATALOG_SWEEP_INTERVAL;
use super::{Worker, connection_id, exchange_id, exchange_ticket};
use crate::config::limits::{
    INITIALIZE_TIMEOUT, LIST_CHANGED_INTERVAL, PROBE_TIMEOUT, STREAM_KEEP_ALIVE,
};
use crate::event::{Event, SessionEnd};
use crate::http::sse::KEEP_ALIVE;
use crate::mcp::Era;
use crate::mcp::bridge::listen;
use crate::mcp::listing::Kind;
use crate::mcp::meta::OURSELVES;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::router::table::Table;
use crate::session::Session;
use crate::time::Time;
use crate::upstream::conversation::State;
use crate::upstream::key::Key;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two sweeps. A deadline is met this much late at worst.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);
/// Between two looks at all sessions.
const SESSION_SWEEP_INTERVAL: Duration = Duration::from_secs(30);

impl Worker {
    /// Looks at every deadline.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        self.sweep_at = Time::NEVER;
        let due = [
            self.sweep_clients(),
            self.sweep_exchanges(),
            self.sweep_pendings(),
            self.sweep_slices(),
            self.sweep_partners(),
            self.sweep_links(),
            self.sweep_feeds(),
            self.sweep_pools(),
            self.sweep_catchings(),
            self.expire_asks(),
            self.sweep_parked(),
            self.sweep_inquiries(),
            self.sweep_guests(),
            self.sweep_lanes(),
            self.sweep_changes(),
            self.sweep_sessions(),
            self.sweep_catalogs(),
            self.announce_if_due(),
        ];
        let next = due
            .into_iter()
            .min()
            .unwrap_or(Time::NEVER)
            .min(self.sweep_at);
        self.sweep_at = if next == Time::NEVER {
            next
        } else {
            next.max(now + SWEEP_INTERVAL)
        };
    }

    fn sweep_clients(&mut self) -> Time {
        let (now, date) = (self.now, self.date());
        let mut next = Time::NEVER;
        for ticket in self.wires.tickets() {
            let id = connection_id(ticket);
            let Some(client) = self.client(id) else {
                continue;
            };
            let address = client.address;
            if client
                .connection
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                if let Some(fault) = client.connection.timed_out(now, &date) {
                    self.note_fault(address, fault);
                }
                self.settle(id);
            }
            let Some(client) = self.client(id) else {
                continue;
            };
            if client.connection.is_streaming() {
                if now.since(client.spoke_at) >= STREAM_KEEP_ALIVE {
                    self.stream_bytes(id, KEEP_ALIVE);
                }
                let Some(client) = self.client(id) else {
                    continue;
                };
                next = next.min(client.spoke_at + STREAM_KEEP_ALIVE);
            }
            let Some(client) = self.client(id) else {
                continue;
            };
            next = next.min(client.connection.deadline().unwrap_or(Time::NEVER));
        }
        next
    }

    fn sweep_exchanges(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        for ticket in self.exchanges.tickets() {
            let id = exchange_id(ticket);
            let Some(exchange) = self.exchanges.get(ticket) else {
                continue;
            };
            // What is answered from what is known here is answered in one piece.
            let local = matches!(
                exchange.awaits,
                Awaits::Lists(..) | Awaits::Servers(_) | Awaits::Meaning(_)
            );
            let may_stream = matches!(
                exchange.sink,
                Sink::Answer {
                    may_stream: true,
                    ..
                }
            );
            let patient = may_stream && !local || matches!(exchange.sink, Sink::Batch { .. });
            if exchange.deadline <= now {
                match &exchange.awaits {
                    Awaits::Lists(..) | Awaits::Servers(_) | Awaits::Meaning(_) => self.release(id),
                    Awaits::Lane { .. } => {
                        let fact = "that server has as many calls as it can tell apart";
                        self.give_up(id, Refusal::Busy(fact), "it took too long");
                    }
                    awaits => {
                        let server = awaits
                            .server()
                            .map(|server| server.name.clone())
                            .unwrap_or_default();
                        let refusal = super::parcel::timed_out(&server, now.since(exchange.began));
                        self.give_up(id, refusal, "it took too long");
                    }
                }
                continue;
            }
            next = next.min(exchange.deadline);
            // A client that waits long behind a proxy is kept company.
            if patient {
                let quiet_until = exchange.began + STREAM_KEEP_ALIVE;
                if quiet_until <= now {
                    self.ensure_stream(id);
                } else {
                    next = next.min(quiet_until);
                }
            }
        }
        next
    }

    fn sweep_pendings(&mut self) -> Time {
        let mut next = Time::NEVER;
        for ticket in self.pendings.tickets() {
            let Some(pending) = self.pendings.get(ticket) else {
                continue;
            };
            match pending.awaiter {
                Awaiter::Step(_, until) | Awaiter::Ghost(until) if until > self.now => {
                    next = next.min(until)
                }
                Awaiter::Step(Step::Probe, _) => {
                    let limit = PROBE_TIMEOUT.as_secs();
                    let key = pending.key.clone();
                    if self.link_of(ticket).is_some() {
                        // What carries it may be the only connection that there may be.
                        self.abandon(ticket, "it took too long");
                    } else if let Some(pending) = self.pendings.get_mut(ticket) {
                        // It may be slow to start rather than unwilling: its answer still counts if it comes.
                        pending.awaiter = Awaiter::Step(Step::Probe, Time::NEVER);
                    }
                    let cause = format!("it did not answer server/discover within {limit} s");
                    self.not_modern(&key, &cause);
                }
                Awaiter::Step(..) => {
                    let limit = INITIALIZE_TIMEOUT.as_secs();
                    self.pending_failed(ticket, &format!("it did not answer within {limit} s"));
                }
                Awaiter::Ghost(_) => {
                    self.pendings.remove(ticket);
                }
                Awaiter::Client(_) => {}
            }
        }
        next
    }

    fn sweep_partners(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let keys: Vec<Key> = self.partners.keys().cloned().collect();
        for key in keys {
            let Some(partner) = self.partners.get(&key) else {
                continue;
            };
            let conversation = &partner.conversation;
            match conversation.state {
                State::Opening { since } if since + INITIALIZE_TIMEOUT <= now => {
                    let limit = INITIALIZE_TIMEOUT.as_secs();
                    let cause = format!("it did not answer initialize within {limit} s");
                    self.conversation_failed(&key, &cause);
                }
                State::Opening { since } => next = next.min(since + INITIALIZE_TIMEOUT),
                State::Waiting { until, .. } if until <= now && !self.draining => self.start(&key),
                State::Waiting { until, .. } if !self.draining => next = next.min(until),
                State::Waiting { .. } | State::Open { .. } => {}
            }
            let Some(partner) = self.partners.get(&key) else {
                continue;
            };
            if let Listening::Again(at, last) = &partner.listening {
                if *at <= now {
                    let last = last.clone();
                    let id = self.listen(&key, last.as_deref());
                    if let Some(partner) = self.partners.get_mut(&key) {
                        partner.listening = Listening::On(id);
                    }
                } else {
                    next = next.min(*at);
                }
            }
            let Some(partner) = self.partners.get(&key) else {
                continue;
            };
            match partner.ready_at {
                Some(at) if at <= now => self.listens_or_not(&key),
                Some(at) => next = next.min(at),
                None => {}
            }
            let Some(partner) = self.partners.get(&key) else {
                continue;
            };
            if let Some(at) = partner.relist_at {
                if at <= now {
                    if let Some(partner) = self.partners.get_mut(&key) {
                        partner.relist_at = None;
                    }
                    self.relist(&key);
                } else {
                    next = next.min(at);
                }
            }
            next = next.min(self.sweep_users(&key));
        }
        next
    }

    /// Closes connections on which nothing is waited for any more, so that a server that does not answer
    /// does not use up the pool; when the next one's time is over.
    fn sweep_links(&mut self) -> Time {
        let mut next = Time::NEVER;
        for ticket in self.wires.tickets() {
            let id = connection_id(ticket);
            let Some(peer) = self.link(id) else { continue };
            let until = peer.until;
            if let Some(Errand::Request { key, .. }) = &peer.errand {
                let key = key.clone();
                if self.is_fed(&key) {
                    match until <= self.now {
                        true => self.forget_post(id),
                        false => next = next.min(until),
                    }
                    continue;
                }
            }
            let Some(peer) = self.link(id) else { continue };
            let pending = match &peer.errand {
                Some(Errand::Request { pending, .. } | Errand::Catch { pending, .. }) => {
                    Some(*pending)
                }
                _ => None,
            };
            let forgotten = pending.is_some_and(|pending| self.pendings.get(pending).is_none());
            if forgotten || until <= self.now {
                let limit = INITIALIZE_TIMEOUT.as_secs();
                self.drop_link(id, &format!("it did not answer within {limit} s"));
            } else {
                next = next.min(until);
            }
        }
        next
    }

    fn sweep_pools(&mut self) -> Time {
        let mut next = Time::NEVER;
        for place in 0..self.pools.len() {
            for id in self.pools[place].expired(self.now) {
                self.close(id, Close::Now);
            }
            next = next.min(self.pools[place].deadline().unwrap_or(Time::NEVER));
        }
        next
    }

    fn sweep_catchings(&mut self) -> Time {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.catchings)
            .into_iter()
            .partition(|catching| catching.at <= self.now);
        let next = later
            .iter()
            .map(|catching| catching.at)
            .min()
            .unwrap_or(Time::NEVER);
        self.catchings = later;
        due.into_iter().for_each(|catching| self.catch_up(catching));
        next
    }

    fn sweep_sessions(&mut self) -> Time {
        if self.sessions.is_empty() {
            return Time::NEVER;
        }
        let due = self.sessions_swept_at + SESSION_SWEEP_INTERVAL;
        if due > self.now {
            return due;
        }
        self.sessions_swept_at = self.now;
        let (first, step) = (usize::from(self.id.0), self.workers);
        for session in self.sessions.sweep(self.now, first, step) {
            self.event(Event::SessionEnded {
                why: SessionEnd::Idle,
            });
            self.forget_session(&session);
        }
        self.now + SESSION_SWEEP_INTERVAL
    }

    // ── tables ───────────────────────────────────────────────────────────────────────────────────

    /// Takes over a new table. Exchanges in flight keep what they began with.
    pub(super) fn adopt(&mut self, table: Arc<Table>) {
        let before = std::mem::replace(&mut self.table, table);
        if self.announced.is_none() && changed(&before, &self.table) {
            let due = self.now + LIST_CHANGED_INTERVAL;
            self.announced = Some((before, due));
            self.wake_at(due);
        }
        if !self.table.catalogs.is_empty() {
            self.wake_at(self.now + CATALOG_SWEEP_INTERVAL);
        }
        // A server that is there only now has not been asked yet what it lists for those who declared more.
        self.declared
            .retain(|_, session| session.strong_count() > 0);
        let declared: Vec<Arc<Session>> = self
            .declared
            .values()
            .filter_map(Weak::upgrade)
            .filter(|session| !session.is_ended())
            .collect();
        for session in declared {
            self.ask_for_lists(&session);
        }
        self.ask_for_lists_of_all();
        for ticket in self.exchanges.tickets() {
            let Some(exchange) = self.exchanges.get(ticket) else {
                continue;
            };
            let released = match (&exchange.awaits, &exchange.declared) {
                (Awaits::Lists(..), None) => {
                    self.lists_awaited(exchange.session.as_deref()).is_none()
                }
                (Awaits::Lists(..) | Awaits::Meaning(_), Some(declared)) => {
                    let (declared, principal) = (declared.clone(), exchange.principal.clone());
                    self.lists_still_awaited_by(&declared, &principal).is_none()
                }
                (Awaits::Servers(_), _) => self.servers_awaited().is_none(),
                _ => false,
            };
            if released {
                self.release(exchange_id(ticket));
            }
        }
    }

    /// Answers what waited for servers with what is known now.
    fn release(&mut self, id: crate::id::ExchangeId) {
        let Some(exchange) = self.exchanges.remove(exchange_ticket(id)) else {
            return;
        };
        if let Some(session) = &exchange.session {
            session.end_exchange();
        }
        let Some(connection) = exchange.sink.connection() else {
            return;
        };
        let batch = exchange.sink.batch();
        let era = exchange.era();
        let (own_id, principal, stream_only) = (
            exchange.id.clone(),
            exchange.principal.clone(),
            exchange.stream_only,
        );
        let local = |answer, method| Local {
            id: own_id,
            method,
            tool: None,
            principal,
            answer,
            era,
            stream_only,
        };
        match exchange.awaits {
            Awaits::Lists(kind, cursor) => {
                let answer = match &exchange.declared {
                    None => self.page(exchange.session.as_deref(), kind, cursor.as_deref()),
                    Some(declared) => {
                        let capabilities = Some(&declared.capabilities);
                        self.page_for(capabilities, Era::Modern, kind, cursor.as_deref())
                    }
                };
                self.answer_released(connection, batch, local(answer, kind.method()));
            }
            Awaits::Meaning(unread) => {
                let caller = Caller {
                    sink: exchange.sink,
                    stream_only,
                    session: None,
                    principal: exchange.principal,
                    peer: exchange.peer,
                    declared: exchange.declared,
                };
                if let Some(intent) = self.consider_again(caller, &unread) {
                    self.carry_out(connection, intent);
                }
            }
            Awaits::Servers(hello) => {
                let opening = Opening {
                    id: exchange.id,
                    hello,
                    principal: exchange.principal,
                    stream_only: exchange.stream_only,
                };
                self.carry_out(connection, super::intent::Intent::Welcome(opening));
            }
            _ => {
                let answer = LocalAnswer::Refused(Refusal::Internal);
                self.answer_released(connection, batch, local(answer, exchange.method));
            }
        }
    }

    /// Tells every client on this worker which of its lists have changed, if it is time.
    fn announce_if_due(&mut self) -> Time {
        match &self.announced {
            None => return Time::NEVER,
            Some((_, due)) if *due > self.now => return *due,
            Some(_) => {}
        }
        let Some((before, _)) = self.announced.take() else {
            return Time::NEVER;
        };
        let mut told = 0;
        for ticket in self.wires.tickets() {
            let id = connection_id(ticket);
            let mut sessions: Vec<Arc<Session>> =
                match self.wires.get(ticket).map(|wire| &wire.peer) {
                    Some(Peer::Client(client)) if client.sse.is_none() => {
                        client.standing.iter().cloned().collect()
                    }
                    Some(Peer::Stdio(front)) => front.listeners.clone(),
                    _ => Vec::new(),
                };
            sessions.extend(self.front_session(id));
            if sessions.is_empty() {
                continue;
            };
            for session in sessions {
                let mut changed = changed_for(&before, &self.table, &session);
                if let Some(listener) = &session.listener {
                    changed.retain(|method| listener.filter.wants(*method, None));
                }
                told += usize::from(!changed.is_empty());
                for method in changed {
                    let mut message = Vec::new();
                    crate::jsonrpc::write::notification(&mut message, method.name(), b"");
                    self.tell_session(&session, message.into());
                }
            }
        }
        if told > 0 {
            self.event(Event::ListChangeAnnounced { sessions: told });
        }
        Time::NEVER
    }

    // ── drain ────────────────────────────────────────────────────────────────────────────────────

    /// Finishes what is in flight and admits nothing.
    pub(super) fn begin_drain(&mut self) {
        self.draining = true;
        for ticket in self.wires.tickets() {
            let id = connection_id(ticket);
            let Some(client) = self.client(id) else {
                continue;
            };
            client.connection.begin_drain();
            if let Some(session) = client.standing.take() {
                self.event(Event::StreamClosed);
                if let Some(listener) = &session.listener {
                    self.stream_bytes(
                        id,
                        &event_bytes(None, &listen::ended(&listener.id, OURSELVES)),
                    );
                    self.end_listening(&session);
                }
                self.end_event_stream(id);
            }
            self.settle(id);
        }
        for exchange in self.exchanges.tickets().into_iter().map(exchange_id) {
            let left = |e: &mut Exchange| matches!(e.sink, Sink::Parked | Sink::Refused);
            if self.exchange(exchange).is_some_and(left) {
                // Whoever would come back, or make the next call, is not let in any more.
                self.give_up(exchange, Refusal::Draining, "switchbox is shutting down");
                continue;
            }
            let waits = self.exchange(exchange).is_some_and(|e| {
                matches!(
                    e.awaits,
                    Awaits::Lists(..) | Awaits::Servers(_) | Awaits::Meaning(_)
                )
            });
            if waits {
                self.release(exchange);
            }
        }
        for ticket in self.wires.tickets() {
            self.wind_up_front(connection_id(ticket));
        }
    }
}

/// Whether any client sees other lists than before.
fn changed(before: &Table, after: &Table) -> bool {
    let differs = |a: &crate::router::catalog::Catalog, b: &crate::router::catalog::Catalog| {
        Kind::ALL
            .iter()
            .any(|kind| a.digest(*kind) != b.digest(*kind))
    };
    let of = |table: &Table, capabilities: &Arc<str>| {
        table
            .catalogs
            .get(capabilities)
            .unwrap_or(&table.base)
            .clone()
    };
    let mut declared = before.catalogs.keys().chain(after.catalogs.keys());
    differs(&before.base, &after.base)
        || declared.any(|own| differs(&of(before, own), &of(after, own)))
}

/// The notifications for the lists that one session sees changed.
fn changed_for(before: &Table, after: &Table, session: &Session) -> BTreeSet<Method> {
    let (old, new) = (
        before.catalog(Some(&session.capabilities)),
        after.catalog(Some(&session.capabilities)),
    );
    let changed = Kind::ALL
        .into_iter()
        .filter(|kind| old.digest(*kind) != new.digest(*kind));
    changed.map(Kind::changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn whoever_waits_for_servers_for_long_is_answered() {
        let mut scene = Scene::waiting_for_servers(Duration::from_secs(40));
        let call = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
        let list = scene.modern("tools/list", json!({}));
        let first = scene.introduces_itself();
        scene.pass(Duration::from_secs(41));
        assert!(scene.answer(call)["error"]["code"].is_i64());
        assert!(scene.answer(list)["result"]["tools"].is_array());
        assert!(scene.answer(first)["result"]["serverInfo"].is_object());
    }
}
