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
mod tests {
    use super::*;
    use crate::config::limits::LANES_MAX;
    use crate::worker::effect::Input;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn progress(call: &Value, progress: u32) -> Value {
        let params = json!({"progressToken": call["params"]["_meta"]["progressToken"], "progress": progress});
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    }

    /// A call that wants to hear of its progress and was asked something; its child, what that was sent, the state.
    fn parked_with_progress(scene: &mut Scene) -> (crate::id::ConnectionId, Value, Value) {
        let params = json!({"name": "t", "arguments": {}, "_meta": {"progressToken": "p"}});
        let client = scene.modern("tools/call", params);
        let (child, call) = scene.asked("tools/call");
        scene.elicits(child, 7);
        scene.pass(Duration::from_millis(40));
        let state = scene.answer(client)["result"]["requestState"].clone();
        (child, call, state)
    }

    /// Has a client come back with its answer to that question, and wanting to hear of progress.
    fn comes_back(scene: &mut Scene, state: &Value, question: u32) -> crate::id::ConnectionId {
        let answers =
            json!({format!("elicitation-{question}"): {"action": "accept", "content": {}}});
        let params = json!({
            "name": "t", "arguments": {}, "requestState": state, "inputResponses": answers,
            "_meta": {"progressToken": "p"},
        });
        scene.modern("tools/call", params)
    }

    #[test]
    fn progress_does_not_shorten_the_time_that_a_client_has_to_answer() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = parked_with_progress(&mut scene);
        scene.says(child, &progress(&call, 1));
        scene.pass(Duration::from_secs(200));
        scene.returns("t", &state);
        let answered = scene.lines(child);
        assert!(answered.iter().any(|line| line["id"] == 7), "{answered:?}");
    }

    #[test]
    fn progress_keeps_a_call_going_whose_client_is_back() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = parked_with_progress(&mut scene);
        let client = scene.returns("t", &state);
        for step in 1..4 {
            scene.pass(Duration::from_secs(40));
            scene.says(child, &progress(&call, step));
        }
        scene.answers(child, &call, &json!({"content": []}));
        let heard = scene.heard(client);
        assert!(heard.contains(r#""resultType":"complete""#), "{heard}");
    }

    #[test]
    fn call_that_is_asked_something_while_draining_is_given_up() {
        let mut scene = Scene::new(Era::Legacy);
        let client = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
        let (child, _) = scene.asked("tools/call");
        scene.handle(Input::Drain);
        scene.elicits(child, 7);
        scene.pass(Duration::from_millis(40));
        let answer = scene.answer(client);
        assert!(answer["error"]["code"].is_i64(), "{answer}");
        assert!(scene.worker.is_drained());
    }

    #[test]
    fn nothing_is_left_of_questions_that_the_server_did_not_wait_for() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        scene.answers(child, &call, &json!({"content": []}));
        let client = scene.returns("t", &state);
        assert_eq!(scene.answer(client)["result"]["resultType"], "complete");
        assert_eq!(scene.worker.asks.len(), 0);
    }

    #[test]
    fn state_is_good_once_and_for_the_very_request() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        let other = scene.returns("u", &state);
        assert_eq!(scene.answer(other)["error"]["code"], -32602);
        let first = scene.returns("t", &state);
        let second = scene.returns("t", &state);
        assert_eq!(scene.answer(second)["error"]["code"], -32602);
        scene.answers(child, &call, &json!({"content": []}));
        assert_eq!(scene.answer(first)["result"]["resultType"], "complete");
    }

    #[test]
    fn state_of_ours_is_ours_to_judge_though_its_server_became_modern() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        scene.is_found_to_speak(Era::Modern);
        let other = scene.returns("u", &state);
        assert_eq!(scene.answer(other)["error"]["code"], -32602);
        // The call itself goes on where it was made.
        let client = scene.returns("t", &state);
        scene.answers(child, &call, &json!({"content": []}));
        assert_eq!(scene.answer(client)["result"]["resultType"], "complete");
        let late = scene.returns("t", &state);
        assert_eq!(scene.answer(late)["error"]["code"], -32602);
        scene.pass(PARKED_TIMEOUT);
        let late = scene.returns("t", &state);
        let error = scene.answer(late)["error"].clone();
        assert_eq!(error["code"], -32602);
        assert!(
            error["message"]
                .to_string()
                .contains("requestState has expired")
        );
    }

    #[test]
    fn call_whose_client_never_comes_back_is_given_up_in_time() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, _, state) = scene.parks("t");
        scene.pass(PARKED_TIMEOUT - Duration::from_secs(1));
        assert_eq!(scene.worker.census().parked, 1);
        scene.pass(Duration::from_secs(1));
        let census = scene.worker.census();
        assert_eq!((census.parked, census.exchanges, census.asks), (0, 0, 0));
        // What the server asked is not left open, and nobody else is put where it may still be at work.
        let told = scene.lines(child);
        assert!(
            told.iter()
                .any(|line| line["id"] == 7 && line["error"].is_object())
        );
        assert!(scene.closed.contains(&child), "{told:?}");
        let late = scene.returns("t", &state);
        assert_eq!(scene.answer(late)["error"]["code"], -32602);
    }

    #[test]
    fn call_past_the_bound_is_refused_and_displaces_none() {
        let servers = PARKED_MAX / LANES_MAX;
        let mut scene = Scene::with_servers(servers + 1);
        let states: Vec<Value> = (0..PARKED_MAX)
            .map(|n| scene.parks(&format!("s{}__t", n % servers)).2)
            .collect();
        let tool = format!("s{servers}__t");
        let client = scene.modern("tools/call", json!({"name": tool, "arguments": {}}));
        let (child, _) = scene.asked("tools/call");
        scene.elicits(child, 7);
        scene.pass(Duration::from_millis(40));
        let heard = scene.heard(client);
        assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
        assert!(heard.contains("too many calls wait"), "{heard}");
        assert_eq!(scene.worker.census().parked, PARKED_MAX);
        // There is room for it as soon as one of the others is back.
        scene.returns("s0__t", &states[0]);
        scene.parks(&tool);
        assert_eq!(scene.worker.census().parked, PARKED_MAX);
    }

    #[test]
    fn answer_past_what_is_kept_for_parked_calls_is_not_kept() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        scene.worker.parked_bytes = PARKED_ANSWERS_BYTES_MAX;
        scene.answers(child, &call, &json!({"content": []}));
        let client = scene.returns("t", &state);
        let error = scene.answer(client)["error"].clone();
        assert_eq!(error["code"], -32603);
        assert!(error["message"].to_string().contains("too much to keep"));
        assert_eq!(scene.worker.parked_bytes, PARKED_ANSWERS_BYTES_MAX);
    }

    #[test]
    fn answers_kept_are_forgotten_with_their_calls() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, _) = scene.parks("t");
        scene.answers(child, &call, &json!({"content": []}));
        assert!(scene.worker.census().parked_bytes > 0);
        scene.pass(PARKED_TIMEOUT);
        assert_eq!(scene.worker.census().parked_bytes, 0);
    }

    #[test]
    fn questions_of_a_round_are_forgotten_with_their_call() {
        let mut scene = Scene::new(Era::Modern);
        let fields = scene.opens_session();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "t", "arguments": {}}});
        scene.post(&fields, &call);
        let (child, call) = scene.asked("tools/call");
        let question = json!({"method": "elicitation/create", "params": {
            "message": "q", "requestedSchema": {"type": "object", "properties": {}},
        }});
        let required = json!({"resultType": "input_required", "inputRequests": {"k": question}});
        scene.answers(child, &call, &required);
        assert_eq!(scene.worker.asks.len(), 1);
        let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": 1}});
        scene.post(&fields, &cancelled);
        assert_eq!(scene.worker.asks.len(), 0);
    }

    #[test]
    fn call_that_is_parked_is_asked_more_though_no_other_may_be() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, _, state) = scene.parks("t");
        scene.worker.lanes.parked = PARKED_MAX;
        scene.elicits(child, 8);
        scene.pass(Duration::from_millis(40));
        assert_eq!(scene.worker.census().parked, 1);
        scene.returns("t", &state);
        let answered = scene.lines(child);
        assert!(answered.iter().any(|line| line["id"] == 7), "{answered:?}");
    }

    #[test]
    fn lane_is_kept_though_a_client_that_is_back_cannot_be_asked_more() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = scene.parks("t");
        let client = scene.returns("t", &state);
        let params = json!({"messages": [], "maxTokens": 1});
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "id": 8, "method": "sampling/createMessage", "params": params}),
        );
        let error = scene.answer(client)["error"].clone();
        assert!(
            error["data"]["requiredCapabilities"]["sampling"].is_object(),
            "{error}"
        );
        scene.answers(child, &call, &json!({"content": []}));
        assert!(!scene.closed.contains(&child));
        assert_eq!(scene.worker.census().lanes, 0);
    }

    #[test]
    fn progress_does_not_shorten_the_time_of_a_call_whose_client_is_back_late() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, call, state) = parked_with_progress(&mut scene);
        let wait = PARKED_TIMEOUT - Duration::from_secs(10);
        scene.pass(wait);
        let client = comes_back(&mut scene, &state, 1);
        scene.elicits(child, 8);
        scene.pass(Duration::from_millis(40));
        let state = scene.answer(client)["result"]["requestState"].clone();
        scene.pass(wait);
        let client = comes_back(&mut scene, &state, 2);
        scene.pass(Duration::from_secs(25));
        scene.says(child, &progress(&call, 1));
        scene.pass(Duration::from_secs(25));
        scene.answers(child, &call, &json!({"content": []}));
        let heard = scene.heard(client);
        assert!(heard.contains(r#""resultType":"complete""#), "{heard}");
    }

    #[test]
    fn question_does_not_keep_a_call_that_nobody_can_come_back_for() {
        let mut scene = Scene::new(Era::Legacy);
        let (child, ..) = scene.parks("t");
        scene.pass(PARKED_TIMEOUT - Duration::from_secs(10));
        scene.elicits(child, 8);
        scene.pass(Duration::from_secs(10));
        assert_eq!(scene.worker.census().exchanges, 0);
    }
}
