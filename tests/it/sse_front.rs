//! Clients that only know the HTTP+SSE transport of 2024-11-05: everything that others have, on one stream.

use crate::fixture::child;
use crate::fixture::remote::{Remote, Style};
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::{Request, notification, request};
use crate::harness::session::{hello, text};
use crate::harness::sse::SseClient;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KEYS: [&str; 2] = ["one.0123456789abcdef", "two.0123456789abcdef"];

fn gateway() -> Gateway {
    Gateway::of(json!({ "a": child::named("a"), "b": child::named("b") }))
}

#[test]
fn client_gets_all_servers_on_its_stream_in_every_revision() {
    let gateway = gateway();
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let (mut client, welcome) = SseClient::open(gateway.address, revision, json!({}));
        assert_eq!(welcome["protocolVersion"], revision);
        let listed = client.ask(1, "tools/list", json!({}));
        assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(44));
        for server in ["a", "b"] {
            let answer = client.call(2, &format!("{server}__echo"), json!({"x": 1.50}));
            assert_eq!(text(&answer), r#"{"x":1.5}"#);
        }
        let read = client.ask("r", "resources/read", json!({"uri": "note://b/2"}));
        assert_eq!(read["result"]["contents"][0]["text"], "b has note://b/2");
        let again = client.ask(3, "initialize", hello(revision, json!({})));
        assert_eq!(again["error"]["code"], -32600);
        assert_eq!(client.ask(4, "nope", json!({}))["error"]["code"], -32601);
        assert_eq!(client.ask(5, "ping", json!({}))["result"], json!({}));
    }
}

#[test]
fn servers_ask_and_tell_the_client_on_its_stream() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": child::named("a"), "r": remote.server() }));
    let everything = json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}});
    let (mut client, _) = SseClient::open(gateway.address, "2025-06-18", everything);
    for (id, (tool, method)) in [
        ("a__sample", "sampling/createMessage"),
        ("r__elicit", "elicitation/create"),
        ("a__roots", "roots/list"),
    ]
    .into_iter()
    .enumerate()
    {
        let params = json!({"name": tool, "arguments": {"tag": "t"}});
        client.say(&request(id, "tools/call", params));
        let asked = client.events.wait_for(method);
        let result = json!({"said": tool});
        client.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
        let made: Value = serde_json::from_str(&text(&client.answer(id))).expect("JSON");
        assert_eq!(made, result);
    }
    let params =
        json!({"name": "r__progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "p"}});
    client.say(&request("steps", "tools/call", params));
    for step in 0..2 {
        let told = client.events.wait_for("notifications/progress");
        assert_eq!(told["params"]["progressToken"], "p");
        assert_eq!(told["params"]["progress"], step);
    }
    client.answer("steps");
    // What a server lists for all is said to be changed by who has declared nothing.
    let (mut client, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    client.ask("sub", "resources/subscribe", json!({"uri": "note://a/1"}));
    let params = json!({"name": "a__update", "arguments": {"uri": "note://a/1"}});
    client.say(&request("up", "tools/call", params));
    let update = client.events.wait_for("notifications/resources/updated");
    assert_eq!(update["params"]["uri"], "note://a/1");
    client.ask("all", "tools/list", json!({}));
    client.say(&request("grow", "tools/call", json!({"name": "a__grow"})));
    client.events.wait_for("notifications/tools/list_changed");
}

#[test]
fn long_answers_may_come_all_at_once() {
    let gateway = gateway();
    let (mut client, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    let mut due: BTreeSet<u64> = (0..8).collect();
    for id in due.clone() {
        let params = json!({"name": "a__big", "arguments": {}});
        client.say(&request(id, "tools/call", params));
    }
    while !due.is_empty() {
        let message = client.next();
        // The lists may have become longer meanwhile.
        if message.get("id").is_none() {
            continue;
        }
        assert_eq!(text(&message).len(), 1024 * 1024);
        assert!(due.remove(&message["id"].as_u64().expect("an id of ours")));
    }
}

#[test]
fn session_ends_with_its_stream() {
    let mut own = child::named("own");
    own["share"] = "per_session".into();
    let gateway = Gateway::of(json!({ "a": child::named("a"), "own": own }));
    let before = gateway.descendants().len();
    let (mut client, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    assert_eq!(text(&client.call(1, "own__echo", json!({}))), "{}");
    clock::holds("it has a child of its own", || {
        gateway.descendants().len() > before
    });
    let params = json!({"name": "a__hang", "arguments": {}});
    client.say(&request(2, "tools/call", params));
    let seen = || -> Value {
        let answer = gateway.ask("tools/call", json!({"name": "a__seen", "arguments": {}}));
        serde_json::from_str(&text(&answer)).expect("JSON")
    };
    clock::holds("the call is at the server", || {
        seen()["hung"]
            .as_array()
            .is_some_and(|hung| hung.len() == 1)
    });
    assert_eq!(gateway.metric("switchbox_sessions_active"), Some(1.0));

    let SseClient {
        events, endpoint, ..
    } = client;
    drop(events);
    clock::holds("the endpoint is gone", || {
        let ping = request(3, "ping", json!({})).to_string().into_bytes();
        let answer = Request::post_bytes(ping)
            .at(&endpoint)
            .send(gateway.address);
        answer.refusal() == (404, json!(-32005))
    });
    clock::holds("the server is told that nobody waits", || {
        seen()["cancelled"] == seen()["hung"]
    });
    clock::holds("its child has ended", || {
        gateway.descendants().len() == before
    });
    assert_eq!(gateway.metric("switchbox_sessions_active"), Some(0.0));
    assert_eq!(gateway.metric("switchbox_streams_active"), Some(0.0));
}

#[test]
fn post_is_answered_with_what_became_of_it() {
    let gateway = gateway();
    let (client, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    let status = |body: &str| client.post_bytes(body.into()).refusal();
    assert_eq!(status("{"), (400, json!(-32700)));
    assert_eq!(status("{}"), (400, json!(-32600)));
    let batch = json!([request(1, "ping", json!({}))]).to_string();
    assert_eq!(status(&batch), (400, json!(-32600)));
    let modern = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    let modern = request(1, "tools/list", modern).to_string();
    assert_eq!(status(&modern), (400, json!(-32600)));
    let ping = || Request::post(&request(1, "ping", json!({})));
    let at = |path: &str| ping().at(path).send(gateway.address).status();
    assert_eq!(at("/messages"), 400);
    assert_eq!(at("/messages?sessionId="), 404);
    assert_eq!(at(&format!("/messages?sessionId={}", "0".repeat(32))), 404);
    assert_eq!(at(&client.endpoint.replace("sessionId", "session")), 400);
    let text = Request::post_bytes(b"{}".to_vec()).field("content-type", "text/plain");
    assert_eq!(
        text.at(&client.endpoint).send(gateway.address).status(),
        415
    );
    // A client that would rather speak streamable HTTP here learns that it cannot.
    for (method, path, allow) in [
        ("POST", "/sse", "GET, OPTIONS"),
        ("DELETE", "/sse", "GET, OPTIONS"),
        ("GET", "/messages", "POST, OPTIONS"),
    ] {
        let answer = Request::new(method, path).send(gateway.address);
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.field("allow"), Some(allow), "{method} {path}");
    }
    let json = Request::get("/sse").field("accept", "application/json");
    assert_eq!(json.send(gateway.address).status(), 406);
}

#[test]
fn batch_is_taken_apart_where_the_revision_has_them() {
    let gateway = gateway();
    let (mut client, _) = SseClient::open(gateway.address, "2025-03-26", json!({}));
    client.say(&json!([
        request(1, "ping", json!({})),
        request(2, "tools/call", json!({"name": "b__echo", "arguments": {}})),
        notification("notifications/cancelled", json!({"requestId": 99})),
    ]));
    assert_eq!(client.answer(1)["result"], json!({}));
    assert_eq!(text(&client.answer(2)), "{}");
}

#[test]
fn only_who_is_let_in_elsewhere_is_let_in() {
    let gateway = Setup::new(json!({
        "mcpServers": { "a": child::named("a") },
        "auth": { "keys": KEYS },
    }))
    .start();
    let stream = || Request::get("/sse").field("accept", "text/event-stream");
    let status = |request: Request| request.send(gateway.address).status();
    assert_eq!(status(stream()), 401);
    assert_eq!(status(stream().field("x-api-key", "wrong")), 401);
    assert_eq!(status(stream().host("evil.example")), 403);
    assert_eq!(
        status(stream().field("origin", "https://evil.example")),
        403
    );

    let mut client = SseClient::connect(gateway.address, Some(KEYS[0]));
    let post = |key: Option<&str>| {
        let request = Request::post(&request(1, "ping", json!({}))).at(&client.endpoint);
        let request = key
            .iter()
            .fold(request, |request, key| request.field("x-api-key", key));
        request.send(gateway.address).status()
    };
    assert_eq!(post(None), 401);
    assert_eq!(post(Some(KEYS[1])), 404);
    assert_eq!(post(Some(KEYS[0])), 202);
    assert_eq!(client.answer(1)["result"], json!({}));
    let (id, other) = (
        client.endpoint.split_once('=').expect("an id").1,
        SseClient::connect(gateway.address, Some(KEYS[1])),
    );
    assert_ne!(client.endpoint, other.endpoint);
    assert!(id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    // The id of an endpoint opens nothing else.
    let elsewhere = Request::post(&request(1, "ping", json!({})))
        .field("mcp-session-id", id)
        .field("x-api-key", KEYS[0]);
    assert_eq!(status(elsewhere), 404);
}

#[test]
fn page_of_ours_may_use_both_halves() {
    let gateway = gateway();
    for (path, methods) in [("/sse", "GET, OPTIONS"), ("/messages", "POST, OPTIONS")] {
        let preflight = Request::new("OPTIONS", path)
            .field("origin", "http://localhost:6274")
            .send(gateway.address);
        assert_eq!(preflight.status(), 204);
        assert_eq!(
            preflight.field("access-control-allow-methods"),
            Some(methods)
        );
    }
    let (head, _stream) = Request::get("/sse")
        .field("origin", "http://localhost:6274")
        .begin(gateway.address);
    assert_eq!(
        head.field("access-control-allow-origin"),
        Some("http://localhost:6274")
    );
}

#[test]
fn its_use_is_counted_and_said_once() {
    let gateway = gateway();
    let used = "switchbox_http_sse_sessions_total";
    assert_eq!(gateway.metric(used), Some(0.0));
    for _ in 0..3 {
        SseClient::open(gateway.address, "2024-11-05", json!({}));
    }
    assert_eq!(gateway.metric(used), Some(3.0));
    gateway.log.wait_for("deprecated HTTP+SSE used by=client");
    assert_eq!(gateway.log.count("HTTP+SSE"), 1, "{}", gateway.log.text());
    let posts = r#"switchbox_http_requests_total{path="messages",method="POST",status="202"}"#;
    assert_eq!(gateway.metric(posts), Some(6.0));
}

#[test]
fn one_setting_turns_it_off() {
    let servers = json!({ "a": child::named("a") });
    let off = json!({ "mcpServers": servers, "http_sse": false });
    let by_flag = Setup::new(json!({ "mcpServers": servers })).flags(&["--http-sse", "false"]);
    let by_variable =
        Setup::new(json!({ "mcpServers": servers })).variable("SWITCHBOX_HTTP_SSE", "off");
    for setup in [Setup::new(off), by_flag, by_variable] {
        let gateway = setup.start();
        for (method, path) in [
            ("GET", "/sse"),
            ("OPTIONS", "/sse"),
            ("POST", "/messages?sessionId=0"),
        ] {
            let answer = Request::new(method, path).send(gateway.address);
            assert_eq!(answer.status(), 404, "{method} {path}");
        }
        assert_eq!(gateway.session().say("a__echo", json!({})), "{}");
    }
}

#[test]
fn what_is_in_flight_is_answered_before_the_end() {
    let mut gateway = gateway();
    let (mut client, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    let (idle, _) = SseClient::open(gateway.address, "2024-11-05", json!({}));
    let params = json!({"name": "a__slow", "arguments": {"millis": 700, "ticket": "t"}});
    client.say(&request(1, "tools/call", params));
    clock::holds("the call runs", || {
        let seen = gateway.ask("tools/call", json!({"name": "a__seen", "arguments": {}}));
        text(&seen).contains(r#""calls":["t"]"#)
    });
    gateway.signal(Signal::TERM);
    assert_eq!(text(&client.answer(1)), "slept");
    // Neither stream keeps anybody waiting.
    for mut events in [client.events, idle.events] {
        while events.next().is_some() {}
    }
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log.text());
}
