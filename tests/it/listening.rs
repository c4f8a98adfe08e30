//! `subscriptions/listen`: an acknowledgement first, then news, each tagged for whom it is.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::gateway_with;
use crate::harness::client::OWN;
use crate::harness::events::Events;
use crate::harness::gateway::Gateway;
use crate::harness::modern::Modern;
use rustix::process::Signal;
use serde_json::{Value, json};

const UPDATED: &str = "notifications/resources/updated";

fn servers() -> [Server; 4] {
    [
        (Over::Stdio, "ls", "legacy"),
        (Over::Http, "lh", "legacy"),
        (Over::Stdio, "ms", "modern"),
        (Over::Http, "mh", "modern"),
    ]
    .map(|(over, name, era)| Server::start(over, json!({"name": name, "era": era})))
}

fn gateway(servers: &[Server]) -> Gateway {
    gateway_with(&servers.iter().collect::<Vec<_>>(), &json!({}))
}

fn tag(message: &Value) -> &Value {
    &message["params"]["_meta"][format!("{OWN}subscriptionId")]
}

/// Reads the acknowledgement of a stream.
fn acknowledged(events: &mut Events, id: &Value, honoured: &Value) {
    let first = events.message().expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(tag(&first), id, "{first}");
    assert_eq!(first["params"]["notifications"], *honoured, "{first}");
}

fn touch(client: &Modern, server: &Server, uri: &str) {
    let name = format!("{}__touch", server.script.name);
    let params = json!({"name": name, "arguments": {"uri": uri}});
    let (_, answer, _) = client.round("tools/call", params);
    assert!(answer["result"].is_object(), "{answer}");
}

fn grow(client: &Modern, server: &Server, what: &str) {
    let name = format!("{}__grow", server.script.name);
    let (_, answer, _) = client.round(
        "tools/call",
        json!({"name": name, "arguments": {"what": what}}),
    );
    assert!(answer["result"].is_object(), "{answer}");
}

/// How often a server was asked for news of that resource.
fn subscriptions(server: &Server, uri: &str) -> usize {
    let legacy = server.requests("resources/subscribe").into_iter();
    let legacy = legacy.filter(|own| own["params"]["uri"] == uri);
    let modern = server.journal.entries("listen").into_iter();
    let modern = modern.filter(|own| own["resourceSubscriptions"].to_string().contains(uri));
    legacy.count() + modern.count()
}

#[test]
fn several_streams_each_hear_what_they_asked_for_under_their_own_id() {
    let servers = servers();
    let gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    for server in &servers {
        let uri = |n: u32| format!("note://{}/{n}", server.script.name);
        let wanted = [
            (json!(1), json!({"resourceSubscriptions": [uri(1)]})),
            (
                json!("1"),
                json!({"resourceSubscriptions": [uri(1), uri(2)]}),
            ),
            (
                json!(9_007_199_254_740_991_u64),
                json!({"toolsListChanged": true, "resourceSubscriptions": [uri(2)]}),
            ),
        ];
        let mut streams: Vec<Events> = wanted
            .iter()
            .map(|(id, wanted)| {
                let mut events = client.listen(id.clone(), wanted.clone());
                acknowledged(&mut events, id, wanted);
                events
            })
            .collect();
        for n in [3, 1, 2] {
            touch(&client, server, &uri(n));
        }
        for (which, expected) in [vec![1], vec![1, 2], vec![2]].into_iter().enumerate() {
            for n in expected {
                let news = streams[which].message().expect("news");
                assert_eq!(
                    (&news["method"], &news["params"]["uri"]),
                    (&json!(UPDATED), &json!(uri(n))),
                    "{which}: {news}"
                );
                assert_eq!(*tag(&news), wanted[which].0, "{news}");
            }
        }
        grow(&client, server, "tools");
        let news = streams[2].message().expect("news");
        assert_eq!(news["method"], "notifications/tools/list_changed", "{news}");
        // Whoever did not ask for it has not heard of it.
        touch(&client, server, &uri(1));
        for which in [0, 1] {
            let news = streams[which].message().expect("news");
            assert_eq!(news["params"]["uri"], json!(uri(1)), "{which}: {news}");
        }
    }
}

#[test]
fn one_stream_hears_servers_of_every_era() {
    let servers = servers();
    let gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    let uris: Vec<String> = servers
        .iter()
        .map(|server| format!("note://{}/1", server.script.name))
        .collect();
    let wanted = json!({"promptsListChanged": true, "resourceSubscriptions": uris});
    let mut events = client.listen("all", wanted.clone());
    acknowledged(&mut events, &json!("all"), &wanted);
    for (server, uri) in servers.iter().zip(&uris) {
        touch(&client, server, uri);
        assert_eq!(events.wait_for(UPDATED)["params"]["uri"], json!(uri));
        grow(&client, server, "prompts");
        events.wait_for("notifications/prompts/list_changed");
    }
}

#[test]
fn servers_hear_that_nobody_listens_any_more() {
    let servers = servers();
    let gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    for server in &servers {
        let uri = json!([format!("note://{}/1", server.script.name)]);
        let mut events = client.listen(1, json!({"resourceSubscriptions": uri}));
        events.message().expect("an acknowledgement");
        let name = server.script.name.clone();
        let own = uri[0].as_str().expect("text");
        assert!(
            subscriptions(server, own) >= 1,
            "{name} was acknowledged too early"
        );
        let is_legacy = !server.script.era.modern();
        drop(events);
        crate::harness::clock::holds(&format!("{name} hears of it"), || match is_legacy {
            true => !server.requests("resources/unsubscribe").is_empty(),
            false => server
                .journal
                .entries("unlisten")
                .iter()
                .any(|own| own["resourceSubscriptions"] == uri),
        });
    }
}

#[test]
fn what_cannot_be_honoured_is_not_acknowledged() {
    let servers = servers();
    let gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    let wanted =
        json!({"toolsListChanged": true, "promptsListChanged": false, "com.example/else": true});
    let mut events = client.listen(1, wanted);
    let first = events.message().expect("an acknowledgement");
    let honoured = &first["params"]["notifications"];
    assert_eq!(honoured["toolsListChanged"], true, "{first}");
    assert_ne!(honoured["promptsListChanged"], true, "{first}");
    assert!(honoured.get("com.example/else").is_none(), "{first}");
    for (wanted, named) in [
        (Value::Null, "notifications"),
        (json!([]), "notifications"),
        (json!({"toolsListChanged": "yes"}), "toolsListChanged"),
        (
            json!({"resourceSubscriptions": "note://ls/1"}),
            "resourceSubscriptions",
        ),
        (
            json!({"resourceSubscriptions": [5]}),
            "resourceSubscriptions",
        ),
    ] {
        let (status, answer, _) =
            client.round("subscriptions/listen", json!({"notifications": wanted}));
        assert_eq!(answer["error"]["code"], -32602, "{status} {answer}");
        assert!(answer["error"].to_string().contains(named), "{answer}");
    }
}

#[test]
fn streams_end_with_a_result_when_switchbox_goes() {
    let servers = servers();
    let mut gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    let mut streams = [json!(5), json!("five")].map(|id| {
        let mut events = client.listen(id.clone(), json!({"toolsListChanged": true}));
        events.message().expect("an acknowledgement");
        (id, events)
    });
    gateway.signal(Signal::TERM);
    for (id, events) in &mut streams {
        let last = std::iter::from_fn(|| events.message())
            .last()
            .expect("a result");
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&*id, &json!("complete")),
            "{last}"
        );
        assert_eq!(
            last["result"]["_meta"][format!("{OWN}subscriptionId")],
            *id,
            "{last}"
        );
    }
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn stream_outlives_the_restart_of_a_server() {
    let servers = servers();
    let gateway = gateway(&servers);
    let client = Modern::new(gateway.address);
    for server in &servers {
        let name = &server.script.name;
        let uri = format!("note://{name}/1");
        let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": [uri]});
        let mut events = client.listen(1, wanted);
        events.message().expect("an acknowledgement");
        let params =
            json!({"name": format!("{name}__restart_as"), "arguments": {"era": server.script.era}});
        client.round("tools/call", params);
        server.wait_for("restart", |_| true);
        crate::harness::clock::holds(&format!("{name} is listened to again"), || {
            subscriptions(server, &uri) >= 2
        });
        touch(&client, server, &uri);
        events.wait_for(UPDATED);
    }
}
