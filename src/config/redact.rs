//! Takes the configuration's secrets out of text that others wrote.
//!
//! A server's error, a child's stderr or a path may quote the very token it was given. Whatever is shown
//! of such text, in logs, in `/status` or to clients as the cause of a failure, goes through a [`Redactor`]
//! first, which knows the values: keys, declared environment, request headers, parameters of a URL. It knows
//! no arguments of commands, which every user of the machine can read anyway.

use super::limits::{HEAD_BYTES_MAX, REDACTED_BYTES_MIN};
use super::{Config, Transport};
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The secrets of one configuration, ready to be found.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a secret inside another leaves nothing of the longer one.
    secrets: Vec<Finder<'static>>,
}

impl Redactor {
    /// Knows every secret value of `config` of [`REDACTED_BYTES_MIN`] bytes and more.
    pub fn new(config: &Config) -> Redactor {
        let mut values = BTreeSet::new();
        let mut learn = |value: &str| {
            for form in [
                value.to_string(),
                percent_encoded(value),
                json_escaped(value),
            ] {
                if value.len() >= REDACTED_BYTES_MIN {
                    values.insert(form);
                }
            }
        };
        for key in &config.keys {
            learn(key.secret.expose());
        }
        for server in &config.servers {
            match &server.transport {
                Transport::Stdio(command) => {
                    command.env.values().for_each(|value| learn(value.expose()));
                }
                Transport::Http(http) => {
                    for (_, value) in &http.headers {
                        let value = value.expose();
                        learn(value);
                        // `Bearer x`: the token is quoted more often than the header.
                        value.split_ascii_whitespace().for_each(&mut learn);
                    }
                    let query = http.path.split_once('?').map_or("", |(_, query)| query);
                    query
                        .split('&')
                        .filter_map(|pair| pair.split_once('='))
                        .for_each(|(_, value)| learn(value));
                }
            }
        }
        let mut values: Vec<String> = values.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Redactor {
            secrets: values
                .iter()
                .map(|value| Finder::new(value).into_owned())
                .collect(),
        }
    }

    /// `text` with `***` in place of every secret.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            let mut rest = 0;
            let mut clean = String::new();
            for at in secret.find_iter(text.as_bytes()) {
                clean.push_str(&text[rest..at]);
                clean.push_str("***");
                rest = at + secret.needle().len();
            }
            if rest > 0 {
                clean.push_str(&text[rest..]);
                text = Cow::Owned(clean);
            }
        }
        text
    }

    /// The same of a text that was cut at its end, without what could be the first part of a secret there. That is
    /// mostly a character or none, of a text that lacks more than that.
    pub fn clean_cut(&self, text: &str) -> String {
        // Half a character, which would hide that what stands before it begins a secret.
        let mut clean = self.clean(text.trim_end_matches('\u{fffd}')).into_owned();
        let begins_secret = |rest: &[u8]| {
            let longer = |secret: &&Finder<'_>| secret.needle().len() > rest.len();
            let mut secrets = self.secrets.iter().filter(longer);
            secrets.any(|secret| secret.needle().starts_with(rest))
        };
        let longest = self
            .secrets
            .first()
            .map_or(0, |secret| secret.needle().len());
        let first = clean.len().saturating_sub(longest);
        let cut = (first..clean.len())
            .find(|at| clean.is_char_boundary(*at) && begins_secret(&clean.as_bytes()[*at..]));
        clean.truncate(cut.unwrap_or(clean.len()));
        clean
    }

    /// At most `bytes_max` of the first bytes of `body`, as text with `***` in place of every secret. It is cut
    /// afterwards, so that no half of a secret is left.
    pub fn quote(&self, body: &[u8], bytes_max: usize) -> String {
        // What a server was sent, and may repeat, is no longer than a head.
        let kept = &body[..body.len().min(bytes_max + HEAD_BYTES_MAX)];
        let text = String::from_utf8_lossy(kept);
        let clean = match kept.len() < body.len() {
            true => self.clean_cut(&text).into(),
            false => self.clean(&text),
        };
        String::from_utf8_lossy(&clean.as_bytes()[..clean.len().min(bytes_max)]).into_owned()
    }
}

/// As it would stand in a URL (RFC 3986 §2.3).
fn percent_encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// As it would stand inside a JSON string.
fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::config_with_secrets;

    #[test]
    fn secrets_are_taken_out_in_every_form() {
        let redactor = Redactor::new(&config_with_secrets());
        let check = |text, expected: &str| assert_eq!(redactor.clean(text), expected);
        check("nothing to hide", "nothing to hide");
        check("key ci.0123456789abcdef refused", "key *** refused");
        check(
            "sent Authorization: Bearer tok/en+42 twice: tok/en+42",
            "sent Authorization: *** twice: ***",
        );
        check("GET /?t=tok%2Fen%2B42", "GET /?t=***");
        check(r#"{"password":"pa\"ss word"}"#, r#"{"password":"***"}"#);
        check("zone UTC", "zone UTC");
        check("/mcp?key=in-the-url", "/mcp?key=***");
        check("größe ci.0123456789abcdefö", "größe ***ö");
    }

    #[test]
    fn text_cut_within_a_secret_holds_none_of_it() {
        let redactor = Redactor::new(&config_with_secrets());
        let check = |text, expected: &str| assert_eq!(redactor.clean_cut(text), expected);
        check("key ci.0123456789abcde", "key ");
        check("key ci.0123456789abcdef", "key ***");
        check("sent Authorization: Bearer tok/", "sent Authorization: ");
        check("key ci.01\u{fffd}", "key ");
        check("nothing to hid", "nothing to hid");
        check("größe ö", "größe ö");
        check("", "");
    }

    #[test]
    fn quote_that_ends_within_a_secret_holds_none_of_it() {
        let redactor = Redactor::new(&config_with_secrets());
        let body = b"unknown key ci.0123456789abcdef, sorry";
        for bytes_max in 0..body.len() {
            let expected = &"unknown key ***, sorry"[..bytes_max.min(22)];
            assert_eq!(redactor.quote(body, bytes_max), expected);
        }
        assert_eq!(redactor.quote("größe".as_bytes(), 3), "gr\u{fffd}");
        let long = "ci.0123456789abcdef".repeat(HEAD_BYTES_MAX / 5);
        let quoted = redactor.quote(long.as_bytes(), HEAD_BYTES_MAX);
        assert_eq!(quoted.replace('*', ""), "");
    }
}
