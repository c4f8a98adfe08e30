//! What a client's request comes to, once it is understood and before anything is done about it.

use super::effect::OpsRequest;
use super::exchange::Exchange;
use super::listener::Listen;
use super::parcel::{ClientAnswer, Outgoing};
use super::parked::Return;
use crate::event::RequestAnswered;
use crate::id::{ConnectionId, Place};
use crate::mcp::Era;
use crate::mcp::handshake::Hello;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::replay::EventId;
use crate::upstream::key::Key;
use std::sync::Arc;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Intent {
    /// Answer this HTTP request.
    Reply(Reply),
    /// Answer this JSON-RPC request from what is known here.
    Local(Local),
    /// Open a session, and answer with it.
    Welcome(Opening),
    /// Begin this exchange.
    Begin(Box<Exchange>, Option<Sending>),
    /// Take this in; nothing is answered but that it was.
    Note(Note, Option<Box<RequestAnswered>>),
    /// Give this session's client the stream that it asks for.
    Stream(Arc<Session>, Option<EventId>, Box<RequestAnswered>),
    /// Tell this client what changes.
    Listen(Box<Listen>),
    /// End this session.
    End(Arc<Session>, Box<RequestAnswered>),
    /// Do each of these, and answer them as one.
    Batch(Box<Batched>),
    /// Give an HTTP+SSE client of this principal the stream that it asks for.
    Front(Option<Arc<str>>, Box<RequestAnswered>),
    /// Pass this on to the stream of the HTTP+SSE client that posted it.
    Post(Place, Vec<u8>, Box<RequestAnswered>),
    /// Ask the shell.
    Ops(OpsRequest, Box<RequestAnswered>),
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) fields: Vec<(&'static str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) note: Option<Box<RequestAnswered>>,
}

/// A JSON-RPC request that needs nobody else.
#[derive(Debug)]
pub(super) struct Local {
    /// The client's id; `null` where it could not be read.
    pub(super) id: Box<[u8]>,
    pub(super) method: Method,
    pub(super) tool: Option<Arc<str>>,
    pub(super) principal: Option<Arc<str>>,
    pub(super) answer: LocalAnswer,
    /// The era of the client.
    pub(super) era: Era,
    /// Whether the client takes nothing but an event stream.
    pub(super) stream_only: bool,
}

/// What it is answered with.
#[derive(Debug)]
pub(super) enum LocalAnswer {
    /// This result.
    Result(Vec<u8>),
    /// This result, which many are answered with.
    Shared(Arc<[u8]>),
    /// This error.
    Refused(Refusal),
}

/// An `initialize`.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: Box<[u8]>,
    pub(super) hello: Hello,
    pub(super) principal: Option<Arc<str>>,
    pub(super) stream_only: bool,
}

/// Where an exchange's request goes.
#[derive(Debug)]
pub(super) enum Sending {
    /// To a server, in that conversation.
    Request(Key, Outgoing),
    /// To the call that the client is back for.
    Return(Return),
}

/// Messages that came in one array, each as it was understood.
#[derive(Debug)]
pub(super) struct Batched {
    pub(super) intents: Vec<Intent>,
    /// Whether the answers may be given as events.
    pub(super) may_stream: bool,
    /// Whether the client takes nothing but an event stream.
    pub(super) stream_only: bool,
    /// What the access log gets if nothing has to be answered.
    pub(super) note: Option<Box<RequestAnswered>>,
}

/// Something a client lets us know.
#[derive(Debug)]
pub(super) enum Note {
    /// Nothing that concerns anybody.
    Nothing,
    /// It cancelled its request of that id.
    Cancel(Arc<Session>, Box<[u8]>),
    /// The client at the other end of this line cancelled its request of that id.
    CancelLine(ConnectionId, Box<[u8]>),
    /// Its roots changed.
    RootsChanged(Arc<Session>),
    /// It makes progress on a server's request, under our token.
    Progress(Arc<Session>, u64, Vec<u8>),
    /// It answered a server's request that carried this id of ours.
    Answer(Arc<Session>, u64, Box<ClientAnswer>),
}
