//! One client's request on its way through us, until it is answered.

use crate::config::Server;
use crate::config::limits::EXCHANGE_TIMEOUT_MAX;
use crate::event::{Event, ExchangeEnded, Outcome};
use crate::id::{ConnectionId, Home, Place};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::parse;
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::handshake::Hello;
use crate::mcp::listing::Kind;
use crate::mcp::method::Method;
use crate::session::Session;
use crate::session::replay::EventId;
use crate::time::Time;
use crate::upstream::key::Key;
use crate::worker::inquiry::Inquiry;
use crate::worker::lanes::{Left, Turn};
use crate::worker::modern::Unread;
use crate::worker::parcel::{Answered, Outgoing};
use crate::worker::parked::Parked;
use crate::worker::slots::Ticket;
use crate::worker::tasking::Tasking;
use std::net::IpAddr;
use std::sync::Arc;

/// An exchange in flight.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Where the answer goes.
    pub(super) sink: Sink,
    /// Whose it is.
    pub(super) session: Option<Arc<Session>>,
    /// Who asked.
    pub(super) principal: Option<Arc<str>>,
    /// From where.
    pub(super) peer: Option<IpAddr>,
    /// The client's id, as it is written.
    pub(super) id: Box<[u8]>,
    /// The client's progress token, as it is written.
    pub(super) token: Option<Box<[u8]>>,
    /// What is asked.
    pub(super) method: Method,
    /// The tool, as clients know it.
    pub(super) tool: Option<Arc<str>>,
    /// The resource that is read, as it is written.
    pub(super) uri: Option<Box<[u8]>>,
    /// What it waits for.
    pub(super) awaits: Awaits,
    /// When it began.
    pub(super) began: Time,
    /// When it was sent to the server.
    pub(super) sent: Option<Time>,
    /// When it is given up.
    pub(super) deadline: Time,
    /// When it is given up whatever progress is made.
    pub(super) last_deadline: Time,
    /// Whether the client takes nothing but an event stream.
    pub(super) stream_only: bool,
    /// What the request declared, if its client is of the modern era.
    pub(super) declared: Option<Declared>,
    /// What it has to do with tasks.
    pub(super) tasking: Tasking,
    /// What was sent to the server, where it may have to be sent again or compared with what comes back.
    pub(super) original: Option<Box<Outgoing>>,
    /// What a legacy server asked within it, for a modern client to come back with.
    pub(super) parked: Option<Box<Parked>>,
    /// What a modern server wants to know before it answers, being asked of a legacy client.
    pub(super) inquiry: Option<Box<Inquiry>>,
    /// The progress that a modern client was told last.
    pub(super) progress: f64,
    /// How it would leave the lane that it has, if it has one.
    pub(super) left: Left,
}

/// What a modern request says of its client, where a legacy one says it once for all of its session.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    /// What the client can be asked, as a legacy server would have to be told.
    pub(super) capabilities: ClientCapabilities,
    /// The same as a modern server is told, if it must not be told what the client wrote.
    pub(super) carried: Option<Arc<[u8]>>,
    /// The least serious level of log messages that it wants, if any.
    pub(super) level: Option<u8>,
    /// Whether it understands that a call becomes a task.
    pub(super) tasks: bool,
}

impl Exchange {
    /// One that begins now and has nowhere to go yet.
    pub(super) fn new(now: Time, sink: Sink, method: Method) -> Exchange {
        Exchange {
            sink,
            session: None,
            principal: None,
            peer: None,
            id: Box::default(),
            token: None,
            method,
            tool: None,
            uri: None,
            awaits: Awaits::Nothing,
            began: now,
            sent: None,
            deadline: Time::NEVER,
            last_deadline: now + EXCHANGE_TIMEOUT_MAX,
            stream_only: false,
            declared: None,
            tasking: Tasking::No,
            original: None,
            parked: None,
            inquiry: None,
            progress: f64::NEG_INFINITY,
            left: Left::Unclear,
        }
    }

    /// The era of the client.
    pub(super) fn era(&self) -> Era {
        match self.declared {
            None => Era::Legacy,
            Some(_) => Era::Modern,
        }
    }

    /// Whether a server's progress is more than what the client was told last, and so to be told.
    pub(super) fn rises(&mut self, text: &[u8]) -> bool {
        let params = Envelope::parse(text)
            .ok()
            .and_then(|envelope| envelope.params);
        let number = params.and_then(|params| parse::member(text, params, "progress"));
        let number = number.and_then(|span| std::str::from_utf8(span.of(text)).ok()?.parse().ok());
        let rises = number.is_some_and(|number: f64| number > self.progress);
        self.progress = number.unwrap_or(self.progress).max(self.progress);
        rises
    }

    /// What is said of it once its client is answered.
    pub(super) fn ended(&mut self, now: Time, outcome: Outcome, status: u16) -> Event {
        Event::ExchangeEnded(Box::new(ExchangeEnded {
            peer: self.peer,
            principal: self.principal.take(),
            method: self.method,
            tool: self.tool.take(),
            server: self.awaits.server().cloned(),
            outcome,
            status,
            took: now.since(self.began),
            upstream: self.sent.map(|sent| now.since(sent)),
        }))
    }

    /// The session whose client may come back for this exchange's stream.
    pub(super) fn resumable(&self) -> Option<&Arc<Session>> {
        self.session.as_ref().filter(|_| self.declared.is_none())
    }
}

/// What an exchange waits for.
#[derive(Debug)]
pub(super) enum Awaits {
    /// The answer of a server, asked by a conversation's owner.
    Owner { server: Arc<Server>, key: Key },
    /// Its turn: the conversation is being opened, or every connection is in use.
    Turn {
        server: Arc<Server>,
        key: Arc<Key>,
        outgoing: Box<Outgoing>,
        resent: bool,
    },
    /// The answer of a server, on a connection of this worker.
    Link {
        server: Arc<Server>,
        key: Arc<Key>,
        pending: (u32, u32),
        resend: Option<Box<Outgoing>>,
    },
    /// Servers to list what they have.
    Lists(Kind, Option<String>),
    /// Servers to be there at all.
    Servers(Hello),
    /// To be understood: what it names may be known in a moment. This is the message.
    Meaning(Box<Unread>),
    /// A conversation that nobody else uses at the moment.
    Lane {
        server: Arc<Server>,
        turn: Turn,
        outgoing: Box<Outgoing>,
    },
    /// A call that was parked, and goes on now that its client is back.
    Parked { server: Arc<Server>, call: Home },
    /// Its client to come back: the answer is there.
    Visitor(Box<Answered>),
    /// Nothing: it is being moved from one wait to the next.
    Nothing,
}

impl Awaits {
    /// The conversation that it was sent in, if it was.
    pub(super) fn key(&self) -> Option<&Key> {
        match self {
            Awaits::Owner { key, .. } => Some(key),
            Awaits::Turn { key, .. } | Awaits::Link { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The server that is involved, if one is.
    pub(super) fn server(&self) -> Option<&Arc<Server>> {
        match self {
            Awaits::Owner { server, .. }
            | Awaits::Turn { server, .. }
            | Awaits::Link { server, .. }
            | Awaits::Lane { server, .. }
            | Awaits::Parked { server, .. } => Some(server),
            Awaits::Lists(..)
            | Awaits::Servers(_)
            | Awaits::Meaning(_)
            | Awaits::Visitor(_)
            | Awaits::Nothing => None,
        }
    }
}

/// Where an exchange's answer goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// To this HTTP connection, as one JSON message, unless something must be said before.
    Answer {
        connection: ConnectionId,
        may_stream: bool,
    },
    /// To this HTTP connection, as an event stream that has begun.
    Stream {
        connection: ConnectionId,
        at: EventId,
    },
    /// To a connection of another worker, where the client resumed the stream.
    Elsewhere { place: Place, at: EventId },
    /// The connection is gone; events are kept for the client's return.
    Lost { at: EventId },
    /// The connection is gone and nothing can be resumed.
    Gone,
    /// To an exchange in which the client came back for this one.
    Visitor(Home),
    /// Nowhere: the client was asked something and has to come back with the answer.
    Parked,
    /// Nowhere: its client was told what it would have had to declare. The server was refused what it asked, and
    /// once it has answered its lane can be used again.
    Refused,
    /// To a client that listens: it is told when all that it waits for are answered.
    Heard,
    /// To the stdio front, or the stream of an HTTP+SSE client.
    Line { connection: ConnectionId },
    /// To the batch that it is part of, which came on this connection.
    Batch {
        batch: Ticket,
        connection: ConnectionId,
    },
}

impl Sink {
    /// The client's connection on this worker, if it is there.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match *self {
            Sink::Answer { connection, .. }
            | Sink::Stream { connection, .. }
            | Sink::Line { connection }
            | Sink::Batch { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// The batch that it is part of, if it is part of one.
    pub(super) fn batch(&self) -> Option<Ticket> {
        match *self {
            Sink::Batch { batch, .. } => Some(batch),
            _ => None,
        }
    }

    /// The last event of the stream, if it is one.
    pub(super) fn stream(&mut self) -> Option<&mut EventId> {
        match self {
            Sink::Stream { at, .. } | Sink::Elsewhere { at, .. } | Sink::Lost { at } => Some(at),
            _ => None,
        }
    }
}
