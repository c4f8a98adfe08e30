//! Servers over HTTP: whatever way they answer, forget or break off, no call is made twice.

use crate::fixture::child;
use crate::fixture::remote::{Remote, Style, Wire, Wrap};
use crate::harness::clock;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::session::text;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

fn call(gateway: &Gateway, name: &str, arguments: Value) -> Value {
    gateway.ask("tools/call", json!({"name": name, "arguments": arguments}))
}

#[test]
fn every_lawful_way_to_answer_is_understood() {
    for style in [Style::Json, Style::Chunks, Style::Events] {
        let remote = Remote::start(style);
        let gateway = Gateway::of(json!({ "r": remote.server() }));
        let listed = gateway.ask("tools/list", json!({}));
        assert_eq!(
            listed["result"]["tools"].as_array().map(Vec::len),
            Some(22),
            "{style:?}"
        );
        let said = text(&call(&gateway, "r__echo", json!({"x": 1.5})));
        assert_eq!(said, r#"{"x":1.5}"#, "{style:?}");
        assert_eq!(
            text(&call(&gateway, "r__big", json!({}))).len(),
            1024 * 1024,
            "{style:?}"
        );
        let wrong = call(&gateway, "r__wrong", json!({}));
        assert_eq!(wrong["error"]["code"], -32077, "{style:?}");
    }
}

#[test]
fn requests_carry_session_revision_and_the_headers_that_were_configured() {
    let remote = Remote::start(Style::Json);
    let mut server = remote.server();
    server["headers"] = json!({"X-Tenant": "acme"});
    server["auth"] = json!({"type": "bearer", "token": "s3cret-token"});
    let gateway = Gateway::of(json!({ "r": server }));
    call(&gateway, "r__echo", json!({}));
    let requests = remote.requests();
    let (first, last) = (
        &requests[0].fields,
        &requests.last().expect("the call").fields,
    );
    assert_eq!(first.get("mcp-session-id"), None);
    assert_eq!(last["mcp-session-id"], "s-1");
    assert_eq!(last["mcp-protocol-version"], "2025-11-25");
    for fields in [first, last] {
        assert_eq!(fields["x-tenant"], "acme");
        assert_eq!(fields["authorization"], "Bearer s3cret-token");
        assert_eq!(fields["host"], remote.address.to_string());
        assert!(
            fields["accept"].contains("application/json")
                && fields["accept"].contains("text/event-stream")
        );
    }
    assert!(!gateway.log.text().contains("s3cret-token"));
    assert!(!gateway.get("/status").text().contains("s3cret-token"));
}

#[test]
fn secrets_that_a_server_repeats_do_not_reach_clients() {
    let remote = Remote::start(Style::Json);
    let mut server = remote.server();
    server["auth"] = json!({"type": "bearer", "token": "s3cret-token"});
    let gateway = Gateway::of(json!({ "r": server }));
    let refused = call(&gateway, "r__echo", json!({"x": "what did I send?"})).to_string();
    assert!(refused.contains("HTTP 500"), "{refused}");
    assert!(refused.contains("authorization"), "{refused}");
    assert!(!refused.contains("s3cret-token"), "{refused}");
}

#[test]
fn forgotten_session_is_opened_anew_and_the_call_is_made_once() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    let session = gateway.session();
    assert_eq!(
        session.ask("resources/subscribe", json!({"uri": "note://remote/1"}))["result"],
        json!({})
    );
    for round in 0..3 {
        remote.forget();
        let ticket = format!("forgotten-{round}");
        let answer = session.call("r__echo", json!({ "ticket": ticket }));
        assert!(answer.get("result").is_some(), "{answer}");
        assert_eq!(remote.calls(&ticket), 1);
        clock::holds("the new session is settled", || {
            gateway.log.count("upstream listed") >= round + 2 && remote.mind.listeners() > 0
        });
    }
    assert!(gateway.log.count("upstream reopened server=r") >= 3);
    // What was subscribed to is subscribed to again in the new session.
    clock::holds("the subscription is renewed", || {
        remote.mind.seen().subscribed.len() >= 4
    });
}

#[test]
fn call_that_may_have_run_is_never_sent_again() {
    let remote = Remote::start(Style::Json);
    let gateway = Gateway::of(json!({ "r": remote.server() }));
    for (n, tool) in ["close_before", "close_mid"].into_iter().enumerate() {
        for round in 0..5 {
            let ticket = format!("ticket-{n}-{round}");
            let answer = call(&gateway, &format!("r__{tool}"), json!({ "ticket": ticket }));
            assert_eq!(answer["error"]["code"], -32000, "{answer}");
            assert_eq!(answer["error"]["data"]["server"], "r");
            assert_eq!(remote.calls(&ticket), 1, "{tool}");
        }
    }
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
}

#[test]
fn server_that_is_away_is_named_and_found_again() {
    let remote = Remote::start(Style::Json);
    let address = remote.address;
    let gateway = Gateway::of(json!({ "r": remote.server(), "a": child::named("a") }));
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
    drop(remote);
    let refused = clock::until("the loss is noticed", || {
        let answer = call(&gateway, "r__echo", json!({}));
        let refused = answer["error"]["code"] == -32003;
        refused.then_some(answer)
    });
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(
        message.contains("\"r\"") && message.contains("refused"),
        "{message}"
    );
    assert_eq!(text(&call(&gateway, "a__echo", json!({}))), "{}");

    let back = Remote::start_at(Style::Json, address);
    clock::holds("it is found again", || {
        call(&gateway, "r__echo", json!({"ticket": "t"}))
            .get("result")
            .is_some()
    });
    assert_eq!(back.calls("t"), 1);
}

#[test]
fn server_that_was_never_there_says_why() {
    // An address that was free a moment ago.
    let free: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("it is bound")
    };
    let servers = json!({ "r": {"url": format!("http://{free}/mcp")} });
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .without_waiting()
        .start();
    let line = gateway.log.wait_for("upstream failed server=r");
    assert!(line.contains("refused"), "{line}");
    let refused = call(&gateway, "r__x", json!({}));
    assert_eq!(refused["error"]["code"], -32003);
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(
        message.contains("\"r\"") && message.contains("refused"),
        "{message}"
    );
}

#[test]
fn call_that_hangs_is_given_up_without_a_second_one() {
    let remote = Remote::start(Style::Json);
    let mut server = remote.server();
    server["timeout"] = "300ms".into();
    let gateway = Gateway::of(json!({ "r": server }));
    let answer = call(&gateway, "r__hang", json!({"ticket": "hung"}));
    assert_eq!(answer["error"]["code"], -32001, "{answer}");
    clock::holds("the server knows", || {
        remote.mind.seen().cancelled.len() == 1
    });
    assert_eq!(text(&call(&gateway, "r__echo", json!({}))), "{}");
    assert_eq!(remote.calls("hung"), 1);
}

#[test]
fn connections_are_used_again() {
    let remote = Remote::start(Style::Json);
    let gateway = Setup::new(json!({ "mcpServers": { "r": remote.server() } }))
        .flags(&["--workers", "1"])
        .start();
    let before = remote.connections();
    for _ in 0..20 {
        call(&gateway, "r__echo", json!({}));
    }
    assert!(
        remote.connections() <= before + 1,
        "{before} became {}",
        remote.connections()
    );
}

/// What gives a server a certificate of an authority that nobody knows, and that authority's.
pub(crate) fn secured() -> (Box<Wrap>, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = || KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, own()).expect("a certificate");
    let key = own();
    let names = ["localhost".to_owned()];
    let leaf = CertificateParams::new(names).expect("a lawful name");
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![leaf.der().clone()], key)
            })
            .expect("a lawful configuration");
    let config = Arc::new(config);
    let wrap = move |socket| {
        let connection =
            ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, socket)) as Box<dyn Wire>)
    };
    (Box::new(wrap), authority.pem())
}

fn secured_remote() -> (Remote, String) {
    let (wrap, authority) = secured();
    let address = "127.0.0.1:0".parse().expect("an address");
    (Remote::start_with(Style::Json, address, wrap), authority)
}

#[test]
fn https_is_spoken_with_servers_whose_authority_is_known() {
    let (remote, authority) = secured_remote();
    let path = format!(
        "{}/authority-{}.pem",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    std::fs::write(&path, authority).expect("the folder is writable");
    let servers =
        json!({ "r": {"url": format!("https://localhost:{}/mcp", remote.address.port())} });
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .variable("SSL_CERT_FILE", &path)
        .start();
    assert_eq!(
        text(&call(&gateway, "r__echo", json!({"ticket": "t"}))),
        r#"{"ticket":"t"}"#
    );
    assert_eq!(
        text(&call(&gateway, "r__big", json!({}))).len(),
        1024 * 1024
    );
    assert_eq!(remote.calls("t"), 1);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn server_whose_authority_is_unknown_is_told_nothing() {
    let (remote, _) = secured_remote();
    let servers =
        json!({ "r": {"url": format!("https://localhost:{}/mcp", remote.address.port())} });
    let gateway = Setup::new(json!({ "mcpServers": servers }))
        .without_waiting()
        .start();
    let line = gateway.log.wait_for("upstream failed server=r");
    assert!(line.contains("certificate"), "{line}");
    assert!(remote.requests().is_empty());
}
