//! What workers say to each other.
//!
//! A parcel names what it is about by worker, place and generation; one that comes for something that is
//! gone is dropped and counted.

use crate::id::{ConnectionId, ExchangeId, Home, Place, SessionKey, WorkerId};
use crate::jsonrpc::parse::Span;
use crate::mcp::Era;
use crate::mcp::bridge::listen::Filter;
use crate::mcp::headers::HeaderParam;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::replay::EventId;
use crate::upstream::key::Key;
use std::sync::Arc;
use std::time::Duration;

/// A message from one worker to another.
#[derive(Debug)]
pub enum Parcel {
    /// To a conversation's owner: send this, and answer its home.
    Forward(Box<Forward>),
    /// To a conversation's owner: open it, if it is not open, so that its lists become known.
    Open(Box<Asker>),
    /// Home: the server's answer, or that of an exchange which goes on with this one.
    Answered(Box<Answered>),
    /// Home: there will be no answer of the server.
    Failed(ExchangeId, Box<Refusal>),
    /// Home: the server said this about the exchange before its answer.
    Said(ExchangeId, Box<Said>),
    /// To a conversation's owner: the client or the clock gave up on this exchange.
    Abandoned(Box<Abandoned>),
    /// To an HTTP conversation's owner: tell me when and how it is open.
    Attach(Box<Asker>, WorkerId),
    /// The answer to that, and to every later change.
    Opened(Arc<Key>, Standing),
    /// After that answer: this session, or callers without any, count among the conversation's users.
    Joined(Arc<Key>, Option<SessionKey>),
    /// To an HTTP conversation's owner: callers without any have not used it from that worker for a while.
    StrangersLeft(Arc<Key>, WorkerId),
    /// To an HTTP conversation's owner: the server has forgotten the session that was opened as this.
    Forgotten(Arc<Key>, u32),
    /// To an HTTP conversation's owner: the server could not be connected to.
    Unreachable(Arc<Key>, Arc<str>),
    /// A server was found to speak that era: to the owner of its first conversation, which may not know.
    EraFound(Arc<Key>, Era),
    /// To who asked: this answer came on a stream that is not the request's.
    Strayed(Arc<Key>, Vec<u8>),
    /// To an HTTP conversation's owner: the server said this outside any exchange's answer.
    Noted(Arc<Key>, Vec<u8>),
    /// To everyone: a client cancelled its request of that id.
    Cancel(Arc<Session>, Box<[u8]>),
    /// To who asked a client: its answer.
    ClientAnswered(SessionKey, u64, Box<ClientAnswer>),
    /// To who asked a client: the request could not be delivered.
    AskFailed(u64, &'static str),
    /// To where a session's standing stream is: show this event.
    Show(Place, SessionKey, EventId, Arc<[u8]>),
    /// To where a standing stream was: it has been replaced.
    Replaced(Place),
    /// Home: a client came back for this exchange's stream, there.
    Resumed(Home, Place, EventId, Arc<Session>),
    /// To where an exchange's stream was resumed: show this.
    Relayed(Box<Relayed>),
    /// To the worker that opened a guest: a server said this to it outside any exchange.
    SaidToGuest(SessionKey, Box<Said>),
    /// To a parked call: its client is back with answers.
    Returned(Box<Returned>),
    /// To a parked call: who came back for it is gone.
    Left(ExchangeId, Home),
    /// To a conversation's owner: a call became this task.
    TaskBegan(Box<Began>),
    /// To a conversation's owner: nobody waits for this task any more.
    TaskUnwanted(Arc<Key>, Box<str>),
    /// To a conversation's owner: somebody who listens wants to hear of this; tell its home of what it will.
    Follow(Box<Follow>),
    /// Home: what the server grants of that.
    Followed(ExchangeId, Box<Filter>),
    /// To an HTTP conversation's owner: somebody without a session wants to hear of this level.
    Wants(Arc<Key>, u8),
    /// To everyone: this session has ended.
    Ended(SessionKey),
    /// To everyone: this session chose a level.
    LevelChosen(SessionKey, u8),
    /// To everyone: this session's roots changed.
    RootsChanged(SessionKey),
    /// To where an HTTP+SSE client's stream is: this was posted to its endpoint.
    Posted(Box<Posted>),
    /// To where that was posted: it was taken, or why not.
    Taken(Place, Option<Box<Refusal>>),
    /// To who asked a client: this session reports progress on that, under our token.
    ClientProgress(SessionKey, u64, Vec<u8>),
}

/// A message that was posted to the endpoint of an HTTP+SSE client.
#[derive(Debug)]
pub struct Posted {
    /// The client's stream.
    pub to: ConnectionId,
    /// Where it was posted.
    pub from: Place,
    /// The message as it came.
    pub text: Vec<u8>,
}

/// A client that is back with what a parked call waits for.
#[derive(Debug)]
pub struct Returned {
    /// The call.
    pub exchange: ExchangeId,
    /// Which of its rounds is answered.
    pub round: u32,
    /// The exchange in which the client came back, and which the call's answer goes to.
    pub visitor: Home,
    /// The `inputResponses` as they came; empty if there are none.
    pub responses: Vec<u8>,
}

/// More of an exchange's stream that is shown by another worker.
#[derive(Debug)]
pub struct Relayed {
    /// Where it is shown.
    pub place: Place,
    /// The exchange that it must still belong to.
    pub home: Home,
    /// What to show.
    pub bytes: Vec<u8>,
    /// Whether more follows.
    pub relay: Relay,
}

/// Whether a relayed stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// More may come.
    More,
    /// That was the answer.
    Last,
}

/// For whom a conversation is wanted.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Which conversation.
    pub key: Key,
    /// Whose exchange it is, if it is any session's.
    pub session: Option<Arc<Session>>,
}

/// Resources and tasks of a server that somebody who listens wants to hear of.
#[derive(Debug)]
pub struct Follow {
    /// For whom, and in which conversation.
    pub asker: Asker,
    /// The server's names of them.
    pub wanted: Filter,
    /// Who waits to be told what will come.
    pub home: Home,
    /// How long the server is waited for.
    pub timeout: Duration,
}

/// A request on its way to a server.
#[derive(Debug)]
pub struct Forward {
    /// For whom, and to which conversation.
    pub asker: Asker,
    /// Who waits for the answer.
    pub home: Home,
    /// What is asked.
    pub outgoing: Outgoing,
}

/// A request as the server will see it, but for its id and progress token.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The era in which it is written: the client's, until it is known which one the server speaks.
    pub era: Era,
    /// The method.
    pub method: Method,
    /// The params as they stand; empty if there are none.
    pub params: Vec<u8>,
    /// Where in `params` the progress token stands, if the client wants progress.
    pub token: Option<Span>,
    /// The resource that is subscribed to or no longer, for the two methods that do.
    pub subscription: Option<String>,
    /// The least serious level of log messages that a modern client wants, if any.
    pub level: Option<u8>,
    /// The arguments that an HTTP request of the modern era repeats in its head.
    pub mirrored: Option<Arc<[HeaderParam]>>,
    /// Fields that an HTTP request of the modern era had and that are passed on.
    pub passed: Option<Box<[u8]>>,
    /// Whose task a legacy call is to become, if it is to become one.
    pub task: Option<TaskFor>,
    /// The name in `params` of the tool, prompt or task that is asked for, where it was put there.
    pub name: Option<Arc<str>>,
    /// Where in `params` the `_meta` stands, if all that it says is of the hop that the client made.
    pub hop: Option<Span>,
    /// Whether it is known that `params` is an object that has neither `_meta` nor `task`.
    pub bare: bool,
    /// Whether it goes on with a call that a modern server answered with questions; a legacy one would take it for
    /// a call of its own.
    pub goes_on: bool,
}

/// Whom a legacy server's task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFor {
    /// For the client, which asked for it.
    Client,
    /// For us, who wait for it in the client's place.
    Us,
}

/// A task that a legacy server's answer said it began.
#[derive(Debug)]
pub struct Began {
    /// The conversation in which it did.
    pub key: Key,
    /// The server's id of it.
    pub id: String,
    /// The session whose call it was.
    pub session: Option<SessionKey>,
    /// The exchange that waits for it in a client's place.
    pub home: Option<Home>,
    /// Our progress token of the call, and the client's as it is written.
    pub token: Option<(u64, Box<[u8]>)>,
}

impl Outgoing {
    /// What we ask a server ourselves.
    pub(super) fn own(method: Method, params: Vec<u8>) -> Outgoing {
        Outgoing {
            era: Era::Legacy,
            method,
            params,
            token: None,
            subscription: None,
            level: None,
            mirrored: None,
            passed: None,
            task: None,
            name: None,
            hop: None,
            bare: false,
            goes_on: false,
        }
    }
}

/// A server's answer.
#[derive(Debug)]
pub struct Answered {
    /// Which exchange it is for.
    pub exchange: ExchangeId,
    /// The message as it came.
    pub text: Vec<u8>,
    /// Where in it the id stands.
    pub id: Span,
    /// Where the result stands, or the error.
    pub body: Result<Span, Span>,
    /// The era in which it is written.
    pub era: Era,
}

/// What a server said about an exchange before its answer.
#[derive(Debug)]
pub enum Said {
    /// Progress; where in the message the token stands.
    Progress(Vec<u8>, Span),
    /// A log message of this level.
    Log(Vec<u8>, u8),
    /// Another notification, of this method.
    Notification(Method, Vec<u8>),
    /// A task got on.
    Status(Vec<u8>),
    /// A request of the server under our id.
    Request(Vec<u8>, u64),
    /// It does not want to know any more what it asked under that id of ours: the notification, for a legacy client.
    Withdrawn(Vec<u8>, u64),
    /// It wanted to ask what the client has not declared: the object that would have to be.
    Lacking(&'static str),
}

/// An exchange that nobody waits for any more.
#[derive(Debug)]
pub struct Abandoned {
    /// Where it was sent.
    pub key: Key,
    /// Which it was.
    pub home: Home,
    /// For the server's log.
    pub reason: &'static str,
}

/// How a conversation with an HTTP server stands, as its owner tells the other workers.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It may be used.
    Open(Arc<Opened>),
    /// It is being opened; wait.
    Opening,
    /// It cannot be used now, for this reason.
    Down(Arc<str>),
    /// It was ended and its owner has forgotten it; who wants it asks for another.
    Ended,
}

/// A session that is open at an HTTP server.
#[derive(Debug)]
pub struct Opened {
    /// The server's id for it, if it gives any.
    pub session_id: Option<String>,
    /// The revision that is spoken.
    pub revision: Revision,
    /// Whether it is spoken over HTTP+SSE, on a stream of the owner's.
    pub fed: bool,
    /// How often the conversation has been opened.
    pub epoch: u32,
    /// What a modern server says of itself in every result, see [`said`](crate::mcp::handshake::Introduced::said).
    pub said: Box<[u8]>,
}

/// A client's answer to a server's request.
#[derive(Debug)]
pub struct ClientAnswer {
    /// The message as it came.
    pub text: Vec<u8>,
    /// Where in it the id stands.
    pub id: Span,
}

impl Parcel {
    /// Whether losing it would leave somebody waiting for ever, or something that is not freed. Such a parcel is let
    /// in although an inbox is full. The others come back as bounced.
    ///
    /// There are only as many of the former as of what they answer or end: a request, question, stream or task that
    /// was let in before. They are small where a session or a conversation begins, ends or stands otherwise, for
    /// which nobody waits to be let in. Whatever else clients or servers say at their own pace must not be among them.
    pub fn must_arrive(&self) -> bool {
        !matches!(
            self,
            Parcel::Forward(_)
                | Parcel::Follow(_)
                | Parcel::Open(_)
                | Parcel::Strayed(..)
                | Parcel::LevelChosen(..)
                | Parcel::Said(..)
                | Parcel::Noted(..)
                | Parcel::Show(..)
                | Parcel::Cancel(..)
                | Parcel::RootsChanged(_)
                | Parcel::ClientProgress(..)
                | Parcel::Posted(_)
                | Parcel::Wants(..)
                | Parcel::SaidToGuest(..)
        )
    }
}

/// What is told of a server that cannot be asked.
pub(super) fn unavailable(server: &str, reason: &str) -> Refusal {
    Refusal::Unavailable {
        server: server.into(),
        reason: reason.into(),
    }
}

/// What is told of a server that took longer than it may.
pub(super) fn timed_out(server: &str, after: Duration) -> Refusal {
    Refusal::TimedOut {
        server: server.into(),
        after,
    }
}

const _: () = assert!(size_of::<Parcel>() <= 48, "an inbox holds thousands");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_and_servers_say_at_their_own_pace_need_not_arrive() {
        let (key, session) = (Arc::new(Key::base(0)), SessionKey::new(1, WorkerId(0)));
        let paced = [
            Parcel::LevelChosen(session, 1),
            Parcel::RootsChanged(session),
            Parcel::ClientProgress(session, 1, Vec::new()),
            Parcel::Strayed(key.clone(), Vec::new()),
            Parcel::Noted(key.clone(), Vec::new()),
            Parcel::Wants(key.clone(), 1),
            Parcel::Open(Box::new(Asker {
                key: Key::base(0),
                session: None,
            })),
        ];
        for parcel in paced {
            assert!(!parcel.must_arrive(), "{parcel:?}");
        }
    }
}
