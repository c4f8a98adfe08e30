//! The modern clients: they have no session, say in every request who they are and what they can do, and count
//! their ids from 0 as all others do.
//!
//! What a client wants is a quest; it takes one request, or several if it is asked something on the way. Each
//! quest has a tag, so that whatever comes back can be told from what was meant for another.

use crate::reader::Reader;
use crate::returning::Back;
use crate::spec::KEYS;
use crate::world::{Action, Peer, Place, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// A modern client.
pub(crate) struct Caller {
    pub(crate) number: usize,
    /// On standard input and output.
    pub(crate) stdio: bool,
    /// Which key it shows, where one has to be shown.
    pub(crate) key: Option<usize>,
    pub(crate) capabilities: Value,
    next_id: u64,
    pub(crate) quests: Vec<Quest>,
    pub(crate) requests: Vec<Request>,
    pub(crate) lines: BTreeMap<u32, Line>,
    next_line: u32,
    pub(crate) acts: usize,
}

/// Something that a client wants.
#[derive(Clone)]
pub(crate) struct Quest {
    pub(crate) tag: String,
    pub(crate) method: &'static str,
    /// Without `_meta`.
    pub(crate) params: Value,
    pub(crate) end: Option<End>,
    /// How often it was asked something.
    pub(crate) rounds: u32,
    /// The gateway keeps its call, which is answered once.
    pub(crate) sealed: bool,
    /// A modern server keeps it in a state, which the client shows when it comes back.
    pub(crate) stated: bool,
    /// The status and code with which it has to be refused.
    pub(crate) wrong: Option<(u16, i64)>,
}

/// How a quest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Result,
    ServerError,
    Refused(i64),
    /// Its connection is gone, or the client wants it no more.
    Left,
}

/// A request of a quest.
pub(crate) struct Request {
    pub(crate) quest: usize,
    pub(crate) id: u64,
    pub(crate) token: Option<u64>,
    pub(crate) logs: bool,
    pub(crate) progress: f64,
    pub(crate) answered: bool,
    /// Nobody waits for its answer any more.
    pub(crate) lost: bool,
    /// It shows a state that is not its own, or no longer good.
    pub(crate) unwelcome: bool,
    /// Of a listen: what was granted.
    pub(crate) granted: Option<Value>,
}

/// A connection of a modern client.
pub(crate) struct Line {
    pub(crate) place: Place,
    pub(crate) reader: Reader,
    /// The requests that it waits for: one over HTTP, all of them on standard input and output.
    pub(crate) wants: VecDeque<usize>,
    /// Whether it reads in time what it is sent.
    pub(crate) prompt: bool,
    pub(crate) last_response: bool,
    /// Of the response that is being read.
    pub(crate) status: u16,
}

/// Something a modern client is about to do.
pub(crate) enum Step {
    Act,
    Return(usize, Box<Back>),
    HangUp(usize),
}

/// How a request goes wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Header,
    Meta,
    Version,
    Method,
}

impl World {
    pub(crate) fn new_caller(&mut self, stdio: bool, acts: usize) -> usize {
        let number = self.callers.len();
        let sets = [
            json!({}),
            json!({"elicitation": {}}),
            json!({"elicitation": {}, "sampling": {}, "roots": {}}),
            json!({"sampling": {}, "roots": {}}),
        ];
        let keyed = !stdio && !self.config.keys.is_empty();
        let caller = Caller {
            number,
            stdio,
            key: keyed.then(|| number % KEYS.len()),
            capabilities: self.chance.pick(&sets).clone(),
            next_id: 0,
            quests: Vec::new(),
            requests: Vec::new(),
            lines: BTreeMap::new(),
            next_line: 0,
            acts,
        };
        self.callers.push(caller);
        if stdio {
            let place = self.open_stdio(Peer::Caller(number, 0));
            self.add_line(number, place);
        }
        let delay = self.chance.millis(400);
        self.after(delay, Action::Caller(number, Step::Act));
        number
    }

    pub(crate) fn caller_does(&mut self, c: usize, step: Step) {
        match step {
            Step::Act => {
                if self.calm || self.callers[c].acts == 0 {
                    return;
                }
                self.callers[c].acts -= 1;
                self.quest_at_random(c);
                let pause = if self.chance.one_in(3) { 500 } else { 60 };
                let delay = self.chance.millis(pause);
                self.after(delay, Action::Caller(c, Step::Act));
            }
            Step::Return(quest, back) => self.return_with(c, quest, *back),
            Step::HangUp(request) => self.hang_up(c, request),
        }
    }

    // ── what is wanted ───────────────────────────────────────────────────────────────────────────

    fn quest_at_random(&mut self, c: usize) {
        let server = self.chance.below(self.specs.len());
        match self.chance.below(24) {
            0..=11 => self.call_as_caller(c, server, "tools/call"),
            12 | 13 => self.call_as_caller(c, server, "prompts/get"),
            14 | 15 => self.call_as_caller(c, server, "resources/read"),
            16 => self.call_as_caller(c, server, "completion/complete"),
            17 => {
                let lists = [
                    "tools/list",
                    "prompts/list",
                    "resources/list",
                    "server/discover",
                ];
                let method = *self.chance.pick(&lists);
                self.begin_quest(c, method, json!({}));
            }
            18..=20 => self.listen_as_caller(c),
            21 => self.ask_wrongly(c),
            22 => self.read_slowly(c),
            _ => {
                let mut open = self.callers[c].requests.iter();
                let open = open.rposition(|request| !request.answered && !request.lost);
                if let Some(request) = open {
                    self.hang_up(c, request);
                }
            }
        }
    }

    /// Asks a server for something, under the name by which the gateway shows it; the quest.
    pub(crate) fn call_as_caller(&mut self, c: usize, server: usize, method: &'static str) {
        let name = self.specs[server].name.clone();
        let tag = self.next_tag(c);
        let params = match method {
            "tools/call" => json!({"name": format!("{name}__echo"), "arguments": {"tag": tag}}),
            "prompts/get" => json!({"name": format!("{name}__greet"), "arguments": {"tag": tag}}),
            "resources/read" => {
                json!({"uri": format!("sim://{name}/{}", self.chance.below(3))})
            }
            _ => {
                let prompt = json!({"type": "ref/prompt", "name": format!("{name}__greet")});
                json!({"ref": prompt, "argument": {"name": "tag", "value": ""}})
            }
        };
        let request = self.begin_quest(c, method, params);
        if !self.calm && self.chance.one_in(12) {
            let delay = self.chance.millis(400);
            self.after(delay, Action::Caller(c, Step::HangUp(request)));
        }
    }

    pub(crate) fn listen_as_caller(&mut self, c: usize) {
        let mut uris = Vec::new();
        for _ in 0..self.chance.below(3) {
            let server = self.chance.below(self.specs.len());
            let name = &self.specs[server].name;
            uris.push(format!("sim://{name}/{}", self.chance.below(3)));
        }
        let mut wanted = json!({"resourceSubscriptions": uris});
        for kind in ["toolsListChanged", "promptsListChanged"] {
            if self.chance.one_in(2) {
                wanted[kind] = json!(true);
            }
        }
        let request = self.begin_quest(c, "subscriptions/listen", json!({"notifications": wanted}));
        if !self.calm && self.chance.one_in(2) {
            let delay = self.chance.millis(4000);
            self.after(delay, Action::Caller(c, Step::HangUp(request)));
        }
    }

    fn next_tag(&self, c: usize) -> String {
        format!(
            "m{}:{}",
            self.callers[c].number,
            self.callers[c].quests.len()
        )
    }

    /// Begins a quest; its first request.
    pub(crate) fn begin_quest(&mut self, c: usize, method: &'static str, params: Value) -> usize {
        let quest = self.remember_quest(c, method, params, None);
        self.request_for(c, quest, json!({}), false)
    }

    pub(crate) fn remember_quest(
        &mut self,
        c: usize,
        method: &'static str,
        params: Value,
        wrong: Option<(u16, i64)>,
    ) -> usize {
        let tag = self.next_tag(c);
        self.callers[c].quests.push(Quest {
            tag,
            method,
            params,
            end: None,
            rounds: 0,
            sealed: false,
            stated: false,
            wrong,
        });
        self.callers[c].quests.len() - 1
    }

    /// Makes a request for a quest, with these members besides those that it always has.
    pub(crate) fn request_for(
        &mut self,
        c: usize,
        quest: usize,
        more: Value,
        unwelcome: bool,
    ) -> usize {
        let (request, message) = self.new_request(c, quest, more, unwelcome);
        self.send_request(c, request, &message, None);
        request
    }

    fn new_request(
        &mut self,
        c: usize,
        quest: usize,
        more: Value,
        unwelcome: bool,
    ) -> (usize, Value) {
        let (progresses, logs) = (self.chance.one_in(2), self.chance.one_in(2));
        let caller = &mut self.callers[c];
        let id = caller.next_id;
        caller.next_id += 1;
        let own = &caller.quests[quest];
        let mut meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": caller.capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "sim", "version": "3"},
            "sim/tag": own.tag});
        if progresses {
            meta["progressToken"] = json!(id);
        }
        if logs {
            meta["io.modelcontextprotocol/logLevel"] = json!("debug");
        }
        let mut params = own.params.clone();
        params["_meta"] = meta;
        for (name, value) in more.as_object().into_iter().flatten() {
            params[name] = value.clone();
        }
        let message = json!({"jsonrpc": "2.0", "id": id, "method": own.method, "params": params});
        caller.requests.push(Request {
            quest,
            id,
            token: progresses.then_some(id),
            logs,
            progress: 0.0,
            answered: false,
            lost: false,
            unwelcome,
            granted: None,
        });
        (caller.requests.len() - 1, message)
    }

    /// Asks in a way that no server may ever hear of.
    fn ask_wrongly(&mut self, c: usize) {
        let wrongs = [Wrong::Header, Wrong::Meta, Wrong::Version, Wrong::Method];
        let wrong = *self.chance.pick(&wrongs);
        if wrong == Wrong::Header && self.callers[c].stdio {
            return;
        }
        self.count("asked wrongly");
        let name = self.chance.pick(&self.specs).name.clone();
        let tag = self.next_tag(c);
        let params = json!({"name": format!("{name}__echo"), "arguments": {"tag": tag}});
        let (method, refused) = match wrong {
            Wrong::Header => ("tools/call", (400, -32020)),
            Wrong::Meta => ("tools/call", (400, -32602)),
            Wrong::Version => ("tools/call", (400, -32022)),
            Wrong::Method => ("logging/setLevel", (404, -32601)),
        };
        let quest = self.remember_quest(c, method, params, Some(refused));
        let (request, mut message) = self.new_request(c, quest, json!({}), false);
        let meta = message.pointer_mut("/params/_meta").expect("it has one");
        match wrong {
            Wrong::Meta => {
                let meta = meta.as_object_mut().expect("it is an object");
                meta.remove("io.modelcontextprotocol/clientCapabilities");
            }
            Wrong::Version => {
                meta["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
            }
            _ => {}
        }
        let name = (wrong == Wrong::Header).then_some("another__tool");
        self.send_request(c, request, &message, name);
    }

    // ── sending ──────────────────────────────────────────────────────────────────────────────────

    fn add_line(&mut self, c: usize, place: Place) -> u32 {
        let caller = &mut self.callers[c];
        let number = caller.next_line;
        caller.next_line += 1;
        let line = Line {
            place,
            reader: Reader::default(),
            wants: VecDeque::new(),
            prompt: true,
            last_response: false,
            status: 0,
        };
        caller.lines.insert(number, line);
        number
    }

    fn send_request(&mut self, c: usize, request: usize, message: &Value, name: Option<&str>) {
        self.note(format_args!("m{c} asks {message}"));
        if self.callers[c].stdio {
            let Some(line) = self.callers[c].lines.get_mut(&0) else {
                return self.let_go(c, request);
            };
            line.wants.push_back(request);
            let place = line.place;
            return self.send(place, format!("{message}\n").as_bytes());
        }
        let idle = self.callers[c].lines.iter();
        let idle = idle.filter(|(_, line)| line.wants.is_empty() && !line.last_response);
        let idle: Vec<u32> = idle.map(|(number, _)| *number).collect();
        let number = match idle.is_empty() || self.chance.one_in(5) {
            true => {
                let worker = self.chance.below(self.workers.len());
                let number = self.callers[c].next_line;
                let place = self.accept(worker, Peer::Caller(c, number));
                self.add_line(c, place)
            }
            false => *self.chance.pick(&idle),
        };
        let head = head(message, name, self.callers[c].key);
        let line = self.callers[c].lines.get_mut(&number);
        let line = line.expect("it was chosen or opened");
        line.wants.push_back(request);
        let place = line.place;
        self.send(place, format!("{head}{message}").as_bytes());
    }
}

/// The head of a request; `name` says otherwise than the body.
fn head(message: &Value, name: Option<&str>, key: Option<usize>) -> String {
    let (method, params) = (message["method"].as_str(), &message["params"]);
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:3050\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n\
         Mcp-Method: {}\r\n",
        version.as_str().unwrap_or_default(),
        method.unwrap_or_default()
    );
    let own = match method {
        Some("tools/call" | "prompts/get") => params["name"].as_str(),
        Some("resources/read") => params["uri"].as_str(),
        _ => None,
    };
    if let Some(name) = name.or(own) {
        head += &format!("Mcp-Name: {name}\r\n");
    }
    if method == Some("tools/call")
        && let Some(tag) = params["arguments"]["tag"].as_str()
    {
        head += &format!("Mcp-Param-Tag: {tag}\r\n");
    }
    if let Some(key) = key {
        head += &format!("Authorization: Bearer {}\r\n", KEYS[key]);
    }
    head + &format!("Content-Length: {}\r\n\r\n", message.to_string().len())
}
