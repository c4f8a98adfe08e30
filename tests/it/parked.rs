//! A modern client with a legacy server that asks: the call is parked, and whoever comes back must be the one
//! that was sent away, with the same request.

use crate::fixture::server::script::Speaks;
use crate::fixture::server::{Over, Server};
use crate::harness::cells::gateway_with;
use crate::harness::client::{everything, replied, reply_with};
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::modern::Modern;
use crate::harness::session::text;
use serde_json::{Value, json};
use std::time::Duration;

fn legacy(over: Over, name: &str) -> Server {
    Server::start(over, json!({"name": name, "era": "legacy"}))
}

/// One legacy server over each transport, behind one gateway; the claim is made for each.
fn with_each(claim: impl Fn(&Gateway, &Server)) {
    let servers = [legacy(Over::Stdio, "ls"), legacy(Over::Http, "lh")];
    let gateway = gateway_with(&[&servers[0], &servers[1]], &json!({}));
    for server in &servers {
        claim(&gateway, server);
    }
}

fn client(gateway: &Gateway) -> Modern {
    Modern::declaring(gateway.address, everything())
}

fn params(server: &Server, tool: &str, tag: &str) -> Value {
    json!({"name": format!("{}__{tool}", server.script.name), "arguments": {"tag": tag}})
}

/// The params of the next round: what was asked is answered, or left alone.
fn next(params: &Value, parked: &Value, tag: &str) -> Value {
    let mut params = params.clone();
    let mut responses = json!({});
    for (key, asked) in parked["inputRequests"].as_object().expect("questions") {
        responses[key] = reply_with(tag)(asked);
    }
    params["inputResponses"] = responses;
    params["requestState"] = parked["requestState"].clone();
    params
}

/// Sends a request that must be parked; its result.
fn park(client: &Modern, params: &Value) -> Value {
    let (status, answer, _) = client.round("tools/call", params.clone());
    let result = answer["result"].clone();
    assert_eq!(result["resultType"], "input_required", "{status} {answer}");
    assert!(result["requestState"].is_string(), "{answer}");
    assert!(result["inputRequests"].is_object(), "{answer}");
    result
}

fn said(answer: &Value) -> Value {
    serde_json::from_str(&text(answer)).expect("JSON")
}

/// Comes back with these params, and must be refused.
fn refused(client: &Modern, params: &Value) {
    let (status, answer, _) = client.round("tools/call", params.clone());
    assert_eq!(status, 200, "the error is the answer: {answer}");
    assert_eq!(answer["error"]["code"], -32602, "{status} {answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .is_some_and(|said| said.contains("requestState")),
        "{answer}"
    );
}

#[test]
fn wrong_or_missing_keys_are_asked_for_again() {
    with_each(|gateway, server| {
        let client = client(gateway);
        let params = params(server, "three_at_once", "t");
        let mut parked = park(&client, &params);
        let count = |parked: &Value| {
            parked["inputRequests"]
                .as_object()
                .map_or(0, serde_json::Map::len)
        };
        assert_eq!(
            count(&parked),
            3,
            "questions that come together are asked together: {parked}"
        );
        for change in ["none", "no member", "other keys", "one less"] {
            let mut again = next(&params, &parked, "t");
            match change {
                "none" => again["inputResponses"] = json!({}),
                "no member" => drop(
                    again
                        .as_object_mut()
                        .map(|own| own.remove("inputResponses")),
                ),
                "other keys" => again["inputResponses"] = json!({"nobody": {"action": "accept"}}),
                _ => {
                    let own = again["inputResponses"].as_object_mut().expect("an object");
                    let first = own.keys().next().expect("a key").clone();
                    own.remove(&first);
                }
            }
            let before = server.journal.entries("answer").len();
            parked = park(&client, &again);
            assert!(count(&parked) >= 1, "{change}: {parked}");
            if change != "one less" {
                assert_eq!(server.journal.entries("answer").len(), before, "{change}");
            }
        }
        // What nobody asked for does no harm beside what was.
        let mut last = next(&params, &parked, "t");
        if count(&parked) < 3 {
            // The answers of the round before may be kept, or be asked for anew.
            let kept = client.round("tools/call", last.clone()).1;
            if kept["result"]["resultType"] != "input_required" {
                assert_eq!(said(&kept), replied("three_at_once", "t"));
                return;
            }
            last = next(&params, &kept["result"], "t");
        }
        last["inputResponses"]["nobody"] = json!({"action": "accept"});
        let (_, answer, _) = client.round("tools/call", last);
        assert_eq!(said(&answer), replied("three_at_once", "t"));
    });
}

#[test]
fn state_is_good_once_for_one_request_of_one_client() {
    let servers = [legacy(Over::Stdio, "ls"), legacy(Over::Http, "lh")];
    let config = crate::harness::cells::config(&servers);
    let keys = [
        "anna.0123456789abcdef0123456789abcdef",
        "bert.fedcba9876543210fedcba9876543210",
    ];
    let gateway = Setup::new(json!({"mcpServers": config, "auth": {"keys": keys}}))
        .without_waiting()
        .start();
    let client = |key: &str| Modern::declaring(gateway.address, everything()).with_key(key);
    let (anna, bert) = (client(keys[0]), client(keys[1]));
    for server in &servers {
        let name = format!("{}__elicit", server.script.name);
        crate::harness::clock::holds("it is listed", || {
            anna.round("tools/list", json!({}))
                .1
                .to_string()
                .contains(&name)
        });
        let own = params(server, "elicit", "t");
        let parked = park(&anna, &own);
        let good = next(&own, &parked, "t");
        let state = good["requestState"].as_str().expect("text").to_owned();
        let reached = || {
            let heard = ["request", "answer"].map(|kind| server.journal.entries(kind).len());
            (heard, server.calls("t"), server.calls("u"))
        };
        let before = reached();
        // Another client, another request.
        refused(&bert, &good);
        let other = |change: &dyn Fn(&mut Value)| {
            let mut other = good.clone();
            change(&mut other);
            refused(&anna, &other);
        };
        other(&|params| params["arguments"]["tag"] = "u".into());
        other(&|params| params["arguments"]["more"] = 1.into());
        other(&|params| params["name"] = format!("{}__sample", server.script.name).into());
        let prompt = json!({
            "name": format!("{}__ask_name", server.script.name),
            "arguments": {"who": "t"},
            "inputResponses": good["inputResponses"],
            "requestState": state,
        });
        assert_eq!(anna.round("prompts/get", prompt).1["error"]["code"], -32602);
        // Another state: each character counts.
        for at in 0..state.len() {
            let mut bytes = state.clone().into_bytes();
            bytes[at] ^= 1;
            let forged = String::from_utf8(bytes).expect("ASCII");
            other(&|params| params["requestState"] = forged.as_str().into());
        }
        for forged in [
            state[..state.len() - 1].to_owned(),
            state[..state.len() / 2].to_owned(),
            state[1..].to_owned(),
            format!("{state}A"),
            String::new(),
            format!(" {state}"),
        ] {
            other(&|params| params["requestState"] = forged.as_str().into());
        }
        // None of which has reached the server, nor spoiled it for the one it belongs to.
        assert_eq!(reached(), before);
        let (_, answer, _) = anna.round("tools/call", good.clone());
        assert_eq!(said(&answer), replied("elicit", "t"));
        let before = reached();
        refused(&anna, &good);
        assert_eq!(reached(), before);
        assert_eq!(server.calls("t"), 1, "the call was made once");
    }
}

#[test]
fn state_of_an_earlier_round_is_no_good_in_the_next() {
    with_each(|gateway, server| {
        let client = client(gateway);
        let own = params(server, "two_rounds", "t");
        let first = next(&own, &park(&client, &own), "t");
        let parked = park(&client, &first);
        refused(&client, &first);
        let (_, answer, _) = client.round("tools/call", next(&own, &parked, "t"));
        assert_eq!(said(&answer), replied("two_rounds", "t"));
    });
}

#[test]
fn parked_calls_block_nobody() {
    with_each(|gateway, server| {
        let first = client(gateway);
        let own = params(server, "elicit", "t");
        let parked = park(&first, &own);
        // Neither who asks for nothing, nor who is to be asked, of either era.
        let other = client(gateway);
        let (_, answer, _) = other.round("tools/call", params(server, "echo", "u"));
        assert_eq!(said(&answer), json!({"tag": "u"}));
        let theirs = params(server, "elicit", "u");
        let also = park(&other, &theirs);
        let session = gateway.session();
        let echo = format!("{}__echo", server.script.name);
        assert_eq!(session.say(&echo, json!({"tag": "v"})), r#"{"tag":"v"}"#);
        let (_, answer, _) = other.round("tools/call", next(&theirs, &also, "u"));
        assert_eq!(said(&answer), replied("elicit", "u"));
        let (_, answer, _) = first.round("tools/call", next(&own, &parked, "t"));
        assert_eq!(said(&answer), replied("elicit", "t"));
    });
}

#[test]
fn many_parked_calls_come_back_in_any_order() {
    with_each(|gateway, server| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let (client, tag) = (client(gateway), format!("t{n}"));
                let own = params(server, "elicit", &tag);
                let parked = park(&client, &own);
                (client, own, parked, tag)
            })
            .collect();
        for n in [3, 0, 7, 5, 1, 6, 4, 2] {
            let (client, own, parked, tag) = &all[n];
            let (_, answer, _) = client.round("tools/call", next(own, parked, tag));
            assert_eq!(said(&answer), replied("elicit", tag));
        }
    });
}

#[test]
fn state_of_another_switchbox_is_refused() {
    let servers = [legacy(Over::Stdio, "ls"), legacy(Over::Http, "lh")];
    let all = [&servers[0], &servers[1]];
    let (one, two) = (
        gateway_with(&all, &json!({})),
        gateway_with(&all, &json!({})),
    );
    for server in &servers {
        let own = params(server, "elicit", "t");
        let good = next(&own, &park(&client(&one), &own), "t");
        refused(&client(&two), &good);
        let (_, answer, _) = client(&one).round("tools/call", good);
        assert_eq!(said(&answer), replied("elicit", "t"));
        // As after a restart: the client begins again, and that works.
        let client = client(&two);
        let parked = park(&client, &own);
        let (_, answer, _) = client.round("tools/call", next(&own, &parked, "t"));
        assert_eq!(said(&answer), replied("elicit", "t"));
    }
}

#[test]
fn responses_without_a_state_answer_a_first_call() {
    // Nobody has asked yet, so the client's guess may or may not be what is asked for; it is not an error.
    with_each(|gateway, server| {
        let mut own = params(server, "elicit", "t");
        own["inputResponses"] = json!({"name": {"action": "accept", "content": {"name": "t"}}});
        let (_, answer, _) = client(gateway).round("tools/call", own);
        assert!(answer["result"].is_object(), "{answer}");
    });
}

#[test]
fn server_that_restarts_loses_its_parked_calls_and_nothing_else() {
    let server = legacy(Over::Http, "lh");
    let gateway = gateway_with(&[&server], &json!({}));
    let client = client(&gateway);
    let own = params(&server, "elicit", "t");
    let parked = park(&client, &own);
    server.speak(Speaks::Legacy);
    let (_, answer, _) = client.round("tools/call", next(&own, &parked, "t"));
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    crate::harness::clock::holds("it is back", || {
        let echo = params(&server, "echo", "t");
        client.round("tools/call", echo).1["result"].is_object()
    });
    let parked = park(&client, &own);
    let (_, answer, _) = client.round("tools/call", next(&own, &parked, "t"));
    assert_eq!(said(&answer), replied("elicit", "t"));
}

#[test]
fn hundred_parked_calls_block_nobody() {
    // Fewer at each than there are lanes, so that none gives way.
    let servers = ["lh", "li", "lj", "lk"].map(|name| legacy(Over::Http, name));
    let config = crate::harness::cells::config(&servers);
    let gateway = Setup::new(json!({ "mcpServers": config }))
        .flags(&["--workers", "2"])
        .start();
    let parked: Vec<_> = (0..100)
        .map(|n| {
            let (client, server) = (client(&gateway), &servers[n % servers.len()]);
            let (own, tag) = (params(server, "elicit", &format!("t{n}")), format!("t{n}"));
            let asked = park(&client, &own);
            (client, next(&own, &asked, &tag), tag)
        })
        .collect();
    for server in &servers {
        // Who may be asked, who may not, and who has a session.
        let echo = params(server, "echo", "u");
        for other in [client(&gateway), Modern::new(gateway.address)] {
            let begun = crate::harness::clock::now();
            let (_, answer, _) = other.round("tools/call", echo.clone());
            assert_eq!(said(&answer), json!({"tag": "u"}));
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(5), "it waited {took:?}");
        }
        let session = gateway.session();
        let name = format!("{}__echo", server.script.name);
        assert_eq!(session.say(&name, json!({"tag": "v"})), r#"{"tag":"v"}"#);
    }
    for (client, back, tag) in parked.iter().rev() {
        let (_, answer, _) = client.round("tools/call", back.clone());
        assert_eq!(said(&answer), replied("elicit", tag));
    }
}

/// Conversations that calls have to themselves, in the test below.
const LANES: usize = 4;

#[test]
fn call_parked_for_the_longest_gives_way_where_no_lane_is_left() {
    let server = legacy(Over::Stdio, "ls");
    let mut config = crate::harness::cells::config([&server]);
    // One of them is everybody's.
    config["ls"]["connections"] = (LANES + 1).into();
    let gateway = Setup::new(json!({ "mcpServers": config }))
        .flags(&["--workers", "1"])
        .start();
    let client = client(&gateway);
    let parked: Vec<_> = (0..LANES)
        .map(|n| {
            let own = params(&server, "elicit", &format!("t{n}"));
            next(&own, &park(&client, &own), &format!("t{n}"))
        })
        .collect();
    let (_, answer, _) = client.round("tools/call", params(&server, "echo", "u"));
    assert_eq!(said(&answer), json!({"tag": "u"}));
    let before = server.journal.entries("answer").len();
    refused(&client, &parked[0]);
    assert_eq!(server.journal.entries("answer").len(), before);
    for n in [1, LANES - 1] {
        let (_, answer, _) = client.round("tools/call", parked[n].clone());
        assert_eq!(said(&answer), replied("elicit", &format!("t{n}")));
    }
}
