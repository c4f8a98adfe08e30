//! For how long, and for whom, a modern client may keep a result (2026-07-28, server/utilities/caching).

use crate::jsonrpc::parse::{self, Span};

/// Who may be given a result that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Anybody.
    Public,
    /// Only whoever asks with the same authorization.
    Private,
}

/// What a result says of being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// For how many milliseconds.
    pub ttl_ms: u64,
    /// For whom.
    pub scope: Scope,
}

impl Caching {
    /// Not at all: what is said for a server that says nothing.
    pub const NONE: Caching = Caching {
        ttl_ms: 0,
        scope: Scope::Private,
    };

    /// Reads the result at `span` of a message that was checked before; what it does not say, or says in
    /// another form, is as in [`Caching::NONE`].
    pub fn parse(text: &[u8], span: Span) -> Caching {
        let mut caching = Caching::NONE;
        for (key, value) in parse::members(text, span) {
            if key.is("ttlMs") {
                caching.ttl_ms = parse::integer(text, value).unwrap_or(0);
            } else if key.is("cacheScope") {
                caching.scope = match parse::string(text, value).as_deref() {
                    Some("public") => Scope::Public,
                    _ => Scope::Private,
                };
            }
        }
        caching
    }

    /// What may be said of something made of both: the shorter time, and private if either is.
    pub fn joined(self, other: Caching) -> Caching {
        Caching {
            ttl_ms: self.ttl_ms.min(other.ttl_ms),
            scope: self.scope.max(other.scope),
        }
    }

    /// As members of a result, without braces.
    pub fn to_members(self) -> String {
        let scope = match self.scope {
            Scope::Public => "public",
            Scope::Private => "private",
        };
        format!(r#""ttlMs":{},"cacheScope":"{scope}""#, self.ttl_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caching(text: &str) -> Caching {
        Caching::parse(text.as_bytes(), parse::check(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_not_said_is_not_kept() {
        let check =
            |text, ttl_ms, scope| assert_eq!(caching(text), Caching { ttl_ms, scope }, "{text}");
        check("{}", 0, Scope::Private);
        check("[]", 0, Scope::Private);
        check(r#"{"ttlMs":5,"cacheScope":"public"}"#, 5, Scope::Public);
        check(r#"{"ttlMs":5}"#, 5, Scope::Private);
        check(r#"{"ttlMs":-5,"cacheScope":"everyone"}"#, 0, Scope::Private);
        check(r#"{"ttlMs":1.5,"cacheScope":7}"#, 0, Scope::Private);
    }

    #[test]
    fn joined_is_the_stricter_of_both() {
        let check = |one, other, expected| {
            assert_eq!(caching(one).joined(caching(other)), caching(expected));
            assert_eq!(caching(other).joined(caching(one)), caching(expected));
        };
        let public = r#"{"ttlMs":9,"cacheScope":"public"}"#;
        check(
            public,
            r#"{"ttlMs":5,"cacheScope":"public"}"#,
            r#"{"ttlMs":5,"cacheScope":"public"}"#,
        );
        check(public, r#"{"ttlMs":99}"#, r#"{"ttlMs":9}"#);
        check(public, "{}", "{}");
    }

    #[test]
    fn members_read_back() {
        for text in [
            "{}",
            r#"{"ttlMs":18446744073709551615,"cacheScope":"public"}"#,
        ] {
            let members = format!("{{{}}}", caching(text).to_members());
            assert_eq!(caching(&members), caching(text));
        }
    }
}
