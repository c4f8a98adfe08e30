//! Giving up on an exchange, and letting its server know.

use super::effect::Close;
use super::exchange::{Awaits, Exchange, Sink};
use super::forward::{Awaiter, Step};
use super::lanes::Use;
use super::link::Errand;
use super::parcel::{Abandoned, Forward, Parcel, Relay};
use super::peers::Peer;
use super::{Worker, exchange_ticket, slots, wire_id};
use crate::config::limits::REFUSED_TIMEOUT;
use crate::event::Outcome;
use crate::http::Piece;
use crate::id::{ConnectionId, ExchangeId, Home};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may still be busy with an exchange that was given up.
const GHOST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may still answer what a conversation asked for itself and does not want to know any more.
const STEP_GHOST_TIMEOUT: Duration = Duration::from_secs(5);

impl Worker {
    /// Ends an exchange whose answer nobody waits for any more, and lets its server know.
    pub(super) fn give_up(&mut self, id: ExchangeId, refusal: Refusal, reason: &'static str) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let own_task = exchange
            .own_task()
            .and_then(|task| Some((task.into(), exchange.awaits.key()?.clone())));
        if let Some((task, key)) = own_task {
            let owner = self.owner(&key);
            self.post(owner, Parcel::TaskUnwanted(Arc::new(key), task));
        }
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        match &exchange.awaits {
            Awaits::Owner { key, .. } => {
                let abandoned = Abandoned {
                    key: key.clone(),
                    home,
                    reason,
                };
                self.post(
                    self.owner(&abandoned.key),
                    Parcel::Abandoned(Box::new(abandoned)),
                );
            }
            Awaits::Link { pending, .. } => {
                let pending = *pending;
                self.abandon(pending, reason);
            }
            Awaits::Parked { call, .. } => {
                let call = *call;
                self.post(call.worker, Parcel::Left(call.exchange, home));
            }
            Awaits::Turn { .. }
            | Awaits::Lane { .. }
            | Awaits::Lists(..)
            | Awaits::Servers(_)
            | Awaits::Meaning(_)
            | Awaits::Visitor(_)
            | Awaits::Nothing => {}
        }
        self.refuse(id, refusal);
    }

    /// Tells a client what it would have had to declare, since its server wanted to ask it something.
    ///
    /// The server was refused that and goes on without. Where it serves one call at a time, its own answer is awaited
    /// for a while: then it can serve the next, and a client that goes on asking costs no child each time.
    pub(super) fn refuse_lacking(&mut self, id: ExchangeId, refusal: Refusal) {
        let until = self.now + REFUSED_TIMEOUT;
        let draining = self.draining;
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let Some(guest) = exchange.session.as_ref().filter(|_| !draining) else {
            return self.give_up(id, refusal, "the client cannot be asked");
        };
        let guest = guest.key;
        exchange.deadline = until;
        let mut text = Vec::new();
        write::error(&mut text, &exchange.id, &refusal.to_json(exchange.era()));
        let status = refusal.status(exchange.era());
        let dropped = exchange.parked.as_mut().map(|parked| parked.dropped());
        let outlet = exchange.outlet(Sink::Refused);
        self.wake_at(until);
        self.use_lane(guest, Use::Busy);
        for ask in dropped.into_iter().flatten() {
            self.ask_undelivered(ask, "the call that it belongs to has ended");
        }
        let status = match outlet.sink {
            Sink::Visitor(visitor) => {
                self.fail_home(visitor, refusal);
                0
            }
            _ => self.give(id, &outlet, status, None, &[Piece::Bytes(&text)]),
        };
        let now = self.now;
        if let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) {
            let principal = exchange.principal.clone();
            let ended = exchange.ended(now, Outcome::Refused, status);
            exchange.principal = principal;
            self.event(ended);
        }
    }

    /// The server has answered what its client was refused before.
    pub(super) fn close_refused(&mut self, id: ExchangeId) {
        if let Some(mut exchange) = self.exchanges.remove(exchange_ticket(id)) {
            self.let_go(&mut exchange);
        }
    }

    /// Ends an exchange that its client cancelled without an answer, which it does not expect any more
    /// (basic/utilities/cancellation); whether its connection allows that.
    pub(super) fn end_silently(&mut self, id: ExchangeId, exchange: &Exchange) -> bool {
        if let (
            Some(session),
            Sink::Stream { at, .. } | Sink::Elsewhere { at, .. } | Sink::Lost { at },
        ) = (exchange.resumable(), &exchange.sink)
        {
            session.end_stream(at.stream);
        }
        match exchange.sink {
            Sink::Answer {
                connection,
                may_stream: true,
            } => {
                self.begin_event_stream(connection, &[]);
                self.end_event_stream(connection);
            }
            Sink::Stream { connection, .. } => self.end_event_stream(connection),
            Sink::Elsewhere { place, .. } => {
                let home = Home {
                    worker: self.id,
                    exchange: id,
                };
                self.relay(place, home, Vec::new(), Relay::Last);
            }
            Sink::Answer { .. } => return false,
            Sink::Batch { batch, .. } => return self.forgo(batch),
            Sink::Line { connection } => self.settle(connection),
            Sink::Visitor(visitor) => self.fail_home(visitor, Refusal::Cancelled),
            Sink::Lost { .. } | Sink::Gone | Sink::Parked | Sink::Refused | Sink::Heard => {}
        }
        true
    }

    pub(super) fn abandon_at_owner(&mut self, abandoned: &Abandoned) {
        if let Some((ticket, _)) = self.pendings.of(abandoned.home) {
            return self.abandon(ticket, abandoned.reason);
        }
        let is_it = |forward: &Forward| forward.home == abandoned.home;
        if let Some(partner) = self.partners.get_mut(&abandoned.key)
            && let Some(at) = partner.waiting.iter().position(is_it)
            && let Some(forward) = partner.waiting.remove(at)
        {
            self.forget_forward(&forward);
        }
        self.unfollow(&abandoned.key, abandoned.home);
        // It may have had to share a conversation, perhaps of another worker. What was forwarded there went ahead of
        // this on the same way.
        if let Some(key) = self.shared_instead(&abandoned.key) {
            let (home, reason) = (abandoned.home, abandoned.reason);
            let owner = self.owner(&key);
            let abandoned = Abandoned { key, home, reason };
            self.post(owner, Parcel::Abandoned(Box::new(abandoned)));
        }
    }

    /// The connection that carries a request.
    pub(super) fn link_of(&self, ticket: slots::Ticket) -> Option<ConnectionId> {
        let link = self.pendings.link(ticket)?;
        let Peer::Link(peer) = &self.wires.get(super::ticket(link))?.peer else {
            return None;
        };
        let carried = peer.errand.as_ref().and_then(Errand::pending);
        (carried == Some(ticket)).then_some(link)
    }

    /// Tells a server that nobody waits for its answer. What it says in the meantime could still be about
    /// that, so the request is remembered for a while; what it says of a conversation's own is no client's.
    pub(super) fn abandon(&mut self, ticket: slots::Ticket, reason: &str) {
        let wire = wire_id::pack(self.id, ticket);
        let Some(pending) = self.pendings.get_mut(ticket) else {
            return;
        };
        let (until, awaiter) = match pending.awaiter {
            Awaiter::Step(..) => {
                let until = self.now + STEP_GHOST_TIMEOUT;
                (until, Awaiter::Step(Step::Quiet, until))
            }
            Awaiter::Client(_) | Awaiter::Ghost(_) => {
                let until = self.now + GHOST_TIMEOUT;
                (until, Awaiter::Ghost(until))
            }
        };
        pending.awaiter = awaiter;
        let (key, era) = (pending.key.clone(), pending.era);
        let (session, uri) = (pending.session, pending.subscription.clone());
        self.take_back_subscription(&key, session, uri.as_deref());
        // What carries it to an HTTP+SSE server does not carry the answer.
        let fed = self.is_fed(&key);
        match self.link_of(ticket).filter(|_| !fed) {
            // It could carry nothing else before the answer came, which may be never, and what comes on
            // others does not depend on what is in flight.
            Some(link) => {
                self.pendings.remove(ticket);
                if let Some(peer) = self.link(link) {
                    peer.errand = None;
                }
                self.close(link, Close::Now);
            }
            None => self.wake_at(until),
        }
        // Over HTTP, hanging up is how a modern request is cancelled.
        let is_child = self
            .partners
            .get(&key)
            .is_some_and(|partner| partner.child.is_some());
        if era == Era::Modern && !is_child {
            return;
        }
        let mut params = b"{\"requestId\":".to_vec();
        write::integer(&mut params, wire);
        params.extend_from_slice(b",\"reason\":");
        write::string(&mut params, reason);
        params.push(b'}');
        let mut message = Vec::new();
        write::notification(&mut message, Method::Cancelled.name(), &params);
        self.tell_server(&key, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::ASKED_CHILDREN_MAX;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn call_that_was_cancelled_while_it_waited_in_a_shared_conversation_is_not_sent() {
        let mut scene = Scene::new(Era::Legacy);
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"},
        });
        for _ in 0..ASKED_CHILDREN_MAX {
            let session = scene.opens_session();
            scene.post(&session, &call);
        }
        let before = scene.children.len();
        scene.is_gone();
        let session = scene.opens_session();
        scene.post(&session, &call);
        let shared = scene.children[before];
        let method = "notifications/cancelled";
        let cancel = json!({"jsonrpc": "2.0", "method": method, "params": {"requestId": 1}});
        scene.post(&session, &cancel);
        scene.wakes();
        let lines = scene.lines(shared);
        assert!(
            lines
                .iter()
                .any(|line| line["method"] == "notifications/initialized")
        );
        assert!(lines.iter().all(|line| line["method"] != "tools/call"));
    }
}
