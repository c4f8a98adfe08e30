//! Listening to a modern server for changes: one `subscriptions/listen` for everything that anybody wants to
//! hear of, made anew whenever that becomes more or less.

use super::forward::{Awaiter, EMPTY_RESPONSE, Pending, Step};
use super::parcel::{Outgoing, unavailable};
use super::slots::Ticket;
use super::{Worker, link};
use crate::id::Home;
use crate::mcp::Era;
use crate::mcp::bridge::listen::{self, Filter};
use crate::mcp::bridge::request;
use crate::mcp::capabilities::TASKS_DECLARED;
use crate::mcp::method::Method;
use crate::time::Time;
use crate::upstream::conversation::Key;

/// How a modern server is listened to.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The request whose answers are being listened to.
    listen: Option<Ticket>,
    /// Who subscribed, and is told so once the server has said that it knows.
    pub(super) waiting: Vec<Home>,
    /// When to listen again after the server has stopped.
    again_at: Option<Time>,
}

impl Worker {
    /// Asks a modern server to say what changes, in place of what it was asked before.
    pub(super) fn listen_for_changes(&mut self, key: &Key) {
        let modern = self.era_in(key) == Some(Era::Modern);
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        if !modern {
            // It was started again, in the other era, before it was time to listen again.
            partner.changes.again_at = None;
            return;
        }
        let Some(introduced) = &partner.conversation.introduced else {
            return;
        };
        let offers = introduced.capabilities;
        let filter = Filter {
            tools: offers.tools,
            prompts: offers.prompts,
            resources: offers.resources,
            uris: partner
                .conversation
                .subscribed()
                .map(String::from)
                .collect(),
            task_ids: match offers.tasks_extension {
                true => partner.tasks.followed(),
                false => Vec::new(),
            },
        };
        let declared = match filter.task_ids.is_empty() {
            true => "{}",
            false => TASKS_DECLARED,
        };
        partner.changes.again_at = None;
        let before = partner.changes.listen.take();
        let params = listen::listen_params(&request::own_meta(declared, None, None), &filter);
        let outgoing = Outgoing {
            era: Era::Modern,
            ..Outgoing::own(Method::Listen, params)
        };
        let pending = Pending {
            key: key.clone(),
            epoch: self.epoch(key),
            awaiter: Awaiter::Step(Step::Listen, Time::NEVER),
            session: None,
            subscription: None,
            task: None,
            era: outgoing.era,
        };
        let listen = self.ask_server(key, pending, &outgoing);
        if let Some(partner) = self.partners.get_mut(key) {
            partner.changes.listen = listen;
        }
        if let Some(before) = before {
            self.abandon(before, "replaced by another");
        }
    }

    /// Has a modern server listened to for one more resource; `home` is answered when it knows.
    pub(super) fn follow(&mut self, key: &Key, home: Home) {
        if let Some(partner) = self.partners.get_mut(key) {
            partner.changes.waiting.push(home);
        }
        self.listen_for_changes(key);
    }

    /// The server knows what it is listened to for.
    pub(super) fn changes_acknowledged(&mut self, key: &Key, listen: Ticket) {
        let partner = self.partners.get_mut(key);
        let Some(partner) = partner.filter(|partner| partner.changes.listen == Some(listen)) else {
            return;
        };
        for home in std::mem::take(&mut partner.changes.waiting) {
            self.answer_home(home, EMPTY_RESPONSE.0, EMPTY_RESPONSE.1);
        }
    }

    /// The server has ended what it was listened to for, or refused it.
    pub(super) fn changes_ended(&mut self, key: &Key, how: Result<(), ()>) {
        match how {
            Ok(()) => self.changes_lost(key),
            // Whoever cannot say what changes is not asked again.
            Err(()) => self.drop_changes(key, "it refuses to be listened to for changes"),
        }
    }

    /// What the server says of changes does not arrive any more.
    pub(super) fn changes_lost(&mut self, key: &Key) {
        let at = self.now + link::RETRY;
        if let Some(partner) = self.partners.get_mut(key) {
            partner.changes.listen = None;
            partner.changes.again_at = Some(at);
            self.wake_at(at);
        }
    }

    /// Nobody is listened to any more; who waits for it is told why.
    pub(super) fn drop_changes(&mut self, key: &Key, why: &str) {
        let Some(partner) = self.partners.get_mut(key) else {
            return;
        };
        let changes = std::mem::take(&mut partner.changes);
        let server = partner.conversation.server.name.clone();
        for home in changes.waiting {
            self.fail_home(home, unavailable(&server, why));
        }
    }

    /// Listens again to who had stopped, and fetches what may have been missed; when to look again.
    pub(super) fn sweep_changes(&mut self) -> Time {
        let now = self.now;
        let mut next = Time::NEVER;
        let mut due = Vec::new();
        for (key, partner) in &self.partners {
            match partner.changes.again_at {
                Some(at) if at <= now && partner.conversation.is_open() => due.push(key.clone()),
                Some(at) if at > now => next = next.min(at),
                _ => {}
            }
        }
        for key in due {
            self.listen_for_changes(&key);
            self.relist(&key);
        }
        next
    }
}
