//! Notifications, both ways: to the one they are for, under the name that one gave.

use crate::fixture::child;
use crate::fixture::remote::{Remote, Style};
use crate::harness::clock;
use crate::harness::events::Events;
use crate::harness::gateway::Gateway;
use crate::harness::http::{Request, request};
use crate::harness::session::{Session, text};
use serde_json::{Value, json};

/// What the shared conversation of server `a` has seen.
fn seen(gateway: &Gateway) -> Value {
    let answer = gateway.ask("tools/call", json!({"name": "a__seen"}));
    serde_json::from_str(&text(&answer)).expect("JSON")
}

fn call(name: &str, arguments: Value) -> Value {
    json!({"name": name, "arguments": arguments})
}

/// The standing stream of a session, open.
fn standing(session: &Session) -> Events {
    let mut events = session.listen(None);
    assert!(events.next().is_some_and(|event| event.is_priming()));
    events
}

#[test]
fn cancellation_reaches_the_server_under_the_id_it_knows() {
    let remote = Remote::start(Style::Json);
    for server in [child::named("a"), remote.server()] {
        let gateway = Gateway::of(json!({ "a": server }));
        let (session, other) = (gateway.session(), gateway.session());
        let body = request("mine", "tools/call", call("a__hang", json!({})));
        let hung = session.dress(Request::post(&body));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hung.send(gateway.address));
            let id = clock::until("the call hangs", || {
                let hung = seen(&gateway)["hung"].clone();
                hung.get(0).and_then(Value::as_str).map(String::from)
            });
            assert_ne!(id, "\"mine\"");
            // It is nobody else's to cancel, though it has the same name there.
            let cancel = json!({"requestId": "mine", "reason": "enough"});
            other.tell("notifications/cancelled", cancel.clone());
            session.tell("notifications/cancelled", cancel);
            clock::holds("the server knows", || {
                seen(&gateway)["cancelled"] == json!([id])
            });
            assert_eq!(waiting.join().expect("no panic").status(), 200);
        });
        assert_eq!(session.say("a__echo", json!({})), "{}");
    }
}

#[test]
fn client_that_goes_away_cancels_nothing() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session();
    let body = request(1, "tools/call", call("a__hold", json!({"gate": "g"})));
    let mut connection = crate::harness::http::Connection::open(gateway.address);
    connection.write(&session.dress(Request::post(&body)).bytes(gateway.address));
    clock::holds("the call runs", || seen(&gateway)["hung"] == json!(["g"]));
    drop(connection);
    session.say("a__release", json!({"gate": "g"}));
    assert_eq!(seen(&gateway)["cancelled"], json!([]));
}

#[test]
fn progress_carries_the_token_that_the_client_gave() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": child::named("a"), "r": remote.server() }));
    for server in ["a", "r"] {
        for token in [
            json!(0),
            json!("0"),
            json!("é \" token"),
            json!(9_007_199_254_740_991_u64),
        ] {
            let session = gateway.session();
            let params = json!({
                "name": format!("{server}__progress"),
                "arguments": {"steps": 3},
                "_meta": {"progressToken": token, "x/y": 1},
            });
            let (answer, told) = session.ask_while("tools/call", params, |asked| panic!("{asked}"));
            let steps: Vec<_> = told
                .iter()
                .map(|message| {
                    (
                        &message["params"]["progressToken"],
                        &message["params"]["progress"],
                    )
                })
                .collect();
            assert_eq!(
                steps,
                [
                    (&token, &json!(0)),
                    (&token, &json!(1)),
                    (&token, &json!(2))
                ]
            );
            let meta: Value = serde_json::from_str(&text(&answer)).expect("JSON");
            assert_eq!(meta["x/y"], 1);
            assert_ne!(meta["progressToken"], token);
        }
    }
}

#[test]
fn each_session_has_a_level_of_its_own() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "a": child::named("a"), "r": remote.server() }));
    let (loud, quiet) = (gateway.session(), gateway.session());
    assert_eq!(
        loud.ask("logging/setLevel", json!({"level": "debug"}))["result"],
        json!({})
    );
    assert_eq!(
        quiet.ask("logging/setLevel", json!({"level": "error"}))["result"],
        json!({})
    );
    assert_eq!(
        quiet.ask("logging/setLevel", json!({"level": "loud"}))["error"]["code"],
        -32602
    );
    let heard = |session: &Session, server: &str, level: &str| {
        let params = call(
            &format!("{server}__log"),
            json!({"level": level, "data": "d"}),
        );
        let (_, told) = session.ask_while("tools/call", params, |asked| panic!("{asked}"));
        told.iter()
            .filter(|message| message["params"]["data"] == "d")
            .count()
    };
    for server in ["a", "r"] {
        assert_eq!(heard(&quiet, server, "info"), 0, "{server}");
        assert_eq!(heard(&quiet, server, "critical"), 1, "{server}");
    }
    assert_eq!(heard(&loud, "r", "info"), 1);
    // A child does not say whose call it logs about, and it was another's a moment ago.
    assert_eq!(heard(&loud, "a", "info"), 0);
}

#[test]
fn log_after_the_answer_reaches_nobody_else() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let (one, two) = (gateway.session(), gateway.session());
    let held = call("a__hold", json!({"gate": "g"}));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| two.ask_while("tools/call", held, |asked| panic!("{asked}")));
        clock::holds("the call is held", || {
            seen(&gateway)["hung"] == json!(["g"])
        });
        for _ in 0..5 {
            one.say(
                "a__log",
                json!({"level": "error", "data": "one's", "after": true}),
            );
        }
        one.say("a__release", json!({"gate": "g"}));
        let (_, told) = held.join().expect("no panic");
        assert!(told.is_empty(), "{told:?}");
    });
}

#[test]
fn server_is_set_to_the_least_of_the_levels() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let (one, two) = (gateway.session(), gateway.session());
    one.ask("logging/setLevel", json!({"level": "error"}));
    one.say("a__echo", json!({}));
    two.ask("logging/setLevel", json!({"level": "info"}));
    two.say("a__echo", json!({}));
    clock::holds("the server has the lower level", || {
        seen(&gateway)["level"] == "info"
    });
}

#[test]
fn changes_of_lists_are_announced_together() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session();
    session.ask("resources/subscribe", json!({"uri": "note://a/1"}));
    let mut events = standing(&session);
    session.say("a__grow", json!({}));
    assert_eq!(
        events.message().expect("an event")["method"],
        "notifications/tools/list_changed"
    );
    clock::holds("all five are listed", || {
        let listed = session.ask("tools/list", json!({}))["result"]["tools"].to_string();
        listed.contains("a__grown_4")
    });
    session.say("a__update", json!({"uri": "note://a/1"}));
    let mut further = 0;
    while let Some(message) = events.message() {
        match message["method"].as_str() {
            Some("notifications/tools/list_changed") => further += 1,
            Some("notifications/resources/updated") => break,
            // What was learned at the start may be announced in this moment.
            _ => {}
        }
    }
    assert!(
        further <= 2,
        "five changes were announced {} times",
        further + 1
    );
}

#[test]
fn update_of_a_resource_goes_to_its_subscribers_only() {
    let remote = Remote::start(Style::Json);
    for (server, name) in [(child::named("a"), "a"), (remote.server(), "remote")] {
        let gateway = Gateway::of(json!({ "a": server }));
        let sessions = [gateway.session(), gateway.session(), gateway.session()];
        let uri = |n: usize| json!({"uri": format!("note://{name}/{n}")});
        let ask = |session: &Session, verb: &str, n: usize| {
            let answer = session.ask(&format!("resources/{verb}"), uri(n));
            assert_eq!(answer["result"], json!({}), "{verb} {n}");
        };
        // The first resource is everybody's, each of the others has one subscriber.
        for (n, session) in sessions.iter().enumerate() {
            ask(session, "subscribe", 1);
            ask(session, "subscribe", n + 2);
        }
        let mut streams = sessions.each_ref().map(standing);
        let update = |n: usize| assert_eq!(sessions[0].say("a__update", uri(n)), "updated");
        for n in [3, 1, 2, 4] {
            update(n);
        }
        let mut next = |session: usize| {
            let message = streams[session].wait_for("notifications/resources/updated");
            message["params"].clone()
        };
        for (session, expected) in [(0, [1, 2]), (1, [3, 1]), (2, [1, 4])] {
            assert_eq!(
                expected.map(|_| next(session)),
                expected.map(uri),
                "session {session} of {name}"
            );
        }
        // Who leaves hears nothing more, and takes nothing away from the others.
        ask(&sessions[0], "unsubscribe", 1);
        for n in [1, 2, 3, 4] {
            update(n);
        }
        for (session, expected) in [(0, vec![2]), (1, vec![1, 3]), (2, vec![1, 4])] {
            let heard: Vec<Value> = expected.iter().map(|_| next(session)).collect();
            let expected: Vec<Value> = expected.into_iter().map(uri).collect();
            assert_eq!(heard, expected, "session {session} of {name}");
        }
    }
}

#[test]
fn change_of_roots_is_told_to_the_server() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session_with("2025-11-25", json!({"roots": {"listChanged": true}}));
    let own =
        || -> Value { serde_json::from_str(&session.say("a__seen", json!({}))).expect("JSON") };
    assert_eq!(own()["roots_changed"], 0);
    session.tell("notifications/roots/list_changed", json!({}));
    clock::holds("the server knows", || own()["roots_changed"] == 1);
    assert_eq!(seen(&gateway)["roots_changed"], 0);
}

#[test]
fn what_was_said_while_nobody_listened_comes_with_the_stream() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let session = gateway.session();
    let mut events = session.listen(None);
    let priming = events.next().and_then(|event| event.id).expect("an id");
    session.ask("resources/subscribe", json!({"uri": "note://a/1"}));
    session.say("a__update", json!({"uri": "note://a/1"}));
    events.wait_for("notifications/resources/updated");
    drop(events);
    let mut again = session.listen(Some(&priming));
    let missed = again.wait_for("notifications/resources/updated");
    assert_eq!(missed["params"]["uri"], "note://a/1");
}

#[test]
fn change_before_there_was_a_stream_is_told_on_it() {
    let gateway = Gateway::of(json!({ "a": child::named("a") }));
    let early = gateway.session();
    early.ask("tools/list", json!({}));
    let other = gateway.session();
    other.say("a__grow", json!({}));
    clock::holds("all five are listed", || {
        let listed = other.ask("tools/list", json!({}))["result"]["tools"].to_string();
        listed.contains("a__grown_4")
    });
    early
        .listen(None)
        .wait_for("notifications/tools/list_changed");
}
