//! Answering an exchange: in one piece, or on a stream once something has to be said before.

use super::exchange::{Exchange, Sink};
use super::lanes::Left;
use super::parcel::{Parcel, Relay, Relayed, Said};
use super::tasking::Settled;
use super::{Worker, exchange_ticket, wire_id};
use crate::config::limits::{CLIENT_REQUEST_TIMEOUT, CLIENT_STREAM_RETRY};
use crate::event::{Event, Outcome};
use crate::http::write::Field;
use crate::http::{Piece, sse};
use crate::id::{ConnectionId, ExchangeId, Home, Place};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::input;
use crate::mcp::bridge::listen::Filter;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::replay::EventId;
use memchr::memmem::Finder;
use std::sync::{Arc, LazyLock};

/// The field that announces a JSON answer.
pub(super) const JSON: Field<'static> = ("content-type", b"application/json");
/// The fields that announce an event stream, and keep proxies from holding it back.
pub(super) const EVENT_STREAM: [Field<'static>; 3] = [
    ("content-type", b"text/event-stream"),
    ("cache-control", b"no-store"),
    ("x-accel-buffering", b"no"),
];

/// The bytes of an event; without an id where nothing could be resumed.
pub(super) fn event_bytes(at: Option<EventId>, message: &[u8]) -> Vec<u8> {
    let id = at.map(|at| at.to_string());
    written(&sse::Event {
        id: id.as_deref().map(str::as_bytes),
        kind: Some(b"message"),
        data: Some(&write::one_line(message)),
        retry: None,
    })
}

/// The bytes of the empty event that gives a client an id to come back with (SEP-1699).
pub(super) fn prime(at: EventId) -> Vec<u8> {
    written(&sse::Event {
        id: Some(at.to_string().as_bytes()),
        kind: None,
        data: Some(b""),
        retry: Some(CLIENT_STREAM_RETRY.as_millis() as u64),
    })
}

fn written(event: &sse::Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    sse::write_event(&mut bytes, event);
    bytes
}

/// Where an answer leaves, and how.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) sink: Sink,
    /// The session whose client may come back for the stream.
    session: Option<Arc<Session>>,
    stream_only: bool,
    /// The client's id, where its answer is one of several.
    id: Box<[u8]>,
}

impl Exchange {
    /// Takes where its answer leaves, and puts `next` in the place.
    pub(super) fn outlet(&mut self, next: Sink) -> Outlet {
        Outlet {
            session: self.resumable().cloned(),
            id: match self.sink {
                Sink::Batch { .. } => self.id.clone(),
                _ => Box::default(),
            },
            sink: std::mem::replace(&mut self.sink, next),
            stream_only: self.stream_only,
        }
    }
}

/// Where in a server's answer stands what, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    pub(super) id: Span,
    pub(super) body: Result<Span, Span>,
    pub(super) era: Era,
}

impl Worker {
    // ── the answer ───────────────────────────────────────────────────────────────────────────────

    /// Takes in what a server answered.
    pub(super) fn answer(&mut self, id: ExchangeId, text: &[u8], response: Response) {
        match self.answer_of_task(id, text, response) {
            Settled::AsItIs => self.answer_with(id, text, response),
            Settled::Renamed(text, response) => self.answer_with(id, &text, response),
            Settled::Awaited => {}
            Settled::Unwanted => self.close_refused(id),
        }
    }

    /// Answers an exchange with an answer that needs nothing more.
    fn answer_with(&mut self, id: ExchangeId, text: &[u8], response: Response) {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return self.event(Event::ParcelStale);
        };
        exchange.left = Left::Clean;
        match exchange.sink {
            Sink::Refused => return self.close_refused(id),
            Sink::Visitor(visitor) => return self.answer_visitor(id, visitor, text, response),
            Sink::Parked => return self.keep(id, text, response),
            // What is granted of it is not said in an answer.
            Sink::Heard => return self.heard_of(id, &Filter::default()),
            _ => {}
        }
        if exchange.era() == Era::Legacy && response.era == Era::Legacy {
            self.pass_on(id, text, response);
        } else {
            self.answer_across(id, text, response);
        }
    }

    /// Answers an exchange with what its server answered; only the id is another.
    pub(super) fn pass_on(&mut self, id: ExchangeId, text: &[u8], response: Response) {
        let Some(mut exchange) = self.exchanges.remove(exchange_ticket(id)) else {
            return;
        };
        let (outcome, status) = match response.body {
            Err(error) => (Outcome::ServerError, exchange.status_of(error.of(text))),
            Ok(_) if exchange.method == Method::ToolsCall && says_error(text) => {
                (Outcome::ToolError, 200)
            }
            Ok(_) => (Outcome::Success, 200),
        };
        let outlet = exchange.outlet(Sink::Gone);
        let pieces = [
            Piece::Bytes(&text[..response.id.start]),
            Piece::Bytes(&exchange.id),
            Piece::Bytes(&text[response.id.end..]),
        ];
        let status = self.give(id, &outlet, status, None, &pieces);
        self.close_exchange(exchange, outcome, status);
    }

    /// Answers an exchange with what its server's answer becomes for it.
    pub(super) fn finish(&mut self, id: ExchangeId, body: Result<&[u8], &[u8]>) {
        let Some(mut exchange) = self.exchanges.remove(exchange_ticket(id)) else {
            return;
        };
        let (Ok(body_text) | Err(body_text)) = body;
        let mut text = Vec::with_capacity(body_text.len() + exchange.id.len() + 40);
        let (outcome, status) = match body {
            Ok(result) => {
                write::result(&mut text, &exchange.id, result);
                let failed = exchange.method == Method::ToolsCall && says_error(&text);
                (
                    if failed {
                        Outcome::ToolError
                    } else {
                        Outcome::Success
                    },
                    200,
                )
            }
            Err(error) => {
                write::error(&mut text, &exchange.id, error);
                (Outcome::ServerError, exchange.status_of(error))
            }
        };
        let outlet = exchange.outlet(Sink::Gone);
        let status = self.give(id, &outlet, status, None, &[Piece::Bytes(&text)]);
        self.close_exchange(exchange, outcome, status);
    }

    /// Answers an exchange in our own name.
    pub(super) fn refuse(&mut self, id: ExchangeId, refusal: Refusal) {
        let Some(mut exchange) = self.exchanges.remove(exchange_ticket(id)) else {
            return self.event(Event::ParcelStale);
        };
        match exchange.sink {
            Sink::Heard => {
                return self.close_heard(id, exchange, Outcome::Refused, &Filter::default());
            }
            Sink::Refused => return self.let_go(&mut exchange),
            _ => {}
        }
        if refusal == Refusal::Cancelled && self.end_silently(id, &exchange) {
            return self.close_exchange(exchange, Outcome::Cancelled, 200);
        }
        let mut text = Vec::new();
        if let Sink::Visitor(visitor) = exchange.sink {
            self.fail_home(visitor, refusal);
            return self.close_exchange(exchange, Outcome::Refused, 0);
        }
        let era = exchange.era();
        write::error(&mut text, &exchange.id, &refusal.to_json(era));
        let (status, retry) = (refusal.status(era), refusal.retry_after());
        let outlet = exchange.outlet(Sink::Gone);
        let status = self.give(id, &outlet, status, retry, &[Piece::Bytes(&text)]);
        let outcome = match refusal {
            Refusal::Cancelled => Outcome::Cancelled,
            _ => Outcome::Refused,
        };
        self.close_exchange(exchange, outcome, status);
    }

    /// Sends an exchange's last message to wherever it goes; the HTTP status that it went with.
    pub(super) fn give(
        &mut self,
        id: ExchangeId,
        outlet: &Outlet,
        status: u16,
        retry: Option<u32>,
        pieces: &[Piece<'_>],
    ) -> u16 {
        let whole = || {
            pieces
                .iter()
                .flat_map(|piece| piece.as_bytes())
                .copied()
                .collect::<Vec<u8>>()
        };
        match outlet.sink {
            Sink::Answer { connection, .. } if outlet.stream_only && status == 200 => {
                self.begin_event_stream(connection, &[]);
                self.stream_bytes(connection, &event_bytes(None, &whole()));
                self.end_event_stream(connection);
                200
            }
            Sink::Answer { connection, .. } => {
                let seconds = retry.map(|seconds| seconds.to_string());
                match &seconds {
                    None => self.respond(connection, status, &[JSON], pieces),
                    Some(s) => self.respond(
                        connection,
                        status,
                        &[JSON, ("retry-after", s.as_bytes())],
                        pieces,
                    ),
                }
                status
            }
            Sink::Line { connection } => {
                self.say_line(connection, &whole());
                0
            }
            Sink::Batch { batch, .. } => self.gather(batch, &outlet.id, &whole()),
            Sink::Stream { at, .. } | Sink::Elsewhere { at, .. } | Sink::Lost { at } => {
                let at = EventId {
                    number: at.number + 1,
                    ..at
                };
                let message: Arc<[u8]> = whole().into();
                let named = outlet.session.is_some().then_some(at);
                if let Some(session) = &outlet.session {
                    session.keep(at, message.clone());
                    session.end_stream(at.stream);
                }
                let bytes = event_bytes(named, &message);
                match outlet.sink {
                    Sink::Stream { connection, .. } => {
                        self.stream_bytes(connection, &bytes);
                        self.end_event_stream(connection);
                    }
                    Sink::Elsewhere { place, .. } => {
                        let home = Home {
                            worker: self.id,
                            exchange: id,
                        };
                        self.relay(place, home, bytes, Relay::Last);
                    }
                    _ => {}
                }
                200
            }
            Sink::Gone | Sink::Parked | Sink::Refused | Sink::Heard | Sink::Visitor(_) => status,
        }
    }

    pub(super) fn close_exchange(&mut self, mut exchange: Exchange, outcome: Outcome, status: u16) {
        self.let_go(&mut exchange);
        if self.draining
            && let Sink::Line { connection } = exchange.sink
        {
            self.wind_up_front(connection);
        }
        let ended = exchange.ended(self.now, outcome, status);
        self.event(ended);
    }

    /// Frees what an exchange held.
    pub(super) fn let_go(&mut self, exchange: &mut Exchange) {
        self.leave_behind(exchange);
        if let Some(session) = &exchange.session {
            session.end_exchange();
        }
    }

    // ── what is said before it ───────────────────────────────────────────────────────────────────

    /// Tells a client what its server said about an exchange in flight.
    pub(super) fn say(&mut self, id: ExchangeId, said: Said) {
        let now = self.now;
        let said = self.said_of_task(id, said);
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            if let Said::Request(_, ask) = said {
                self.ask_undelivered(ask, "the exchange that it belongs to has ended");
            }
            return self.event(Event::ParcelStale);
        };
        if let Sink::Refused = exchange.sink {
            if let Said::Request(_, ask) = said {
                self.ask_undelivered(ask, "the client has been answered already");
            }
            return;
        }
        // What is parked waits for its client, not for its server.
        let waits = !matches!(exchange.sink, Sink::Parked);
        if waits && matches!(said, Said::Progress(..) | Said::Status(_)) {
            exchange.reprieve(now);
        }
        if let Sink::Visitor(visitor) = exchange.sink
            && !matches!(
                said,
                Said::Request(..) | Said::Withdrawn(..) | Said::Lacking(_)
            )
        {
            let said = Parcel::Said(visitor.exchange, Box::new(said));
            return self.post(visitor.worker, said);
        }
        match said {
            Said::Progress(text, mut place) => {
                // A modern client takes it amiss if what rises does not (basic/utilities/progress).
                if exchange.era() == Era::Modern && !exchange.rises(&text) {
                    return;
                }
                let Some(token) = &exchange.token else { return };
                let text = match &mut exchange.inquiry {
                    Some(inquiry) => match inquiry.risen(&text) {
                        Some((risen, at)) => {
                            place = at;
                            risen
                        }
                        None => text,
                    },
                    None => text,
                };
                let mut message = Vec::with_capacity(text.len() + token.len());
                write::spliced(&mut message, &text, &[(place, token)]);
                self.stream_message(id, &message);
            }
            Said::Log(text, level) => {
                // A modern client that names no level wants none; a legacy one that chose none wants all.
                let wanted = match &exchange.declared {
                    Some(declared) => declared.level,
                    None => Some(
                        exchange
                            .session
                            .as_ref()
                            .and_then(|s| s.level())
                            .unwrap_or(0),
                    ),
                };
                if wanted.is_some_and(|wanted| level >= wanted) {
                    self.stream_message(id, &text);
                }
            }
            // A legacy client's server deals with that itself; a modern client is told what it could declare.
            Said::Lacking(need) if exchange.era() == Era::Modern => {
                self.refuse_lacking(id, Refusal::CapabilityMissing(need.into()));
            }
            Said::Lacking(_) => {}
            // What the client's era has done away with, or does not have yet, would mean nothing to it.
            Said::Notification(method, _)
                if method != Method::Other && !method.known_in(exchange.era()) => {}
            Said::Notification(_, text) => {
                self.stream_message(id, &text);
            }
            Said::Status(text) => {
                if exchange.own_task().is_none() {
                    self.stream_message(id, &text);
                }
            }
            Said::Withdrawn(text, ask) => match &mut exchange.parked {
                Some(parked) => parked.withdraw(ask),
                None => drop(self.stream_message(id, &text)),
            },
            Said::Request(text, ask) => {
                // A person may have to answer first, who gets more time than a server.
                if let Some(server) = exchange.awaits.server().filter(|_| waits) {
                    let until = now + CLIENT_REQUEST_TIMEOUT + server.timeout;
                    exchange.deadline = until.min(exchange.last_deadline);
                }
                if exchange.era() == Era::Modern {
                    // What asks nothing by itself is not asked for: it was about something else.
                    if !input::may_ask(exchange.method) {
                        let why = "the client has no call under way that may be asked this";
                        return self.ask_undelivered(ask, why);
                    }
                    return self.put_aside(id, &text, ask);
                }
                if !self.stream_message(id, &text) {
                    self.ask_undelivered(ask, "its client takes no event stream");
                }
            }
        }
    }

    /// Puts a message on an exchange's stream, which it begins if need be; whether it could.
    pub(super) fn stream_message(&mut self, id: ExchangeId, message: &[u8]) -> bool {
        if !self.ensure_stream(id) {
            return false;
        }
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return false;
        };
        if let Sink::Line { connection } = exchange.sink {
            self.say_line(connection, message);
            return true;
        }
        if let Sink::Batch { batch, .. } = exchange.sink {
            return self.say_in_batch(batch, message);
        }
        let session = exchange.resumable().cloned();
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(at) = exchange.sink.stream() else {
            return false;
        };
        at.number += 1;
        let at = *at;
        let bytes = event_bytes(session.is_some().then_some(at), message);
        if let Some(session) = session {
            session.keep(at, message.into());
        }
        match exchange.sink {
            Sink::Stream { connection, .. } => self.stream_bytes(connection, &bytes),
            Sink::Elsewhere { place, .. } => self.relay(place, home, bytes, Relay::More),
            _ => {}
        }
        true
    }

    /// Sees to it that an exchange is answered on a stream; whether something can be said on it.
    pub(super) fn ensure_stream(&mut self, id: ExchangeId) -> bool {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return false;
        };
        let connection = match exchange.sink {
            Sink::Answer {
                connection,
                may_stream: true,
            } => connection,
            Sink::Batch { batch, .. } => return self.opens_stream(batch),
            Sink::Answer { .. }
            | Sink::Gone
            | Sink::Parked
            | Sink::Refused
            | Sink::Heard
            | Sink::Visitor(_) => return false,
            _ => return true,
        };
        let session = exchange.resumable().cloned();
        let at = match &session {
            Some(session) => session.begin_stream(home),
            None => EventId {
                stream: 0,
                number: 0,
            },
        };
        exchange.sink = Sink::Stream { connection, at };
        self.begin_event_stream(connection, &[]);
        if session.is_some_and(|session| session.revision.primes_streams()) {
            self.stream_bytes(connection, &prime(at));
        }
        true
    }

    /// Writes a message to a client to which all goes the one way: the stdio front, or an HTTP+SSE client's
    /// stream.
    pub(super) fn say_line(&mut self, connection: ConnectionId, message: &[u8]) {
        if self.is_sse_front(connection) {
            return self.stream_bytes(connection, &event_bytes(None, message));
        }
        let Some(front) = self.stdio(connection) else {
            return;
        };
        front.outbox.push(&write::one_line(message));
        front.outbox.push(b"\n");
        self.settle(connection);
    }

    // ── resumed streams ──────────────────────────────────────────────────────────────────────────

    /// The client came back for the stream of an exchange, at `place`; it has seen everything up to `last`.
    pub(super) fn resumed(
        &mut self,
        id: ExchangeId,
        place: Place,
        last: EventId,
        session: &Session,
    ) {
        let home = Home {
            worker: self.id,
            exchange: id,
        };
        // What was said while the client's request travelled here, the answer perhaps included.
        for (at, message) in session.missed(last) {
            let bytes = event_bytes(Some(at), &message);
            self.relay(place, home, bytes, Relay::More);
        }
        let found = self.exchanges.get_mut(exchange_ticket(id));
        let Some((exchange, at)) = found.and_then(|e| e.sink.stream().copied().map(|at| (e, at)))
        else {
            return self.relay(place, home, Vec::new(), Relay::Last);
        };
        let before = std::mem::replace(&mut exchange.sink, Sink::Elsewhere { place, at });
        if let Sink::Stream { connection, .. } = before {
            self.end_event_stream(connection);
        }
    }

    pub(super) fn relay(&mut self, place: Place, home: Home, bytes: Vec<u8>, relay: Relay) {
        self.post(
            place.worker,
            Parcel::Relayed(Box::new(Relayed {
                place,
                home,
                bytes,
                relay,
            })),
        );
    }

    /// Shows more of an exchange's stream that lives elsewhere.
    pub(super) fn relayed(&mut self, relayed: Relayed) {
        let Relayed {
            place,
            home,
            bytes,
            relay,
        } = relayed;
        // The connection may serve another request by now, even another session's.
        if self
            .client(place.connection)
            .is_none_or(|client| client.relaying != Some(home))
        {
            return self.event(Event::ParcelStale);
        }
        if !bytes.is_empty() {
            self.stream_bytes(place.connection, &bytes);
        }
        if relay == Relay::Last {
            self.end_event_stream(place.connection);
        }
    }

    pub(super) fn ask_undelivered(&mut self, ask: u64, why: &'static str) {
        if let Some((worker, _)) = wire_id::unpack(ask) {
            self.post(worker, Parcel::AskFailed(ask, why));
        }
    }
}

/// Whether a tool's result says `isError`. The word is looked for first: most results do not have it.
fn says_error(text: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"isError\""));
    WORD.find(text).is_some()
        && parse::check(text)
            .ok()
            .and_then(|whole| parse::member(text, whole, "result"))
            .and_then(|result| parse::member(text, result, "isError"))
            .is_some_and(|value| value.of(text) == b"true")
}

#[cfg(test)]
mod tests;
