//! The pure half of the controller: what workers report becomes the next table.
//!
//! It knows every listing, by server and by the capabilities it was given for, and every server's
//! condition. Tables follow each other at a bounded rate, so that a start of many servers does not build
//! one for each.

use super::asked::{Asked, Room};
use super::catalog::{Catalog, Collision};
use super::status::{ServerState, ServerStatus};
use super::table::Table;
use crate::config::{Config, Names, Server, Speaks, Transport};
use crate::mcp::Era;
use crate::mcp::listing::{Kind, Listing};
use crate::time::{Time, Wall};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two tables.
const TABLE_INTERVAL: Duration = Duration::from_millis(25);

/// What a worker tells the controller. `server` is the server's place in the table.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Report {
    /// A server listed what it offers to clients with these capabilities, in a conversation of that principal's.
    Listed {
        server: usize,
        capabilities: Arc<str>,
        principal: Option<Arc<str>>,
        listing: Arc<Listing>,
    },
    /// A server's first conversation is being opened.
    Starting { server: usize },
    /// It is open.
    Ready { server: usize },
    /// It ended.
    Failed { server: usize, cause: String },
    /// A server that is configured for streamable HTTP was found to speak this.
    Speaks { server: usize, speaks: Speaks },
    /// A conversation, the first or another, was opened or ended.
    Conversations { server: usize, change: i64 },
}

/// What is new since the last table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    Conditions,
    Listings,
}

/// What each server lists for clients that declare the same.
struct Row {
    listings: Vec<Option<Arc<Listing>>>,
    asked: Arc<Asked>,
}

/// Everything that was reported.
pub struct Directory {
    names: Names,
    servers: Vec<Arc<Server>>,
    listings: BTreeMap<Arc<str>, Row>,
    statuses: Vec<ServerStatus>,
    disabled: Vec<ServerStatus>,
    table: Arc<Table>,
    /// Whether a listing changed since the table was built, or only a condition.
    changed: Changed,
    built_at: Option<Time>,
}

impl Directory {
    /// A directory that knows the configuration and nothing of the servers.
    pub fn new(config: &Config) -> Directory {
        let (enabled, disabled): (Vec<_>, Vec<_>) =
            config.servers.iter().cloned().partition(|s| s.enabled);
        let base = Catalog::merge(config.names, &enabled, &vec![None; enabled.len()]);
        let table = Table {
            names: config.names,
            servers: enabled.clone(),
            reasons: vec![None; enabled.len()],
            eras: vec![Era::Legacy; enabled.len()],
            base: Arc::new(base),
            catalogs: BTreeMap::new(),
        };
        Directory {
            names: config.names,
            statuses: enabled.iter().cloned().map(ServerStatus::new).collect(),
            disabled: disabled.into_iter().map(ServerStatus::new).collect(),
            listings: BTreeMap::from([("{}".into(), Row::new(enabled.len(), Asked::default()))]),
            servers: enabled,
            table: Arc::new(table),
            changed: Changed::Nothing,
            built_at: None,
        }
    }

    /// The table that holds now.
    pub fn table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// Takes in what a worker said.
    pub fn report(&mut self, now: Time, wall: Wall, report: Report) {
        match report {
            Report::Listed {
                server,
                capabilities,
                principal,
                listing,
            } => {
                if !self.listings.contains_key(&capabilities) {
                    match Room::find(self.declared(), principal.as_deref(), now) {
                        Room::Free => {}
                        Room::InsteadOf(other) => {
                            self.listings.remove(&other);
                        }
                        Room::None => return,
                    }
                }
                if &*capabilities == "{}" {
                    let introduced = &listing.introduced;
                    self.statuses[server].implementation =
                        Some((introduced.name.clone(), introduced.version.clone()));
                }
                let count = self.servers.len();
                let row = self
                    .listings
                    .entry(capabilities)
                    .or_insert_with(|| Row::new(count, Asked::new(now, principal)));
                if row.listings[server].as_ref() != Some(&listing) {
                    row.listings[server] = Some(listing);
                    self.changed = Changed::Listings;
                }
            }
            Report::Starting { server } => {
                let status = &mut self.statuses[server];
                if status.state == ServerState::Failed {
                    status.restarts += 1;
                } else {
                    status.state = ServerState::Starting;
                }
            }
            Report::Ready { server } => {
                let status = &mut self.statuses[server];
                if status.state == ServerState::Failed {
                    self.changed = self.changed.max(Changed::Conditions);
                }
                status.state = ServerState::Ready;
                status.last_connected = Some(wall);
            }
            Report::Failed { server, cause } => {
                let status = &mut self.statuses[server];
                status.state = ServerState::Failed;
                status.last_error = Some(cause);
                self.changed = self.changed.max(Changed::Conditions);
            }
            Report::Speaks { server, speaks } => {
                let mut changed = (*self.servers[server]).clone();
                if let Transport::Http(http) = &mut changed.transport
                    && http.speaks != speaks
                {
                    http.speaks = speaks;
                    self.servers[server] = Arc::new(changed);
                    self.statuses[server].server = self.servers[server].clone();
                    self.changed = self.changed.max(Changed::Conditions);
                }
            }
            Report::Conversations { server, change } => {
                let open = &mut self.statuses[server].conversations;
                *open = open.saturating_add_signed(change as isize);
            }
        }
    }

    /// When what was listed for clients that declared something was last asked for, by what they declared.
    fn declared(&self) -> impl Iterator<Item = (&Arc<str>, &Asked)> {
        let rows = self.listings.iter();
        rows.filter(|(capabilities, _)| &***capabilities != "{}")
            .map(|(capabilities, row)| (capabilities, &*row.asked))
    }

    /// When [`Directory::poll`] has something to give, if anything was reported.
    pub fn deadline(&self) -> Option<Time> {
        (self.changed > Changed::Nothing).then(|| {
            self.built_at
                .map_or(Time::ZERO, |built| built + TABLE_INTERVAL)
        })
    }

    /// The next table, if it is due. The collisions that it brings are for the log.
    pub fn poll(&mut self, now: Time) -> Option<(Arc<Table>, Vec<Collision>)> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        let changed = std::mem::replace(&mut self.changed, Changed::Nothing);
        let reasons = self.statuses.iter().map(reason).collect();
        if changed == Changed::Conditions {
            let table = &self.table;
            self.table = Arc::new(Table {
                names: self.names,
                servers: self.servers.clone(),
                reasons,
                eras: table.eras.clone(),
                base: table.base.clone(),
                catalogs: table.catalogs.clone(),
            });
            return Some((self.table.clone(), Vec::new()));
        }
        // Conditions cost nothing to publish and must not make the first list wait.
        self.built_at = Some(now);
        let known = &self.listings["{}"].listings;
        let era = |listing: &Option<Arc<Listing>>| match listing {
            Some(listing) => listing.introduced.revision.era(),
            None => Era::Legacy,
        };
        let eras: Vec<Era> = known.iter().map(era).collect();
        let base = Arc::new(Catalog::merge(self.names, &self.servers, known));
        let mut catalogs = BTreeMap::new();
        for (capabilities, row) in self
            .listings
            .iter()
            .filter(|(capabilities, _)| &***capabilities != "{}")
        {
            // What a server has not said to these clients yet is taken from what it says to anyone.
            let listings: Vec<_> = row
                .listings
                .iter()
                .zip(known)
                .map(|(own, base)| own.clone().or(base.clone()))
                .collect();
            let mut catalog = Catalog::merge(self.names, &self.servers, &listings);
            catalog.asked = row.asked.clone();
            catalog.unlisted = row
                .listings
                .iter()
                .enumerate()
                .filter(|(place, own)| own.is_none() && eras[*place] == Era::Legacy)
                .map(|(place, _)| place)
                .collect();
            catalogs.insert(capabilities.clone(), Arc::new(catalog));
        }
        let fresh: Vec<Collision> = base
            .collisions
            .iter()
            .filter(|c| !self.table.base.collisions.contains(c))
            .cloned()
            .collect();
        self.count(&base);
        self.table = Arc::new(Table {
            names: self.names,
            servers: self.servers.clone(),
            reasons,
            eras,
            base,
            catalogs,
        });
        Some((self.table.clone(), fresh))
    }

    fn count(&mut self, base: &Catalog) {
        for (place, status) in self.statuses.iter_mut().enumerate() {
            let counts = base.counts[place];
            status.tools = counts[Kind::Tools as usize];
            status.prompts = counts[Kind::Prompts as usize];
            status.resources = counts[Kind::Resources as usize];
            status.templates = counts[Kind::Templates as usize];
            let lost = base.collisions.iter().filter(|c| c.loser == place);
            status.hidden = lost.map(|c| c.name.clone()).collect();
        }
    }

    /// Every server's condition: the enabled ones in configuration order, then the others.
    pub fn statuses(&self) -> Vec<ServerStatus> {
        self.statuses
            .iter()
            .chain(&self.disabled)
            .cloned()
            .collect()
    }
}

impl Row {
    fn new(servers: usize, asked: Asked) -> Row {
        Row {
            listings: vec![None; servers],
            asked: Arc::new(asked),
        }
    }
}

/// Why a server cannot be asked, if it is known to have failed.
fn reason(status: &ServerStatus) -> Option<Arc<str>> {
    let failed = status.state == ServerState::Failed;
    status
        .last_error
        .as_deref()
        .filter(|_| failed)
        .map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{CATALOG_IDLE_TIMEOUT, CATALOGS_MAX};
    use crate::mcp::capabilities::ServerCapabilities;
    use crate::mcp::handshake::Introduced;
    use crate::mcp::listing::Entry;
    use crate::mcp::revision::Revision;
    use crate::router::testing::{config, server};

    fn listing(tool: &str) -> Arc<Listing> {
        let mut listing = Listing::new(Introduced {
            revision: Revision::LATEST,
            capabilities: ServerCapabilities {
                tools: true,
                ..Default::default()
            },
            name: "n".into(),
            version: "1".into(),
            instructions: String::new(),
            said: Box::default(),
        });
        let text = format!(r#"{{"name":"{tool}"}}"#);
        let place = crate::jsonrpc::parse::Span {
            start: 8,
            end: text.len() - 1,
        };
        listing.entries[0].push(Entry {
            key: tool.into(),
            text: text.into_bytes().into(),
            place,
        });
        Arc::new(listing)
    }

    fn listed(server: usize, capabilities: &str, tool: &str) -> Report {
        Report::Listed {
            server,
            capabilities: capabilities.into(),
            principal: None,
            listing: listing(tool),
        }
    }

    fn invented(number: usize) -> String {
        format!(r#"{{"experimental":{{"{number:02}":{{}}}}}}"#)
    }

    #[test]
    fn tables_follow_reports_at_a_bounded_rate() {
        let mut directory = Directory::new(&config(vec![server("a"), server("b")]));
        assert!(directory.poll(Time::ZERO).is_none());
        directory.report(Time::ZERO, Wall(0), listed(0, "{}", "x"));
        assert!(
            directory
                .poll(Time::ZERO)
                .unwrap()
                .0
                .base
                .tool("a__x")
                .is_some()
        );
        directory.report(Time::ZERO, Wall(0), listed(1, "{}", "y"));
        assert!(directory.poll(Time::ZERO).is_none());
        let due = directory.deadline().unwrap();
        assert!(directory.poll(due).unwrap().0.base.tool("b__y").is_some());
        directory.report(Time::ZERO, Wall(0), listed(1, "{}", "y"));
        assert_eq!(directory.deadline(), None);
    }

    #[test]
    fn first_list_does_not_wait_for_a_condition() {
        let mut directory = Directory::new(&config(vec![server("a")]));
        let cause = "connection refused".into();
        directory.report(Time::ZERO, Wall(0), Report::Failed { server: 0, cause });
        assert!(directory.poll(Time::ZERO).is_some());
        directory.report(Time::ZERO, Wall(0), Report::Ready { server: 0 });
        directory.report(Time::ZERO, Wall(0), listed(0, "{}", "x"));
        let (table, _) = directory.poll(Time::ZERO).unwrap();
        assert!(table.base.tool("a__x").is_some() && table.reasons[0].is_none());
    }

    #[test]
    fn clients_with_capabilities_see_their_own_list_and_the_base_for_the_rest() {
        let mut directory = Directory::new(&config(vec![server("a"), server("b")]));
        directory.report(Time::ZERO, Wall(0), listed(0, "{}", "x"));
        directory.report(Time::ZERO, Wall(0), listed(1, "{}", "y"));
        directory.report(Time::ZERO, Wall(0), listed(0, r#"{"sampling":{}}"#, "z"));
        let (table, _) = directory.poll(Time::ZERO).unwrap();
        let own = &table.catalogs[r#"{"sampling":{}}"#];
        assert!(
            own.tool("a__z").is_some() && own.tool("a__x").is_none() && own.tool("b__y").is_some()
        );
        assert_eq!(own.unlisted, [1]);
        assert!(table.base.tool("a__x").is_some());
    }

    #[test]
    fn failure_keeps_the_last_list_and_counts_the_next_start() {
        let mut directory = Directory::new(&config(vec![server("a")]));
        directory.report(Time::ZERO, Wall(0), listed(0, "{}", "x"));
        directory.report(Time::ZERO, Wall(5), Report::Ready { server: 0 });
        directory.report(
            Time::ZERO,
            Wall(6),
            Report::Failed {
                server: 0,
                cause: "exit status: 1".into(),
            },
        );
        directory.report(Time::ZERO, Wall(6), Report::Starting { server: 0 });
        let status = &directory.statuses()[0];
        assert_eq!(
            (status.state, status.restarts, status.last_connected),
            (ServerState::Failed, 1, Some(Wall(5)))
        );
        assert!(
            directory
                .poll(Time::ZERO)
                .unwrap()
                .0
                .base
                .tool("a__x")
                .is_some()
        );
    }

    #[test]
    fn random_capabilities_cannot_grow_the_directory() {
        let mut directory = Directory::new(&config(vec![server("a")]));
        for n in 0..3 * CATALOGS_MAX {
            directory.report(Time::ZERO, Wall(0), listed(0, &invented(n), "x"));
        }
        assert_eq!(directory.listings.len(), CATALOGS_MAX);
    }

    #[test]
    fn invented_capabilities_give_way_to_real_ones() {
        let mut directory = Directory::new(&config(vec![server("a")]));
        directory.report(Time::ZERO, Wall(0), listed(0, "{}", "x"));
        for n in 0..CATALOGS_MAX - 1 {
            directory.report(Time::ZERO, Wall(0), listed(0, &invented(n), "x"));
        }
        let (table, _) = directory.poll(Time::ZERO).unwrap();
        let later = Time::ZERO + CATALOG_IDLE_TIMEOUT;
        table.catalogs[&*invented(0)].asked.note(later);
        let real = r#"{"sampling":{}}"#;
        directory.report(later, Wall(0), listed(0, real, "z"));
        let (table, _) = directory.poll(later).unwrap();
        assert!(table.catalogs[real].tool("a__z").is_some());
        assert!(table.catalogs.contains_key(&*invented(0)));
        assert!(!table.catalogs.contains_key(&*invented(1)));
        assert_eq!(table.catalogs.len() + 1, CATALOGS_MAX);
    }
}
