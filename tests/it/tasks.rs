//! Tasks: their ids are the client's own, lead to the server whose they are, and nobody else's do.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::{config, in_every_cell};
use crate::harness::client::{Client, ERAS, Era, OWN, over_http};
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::modern::Modern;
use serde_json::{Value, json};

const KEYS: [&str; 2] = [
    "ann.0123456789abcdef0123456789abcdef",
    "bob.fedcba9876543210fedcba9876543210",
];

fn declared() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn related(result: &Value) -> &Value {
    &result["_meta"][format!("{OWN}related-task")]["taskId"]
}

fn calls(tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments, "task": {"ttl": 60_000}})
}

#[test]
fn tool_that_takes_a_task_is_called_by_clients_that_know_none() {
    in_every_cell(&json!({}), |cell| {
        let heard = cell.client.call(&cell.tool("labour"), json!({}));
        match (cell.behind, cell.client.era()) {
            (Era::Legacy, _) => {
                assert_eq!(heard.text(), "worked");
                assert!(related(heard.result()).is_null(), "{heard:?}");
            }
            // What a modern server wants declared, only its client can declare.
            (Era::Modern, Era::Modern) => {
                let data = &heard.answer["error"]["data"];
                assert_eq!(*heard.code(), -32021);
                assert_eq!(data["requiredCapabilities"], declared());
            }
            (Era::Modern, Era::Legacy) => assert!(heard.code().is_i64(), "{heard:?}"),
        }
    });
}

#[test]
fn task_is_done_under_the_clients_id_where_both_sides_know_tasks() {
    in_every_cell(&declared(), |cell| {
        let (work, own) = (cell.tool("work"), cell.server.script.name.clone());
        let client = &mut *cell.client;
        match (client.era(), cell.behind) {
            (Era::Legacy, Era::Legacy) => {
                let begun = client.ask("tools/call", calls(&work, &json!({})));
                let id = begun.result()["task"]["taskId"].clone();
                assert!(id.as_str().expect("an id").starts_with(&own), "{id}");
                let about = json!({ "taskId": id });
                let state = client.ask("tasks/get", about.clone());
                assert_eq!(state.result()["taskId"], id);
                let done = client.ask("tasks/result", about.clone());
                assert_eq!(
                    (done.text().as_str(), related(done.result())),
                    ("worked", &id)
                );
                let ended = client.ask("tasks/cancel", about);
                assert_eq!(ended.result()["taskId"], id);
                assert_eq!(*client.ask("tasks/list", json!({})).code(), -32601);
            }
            (Era::Modern, Era::Modern) => {
                let begun = client.call(&work, json!({"ask": true, "tag": cell.tag}));
                assert_eq!(begun.result()["resultType"], "task");
                let id = begun.result()["taskId"].clone();
                assert!(id.as_str().expect("an id").starts_with(&own), "{id}");
                let about = json!({ "taskId": id });
                clock::holds("it asks", || {
                    let state = client.ask("tasks/get", about.clone());
                    assert_eq!(state.result()["taskId"], id);
                    state.result()["status"] == "input_required"
                });
                client.watch(json!({ "taskIds": [id] }));
                let answers = json!({"name": {"action": "accept", "content": {}}});
                let update = json!({"taskId": id, "inputResponses": answers});
                client.ask("tasks/update", update).result();
                let news = clock::until("its end is told", || {
                    let news = client.news_of("notifications/tasks");
                    (news["status"] == "completed").then_some(news)
                });
                assert_eq!(news["taskId"], id);
                client.ask("tasks/cancel", about).result();
            }
            // The wish of a client is not its server's: it is answered as if it had none.
            (Era::Legacy, Era::Modern) => {
                let done = client.ask("tools/call", calls(&work, &json!({})));
                assert_eq!(done.text(), "worked");
            }
            (Era::Modern, Era::Legacy) => {
                assert_eq!(client.call(&work, json!({})).text(), "worked");
            }
        }
    });
}

#[test]
fn call_given_up_cancels_the_task_that_nobody_knows_of() {
    for over in [Over::Stdio, Over::Http] {
        let server = Server::start(over, json!({"name": "l", "era": "legacy"}));
        let gateway = Gateway::of(config([&server]));
        let awaited = || server.requests("tasks/result").len();
        for (cancelled, era) in ERAS.into_iter().enumerate() {
            let mut client = over_http(gateway.address, era, json!({}));
            assert_eq!(client.call("l__labour", json!({})).text(), "worked");
            assert_eq!(server.requests("tasks/cancel").len(), cancelled);
            let before = awaited();
            let params = json!({"name": "l__labour", "arguments": {"hold": true}});
            client.abandon("tools/call", params, &|| {
                clock::holds("its result is waited for", || awaited() > before);
            });
            clock::holds("it is cancelled", || {
                server.requests("tasks/cancel").len() > cancelled
            });
        }
    }
}

#[test]
fn ids_that_are_not_the_clients_reach_no_server() {
    let server = Server::start(Over::Http, json!({"name": "mh", "era": "modern"}));
    let gateway = |keys: &[&str]| {
        Setup::new(json!({"mcpServers": config([&server]), "api_keys": keys})).start()
    };
    let first = gateway(&KEYS);
    let client =
        |gateway: &Gateway, key: &str| Modern::declaring(gateway.address, declared()).with_key(key);
    let mut ann = client(&first, KEYS[0]);
    let begun = ann.call("mh__work", json!({"ask": true}));
    let id = begun.result()["taskId"].as_str().expect("an id").to_owned();
    let mut bob = client(&first, KEYS[1]);
    let forged = format!("{}x", &id[..id.len() - 1]);
    for (is_ann, id) in [(false, &*id), (true, &forged), (true, "task-0/é")] {
        let who = if is_ann { &mut ann } else { &mut bob };
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let heard = who.ask(method, json!({"taskId": id, "inputResponses": {}}));
            assert_eq!(*heard.code(), -32602, "{method} {id}");
            assert!(heard.answer.to_string().contains("taskId"), "{heard:?}");
        }
    }
    let reached = |method| server.requests(method).len();
    assert_eq!(
        [
            reached("tasks/get"),
            reached("tasks/cancel"),
            reached("tasks/update")
        ],
        [0; 3]
    );
    // The same keys make the same ids, whatever was between.
    drop(first);
    let again = gateway(&[KEYS[1], KEYS[0]]);
    let state = client(&again, KEYS[0]).ask("tasks/get", json!({ "taskId": id }));
    assert_eq!(state.result()["taskId"], *id);
}
