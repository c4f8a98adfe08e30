//! What a modern client makes of what it hears: whatever is another's, of another era, or not formed as it has
//! to be is found here.

use crate::caller::End;
use crate::reader::Heard;
use crate::world::World;
use serde_json::Value;
use switchbox::mcp::Era;
use switchbox::worker::effect::Close;

const SUBSCRIPTION: &str = "/_meta/io.modelcontextprotocol~1subscriptionId";
const SERVER: &str = "/_meta/io.modelcontextprotocol~1serverInfo";

impl World {
    pub(crate) fn caller_reads(&mut self, c: usize, number: u32, bytes: &[u8]) {
        let stdio = self.callers[c].stdio;
        let Some(line) = self.callers[c].lines.get_mut(&number) else {
            return;
        };
        let heard = match stdio {
            true => line.reader.read_lines(bytes),
            false => line.reader.read(bytes),
        };
        for heard in heard {
            self.caller_hears(c, number, heard);
        }
    }

    fn caller_hears(&mut self, c: usize, number: u32, heard: Heard) {
        let Some(line) = self.callers[c].lines.get_mut(&number) else {
            return;
        };
        let want = line.wants.front().copied();
        match heard {
            Heard::Head {
                status,
                session,
                closes,
                ..
            } => {
                assert!(want.is_some(), "m{c} was sent an answer to nothing");
                assert!(session.is_none(), "m{c} was given a session");
                line.last_response |= closes;
                line.status = status;
                if status == 408 && !line.prompt {
                    self.lose_line(c, number);
                }
            }
            Heard::Line(message) => self.on_line(c, number, &message),
            Heard::Message(message, at) => {
                assert!(at.is_none(), "an event with an id that is of no use");
                let request = want.expect("a message has a head before it");
                self.minded(c, number, request, &message);
            }
            Heard::End => {
                let request = line.wants.pop_front().expect("a response has a head");
                let (own, draining) = (&self.callers[c].requests[request], self.draining);
                let tag = &self.callers[c].quests[own.quest].tag;
                assert!(
                    own.answered || own.lost || (draining && own.granted.is_some()),
                    "{tag} ended without an answer"
                );
            }
            Heard::Id(_) | Heard::Endpoint(_) => panic!("m{c} hears {heard:?}"),
        }
    }

    /// A message on standard output: it has to say what it belongs to.
    fn on_line(&mut self, c: usize, number: u32, message: &Value) {
        let params = &message["params"];
        let id = message.get("id").or(params.pointer(SUBSCRIPTION));
        let about = id.or(params.get("progressToken"));
        let tag = params.pointer("/data/tag");
        let caller = &self.callers[c];
        let found = caller.requests.iter().position(|own| match about {
            Some(id) => *id == own.id,
            // Of several requests for the same, it is about one that wants to hear of it.
            None => tag.is_some_and(|tag| {
                *tag == *caller.quests[own.quest].tag && !own.answered && own.logs
            }),
        });
        let Some(request) = found else {
            panic!("m{c} hears of no request of its: {message}");
        };
        self.minded(c, number, request, message);
        if message.get("method").is_none()
            && let Some(line) = self.callers[c].lines.get_mut(&number)
        {
            line.wants.retain(|want| *want != request);
        }
    }

    fn minded(&mut self, c: usize, number: u32, request: usize, message: &Value) {
        self.note(format_args!("m{c} hears on {number}: {message}"));
        let own = &self.callers[c].requests[request];
        // On a line, what was under way when it was cancelled may still come.
        if own.lost && self.callers[c].stdio {
            return;
        }
        let tag = self.callers[c].quests[own.quest].tag.clone();
        assert!(!own.answered, "m{c} hears more after the answer to {tag}");
        match message["method"].as_str() {
            None => self.quest_answered(c, number, request, message),
            Some(method) => {
                assert!(message.get("id").is_none(), "m{c} is asked {message}");
                self.quest_told(c, request, method, &message["params"], &tag);
            }
        }
    }

    // ── on the way ───────────────────────────────────────────────────────────────────────────────

    fn quest_told(&mut self, c: usize, request: usize, method: &str, params: &Value, tag: &str) {
        let quest = self.callers[c].requests[request].quest;
        if self.callers[c].quests[quest].method == "subscriptions/listen" {
            return self.listener_told(c, request, method, params);
        }
        let own = &mut self.callers[c].requests[request];
        match method {
            "notifications/progress" => {
                assert_eq!(
                    params["progressToken"].as_u64(),
                    own.token,
                    "token of {tag}"
                );
                assert_eq!(params["message"], *tag, "progress of another request");
                let progress = params["progress"].as_f64().unwrap_or_default();
                assert!(progress > own.progress, "progress of {tag} does not rise");
                own.progress = progress;
                self.met_over(tag, "progress");
            }
            "notifications/message" => {
                assert!(own.logs, "m{c} hears a log that it did not ask for");
                let about = params.pointer("/data/tag").and_then(Value::as_str);
                assert_eq!(about, Some(tag), "m{c} hears what is about another");
                self.met_over(tag, "logging");
            }
            other => panic!("m{c} hears {other} while it waits for {tag}: {params}"),
        }
    }

    fn listener_told(&mut self, c: usize, request: usize, method: &str, params: &Value) {
        let caller = &mut self.callers[c];
        let own = &mut caller.requests[request];
        let id = params.pointer(SUBSCRIPTION).and_then(Value::as_u64);
        assert_eq!(id, Some(own.id), "m{c} hears of another's subscription");
        if method == "notifications/subscriptions/acknowledged" {
            let granted = params["notifications"].clone();
            assert!(own.granted.is_none(), "m{c} is told twice that it listens");
            let wanted = &caller.quests[own.quest].params["notifications"];
            for (kind, value) in granted.as_object().into_iter().flatten() {
                let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
                let all = list(&wanted[kind]);
                let within = list(value).iter().all(|uri| all.contains(uri));
                assert!(
                    wanted.get(kind).is_some() && within,
                    "granted unasked: {granted}"
                );
            }
            own.granted = Some(granted);
            return self.count("modern client listens");
        }
        let granted = own.granted.as_ref();
        let granted = granted.unwrap_or_else(|| panic!("m{c} hears {method} too early"));
        match method {
            "notifications/tools/list_changed" => {
                assert_eq!(granted["toolsListChanged"], true, "m{c} hears {method}");
                self.count("modern client heard of a change");
            }
            "notifications/prompts/list_changed" => {
                assert_eq!(granted["promptsListChanged"], true, "m{c} hears {method}");
            }
            "notifications/resources/updated" => {
                let uris = granted["resourceSubscriptions"].as_array();
                let own = uris.is_some_and(|uris| uris.contains(&params["uri"]));
                assert!(own, "m{c} hears of {}", params["uri"]);
                let uri = params["uri"].as_str().unwrap_or_default();
                if let Some(brain) = self.updated_at.get(uri) {
                    self.met(Era::Modern, *brain, "subscription");
                }
            }
            other => panic!("m{c} hears {other} where it listens"),
        }
    }

    // ── the answer ───────────────────────────────────────────────────────────────────────────────

    fn quest_answered(&mut self, c: usize, number: u32, request: usize, message: &Value) {
        let own = &mut self.callers[c].requests[request];
        own.answered = true;
        assert_eq!(message["id"].as_u64(), Some(own.id), "m{c} got {message}");
        let (quest, unwelcome) = (own.quest, own.unwelcome);
        let line = &self.callers[c].lines[&number];
        let (status, stdio) = (line.status, self.callers[c].stdio);
        let quest_now = self.callers[c].quests[quest].clone();
        let (tag, method) = (quest_now.tag.clone(), quest_now.method);
        let echo = message
            .pointer("/result/echo")
            .or(message.pointer("/error/data/echo"));
        if let Some(echo) = echo {
            assert_eq!(*echo, *tag, "misrouted: m{c} asked {tag} and got {message}");
        }
        if let Some((expected, code)) = quest_now.wrong {
            let found = message.pointer("/error/code").and_then(Value::as_i64);
            let busy = found == Some(-32006);
            assert!(
                busy || (found == Some(code) && (stdio || status == expected)),
                "{tag} is wrong and got HTTP {status}, {message}"
            );
            assert!(!self.asked_at.contains_key(&tag), "{tag} reached a server");
        }
        let end = match (message.get("result"), echo) {
            (Some(result), _) => {
                // What a server kept is gone when it comes back in the other era: then a call is as new.
                let brain = self
                    .asked_at
                    .get(&tag)
                    .map(|brain| self.brains[*brain].server);
                let doubtful = brain.is_some_and(|server| self.specs[server].doubtful);
                assert!(
                    !unwelcome || doubtful,
                    "{tag} was let in with a state that is not its: {result}"
                );
                assert!(stdio || status == 200, "HTTP {status} for {result}");
                if !self.check_result(c, quest, method, result) {
                    return;
                }
                if crate::calls::METHODS.contains(&method) {
                    assert!(echo.is_some(), "a call's result is its server's: {message}");
                }
                self.met_over(&tag, method);
                End::Result
            }
            (None, Some(_)) => End::ServerError,
            (None, None) => {
                let code = message.pointer("/error/code").and_then(Value::as_i64);
                let code = code.unwrap_or_else(|| panic!("m{c} got {message}"));
                let lawful = match code {
                    -32022..=-32020 => status == 400,
                    -32601 => status == 404,
                    -32602 => matches!(status, 200 | 400),
                    -32006 => status == 503,
                    _ => status == 200,
                };
                assert!(
                    lawful || stdio || status == 200,
                    "HTTP {status} for {message}"
                );
                self.count(match code {
                    -32021 => "modern client lacks a capability",
                    -32602 if unwelcome => "state not taken",
                    -32602 => "modern request: not known",
                    _ => "modern request refused otherwise",
                });
                End::Refused(code)
            }
        };
        // Who comes back with what is no answer may still come back with one.
        let tries = self.tampered.contains(&tag) && matches!(end, End::Refused(_));
        let again = quest_now.sealed && quest_now.end == Some(End::Result);
        assert!(!(again && end == End::Result), "{tag} was answered twice");
        if !unwelcome && !tries {
            self.callers[c].quests[quest].end = Some(end);
        }
    }

    /// Checks that a result is formed as it has to be; whether it is the last.
    fn check_result(&mut self, c: usize, quest: usize, method: &str, result: &Value) -> bool {
        let server = result.pointer(SERVER);
        assert!(
            server.is_some() || method == "subscriptions/listen",
            "a result does not say whose it is: {result}"
        );
        let kind = result["resultType"].as_str();
        if kind == Some("input_required") {
            let asks = ["tools/call", "prompts/get", "resources/read"].contains(&method);
            assert!(asks, "{method} was answered with {result}");
            self.check_questions(c, quest, result);
            self.asked_to_return(c, quest, result);
            return false;
        }
        assert_eq!(
            kind,
            Some("complete"),
            "a result is not said to be one: {result}"
        );
        let cacheable = method.ends_with("/list") || method == "server/discover";
        if cacheable || method == "resources/read" {
            let fields = result["ttlMs"].is_u64() && result["cacheScope"].is_string();
            assert!(fields, "how long it may be kept is not said: {result}");
        }
        if let Some(kind) = method.strip_suffix("/list") {
            self.met_in_list(Era::Modern, method, &result[kind]);
            for entry in result[kind].as_array().into_iter().flatten() {
                assert!(entry.get("execution").is_none(), "legacy: {entry}");
            }
        }
        true
    }

    fn check_questions(&mut self, c: usize, quest: usize, result: &Value) {
        self.count("modern client asked");
        let tag = &self.callers[c].quests[quest].tag;
        let requests = result.get("inputRequests").and_then(Value::as_object);
        let state = result.get("requestState");
        assert!(
            state.is_none_or(Value::is_string),
            "state of {tag}: {result}"
        );
        let none = requests.is_none_or(|requests| requests.is_empty());
        assert!(!none || state.is_some(), "{tag} is asked nothing: {result}");
        for request in requests.into_iter().flat_map(|requests| requests.values()) {
            let method = request["method"].as_str().unwrap_or_default();
            let capability = method.split('/').next().unwrap_or_default();
            let declared = self.callers[c].capabilities.get(capability);
            assert!(
                declared.is_some(),
                "m{c} was asked for {method}, which it has not declared"
            );
            let about = request.pointer("/params/metadata/tag");
            assert!(
                method == "roots/list" || about.is_some_and(|about| *about == **tag),
                "m{c} hears what is about another: {request}"
            );
        }
    }

    /// Entries of a list say where they were listed.
    pub(crate) fn met_in_list(&mut self, client: Era, method: &str, entries: &Value) {
        for entry in entries.as_array().into_iter().flatten() {
            let at = entry["description"].as_str();
            let at = at.and_then(|at| at.strip_prefix("at ")?.parse().ok());
            if let Some(brain) = at {
                self.met(client, brain, method);
            }
        }
    }

    /// The gateway closed a connection.
    pub(crate) fn caller_cut_off(&mut self, c: usize, number: u32, how: Close) {
        let Some(line) = self.callers[c].lines.get(&number) else {
            return;
        };
        let lawful = line.wants.is_empty() || !line.prompt || line.last_response || self.draining;
        assert!(lawful, "m{c} was cut off ({how:?}) while it waited");
        self.lose_line(c, number);
    }
}
