//! Whether a request may come from where it says: `Host` and `Origin` (MCP transports, "Security Warning").
//!
//! A page on the web can make a browser send requests here, under a name of its own that it points to this
//! machine (DNS rebinding). Such a request names that page's host, so only names that are known to be ours
//! are answered. An address is always ours if we listen on it: no name was resolved to get there. Where a page
//! comes from is another question: that we listen on every address makes none of theirs ours.

use crate::http::Host;
use std::net::{IpAddr, SocketAddr};

/// The names and origins that are answered.
#[derive(Debug)]
pub struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
    addresses: Vec<IpAddr>,
    any_address: bool,
}

impl Gate {
    /// Answers loopback names, the addresses that are listened on, and what is given.
    pub fn new(listen: &[SocketAddr], hosts: &[String], origins: &[String]) -> Gate {
        Gate {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: origins
                .iter()
                .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
                .collect(),
            addresses: listen.iter().map(SocketAddr::ip).collect(),
            any_address: listen.iter().any(|address| address.ip().is_unspecified()),
        }
    }

    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_loopback)
    }

    /// Whether `host` is a name of ours. Without one (HTTP/1.0) no browser is asking.
    pub fn admits_host(&self, host: Option<&Host<'_>>) -> bool {
        host.is_none_or(|host| {
            self.is_ours(host.name)
                || self.any_address && literal(host.name).is_some()
                || self.hosts.contains(&host.text.to_ascii_lowercase())
        })
    }

    /// Whether a page of `origin` may read what `host` answers: it is one of ours, or listed, or of that very
    /// host, which must have been admitted.
    pub fn admits_origin(&self, origin: &str, host: Option<&Host<'_>>) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let is_host = |name| host.is_some_and(|host| host.name.eq_ignore_ascii_case(name));
        matches!(scheme, "http" | "https")
            && Host::parse(authority).is_ok_and(|page| {
                !page.name.is_empty() && (self.is_ours(page.name) || is_host(page.name))
            })
    }

    fn is_ours(&self, name: &str) -> bool {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        is("localhost")
            || self.hosts.iter().any(|host| is(host))
            || literal(name)
                .is_some_and(|address| address.is_loopback() || self.addresses.contains(&address))
    }
}

/// The address that is written in place of a name, if one is.
fn literal(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    bare.unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(listen: &str) -> Gate {
        Gate::new(
            &[listen.parse().unwrap()],
            &["Box.example".into()],
            &["https://app.example".into()],
        )
    }

    #[test]
    fn only_own_names_are_answered() {
        let gate = gate("127.0.0.1:3050");
        let check = |host: &str, expected| {
            assert_eq!(
                gate.admits_host(Some(&Host::parse(host).unwrap())),
                expected,
                "{host}"
            );
        };
        check("localhost", true);
        check("LOCALHOST:3050", true);
        check("127.0.0.1:9", true);
        check("[::1]:3050", true);
        check("box.example", true);
        check("box.example:443", true);
        check("evil.example", false);
        check("evil.localhost", false);
        check("127.0.0.1.evil.example", false);
        check("localhost.", false);
        check("192.168.1.5", false);
        assert!(gate.admits_host(None));
    }

    #[test]
    fn addresses_that_are_listened_on_are_answered() {
        let check = |listen, host: &str, expected| {
            assert_eq!(
                gate(listen).admits_host(Some(&Host::parse(host).unwrap())),
                expected,
                "{listen} {host}"
            );
        };
        check("192.168.1.5:80", "192.168.1.5", true);
        check("192.168.1.5:80", "192.168.1.6", false);
        check("0.0.0.0:80", "192.168.1.6", true);
        check("0.0.0.0:80", "evil.example", false);
    }

    #[test]
    fn foreign_origins_are_not_answered() {
        let gate = gate("127.0.0.1:3050");
        let host = Host::parse("localhost:3050").unwrap();
        let check = |origin, expected| {
            assert_eq!(
                gate.admits_origin(origin, Some(&host)),
                expected,
                "{origin}"
            );
        };
        check("http://localhost:5173", true);
        check("http://127.0.0.1", true);
        check("http://[::1]:80", true);
        check("https://APP.example", true);
        check("https://app.example:444", false);
        check("https://evil.example", false);
        check("http://localhost.evil.example", false);
        check("http://evil.localhost", false);
        check("http://localhost@evil.example", false);
        check("file://localhost", false);
        check("null", false);
        check("", false);
    }

    #[test]
    fn listening_everywhere_admits_no_page_of_another_address() {
        let host = Host::parse("192.168.1.6:80").unwrap();
        for listen in ["0.0.0.0:80", "[::]:80"] {
            let gate = gate(listen);
            let check = |origin, expected| {
                let admitted = gate.admits_origin(origin, Some(&host));
                assert_eq!(admitted, expected, "{listen} {origin}");
            };
            check("http://203.0.113.9", false);
            check("http://[2001:db8::1]", false);
            check("http://192.168.1.6:8080", true);
            check("http://127.0.0.1", true);
            check("http://box.example", true);
            assert!(!gate.admits_origin("http://192.168.1.6", None));
        }
    }
}
