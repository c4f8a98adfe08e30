//! The servers behind the gateway: what they answer, what else they say, and how they go wrong.
//!
//! A brain is one conversation as the server sees it: a child, or a session of an HTTP server. It marks
//! everything that is about one client with that client's tag, and checks that what comes back carries it.

use crate::feeds::Older;
use crate::world::{Action, Peer, Place, Plant, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchbox::time::Time;

/// What a server is like.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) http: bool,
    /// HTTP: only knows HTTP+SSE.
    pub(crate) older: Older,
    pub(crate) per_session: bool,
    /// HTTP: gives session ids.
    pub(crate) sessions: bool,
    /// HTTP: has a standing stream.
    pub(crate) standing: bool,
    /// HTTP: gives ids to the events of its streams.
    pub(crate) resumable: bool,
    /// One in so many things goes wrong.
    pub(crate) faults: usize,
    /// Nobody can connect until then.
    pub(crate) down_until: Time,
}

/// A conversation as the server sees it.
pub(crate) struct Brain {
    pub(crate) server: usize,
    pub(crate) alive: bool,
    /// A child's wire.
    pub(crate) place: Option<Place>,
    /// Bytes of a line that is not complete.
    line: Vec<u8>,
    /// An HTTP server's standing stream.
    pub(crate) standing: Option<usize>,
    /// Whether that is all there is: HTTP+SSE.
    pub(crate) fed: bool,
    capabilities: Value,
    /// Whose calls came here.
    owners: BTreeSet<String>,
    /// Who answered `roots/list`.
    roots_of: Option<String>,
    pub(crate) calls: BTreeMap<u64, Call>,
    asks: BTreeMap<u64, Ask>,
    next_ask: u64,
    subscribed: BTreeSet<String>,
    generation: u32,
}

/// A tool call as its server sees it.
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) tag: String,
    token: Option<Value>,
    /// The HTTP connection on which it is answered.
    pub(crate) web: Option<usize>,
    pub(crate) streams: bool,
    pub(crate) answered: bool,
    /// What was said on its stream, for who comes back for it.
    pub(crate) said: Vec<Value>,
    cancelled: bool,
    steps: u32,
}

struct Ask {
    tag: Option<String>,
    call: Option<u64>,
    method: &'static str,
}

/// Something a brain is about to do.
pub(crate) enum Doing {
    Reply(Option<usize>, Value),
    Progress(u64),
    Log(u64),
    Ask(u64),
    Answer(u64),
    Crash,
    Update,
    Change,
    AskRoots,
}

/// Whose a tag is.
pub(crate) fn owner(tag: &str) -> &str {
    tag.split(':').next().unwrap_or(tag)
}

impl World {
    pub(crate) fn server_named(&self, name: &str) -> usize {
        let found = self.specs.iter().position(|spec| spec.name == name);
        found.expect("only servers of the configuration are asked for")
    }

    pub(crate) fn new_brain(&mut self, server: usize, place: Option<Place>) -> usize {
        self.brains.push(Brain {
            server,
            alive: true,
            place,
            line: Vec::new(),
            standing: None,
            fed: false,
            capabilities: Value::Null,
            owners: BTreeSet::new(),
            roots_of: None,
            calls: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            subscribed: BTreeSet::new(),
            generation: 0,
        });
        self.brains.len() - 1
    }

    pub(crate) fn spawn(&mut self, place: Place, name: &str) {
        let server = self.server_named(name);
        let brain = self.new_brain(server, Some(place));
        self.wire(place, Peer::Child(brain), false);
        let down = self.specs[server].down_until > self.now && !self.calm;
        let outcome = match down || self.fault(self.specs[server].faults * 2, "child not started") {
            true => Err("no such file".into()),
            false => Ok(()),
        };
        let delay = self.chance.millis(40);
        self.after(delay, Action::Connect(place, outcome));
    }

    pub(crate) fn brain_dies(&mut self, brain: usize) {
        self.brains[brain].alive = false;
    }

    // ── a child's pipes ──────────────────────────────────────────────────────────────────────────

    pub(crate) fn child_reads(&mut self, brain: usize, bytes: &[u8]) {
        self.brains[brain].line.extend_from_slice(bytes);
        while let Some(end) = self.brains[brain].line.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.brains[brain].line.drain(..=end).collect();
            let message = serde_json::from_slice(&line);
            let message: Value = message.expect("a child is sent one JSON message per line");
            self.brain_hears(brain, &message, None);
        }
    }

    fn child_says(&mut self, brain: usize, message: &Value) {
        let Some(place) = self.brains[brain].place else {
            return self.feed_says(brain, message);
        };
        let faults = self.specs[self.brains[brain].server].faults;
        let mut text = Vec::new();
        if self.fault(30, "stdout noise") {
            text.extend_from_slice(b"Listening on stdio...\n{\"level\":30}\n");
        }
        text.extend_from_slice(message.to_string().as_bytes());
        if self.fault(faults * 6, "child crashed in a line") {
            text.truncate(text.len() / 2);
            self.send(place, &text);
            return self.crash(brain);
        }
        if self.chance.one_in(8) {
            text.push(b'\r');
        }
        text.push(b'\n');
        self.send(place, &text);
    }

    fn crash(&mut self, brain: usize) {
        if let Some(place) = self.brains[brain].place {
            self.brains[brain].alive = false;
            self.end(place, Some("exit status: 3".into()));
        }
    }

    // ── what is heard ────────────────────────────────────────────────────────────────────────────

    /// Takes in a message; `web` is the HTTP connection that it came on.
    pub(crate) fn brain_hears(&mut self, brain: usize, message: &Value, web: Option<usize>) {
        if !self.brains[brain].alive {
            return;
        }
        self.note(format_args!("brain {brain} hears {message}"));
        let method = message["method"].as_str();
        match (method, message.get("id")) {
            (Some(method), Some(id)) => self.asked(brain, method, id, &message["params"], web),
            (Some(method), None) => self.told(brain, method, &message["params"]),
            (None, Some(id)) => self.answered(brain, id, message),
            (None, None) => panic!("neither request nor answer: {message}"),
        }
    }

    fn asked(
        &mut self,
        brain: usize,
        method: &str,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let server = self.brains[brain].server;
        let name = self.specs[server].name.clone();
        let faults = self.specs[server].faults;
        let result = match method {
            "initialize" => {
                self.brains[brain].capabilities = params["capabilities"].clone();
                if self.fault(faults * 2, "initialize never answered") {
                    return;
                }
                if self.fault(faults * 3, "initialize refused") {
                    let error = json!({"code": -32000, "message": "not today"});
                    let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                    return self.reply(brain, web, answer);
                }
                json!({"protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": true},
                        "resources": {"subscribe": true, "listChanged": true}, "logging": {}},
                    "serverInfo": {"name": name, "version": "1"}})
            }
            "server/discover" => {
                if self.fault(faults * 2, "server/discover never answered") {
                    return;
                }
                let error = json!({"code": -32601, "message": "Method not found"});
                let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                return self.reply(brain, web, answer);
            }
            "tools/list" => {
                let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
                let generation = self.brains[brain].generation;
                match params["cursor"].as_str() {
                    None => json!({"tools": [tool("echo")], "nextCursor": "2"}),
                    Some(_) if generation % 2 == 1 => json!({"tools": [tool("more")]}),
                    Some(_) => json!({"tools": []}),
                }
            }
            "resources/list" => {
                let uri = |n| json!({"uri": format!("sim://{name}/{n}"), "name": format!("r{n}")});
                json!({"resources": [uri(0), uri(1), uri(2)]})
            }
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "resources/subscribe" => {
                let uri = params["uri"].as_str().unwrap_or_default().to_string();
                if !uri.starts_with(&format!("sim://{name}/")) {
                    let error = json!({"code": -32002, "message": "no such resource"});
                    let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                    return self.reply(brain, web, answer);
                }
                self.brains[brain].subscribed.insert(uri);
                for _ in 0..2 {
                    let delay = self.chance.millis(900);
                    self.after(delay, Action::Brain(brain, Doing::Update));
                }
                json!({})
            }
            "resources/unsubscribe" => {
                let uri = params["uri"].as_str().unwrap_or_default();
                self.brains[brain].subscribed.remove(uri);
                json!({})
            }
            "tools/call" => return self.called(brain, id, params, web),
            "logging/setLevel" | "ping" => json!({}),
            other => panic!("a server was asked for {other}"),
        };
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
        if self.fault(faults * 4, "server slow") {
            let delay = self.chance.millis(3000);
            return self.after(delay, Action::Brain(brain, Doing::Reply(web, answer)));
        }
        self.reply(brain, web, answer);
    }

    fn called(&mut self, brain: usize, id: &Value, params: &Value, web: Option<usize>) {
        let faults = self.specs[self.brains[brain].server].faults;
        let tag = params["arguments"]["tag"]
            .as_str()
            .expect("every call has a tag")
            .to_string();
        assert_eq!(params["name"], "echo", "a tool is called by its own name");
        let key = id.as_u64().expect("our ids are integers");
        let twice = self.plant == Some(Plant::CallTwice);
        let times = self.delivered.entry(tag.clone()).or_default();
        *times += 1 + u32::from(twice);
        assert!(*times == 1, "call {tag} reached a server {times} times");
        self.count("call delivered");
        self.check_alone(brain, owner(&tag));
        let token = params.pointer("/_meta/progressToken").cloned();
        if let Some(token) = &token {
            assert_eq!(*token, *id, "every hop has its own progress token");
        }
        let streams = web.is_some() && self.chance.one_in(2);
        let call = Call {
            tag,
            token,
            web,
            streams,
            ..Call::default()
        };
        let before = self.brains[brain].calls.insert(key, call);
        assert!(before.is_none(), "id {key} was used before");
        if let Some(web) = web {
            self.begin_reply(web, brain, key, streams);
        }
        if self.fault(faults * 3, "server exits") && self.brains[brain].place.is_some() {
            return self.after(Duration::from_millis(3), Action::Brain(brain, Doing::Crash));
        }
        let hangs = self.fault(faults * 2, "server hangs");
        let mut at = self.now + self.chance.micros(4000);
        for _ in 0..self.chance.below(4) {
            let doing = match self.chance.below(5) {
                0 | 1 => Doing::Progress(key),
                2 | 3 => Doing::Log(key),
                _ => Doing::Ask(key),
            };
            self.at(at, Action::Brain(brain, doing));
            let pause = if self.chance.one_in(4) { 900 } else { 60 };
            at = at + self.chance.millis(pause);
        }
        if !hangs {
            self.at(at, Action::Brain(brain, Doing::Answer(key)));
        }
        if self.chance.one_in(25) {
            let delay = self.chance.millis(500);
            self.after(delay, Action::Brain(brain, Doing::Change));
        }
    }

    /// A conversation that is one client's alone is used by that client alone.
    fn check_alone(&mut self, brain: usize, owner: &str) {
        let spec = &self.specs[self.brains[brain].server];
        if spec.http && !spec.sessions {
            return;
        }
        let capabilities = &self.brains[brain].capabilities;
        let asks = capabilities
            .get("sampling")
            .or(capabilities.get("elicitation"));
        let alone = spec.per_session
            || capabilities.get("roots").is_some()
            || ((!spec.http || spec.older != Older::No) && asks.is_some());
        self.brains[brain].owners.insert(owner.to_string());
        let own: Vec<_> = self.brains[brain]
            .owners
            .iter()
            .filter(|o| !o.ends_with('x'))
            .collect();
        assert!(
            !alone || own.len() <= 1,
            "{own:?} share brain {brain}, which is for one"
        );
        if let Some(roots_of) = &self.brains[brain].roots_of {
            assert_eq!(roots_of, owner, "brain {brain} has another client's roots");
        }
    }

    fn told(&mut self, brain: usize, method: &str, params: &Value) {
        match method {
            "notifications/initialized" => {
                if self.brains[brain].capabilities.get("roots").is_some() {
                    let delay = self.chance.millis(300);
                    self.after(delay, Action::Brain(brain, Doing::AskRoots));
                }
            }
            "notifications/cancelled" => {
                let id = params["requestId"].as_u64().expect("our ids are integers");
                let heeds = self.chance.one_in(2);
                if let Some(call) = self.brains[brain].calls.get_mut(&id) {
                    call.cancelled = heeds;
                    self.count("cancelled at server");
                }
            }
            "notifications/roots/list_changed" | "notifications/progress" => {}
            other => panic!("a server was told {other}"),
        }
    }

    /// A client's answer to what this server asked.
    fn answered(&mut self, brain: usize, id: &Value, message: &Value) {
        let key = id.as_u64().expect("the id that was asked with");
        let ask = self.brains[brain].asks.remove(&key);
        let ask = ask.unwrap_or_else(|| panic!("ask {key} of brain {brain} was answered twice"));
        if message.get("error").is_some() {
            self.count("ask refused");
        } else {
            let (by, of) = (&message["result"]["by"], &message["result"]["tag"]);
            let by = by.as_str().expect("clients say who they are");
            self.count("ask answered");
            match &ask.tag {
                Some(tag) => {
                    assert_eq!(of, tag, "ask {key} got the answer to another");
                    assert_eq!(owner(tag), by, "{by} answered what was asked of another");
                }
                None => {
                    assert_eq!(ask.method, "roots/list");
                    self.brains[brain].roots_of = Some(by.to_string());
                    let others = self.brains[brain]
                        .owners
                        .iter()
                        .filter(|o| *o != by)
                        .count();
                    assert_eq!(others, 0, "{by}'s roots were given to a server of others");
                }
            }
        }
        if let Some(call) = ask.call {
            let delay = self.chance.millis(20);
            self.after(delay, Action::Brain(brain, Doing::Answer(call)));
        }
    }

    // ── what is said ─────────────────────────────────────────────────────────────────────────────

    pub(crate) fn brain_does(&mut self, brain: usize, doing: Doing) {
        if !self.brains[brain].alive {
            return;
        }
        match doing {
            Doing::Reply(web, message) => self.reply(brain, web, message),
            Doing::Crash => self.crash(brain),
            Doing::Progress(call) => self.make_progress(brain, call),
            Doing::Log(call) => self.log(brain, call),
            Doing::Ask(call) => self.ask_client(brain, call),
            Doing::Answer(call) => self.answer(brain, call),
            Doing::Update => {
                let Some(uri) = self.brains[brain].subscribed.first().cloned() else {
                    return;
                };
                self.count("resource updated");
                let method = "notifications/resources/updated";
                self.say(
                    brain,
                    &json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}}),
                );
            }
            Doing::Change => {
                self.brains[brain].generation += 1;
                self.count("list changed");
                let method = "notifications/tools/list_changed";
                self.say(brain, &json!({"jsonrpc": "2.0", "method": method}));
            }
            Doing::AskRoots => {
                let id = self.new_ask(brain, None, None, "roots/list");
                self.say(
                    brain,
                    &json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}),
                );
            }
        }
    }

    fn new_ask(
        &mut self,
        brain: usize,
        tag: Option<String>,
        call: Option<u64>,
        method: &'static str,
    ) -> u64 {
        // Every server counts from 0, too.
        let own = &mut self.brains[brain];
        let id = own.next_ask;
        own.next_ask += 1;
        own.asks.insert(id, Ask { tag, call, method });
        self.count("ask sent");
        id
    }

    fn open_call(&mut self, brain: usize, call: u64) -> Option<&mut Call> {
        let call = self.brains[brain].calls.get_mut(&call)?;
        (!call.answered && !call.cancelled).then_some(call)
    }

    fn make_progress(&mut self, brain: usize, key: u64) {
        let Some(call) = self.open_call(brain, key) else {
            return;
        };
        let Some(token) = call.token.clone() else {
            return;
        };
        call.steps += 1;
        let params = json!({"progressToken": token, "progress": call.steps, "message": call.tag});
        self.count("progress sent");
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        self.say_about(brain, key, message);
    }

    fn log(&mut self, brain: usize, key: u64) {
        let Some(call) = self.open_call(brain, key) else {
            return;
        };
        let mut tag = call.tag.clone();
        if self.plant == Some(Plant::LogSwapped) {
            tag = "c9.0:1".into();
        }
        self.count("log sent");
        let params = json!({"level": "warning", "data": {"tag": tag}});
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
        self.say_about(brain, key, message);
    }

    fn ask_client(&mut self, brain: usize, key: u64) {
        let Some(call) = self.open_call(brain, key) else {
            return;
        };
        let tag = call.tag.clone();
        let method = *self
            .chance
            .pick(&["sampling/createMessage", "elicitation/create"]);
        let id = self.new_ask(brain, Some(tag.clone()), Some(key), method);
        let params = json!({"message": "?", "metadata": {"tag": tag}});
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.say_about(brain, key, message);
    }

    fn answer(&mut self, brain: usize, key: u64) {
        let waits = self.brains[brain]
            .asks
            .values()
            .any(|ask| ask.call == Some(key));
        if waits && !self.calm && self.chance.one_in(2) {
            return;
        }
        let swapped = self.plant == Some(Plant::AnswerSwapped);
        let other = self.brains[brain]
            .calls
            .values()
            .next()
            .map(|call| call.tag.clone());
        let Some(call) = self.open_call(brain, key) else {
            return;
        };
        call.answered = true;
        let (web, tag) = (call.web, call.tag.clone());
        let tag = if swapped { other.unwrap_or(tag) } else { tag };
        let mut answer = json!({"jsonrpc": "2.0", "id": key});
        match self.chance.below(8) {
            0 => answer["error"] = json!({"code": -32050, "message": "no", "data": {"echo": tag}}),
            1 => answer["result"] = json!({"content": [], "isError": true, "echo": tag}),
            _ => answer["result"] = json!({"content": [], "echo": tag}),
        }
        self.count("call answered");
        match web {
            None if self.has_one_stream(brain) => self.child_says(brain, &answer),
            _ => self.finish_call(brain, key, &answer),
        }
    }

    /// Says something about a call in flight.
    fn say_about(&mut self, brain: usize, key: u64, message: Value) {
        let call = &self.brains[brain].calls[&key];
        if self.has_one_stream(brain) {
            return self.child_says(brain, &message);
        }
        // Many servers use their standing stream for what they say about a call.
        if !call.streams || self.chance.one_in(4) {
            if self.brains[brain].standing.is_some() {
                self.count("about a call on the standing stream");
                return self.say(brain, &message);
            }
            if !call.streams {
                return self.unsaid(brain, &message);
            }
        }
        self.say_on_stream(brain, key, message);
    }

    /// Says something outside any call.
    fn say(&mut self, brain: usize, message: &Value) {
        if self.has_one_stream(brain) {
            return self.child_says(brain, message);
        }
        match self.brains[brain].standing {
            Some(web) => self.web_event(web, None, message),
            None => self.unsaid(brain, message),
        }
    }

    /// There is no way to say it. A request nobody sees is not waited for.
    fn unsaid(&mut self, brain: usize, message: &Value) {
        if let (Some(id), Some(_)) = (message["id"].as_u64(), message.get("method")) {
            self.brains[brain].asks.remove(&id);
        }
    }

    fn reply(&mut self, brain: usize, web: Option<usize>, message: Value) {
        match web {
            None => self.child_says(brain, &message),
            Some(web) => self.web_reply(web, brain, &message),
        }
    }
}
