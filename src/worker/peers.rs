//! A worker's connections, whatever is at their other end: what arrives is led to who reads it, what is to
//! be sent is shown to the shell, what ends is cleared away.

use super::effect::{Close, Effect};
use super::exchange::Sink;
use super::link::{Errand, Progress};
use super::modern::Card;
use super::sse_front::SseFront;
use super::{Front, Worker, connection_id, exchange_ticket, ticket};
use crate::config::limits::LINES_BACKLOG_BYTES_MAX;
use crate::downstream::{Closing, Connection, Received};
use crate::event::{Event, RequestAnswered, SessionEnd};
use crate::http::Outbox;
use crate::http::outbox::SharedAhead;
use crate::id::{ConnectionId, ExchangeId, Home, Place};
use crate::mcp::Era;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::replay::EventId;
use crate::time::Time;
use crate::upstream::key::Key;
use crate::upstream::lines::Lines;
use crate::upstream::link::Link;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) peer: Peer,
    /// Whether an [`Effect::Flush`] is on its way.
    pub(super) flushing: bool,
    /// Whether the shell was told not to read.
    pub(super) paused: bool,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Peer {
    /// A client on HTTP.
    Client(Box<Client>),
    /// The client on standard input and output.
    Stdio(Box<StdioFront>),
    /// An HTTP server.
    Link(Box<LinkPeer>),
    /// A child.
    Child(Box<Child>),
    /// Being read from at this moment.
    Lent,
}

/// Why a connection has something to send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsent {
    /// Nobody has tried yet.
    Untried,
    /// A write left it over.
    LeftOver,
}

/// A client on HTTP.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) address: IpAddr,
    pub(super) front: Front,
    /// The session that this connection was used for last.
    pub(super) session: Option<Arc<Session>>,
    /// What a modern client said of itself last on this connection.
    pub(super) card: Option<Box<Card>>,
    /// What is being answered.
    pub(super) exchange: Option<ExchangeId>,
    /// The session whose standing stream this is.
    pub(super) standing: Option<Arc<Session>>,
    /// Whether this is the stream of an HTTP+SSE client, and whose.
    pub(super) sse: Option<Box<SseFront>>,
    /// The last event that was shown on it.
    pub(super) shown: EventId,
    /// The exchange of another worker whose stream this is.
    pub(super) relaying: Option<Home>,
    /// The origin of the page that asked, if one did and may read the answer.
    pub(super) origin: Option<Box<str>>,
    /// What the access log gets when the shell, or the worker of an HTTP+SSE client's stream, has answered.
    pub(super) asked_shell: Option<Box<RequestAnswered>>,
    /// When something was last said on an open stream.
    pub(super) spoke_at: Time,
}

/// The client on standard input and output.
#[derive(Debug, Default)]
pub(super) struct StdioFront {
    lines: Lines,
    /// What it sent and that is not looked at before it has taken some of its answers: no more than the shell reads
    /// in one turn.
    unread: Vec<u8>,
    pub(super) outbox: Outbox,
    pub(super) session: Option<Arc<Session>>,
    /// The streams on which a modern client listens.
    pub(super) listeners: Vec<Arc<Session>>,
    /// Whether its input has ended.
    pub(super) ended: bool,
}

/// An HTTP server's connection.
#[derive(Debug)]
pub(super) struct LinkPeer {
    pub(super) link: Link,
    /// The server's place in the table.
    pub(super) server: usize,
    /// Whether it counts among the pool's; a stream has a connection of its own.
    pub(super) pooled: bool,
    /// Whether it was ever open.
    pub(super) connected: bool,
    /// When what it is used for is given up.
    pub(super) until: Time,
    /// What it is used for now.
    pub(super) errand: Option<Errand>,
    /// How far that has come.
    pub(super) progress: Progress,
}

/// A child's pipes.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) key: Key,
    pub(super) lines: Lines,
    pub(super) outbox: Outbox,
}

impl StdioFront {
    /// Whether so much waits to be taken that nothing more is to be asked.
    fn is_clogged(&self) -> bool {
        self.outbox.len() >= LINES_BACKLOG_BYTES_MAX
    }

    /// Whether there are lines to look at that waited for some answers to be taken.
    fn wants_resume(&self) -> bool {
        !self.unread.is_empty() && !self.is_clogged()
    }
}

impl Peer {
    /// What is to be sent there.
    fn outbox(&self) -> Option<&Outbox> {
        match self {
            Peer::Client(client) => Some(client.connection.outbox()),
            Peer::Stdio(front) => Some(&front.outbox),
            Peer::Link(peer) => Some(&peer.link.outbox),
            Peer::Child(child) => Some(&child.outbox),
            Peer::Lent => None,
        }
    }

    /// Whether a client still has to be sent something.
    pub(super) fn has_unsent_answer(&self) -> bool {
        match self {
            Peer::Client(client) => !client.connection.outbox().is_empty(),
            Peer::Stdio(front) => !front.outbox.is_empty(),
            _ => false,
        }
    }
}

impl Worker {
    /// Takes in a connection that was accepted.
    pub fn accept(&mut self, now: Time, peer: SocketAddr, front: Front) -> ConnectionId {
        self.now = now;
        let client = Client {
            connection: Connection::new(now),
            address: peer.ip().to_canonical(),
            front,
            session: None,
            card: None,
            exchange: None,
            standing: None,
            sse: None,
            shown: EventId {
                stream: 0,
                number: 0,
            },
            relaying: None,
            origin: None,
            asked_shell: None,
            spoke_at: now,
        };
        self.wake_at(client.connection.deadline().unwrap_or(Time::NEVER));
        self.event(Event::ConnectionOpened);
        self.plug(Peer::Client(Box::new(client)))
    }

    /// Takes in the client on standard input and output.
    pub fn open_stdio(&mut self, now: Time) -> ConnectionId {
        self.now = now;
        self.plug(Peer::Stdio(Box::default()))
    }

    pub(super) fn plug(&mut self, peer: Peer) -> ConnectionId {
        connection_id(self.wires.insert(Wire {
            peer,
            flushing: false,
            paused: false,
        }))
    }

    /// What is to be sent on a connection, in order; the number of slices that were filled.
    pub fn outgoing<'a>(&'a self, id: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        self.outbox(id).map_or(0, |outbox| outbox.slices(slices))
    }

    /// The first long piece among what is to be sent on a connection that others are sent as well.
    pub fn shared(&self, id: ConnectionId) -> Option<SharedAhead<'_>> {
        self.outbox(id)?.shared_ahead()
    }

    fn outbox(&self, id: ConnectionId) -> Option<&Outbox> {
        self.wires.get(ticket(id))?.peer.outbox()
    }

    pub(super) fn client(&mut self, id: ConnectionId) -> Option<&mut Client> {
        match &mut self.wires.get_mut(ticket(id))?.peer {
            Peer::Client(client) => Some(client),
            _ => None,
        }
    }

    pub(super) fn stdio(&mut self, id: ConnectionId) -> Option<&mut StdioFront> {
        match &mut self.wires.get_mut(ticket(id))?.peer {
            Peer::Stdio(front) => Some(front),
            _ => None,
        }
    }

    pub(super) fn child(&mut self, id: ConnectionId) -> Option<&mut Child> {
        match &mut self.wires.get_mut(ticket(id))?.peer {
            Peer::Child(child) => Some(child),
            _ => None,
        }
    }

    pub(super) fn link(&mut self, id: ConnectionId) -> Option<&mut LinkPeer> {
        match &mut self.wires.get_mut(ticket(id))?.peer {
            Peer::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Asks the shell to send what is in the outbox.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        if let Some(wire) = self.wires.get_mut(ticket(id))
            && !wire.flushing
        {
            wire.flushing = true;
            self.effects.push_back(Effect::Flush(id));
        }
    }

    // ── what arrives ─────────────────────────────────────────────────────────────────────────────

    pub(super) fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        match self.wires.get_mut(ticket(id)).map(|wire| &mut wire.peer) {
            Some(Peer::Client(_)) => self.read_client(id, Some(bytes)),
            Some(Peer::Child(_)) => self.read_child(id, bytes),
            Some(Peer::Link(_)) => self.read_link(id, bytes),
            Some(Peer::Stdio(_)) => self.read_stdio(id, bytes),
            Some(Peer::Lent) | None => {}
        }
    }

    /// Reads on where a client had sent ahead.
    pub(super) fn resume_client(&mut self, id: ConnectionId) {
        match self.wires.get(ticket(id)).map(|wire| &wire.peer) {
            Some(Peer::Client(client)) if client.connection.wants_resume() => {
                self.read_client(id, None);
            }
            Some(Peer::Stdio(front)) if front.wants_resume() => self.read_stdio(id, &[]),
            _ => {}
        }
    }

    /// Feeds a client's connection and does what the request asks for that this completes.
    fn read_client(&mut self, id: ConnectionId, bytes: Option<&[u8]>) {
        let date = self.date();
        let Some(wire) = self.wires.get_mut(ticket(id)) else {
            return;
        };
        // The request borrows from the connection's buffer, so the connection leaves the slab until it
        // is known what is asked; nothing is carried out before it is back.
        let Peer::Client(mut client) = std::mem::replace(&mut wire.peer, Peer::Lent) else {
            return;
        };
        let now = self.now;
        let Client {
            connection,
            session,
            card,
            origin,
            address,
            front,
            ..
        } = &mut *client;
        let received = match bytes {
            Some(bytes) => connection.receive(now, &date, bytes),
            None => connection.resume(now, &date),
        };
        let intent = match received {
            Received::Request(request) => {
                let asker = super::intake::Asking {
                    id,
                    address: *address,
                    front: *front,
                    session,
                    card,
                    origin,
                };
                Some(self.consider_request(asker, &request))
            }
            Received::More => None,
            Received::Refused(fault) => {
                self.note_fault(*address, fault);
                None
            }
        };
        if let Some(wire) = self.wires.get_mut(ticket(id)) {
            wire.peer = Peer::Client(client);
        }
        if let Some(intent) = intent {
            self.carry_out(id, intent);
        }
        self.settle(id);
    }

    fn read_stdio(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(front) = self.stdio(id) else { return };
        let mut lines = std::mem::take(&mut front.lines);
        let mut unread = std::mem::take(&mut front.unread);
        let mut input = bytes;
        if !unread.is_empty() {
            unread.extend_from_slice(bytes);
            input = &unread;
        }
        while self.stdio(id).is_some_and(|front| !front.is_clogged()) {
            match lines.next(&mut input) {
                Ok(Some(line)) => {
                    let intent = self.consider_line(id, line);
                    self.carry_out(id, intent);
                }
                Ok(None) => break,
                Err(_) => return self.close(id, Close::Now),
            }
        }
        if let Some(front) = self.stdio(id) {
            front.lines = lines;
            front.unread = input.to_vec();
        }
        self.settle(id);
    }

    pub(super) fn wrote(&mut self, id: ConnectionId, count: usize) {
        let now = self.now;
        match self.wires.get_mut(ticket(id)).map(|wire| &mut wire.peer) {
            Some(Peer::Client(client)) => client.connection.wrote(now, count),
            Some(Peer::Stdio(front)) => front.outbox.consume(count),
            Some(Peer::Link(peer)) => return peer.link.outbox.consume(count),
            Some(Peer::Child(child)) => return child.outbox.consume(count),
            Some(Peer::Lent) | None => return,
        }
        self.settle_as(id, Unsent::LeftOver);
    }

    /// After anything happened on a client's connection: sends, reads on, pauses or closes as it wants.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        self.settle_as(id, Unsent::Untried);
    }

    /// The same, knowing why something may be unsent.
    fn settle_as(&mut self, id: ConnectionId, why_unsent: Unsent) {
        let Some(wire) = self.wires.get_mut(ticket(id)) else {
            return;
        };
        let client = match &mut wire.peer {
            Peer::Client(client) => client,
            Peer::Stdio(front) => {
                let unsent = !front.outbox.is_empty();
                let ended = front.ended && front.unread.is_empty();
                let clogged = front.is_clogged();
                if front.wants_resume() {
                    self.ready.push_back(id);
                }
                if clogged != wire.paused {
                    wire.paused = clogged;
                    self.effects.push_back(match clogged {
                        true => Effect::Pause(id),
                        false => Effect::Resume(id),
                    });
                }
                if unsent {
                    self.flush(id);
                } else if ended && !self.has_exchange_on(id) {
                    self.close(id, Close::Now);
                }
                return;
            }
            _ => return,
        };
        if let Some(closing) = client.connection.wants_close() {
            return self.close(
                id,
                match closing {
                    Closing::Now => Close::Now,
                    Closing::Lingering => Close::Lingering,
                    Closing::Reset => Close::Reset,
                },
            );
        }
        if client.connection.wants_resume() {
            self.ready.push_back(id);
        }
        let wants_read = client.connection.wants_read();
        let unsent = !client.connection.outbox().is_empty();
        let deadline = client.connection.deadline();
        // An answer that was not tried yet may be gone in one write, however long it is.
        if wants_read && wire.paused {
            wire.paused = false;
            self.effects.push_back(Effect::Resume(id));
        } else if !wants_read && !wire.paused && (why_unsent == Unsent::LeftOver || !unsent) {
            wire.paused = true;
            self.effects.push_back(Effect::Pause(id));
        }
        if unsent {
            self.flush(id);
        }
        if let Some(deadline) = deadline {
            self.wake_at(deadline);
        }
    }

    pub(super) fn has_exchange_on(&self, id: ConnectionId) -> bool {
        self.exchanges
            .iter()
            .any(|(_, exchange)| exchange.sink.connection() == Some(id))
    }

    // ── what ends ────────────────────────────────────────────────────────────────────────────────

    /// The peer will send no more.
    pub(super) fn ended(&mut self, id: ConnectionId) {
        match self.wires.get_mut(ticket(id)).map(|wire| &mut wire.peer) {
            Some(Peer::Client(client)) => {
                // Whoever stops sending in the middle of a stream is gone, not merely silent: streams
                // are read by clients that keep their side open.
                if client.connection.is_streaming() {
                    return self.close(id, Close::Now);
                }
                client.connection.ended();
                // A modern client cancels by hanging up, and has nothing to send after a request.
                let exchange = client.exchange.and_then(|exchange| self.exchange(exchange));
                if exchange.is_some_and(|exchange| exchange.era() == Era::Modern) {
                    return self.close(id, Close::Now);
                }
                self.settle(id);
            }
            Some(Peer::Stdio(front)) => {
                front.ended = true;
                self.settle(id);
            }
            Some(Peer::Link(_)) => self.link_ended(id),
            // Its exit is reported as well, with the reason.
            Some(Peer::Child(_)) | Some(Peer::Lent) | None => {}
        }
    }

    /// The connection is gone; the shell says nothing about it any more.
    pub(super) fn lost(&mut self, id: ConnectionId, cause: &str) {
        let Some(wire) = self.wires.remove(ticket(id)) else {
            return;
        };
        self.clear_away(id, wire.peer, cause);
    }

    /// Closes a connection from our side.
    pub(super) fn close(&mut self, id: ConnectionId, how: Close) {
        let Some(wire) = self.wires.remove(ticket(id)) else {
            return;
        };
        self.effects.push_back(Effect::Close(id, how));
        self.clear_away(id, wire.peer, "it was closed");
    }

    fn clear_away(&mut self, id: ConnectionId, peer: Peer, cause: &str) {
        match peer {
            Peer::Client(client) => {
                self.event(Event::ConnectionClosed);
                if let Some(session) = &client.standing {
                    session.lose_stream(Place {
                        worker: self.id,
                        connection: id,
                    });
                    session.touch(self.now);
                    self.event(Event::StreamClosed);
                    if session.listener.is_some() {
                        self.end_listening(session);
                    }
                }
                if let Some(front) = client.sse {
                    self.front_closed(id, *front);
                }
                if let Some(id) = client.exchange
                    && let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id))
                {
                    if exchange.era() == Era::Modern {
                        // Whoever hangs up in this era cancels (transports/streamable-http, "Cancellation").
                        exchange.sink = Sink::Gone;
                        return self.give_up(id, Refusal::Cancelled, "the client hung up");
                    }
                    exchange.sink = match exchange.sink {
                        Sink::Stream { at, .. } if exchange.session.is_some() => Sink::Lost { at },
                        _ => Sink::Gone,
                    };
                }
            }
            Peer::Stdio(front) => {
                for session in &front.listeners {
                    self.end_listening(session);
                }
                if let Some(session) = front.session {
                    self.end_session(&session, SessionEnd::Closed);
                }
            }
            Peer::Link(peer) => self.link_lost(id, *peer, cause),
            Peer::Child(child) => self.child_lost(child.key, cause),
            Peer::Lent => {}
        }
    }
}

#[cfg(test)]
mod tests;
