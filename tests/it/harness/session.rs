//! A client of MCP that has said `initialize` over HTTP.

use super::client::{Client, Era, Heard, Reply, check};
use super::events::Events;
use super::http::{Answer, Connection, Request, notification, request};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// One client's conversation. Its ids count from 0, as those of every SDK do.
pub(crate) struct Session {
    pub(crate) id: String,
    /// What `initialize` was answered.
    pub(crate) welcome: Value,
    address: SocketAddr,
    revision: String,
    key: Option<String>,
    next: AtomicU64,
}

impl Session {
    pub(crate) fn open(address: SocketAddr, revision: &str, capabilities: Value) -> Session {
        Session::open_as(address, revision, capabilities, None)
    }

    /// The same for a client that shows a key.
    pub(crate) fn open_as(
        address: SocketAddr,
        revision: &str,
        capabilities: Value,
        key: Option<&str>,
    ) -> Session {
        let mut hello = Request::post(&request(0, "initialize", hello(revision, capabilities)));
        if let Some(key) = key {
            hello = hello.field("x-api-key", key);
        }
        let answer = hello.send(address);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let welcome = answer.json()["result"].clone();
        let agreed = welcome["protocolVersion"].as_str().expect("a revision");
        let session = Session {
            id: answer.field("mcp-session-id").expect("a session").into(),
            address,
            revision: agreed.into(),
            welcome: welcome.clone(),
            key: key.map(String::from),
            next: AtomicU64::new(0),
        };
        session.tell("notifications/initialized", json!({}));
        session
    }

    /// A request to the endpoint with all that says whose it is.
    pub(crate) fn dress(&self, request: Request) -> Request {
        let request = request
            .field("mcp-session-id", &self.id)
            .field("mcp-protocol-version", &self.revision);
        match &self.key {
            Some(key) => request.field("x-api-key", key),
            None => request,
        }
    }

    pub(crate) fn post(&self, body: &Value) -> Answer {
        self.dress(Request::post(body)).send(self.address)
    }

    pub(crate) fn tell(&self, method: &str, params: Value) {
        let answer = self.post(&notification(method, params));
        assert_eq!((answer.status(), answer.text().as_str()), (202, ""));
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request and gives the whole of its answer, which must be the one to it.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        self.ask_while(method, params, |asked| panic!("nobody answers {asked}"))
            .0
    }

    /// The same with a word on the way: what a server asks is answered by `reply`. What was told before the
    /// answer comes with it.
    pub(crate) fn ask_while(
        &self,
        method: &str,
        params: Value,
        reply: impl Fn(&Value) -> Value,
    ) -> (Value, Vec<Value>) {
        let id = self.next_id();
        let body = request(id, method, params);
        let (head, mut connection) = self.dress(Request::post(&body)).begin(self.address);
        if head.field("content-type") == Some("application/json") {
            let mut body = Vec::new();
            let length = head.field("content-length").expect("JSON has a length");
            body.resize(length.parse().expect("a number"), 0);
            connection.fill(&mut body);
            let answer: Value = serde_json::from_slice(&body).expect("an answer is JSON");
            assert_eq!(answer["id"], id, "{answer}");
            return (answer, Vec::new());
        }
        let mut events = Events::of(&head, connection);
        let mut told = Vec::new();
        loop {
            let message = events.message().unwrap_or_else(|| {
                panic!("{method} {id}: the stream ends without an answer: {told:?}")
            });
            match (message.get("method"), message.get("id")) {
                (Some(_), Some(asked)) => {
                    let mut answer = json!({"jsonrpc": "2.0", "id": asked});
                    match reply(&message) {
                        Value::Object(members) if members.contains_key("error") => {
                            answer["error"] = members["error"].clone();
                        }
                        result => answer["result"] = result,
                    }
                    assert_eq!(self.post(&answer).status(), 202);
                }
                (Some(_), None) => told.push(message),
                (None, _) => {
                    assert_eq!(message["id"], id, "{message}");
                    return (message, told);
                }
            }
        }
    }

    /// Calls a tool; the whole answer.
    pub(crate) fn call(&self, name: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// Calls a tool; what it says.
    pub(crate) fn say(&self, name: &str, arguments: Value) -> String {
        text(&self.call(name, arguments))
    }

    /// Sends a request that is answered with a stream, and gives that.
    pub(crate) fn stream(&self, id: u64, method: &str, params: Value) -> Events {
        let (head, connection) = self
            .dress(Request::post(&request(id, method, params)))
            .begin(self.address);
        Events::of(&head, connection)
    }

    /// Opens the standing stream, from after that event if one is named.
    pub(crate) fn listen(&self, last: Option<&str>) -> Events {
        let mut request = self
            .dress(Request::get("/mcp"))
            .field("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.field("last-event-id", last);
        }
        let (head, connection) = request.begin(self.address);
        Events::of(&head, connection)
    }

    pub(crate) fn delete(&self) -> Answer {
        self.dress(Request::new("DELETE", "/mcp"))
            .send(self.address)
    }
}

/// The params of `initialize`.
pub(crate) fn hello(revision: &str, capabilities: Value) -> Value {
    json!({
        "protocolVersion": revision,
        "capabilities": capabilities,
        "clientInfo": {"name": "it", "version": "0"},
    })
}

/// What a tool's result says; panics on anything else.
pub(crate) fn text(answer: &Value) -> String {
    let said = answer["result"]["content"][0]["text"].as_str();
    said.unwrap_or_else(|| panic!("no text in {answer}")).into()
}

/// A session as any client: with its standing stream once it wants news.
pub(crate) struct Standing {
    pub(crate) session: Session,
    events: Option<Events>,
}

impl Standing {
    pub(crate) fn open(address: SocketAddr, capabilities: Value) -> Standing {
        Standing {
            session: Session::open(address, "2025-11-25", capabilities),
            events: None,
        }
    }
}

impl Client for Standing {
    fn era(&self) -> Era {
        Era::Legacy
    }

    fn heard(&mut self, method: &str, params: Value, reply: Reply<'_>) -> Heard {
        let asked = RefCell::new(Vec::new());
        let (answer, told) = self.session.ask_while(method, params.clone(), |question| {
            asked.borrow_mut().push(question.clone());
            reply(question)
        });
        let heard = Heard {
            answer,
            told,
            asked: asked.into_inner(),
        };
        check(Era::Legacy, method, &params, &heard);
        heard
    }

    fn set_level(&mut self, level: &str) {
        let heard = self.ask("logging/setLevel", json!({ "level": level }));
        assert_eq!(heard.answer["result"], json!({}));
    }

    fn watch(&mut self, wanted: Value) {
        let uris = wanted["resourceSubscriptions"].as_array().into_iter();
        for uri in uris.flatten() {
            let heard = self.ask("resources/subscribe", json!({ "uri": uri }));
            assert_eq!(heard.answer["result"], json!({}), "{uri}: {heard:?}");
        }
        let mut events = self.session.listen(None);
        assert!(events.next().is_some_and(|event| event.is_priming()));
        self.events = Some(events);
    }

    fn news(&mut self) -> Value {
        let events = self.events.as_mut().expect("it watches");
        events.message().expect("the stream goes on")
    }

    fn abandon(&mut self, method: &str, params: Value, ready: &dyn Fn()) {
        let id = self.session.next_id();
        let body = request(id, method, params);
        let mut connection = Connection::open(self.session.address);
        let dressed = self.session.dress(Request::post(&body));
        connection.write(&dressed.bytes(self.session.address));
        ready();
        let cancel = json!({"requestId": id, "reason": "enough"});
        self.session.tell("notifications/cancelled", cancel);
    }
}
