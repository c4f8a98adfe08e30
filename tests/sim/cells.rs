//! What has to be visited: every method and every interaction, wherever a client of either era meets a server of
//! either era over any transport.

use crate::server::owner;
use crate::spec::Spec;
use crate::world::World;
use std::fmt;
use switchbox::mcp::Era;

/// Where a client meets a server, and what about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    client: Side,
    server: Side,
    transport: &'static str,
    topic: &'static str,
}

/// An era, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Legacy,
    Modern,
}

const SIDES: [Side; 2] = [Side::Legacy, Side::Modern];
const TRANSPORTS: [&str; 3] = ["stdio", "HTTP", "HTTP+SSE"];
const TOPICS: [&str; 14] = [
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "subscription",
    "completion/complete",
    "elicitation/create",
    "sampling/createMessage",
    "roots/list",
    "progress",
    "logging",
    "cancellation",
];

impl Cell {
    /// All that there are. The transport of 2024-11-05 has no modern servers.
    pub(crate) fn all() -> impl Iterator<Item = Cell> {
        let places = SIDES.into_iter().flat_map(|client| {
            SIDES
                .into_iter()
                .flat_map(move |server| TRANSPORTS.map(|transport| (client, server, transport)))
        });
        places
            .filter(|(_, server, transport)| *server == Side::Legacy || *transport != "HTTP+SSE")
            .flat_map(|(client, server, transport)| {
                TOPICS.map(|topic| Cell {
                    client,
                    server,
                    transport,
                    topic,
                })
            })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell {
            client,
            server,
            transport,
            topic,
        } = self;
        write!(
            f,
            "{client:?} client, {server:?} server on {transport}: {topic}"
        )
    }
}

impl From<Era> for Side {
    fn from(era: Era) -> Side {
        match era {
            Era::Legacy => Side::Legacy,
            Era::Modern => Side::Modern,
        }
    }
}

impl Spec {
    fn transport(&self) -> &'static str {
        match (self.http, self.is_older()) {
            (false, _) => "stdio",
            (true, false) => "HTTP",
            (true, true) => "HTTP+SSE",
        }
    }
}

/// The era of whose a tag is.
pub(crate) fn era_of(tag: &str) -> Era {
    match owner(tag).starts_with('m') {
        true => Era::Modern,
        false => Era::Legacy,
    }
}

impl World {
    /// A client of this era has come to an end with this conversation about something.
    pub(crate) fn met(&mut self, client: Era, brain: usize, topic: &str) {
        let Some(topic) = TOPICS.into_iter().find(|known| *known == topic) else {
            return;
        };
        let brain = &self.brains[brain];
        let cell = Cell {
            client: client.into(),
            server: brain.era.into(),
            transport: self.specs[brain.server].transport(),
            topic,
        };
        *self.cells.entry(cell).or_default() += 1;
    }

    /// The same, where what was asked names both.
    pub(crate) fn met_over(&mut self, tag: &str, topic: &str) {
        if let Some(brain) = self.asked_at.get(tag) {
            self.met(era_of(tag), *brain, topic);
        }
    }
}
