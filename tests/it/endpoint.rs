//! The endpoint as a client meets it: one question, a session, a stream.

use crate::fixture::child;
use crate::harness::events::Events;
use crate::harness::gateway::Gateway;
use crate::harness::http::{Connection, Request, notification, request};
use crate::harness::session::{hello, text};
use serde_json::{Value, json};

fn gateway() -> Gateway {
    Gateway::of(json!({ "a": child::named("a") }))
}

#[test]
fn one_question_needs_no_session_and_no_word_before() {
    let gateway = gateway();
    let list = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let call = br#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a__echo","arguments":{"n":1}}}"#;
    // As curl sends it, by itself and when it is told to send JSON; and a program that says nothing at all.
    let form = [
        ("accept", "*/*"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let json = [("accept", "*/*"), ("content-type", "application/json")];
    for fields in [&form[..], &json[..], &[]] {
        let ask = |body: &[u8]| {
            let request = Request::post_bytes(body.to_vec());
            let request = fields
                .iter()
                .fold(request, |r, (name, value)| r.field(name, value));
            let answer = request.send(gateway.address);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.field("content-type"), Some("application/json"));
            assert_eq!(answer.field("mcp-session-id"), None);
            answer.json()
        };
        let listed = ask(list);
        assert_eq!(listed["id"], 1);
        assert_eq!(listed["result"]["tools"][0]["name"], "a__echo");
        let called = ask(call);
        assert_eq!(called["id"], "x");
        assert_eq!(text(&called), r#"{"n":1}"#);
    }
}

#[test]
fn session_lives_from_initialize_to_delete() {
    let gateway = gateway();
    let session = gateway.session();
    assert_eq!(session.welcome["protocolVersion"], "2025-11-25");
    assert!(
        session.id.bytes().all(|b| (0x21..0x7f).contains(&b)),
        "{}",
        session.id
    );
    assert!(
        session.id.len() >= 32,
        "an id that can be guessed: {}",
        session.id
    );
    assert_eq!(session.ask("ping", json!({}))["result"], json!({}));
    assert_eq!(session.say("a__echo", json!({})), "{}");

    assert_eq!(session.delete().status(), 200);
    let gone = session.post(&request(5, "ping", json!({})));
    assert_eq!(gone.refusal(), (404, json!(-32005)));
    assert_eq!(session.delete().status(), 404);
}

#[test]
fn unknown_session_is_404_and_missing_one_400() {
    let gateway = gateway();
    let ping = request(1, "ping", json!({}));
    for id in ["nobody", &"0".repeat(64), "\u{7f}"] {
        let answer = Request::post(&ping)
            .field("mcp-session-id", id)
            .send(gateway.address);
        assert!(
            [400, 404].contains(&answer.status()),
            "{id:?}: {}",
            answer.status()
        );
    }
    let stream = Request::get("/mcp").field("accept", "text/event-stream");
    assert_eq!(stream.send(gateway.address).status(), 400);
    assert_eq!(
        Request::new("DELETE", "/mcp")
            .send(gateway.address)
            .status(),
        400
    );
    let subscribe = request(1, "resources/subscribe", json!({"uri": "note://a/1"}));
    let refused = gateway.post(&subscribe);
    assert_eq!(refused.json()["error"]["code"], -32600);
}

#[test]
fn second_initialize_is_refused() {
    let gateway = gateway();
    let session = gateway.session();
    let again = session.post(&request(9, "initialize", hello("2025-11-25", json!({}))));
    assert_eq!(again.json()["error"]["code"], -32600);
    assert_eq!(again.field("mcp-session-id"), None);
    assert_eq!(session.ask("ping", json!({}))["result"], json!({}));
}

#[test]
fn revision_is_negotiated_and_the_header_must_name_a_known_one() {
    let gateway = gateway();
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = gateway.session_with(revision, json!({}));
        assert_eq!(session.welcome["protocolVersion"], revision);
        assert_eq!(session.say("a__echo", json!({})), "{}");
    }
    let later = gateway.session_with("2019-01-01", json!({}));
    assert_eq!(later.welcome["protocolVersion"], "2025-11-25");
    let ping = Request::post(&request(1, "ping", json!({}))).field("mcp-protocol-version", "1.0");
    assert_eq!(ping.send(gateway.address).status(), 400);
}

#[test]
fn what_is_no_request_is_refused_with_its_id_and_code() {
    let gateway = gateway();
    let check = |body: &str, status: u16, code: i32, id: Value| {
        let answer = Request::post_bytes(body.into()).send(gateway.address);
        let value = answer.json();
        assert_eq!(
            (answer.status(), &value["error"]["code"], &value["id"]),
            (status, &json!(code), &id),
            "{body}"
        );
    };
    check("{", 400, -32700, Value::Null);
    check("", 400, -32700, Value::Null);
    check("[]", 400, -32600, Value::Null);
    check(
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        400,
        -32600,
        json!(1),
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"nope/nope"}"#,
        200,
        -32601,
        json!(1),
    );
    check(
        r#"{"jsonrpc":"2.0","id":"1","method":"tools/call"}"#,
        200,
        -32602,
        json!("1"),
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a__none"}}"#,
        200,
        -32602,
        json!(1),
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"mine"}}"#,
        200,
        -32602,
        json!(1),
    );
}

#[test]
fn requests_that_are_no_mcp_get_the_status_that_http_has_for_them() {
    let gateway = gateway();
    let status = |request: Request| request.send(gateway.address).status();
    assert_eq!(status(Request::get("/")), 404);
    assert_eq!(
        status(Request::post_bytes(b"{}".to_vec()).field("content-type", "text/plain")),
        415
    );
    assert_eq!(
        status(Request::post_bytes(b"{}".to_vec()).field("accept", "text/html")),
        406
    );
    let put = Request::new("PUT", "/mcp").send(gateway.address);
    assert_eq!(put.status(), 405);
    assert!(
        put.field("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
    assert_eq!(status(Request::new("OPTIONS", "/mcp")), 204);
}

#[test]
fn answer_is_json_until_there_is_something_to_say_before_it() {
    let gateway = gateway();
    let session = gateway.session();
    let ask = |name: &str, arguments: Value| {
        let params = json!({"name": name, "arguments": arguments, "_meta": {"progressToken": 1}});
        let request = Request::post(&request(1, "tools/call", params));
        let (head, _) = session.dress(request).begin(gateway.address);
        head.field("content-type").map(String::from)
    };
    assert_eq!(
        ask("a__echo", json!({})).as_deref(),
        Some("application/json")
    );
    assert_eq!(
        ask("a__progress", json!({"steps": 1})).as_deref(),
        Some("text/event-stream")
    );
}

#[test]
fn client_that_only_takes_events_gets_events() {
    let gateway = gateway();
    for method in ["ping", "tools/list"] {
        let body = request(1, method, json!({})).to_string().into_bytes();
        let request = Request::post_bytes(body).field("accept", "text/event-stream");
        let (head, connection) = request.begin(gateway.address);
        let mut events = Events::of(&head, connection);
        assert_eq!(events.message().expect("an answer")["id"], 1);
        assert_eq!(events.next(), None);
    }
}

#[test]
fn streams_begin_with_a_priming_event_since_2025_11_25() {
    let gateway = gateway();
    let first = |revision: &str| {
        let session = gateway.session_with(revision, json!({}));
        let params = json!({"name": "a__progress", "arguments": {"steps": 1}, "_meta": {"progressToken": 1}});
        let mut events = session.stream(0, "tools/call", params);
        let first = events.next().expect("an event");
        (first, session)
    };
    let (event, session) = first("2025-11-25");
    assert!(
        event.is_priming() && event.id.is_some() && event.retry.is_some(),
        "{event:?}"
    );
    let standing = session.listen(None).next().expect("an event");
    assert!(
        standing.is_priming() && standing.id.is_some(),
        "{standing:?}"
    );
    assert_ne!(standing.id, event.id);

    for revision in ["2025-03-26", "2025-06-18"] {
        let (event, _) = first(revision);
        assert!(!event.is_priming() && event.retry.is_none(), "{event:?}");
    }
}

#[test]
fn events_of_a_session_have_ids_of_their_own() {
    let gateway = gateway();
    let session = gateway.session();
    let mut ids = Vec::new();
    for id in 0..3 {
        let params = json!({"name": "a__progress", "arguments": {"steps": 3}, "_meta": {"progressToken": 1}});
        let mut events = session.stream(id, "tools/call", params);
        while let Some(event) = events.next() {
            ids.push(event.id.expect("every event can be resumed from"));
        }
    }
    let all = ids.len();
    assert_eq!(all, 15);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn stream_that_broke_is_resumed_elsewhere_with_its_answer() {
    let gateway = gateway();
    let session = gateway.session();
    let other = gateway.session();
    let params =
        json!({"name": "a__hold", "arguments": {"gate": "resumed"}, "_meta": {"progressToken": 1}});
    // Something else of the same session, of which nothing may be replayed.
    let noise =
        json!({"name": "a__progress", "arguments": {"steps": 3}, "_meta": {"progressToken": 2}});
    let mut aside = session.stream(50, "tools/call", noise);
    while aside.next().is_some() {}

    let log =
        json!({"name": "a__progress", "arguments": {"steps": 2}, "_meta": {"progressToken": 3}});
    let mut first = session.stream(7, "tools/call", log);
    let priming = first.next().and_then(|event| event.id).expect("an id");
    drop(first);
    let mut again = session.listen(Some(&priming));
    let steps: Vec<Value> = std::iter::from_fn(|| again.message()).collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert_eq!(steps[0]["params"]["progress"], 0);
    assert_eq!(steps[1]["params"]["progress"], 1);
    assert_eq!(steps[2]["id"], 7);

    // Of another session the id names nothing.
    let params_other = json!({"name": "a__release", "arguments": {"gate": "resumed"}});
    let mut standing = other.listen(Some(&priming));
    assert!(standing.next().is_some_and(|event| event.is_priming()));
    assert_eq!(text(&other.ask("tools/call", params_other)), "open");
    assert_eq!(text(&session.ask("tools/call", params)), "resumed");
}

#[test]
fn stream_is_resumed_while_its_call_still_runs() {
    let gateway = gateway();
    let session = gateway.session_with("2025-11-25", json!({"elicitation": {}}));
    let params = json!({"name": "a__elicit", "arguments": {"tag": "t"}});
    let mut first = session.stream(3, "tools/call", params);
    let asked = first.wait_for("elicitation/create");
    let seen = first.last.clone().expect("the event has an id");
    drop(first);

    let mut again = session.listen(Some(&seen));
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}});
    assert_eq!(session.post(&answer).status(), 202);
    let last = again.message().expect("the answer comes here");
    assert_eq!(last["id"], 3);
    assert_eq!(text(&last), r#"{"action":"decline"}"#);
    assert_eq!(again.next(), None);
}

#[test]
fn later_standing_stream_replaces_the_one_before() {
    let gateway = gateway();
    let session = gateway.session();
    let mut first = session.listen(None);
    assert!(first.next().is_some_and(|event| event.is_priming()));
    let mut second = session.listen(None);
    assert!(second.next().is_some_and(|event| event.is_priming()));
    assert_eq!(first.next(), None);
    session.say("a__grow", json!({}));
    assert_eq!(
        second.message().expect("an event")["method"],
        "notifications/tools/list_changed"
    );
}

#[test]
fn one_connection_carries_many_requests_even_sent_ahead() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address);
    let mut ahead = Vec::new();
    for id in 0..20 {
        let call = json!({"name": "a__echo", "arguments": {"id": id}});
        ahead.extend(Request::post(&request(id, "tools/call", call)).bytes(gateway.address));
    }
    connection.write(&ahead);
    for id in 0..20 {
        let answer = connection.answer("POST").json();
        assert_eq!(
            (&answer["id"], text(&answer)),
            (&json!(id), format!(r#"{{"id":{id}}}"#))
        );
    }
}

#[test]
fn body_may_come_in_chunks_and_after_100_continue() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address);
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n";
    connection.write(head.as_bytes());
    assert_eq!(connection.head().expect("an answer").status, 100);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let (one, two) = body.split_at(7);
    let chunks = format!("7;x=y\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len());
    connection.write(chunks.as_bytes());
    assert_eq!(connection.answer("POST").json()["result"], json!({}));
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    connection.write(
        format!(
            "POST /mcp HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(connection.answer("POST").json()["result"], json!({}));
    assert_eq!(connection.rest(), b"");
}

#[test]
fn notification_is_taken_in_without_an_answer() {
    let gateway = gateway();
    let answer = gateway.post(&notification("notifications/initialized", json!({})));
    assert_eq!((answer.status(), answer.body.len()), (202, 0));
    assert_eq!(answer.field("content-type"), None);
}

#[test]
fn what_a_client_said_of_itself_before_counts_only_where_it_says_it_again() {
    let gateway = gateway();
    let mut connection = Connection::open(gateway.address);
    let mut ask = |header: &str, capabilities: Option<Value>, more: &[(&str, Value)]| {
        let mut meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
        if let Some(capabilities) = capabilities {
            meta["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        }
        for (name, value) in more {
            meta[format!("io.modelcontextprotocol/{name}")] = value.clone();
        }
        let body = request(1, "server/discover", json!({ "_meta": meta }));
        let post = Request::post(&body)
            .field("mcp-protocol-version", header)
            .field("mcp-method", "server/discover");
        connection.write(&post.bytes(gateway.address));
        let answer = connection.answer("POST");
        (answer.status(), answer.json()["error"]["code"].clone())
    };
    let (fine, now) = ((200, Value::Null), "2026-07-28");
    let nothing = || Some(json!({}));
    let level = |level: &str| ("logLevel", json!(level));
    assert_eq!(ask(now, nothing(), &[]), fine);
    assert_eq!(ask(now, nothing(), &[]), fine);
    assert_eq!(ask("2025-11-25", nothing(), &[]), (400, json!(-32020)));
    assert_eq!(ask(now, nothing(), &[]), fine);
    assert_eq!(ask(now, None, &[]), (400, json!(-32602)));
    assert_eq!(ask(now, Some(json!(1)), &[]), (400, json!(-32602)));
    assert_eq!(ask(now, nothing(), &[level("loud")]), (400, json!(-32602)));
    assert_eq!(ask(now, nothing(), &[level("info")]), fine);
    assert_eq!(ask(now, nothing(), &[]), fine);
}
