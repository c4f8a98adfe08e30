//! An event stream, read event by event.

use super::clock::{self, PATIENCE};
use super::http::{Connection, Head};
use serde_json::Value;
use std::collections::VecDeque;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) data: String,
}

impl Event {
    /// The message it carries.
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Whether it only gives an id to come back with.
    pub(crate) fn is_priming(&self) -> bool {
        self.data.is_empty()
    }
}

/// The events of one answer.
pub(crate) struct Events {
    connection: Connection,
    text: Vec<u8>,
    ready: VecDeque<Event>,
    /// The id of the last event that was taken.
    pub(crate) last: Option<String>,
}

impl Events {
    pub(crate) fn of(head: &Head, connection: Connection) -> Events {
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        assert_eq!(head.field("transfer-encoding"), Some("chunked"));
        Events {
            connection,
            text: Vec::new(),
            ready: VecDeque::new(),
            last: None,
        }
    }

    /// The next event; [`None`] when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        // Comments that keep a connection alive are no reason to wait for ever.
        let end = clock::now() + PATIENCE;
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.id.clone().or(self.last.take());
                return Some(event);
            }
            let more = self.connection.chunk(&mut self.text);
            while let Some(end) = memchr::memmem::find(&self.text, b"\n\n") {
                let text: Vec<u8> = self.text.drain(..end + 2).collect();
                self.ready.extend(parse(&text));
            }
            if !more && self.ready.is_empty() {
                return None;
            }
            assert!(clock::now() < end, "no event within {PATIENCE:?}");
        }
    }

    /// The next event that carries a message.
    pub(crate) fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.next()?;
            if !event.is_priming() {
                return Some(event.message());
            }
        }
    }

    /// The next message of that method; what comes before it is passed over.
    pub(crate) fn wait_for(&mut self, method: &str) -> Value {
        loop {
            let message = self
                .message()
                .unwrap_or_else(|| panic!("no {method} before the end"));
            if message["method"] == method {
                return message;
            }
        }
    }
}

fn parse(text: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(text).expect("an event is UTF-8");
    let mut event = Event::default();
    let mut says = false;
    for line in text.lines().filter(|line| !line.starts_with(':')) {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        says |= !line.is_empty();
        match name {
            "id" => event.id = Some(value.into()),
            "retry" => event.retry = Some(value.into()),
            "data" => event.data += value,
            "event" => event.kind = Some(value.into()),
            "data:" | "" => {}
            other => panic!("{other:?} is no field of an event"),
        }
    }
    says.then_some(event)
}
