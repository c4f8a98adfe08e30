//! Clients of the HTTP+SSE transport of 2024-11-05, which is deprecated and in use.
//!
//! ```text
//!   GET /sse ─▶ stream, on one worker ◀── everything that is said to the client
//!                 ▲
//!   POST /messages?sessionId=… ── parcel, from any worker; 202
//! ```
//!
//! To the rest of the worker such a stream is like the stdio front: all goes the one way, and it ends the
//! session with it. What is posted is judged where the stream is, so that the answer to the post is true:
//! 202 if the message was taken, 400 if it is none, 404 if the stream is gone.

use super::batch::takes_batches;
use super::exchange::Sink;
use super::intake::{Noted, is_json_or_unsaid};
use super::intent::Intent;
use super::message::Caller;
use super::modern::says_modern;
use super::parcel::{Parcel, Posted};
use super::peers::Peer;
use super::{Worker, exchange_id, ticket};
use crate::downstream::Request;
use crate::event::{Event, RequestAnswered, SessionEnd};
use crate::http::{Method, Piece};
use crate::id::{ConnectionId, Place};
use crate::jsonrpc::envelope::{Envelope, EnvelopeError};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::store::SessionId;
use std::sync::Arc;

/// One half of the transport, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// `/sse`: where the stream is asked for.
    Stream,
    /// `/messages`: where messages are posted.
    Messages,
}

/// A client whose stream this is.
#[derive(Debug)]
pub(super) struct SseFront {
    /// Names its endpoint.
    endpoint: SessionId,
    principal: Option<Arc<str>>,
    /// What its `initialize` has opened.
    session: Option<Arc<Session>>,
}

impl Half {
    /// Which half that path is, if it is one.
    pub(super) fn parse(path: &str) -> Option<Half> {
        match path {
            "/sse" => Some(Half::Stream),
            "/messages" => Some(Half::Messages),
            _ => None,
        }
    }

    pub(super) const fn methods(self) -> &'static str {
        match self {
            Half::Stream => "GET, OPTIONS",
            Half::Messages => "POST, OPTIONS",
        }
    }
}

impl Worker {
    // ── requests ─────────────────────────────────────────────────────────────────────────────────

    /// What a request to one of the two paths comes to, after it was let in.
    pub(super) fn consider_half(
        &mut self,
        half: Half,
        request: &Request<'_>,
        note: &Noted<'_>,
        principal: Option<Arc<str>>,
    ) -> Intent {
        let head = &request.head;
        match (half, head.method) {
            (Half::Stream, Method::Get) if head.accept.stated && !head.accept.event_stream => {
                note.refuse(&Refusal::NotAcceptable, principal)
            }
            (Half::Stream, Method::Get) => {
                let answered = note.of(200, principal.clone());
                Intent::Front(principal, answered)
            }
            (Half::Messages, Method::Post) => {
                if !head.content_type.is_none_or(is_json_or_unsaid) {
                    return note.refuse(&Refusal::MediaType, principal);
                }
                let pairs = head.target.query.unwrap_or_default().split('&');
                let id = pairs
                    .filter_map(|pair| pair.split_once('='))
                    .find_map(|(name, value)| (name == "sessionId").then_some(value));
                let Some(id) = id else {
                    let fact =
                        "post to the endpoint that the stream of /sse names: sessionId is missing";
                    return note.refuse(&Refusal::Invalid(fact.into()), principal);
                };
                let found = SessionId::parse(id.as_bytes())
                    .and_then(|id| self.sessions.endpoints().find(id, principal.as_deref()));
                match found {
                    Some(place) => {
                        Intent::Post(place, request.body.to_vec(), note.of(202, principal))
                    }
                    None => note.refuse(&Refusal::SessionUnknown, principal),
                }
            }
            _ => {
                let fact = match half {
                    Half::Stream => {
                        "this path is the stream of the older HTTP+SSE transport: GET it, or use /mcp"
                    }
                    Half::Messages => "messages of the older HTTP+SSE transport are posted here",
                };
                note.problem(405, fact, vec![("allow", half.methods().into())])
            }
        }
    }

    /// Gives an HTTP+SSE client its stream, which begins with the endpoint for its messages.
    pub(super) fn open_front(
        &mut self,
        id: ConnectionId,
        principal: Option<Arc<str>>,
        note: Box<RequestAnswered>,
    ) {
        if self.draining {
            self.respond_refused(id, &Refusal::Draining);
            return self.event(Event::RequestAnswered(Box::new(RequestAnswered {
                status: Refusal::Draining.status(Era::Legacy),
                ..*note
            })));
        }
        let place = Place {
            worker: self.id,
            connection: id,
        };
        self.begin_event_stream(id, &[]);
        self.event(Event::RequestAnswered(note));
        if !self
            .client(id)
            .is_some_and(|client| client.connection.is_streaming())
        {
            return;
        }
        let endpoint = self.sessions.open_endpoint(place, principal.clone());
        if let Some(client) = self.client(id) {
            client.connection.expect_answers();
            client.sse = Some(Box::new(SseFront {
                endpoint,
                principal,
                session: None,
            }));
        }
        self.event(Event::StreamOpened);
        let first = self.sessions.endpoints().is_first_use();
        self.event(Event::HttpSseUsed {
            server: None,
            first,
        });
        let event = format!("event: endpoint\ndata: /messages?sessionId={endpoint}\n\n");
        self.stream_bytes(id, event.as_bytes());
    }

    /// Passes a message on to the stream that it belongs to; the post is answered when it was judged there.
    pub(super) fn pass_on_post(
        &mut self,
        id: ConnectionId,
        to: Place,
        text: Vec<u8>,
        note: Box<RequestAnswered>,
    ) {
        let Some(client) = self.client(id) else {
            return;
        };
        client.asked_shell = Some(note);
        let from = Place {
            worker: self.id,
            connection: id,
        };
        let posted = Posted {
            to: to.connection,
            from,
            text,
        };
        self.post(to.worker, Parcel::Posted(Box::new(posted)));
    }

    /// Takes in what was posted for a stream of this worker.
    pub(super) fn posted(&mut self, posted: Posted) {
        let Posted { to, from, text } = posted;
        let taken = |refusal| Parcel::Taken(from, refusal);
        let known = self
            .client(to)
            .and_then(|client| Some((client.sse.as_ref()?, client.address)));
        let Some((front, address)) = known else {
            return self.post(from.worker, taken(Some(Box::new(Refusal::SessionUnknown))));
        };
        let caller = Caller {
            sink: Sink::Line { connection: to },
            stream_only: false,
            session: front.session.clone(),
            principal: front.principal.clone(),
            declared: None,
            peer: Some(address),
        };
        if let Some(session) = &caller.session {
            session.touch(self.now);
        }
        let considered = match Envelope::parse(&text) {
            Ok(envelope) if says_modern(&envelope) => {
                let fact = "that revision does not know this transport: use /mcp";
                Err(Refusal::Invalid(fact.into()))
            }
            Ok(envelope) => Ok(vec![self.consider_message(caller, &envelope)]),
            // All answers come on the same stream, so that there is nothing to gather.
            Err(EnvelopeError::Batch) if takes_batches(caller.session.as_deref(), None) => self
                .consider_batch(&caller, &text)
                .map(|batched| batched.intents),
            Err(error) => Err(Refusal::from(&error)),
        };
        match considered {
            Ok(intents) => {
                self.post(from.worker, taken(None));
                for intent in intents {
                    self.carry_out(to, intent);
                }
            }
            Err(refusal) => self.post(from.worker, taken(Some(Box::new(refusal)))),
        }
    }

    /// What was posted here was taken, or refused.
    pub(super) fn post_taken(&mut self, id: ConnectionId, refusal: Option<&Refusal>) {
        let Some(mut note) = self.client(id).and_then(|client| client.asked_shell.take()) else {
            return self.event(Event::ParcelStale);
        };
        match refusal {
            None => self.respond(id, 202, &[], &[]),
            Some(refusal) => {
                note.status = refusal.status(Era::Legacy);
                self.respond_refused(id, refusal);
            }
        }
        self.event(Event::RequestAnswered(note));
    }

    fn respond_refused(&mut self, id: ConnectionId, refusal: &Refusal) {
        let mut body = Vec::new();
        write::error(&mut body, b"null", &refusal.to_json(Era::Legacy));
        let seconds = refusal.retry_after().map(|seconds| seconds.to_string());
        let mut fields = vec![super::answer::JSON];
        if let Some(seconds) = &seconds {
            fields.push(("retry-after", seconds.as_bytes()));
        }
        self.respond(
            id,
            refusal.status(Era::Legacy),
            &fields,
            &[Piece::Bytes(&body)],
        );
    }

    // ── the stream ───────────────────────────────────────────────────────────────────────────────

    /// Whether this is the stream of an HTTP+SSE client.
    pub(super) fn is_sse_front(&mut self, id: ConnectionId) -> bool {
        self.client(id).is_some_and(|client| client.sse.is_some())
    }

    /// The session of a client to which all goes the one way.
    pub(super) fn front_session(&self, id: ConnectionId) -> Option<Arc<Session>> {
        match &self.wires.get(ticket(id))?.peer {
            Peer::Stdio(front) => front.session.clone(),
            Peer::Client(client) => client.sse.as_ref()?.session.clone(),
            _ => None,
        }
    }

    /// Gives such a client its session; whether it is one.
    pub(super) fn join_front(&mut self, id: ConnectionId, session: &Arc<Session>) -> bool {
        let own = match self.wires.get_mut(ticket(id)).map(|wire| &mut wire.peer) {
            Some(Peer::Stdio(front)) => Some(&mut front.session),
            Some(Peer::Client(client)) => client.sse.as_mut().map(|front| &mut front.session),
            _ => None,
        };
        own.is_some_and(|own| {
            *own = Some(session.clone());
            true
        })
    }

    /// The stream is gone, and the session with it: what its client still waits for is given up.
    pub(super) fn front_closed(&mut self, id: ConnectionId, front: SseFront) {
        self.sessions.endpoints().close(front.endpoint);
        self.event(Event::StreamClosed);
        for ticket in self.exchanges.tickets() {
            let Some(exchange) = self.exchanges.get_mut(ticket) else {
                continue;
            };
            if exchange.sink.connection() == Some(id) {
                exchange.sink = Sink::Gone;
                let refers = exchange_id(ticket);
                self.give_up(refers, Refusal::Cancelled, "its client is gone");
            }
        }
        if let Some(session) = front.session {
            session.lose_stream(Place {
                worker: self.id,
                connection: id,
            });
            self.end_session(&session, SessionEnd::Closed);
        }
    }

    /// Ends the stream of an HTTP+SSE client from our side.
    pub(super) fn end_front(&mut self, id: ConnectionId) {
        let front = self.client(id).and_then(|client| client.sse.take());
        if let Some(front) = front {
            self.front_closed(id, *front);
            self.end_event_stream(id);
        }
    }

    /// While we are going down: ends such a stream when nothing is left to be said on it.
    pub(super) fn wind_up_front(&mut self, id: ConnectionId) {
        if self.is_sse_front(id) && !self.has_exchange_on(id) {
            self.end_front(id);
        }
    }
}
