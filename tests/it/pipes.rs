//! `switchbox stdio` for a modern client: no header, the same rules.

use crate::fixture::server::{Over, Server};
use crate::harness::cells::config;
use crate::harness::client::{Client, Era, OWN, everything, replied, reply_with};
use crate::harness::http::{notification, request};
use crate::harness::modern::{REVISION, envelope};
use crate::harness::pipe::Pipe;
use crate::harness::session::{hello, text};
use serde_json::{Value, json};

fn servers() -> [Server; 2] {
    [("m", "modern"), ("l", "legacy")]
        .map(|(name, era)| Server::start(Over::Stdio, json!({"name": name, "era": era})))
}

/// A modern client that can be asked everything.
fn pipe(servers: &[Server]) -> Pipe {
    Pipe::open(&config(servers), Era::Modern, everything())
}

/// One that can be asked nothing, so that it needs no child to itself.
fn plain_pipe(servers: &[Server]) -> Pipe {
    Pipe::open(&config(servers), Era::Modern, json!({}))
}

#[test]
fn modern_client_on_stdio_discovers_all_servers_as_one() {
    let servers = servers();
    let mut pipe = pipe(&servers);
    let heard = pipe.ask("server/discover", json!({}));
    let result = heard.result();
    assert!(
        result["supportedVersions"]
            .as_array()
            .expect("a list")
            .contains(&json!(REVISION))
    );
    assert_eq!(
        result["_meta"][format!("{OWN}serverInfo")]["name"],
        "switchbox"
    );
    assert!(result["capabilities"]["tools"].is_object());
    for server in ["m", "l"] {
        let heard = pipe.call(&format!("{server}__echo"), json!({"tag": server}));
        assert_eq!(heard.json(), json!({"tag": server}));
    }
}

#[test]
fn envelopes_that_are_wrong_are_refused_on_stdio_and_reach_no_server() {
    let servers = servers();
    let mut pipe = pipe(&servers);
    let key = |name: &str| format!("{OWN}{name}");
    let meta = |change: &dyn Fn(&mut Value)| {
        let mut meta = envelope(&json!({}));
        change(&mut meta);
        meta
    };
    let cases = [
        (
            "tools/call",
            meta(&|meta| meta[key("clientCapabilities")] = Value::Null),
            -32602,
            "clientCapabilities",
        ),
        (
            "tools/call",
            meta(&|meta| meta[key("logLevel")] = "loud".into()),
            -32602,
            "logLevel",
        ),
        (
            "tools/call",
            meta(&|meta| meta[key("clientInfo")] = 5.into()),
            -32602,
            "clientInfo",
        ),
        (
            "tools/call",
            meta(&|meta| meta[key("protocolVersion")] = 5.into()),
            -32602,
            "protocolVersion",
        ),
        (
            "tools/call",
            meta(&|meta| meta[key("protocolVersion")] = "2099-01-01".into()),
            -32022,
            "2099-01-01",
        ),
        ("initialize", meta(&|_| {}), -32601, "initialize"),
        ("ping", meta(&|_| {}), -32601, "ping"),
        (
            "logging/setLevel",
            meta(&|_| {}),
            -32601,
            "logging/setLevel",
        ),
        (
            "resources/subscribe",
            meta(&|_| {}),
            -32601,
            "resources/subscribe",
        ),
        ("nope", meta(&|_| {}), -32601, "nope"),
    ];
    for (method, meta, code, named) in cases {
        let params = json!({"name": "m__echo", "arguments": {"tag": "never"}, "_meta": meta});
        pipe.front.say(&request("x", method, params));
        let answer = pipe.front.next();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!("x"), &json!(code)),
            "{method}: {answer}"
        );
        assert!(
            answer["error"].to_string().contains(named),
            "{named}: {answer}"
        );
    }
    assert_eq!(
        servers
            .iter()
            .map(|server| server.calls("never"))
            .sum::<usize>(),
        0
    );
}

#[test]
fn both_eras_may_be_spoken_on_one_pipe() {
    let servers = servers();
    let mut pipe = pipe(&servers);
    // The era is that of each message: a client that probes first may turn out to be a legacy one.
    let welcome = pipe
        .front
        .ask(77, "initialize", hello("2025-11-25", everything()));
    assert_eq!(welcome["result"]["protocolVersion"], "2025-11-25");
    assert!(welcome["result"].get("resultType").is_none(), "{welcome}");
    pipe.front
        .say(&notification("notifications/initialized", json!({})));
    for server in ["m", "l"] {
        let params = json!({"name": format!("{server}__elicit"), "arguments": {"tag": "t"}});
        pipe.front.say(&request(78, "tools/call", params));
        let asked = pipe.front.wait_for("elicitation/create");
        pipe.front
            .say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": reply_with("t")(&asked)}));
        let answer = pipe.front.answer(78);
        assert_eq!(
            serde_json::from_str::<Value>(&text(&answer)).expect("JSON"),
            replied("elicit", "t")
        );
        let heard = pipe.call_while(
            &format!("{server}__elicit"),
            json!({"tag": "u"}),
            &reply_with("u"),
        );
        assert_eq!(heard.json(), replied("elicit", "u"));
    }
}

#[test]
fn streams_on_stdio_begin_and_end_each_under_its_id() {
    let servers = servers();
    let mut pipe = plain_pipe(&servers);
    let sub = format!("{OWN}subscriptionId");
    for (id, n) in [(json!("1"), 1), (json!(1001), 2)] {
        let params = json!({"notifications": {"resourceSubscriptions": [format!("note://l/{n}"), format!("note://m/{n}")]}});
        let message = pipe.message(id.clone(), "subscriptions/listen", &params);
        pipe.front.say(&message);
        let ack = pipe.front.next();
        assert_eq!(
            ack["method"], "notifications/subscriptions/acknowledged",
            "{ack}"
        );
        assert_eq!(ack["params"]["_meta"][&sub], id, "{ack}");
    }
    let touch = |pipe: &mut Pipe, server: &str, n: u32| {
        let params = json!({"name": format!("{server}__touch"), "arguments": {"uri": format!("note://{server}/{n}")}});
        let message = pipe.message("touch", "tools/call", &params);
        pipe.front.say(&message);
    };
    for server in ["l", "m"] {
        for (id, n) in [(json!("1"), 1), (json!(1001), 2)] {
            touch(&mut pipe, server, n);
            let news = pipe.front.wait_for("notifications/resources/updated");
            assert_eq!(
                (&news["params"]["uri"], &news["params"]["_meta"][&sub]),
                (&json!(format!("note://{server}/{n}")), &id)
            );
        }
    }
    // What is cancelled says nothing more; the other goes on.
    pipe.front.say(&notification(
        "notifications/cancelled",
        json!({"requestId": "1"}),
    ));
    for n in [1, 2] {
        touch(&mut pipe, "l", n);
    }
    let news = pipe.front.wait_for("notifications/resources/updated");
    assert_eq!(news["params"]["_meta"][&sub], 1001, "{news}");
}

#[test]
fn calls_on_stdio_go_on_while_others_wait() {
    let servers = servers();
    let mut pipe = plain_pipe(&servers);
    for server in ["l", "m"] {
        let params = json!({"name": format!("{server}__hold"), "arguments": {"tag": server}});
        let message = pipe.message(format!("hold {server}"), "tools/call", &params);
        pipe.front.say(&message);
    }
    for (server, own) in ["m", "l"].iter().zip(&servers) {
        own.wait_for("hung", |tag| tag == &json!(server));
        let heard = pipe.call(&format!("{server}__echo"), json!({"tag": "t"}));
        assert_eq!(heard.json(), json!({"tag": "t"}));
    }
    for server in ["l", "m"] {
        let params = json!({"name": format!("{server}__release"), "arguments": {"tag": server}});
        let message = pipe.message("release", "tools/call", &params);
        pipe.front.say(&message);
        assert_eq!(text(&pipe.front.answer(format!("hold {server}"))), server);
    }
}
