//! How a conversation with an HTTP server stands, as other workers and its own standing stream need to know.

use super::Worker;
use super::effect::Close;
use super::parcel::{Asker, Parcel, Standing};
use super::partner::Listening;
use crate::config::limits::CONVERSATION_IDLE_TIMEOUT;
use crate::event::Event;
use crate::id::WorkerId;
use crate::mcp::bridge::need::Need;
use crate::upstream::conversation::State;
use crate::upstream::key::Key;
use std::sync::Arc;
use std::time::Duration;

/// How long a server's standing stream is waited for; some open it only when they have something to say.
const STREAM_PATIENCE: Duration = Duration::from_millis(300);
/// How long a server keeps a session that it has not forgotten at once.
const SESSION_KEPT_MIN: Duration = Duration::from_millis(500);
/// How often in a row it may be forgotten earlier than that.
const FORGOTTEN_EARLY_MAX: u8 = 3;

impl Worker {
    pub(super) fn attach(&mut self, asker: &Asker, from: WorkerId) {
        let key = Arc::new(asker.key.clone());
        let user = asker.session.as_ref().map(|session| session.key);
        if let Err(refusal) = self.ensure_partner(asker) {
            // What waits there is told why, and what comes later asks again.
            let down = Standing::Down(refusal.message().into());
            self.post(from, Parcel::Opened(key.clone(), down));
            self.post(from, Parcel::Joined(key.clone(), user));
            return self.post(from, Parcel::Opened(key, Standing::Ended));
        }
        let now = self.now;
        if let Some(partner) = self.partners.get_mut(&asker.key) {
            partner.attached |= 1 << from.0;
            if asker.session.is_none() {
                partner.conversation.join_stranger(from);
            }
            let standing = partner.standing(now);
            self.post(from, Parcel::Opened(key.clone(), standing));
            self.post(from, Parcel::Joined(key, user));
        }
    }

    /// No caller without a session uses a conversation from that worker any more.
    pub(super) fn strangers_left(&mut self, key: &Key, from: WorkerId) {
        let now = self.now;
        if let Some(partner) = self.partners.get_mut(key) {
            partner.conversation.strangers_left(now, from);
            self.wake_at(now + CONVERSATION_IDLE_TIMEOUT);
        }
    }

    /// Tells every worker that asked how a conversation stands.
    pub(super) fn tell_standing(&mut self, key: &Key) {
        let Some(partner) = self.partners.get(key) else {
            return;
        };
        let (attached, standing) = (partner.attached, partner.standing(self.now));
        let shared = Arc::new(key.clone());
        for worker in (0..self.workers).filter(|worker| attached >> worker & 1 == 1) {
            self.post(
                WorkerId(worker as u8),
                Parcel::Opened(shared.clone(), standing.clone()),
            );
        }
        // The owner's own errands need the head whether or not an exchange has asked for the slice.
        if attached >> self.id.0 & 1 == 0 {
            self.slice_told(key, standing);
        }
    }

    /// Which opening of a conversation is open, as far as this worker knows.
    pub(super) fn epoch(&self, key: &Key) -> Option<u32> {
        if let Some(partner) = self.partners.get(key) {
            return partner.opened.as_ref().map(|opened| opened.epoch);
        }
        match self.slices.get(key).map(|slice| &slice.standing) {
            Some(Standing::Open(opened)) => Some(opened.epoch),
            _ => None,
        }
    }

    /// An HTTP server has forgotten the session: open another.
    pub(super) fn forgotten(&mut self, key: &Key, epoch: u32) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if partner
            .opened
            .as_ref()
            .is_none_or(|opened| opened.epoch != epoch)
        {
            // It is being opened already, or has been since: say so to who asks.
            return self.tell_standing(key);
        }
        // A server that forgets again and again at once would be asked for new sessions for ever.
        let kept = match partner.conversation.state {
            State::Open { since } => self.now.since(since),
            _ => Duration::ZERO,
        };
        partner.forgotten_early = if kept < SESSION_KEPT_MIN {
            partner.forgotten_early + 1
        } else {
            0
        };
        if partner.forgotten_early > FORGOTTEN_EARLY_MAX {
            partner.forgotten_early = 0;
            return self.conversation_failed(key, "it forgets its sessions at once (HTTP 404)");
        }
        partner.opened = None;
        partner.ready_at = None;
        // What the conversation itself was asking for, it will ask for again.
        for ticket in self.pendings.tickets() {
            let pending = self.pendings.get(ticket);
            if pending.is_some_and(|pending| pending.is_step_of(key)) {
                self.pendings.remove(ticket);
            }
        }
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let listening = std::mem::replace(&mut partner.listening, Listening::No);
        let server = partner.conversation.server.clone();
        if let Listening::On(id) = listening {
            self.close(id, Close::Now);
        }
        self.event(Event::UpstreamReopened { server });
        self.start(key);
        self.tell_standing(key);
    }

    pub(super) fn unreachable(&mut self, key: &Key, cause: &str) {
        match self
            .partners
            .get(key)
            .map(|partner| &partner.conversation.state)
        {
            Some(State::Open { .. }) => self.conversation_failed(key, cause),
            Some(_) => self.tell_standing(key),
            None => {}
        }
    }

    // ── an HTTP server's standing stream ─────────────────────────────────────────────────────────

    /// The server has taken `initialized`. Where it may ask something, its standing stream comes first: what it
    /// asks there before there is one is lost.
    pub(super) fn confirmed(&mut self, key: &Key) {
        let asks = key.session.is_some()
            && Need::ALL
                .iter()
                .any(|n| n.is_met_by(key.capabilities.as_bytes()));
        if !asks || self.is_fed(key) {
            return self.conversation_ready(key);
        }
        let at = self.now + STREAM_PATIENCE;
        let id = self.listen(key, None);
        if let Some(partner) = self.partners.get_mut(key) {
            partner.listening = Listening::On(id);
            partner.ready_at = Some(at);
            self.wake_at(at);
        }
    }

    /// The server's standing stream is open.
    pub(super) fn stream_opened(&mut self, key: &Key) {
        if let Some(partner) = self.partners.get_mut(key) {
            partner.has_listened = true;
        }
        self.listens_or_not(key);
    }

    /// The server's standing stream need not be waited for any more.
    pub(super) fn listens_or_not(&mut self, key: &Key) {
        let partner = self.partners.get_mut(key);
        if partner.is_some_and(|partner| partner.ready_at.take().is_some()) {
            self.conversation_ready(key);
        }
    }

    /// The server has none, or none any more: then it has forgotten the session.
    pub(super) fn not_listening(&mut self, key: &Key) {
        let had = self
            .partners
            .get(key)
            .filter(|partner| partner.has_listened);
        let opened = had.and_then(|partner| partner.opened.as_ref());
        if let Some(epoch) = opened.filter(|o| o.session_id.is_some()).map(|o| o.epoch) {
            return self.forgotten(key, epoch);
        }
        self.listens_or_not(key);
        if let Some(partner) = self.partners.get_mut(key) {
            partner.listening = Listening::No;
        }
    }

    /// It ended: ask for it again after a while.
    pub(super) fn listen_again(&mut self, key: &Key, last: Option<Vec<u8>>, after: Duration) {
        self.listens_or_not(key);
        let at = self.now + after;
        if let Some(partner) = self.partners.get_mut(key)
            && matches!(partner.listening, Listening::On(_))
        {
            partner.listening = Listening::Again(at, last);
            self.wake_at(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::CHILDREN_MAX;
    use crate::config::{Speaks, Transport};
    use crate::mcp::Era;
    use crate::mcp::method::Method;
    use crate::router::table::Table;
    use crate::worker::exchange::{Awaits, Exchange, Sink};
    use crate::worker::exchange_id;
    use crate::worker::parcel::Outgoing;
    use crate::worker::scene::Scene;

    #[test]
    fn exchange_that_a_server_has_no_room_for_is_refused_at_once() {
        let mut scene = Scene::over_http(Era::Legacy);
        let worker = &mut scene.worker;
        // It has just been found to be one with one stream.
        let mut server = (*worker.table.servers[0]).clone();
        if let Transport::Http(http) = &mut server.transport {
            http.speaks = Speaks::SseAfterAll;
        }
        let (server, before) = (Arc::new(server), &worker.table);
        worker.table = Arc::new(Table {
            names: before.names,
            servers: vec![server.clone()],
            reasons: vec![None],
            eras: vec![Era::Legacy],
            base: before.base.clone(),
            catalogs: Default::default(),
        });
        worker.conversations[0] = CHILDREN_MAX;
        let key = Key {
            capabilities: r#"{"elicitation":{}}"#.into(),
            ..Key::base(0)
        };
        let mut exchange = Exchange::new(scene.now, Sink::Gone, Method::ToolsCall);
        exchange.awaits = Awaits::Turn {
            server,
            key: Arc::new(key.clone()),
            outgoing: Box::new(Outgoing::own(Method::ToolsCall, Vec::new())),
            resent: false,
        };
        let id = exchange_id(worker.exchanges.insert(exchange));
        worker.take_turn(id);
        assert_eq!(worker.exchanges_in_flight(), 0);
        assert!(!worker.slices.contains_key(&key));
    }
}
