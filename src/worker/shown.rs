//! Lists as clients are shown them, and who is waited for before they are.

use super::Worker;
use super::exchange::Declared;
use super::intent::LocalAnswer;
use crate::config::limits::FIRST_LIST_TIMEOUT;
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::listing;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;
use std::sync::Arc;

impl Worker {
    /// A page of a list, as that session sees it.
    pub(super) fn page(
        &self,
        session: Option<&Session>,
        kind: listing::Kind,
        cursor: Option<&str>,
    ) -> LocalAnswer {
        let capabilities = session.map(|session| &session.capabilities);
        if let Some(session) = session {
            session.show(kind, self.table.catalog(capabilities).digest(kind));
        }
        self.page_for(capabilities, Era::Legacy, kind, cursor)
    }

    /// A page of a list, as clients with these capabilities see it.
    pub(super) fn page_for(
        &self,
        capabilities: Option<&ClientCapabilities>,
        era: Era,
        kind: listing::Kind,
        cursor: Option<&str>,
    ) -> LocalAnswer {
        match self.table.catalog(capabilities).page(era, kind, cursor) {
            Some(page) => LocalAnswer::Shared(page.clone()),
            None => LocalAnswer::Refused(Refusal::Params(
                "cursor is not of this list, or the list has changed since: begin again without one".into(),
            )),
        }
    }

    /// Until when `initialize` waits for servers (`--wait-for-servers`); `None`: it does not.
    pub(super) fn servers_awaited(&self) -> Option<Time> {
        let until = Time::ZERO + self.config.wait_for_servers?;
        (self.now < until && !self.table.base.unlisted.is_empty()).then_some(until)
    }

    /// Until when a list that a modern client asks for waits; `None`: it does not.
    pub(super) fn lists_awaited_by(
        &mut self,
        declared: &Declared,
        principal: &Option<Arc<str>>,
    ) -> Option<Time> {
        if let Some(until) = self.servers_awaited() {
            return Some(until);
        }
        let capabilities = &declared.capabilities;
        if &**capabilities.text() == "{}" || !self.table.tells_apart(capabilities) {
            return None;
        }
        let who = (capabilities.text().clone(), principal.clone());
        let guest = self.common_guest(&who, capabilities)?;
        if !self.table.catalogs.contains_key(capabilities.text()) {
            self.ask_for_lists_of(&guest);
        }
        self.lists_awaited(Some(&guest))
    }

    /// Until when a list waits; `None`: it does not.
    ///
    /// Beside `--wait-for-servers`: where a session declared what none before had, its servers may list
    /// more than is known, and say so in a moment. Only those that are known to answer are waited for, once.
    pub(super) fn lists_awaited(&self, session: Option<&Session>) -> Option<Time> {
        if let Some(until) = self.servers_awaited() {
            return Some(until);
        }
        let session = session.filter(|session| &**session.capabilities.text() != "{}")?;
        if !self.table.tells_apart(&session.capabilities) {
            return None;
        }
        let until = session.opened_at + FIRST_LIST_TIMEOUT;
        if self.now >= until {
            return None;
        }
        // Modern servers list the same for all.
        let legacy = |place: &usize| self.table.eras[*place] == Era::Legacy;
        let listed = |place: &usize| !self.table.base.unlisted.contains(place);
        let waiting = match self.table.catalogs.get(session.capabilities.text()) {
            Some(catalog) => catalog.unlisted.iter().any(listed),
            None => (0..self.table.servers.len()).any(|place| listed(&place) && legacy(&place)),
        };
        waiting.then_some(until)
    }
}
