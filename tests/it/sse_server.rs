//! Servers that only know the HTTP+SSE transport of 2024-11-05, whether the configuration says so or not.

use crate::fixture::child;
use crate::fixture::sse_remote::{Manners, SseRemote};
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::{notification, request};
use crate::harness::modern::Modern;
use crate::harness::session::{Session, text};
use crate::harness::sse::SseClient;
use crate::remote::secured;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::thread;

fn call(gateway: &Gateway, name: &str, arguments: Value) -> Value {
    gateway.ask("tools/call", json!({"name": name, "arguments": arguments}))
}

fn everything() -> Value {
    json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}})
}

/// Calls a tool that asks, and answers what it asks with `tag`; what the tool made of it.
fn asked(session: &Session, tool: &str, tag: &str) -> Value {
    let params = json!({"name": tool, "arguments": {"tag": tag}});
    let (answer, _) = session.ask_while("tools/call", params, |request| {
        let text = request.to_string();
        assert!(
            !text.contains("tag-") || text.contains(&format!("\"{tag}\"")),
            "{tag} got {text}"
        );
        json!({ "answer": tag })
    });
    serde_json::from_str(&text(&answer)).unwrap_or_else(|_| json!({ "said": text(&answer) }))
}

#[test]
fn everything_works_whichever_way_the_endpoint_is_named() {
    for endpoint in [
        "/messages?sessionId={}",
        "messages/?session_id={}",
        "http://{address}/deep/messages?sessionId={}",
    ] {
        let remote = SseRemote::start(Manners {
            endpoint: endpoint.into(),
            ..Manners::default()
        });
        let gateway = Gateway::of(json!({ "r": remote.server(), "a": child::named("a") }));
        let session = gateway.session();
        let listed = session.ask("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().map(Vec::len);
        assert_eq!(tools, Some(44), "{endpoint}");
        assert_eq!(session.say("r__echo", json!({"x": 1.50})), r#"{"x":1.5}"#);
        assert_eq!(session.say("r__big", json!({})).len(), 1024 * 1024);
        let wrong = session.call("r__wrong", json!({}));
        assert_eq!(wrong["error"]["code"], -32077);
        let read = session.ask("resources/read", json!({"uri": "note://older/2"}));
        assert_eq!(
            read["result"]["contents"][0]["text"],
            "older has note://older/2"
        );
        assert_eq!(remote.streams(), 1, "{endpoint}");
    }
}

#[test]
fn what_a_server_says_reaches_whom_it_is_for() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let session = gateway.session();
    let mut events = session.listen(None);
    assert!(events.next().is_some_and(|event| event.is_priming()));
    let params =
        json!({"name": "r__progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "p"}});
    let (_, told) = session.ask_while("tools/call", params, |asked| panic!("{asked}"));
    let steps: Vec<_> = told
        .iter()
        .map(|m| m["params"]["progress"].clone())
        .collect();
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(told[0]["params"]["progressToken"], "p");
    let params = json!({"name": "r__log", "arguments": {"level": "error", "data": "x"}});
    let (_, told) = session.ask_while("tools/call", params, |asked| panic!("{asked}"));
    assert_eq!(told[0]["params"]["data"], "x");
    session.ask("resources/subscribe", json!({"uri": "note://older/1"}));
    session.say("r__update", json!({"uri": "note://older/1"}));
    let update = events.wait_for("notifications/resources/updated");
    assert_eq!(update["params"]["uri"], "note://older/1");
    session.say("r__grow", json!({}));
    events.wait_for("notifications/tools/list_changed");
}

#[test]
fn who_may_be_asked_has_a_stream_to_itself() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let sessions: Vec<Session> = (0..4)
        .map(|_| gateway.session_with("2025-11-25", everything()))
        .collect();
    thread::scope(|scope| {
        for (n, session) in sessions.iter().enumerate() {
            scope.spawn(move || {
                let tag = format!("tag-{n}");
                for tool in ["r__sample", "r__elicit", "r__roots"] {
                    let made = asked(session, tool, &tag);
                    assert_eq!(made, json!({ "answer": tag }), "{tool}");
                }
            });
        }
    });
    assert_eq!(remote.streams(), 5);
    // Who has declared nothing shares one, and is asked nothing.
    let made = asked(&gateway.session(), "r__sample", "tag-x");
    assert!(made["refused"]["code"].is_i64(), "{made}");
    assert_eq!(remote.streams(), 5);
    for session in &sessions {
        assert_eq!(session.delete().status(), 200);
    }
    clock::holds("their streams are closed", || remote.streams() == 1);
}

#[test]
fn server_that_does_not_take_initialize_is_tried_the_older_way() {
    for post_status in ["400 Bad Request", "404 Not Found", "405 Method Not Allowed"] {
        let remote = SseRemote::start(Manners {
            post_status,
            ..Manners::default()
        });
        let gateway = Setup::new(json!({ "mcpServers": { "r": remote.unsaid() } }))
            .flags(&["--workers", "3"])
            .start();
        assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
        let session = gateway.session_with("2025-11-25", everything());
        let made = asked(&session, "r__sample", "tag-1");
        assert_eq!(made, json!({"answer": "tag-1"}), "{post_status}");
        let shown = &gateway.status()["servers"]["details"][0];
        assert_eq!(shown["transport"], "sse", "{post_status}");
        assert_eq!(remote.streams(), 2);
    }
}

#[test]
fn server_that_speaks_neither_is_told_by_how_it_refused_the_newer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let nobody = json!({"url": format!("http://{address}/sse"), "transport": "sse"});
    let odd = SseRemote::start(Manners::default());
    // There is nothing at this path but 404.
    let odd = (json!({"url": format!("http://{}/mcp", odd.address)}), odd);
    let sse = json!({"url": format!("http://{}/mcp", odd.1.address), "transport": "sse"});
    let servers = json!({ "nobody": nobody, "odd": odd.0, "sse": sse });
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .without_waiting()
        .start();
    let line = gateway.log.wait_for("upstream failed server=nobody");
    assert!(line.contains("refused"), "{line}");
    let line = gateway.log.wait_for("upstream failed server=odd");
    let facts = ["initialize with HTTP 404", "nor does it speak HTTP+SSE"];
    assert!(facts.iter().all(|fact| line.contains(fact)), "{line}");
    let line = gateway.log.wait_for("upstream failed server=sse");
    let facts = ["HTTP 404", "event stream", "streamable HTTP"];
    assert!(facts.iter().all(|fact| line.contains(fact)), "{line}");
}

#[test]
fn endpoint_of_another_origin_is_not_called() {
    let canary = TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = canary.local_addr().expect("it is bound");
    for endpoint in [
        format!("http://{elsewhere}/messages?sessionId={{}}"),
        format!("//{elsewhere}/messages?sessionId={{}}"),
        "https://{address}/messages?sessionId={}".into(),
    ] {
        let remote = SseRemote::start(Manners {
            endpoint: endpoint.clone(),
            ..Manners::default()
        });
        let mut server = remote.server();
        server["auth"] = json!({"type": "bearer", "token": "s3cret-token"});
        let gateway = Setup::new(json!({ "mcpServers": { "r": server } }))
            .without_waiting()
            .start();
        let line = gateway.log.wait_for("upstream failed server=r");
        assert!(
            line.contains("another origin") && line.contains(&remote.address.to_string()),
            "{line}"
        );
        assert!(remote.requests().iter().all(|asked| asked.method == "GET"));
        let refused = call(&gateway, "r__echo", json!({}));
        assert_eq!(refused["error"]["code"], -32003, "{endpoint}");
    }
    canary.set_nonblocking(true).expect("a socket of ours");
    assert!(canary.accept().is_err(), "somebody called");
}

#[test]
fn lost_stream_fails_what_is_in_flight_and_is_opened_again() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let session = gateway.session();
    session.ask("resources/subscribe", json!({"uri": "note://older/1"}));
    for round in 0..3 {
        let ticket = format!("lost-{round}");
        thread::scope(|scope| {
            let session = &session;
            let own = ticket.clone();
            let call = scope.spawn(move || session.call("r__hang", json!({ "ticket": own })));
            clock::holds("the call is at the server", || remote.calls(&ticket) == 1);
            remote.cut();
            let answer = call.join().expect("no panic");
            assert_eq!(answer["error"]["code"], -32000, "{answer}");
            let message = answer["error"]["message"].as_str().expect("a message");
            let facts = ["\"r\"", "its event stream ended"];
            assert!(facts.iter().all(|fact| message.contains(fact)), "{message}");
        });
        clock::holds("the stream is opened again", || {
            session.call("r__echo", json!({})).get("result").is_some()
        });
        assert_eq!(remote.calls(&ticket), 1, "it was not sent again");
    }
    assert!(gateway.log.count("upstream failed server=r") >= 3);
    clock::holds("the subscription is renewed", || {
        remote.mind.seen().subscribed.len() >= 4
    });
}

#[test]
fn server_that_has_forgotten_its_stream_is_connected_to_again() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
    remote.forget();
    let answer = call(&gateway, "r__echo", json!({"ticket": "t"}));
    assert_eq!(answer["error"]["code"], -32000, "{answer}");
    assert!(answer.to_string().contains("HTTP 404"), "{answer}");
    assert_eq!(
        text(&call(&gateway, "r__echo", json!({"ticket": "u"}))),
        r#"{"ticket":"u"}"#
    );
    assert_eq!((remote.calls("t"), remote.calls("u")), (0, 1));
}

#[test]
fn call_whose_post_breaks_is_not_made_twice() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    for round in 0..3 {
        let answer = call(&gateway, "r__close_before", json!({ "ticket": round }));
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
    }
    let posts = remote.requests();
    let posts = posts
        .iter()
        .filter(|asked| asked.body.contains("close_before"));
    assert_eq!(posts.count(), 3);
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
}

#[test]
fn cancelled_and_late_calls_are_told_to_the_server() {
    let remote = SseRemote::start(Manners::default());
    let mut server = remote.server();
    server["timeout"] = "300ms".into();
    let gateway = Gateway::of(json!({ "r": server }));
    let answer = call(&gateway, "r__hang", json!({"ticket": "late"}));
    assert_eq!(answer["error"]["code"], -32001, "{answer}");
    clock::holds("the server knows", || {
        let seen = remote.mind.seen();
        seen.cancelled.len() == 1 && seen.cancelled == seen.hung
    });
    let session = gateway.session();
    let slow = json!({"name": "r__slow", "arguments": {"millis": 250, "ticket": "x"}});
    let slow = request(7, "tools/call", slow);
    thread::scope(|scope| {
        scope.spawn(|| session.post(&slow));
        clock::holds("the call is at the server", || remote.calls("x") == 1);
        let cancel = notification("notifications/cancelled", json!({"requestId": 7}));
        assert_eq!(session.post(&cancel).status(), 202);
    });
    clock::holds("the server knows of this one, too", || {
        remote.mind.seen().cancelled.len() == 2
    });
    assert_eq!(session.say("r__echo", json!({})), "{}");
}

#[test]
fn configured_headers_go_with_the_stream_and_every_message() {
    let remote = SseRemote::start(Manners::default());
    let mut server = remote.server();
    server["headers"] = json!({"X-Tenant": "acme"});
    server["auth"] = json!({"type": "bearer", "token": "s3cret-token"});
    let gateway = Gateway::of(json!({ "r": server }));
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
    let requests = remote.requests();
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("GET", "/sse")
    );
    assert!(requests.len() >= 4);
    for asked in &requests[1..] {
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/messages?sessionId=1")
        );
    }
    for asked in &requests {
        assert_eq!(asked.fields["x-tenant"], "acme");
        assert_eq!(asked.fields["authorization"], "Bearer s3cret-token");
        assert_eq!(asked.fields["host"], remote.address.to_string());
    }
    assert!(!gateway.log.text().contains("s3cret-token"));
}

#[test]
fn its_use_is_counted_and_said_once() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let used = r#"switchbox_http_sse_conversations_total{server="r"}"#;
    assert_eq!(gateway.metric(used), Some(1.0));
    remote.cut();
    clock::holds("the stream is opened again", || {
        gateway.metric(used) == Some(2.0)
    });
    assert_eq!(gateway.log.count("deprecated HTTP+SSE used server=r"), 1);
}

#[test]
fn https_is_spoken_with_older_servers_as_well() {
    let (wrap, authority) = secured();
    let remote = SseRemote::start_with(Manners::default(), wrap);
    let path = format!(
        "{}/older-authority-{}.pem",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    std::fs::write(&path, authority).expect("the folder is writable");
    let url = format!("https://localhost:{}/sse", remote.address.port());
    let servers = json!({ "r": {"url": url, "transport": "sse"} });
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .variable("SSL_CERT_FILE", &path)
        .start();
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
    let _ = std::fs::remove_file(&path);
}

#[test]
fn older_clients_meet_older_servers() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let (mut client, _) = SseClient::open(gateway.address, "2024-11-05", json!({"sampling": {}}));
    assert_eq!(text(&client.call(1, "r__echo", json!({}))), "{}");
    let params = json!({"name": "r__sample", "arguments": {"tag": "t"}});
    client.say(&request(2, "tools/call", params));
    let asked = client.events.wait_for("sampling/createMessage");
    client.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"said": "t"}}));
    assert_eq!(text(&client.answer(2)), r#"{"said":"t"}"#);
}

#[test]
fn modern_clients_come_back_with_what_an_older_server_asked() {
    let remote = SseRemote::start(Manners::default());
    let gateway = Gateway::of(json!({ "r": remote.unsaid() }));
    thread::scope(|scope| {
        for n in 0..4 {
            let address = gateway.address;
            scope.spawn(move || {
                let tag = format!("tag-{n}");
                let client = Modern::declaring(address, json!({"sampling": {}}));
                let call = json!({"name": "r__sample", "arguments": {"tag": tag}});
                let (_, answer, _) = client.round("tools/call", call.clone());
                let asked = &answer["result"];
                assert_eq!(asked["resultType"], "input_required", "{answer}");
                let requests = asked["inputRequests"].as_object().expect("questions");
                let (name, question) = requests.iter().next().expect("a question");
                assert!(question.to_string().contains(&tag), "{tag} got {question}");
                let mut back = call;
                back["requestState"] = asked["requestState"].clone();
                back["inputResponses"] = json!({ name.as_str(): {"said": tag} });
                let (_, answer, _) = client.round("tools/call", back);
                assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
                assert_eq!(text(&answer), json!({ "said": tag }).to_string());
            });
        }
    });
}
