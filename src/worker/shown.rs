//! Lists as clients are shown them, and who is waited for before they are.

use super::Worker;
use super::exchange::Declared;
use super::guests::Alike;
use super::intent::LocalAnswer;
use super::peers::Peer;
use crate::config::limits::{CATALOG_IDLE_TIMEOUT, FIRST_LIST_TIMEOUT};
use crate::mcp::Era;
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::listing;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at which catalogs are those of open sessions and streams.
pub(super) const CATALOG_SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const _: () = assert!(CATALOG_SWEEP_INTERVAL.as_secs() * 2 <= CATALOG_IDLE_TIMEOUT.as_secs());

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
        let catalog = self.table.catalog_asked(capabilities, self.now);
        match catalog.page(era, kind, cursor) {
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

    /// Until when a list that a modern client asks for waits, and has servers asked that have not listed for such a
    /// client; `None`: it does not.
    pub(super) fn lists_awaited_by(
        &mut self,
        declared: &Declared,
        principal: &Option<Arc<str>>,
    ) -> Option<Time> {
        if let Some(until) = self.servers_awaited() {
            return Some(until);
        }
        let (alike, _) = self.told_apart(declared, principal)?;
        self.ask_for_lists_of(&alike);
        self.lists_awaited_since(alike.since, &alike.capabilities, principal.as_deref())
    }

    /// Until when a list goes on waiting that has waited before; `None`: it does not.
    pub(super) fn lists_still_awaited_by(
        &mut self,
        declared: &Declared,
        principal: &Option<Arc<str>>,
    ) -> Option<Time> {
        if let Some(until) = self.servers_awaited() {
            return Some(until);
        }
        let (alike, is_first) = self.told_apart(declared, principal)?;
        // Until now it waited for the servers to be there at all.
        if is_first {
            self.ask_for_lists_of(&alike);
        }
        self.lists_awaited_since(alike.since, &alike.capabilities, principal.as_deref())
    }

    /// Who is shown the lists that a modern client is, and whether it is the first of them; `None` if all are.
    fn told_apart(
        &mut self,
        declared: &Declared,
        principal: &Option<Arc<str>>,
    ) -> Option<(Alike, bool)> {
        let capabilities = &declared.capabilities;
        if &**capabilities.text() == "{}" {
            return None;
        }
        let owner = principal.as_deref();
        if !self.table.tells_apart(capabilities, owner, self.now) {
            return None;
        }
        self.alike(capabilities, principal)
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
        let (capabilities, principal) = (&session.capabilities, session.principal.as_deref());
        self.lists_awaited_since(session.opened_at, capabilities, principal)
    }

    /// Until when a list waits for those who declared that at `since`; `None`: it does not.
    fn lists_awaited_since(
        &self,
        since: Time,
        capabilities: &ClientCapabilities,
        principal: Option<&str>,
    ) -> Option<Time> {
        if !self.table.tells_apart(capabilities, principal, self.now) {
            return None;
        }
        let until = since + FIRST_LIST_TIMEOUT;
        if self.now >= until {
            return None;
        }
        // Modern servers list the same for all, and so does who is asked in one conversation.
        let legacy = |place: &usize| self.table.eras[*place] == Era::Legacy;
        let apart = |place: &usize| !self.table.servers[*place].has_one_conversation();
        let listed = |place: &usize| !self.table.base.unlisted.contains(place);
        let waiting = match self.table.catalogs.get(capabilities.text()) {
            Some(catalog) => catalog
                .unlisted
                .iter()
                .any(|place| listed(place) && apart(place)),
            None => (0..self.table.servers.len())
                .any(|place| listed(&place) && legacy(&place) && apart(&place)),
        };
        waiting.then_some(until)
    }

    /// Notes which catalogs are those of clients with an open session or stream, or a call that is not over, who
    /// may ask for nothing for long; when to look again.
    pub(super) fn sweep_catalogs(&mut self) -> Time {
        if self.table.catalogs.is_empty() {
            return Time::NEVER;
        }
        let due = self.catalogs_swept_at + CATALOG_SWEEP_INTERVAL;
        if due > self.now {
            return due;
        }
        self.catalogs_swept_at = self.now;
        let (catalogs, now) = (&self.table.catalogs, self.now);
        let note = |capabilities: &ClientCapabilities| {
            if let Some(catalog) = catalogs.get(capabilities.text()) {
                catalog.asked.note(now);
            }
        };
        let (first, step) = (usize::from(self.id.0), self.workers);
        self.sessions
            .look(first, step, |session| note(&session.capabilities));
        for (_, wire) in self.wires.iter() {
            let listening = match &wire.peer {
                Peer::Client(client) => client.standing.as_slice(),
                Peer::Stdio(front) => &front.listeners,
                _ => &[],
            };
            for session in listening {
                note(&session.capabilities);
            }
        }
        for (_, exchange) in self.exchanges.iter() {
            if let Some(declared) = &exchange.declared {
                note(&declared.capabilities);
            }
        }
        self.now + CATALOG_SWEEP_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::CATALOGS_MAX;
    use crate::id::ConnectionId;
    use crate::worker::scene::Scene;
    use serde_json::json;

    fn lists(scene: &mut Scene, number: usize) -> ConnectionId {
        let declared = json!({"experimental": {"n": {"n": number}}});
        let client = scene.modern_with("tools/list", json!({}), &declared);
        scene.pass(Duration::from_millis(100));
        client
    }

    fn is_told_apart(scene: &Scene, number: usize) -> bool {
        let text = format!(r#"{{"experimental":{{"n":{{"n":{number}}}}}}}"#);
        scene.worker.table.catalogs.contains_key(&*text)
    }

    #[test]
    fn list_that_waited_for_servers_has_them_asked_at_once() {
        let mut scene = Scene::waiting_for_servers(Duration::from_secs(40));
        let client = lists(&mut scene, 1);
        scene.wakes();
        scene.pass(Duration::from_millis(100));
        assert!(scene.answer(client)["result"]["tools"].is_array());
        assert!(is_told_apart(&scene, 1));
    }

    #[test]
    fn catalogs_that_nobody_asks_for_give_way_but_not_those_of_who_listens() {
        let mut scene = Scene::new(Era::Legacy);
        for number in 0..CATALOGS_MAX - 1 {
            lists(&mut scene, number);
        }
        let params = json!({"notifications": {"toolsListChanged": true}});
        let declared = json!({"experimental": {"n": {"n": 0}}});
        scene.modern_with("subscriptions/listen", params, &declared);
        lists(&mut scene, 1000);
        assert!(!is_told_apart(&scene, 1000));
        scene.pass(CATALOG_IDLE_TIMEOUT);
        lists(&mut scene, 1001);
        assert!(is_told_apart(&scene, 1001));
        assert!(is_told_apart(&scene, 0) && !is_told_apart(&scene, 1));
    }
}
