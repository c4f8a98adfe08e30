//! The envelope of a modern request: what its `params._meta` says about revision, client and log level.
//!
//! Reading finds places and refuses only what two readers could see differently. Whether a request says
//! all that a modern one must is [`Meta::complete`]: a legacy request carries a `_meta` too, and owes
//! nothing but its progress token.
//! MCP 2026-07-28, basic, "Per-request protocol fields".

use super::params;
use crate::config::limits::CAPABILITIES_BYTES_MAX;
use crate::jsonrpc::parse::{self, Among, Span};
use std::fmt;

/// What the names of the protocol's own members of `_meta` begin with.
pub const PREFIX: &str = "io.modelcontextprotocol/";

/// Name of the member that names the revision.
pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Name of the member that holds the client's capabilities.
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Name of the member that names the client.
pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
/// Name of the member that asks for log messages.
pub const LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Name of the member that says which listen a notification belongs to.
pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Name of the member of a result that names the server.
pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
/// Name of the member that says which experimental task of 2025-11-25 a message belongs to.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// Name of the member that asks for progress, in both eras.
pub const TOKEN: &str = "progressToken";

/// Names of what every modern request says of the hop that it makes, and which the next hop says anew.
pub const OF_HOP: [&str; 4] = [VERSION, CAPABILITIES, CLIENT, LEVEL];

/// Who we are, as the value of [`CLIENT`] and of [`SERVER`].
pub const OURSELVES: &str = concat!(
    r#"{"name":"switchbox","title":"switchbox","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// The token first: of a legacy `_meta` it is mostly the only member.
const NAMES: [&str; 6] = [TOKEN, VERSION, CAPABILITIES, CLIENT, LEVEL, SUBSCRIPTION];

/// The members of `_meta` that somebody here looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The revision the request is written in.
    pub version: Option<Span>,
    /// What the client can do, for this request.
    pub capabilities: Option<Span>,
    /// Which client it is.
    pub client: Option<Span>,
    /// The least serious log messages it wants of this request.
    pub level: Option<Span>,
    /// Under which it wants to hear of progress.
    pub token: Option<Span>,
    /// The listen that a notification belongs to.
    pub subscription: Option<Span>,
    /// Whether there are members that nobody here looks at.
    pub has_others: bool,
}

/// What is wrong with a request's parameters, and with which member of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member at fault.
    pub member: &'static str,
    /// What is wrong with it; reads on from its name.
    pub fact: &'static str,
}

impl Fault {
    pub(super) const fn new(member: &'static str, fact: &'static str) -> Fault {
        Fault { member, fact }
    }

    /// The member stands there twice.
    pub(super) const fn twice(member: &'static str) -> Fault {
        Fault::new(member, "stands there twice")
    }

    /// Something stands there that a reader who ignores case takes for the member.
    pub(super) const fn twin(member: &'static str) -> Fault {
        Fault::new(member, "is spelt in another case")
    }

    /// The member is no object.
    pub(super) const fn no_object(member: &'static str) -> Fault {
        Fault::new(member, "must be an object")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.member, self.fact)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for String {
    fn from(fault: Fault) -> String {
        fault.to_string()
    }
}

impl Meta {
    /// Reads the object at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The first member that stands there twice or is spelt in another case; `_meta` if it is no object.
    pub fn parse(text: &[u8], span: Span) -> Result<Meta, Fault> {
        if text[span.start] != b'{' {
            return Err(Fault::no_object("_meta"));
        }
        let mut meta = Meta::default();
        for (key, value) in parse::members(text, span) {
            let at = match key.among(&NAMES) {
                Among::Is(at) => at,
                Among::Resembles(at) => return Err(Fault::twin(NAMES[at])),
                Among::Unknown => {
                    meta.has_others = true;
                    continue;
                }
            };
            let place = match at {
                0 => &mut meta.token,
                1 => &mut meta.version,
                2 => &mut meta.capabilities,
                3 => &mut meta.client,
                4 => &mut meta.level,
                _ => &mut meta.subscription,
            };
            if place.replace(value).is_some() {
                return Err(Fault::twice(NAMES[at]));
            }
        }
        Ok(meta)
    }

    /// Whether the next request of the same client is likely to say the same: nothing in it is of this one alone.
    pub fn is_lasting(&self) -> bool {
        self.token.is_none() && self.subscription.is_none() && !self.has_others
    }

    /// The same in a text in which all of it stands `from` bytes further behind.
    pub fn behind(&self, from: usize) -> Meta {
        let behind = |span: Option<Span>| {
            span.map(|span| Span {
                start: span.start + from,
                end: span.end + from,
            })
        };
        Meta {
            version: behind(self.version),
            capabilities: behind(self.capabilities),
            client: behind(self.client),
            level: behind(self.level),
            token: behind(self.token),
            subscription: behind(self.subscription),
            has_others: self.has_others,
        }
    }

    /// Whether the request says all that a modern one must, each member of its kind.
    ///
    /// # Errors
    /// The first member that is missing or of the wrong kind: -32602.
    pub fn complete(&self, text: &[u8]) -> Result<(), Fault> {
        let version = self.version.ok_or(Fault::new(VERSION, "is missing"))?;
        if parse::string(text, version).is_none() {
            return Err(Fault::new(VERSION, "must be a string"));
        }
        let capabilities = self
            .capabilities
            .ok_or(Fault::new(CAPABILITIES, "is missing"))?
            .of(text);
        if capabilities[0] != b'{' {
            return Err(Fault::no_object(CAPABILITIES));
        }
        if capabilities.len() > CAPABILITIES_BYTES_MAX {
            return Err(Fault::new(CAPABILITIES, "exceeds 16384 bytes"));
        }
        if let Some(client) = self.client {
            let (mut name, mut version) = (false, false);
            for (key, value) in parse::members(text, client) {
                let says = if key.is("name") {
                    &mut name
                } else if key.is("version") {
                    &mut version
                } else {
                    continue;
                };
                *says = parse::string(text, value).is_some();
            }
            if !name || !version {
                return Err(Fault::new(
                    CLIENT,
                    "must be an object with a name and a version",
                ));
            }
        }
        if self.level.is_some_and(|l| params::level(text, l).is_none()) {
            return Err(Fault::new(LEVEL, "must be one of RFC 5424's levels"));
        }
        if self.token.is_some_and(|token| !is_token(token.of(text))) {
            return Err(Fault::new(TOKEN, "must be a string or an integer"));
        }
        Ok(())
    }
}

const _: () = assert!(CAPABILITIES_BYTES_MAX == 16384);

/// Whether this value, which is JSON, is a string or an integer.
fn is_token(raw: &[u8]) -> bool {
    let digits = raw.strip_prefix(b"-").unwrap_or(raw);
    raw[0] == b'"' || digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &str) -> Result<Meta, Fault> {
        Meta::parse(json.as_bytes(), parse::check(json.as_bytes()).unwrap())
    }

    /// A complete `_meta`, with these members in place of those of the same name; an empty one is left out.
    fn with(members: &[(&str, &str)]) -> String {
        let mut all = vec![
            (VERSION, r#""2026-07-28""#),
            (CAPABILITIES, r#"{"sampling":{}}"#),
            (CLIENT, r#"{"name":"c","version":"1","title":"C"}"#),
            (LEVEL, r#""notice""#),
            (TOKEN, "-7"),
            ("traceparent", r#""00-1-2-00""#),
        ];
        all.retain(|(name, _)| !members.iter().any(|(other, _)| other == name));
        all.extend(members.iter().filter(|(_, value)| !value.is_empty()));
        let all: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        format!("{{{}}}", all.join(","))
    }

    #[test]
    fn members_are_found_whatever_stands_beside_them() {
        let json = with(&[(SUBSCRIPTION, r#""s""#)]);
        let found = meta(&json).unwrap();
        let check = |place: Option<Span>, expected: &str| {
            assert_eq!(place.unwrap().of(json.as_bytes()), expected.as_bytes());
        };
        check(found.version, r#""2026-07-28""#);
        check(found.capabilities, r#"{"sampling":{}}"#);
        check(found.client, r#"{"name":"c","version":"1","title":"C"}"#);
        check(found.level, r#""notice""#);
        check(found.token, "-7");
        check(found.subscription, r#""s""#);
    }

    #[test]
    fn names_of_the_protocol_have_its_prefix() {
        for name in NAMES {
            assert_eq!(name.starts_with(PREFIX), name != TOKEN, "{name}");
        }
    }

    #[test]
    fn what_two_readers_would_see_differently_is_refused() {
        for name in NAMES {
            let twice = format!(r#"{{"{name}":1,"x":0,"{name}":2}}"#);
            assert_eq!(meta(&twice), Err(Fault::twice(name)));
            let twin = format!(r#"{{"{}":1}}"#, name.to_uppercase());
            assert_eq!(meta(&twin), Err(Fault::twin(name)));
            let escaped = name.replacen('o', "\\u006f", 1);
            let escaped = format!(r#"{{"{name}":1,"{escaped}":2}}"#);
            assert_eq!(meta(&escaped), Err(Fault::twice(name)));
        }
        assert_eq!(meta("[]"), Err(Fault::no_object("_meta")));
    }

    #[test]
    fn modern_request_says_what_it_must() {
        let check = |members: &[(&str, &str)], expected: Option<&str>| {
            let json = with(members);
            let verdict = meta(&json).unwrap().complete(json.as_bytes());
            assert_eq!(verdict.err().map(|fault| fault.member), expected, "{json}");
        };
        check(&[], None);
        check(&[(CLIENT, ""), (LEVEL, ""), (TOKEN, "")], None);
        check(&[(VERSION, "")], Some(VERSION));
        check(&[(VERSION, "20260728")], Some(VERSION));
        check(&[(VERSION, "null")], Some(VERSION));
        check(&[(VERSION, "\"1999-01-01\"")], None);
        check(&[(CAPABILITIES, "")], Some(CAPABILITIES));
        check(&[(CAPABILITIES, "[]")], Some(CAPABILITIES));
        check(&[(CAPABILITIES, "{}")], None);
        let large = format!("{{\"x\":\"{}\"}}", "x".repeat(CAPABILITIES_BYTES_MAX));
        check(&[(CAPABILITIES, &large)], Some(CAPABILITIES));
        check(&[(CLIENT, "\"c\"")], Some(CLIENT));
        check(&[(CLIENT, r#"{"name":"c"}"#)], Some(CLIENT));
        check(&[(CLIENT, r#"{"name":"c","version":1}"#)], Some(CLIENT));
        check(&[(CLIENT, "null")], Some(CLIENT));
        check(&[(LEVEL, r#""loud""#)], Some(LEVEL));
        check(&[(LEVEL, r#""Notice""#)], Some(LEVEL));
        check(&[(LEVEL, "3")], Some(LEVEL));
        check(&[(TOKEN, "\"a\"")], None);
        check(&[(TOKEN, "1.5")], Some(TOKEN));
        check(&[(TOKEN, "1e3")], Some(TOKEN));
        check(&[(TOKEN, "null")], Some(TOKEN));
        check(&[(TOKEN, "{}")], Some(TOKEN));
        check(&[(SUBSCRIPTION, "{}")], None);
    }

    #[test]
    fn request_without_meta_lacks_its_version_first() {
        let fault = Meta::default().complete(b"").unwrap_err();
        assert_eq!(String::from(fault), format!("{VERSION} is missing"));
    }
}
