//! What only clients of older revisions do: the HTTP+SSE transport of 2024-11-05, and batches of 2025-03-26.
//!
//! An HTTP+SSE client posts its messages wherever chance has it, and hears everything on one stream; what
//! becomes of that stream becomes of its session.

use crate::client::{Want, What};
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

/// How far an HTTP+SSE client has come.
#[derive(Default)]
pub(crate) struct Sse {
    /// The connection of its stream.
    stream: Option<u32>,
    /// Where its messages go.
    pub(crate) endpoint: Option<String>,
}

impl World {
    // ── HTTP+SSE ─────────────────────────────────────────────────────────────────────────────────

    /// Opens the stream; `initialize` follows when the endpoint is known.
    pub(crate) fn open_front(&mut self, c: usize) {
        let own = self.clients[c].sse.as_ref();
        if own.is_some_and(|own| own.stream.is_some()) {
            return;
        }
        self.clients[c].opening = true;
        let stream = self.http(c, "GET", "/sse", "", None, Want::Front);
        if let Some(own) = &mut self.clients[c].sse {
            own.stream = Some(stream);
        }
    }

    pub(crate) fn endpoint_heard(&mut self, c: usize, path: String) {
        self.count("endpoint heard");
        let own = self.clients[c].sse.as_mut();
        let own = own.expect("only these clients ask for endpoints");
        let id = path.strip_prefix("/messages?sessionId=");
        assert!(id.is_some_and(|id| id.len() == 32), "{path}");
        assert!(
            own.endpoint.replace(path).is_none(),
            "c{c} was sent two endpoints"
        );
        self.introduce(c);
    }

    /// Posts a message; what it asks is answered on the stream.
    pub(crate) fn post_to_endpoint(&mut self, c: usize, message: &Value, want: Want) {
        let asked = self.asked_of(c, want);
        let own = self.clients[c].sse.as_ref();
        let place = own.and_then(|own| own.stream.zip(own.endpoint.clone()));
        let Some((stream, endpoint)) = place else {
            for ask in asked {
                self.clients[c].asked[ask].lost = true;
            }
            return;
        };
        let want = match want {
            Want::Asked(ask) => {
                self.clients[c].batches.push(vec![ask]);
                Want::Posted(self.clients[c].batches.len() - 1)
            }
            Want::Batch(batch) => {
                self.count("batch on HTTP+SSE");
                Want::Posted(batch)
            }
            other => other,
        };
        if let Some(connection) = self.clients[c].connections.get_mut(&stream) {
            connection.wants.extend(asked.into_iter().map(Want::Asked));
        }
        self.http(c, "POST", &endpoint, "", Some(message), want);
    }

    pub(crate) fn is_front(&self, c: usize, number: u32) -> bool {
        let own = self.clients[c].sse.as_ref();
        own.is_some_and(|own| own.stream == Some(number))
    }

    /// The stream is gone, and with it the session.
    pub(crate) fn front_lost(&mut self, c: usize) {
        self.count("HTTP+SSE stream lost");
        let client = &mut self.clients[c];
        client.sse = Some(Sse::default());
        client.session = None;
        client.opening = false;
        client.life += 1;
        client.next_id = 0;
    }

    /// Closes the stream.
    pub(crate) fn drop_front(&mut self, c: usize) {
        let stream = self.clients[c].sse.as_ref().and_then(|own| own.stream);
        let Some(connection) = stream.and_then(|stream| self.clients[c].connections.get(&stream))
        else {
            return;
        };
        let place = connection.place;
        if let Some(stream) = stream {
            self.lose(c, stream);
        }
        match self.chance.one_in(2) {
            true => self.end(place, None),
            false => self.reset(place),
        }
    }

    // ── batches ──────────────────────────────────────────────────────────────────────────────────

    /// Calls several tools at once.
    pub(crate) fn call_in_batch(&mut self, c: usize) {
        let (mut asked, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..self.chance.between(1, 4) {
            let server = self.chance.below(self.specs.len());
            let params = self.call_params(c, server, "tools/call");
            let (ask, message) = self.request(c, What::Call(server), "tools/call", params);
            asked.push(ask);
            messages.push(message);
        }
        self.clients[c].batches.push(asked);
        let batch = self.clients[c].batches.len() - 1;
        self.post_message(c, &Value::from(messages), Want::Batch(batch));
    }

    /// The requests that are answered when this is.
    pub(crate) fn asked_of(&self, c: usize, want: Want) -> Vec<usize> {
        match want {
            Want::Asked(ask) => vec![ask],
            Want::Batch(batch) => self.clients[c].batches[batch].clone(),
            _ => Vec::new(),
        }
    }

    /// An array of answers arrived, or one message of a batch's stream.
    pub(crate) fn batch_heard(
        &mut self,
        c: usize,
        number: u32,
        batch: usize,
        message: &Value,
        at: Option<String>,
    ) {
        assert!(at.is_none(), "a batch's stream cannot be resumed");
        let asked = self.clients[c].batches[batch].clone();
        let Some(answers) = message.as_array() else {
            // What is refused as a whole is refused for all.
            if message["id"].is_null() && message.get("error").is_some() {
                return asked
                    .iter()
                    .for_each(|ask| self.message(c, number, Want::Asked(*ask), message, None));
            }
            self.count("batch answered by events");
            return self.batch_told(c, number, &asked, message);
        };
        self.count("batch answered by an array");
        let ids: BTreeSet<String> = answers.iter().map(|own| own["id"].to_string()).collect();
        assert_eq!(ids.len(), answers.len(), "an id answered twice: {message}");
        for answer in answers {
            assert!(answer.get("method").is_none(), "no answer: {answer}");
            self.batch_told(c, number, &asked, answer);
        }
    }

    fn batch_told(&mut self, c: usize, number: u32, asked: &[usize], message: &Value) {
        let all = &self.clients[c].asked;
        let token = message.pointer("/params/progressToken");
        let token = token.and_then(Value::as_u64);
        let about = asked.iter().find(|ask| match message.get("method") {
            None => message["id"].as_u64() == Some(all[**ask].id),
            Some(_) if token.is_some() => token == all[**ask].token,
            Some(_) => all[**ask].answer.is_none(),
        });
        let about = about.unwrap_or_else(|| panic!("c{c} hears of no request of its: {message}"));
        self.message(c, number, Want::Asked(*about), message, None);
    }

    pub(crate) fn batch_lost(&mut self, c: usize, batch: usize) {
        for ask in self.clients[c].batches[batch].clone() {
            let asked = &mut self.clients[c].asked[ask];
            asked.lost = true;
            // Nobody knows whether it was taken.
            if asked.what == What::Initialize && asked.answer.is_none() {
                self.drop_front(c);
            }
        }
    }

    pub(crate) fn check_batch(&self, c: usize, batch: usize) {
        for ask in &self.clients[c].batches[batch] {
            let asked = &self.clients[c].asked[*ask];
            assert!(
                asked.answer.is_some() || asked.cancelled || asked.lost,
                "{} ended in its batch without an answer",
                asked.tag
            );
        }
    }
}
