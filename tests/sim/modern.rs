//! Servers of the modern era: what they expect of every request, and how they introduce themselves.

use crate::server::{Doing, owner};
use crate::spec::Spec;
use crate::world::{Action, Plant, World};
use serde_json::{Value, json};
use switchbox::http::RequestHead;
use switchbox::mcp::Era;

const VERSION: &str = "2026-07-28";

impl World {
    /// Takes in a request that says of itself that it is modern.
    pub(crate) fn asked_modern(
        &mut self,
        brain: usize,
        method: &str,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let server = self.brains[brain].server;
        self.brains[brain].era = Era::Modern;
        let meta = &params["_meta"];
        let member = |name: &str| &meta[format!("io.modelcontextprotocol/{name}")];
        assert_eq!(
            member("protocolVersion"),
            VERSION,
            "another revision: {params}"
        );
        for name in ["clientCapabilities", "clientInfo"] {
            assert!(member(name).is_object(), "{name} is missing: {params}");
        }
        let faults = self.specs[server].faults;
        let mut result = match method {
            "server/discover" => {
                if self.fault(faults * 2, "server/discover never answered") {
                    self.specs[server].doubtful = true;
                    return;
                }
                json!({"supportedVersions": [VERSION], "capabilities": crate::offers::capabilities()})
            }
            "tools/call" | "prompts/get" | "resources/read" => {
                return self.called_modern(brain, method, id, params, web);
            }
            "completion/complete" => self.completion(brain, params),
            "subscriptions/listen" => return self.listened(brain, id, params, web),
            _ => match self.listed(brain, method, params) {
                Some(result) => result,
                None => panic!("a modern server was asked for {method}"),
            },
        };
        self.make_modern(method, &mut result);
        self.reply_in_time(brain, id, web, result);
    }

    /// Gives a result what the modern era demands of it.
    pub(crate) fn make_modern(&mut self, method: &str, result: &mut Value) {
        if result.get("resultType").is_none() && self.plant != Some(Plant::TypeMissing) {
            result["resultType"] = json!("complete");
        }
        let complete = result["resultType"] != "input_required";
        if complete && is_cacheable(method) {
            result["ttlMs"] = json!(self.chance.below(3) * 1000);
            result["cacheScope"] = json!(*self.chance.pick(&["public", "private"]));
        }
        let server = json!({"name": "sim", "version": "2"});
        result["_meta"] = json!({"io.modelcontextprotocol/serverInfo": server});
    }

    /// A modern server that does not know sessions is told something in a legacy manner.
    pub(crate) fn refuse_legacy(
        &mut self,
        brain: usize,
        id: &Value,
        params: &Value,
        web: Option<usize>,
    ) {
        let spec = &self.specs[self.brains[brain].server];
        check_doubted(spec, params);
        self.count("legacy request refused by a modern server");
        let answer = json!({"jsonrpc": "2.0", "id": id, "error": unsupported()});
        match web {
            None => self.say(brain, &answer),
            Some(web) => self.web_reply(web, brain, &answer),
        }
    }

    /// Which brain of a modern HTTP server takes what comes: there are no sessions, so there is one.
    pub(crate) fn modern_brain(&mut self, server: usize) -> usize {
        let only = self.brains.iter().position(|brain| {
            brain.server == server
                && brain.alive
                && brain.era == Era::Modern
                && brain.place.is_none()
        });
        only.unwrap_or_else(|| self.new_brain(server, None))
    }

    /// A modern request's head repeats what its body says, and names no session.
    pub(crate) fn check_head(&self, head: &RequestHead<'_>, text: &[u8], message: &Value) {
        let text = String::from_utf8_lossy(text);
        let field = |name: &str| {
            let own = |line: &&str| {
                let key = line.split(':').next().unwrap_or_default();
                key.eq_ignore_ascii_case(name)
            };
            let mut lines = text.split("\r\n").skip(1).filter(own);
            let value = lines.next()?.split_once(':')?.1.trim();
            assert!(lines.next().is_none(), "{name} twice: {text}");
            Some(value.to_string())
        };
        let params = &message["params"];
        assert!(head.session_id.is_none(), "a session: {text}");
        assert!(head.last_event_id.is_none(), "an event's id: {text}");
        assert_eq!(field("mcp-protocol-version").as_deref(), Some(VERSION));
        assert_eq!(field("mcp-method").as_deref(), message["method"].as_str());
        let name = match message["method"].as_str() {
            Some("tools/call" | "prompts/get") => params["name"].as_str(),
            Some("resources/read") => params["uri"].as_str(),
            _ => None,
        };
        assert_eq!(field("mcp-name").as_deref(), name, "{text} {message}");
        if message["method"] == "tools/call" {
            let tag = params.pointer("/arguments/tag").and_then(Value::as_str);
            assert_eq!(field("mcp-param-tag").as_deref(), tag, "{text} {message}");
        }
        for kind in ["application/json", "text/event-stream"] {
            let accepts = field("accept").is_some_and(|accepts| accepts.contains(kind));
            assert!(accepts, "{kind} is not accepted: {text}");
        }
    }

    /// Whether two who asked may take turns in one conversation that a modern client has alone.
    pub(crate) fn is_same(&self, one: &str, other: &str) -> bool {
        let principal = |name: &str| {
            let number = owner(name).strip_prefix('m')?.parse::<usize>().ok()?;
            Some(self.callers[number].key)
        };
        one == other || (principal(one).is_some() && principal(one) == principal(other))
    }

    /// Ends a listen in good order, in a while.
    pub(crate) fn stop_listening_later(&mut self, brain: usize, listen: u64) {
        let delay = self.chance.millis(2000);
        self.after(delay, Action::Brain(brain, Doing::StopListening(listen)));
    }
}

fn is_cacheable(method: &str) -> bool {
    method.ends_with("/list")
        || matches!(method, "resources/read" | "server/discover")
        || method == "resources/templates/list"
}

/// Nobody is told anything in a legacy manner who has always said that it is modern.
pub(crate) fn check_doubted(spec: &Spec, message: &Value) {
    assert!(
        spec.doubtful,
        "{} is modern and was sent {message}",
        spec.name
    );
}

/// What a modern server says to a revision that it does not speak.
pub(crate) fn unsupported() -> Value {
    let data = json!({"supported": [VERSION], "requested": "?"});
    json!({"code": -32022, "message": "Unsupported protocol version", "data": data})
}
