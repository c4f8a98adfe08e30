//! A client of either era in front of `switchbox stdio`.

use super::client::OWN;
use super::client::{Client, Era, Heard, Reply, check};
use super::front::Front;
use super::http::{notification, request};
use super::modern::{envelope, rounds};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// One client, and the switchbox that it started.
pub(crate) struct Pipe {
    pub(crate) front: Front,
    era: Era,
    capabilities: Value,
    level: Option<String>,
    next: u64,
    listening: Value,
    news: VecDeque<Value>,
    /// Tokens of what was cancelled: progress that was on its way is not held against anyone.
    abandoned: Vec<Value>,
}

impl Pipe {
    pub(crate) fn open(servers: &Value, era: Era, capabilities: Value) -> Pipe {
        let mut pipe = Pipe {
            front: Front::start(servers.clone()),
            era,
            capabilities,
            level: None,
            next: 0,
            listening: Value::Null,
            news: VecDeque::new(),
            abandoned: Vec::new(),
        };
        if era == Era::Legacy {
            pipe.front.open(pipe.capabilities.clone());
        }
        let names = servers.as_object().expect("servers by name");
        super::clock::holds("all servers are listed", || {
            let listed = pipe.ask("tools/list", json!({})).answer.to_string();
            names
                .keys()
                .all(|name| listed.contains(&format!("{name}__")))
        });
        pipe
    }

    /// A request with its envelope, if the era has one.
    pub(crate) fn message(&self, id: impl Into<Value>, method: &str, params: &Value) -> Value {
        let mut params = params.clone();
        if self.era == Era::Modern {
            let own = params["_meta"].take();
            let mut meta = envelope(&self.capabilities);
            if let Some(level) = &self.level {
                meta[format!("{OWN}logLevel")] = level.as_str().into();
            }
            for (key, value) in own.as_object().into_iter().flatten() {
                meta[key] = value.clone();
            }
            params["_meta"] = meta;
        }
        request(id, method, params)
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Sends a request and gives its answer; what belongs to no request is kept for later.
    fn round(&mut self, method: &str, params: &Value, reply: Reply<'_>) -> Heard {
        let id = self.next_id();
        self.front.say(&self.message(id, method, params));
        let mut heard = Heard {
            answer: Value::Null,
            told: Vec::new(),
            asked: Vec::new(),
        };
        loop {
            let message = self.front.next();
            match (message["method"].as_str(), message.get("id")) {
                (None, _) => {
                    assert_eq!(message["id"], id, "{message}");
                    heard.answer = message;
                    return heard;
                }
                (Some(_), Some(asked)) => {
                    assert_eq!(self.era, Era::Legacy, "a request to a client: {message}");
                    let answer = match reply(&message) {
                        Value::Object(own) if own.contains_key("error") => {
                            json!({"jsonrpc": "2.0", "id": asked, "error": own["error"]})
                        }
                        result => json!({"jsonrpc": "2.0", "id": asked, "result": result}),
                    };
                    self.front.say(&answer);
                    heard.asked.push(message);
                }
                (Some("notifications/progress" | "notifications/message"), None) => {
                    let token = &message["params"]["progressToken"];
                    if !self.abandoned.contains(token) {
                        heard.told.push(message);
                    }
                }
                (Some(_), None) => self.news.push_back(message),
            }
        }
    }
}

impl Client for Pipe {
    fn era(&self) -> Era {
        self.era
    }

    fn heard(&mut self, method: &str, params: Value, reply: Reply<'_>) -> Heard {
        if self.era == Era::Legacy {
            let heard = self.round(method, &params, reply);
            check(Era::Legacy, method, &params, &heard);
            return heard;
        }
        rounds(method, params, reply, |params| {
            let heard = self.round(method, params, &|asked| panic!("nobody answers {asked}"));
            (heard.answer, heard.told)
        })
    }

    fn set_level(&mut self, level: &str) {
        match self.era {
            Era::Legacy => {
                let heard = self.ask("logging/setLevel", json!({ "level": level }));
                assert_eq!(heard.answer["result"], json!({}));
            }
            Era::Modern => self.level = Some(level.into()),
        }
    }

    fn watch(&mut self, wanted: Value) {
        if self.era == Era::Legacy {
            for uri in wanted["resourceSubscriptions"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let heard = self.ask("resources/subscribe", json!({ "uri": uri }));
                assert_eq!(heard.answer["result"], json!({}), "{uri}");
            }
            return;
        }
        let id = format!("listen-{}", self.next_id());
        let params = json!({ "notifications": wanted });
        let message = self.message(id.as_str(), "subscriptions/listen", &params);
        self.listening = id.into();
        self.front.say(&message);
        let first = self.news();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["notifications"], wanted);
    }

    fn news(&mut self) -> Value {
        loop {
            let news = match self.news.pop_front() {
                Some(news) => news,
                None => self.front.next(),
            };
            let tag = &news["params"]["_meta"][format!("{OWN}subscriptionId")];
            // Streams that it has opened before go on as well.
            if *tag == self.listening {
                return news;
            }
            let earlier = tag.as_str().is_some_and(|tag| tag.starts_with("listen-"));
            assert!(self.era == Era::Modern && earlier, "{news}");
        }
    }

    fn abandon(&mut self, method: &str, params: Value, ready: &dyn Fn()) {
        let id = self.next_id();
        self.front.say(&self.message(id, method, &params));
        let token = &params["_meta"]["progressToken"];
        if !token.is_null() {
            self.abandoned.push(token.clone());
        }
        ready();
        let cancel = json!({"requestId": id, "reason": "enough"});
        self.front
            .say(&notification("notifications/cancelled", cancel));
    }
}
