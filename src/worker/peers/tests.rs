//! Peers: what is read of clients, and how much is kept for them.

use super::*;
use crate::worker::effect::Input;
use crate::worker::scene::Scene;
use serde_json::{Value, json};

fn request(id: u32, method: &str, params: &Value) -> String {
    let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    format!("{message}\n")
}

/// A legacy client on standard input and output that has introduced itself.
fn opens_stdio(scene: &mut Scene) -> ConnectionId {
    let front = scene.worker.open_stdio(scene.now);
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "c", "version": "1"},
    });
    let hello = request(0, "initialize", &hello);
    scene.handle(Input::Received(front, hello.as_bytes()));
    assert_eq!(scene.lines(front).len(), 1);
    front
}

/// The ids of what a client was answered and has not looked at.
fn answered(scene: &mut Scene, client: ConnectionId) -> Vec<u64> {
    let lines = scene.lines(client).into_iter();
    lines.filter_map(|line| line["id"].as_u64()).collect()
}

#[test]
fn client_on_stdio_that_takes_nothing_is_read_no_further_and_loses_nothing() {
    let mut scene = Scene::new(Era::Legacy);
    let front = opens_stdio(&mut scene);
    scene.deaf = Some(front);
    let call = request(1, "tools/call", &json!({"name": "t", "arguments": {}}));
    scene.handle(Input::Received(front, call.as_bytes()));
    let (child, call) = scene.asked("tools/call");
    let long = "x".repeat(LINES_BACKLOG_BYTES_MAX);
    scene.answers(child, &call, &json!({"content": [], "long": long}));
    assert!(scene.paused.contains(&front));
    // What the shell has read by then.
    for id in 2..4 {
        let call = request(id, "tools/call", &json!({"name": "t", "arguments": {}}));
        scene.handle(Input::Received(front, call.as_bytes()));
    }
    assert!(scene.lines(child).is_empty());
    scene.hears(front);
    assert!(!scene.paused.contains(&front));
    for call in scene.lines(child) {
        scene.answers(child, &call, &json!({"content": []}));
    }
    assert_eq!(answered(&mut scene, front), [1, 2, 3]);
}

#[test]
fn lines_read_at_once_are_answered_as_far_as_the_answers_are_taken() {
    const PINGS: usize = 20_000;
    let mut scene = Scene::new(Era::Legacy);
    let front = opens_stdio(&mut scene);
    scene.deaf = Some(front);
    let ping = json!({"jsonrpc": "2.0", "id": "x".repeat(250), "method": "ping"});
    let pings = format!("{ping}\n").repeat(PINGS);
    scene.handle(Input::Received(front, pings.as_bytes()));
    scene.handle(Input::Ended(front));
    let unsent = scene.worker.outbox(front).map_or(0, Outbox::len);
    assert!(unsent < LINES_BACKLOG_BYTES_MAX + 300, "{unsent} bytes");
    assert!(!scene.closed.contains(&front));
    scene.hears(front);
    assert_eq!(scene.heard(front).lines().count(), PINGS);
    assert!(scene.closed.contains(&front));
}
