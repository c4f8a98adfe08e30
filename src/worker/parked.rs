//! Calls of modern clients that wait for answers to what a legacy server asked.
//!
//! ```text
//!   client ── call ──▶ exchange ── call ──▶ server          client ── call, answers ──▶ visitor
//!   client ◀─ input_required ── parked ◀── question ──       │                            │ returned
//!                                                            ◀──────── result ── parked ◀─┘── answer ── server
//! ```
//!
//! The server's call stays open while nobody waits on this side. The client is given a sealed `requestState` that
//! names the call, and comes back in a request of its own, to whichever worker it may: that exchange is the
//! call's *visitor*, and gets what the call is answered with.

use super::answer::{Outlet, Response};
use super::exchange::{Awaits, Exchange, Sink};
use super::lanes::{Left, Use};
use super::message::{Caller, string};
use super::parcel::{Answered, ClientAnswer, Outgoing, Parcel, Returned};
use super::{Worker, exchange_ticket, wire_id};
use crate::config::limits::{
    GATHER_INTERVAL, PARKED_ANSWERS_BYTES_MAX, PARKED_MAX, PARKED_TIMEOUT,
};
use crate::http::Piece;
use crate::id::{ExchangeId, Home};
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::input;
use crate::mcp::meta::OURSELVES;
use crate::mcp::method::Method;
use crate::mcp::params::Params;
use crate::mcp::state::{Binding, Payload};
use crate::refusal::Refusal;
use crate::time::Time;

/// What was asked within a call and is not answered.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// How often the client was asked. An answer counts for the latest time only.
    round: u32,
    /// How many questions there were in all.
    asked: usize,
    questions: Vec<Question>,
    /// When the client is given what was gathered.
    due: Option<Time>,
}

impl Parked {
    /// Drops all that was asked and is not answered; our ids of it.
    pub(super) fn dropped(&mut self) -> Vec<u64> {
        self.due = None;
        self.questions
            .drain(..)
            .map(|question| question.ask)
            .collect()
    }

    /// Drops a question that its server does not want answered any more.
    pub(super) fn withdraw(&mut self, ask: u64) {
        self.questions.retain(|question| question.ask != ask);
    }
}

#[derive(Debug)]
struct Question {
    key: String,
    method: Method,
    params: Vec<u8>,
    /// Our id of the server's request.
    ask: u64,
}

impl Worker {
    // ── the server asks ──────────────────────────────────────────────────────────────────────────

    /// Takes in a server's question to a modern client, to be handed over with what else it asks at this moment.
    pub(super) fn put_aside(&mut self, id: ExchangeId, text: &[u8], ask: u64) {
        let now = self.now;
        let Ok(envelope) = Envelope::parse(text) else {
            return;
        };
        let Kind::Request { method, .. } = &envelope.kind else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        if !input::may_ask(exchange.method) {
            let why = "the client's request cannot be answered with questions";
            return self.ask_undelivered(ask, why);
        }
        let method = Method::parse(method);
        let parked = exchange.parked.get_or_insert_default();
        parked.asked += 1;
        parked.questions.push(Question {
            key: input::key(method, parked.asked),
            method,
            params: envelope
                .params
                .map_or(Vec::new(), |span| span.of(text).to_vec()),
            ask,
        });
        parked.due.get_or_insert(now + GATHER_INTERVAL);
        self.wake_at(now + GATHER_INTERVAL);
    }

    /// Hands over what was gathered; when to look again.
    pub(super) fn sweep_parked(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut due = Vec::new();
        for (ticket, exchange) in self.exchanges.iter() {
            match exchange.parked.as_ref().and_then(|parked| parked.due) {
                Some(at) if at <= now => due.push(super::exchange_id(ticket)),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        for id in due {
            self.park(id);
        }
        next
    }

    /// Gives the client what its call's server asks; the call waits for it to come back.
    fn park(&mut self, id: ExchangeId) {
        if self.draining {
            // Whoever would come back is not let in any more.
            return self.give_up(id, Refusal::Draining, "switchbox is shutting down");
        }
        // Each has a lane.
        let is_full = self.lanes.parked() >= PARKED_MAX;
        let until = self.now + PARKED_TIMEOUT;
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let (Some(parked), Some(original)) = (&mut exchange.parked, &exchange.original) else {
            return;
        };
        parked.due = None;
        // It was asked already and has not come back: it will be asked this as well when it does.
        if parked.questions.is_empty() || matches!(exchange.sink, Sink::Parked) {
            return;
        }
        if is_full {
            let fact = "too many calls wait for their clients to answer";
            return self.give_up(
                id,
                Refusal::Busy(fact),
                "switchbox has too many calls parked",
            );
        }
        parked.round += 1;
        let payload = Payload {
            worker: self.id,
            slot: id.slot,
            generation: id.generation,
            round: parked.round,
            expires: until,
        };
        let server = exchange.awaits.server();
        let server = server.map_or("", |server| &server.name);
        let binding = binding(exchange.principal.as_deref(), server, original);
        let state = self.sealer.seal(&payload, &binding);
        let questions: Vec<(&str, Method, &[u8])> = parked
            .questions
            .iter()
            .map(|question| (&*question.key, question.method, &*question.params))
            .collect();
        let result = input::input_required(&questions, Some(&state), OURSELVES);
        exchange.deadline = until;
        exchange.last_deadline = exchange.last_deadline.max(until);
        let session = exchange.session.as_ref().map(|session| session.key);
        let outlet = exchange.outlet(Sink::Parked);
        if let Some(guest) = session {
            self.use_lane(guest, Use::Parked);
        }
        self.hand_over(id, &outlet, &result);
        self.wake_at(until);
    }

    /// Sends a result to where an exchange's answer was to go, though the exchange goes on.
    fn hand_over(&mut self, id: ExchangeId, outlet: &Outlet, result: &[u8]) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let mut text = Vec::with_capacity(result.len() + 64);
        if let Sink::Visitor(visitor) = outlet.sink {
            write::result(&mut text, b"0", result);
            let response = own_response(&text, result.len());
            return self.answer_home(visitor, &text, response);
        }
        write::result(&mut text, &exchange.id, result);
        self.give(id, outlet, 200, None, &[Piece::Bytes(&text)]);
    }

    // ── the client comes back ────────────────────────────────────────────────────────────────────

    /// Whether a request carries a state of ours, whoever would answer it by now.
    pub(super) fn has_state_of_ours(&self, text: &[u8], params: &Params) -> bool {
        let state = params
            .request_state
            .and_then(|span| parse::string(text, span));
        state.is_some_and(|state| self.sealer.has_made(&state))
    }

    /// What a request comes to that carries a state of ours: a visit to the call that it names.
    pub(super) fn consider_return(
        &mut self,
        caller: &Caller,
        text: &[u8],
        params: &Params,
        server: &str,
        outgoing: &Outgoing,
    ) -> Result<Option<Return>, Refusal> {
        let Some(span) = params.request_state else {
            return Ok(None);
        };
        let token = string(text, span, "requestState")?;
        let principal = caller.principal.as_deref();
        let binding = binding(principal, server, outgoing);
        let payload = self.sealer.open(&token, self.now, &binding);
        let payload = payload.map_err(|error| Refusal::StateUnknown(error.to_string()))?;
        if usize::from(payload.worker.0) >= self.workers {
            return Err(Refusal::StateUnknown(
                "requestState was not made by this process".into(),
            ));
        }
        let responses = params.input_responses.map(|span| span.of(text).to_vec());
        Ok(Some(Return {
            call: Home {
                worker: payload.worker,
                exchange: ExchangeId {
                    slot: payload.slot,
                    generation: payload.generation,
                },
            },
            round: payload.round,
            responses: responses.unwrap_or_default(),
        }))
    }

    /// Goes to see the call that a request's state names.
    pub(super) fn visit(&mut self, id: ExchangeId, back: Return) {
        let visitor = Home {
            worker: self.id,
            exchange: id,
        };
        let returned = Returned {
            exchange: back.call.exchange,
            round: back.round,
            visitor,
            responses: back.responses,
        };
        self.post(back.call.worker, Parcel::Returned(Box::new(returned)));
    }

    /// The client of a parked call is back.
    pub(super) fn returned(&mut self, returned: Returned) {
        let (id, visitor) = (returned.exchange, returned.visitor);
        let now = self.now;
        let stale =
            Refusal::StateUnknown("requestState was answered before, or its call is over".into());
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return self.fail_home(visitor, stale);
        };
        let parked = exchange
            .parked
            .as_mut()
            .filter(|parked| parked.round == returned.round);
        let Some(parked) = parked.filter(|_| matches!(exchange.sink, Sink::Parked)) else {
            return self.fail_home(visitor, stale);
        };
        let text = &returned.responses;
        let whole = Span {
            start: 0,
            end: text.len(),
        };
        let answers = match text.is_empty() {
            true => Ok(Vec::new()),
            false => input::answers(text, whole),
        };
        let answers = match answers {
            Ok(answers) => answers,
            // What is malformed does not use the state up.
            Err(fact) => return self.fail_home(visitor, Refusal::Params(fact.into())),
        };
        let kept = match &mut exchange.awaits {
            Awaits::Visitor(_) => std::mem::replace(&mut exchange.awaits, Awaits::Nothing),
            _ => Awaits::Nothing,
        };
        if let Awaits::Visitor(answered) = kept {
            // Its server did not wait for what it had asked.
            exchange.sink = Sink::Visitor(visitor);
            self.parked_bytes -= answered.text.len();
            let Answered {
                text,
                id: at,
                body,
                era,
                ..
            } = *answered;
            return self.answer(id, &text, Response { id: at, body, era });
        }
        let mut given = Vec::new();
        parked.questions.retain(|question| {
            let answer = answers.iter().find(|(key, _)| **key == question.key);
            given.extend(answer.map(|(_, span)| (question.ask, span.of(text).to_vec())));
            answer.is_none()
        });
        // What was not answered is asked again, with what else the server asked meanwhile.
        parked.due = (!parked.questions.is_empty()).then_some(now);
        let asks_again = parked.due.is_some();
        exchange.sink = Sink::Visitor(visitor);
        let server = exchange.awaits.server();
        let timeout = server.map_or(PARKED_TIMEOUT, |server| exchange.patience(server));
        exchange.deadline = now + timeout;
        exchange.last_deadline = exchange.last_deadline.max(exchange.deadline);
        let session = exchange.session.as_ref().map(|session| session.key);
        self.wake_at(now + timeout);
        let Some(guest) = session else { return };
        self.use_lane(guest, Use::Busy);
        for (ask, result) in given {
            let Some((worker, _)) = wire_id::unpack(ask) else {
                continue;
            };
            let mut text = Vec::with_capacity(result.len() + 40);
            write::result(&mut text, b"0", &result);
            let answer = ClientAnswer {
                id: own_response(&text, result.len()).id,
                text,
            };
            self.post(worker, Parcel::ClientAnswered(guest, ask, Box::new(answer)));
        }
        if asks_again {
            self.park(id);
        }
    }

    /// Who came back for a parked call is gone, which cancels it.
    pub(super) fn left(&mut self, id: ExchangeId, visitor: Home) {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        if matches!(exchange.sink, Sink::Visitor(own) if own == visitor) {
            // The visitor ends for a reason of its own, which it is not to learn from here.
            exchange.sink = Sink::Gone;
            self.give_up(id, Refusal::Cancelled, "its client is gone");
        }
    }

    /// Passes a call's answer on to the exchange in which its client came back.
    pub(super) fn answer_visitor(
        &mut self,
        id: ExchangeId,
        visitor: Home,
        text: &[u8],
        response: Response,
    ) {
        if let Some(exchange) = self.exchanges.remove(exchange_ticket(id)) {
            self.answer_home(visitor, text, response);
            self.close_exchange(exchange, crate::event::Outcome::Success, 0);
        }
    }

    /// Keeps an answer for which nobody is there until the client is back, or else that it was too much.
    pub(super) fn keep(&mut self, id: ExchangeId, text: &[u8], response: Response) {
        let unkept;
        let (text, response) = match self.parked_bytes + text.len() > PARKED_ANSWERS_BYTES_MAX {
            false => (text, response),
            true => {
                unkept = unkept_response();
                (&*unkept.0, unkept.1)
            }
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        self.parked_bytes += text.len();
        exchange.awaits = Awaits::Visitor(Box::new(Answered {
            exchange: id,
            text: text.to_vec(),
            id: response.id,
            body: response.body,
            era: response.era,
        }));
    }

    /// Has servers know that nobody will answer what they asked, and frees what the exchange held.
    pub(super) fn leave_behind(&mut self, exchange: &mut Exchange) {
        if let Some(inquiry) = exchange.inquiry.take() {
            self.forget_inquiry(*inquiry);
        }
        match &exchange.awaits {
            Awaits::Lane { turn, .. } => self.leave_queue(*turn),
            Awaits::Visitor(answered) => self.parked_bytes -= answered.text.len(),
            _ => {}
        }
        // Without keys the next call in the lane may be another client's.
        let left = match (exchange.left, &exchange.parked, &exchange.principal) {
            (Left::Clean, Some(_), None) => Left::Asked,
            (left, ..) => left,
        };
        let parked = exchange.parked.take();
        for ask in parked.into_iter().flat_map(|mut parked| parked.dropped()) {
            self.ask_undelivered(ask, "the call that it belongs to has ended");
        }
        if exchange.era() == Era::Modern
            && let Some(guest) = exchange.session.clone()
        {
            self.leave_lane(&guest, left);
        }
    }
}

/// What a state is good for: this principal's very request to this server.
fn binding(principal: Option<&str>, server: &str, outgoing: &Outgoing) -> Binding {
    let params = &outgoing.params;
    let whole = Span {
        start: 0,
        end: params.len(),
    };
    let whole = (!params.is_empty()).then_some(whole);
    let method = outgoing.method.name();
    Binding::of(principal, server, method, params, whole)
}

/// A client that is back.
#[derive(Debug)]
pub(super) struct Return {
    /// The call that it is back for.
    pub(super) call: Home,
    round: u32,
    responses: Vec<u8>,
}

/// Where id and result stand in a response that we wrote ourselves, with `0` for an id.
fn own_response(text: &[u8], result_bytes: usize) -> Response {
    let start = text.len() - 1 - result_bytes;
    Response {
        id: Span { start: 22, end: 23 },
        body: Ok(Span {
            start,
            end: start + result_bytes,
        }),
        era: Era::Modern,
    }
}

/// What is kept in the place of an answer that is too much to keep.
fn unkept_response() -> (Vec<u8>, Response) {
    let error = Refusal::Unkept.to_json(Era::Modern);
    let mut text = Vec::with_capacity(error.len() + 40);
    write::error(&mut text, b"0", &error);
    let response = own_response(&text, error.len());
    let (Ok(span) | Err(span)) = response.body;
    let body = Err(span);
    (text, Response { body, ..response })
}

#[cfg(test)]
mod tests;
