//! What each page says in each condition.

use super::*;
use crate::config::Server;
use crate::event::Event;
use crate::telemetry::tests::{SECRETS, Shared, config_with_secrets, server};
use std::net::IpAddr;
use std::sync::Arc;

/// A process with some servers, to be looked at.
struct World {
    config: Config,
    statuses: Vec<ServerStatus>,
    draining: bool,
    telemetry: Telemetry,
}

/// Whether a server counts for readiness.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    Required,
    Optional,
}
use Need::{Optional, Required};
use ServerState::{Disabled, Failed, Ready, Starting};

fn world(servers: &[(&str, Need, ServerState)]) -> World {
    let mut config = config_with_secrets();
    let telemetry = Telemetry::start_with(&config, Box::new(Shared::default())).unwrap();
    config.keys.clear();
    config.servers.clear();
    let mut statuses = Vec::new();
    for (name, need, state) in servers {
        let server = Arc::new(Server {
            enabled: *state != Disabled,
            required: *need == Required,
            ..(*server(name)).clone()
        });
        config.servers.push(server.clone());
        statuses.push(ServerStatus {
            state: *state,
            ..ServerStatus::new(server)
        });
    }
    World {
        config,
        statuses,
        draining: false,
        telemetry,
    }
}

impl World {
    fn ask(&self, path: &str, peer: &str) -> OpsAnswer {
        self.answer(&OpsRequest {
            path: OpsPath::parse(path).unwrap(),
            peer: peer.parse::<IpAddr>().unwrap(),
            proxied: false,
        })
    }

    fn answer(&self, request: &OpsRequest) -> OpsAnswer {
        answer(
            request,
            &Snapshot {
                version: "1.2.3",
                now: Wall(1_795_167_000_125),
                uptime: Duration::from_millis(3_600_900),
                draining: self.draining,
                summary: &Summary::new(&self.config),
                statuses: &self.statuses,
                telemetry: &self.telemetry,
            },
        )
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let answer = self.ask(path, "127.0.0.1");
        assert_eq!(answer.content_type, "application/json");
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }
}

fn text(answer: &OpsAnswer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[test]
fn health_and_readiness_follow_the_servers() {
    let check = |servers: &[(&str, Need, ServerState)], draining, word, health, ready| {
        let mut world = world(servers);
        world.draining = draining;
        let (status, document) = world.json("/health");
        let states: Vec<_> = servers
            .iter()
            .map(|(name, _, state)| (name, state))
            .collect();
        assert_eq!(
            (&document["status"], status),
            (&Value::from(word), health),
            "{states:?} {draining}"
        );
        assert_eq!(
            world.json("/health/ready").0,
            ready,
            "{states:?} {draining}"
        );
        assert_eq!(world.json("/health/live").0, 200);
    };
    check(&[], false, "healthy", 200, 200);
    check(&[("a", Optional, Ready)], false, "healthy", 200, 200);
    check(
        &[("a", Optional, Ready), ("b", Optional, Failed)],
        false,
        "degraded",
        200,
        200,
    );
    check(&[("a", Optional, Failed)], false, "degraded", 200, 200);
    check(&[("a", Optional, Starting)], false, "degraded", 200, 200);
    check(
        &[("a", Optional, Ready), ("b", Required, Disabled)],
        false,
        "healthy",
        200,
        200,
    );
    check(&[("a", Required, Starting)], false, "degraded", 200, 503);
    check(&[("a", Required, Failed)], false, "unhealthy", 503, 503);
    check(
        &[("a", Required, Failed), ("b", Optional, Ready)],
        false,
        "unhealthy",
        503,
        503,
    );
    check(
        &[("a", Required, Failed), ("b", Required, Ready)],
        false,
        "degraded",
        200,
        503,
    );
    check(&[("a", Required, Ready)], false, "healthy", 200, 200);
    check(&[("a", Optional, Ready)], true, "unhealthy", 503, 503);
}

#[test]
fn new_try_does_not_make_a_server_well() {
    let mut world = world(&[("a", Required, Starting)]);
    assert_eq!(world.json("/health").0, 200);
    world.statuses[0].last_error = Some("exit status: 1".into());
    assert_eq!(world.json("/health").0, 503);
}

#[test]
fn every_alias_gives_the_same_page() {
    let world = world(&[("a", Optional, Ready)]);
    for (path, alias) in [
        ("/health/live", "/livez"),
        ("/health/ready", "/ready"),
        ("/health/ready", "/readyz"),
    ] {
        assert_eq!(
            world.ask(path, "127.0.0.1"),
            world.ask(alias, "127.0.0.1"),
            "{alias}"
        );
    }
    assert_eq!(world.json("/healthz").1["status"], "healthy");
}

#[test]
fn health_document_has_all_that_its_readers_expect() {
    let mut world = world(&[
        ("files", Optional, Ready),
        ("web", Optional, Failed),
        ("old", Optional, Disabled),
    ]);
    world.statuses[0].last_connected = Some(Wall(1_795_167_000_000));
    world.statuses[1].last_error = Some("connection timeout\nstderr line".into());
    let (_, mut document) = world.json("/health");
    let memory = document["system"]["memory"].take();
    for member in ["used", "total", "percentage"] {
        assert!(memory[member].is_f64(), "{memory}");
    }
    let expected = serde_json::json!({
        "status": "degraded",
        "timestamp": Wall(1_795_167_000_125).to_string(),
        "version": "1.2.3",
        "system": { "uptime": 3600, "memory": null },
        "servers": {
            "total": 2,
            "healthy": 1,
            "unhealthy": 1,
            "details": [
                {
                    "name": "files",
                    "status": "connected",
                    "healthy": true,
                    "lastConnected": Wall(1_795_167_000_000).to_string(),
                    "tags": ["local"],
                },
                {
                    "name": "web",
                    "status": "error",
                    "healthy": false,
                    "lastError": "connection timeout",
                    "tags": ["local"],
                },
            ],
        },
        "configuration": {
            "loaded": true,
            "serverCount": 3,
            "enabledCount": 2,
            "disabledCount": 1,
            "authEnabled": false,
            "transport": "http",
        },
        "checks": { "server": "healthy", "externalApi": "unhealthy" },
        "circuitBreaker": { "state": "disabled" },
    });
    assert_eq!(document, expected);
}

#[test]
fn status_shows_each_server_in_full() {
    let mut world = world(&[("time", Optional, Ready), ("old", Optional, Disabled)]);
    world.statuses[0] = ServerStatus {
        restarts: 3,
        conversations: 2,
        implementation: Some(("mcp-time".into(), "1.2.0".into())),
        tools: 4,
        hidden: vec!["now".into()],
        last_error: Some("exit status: 1\nTraceback".into()),
        ..world.statuses[0].clone()
    };
    world
        .telemetry
        .recorder()
        .record(Wall(0), &Event::SessionOpened);
    let (status, document) = world.json("/status");
    assert_eq!(status, 200);
    let details = &document["servers"]["details"];
    let expected = serde_json::json!({
        "name": "time",
        "status": "connected",
        "healthy": true,
        "lastError": "exit status: 1\nTraceback",
        "tags": ["local"],
        "transport": "stdio",
        "share": "shared",
        "required": false,
        "implementation": { "name": "mcp-time", "version": "1.2.0" },
        "restarts": 3,
        "conversations": 2,
        "tools": 4,
        "prompts": 0,
        "resources": 0,
        "resourceTemplates": 0,
        "hidden": ["now"],
    });
    assert_eq!(details[0], expected);
    assert_eq!(details[1]["status"], "disabled");
    assert_eq!(document["clients"]["sessions"], 1);
    assert_eq!(document["catalog"]["hidden"], 1);
}

#[test]
fn stderr_is_not_shown_to_other_machines_where_a_key_is_needed() {
    let mut world = world(&[("time", Optional, Failed)]);
    world.statuses[0].last_error = Some("exit status: 1\nTraceback".into());
    let shows = |world: &World, peer| {
        let answer = world.ask("/status", peer);
        assert!(text(&answer).contains("exit status: 1"));
        text(&answer).contains("Traceback")
    };
    assert!(shows(&world, "192.0.2.1"));
    world.config.keys = config_with_secrets().keys;
    assert!(!shows(&world, "192.0.2.1"));
    assert!(!shows(&world, "::ffff:192.0.2.1"));
    assert!(shows(&world, "127.0.0.1"));
    assert!(shows(&world, "::1"));
    assert!(shows(&world, "::ffff:127.0.0.1"));
    let proxied = OpsRequest {
        path: OpsPath::Status,
        peer: [127, 0, 0, 1].into(),
        proxied: true,
    };
    assert!(!text(&world.answer(&proxied)).contains("Traceback"));
}

#[test]
fn secrets_appear_on_no_page() {
    let mut world = world(&[("time", Optional, Failed)]);
    world.statuses[0].last_error = Some(SECRETS.join(" first\n"));
    for path in ["/health", "/health/ready", "/status", "/metrics"] {
        let answer = world.ask(path, "127.0.0.1");
        for secret in SECRETS {
            let escaped = Value::from(*secret).to_string();
            assert!(
                !text(&answer).contains(escaped.trim_matches('"')),
                "{secret} in {}",
                text(&answer)
            );
        }
    }
    assert!(text(&world.ask("/health", "127.0.0.1")).contains("*** first"));
}

#[test]
fn metrics_answer_only_when_switched_on() {
    let mut world = world(&[("time", Optional, Ready)]);
    let page = world.ask("/metrics", "127.0.0.1");
    assert_eq!(
        (page.status, page.content_type),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(text(&page).contains("_backend_up{server=\"time\"} 1\n"));
    world.config.metrics.enabled = false;
    assert_eq!(world.ask("/metrics", "127.0.0.1").status, 404);
}
