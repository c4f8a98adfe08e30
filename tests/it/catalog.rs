//! Many servers as one: names, order, pages, ownership, and every byte of what they wrote.

use crate::fixture::child;
use crate::fixture::tools::{ECHO_META, ECHO_REST};
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::{Request, request};
use crate::harness::session::text;
use serde_json::{Value, json};

fn names(answer: &Value, kind: &str, member: &str) -> Vec<String> {
    let list = answer["result"][kind].as_array();
    let list = list.unwrap_or_else(|| panic!("no {kind} in {answer}"));
    list.iter()
        .map(|entry| entry[member].as_str().expect("a name").into())
        .collect()
}

fn two() -> Value {
    json!({ "mcpServers": { "zeta": child::named("one"), "alpha": child::named("two") } })
}

#[test]
fn names_are_prefixed_and_in_the_order_of_the_file() {
    let gateway = Setup::new(two()).start();
    let tools = names(&gateway.ask("tools/list", json!({})), "tools", "name");
    let half = tools.len() / 2;
    assert!(
        tools[..half].iter().all(|name| name.starts_with("zeta__")),
        "{tools:?}"
    );
    assert!(
        tools[half..].iter().all(|name| name.starts_with("alpha__")),
        "{tools:?}"
    );
    let prompts = names(&gateway.ask("prompts/list", json!({})), "prompts", "name");
    assert_eq!(
        prompts,
        ["zeta__greet", "zeta__part", "alpha__greet", "alpha__part"]
    );
    let lawful = |name: &String| {
        name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    assert!(tools.iter().chain(&prompts).all(lawful));
}

#[test]
fn bare_names_collide_and_the_loser_is_reported() {
    let gateway = Setup::new(two()).flags(&["--names", "bare"]).start();
    let tools = names(&gateway.ask("tools/list", json!({})), "tools", "name");
    assert_eq!(tools.iter().filter(|name| *name == "echo").count(), 1);
    let greeting = gateway.ask("prompts/get", json!({"name": "greet"}));
    let said = greeting["result"]["messages"][0]["content"]["text"].as_str();
    assert!(
        said.is_some_and(|said| said.starts_with("one greet")),
        "{greeting}"
    );

    let status = gateway.status();
    let details = status["servers"]["details"].as_array().expect("servers");
    let hidden = |name: &str| {
        let server = details.iter().find(|server| server["name"] == name);
        server.expect("it is there")["hidden"]
            .as_array()
            .expect("a list")
            .len()
    };
    assert_eq!(hidden("zeta"), 0);
    assert!(hidden("alpha") >= tools.len(), "{status:#}");
    let line = gateway.log.wait_for("name collided");
    assert!(
        line.contains("winner=zeta") && line.contains("loser=alpha"),
        "{line}"
    );
}

#[test]
fn every_byte_of_a_tool_survives_but_its_name() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let answer = Request::post(&request(1, "tools/list", json!({}))).send(gateway.address);
    let expected = format!(r#"{{"name":"a__echo",{ECHO_REST}}}"#);
    assert!(
        answer.text().contains(&expected),
        "{expected} is not in {}",
        answer.text()
    );
}

#[test]
fn every_byte_of_arguments_and_results_survives() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let arguments = r#"{"z":1.0,"a":12345678901234567890123456789,"e":1E-7, "n":-0.0,"s":"é\u00e9\/\ud83d\ude00","$defs":{"x":[ ]}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{{"_meta":{{"x/y":1.50}},"name":"a__\u0065cho","arguments":{arguments}}}}}"#
    );
    let answer = Request::post_bytes(body.into_bytes()).send(gateway.address);
    let told = answer.text();
    let expected = format!(r#""structuredContent":{arguments},{ECHO_META}}}"#);
    assert!(told.contains(&expected), "{expected} is not in {told}");
    assert!(told.contains(r#""id":12345678901234567890"#), "{told}");
    assert_eq!(text(&answer.json()), arguments);
}

#[test]
fn errors_of_servers_pass_as_they_are() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let answer = gateway.post(&request(1, "tools/call", json!({"name": "a__wrong"})));
    let wanted = json!({"code": -32077, "message": "mine", "data": {"x": [1.0]}});
    assert_eq!((answer.status(), &answer.json()["error"]), (200, &wanted));
    let failed = gateway.ask("tools/call", json!({"name": "a__fail"}));
    assert_eq!(failed["result"]["isError"], true);
}

#[test]
fn all_pages_of_a_server_are_gathered() {
    let paged = json!({"name": "paged", "page": 7, "extra": 100});
    let gateway = Gateway::of(json!({
        "whole": child::server(json!({"name": "whole", "extra": 100})),
        "paged": child::server(paged),
    }));
    let tools = names(&gateway.ask("tools/list", json!({})), "tools", "name");
    let of = |prefix: &str| -> Vec<String> {
        let own = tools.iter().filter_map(|name| name.strip_prefix(prefix));
        own.map(String::from).collect()
    };
    assert_eq!(of("whole__"), of("paged__"));
    assert_eq!(of("paged__").last().map(String::as_str), Some("extra_99"));
    let resources = gateway.ask("resources/list", json!({}));
    assert_eq!(
        resources["result"]["resources"].as_array().map(Vec::len),
        Some(6)
    );
}

#[test]
fn pages_of_ours_are_followed_by_cursors_that_are_checked() {
    let gateway = Gateway::of(json!({
        "a": child::server(json!({"name": "a", "extra": 900})),
        "b": child::server(json!({"name": "b", "extra": 900})),
    }));
    let (mut all, mut cursor) = (Vec::new(), None);
    for page in 0.. {
        assert!(page < 10, "the pages do not end");
        let params = match &cursor {
            Some(cursor) => json!({ "cursor": cursor }),
            None => json!({}),
        };
        let answer = gateway.ask("tools/list", params);
        all.extend(names(&answer, "tools", "name"));
        cursor = answer["result"].get("nextCursor").cloned();
        if cursor.is_none() {
            break;
        }
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert!(
        all.len() == count && count > 1800,
        "{count} entries, {} names",
        all.len()
    );
    for made_up in ["", "1000", "eyJ4IjoxfQ"] {
        let answer = gateway.ask("tools/list", json!({ "cursor": made_up }));
        assert_eq!(answer["error"]["code"], -32602, "{made_up:?}");
    }
}

#[test]
fn capabilities_are_the_union_and_instructions_stand_under_their_servers() {
    let gateway = Gateway::of(json!({
        "quiet": child::server(json!({"name": "q", "plain": true, "instructions": "Be brief."})),
        "rich": child::server(json!({"name": "r", "instructions": "Be kind."})),
    }));
    let welcome = gateway.session().welcome;
    let capabilities = &welcome["capabilities"];
    assert_eq!(capabilities["tools"]["listChanged"], true);
    assert_eq!(capabilities["resources"]["subscribe"], true);
    assert!(capabilities["prompts"].is_object() && capabilities["completions"].is_object());
    assert!(capabilities["logging"].is_object());
    let told = welcome["instructions"].as_str().expect("instructions");
    let place = |part: &str| {
        told.find(part)
            .unwrap_or_else(|| panic!("{part} is not in {told}"))
    };
    assert!(place("quiet") < place("Be brief."));
    assert!(place("Be brief.") < place("rich"));
    assert!(place("rich") < place("Be kind."));
}

#[test]
fn resources_keep_their_uris_and_are_read_at_their_owner() {
    let gateway = Setup::new(two()).start();
    let uris = names(
        &gateway.ask("resources/list", json!({})),
        "resources",
        "uri",
    );
    assert_eq!(uris.len(), 6, "{uris:?}");
    for owner in ["one", "two"] {
        // One that is listed, one that only a template covers.
        for uri in [
            format!("note://{owner}/2"),
            format!("note://{owner}/by-name/x"),
        ] {
            let read = gateway.ask("resources/read", json!({ "uri": uri }));
            let wanted = format!("{owner} has {uri}");
            assert_eq!(read["result"]["contents"][0]["text"], wanted, "{read}");
        }
    }
    let templates = gateway.ask("resources/templates/list", json!({}));
    let templates = names(&templates, "resourceTemplates", "uriTemplate");
    assert_eq!(
        templates,
        ["note://one/by-name/{name}", "note://two/by-name/{name}"]
    );
}

#[test]
fn resource_of_nobody_is_refused_with_its_uri() {
    let plain = child::server(json!({"name": "p", "plain": true}));
    let gateway = Gateway::of(json!({ "p": plain }));
    // However long it is, since its client looks for it.
    for uri in ["note://nobody/1", &format!("note://{}", "n".repeat(300))] {
        let answer = gateway.ask("resources/read", json!({ "uri": uri }));
        assert_eq!(answer["error"]["code"], -32002);
        assert_eq!(answer["error"]["data"]["uri"], uri);
    }
}

#[test]
fn completions_reach_the_server_whose_prompt_or_template_it_is() {
    let gateway = Setup::new(two()).start();
    let argument = json!({"name": "who", "value": "v"});
    let complete = |reference: Value| {
        let answer = gateway.ask(
            "completion/complete",
            json!({"ref": reference, "argument": argument}),
        );
        let values = answer["result"]["completion"]["values"].clone();
        assert!(values.is_array(), "{answer}");
        values
    };
    let prompt = complete(json!({"type": "ref/prompt", "name": "alpha__greet"}));
    assert_eq!(prompt[0], r#"two "v""#);
    assert_eq!(prompt[1], r#"{"type":"ref/prompt","name":"greet"}"#);
    let template = complete(json!({"type": "ref/resource", "uri": "note://one/by-name/{name}"}));
    assert_eq!(template[0], r#"one "v""#);
}

#[test]
fn prompts_come_from_their_server_with_their_arguments() {
    let gateway = Setup::new(two()).start();
    let params = json!({"name": "zeta__part", "arguments": {"who": "me"}});
    let answer = gateway.ask("prompts/get", params);
    let said = &answer["result"]["messages"][0]["content"]["text"];
    assert_eq!(said, r#"one part {"who":"me"}"#);
}

#[test]
fn hidden_tools_are_neither_listed_nor_called() {
    let mut server = child::named("a");
    server["tools"] = json!({"allow": ["e*", "slow"], "deny": ["elicit"]});
    server["rename"] = json!({"slow": "sleep"});
    let gateway = Gateway::of(json!({ "a": server }));
    let tools = names(&gateway.ask("tools/list", json!({})), "tools", "name");
    assert_eq!(tools, ["a__echo", "a__sleep"]);
    let call = |name: &str| {
        gateway.ask(
            "tools/call",
            json!({"name": name, "arguments": {"millis": 1}}),
        )
    };
    assert_eq!(text(&call("a__sleep")), "slept");
    for hidden in ["a__slow", "a__elicit", "a__pid"] {
        assert_eq!(call(hidden)["error"]["code"], -32602, "{hidden}");
    }
}

#[test]
fn answer_of_a_mebibyte_arrives_whole() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let said = gateway.session().say("a__big", json!({}));
    assert_eq!(said.len(), 1024 * 1024);
    assert!(said.bytes().all(|b| b == b'b'));
}
