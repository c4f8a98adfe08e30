//! One worker, one child, and whoever calls, for tests that take it step by step: time stands still unless it is
//! let pass, and nothing happens that the test does not say.

use super::effect::{Effect, Input};
use super::parcel::Parcel;
use super::{Front, Seat, Worker};
use crate::config::limits::CHILDREN_MAX;
use crate::config::{Config, EraChoice, Http, Names, Scheme, Speaks, Transport};
use crate::id::{ConnectionId, WorkerId};
use crate::jsonrpc::parse;
use crate::mcp::Era;
use crate::mcp::capabilities::ServerCapabilities;
use crate::mcp::handshake::Introduced;
use crate::mcp::listing::{Kind, Listing, take_page};
use crate::mcp::revision::Revision;
use crate::router::directory::{Directory, Report};
use crate::router::testing;
use crate::session::store::Store;
use crate::time::{Time, Wall};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

/// The stage.
pub(super) struct Scene {
    pub(super) worker: Worker,
    pub(super) now: Time,
    era: Era,
    manners: Manners,
    settling: bool,
    directory: Directory,
    /// What was written to whom and has not been looked at.
    written: BTreeMap<ConnectionId, Vec<u8>>,
    /// Children, the latest last.
    pub(super) children: Vec<ConnectionId>,
    /// Connections to servers over HTTP, the latest last.
    pub(super) links: Vec<ConnectionId>,
    pub(super) closed: Vec<ConnectionId>,
    /// Who is not to be read from.
    pub(super) paused: BTreeSet<ConnectionId>,
    /// Who takes nothing of what it is sent.
    pub(super) deaf: Option<ConnectionId>,
    /// What was sent to other workers.
    pub(super) sent: Vec<Parcel>,
}

/// Whether children answer what every server answers alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    Good,
    None,
}

impl Scene {
    /// A worker whose one server `s` is a child of that era, open, with the tools `t` and `u` and resources.
    pub(super) fn new(era: Era) -> Scene {
        let mut scene = Scene::of(era, Manners::Good, config(era));
        scene.pass(Duration::from_millis(100));
        scene
    }

    /// One whose server is a legacy one and may have so many children.
    pub(super) fn with_children(most: usize) -> Scene {
        let mut config = config(Era::Legacy);
        let mut server = (*config.servers[0]).clone();
        server.connections = most;
        config.servers = vec![Arc::new(server)];
        let mut scene = Scene::of(Era::Legacy, Manners::Good, config);
        scene.pass(Duration::from_millis(100));
        scene
    }

    /// One whose server says nothing, and that waits so long for it.
    pub(super) fn waiting_for_servers(length: Duration) -> Scene {
        let mut config = config(Era::Legacy);
        config.wait_for_servers = Some(length);
        Scene::of(Era::Legacy, Manners::None, config)
    }

    /// One whose server `s` is reached over HTTP, and says nothing.
    pub(super) fn over_http(era: Era) -> Scene {
        Scene::of(era, Manners::None, config_over_http(era))
    }

    /// One whose server `s` is reached over HTTP, legacy and open, with the tools `t` and `u` and resources.
    pub(super) fn well_over_http() -> Scene {
        let config = config_over_http(Era::Legacy);
        let mut scene = Scene::of(Era::Legacy, Manners::Good, config);
        scene.pass(Duration::from_millis(100));
        scene
    }

    /// One with so many legacy servers `s0`, `s1` and so on, whose tools carry their names.
    pub(super) fn with_servers(count: usize) -> Scene {
        let mut config = config(Era::Legacy);
        let numbered = |number: usize| {
            let mut server = (*config.servers[0]).clone();
            server.name = format!("s{number}");
            Arc::new(server)
        };
        config.servers = (0..count).map(numbered).collect();
        config.names = Names::Prefixed;
        let mut scene = Scene::of(Era::Legacy, Manners::Good, config);
        scene.pass(Duration::from_millis(100));
        scene
    }

    /// One whose server is a legacy one, and beside which there is another worker that never says anything.
    pub(super) fn beside_another() -> Scene {
        Scene::among(2, Era::Legacy, Manners::Good, config(Era::Legacy))
    }

    fn of(era: Era, manners: Manners, config: Config) -> Scene {
        Scene::among(1, era, manners, config)
    }

    fn among(workers: usize, era: Era, manners: Manners, config: Config) -> Scene {
        let directory = Directory::new(&config);
        let worker = Worker::new(Seat {
            id: WorkerId(0),
            workers,
            table: directory.table(),
            config: Arc::new(config),
            sessions: Arc::new(Store::new([7; 32])),
            seed: 1,
            wall_at_zero: Wall(1_795_000_000_000),
        });
        let mut scene = Scene {
            worker,
            now: Time::ZERO,
            era,
            manners,
            settling: false,
            directory,
            written: BTreeMap::new(),
            children: Vec::new(),
            links: Vec::new(),
            closed: Vec::new(),
            paused: BTreeSet::new(),
            deaf: None,
            sent: Vec::new(),
        };
        scene.settle();
        scene
    }

    /// Has a server that said nothing answer what it was asked, and what it will be.
    pub(super) fn wakes(&mut self) {
        self.manners = Manners::Good;
        for child in self.children.clone() {
            self.manners(child);
        }
    }

    /// Has a child of a server that says nothing answer what every server answers alike.
    pub(super) fn obliges(&mut self, child: ConnectionId) {
        loop {
            let asked = self.lines(child);
            if asked.is_empty() {
                return;
            }
            for asked in asked {
                if let Some(result) = usual_result(&asked) {
                    self.answers(child, &asked, &result);
                }
            }
        }
    }

    /// Has a server that answered what every server answers alike say nothing from now on.
    pub(super) fn is_gone(&mut self) {
        self.manners = Manners::None;
    }

    /// Does what the worker wants done. What that leads to is done in turn, not in the middle of it.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.settling, true) {
            return;
        }
        while let Some(effect) = self.worker.poll() {
            match effect {
                Effect::Flush(id) if self.deaf == Some(id) => {}
                Effect::Flush(id) => self.take(id),
                Effect::Pause(id) => drop(self.paused.insert(id)),
                Effect::Post(_, parcel) => self.sent.push(parcel),
                Effect::Resume(id) => drop(self.paused.remove(&id)),
                Effect::Spawn(id, _) => {
                    self.children.push(id);
                    self.handle(Input::Connected(id));
                }
                Effect::Connect(id, _) => {
                    self.links.push(id);
                    self.handle(Input::Connected(id));
                }
                Effect::Close(id, _) => {
                    self.children.retain(|child| *child != id);
                    self.links.retain(|link| *link != id);
                    self.closed.push(id);
                }
                Effect::Report(report) => self.directory.report(self.now, Wall(0), report),
                _ => {}
            }
        }
        self.settling = false;
    }

    fn take(&mut self, id: ConnectionId) {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = self.worker.outgoing(id, &mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
        let taken = bytes.len();
        self.written.entry(id).or_default().extend(bytes);
        if taken > 0 {
            self.handle(Input::Wrote(id, taken));
            self.take(id);
        }
        if self.manners == Manners::Good && self.children.contains(&id) {
            self.manners(id);
        }
        if self.manners == Manners::Good && self.links.contains(&id) {
            self.manners_over_http(id);
        }
    }

    /// Answers what every server answers alike.
    fn manners(&mut self, child: ConnectionId) {
        for asked in self.lines(child) {
            match usual_result(&asked) {
                Some(result) => self.answers(child, &asked, &result),
                None => {
                    let line = format!("{asked}\n");
                    self.written.entry(child).or_default().extend(line.bytes());
                }
            }
        }
    }

    /// The same on a connection over HTTP, on which there is one request at a time.
    fn manners_over_http(&mut self, link: ConnectionId) {
        let request = self.heard(link);
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let without_body = |status| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if let Some(result) = usual_result(&asked) {
            self.responds(link, &asked, &result);
        } else if request.starts_with("GET ") {
            let refused = without_body("405 Method Not Allowed");
            self.handle(Input::Received(link, refused.as_bytes()));
        } else if asked["method"].is_string() && asked["id"].is_null() {
            let accepted = without_body("202 Accepted");
            self.handle(Input::Received(link, accepted.as_bytes()));
        } else {
            self.written
                .entry(link)
                .or_default()
                .extend(request.bytes());
        }
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        self.worker.handle(self.now, input);
        self.settle();
    }

    /// Lets time pass: the worker is woken whenever it wants to be.
    pub(super) fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            if let Some((table, _)) = self.directory.poll(self.now) {
                self.handle(Input::Table(table));
            }
            let due = self.worker.deadline().unwrap_or(Time::NEVER);
            let due = due.min(self.directory.deadline().unwrap_or(Time::NEVER));
            if due > end {
                break;
            }
            self.now = due.max(self.now + Duration::from_millis(1));
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    /// Has another worker find out that the server speaks that era now.
    pub(super) fn is_found_to_speak(&mut self, era: Era) {
        let mut listing = Listing::new(Introduced {
            revision: match era {
                Era::Legacy => Revision::LATEST,
                Era::Modern => Revision::MODERN,
            },
            capabilities: ServerCapabilities {
                tools: true,
                ..ServerCapabilities::default()
            },
            name: "s".into(),
            version: "2".into(),
            instructions: String::new(),
            said: Box::default(),
        });
        let tools = br#"{"tools":[{"name":"t","inputSchema":{"type":"object"}},{"name":"u","inputSchema":{"type":"object"}}]}"#;
        let page = parse::check(tools).expect("JSON");
        take_page(Kind::Tools, tools, page, &mut listing.entries[0]).expect("a page");
        let report = Report::Listed {
            server: 0,
            capabilities: "{}".into(),
            principal: None,
            listing: Arc::new(listing),
        };
        self.directory.report(self.now, Wall(0), report);
        self.pass(Duration::from_millis(100));
    }

    // ── at the server ────────────────────────────────────────────────────────────────────────────

    /// What was written to a child, line by line, and not looked at before.
    pub(super) fn lines(&mut self, child: ConnectionId) -> Vec<Value> {
        let bytes = self.written.remove(&child).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
            .collect()
    }

    /// The request of that method that came last, to whichever child, and which one that is.
    pub(super) fn asked(&mut self, method: &str) -> (ConnectionId, Value) {
        let children = self.children.clone();
        let said: Vec<(ConnectionId, Value)> = children
            .into_iter()
            .flat_map(|child| self.lines(child).into_iter().map(move |line| (child, line)))
            .collect();
        let found = said.iter().rev().find(|(_, line)| line["method"] == method);
        found
            .unwrap_or_else(|| panic!("no {method} in {said:?}"))
            .clone()
    }

    /// The request of that method on a connection over HTTP, and which one that is; others are not looked at again.
    pub(super) fn posted(&mut self, method: &str) -> (ConnectionId, Value) {
        let mut said = Vec::new();
        for link in self.links.clone() {
            let request = self.heard(link);
            let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
            match serde_json::from_str::<Value>(body) {
                Ok(asked) if asked["method"] == method => return (link, asked),
                _ => said.push(request),
            }
        }
        panic!("no {method} in {said:?}")
    }

    /// Answers what was posted there.
    pub(super) fn responds(&mut self, link: ConnectionId, asked: &Value, result: &Value) {
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string();
        let length = answer.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: {length}\r\n\r\n{answer}");
        self.handle(Input::Received(link, whole.as_bytes()));
    }

    pub(super) fn says(&mut self, child: ConnectionId, message: &Value) {
        self.handle(Input::Received(child, format!("{message}\n").as_bytes()));
    }

    pub(super) fn answers(&mut self, child: ConnectionId, asked: &Value, result: &Value) {
        let message = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
        self.says(child, &message);
    }

    /// Has a modern server say what it grants of what it was asked to tell of.
    pub(super) fn acknowledges(&mut self, listen: &Value, granted: &Value) {
        let meta = json!({"io.modelcontextprotocol/subscriptionId": listen["id"]});
        let params = json!({"_meta": meta, "notifications": granted});
        let method = "notifications/subscriptions/acknowledged";
        let child = self.children[0];
        self.says(
            child,
            &json!({"jsonrpc": "2.0", "method": method, "params": params}),
        );
    }

    /// Has a server say that a resource changed.
    pub(super) fn updates(&mut self, uri: &str) {
        let (child, method) = (self.children[0], "notifications/resources/updated");
        let message = json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}});
        self.says(child, &message);
    }

    /// Has a legacy server ask for a form, under that id.
    pub(super) fn elicits(&mut self, child: ConnectionId, id: u64) {
        let params = json!({
            "message": format!("question {id}"),
            "requestedSchema": {"type": "object", "properties": {}},
        });
        let message =
            json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params});
        self.says(child, &message);
    }

    // ── at the client ────────────────────────────────────────────────────────────────────────────

    /// A modern client that sends this request and can be asked for forms.
    pub(super) fn modern(&mut self, method: &str, params: Value) -> ConnectionId {
        self.modern_with(method, params, &json!({"elicitation": {}}))
    }

    /// A modern client that sends this request and declares these capabilities.
    pub(super) fn modern_with(
        &mut self,
        method: &str,
        params: Value,
        capabilities: &Value,
    ) -> ConnectionId {
        self.modern_of("", method, params, capabilities)
    }

    /// The same, with these further fields.
    pub(super) fn modern_of(
        &mut self,
        fields: &str,
        method: &str,
        mut params: Value,
        capabilities: &Value,
    ) -> ConnectionId {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = Revision::MODERN.name().into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
        let name = match method {
            "tools/call" => format!("mcp-name: {}\r\n", params["name"].as_str().unwrap_or("")),
            _ => String::new(),
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let version = Revision::MODERN.name();
        let head =
            format!("mcp-protocol-version: {version}\r\nmcp-method: {method}\r\n{name}{fields}");
        self.post(&head, &body)
    }

    /// A modern client that listens for changes of these resources.
    pub(super) fn listens(&mut self, uris: &[&str]) -> ConnectionId {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        self.modern("subscriptions/listen", params)
    }

    /// A legacy client that opens a session and can be asked for forms.
    pub(super) fn introduces_itself(&mut self) -> ConnectionId {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": Revision::LATEST.name(), "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "c", "version": "1"},
        }});
        self.post("", &hello)
    }

    /// The same, until it has its session; the field that names that.
    pub(super) fn opens_session(&mut self) -> String {
        let client = self.introduces_itself();
        let welcome = self.heard(client);
        let mut lines = welcome.lines();
        let field = lines.find(|line| line.starts_with("mcp-session-id"));
        format!("{}\r\n", field.expect("a session"))
    }

    /// A client that posts this, with these further fields.
    pub(super) fn post(&mut self, fields: &str, body: &Value) -> ConnectionId {
        let from = ([127, 0, 0, 1], 9).into();
        let id = self.worker.accept(self.now, from, Front::Main);
        self.settle();
        self.post_on(id, fields, body);
        id
    }

    /// The same on a connection that is there.
    pub(super) fn post_on(&mut self, id: ConnectionId, fields: &str, body: &Value) {
        let body = body.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.handle(Input::Received(id, request.as_bytes()));
    }

    /// Has who took nothing take what it is sent.
    pub(super) fn hears(&mut self, client: ConnectionId) {
        self.deaf = None;
        self.take(client);
    }

    /// What a client was sent and has not looked at.
    pub(super) fn heard(&mut self, client: ConnectionId) -> String {
        String::from_utf8(self.written.remove(&client).unwrap_or_default()).expect("text")
    }

    /// What a client that listens has been told of, if it has been: resources in `resourceSubscriptions`.
    pub(super) fn told(&mut self, client: ConnectionId) -> Option<Value> {
        let heard = self.heard(client);
        let start = heard.find("{\"jsonrpc\"")?;
        let mut values = serde_json::Deserializer::from_str(&heard[start..]).into_iter::<Value>();
        let first = values.next()?.expect("of JSON");
        Some(first["params"]["notifications"]["resourceSubscriptions"].clone())
    }

    /// The JSON answer that a client was sent.
    pub(super) fn answer(&mut self, client: ConnectionId) -> Value {
        let heard = self.heard(client);
        let start = heard
            .find("{\"jsonrpc\"")
            .unwrap_or_else(|| panic!("no answer in {heard:?}"));
        let mut values = serde_json::Deserializer::from_str(&heard[start..]).into_iter();
        values.next().expect("an answer").expect("of JSON")
    }

    pub(super) fn hangs_up(&mut self, client: ConnectionId) {
        self.handle(Input::Failed(client, "connection reset".into()));
    }

    /// Has a modern client call a tool of a legacy server which asks it something; the child, what it was sent, and
    /// the state that the client was given.
    pub(super) fn parks(&mut self, tool: &str) -> (ConnectionId, Value, Value) {
        assert_eq!(self.era, Era::Legacy);
        let client = self.modern("tools/call", json!({"name": tool, "arguments": {}}));
        let (child, call) = self.asked("tools/call");
        self.elicits(child, 7);
        self.pass(Duration::from_millis(40));
        let answer = self.answer(client);
        let state = answer["result"]["requestState"].clone();
        assert!(state.is_string(), "{answer}");
        (child, call, state)
    }

    /// Has a client come back with that state and what it answers to the first question.
    pub(super) fn returns(&mut self, tool: &str, state: &Value) -> ConnectionId {
        let params = json!({
            "name": tool, "arguments": {}, "requestState": state,
            "inputResponses": {"elicitation-1": {"action": "accept", "content": {}}},
        });
        self.modern("tools/call", params)
    }
}

fn capabilities() -> Value {
    json!({"tools": {}, "resources": {"subscribe": true}, "logging": {}})
}

/// What every server answers to that.
fn usual_result(asked: &Value) -> Option<Value> {
    Some(match asked["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": Revision::LATEST.name(), "capabilities": capabilities(),
            "serverInfo": {"name": "s", "version": "1"},
        }),
        "server/discover" => json!({
            "resultType": "complete", "supportedVersions": [Revision::MODERN.name()],
            "capabilities": capabilities(), "ttlMs": 0, "cacheScope": "private",
        }),
        "tools/list" => json!({"tools": [
            {"name": "t", "inputSchema": {"type": "object"}},
            {"name": "u", "inputSchema": {"type": "object"}},
            {"name": "h", "inputSchema": {"type": "object", "properties": {
                "a": {"type": "string", "x-mcp-header": "a"},
            }}},
        ]}),
        "resources/list" => json!({"resources": [{"uri": "a:1", "name": "1"}]}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "logging/setLevel" => json!({}),
        _ => return None,
    })
}

fn config_over_http(era: Era) -> Config {
    let mut config = config(era);
    let mut server = (*config.servers[0]).clone();
    server.transport = Transport::Http(Http {
        scheme: Scheme::Http,
        host: "s".into(),
        port: 80,
        path: "/mcp".into(),
        headers: Vec::new(),
        speaks: Speaks::Streamable,
    });
    config.servers = vec![Arc::new(server)];
    config
}

fn config(era: Era) -> Config {
    let mut server = (*testing::server("s")).clone();
    // A lane is a child.
    server.connections = CHILDREN_MAX;
    server.era = match era {
        Era::Legacy => EraChoice::Legacy,
        Era::Modern => EraChoice::Modern,
    };
    let mut config = testing::config(vec![Arc::new(server)]);
    config.names = Names::Bare;
    config
}
