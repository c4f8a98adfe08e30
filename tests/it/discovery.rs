//! What a modern client learns before it asks for anything, and what it is listed: the same for everyone.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::gateway_with;
use crate::harness::client::{OWN, everything};
use crate::harness::modern::{Modern, REVISION};
use serde_json::{Value, json};

const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

fn modern(name: &str, more: Value) -> Server {
    let mut script = json!({"name": name, "era": "modern"});
    for (key, value) in more.as_object().into_iter().flatten() {
        script[key] = value.clone();
    }
    Server::start(Over::Http, script)
}

#[test]
fn discovery_says_what_all_servers_offer_together() {
    let (m, l) = (
        modern("m", json!({})),
        Server::start(Over::Stdio, json!({"name": "l", "era": "legacy"})),
    );
    let gateway = gateway_with(&[&m, &l], &json!({}));
    let client = Modern::new(gateway.address);
    let (status, answer, _) = client.round("server/discover", json!({}));
    assert_eq!(status, 200, "{answer}");
    let result = &answer["result"];
    assert_eq!(result["resultType"], "complete");
    let versions = result["supportedVersions"].as_array().expect("a list");
    assert!(versions.contains(&json!(REVISION)), "{versions:?}");
    let offered = &result["capabilities"];
    for name in ["tools", "prompts", "resources"] {
        assert_eq!(offered[name]["listChanged"], true, "{offered}");
    }
    assert_eq!(offered["resources"]["subscribe"], true, "{offered}");
    assert!(
        offered["completions"].is_object() && offered["logging"].is_object(),
        "{offered}"
    );
    assert!(
        offered.get("tasks").is_none(),
        "tasks are an extension now: {offered}"
    );
    assert!(result["ttlMs"].is_u64(), "{result}");
    assert!(["public", "private"].contains(&result["cacheScope"].as_str().expect("text")));
    assert_eq!(
        result["_meta"][format!("{OWN}serverInfo")]["name"],
        "switchbox"
    );
    let instructions = result["instructions"].as_str().expect("text");
    assert!(
        instructions.contains("ask m") && instructions.contains("ask l"),
        "{instructions}"
    );
}

#[test]
fn lists_do_not_vary_by_client_or_by_what_was_asked_before() {
    let (m, l) = (
        modern("m", json!({})),
        Server::start(Over::Stdio, json!({"name": "l", "era": "legacy"})),
    );
    let gateway = gateway_with(&[&m, &l], &json!({}));
    let shown = |capabilities: Value| {
        let client = Modern::declaring(gateway.address, capabilities);
        LISTS.map(|list| client.round(list, json!({})).1["result"].clone())
    };
    let first = shown(json!({}));
    Modern::declaring(gateway.address, everything())
        .round("tools/call", json!({"name": "m__echo"}));
    gateway
        .session_with("2025-11-25", everything())
        .say("l__echo", json!({}));
    assert_eq!(shown(everything()), first);
    assert_eq!(shown(json!({"extensions": {"x.y/z": {}}})), first);
    // And in the order of the configuration, then of each server.
    let names: Vec<&str> = first[0]["tools"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    let of = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(
        names[..of("m__")]
            .iter()
            .all(|name| name.starts_with("m__")),
        "{names:?}"
    );
    assert_eq!(of("m__") + of("l__"), names.len(), "{names:?}");
}

#[test]
fn list_may_be_kept_as_long_as_the_least_of_its_parts_and_is_private_if_any_is() {
    let check = |scripts: [Value; 2], ttl: u64, scope: &str| {
        let [a, b] = scripts;
        let (a, b) = (modern("a", a), modern("b", b));
        let gateway = gateway_with(&[&a, &b], &json!({}));
        let client = Modern::new(gateway.address);
        for list in LISTS {
            let result = client.round(list, json!({})).1["result"].clone();
            let kept = result["ttlMs"].as_u64().expect("a number");
            // Time passes while a part is kept here.
            assert!(kept <= ttl, "{list}: {kept} of {ttl}");
            assert!(ttl == 0 || kept > 0, "{list}: {kept} of {ttl}");
            assert_eq!(result["cacheScope"], scope, "{list}");
        }
    };
    check(
        [json!({"ttl": 600_000}), json!({"ttl": 900_000})],
        600_000,
        "public",
    );
    check([json!({"ttl": 600_000}), json!({"ttl": 0})], 0, "public");
    check([json!({"scope": "private"}), json!({})], 60_000, "private");
}

#[test]
fn what_a_resource_may_be_kept_for_is_its_servers_to_say() {
    let (m, l) = (
        modern("m", json!({"ttl": 1234, "scope": "public"})),
        Server::start(Over::Http, json!({"name": "l", "era": "legacy"})),
    );
    let gateway = gateway_with(&[&m, &l], &json!({}));
    let client = Modern::new(gateway.address);
    let read =
        |uri: &str| client.round("resources/read", json!({ "uri": uri })).1["result"].clone();
    let own = read("note://m/1");
    assert_eq!(
        (&own["ttlMs"], &own["cacheScope"]),
        (&json!(1234), &json!("public"))
    );
    let bridged = read("note://l/1");
    assert_eq!(
        (&bridged["ttlMs"], &bridged["cacheScope"]),
        (&json!(0), &json!("private"))
    );
}

#[test]
fn annotations_that_break_the_rules_are_not_passed_on() {
    let odd = modern("m", json!({"odd": true}));
    let gateway = gateway_with(&[&odd], &json!({}));
    let listed = Modern::new(gateway.address)
        .round("tools/list", json!({}))
        .1
        .to_string();
    // Without what breaks them, or not at all.
    for (tool, annotation) in [
        ("odd_type", "A"),
        ("odd_twice", "Same"),
        ("odd_name", "a b"),
    ] {
        let broken = format!(r#""x-mcp-header":"{annotation}""#);
        assert!(!listed.contains(&broken), "{tool}: {listed}");
    }
    assert!(listed.contains("m__header_tool") && listed.contains("m__echo"));
    assert!(
        listed.contains(r#""x-mcp-header":"Region""#),
        "annotations survive: {listed}"
    );
}

#[test]
fn arguments_are_mirrored_for_the_server_that_wants_it() {
    let m = modern("m", json!({}));
    let gateway = gateway_with(&[&m], &json!({}));
    let arguments = json!({"region": "west é", "count": 42, "deep": {"flag": false}, "plain": "p"});
    let expected = json!({"region": "=?base64?d2VzdCDDqQ==?=", "count": "42", "x-flag": "false"});
    // The server checks that they agree; that they are there at all is checked here.
    let legacy = gateway.session().call("m__header_tool", arguments.clone());
    let said: Value = serde_json::from_str(&crate::harness::session::text(&legacy)).expect("JSON");
    assert_eq!(said, expected);
    let client = Modern::new(gateway.address);
    let body = client.message(
        1,
        "tools/call",
        json!({"name": "m__header_tool", "arguments": arguments}),
    );
    let request = client
        .dress(&body)
        .field("mcp-param-region", "=?base64?d2VzdCDDqQ==?=")
        .field("mcp-param-count", "42.0")
        .field("mcp-param-x-flag", "false")
        .field("mcp-param-unknown", "kept");
    let answer = request.send(gateway.address).json();
    let said: Value = serde_json::from_str(&crate::harness::session::text(&answer)).expect("JSON");
    for (name, value) in expected.as_object().expect("an object") {
        let numeric = said[name] == "42.0" && *value == json!("42");
        assert!(said[name] == *value || numeric, "{name}: {said}");
    }
    assert_eq!(said["unknown"], "kept", "what no schema knows is passed on");
}
