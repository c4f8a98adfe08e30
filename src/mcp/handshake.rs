//! `initialize`, as asked of servers and as answered to clients.

use super::Era;
use super::capabilities::{ClientCapabilities, ServerCapabilities};
use super::meta;
use super::revision::Revision;
use crate::config::limits::CAPABILITIES_BYTES_MAX;
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;

/// What a client asks for in `initialize`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The revision that will be spoken with it.
    pub revision: Revision,
    /// What it declares.
    pub capabilities: ClientCapabilities,
}

impl Hello {
    /// Reads the params of a client's `initialize`.
    ///
    /// # Errors
    /// The fact, if a required member is missing or of the wrong kind.
    pub fn parse(text: &[u8], params: Option<Span>) -> Result<Hello, &'static str> {
        let params = params
            .filter(|p| text[p.start] == b'{')
            .ok_or("params must be an object")?;
        let version = parse::member(text, params, "protocolVersion")
            .and_then(|span| parse::string(text, span))
            .ok_or("protocolVersion must be a string")?;
        let revision = Revision::negotiate(&version);
        let capabilities = match parse::member(text, params, "capabilities") {
            Some(span) if span.of(text).len() > CAPABILITIES_BYTES_MAX => {
                return Err("capabilities exceed 16384 bytes");
            }
            Some(span) => ClientCapabilities::parse(revision, text, span)
                .ok_or("capabilities must be an object")?,
            None => return Err("capabilities must be an object"),
        };
        Ok(Hello {
            revision,
            capabilities,
        })
    }
}

/// The result of `initialize` that a client gets.
pub fn welcome(
    revision: Revision,
    capabilities: ServerCapabilities,
    instructions: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(320 + instructions.len());
    out.extend_from_slice(br#"{"protocolVersion":""#);
    out.extend_from_slice(revision.name().as_bytes());
    out.extend_from_slice(br#"","capabilities":"#);
    out.extend_from_slice(capabilities.to_json(revision).as_bytes());
    out.extend_from_slice(br#","serverInfo":"#);
    out.extend_from_slice(meta::OURSELVES.as_bytes());
    if !instructions.is_empty() {
        out.extend_from_slice(br#","instructions":"#);
        write::string(&mut out, instructions);
    }
    out.push(b'}');
    out
}

/// The params of `initialize` that a server gets: what the client declared, in our name.
pub fn introduction(capabilities: &str) -> Vec<u8> {
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"switchbox","version":"{}"}}}}"#,
        Revision::LATEST.name(),
        capabilities,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// What a server said of itself: a legacy one in `initialize`, a modern one in `server/discover`
/// (see [`super::discover`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// What it offers.
    pub capabilities: ServerCapabilities,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it wants every client to know; empty if nothing.
    pub instructions: String,
    /// The `_meta` of the result in which it introduced itself, if it is a modern server, and not long. It says of
    /// itself in every result what it said in that one.
    pub said: Box<[u8]>,
}

impl Introduced {
    /// The era it belongs to.
    pub fn era(&self) -> Era {
        self.revision.era()
    }

    /// Reads a server's result of `initialize` at `span` of a message that was checked before.
    ///
    /// # Errors
    /// The fact, if the answer cannot be used.
    pub fn parse(text: &[u8], span: Span) -> Result<Introduced, String> {
        let string = |span: Span, name| {
            parse::member(text, span, name)
                .and_then(|v| parse::string(text, v))
                .map(|s| s.into_owned())
        };
        let chosen = string(span, "protocolVersion")
            .ok_or("its initialize result names no protocolVersion")?;
        let revision = Revision::parse_legacy(&chosen).ok_or_else(|| {
            format!("it chose protocol revision {chosen:?}, which is not spoken here")
        })?;
        let info = parse::member(text, span, "serverInfo");
        Ok(Introduced {
            revision,
            capabilities: parse::member(text, span, "capabilities")
                .map(|c| ServerCapabilities::parse(text, c))
                .unwrap_or_default(),
            name: info.and_then(|i| string(i, "name")).unwrap_or_default(),
            version: info.and_then(|i| string(i, "version")).unwrap_or_default(),
            instructions: string(span, "instructions").unwrap_or_default(),
            said: Box::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welcome_reads_back_as_an_introduction() {
        let text = welcome(
            Revision::LATEST,
            ServerCapabilities::EVERYTHING,
            "be\n\"kind\"",
        );
        let back = Introduced::parse(&text, parse::check(&text).unwrap()).unwrap();
        assert_eq!(back.revision, Revision::LATEST);
        let of_its_era = ServerCapabilities {
            tasks_extension: false,
            ..ServerCapabilities::EVERYTHING
        };
        assert_eq!(back.capabilities, of_its_era);
        assert_eq!(
            (back.name.as_str(), back.instructions.as_str()),
            ("switchbox", "be\n\"kind\"")
        );
    }

    #[test]
    fn introduction_reads_back_as_a_hello() {
        let text = introduction("{}");
        let hello = Hello::parse(&text, Some(parse::check(&text).unwrap())).unwrap();
        assert_eq!(
            hello,
            Hello {
                revision: Revision::LATEST,
                capabilities: ClientCapabilities::none()
            }
        );
    }

    #[test]
    fn incomplete_hello_is_refused_with_the_missing_member() {
        let check = |json: &str, member: &str| {
            let span = parse::check(json.as_bytes()).unwrap();
            assert!(
                Hello::parse(json.as_bytes(), Some(span))
                    .unwrap_err()
                    .contains(member),
                "{json}"
            );
        };
        check(r#"{"capabilities":{}}"#, "protocolVersion");
        check(r#"{"protocolVersion":"2025-11-25"}"#, "capabilities");
        check(
            r#"{"protocolVersion":"2025-11-25","capabilities":[]}"#,
            "capabilities",
        );
        check("[]", "params");
    }

    #[test]
    fn server_with_a_revision_that_initialize_cannot_name_is_refused() {
        for name in ["1999-01-01", Revision::MODERN.name()] {
            let json = format!(r#"{{"protocolVersion":"{name}","capabilities":{{}}}}"#);
            let span = parse::check(json.as_bytes()).unwrap();
            let error = Introduced::parse(json.as_bytes(), span).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
