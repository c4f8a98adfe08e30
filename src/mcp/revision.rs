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
    V2026_07_28,
}

impl Revision {
    /// Every revision, the oldest first.
    pub const ALL: [Revision; 5] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
        Revision::V2026_07_28,
    ];
    /// Those with `initialize`, the oldest first.
    pub const LEGACY: [Revision; 4] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
    ];
    /// The newest with `initialize`: offered to servers, and to clients that ask for one not known here.
    pub const LATEST: Revision = Revision::V2025_11_25;
    /// The one without `initialize`: every request names it for itself.
    pub const MODERN: Revision = Revision::V2026_07_28;

    /// What a request over HTTP speaks that belongs to no session and does not say (2025-06-18
    /// basic/transports, "Protocol Version Header").
    pub const UNSTATED: Revision = Revision::V2025_03_26;

    /// The revision of that name.
    pub fn parse(name: &str) -> Option<Revision> {
        Revision::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// The revision of that name, if it is one that `initialize` may name.
    pub fn parse_legacy(name: &str) -> Option<Revision> {
        Revision::parse(name).filter(|revision| revision.era() == Era::Legacy)
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
            Revision::V2026_07_28 => "2026-07-28",
        }
    }

    /// The family it belongs to.
    pub const fn era(self) -> Era {
        match self {
            Revision::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// What is answered to an `initialize` that asks for `name`: that revision if it is one with
    /// `initialize`, else the latest of those (basic/lifecycle, "Version Negotiation").
    pub fn negotiate(name: &str) -> Revision {
        Revision::parse_legacy(name).unwrap_or(Revision::LATEST)
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

    /// Whether calls may become tasks by what a legacy request says.
    pub fn has_tasks(self) -> bool {
        self == Revision::V2025_11_25
    }

    /// Whether an event stream begins with an empty event that carries an id (SEP-1699), so that a client
    /// can resume before anything was said. Modern streams cannot be resumed.
    pub fn primes_streams(self) -> bool {
        self == Revision::V2025_11_25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_revision_is_kept_and_unknown_becomes_the_latest() {
        for revision in Revision::LEGACY {
            assert_eq!(Revision::negotiate(revision.name()), revision);
        }
        assert_eq!(Revision::negotiate("2030-01-01"), Revision::LATEST);
        assert_eq!(Revision::negotiate(""), Revision::LATEST);
    }
    #[test]
    fn initialize_leads_to_no_modern_revision() {
        let name = Revision::MODERN.name();
        assert_eq!(Revision::parse(name), Some(Revision::MODERN));
        assert_eq!(Revision::parse_legacy(name), None);
        assert_eq!(Revision::negotiate(name), Revision::LATEST);
    }

    #[test]
    fn revisions_are_listed_by_date_and_era() {
        assert!(Revision::ALL.is_sorted_by_key(|revision| revision.name()));
        let legacy = Revision::ALL
            .into_iter()
            .filter(|revision| revision.era() == Era::Legacy);
        assert!(legacy.eq(Revision::LEGACY));
    }
}
