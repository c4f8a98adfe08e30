//! The revisions of the protocol, and what each can do.

use super::Era;

/// A revision that switchbox speaks. The order is that of their dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
}

impl Revision {
    /// Every revision, the oldest first.
    pub const ALL: [Revision; 4] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
    ];
    /// The newest with `initialize`: offered to servers, and to clients that ask for one not known here.
    pub const LATEST: Revision = Revision::V2025_11_25;

    /// What a request over HTTP speaks that belongs to no session and does not say (2025-06-18
    /// basic/transports, "Protocol Version Header").
    pub const UNSTATED: Revision = Revision::V2025_03_26;

    /// The revision of that name.
    pub fn parse(name: &str) -> Option<Revision> {
        Revision::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
        }
    }

    /// The family it belongs to.
    pub const fn era(self) -> Era {
        Era::Legacy
    }

    /// What is answered to a client that asks for `name`: that revision if it is known, else the latest
    /// (basic/lifecycle, "Version Negotiation").
    pub fn negotiate(name: &str) -> Revision {
        Revision::parse(name).unwrap_or(Revision::LATEST)
    }

    /// Whether messages may be sent in arrays.
    pub fn has_batches(self) -> bool {
        self == Revision::V2025_03_26
    }

    /// Whether every HTTP request after `initialize` names the revision in a header.
    pub fn has_version_header(self) -> bool {
        self >= Revision::V2025_06_18
    }

    /// Whether a tool's result may have `structuredContent`, and its listing an `outputSchema`.
    pub fn has_structured_content(self) -> bool {
        self >= Revision::V2025_06_18
    }

    /// Whether servers may ask a user something by `elicitation/create`.
    pub fn has_elicitation(self) -> bool {
        self >= Revision::V2025_06_18
    }

    /// Whether such a question may send the user to a URL, and says which of the two it is.
    pub fn has_elicitation_modes(self) -> bool {
        self >= Revision::V2025_11_25
    }

    /// Whether an event stream begins with an empty event that carries an id (SEP-1699), so that a client
    /// can resume before anything was said.
    pub fn primes_streams(self) -> bool {
        self >= Revision::V2025_11_25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_revision_is_kept_and_unknown_becomes_the_latest() {
        for revision in Revision::ALL {
            assert_eq!(Revision::negotiate(revision.name()), revision);
        }
        assert_eq!(Revision::negotiate("2030-01-01"), Revision::LATEST);
        assert_eq!(Revision::negotiate(""), Revision::LATEST);
    }
}
