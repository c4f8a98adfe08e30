//! The routing table: everything a worker needs to know about servers and what they offer, immutable.

use super::asked::Room;
use super::catalog::Catalog;
use super::names;
use crate::config::{Names, Server};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One state of the world, shared by all workers until the next one comes.
#[derive(Debug)]
pub struct Table {
    /// How names are shown.
    pub names: Names,
    /// The enabled servers, in configuration order. A server's place here is its number everywhere.
    pub servers: Vec<Arc<Server>>,
    /// Why each cannot be asked, as far as the controller knows.
    pub reasons: Vec<Option<Arc<str>>>,
    /// Which era each speaks, as it was found last; legacy until it is known.
    pub eras: Vec<Era>,
    /// What clients see that declared nothing, and all others while nothing better is known.
    pub base: Arc<Catalog>,
    /// What clients see that declared something, by [`ClientCapabilities::text`].
    pub catalogs: BTreeMap<Arc<str>, Arc<Catalog>>,
}

impl Table {
    /// What a client with these capabilities sees.
    pub fn catalog(&self, capabilities: Option<&ClientCapabilities>) -> &Arc<Catalog> {
        capabilities
            .and_then(|c| self.catalogs.get(c.text()))
            .unwrap_or(&self.base)
    }

    /// The same where a client asks for it, which is why it is kept.
    pub fn catalog_asked(
        &self,
        capabilities: Option<&ClientCapabilities>,
        now: Time,
    ) -> &Arc<Catalog> {
        let catalog = self.catalog(capabilities);
        catalog.asked.note(now);
        catalog
    }

    /// Whether clients of that principal that declared this have a catalog of their own, or will have one once
    /// servers have listed what they show them.
    pub fn tells_apart(
        &self,
        capabilities: &ClientCapabilities,
        principal: Option<&str>,
        now: Time,
    ) -> bool {
        if self.catalogs.contains_key(capabilities.text()) {
            return true;
        }
        // What nobody can be asked for is listed in conversations that are nobody's.
        let principal = principal.filter(|_| capabilities.may_be_asked());
        let others = self.catalogs.iter();
        let others = others.map(|(declared, catalog)| (declared, &*catalog.asked));
        Room::find(others, principal, now) != Room::None
    }

    /// The server that a name must belong to, if it carries one's prefix.
    pub fn server_named_in(&self, name: &str) -> Option<usize> {
        let part = (self.names == Names::Prefixed)
            .then(|| names::server_part(name))
            .flatten()?;
        self.servers
            .iter()
            .position(|server| names::prefix(&server.name) == part)
    }
}
