//! The end of switchbox, by any way there is: nothing is cut that could be finished, and nothing is left.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::{Request, request};
use crate::harness::session::text;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::thread;

fn call(gateway: &Gateway, name: &str, arguments: Value) -> Value {
    gateway.ask("tools/call", json!({"name": name, "arguments": arguments}))
}

/// Waits until so many calls have come to server `a`.
fn wait_for_calls(gateway: &Gateway, count: usize) {
    clock::holds("the calls run", || {
        let seen: Value =
            serde_json::from_str(&text(&call(gateway, "a__seen", json!({})))).expect("JSON");
        seen["calls"].as_array().map(Vec::len) == Some(count)
    });
}

#[test]
fn what_is_in_flight_is_answered_before_the_end() {
    let stubborn_not = child::server(json!({"name": "b", "grandchild": true}));
    let mut gateway = Gateway::of(json!({ "a": child::named("a"), "b": stubborn_not }));
    let (address, clients) = (gateway.address, 32);
    let session = gateway.session();
    let standing = session.listen(None);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..clients)
            .map(|n| {
                let arguments = json!({"millis": 700, "ticket": format!("{n}")});
                let body = request(
                    n,
                    "tools/call",
                    json!({"name": "a__slow", "arguments": arguments}),
                );
                scope.spawn(move || Request::post(&body).send(address))
            })
            .collect();
        wait_for_calls(&gateway, clients);
        assert!(gateway.descendants().len() >= 3);
        gateway.signal(Signal::TERM);
        for (n, call) in calls.into_iter().enumerate() {
            let answer = call.join().expect("no panic");
            assert_eq!((answer.status(), &answer.json()["id"]), (200, &json!(n)));
            assert_eq!(text(&answer.json()), "slept");
            assert_eq!(answer.field("connection"), Some("close"));
        }
    });
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log.text());
    assert_eq!(gateway.descendants(), Vec::<u32>::new());
    // Its stream was ended, not cut.
    let mut standing = standing;
    while standing.next().is_some() {}
    let log = gateway.log.wait_for("drain ended");
    assert!(log.contains("cut=0"), "{log}");
}

#[test]
fn drain_takes_no_longer_than_it_may() {
    let mut gateway = Setup::new(json!({ "mcpServers": { "a": child::named("a") } }))
        .flags(&["--drain", "300ms"])
        .start();
    let address = gateway.address;
    let body = request(
        1,
        "tools/call",
        json!({"name": "a__hang", "arguments": {"ticket": "t"}}),
    );
    let (_, mut connection) = {
        let mut connection = crate::harness::http::Connection::open(address);
        connection.write(&Request::post(&body).bytes(address));
        ((), connection)
    };
    wait_for_calls(&gateway, 1);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().code().is_some());
    assert_eq!(gateway.descendants(), Vec::<u32>::new());
    connection.rest();
}

#[test]
fn second_signal_means_now() {
    let mut gateway = Gateway::of(json!({ "a": child::named("a") }));
    let address = gateway.address;
    let body = request(
        1,
        "tools/call",
        json!({"name": "a__hang", "arguments": {"ticket": "t"}}),
    );
    let mut connection = crate::harness::http::Connection::open(address);
    connection.write(&Request::post(&body).bytes(address));
    wait_for_calls(&gateway, 1);
    gateway.signal(Signal::TERM);
    gateway.log.wait_for("drain started");
    gateway.signal(Signal::TERM);
    gateway.wait();
    assert_eq!(gateway.descendants(), Vec::<u32>::new());
}

#[test]
fn stubborn_children_and_theirs_are_ended() {
    let stubborn = child::server(json!({"name": "s", "stubborn": true, "grandchild": true}));
    let mut gateway = Gateway::of(json!({ "s": stubborn }));
    assert!(gateway.descendants().len() >= 2);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log.text());
    assert_eq!(gateway.descendants(), Vec::<u32>::new());
}

#[test]
fn nothing_survives_a_switchbox_that_is_killed() {
    let with_grandchild = child::server(json!({"name": "g", "grandchild": true, "stubborn": true}));
    let mut gateway = Gateway::of(json!({ "a": child::named("a"), "g": with_grandchild }));
    assert!(gateway.descendants().len() >= 3);
    gateway.signal(Signal::KILL);
    gateway.wait();
    clock::holds("none of them lives", || gateway.descendants().is_empty());
}

#[test]
fn child_that_ends_leaves_no_grandchild() {
    let mut gateway =
        Gateway::of(json!({ "a": child::server(json!({"name": "a", "grandchild": true})) }));
    let before = gateway.descendants();
    assert_eq!(
        call(&gateway, "a__crash", json!({}))["error"]["code"],
        -32000
    );
    clock::holds("its successor works", || {
        call(&gateway, "a__pid", json!({})).get("result").is_some()
    });
    clock::holds("none of the first generation lives", || {
        let now = gateway.descendants();
        before.iter().all(|pid| !now.contains(pid))
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0));
}
