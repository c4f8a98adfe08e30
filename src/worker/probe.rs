//! Finding out which era a server speaks (2026-07-28 basic/versioning, "Backward Compatibility").
//!
//! A server is asked `server/discover`. Whoever answers that, or refuses it in words that only the modern era
//! has, is modern; any other refusal is a legacy server's, and so is silence. Some legacy children end when they
//! are asked: they are started once more and not asked. Nobody is asked twice for nothing: what the first
//! conversation found holds for the others of its server, and is looked at again whenever that one is opened.

use super::Worker;
use super::forward::{Awaiter, Step};
use super::parcel::{Opened, Outgoing, Standing};
use crate::config::limits::{INITIALIZE_TIMEOUT, PROBE_TIMEOUT};
use crate::config::{EraChoice, Transport};
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::bridge::request;
use crate::mcp::discover;
use crate::mcp::handshake::{self, Introduced};
use crate::mcp::method::Method;
use crate::time::Time;
use crate::upstream::key::Key;

/// What a conversation knows of its server's era before that has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guess {
    /// Nothing: ask.
    #[default]
    Open,
    /// It ended when it was asked: do not ask.
    Shy,
    /// It was asked and turned out to be legacy; if it refuses `initialize` as well, the first answer was
    /// misread, and it is asked once more.
    Refused,
}

impl Worker {
    /// Says the first word of a conversation.
    pub(super) fn introduce(&mut self, key: &Key) {
        match self.era_to_try(key) {
            Era::Legacy => self.initialize(key),
            Era::Modern => self.probe(key),
        }
    }

    fn era_to_try(&self, key: &Key) -> Era {
        let server = &self.table.servers[key.server];
        match server.era {
            EraChoice::Legacy => return Era::Legacy,
            EraChoice::Modern => return Era::Modern,
            EraChoice::Auto => {}
        }
        let guess = self.partners.get(key).map(|partner| partner.guess);
        if guess == Some(Guess::Shy) {
            return Era::Legacy;
        }
        // Before the first conversation has listed anything, nothing is known.
        let unknown = key.is_base() || self.table.base.unlisted.contains(&key.server);
        match unknown {
            true => Era::Modern,
            false => self.table.eras[key.server],
        }
    }

    /// Sends `initialize`.
    pub(super) fn initialize(&mut self, key: &Key) {
        let deadline = self.now + INITIALIZE_TIMEOUT;
        let params = handshake::introduction(&key.capabilities);
        let outgoing = Outgoing::own(Method::Initialize, params);
        self.ask_for_itself(key, Step::Initialize, deadline, &outgoing);
    }

    /// Sends `server/discover`.
    fn probe(&mut self, key: &Key) {
        let deadline = match self.table.servers[key.server].era {
            EraChoice::Modern => self.now + INITIALIZE_TIMEOUT,
            _ => self.now + PROBE_TIMEOUT,
        };
        let (params, _) = request::for_modern(b"", &request::own_meta("{}", None, None));
        let outgoing = Outgoing {
            era: Era::Modern,
            ..Outgoing::own(Method::Discover, params)
        };
        self.ask_for_itself(key, Step::Probe, deadline, &outgoing);
    }

    /// The server answered `server/discover`.
    pub(super) fn probed(&mut self, key: &Key, text: &[u8], answer: Result<Span, Span>) {
        match answer {
            Ok(result) => match Introduced::discovered(text, result) {
                Ok(introduced) => self.introduced(key, introduced, None),
                Err(cause) => self.not_modern(key, &cause),
            },
            Err(error) if discover::is_modern_error(text, error) => {
                let message = parse::member(text, error, "message");
                let message = message.and_then(|m| parse::string(text, m));
                let cause = format!(
                    "it refused server/discover: {}",
                    message.unwrap_or_default()
                );
                self.conversation_failed(key, &cause);
            }
            // Refused late, when initialize is on its way.
            Err(_)
                if self
                    .pendings
                    .iter()
                    .any(|(_, pending)| pending.introduces(key)) => {}
            Err(_) => self.not_modern(key, "it does not know server/discover"),
        }
    }

    /// The server does not speak the modern era, or not so that it can be understood.
    pub(super) fn not_modern(&mut self, key: &Key, cause: &str) {
        let again = self.partners.get_mut(key).is_some_and(|partner| {
            partner.guess == Guess::Refused || partner.conversation.server.era == EraChoice::Modern
        });
        if again {
            return self.conversation_failed(key, cause);
        }
        if let Some(partner) = self.partners.get_mut(key) {
            partner.guess = Guess::Refused;
        }
        self.initialize(key);
    }

    /// The server refused `initialize`.
    pub(super) fn not_initialized(&mut self, key: &Key, text: &[u8], error: Span) {
        let known = discover::is_modern_error(text, error);
        let partner = self.partners.get_mut(key);
        let asked = partner.is_some_and(|partner| {
            let before = std::mem::take(&mut partner.guess);
            before == Guess::Open && partner.conversation.server.era == EraChoice::Auto
        });
        if known && asked {
            return self.probe(key);
        }
        let message = parse::member(text, error, "message").and_then(|m| parse::string(text, m));
        let cause = format!("it refused initialize: {}", message.unwrap_or_default());
        self.conversation_failed(key, &cause);
    }

    /// A conversation broke before it was open; whether it broke because it was asked about its era, and has
    /// been begun once more without that.
    pub(super) fn retried_unasked(&mut self, key: &Key) -> bool {
        let own = |pending: &super::forward::Pending| pending.is_probe_of(key);
        // One that was given up on has not ended because of it.
        let probing = self.pendings.iter().any(|(_, pending)| {
            own(pending) && !matches!(pending.awaiter, Awaiter::Step(_, Time::NEVER))
        });
        let Some(partner) = self.partners.get_mut(key) else {
            return false;
        };
        let auto = partner.conversation.server.era == EraChoice::Auto;
        if !probing {
            // Not asking did not help, either.
            partner.guess = Guess::Open;
            return false;
        }
        if !auto
            || partner.child.is_none()
                && !matches!(partner.conversation.server.transport, Transport::Stdio(_))
        {
            return false;
        }
        partner.guess = Guess::Shy;
        for ticket in self.pendings.tickets() {
            if self.pendings.get(ticket).is_some_and(own) {
                self.pendings.remove(ticket);
            }
        }
        self.start(key);
        true
    }

    /// The era of an open conversation.
    pub(super) fn era_in(&self, key: &Key) -> Option<Era> {
        Some(self.opened_in(key)?.revision.era())
    }

    /// What the server of a conversation says of itself in every result, if that is known.
    pub(super) fn said_in(&self, key: &Key) -> &[u8] {
        // Legacy servers say no such thing.
        let modern = self.table.eras[key.server] == Era::Modern;
        let opened = modern.then(|| self.opened_in(key)).flatten();
        opened.map_or(&[], |opened| &opened.said)
    }

    fn opened_in(&self, key: &Key) -> Option<&Opened> {
        match self.partners.get(key) {
            Some(partner) => partner.opened.as_deref(),
            None => match &self.slices.get(key)?.standing {
                Standing::Open(opened) => Some(opened),
                _ => None,
            },
        }
    }
}
