//! Batches of JSON-RPC messages, which clients of revision 2025-03-26 may send: each message is handled as if
//! it had come alone, and all answers come back.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::events::Events;
use crate::harness::front::Front;
use crate::harness::gateway::Gateway;
use crate::harness::http::{Answer, Request, notification, request};
use crate::harness::session::{Session, hello, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchbox::config::limits::BATCH_MESSAGES_MAX;

fn gateway() -> Gateway {
    Gateway::of(json!({ "a": child::named("a"), "b": child::named("b") }))
}

fn call(id: impl Into<Value>, name: &str, arguments: Value) -> Value {
    request(
        id,
        "tools/call",
        json!({"name": name, "arguments": arguments}),
    )
}

/// The answers of an array, by their ids as they are written.
fn by_id(answers: &Value) -> BTreeMap<String, Value> {
    let answers = answers.as_array().unwrap_or_else(|| panic!("{answers}"));
    let keyed = answers
        .iter()
        .map(|answer| (answer["id"].to_string(), answer.clone()));
    keyed.collect()
}

/// The next line that is an array; what is told before it is passed over.
fn array(front: &Front) -> Value {
    loop {
        let line = front.next();
        if line.is_array() {
            return line;
        }
    }
}

fn post(session: &Session, batch: &Value) -> Answer {
    session.post(batch)
}

#[test]
fn each_message_of_a_batch_is_answered_as_if_alone() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    let mut modern = request("modern", "tools/list", json!({}));
    modern["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let batch = json!([
        call(1, "a__echo", json!({"x": 1.50})),
        request("list", "tools/list", json!({})),
        call(2, "b__echo", json!({"y": 2})),
        notification("notifications/roots/list_changed", json!({})),
        call("none", "a__none", json!({})),
        {"jsonrpc": "2.0", "id": "half"},
        7,
        [request(9, "ping", json!({}))],
        request("hello", "initialize", hello("2025-03-26", json!({}))),
        modern,
    ]);
    let answer = post(&session, &batch);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("mcp-session-id"), None);
    let all = answer.json();
    assert_eq!(all.as_array().map(Vec::len), Some(9), "{all}");
    let answers = by_id(&all);
    assert_eq!(text(&answers["1"]), r#"{"x":1.5}"#);
    assert_eq!(text(&answers["2"]), r#"{"y":2}"#);
    let tools = &answers["\"list\""]["result"]["tools"];
    assert_eq!(tools.as_array().map(Vec::len), Some(44));
    let code = |id: &str| answers[id]["error"]["code"].as_i64();
    assert_eq!(code("\"none\""), Some(-32602));
    assert_eq!(code("\"half\""), Some(-32600));
    assert_eq!(code("\"hello\""), Some(-32600));
    assert_eq!(code("\"modern\""), Some(-32600));
    assert_eq!(code("null"), Some(-32600));
}

#[test]
fn batch_that_asks_nothing_is_taken_without_a_word() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    let answer = post(
        &session,
        &json!([
            notification("notifications/initialized", json!({})),
            {"jsonrpc": "2.0", "id": 77, "result": {}},
        ]),
    );
    assert_eq!((answer.status(), answer.text().as_str()), (202, ""));
}

#[test]
fn answers_are_events_once_something_is_said_before_the_last() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({"sampling": {}}));
    let mut stepping = call(1, "a__progress", json!({"steps": 3}));
    stepping["params"]["_meta"] = json!({"progressToken": "mine"});
    let batch = json!([
        stepping,
        call(2, "a__sample", json!({"tag": "t"})),
        request(3, "ping", json!({})),
    ]);
    let (head, connection) = session.dress(Request::post(&batch)).begin(gateway.address);
    let mut events = Events::of(&head, connection);
    let (mut steps, mut asked, mut answers) = (0, 0, BTreeMap::new());
    while let Some(event) = events.next() {
        assert_eq!(event.id, None, "such a stream cannot be resumed");
        let message = event.message();
        match (message["method"].as_str(), message.get("id")) {
            (Some("notifications/progress"), None) => {
                assert_eq!(message["params"]["progressToken"], "mine");
                steps += 1;
            }
            (Some("sampling/createMessage"), Some(id)) => {
                asked += 1;
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"said": "t"}});
                // An answer may come in a batch as well.
                assert_eq!(post(&session, &json!([answer])).status(), 202);
            }
            (None, Some(id)) => drop(answers.insert(id.to_string(), message.clone())),
            _ => panic!("{message}"),
        }
    }
    assert_eq!((steps, asked), (3, 1));
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(text(&answers["2"]), r#"{"said":"t"}"#);
    assert_eq!(answers["3"]["result"], json!({}));
}

#[test]
fn client_that_takes_no_events_gets_an_array_whatever_is_said() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({"sampling": {}}));
    let batch = json!([
        call(1, "a__log", json!({"level": "error", "data": "x"})),
        call(2, "a__sample", json!({"tag": "t"})),
    ]);
    let answer = session
        .dress(Request::post_bytes(batch.to_string().into_bytes()))
        .field("accept", "application/json")
        .field("content-type", "application/json")
        .send(gateway.address);
    let answers = by_id(&answer.json());
    assert_eq!(text(&answers["1"]), "logged");
    assert!(text(&answers["2"]).contains("refused"));
}

#[test]
fn long_answers_come_as_events_or_the_last_of_them_as_an_error() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    // Each is a little longer than a sixteenth of what is kept.
    let calls = (0..17).map(|id| call(id, "a__big", json!({})));
    let batch = Value::from(calls.collect::<Vec<_>>());
    let body = batch.to_string().into_bytes();
    let lengths = |answers: &[Value]| {
        let said = |answer: &&Value| answer["result"]["content"][0]["text"].is_string();
        (answers.iter().filter(said).count(), answers.len())
    };
    let array = session
        .dress(Request::post_bytes(body))
        .field("accept", "application/json")
        .send(gateway.address);
    let answers = array.json();
    let answers = answers.as_array().expect("an array");
    assert_eq!(lengths(answers), (15, 17));
    let refused = answers.iter().find(|answer| answer.get("error").is_some());
    assert_eq!(refused.expect("one at least")["error"]["code"], -32006);

    let (head, connection) = session.dress(Request::post(&batch)).begin(gateway.address);
    let mut events = Events::of(&head, connection);
    let answers: Vec<Value> = std::iter::from_fn(|| events.message()).collect();
    assert_eq!(lengths(&answers), (17, 17));
}

#[test]
fn client_that_takes_nothing_but_events_gets_events() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    let batch = json!([request(1, "ping", json!({})), request(2, "ping", json!({}))]);
    let (head, connection) = session
        .dress(Request::post_bytes(batch.to_string().into_bytes()))
        .field("accept", "text/event-stream")
        .begin(gateway.address);
    let mut events = Events::of(&head, connection);
    let mut ids = Vec::new();
    while let Some(message) = events.message() {
        ids.push(message["id"].clone());
    }
    assert_eq!(ids, [json!(1), json!(2)]);
}

#[test]
fn request_of_a_batch_can_be_cancelled_and_is_not_answered() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    let batch = json!([call(1, "a__hang", json!({})), call(2, "b__echo", json!({}))]);
    let cancel = notification("notifications/cancelled", json!({"requestId": 1}));
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| post(&session, &batch).json());
        clock::holds("the call is at the server", || {
            session.say("a__seen", json!({})).contains(r#""hung":["#)
                && !session.say("a__seen", json!({})).contains(r#""hung":[]"#)
        });
        assert_eq!(post(&session, &cancel).status(), 202);
        asking.join().expect("no panic")
    });
    let answers = by_id(&answers);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["2"], "{answers:?}");
}

#[test]
fn batch_that_is_none_is_refused_as_a_whole() {
    let gateway = gateway();
    let session = gateway.session_with("2025-03-26", json!({}));
    let ping = |id: usize| request(id, "ping", json!({}));
    let pings = |count: usize| Value::from((0..count).map(ping).collect::<Vec<_>>());
    let most = post(&session, &pings(BATCH_MESSAGES_MAX));
    assert_eq!(
        most.json().as_array().map(Vec::len),
        Some(BATCH_MESSAGES_MAX)
    );
    assert_eq!(
        post(&session, &pings(BATCH_MESSAGES_MAX + 1)).refusal(),
        (400, json!(-32600))
    );
    assert_eq!(post(&session, &json!([])).refusal(), (400, json!(-32600)));
    let broken = session.dress(Request::post_bytes(b"[{},".to_vec()));
    assert_eq!(broken.send(gateway.address).refusal(), (400, json!(-32700)));
}

#[test]
fn other_revisions_have_no_batches() {
    let gateway = gateway();
    let batch = json!([request(1, "ping", json!({}))]);
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let session = gateway.session_with(revision, json!({}));
        let refused = post(&session, &batch);
        assert_eq!(refused.refusal(), (400, json!(-32600)), "{revision}");
        let named = Request::post(&batch).field("mcp-protocol-version", revision);
        assert_eq!(named.send(gateway.address).status(), 400, "{revision}");
    }
    // Outside a session: the revision that the specification has assumed where none is named.
    let named = Request::post(&batch).field("mcp-protocol-version", "2025-03-26");
    for request in [named, Request::post(&batch)] {
        let answer = request.send(gateway.address);
        assert_eq!(
            answer.json(),
            json!([{"jsonrpc": "2.0", "id": 1, "result": {}}])
        );
    }
}

#[test]
fn batch_on_stdio_is_answered_in_one_line() {
    let mut front = Front::of(json!({ "a": child::named("a") }));
    let batch = json!([
        call(1, "a__echo", json!({"x": 1})),
        request(2, "ping", json!({})),
        request(3, "nope", json!({})),
    ]);
    front.say(&batch);
    assert_eq!(front.next()["error"]["code"], -32600);
    front.say(&request(
        "hello",
        "initialize",
        hello("2025-03-26", json!({"sampling": {}})),
    ));
    assert_eq!(
        front.answer("hello")["result"]["protocolVersion"],
        "2025-03-26"
    );
    front.say(&notification("notifications/initialized", json!({})));
    front.say(&batch);
    let answers = by_id(&array(&front));
    assert_eq!(text(&answers["1"]), r#"{"x":1}"#);
    assert_eq!(answers["2"]["result"], json!({}));
    assert_eq!(answers["3"]["error"]["code"], -32601);
    front.say(&json!([call(4, "a__sample", json!({"tag": "t"}))]));
    let asked = front.wait_for("sampling/createMessage");
    front.say(&json!([{"jsonrpc": "2.0", "id": asked["id"], "result": {"said": "t"}}]));
    let answers = by_id(&array(&front));
    assert_eq!(text(&answers["4"]), r#"{"said":"t"}"#);
}
