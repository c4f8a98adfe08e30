//! The static list of API keys.
//!
//! Every key is compared, whichever fits, and each in constant time: how long it takes says nothing about
//! how close a guess was.

use crate::config::Key;
use crate::secret::equal_in_constant_time;
use std::sync::Arc;

/// The keys that admit a client.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<(Key, Arc<str>)>,
}

/// What became of a request's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No credential is asked for.
    Open,
    /// It is this principal's.
    Known(Arc<str>),
    /// There is none, or nobody's.
    Unknown,
}

impl Keys {
    /// Admits whoever sends one of `keys`; everybody if there are none.
    pub fn new(keys: &[Key]) -> Keys {
        Keys {
            keys: keys
                .iter()
                .map(|key| (key.clone(), key.id.as_str().into()))
                .collect(),
        }
    }

    /// Judges the values of `Authorization` and `X-API-Key`, of which the second counts if both are there.
    pub fn judge(&self, authorization: Option<&str>, api_key: Option<&str>) -> Verdict {
        if self.keys.is_empty() {
            return Verdict::Open;
        }
        let bearer = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim_ascii())
        });
        let offered = api_key.or(bearer).unwrap_or_default().as_bytes();
        let mut known = None;
        for (key, id) in &self.keys {
            if equal_in_constant_time(key.secret.expose().as_bytes(), offered) {
                known = Some(id);
            }
        }
        known.map_or(Verdict::Unknown, |id| Verdict::Known(id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn keys_are_taken_from_either_header() {
        let key = |id: &str, secret: &str| Key {
            id: id.into(),
            secret: Secret::new(secret.into()),
        };
        let keys = Keys::new(&[key("one", "k1"), key("two", "k2")]);
        let check = |authorization, api_key, who: Option<&str>| {
            let expected = who.map_or(Verdict::Unknown, |who| Verdict::Known(who.into()));
            assert_eq!(
                keys.judge(authorization, api_key),
                expected,
                "{authorization:?} {api_key:?}"
            );
        };
        check(None, Some("k1"), Some("one"));
        check(Some("Bearer k2"), None, Some("two"));
        check(Some("bearer  k2"), None, Some("two"));
        check(Some("Bearer k2"), Some("wrong"), None);
        check(Some("Basic k2"), None, None);
        check(Some("k2"), None, None);
        check(None, Some(""), None);
        check(None, None, None);
    }

    #[test]
    fn without_keys_nothing_is_asked_for() {
        assert_eq!(Keys::new(&[]).judge(None, Some("x")), Verdict::Open);
    }
}
