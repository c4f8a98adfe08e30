//! Every client with every server: both eras on either side, over HTTP and stdio on either side.

use super::client::{Client, ERAS, Era, over_http, over_stdio};
use super::gateway::{Gateway, Setup};
use crate::fixture::server::{Over, Server};
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One client with one server behind switchbox.
pub(crate) struct Cell<'a> {
    pub(crate) client: &'a mut dyn Client,
    pub(crate) server: &'a Server,
    /// The server's era.
    pub(crate) behind: Era,
    /// Distinct for each cell: what is tagged with it belongs there.
    pub(crate) tag: String,
}

impl Cell<'_> {
    /// A tool's name as the client knows it.
    pub(crate) fn tool(&self, name: &str) -> String {
        format!("{}__{name}", self.server.script.name)
    }

    pub(crate) fn uri(&self, rest: &str) -> String {
        format!("note://{}/{rest}", self.server.script.name)
    }
}

/// Servers of both eras over both transports, by the names `ls`, `lh`, `ms` and `mh`.
pub(crate) fn servers(script: &Value) -> Vec<(Era, Server)> {
    let mut all = Vec::new();
    for (era, name) in [(Era::Legacy, "legacy"), (Era::Modern, "modern")] {
        for (over, letter) in [(Over::Stdio, "s"), (Over::Http, "h")] {
            let mut script = script.clone();
            script["era"] = name.into();
            script["name"] = format!("{}{letter}", &name[..1]).into();
            all.push((era, Server::start(over, script)));
        }
    }
    all
}

/// A configuration's servers.
pub(crate) fn config<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Value {
    let all: Map<String, Value> = servers
        .into_iter()
        .map(|server| (server.script.name.clone(), server.config()))
        .collect();
    Value::Object(all)
}

/// Runs a claim in each of the sixteen cells, and says in which of them it does not hold.
pub(crate) fn in_every_cell(capabilities: &Value, claim: impl Fn(&mut Cell<'_>)) {
    in_every_cell_of(&json!({}), capabilities, claim);
}

pub(crate) fn in_every_cell_of(
    script: &Value,
    capabilities: &Value,
    claim: impl Fn(&mut Cell<'_>),
) {
    let mut servers = servers(script);
    // To look at some cells alone, by fronts, eras of clients and names of servers, as `http Modern ls,ms`.
    let only = std::env::var("SWITCHBOX_TEST_CELLS").unwrap_or_default();
    let (fronts, eras, names) = match only.split(' ').collect::<Vec<_>>()[..] {
        [fronts, eras, names] => (fronts, eras, names),
        _ => ("http,stdio", "Legacy,Modern", "ls,lh,ms,mh"),
    };
    servers.retain(|(_, server)| names.contains(&server.script.name));
    let config = config(servers.iter().map(|(_, server)| server));
    let mut failed = Vec::new();
    let mut stage = |front: &str, client: &mut dyn Client| {
        for (behind, server) in &servers {
            let name = &server.script.name;
            let tag = format!("{front}-{:?}-{name}", client.era());
            let mut cell = Cell {
                client,
                server,
                behind: *behind,
                tag: tag.clone(),
            };
            if catch_unwind(AssertUnwindSafe(|| claim(&mut cell))).is_err() {
                eprintln!("── in cell {tag} ──");
                failed.push(tag);
            }
        }
    };
    let is_meant = |era: &Era| eras.contains(&format!("{era:?}"));
    if fronts.contains("http") {
        for era in ERAS.into_iter().filter(is_meant) {
            // One for each client: what a child logs right after another one's call is nobody's.
            let gateway = Gateway::of(config.clone());
            stage(
                "http",
                &mut *over_http(gateway.address, era, capabilities.clone()),
            );
        }
    }
    let over_stdio_too = |era: &Era| fronts.contains("stdio") && is_meant(era);
    for era in ERAS.into_iter().filter(over_stdio_too) {
        stage(
            "stdio",
            &mut *over_stdio(&config, era, capabilities.clone()),
        );
    }
    assert!(failed.is_empty(), "it does not hold in {failed:?}");
}

/// A gateway in front of these servers, with further settings of each.
pub(crate) fn gateway_with(servers: &[&Server], settings: &Value) -> Gateway {
    let mut config = config(servers.iter().copied());
    for server in config
        .as_object_mut()
        .expect("servers by name")
        .values_mut()
    {
        for (key, value) in settings.as_object().into_iter().flatten() {
            server[key] = value.clone();
        }
    }
    Setup::new(json!({ "mcpServers": config })).start()
}
