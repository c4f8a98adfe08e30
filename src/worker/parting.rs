//! What becomes of a connection to a server, and of what it was used for, when a response or the connection
//! itself has come to its end.

use super::effect::{Close, Effect};
use super::forward::{Awaiter, Waiter};
use super::link::{Catching, Errand, Progress};
use super::parcel::{Parcel, Standing};
use super::peers::{LinkPeer, Peer};
use super::{Worker, slots, ticket};
use crate::config::EraChoice;
use crate::config::limits::{RESENDS_MAX, STREAM_RETRY};
use crate::event::Event;
use crate::id::ConnectionId;
use crate::jsonrpc::parse::Span;
use crate::mcp::Era;
use crate::mcp::bridge::error;
use crate::mcp::method::Method;
use crate::time::Time;
use crate::upstream::conversation::State;
use crate::upstream::key::Key;
use std::sync::Arc;
use std::time::Duration;

/// How long a server keeps its era that has not changed it at once.
const ERA_KEPT_MIN: Duration = Duration::from_millis(500);

impl Worker {
    /// The server closed its side.
    pub(super) fn link_ended(&mut self, id: ConnectionId) {
        let Some(peer) = self.link(id) else { return };
        match peer.link.ended() {
            Err(error) => self.drop_link(id, &error.to_string()),
            Ok(None) if peer.errand.is_none() => self.close(id, Close::Now),
            Ok(body) => {
                let (errand, opening) = (peer.errand.clone(), peer.progress.opening.take());
                if let (Some(body), Some(errand), Some(opening)) = (body, errand, opening) {
                    peer.progress.answered = true;
                    self.body_arrived(&errand, &opening, &body);
                }
                self.link_done(id);
            }
        }
    }

    /// Closes a connection that broke.
    pub(super) fn drop_link(&mut self, id: ConnectionId, cause: &str) {
        let Some(wire) = self.wires.remove(ticket(id)) else {
            return;
        };
        self.effects.push_back(Effect::Close(id, Close::Now));
        if let Peer::Link(peer) = wire.peer {
            self.link_lost(id, *peer, cause);
        }
    }

    /// A response is complete.
    pub(super) fn link_done(&mut self, id: ConnectionId) {
        let Some(peer) = self.link(id) else { return };
        let errand = peer.errand.take();
        peer.until = Time::NEVER;
        let progress = std::mem::take(&mut peer.progress);
        let reusable = peer.link.is_reusable() && peer.pooled;
        if let Some(errand) = errand {
            let cause = match errand {
                Errand::Feed { .. } => "the server ended it",
                _ => "its stream ended without the answer",
            };
            self.errand_over(errand, progress, cause);
        }
        if reusable {
            self.link_free(id);
        } else {
            self.close(id, Close::Now);
        }
    }

    /// A connection can carry the next request.
    pub(super) fn link_free(&mut self, id: ConnectionId) {
        let Some(peer) = self.link(id) else { return };
        let (server, allowed) = (peer.server, peer.link.keep_alive_timeout());
        self.pools[server].give_back(self.now, id, allowed);
        self.serve_waiters(server);
        if let Some(deadline) = self.pools[server].deadline() {
            self.wake_at(deadline);
        }
    }

    /// A connection does not count among the pool's any more: what it is used for takes as long as a person does.
    pub(super) fn stand_alone(&mut self, id: ConnectionId) {
        let Some(peer) = self.link(id).filter(|peer| peer.pooled) else {
            return;
        };
        peer.pooled = false;
        let server = peer.server;
        self.pools[server].closed(id);
        self.serve_waiters(server);
    }

    /// Lets what waits for a connection have one, as far as there are any.
    ///
    /// What has waited may not want one any more: its time is over, or its conversation stands otherwise
    /// by now. Then the next one's turn has come.
    fn serve_waiters(&mut self, server: usize) {
        while self.pools[server].has_room() {
            match self.pools[server].next_waiter() {
                Some(Waiter::Exchange(exchange)) => self.take_turn(exchange),
                Some(Waiter::Errand(errand)) => {
                    let (errand, letter) = *errand;
                    self.run_errand(errand, letter);
                }
                None => break,
            }
        }
    }

    /// A connection is gone, with whatever it was used for.
    pub(super) fn link_lost(&mut self, id: ConnectionId, peer: LinkPeer, cause: &str) {
        if peer.pooled {
            self.pools[peer.server].closed(id);
        }
        let pooled = peer.pooled;
        if let Some(errand) = peer.errand {
            match &errand {
                Errand::Request { pending, key } if !peer.connected => {
                    self.not_connected(*pending, key, cause);
                }
                _ => self.errand_over(errand, peer.progress, cause),
            }
        }
        // Its place in the pool is free for who waits.
        if pooled {
            self.serve_waiters(peer.server);
        }
    }

    /// Nothing was sent, so that an exchange may wait for the server to be back.
    pub(super) fn not_connected(&mut self, pending: slots::Ticket, key: &Arc<Key>, cause: &str) {
        let home = match self.pendings.get(pending).map(|pending| &pending.awaiter) {
            Some(Awaiter::Client(home)) if home.worker == self.id => Some(*home),
            _ => None,
        };
        match home {
            Some(home) if self.take_back(home.exchange) => {
                self.doubt_slice(key);
                self.post(
                    self.owner(key),
                    Parcel::Unreachable(key.clone(), cause.into()),
                );
                self.take_turn(home.exchange);
            }
            _ => {
                self.pending_failed(pending, cause);
                self.post(
                    self.owner(key),
                    Parcel::Unreachable(key.clone(), cause.into()),
                );
            }
        }
    }

    pub(super) fn errand_over(&mut self, errand: Errand, progress: Progress, cause: &str) {
        match errand {
            Errand::Request { pending, key } | Errand::Catch { pending, key } => {
                let asked = self.pendings.get(pending);
                let Some(era) = asked.map(|p| p.era).filter(|_| !progress.answered) else {
                    return;
                };
                if self.is_fed(&key) {
                    return self.post_failed(pending, cause);
                }
                let opened = match self.slices.get(&*key).map(|slice| &slice.standing) {
                    // Streams of modern servers are not resumed (2026-07-28 basic/transports/streamable-http).
                    Some(Standing::Open(opened)) if era == Era::Legacy => Some(opened.clone()),
                    _ => None,
                };
                match progress.last_event.zip(opened) {
                    Some((last_event, opened)) => {
                        let at = self.now + progress.retry.unwrap_or(STREAM_RETRY);
                        self.wake_at(at);
                        self.catchings.push(Catching {
                            at,
                            pending,
                            key,
                            opened,
                            last_event,
                        });
                    }
                    None => self.pending_failed(pending, cause),
                }
            }
            Errand::Feed { key, epoch } => {
                let cause = format!("its event stream ended: {cause}");
                self.feed_lost(&key, epoch, &cause);
            }
            Errand::Listen { key } => self.listen_again(
                &key,
                progress.last_event,
                progress.retry.unwrap_or(STREAM_RETRY),
            ),
            Errand::Confirm { key, epoch }
                if !progress.answered && self.epoch(&key) == Some(epoch) =>
            {
                self.conversation_failed(&key, cause);
            }
            Errand::Tell { key, message, lost }
                if !progress.answered && progress.opening.is_none() =>
            {
                self.message_lost(key, message, lost + 1);
            }
            Errand::Confirm { .. } | Errand::Tell { .. } | Errand::Farewell => {}
        }
    }

    /// A message that wants no answer may not have arrived. Its server would wait for ever for what it asked, and
    /// takes no harm from being told twice.
    fn message_lost(&mut self, key: Arc<Key>, message: Arc<[u8]>, lost: u8) {
        if lost <= RESENDS_MAX {
            return self.tell(key, message, lost);
        }
        self.event(Event::NotificationDropped {
            server: self.table.servers[key.server].clone(),
            method: Method::Other,
            why: "the server could not be told",
        });
    }

    // ── forgotten sessions ───────────────────────────────────────────────────────────────────────

    pub(super) fn has_session_id(&self, key: &Key) -> bool {
        match self.slices.get(key).map(|slice| &slice.standing) {
            Some(Standing::Open(opened)) => opened.session_id.is_some(),
            _ => false,
        }
    }

    /// Whether 404 means that the session which a request went out in is forgotten.
    ///
    /// The conversation may have been doubted or opened anew since, because another request found out first.
    pub(super) fn is_forgotten(&self, pending: slots::Ticket, key: &Key) -> bool {
        let sent_in = self.pendings.get(pending).and_then(|pending| pending.epoch);
        match self.slices.get(key).map(|slice| &slice.standing) {
            Some(Standing::Open(opened)) if Some(opened.epoch) == sent_in => {
                opened.session_id.is_some()
            }
            Some(_) => sent_in.is_some(),
            None => false,
        }
    }

    /// The server did not know the session, so it did not do what was asked: open a new one, ask again.
    pub(super) fn session_forgotten(&mut self, pending: slots::Ticket, key: &Arc<Key>) {
        let home = match self.pendings.get(pending).map(|pending| &pending.awaiter) {
            Some(Awaiter::Client(home)) if home.worker == self.id => Some(*home),
            _ => None,
        };
        let sent_in = self.pendings.get(pending).and_then(|pending| pending.epoch);
        let present = match self.slices.get(&**key).map(|slice| &slice.standing) {
            Some(Standing::Open(opened)) => Some(opened.epoch),
            _ => None,
        };
        if sent_in == present {
            self.report_forgotten(key);
        }
        match home {
            Some(home) if self.take_back(home.exchange) => self.take_turn(home.exchange),
            _ => self.pending_failed(pending, "it has forgotten the session (HTTP 404)"),
        }
    }

    /// Whether a server says that it is of another era than the one in which it was asked.
    pub(super) fn is_contradicted(
        &self,
        pending: slots::Ticket,
        status: u16,
        text: &[u8],
        error: Span,
    ) -> bool {
        let asked = self.pendings.get(pending).filter(|_| status >= 400);
        asked.is_some_and(|asked| {
            // What asks about the era is refused in its own way.
            self.table.servers[asked.key.server].era == EraChoice::Auto
                && !asked.introduces(&asked.key)
                && error::contradicts(asked.era, status, text, error)
        })
    }

    /// Another conversation of a server found it to speak that era, so that this one is begun anew.
    pub(super) fn era_found(&mut self, key: &Key, era: Era) {
        if self.era_in(key).is_none_or(|own| own == era) {
            return;
        }
        let cause = "it speaks another protocol revision than before";
        let state = self.partners.get(key).map(|own| &own.conversation.state);
        match state {
            // Where its processes are not all of one era, this would never come to an end.
            Some(State::Open { since }) if self.now.since(*since) >= ERA_KEPT_MIN => {
                self.begin_anew(key, cause)
            }
            _ => self.conversation_failed(key, cause),
        }
    }

    /// The server says that it is of another era than it was, so it did not do what was asked: find out, ask again.
    pub(super) fn era_doubted(&mut self, pending: slots::Ticket, key: &Arc<Key>) {
        let cause = "it speaks another protocol revision than before";
        let home = match self.pendings.get(pending).map(|pending| &pending.awaiter) {
            Some(Awaiter::Client(home)) if home.worker == self.id => Some(*home),
            _ => None,
        };
        self.doubt_slice(key);
        let owner = self.owner(key);
        match home {
            Some(home) if self.take_back(home.exchange) => {
                self.post(owner, Parcel::Unreachable(key.clone(), cause.into()));
                self.take_turn(home.exchange);
            }
            _ => {
                self.pending_failed(pending, cause);
                self.post(owner, Parcel::Unreachable(key.clone(), cause.into()));
            }
        }
    }

    pub(super) fn report_forgotten(&mut self, key: &Arc<Key>) {
        let epoch = match self.slices.get(&**key).map(|slice| &slice.standing) {
            Some(Standing::Open(opened)) => opened.epoch,
            _ => return,
        };
        self.doubt_slice(key);
        self.post(self.owner(key), Parcel::Forgotten(key.clone(), epoch));
    }

    /// Has everything wait until the owner says how the conversation stands.
    pub(super) fn doubt_slice(&mut self, key: &Key) {
        if let Some(slice) = self.slices.get_mut(key) {
            slice.standing = Standing::Opening;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::revision::Revision;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn conversation_whose_server_has_changed_its_era_is_begun_anew_at_once() {
        let mut scene = Scene::new(Era::Legacy);
        scene.pass(ERA_KEPT_MIN);
        let before = scene.children.clone();
        let found = || Parcel::EraFound(Arc::new(Key::base(0)), Era::Modern);
        scene.handle(Input::Parcel(found()));
        assert!(scene.children.len() == 1 && scene.children != before);
        let params = json!({"name": "t", "arguments": {}});
        let client = scene.modern_with("tools/call", params, &json!({}));
        let (child, call) = scene.asked("tools/call");
        scene.answers(child, &call, &json!({"content": []}));
        assert_eq!(scene.answer(client)["result"]["resultType"], "complete");
        // One that is found to be another again at once is a failure.
        scene.handle(Input::Parcel(found()));
        assert!(scene.children.is_empty());
    }

    #[test]
    fn broken_stream_of_a_modern_server_is_not_resumed() {
        let mut scene = Scene::over_http(Era::Modern);
        let (link, asked) = scene.posted("server/discover");
        let found = json!({
            "resultType": "complete", "supportedVersions": [Revision::MODERN.name()],
            "capabilities": {"resources": {"subscribe": true}}, "ttlMs": 0, "cacheScope": "private",
        });
        scene.responds(link, &asked, &found);
        let (link, _) = scene.posted("subscriptions/listen");
        // An id is of no use in this era, and harmless.
        let stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: 1\ndata:\n\n";
        scene.handle(Input::Received(link, stream));
        scene.handle(Input::Failed(link, "timed out".into()));
        scene.links.retain(|own| *own != link);
        scene.pass(STREAM_RETRY * 2);
        scene.posted("subscriptions/listen");
    }

    #[test]
    fn what_a_server_asked_is_answered_though_connections_break() {
        let mut scene = Scene::over_http(Era::Legacy);
        let (link, asked) = scene.posted("initialize");
        let introduction = json!({
            "protocolVersion": Revision::LATEST.name(), "capabilities": {"tools": {}},
            "serverInfo": {"name": "s", "version": "1"},
        });
        scene.responds(link, &asked, &introduction);
        let (link, _) = scene.posted("notifications/initialized");
        let accepted = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        scene.handle(Input::Received(link, accepted));
        let (link, _) = scene.posted("tools/list");
        let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let asks = format!("{head}data: {ping}\n\n");
        scene.handle(Input::Received(link, asks.as_bytes()));
        let answers = |scene: &mut Scene| {
            let links = scene.links.clone();
            let is_it = |said: &str| said.ends_with(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
            links.into_iter().find(|link| is_it(&scene.heard(*link)))
        };
        for round in 0..=RESENDS_MAX {
            let link = answers(&mut scene).unwrap_or_else(|| panic!("not sent again: {round}"));
            scene.links.retain(|own| *own != link);
            let failed = match round {
                0 => Input::ConnectFailed(link, "connection refused".into()),
                _ => Input::Failed(link, "connection reset".into()),
            };
            scene.handle(failed);
        }
        assert_eq!(answers(&mut scene), None);
    }
}
