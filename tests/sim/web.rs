//! A connection to one of the HTTP servers: requests in, JSON and event streams out.

use crate::calls::Call;
use crate::modern::{check_doubted, unsupported};
use crate::server::is_modern;
use crate::spec::Probe;
use crate::world::{Action, Peer, Place, World};
use serde_json::{Value, json};
use switchbox::http::body::write_chunk;
use switchbox::http::{Framing, Method, RequestHead};
use switchbox::mcp::Era;

/// A connection to an HTTP server.
pub(crate) struct Web {
    pub(crate) server: usize,
    pub(crate) place: Place,
    input: Vec<u8>,
    pub(crate) state: State,
    alive: bool,
    /// Whether this response is the connection's last.
    pub(crate) closes: bool,
}

/// A request, as far as its head says what becomes of it.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    session: Option<usize>,
    last: Option<String>,
    pub(crate) message: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A request.
    Idle,
    /// Its answer.
    Answering,
    /// More of a stream; the call that it is about, if it is about one.
    Streaming(usize, Option<u64>),
}

const SESSION: &str = "sim-session-";

impl World {
    pub(crate) fn dial(&mut self, place: Place, name: &str) {
        let server = self.server_named(name);
        self.webs.push(Web {
            server,
            place,
            input: Vec::new(),
            state: State::Idle,
            alive: true,
            closes: false,
        });
        self.wire(place, Peer::Web(self.webs.len() - 1), false);
        let down = self.specs[server].down_until > self.now && !self.calm;
        let refused = down || self.fault(self.specs[server].faults * 3, "connection refused");
        let outcome = match refused {
            true => Err("connection refused".into()),
            false => Ok(()),
        };
        let delay = self.chance.millis(5);
        self.after(delay, Action::Connect(place, outcome));
    }

    pub(crate) fn web_cut_off(&mut self, web: usize) {
        self.webs[web].alive = false;
        match self.webs[web].state {
            State::Streaming(brain, Some(call)) => {
                if let Some(call) = self.brains[brain].calls.get_mut(&call)
                    && call.web == Some(web)
                {
                    call.web = None;
                }
            }
            State::Streaming(brain, None) if self.brains[brain].standing == Some(web) => {
                self.brains[brain].standing = None;
                // All that there is of such a conversation is its stream.
                self.brains[brain].alive &= !self.specs[self.brains[brain].server].is_older();
            }
            _ => {}
        }
        self.hung_up(web);
    }

    /// Whether a connection is one of this server's, and open.
    pub(crate) fn serves(&self, web: usize, server: usize) -> bool {
        self.webs[web].alive && self.webs[web].server == server
    }

    pub(crate) fn serves_which(&self, web: usize) -> usize {
        self.webs[web].server
    }

    pub(crate) fn break_web(&mut self, web: usize) {
        let place = self.webs[web].place;
        self.web_cut_off(web);
        self.webs[web].alive = false;
        match self.chance.one_in(2) {
            true => self.reset(place),
            false => self.end(place, None),
        }
    }

    // ── requests ─────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn web_reads(&mut self, web: usize, bytes: &[u8]) {
        if !self.webs[web].alive {
            return;
        }
        assert_eq!(
            self.webs[web].state,
            State::Idle,
            "a server is sent a request too early"
        );
        self.webs[web].input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.webs[web].input);
        let parsed = RequestHead::parse(&input).expect("a server is sent a lawful head");
        let Some((head, used)) = parsed else {
            self.webs[web].input = input;
            return;
        };
        let length = match head.framing {
            Framing::None => 0,
            Framing::Length(length) => length as usize,
            Framing::Chunked => panic!("servers are sent bodies of known length"),
        };
        if input.len() < used + length {
            self.webs[web].input = input;
            return;
        }
        assert_eq!(
            input.len(),
            used + length,
            "a server is sent more than a request"
        );
        let session = head.session_id.and_then(|id| id.strip_prefix(SESSION));
        let session = session.map(|id| id.parse::<usize>().expect("an id of ours"));
        let message: Value = match length {
            0 => Value::Null,
            _ => serde_json::from_slice(&input[used..]).expect("a server is sent JSON"),
        };
        self.webs[web].state = State::Answering;
        let server = self.webs[web].server;
        self.webs[web].closes = self.chance.one_in(6);
        if self.fault(self.specs[server].faults * 8, "server lost its connection") {
            return self.break_web(web);
        }
        let asked = Asked {
            method: head.method,
            path: head.target.path.to_string(),
            query: head.target.query.map(String::from),
            session,
            last: head.last_event_id.map(String::from),
            message,
        };
        let spec = self.specs[server].clone();
        match (spec.is_modern(), is_modern(&asked.message)) {
            _ if spec.is_older() => self.take_older(web, &asked),
            (true, true) => {
                self.check_head(&head, &input[..used], &asked.message);
                let brain = self.modern_brain(server);
                self.brain_hears(brain, &asked.message, Some(web));
            }
            (true, false) if !spec.dual => self.refuse_older(web, asked),
            (false, true) => self.refuse_modern(web, asked),
            _ => self.take_request(web, asked),
        }
    }

    /// A modern server is sent what only legacy ones understand.
    fn refuse_older(&mut self, web: usize, asked: Asked) {
        check_doubted(&self.specs[self.webs[web].server], &asked.message);
        if asked.method != Method::Post {
            return self.respond(web, 405, None, None);
        }
        self.count("legacy request refused by a modern server");
        let id = &asked.message["id"];
        let error = json!({"jsonrpc": "2.0", "id": id, "error": unsupported()});
        self.respond(web, 400, None, Some(&error));
    }

    /// A legacy server is sent what only modern ones understand.
    fn refuse_modern(&mut self, web: usize, asked: Asked) {
        let spec = self.specs[self.webs[web].server].clone();
        let probes = asked.message["method"] == "server/discover";
        assert!(
            probes || spec.doubtful,
            "{} is legacy and was sent {}",
            spec.name,
            asked.message
        );
        let silent = spec.probe == Probe::Ignores && probes;
        if silent || self.fault(spec.faults * 2, "server/discover never answered") {
            return self.count("server/discover ignored");
        }
        self.count("modern request refused by a legacy server");
        let error = match spec.sessions {
            true => json!({"code": -32000, "message": "Bad Request: Server not initialized"}),
            false => json!({"code": -32600, "message": "Unsupported protocol version"}),
        };
        let error = json!({"jsonrpc": "2.0", "id": null, "error": error});
        self.respond(web, 400, None, Some(&error));
    }

    fn take_request(&mut self, web: usize, asked: Asked) {
        let Asked {
            method,
            session,
            last,
            message,
            ..
        } = asked;
        let server = self.webs[web].server;
        let spec = self.specs[server].clone();
        let opens = message["method"] == "initialize";
        let brain = match session {
            _ if opens && spec.sessions => Some(self.new_brain(server, None)),
            Some(brain) => {
                assert_eq!(
                    self.brains[brain].server, server,
                    "session of another server"
                );
                let lost = self.fault(spec.faults * 8, "session forgotten");
                self.brains[brain].alive &= !lost;
                Some(brain).filter(|brain| self.brains[*brain].alive)
            }
            None => {
                assert!(
                    !spec.sessions,
                    "a request without the session that was given"
                );
                let only = self.brains.iter().position(|brain| {
                    brain.server == server && brain.alive && brain.era == Era::Legacy
                });
                Some(only.unwrap_or_else(|| self.new_brain(server, None)))
            }
        };
        let Some(brain) = brain else {
            self.count("HTTP 404 from a server");
            let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "Session not found"}});
            return self.respond(web, 404, None, Some(&error));
        };
        match method {
            Method::Get => self.open_stream(web, brain, last.as_deref()),
            Method::Delete => {
                self.count("session ended at server");
                self.brains[brain].alive = !spec.sessions;
                self.respond(web, 200, None, None);
            }
            _ if message.get("method").is_some() && message.get("id").is_some() => {
                self.brain_hears(brain, &message, Some(web));
            }
            _ => {
                self.brain_hears(brain, &message, None);
                self.respond(web, 202, None, None);
            }
        }
    }

    fn open_stream(&mut self, web: usize, brain: usize, last: Option<&str>) {
        let spec = &self.specs[self.webs[web].server];
        let place = last.and_then(|last| last.split_once('.'));
        let call =
            place.and_then(|(call, number)| Some((call.parse().ok()?, number.parse().ok()?)));
        match call {
            Some((key, seen)) => {
                self.count("stream caught up at server");
                let Some(call) = self.brains[brain].calls.get_mut(&key) else {
                    return self.respond(web, 400, None, None);
                };
                call.web = Some(web);
                let (missed, answered) = (
                    call.said.get::<std::ops::RangeFrom<usize>>(seen..),
                    call.answered,
                );
                let missed = missed.unwrap_or_default().to_vec();
                self.begin_reply(web, brain, key, true);
                for (place, message) in missed.iter().enumerate() {
                    self.web_event(web, Some((key, seen + place + 1)), message);
                }
                if answered {
                    self.end_stream(web);
                }
            }
            None if spec.standing => {
                self.count("standing stream at server");
                self.begin_listen(web, brain);
                self.brains[brain].standing = Some(web);
            }
            None => self.respond(web, 405, None, None),
        }
    }

    /// Begins a stream that belongs to no call.
    pub(crate) fn begin_listen(&mut self, web: usize, brain: usize) {
        self.webs[web].state = State::Streaming(brain, None);
        self.webs[web].closes = false;
        let place = self.webs[web].place;
        self.send(place, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    // ── answers ──────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn respond(
        &mut self,
        web: usize,
        status: u16,
        session: Option<usize>,
        body: Option<&Value>,
    ) {
        let (place, closes) = (self.webs[web].place, self.webs[web].closes);
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        if let Some(brain) = session {
            head += &format!("Mcp-Session-Id: {SESSION}{brain}\r\n");
        }
        if !body.is_empty() {
            head += "Content-Type: application/json\r\n";
        }
        if closes {
            head += "Connection: close\r\n";
        }
        let mut bytes = head.into_bytes();
        match self.chance.below(3) {
            0 => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let (one, other) = body.as_bytes().split_at(body.len() / 2);
                for part in [one, other] {
                    if !part.is_empty() {
                        write_chunk(&mut bytes, part);
                    }
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            _ => {
                bytes.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
                );
                bytes.extend_from_slice(body.as_bytes());
            }
        }
        let faults = self.specs[self.webs[web].server].faults;
        if self.fault(faults * 8, "answer cut off") {
            bytes.truncate(bytes.len() / 2);
            self.send(place, &bytes);
            return self.break_web(web);
        }
        self.send(place, &bytes);
        self.over(web);
    }

    fn over(&mut self, web: usize) {
        self.webs[web].state = State::Idle;
        if self.webs[web].closes {
            let place = self.webs[web].place;
            self.webs[web].alive = false;
            self.end(place, None);
        }
    }

    /// A request other than a call is answered.
    pub(crate) fn web_reply(&mut self, web: usize, brain: usize, message: &Value) {
        if !self.webs[web].alive {
            return;
        }
        let opens = message.pointer("/result/protocolVersion").is_some();
        let spec = &self.specs[self.webs[web].server];
        let session = (opens && spec.sessions).then_some(brain);
        let code = message.pointer("/error/code").and_then(Value::as_i64);
        let status = match (code, self.brains[brain].era) {
            (Some(-32022..=-32020), _) => 400,
            (Some(-32601), Era::Modern) => 404,
            (Some(-32602), Era::Modern) if self.chance.one_in(2) => 400,
            _ => 200,
        };
        self.respond(web, status, session, Some(message));
    }

    /// Begins the answer to a call, if it is to be a stream.
    pub(crate) fn begin_reply(&mut self, web: usize, brain: usize, key: u64, streams: bool) {
        if !streams {
            self.webs[web].state = State::Answering;
            return;
        }
        self.count("call answered by a stream");
        self.webs[web].state = State::Streaming(brain, Some(key));
        let (place, closes) = (self.webs[web].place, self.webs[web].closes);
        let mut head = String::from("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        if closes {
            head += "Connection: close\r\n";
        }
        head += "Transfer-Encoding: chunked\r\n\r\n";
        self.send(place, head.as_bytes());
        let legacy = self.brains[brain].era == Era::Legacy;
        if legacy && self.specs[self.webs[web].server].resumable {
            let mut chunk = Vec::new();
            write_chunk(
                &mut chunk,
                format!("id: {key}.0\nretry: 50\ndata:\n\n").as_bytes(),
            );
            self.send(place, &chunk);
        }
    }

    pub(crate) fn say_on_stream(&mut self, brain: usize, key: u64, message: Value) {
        let Some(call) = self.brains[brain].calls.get_mut(&key) else {
            return;
        };
        let Call { said, web, .. } = call;
        said.push(message.clone());
        let number = said.len();
        if let Some(web) = *web {
            let at = (self.brains[brain].era == Era::Legacy).then_some((key, number));
            self.web_event(web, at, &message);
        }
    }

    pub(crate) fn web_event(&mut self, web: usize, at: Option<(u64, usize)>, message: &Value) {
        if !self.webs[web].alive {
            return;
        }
        let (server, place) = (self.webs[web].server, self.webs[web].place);
        let mut event = String::new();
        if let Some((key, number)) = at
            && self.specs[server].resumable
        {
            event += &format!("id: {key}.{number}\n");
        }
        event += &format!("event: message\ndata: {message}\n\n");
        let mut chunk = Vec::new();
        write_chunk(&mut chunk, event.as_bytes());
        self.send(place, &chunk);
        if self.fault(self.specs[server].faults * 4, "server's stream broke") {
            self.break_web(web);
        }
    }

    pub(crate) fn end_stream(&mut self, web: usize) {
        if self.webs[web].alive {
            self.send(self.webs[web].place, b"0\r\n\r\n");
            self.over(web);
        }
    }

    /// The answer to a call.
    pub(crate) fn finish_call(&mut self, brain: usize, key: u64, answer: &Value) {
        let call = &self.brains[brain].calls[&key];
        let (web, streams) = (call.web, call.streams);
        if streams {
            self.say_on_stream(brain, key, answer.clone());
            if let Some(web) = web {
                self.end_stream(web);
            }
        } else if let Some(web) = web
            && self.webs[web].alive
        {
            self.respond(web, 200, None, Some(answer));
        }
    }
}
