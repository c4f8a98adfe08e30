//! Where an HTTP+SSE server wants its messages: the reference in its `endpoint` event, resolved as a browser
//! would (RFC 3986 §5) and held to the origin of its stream.
//!
//! Messages carry the headers that are configured for the server, credentials among them. A server that could
//! send them elsewhere could have us call any address that we reach, with its operator's key.

use crate::config::limits::TARGET_BYTES_MAX;
use crate::config::url::{self, Url};
use crate::config::{Http, Scheme};
use std::fmt;

/// Why a reference is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// It leads to another origin than the stream came from.
    Elsewhere {
        /// Where the stream came from.
        from: String,
        /// Where it leads.
        to: String,
    },
    /// It is no reference that could be sent.
    Unfit,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::Elsewhere { from, to } => write!(
                f,
                "the endpoint that it names is at {to}, another origin than {from}, and is not used"
            ),
            EndpointError::Unfit => f.write_str("the endpoint that it names is no URL of its own"),
        }
    }
}

/// The path and query to which messages are posted, of a server whose stream came from `http`.
///
/// # Errors
/// See [`EndpointError`].
pub fn resolve(http: &Http, reference: &[u8]) -> Result<String, EndpointError> {
    let text = std::str::from_utf8(reference).map_err(|_| EndpointError::Unfit)?;
    let text = text.trim_ascii();
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    if text.is_empty() || text.len() > TARGET_BYTES_MAX {
        return Err(EndpointError::Unfit);
    }
    let origin = origin(http.scheme, &http.host, http.port);
    let base = http.path.split('?').next().unwrap_or("/");
    let absolute = if text.starts_with("//") {
        format!("{}:{text}", word(http.scheme))
    } else if has_scheme(text) {
        text.to_string()
    } else if text.starts_with('/') {
        format!("{origin}{text}")
    } else if text.starts_with('?') {
        format!("{origin}{base}{text}")
    } else {
        let folder = &base[..base.rfind('/').map_or(0, |slash| slash + 1)];
        format!("{origin}{folder}{text}")
    };
    let Url {
        scheme,
        host,
        port,
        path,
    } = url::parse(&absolute).map_err(|_| EndpointError::Unfit)?;
    let to = self::origin(scheme, &host, port);
    if to != origin {
        return Err(EndpointError::Elsewhere { from: origin, to });
    }
    Ok(without_dots(&path))
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1): a colon before anything that ends one.
fn has_scheme(text: &str) -> bool {
    let end = text.find([':', '/', '?']);
    end.is_some_and(|end| text[end..].starts_with(':'))
}

fn word(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

fn origin(scheme: Scheme, host: &str, port: u16) -> String {
    let scheme = word(scheme);
    match host.contains(':') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

/// A path without `.` and `..` segments (RFC 3986 §5.2.4), its query as it was.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut whole = format!("/{}", kept.join("/"));
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Speaks;

    fn server(url: &str) -> Http {
        let url = url::parse(url).unwrap();
        Http {
            scheme: url.scheme,
            host: url.host,
            port: url.port,
            path: url.path,
            headers: vec![],
            speaks: Speaks::Sse,
        }
    }

    #[test]
    fn reference_is_resolved_as_a_browser_does() {
        let check = |base: &str, reference: &str, expected: &str| {
            let resolved = resolve(&server(base), reference.as_bytes());
            assert_eq!(resolved.as_deref(), Ok(expected), "{reference} at {base}");
        };
        let base = "http://a.example:3001/mcp/sse?k=v";
        check(base, "/messages?sessionId=1", "/messages?sessionId=1");
        check(
            base,
            "messages/?session_id=1",
            "/mcp/messages/?session_id=1",
        );
        check(base, "?sessionId=1", "/mcp/sse?sessionId=1");
        check(base, "../m", "/m");
        check(base, "./m/./n/..", "/mcp/m/");
        check(base, "/../../m?x=/../y", "/m?x=/../y");
        check(base, "http://a.example:3001/m?s=1", "/m?s=1");
        check(base, "HTTP://A.Example:3001/m", "/m");
        check(base, "//a.example:3001/m", "/m");
        check(base, " /m \n", "/m");
        check(base, "/m#f", "/m");
        check("https://a.example/sse", "https://a.example:443/m", "/m");
        check("http://[::1]:3001/sse", "http://[::1]:3001/m", "/m");
        check("http://a.example", "m", "/m");
    }

    #[test]
    fn other_origins_are_refused() {
        let check = |base: &str, reference: &str| {
            let refused = resolve(&server(base), reference.as_bytes()).unwrap_err();
            assert!(
                matches!(refused, EndpointError::Elsewhere { .. }),
                "{reference} at {base}: {refused:?}"
            );
        };
        let base = "https://a.example/sse";
        check(base, "http://a.example/m");
        check(base, "https://a.example:8443/m");
        check(base, "https://b.example/m");
        check(base, "//b.example/m");
        check(base, "https://a.example.evil.example/m");
        check(base, "http://169.254.169.254/latest/meta-data");
        check("http://localhost:3001/sse", "http://127.0.0.1:3001/m");
        check("http://[::1]:3001/sse", "http://[::2]:3001/m");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for reference in [
            "",
            "#f",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "mailto:a@b",
            "https://user@a.example/m",
            "https://a.example@b.example/m",
            "https:///m",
            "/m n",
            "/m\r\nx: y",
            "/\u{e9}",
            "/%zz",
            "\\\\b.example\\m",
            "/\\b.example/m",
        ] {
            let resolved = resolve(&server("https://a.example/sse"), reference.as_bytes());
            assert_eq!(resolved, Err(EndpointError::Unfit), "{reference:?}");
        }
        let long = format!("/{}", "m".repeat(TARGET_BYTES_MAX));
        let resolved = resolve(&server("https://a.example/sse"), long.as_bytes());
        assert_eq!(resolved, Err(EndpointError::Unfit));
        assert_eq!(
            resolve(&server("https://a.example/sse"), b"/\xff"),
            Err(EndpointError::Unfit)
        );
    }

    #[test]
    fn refusal_names_both_origins() {
        let refused = resolve(&server("https://a.example/sse"), b"http://b.example/m");
        let cause = refused.unwrap_err().to_string();
        assert!(
            cause.contains("http://b.example:80") && cause.contains("https://a.example:443"),
            "{cause}"
        );
    }
}
