//! What a server lists: fetched page by page when a conversation opens and whenever the server says that it
//! changed, and reported as a whole.

use super::Worker;
use super::effect::Effect;
use super::forward::Step;
use super::parcel::Outgoing;
use crate::config::limits::{INITIALIZE_TIMEOUT, LIST_RETRY, LISTS_SKIPPED_MAX};
use crate::event::Event;
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::caching::Caching;
use crate::mcp::headers::header_params;
use crate::mcp::listing::{Kind, take_page};
use crate::router::directory::Report;
use crate::upstream::key::Key;
use std::sync::Arc;

impl Worker {
    /// Has all lists fetched anew.
    pub(super) fn relist(&mut self, key: &Key) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if partner.conversation.is_open() && partner.conversation.relist() {
            self.ask_next_list(key, None);
        }
    }

    pub(super) fn ask_next_list(&mut self, key: &Key, cursor: Option<&[u8]>) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if let Some(kind) = partner.conversation.next_list() {
            let params = match cursor {
                Some(cursor) => [b"{\"cursor\":", cursor, b"}"].concat(),
                None => b"{}".to_vec(),
            };
            let deadline = self.now + INITIALIZE_TIMEOUT;
            let outgoing = Outgoing::own(kind.method(), params);
            return self.ask_for_itself(key, Step::List(kind), deadline, &outgoing);
        }
        let Some((listing, again)) = partner.conversation.listed() else {
            return;
        };
        // Servers that add tools one by one announce each: what was out of date before it was complete is
        // not shown, unless they never come to an end.
        if again && partner.lists_skipped < LISTS_SKIPPED_MAX {
            partner.lists_skipped += 1;
            return self.relist(key);
        }
        partner.lists_skipped = 0;
        partner.has_listed = true;
        let server = partner.conversation.server.clone();
        let count = |kind| listing.of(kind).len();
        self.event(Event::UpstreamListed {
            server,
            tools: count(Kind::Tools),
            prompts: count(Kind::Prompts),
            resources: count(Kind::Resources),
            templates: count(Kind::Templates),
        });
        // A session's own conversation may list what only that session has unlocked: it speaks for all with the
        // same capabilities only while nobody else has.
        let catalog = self.table.catalogs.get(&key.capabilities);
        let unknown = &*key.capabilities != "{}"
            && catalog.is_none_or(|catalog| catalog.unlisted.contains(&key.server));
        if key.session.is_some() && !unknown {
            if again {
                self.relist(key);
            }
            return;
        }
        let partner = self.partners.get(key);
        let session = key.session.and_then(|own| partner?.sessions.get(&own));
        let report = Report::Listed {
            server: key.server,
            capabilities: key.capabilities.clone(),
            principal: session.and_then(|session| session.principal.clone()),
            listing: Arc::new(listing),
        };
        self.effects.push_back(Effect::Report(report));
        if again {
            self.relist(key);
        }
    }

    /// A list was not answered. What is known of the server stays; it is asked again after a while, unless it
    /// never listed anything: then it is of no use as it is.
    pub(super) fn list_failed(&mut self, key: &Key, cause: &str) {
        let at = self.now + LIST_RETRY;
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if !partner.has_listed {
            return self.conversation_failed(key, cause);
        }
        partner.conversation.drop_lists();
        partner.relist_at = Some(at);
        self.wake_at(at);
    }

    pub(super) fn take_list(&mut self, key: &Key, kind: Kind, text: &[u8], result: Span) {
        let modern = self.era_in(key) == Some(Era::Modern);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let server = partner.conversation.server.clone();
        let over_http = modern && partner.child.is_none();
        let Some(listing) = partner.conversation.listing() else {
            return;
        };
        let caching = &mut listing.caching[kind as usize];
        let own = Caching::parse(text, result);
        *caching = Some(caching.map_or(own, |before| before.joined(own)));
        let page = take_page(kind, text, result, &mut listing.entries[kind as usize]);
        // The specification has clients over HTTP do without such tools: they could not be called
        // (2026-07-28 transports/streamable-http, "Custom Headers").
        let mut misfits = 0;
        if kind == Kind::Tools && over_http {
            let entries = &mut listing.entries[kind as usize];
            let before = entries.len();
            entries.retain(|entry| has_valid_headers(&entry.text));
            misfits = before - entries.len();
        }
        let (next, why) = match page {
            Ok(page) => (
                page.next,
                (page.left_out > 0).then_some("entries without a name, or too many"),
            ),
            Err(fact) => (None, Some(fact)),
        };
        let why = why.or((misfits > 0).then_some("tools whose x-mcp-header breaks the rules"));
        let goes_on = partner.conversation.paged(next.is_some());
        let why = why.or((next.is_some() && !goes_on).then_some("it has too many pages"));
        if let Some(why) = why {
            self.event(Event::ListCut {
                server,
                method: kind.method(),
                why,
            });
        }
        self.ask_next_list(key, next.as_deref().filter(|_| goes_on));
    }
}

/// Whether a tool keeps to the rules of the arguments that heads repeat.
fn has_valid_headers(tool: &[u8]) -> bool {
    let whole = Span {
        start: 0,
        end: tool.len(),
    };
    let schema = parse::member(tool, whole, "inputSchema");
    schema.is_none_or(|schema| header_params(tool, schema).is_ok())
}
