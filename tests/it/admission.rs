//! Who is let in: by the name they call, the page they come from, the key they show.

use crate::fixture::child;
use crate::harness::gateway::{Gateway, SWITCHBOX, Setup, workplace};
use crate::harness::http::{Answer, Request, request};
use crate::harness::session::Session;
use serde_json::json;
use std::process::Command;

fn ping() -> Request {
    Request::post(&request(1, "ping", json!({})))
}

fn status(gateway: &Gateway, request: Request) -> u16 {
    request.send(gateway.address).status()
}

fn own() -> serde_json::Value {
    json!({ "a": child::named("a") })
}

#[test]
fn only_names_of_ours_are_answered() {
    let gateway = Setup::new(json!({ "mcpServers": own(), "hosts": ["mcp.example.org"] })).start();
    let port = gateway.address.port();
    let check = |host: &str, expected: u16| {
        assert_eq!(status(&gateway, ping().host(host)), expected, "{host:?}");
    };
    for host in [
        "localhost",
        "LocalHost",
        "127.0.0.1",
        "[::1]",
        "mcp.example.org",
        "MCP.example.org",
    ] {
        check(host, 200);
        check(&format!("{host}:{port}"), 200);
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost.example",
        "mcp.example.org.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
    ] {
        check(host, 403);
    }
    for malformed in [
        "localhost/x",
        "user@localhost",
        "localhost,evil.example",
        "localhost:port",
    ] {
        check(malformed, 400);
    }
    let twice = ping().field("host", "localhost");
    assert_eq!(status(&gateway, twice), 400);
}

#[test]
fn only_pages_of_ours_may_call() {
    let gateway =
        Setup::new(json!({ "mcpServers": own(), "origins": ["https://app.example.org"] })).start();
    let ask = |origin: &str| -> Answer { ping().field("origin", origin).send(gateway.address) };
    for origin in [
        "http://localhost",
        "http://localhost:6274",
        "https://localhost:8443",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://app.example.org",
    ] {
        let answer = ask(origin);
        assert_eq!(answer.status(), 200, "{origin}");
        assert_eq!(answer.field("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.field("vary"), Some("origin"));
    }
    for origin in [
        "null",
        "https://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "https://app.example.org.evil.example",
        "http://app.example.org",
        "file://",
        "",
    ] {
        let answer = ask(origin);
        assert_eq!(answer.status(), 403, "{origin}");
        assert_eq!(answer.field("access-control-allow-origin"), None);
    }
    let preflight = Request::new("OPTIONS", "/mcp").field("origin", "https://app.example.org");
    let allowed = preflight.send(gateway.address);
    assert_eq!(allowed.status(), 204);
    let headers = allowed
        .field("access-control-allow-headers")
        .unwrap_or_default();
    assert!(
        headers.contains("mcp-session-id") && headers.contains("authorization"),
        "{headers}"
    );
}

const ONE: &str = "one.0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const TWO: &str = "two.f0e1d2c3b4a5968778695a4b3c2d1e0f";

fn keyed() -> Gateway {
    Setup::new(json!({ "mcpServers": own(), "auth": {"keys": [ONE, TWO]} }))
        .flags(&["--access-log", "stderr"])
        .start()
}

#[test]
fn key_opens_the_endpoint_either_way_and_nothing_else_does() {
    let gateway = keyed();
    let refused = ping().send(gateway.address);
    assert_eq!(refused.refusal(), (401, json!(-32004)));
    assert!(
        refused
            .field("www-authenticate")
            .is_some_and(|field| field.starts_with("Bearer"))
    );
    for (name, value, expected) in [
        ("x-api-key", ONE.to_owned(), 200),
        ("x-api-key", TWO.to_owned(), 200),
        ("authorization", format!("Bearer {ONE}"), 200),
        ("authorization", format!("bearer {TWO}"), 200),
        ("authorization", format!("Basic {ONE}"), 401),
        ("authorization", ONE.to_owned(), 401),
        ("x-api-key", format!("{ONE}0"), 401),
        ("x-api-key", ONE[..ONE.len() - 1].to_owned(), 401),
        ("x-api-key", String::new(), 401),
    ] {
        assert_eq!(
            status(&gateway, ping().field(name, &value)),
            expected,
            "{name}: {value}"
        );
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(
            status(&gateway, Request::new(method, "/mcp")),
            401,
            "{method}"
        );
    }
    assert_eq!(status(&gateway, Request::get("/health/live")), 200);
}

#[test]
fn session_belongs_to_the_key_that_opened_it() {
    let gateway = keyed();
    let session = Session::open_as(gateway.address, "2025-11-25", json!({}), Some(ONE));
    assert_eq!(session.say("a__echo", json!({})), "{}");
    let stolen = |request: Request| {
        let request = request
            .field("mcp-session-id", &session.id)
            .field("x-api-key", TWO);
        request.send(gateway.address).status()
    };
    assert_eq!(stolen(ping()), 404);
    assert_eq!(
        stolen(Request::get("/mcp").field("accept", "text/event-stream")),
        404
    );
    assert_eq!(stolen(Request::new("DELETE", "/mcp")), 404);
    assert_eq!(session.say("a__echo", json!({})), "{}");
}

#[test]
fn address_that_others_reach_needs_a_key() {
    let place = workplace(json!({ "mcpServers": own() }));
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = Command::new(SWITCHBOX)
            .args(["serve", "--listen", address, "--config"])
            .arg(&place.path)
            .env_clear()
            .output()
            .expect("the binary was built for this test");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(
            told.contains("keygen") && told.contains("allow-unauthenticated"),
            "{told}"
        );
    }
    let _ = std::fs::remove_dir_all(&place.folder);
}

#[test]
fn access_log_begins_with_the_address_and_tells_no_secret() {
    let gateway = keyed();
    let call = json!({"name": "a__echo", "arguments": {"password": "hunter2hunter2"}});
    let request = Request::post(&request(1, "tools/call", call)).field("x-api-key", ONE);
    assert_eq!(request.send(gateway.address).status(), 200);
    ping().send(gateway.address);
    let answered = gateway.log.wait_for("tools/call a__echo");
    assert!(answered.starts_with("127.0.0.1 - one ["), "{answered}");
    assert!(
        answered.contains("\" 200 ") && answered.ends_with("server=a outcome=success"),
        "{answered}"
    );
    let refused = gateway.log.wait_for("\"POST /mcp\" 401 ");
    assert!(refused.starts_with("127.0.0.1 - - ["), "{refused}");
    let told = gateway.log.text();
    assert!(!told.contains(ONE) && !told.contains("hunter2"), "{told}");
}
