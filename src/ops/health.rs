//! `/health` and `/health/ready`.
//!
//! One document for three readers: the tree of status, system, servers and configuration; `checks`, a word
//! for each part; and `circuitBreaker`. There is no breaker yet, and a `closed` one would be a claim that
//! nothing stands behind, so its state is `disabled`. Likewise there are no `checks` for parts that do not
//! exist, such as a database.

use super::process::Memory;
use super::{Frankness, Health, Snapshot, enabled, json, last_error};
use crate::router::status::{ServerState, ServerStatus};
use crate::worker::effect::OpsAnswer;
use serde_json::{Map, Value, json as document};

/// The full document; 200 when healthy or degraded, 503 when not.
pub(super) fn health(snapshot: &Snapshot) -> OpsAnswer {
    let health = Health::of(snapshot);
    let details =
        enabled(snapshot).map(|status| server(status, snapshot, Frankness::FirstLine).into());
    json(
        health.status(),
        &Value::from(tree(snapshot, health, details.collect())),
    )
}

/// Whether requests are welcome: not while draining, and not before every required server answers.
pub(super) fn ready(snapshot: &Snapshot) -> OpsAnswer {
    let missing: Vec<&str> = enabled(snapshot)
        .filter(|status| status.server.required && status.state != ServerState::Ready)
        .map(|status| &*status.server.name)
        .collect();
    let is_ready = missing.is_empty() && !snapshot.draining;
    let word = if is_ready { "ready" } else { "not ready" };
    let body = document!({
        "status": word,
        "configuration": "loaded",
        "draining": snapshot.draining,
        "missing": missing,
    });
    json(if is_ready { 200 } else { 503 }, &body)
}

/// What health and status have in common, with `details` in its place.
pub(super) fn tree(snapshot: &Snapshot, health: Health, details: Vec<Value>) -> Map<String, Value> {
    let summary = snapshot.summary;
    let total = enabled(snapshot).count();
    let up = enabled(snapshot)
        .filter(|status| status.state == ServerState::Ready)
        .count();
    let word = |holds| if holds { "healthy" } else { "unhealthy" };
    let document = document!({
        "status": health.word(),
        "timestamp": snapshot.now.to_string(),
        "version": snapshot.version,
        "system": {
            "uptime": snapshot.uptime.as_secs(),
            "memory": memory(Memory::read()),
        },
        "servers": {
            "total": total,
            "healthy": up,
            "unhealthy": total - up,
            "details": details,
        },
        "configuration": {
            "loaded": true,
            "serverCount": summary.servers,
            "enabledCount": summary.enabled,
            "disabledCount": summary.servers - summary.enabled,
            "authEnabled": summary.auth == super::Auth::Keyed,
            "transport": "http",
        },
        "checks": {
            "server": word(!snapshot.draining),
            "externalApi": word(up == total),
        },
        "circuitBreaker": { "state": "disabled" },
    });
    match document {
        Value::Object(members) => members,
        _ => unreachable!("the macro above has made an object"),
    }
}

/// One server as health shows it; absent members are not known.
pub(super) fn server(
    status: &ServerStatus,
    snapshot: &Snapshot,
    frankness: Frankness,
) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("name".into(), status.server.name.as_str().into());
    members.insert("status".into(), status.state.word().into());
    members.insert(
        "healthy".into(),
        (status.state == ServerState::Ready).into(),
    );
    if let Some(connected) = status.last_connected {
        members.insert("lastConnected".into(), connected.to_string().into());
    }
    if let Some(error) = last_error(status, snapshot, frankness) {
        members.insert("lastError".into(), error.into());
    }
    members.insert("tags".into(), status.server.tags.clone().into());
    members
}

/// Used and total in MiB, and the one in percent of the other, each to a hundredth.
fn memory(memory: Memory) -> Value {
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    let mebibytes = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20));
    let percentage = memory.used as f64 * 100.0 / memory.total.max(1) as f64;
    document!({
        "used": mebibytes(memory.used),
        "total": mebibytes(memory.total),
        "percentage": if memory.total == 0 { 0.0 } else { rounded(percentage) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shown_in_mebibytes_and_percent() {
        let check = |used, total, expected: &str| {
            assert_eq!(memory(Memory { used, total }).to_string(), expected)
        };
        check(
            52_953_088,
            104_857_600,
            r#"{"used":50.5,"total":100.0,"percentage":50.5}"#,
        );
        check(1_048_576, 0, r#"{"used":1.0,"total":0.0,"percentage":0.0}"#);
    }
}
