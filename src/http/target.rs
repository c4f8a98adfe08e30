//! What a request is addressed to: the target of its first line, and the host.
//!
//! Both are checked byte by byte here, once, so that nobody later has to wonder what a path or a host
//! name may contain: no control characters, not even escaped ones, no user, no second host.

use memchr::memchr;

use super::head::HeadError;
use super::request::Method;
use crate::config::limits::TARGET_BYTES_MAX;

/// A request target, taken apart. RFC 9112 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path, `/` at least; `*` for `OPTIONS *`. Escapes are left as they came.
    pub path: &'a str,
    /// What stands after the first `?`.
    pub query: Option<&'a str>,
    /// The host of an absolute target, which must be the one that `Host` names.
    pub authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of a request with that method.
    ///
    /// Origin form and absolute form (http, https) are taken, asterisk form of `OPTIONS` alone.
    /// [`HeadError::Target`] for others and for what does not belong into a URI,
    /// [`HeadError::TargetTooLong`].
    pub fn parse(method: Method, text: &'a str) -> Result<Self, HeadError> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(HeadError::TargetTooLong);
        }
        if text == "*" && method == Method::Options {
            return Ok(Target {
                path: "*",
                query: None,
                authority: None,
            });
        }
        check_bytes(text.as_bytes())?;
        let (authority, local) = match text.starts_with('/') {
            true => (None, text),
            false => split_absolute(text).ok_or(HeadError::Target)?,
        };
        let (path, query) = match memchr(b'?', local.as_bytes()) {
            Some(mark) => (&local[..mark], Some(&local[mark + 1..])),
            None => (local, None),
        };
        Ok(Target {
            path: if path.is_empty() { "/" } else { path },
            query,
            authority,
        })
    }
}

/// Authority and remainder of `http://host/path`.
fn split_absolute(text: &str) -> Option<(Option<&str>, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((Some(&rest[..end]), &rest[end..]))
}

/// Refuses what RFC 3986 does not allow in a path or query, and escaped control characters.
///
/// `[`, `]`, `{`, `}` and `|` pass: browsers send them as they are.
fn check_bytes(target: &[u8]) -> Result<(), HeadError> {
    let mut rest = target;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => match after {
                [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let control =
                        matches!(high, b'0' | b'1') || (*high == b'7' && low | 32 == b'f');
                    if control {
                        return Err(HeadError::Target);
                    }
                }
                _ => return Err(HeadError::Target),
            },
            0..=b' ' | 0x7f.. | b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' => {
                return Err(HeadError::Target);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The host a request is for. RFC 9110 §7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Name and port as they were written.
    pub text: &'a str,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub name: &'a str,
    /// The port, when one is given.
    pub port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads `name[:port]`; anything else is [`HeadError::HostMalformed`].
    ///
    /// Narrower than the RFC's `reg-name`: letters, digits, `-`, `.` and `_` are all that a host here
    /// can be called by, and the rest has been used to slip past checks.
    pub fn parse(text: &'a str) -> Result<Self, HeadError> {
        let bracketed = text.starts_with('[').then(|| text.find(']')).flatten();
        let end = match bracketed {
            Some(bracket) => bracket + 1,
            None => memchr(b':', text.as_bytes()).unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(end);
        let lawful = match bracketed {
            Some(_) => name[1..name.len() - 1]
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.'),
            None => name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
        };
        let port = match port.as_bytes() {
            [] | [b':'] => Some(None),
            [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                port[1..].parse().ok().map(Some)
            }
            _ => None,
        };
        match port {
            Some(port) if lawful && !name.is_empty() && name != "[]" => {
                Ok(Host { text, name, port })
            }
            _ => Err(HeadError::HostMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_taken_apart() {
        let check = |text, path, query, authority| {
            let target = Target::parse(Method::Get, text);
            let expected = Target {
                path,
                query,
                authority,
            };
            assert_eq!(target, Ok(expected), "{text}");
        };
        check("/", "/", None, None);
        check("/mcp?a=b?c", "/mcp", Some("a=b?c"), None);
        check("/a%20b/../c", "/a%20b/../c", None, None);
        check("http://h:1/p?q", "/p", Some("q"), Some("h:1"));
        check("HTTPS://h", "/", None, Some("h"));
        check("http://h?q", "/", Some("q"), Some("h"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "", "*", "mcp", "host:443", "ftp://h/", "/a#b", "/a\\b", "/a\0", "/a b", "/\u{e9}",
            "/%", "/%0", "/%zz", "/%00", "/%0d%0a", "/%7f", "/%7F", "/\"", "/<x>",
        ] {
            assert_eq!(
                Target::parse(Method::Get, text),
                Err(HeadError::Target),
                "{text:?}"
            );
        }
        assert!(Target::parse(Method::Options, "*").is_ok());
        let longest = format!("/{}", "a".repeat(TARGET_BYTES_MAX - 1));
        assert!(Target::parse(Method::Get, &longest).is_ok());
        assert_eq!(
            Target::parse(Method::Get, &format!("{longest}a")),
            Err(HeadError::TargetTooLong)
        );
    }

    #[test]
    fn host_is_a_name_and_a_port() {
        let check = |text, name, port| {
            assert_eq!(Host::parse(text), Ok(Host { text, name, port }));
        };
        check("localhost", "localhost", None);
        check("localhost:3050", "localhost", Some(3050));
        check("127.0.0.1:", "127.0.0.1", None);
        check("[::1]:80", "[::1]", Some(80));
        check("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None);
        for bad in [
            "", ":80", "a@b", "a/b", "a,b", "a b", "a:b", "a:80:90", "a:65536", "a:+1", "[::1",
            "[]", "[::1]x", "[g]", "a?b", "a#b", "a%41", "\u{e9}",
        ] {
            assert_eq!(Host::parse(bad), Err(HeadError::HostMalformed), "{bad:?}");
        }
    }
}
