//! A gateway that refuses, and servers that count what reaches them.

use super::cells::gateway_with;
use super::gateway::Gateway;
use super::http::Request;
use super::modern::{REVISION, envelope};
use crate::fixture::server::{Over, Server};
use serde_json::{Value, json};

/// A modern and a legacy server, behind one gateway.
pub(crate) struct Place {
    pub(crate) gateway: Gateway,
    pub(crate) servers: [Server; 2],
}

impl Place {
    pub(crate) fn open() -> Place {
        let servers = [("m", "modern"), ("l", "legacy")]
            .map(|(name, era)| Server::start(Over::Http, json!({"name": name, "era": era})));
        let gateway = gateway_with(&[&servers[0], &servers[1]], &json!({}));
        Place { gateway, servers }
    }

    /// How many requests of clients have reached the servers.
    pub(crate) fn reached(&self) -> usize {
        let methods = [
            "tools/call",
            "prompts/get",
            "resources/read",
            "completion/complete",
        ];
        let of = |server: &Server| {
            methods
                .map(|own| server.requests(own).len())
                .iter()
                .sum::<usize>()
        };
        self.servers.iter().map(of).sum()
    }

    /// Whether that request is refused so, and its error speaks of `named`; other case does not matter.
    pub(crate) fn refuses(
        &self,
        what: &str,
        request: &Request,
        id: &Value,
        expected: (u16, i64),
        named: &str,
    ) {
        let before = self.reached();
        let answer = request.send(self.gateway.address);
        let shown = format!("{what}: {} {}", answer.status(), answer.text());
        assert_eq!(
            answer.field("content-type"),
            Some("application/json"),
            "{shown}"
        );
        assert_eq!(answer.field("mcp-session-id"), None, "{shown}");
        let body = answer.json();
        let error = &body["error"];
        assert_eq!(
            (answer.status(), error["code"].as_i64()),
            (expected.0, Some(expected.1)),
            "{shown}"
        );
        assert_eq!(body["id"], *id, "{shown}");
        let said = error.to_string().to_ascii_lowercase();
        assert!(
            said.contains(&named.to_ascii_lowercase()),
            "it does not name {named}: {shown}"
        );
        assert_eq!(self.reached(), before, "it reached a server: {shown}");
    }
}

pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    json!({"_meta": envelope(&json!({})), "name": tool, "arguments": arguments})
}

/// A request with these header fields and no other of its era.
pub(crate) fn with(body: &Value, fields: &[(&str, &str)]) -> Request {
    let request = Request::post(body);
    fields
        .iter()
        .fold(request, |request, (name, value)| request.field(name, value))
}

/// The header field that makes a request a modern one.
pub(crate) const VERSION: (&str, &str) = ("mcp-protocol-version", REVISION);
