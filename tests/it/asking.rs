//! Servers ask clients, and tell them things: always the right one, under ids of its own.

use crate::fixture::child;
use crate::fixture::remote::{Remote, Style};
use crate::harness::clock;
use crate::harness::events::Events;
use crate::harness::gateway::Gateway;
use crate::harness::session::{Session, text};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn everything() -> Value {
    json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}})
}

/// Calls a tool that asks, and answers what it asks with `tag`; what the tool made of it.
fn asked(session: &Session, tool: &str, tag: &str) -> Value {
    let params = json!({"name": tool, "arguments": {"tag": tag}});
    let (answer, _) = session.ask_while("tools/call", params, |request| {
        let text = request.to_string();
        // Whoever is asked for another's tag has been given another's question.
        assert!(
            !text.contains("tag-") || text.contains(&format!("\"{tag}\"")),
            "{tag} got {text}"
        );
        json!({ "answer": tag })
    });
    serde_json::from_str(&text(&answer)).unwrap_or_else(|_| json!({ "said": text(&answer) }))
}

#[test]
fn sampling_elicitation_and_roots_reach_the_client_and_come_back() {
    let remote = Remote::start(Style::Json);
    let mut alone = child::named("alone");
    alone["share"] = "per_session".into();
    let gateway = Gateway::of(json!({
        "shared": child::named("shared"), "alone": alone, "remote": remote.server(),
    }));
    let session = gateway.session_with("2025-11-25", everything());
    for server in ["shared", "alone", "remote"] {
        for tool in ["sample", "elicit", "roots"] {
            let made = asked(&session, &format!("{server}__{tool}"), "tag-1");
            assert_eq!(made, json!({"answer": "tag-1"}), "{server} {tool}");
        }
    }
}

#[test]
fn what_a_server_asks_keeps_its_bytes_and_gets_an_id_of_ours() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session_with("2025-11-25", everything());
    let params = json!({"name": "a__sample", "arguments": {"tag": "t"}});
    let mut events = session.stream(0, "tools/call", params);
    let request = loop {
        let event = events.next().expect("a request");
        if event.data.contains("sampling/createMessage") {
            break event;
        }
    };
    assert!(
        request.data.contains(r#""maxTokens":5,"x-odd":1.0"#),
        "{}",
        request.data
    );
    assert_ne!(request.message()["id"], 0);
}

#[test]
fn answer_does_not_wait_for_the_connection_that_waits_for_it() {
    let remote = Remote::start(Style::Json);
    let mut server = remote.server();
    server["connections"] = 1.into();
    let gateway = Gateway::of(json!({ "remote": server }));
    let session = gateway.session_with("2025-11-25", everything());
    let made = asked(&session, "remote__sample", "tag-1");
    assert_eq!(made, json!({"answer": "tag-1"}));
}

#[test]
fn clients_error_reaches_the_server() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session_with("2025-11-25", everything());
    let params = json!({"name": "a__sample", "arguments": {"tag": "t"}});
    let (answer, _) = session.ask_while(
        "tools/call",
        params,
        |_| json!({"error": {"code": -1, "message": "User rejected sampling request"}}),
    );
    let made: Value = serde_json::from_str(&text(&answer)).expect("JSON");
    assert_eq!(made["refused"]["code"], -1);
}

#[test]
fn client_that_declared_nothing_is_asked_nothing() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": child::named("a"), "r": remote.server() }));
    let session = gateway.session();
    for tool in [
        "a__sample",
        "a__elicit",
        "a__roots",
        "r__sample",
        "r__roots",
    ] {
        let made = asked(&session, tool, "tag-1");
        assert!(made["refused"]["code"].is_i64(), "{tool}: {made}");
    }
    // Nor is one without a session, which could not answer.
    let answer = gateway.ask(
        "tools/call",
        json!({"name": "r__sample", "arguments": {"tag": "t"}}),
    );
    assert!(text(&answer).contains("refused"), "{answer}");
}

#[test]
fn server_is_told_what_its_client_declared() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": child::named("a"), "r": remote.server() }));
    let capabilities = json!({"elicitation": {"form": {}}, "experimental": {"x": {"y": 1}}});
    let session = gateway.session_with("2025-11-25", capabilities.clone());
    let seen = |session: &Session| -> Value {
        serde_json::from_str(&session.say("a__seen", json!({}))).expect("JSON")
    };
    assert_eq!(seen(&session)["introduced"]["capabilities"], capabilities);
    assert_eq!(
        seen(&gateway.session())["introduced"]["capabilities"],
        json!({})
    );
    session.say("r__echo", json!({}));
    assert_eq!(remote.mind.seen().introduced["capabilities"], capabilities);
}

/// A client with its standing stream, and a server that has its conversation.
fn standing(gateway: &Gateway) -> (Session, Events) {
    let session = gateway.session_with("2025-11-25", json!({"roots": {}}));
    let mut events = session.listen(None);
    assert!(events.next().is_some_and(|event| event.is_priming()));
    session.say("a__echo", json!({}));
    (session, events)
}

/// Answers what the server asks on the standing stream.
fn answer_roots(session: &Session, events: &mut Events) {
    let request = events.wait_for("roots/list");
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": {"roots": []}});
    assert_eq!(session.post(&answer).status(), 202);
}

#[test]
fn child_that_asks_outside_any_call_asks_on_the_standing_stream() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let (session, mut events) = standing(&gateway);
    assert_eq!(session.say("a__ask_late", json!({})), "soon");
    answer_roots(&session, &mut events);
    clock::holds("the server has the answer", || {
        let seen = session.say("a__seen", json!({}));
        let seen: Value = serde_json::from_str(&seen).expect("JSON");
        seen["late"] == json!([{"roots": []}])
    });
}

#[test]
fn server_over_http_that_asks_outside_any_call_asks_on_the_standing_stream() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": remote.server() }));
    // One stream of the conversation that is nobody's, then the client's.
    clock::holds("the gateway listens", || remote.mind.listeners() == 1);
    let (session, mut events) = standing(&gateway);
    clock::holds("it listens for the client, too", || {
        remote.mind.listeners() == 2
    });
    thread::scope(|scope| {
        let asked = scope.spawn(|| remote.mind.ask_standing("roots/list", &json!({})));
        answer_roots(&session, &mut events);
        assert_eq!(asked.join().expect("no panic"), json!({"roots": []}));
    });
}

#[test]
fn answer_to_what_was_not_asked_of_this_session_goes_nowhere() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let victim = gateway.session_with("2025-11-25", everything());
    let thief = gateway.session_with("2025-11-25", everything());
    let params = json!({"name": "a__elicit", "arguments": {"tag": "t"}});
    let mut events = victim.stream(0, "tools/call", params);
    let request = events.wait_for("elicitation/create");
    let answer = |result: Value| json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    assert_eq!(thief.post(&answer(json!({"from": "thief"}))).status(), 202);
    assert_eq!(
        gateway.post(&answer(json!({"from": "nobody"}))).status(),
        202
    );
    assert_eq!(
        victim.post(&answer(json!({"from": "victim"}))).status(),
        202
    );
    let last = events.message().expect("the answer");
    assert_eq!(text(&last), r#"{"from":"victim"}"#);
}

/// So many clients that all count from 0, each with calls of its own and requests of servers in flight.
fn crowd(clients: usize, gateway: &Gateway, tools: &[&str]) {
    let asked_back = AtomicUsize::new(0);
    let client = |number: usize| {
        let session =
            gateway.session_with("2025-11-25", json!({"sampling": {}, "elicitation": {}}));
        for (round, tool) in tools.iter().enumerate() {
            let tag = format!("tag-{number}-{round}");
            if tool.ends_with("echo") {
                let said = session.say(tool, json!({ "tag": tag }));
                assert_eq!(said, json!({ "tag": tag }).to_string(), "client {number}");
                continue;
            }
            let made = asked(&session, tool, &tag);
            // Where it cannot be told whose a question is, the server is refused; that is no mistake.
            if made == json!({ "answer": tag }) {
                asked_back.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(
                    made["refused"].is_object(),
                    "client {number} with {tag} read {made}"
                );
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..clients {
            thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, {
                    let client = &client;
                    move || client(number)
                })
                .expect("a thread for each client");
        }
    });
    assert!(
        asked_back.load(Ordering::Relaxed) >= clients,
        "hardly anybody was asked"
    );
}

#[test]
fn two_hundred_clients_that_count_from_0_never_meet() {
    let remote = Remote::start(Style::Json);
    let gateway =
        Gateway::of(json!({ "shared": child::named("shared"), "remote": remote.server() }));
    let tools = [
        "remote__sample",
        "shared__echo",
        "shared__sample",
        "remote__echo",
        "remote__elicit",
    ];
    crowd(200, &gateway, &tools);
    assert_eq!(gateway.log.count(" ERROR "), 0);
}

#[test]
fn thousand_clients_that_count_from_0_never_meet() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "remote": remote.server() }));
    crowd(1000, &gateway, &["remote__sample", "remote__echo"]);
}

#[test]
fn clients_with_children_of_their_own_never_meet() {
    let mut alone = child::named("alone");
    alone["share"] = "per_session".into();
    let gateway = Gateway::of(json!({ "alone": alone }));
    crowd(
        20,
        &gateway,
        &["alone__sample", "alone__echo", "alone__elicit"],
    );
    let pids =
        [gateway.session(), gateway.session()].map(|session| session.say("alone__pid", json!({})));
    assert_ne!(pids[0], pids[1]);
}
