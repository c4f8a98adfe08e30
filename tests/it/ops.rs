//! What an operator, a probe and a scraper are shown.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::Request;
use serde_json::json;
use std::net::TcpListener;

fn gateway() -> Gateway {
    Gateway::of(json!({ "a": child::named("a") }))
}

#[test]
fn probes_are_answered_at_every_path_that_probes_use() {
    let gateway = gateway();
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/ready",
        "/status",
        "/livez",
        "/readyz",
        "/healthz",
    ] {
        let answer = gateway.get(path);
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
        let head = Request::new("HEAD", path).send(gateway.address);
        assert_eq!((head.status(), head.body.len()), (200, 0), "{path}");
        assert_eq!(
            Request::new("POST", path).send(gateway.address).status(),
            405,
            "{path}"
        );
    }
}

#[test]
fn health_tells_of_every_server() {
    let gateway = gateway();
    let health = gateway.get("/health").json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["servers"]["total"], 1);
    assert_eq!(health["servers"]["healthy"], 1);
    let server = &health["servers"]["details"][0];
    assert_eq!(
        (&server["name"], &server["status"]),
        (&json!("a"), &json!("connected"))
    );
    assert!(health["system"]["memory"]["used"].as_f64() > Some(0.0));
    assert!(health["system"]["uptime"].is_u64() && health["timestamp"].is_string());
    assert_eq!(health["configuration"]["enabledCount"], 1);
    assert_eq!(health["checks"]["server"], "healthy");
    assert!(health["circuitBreaker"]["state"].is_string());
}

#[test]
fn status_counts_what_is_there() {
    let gateway = gateway();
    let session = gateway.session();
    let mut events = session.listen(None);
    assert!(events.next().is_some());
    clock::holds("session and stream are counted", || {
        let clients = gateway.status()["clients"].clone();
        clients["sessions"] == 1 && clients["streams"] == 1
    });
    let status = gateway.status();
    let server = &status["servers"]["details"][0];
    assert_eq!(
        server["implementation"],
        json!({"name": "a", "version": "1.2.3"})
    );
    assert_eq!(
        (&server["tools"], &server["prompts"], &server["resources"]),
        (&json!(22), &json!(2), &json!(3))
    );
    assert_eq!(status["catalog"]["tools"], 22);
    drop(events);
    session.delete();
    clock::holds("both are gone", || {
        let clients = gateway.status()["clients"].clone();
        clients["sessions"] == 0 && clients["streams"] == 0
    });
}

#[test]
fn required_server_that_is_down_makes_switchbox_unready() {
    let mut server = child::server(json!({"dead": "gone fishing"}));
    server["required"] = true.into();
    let gateway = Setup::new(json!({ "mcpServers": { "a": server } }))
        .without_waiting()
        .start();
    let ready = gateway.get("/health/ready");
    assert_eq!(
        (ready.status(), &ready.json()["missing"]),
        (503, &json!(["a"]))
    );
    assert_eq!(gateway.get("/health/live").status(), 200);
    clock::holds("its reason is shown", || {
        let reason = &gateway.status()["servers"]["details"][0]["lastError"];
        reason
            .as_str()
            .is_some_and(|reason| reason.contains("gone fishing"))
    });
}

#[test]
fn stderr_is_not_shown_through_a_proxy_of_this_machine_where_a_key_is_needed() {
    let servers = json!({ "a": child::server(json!({"dead": "first\nsecond"})) });
    let auth = json!({"keys": ["0123456789abcdef"]});
    let gateway = Setup::new(json!({ "mcpServers": servers, "auth": auth }))
        .without_waiting()
        .start();
    let shows = |request: Request| {
        let status = request.send(gateway.address).json();
        let reason = status["servers"]["details"][0]["lastError"].to_string();
        reason.contains("second")
    };
    clock::holds("this machine is shown it", || {
        shows(Request::get("/status"))
    });
    for (name, value) in [
        ("X-Forwarded-For", "203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("Via", "1.1 proxy"),
    ] {
        let asked = Request::get("/status").field(name, value);
        assert!(!shows(asked), "{name}");
    }
}

#[test]
fn metrics_count_what_was_asked() {
    let gateway = gateway();
    let session = gateway.session();
    for _ in 0..3 {
        session.call("a__echo", json!({}));
    }
    session.call("a__fail", json!({}));
    let counts = [
        (
            r#"switchbox_tool_calls_total{tool="a__echo",status="success"}"#,
            3.0,
        ),
        (
            r#"switchbox_tool_calls_total{tool="a__fail",status="error"}"#,
            1.0,
        ),
        (r#"switchbox_backend_up{server="a"}"#, 1.0),
        (
            r#"switchbox_requests_total{method="tools/call",status="200"}"#,
            4.0,
        ),
        (
            r#"switchbox_requests_total{method="initialize",status="200"}"#,
            1.0,
        ),
        ("switchbox_sessions_active", 1.0),
        ("switchbox_panics_total", 0.0),
    ];
    for (name, expected) in counts {
        clock::holds(name, || gateway.metric(name) == Some(expected));
    }
    let page = gateway.get("/metrics");
    assert!(
        page.field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
    );
}

#[test]
fn second_listener_serves_metrics_and_health_and_nothing_else() {
    // A port that was free a moment ago: the one that is got for 0 is not told.
    let second = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let second = second.expect("a free port");
    let _gateway = Setup::new(json!({ "mcpServers": { "a": child::named("a") } }))
        .flags(&["--metrics-listen", &second.to_string()])
        .start();
    assert_eq!(Request::get("/metrics").send(second).status(), 200);
    assert_eq!(Request::get("/health/live").send(second).status(), 200);
    assert_eq!(
        Request::post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
            .send(second)
            .status(),
        404
    );
}

#[test]
fn without_a_configuration_the_demo_answers() {
    let gateway = Setup::demo();
    let answer = gateway.ask(
        "tools/call",
        json!({"name": "demo__network_interfaces", "arguments": {}}),
    );
    let told = answer.to_string();
    assert!(told.contains("127.0.0.1"), "{told}");
    let welcome = gateway.log.text();
    assert!(
        welcome.contains(&format!("http://{}/mcp", gateway.address)),
        "{welcome}"
    );
}
