//! URLs of servers: http and https, strict by refusal.
//!
//! Only what is sent later is kept: scheme, host, port, path with query. A user in the URL is
//! refused, since it would end up in logs; a fragment, since it would be sent nowhere.

use super::Scheme;
use super::words::Expected;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// With TLS or without.
    pub scheme: Scheme,
    /// Lower case, without brackets.
    pub host: String,
    /// The scheme's own, if the URL has none.
    pub port: u16,
    /// With the query, beginning with `/`.
    pub path: String,
}

/// Takes a URL apart. RFC 3986 §3, RFC 9110 §4.2.
pub fn parse(text: &str) -> Result<Url, Expected> {
    let wrong = |what: &str| Err(Expected::new(what));
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Expected::new("a URL such as \"https://example.org/mcp\"")
            .hinting("it begins with http:// or https://"));
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "ws" | "wss" => return wrong("an http:// or https:// URL; WebSockets are not spoken"),
        _ => return wrong("an http:// or https:// URL"),
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.contains('@') {
        return Err(Expected::new("a URL without a user and password")
            .hinting("credentials belong in headers: Authorization = \"Bearer ${TOKEN}\""));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            _ => return wrong("an IPv6 address in brackets such as \"[::1]\""),
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match (port, port.strip_prefix(':')) {
        ("", _) => match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        },
        (_, Some(digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            match digits.parse::<u16>() {
                Ok(port @ 1..) => port,
                _ => return wrong("a port from 1 to 65535"),
            }
        }
        _ => return wrong("a port from 1 to 65535"),
    };
    if !authority.starts_with('[') {
        host_fits(host)?;
    }
    Ok(Url {
        scheme,
        host: host.to_ascii_lowercase(),
        port,
        path: path_of(path)?,
    })
}

fn host_fits(host: &str) -> Result<(), Expected> {
    if !host.is_ascii() {
        return Err(Expected::new("a host name in ASCII")
            .hinting("write international names in their xn-- form"));
    }
    let expected = || Expected::new("a host name or address");
    let labels_fit = host
        .strip_suffix('.')
        .unwrap_or(host)
        .split('.')
        .all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
    if host.len() > 253 || !labels_fit {
        return Err(expected());
    }
    // `127.1` and `0x7f000001` are addresses to some resolvers and names to others.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let numeric = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(Expected::new("an IPv4 address of four decimal numbers"));
    }
    Ok(())
}

fn path_of(path: &str) -> Result<String, Expected> {
    if path.contains('#') {
        return Err(Expected::new("a URL without a fragment")
            .hinting("what follows '#' is never sent to a server"));
    }
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let fits = match byte {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3);
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            b'/' | b'?' | b':' | b'@' | b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if !fits {
            return Err(Expected::new(
                "a URL without spaces and other characters that need encoding",
            )
            .hinting("write them as '%' and two hexadecimal digits"));
        }
    }
    Ok(match path.starts_with('/') {
        true => path.to_string(),
        false => format!("/{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |text, scheme, host: &str, port, path: &str| {
            let expected = Url {
                scheme,
                host: host.into(),
                port,
                path: path.into(),
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("http://localhost", Scheme::Http, "localhost", 80, "/");
        check(
            "HTTPS://Example.ORG/mcp",
            Scheme::Https,
            "example.org",
            443,
            "/mcp",
        );
        check(
            "https://a.b:8443/x/y?k=v&l",
            Scheme::Https,
            "a.b",
            8443,
            "/x/y?k=v&l",
        );
        check("http://a?q", Scheme::Http, "a", 80, "/?q");
        check("http://[::1]:90/%20", Scheme::Http, "::1", 90, "/%20");
        check("http://10.0.0.1:1/", Scheme::Http, "10.0.0.1", 1, "/");
    }

    #[test]
    fn doubtful_urls_are_refused() {
        for text in [
            "",
            "localhost",
            "localhost:3000/mcp",
            "ftp://a/",
            "ws://a/",
            "http://",
            "http:///x",
            "http://user:pw@a/",
            "http://a@b",
            "http://a:0/",
            "http://a:/",
            "http://a:65536/",
            "http://a:+1/",
            "http://[::1",
            "http://[::g]/",
            "http://[::1]x/",
            "http://a b/",
            "http://a/b c",
            "http://a/%2",
            "http://a/%zz",
            "http://a/#f",
            "http://a/\n",
            "http://ü.de/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://1.2.3.256/",
            "http://-a/",
            "http://a..b/",
            "http://a/\u{e9}",
            "http://[fe80::1%25eth0]/",
            "http://0x7f000001/",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
