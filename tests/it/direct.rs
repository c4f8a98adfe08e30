//! The fixtures with nothing between: what clients and servers of these tests do to each other is lawful before
//! switchbox is put between them.

use crate::fixture::server::{Over, Server};
use crate::harness::client::{Client, ERAS, Era, OWN, everything, over_http, replied, reply_with};
use crate::harness::modern::Modern;
use serde_json::{Value, json};

/// A server of both eras over HTTP.
fn server() -> Server {
    Server::start(Over::Http, json!({"name": "d", "era": "both"}))
}

fn client(server: &Server, era: Era) -> Box<dyn Client> {
    over_http(server.address(), era, everything())
}

#[test]
fn every_question_is_asked_and_answered_with_nothing_between() {
    let server = server();
    for era in ERAS {
        let mut client = client(&server, era);
        for tool in [
            "elicit",
            "elicit_url",
            "sample",
            "roots",
            "three_at_once",
            "two_rounds",
            "report_and_ask",
        ] {
            let heard = client.call_while(tool, json!({"tag": "t"}), &reply_with("t"));
            assert_eq!(heard.json(), replied(tool, "t"), "{era:?} {tool}");
        }
        let read = client.heard(
            "resources/read",
            json!({"uri": "note://d/secret"}),
            &reply_with("note://d/secret"),
        );
        assert!(read.result()["contents"][0]["text"].is_string());
        assert_eq!(
            *client
                .ask("resources/read", json!({"uri": "note://d/none"}))
                .code(),
            if era == Era::Modern { -32602 } else { -32002 }
        );
    }
}

#[test]
fn news_logs_and_progress_are_told_with_nothing_between() {
    let server = server();
    for era in ERAS {
        let mut client = client(&server, era);
        client.set_level("alert");
        let heard = client.call("logs", json!({"tag": 1}));
        assert_eq!(heard.told.len(), 2, "{heard:?}");
        let params = json!({"name": "progress", "arguments": {}, "_meta": {"progressToken": 0}});
        assert_eq!(client.ask("tools/call", params).told.len(), 3);
        client.watch(json!({"resourceSubscriptions": ["note://d/1"], "promptsListChanged": true}));
        client.call("touch", json!({"uri": "note://d/2"}));
        client.call("touch", json!({"uri": "note://d/1"}));
        assert_eq!(
            client.news_of("notifications/resources/updated")["uri"],
            "note://d/1"
        );
        client.call("grow", json!({"what": "prompts"}));
        client.news_of("notifications/prompts/list_changed");
        client.abandon(
            "tools/call",
            json!({"name": "hang", "arguments": {"tag": "h"}}),
            &|| {
                server.wait_for("hung", |own| own == "h");
            },
        );
        server.wait_for("freed", |own| own == "h");
    }
}

#[test]
fn tasks_are_done_with_nothing_between() {
    let server = server();
    let declared = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut modern = Modern::declaring(server.address(), declared);
    let begun = modern.call("labour", json!({}));
    assert_eq!(begun.result()["resultType"], "task");
    let id = begun.result()["taskId"].clone();
    crate::harness::clock::holds("it ends", || {
        modern.ask("tasks/get", json!({"taskId": id})).result()["status"] == "completed"
    });
    assert_eq!(
        *Modern::new(server.address())
            .call("labour", json!({}))
            .code(),
        -32021
    );
    let mut legacy = client(&server, Era::Legacy);
    let begun = legacy.ask(
        "tools/call",
        json!({"name": "labour", "arguments": {}, "task": {"ttl": 1}}),
    );
    let id = begun.result()["task"]["taskId"].clone();
    assert_eq!(
        legacy.ask("tasks/result", json!({"taskId": id})).text(),
        "worked"
    );
}

#[test]
fn what_breaks_a_rule_is_noted_by_the_server() {
    let server = Server::start(Over::Http, json!({"name": "d", "era": "modern"}));
    let client = Modern::new(server.address());
    let lawful = client.message(1, "tools/call", json!({"name": "echo", "arguments": {}}));
    client.send(&lawful);
    assert_eq!(server.faults(), Vec::<Value>::new());
    let without = |member: &str| {
        let mut body = lawful.clone();
        let meta = body["params"]["_meta"].as_object_mut().expect("an object");
        meta.remove(&format!("{OWN}{member}"));
        client.dress(&body)
    };
    let requests = [
        client.dress(&lawful).field("mcp-session-id", "s"),
        client.dress(&lawful).field("mcp-name", "other"),
        without("clientCapabilities"),
        without("protocolVersion"),
        client.dress(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})),
    ];
    for (n, request) in requests.iter().enumerate() {
        assert_eq!(request.send(server.address()).status(), 400, "{n}");
        assert_eq!(server.faults().len(), n + 1, "{n}: {:#?}", server.faults());
    }
    server.forgive();
}
