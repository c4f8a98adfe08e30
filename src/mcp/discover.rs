//! `server/discover`: how a modern server introduces itself, as answered to clients and as asked of servers, where
//! the answer also tells of which era a server is.
//!
//! MCP 2026-07-28, server/discover; basic/versioning, "Backward Compatibility".

use super::capabilities::ServerCapabilities;
use super::handshake::Introduced;
use super::revision::Revision;
use super::{bridge, caching::Caching, meta};
use crate::config::limits::CARD_BYTES_MAX;
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;

/// The result of `server/discover` that a client gets.
///
/// It names the modern revision alone: who can read it need not be told of `initialize`, and servers of both eras
/// do the same.
pub fn discovered(
    capabilities: ServerCapabilities,
    instructions: &str,
    caching: Caching,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(400 + instructions.len());
    out.push(b'{');
    out.extend_from_slice(bridge::listing::modern_members(caching, meta::OURSELVES).as_bytes());
    out.extend_from_slice(br#","supportedVersions":[""#);
    out.extend_from_slice(Revision::MODERN.name().as_bytes());
    out.extend_from_slice(br#""],"capabilities":"#);
    out.extend_from_slice(capabilities.to_json(Revision::MODERN).as_bytes());
    if !instructions.is_empty() {
        out.extend_from_slice(br#","instructions":"#);
        write::string(&mut out, instructions);
    }
    out.push(b'}');
    out
}

impl Introduced {
    /// Reads a modern server's result of `server/discover` at `span` of a message that was checked before.
    ///
    /// Servers of both eras name the modern revision only, so that this says nothing about `initialize`.
    ///
    /// # Errors
    /// The fact, if the answer cannot be used: also that of a legacy server that answers anything to a method
    /// that it does not know.
    pub fn discovered(text: &[u8], span: Span) -> Result<Introduced, String> {
        let string = |span: Span, name| {
            parse::member(text, span, name)
                .and_then(|v| parse::string(text, v))
                .map(|s| s.into_owned())
        };
        let versions = parse::member(text, span, "supportedVersions")
            .filter(|list| text[list.start] == b'[')
            .ok_or("its discover result names no supportedVersions")?;
        if !speaks(text, versions, &[Revision::MODERN]) {
            return Err(format!(
                "it supports {}, of which none is spoken here without initialize",
                String::from_utf8_lossy(versions.of(text))
            ));
        }
        let meta = parse::member(text, span, "_meta").filter(|meta| text[meta.start] == b'{');
        let info = meta.and_then(|meta| parse::member(text, meta, meta::SERVER));
        let said = meta.map(|meta| meta.of(text));
        let said = said.filter(|said| said.len() <= CARD_BYTES_MAX);
        Ok(Introduced {
            revision: Revision::MODERN,
            capabilities: parse::member(text, span, "capabilities")
                .map(|c| ServerCapabilities::parse(text, c))
                .unwrap_or_default(),
            name: info.and_then(|i| string(i, "name")).unwrap_or_default(),
            version: info.and_then(|i| string(i, "version")).unwrap_or_default(),
            instructions: string(span, "instructions").unwrap_or_default(),
            said: said.unwrap_or_default().into(),
        })
    }
}

/// Whether the list of revisions at `span` names one of these.
fn speaks(text: &[u8], span: Span, revisions: &[Revision]) -> bool {
    parse::elements(text, span)
        .filter_map(|element| parse::string(text, element))
        .filter_map(|name| Revision::parse(&name))
        .any(|revision| revisions.contains(&revision))
}

/// Whether the error object at `error`, which answers a modern request, is one that only a modern server gives.
///
/// Any other error means a legacy server, whatever its code. The codes alone are not enough: servers made up codes of
/// their own in this range before it was the specification's, so those that have data must have it. A server
/// that supports revisions with `initialize` only is a legacy one, however well it says so.
pub fn is_modern_error(text: &[u8], error: Span) -> bool {
    let data =
        |name| parse::member(text, error, "data").and_then(|data| parse::member(text, data, name));
    match bridge::error::code(text, error) {
        Some(-32020) => true,
        Some(-32021) => data("requiredCapabilities").is_some_and(|it| text[it.start] == b'{'),
        Some(-32022) => data("supported").is_some_and(|list| {
            text[list.start] == b'['
                && (speaks(text, list, &[Revision::MODERN])
                    || !speaks(text, list, &Revision::LEGACY))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Era;
    use crate::mcp::caching::Scope;

    fn whole(text: &[u8]) -> Span {
        parse::check(text).unwrap()
    }

    #[test]
    fn what_clients_discover_reads_back() {
        let caching = Caching {
            ttl_ms: 60_000,
            scope: Scope::Public,
        };
        let text = discovered(ServerCapabilities::EVERYTHING, "be\n\"kind\"", caching);
        let back = Introduced::discovered(&text, whole(&text)).unwrap();
        assert_eq!((back.era(), back.revision), (Era::Modern, Revision::MODERN));
        let of_its_era = ServerCapabilities {
            tasks: false,
            ..ServerCapabilities::EVERYTHING
        };
        assert_eq!(back.capabilities, of_its_era);
        assert_eq!(
            (&*back.name, &*back.instructions),
            ("switchbox", "be\n\"kind\"")
        );
        assert_eq!(back.version, env!("CARGO_PKG_VERSION"));
        let said = format!(r#"{{"{}":{}}}"#, meta::SERVER, meta::OURSELVES);
        assert_eq!(String::from_utf8_lossy(&back.said), said);
        assert_eq!(Caching::parse(&text, whole(&text)), caching);
        let kind = bridge::result::result_type(&text, whole(&text));
        assert_eq!(kind, bridge::result::Outcome::Complete);
    }

    #[test]
    fn capabilities_are_discovered_as_the_modern_era_knows_them() {
        let text = discovered(ServerCapabilities::EVERYTHING, "", Caching::NONE);
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(text["supportedVersions"], serde_json::json!(["2026-07-28"]));
        assert_eq!(text["capabilities"].get("tasks"), None);
        assert_eq!(text.get("instructions"), None);
    }

    #[test]
    fn server_without_a_common_revision_is_not_understood() {
        let check = |text: &str, fact: &str| {
            let error = Introduced::discovered(text.as_bytes(), whole(text.as_bytes()));
            let error = error.unwrap_err();
            assert!(error.contains(fact), "{text}: {error}");
        };
        check("{}", "supportedVersions");
        check("[]", "supportedVersions");
        check(r#"{"supportedVersions":"2026-07-28"}"#, "supportedVersions");
        check(
            r#"{"supportedVersions":["2027-01-01","2025-11-25"]}"#,
            "2027-01-01",
        );
        let bare = br#"{"supportedVersions":["2025-11-25","2026-07-28"]}"#;
        let bare = Introduced::discovered(bare, whole(bare)).unwrap();
        assert_eq!(
            (bare.capabilities, &*bare.name),
            (ServerCapabilities::default(), "")
        );
    }

    #[test]
    fn only_modern_servers_give_modern_errors() {
        let check = |error: &str, expected: bool| {
            let text = error.as_bytes();
            assert_eq!(is_modern_error(text, whole(text)), expected, "{error}");
        };
        check(r#"{"code":-32020,"message":"header mismatch"}"#, true);
        check(
            r#"{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}"#,
            true,
        );
        check(r#"{"code":-32021,"message":"m"}"#, false);
        check(
            r#"{"code":-32022,"message":"m","data":{"supported":["2026-07-28"],"requested":"x"}}"#,
            true,
        );
        check(
            r#"{"code":-32022,"message":"m","data":{"supported":["2027-01-01"]}}"#,
            true,
        );
        check(
            r#"{"code":-32022,"message":"m","data":{"supported":["2025-11-25","2026-07-28"]}}"#,
            true,
        );
        check(
            r#"{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}"#,
            false,
        );
        check(
            r#"{"code":-32022,"message":"m","data":"2026-07-28"}"#,
            false,
        );
        for code in [-32601, -32602, -32600, -32000, -32001, -32700, 0] {
            check(&format!(r#"{{"code":{code},"message":"m"}}"#), false);
        }
    }
}
