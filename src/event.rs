//! What can happen that an operator may want to know: the one list of all that is logged and counted.
//!
//! The pure layers only say what happened; the shell writes the line and moves the counter. An event
//! carries no arguments, no results and no credentials, so none can leak from here.

use crate::config::Server;
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
    /// A stream was cut because its reader took nothing while this much waited.
    StreamCut { bytes: usize },

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
