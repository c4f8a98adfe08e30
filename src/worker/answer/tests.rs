//! Answers: what clients are told, and what counts as an error.

use super::*;
use crate::worker::scene::Scene;
use serde_json::json;

#[test]
fn modern_client_is_not_told_what_its_era_does_not_know() {
    let mut scene = Scene::new(Era::Legacy);
    let client = scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
    let (child, call) = scene.asked("tools/call");
    let says = |method: &str| json!({"jsonrpc": "2.0", "method": method, "params": {"n": 1}});
    scene.says(child, &says("notifications/elicitation/complete"));
    scene.says(child, &says("notifications/vendor"));
    scene.answers(child, &call, &json!({"content": []}));
    let heard = scene.heard(client);
    assert!(heard.contains("notifications/vendor"), "{heard}");
    assert!(!heard.contains("elicitation/complete"), "{heard}");
}

#[test]
fn event_is_one_line_of_data() {
    let at = EventId {
        stream: 3,
        number: 7,
    };
    let bytes = event_bytes(Some(at), b"{\r\n \"a\": 1\n}");
    assert_eq!(bytes, b"id: 3-7\nevent: message\ndata: {   \"a\": 1 }\n\n");
}

#[test]
fn only_the_results_own_member_makes_it_an_error() {
    let check = |text: &str, expected| assert_eq!(says_error(text.as_bytes()), expected, "{text}");
    check(
        r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#,
        true,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"result":{"isError":false}}"#,
        false,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"isError":true}}}"#,
        false,
    );
    check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, false);
}
