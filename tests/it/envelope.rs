//! What a modern request says of itself in its `_meta`, and how its era is told: whatever is wrong with it is
//! refused with the status and code that the specification has for it, names what is at fault, and reaches no
//! server.

use crate::harness::client::OWN;
use crate::harness::http::{Request, request};
use crate::harness::modern::{Modern, REVISION, dressed, envelope};
use crate::harness::place::{Place, VERSION, call, with};
use serde_json::{Value, json};

#[test]
fn envelope_that_lacks_what_it_must_have_is_refused() {
    let place = Place::open();
    let key = |name: &str| format!("{OWN}{name}");
    let (version, declared) = (key("protocolVersion"), key("clientCapabilities"));
    let meta = |change: &dyn Fn(&mut Value)| {
        let mut meta = envelope(&json!({}));
        change(&mut meta);
        meta
    };
    let without = |name: &str| {
        let name = key(name);
        meta(&|meta| {
            meta.as_object_mut().expect("an object").remove(&name);
        })
    };
    let set = |name: &str, value: Value| meta(&|meta| meta[name] = value.clone());
    let cases: Vec<(&str, Value, &str)> = vec![
        ("nothing in it", json!({}), "protocolVersion"),
        ("a list", json!([]), "_meta"),
        ("a word", json!("x"), "_meta"),
        ("null", Value::Null, "_meta"),
        ("no version", without("protocolVersion"), "protocolVersion"),
        (
            "a version that is no text",
            set(&version, json!(5)),
            "protocolVersion",
        ),
        (
            "no capabilities",
            without("clientCapabilities"),
            "clientCapabilities",
        ),
        (
            "capabilities in a list",
            set(&declared, json!([])),
            "clientCapabilities",
        ),
        (
            "capabilities that are null",
            set(&declared, Value::Null),
            "clientCapabilities",
        ),
        (
            "info that is a word",
            set(&key("clientInfo"), json!("me")),
            "clientInfo",
        ),
        (
            "a level that is none",
            set(&key("logLevel"), json!("loud")),
            "logLevel",
        ),
        (
            "a level that is no text",
            set(&key("logLevel"), json!(3)),
            "logLevel",
        ),
        (
            "a token that is a list",
            set("progressToken", json!([])),
            "progressToken",
        ),
    ];
    for method in [
        "tools/call",
        "tools/list",
        "server/discover",
        "subscriptions/listen",
    ] {
        for (what, meta, named) in &cases {
            let params = json!({"name": "m__echo", "notifications": {}, "_meta": meta});
            let body = request(7, method, params);
            place.refuses(
                &format!("{method}: {what}"),
                &dressed(&body),
                &json!(7),
                (400, -32602),
                named,
            );
        }
    }
    let bare = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    place.refuses(
        "no params",
        &dressed(&bare),
        &json!(7),
        (400, -32602),
        "protocolVersion",
    );
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": []});
    place.refuses(
        "params in a list",
        &dressed(&list),
        &json!(7),
        (400, -32602),
        "params",
    );
}

#[test]
fn version_that_is_not_served_is_refused_with_those_that_are() {
    let place = Place::open();
    for version in ["2027-01-01", "2025-11-25-draft", "1"] {
        let mut params = call("m__echo", json!({}));
        params["_meta"][format!("{OWN}protocolVersion")] = version.into();
        let body = request(7, "tools/call", params);
        let fields = [
            ("mcp-protocol-version", version),
            ("mcp-method", "tools/call"),
            ("mcp-name", "m__echo"),
        ];
        let request = with(&body, &fields);
        place.refuses(version, &request, &json!(7), (400, -32022), version);
        let error = request.send(place.gateway.address).json()["error"].take();
        assert_eq!(error["data"]["requested"], version);
        let supported = error["data"]["supported"].as_array().expect("a list");
        assert!(supported.contains(&json!(REVISION)), "{error}");
    }
}

#[test]
fn bodies_that_are_no_request_are_refused() {
    let place = Place::open();
    let raw = |body: &str| {
        Request::post_bytes(body.into())
            .field("content-type", "application/json")
            .field("accept", "application/json, text/event-stream")
            .field("mcp-protocol-version", REVISION)
            .field("mcp-method", "tools/list")
    };
    place.refuses("no JSON", &raw("{"), &Value::Null, (400, -32700), "parse");
    place.refuses("nothing", &raw(""), &Value::Null, (400, -32700), "parse");
    place.refuses("a number", &raw("5"), &Value::Null, (400, -32600), "");
    place.refuses(
        "an empty batch",
        &raw("[]"),
        &Value::Null,
        (400, -32600),
        "batch",
    );
    let one = request(7, "tools/list", json!({"_meta": envelope(&json!({}))}));
    place.refuses(
        "a batch",
        &raw(&json!([one]).to_string()),
        &Value::Null,
        (400, -32600),
        "batch",
    );
    for id in [json!(1.5), json!(true), json!([1]), json!({}), Value::Null] {
        let mut odd = one.clone();
        odd["id"] = id;
        place.refuses(
            "an odd id",
            &raw(&odd.to_string()),
            &Value::Null,
            (400, -32600),
            "id",
        );
    }
    let mut other = one.clone();
    other["jsonrpc"] = "1.0".into();
    place.refuses(
        "another JSON-RPC",
        &raw(&other.to_string()),
        &json!(7),
        (400, -32600),
        "jsonrpc",
    );
    // Nobody asks clients anything, so there is nothing to answer.
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    let refused = raw(&answer.to_string()).send(place.gateway.address);
    assert_eq!(
        refused.refusal(),
        (400, json!(-32600)),
        "{}",
        refused.text()
    );
}

#[test]
fn methods_of_the_other_era_are_unknown_in_this_one() {
    let place = Place::open();
    let removed = [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
        "roots/list",
        "sampling/createMessage",
        "elicitation/create",
        "nope/nope",
        "",
    ];
    for method in removed {
        let params = json!({"_meta": envelope(&json!({})), "uri": "note://m/1", "level": "info", "protocolVersion": REVISION});
        let body = request(7, method, params);
        place.refuses(method, &dressed(&body), &json!(7), (404, -32601), method);
    }
    // And without an envelope, those of this one are unknown in the other.
    for method in ["server/discover", "subscriptions/listen", "tasks/update"] {
        let answer = place.gateway.post(&request(7, method, json!({})));
        assert_eq!(
            answer.refusal(),
            (200, json!(-32601)),
            "{method}: {}",
            answer.text()
        );
    }
}

#[test]
fn cursors_states_and_responses_that_are_not_ours_are_refused() {
    let place = Place::open();
    let client = Modern::new(place.gateway.address);
    let refused = |method: &str, mut params: Value, change: (&str, Value)| {
        params[change.0] = change.1.clone();
        let before = place.reached();
        let (status, answer, _) = client.round(method, params);
        let shown = format!("{method} {change:?}: {status} {answer}");
        assert_eq!(answer["error"]["code"], -32602, "{shown}");
        assert!([200, 400].contains(&status), "{shown}");
        assert!(
            answer["error"].to_string().contains(change.0),
            "it names no {}: {shown}",
            change.0
        );
        assert_eq!(place.reached(), before, "{shown}");
    };
    for list in [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        for cursor in [
            json!("forged"),
            json!(""),
            json!(5),
            Value::Null,
            json!(["x"]),
        ] {
            refused(list, json!({}), ("cursor", cursor));
        }
    }
    for tool in ["m__elicit", "l__elicit"] {
        let params = json!({"name": tool, "arguments": {}});
        for state in [json!(5), json!({}), json!(["x"])] {
            refused("tools/call", params.clone(), ("requestState", state));
        }
    }
    // What a modern server makes of them is its own affair.
    let params = json!({"name": "l__elicit", "arguments": {}});
    for responses in [json!([]), json!("x"), json!(5)] {
        refused("tools/call", params.clone(), ("inputResponses", responses));
    }
    // A legacy server never made a state.
    for state in ["forged", "", "é", "a.b.c"] {
        refused(
            "tools/call",
            json!({"name": "l__elicit", "arguments": {}}),
            ("requestState", json!(state)),
        );
    }
}

#[test]
fn era_is_decided_by_envelope_and_header_and_by_nothing_else() {
    let place = Place::open();
    let address = place.gateway.address;
    for method in ["GET", "DELETE"] {
        let request = Request::new(method, "/mcp")
            .field("mcp-protocol-version", REVISION)
            .field("accept", "text/event-stream");
        let answer = request.send(address);
        assert_eq!(answer.status(), 405, "{method}");
        let allowed = answer.field("allow").unwrap_or_default();
        assert!(
            allowed.contains("POST") && !allowed.contains(method),
            "{allowed}"
        );
    }
    // A session of the other era makes no difference to a request of this one, nor does an event's id.
    let session = place.gateway.session();
    let body = request(7, "tools/list", json!({"_meta": envelope(&json!({}))}));
    for id in [session.id.as_str(), "nobody"] {
        let request = dressed(&body)
            .field("mcp-session-id", id)
            .field("last-event-id", "1");
        let answer = request.send(address);
        assert_eq!(
            (answer.status(), answer.field("mcp-session-id")),
            (200, None)
        );
        assert_eq!(answer.json()["result"]["resultType"], "complete");
    }
    // The header alone makes a request modern; the envelope alone makes it a modern one without its header.
    let bare = request(7, "tools/list", json!({}));
    let answer = with(&bare, &[VERSION, ("mcp-method", "tools/list")]).send(address);
    assert_eq!(answer.refusal(), (400, json!(-32602)));
    assert_eq!(
        Request::post(&body).send(address).refusal(),
        (400, json!(-32020))
    );
    // A later version is modern, too: who knows what it asks for.
    let later = with(
        &bare,
        &[
            ("mcp-protocol-version", "2099-01-01"),
            ("mcp-method", "tools/list"),
        ],
    );
    assert_eq!(later.send(address).status(), 400);
    // A notification is taken and answered with nothing.
    let note = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"_meta": envelope(&json!({})), "requestId": 1}});
    let answer = dressed(&note).send(address);
    assert_eq!((answer.status(), answer.text().as_str()), (202, ""));
}
