//! What a worker is told and what it asks for: the whole surface between the pure worker and the shell.
//!
//! The shell owns sockets, pipes, processes, the clock and the other threads. It feeds a worker with
//! [`Input`]s, then drains [`Effect`]s until there are none, then sleeps until the worker's deadline or
//! the next event. A simulator does the same with invented sockets.
//!
//! The contract:
//! * The worker names every connection. For an accepted socket it does so in `Worker::accept`; for the
//!   others it says [`Effect::Connect`] or [`Effect::Spawn`] with the id that it chose. An id is dead
//!   after [`Effect::Close`]; the shell says nothing about it from then on.
//! * Bytes to send stay in the worker until they are taken: after [`Effect::Flush`] the shell writes
//!   what `Worker::outgoing` shows and says [`Input::Wrote`]; what the kernel did not take it writes when
//!   the connection becomes writable again, without being asked again.
//! * A child is one connection: what is written goes to its stdin, what it prints comes as
//!   [`Input::Received`], its stderr as [`Input::Stderr`].
//! * TLS happens in the shell; the worker sees plaintext.

use crate::config::Server;
use crate::event::Event;
use crate::id::{ConnectionId, WorkerId};
use crate::router::directory::Report;
use crate::router::table::Table;
use crate::worker::parcel::Parcel;
use std::net::IpAddr;
use std::sync::Arc;

/// Something that happened to a worker.
pub enum Input<'a> {
    /// A connection asked for with [`Effect::Connect`] is open, or a child asked for with
    /// [`Effect::Spawn`] runs.
    Connected(ConnectionId),
    /// It could not be opened or started; the id is dead. The text is a fact, lower case, no full stop.
    ConnectFailed(ConnectionId, String),
    /// Bytes came.
    Received(ConnectionId, &'a [u8]),
    /// The peer will send no more (end of file). Writing may still work.
    Ended(ConnectionId),
    /// The connection broke. The id is dead.
    Failed(ConnectionId, String),
    /// This many of the outgoing bytes were taken by the kernel.
    Wrote(ConnectionId, usize),
    /// A child wrote to stderr.
    Stderr(ConnectionId, &'a [u8]),
    /// A child is gone; the text says how (`exit status: 1`, `signal: 9 (SIGKILL)`). The id is dead.
    /// Comes after everything that it wrote.
    Exited(ConnectionId, String),
    /// Another worker, or the controller, sent this.
    Parcel(Parcel),
    /// This parcel could not be delivered: the inbox of that worker is full.
    Bounced(WorkerId, Parcel),
    /// A new table holds from now on.
    Table(Arc<Table>),
    /// The answer to an [`Effect::Ops`].
    OpsAnswer(ConnectionId, OpsAnswer),
    /// The deadline has come.
    Tick,
    /// Finish what is in flight, admit nothing.
    Drain,
}

/// Something a worker wants done.
pub enum Effect {
    /// There are bytes to send on this connection.
    Flush(ConnectionId),
    /// Read no more from this connection for now.
    Pause(ConnectionId),
    /// Read from it again.
    Resume(ConnectionId),
    /// Open a connection to this HTTP server.
    Connect(ConnectionId, Arc<Server>),
    /// Start a child for this stdio server.
    Spawn(ConnectionId, Arc<Server>),
    /// Close the connection, or stop the child (end of file, then SIGTERM, then SIGKILL, with the
    /// graces of `limits`). The id is dead.
    Close(ConnectionId, Close),
    /// Put this parcel into that worker's inbox.
    Post(WorkerId, Parcel),
    /// Tell the controller.
    Report(Report),
    /// Answer this from what the shell knows (health, metrics); the answer comes as [`Input::OpsAnswer`].
    Ops(ConnectionId, OpsRequest),
    /// Log and count this.
    Event(Event),
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Everything was sent: an orderly end.
    Now,
    /// An answer was sent that the peer may not have read while it is still sending: shut down our side,
    /// read and discard for at most two seconds, then close, so that a reset does not destroy the answer.
    Lingering,
    /// Cut it, with a reset where the transport has one.
    Reset,
}

/// A request for one of the paths that the shell answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsRequest {
    /// Path without query.
    pub path: OpsPath,
    /// The client's address.
    pub peer: IpAddr,
    /// Whether the head says that a proxy passes it on; then `peer` is the proxy's, and says nothing of who asks.
    pub proxied: bool,
}

/// The paths that show the process from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpsPath {
    /// `/health`, `/healthz`: the full document.
    Health,
    /// `/health/live`, `/livez`: the process answers.
    Live,
    /// `/health/ready`, `/ready`, `/readyz`: requests are welcome.
    Ready,
    /// `/status`: the full document with every server's details.
    Status,
    /// `/metrics`: Prometheus text exposition.
    Metrics,
}

impl OpsPath {
    /// What is asked for by a request target's path, if anything is.
    pub fn parse(path: &str) -> Option<OpsPath> {
        match path {
            "/health" | "/healthz" => Some(OpsPath::Health),
            "/health/live" | "/livez" => Some(OpsPath::Live),
            "/health/ready" | "/ready" | "/readyz" => Some(OpsPath::Ready),
            "/status" => Some(OpsPath::Status),
            "/metrics" => Some(OpsPath::Metrics),
            _ => None,
        }
    }
}

/// What the shell answers to an [`OpsRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsAnswer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}
