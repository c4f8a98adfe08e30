//! `/status`: what health says, and everything else that helps at night.

use super::{Auth, Frankness, Health, Snapshot, health, json};
use crate::config::{Share, Speaks, Transport};
use crate::router::status::ServerStatus;
use crate::worker::effect::{OpsAnswer, OpsRequest};
use serde_json::{Map, Value, json as document};

/// The full document, always 200: it answers a person's question, not a probe's.
pub(super) fn status(snapshot: &Snapshot, request: &OpsRequest) -> OpsAnswer {
    let frankness = frankness(snapshot, request);
    let details = snapshot
        .statuses
        .iter()
        .map(|status| server(status, snapshot, frankness).into());
    let mut document = health::tree(snapshot, Health::of(snapshot), details.collect());
    let gauges = snapshot.telemetry.gauges();
    document.insert("draining".into(), snapshot.draining.into());
    document.insert(
        "clients".into(),
        document!({
            "connections": gauges.connections,
            "sessions": gauges.sessions,
            "streams": gauges.streams,
        }),
    );
    document.insert("catalog".into(), catalog(snapshot.statuses));
    document.insert(
        "logLinesLost".into(),
        snapshot.telemetry.lines_lost().into(),
    );
    json(200, &document.into())
}

/// Another machine that showed no key, where one is needed, is not told what servers wrote.
fn frankness(snapshot: &Snapshot, request: &OpsRequest) -> Frankness {
    let is_local = request.peer.to_canonical().is_loopback() && !request.proxied;
    if snapshot.summary.auth == Auth::Keyed && !is_local {
        Frankness::FirstLine
    } else {
        Frankness::Everything
    }
}

fn server(status: &ServerStatus, snapshot: &Snapshot, frankness: Frankness) -> Map<String, Value> {
    let server = &status.server;
    let mut members = health::server(status, snapshot, frankness);
    members.insert(
        "transport".into(),
        match &server.transport {
            Transport::Stdio(_) => "stdio",
            Transport::Http(http) if http.speaks == Speaks::Streamable => "http",
            Transport::Http(_) => "sse",
        }
        .into(),
    );
    members.insert(
        "share".into(),
        match server.share {
            Share::Shared => "shared",
            Share::PerSession => "per_session",
        }
        .into(),
    );
    members.insert("required".into(), server.required.into());
    if let Some((name, version)) = &status.implementation {
        members.insert(
            "implementation".into(),
            document!({ "name": name, "version": version }),
        );
    }
    members.insert("restarts".into(), status.restarts.into());
    members.insert("conversations".into(), status.conversations.into());
    members.insert("tools".into(), status.tools.into());
    members.insert("prompts".into(), status.prompts.into());
    members.insert("resources".into(), status.resources.into());
    members.insert("resourceTemplates".into(), status.templates.into());
    members.insert("hidden".into(), status.hidden.clone().into());
    members
}

/// What all servers offer together.
fn catalog(statuses: &[ServerStatus]) -> Value {
    let sum = |count: fn(&ServerStatus) -> usize| statuses.iter().map(count).sum::<usize>();
    document!({
        "tools": sum(|status| status.tools),
        "prompts": sum(|status| status.prompts),
        "resources": sum(|status| status.resources),
        "resourceTemplates": sum(|status| status.templates),
        "hidden": sum(|status| status.hidden.len()),
    })
}
