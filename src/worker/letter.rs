//! A request as a server is sent it: in the era that the server speaks, under our id, with what an HTTP head
//! must repeat of it.

use super::message::{Caller, Routed};
use super::parcel::Outgoing;
use crate::config::limits::CATALOGS_MAX;
use crate::http::write::{field, plain_field};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::mcp::bridge::{request, task};
use crate::mcp::headers::{self, write_params};
use crate::mcp::method::Method;
use crate::mcp::params::{LEVELS, Params};
use crate::mcp::revision::Revision;
use crate::refusal::Refusal;
use crate::session::Session;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The level from which on a modern server is asked for log messages in the name of a legacy client that chose
/// none: a modern server that is not asked sends none at all.
const LEVEL_UNCHOSEN: u8 = 1;
const _: () = assert!(LEVELS[LEVEL_UNCHOSEN as usize].len() == "info".len());

/// Bytes of a request beside its params, with room for a longer id in place of the progress token.
const AROUND_PARAMS: usize = 96;

/// What one HTTP request carries.
#[derive(Debug)]
pub(super) struct Letter {
    /// Fields of the head that repeat what the body says.
    pub(super) fields: Vec<u8>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Letter {
    /// A message that needs no fields of its own.
    pub(super) fn plain(body: Vec<u8>) -> Letter {
        let fields = Vec::new();
        Letter { fields, body }
    }

    /// Adds the field that names the revision.
    pub(super) fn name_revision(&mut self, revision: Revision) {
        let name = revision.name().as_bytes();
        field(&mut self.fields, "mcp-protocol-version", name);
    }

    /// A request under our id.
    pub(super) fn request(wire: u64, outgoing: &Outgoing) -> Letter {
        let mut body = Vec::new();
        write_request(&mut body, wire, outgoing);
        let mut fields = Vec::new();
        if outgoing.era == Era::Modern {
            fields.reserve(128);
            mirror(&mut fields, outgoing);
        }
        Letter { fields, body }
    }
}

/// Writes what the head of a modern request repeats of its body (2026-07-28 basic/transports/streamable-http,
/// "Request Metadata").
fn mirror(fields: &mut Vec<u8>, outgoing: &Outgoing) {
    plain_field(fields, "mcp-method", outgoing.method.name());
    fields.extend_from_slice(outgoing.passed.as_deref().unwrap_or_default());
    let params = &outgoing.params;
    let whole = Span {
        start: 0,
        end: params.len(),
    };
    let member = match outgoing.method {
        Method::ToolsCall | Method::PromptsGet => "name",
        Method::ResourcesRead => "uri",
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => "taskId",
        _ => return,
    };
    let name = match &outgoing.name {
        Some(name) => Some(Cow::Borrowed(&**name)),
        None => parse::member(params, whole, member).and_then(|span| parse::string(params, span)),
    };
    if let Some(name) = name {
        plain_field(fields, "mcp-name", &headers::encode(&name));
    }
    if let Some(mirrored) = &outgoing.mirrored {
        let arguments = parse::member(params, whole, "arguments");
        write_params(fields, mirrored, params, arguments);
    }
}

/// The request as the server will see it: its own name for the thing, a gap for its progress token,
/// everything else as it came.
pub(super) fn outgoing(
    caller: &Caller,
    method: Method,
    envelope: &Envelope<'_>,
    params: &Params,
    routed: &Routed,
) -> Outgoing {
    let Some(whole) = envelope.params else {
        return Outgoing {
            era: caller.era(),
            method,
            params: Vec::new(),
            token: None,
            subscription: None,
            level: caller.declared.as_ref().and_then(|declared| declared.level),
            mirrored: None,
            passed: None,
            task: None,
            name: None,
            hop: None,
            bare: false,
            goes_on: false,
        };
    };
    let text = whole.of(envelope.text);
    let within = |span: Span| Span {
        start: span.start - whole.start,
        end: span.end - whole.start,
    };
    let mut token = params.modern.token.map(within);
    let of_hop = caller.era() == Era::Modern && params.modern.is_lasting();
    let mut hop = params.meta.filter(|_| of_hop).map(within);
    let name = routed.name.as_ref();
    let name = name.map(|(span, name)| (within(*span), Cow::Owned(write::quoted(name))));
    let carried = caller
        .declared
        .as_ref()
        .and_then(|it| it.carried.as_deref());
    let carried = params.modern.capabilities.zip(carried);
    let carried = carried.map(|(span, carried)| (within(span), Cow::Borrowed(carried)));
    // What does not change is nothing at the front that becomes nothing.
    let mut changes = [name, carried].map(Option::unwrap_or_default);
    changes.sort_by_key(|(span, _)| span.start);
    let mut changed = Vec::with_capacity(text.len() + 16);
    write::spliced(&mut changed, text, &changes);
    // What comes after a change has moved by the difference in length.
    let moved = |at: usize| {
        let before = changes.iter().filter(|(span, _)| span.start < at);
        before.fold(at, |at, (span, new)| {
            at + new.len() - (span.end - span.start)
        })
    };
    for place in token.iter_mut().chain(&mut hop) {
        place.start = moved(place.start);
        place.end = moved(place.end);
    }
    let mut bare = params.meta.is_none() && params.task.is_none();
    let wishing = routed.wish.and_then(|wish| task::wishing(&changed, wish));
    if let Some(wishing) = wishing {
        (token, hop, bare) = (token_of(&wishing), None, false);
        changed = wishing;
    }
    Outgoing {
        era: caller.era(),
        method,
        params: changed,
        token,
        subscription: routed.subscription.clone(),
        level: caller.declared.as_ref().and_then(|declared| declared.level),
        mirrored: routed.mirrored.clone(),
        passed: routed.passed.clone(),
        task: routed.task,
        name: routed.name.as_ref().map(|(_, name)| name.clone()),
        hop,
        bare,
        goes_on: caller.era() == Era::Modern && params.request_state.is_some(),
    }
}

/// What requests in the name of legacy clients say of their senders to modern servers, by what the sessions
/// declared and by level: the same for each request, so that it is written once.
#[derive(Debug, Default)]
pub(super) struct OwnMetas(BTreeMap<Box<str>, ByLevel>);

type ByLevel = [Option<Box<[u8]>>; LEVELS.len()];

impl OwnMetas {
    /// What those of this session say, or of clients without one.
    fn of(&mut self, session: Option<&Session>) -> &[u8] {
        let declared = session.map_or("{}", |session| session.capabilities.text());
        let level = session.and_then(|session| session.level());
        let level = level.unwrap_or(LEVEL_UNCHOSEN);
        if !self.0.contains_key(declared) {
            if self.0.len() >= CATALOGS_MAX {
                self.0.clear();
            }
            self.0.insert(declared.into(), Default::default());
        }
        let levels = self
            .0
            .get_mut(declared)
            .expect("it is there, or was put there");
        levels[usize::from(level)].get_or_insert_with(|| {
            let capabilities = request::capabilities_for_modern(declared);
            request::own_meta(&capabilities, None, Some(level)).into()
        })
    }
}

/// Why a server of that era must not be sent a request, if it is one that it would misunderstand.
pub(super) fn misfit(outgoing: &Outgoing, era: Option<Era>, server: &str) -> Option<Refusal> {
    if era != Some(Era::Legacy) || !outgoing.goes_on {
        return None;
    }
    Some(match outgoing.era {
        Era::Modern => Refusal::StateUnknown(
            "requestState was made before its server changed its protocol revision".into(),
        ),
        Era::Legacy => Refusal::Failed {
            server: server.into(),
            cause: "it has changed its protocol revision meanwhile; try again".into(),
        },
    })
}

/// A request as a server of that era must be sent it; `session` is its client's, if it has one.
pub(super) fn suited<'a>(
    outgoing: &'a Outgoing,
    era: Era,
    session: Option<&Session>,
    own_metas: &mut OwnMetas,
) -> Cow<'a, Outgoing> {
    let (params, token) = match (outgoing.era, era) {
        (Era::Legacy, Era::Modern) if outgoing.bare => {
            let own_meta = own_metas.of(session);
            (request::bare_for_modern(&outgoing.params, own_meta), None)
        }
        (Era::Legacy, Era::Modern) => request::for_modern(&outgoing.params, own_metas.of(session)),
        (Era::Modern, Era::Legacy) => request::for_legacy(&outgoing.params, outgoing.hop),
        (Era::Legacy, Era::Legacy) | (Era::Modern, Era::Modern) => return Cow::Borrowed(outgoing),
    };
    Cow::Owned(Outgoing {
        era,
        method: outgoing.method,
        params,
        token,
        subscription: None,
        level: outgoing.level,
        mirrored: outgoing.mirrored.clone(),
        passed: None,
        task: outgoing.task,
        name: outgoing.name.clone(),
        hop: None,
        bare: false,
        goes_on: outgoing.goes_on,
    })
}

/// Where the progress token stands in a request's params.
pub(super) fn token_of(params: &[u8]) -> Option<Span> {
    let whole = Span {
        start: 0,
        end: params.len(),
    };
    let meta = parse::member(params, whole, "_meta").filter(|meta| params[meta.start] == b'{')?;
    parse::member(params, meta, "progressToken")
}

/// A request with our id, and our progress token where the client wants progress.
pub(super) fn write_request(out: &mut Vec<u8>, id: u64, outgoing: &Outgoing) {
    out.reserve(outgoing.params.len() + AROUND_PARAMS);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    write::integer(out, id);
    out.extend_from_slice(br#","method":""#);
    out.extend_from_slice(outgoing.method.name().as_bytes());
    out.push(b'"');
    if !outgoing.params.is_empty() {
        out.extend_from_slice(br#","params":"#);
        let params = &outgoing.params;
        match outgoing.token {
            Some(token) => {
                out.extend_from_slice(&write::one_line(&params[..token.start]));
                write::integer(out, id);
                out.extend_from_slice(&write::one_line(&params[token.end..]));
            }
            None => out.extend_from_slice(&write::one_line(params)),
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_one_line_with_our_id_and_token() {
        let params = b"{\"_meta\":{\"progressToken\":\"mine\"},\r\n \"name\":\"x\"}".to_vec();
        let token = Some(Span { start: 26, end: 32 });
        let outgoing = Outgoing {
            era: Era::Legacy,
            method: Method::ToolsCall,
            params,
            token,
            subscription: None,
            level: None,
            mirrored: None,
            passed: None,
            task: None,
            name: None,
            hop: None,
            bare: false,
            goes_on: false,
        };
        let mut out = Vec::new();
        write_request(&mut out, 77, &outgoing);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"_meta":{"progressToken":77},   "name":"x"}}"#
        );
    }
}
