//! What can happen that an operator may want to know: the one list of all that is logged and counted.
//!
//! The pure layers only say what happened; the shell writes the line and moves the counter. An event
//! carries no arguments, no results and no credentials, so none can leak from here. What it carries of a
//! peer's own words (a cause, a name, a line of stderr) is marked as [`Field::Foreign`]: the shell escapes
//! and cuts it, and takes known secrets out of it.

use crate::config::{Level, Server};
use crate::mcp::method::Method;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened, in the past tense.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Event {
    /// A client's connection was taken in.
    ConnectionOpened,
    /// A client's connection is gone.
    ConnectionClosed,
    /// A client's HTTP request was answered without becoming an exchange: health, refusals, streams, notifications.
    RequestAnswered(Box<RequestAnswered>),
    /// A client's JSON-RPC request was answered.
    ExchangeEnded(Box<ExchangeEnded>),
    /// A client's conversation began.
    SessionOpened,
    /// A client's conversation ended.
    SessionEnded { why: SessionEnd },
    /// A client opened its standing event stream.
    StreamOpened,
    /// That stream is gone.
    StreamClosed,
    /// A stream was cut because its reader took nothing while this much waited. [`Event::StreamClosed`] follows.
    StreamCut { bytes: usize },

    /// The HTTP+SSE transport, which is deprecated, came into use once more: a client opened its stream, or a
    /// conversation with that server did. `first`: nobody did so before.
    HttpSseUsed {
        server: Option<Arc<Server>>,
        first: bool,
    },

    /// A conversation with a server is being opened.
    UpstreamStarting { server: Arc<Server> },
    /// A server answered `initialize`.
    UpstreamReady {
        server: Arc<Server>,
        took: Duration,
        name: String,
        version: String,
    },
    /// A server's lists were taken over.
    UpstreamListed {
        server: Arc<Server>,
        tools: usize,
        prompts: usize,
        resources: usize,
        templates: usize,
    },
    /// A conversation with a server ended; it is opened again after the wait, unless that is `None`.
    UpstreamFailed {
        server: Arc<Server>,
        cause: String,
        retry_in: Option<Duration>,
    },
    /// A conversation was ended by us: nobody used it, or we are going down.
    UpstreamRetired { server: Arc<Server> },
    /// An HTTP server had forgotten its session, and a new one was opened.
    UpstreamReopened { server: Arc<Server> },
    /// A child wrote a line to stdout that is no JSON-RPC message.
    ChildNoise { server: Arc<Server>, bytes: usize },
    /// A child wrote a line to stderr.
    ChildStderr { server: Arc<Server>, line: String },
    /// Part of a server's list was left out.
    ListCut {
        server: Arc<Server>,
        method: Method,
        why: &'static str,
    },
    /// Two servers offer the same name; the first in the file wins.
    NameCollided {
        kind: &'static str,
        name: String,
        winner: Arc<Server>,
        loser: Arc<Server>,
    },
    /// Clients were told that lists changed.
    ListChangeAnnounced { sessions: usize },

    /// A server asked something of a client, and was refused.
    ServerRequestRefused {
        server: Arc<Server>,
        method: Method,
        why: &'static str,
    },
    /// A server's notification reached nobody.
    NotificationDropped {
        server: Arc<Server>,
        method: Method,
        why: &'static str,
    },
    /// A server's answer belonged to no exchange in flight: late, repeated or made up.
    AnswerStray { server: Arc<Server> },
    /// A parcel came for something that is gone.
    ParcelStale,
    /// A parcel found its worker's inbox full and was dropped.
    ParcelLost,
    /// Handling one event panicked; it cost one connection.
    HandlerPanicked { message: String },

    /// The process is up and listens.
    Started {
        listen: String,
        workers: usize,
        servers: usize,
    },
    /// A value was overridden by the environment, or the configuration deserves a remark.
    ConfigRemarked { remark: String },
    /// Drain began.
    DrainStarted,
    /// Drain ended; so many exchanges were cut.
    DrainEnded { cut: usize },
    /// More connections than allowed; one was closed at once.
    ConnectionRefused { peer: IpAddr },
    /// Accepting failed (out of descriptors, say).
    AcceptFailed { cause: String },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client said DELETE, or closed its standard input.
    Closed,
    /// Nobody used it for long.
    Idle,
    /// Another needed its place.
    Evicted,
    /// We are going down.
    Drained,
}

/// One HTTP request that was answered without becoming an exchange.
#[derive(Clone, Debug)]
pub struct RequestAnswered {
    /// The client's address.
    pub peer: IpAddr,
    /// Which method: `GET`, `POST`, `DELETE`, … or `-` if the head could not be read.
    pub method: &'static str,
    /// Path as asked, without query, cut to 128 bytes.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// Who asked, if that was established.
    pub principal: Option<Arc<str>>,
    /// From the last byte of the request to the first of the answer.
    pub took: Duration,
}

/// One JSON-RPC request that was answered.
#[derive(Clone, Debug)]
pub struct ExchangeEnded {
    /// The client's address; `None` on the stdio front.
    pub peer: Option<IpAddr>,
    /// Who asked.
    pub principal: Option<Arc<str>>,
    /// What was asked.
    pub method: Method,
    /// The tool as clients see it, for `tools/call` of a tool in the catalog.
    pub tool: Option<Arc<str>>,
    /// The server that answered or should have, if one was involved.
    pub server: Option<Arc<Server>>,
    /// How it went.
    pub outcome: Outcome,
    /// HTTP status; 0 on the stdio front.
    pub status: u16,
    /// From the last byte of the request to the last of the answer.
    pub took: Duration,
    /// The part of it spent waiting for the server.
    pub upstream: Option<Duration>,
}

/// How an exchange went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A result.
    Success,
    /// A tool's result that says `isError`.
    ToolError,
    /// A JSON-RPC error of the server.
    ServerError,
    /// A refusal of ours.
    Refused,
    /// Cancelled by the client.
    Cancelled,
}

/// One value of an event's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A word of ours, of the configuration or of a table here.
    Word(&'a str),
    /// Something that a peer, the system or another program said.
    Foreign(&'a str),
    /// A count.
    Number(u64),
    /// A length of time.
    Length(Duration),
    /// Where a peer is.
    Address(IpAddr),
}

impl From<usize> for Field<'_> {
    fn from(count: usize) -> Self {
        Field::Number(count as u64)
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 5] = [
        Outcome::Success,
        Outcome::ToolError,
        Outcome::ServerError,
        Outcome::Refused,
        Outcome::Cancelled,
    ];

    /// The word in logs and labels.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::ToolError => "tool_error",
            Outcome::ServerError => "server_error",
            Outcome::Refused => "refused",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl SessionEnd {
    /// The word in logs and labels.
    pub const fn word(self) -> &'static str {
        match self {
            SessionEnd::Closed => "closed",
            SessionEnd::Idle => "idle",
            SessionEnd::Evicted => "evicted",
            SessionEnd::Drained => "drained",
        }
    }
}

impl Event {
    /// What happened, as the line begins: noun and verb in the past tense.
    pub const fn name(&self) -> &'static str {
        match self {
            Event::ConnectionOpened => "connection opened",
            Event::ConnectionClosed => "connection closed",
            Event::RequestAnswered(_) => "request answered",
            Event::ExchangeEnded(_) => "request completed",
            Event::SessionOpened => "session opened",
            Event::SessionEnded { .. } => "session ended",
            Event::StreamOpened => "stream opened",
            Event::StreamClosed => "stream closed",
            Event::StreamCut { .. } => "stream cut",
            Event::HttpSseUsed { .. } => "deprecated HTTP+SSE used",
            Event::UpstreamStarting { .. } => "upstream starting",
            Event::UpstreamReady { .. } => "upstream ready",
            Event::UpstreamListed { .. } => "upstream listed",
            Event::UpstreamFailed { .. } => "upstream failed",
            Event::UpstreamRetired { .. } => "upstream retired",
            Event::UpstreamReopened { .. } => "upstream reopened",
            Event::ChildNoise { .. } => "child noise skipped",
            Event::ChildStderr { .. } => "child stderr",
            Event::ListCut { .. } => "list cut",
            Event::NameCollided { .. } => "name collided",
            Event::ListChangeAnnounced { .. } => "list change announced",
            Event::ServerRequestRefused { .. } => "server request refused",
            Event::NotificationDropped { .. } => "notification dropped",
            Event::AnswerStray { .. } => "answer strayed",
            Event::ParcelStale => "parcel stale",
            Event::ParcelLost => "parcel lost",
            Event::HandlerPanicked { .. } => "handler panicked",
            Event::Started { .. } => "switchbox started",
            Event::ConfigRemarked { .. } => "configuration remarked",
            Event::DrainStarted => "drain started",
            Event::DrainEnded { .. } => "drain ended",
            Event::ConnectionRefused { .. } => "connection refused",
            Event::AcceptFailed { .. } => "accept failed",
        }
    }

    /// How serious it is.
    ///
    /// Info is what an operator reads on a good day; what a client or a server can cause at will, once for
    /// each message, is debug and a counter. Warn means that someone may act, error that someone must.
    pub const fn level(&self) -> Level {
        match self {
            Event::HandlerPanicked { .. } => Level::Error,
            Event::UpstreamFailed { .. }
            | Event::ListCut { .. }
            | Event::NameCollided { .. }
            | Event::ParcelLost
            | Event::ConfigRemarked { .. }
            | Event::ConnectionRefused { .. }
            | Event::AcceptFailed { .. } => Level::Warn,
            Event::DrainEnded { cut } if *cut > 0 => Level::Warn,
            Event::HttpSseUsed { first: true, .. }
            | Event::UpstreamReady { .. }
            | Event::UpstreamListed { .. }
            | Event::UpstreamReopened { .. }
            | Event::StreamCut { .. }
            | Event::Started { .. }
            | Event::DrainStarted
            | Event::DrainEnded { .. } => Level::Info,
            Event::ConnectionOpened
            | Event::ConnectionClosed
            | Event::RequestAnswered(_)
            | Event::ExchangeEnded(_)
            | Event::SessionOpened
            | Event::SessionEnded { .. }
            | Event::StreamOpened
            | Event::StreamClosed
            | Event::HttpSseUsed { .. }
            | Event::UpstreamStarting { .. }
            | Event::UpstreamRetired { .. }
            | Event::ChildNoise { .. }
            | Event::ChildStderr { .. }
            | Event::ListChangeAnnounced { .. }
            | Event::ServerRequestRefused { .. }
            | Event::NotificationDropped { .. }
            | Event::AnswerStray { .. }
            | Event::ParcelStale => Level::Debug,
        }
    }

    /// Shows each value of the line to `see`, in the order of the line.
    pub fn fields<'a>(&'a self, see: &mut dyn FnMut(&'static str, Field<'a>)) {
        use Field::{Address, Foreign, Length, Word};
        match self {
            Event::ConnectionOpened
            | Event::ConnectionClosed
            | Event::SessionOpened
            | Event::StreamOpened
            | Event::StreamClosed
            | Event::ParcelStale
            | Event::ParcelLost
            | Event::DrainStarted => {}
            Event::RequestAnswered(answered) => answered.fields(see),
            Event::ExchangeEnded(ended) => ended.fields(see),
            Event::SessionEnded { why } => see("why", Word(why.word())),
            Event::StreamCut { bytes } => see("bytes", (*bytes).into()),
            Event::HttpSseUsed { server, .. } => match server {
                Some(server) => see("server", Word(&server.name)),
                None => see("by", Word("client")),
            },
            Event::UpstreamStarting { server }
            | Event::UpstreamRetired { server }
            | Event::UpstreamReopened { server }
            | Event::AnswerStray { server } => see("server", Word(&server.name)),
            Event::UpstreamReady {
                server,
                took,
                name,
                version,
            } => {
                see("server", Word(&server.name));
                see("took", Length(*took));
                see("name", Foreign(name));
                see("version", Foreign(version));
            }
            Event::UpstreamListed {
                server,
                tools,
                prompts,
                resources,
                templates,
            } => {
                see("server", Word(&server.name));
                see("tools", (*tools).into());
                see("prompts", (*prompts).into());
                see("resources", (*resources).into());
                see("templates", (*templates).into());
            }
            Event::UpstreamFailed {
                server,
                cause,
                retry_in,
            } => {
                see("server", Word(&server.name));
                see("cause", Foreign(cause));
                if let Some(wait) = retry_in {
                    see("retry_in", Length(*wait));
                }
            }
            Event::ChildNoise { server, bytes } => {
                see("server", Word(&server.name));
                see("bytes", (*bytes).into());
            }
            Event::ChildStderr { server, line } => {
                see("server", Word(&server.name));
                see("line", Foreign(line));
            }
            Event::ListCut {
                server,
                method,
                why,
            }
            | Event::ServerRequestRefused {
                server,
                method,
                why,
            }
            | Event::NotificationDropped {
                server,
                method,
                why,
            } => {
                see("server", Word(&server.name));
                see("method", Word(method.name()));
                see("why", Word(why));
            }
            Event::NameCollided {
                kind,
                name,
                winner,
                loser,
            } => {
                see("kind", Word(kind));
                see("name", Foreign(name));
                see("winner", Word(&winner.name));
                see("loser", Word(&loser.name));
            }
            Event::ListChangeAnnounced { sessions } => see("sessions", (*sessions).into()),
            Event::HandlerPanicked { message } => see("cause", Foreign(message)),
            Event::Started {
                listen,
                workers,
                servers,
            } => {
                see("listen", Foreign(listen));
                see("workers", (*workers).into());
                see("servers", (*servers).into());
            }
            Event::ConfigRemarked { remark } => see("remark", Foreign(remark)),
            Event::DrainEnded { cut } => see("cut", (*cut).into()),
            Event::ConnectionRefused { peer } => see("peer", Address(*peer)),
            Event::AcceptFailed { cause } => see("cause", Foreign(cause)),
        }
    }
}

impl RequestAnswered {
    fn fields<'a>(&'a self, see: &mut dyn FnMut(&'static str, Field<'a>)) {
        see("peer", Field::Address(self.peer));
        if let Some(principal) = &self.principal {
            see("clientId", Field::Foreign(principal));
        }
        see("method", Field::Word(self.method));
        see("path", Field::Foreign(&self.path));
        see("status", Field::Number(self.status.into()));
        see("duration", Field::Length(self.took));
    }
}

/// `clientId` and `duration` are named as dashboards made for other gateways expect them.
impl ExchangeEnded {
    fn fields<'a>(&'a self, see: &mut dyn FnMut(&'static str, Field<'a>)) {
        if let Some(peer) = self.peer {
            see("peer", Field::Address(peer));
        }
        if let Some(principal) = &self.principal {
            see("clientId", Field::Foreign(principal));
        }
        see("method", Field::Word(self.method.name()));
        if let Some(tool) = &self.tool {
            see("tool", Field::Foreign(tool));
        }
        if let Some(server) = &self.server {
            see("server", Field::Word(&server.name));
        }
        see("outcome", Field::Word(self.outcome.word()));
        see("status", Field::Number(self.status.into()));
        see("duration", Field::Length(self.took));
        if let Some(upstream) = self.upstream {
            see("upstream", Field::Length(upstream));
        }
    }
}
