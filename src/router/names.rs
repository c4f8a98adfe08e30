//! Names of tools and prompts as clients see them.
//!
//! `server__tool`: the part before the first `__` is the server's and never contains or ends in what could
//! be mistaken for the separator, so that no two pairs share a name (an allow rule for `a` must not match
//! what server `a__b` offers). At most [`NAME_BYTES_MAX`] of `[A-Za-z0-9_.-]`. A name depends on its own
//! server and tool alone: it stays when other servers come or go.

use crate::config::limits::NAME_BYTES_MAX;
use sha2::{Digest, Sha256};

/// What stands between server and tool.
pub const SEPARATOR: &str = "__";
/// Bytes of the server's part. A longer name is cut and ends in a digest.
const PREFIX_BYTES_MAX: usize = 32;
/// Hexadecimal digits of a digest that stands for what was cut or replaced.
const DIGEST_DIGITS: usize = 8;

/// The server's part of its tools' names.
pub fn prefix(server: &str) -> String {
    let lawful = server.len() <= PREFIX_BYTES_MAX
        && server.chars().all(is_lawful)
        && !server.contains(SEPARATOR)
        && !server.ends_with('_');
    if lawful {
        return server.into();
    }
    let mut plain = String::new();
    for c in server.chars().map(|c| if is_lawful(c) { c } else { '-' }) {
        if !(c == '_' && plain.ends_with('_')) && plain.len() < PREFIX_BYTES_MAX - DIGEST_DIGITS - 1
        {
            plain.push(c);
        }
    }
    let plain = plain.trim_end_matches('_');
    format!("{plain}-{}", digest(&[server]))
}

/// The whole name of `tool` of the server whose part is `prefix`.
pub fn prefixed(prefix: &str, tool: &str) -> String {
    let whole = format!("{prefix}{SEPARATOR}{tool}");
    if whole.len() <= NAME_BYTES_MAX && tool.chars().all(is_lawful) {
        return whole;
    }
    let mut plain: String = whole
        .chars()
        .map(|c| if is_lawful(c) { c } else { '-' })
        .collect();
    plain.truncate(NAME_BYTES_MAX - DIGEST_DIGITS - 1);
    format!("{plain}-{}", digest(&[prefix, tool]))
}

/// The server's part of a name, if it has one.
pub fn server_part(name: &str) -> Option<&str> {
    name.split_once(SEPARATOR).map(|(prefix, _)| prefix)
}

fn is_lawful(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..DIGEST_DIGITS / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn plain_names_are_joined() {
        assert_eq!(
            prefixed(&prefix("time"), "get_current_time"),
            "time__get_current_time"
        );
        assert_eq!(prefixed(&prefix("a-b.c"), "_x"), "a-b.c___x");
    }

    #[test]
    fn every_name_is_lawful_and_leads_back_to_one_pair() {
        let servers = [
            "a",
            "a_",
            "a__b",
            "a_b",
            "A",
            "wetter ☀",
            "wetter ?",
            "_",
            "__",
            "x".repeat(48).leak(),
            "",
            "a-",
        ];
        let tools = [
            "b",
            "_b",
            "__b",
            "b__c",
            "c/d",
            "c d",
            "t".repeat(64).leak(),
            "t".repeat(65).leak(),
            "é",
            "b_",
        ];
        let mut seen = BTreeMap::new();
        for server in servers {
            for tool in tools {
                let name = prefixed(&prefix(server), tool);
                assert!(
                    name.len() <= NAME_BYTES_MAX && name.chars().all(is_lawful),
                    "{name}"
                );
                assert_eq!(server_part(&name), Some(&*prefix(server)));
                if let Some(other) = seen.insert(name.clone(), (server, tool)) {
                    panic!("{name} stands for {other:?} and for {:?}", (server, tool));
                }
            }
        }
    }
}
