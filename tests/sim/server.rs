//! The servers behind the gateway: what they hear, and whom they hear it from.
//!
//! A brain is one conversation as the server sees it: a child, a session of an HTTP server, or all that is asked
//! of a modern one. It marks everything that is about one client with that client's tag, and checks that what
//! comes back carries it.

use crate::calls::Call;
use crate::listened::Listened;
use crate::rounds::Story;
use crate::spec::Probe;
use crate::world::{Action, Peer, Place, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchbox::mcp::Era;

/// A conversation as the server sees it.
pub(crate) struct Brain {
    pub(crate) server: usize,
    pub(crate) alive: bool,
    /// The era in which it was spoken to last.
    pub(crate) era: Era,
    /// A child's wire.
    pub(crate) place: Option<Place>,
    /// Bytes of a line that is not complete.
    line: Vec<u8>,
    /// An HTTP server's standing stream; all that one of HTTP+SSE has.
    pub(crate) standing: Option<usize>,
    pub(crate) capabilities: Value,
    /// Whose calls came here.
    pub(crate) owners: BTreeSet<String>,
    /// Who answered `roots/list`.
    pub(crate) roots_of: Option<String>,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) asks: BTreeMap<u64, Ask>,
    /// What it was answered, by its own ids.
    answered: BTreeMap<u64, Value>,
    pub(crate) next_ask: u64,
    pub(crate) subscribed: BTreeSet<String>,
    /// Modern: who listens for changes.
    pub(crate) listens: BTreeMap<u64, Listened>,
    /// Modern: calls of several rounds, by their tags.
    pub(crate) stories: BTreeMap<String, Story>,
    pub(crate) generation: u32,
}

pub(crate) struct Ask {
    pub(crate) tag: Option<String>,
    pub(crate) call: Option<u64>,
    pub(crate) method: &'static str,
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
    StopListening(u64),
}

/// Whose a tag is.
pub(crate) fn owner(tag: &str) -> &str {
    tag.split(':').next().unwrap_or(tag)
}

/// Whether a message says of itself that it is of the modern era.
pub(crate) fn is_modern(message: &Value) -> bool {
    let version = "/params/_meta/io.modelcontextprotocol~1protocolVersion";
    message.pointer(version).is_some()
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
            era: self.specs[server].era,
            place,
            line: Vec::new(),
            standing: None,
            capabilities: Value::Null,
            owners: BTreeSet::new(),
            roots_of: None,
            calls: BTreeMap::new(),
            asks: BTreeMap::new(),
            answered: BTreeMap::new(),
            next_ask: 0,
            subscribed: BTreeSet::new(),
            listens: BTreeMap::new(),
            stories: BTreeMap::new(),
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

    /// A server is started again, and speaks the other era from then on.
    pub(crate) fn turn(&mut self, server: usize) {
        self.count("server came back in the other era");
        let spec = &mut self.specs[server];
        spec.era = match spec.era {
            Era::Legacy => Era::Modern,
            Era::Modern => Era::Legacy,
        };
        spec.dual = false;
        let webs = 0..self.webs.len();
        let open: Vec<usize> = webs.filter(|web| self.serves(*web, server)).collect();
        open.into_iter().for_each(|web| self.break_web(web));
        for brain in 0..self.brains.len() {
            if self.brains[brain].server == server && self.brains[brain].alive {
                self.crash(brain);
                self.brains[brain].alive = false;
            }
        }
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
            return;
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

    pub(crate) fn crash(&mut self, brain: usize) {
        if let Some(place) = self.brains[brain].place {
            // Who ends when it is asked about its era is taken for one that cannot bear the question.
            let server = self.brains[brain].server;
            self.specs[server].doubtful = true;
            self.brains[brain].alive = false;
            self.end(place, Some("exit status: 3".into()));
        }
    }

    // ── what is heard ────────────────────────────────────────────────────────────────────────────

    /// Takes in a message; `web` is the HTTP connection that it came on and is answered on.
    pub(crate) fn brain_hears(&mut self, brain: usize, message: &Value, web: Option<usize>) {
        if !self.brains[brain].alive {
            return;
        }
        self.note(format_args!("brain {brain} hears {message}"));
        let method = message["method"].as_str();
        match (method, message.get("id")) {
            (Some(method), Some(id)) => self.asked(brain, method, id, message, web),
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
        message: &Value,
        web: Option<usize>,
    ) {
        let params = &message["params"];
        let spec = &self.specs[self.brains[brain].server];
        match (spec.is_modern(), is_modern(message)) {
            (true, true) => self.asked_modern(brain, method, id, params, web),
            (true, false) if !spec.dual => self.refuse_legacy(brain, id, params, web),
            (false, true) => {
                assert_eq!(method, "server/discover", "a legacy child is sent this");
                self.probed(brain, id, web);
            }
            (_, false) => {
                self.brains[brain].era = Era::Legacy;
                self.asked_legacy(brain, method, id, params, web);
            }
        }
    }

    /// A legacy server is asked which era it speaks.
    fn probed(&mut self, brain: usize, id: &Value, web: Option<usize>) {
        let spec = &self.specs[self.brains[brain].server];
        let (probe, faults) = (spec.probe, spec.faults);
        if probe == Probe::Exits && self.brains[brain].place.is_some() {
            self.count("child exits when it is asked about its era");
            return self.crash(brain);
        }
        if probe == Probe::Ignores || self.fault(faults * 2, "server/discover never answered") {
            return self.count("server/discover ignored");
        }
        self.refuse(brain, id, web, -32601, "Method not found");
    }

    fn asked_legacy(
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
                    return self.refuse(brain, id, web, -32000, "not today");
                }
                json!({"protocolVersion": params["protocolVersion"],
                    "capabilities": crate::offers::capabilities(),
                    "serverInfo": {"name": name, "version": "1"}})
            }
            "resources/subscribe" => {
                let uri = params["uri"].as_str().unwrap_or_default().to_string();
                if !uri.starts_with(&format!("sim://{name}/")) {
                    return self.refuse(brain, id, web, -32002, "no such resource");
                }
                self.brains[brain].subscribed.insert(uri);
                self.update_soon(brain);
                json!({})
            }
            "resources/unsubscribe" => {
                let uri = params["uri"].as_str().unwrap_or_default();
                self.brains[brain].subscribed.remove(uri);
                json!({})
            }
            "tools/call" | "prompts/get" | "resources/read" => {
                return self.called(brain, method, id, params, web);
            }
            "completion/complete" => self.completion(brain, params),
            "logging/setLevel" | "ping" => json!({}),
            _ => match self.listed(brain, method, params) {
                Some(result) => result,
                None => panic!("a server was asked for {method}"),
            },
        };
        self.reply_in_time(brain, id, web, result);
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
                self.brains[brain].listens.remove(&id);
                if let Some(call) = self.brains[brain].calls.get(&id) {
                    let tag = call.tag.clone();
                    self.count("cancelled at server");
                    self.cancelled_here(brain, &tag);
                    // A modern server says nothing more about it; of the others, some do.
                    let heeds = self.brains[brain].era == Era::Modern || self.chance.one_in(2);
                    if let Some(call) = self.brains[brain].calls.get_mut(&id) {
                        call.cancelled = heeds;
                    }
                }
            }
            "notifications/roots/list_changed" | "notifications/progress" => {}
            other => panic!("a server was told {other}"),
        }
    }

    /// Notes that a cancellation has come all the way from a client.
    pub(crate) fn cancelled_here(&mut self, brain: usize, tag: &str) {
        if self.cancelled.contains(tag) {
            self.met(crate::cells::era_of(tag), brain, "cancellation");
        }
    }

    /// A client's answer to what this server asked.
    fn answered(&mut self, brain: usize, id: &Value, message: &Value) {
        let key = id.as_u64().expect("the id that was asked with");
        let own = &mut self.brains[brain];
        if let Some(before) = own.answered.insert(key, message.clone()) {
            // Whoever hears nothing back cannot know whether it was heard. A pipe leaves no doubt.
            assert!(
                own.place.is_none(),
                "ask {key} of brain {brain} was answered twice"
            );
            assert_eq!(
                before, *message,
                "ask {key} of brain {brain} was answered otherwise"
            );
            return self.count("answered again");
        }
        let ask = own.asks.remove(&key);
        let ask = ask.unwrap_or_else(|| panic!("brain {brain} did not ask {key}"));
        if message.get("error").is_some() {
            self.count("ask refused");
        } else {
            let (by, of) = (&message["result"]["by"], &message["result"]["tag"]);
            let by = by.as_str().expect("clients say who they are");
            self.count("ask answered");
            self.met(crate::cells::era_of(by), brain, ask.method);
            match &ask.tag {
                Some(tag) => {
                    assert_eq!(of, tag, "ask {key} got the answer to another");
                    assert_eq!(owner(tag), by, "{by} answered what was asked of another");
                }
                None => {
                    assert_eq!(ask.method, "roots/list");
                    self.roots_given(brain, by);
                }
            }
        }
        if let Some(call) = ask.call {
            let delay = self.chance.millis(20);
            self.after(delay, Action::Brain(brain, Doing::Answer(call)));
        }
    }

    fn roots_given(&mut self, brain: usize, by: &str) {
        self.brains[brain].roots_of = Some(by.to_string());
        let others = self.brains[brain].owners.iter();
        let others: Vec<_> = others.filter(|other| *other != by).cloned().collect();
        for other in others {
            assert!(
                self.is_same(&other, by),
                "{by}'s roots were given to a server of {other}"
            );
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
            Doing::Update => self.update(brain),
            Doing::Change => self.change(brain),
            Doing::StopListening(listen) => self.stop_listening(brain, listen),
            Doing::AskRoots => {
                let id = self.new_ask(brain, None, None, "roots/list");
                let ask = json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
                self.say(brain, &ask);
            }
        }
    }

    pub(crate) fn update_soon(&mut self, brain: usize) {
        for _ in 0..2 {
            let delay = self.chance.millis(900);
            self.after(delay, Action::Brain(brain, Doing::Update));
        }
    }

    fn update(&mut self, brain: usize) {
        if self.brains[brain].era == Era::Modern {
            return self.update_listeners(brain);
        }
        let Some(uri) = self.brains[brain].subscribed.first().cloned() else {
            return;
        };
        self.count("resource updated");
        self.updated_at.insert(uri.clone(), brain);
        let method = "notifications/resources/updated";
        self.say(
            brain,
            &json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}}),
        );
    }

    fn change(&mut self, brain: usize) {
        self.brains[brain].generation += 1;
        self.count("list changed");
        if self.brains[brain].era == Era::Modern {
            return self.tell_listeners_of_change(brain);
        }
        let method = "notifications/tools/list_changed";
        self.say(brain, &json!({"jsonrpc": "2.0", "method": method}));
    }

    /// Says something outside any call.
    pub(crate) fn say(&mut self, brain: usize, message: &Value) {
        if self.brains[brain].place.is_some() {
            return self.child_says(brain, message);
        }
        match self.brains[brain].standing {
            Some(web) => self.web_event(web, None, message),
            None => self.unsaid(brain, message),
        }
    }

    /// There is no way to say it. A request nobody sees is not waited for.
    pub(crate) fn unsaid(&mut self, brain: usize, message: &Value) {
        if let (Some(id), Some(_)) = (message["id"].as_u64(), message.get("method")) {
            self.brains[brain].asks.remove(&id);
        }
    }

    pub(crate) fn refuse(
        &mut self,
        brain: usize,
        id: &Value,
        web: Option<usize>,
        code: i64,
        why: &str,
    ) {
        let error = json!({"code": code, "message": why});
        self.reply(
            brain,
            web,
            json!({"jsonrpc": "2.0", "id": id, "error": error}),
        );
    }

    /// Answers a request other than a call, now or after a while.
    pub(crate) fn reply_in_time(
        &mut self,
        brain: usize,
        id: &Value,
        web: Option<usize>,
        result: Value,
    ) {
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
        let faults = self.specs[self.brains[brain].server].faults;
        if self.fault(faults * 4, "server slow") {
            let delay = self.chance.millis(3000);
            return self.after(delay, Action::Brain(brain, Doing::Reply(web, answer)));
        }
        self.reply(brain, web, answer);
    }

    fn reply(&mut self, brain: usize, web: Option<usize>, message: Value) {
        match web {
            None => self.say(brain, &message),
            Some(web) => self.web_reply(web, brain, &message),
        }
    }

    /// Does something in a moment, as if on second thoughts.
    pub(crate) fn crash_soon(&mut self, brain: usize) {
        self.after(Duration::from_millis(3), Action::Brain(brain, Doing::Crash));
    }
}
