//! Which conversation with a server an exchange belongs to.

use crate::config::{Server, Share};
use crate::id::SessionKey;
use crate::mcp::capabilities::ClientCapabilities;
use std::sync::Arc;

/// Which conversation: two exchanges with the same key share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The server's place in the table.
    pub server: usize,
    /// What was declared to the server, see [`ClientCapabilities::text`].
    pub capabilities: Arc<str>,
    /// Whose it is alone; `None`: anyone's with these capabilities.
    pub session: Option<SessionKey>,
}

impl Key {
    /// The conversation with `server` that serves a client with these capabilities.
    ///
    /// A session has its own where the operator says so, where it has roots (a server keeps them, and must
    /// not open one client's folders to another), and where it may be asked something on the one stream that a
    /// child or an HTTP+SSE server has: what is asked there does not say for whom. A server that may have one child
    /// has one conversation.
    pub fn of(
        place: usize,
        server: &Server,
        capabilities: Option<&ClientCapabilities>,
        session: Option<SessionKey>,
    ) -> Key {
        let Some(capabilities) = capabilities.filter(|_| !server.has_one_conversation()) else {
            return Key::base(place);
        };
        let alone = server.share == Share::PerSession
            || capabilities.has_roots()
            || (server.has_one_stream() && capabilities.may_be_asked());
        Key {
            server: place,
            capabilities: capabilities.text().clone(),
            session: session.filter(|_| alone),
        }
    }

    /// A conversation of that session alone.
    pub fn alone(place: usize, capabilities: &ClientCapabilities, session: SessionKey) -> Key {
        Key {
            server: place,
            capabilities: capabilities.text().clone(),
            session: Some(session),
        }
    }

    /// The first conversation with a server: nothing declared, anyone's.
    pub fn base(place: usize) -> Key {
        Key {
            server: place,
            capabilities: "{}".into(),
            session: None,
        }
    }

    /// Whether this is a server's first conversation.
    pub fn is_base(&self) -> bool {
        self.session.is_none() && &*self.capabilities == "{}"
    }

    /// A number that spreads conversations over workers: what only one session uses is where that was opened, since
    /// its requests most likely come in there.
    pub fn spread(&self) -> u64 {
        if let Some(session) = self.session {
            return session.worker().0.into();
        }
        spread(&self.capabilities, self.server)
    }

    /// The same of a server's first conversation.
    pub fn spread_of_base(place: usize) -> u64 {
        spread("{}", place)
    }
}

fn spread(capabilities: &str, place: usize) -> u64 {
    let text = capabilities.bytes().fold(0u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    text.wrapping_add(place as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkerId;
    use crate::jsonrpc::parse;
    use crate::mcp::revision::Revision;
    use crate::upstream::conversation::tests::server;

    fn session() -> Option<SessionKey> {
        Some(SessionKey::new(7, WorkerId(0)))
    }

    fn declared(json: &str) -> ClientCapabilities {
        ClientCapabilities::parse(
            Revision::LATEST,
            json.as_bytes(),
            parse::check(json.as_bytes()).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn who_may_be_asked_by_a_child_has_one_of_its_own() {
        let check = |share, json: &str, alone: bool| {
            let key = Key::of(3, &server(share), Some(&declared(json)), session());
            assert_eq!(key.session.is_some(), alone, "{share:?} {json}");
        };
        check(Share::Shared, "{}", false);
        check(Share::Shared, r#"{"experimental":{"a":{}}}"#, false);
        check(Share::Shared, r#"{"sampling":{}}"#, true);
        check(Share::Shared, r#"{"roots":{}}"#, true);
        check(Share::PerSession, "{}", true);
        assert!(Key::of(3, &server(Share::PerSession), None, None).is_base());
    }

    #[test]
    fn server_that_may_have_one_child_has_one_conversation() {
        let mut one = (*server(Share::Shared)).clone();
        one.connections = 1;
        assert!(Key::of(3, &one, Some(&declared(r#"{"sampling":{}}"#)), session()).is_base());
        one.share = Share::PerSession;
        assert!(!Key::of(3, &one, Some(&declared("{}")), session()).is_base());
    }
}
