//! Commands as servers: what they do wrong is felt by whoever waits for them, and by nobody else.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::session::text;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

fn call(gateway: &Gateway, name: &str, arguments: Value) -> Value {
    gateway.ask("tools/call", json!({"name": name, "arguments": arguments}))
}

#[test]
fn crash_costs_what_was_in_flight_there_and_nothing_else() {
    let gateway = Gateway::of(json!({ "a": child::named("a"), "b": child::named("b") }));
    let held = |server: &str| {
        let name = format!("{server}__hold");
        call(&gateway, &name, json!({"gate": "g"}))
    };
    thread::scope(|scope| {
        let (lost, kept) = (scope.spawn(|| held("a")), scope.spawn(|| held("b")));
        for server in ["a", "b"] {
            clock::holds("the calls run", || {
                text(&call(&gateway, &format!("{server}__seen"), json!({})))
                    .contains(r#""hung":["g"]"#)
            });
        }
        let crashed = call(&gateway, "a__crash", json!({}));
        for failed in [crashed, lost.join().expect("no panic")] {
            let error = &failed["error"];
            assert_eq!(
                (&error["code"], &error["data"]["server"]),
                (&json!(-32000), &json!("a"))
            );
            let message = error["message"].as_str().expect("a message");
            for part in [
                "\"a\"",
                "exit status: 3",
                "first the engine coughed",
                "then it stopped",
            ] {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
        call(&gateway, "b__release", json!({"gate": "g"}));
        assert_eq!(text(&kept.join().expect("no panic")), "g");
    });
    // The next call waits for the child's successor, or is told to come again.
    clock::holds("the next call works", || {
        call(&gateway, "a__pid", json!({})).get("result").is_some()
    });
    let status = gateway.status();
    assert_eq!(status["servers"]["details"][0]["restarts"], 1, "{status}");
    assert_eq!(
        gateway.metric(r#"switchbox_backend_restarts_total{server="a"}"#),
        Some(1.0)
    );
}

#[test]
fn noise_on_stdout_is_passed_over_and_counted() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let counted = || {
        gateway
            .metric(r#"switchbox_child_noise_lines_total{server="a"}"#)
            .unwrap_or(0.0)
    };
    let before = counted();
    assert_eq!(text(&call(&gateway, "a__noise", json!({}))), "quiet now");
    clock::holds("two lines are counted", || counted() >= before + 2.0);
}

#[test]
fn half_of_the_servers_may_hang_or_crash() {
    let mut servers = Map::new();
    for n in 0..5 {
        servers.insert(format!("mute{n}"), child::server(json!({"mute": true})));
        servers.insert(format!("good{n}"), child::named("good"));
        servers.insert(
            format!("dead{n}"),
            child::server(json!({"dead": "no licence found"})),
        );
        servers.insert(format!("fine{n}"), child::named("fine"));
    }
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .without_waiting()
        .start();
    let tools = |answer: Value| answer["result"]["tools"].as_array().map(Vec::len);
    // Whatever the servers do, who asks is answered.
    let begun = clock::now();
    gateway.session();
    assert!(tools(gateway.ask("tools/list", json!({}))).is_some());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );

    clock::holds("the healthy ones are listed", || {
        tools(gateway.ask("tools/list", json!({}))) == Some(10 * 22)
    });
    let session = gateway.session();
    assert_eq!(tools(session.ask("tools/list", json!({}))), Some(10 * 22));
    assert_eq!(session.say("good3__echo", json!({})), "{}");

    clock::holds("the reason is known to every worker", || {
        let refused = || call(&gateway, "dead2__echo", json!({})).to_string();
        (0..4).all(|_| refused().contains("no licence found"))
    });
    for (server, reason) in [("dead2", "no licence found"), ("mute4", "")] {
        let begun = clock::now();
        let refused = call(&gateway, &format!("{server}__echo"), json!({}));
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{server}: {:?}",
            begun.elapsed()
        );
        assert_eq!(refused["error"]["code"], -32003, "{refused}");
        assert_eq!(refused["error"]["data"]["server"], server);
        let message = refused["error"]["message"].as_str().expect("a message");
        assert!(
            message.contains(server) && message.contains(reason),
            "{message}"
        );
    }
    let ready = gateway.get("/health/ready");
    assert_eq!(ready.status(), 200, "none of them is required");
    let health = gateway.get("/health").json();
    assert_eq!(
        (&health["status"], &health["servers"]["healthy"]),
        (&json!("degraded"), &json!(10))
    );
}

#[test]
fn lists_wait_for_servers_if_they_are_told_to() {
    let gateway = Setup::new(json!({ "mcpServers": { "a": child::named("a") } }))
        .flags(&["--wait-for-servers", "20s"])
        .without_waiting()
        .start();
    let listed = gateway.ask("tools/list", json!({}));
    assert_eq!(listed["result"]["tools"][0]["name"], "a__echo");
}

#[test]
fn arrival_is_announced_to_who_came_before() {
    // It is there only once its file is.
    let mut late = child::named("late");
    let flag = format!(
        "{}/late-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    let script = format!("while ! [ -e '{flag}' ]; do /bin/sleep 0.05; done; exec \"$0\" \"$@\"");
    let mut args = vec![json!("-c"), script.into(), late["command"].clone()];
    args.extend(late["args"].as_array().expect("a list").iter().cloned());
    late["command"] = "/bin/sh".into();
    late["args"] = args.into();
    let gateway = Setup::new(json!({ "mcpServers": { "late": late } }))
        .without_waiting()
        .start();
    let session = gateway.session();
    let mut events = session.listen(None);
    assert!(events.next().is_some_and(|event| event.is_priming()));
    assert_eq!(
        session.ask("tools/list", json!({}))["result"]["tools"],
        json!([])
    );
    std::fs::write(&flag, "").expect("the folder is writable");
    events.wait_for("notifications/tools/list_changed");
    let listed = session.ask("tools/list", json!({}));
    assert_eq!(listed["result"]["tools"][0]["name"], "late__echo");
    let _ = std::fs::remove_file(&flag);
}

#[test]
fn command_that_does_not_exist_is_refused_with_its_name() {
    let gateway = Setup::new(json!({ "mcpServers": { "gone": {"command": "/no/such/program"} } }))
        .without_waiting()
        .start();
    gateway.log.wait_for("upstream failed server=gone");
    let refused = call(&gateway, "gone__x", json!({}));
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("/no/such/program"), "{message}");
}

#[test]
fn children_get_what_is_declared_and_little_else() {
    let gateway = Setup::new(json!({ "mcpServers": {
        "a": {"command": "/bin/sh", "args": ["-c", "/usr/bin/env >&2; exit 1"], "env": {"DECLARED": "yes"}},
    }}))
    .variable("AWS_SECRET_ACCESS_KEY", "leaked")
    .variable("HOME", "/home/somebody")
    .without_waiting()
    .start();
    let reason = clock::until("its end is known", || {
        let refused = call(&gateway, "a__x", json!({}));
        let message = refused["error"]["message"].as_str()?.to_owned();
        message.contains("DECLARED=").then_some(message)
    });
    assert!(
        reason.contains("PATH=") && reason.contains("HOME=/home/somebody"),
        "{reason}"
    );
    assert!(!reason.contains("leaked"), "{reason}");
}

#[test]
fn call_that_takes_too_long_is_given_up_and_cancelled() {
    let mut server = child::named("a");
    server["timeout"] = "300ms".into();
    let gateway = Gateway::of(json!({ "a": server }));
    let late = call(&gateway, "a__hang", json!({}));
    assert_eq!(late["error"]["code"], -32001, "{late}");
    let message = late["error"]["message"].as_str().expect("a message");
    assert!(
        message.starts_with("Server \"a\" gave no answer within 0.3"),
        "{message}"
    );
    clock::holds("the server knows", || {
        let seen: Value =
            serde_json::from_str(&text(&call(&gateway, "a__seen", json!({})))).expect("JSON");
        seen["cancelled"] == seen["hung"]
    });
}

#[test]
fn secrets_that_a_child_prints_do_not_reach_clients() {
    let mut server = child::server(json!({"dead": "no user hunter2-hunter2 here"}));
    server["env"]["PASSWORD"] = json!("hunter2-hunter2");
    let gateway = Setup::new(json!({ "mcpServers": { "dead": server } }))
        .without_waiting()
        .start();
    clock::holds("the reason is known, without the password", || {
        let refused = call(&gateway, "dead__echo", json!({})).to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
        refused.contains("no user *** here")
    });
}

#[test]
fn no_more_children_than_are_configured_serve_whoever_comes() {
    for most in [1, 2] {
        let mut server = child::named("a");
        server["connections"] = most.into();
        let config = json!({"mcpServers": { "a": server }});
        let gateway = Setup::new(config).flags(&["--workers", "4"]).start();
        let mut pids = BTreeSet::new();
        let come = || gateway.session_with("2025-11-25", json!({"elicitation": {}}));
        let sessions: Vec<_> = (0..6).map(|_| come()).collect();
        for session in &sessions {
            let params = json!({"name": "a__pid", "arguments": {}});
            let answer = session.ask("tools/call", params);
            assert!(answer["result"].is_object(), "{most}: {answer}");
            pids.insert(text(&answer));
        }
        assert_eq!(pids.len(), most, "{pids:?}");
    }
}
