//! A client as a test of all cells sees it: of either era, over HTTP or stdio. What it is told is held to
//! the rules of its era, whatever the test is about.

use super::modern::Modern;
use super::pipe::Pipe;
use super::session::Standing;
use serde_json::{Value, json};

/// Whether a client speaks of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

pub(crate) const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

/// Where the members of the protocol's own live in `_meta`.
pub(crate) const OWN: &str = "io.modelcontextprotocol/";

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The whole answer.
    pub(crate) answer: Value,
    /// The notifications before it.
    pub(crate) told: Vec<Value>,
    /// What was asked before it.
    pub(crate) asked: Vec<Value>,
}

impl Heard {
    /// What a tool's result says.
    pub(crate) fn text(&self) -> String {
        super::session::text(&self.answer)
    }

    /// The same, if it is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn result(&self) -> &Value {
        let result = self.answer.get("result");
        result.unwrap_or_else(|| panic!("no result in {self:?}"))
    }

    pub(crate) fn code(&self) -> &Value {
        &self.answer["error"]["code"]
    }

    /// What was told under that method.
    pub(crate) fn told_of(&self, method: &str) -> Vec<&Value> {
        let own = self.told.iter().filter(|told| told["method"] == method);
        own.map(|told| &told["params"]).collect()
    }
}

/// How a client answers what it is asked: a bare result, or `{"error": …}`.
pub(crate) type Reply<'a> = &'a dyn Fn(&Value) -> Value;

pub(crate) trait Client: Send {
    fn era(&self) -> Era;

    /// Sends a request, answers what is asked on the way, for as many rounds as it takes.
    fn heard(&mut self, method: &str, params: Value, reply: Reply<'_>) -> Heard;

    /// Wants logs from that level on.
    fn set_level(&mut self, level: &str);

    /// Wants to be told of these things; `wanted` is as in `subscriptions/listen`.
    fn watch(&mut self, wanted: Value);

    /// The next notification that belongs to no request.
    fn news(&mut self) -> Value;

    /// Sends a request and cancels it when `ready` has returned.
    fn abandon(&mut self, method: &str, params: Value, ready: &dyn Fn());

    fn ask(&mut self, method: &str, params: Value) -> Heard {
        self.heard(method, params, &|asked| panic!("nobody answers {asked}"))
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Heard {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    fn call_while(&mut self, tool: &str, arguments: Value, reply: Reply<'_>) -> Heard {
        let params = json!({"name": tool, "arguments": arguments});
        self.heard("tools/call", params, reply)
    }

    /// The next news of that method; what comes before it is passed over.
    fn news_of(&mut self, method: &str) -> Value {
        loop {
            let news = self.news();
            if news["method"] == method {
                return news["params"].clone();
            }
        }
    }
}

/// All that a client can declare of what it can be asked.
pub(crate) fn everything() -> Value {
    json!({"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}})
}

/// What a client answers that has `tag` to say; it must be asked for that and nothing else.
pub(crate) fn reply_with(tag: &str) -> impl Fn(&Value) -> Value {
    move |asked| {
        let params = &asked["params"];
        match asked["method"].as_str().unwrap_or_default() {
            "elicitation/create" => {
                assert_eq!(params["message"], tag, "{asked}");
                match params["mode"] == "url" {
                    true => json!({"action": "accept"}),
                    false => json!({"action": "accept", "content": {"name": tag}}),
                }
            }
            "sampling/createMessage" => {
                assert_eq!(params["messages"][0]["content"]["text"], tag, "{asked}");
                let content = json!({"type": "text", "text": tag});
                json!({"role": "assistant", "model": "m", "content": content})
            }
            "roots/list" => json!({"roots": [{"uri": format!("file:///{tag}")}]}),
            other => panic!("nobody can be asked {other}"),
        }
    }
}

/// What a tool says that has asked someone who answers as [`reply_with`] does.
pub(crate) fn replied(tool: &str, tag: &str) -> Value {
    let answer = |method: &str, mode: &str| {
        let params =
            json!({"mode": mode, "message": tag, "messages": [{"content": {"text": tag}}]});
        reply_with(tag)(&json!({"method": method, "params": params}))
    };
    let form = answer("elicitation/create", "form");
    match tool {
        "elicit" | "ask_name" | "secret" | "report_and_ask" => form,
        "elicit_url" => answer("elicitation/create", "url"),
        "sample" => answer("sampling/createMessage", ""),
        "roots" => answer("roots/list", ""),
        "three_at_once" => json!([
            form,
            answer("sampling/createMessage", ""),
            answer("roots/list", "")
        ]),
        "two_rounds" => json!([form, form]),
        other => panic!("{other} asks nothing"),
    }
}

/// Holds what came of a request to the rules of the client's era.
pub(crate) fn check(era: Era, method: &str, params: &Value, heard: &Heard) {
    let result = &heard.answer["result"];
    let error = &heard.answer["error"];
    assert!(result.is_null() != error.is_null(), "{heard:?}");
    match era {
        Era::Modern => check_modern(method, params, result, error),
        Era::Legacy => check_legacy(method, result, error, &heard.asked),
    }
    check_told(params, heard);
}

fn check_modern(method: &str, params: &Value, result: &Value, error: &Value) {
    assert!(
        error["code"] != -32002 && error["code"] != -32042,
        "a code of the other era: {error}"
    );
    if result.is_null() {
        return;
    }
    let kind = result["resultType"].as_str();
    assert!(kind.is_some(), "{method}: no resultType in {result}");
    let info = &result["_meta"][format!("{OWN}serverInfo")];
    assert!(
        info["name"].is_string() || kind == Some("input_required"),
        "{method}: no serverInfo in {result}"
    );
    let is_list = method.ends_with("/list") || method == "resources/templates/list";
    let is_kept = is_list || matches!(method, "server/discover" | "resources/read");
    if is_kept && kind == Some("complete") {
        assert!(result["ttlMs"].is_u64(), "{method}: no ttlMs in {result}");
        let scope = result["cacheScope"].as_str();
        assert!(
            scope == Some("public") || scope == Some("private"),
            "{method}: no cacheScope in {result}"
        );
    }
    for tool in result["tools"].as_array().into_iter().flatten() {
        assert!(tool.get("execution").is_none(), "{tool}");
    }
    if params.get("task").is_some() {
        panic!("a modern client knows no task in {params}");
    }
}

fn check_legacy(method: &str, result: &Value, error: &Value, asked: &[Value]) {
    let code = error["code"].as_i64().unwrap_or(0);
    assert!(
        !(-32099..=-32020).contains(&code) || code == -32077 || code == -32042,
        "a code of the other era: {error}"
    );
    for member in [
        "resultType",
        "ttlMs",
        "cacheScope",
        "inputRequests",
        "requestState",
    ] {
        assert!(
            result.get(member).is_none(),
            "{method}: {member} in {result}"
        );
    }
    let meta = result["_meta"].as_object().into_iter().flatten();
    for (key, _) in meta {
        assert!(
            !key.starts_with(OWN) || key.ends_with("/related-task"),
            "{method}: {key} in {result}"
        );
    }
    let structured = result.get("structuredContent");
    assert!(
        structured.is_none_or(Value::is_object),
        "{method}: {structured:?}"
    );
    for tool in result["tools"].as_array().into_iter().flatten() {
        let schema = tool.get("outputSchema");
        assert!(
            schema.is_none_or(|schema| schema["type"] == "object"),
            "{tool}"
        );
    }
    for asked in asked
        .iter()
        .filter(|own| own["method"] == "elicitation/create")
    {
        let params = &asked["params"];
        match params["mode"].as_str() {
            Some("url") => assert!(params["elicitationId"].is_string(), "{asked}"),
            Some("form") => assert!(params["requestedSchema"].is_object(), "{asked}"),
            other => panic!("mode {other:?} in {asked}"),
        }
    }
}

/// Progress has the token that was given and rises; nothing is told that belongs to no request.
fn check_told(params: &Value, heard: &Heard) {
    let token = &params["_meta"]["progressToken"];
    let mut last = f64::MIN;
    for told in &heard.told {
        match told["method"].as_str().unwrap_or_default() {
            "notifications/progress" => {
                assert_eq!(told["params"]["progressToken"], *token, "{told}");
                let progress = told["params"]["progress"].as_f64().expect("a number");
                assert!(progress > last, "{progress} after {last}: {heard:?}");
                last = progress;
            }
            "notifications/message" => {}
            other => panic!("{other} belongs to no request"),
        }
    }
}

/// A client of that era over HTTP that declares `capabilities`.
pub(crate) fn over_http(
    address: std::net::SocketAddr,
    era: Era,
    capabilities: Value,
) -> Box<dyn Client> {
    match era {
        Era::Legacy => Box::new(Standing::open(address, capabilities)),
        Era::Modern => Box::new(Modern::declaring(address, capabilities)),
    }
}

/// The same in front of `switchbox stdio`.
pub(crate) fn over_stdio(servers: &Value, era: Era, capabilities: Value) -> Box<dyn Client> {
    Box::new(Pipe::open(servers, era, capabilities))
}
