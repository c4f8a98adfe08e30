//! What a modern server wants to know before it answers a legacy client's call.
//!
//! A modern server ends the call with `input_required`; a legacy client knows nothing of that. So its call stays
//! open here: the client is asked in requests of ours, on the stream of its own call, and the server is sent
//! the call again with what the client answered, until it answers with a result.

use super::parcel::ClientAnswer;
use super::{Worker, exchange_ticket, wire_id};
use crate::config::limits::{CLIENT_REQUEST_TIMEOUT, ROUNDS_MAX};
use crate::id::ExchangeId;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::input::{self, Answer, InputRequired};
use crate::mcp::bridge::need::Need;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::time::Time;
use std::time::Duration;

/// How long a server that asks nothing, but wants the call made again, is left alone.
const PAUSE: Duration = Duration::from_millis(250);

/// One round of questions.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    round: u32,
    questions: Vec<Question>,
    /// The server's `requestState`, as it is written.
    state: Option<Vec<u8>>,
    /// When the call is made again though nothing was asked.
    again_at: Option<Time>,
    /// The progress that the client was told last.
    progress: f64,
    /// What the server's own count is ahead of by now: each time the call is made again it begins anew.
    progress_before: f64,
}

impl Inquiry {
    /// A server's progress as its client is told it, rising over all rounds; `None` if that is what it says.
    pub(super) fn risen(&mut self, text: &[u8]) -> Option<(Vec<u8>, Span)> {
        let params = Envelope::parse(text).ok()?.params?;
        let number = |span: Span| std::str::from_utf8(span.of(text)).ok()?.parse::<f64>().ok();
        // What is too large for a number here has no sum that could be written.
        let sum = |span| Some(self.progress_before + number(span)?).filter(|sum| sum.is_finite());
        let place = parse::member(text, params, "progress")?;
        let progress = sum(place)?;
        let of_total =
            parse::member(text, params, "total").and_then(|span| Some((span, sum(span)?)));
        self.progress = progress;
        if self.progress_before == 0.0 {
            return None;
        }
        let (risen, total);
        risen = progress.to_string();
        let mut changes = vec![(place, risen.as_bytes())];
        if let Some((span, value)) = of_total {
            total = value.to_string();
            changes.push((span, total.as_bytes()));
        }
        changes.sort_by_key(|(span, _)| span.start);
        let mut out = Vec::with_capacity(text.len() + 16);
        write::spliced(&mut out, text, &changes);
        let params = Envelope::parse(&out).ok()?.params?;
        let token = parse::member(&out, params, "progressToken")?;
        Some((out, token))
    }
}

#[derive(Debug)]
struct Question {
    key: String,
    method: Method,
    /// Our request's id.
    ask: u64,
    answer: Option<Said>,
}

/// What the client said.
#[derive(Debug)]
enum Said {
    Result(Vec<u8>),
    Nothing,
}

impl Worker {
    /// Asks an exchange's client what its server wants to know.
    pub(super) fn inquire(&mut self, id: ExchangeId, text: &[u8], result: Span) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let Some(server) = exchange.awaits.server().cloned() else {
            return;
        };
        let failed = |cause: &str| Refusal::Failed {
            server: server.name.clone(),
            cause: cause.into(),
        };
        let required = match InputRequired::parse(text, result) {
            Ok(required) => required,
            Err(fact) => return self.refuse(id, failed(&format!("it asked wrongly: {fact}"))),
        };
        let before = exchange.inquiry.take().unwrap_or_default();
        if before.round >= ROUNDS_MAX {
            let cause = format!("it answered with questions {ROUNDS_MAX} times in a row");
            return self.refuse(id, failed(&cause));
        }
        let state = required.state.map(|span| span.of(text).to_vec());
        let mut inquiry = Inquiry {
            round: before.round + 1,
            state,
            progress: before.progress,
            progress_before: before.progress,
            ..Inquiry::default()
        };
        let until = now + CLIENT_REQUEST_TIMEOUT + server.timeout;
        exchange.deadline = until.min(exchange.last_deadline);
        let session = exchange.session.clone();
        if required.requests.is_empty() {
            inquiry.again_at = Some(now + PAUSE);
            exchange.inquiry = Some(Box::new(inquiry));
            return self.wake_at(now + PAUSE);
        }
        let Some(session) = session else {
            return self.unasked(id, "the client has no session, so that it cannot be asked");
        };
        let mut messages = Vec::new();
        for (number, request) in required.requests.iter().enumerate() {
            let need = Need::of(request.method, text, request.params);
            if !need.is_some_and(|need| need.is_met_by(session.capabilities.text().as_bytes())) {
                return self.unasked(id, "the client has not declared that it can be asked this");
            }
            let name = format!("{}-{}-{}-{number}", session.key, id.slot, inquiry.round);
            let question = input::legacy_question(request, text, session.revision, &name);
            let Some((method, params)) = question else {
                return self.unasked(id, "the client's revision knows no such question");
            };
            messages.push((request.key.to_string(), method, params));
        }
        if messages.len() > self.asks.room(session.key) {
            return self.unasked(id, "the client has too many requests to answer");
        }
        for (key, method, params) in messages {
            let ask = self.ask_in_round(&session, id, inquiry.questions.len(), method);
            inquiry.questions.push(Question {
                key,
                method,
                ask,
                answer: None,
            });
            let mut message = Vec::with_capacity(params.len() + 96);
            write::request(&mut message, ask, method.name(), &params);
            if !self.stream_message(id, &message) {
                self.forget_inquiry(inquiry);
                return self.unasked(id, "its client takes no event stream");
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) {
            exchange.inquiry = Some(Box::new(inquiry));
        }
    }

    /// Ends a call whose server wants to know what its client cannot be asked, or does not say.
    fn unasked(&mut self, id: ExchangeId, why: &'static str) {
        let method = self
            .exchange(id)
            .map_or(Method::Other, |exchange| exchange.method);
        match input::unanswered(method, why) {
            Some(result) => self.finish(id, Ok(&result)),
            None => self.refuse(id, Refusal::ClientUnreached(why)),
        }
    }

    /// A client answered one question of a round, or will not.
    pub(super) fn inquiry_answered(
        &mut self,
        id: ExchangeId,
        number: usize,
        answer: Option<&ClientAnswer>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let Some(inquiry) = &mut exchange.inquiry else {
            return;
        };
        let result = answer.and_then(|answer| match Envelope::parse(&answer.text).ok()?.kind {
            Kind::Result { result, .. } => Some(result.of(&answer.text).to_vec()),
            _ => None,
        });
        if let Some(question) = inquiry.questions.get_mut(number) {
            question.answer = Some(result.map_or(Said::Nothing, Said::Result));
        }
        if inquiry
            .questions
            .iter()
            .all(|question| question.answer.is_some())
        {
            self.resume_call(id);
        }
    }

    /// Makes a call again with what its client answered.
    fn resume_call(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let Some(inquiry) = &mut exchange.inquiry else {
            return;
        };
        let questions = std::mem::take(&mut inquiry.questions);
        inquiry.again_at = None;
        let answers: Vec<(&str, Method, Answer<'_>)> = questions
            .iter()
            .map(|question| {
                let answer = match &question.answer {
                    Some(Said::Result(result)) => Answer::Result(result),
                    _ => Answer::Refused,
                };
                (&*question.key, question.method, answer)
            })
            .collect();
        let mut responses = Vec::new();
        if input::write_input_responses(&mut responses, &answers).is_err() {
            return self.unasked(id, "the client did not answer what the server asked");
        }
        let responses = (!answers.is_empty()).then_some(&*responses);
        let key = exchange.awaits.key().cloned();
        // A legacy server would take a call that is made again for another.
        let key = key.filter(|key| self.era_in(key) != Some(Era::Legacy));
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let Some(inquiry) = &exchange.inquiry else {
            return;
        };
        let (Some(original), Some(key)) = (&exchange.original, key) else {
            let server = exchange.awaits.server().map(|server| server.name.clone());
            let refusal = Refusal::Failed {
                server: server.unwrap_or_default(),
                cause: "it has changed its protocol revision meanwhile; try again".into(),
            };
            return self.refuse(id, refusal);
        };
        let mut outgoing = (**original).clone();
        outgoing.params =
            input::retry_params(&original.params, responses, inquiry.state.as_deref());
        outgoing.token = super::letter::token_of(&outgoing.params);
        outgoing.goes_on = true;
        if let Some(server) = exchange.awaits.server() {
            let until = self.now + server.timeout;
            exchange.deadline = until.min(exchange.last_deadline);
            self.wake_at(until);
        }
        self.send_in(id, key, outgoing);
    }

    /// Makes calls again whose servers asked for nothing else; when to look again.
    pub(super) fn sweep_inquiries(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut due = Vec::new();
        for (ticket, exchange) in self.exchanges.iter() {
            match exchange
                .inquiry
                .as_ref()
                .and_then(|inquiry| inquiry.again_at)
            {
                Some(at) if at <= now => due.push(super::exchange_id(ticket)),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        for id in due {
            self.resume_call(id);
        }
        next
    }

    /// Nobody wants to know any more.
    pub(super) fn forget_inquiry(&mut self, inquiry: Inquiry) {
        for question in inquiry.questions {
            if let (None, Some((_, ticket))) = (&question.answer, wire_id::unpack(question.ask)) {
                self.asks.remove(ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::CLIENT_REQUESTS_MAX;
    use crate::worker::scene::Scene;
    use serde_json::{Map, Value, json};

    #[test]
    fn session_is_not_asked_more_at_once_than_it_may_be() {
        let mut scene = Scene::new(Era::Modern);
        let fields = scene.opens_session();
        let mut asks = |questions: usize| {
            let params = json!({"name": "t", "arguments": {}});
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            let client = scene.post(&fields, &call);
            let (child, call) = scene.asked("tools/call");
            let form = json!({"type": "object", "properties": {}});
            let question = json!({"method": "elicitation/create",
                "params": {"message": "q", "requestedSchema": form}});
            let questions: Map<String, Value> = (0..questions)
                .map(|number| (number.to_string(), question.clone()))
                .collect();
            let required = json!({"resultType": "input_required", "inputRequests": questions});
            scene.answers(child, &call, &required);
            (scene.heard(client), scene.worker.asks.len())
        };
        assert_eq!(asks(CLIENT_REQUESTS_MAX - 1).1, CLIENT_REQUESTS_MAX - 1);
        let (heard, asked) = asks(2);
        assert!(heard.contains(r#""isError":true"#), "{heard}");
        assert!(!heard.contains("elicitation/create"), "{heard}");
        assert_eq!(asked, CLIENT_REQUESTS_MAX - 1);
        assert_eq!(asks(1).1, CLIENT_REQUESTS_MAX);
    }

    #[test]
    fn progress_without_a_sum_is_passed_on_as_it_is() {
        let check = |before: f64, progress: &str, expected: Option<&str>| {
            let mut inquiry = Inquiry {
                progress_before: before,
                ..Inquiry::default()
            };
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{progress}}}}}"#
            );
            let risen = inquiry.risen(text.as_bytes());
            let risen = risen.map(|(risen, _)| String::from_utf8(risen).unwrap());
            let expected = expected.map(|sum| text.replace(progress, sum));
            assert_eq!(risen, expected);
            assert!(inquiry.progress.is_finite());
        };
        check(2.0, "5.5", Some("7.5"));
        check(0.0, "5", None);
        check(2.0, "1e999", None);
        check(0.0, "1e999", None);
        check(f64::MAX, "1.7e308", None);
    }
}
