//! Ids of tasks, as clients know them: which server's task it is, and that it is theirs.
//!
//! A task may outlive the process that its client reached it through, and so must its id. Nothing is remembered
//! here: the id holds the server's name and the server's own id, and a signature that binds both to the
//! principal who asked for the task. Another principal's id, or one that was made up, is no id at all.
//!
//! The signing key is made from the API keys of the configuration, all of them: it is the same after a restart with the
//! same keys, and no principal knows it, since each knows only its own. Without keys there are no principals
//! to be told apart, and the key is a constant that anyone may know. A signature can be used to try out
//! guesses of another principal's key, as the front door can, but faster: keys must be too long to guess, as
//! those of `switchbox keygen` are.
//! MCP 2025-11-25, basic/utilities/tasks, "Task Isolation and Access Control"; SEP-2663.

use crate::base64::{self, Form};
use crate::config::Key;
use ring::hmac;
use sha2::{Digest, Sha256};

/// Bytes of a signature that are kept (RFC 2104 §5 allows half of them).
const TAG_BYTES: usize = 16;

/// Makes ids and reads them.
#[derive(Clone, Debug)]
pub struct TaskIds {
    key: hmac::Key,
}

/// A server's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The server's name in the configuration.
    pub server: String,
    /// The id that the server knows.
    pub id: String,
}

impl TaskIds {
    /// Ids under a configuration with these API keys, in whichever order they stand there.
    pub fn new(keys: &[Key]) -> TaskIds {
        let mut parts: Vec<[&str; 2]> = keys
            .iter()
            .map(|key| [key.id.as_str(), key.secret.expose().as_str()])
            .collect();
        parts.sort_unstable();
        let mut digest = Sha256::new();
        digest.update(b"switchbox task ids 1");
        for part in parts.as_flattened() {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        TaskIds {
            key: hmac::Key::new(hmac::HMAC_SHA256, &digest.finalize()),
        }
    }

    /// The id under which `principal` knows the task `id` of the server `server`.
    pub fn seal(&self, server: &str, principal: Option<&str>, id: &str) -> String {
        let tag = self.sign(server, principal, id);
        let tag = base64::encode(&tag.as_ref()[..TAG_BYTES], Form::Url);
        // Only the first `:` and the last one are looked at, so that ids may have their own.
        let server = server.replace('%', "%25").replace(':', "%3A");
        format!("{server}:{id}:{tag}")
    }

    /// The task that `principal` knows under this id; `None` if it knows none.
    pub fn open(&self, text: &str, principal: Option<&str>) -> Option<Task> {
        let (named, tag) = text.rsplit_once(':')?;
        let (server, id) = named.split_once(':')?;
        let server = server.replace("%3A", ":").replace("%25", "%");
        let tag = base64::decode(tag.as_bytes(), Form::Url)?;
        let own = self.sign(&server, principal, id);
        let is_own = crate::secret::equal_in_constant_time(&own.as_ref()[..TAG_BYTES], &tag);
        let id = id.to_owned();
        is_own.then_some(Task { server, id })
    }

    fn sign(&self, server: &str, principal: Option<&str>, id: &str) -> hmac::Tag {
        let mut text = vec![u8::from(principal.is_some())];
        // Lengths stand before the parts, so that no part can pose as the end of the one before it.
        for part in [principal.unwrap_or_default(), server, id] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        hmac::sign(&self.key, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(id: &str, secret: &str) -> Key {
        Key {
            id: id.into(),
            secret: Secret::new(secret.into()),
        }
    }

    fn ids() -> TaskIds {
        TaskIds::new(&[key("ann", "a-secret"), key("bob", "b-secret")])
    }

    #[test]
    fn id_leads_back_to_the_servers_own() {
        let check = |server: &str, id: &str| {
            for principal in [None, Some("ann")] {
                let sealed = ids().seal(server, principal, id);
                let task = ids().open(&sealed, principal).unwrap();
                assert_eq!((&*task.server, &*task.id), (server, id), "{sealed}");
            }
        };
        check("everything", "786512e2-9e0d-44bd-8f29-789f320fe840");
        check("a:b", "c:d:e");
        check("100%", "");
        check("%3A", "é\n");
        check("", "::");
    }

    #[test]
    fn id_is_good_for_its_principal_alone() {
        let sealed = ids().seal("s", Some("ann"), "1");
        for other in [None, Some(""), Some("bob"), Some("ann ")] {
            assert_eq!(ids().open(&sealed, other), None, "{other:?}");
        }
        let sealed = ids().seal("s", None, "1");
        assert_eq!(ids().open(&sealed, Some("ann")), None);
    }

    #[test]
    fn id_that_was_changed_is_none() {
        let sealed = ids().seal("one", Some("ann"), "17");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ids().open(&changed, Some("ann")), None, "{changed}");
        }
        for text in [
            "",
            ":",
            "::",
            "one:17",
            "one:17:",
            &sealed[..sealed.len() - 1],
        ] {
            assert_eq!(ids().open(text, Some("ann")), None, "{text}");
        }
    }

    #[test]
    fn id_outlives_the_process_but_not_the_keys() {
        let sealed = ids().seal("s", Some("ann"), "1");
        let again = TaskIds::new(&[key("bob", "b-secret"), key("ann", "a-secret")]);
        assert!(again.open(&sealed, Some("ann")).is_some());
        let own = TaskIds::new(&[key("ann", "a-secret")]);
        assert_eq!(own.open(&sealed, Some("ann")), None, "what ann knows");
        assert_eq!(TaskIds::new(&[]).open(&sealed, Some("ann")), None);
    }
}
