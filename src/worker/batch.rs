//! JSON-RPC batches: messages that came in one array, and their answers (2025-03-26 basic/transports).
//!
//! Each message is handled as if it had come alone; one that is wrong has an error of its own. Answers are
//! gathered and given as one array. If something has to be said before the last of them is there, they are
//! given as events instead, each as it comes. Such a stream cannot be resumed: its events have no ids.
//!
//! Only clients of revision 2025-03-26 may send batches. A request over HTTP outside any session that names
//! no revision counts as one of those, as the later revisions ask for. On the stdio front there is no such
//! guess: the session decides.

use super::answer::{JSON, event_bytes};
use super::exchange::Sink;
use super::intent::{Batched, Intent, Local, LocalAnswer};
use super::message::{Caller, refuse};
use super::modern::says_modern;
use super::slots::Ticket;
use super::{Worker, exchange_id};
use crate::config::limits::{BATCH_ANSWER_BYTES_MAX, STREAM_KEEP_ALIVE};
use crate::event::{Event, ExchangeEnded, Outcome};
use crate::http::Piece;
use crate::id::ConnectionId;
use crate::jsonrpc::batch::{self, BatchError};
use crate::jsonrpc::envelope::{Envelope, EnvelopeError, Kind};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::refusal::Refusal;
use crate::session::Session;
use std::time::Duration;

/// A batch whose requests are not all answered.
#[derive(Debug)]
pub(super) struct Batch {
    connection: ConnectionId,
    way: Way,
    /// Requests that are not answered.
    open: usize,
    /// Their answers so far; none where they are given as they come.
    answers: Vec<Vec<u8>>,
    /// Bytes of those.
    bytes: usize,
}

/// How a batch is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As one array over HTTP, if nothing has to be said before.
    Array,
    /// The same to a client that takes no event stream.
    ArrayOnly,
    /// As events of a stream that has begun.
    Events,
    /// As one line of the stdio front.
    Line,
}

/// Whether messages may come in arrays: in this session or, outside any, under this revision. The outer
/// option is that of a transport where requests name one at all.
pub(super) fn takes_batches(session: Option<&Session>, named: Option<Option<&str>>) -> bool {
    let unsaid = || named.map(|name| name.map_or(Some(Revision::UNSTATED), Revision::parse));
    match session {
        Some(session) => session.revision.has_batches(),
        None => unsaid()
            .flatten()
            .is_some_and(|revision| revision.has_batches()),
    }
}

impl Worker {
    // ── taking it in ─────────────────────────────────────────────────────────────────────────────

    /// What an array of messages comes to; why none of them is looked at, if none is.
    pub(super) fn consider_batch(
        &mut self,
        caller: &Caller,
        text: &[u8],
    ) -> Result<Box<Batched>, Refusal> {
        let messages = batch::messages(text).map_err(|error| match error {
            BatchError::Parse(error) => Refusal::Parse(error.to_string()),
            error => Refusal::Invalid(error.to_string()),
        })?;
        let intents = messages
            .into_iter()
            .map(|message| self.consider_element(caller, message))
            .collect();
        let may_stream = matches!(
            caller.sink,
            Sink::Answer {
                may_stream: true,
                ..
            }
        );
        Ok(Box::new(Batched {
            intents,
            may_stream,
            stream_only: caller.stream_only,
            note: None,
        }))
    }

    fn consider_element(&mut self, caller: &Caller, text: &[u8]) -> Intent {
        let wrong = |id: &[u8], method, refusal| refuse(caller, id, method, None, refusal);
        match Envelope::parse(text) {
            Ok(envelope) => match &envelope.kind {
                Kind::Request { method, id } if Method::parse(method) == Method::Initialize => {
                    let fact = "initialize must not be part of a batch";
                    let refusal = Refusal::Invalid(fact.into());
                    wrong(id.of(text), Method::Initialize, refusal)
                }
                Kind::Request { method, id } if says_modern(&envelope) => {
                    let fact = "that revision has no batches: send this alone";
                    let refusal = Refusal::Invalid(fact.into());
                    wrong(id.of(text), Method::parse(method), refusal)
                }
                _ => self.consider_message(caller.again(), &envelope),
            },
            Err(EnvelopeError::Batch) => {
                let refusal = Refusal::Invalid("a batch within a batch".into());
                wrong(b"null", Method::Other, refusal)
            }
            Err(error) => {
                let id = match &error {
                    EnvelopeError::Invalid { id: Some(id), .. } => id.as_slice(),
                    _ => b"null",
                };
                wrong(id, Method::Other, Refusal::from(&error))
            }
        }
    }

    /// Does what each message of a batch asks for.
    pub(super) fn begin_batch(&mut self, id: ConnectionId, batched: Batched) {
        let is_asked = |intent: &&Intent| matches!(intent, Intent::Local(_) | Intent::Begin(..));
        let open = batched.intents.iter().filter(is_asked).count();
        if open == 0 {
            if let Some(note) = batched.note {
                self.respond(id, 202, &[], &[]);
                self.event(Event::RequestAnswered(note));
            }
            for intent in batched.intents {
                if let Intent::Note(note, _) = intent {
                    self.take_in(note);
                }
            }
            return;
        }
        let way = match (self.client(id).is_some(), batched.may_stream) {
            (false, _) => Way::Line,
            (true, true) => Way::Array,
            (true, false) => Way::ArrayOnly,
        };
        let batch = self.batches.insert(Batch {
            connection: id,
            way,
            open,
            answers: Vec::new(),
            bytes: 0,
        });
        if batched.stream_only {
            self.opens_stream(batch);
        }
        for intent in batched.intents {
            match intent {
                Intent::Local(local) => self.answer_released(id, Some(batch), local),
                Intent::Begin(mut exchange, sending) => {
                    exchange.sink = Sink::Batch {
                        batch,
                        connection: id,
                    };
                    self.wake_at(exchange.deadline.min(self.now + STREAM_KEEP_ALIVE));
                    let refers = exchange_id(self.exchanges.insert(*exchange));
                    self.send_off(refers, sending);
                }
                Intent::Note(note, _) => self.take_in(note),
                other => unreachable!("a message of a batch came to {other:?}"),
            }
        }
    }

    // ── answering it ─────────────────────────────────────────────────────────────────────────────

    /// Answers a request from what is known here, in its batch if it is part of one.
    pub(super) fn answer_released(
        &mut self,
        id: ConnectionId,
        batch: Option<Ticket>,
        local: Local,
    ) {
        let Some(batch) = batch else {
            return self.answer_locally(id, local, None);
        };
        let mut text = Vec::new();
        let outcome = match &local.answer {
            LocalAnswer::Result(result) => {
                write::result(&mut text, &local.id, result);
                Outcome::Success
            }
            LocalAnswer::Shared(result) => {
                write::result(&mut text, &local.id, result);
                Outcome::Success
            }
            LocalAnswer::Refused(refusal) => {
                write::error(&mut text, &local.id, &refusal.to_json(local.era));
                Outcome::Refused
            }
        };
        let status = self.gather(batch, &local.id, &text);
        let peer = self.client(id).map(|client| client.address);
        self.event(Event::ExchangeEnded(Box::new(ExchangeEnded {
            peer,
            principal: local.principal,
            method: local.method,
            tool: local.tool,
            server: None,
            outcome,
            status,
            took: Duration::ZERO,
            upstream: None,
        })));
    }

    /// Takes in the answer to one request of a batch, whose id is `id`; the HTTP status that it goes with.
    pub(super) fn gather(&mut self, batch: Ticket, id: &[u8], text: &[u8]) -> u16 {
        let Some(own) = self.batches.get(batch) else {
            return 0;
        };
        let (way, connection) = (own.way, own.connection);
        let fits = own.bytes + text.len() <= BATCH_ANSWER_BYTES_MAX;
        if way == Way::Events || !fits && way == Way::Array && self.opens_stream(batch) {
            self.stream_bytes(connection, &event_bytes(None, text));
        } else if let Some(own) = self.batches.get_mut(batch) {
            let mut answer = text.to_vec();
            if !fits {
                let fact = "the answers of this batch are too long together; ask one at a time";
                answer.clear();
                write::error(&mut answer, id, &Refusal::Busy(fact).to_json(Era::Legacy));
            }
            own.bytes += answer.len();
            own.answers.push(answer);
        }
        self.one_less(batch);
        match way {
            Way::Line => 0,
            _ => 200,
        }
    }

    /// Does without the answer to one request of a batch, which its client cancelled; whether that can be.
    pub(super) fn forgo(&mut self, batch: Ticket) -> bool {
        let last =
            |own: &Batch| own.way == Way::ArrayOnly && own.open == 1 && own.answers.is_empty();
        if self.batches.get(batch).is_some_and(last) {
            return false;
        }
        self.one_less(batch);
        true
    }

    /// One request fewer is open; after the last, the batch is answered.
    fn one_less(&mut self, batch: Ticket) {
        let Some(own) = self.batches.get_mut(batch) else {
            return;
        };
        own.open -= 1;
        if own.open > 0 {
            return;
        }
        let Some(own) = self.batches.remove(batch) else {
            return;
        };
        let id = own.connection;
        match own.way {
            Way::Events => self.end_event_stream(id),
            // All of them were cancelled.
            Way::Array if own.answers.is_empty() => {
                self.begin_event_stream(id, &[]);
                self.end_event_stream(id);
            }
            Way::Line if own.answers.is_empty() => self.settle(id),
            Way::Array | Way::ArrayOnly => {
                let array = batch::array(&own.answers);
                self.respond(id, 200, &[JSON], &[Piece::Bytes(&array)]);
            }
            Way::Line => self.say_line(id, &batch::array(&own.answers)),
        }
    }

    // ── what is said before ──────────────────────────────────────────────────────────────────────

    /// Says something about a request of a batch; whether that could be.
    pub(super) fn say_in_batch(&mut self, batch: Ticket, message: &[u8]) -> bool {
        let Some(own) = self.batches.get(batch) else {
            return false;
        };
        let (way, connection) = (own.way, own.connection);
        match way {
            Way::Events => self.stream_bytes(connection, &event_bytes(None, message)),
            Way::Line => self.say_line(connection, message),
            Way::Array | Way::ArrayOnly => return false,
        }
        true
    }

    /// Sees to it that something can be said before a batch's last answer; whether it can.
    pub(super) fn opens_stream(&mut self, batch: Ticket) -> bool {
        let Some(own) = self.batches.get(batch) else {
            return false;
        };
        let (way, connection) = (own.way, own.connection);
        match way {
            Way::Line => return self.stdio(connection).is_some(),
            Way::ArrayOnly => return false,
            Way::Array | Way::Events if self.client(connection).is_none() => return false,
            Way::Events => return true,
            Way::Array => {}
        }
        self.begin_event_stream(connection, &[]);
        if let Some(client) = self.client(connection) {
            client.connection.expect_answers();
        }
        let Some(own) = self.batches.get_mut(batch) else {
            return false;
        };
        own.way = Way::Events;
        for answer in std::mem::take(&mut own.answers) {
            self.stream_bytes(connection, &event_bytes(None, &answer));
        }
        true
    }
}

impl Caller {
    /// The same caller, for one more message.
    fn again(&self) -> Caller {
        Caller {
            sink: match self.sink {
                Sink::Answer {
                    connection,
                    may_stream,
                } => Sink::Answer {
                    connection,
                    may_stream,
                },
                Sink::Line { connection } => Sink::Line { connection },
                _ => unreachable!("a message comes from a connection that is there"),
            },
            stream_only: self.stream_only,
            session: self.session.clone(),
            declared: None,
            principal: self.principal.clone(),
            peer: self.peer,
        }
    }
}
