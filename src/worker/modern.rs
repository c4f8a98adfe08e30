//! A modern client's message, understood: each request stands on its own and says of itself what a legacy
//! client says once for its whole session (2026-07-28 basic/index).
//!
//! What is wrong is looked for in the order of the specification's table, and nothing that is wrong reaches
//! a server.

use super::Worker;
use super::exchange::{Awaits, Declared};
use super::intake::NOTHING;
use super::intent::{Intent, Local, LocalAnswer};
use super::message::{Caller, cancelled_on_line, refuse, string};
use crate::config::limits::{CAPABILITIES_BYTES_MAX, CARD_BYTES_MAX, CATALOGS_MAX};
use crate::http::request::RequestHead;
use crate::http::write::field;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::bridge::request;
use crate::mcp::caching::Caching;
use crate::mcp::capabilities::{ClientCapabilities, TASKS};
use crate::mcp::discover;
use crate::mcp::headers::{HeaderParam, Mirror, Mismatch, check_params};
use crate::mcp::listing;
use crate::mcp::meta::{Meta, VERSION};
use crate::mcp::method::Method;
use crate::mcp::params::{self, Params};
use crate::mcp::revision::Revision;
use crate::refusal::{Refusal, shown};
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::sync::LazyLock;

/// Whether a message carries the envelope of the modern era, whatever its method.
pub(super) fn says_modern(envelope: &Envelope<'_>) -> bool {
    let text = envelope.text;
    // Few legacy messages hold the word at all. What stands before it has a slash, which some writers escape.
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("protocolVersion"));
    WORD.find(text).is_some()
        && envelope
            .params
            .filter(|params| text[params.start] == b'{')
            .and_then(|params| parse::member(text, params, "_meta"))
            .filter(|meta| text[meta.start] == b'{')
            .is_some_and(|meta| parse::member(text, meta, VERSION).is_some())
}

/// Whether a header names a revision without sessions, or one that nobody here knows.
pub(super) fn names_modern(version: Option<&str>) -> bool {
    version.is_some_and(|name| Revision::parse(name).is_none_or(|r| r.era() == Era::Modern))
}

/// What a modern client said of itself last on a connection. Most say the same with every request; what was read
/// once is then not read again.
#[derive(Debug)]
pub(super) struct Card {
    /// The `_meta` as it was written.
    text: Box<[u8]>,
    /// Where in it stands what.
    meta: Meta,
    revision: Revision,
    declared: Declared,
}

impl Card {
    /// That of a request, if the next one is likely to say the same.
    fn of(
        params: &Params,
        text: &[u8],
        revision: Revision,
        declared: &Declared,
    ) -> Option<Box<Card>> {
        let text = params.meta?.of(text);
        if text.len() > CARD_BYTES_MAX || !params.modern.is_lasting() {
            return None;
        }
        let whole = Span {
            start: 0,
            end: text.len(),
        };
        Some(Box::new(Card {
            text: text.into(),
            meta: Meta::parse(text, whole).ok()?,
            revision,
            declared: declared.clone(),
        }))
    }

    /// The `_meta` as it was written.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Worker {
    /// What a modern message comes to; `head` is that of the HTTP request that brought it, `card` what its
    /// sender said of itself before.
    pub(super) fn consider_modern(
        &mut self,
        caller: Caller,
        head: Option<&RequestHead<'_>>,
        envelope: &Envelope<'_>,
        card: &mut Option<Box<Card>>,
    ) -> Intent {
        let mirror = head.map(Mirror::of);
        let repeated: Option<Vec<_>> = head.map(|head| head.mcp_params().collect());
        self.consider_mirrored(caller, mirror.as_ref(), repeated.as_deref(), envelope, card)
    }

    /// What a message comes to that could not be understood when it came.
    pub(super) fn consider_again(&mut self, caller: Caller, unread: &Unread) -> Option<Intent> {
        let envelope = Envelope::parse(&unread.text).ok()?;
        let repeated: Option<Vec<(&str, &[u8])>> = unread.repeated.as_ref().map(|list| {
            list.iter()
                .map(|(name, value)| (&**name, &**value))
                .collect()
        });
        Some(self.consider_mirrored(caller, None, repeated.as_deref(), &envelope, &mut None))
    }

    /// What it comes to, where its head was looked at: `repeated` are the arguments that stand there.
    fn consider_mirrored(
        &mut self,
        mut caller: Caller,
        mirror: Option<&Mirror<'_>>,
        repeated: Option<&[(&str, &[u8])]>,
        envelope: &Envelope<'_>,
        card: &mut Option<Box<Card>>,
    ) -> Intent {
        // There are no sessions in this era: an id that comes along means nothing.
        caller.session = None;
        caller.declared = Some(self.nothing_declared());
        match &envelope.kind {
            Kind::Request { method, id } => {
                let (known, id) = (Method::parse(method), id.of(envelope.text));
                match self.consider_modern_request(
                    &mut caller,
                    mirror,
                    repeated,
                    envelope,
                    id,
                    card,
                ) {
                    Ok(intent) => intent,
                    Err(Refusal::MethodUnknown(_)) => {
                        let refusal = Refusal::MethodUnknown(shown(method));
                        refuse(&caller, id, known, None, refusal)
                    }
                    Err(refusal) => refuse(&caller, id, known, None, refusal),
                }
            }
            // Only who is at the other end of a line has one to send: elsewhere, hanging up cancels.
            Kind::Notification { method } if method == Method::Cancelled.name() => {
                cancelled_on_line(&caller, envelope)
            }
            Kind::Notification { .. } => NOTHING,
            Kind::Result { .. } | Kind::Error { .. } => {
                let fact = "clients of this revision send no responses: what they are asked, they \
                            answer in inputResponses";
                let id = envelope.id().unwrap_or(b"null");
                refuse(
                    &caller,
                    id,
                    Method::Other,
                    None,
                    Refusal::Invalid(fact.into()),
                )
            }
        }
    }

    fn consider_modern_request(
        &mut self,
        caller: &mut Caller,
        mirror: Option<&Mirror<'_>>,
        repeated: Option<&[(&str, &[u8])]>,
        envelope: &Envelope<'_>,
        id: &[u8],
        card: &mut Option<Box<Card>>,
    ) -> Result<Intent, Refusal> {
        let text = envelope.text;
        let name = match &envelope.kind {
            Kind::Request { method, .. } => &**method,
            _ => "",
        };
        let method = Method::parse(name);
        let same = card.as_deref();
        let known = same.map(|card| (card.text(), &card.meta));
        let params = Params::parse_knowing(text, envelope.params, known);
        let meta = params.as_ref().ok().and_then(|params| params.meta);
        let same = same.filter(|card| meta.is_some_and(|meta| meta.of(text) == card.text()));
        if let Some(mirror) = mirror {
            mirror.check_method(name)?;
            let params = params.as_ref().ok();
            if let Some(expected) = params.and_then(|params| named(method, params, text)) {
                mirror.check_name(&expected)?;
            }
            let version = match same {
                Some(card) => Some(Cow::Borrowed(card.revision.name())),
                None => params
                    .and_then(|params| params.modern.version)
                    .and_then(|span| parse::string(text, span)),
            };
            if let Some(version) = version {
                mirror.check_version(&version)?;
            }
        }
        let params = params.map_err(|fact| Refusal::Meta(fact.into()))?;
        let revision = match same {
            Some(card) => card.revision,
            None => revision_of(&params.modern, text)?,
        };
        if self.draining {
            return Err(Refusal::Draining);
        }
        if !method.known_in(Era::Modern) {
            return Err(Refusal::MethodUnknown(name.into()));
        }
        let declared = match same {
            Some(card) => card.declared.clone(),
            None => {
                let (capabilities, level) = (params.modern.capabilities, params.modern.level);
                let declared = Declared {
                    level: level.and_then(|span| params::level(text, span)),
                    ..self.declared_capabilities(text, capabilities)?
                };
                *card = Card::of(&params, text, revision, &declared);
                declared
            }
        };
        caller.declared = Some(declared.clone());
        let (declared, caller) = (&declared, &*caller);
        let local = |answer| {
            Ok(Intent::Local(Local {
                id: id.into(),
                method,
                tool: None,
                principal: caller.principal.clone(),
                answer,
                era: Era::Modern,
                stream_only: caller.stream_only,
            }))
        };
        match method {
            Method::Discover => {
                let catalog = self.table.catalog(caller.capabilities());
                let found = discover::discovered(
                    catalog.capabilities,
                    &catalog.instructions,
                    Caching::NONE,
                );
                return local(LocalAnswer::Result(found));
            }
            Method::Listen => return self.consider_listen(caller, envelope, &params, id),
            _ => {}
        }
        if let Some(kind) = listing::Kind::listed_by(method) {
            let cursor = match params.cursor {
                Some(span) => Some(string(text, span, "cursor")?),
                None => None,
            };
            if let Some(until) = self.lists_awaited_by(declared, &caller.principal) {
                self.admissible(caller)?;
                return Ok(self.begin(caller, id, method, Awaits::Lists(kind, cursor), until));
            }
            return local(self.page_for(
                caller.capabilities(),
                Era::Modern,
                kind,
                cursor.as_deref(),
            ));
        }
        for (member, name, first, fact) in [
            (
                params.request_state,
                "requestState",
                b'"',
                "must be a string",
            ),
            (
                params.input_responses,
                "inputResponses",
                b'{',
                "must be an object",
            ),
        ] {
            if member.is_some_and(|span| text[span.start] != first) {
                return Err(Refusal::Params(format!("{name} {fact}")));
            }
        }
        let mut routed = match self.route(caller, envelope, method, &params) {
            Ok(routed) => routed,
            Err(unknown) => {
                // Whoever has no session has nothing to wait for before, so that it may be early.
                let until = self.lists_awaited_by(declared, &caller.principal);
                let until = until.filter(|_| unknown.may_pass()).ok_or(unknown)?;
                self.admissible(caller)?;
                let owned = |list: &[(&str, &[u8])]| -> Box<[Param]> {
                    let list = list.iter();
                    list.map(|(name, value)| ((*name).into(), (*value).into()))
                        .collect()
                };
                let unread = Awaits::Meaning(Box::new(Unread {
                    text: text.into(),
                    repeated: repeated.map(owned),
                }));
                return Ok(self.begin(caller, id, method, unread, until));
            }
        };
        if let Some(repeated) = repeated {
            let mirrored = routed.mirrored.as_deref().unwrap_or_default();
            check_params(repeated.iter().copied(), mirrored, text, params.arguments)?;
            routed.passed = unknown_params(repeated, mirrored);
        }
        self.begin_routed(caller, envelope, method, id, &params, routed)
    }

    /// What is known of a request that could not be read yet.
    fn nothing_declared(&self) -> Declared {
        Declared {
            capabilities: self.nothing.clone(),
            carried: None,
            level: None,
            tasks: false,
        }
    }

    /// What a client declared, but for its level. The same few objects come with every request, so those that
    /// were read before are remembered by how they are written.
    fn declared_capabilities(
        &mut self,
        text: &[u8],
        span: Option<Span>,
    ) -> Result<Declared, Refusal> {
        let written = span.map_or(&b"{}"[..], |span| span.of(text));
        if let Some(known) = self.declarations.get(written) {
            return Ok(known.clone());
        }
        if written.len() > CAPABILITIES_BYTES_MAX {
            let fact = format!("clientCapabilities exceed {CAPABILITIES_BYTES_MAX} bytes");
            return Err(Refusal::Meta(fact));
        }
        let declared = String::from_utf8_lossy(written);
        let legacy = request::capabilities_for_legacy(&declared);
        let carried = request::capabilities_within_modern(&declared);
        let capabilities = parse::check(legacy.as_bytes())
            .ok()
            .and_then(|span| ClientCapabilities::parse(Revision::MODERN, legacy.as_bytes(), span))
            .ok_or_else(|| Refusal::Meta("clientCapabilities must be an object".into()))?;
        let whole = Span {
            start: 0,
            end: written.len(),
        };
        let tasks = parse::member(written, whole, "extensions")
            .is_some_and(|extensions| parse::member(written, extensions, TASKS).is_some());
        let known = Declared {
            capabilities,
            carried: (carried != declared).then(|| carried.into_bytes().into()),
            level: None,
            tasks,
        };
        if self.declarations.len() >= CATALOGS_MAX {
            self.declarations.clear();
        }
        self.declarations.insert(written.into(), known.clone());
        Ok(known)
    }
}

/// An `Mcp-Param-*` field of a head: the rest of its name, and its value.
type Param = (Box<str>, Box<[u8]>);

/// A message that names what is not known yet.
#[derive(Debug)]
pub(super) struct Unread {
    text: Box<[u8]>,
    /// The arguments that its head repeats, if it has one; the rest of that was found to be right.
    repeated: Option<Box<[Param]>>,
}

/// The `Mcp-Param-*` fields of a head that no schema here knows: they are for who is behind us
/// (2026-07-28 transports/streamable-http, "Server Behavior for Custom Headers").
fn unknown_params(repeated: &[(&str, &[u8])], known: &[HeaderParam]) -> Option<Box<[u8]>> {
    let mut fields = Vec::new();
    for (name, value) in repeated {
        if !known
            .iter()
            .any(|param| param.header.eq_ignore_ascii_case(name))
        {
            field(&mut fields, &format!("mcp-param-{name}"), value);
        }
    }
    (!fields.is_empty()).then(|| fields.into())
}

/// The revision that a request is written in, whose `_meta` says all that it must.
fn revision_of(meta: &Meta, text: &[u8]) -> Result<Revision, Refusal> {
    meta.complete(text)
        .map_err(|fault| Refusal::Meta(fault.to_string()))?;
    let version = meta.version.and_then(|span| parse::string(text, span));
    let version = version.unwrap_or_default();
    let revision = Revision::parse(&version).filter(|revision| revision.era() == Era::Modern);
    revision.ok_or_else(|| Refusal::RevisionUnknown(version.into_owned()))
}

/// What `Mcp-Name` has to repeat, if it has to.
fn named<'a>(method: Method, params: &Params, text: &'a [u8]) -> Option<Cow<'a, str>> {
    let span = match method {
        Method::ToolsCall | Method::PromptsGet => params.name,
        Method::ResourcesRead => params.uri,
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => params.task_id,
        _ => None,
    };
    parse::string(text, span?)
}

impl From<Mismatch> for Refusal {
    fn from(mismatch: Mismatch) -> Refusal {
        Refusal::HeaderMismatch(mismatch.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::says_modern;
    use crate::jsonrpc::envelope::Envelope;
    use crate::mcp::Era;
    use crate::worker::scene::Scene;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn era_is_seen_however_its_words_are_escaped() {
        let check = |params: &str, expected| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            assert_eq!(says_modern(&envelope), expected, "{params}");
        };
        check(
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"v"}}"#,
            true,
        );
        check(
            r#"{"_meta":{"io.modelcontextprotocol\/protocolVersion":"v"}}"#,
            true,
        );
        check(r#"{"_meta":{"protocolVersion":"v"}}"#, false);
        check(r#"{"protocolVersion":"v"}"#, false);
    }

    #[test]
    fn head_is_compared_with_what_is_understood_only_later() {
        let check = |fields: &str, expected: i64| {
            let mut scene = Scene::waiting_for_servers(Duration::from_secs(40));
            let params = json!({"name": "h", "arguments": {"a": "x"}});
            let client = scene.modern_of(fields, "tools/call", params, &json!({}));
            assert_eq!(scene.heard(client), "");
            scene.wakes();
            scene.pass(Duration::from_secs(1));
            let answer = scene.answer(client);
            assert_eq!(answer["error"]["code"], expected, "{answer}");
        };
        check("mcp-param-a: y\r\n", -32020);
        check("", -32020);
    }

    #[test]
    fn server_is_told_of_no_extension_that_is_not_carried() {
        let check = |declared: Value, expected: Value| {
            let mut scene = Scene::new(Era::Modern);
            let meta = json!({"progressToken": "mine", "z": [1]});
            let params = json!({"name": "t", "arguments": {}, "_meta": meta});
            scene.modern_with("tools/call", params, &declared);
            let (_, asked) = scene.asked("tools/call");
            let meta = &asked["params"]["_meta"];
            assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], expected);
            assert_eq!(meta["progressToken"], asked["id"], "{asked}");
            assert_eq!(meta["z"], json!([1]), "{asked}");
        };
        let ui = json!({"mimeTypes": ["text/html"]});
        let carried = json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/ui": ui}});
        let mut more = carried.clone();
        more["extensions"]["com.example/x"] = json!({});
        check(carried.clone(), carried.clone());
        check(more, carried);
        check(
            json!({"extensions": {"com.example/x": {"long": "name"}}}),
            json!({}),
        );
    }
}
