//! What calls that need a lane are told, and what it costs their servers.

use super::*;
use crate::config::limits::{REFUSED_TIMEOUT, WORKERS_MAX};
use crate::id::ConnectionId;
use crate::worker::effect::Input;
use crate::worker::scene::Scene;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// A client that is like no other calls a tool.
fn calls(scene: &mut Scene, number: usize) -> ConnectionId {
    let declared = json!({"elicitation": {}, "experimental": {"n": {"n": number}}});
    let params = json!({"name": "t", "arguments": {}, "_meta": {"progressToken": "p"}});
    scene.modern_with("tools/call", params, &declared)
}

/// Has every lane taken by those who declare that; the children and what they were asked.
fn fills(scene: &mut Scene, number: usize) -> Vec<(ConnectionId, Value)> {
    for _ in 0..LANES_MAX {
        calls(scene, number);
    }
    scene.pass(Duration::from_secs(1));
    let asked = all_asked(scene);
    assert_eq!(asked.len(), LANES_MAX);
    asked
}

fn all_asked(scene: &mut Scene) -> Vec<(ConnectionId, Value)> {
    let children = scene.children.clone();
    let said = children.into_iter().flat_map(|child| {
        let lines = scene.lines(child).into_iter();
        lines.map(move |line| (child, line)).collect::<Vec<_>>()
    });
    said.filter(|(_, line)| line["method"] == "tools/call")
        .collect()
}

fn answers(scene: &mut Scene, (child, call): &(ConnectionId, Value)) {
    scene.answers(*child, call, &json!({"content": []}));
}

#[test]
fn lanes_are_bounded_whatever_their_clients_declare() {
    let mut scene = Scene::new(Era::Legacy);
    let shared = scene.children.len();
    let clients: Vec<_> = (0..2 * LANES_MAX)
        .map(|number| calls(&mut scene, number))
        .collect();
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.children.len(), shared + LANES_MAX);
    // All of them are answered nevertheless, in the order in which they came.
    let mut asked = VecDeque::from(all_asked(&mut scene));
    for client in clients {
        let first = asked.pop_front().expect("a call that is served");
        answers(&mut scene, &first);
        assert!(scene.answer(client)["result"].is_object());
        asked.extend(all_asked(&mut scene));
    }
    assert_eq!(scene.children.len(), shared + LANES_MAX);
}

#[test]
fn lane_that_nobody_has_used_for_the_longest_gives_way() {
    let mut scene = Scene::new(Era::Legacy);
    for number in 0..LANES_MAX {
        calls(&mut scene, number);
    }
    let asked = all_asked(&mut scene);
    for call in asked.iter().rev() {
        scene.pass(Duration::from_millis(10));
        answers(&mut scene, call);
    }
    calls(&mut scene, LANES_MAX);
    assert_eq!(all_asked(&mut scene).len(), 1);
    let gone = |child| scene.closed.contains(child);
    let gone: Vec<_> = asked.iter().filter(|(child, _)| gone(child)).collect();
    assert_eq!(gone, [&asked[LANES_MAX - 1]]);
}

#[test]
fn oldest_call_is_served_first_whosever_the_lane_was() {
    let mut scene = Scene::new(Era::Legacy);
    let asked = fills(&mut scene, 0);
    let waiting = [1, 2, 0, 3].map(|number| calls(&mut scene, number));
    scene.pass(Duration::from_secs(1));
    answers(&mut scene, &asked[0]);
    for client in waiting {
        let served = all_asked(&mut scene);
        assert_eq!(served.len(), 1);
        answers(&mut scene, &served[0]);
        assert!(scene.answer(client)["result"].is_object());
    }
}

#[test]
fn call_for_which_no_lane_became_free_is_told_so() {
    let mut scene = Scene::new(Era::Legacy);
    let asked = fills(&mut scene, 0);
    let client = calls(&mut scene, 1);
    scene.pass(Duration::from_secs(30));
    for (child, call) in &asked {
        let token = &call["params"]["_meta"]["progressToken"];
        let params = json!({"progressToken": token, "progress": 1});
        let method = "notifications/progress";
        scene.says(
            *child,
            &json!({"jsonrpc": "2.0", "method": method, "params": params}),
        );
    }
    scene.pass(Duration::from_secs(31));
    assert_eq!(scene.answer(client)["error"]["code"], -32006);
    assert_eq!(scene.worker.census().lanes, LANES_MAX);
}

#[test]
fn server_that_is_down_is_so_for_all_who_wait() {
    let mut scene = Scene::new(Era::Legacy);
    fills(&mut scene, 0);
    let clients: Vec<_> = (0..2_000).map(|_| calls(&mut scene, 0)).collect();
    scene.pass(Duration::from_secs(1));
    scene.is_gone();
    for child in scene.children.clone() {
        scene.handle(Input::Exited(child, "exit 1".into()));
    }
    scene.pass(Duration::from_secs(1));
    for child in scene.children.clone() {
        scene.handle(Input::Exited(child, "exit 1".into()));
    }
    scene.pass(Duration::from_secs(1));
    for client in clients {
        assert!(scene.answer(client)["error"].is_object());
    }
}

#[test]
fn shares_of_all_workers_are_no_more_than_all_may_have() {
    let check = |connections: usize, workers: usize, expected: usize| {
        let mut server = (*crate::router::testing::server("s")).clone();
        server.connections = connections;
        assert_eq!(lanes_max(&server, workers), expected);
    };
    check(1024, 1, LANES_MAX);
    check(1024, 3, LANES_MAX / 3);
    check(1024, WORKERS_MAX, 1);
    check(5, 1, 4);
    check(1, 2, 1);
}

fn refused(scene: &mut Scene, tool: &str) -> (ConnectionId, Value) {
    let client = scene.modern("tools/call", json!({"name": tool, "arguments": {}}));
    let (child, call) = scene.asked("tools/call");
    let sampling = json!({"messages": [], "maxTokens": 1});
    let wants = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage",
        "params": sampling});
    scene.says(child, &wants);
    let answer = scene.answer(client);
    assert_eq!(answer["error"]["code"], -32021, "{answer}");
    assert!(scene.lines(child)[0]["error"].is_object());
    (child, call)
}

#[test]
fn call_whose_client_lacks_a_capability_costs_no_child() {
    let mut scene = Scene::new(Era::Legacy);
    let before = scene.closed.len();
    let (first, call) = refused(&mut scene, "t");
    scene.answers(first, &call, &json!({"content": []}));
    let (second, call) = refused(&mut scene, "t");
    scene.says(
        second,
        &json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -1, "message": "no"}}),
    );
    assert_eq!(refused(&mut scene, "t").0, first);
    assert_eq!(first, second);
    assert!(!scene.closed[before..].contains(&first));
    assert_eq!(scene.worker.census().exchanges, 1);
}

#[test]
fn server_that_goes_on_after_it_was_refused_loses_its_lane() {
    let mut scene = Scene::new(Era::Legacy);
    let (first, _) = refused(&mut scene, "t");
    scene.pass(REFUSED_TIMEOUT + Duration::from_secs(1));
    assert!(scene.closed.contains(&first));
    assert_eq!(scene.worker.census().lanes, 0);
    assert_ne!(refused(&mut scene, "t").0, first);
}

#[test]
fn answer_that_a_client_cannot_take_costs_no_child() {
    let mut scene = Scene::new(Era::Legacy);
    let mut calls = || {
        let client = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
        let (child, call) = scene.asked("tools/call");
        let url = json!({"mode": "url", "url": "https://a.example", "message": "m",
            "elicitationId": "1"});
        let error = json!({"code": -32042, "message": "m", "data": {"elicitations": [url]}});
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "id": call["id"], "error": error}),
        );
        assert_eq!(scene.answer(client)["error"]["code"], -32021);
        child
    };
    assert_eq!(calls(), calls());
}

#[test]
fn parked_calls_do_not_keep_others_from_being_made() {
    let mut scene = Scene::new(Era::Legacy);
    let states: Vec<_> = (0..LANES_MAX).map(|_| scene.parks("t").2).collect();
    scene.modern("tools/call", json!({"name": "u", "arguments": {}}));
    scene.pass(Duration::from_secs(1));
    let (_, call) = scene.asked("tools/call");
    assert_eq!(call["params"]["name"], "u");
    // The one that was parked first gave way, and no other.
    let gone = scene.returns("t", &states[0]);
    assert_eq!(scene.answer(gone)["error"]["code"], -32602);
    let kept = scene.returns("t", &states[1]);
    assert_eq!(scene.heard(kept), "");
}
