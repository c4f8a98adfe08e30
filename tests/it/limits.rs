//! Every limit that a client can reach: at the limit it holds, one past it there is a refusal.

use crate::fixture::child;
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::{Answer, Connection, Request};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;
use switchbox::config::limits::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADER_FIELDS_MAX, ID_BYTES_MAX, JSON_DEPTH_MAX,
    TARGET_BYTES_MAX,
};

fn gateway() -> Gateway {
    Gateway::of(json!({ "a": child::named("a") }))
}

fn send(gateway: &Gateway, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(gateway.address);
    connection.write(bytes);
    connection.answer("GET")
}

#[test]
fn head_has_at_most_so_many_bytes() {
    let gateway = gateway();
    let head = |bytes: usize| {
        let frame = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: \r\n\r\n";
        let filler = "y".repeat(bytes - frame.len());
        frame.replace("x: ", &format!("x: {filler}"))
    };
    assert_eq!(head(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    assert_eq!(
        send(&gateway, head(HEAD_BYTES_MAX).as_bytes()).status(),
        200
    );
    assert_eq!(
        send(&gateway, head(HEAD_BYTES_MAX + 1).as_bytes()).status(),
        431
    );
}

#[test]
fn head_has_at_most_so_many_fields() {
    let gateway = gateway();
    let head = |fields: usize| {
        let more: String = (1..fields).map(|n| format!("x-{n}: 1\r\n")).collect();
        format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
    };
    assert_eq!(
        send(&gateway, head(HEADER_FIELDS_MAX).as_bytes()).status(),
        200
    );
    assert_eq!(
        send(&gateway, head(HEADER_FIELDS_MAX + 1).as_bytes()).status(),
        431
    );
}

#[test]
fn target_has_at_most_so_many_bytes() {
    let gateway = gateway();
    let get = |bytes: usize| {
        let path = "/health/live?";
        Request::get(&format!("{path}{}", "q".repeat(bytes - path.len()))).send(gateway.address)
    };
    assert_eq!(get(TARGET_BYTES_MAX).status(), 200);
    assert_eq!(get(TARGET_BYTES_MAX + 1).status(), 414);
}

#[test]
fn body_has_at_most_so_many_bytes() {
    let gateway = gateway();
    let body = |bytes: usize| {
        let frame = r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":""}"#;
        let filler = "z".repeat(bytes - frame.len());
        frame
            .replace(r#""x":""#, &format!(r#""x":"{filler}"#))
            .into_bytes()
    };
    let lawful = Request::post_bytes(body(BODY_BYTES_MAX)).send(gateway.address);
    assert_eq!(lawful.json()["result"], json!({}));
    let past = Request::post_bytes(body(BODY_BYTES_MAX + 1)).send(gateway.address);
    assert_eq!(past.status(), 413);
    // The same for a body that does not say its length before.
    let chunked = |bytes: usize| {
        let mut request =
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in body(bytes).chunks(100_000) {
            request.extend(format!("{:x}\r\n", piece.len()).bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        send(&gateway, &request).status()
    };
    assert_eq!(chunked(BODY_BYTES_MAX), 200);
    assert_eq!(chunked(BODY_BYTES_MAX + 1), 413);
}

#[test]
fn message_is_nested_at_most_so_deep() {
    let gateway = gateway();
    let ask = |depth: usize| {
        // The message itself and `params` are the two outermost.
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{open}{close}}}}}"#);
        Request::post_bytes(body.into_bytes()).send(gateway.address)
    };
    assert_eq!(ask(JSON_DEPTH_MAX).json()["result"], json!({}));
    assert_eq!(ask(JSON_DEPTH_MAX + 1).refusal(), (400, json!(-32700)));
    assert_eq!(ask(1_000_000).refusal(), (400, json!(-32700)));
}

#[test]
fn id_has_at_most_so_many_bytes() {
    let gateway = gateway();
    let ask = |bytes: usize| {
        let id = "i".repeat(bytes - 2);
        let body = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"ping"}}"#);
        Request::post_bytes(body.into_bytes()).send(gateway.address)
    };
    assert_eq!(ask(ID_BYTES_MAX).json()["result"], json!({}));
    assert_eq!(ask(ID_BYTES_MAX + 1).refusal(), (400, json!(-32600)));
}

/// The longest that a slow client may hold a connection.
const PATIENCE_WITH_SLOW_ONES: Duration = Duration::from_secs(15);

/// Sends a byte now and then until switchbox has enough; what it said.
fn trickle(gateway: &Gateway, begin: &str, drip: &str) -> (String, Duration) {
    let mut connection = Connection::open(gateway.address);
    let begun = clock::now();
    connection.write(begin.as_bytes());
    let mut socket = connection.socket().try_clone().expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a lawful length");
    let mut told = Vec::new();
    let mut buffer = [0; 1024];
    while begun.elapsed() < PATIENCE_WITH_SLOW_ONES {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => told.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if socket.write_all(drip.as_bytes()).is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&told).into_owned(), begun.elapsed())
}

/// Asks for more than fits on the way, and reads a byte now and then until switchbox has enough.
fn sip(gateway: &Gateway) -> Duration {
    let mut connection = Connection::open(gateway.address);
    let begun = clock::now();
    let ask =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a__big"}});
    let mut ahead = Vec::new();
    for _ in 0..16 {
        ahead.extend(Request::post(&ask).bytes(gateway.address));
    }
    connection.write(&ahead);
    let mut socket = connection.socket().try_clone().expect("a socket");
    let mut byte = [0];
    while begun.elapsed() < PATIENCE_WITH_SLOW_ONES {
        if !matches!(socket.read(&mut byte), Ok(1)) || socket.take_error().ok().flatten().is_some()
        {
            break;
        }
        // Once it was reset nothing more can be sent.
        if socket.write_all(b"\r\n").is_err() {
            break;
        }
        clock::pause(Duration::from_millis(500));
    }
    begun.elapsed()
}

#[test]
fn slow_clients_are_let_go_and_nobody_else_feels_them() {
    let gateway = Setup::new(json!({ "mcpServers": { "a": child::named("a") } }))
        .flags(&["--workers", "1"])
        .start();
    thread::scope(|scope| {
        let head = scope.spawn(|| {
            trickle(
                &gateway,
                "GET /health HTTP/1.1\r\nhost: localhost\r\nx: ",
                "y",
            )
        });
        let begin = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
        let body = scope.spawn(|| trickle(&gateway, begin, " "));
        let read = scope.spawn(|| sip(&gateway));
        let others = scope.spawn(|| {
            for _ in 0..200 {
                assert_eq!(gateway.get("/health/live").status(), 200);
            }
        });
        for slow in [head, body] {
            let (told, took) = slow.join().expect("no panic");
            assert!(told.starts_with("HTTP/1.1 408 "), "{told:?}");
            assert!(took < PATIENCE_WITH_SLOW_ONES, "{took:?}");
        }
        let took = read.join().expect("no panic");
        assert!(took < PATIENCE_WITH_SLOW_ONES, "{took:?}");
        others.join().expect("no panic");
    });
}
