//! What the process shows of itself over HTTP: health, status, metrics.
//!
//! The shell answers an `Effect::Ops` with [`answer`], from a [`Snapshot`] that it puts together on the
//! spot: everything in it is borrowed, so that looking costs nothing until something is shown.
//!
//! ```text
//! let summary = Summary::new(&config);               // once for each configuration
//! let answer = ops::answer(&request, &Snapshot { version, now, uptime, draining, summary: &summary,
//!                                                statuses: &statuses, telemetry: &telemetry });
//! ```
//!
//! Who sees what. Probes and dashboards carry no credential, so none is asked for here. Health names the
//! servers and the first line of their last error. Status shows the whole error, with the lines a child
//! wrote to stderr; where clients need a key, and the request comes from another machine, or through a proxy
//! that says so, it shows the first line as well, because whoever asks has proven nothing. Secrets of the
//! configuration are taken out of every error. Commands, arguments, URLs and environments are never shown.

mod health;
pub mod process;
mod status;

use crate::config::Config;
use crate::router::status::{ServerState, ServerStatus};
use crate::telemetry::{Telemetry, exposition};
use crate::time::Wall;
use crate::worker::effect::{OpsAnswer, OpsPath, OpsRequest};
use serde_json::Value;
use std::time::Duration;

const JSON: &str = "application/json";

/// The process at one moment, borrowed.
pub struct Snapshot<'a> {
    /// Our version.
    pub version: &'a str,
    /// The time of day.
    pub now: Wall,
    /// Since the process started.
    pub uptime: Duration,
    /// Whether nothing more is admitted.
    pub draining: bool,
    /// The configuration in figures.
    pub summary: &'a Summary,
    /// Every server of the configuration, in its order, disabled ones included.
    pub statuses: &'a [ServerStatus],
    /// What was counted, and what knows the secrets.
    pub telemetry: &'a Telemetry,
}

/// What of a configuration is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Servers configured.
    pub servers: usize,
    /// Those of them that are used.
    pub enabled: usize,
    /// Whether clients need a credential.
    pub auth: Auth,
    /// Whether `/metrics` answers. For a listener of its own, a copy in which it does.
    pub metrics: Exposure,
}

/// Whether clients need a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Whoever connects is served.
    Open,
    /// A key is asked for.
    Keyed,
}

/// Whether a page is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Exposure {
    Shown,
    Hidden,
}

impl Summary {
    /// The summary of `config`, for its main listeners.
    pub fn new(config: &Config) -> Summary {
        Summary {
            servers: config.servers.len(),
            enabled: config
                .servers
                .iter()
                .filter(|server| server.enabled)
                .count(),
            auth: if config.keys.is_empty() {
                Auth::Open
            } else {
                Auth::Keyed
            },
            metrics: if config.metrics.enabled {
                Exposure::Shown
            } else {
                Exposure::Hidden
            },
        }
    }
}

/// Answers a request for one of our own pages.
///
/// Live costs nothing whatever the configuration; ready looks at the states; health and status read
/// `/proc`; metrics adds up the numbers of all threads.
pub fn answer(request: &OpsRequest, snapshot: &Snapshot) -> OpsAnswer {
    match request.path {
        OpsPath::Live => OpsAnswer {
            status: 200,
            content_type: JSON,
            body: br#"{"status":"alive"}"#.to_vec(),
        },
        OpsPath::Ready => health::ready(snapshot),
        OpsPath::Health => health::health(snapshot),
        OpsPath::Status => status::status(snapshot, request),
        OpsPath::Metrics => metrics(snapshot),
    }
}

fn metrics(snapshot: &Snapshot) -> OpsAnswer {
    if snapshot.summary.metrics == Exposure::Hidden {
        return OpsAnswer {
            status: 404,
            content_type: JSON,
            body: br#"{"error":"metrics are switched off"}"#.to_vec(),
        };
    }
    let page = snapshot.telemetry.metrics_page(
        snapshot.version,
        snapshot.now,
        snapshot.uptime,
        snapshot.draining,
        snapshot.statuses,
    );
    OpsAnswer {
        status: 200,
        content_type: exposition::CONTENT_TYPE,
        body: page.into_bytes(),
    }
}

fn json(status: u16, document: &Value) -> OpsAnswer {
    let mut body = document.to_string().into_bytes();
    body.push(b'\n');
    OpsAnswer {
        status,
        content_type: JSON,
        body,
    }
}

/// How well the whole process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// Every server that should answer does.
    Healthy,
    /// Some do not, and requests are welcome all the same.
    Degraded,
    /// Requests cannot be served.
    Unhealthy,
}

impl Health {
    /// Unhealthy only when we ourselves cannot serve: while draining, or when every server that is
    /// marked `required` is down. One that is starting for the first time is not down yet.
    fn of(snapshot: &Snapshot) -> Health {
        let mut required = enabled(snapshot)
            .filter(|status| status.server.required)
            .peekable();
        let without_required = required.peek().is_some() && required.all(is_down);
        if snapshot.draining || without_required {
            Health::Unhealthy
        } else if enabled(snapshot).all(|status| status.state == ServerState::Ready) {
            Health::Healthy
        } else {
            Health::Degraded
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        }
    }

    /// The HTTP status: a degraded process is one that serves.
    const fn status(self) -> u16 {
        match self {
            Health::Healthy | Health::Degraded => 200,
            Health::Unhealthy => 503,
        }
    }
}

/// Whether a server has failed and not answered since: a new try does not make it well.
fn is_down(status: &ServerStatus) -> bool {
    match status.state {
        ServerState::Failed => true,
        ServerState::Starting => status.last_error.is_some(),
        ServerState::Ready | ServerState::Disabled => false,
    }
}

fn enabled<'a>(snapshot: &'a Snapshot) -> impl Iterator<Item = &'a ServerStatus> {
    snapshot
        .statuses
        .iter()
        .filter(|status| status.state != ServerState::Disabled)
}

/// How much of an error is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frankness {
    /// What happened.
    FirstLine,
    /// That, and what the server wrote.
    Everything,
}

/// A server's last error without secrets, if it has one.
fn last_error(status: &ServerStatus, snapshot: &Snapshot, frankness: Frankness) -> Option<String> {
    let error = status.last_error.as_deref()?;
    let clean = snapshot.telemetry.redactor().clean(error).into_owned();
    Some(match frankness {
        Frankness::Everything => clean,
        Frankness::FirstLine => clean.lines().next().unwrap_or_default().to_string(),
    })
}

#[cfg(test)]
mod tests;
