//! The merged lists: what all servers offer together to clients with certain capabilities.
//!
//! Built once, then only read: every page of every list stands ready as bytes. Order is that of the
//! configuration, then each server's own. Entries are the servers' bytes but for the name.

use super::asked::Asked;
use super::names;
use super::template::Template;
use crate::config::limits::PAGE_ENTRIES_MAX;
use crate::config::{Names, Server};
use crate::jsonrpc::{parse, write};
use crate::mcp::Era;
use crate::mcp::bridge::listing::{
    self, modern_members, tool_for_legacy, tool_for_modern, tool_within_modern,
};
use crate::mcp::bridge::result::Output;
use crate::mcp::bridge::task;
use crate::mcp::caching::Caching;
use crate::mcp::capabilities::ServerCapabilities;
use crate::mcp::headers::{HeaderParam, header_params};
use crate::mcp::listing::{Entry, Kind, Listing};
use crate::mcp::meta::OURSELVES;
use memchr::memmem;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Place of the server in the table.
    pub server: usize,
    /// The name that server knows.
    pub original: Arc<str>,
    /// The name that clients know.
    pub shown: Arc<str>,
    /// The arguments that an HTTP request of the modern era repeats in its head, if there are any.
    pub mirrored: Option<Arc<[HeaderParam]>>,
    /// How a tool's structured content is shown to legacy clients.
    pub output: Output,
    /// Whether a legacy server's tool can only be called as a task.
    pub is_task: bool,
}

/// A name that two servers offer (`--names bare`); clients get the winner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// What kind of thing has the name.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// Place of the server that has it.
    pub winner: usize,
    /// Place of the server that offers it in vain.
    pub loser: usize,
}

/// The merged lists.
#[derive(Debug)]
pub struct Catalog {
    names: Names,
    servers: Vec<Arc<Server>>,
    listings: Vec<Option<Arc<Listing>>>,
    pages: Pages,
    /// The same for modern clients, laid out when the first of them asks.
    modern_pages: OnceLock<Pages>,
    digests: [u64; 4],
    routes: [BTreeMap<Arc<str>, Route>; 2],
    resources: BTreeMap<Box<str>, usize>,
    templates: Vec<(Box<str>, Template, usize)>,
    /// What is offered: the union.
    pub capabilities: ServerCapabilities,
    /// The servers' instructions, each under its server's name.
    pub instructions: String,
    /// Places of the servers that have not listed anything for these capabilities yet.
    pub unlisted: Vec<usize>,
    /// When clients last asked for it.
    pub asked: Arc<Asked>,
    /// Names that more than one server offers.
    pub collisions: Vec<Collision>,
    /// Entries shown of each server, by kind.
    pub counts: Vec<[usize; 4]>,
    resourceful: Vec<usize>,
}

/// Every page of every list.
type Pages = [Vec<Arc<[u8]>>; 4];

impl Catalog {
    /// Merges the listings of `servers`; those without one are left out for now.
    pub fn merge(
        names: Names,
        servers: &[Arc<Server>],
        listings: &[Option<Arc<Listing>>],
    ) -> Catalog {
        Catalog::merge_for(Era::Legacy, names, servers, listings)
    }

    /// Merges them with the pages that clients of that era see.
    fn merge_for(
        era: Era,
        names: Names,
        servers: &[Arc<Server>],
        listings: &[Option<Arc<Listing>>],
    ) -> Catalog {
        assert_eq!(servers.len(), listings.len());
        let mut catalog = Catalog {
            names,
            servers: servers.to_vec(),
            listings: listings.to_vec(),
            pages: Default::default(),
            modern_pages: OnceLock::new(),
            digests: [0; 4],
            routes: Default::default(),
            resources: BTreeMap::new(),
            templates: Vec::new(),
            capabilities: ServerCapabilities::default(),
            instructions: String::new(),
            unlisted: Vec::new(),
            asked: Arc::default(),
            collisions: Vec::new(),
            counts: vec![[0; 4]; servers.len()],
            resourceful: Vec::new(),
        };
        let mut texts: [Vec<(Era, Vec<u8>)>; 4] = Default::default();
        for (place, (server, listing)) in servers.iter().zip(listings).enumerate() {
            let Some(listing) = listing else {
                catalog.unlisted.push(place);
                catalog.capabilities = catalog.capabilities.union(ServerCapabilities::EVERYTHING);
                continue;
            };
            let introduced = &listing.introduced;
            catalog.capabilities = catalog.capabilities.union(introduced.capabilities);
            if introduced.capabilities.resources {
                catalog.resourceful.push(place);
            }
            if !introduced.instructions.is_empty() {
                let gap = if catalog.instructions.is_empty() {
                    ""
                } else {
                    "\n\n"
                };
                catalog.instructions += &format!(
                    "{gap}# {}\n\n{}",
                    server.name,
                    introduced.instructions.trim_end()
                );
            }
            let prefix = names::prefix(&server.name);
            for kind in Kind::ALL {
                for entry in listing.of(kind) {
                    if let Some(text) = catalog.admit(names, place, server, &prefix, kind, entry) {
                        catalog.counts[place][kind as usize] += 1;
                        texts[kind as usize].push((introduced.era(), text));
                    }
                }
            }
        }
        for kind in Kind::ALL {
            catalog.lay_out(era, kind, &texts[kind as usize]);
        }
        catalog
    }

    /// Takes in one entry; gives its text as clients see it, or `None` if they do not.
    fn admit(
        &mut self,
        names: Names,
        place: usize,
        server: &Server,
        prefix: &str,
        kind: Kind,
        entry: &Entry,
    ) -> Option<Vec<u8>> {
        let filter = match kind {
            Kind::Tools => &server.tools,
            Kind::Prompts => &server.prompts,
            Kind::Resources | Kind::Templates => &server.resources,
        };
        if !filter.passes(&entry.key) {
            return None;
        }
        match kind {
            Kind::Tools | Kind::Prompts => {
                let own = server.rename.get(&entry.key).unwrap_or(&entry.key);
                let shown: Arc<str> = match names {
                    Names::Bare => own.as_str().into(),
                    Names::Prefixed => names::prefixed(prefix, own).into(),
                };
                let routes = &mut self.routes[kind as usize];
                if let Some(first) = routes.get(&shown) {
                    let winner = first.server;
                    self.collisions.push(Collision {
                        kind,
                        name: shown.to_string(),
                        winner,
                        loser: place,
                    });
                    return None;
                }
                let route = Route {
                    server: place,
                    original: entry.key.as_str().into(),
                    shown: shown.clone(),
                    mirrored: mirrored(kind, &entry.text),
                    output: match kind {
                        Kind::Tools => listing::output(&entry.text),
                        _ => Output::default(),
                    },
                    is_task: kind == Kind::Tools && task::is_required(&entry.text),
                };
                routes.insert(shown.clone(), route);
                let mut text = Vec::with_capacity(entry.text.len() + prefix.len() + 2);
                write::spliced(
                    &mut text,
                    &entry.text,
                    &[(entry.place, &write::quoted(&shown))],
                );
                Some(text)
            }
            Kind::Resources => {
                if let Some(&winner) = self.resources.get(entry.key.as_str()) {
                    self.collisions.push(Collision {
                        kind,
                        name: entry.key.clone(),
                        winner,
                        loser: place,
                    });
                    return None;
                }
                self.resources.insert(entry.key.as_str().into(), place);
                Some(entry.text.to_vec())
            }
            Kind::Templates => {
                if let Some((_, _, winner)) = self
                    .templates
                    .iter()
                    .find(|(text, ..)| **text == *entry.key)
                {
                    let winner = *winner;
                    self.collisions.push(Collision {
                        kind,
                        name: entry.key.clone(),
                        winner,
                        loser: place,
                    });
                    return None;
                }
                self.templates.push((
                    entry.key.as_str().into(),
                    Template::parse(&entry.key),
                    place,
                ));
                Some(entry.text.to_vec())
            }
        }
    }

    /// Writes a list's pages, from texts with the era of the server that each is of. A cursor names the list's
    /// state and where its page begins, so that it needs no memory here and one from another state is known as
    /// such.
    fn lay_out(&mut self, era: Era, kind: Kind, texts: &[(Era, Vec<u8>)]) {
        let mut hash = Sha256::new();
        texts.iter().for_each(|(_, text)| hash.update(text));
        let hash = hash.finalize();
        let digest = u64::from_le_bytes([
            hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
        ]);
        self.digests[kind as usize] = digest;
        let chunks: Vec<&[(Era, Vec<u8>)]> = if texts.is_empty() {
            vec![&[]]
        } else {
            texts.chunks(PAGE_ENTRIES_MAX).collect()
        };
        for (number, chunk) in chunks.iter().enumerate() {
            let bytes = chunk.iter().map(|(_, text)| text.len() + 1).sum::<usize>();
            let mut page = Vec::with_capacity(bytes + 64);
            page.extend_from_slice(b"{\"");
            page.extend_from_slice(kind.member().as_bytes());
            page.extend_from_slice(b"\":[");
            for (place, (server_era, text)) in chunk.iter().enumerate() {
                page.extend_from_slice(if place == 0 { b"" } else { b"," });
                match (kind, era, server_era) {
                    (Kind::Tools, Era::Legacy, Era::Modern) => {
                        page.extend_from_slice(&tool_for_legacy(text));
                    }
                    (Kind::Tools, Era::Modern, Era::Legacy) => {
                        page.extend_from_slice(&tool_for_modern(text));
                    }
                    (Kind::Tools, Era::Modern, Era::Modern) => {
                        page.extend_from_slice(&tool_within_modern(text));
                    }
                    _ => page.extend_from_slice(text),
                }
            }
            page.push(b']');
            if number + 1 < chunks.len() {
                page.extend_from_slice(
                    format!(",\"nextCursor\":\"{}-{digest:016x}\"", number + 1).as_bytes(),
                );
            }
            if era == Era::Modern {
                page.extend_from_slice(self.manners(kind).as_bytes());
            }
            page.push(b'}');
            self.pages[kind as usize].push(page.into());
        }
    }

    /// What a modern list says of itself beside its entries, as members that follow others: how long it may be
    /// kept is what the most hesitant of its servers says.
    fn manners(&self, kind: Kind) -> String {
        let known = self.listings.iter().flatten();
        let caching = known.map(|listing| listing.caching[kind as usize].unwrap_or(Caching::NONE));
        let joined = caching.reduce(Caching::joined).unwrap_or(Caching::NONE);
        format!(",{}", modern_members(joined, OURSELVES))
    }

    /// A page of a list as clients of that era see it: the first, or the one that `cursor` names. `None`: this is
    /// no cursor of ours, or the list has changed since.
    pub fn page(&self, era: Era, kind: Kind, cursor: Option<&str>) -> Option<&Arc<[u8]>> {
        let pages = match era {
            Era::Legacy => &self.pages,
            Era::Modern => self.modern_pages.get_or_init(|| {
                Catalog::merge_for(era, self.names, &self.servers, &self.listings).pages
            }),
        };
        let pages = &pages[kind as usize];
        let Some(cursor) = cursor else {
            return pages.first();
        };
        let (number, digest) = cursor.split_once('-')?;
        if digest != format!("{:016x}", self.digests[kind as usize]) {
            return None;
        }
        pages.get(number.parse::<usize>().ok().filter(|n| *n > 0)?)
    }

    /// A number that changes with the list's content.
    pub fn digest(&self, kind: Kind) -> u64 {
        self.digests[kind as usize]
    }

    /// Where a tool's name leads.
    pub fn tool(&self, name: &str) -> Option<&Route> {
        self.routes[Kind::Tools as usize].get(name)
    }

    /// Where a prompt's name leads.
    pub fn prompt(&self, name: &str) -> Option<&Route> {
        self.routes[Kind::Prompts as usize].get(name)
    }

    /// What the server at that place offers to clients with these capabilities, as far as it is known.
    pub fn offers(&self, place: usize) -> ServerCapabilities {
        let listing = self.listings.get(place).and_then(Option::as_ref);
        listing.map_or(ServerCapabilities::default(), |listing| {
            listing.introduced.capabilities
        })
    }

    /// The server that owns `uri`: who lists it, else whose template fits it most closely, else the only
    /// one that has resources at all.
    pub fn owner(&self, uri: &str) -> Option<usize> {
        if let Some(&server) = self.resources.get(uri) {
            return Some(server);
        }
        let fitting = self
            .templates
            .iter()
            .filter(|(_, template, _)| template.matches(uri));
        // `max_by_key` gives the last of equals; the first in configuration order shall win.
        let closest = fitting
            .rev()
            .max_by_key(|(_, template, _)| template.weight());
        closest
            .map(|(_, _, server)| *server)
            .or(match self.resourceful[..] {
                [only] => Some(only),
                _ => None,
            })
    }

    /// The server that offers this template, or else owns it as a URI.
    pub fn template_owner(&self, template: &str) -> Option<usize> {
        let offered = self.templates.iter().find(|(text, ..)| **text == *template);
        offered
            .map(|(_, _, server)| *server)
            .or_else(|| self.owner(template))
    }

    /// Servers that offer resources, in configuration order.
    pub fn resourceful(&self) -> &[usize] {
        &self.resourceful
    }
}

/// The arguments of a tool that its schema wants repeated in the head of HTTP requests.
fn mirrored(kind: Kind, entry: &[u8]) -> Option<Arc<[HeaderParam]>> {
    // Hardly any tool has one.
    memmem::find(entry, b"x-mcp-header").filter(|_| kind == Kind::Tools)?;
    let whole = parse::check(entry).ok()?;
    let schema = parse::member(entry, whole, "inputSchema")?;
    let params = header_params(entry, schema).ok()?;
    (!params.is_empty()).then(|| params.into())
}

#[cfg(test)]
mod tests;
