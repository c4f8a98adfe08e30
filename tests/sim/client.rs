//! The clients: what they ask, what they take for an answer, and how they go wrong.
//!
//! Every client counts its ids from 0 and uses the same small progress tokens as all others. Everything
//! that it asks carries a tag that says who it is and which request it was, so that whatever comes back
//! can be told from what was meant for another.

use crate::calls::METHODS;
use crate::older::Sse;
use crate::reader::Reader;
use crate::server::owner;
use crate::spec::KEYS;
use crate::world::{Action, Peer, Place, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use switchbox::mcp::revision::Revision;

const LISTS: [&str; 3] = ["tools/list", "prompts/list", "resources/list"];

/// A client.
pub(crate) struct Client {
    pub(crate) number: usize,
    /// On standard input and output.
    pub(crate) stdio: bool,
    /// Which key it shows, where one has to be shown.
    pub(crate) key: Option<usize>,
    /// Only knows the HTTP+SSE transport.
    pub(crate) sse: Option<Sse>,
    /// How often it has begun a new session.
    pub(crate) life: usize,
    pub(crate) session: Option<String>,
    pub(crate) opening: bool,
    pub(crate) capabilities: Value,
    pub(crate) revision: Revision,
    pub(crate) next_id: u64,
    pub(crate) asked: Vec<Asked>,
    pub(crate) connections: BTreeMap<u32, Connection>,
    pub(crate) next_connection: u32,
    /// Everything that each of its sessions was ever subscribed to.
    pub(crate) subscribed: BTreeSet<(String, String)>,
    pub(crate) standing: Option<u32>,
    pub(crate) standing_last: Option<String>,
    pub(crate) acts: usize,
    /// Requests of servers that were answered, by their id.
    pub(crate) answered: BTreeSet<String>,
    /// The requests of each batch that it sent, and of each post of an HTTP+SSE client.
    pub(crate) batches: Vec<Vec<usize>>,
}

/// A request of a client.
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) tag: String,
    pub(crate) what: What,
    pub(crate) method: &'static str,
    pub(crate) token: Option<u64>,
    /// All progress that it heard of, the last one last.
    pub(crate) progress: Vec<f64>,
    pub(crate) answer: Option<Answer>,
    /// Its connection is gone and it is not asked for again.
    pub(crate) lost: bool,
    /// It was cancelled: there may be no answer any more.
    pub(crate) cancelled: bool,
    /// The last event of its stream.
    pub(crate) last: Option<String>,
    /// On which connection its stream is now.
    pub(crate) shown_on: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Initialize,
    Call(usize),
    List,
    Ping,
    Subscribe,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Result,
    ServerError,
    Refused(i64),
}

/// A connection of a client.
pub(crate) struct Connection {
    pub(crate) place: Place,
    pub(crate) reader: Reader,
    /// What it waits for, in order.
    pub(crate) wants: VecDeque<Want>,
    /// Whether it reads in time what it is sent.
    pub(crate) prompt: bool,
    pub(crate) last_response: bool,
    /// The last event of the standing stream that it carries.
    pub(crate) last_event: Option<String>,
}

/// What a client wants on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The answer to a request.
    Asked(usize),
    /// The answers to a batch.
    Batch(usize),
    /// The stream of an HTTP+SSE client.
    Front,
    /// That the requests of this batch were taken, whose answers come on that stream.
    Posted(usize),
    /// That a message was taken.
    Taken,
    /// The standing stream of its session of that number.
    Standing(usize),
    /// The rest of a stream that broke.
    Rest(usize),
    /// The end of the session.
    End,
    /// An answer of the shell.
    Health,
}

/// Something a client is about to do.
pub(crate) enum Deed {
    Act,
    /// Answer a request of a server.
    Answer(Value, String, usize),
    /// Come back for a stream.
    Resume(usize, usize),
    /// Come back for the standing stream.
    Stand(usize),
}

impl World {
    pub(crate) fn new_client(&mut self, stdio: bool, acts: usize) -> usize {
        let number = self.clients.len();
        let sets = [
            json!({}),
            json!({"elicitation": {}}),
            json!({"sampling": {}}),
            json!({"sampling": {}, "elicitation": {}}),
            json!({"elicitation": {}}),
            json!({"roots": {}, "sampling": {}, "elicitation": {}}),
        ];
        let sse = !stdio && self.chance.one_in(4);
        let keyed = !stdio && !self.config.keys.is_empty();
        let revision = *self.chance.pick(&Revision::LEGACY[1..]);
        let capabilities = self.chance.pick(&sets).clone();
        let client = Client {
            number,
            stdio,
            key: keyed.then(|| number % KEYS.len()),
            sse: sse.then(Sse::default),
            life: 0,
            session: None,
            opening: false,
            capabilities,
            revision,
            next_id: 0,
            asked: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            subscribed: BTreeSet::new(),
            standing: None,
            standing_last: None,
            acts,
            answered: BTreeSet::new(),
            batches: Vec::new(),
        };
        self.clients.push(client);
        if stdio {
            let place = self.open_stdio(Peer::Client(number, 0));
            self.add_connection(number, place);
        }
        let delay = self.chance.millis(400);
        self.after(delay, Action::Client(number, Deed::Act));
        number
    }

    pub(crate) fn client_does(&mut self, c: usize, deed: Deed) {
        match deed {
            Deed::Act => {
                if self.calm || self.clients[c].acts == 0 {
                    return;
                }
                self.clients[c].acts -= 1;
                self.act_at_random(c);
                let pause = if self.chance.one_in(3) { 400 } else { 30 };
                let delay = self.chance.millis(pause);
                self.after(delay, Action::Client(c, Deed::Act));
            }
            Deed::Answer(id, tag, life) => {
                if self.clients[c].life == life {
                    self.answer_ask(c, id, &tag);
                }
            }
            Deed::Resume(ask, life) => {
                if self.clients[c].life == life && self.clients[c].asked[ask].answer.is_none() {
                    self.resume(c, ask);
                }
            }
            Deed::Stand(life) => {
                if self.clients[c].life == life && self.clients[c].standing.is_none() {
                    self.stand(c);
                }
            }
        }
    }

    fn act_at_random(&mut self, c: usize) {
        if self.clients[c].opening {
            return;
        }
        if self.clients[c].session.is_none() {
            let can = !self.clients[c].stdio && self.clients[c].sse.is_none();
            if can && self.chance.one_in(4) {
                self.count("call without a session");
                return self.call(c);
            }
            return self.initialize(c);
        }
        match self.chance.below(24) {
            0..=2 if self.clients[c].revision == Revision::V2025_03_26 => self.call_in_batch(c),
            0..=7 => self.call(c),
            8..=11 => {
                let server = self.chance.below(self.specs.len());
                let method = *self.chance.pick(&METHODS);
                self.ask_server(c, server, method);
            }
            12 => {
                let method = *self.chance.pick(&LISTS);
                self.ask(c, What::List, method, json!({}));
            }
            13 => self.ask(c, What::Ping, "ping", json!({})),
            14 | 15 => self.subscribe(c),
            16 | 17 => self.cancel(c),
            18 => self.stand(c),
            19 if self.chance.one_in(3) => self.leave(c),
            20 => self.ask_health(c),
            21 => {
                let level = *self.chance.pick(&["debug", "info", "warning"]);
                self.ask(c, What::Ping, "logging/setLevel", json!({"level": level}));
            }
            _ => self.misbehave(c),
        }
    }

    // ── what is asked ────────────────────────────────────────────────────────────────────────────

    pub(crate) fn owner_of(&self, c: usize) -> String {
        let client = &self.clients[c];
        match client.session.is_some() || client.opening {
            true => format!("c{}.{}", client.number, client.life),
            false => format!("c{}.x", client.number),
        }
    }

    pub(crate) fn initialize(&mut self, c: usize) {
        if self.clients[c]
            .sse
            .as_ref()
            .is_some_and(|sse| sse.endpoint.is_none())
        {
            return self.open_front(c);
        }
        self.clients[c].opening = true;
        self.introduce(c);
    }

    /// Says `initialize`.
    pub(crate) fn introduce(&mut self, c: usize) {
        let client = &mut self.clients[c];
        client.life += 1;
        client.next_id = 0;
        client.standing = None;
        client.standing_last = None;
        client.answered.clear();
        let params = json!({"protocolVersion": client.revision.name(),
            "capabilities": client.capabilities, "clientInfo": {"name": "sim", "version": "1"}});
        self.ask(c, What::Initialize, "initialize", params);
    }

    fn call(&mut self, c: usize) {
        let server = self.chance.below(self.specs.len());
        self.ask_server(c, server, "tools/call");
    }

    /// Asks a server for something, under the name by which the gateway shows it.
    pub(crate) fn ask_server(&mut self, c: usize, server: usize, method: &'static str) {
        let params = self.call_params(c, server, method);
        self.ask(c, What::Call(server), method, params);
    }

    pub(crate) fn call_params(&mut self, c: usize, server: usize, method: &str) -> Value {
        let name = &self.specs[server].name;
        let tag = format!("{}:{}", self.owner_of(c), self.clients[c].asked.len());
        let mut params = match method {
            "tools/call" => json!({"name": format!("{name}__echo"), "arguments": {"tag": tag}}),
            "prompts/get" => json!({"name": format!("{name}__greet"), "arguments": {"tag": tag}}),
            "resources/read" => json!({"uri": format!("sim://{name}/1")}),
            _ => {
                let prompt = json!({"type": "ref/prompt", "name": format!("{name}__greet")});
                json!({"ref": prompt, "argument": {"name": "tag", "value": ""}})
            }
        };
        params["_meta"] = json!({"sim/tag": tag});
        if self.chance.one_in(2) {
            params["_meta"]["progressToken"] = json!(self.clients[c].next_id);
        }
        params
    }

    fn subscribe(&mut self, c: usize) {
        let server = self.chance.pick(&self.specs).name.clone();
        let uri = format!("sim://{server}/{}", self.chance.below(3));
        let method = match self.chance.one_in(4) {
            true => "resources/unsubscribe",
            false => "resources/subscribe",
        };
        let owner = self.owner_of(c);
        self.clients[c].subscribed.insert((owner, uri.clone()));
        self.ask(c, What::Subscribe, method, json!({"uri": uri}));
    }

    fn ask(&mut self, c: usize, what: What, method: &'static str, params: Value) {
        let (ask, message) = self.request(c, what, method, params);
        self.post_message(c, &message, Want::Asked(ask));
    }

    /// Makes a request, and remembers it.
    pub(crate) fn request(
        &mut self,
        c: usize,
        what: What,
        method: &'static str,
        params: Value,
    ) -> (usize, Value) {
        let tag = format!("{}:{}", self.owner_of(c), self.clients[c].asked.len());
        let client = &mut self.clients[c];
        let id = client.next_id;
        client.next_id += 1;
        client.asked.push(Asked {
            id,
            tag,
            what,
            method,
            token: params
                .pointer("/_meta/progressToken")
                .and_then(Value::as_u64),
            progress: Vec::new(),
            answer: None,
            lost: false,
            cancelled: false,
            last: None,
            shown_on: None,
        });
        let ask = client.asked.len() - 1;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        (ask, message)
    }

    fn cancel(&mut self, c: usize) {
        let owner = self.owner_of(c);
        let mut asked = self.clients[c].asked.iter_mut().rev();
        let open = asked.find(|asked| {
            let calls = matches!(asked.what, What::Call(_));
            calls && asked.answer.is_none() && self::owner(&asked.tag) == owner
        });
        if let Some(asked) = open {
            asked.cancelled = true;
            let (id, tag) = (asked.id, asked.tag.clone());
            self.count("cancelled by client");
            self.cancelled.insert(tag);
            let params = json!({"requestId": id});
            let message =
                json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
            self.post_message(c, &message, Want::Taken);
        }
    }

    fn answer_ask(&mut self, c: usize, id: Value, tag: &str) {
        let by = self.owner_of(c);
        let mut message = json!({"jsonrpc": "2.0", "id": id});
        if self.fault(8, "client refused to answer") {
            message["error"] = json!({"code": -1, "message": "not now"});
        } else {
            let action = "accept";
            message["result"] = json!({"by": by, "tag": tag, "roots": [], "action": action});
        }
        self.post_message(c, &message, Want::Taken);
        if self.chance.one_in(6) {
            self.count("asked was answered twice");
            self.post_message(c, &message, Want::Taken);
        }
    }

    pub(crate) fn leave(&mut self, c: usize) {
        if self.clients[c].stdio {
            return;
        }
        self.count("client left");
        if self.clients[c].sse.is_some() {
            return self.drop_front(c);
        }
        self.http(c, "DELETE", "/mcp", "", None, Want::End);
        let client = &mut self.clients[c];
        client.session = None;
        client.life += 1;
        client.next_id = 0;
    }

    pub(crate) fn stand(&mut self, c: usize) {
        let client = &self.clients[c];
        if client.stdio || client.sse.is_some() || client.session.is_none() {
            return;
        }
        let last = client.standing_last.clone();
        let fields = match &last {
            Some(last) => {
                self.count("standing stream resumed");
                format!("Last-Event-ID: {last}\r\n")
            }
            None => String::new(),
        };
        let life = self.clients[c].life;
        let connection = self.http(c, "GET", "/mcp", &fields, None, Want::Standing(life));
        self.clients[c].standing = Some(connection);
        if let Some(connection) = self.clients[c].connections.get_mut(&connection) {
            connection.last_event = last;
        }
    }

    fn resume(&mut self, c: usize, ask: usize) {
        let Some(last) = self.clients[c].asked[ask].last.clone() else {
            return;
        };
        self.count("exchange's stream resumed");
        let fields = format!("Last-Event-ID: {last}\r\n");
        self.clients[c].asked[ask].lost = false;
        let connection = self.http(c, "GET", "/mcp", &fields, None, Want::Rest(ask));
        self.clients[c].asked[ask].shown_on = Some(connection);
    }

    fn ask_health(&mut self, c: usize) {
        if !self.clients[c].stdio {
            self.http(c, "GET", "/health", "", None, Want::Health);
        }
    }
}
