//! Servers of every era behind one endpoint, and clients of both that use them at the same time: each gets
//! what is its own.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::gateway_with;
use crate::harness::client::{Client, Era, everything, over_http, replied, reply_with};
use crate::harness::gateway::Gateway;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};
use std::thread;

const CLIENTS: usize = 50;

/// What each client does with each server, in an order of its own.
const STEPS: [&str; 16] = [
    "echo",
    "add",
    "progress",
    "logs",
    "elicit",
    "elicit_url",
    "sample",
    "roots",
    "three_at_once",
    "two_rounds",
    "prompt",
    "asking_prompt",
    "read",
    "asking_read",
    "complete",
    "hang",
];

struct User<'a> {
    client: Box<dyn Client>,
    number: usize,
    /// Whether children are.
    shared: bool,
    servers: &'a [Server],
    done: &'a Mutex<BTreeSet<(bool, usize, &'static str)>>,
}

impl User<'_> {
    fn step(&mut self, which: usize, step: &'static str) {
        let server = &self.servers[which];
        let name = &server.script.name;
        let tag = format!("client-{}-{name}-{step}", self.number);
        let tool = |tool: &str| format!("{name}__{tool}");
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let client = &mut self.client;
        match step {
            "echo" => {
                let heard = client.call(&tool(step), json!({"tag": tag}));
                assert_eq!(heard.json(), json!({"tag": tag}));
            }
            "add" => {
                let heard = client.call(
                    &tool(step),
                    json!({"a": self.number, "b": which, "tag": tag}),
                );
                assert_eq!(heard.text(), (self.number + which).to_string());
            }
            "progress" => {
                // Tokens are every client's own, and all of them use the same.
                let params = json!({"name": tool(step), "arguments": {"steps": 3, "tag": tag}, "_meta": {"progressToken": 0}});
                let heard = client.ask("tools/call", params);
                assert_eq!(
                    heard.told_of("notifications/progress").len(),
                    3,
                    "{heard:?}"
                );
            }
            "logs" => {
                let heard = client.call(&tool(step), json!({"tag": tag}));
                for told in heard.told_of("notifications/message") {
                    assert_eq!(told["data"]["tag"], json!(tag), "{tag} was told another's");
                }
            }
            "elicit" | "elicit_url" | "sample" | "roots" | "three_at_once" | "two_rounds" => {
                let heard = client.call_while(&tool(step), json!({"tag": tag}), &reply_with(&tag));
                // A child that many share cannot say whose question it is; nobody is asked another's.
                let is_refused = heard.answer.to_string().contains("refused");
                if !(is_refused && self.shared && name == "ls") {
                    assert_eq!(heard.json(), replied(step, &tag), "{tag}");
                }
            }
            "prompt" => {
                let heard = client.ask(
                    "prompts/get",
                    json!({"name": tool("greet"), "arguments": {"who": tag}}),
                );
                let says = &heard.result()["messages"][0]["content"]["text"];
                assert_eq!(*says, json!(format!("{name} greets \"{tag}\"")));
            }
            "asking_prompt" => {
                let params = json!({"name": tool("ask_name"), "arguments": {"who": tag}});
                let heard = client.heard("prompts/get", params, &reply_with(&tag));
                let says = heard.result()["messages"][0]["content"]["text"]
                    .as_str()
                    .expect("text");
                if !(says.contains("refused") && self.shared && name == "ls") {
                    assert_eq!(parse(says), replied("ask_name", &tag));
                }
            }
            "read" => {
                let uri = format!("note://{name}/by-name/{tag}");
                let heard = client.ask("resources/read", json!({ "uri": uri }));
                assert_eq!(
                    heard.result()["contents"][0]["text"],
                    format!("{name} has {uri}")
                );
            }
            "asking_read" => {
                let uri = format!("note://{name}/secret");
                let heard =
                    client.heard("resources/read", json!({ "uri": uri }), &reply_with(&uri));
                let says = heard.result()["contents"][0]["text"]
                    .as_str()
                    .expect("text");
                if !(says.contains("refused") && self.shared && name == "ls") {
                    assert_eq!(parse(says), replied("secret", &uri));
                }
            }
            "complete" => {
                let params = json!({
                    "ref": {"type": "ref/prompt", "name": tool("greet")},
                    "argument": {"name": "who", "value": tag},
                });
                let heard = client.ask("completion/complete", params);
                assert_eq!(
                    heard.result()["completion"]["values"][0],
                    format!("{name} \"{tag}\"")
                );
            }
            "hang" => {
                let params = json!({"name": tool(step), "arguments": {"tag": tag}});
                client.abandon("tools/call", params, &|| {
                    server.wait_for("hung", |own| own == &json!(tag));
                });
                server.wait_for("freed", |own| own == &json!(tag));
            }
            other => panic!("{other} is no step"),
        }
        let is_modern = self.client.era() == Era::Modern;
        self.done
            .lock()
            .expect("no panic while held")
            .insert((is_modern, which, step));
    }
}

fn servers() -> Vec<Server> {
    [
        (Over::Stdio, "ls", "legacy"),
        (Over::Http, "lh", "legacy"),
        (Over::Stdio, "ms", "modern"),
        (Over::Http, "mh", "modern"),
    ]
    .map(|(over, name, era)| Server::start(over, json!({"name": name, "era": era})))
    .into()
}

fn crowd(gateway: &Gateway, servers: &[Server], clients: usize) {
    let shared = clients == CLIENTS;
    let done = Mutex::default();
    let start = Barrier::new(clients);
    thread::scope(|scope| {
        for number in 0..clients {
            let (done, start) = (&done, &start);
            let work = move || {
                let era = if number % 2 == 0 {
                    Era::Legacy
                } else {
                    Era::Modern
                };
                let mut user = User {
                    client: over_http(gateway.address, era, everything()),
                    number,
                    shared,
                    servers,
                    done,
                };
                user.client.set_level("debug");
                start.wait();
                // A walk through all pairs of server and step: 37 and 64 have no divisor in common.
                for n in 0..servers.len() * STEPS.len() {
                    let at = (number + n * 37) % (servers.len() * STEPS.len());
                    user.step(at % servers.len(), STEPS[at / servers.len()]);
                }
            };
            let builder = thread::Builder::new().stack_size(512 * 1024);
            builder
                .spawn_scoped(scope, work)
                .expect("a thread for each client");
        }
    });
    let done = done.into_inner().expect("no panic while held");
    assert_eq!(
        done.len(),
        2 * servers.len() * STEPS.len(),
        "not every cell was visited: {done:?}"
    );
}

#[test]
fn fifty_clients_of_both_eras_use_servers_of_both_at_once() {
    let servers = servers();
    let gateway = gateway_with(&servers.iter().collect::<Vec<_>>(), &json!({}));
    crowd(&gateway, &servers, CLIENTS);
    assert_eq!(gateway.log.count(" ERROR "), 0);
}

#[test]
fn clients_of_both_eras_get_children_of_their_own_where_that_is_configured() {
    let servers = servers();
    let gateway = gateway_with(
        &servers.iter().collect::<Vec<_>>(),
        &json!({"share": "per_session"}),
    );
    crowd(&gateway, &servers, 6);
    assert_eq!(gateway.log.count(" ERROR "), 0);
}

#[test]
fn news_reaches_listeners_of_both_eras_at_once() {
    let servers = servers();
    let gateway = gateway_with(&servers.iter().collect::<Vec<_>>(), &json!({}));
    let uris: Vec<String> = servers
        .iter()
        .map(|server| format!("note://{}/1", server.script.name))
        .collect();
    let mut listeners: Vec<_> = (0..10)
        .map(|number| {
            let era = if number % 2 == 0 {
                Era::Legacy
            } else {
                Era::Modern
            };
            let mut client = over_http(gateway.address, era, json!({}));
            client.watch(json!({"resourceSubscriptions": uris}));
            client
        })
        .collect();
    for (server, uri) in servers.iter().zip(&uris) {
        let touch = format!("{}__touch", server.script.name);
        listeners[1].call(&touch, json!({ "uri": uri }));
        for listener in &mut listeners {
            let news = listener.news_of("notifications/resources/updated");
            assert_eq!(news["uri"], json!(uri));
        }
    }
}
