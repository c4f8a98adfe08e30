//! A client of the HTTP+SSE transport of 2024-11-05: one stream, and posts to the endpoint that it names.

use super::events::Events;
use super::http::{Answer, Request, notification, request};
use super::session::hello;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Such a client.
pub(crate) struct SseClient {
    pub(crate) events: Events,
    /// Where its messages go.
    pub(crate) endpoint: String,
    address: SocketAddr,
    key: Option<String>,
}

impl SseClient {
    /// Opens the stream, and reads the endpoint that it begins with.
    pub(crate) fn connect(address: SocketAddr, key: Option<&str>) -> SseClient {
        let mut request = Request::get("/sse").field("accept", "text/event-stream");
        if let Some(key) = key {
            request = request.field("x-api-key", key);
        }
        let (head, connection) = request.begin(address);
        let mut events = Events::of(&head, connection);
        let first = events.next().expect("an event");
        assert_eq!(first.kind.as_deref(), Some("endpoint"), "{first:?}");
        SseClient {
            events,
            endpoint: first.data,
            address,
            key: key.map(String::from),
        }
    }

    /// The same, and says `initialize`; what it was answered.
    pub(crate) fn open(address: SocketAddr, revision: &str, capabilities: Value) -> (Self, Value) {
        let mut client = SseClient::connect(address, None);
        let welcome = client.ask("hello", "initialize", hello(revision, capabilities));
        client.tell("notifications/initialized", json!({}));
        (client, welcome["result"].clone())
    }

    /// Posts a body to the endpoint.
    pub(crate) fn post_bytes(&self, body: Vec<u8>) -> Answer {
        let mut request = Request::post_bytes(body)
            .at(&self.endpoint)
            .field("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.field("x-api-key", key);
        }
        request.send(self.address)
    }

    /// Posts a message, which must be taken.
    pub(crate) fn say(&self, message: &Value) {
        let answer = self.post_bytes(message.to_string().into_bytes());
        assert_eq!((answer.status(), answer.text().as_str()), (202, ""));
    }

    pub(crate) fn tell(&self, method: &str, params: Value) {
        self.say(&notification(method, params));
    }

    /// Sends a request and waits for its answer; what is told before is passed over.
    pub(crate) fn ask(&mut self, id: impl Into<Value>, method: &str, params: Value) -> Value {
        let id = id.into();
        self.say(&request(id.clone(), method, params));
        self.answer(id)
    }

    /// The answer to the request of that id; what is told before is passed over.
    pub(crate) fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        loop {
            let message = self.next();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The next message, which is an event like any other client's, without an id.
    pub(crate) fn next(&mut self) -> Value {
        let event = self.events.next().expect("the stream goes on");
        assert_eq!((event.kind.as_deref(), &event.id), (Some("message"), &None));
        event.message()
    }

    pub(crate) fn call(&mut self, id: u64, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        self.ask(id, "tools/call", params)
    }
}
