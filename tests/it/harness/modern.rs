//! A client of the modern era over HTTP: every request says all there is to know.

use super::base64::header_value;
use super::client::{Client, Era, Heard, OWN, Reply, check};
use super::events::Events;
use super::http::{Answer, Connection, Head, Request, request};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const REVISION: &str = "2026-07-28";

/// A client. It has no conversation, only habits.
pub(crate) struct Modern {
    pub(crate) address: SocketAddr,
    pub(crate) capabilities: Value,
    pub(crate) key: Option<String>,
    /// Further members of `_meta`.
    pub(crate) meta: Value,
    next: AtomicU64,
    listening: Option<Events>,
}

/// The envelope of a request.
pub(crate) fn envelope(capabilities: &Value) -> Value {
    json!({
        format!("{OWN}protocolVersion"): REVISION,
        format!("{OWN}clientCapabilities"): capabilities,
        format!("{OWN}clientInfo"): {"name": "it", "version": "0"},
    })
}

/// The request that brings this message, with the header fields that repeat it.
pub(crate) fn dressed(body: &Value) -> Request {
    let method = body["method"].as_str().unwrap_or_default();
    let mut request = Request::post(body)
        .field("mcp-protocol-version", REVISION)
        .field("mcp-method", method);
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return request,
    };
    if let Some(name) = body["params"][member].as_str() {
        request = request.field("mcp-name", &header_value(name));
    }
    request
}

impl Modern {
    pub(crate) fn new(address: SocketAddr) -> Modern {
        Modern::declaring(address, json!({}))
    }

    pub(crate) fn declaring(address: SocketAddr, capabilities: Value) -> Modern {
        Modern {
            address,
            capabilities,
            key: None,
            meta: json!({}),
            next: AtomicU64::new(0),
            listening: None,
        }
    }

    pub(crate) fn with_key(mut self, key: &str) -> Modern {
        self.key = Some(key.into());
        self
    }

    /// A message with its envelope.
    pub(crate) fn message(&self, id: impl Into<Value>, method: &str, params: Value) -> Value {
        let mut params = params;
        let own = params["_meta"].take();
        let mut meta = envelope(&self.capabilities);
        for more in [&self.meta, &own] {
            for (key, value) in more.as_object().into_iter().flatten() {
                meta[key] = value.clone();
            }
        }
        params["_meta"] = meta;
        request(id, method, params)
    }

    pub(crate) fn dress(&self, body: &Value) -> Request {
        match &self.key {
            Some(key) => dressed(body).field("x-api-key", key),
            None => dressed(body),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends one request and reads what comes of it: the status, and all that is said.
    pub(crate) fn send(&self, body: &Value) -> (u16, Vec<Value>) {
        let (head, connection) = self.dress(body).begin(self.address);
        read(&head, connection)
    }

    /// One round: the answer, and what was told before it.
    pub(crate) fn round(&self, method: &str, params: Value) -> (u16, Value, Vec<Value>) {
        let id = self.next_id();
        let (status, mut said) = self.send(&self.message(id, method, params));
        let answer = said.pop().expect("an answer");
        assert_eq!(answer["id"], id, "{answer}");
        for told in &said {
            assert!(told.get("id").is_none(), "a request to a client: {told}");
        }
        (status, answer, said)
    }

    /// Opens a stream of news.
    pub(crate) fn listen(&self, id: impl Into<Value>, wanted: Value) -> Events {
        let params = json!({ "notifications": wanted });
        let body = self.message(id, "subscriptions/listen", params);
        let (head, connection) = self.dress(&body).begin(self.address);
        assert_eq!(head.field("mcp-session-id"), None);
        Events::of(&head, connection)
    }

    /// Sends a request and gives the connection on which it waits.
    pub(crate) fn begin(&self, method: &str, params: Value) -> Connection {
        let body = self.message(self.next_id(), method, params);
        let mut connection = Connection::open(self.address);
        connection.write(&self.dress(&body).bytes(self.address));
        connection
    }
}

/// Reads all that is said in an answer, whatever its kind.
pub(crate) fn read(head: &Head, mut connection: Connection) -> (u16, Vec<Value>) {
    assert_eq!(head.field("mcp-session-id"), None, "{head:?}");
    if head.field("content-type") == Some("text/event-stream") {
        let mut events = Events::of(head, connection);
        let mut said = Vec::new();
        while let Some(event) = events.next() {
            assert_eq!(event.id, None, "the modern era has no ids of events");
            assert!(!event.is_priming(), "the modern era does not come back");
            said.push(event.message());
        }
        return (head.status, said);
    }
    let body = connection.rest_of(head);
    let answer = Answer {
        head: head.clone(),
        body,
    };
    (head.status, vec![answer.json()])
}

impl Client for Modern {
    fn era(&self) -> Era {
        Era::Modern
    }

    fn heard(&mut self, method: &str, params: Value, reply: Reply<'_>) -> Heard {
        rounds(method, params, reply, |params| {
            let (_, answer, told) = self.round(method, params.clone());
            (answer, told)
        })
    }

    fn set_level(&mut self, level: &str) {
        self.meta[format!("{OWN}logLevel")] = level.into();
    }

    fn watch(&mut self, wanted: Value) {
        let mut events = self.listen(self.next_id(), wanted.clone());
        let first = events.message().expect("an acknowledgement");
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["notifications"], wanted);
        self.listening = Some(events);
    }

    fn news(&mut self) -> Value {
        let events = self.listening.as_mut().expect("it watches");
        events.message().expect("the stream goes on")
    }

    fn abandon(&mut self, method: &str, params: Value, ready: &dyn Fn()) {
        let connection = self.begin(method, params);
        ready();
        drop(connection);
    }
}

/// Goes through as many rounds as a modern server wants; `round` sends params and gives the answer with what
/// was told before it.
pub(crate) fn rounds(
    method: &str,
    params: Value,
    reply: Reply<'_>,
    mut round: impl FnMut(&Value) -> (Value, Vec<Value>),
) -> Heard {
    let mut heard = Heard {
        answer: Value::Null,
        told: Vec::new(),
        asked: Vec::new(),
    };
    let mut current = params.clone();
    loop {
        let (answer, told) = round(&current);
        // Each round is a request of its own, whose progress begins anew.
        heard.answer = answer;
        heard.told = told;
        check(Era::Modern, method, &current, &heard);
        let result = &heard.answer["result"];
        if result["resultType"] != "input_required" {
            return heard;
        }
        let (requests, state) = (&result["inputRequests"], result.get("requestState"));
        assert!(requests.is_object() || state.is_some(), "{result}");
        let mut responses = json!({});
        for (key, asked) in requests.as_object().into_iter().flatten() {
            assert!(asked.get("id").is_none(), "{asked}");
            assert!(asked["params"].get("elicitationId").is_none(), "{asked}");
            responses[key] = reply(asked);
            heard.asked.push(asked.clone());
        }
        current = params.clone();
        current["inputResponses"] = responses;
        if let Some(state) = state {
            assert!(state.is_string(), "{result}");
            current["requestState"] = state.clone();
        }
    }
}
