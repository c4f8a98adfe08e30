//! Parked calls: asked, come back for, given up.

use super::*;
use crate::config::limits::LANES_MAX;
use crate::worker::effect::Input;
use crate::worker::scene::Scene;
use serde_json::{Value, json};
use std::time::Duration;

fn progress(call: &Value, progress: u32) -> Value {
    let params =
        json!({"progressToken": call["params"]["_meta"]["progressToken"], "progress": progress});
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
}

/// A call that wants to hear of its progress and was asked something; its child, what that was sent, the state.
fn parked_with_progress(scene: &mut Scene) -> (crate::id::ConnectionId, Value, Value) {
    let params = json!({"name": "t", "arguments": {}, "_meta": {"progressToken": "p"}});
    let client = scene.modern("tools/call", params);
    let (child, call) = scene.asked("tools/call");
    scene.elicits(child, 7);
    scene.pass(Duration::from_millis(40));
    let state = scene.answer(client)["result"]["requestState"].clone();
    (child, call, state)
}

/// Has a client come back with its answer to that question, and wanting to hear of progress.
fn comes_back(scene: &mut Scene, state: &Value, question: u32) -> crate::id::ConnectionId {
    let answers = json!({format!("elicitation-{question}"): {"action": "accept", "content": {}}});
    let params = json!({
        "name": "t", "arguments": {}, "requestState": state, "inputResponses": answers,
        "_meta": {"progressToken": "p"},
    });
    scene.modern("tools/call", params)
}

#[test]
fn progress_does_not_shorten_the_time_that_a_client_has_to_answer() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = parked_with_progress(&mut scene);
    scene.says(child, &progress(&call, 1));
    scene.pass(Duration::from_secs(200));
    scene.returns("t", &state);
    let answered = scene.lines(child);
    assert!(answered.iter().any(|line| line["id"] == 7), "{answered:?}");
}

#[test]
fn progress_keeps_a_call_going_whose_client_is_back() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = parked_with_progress(&mut scene);
    let client = scene.returns("t", &state);
    for step in 1..4 {
        scene.pass(Duration::from_secs(40));
        scene.says(child, &progress(&call, step));
    }
    scene.answers(child, &call, &json!({"content": []}));
    let heard = scene.heard(client);
    assert!(heard.contains(r#""resultType":"complete""#), "{heard}");
}

#[test]
fn call_that_is_asked_something_while_draining_is_given_up() {
    let mut scene = Scene::new(Era::Legacy);
    let client = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
    let (child, _) = scene.asked("tools/call");
    scene.handle(Input::Drain);
    scene.elicits(child, 7);
    scene.pass(Duration::from_millis(40));
    let answer = scene.answer(client);
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert!(scene.worker.is_drained());
}

#[test]
fn nothing_is_left_of_questions_that_the_server_did_not_wait_for() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = scene.parks("t");
    scene.answers(child, &call, &json!({"content": []}));
    let client = scene.returns("t", &state);
    assert_eq!(scene.answer(client)["result"]["resultType"], "complete");
    assert_eq!(scene.worker.asks.len(), 0);
}

#[test]
fn state_is_good_once_and_for_the_very_request() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = scene.parks("t");
    let other = scene.returns("u", &state);
    assert_eq!(scene.answer(other)["error"]["code"], -32602);
    let first = scene.returns("t", &state);
    let second = scene.returns("t", &state);
    assert_eq!(scene.answer(second)["error"]["code"], -32602);
    scene.answers(child, &call, &json!({"content": []}));
    assert_eq!(scene.answer(first)["result"]["resultType"], "complete");
}

#[test]
fn state_of_ours_is_ours_to_judge_though_its_server_became_modern() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = scene.parks("t");
    scene.is_found_to_speak(Era::Modern);
    let other = scene.returns("u", &state);
    assert_eq!(scene.answer(other)["error"]["code"], -32602);
    // The call itself goes on where it was made.
    let client = scene.returns("t", &state);
    scene.answers(child, &call, &json!({"content": []}));
    assert_eq!(scene.answer(client)["result"]["resultType"], "complete");
    let late = scene.returns("t", &state);
    assert_eq!(scene.answer(late)["error"]["code"], -32602);
    scene.pass(PARKED_TIMEOUT);
    let late = scene.returns("t", &state);
    let error = scene.answer(late)["error"].clone();
    assert_eq!(error["code"], -32602);
    assert!(
        error["message"]
            .to_string()
            .contains("requestState has expired")
    );
}

#[test]
fn call_whose_client_never_comes_back_is_given_up_in_time() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, _, state) = scene.parks("t");
    scene.pass(PARKED_TIMEOUT - Duration::from_secs(1));
    assert_eq!(scene.worker.census().parked, 1);
    scene.pass(Duration::from_secs(1));
    let census = scene.worker.census();
    assert_eq!((census.parked, census.exchanges, census.asks), (0, 0, 0));
    // What the server asked is not left open, and nobody else is put where it may still be at work.
    let told = scene.lines(child);
    assert!(
        told.iter()
            .any(|line| line["id"] == 7 && line["error"].is_object())
    );
    assert!(scene.closed.contains(&child), "{told:?}");
    let late = scene.returns("t", &state);
    assert_eq!(scene.answer(late)["error"]["code"], -32602);
}

#[test]
fn call_past_the_bound_is_refused_and_displaces_none() {
    let servers = PARKED_MAX / LANES_MAX;
    let mut scene = Scene::with_servers(servers + 1);
    let states: Vec<Value> = (0..PARKED_MAX)
        .map(|n| scene.parks(&format!("s{}__t", n % servers)).2)
        .collect();
    let tool = format!("s{servers}__t");
    let client = scene.modern("tools/call", json!({"name": tool, "arguments": {}}));
    let (child, _) = scene.asked("tools/call");
    scene.elicits(child, 7);
    scene.pass(Duration::from_millis(40));
    let heard = scene.heard(client);
    assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    assert!(heard.contains("too many calls wait"), "{heard}");
    assert_eq!(scene.worker.census().parked, PARKED_MAX);
    // There is room for it as soon as one of the others is back.
    scene.returns("s0__t", &states[0]);
    scene.parks(&tool);
    assert_eq!(scene.worker.census().parked, PARKED_MAX);
}

#[test]
fn answer_past_what_is_kept_for_parked_calls_is_not_kept() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = scene.parks("t");
    scene.worker.parked_bytes = PARKED_ANSWERS_BYTES_MAX;
    scene.answers(child, &call, &json!({"content": []}));
    let client = scene.returns("t", &state);
    let error = scene.answer(client)["error"].clone();
    assert_eq!(error["code"], -32603);
    assert!(error["message"].to_string().contains("too much to keep"));
    assert_eq!(scene.worker.parked_bytes, PARKED_ANSWERS_BYTES_MAX);
}

#[test]
fn answers_kept_are_forgotten_with_their_calls() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, _) = scene.parks("t");
    scene.answers(child, &call, &json!({"content": []}));
    assert!(scene.worker.census().parked_bytes > 0);
    scene.pass(PARKED_TIMEOUT);
    assert_eq!(scene.worker.census().parked_bytes, 0);
}

#[test]
fn questions_of_a_round_are_forgotten_with_their_call() {
    let mut scene = Scene::new(Era::Modern);
    let fields = scene.opens_session();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "t", "arguments": {}}});
    scene.post(&fields, &call);
    let (child, call) = scene.asked("tools/call");
    let question = json!({"method": "elicitation/create", "params": {
        "message": "q", "requestedSchema": {"type": "object", "properties": {}},
    }});
    let required = json!({"resultType": "input_required", "inputRequests": {"k": question}});
    scene.answers(child, &call, &required);
    assert_eq!(scene.worker.asks.len(), 1);
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 1}});
    scene.post(&fields, &cancelled);
    assert_eq!(scene.worker.asks.len(), 0);
}

#[test]
fn call_that_is_parked_is_asked_more_though_no_other_may_be() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, _, state) = scene.parks("t");
    scene.worker.lanes.parked = PARKED_MAX;
    scene.elicits(child, 8);
    scene.pass(Duration::from_millis(40));
    assert_eq!(scene.worker.census().parked, 1);
    scene.returns("t", &state);
    let answered = scene.lines(child);
    assert!(answered.iter().any(|line| line["id"] == 7), "{answered:?}");
}

#[test]
fn lane_is_kept_though_a_client_that_is_back_cannot_be_asked_more() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = scene.parks("t");
    let client = scene.returns("t", &state);
    let params = json!({"messages": [], "maxTokens": 1});
    scene.says(
        child,
        &json!({"jsonrpc": "2.0", "id": 8, "method": "sampling/createMessage", "params": params}),
    );
    let error = scene.answer(client)["error"].clone();
    assert!(
        error["data"]["requiredCapabilities"]["sampling"].is_object(),
        "{error}"
    );
    scene.answers(child, &call, &json!({"content": []}));
    assert!(!scene.closed.contains(&child));
    assert_eq!(scene.worker.census().lanes, 0);
}

#[test]
fn progress_does_not_shorten_the_time_of_a_call_whose_client_is_back_late() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, call, state) = parked_with_progress(&mut scene);
    let wait = PARKED_TIMEOUT - Duration::from_secs(10);
    scene.pass(wait);
    let client = comes_back(&mut scene, &state, 1);
    scene.elicits(child, 8);
    scene.pass(Duration::from_millis(40));
    let state = scene.answer(client)["result"]["requestState"].clone();
    scene.pass(wait);
    let client = comes_back(&mut scene, &state, 2);
    scene.pass(Duration::from_secs(25));
    scene.says(child, &progress(&call, 1));
    scene.pass(Duration::from_secs(25));
    scene.answers(child, &call, &json!({"content": []}));
    let heard = scene.heard(client);
    assert!(heard.contains(r#""resultType":"complete""#), "{heard}");
}

#[test]
fn question_does_not_keep_a_call_that_nobody_can_come_back_for() {
    let mut scene = Scene::new(Era::Legacy);
    let (child, ..) = scene.parks("t");
    scene.pass(PARKED_TIMEOUT - Duration::from_secs(10));
    scene.elicits(child, 8);
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.worker.census().exchanges, 0);
}
