//! `switchbox stdio`: everything the endpoint does, for a client that only starts commands.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::front::Front;
use crate::harness::http::{notification, request};
use crate::harness::session::text;
use serde_json::{Value, json};

fn front() -> Front {
    Front::of(json!({ "a": child::named("a"), "b": child::named("b") }))
}

#[test]
fn client_on_stdio_gets_all_servers_as_one() {
    let mut front = front();
    let welcome = front.open(json!({}));
    assert_eq!(welcome["protocolVersion"], "2025-11-25");
    assert_eq!(welcome["capabilities"]["tools"]["listChanged"], true);
    let listed = front.ask(1, "tools/list", json!({}));
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(44));
    for server in ["a", "b"] {
        let params = json!({"name": format!("{server}__echo"), "arguments": {"x": 1}});
        assert_eq!(text(&front.ask(2, "tools/call", params)), r#"{"x":1}"#);
    }
    let read = front.ask(3, "resources/read", json!({"uri": "note://b/2"}));
    assert_eq!(read["result"]["contents"][0]["text"], "b has note://b/2");
    assert_eq!(
        front.ask(4, "initialize", json!({}))["error"]["code"],
        -32600
    );
    assert_eq!(front.ask(5, "nope", json!({}))["error"]["code"], -32601);
}

#[test]
fn requests_sent_at_once_are_answered_each_under_its_id() {
    let mut front = front();
    front.open(json!({}));
    for id in 0..100 {
        let server = if id % 2 == 0 { "a" } else { "b" };
        let params = json!({"name": format!("{server}__echo"), "arguments": {"id": id}});
        front.say(&request(id, "tools/call", params));
    }
    let mut missing: Vec<bool> = vec![true; 100];
    for _ in 0..100 {
        let answer = front.next();
        let id = answer["id"].as_u64().expect("an id of ours");
        assert_eq!(text(&answer), format!(r#"{{"id":{id}}}"#));
        missing[id as usize] = false;
    }
    assert!(!missing.contains(&true), "{missing:?}");
}

#[test]
fn servers_ask_the_client_on_stdio() {
    let mut front = front();
    front.open(json!({"sampling": {}, "elicitation": {}, "roots": {}}));
    for (id, (tool, method)) in [
        ("a__sample", "sampling/createMessage"),
        ("b__elicit", "elicitation/create"),
        ("a__roots", "roots/list"),
    ]
    .into_iter()
    .enumerate()
    {
        let params = json!({"name": tool, "arguments": {"tag": tool}});
        front.say(&request(id, "tools/call", params));
        let asked = front.wait_for(method);
        front.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"from": tool}}));
        assert_eq!(text(&front.answer(id)), json!({ "from": tool }).to_string());
    }
}

#[test]
fn progress_logs_and_changes_are_told_on_stdio() {
    let mut front = front();
    front.open(json!({}));
    let params = json!({"name": "a__progress", "arguments": {"steps": 1}, "_meta": {"progressToken": "mine"}});
    front.say(&request(1, "tools/call", params));
    assert_eq!(
        front.wait_for("notifications/progress")["params"]["progressToken"],
        "mine"
    );
    front.answer(1);
    front.ask(2, "resources/subscribe", json!({"uri": "note://b/1"}));
    front.say(&request(
        3,
        "tools/call",
        json!({"name": "b__update", "arguments": {"uri": "note://b/1"}}),
    ));
    front.wait_for("notifications/resources/updated");
    front.say(&request(
        4,
        "tools/call",
        json!({"name": "b__grow", "arguments": {}}),
    ));
    front.wait_for("notifications/tools/list_changed");
}

#[test]
fn cancelled_call_on_stdio_is_cancelled_at_its_server() {
    let mut front = front();
    front.open(json!({}));
    front.say(&request(
        "c",
        "tools/call",
        json!({"name": "a__hang", "arguments": {}}),
    ));
    let seen = |front: &mut Front| -> Value {
        let answer = front.ask(7, "tools/call", json!({"name": "a__seen", "arguments": {}}));
        serde_json::from_str(&text(&answer)).expect("JSON")
    };
    clock::holds("the call hangs", || seen(&mut front)["hung"] != json!([]));
    front.say(&notification(
        "notifications/cancelled",
        json!({"requestId": "c"}),
    ));
    clock::holds("the server knows", || {
        let seen = seen(&mut front);
        seen["cancelled"] == seen["hung"]
    });
}

#[test]
fn lines_that_are_no_messages_are_answered_and_passed_over() {
    let mut front = front();
    front.open(json!({}));
    front.say_line("");
    front.say_line("hello?");
    let refused = front.next();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&Value::Null, &json!(-32700))
    );
    assert_eq!(front.ask(1, "ping", json!({}))["result"], json!({}));
}

#[test]
fn end_of_input_ends_switchbox_and_its_children() {
    let mut front = Front::of(json!({
        "a": child::server(json!({"name": "a", "grandchild": true})),
        "b": child::named("b"),
    }));
    front.open(json!({}));
    assert!(front.descendants().len() >= 3);
    assert_eq!(front.close().code(), Some(0));
    assert_eq!(front.descendants(), Vec::<u32>::new());
}
