//! A client's HTTP request, understood: whether it is let in, what it is for, whose it is.

use super::batch::takes_batches;
use super::effect::{OpsPath, OpsRequest};
use super::exchange::Sink;
use super::intent::{Intent, Note, Reply};
use super::message::Caller;
use super::modern::{Card, names_modern, says_modern};
use super::sse_front::Half;
use super::{Front, Worker};
use crate::auth::keys::Verdict;
use crate::downstream::{Fault, Request};
use crate::event::{Event, RequestAnswered};
use crate::http::request::RequestHead;
use crate::http::{Method, is_token_byte, media_type};
use crate::id::ConnectionId;
use crate::jsonrpc::envelope::{Envelope, EnvelopeError};
use crate::jsonrpc::write;
use crate::mcp::Era;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::session::replay::EventId;
use crate::session::store::SessionId;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where clients call.
const ENDPOINT: &str = "/mcp";
const ENDPOINT_METHODS: &str = "GET, POST, DELETE, OPTIONS";
/// Fields that a page's request may have.
const HEADERS: &str = "authorization, content-type, accept, last-event-id, mcp-protocol-version, \
                       mcp-session-id, mcp-method, mcp-name, x-api-key";
const OPS_METHODS: &str = "GET, HEAD, OPTIONS";
/// Bytes of a path that the access log gets.
const PATH_BYTES_LOGGED: usize = 128;

/// Who asks, and what the connection remembers.
pub(super) struct Asking<'a> {
    pub(super) id: ConnectionId,
    pub(super) address: IpAddr,
    pub(super) front: Front,
    pub(super) session: &'a mut Option<Arc<Session>>,
    pub(super) card: &'a mut Option<Box<Card>>,
    pub(super) origin: &'a mut Option<Box<str>>,
}

impl Worker {
    /// What a request comes to.
    pub(super) fn consider_request(
        &mut self,
        mut asking: Asking<'_>,
        request: &Request<'_>,
    ) -> Intent {
        let head = &request.head;
        *asking.origin = None;
        let path = head.target.path;
        let note = Noted {
            method: head.method,
            path,
            address: asking.address,
        };
        if let Some(ops) = OpsPath::parse(path) {
            // What they show is for who operates this, not for a page that had a name of its own point here.
            // Behind wider addresses any name may be right: a probe's, a balancer's.
            let telling = !matches!(ops, OpsPath::Live | OpsPath::Ready);
            if telling && self.gate.is_local() && !self.gate.admits_host(head.host.as_ref()) {
                return note.problem(403, "this Host is not a name of switchbox", Vec::new());
            }
            return match head.method {
                Method::Get | Method::Head => {
                    let mut names = head.fields().map(|(name, _)| name);
                    let request = OpsRequest {
                        path: ops,
                        peer: asking.address,
                        proxied: names.any(is_of_proxy),
                    };
                    Intent::Ops(request, note.of(200, None))
                }
                Method::Options => note.reply(204, vec![("allow", OPS_METHODS.into())], Vec::new()),
                _ => note.problem(
                    405,
                    "this path is only read",
                    vec![("allow", OPS_METHODS.into())],
                ),
            };
        }
        let half = Half::parse(path).filter(|_| self.config.http_sse);
        if (path != ENDPOINT && half.is_none()) || asking.front == Front::Metrics {
            return note.problem(
                404,
                "there is nothing at this path; MCP is at /mcp",
                Vec::new(),
            );
        }
        if !self.gate.admits_host(head.host.as_ref()) {
            let fact = "this Host is not a name of switchbox; list it under hosts if it should be";
            return note.refuse(&Refusal::Forbidden(fact.into()), None);
        }
        if let Some(origin) = head.origin {
            if !self.gate.admits_origin(origin, head.host.as_ref()) {
                let fact =
                    "pages of this Origin may not call; list it under origins if they should";
                return note.refuse(&Refusal::Forbidden(fact.into()), None);
            }
            *asking.origin = Some(origin.into());
        }
        if head.method == Method::Options {
            let methods = half.map_or(ENDPOINT_METHODS, Half::methods);
            return note.preflight(methods, head);
        }
        let principal = match self.keys.judge(head.authorization, head.api_key) {
            Verdict::Open => None,
            Verdict::Known(principal) => Some(principal),
            Verdict::Unknown => return note.refuse(&Refusal::Unauthorized, None),
        };
        if let Some(half) = half {
            return self.consider_half(half, request, &note, principal);
        }
        let by_header = names_modern(head.protocol_version);
        if head.method == Method::Post {
            if !head.content_type.is_none_or(is_json_or_unsaid) {
                return note.refuse(&Refusal::MediaType, principal);
            }
            let accept = head.accept;
            if accept.stated && !accept.json && !accept.event_stream {
                return note.refuse(&Refusal::NotAcceptable, principal);
            }
            let stream_only = accept.stated && !accept.json;
            let mut caller = Caller {
                sink: Sink::Answer {
                    connection: asking.id,
                    may_stream: accept.stated && accept.event_stream,
                },
                stream_only,
                session: None,
                principal,
                peer: Some(asking.address),
                declared: None,
            };
            let known = asking.card.as_ref().map_or(&[][..], |card| card.text());
            let read = Envelope::parse_knowing(request.body, known);
            let modern = read
                .as_ref()
                .map_or(by_header, |envelope| by_header || says_modern(envelope));
            if !modern {
                let session =
                    self.session_of_request(&mut asking, head.session_id, &caller.principal);
                caller.session = match session {
                    Ok(session) => session,
                    Err(refusal) => return note.refuse(&refusal, caller.principal),
                };
                // Without a session nobody could answer what is asked on a stream.
                if let Sink::Answer { may_stream, .. } = &mut caller.sink {
                    *may_stream &= caller.session.is_some() || stream_only;
                }
            }
            let intent = match read {
                Ok(envelope) if modern => {
                    self.consider_modern(caller, Some(head), &envelope, asking.card)
                }
                Ok(envelope) => self.consider_message(caller, &envelope),
                Err(EnvelopeError::Batch)
                    if !modern
                        && takes_batches(
                            caller.session.as_deref(),
                            Some(head.protocol_version),
                        ) =>
                {
                    match self.consider_batch(&caller, request.body) {
                        Ok(mut batched) => {
                            batched.note = Some(note.of(202, caller.principal));
                            Intent::Batch(batched)
                        }
                        Err(refusal) => note.refuse(&refusal, caller.principal),
                    }
                }
                Err(error) => {
                    let refusal = Refusal::from(&error);
                    note.refuse_with_id(&refusal, id_of(&error), caller.principal)
                }
            };
            return match intent {
                // What is only taken in is answered by HTTP alone.
                Intent::Note(action, None) => Intent::Note(action, Some(note.of(202, None))),
                intent => intent,
            };
        }
        if by_header && matches!(head.method, Method::Get | Method::Delete) {
            let fact = "this protocol revision has no streams or sessions of their own: use POST";
            return note.problem(405, fact, vec![("allow", "POST, OPTIONS".into())]);
        }
        let session = match self.session_of_request(&mut asking, head.session_id, &principal) {
            Ok(session) => session,
            Err(refusal) => return note.refuse(&refusal, principal),
        };
        match head.method {
            Method::Get => {
                if head.accept.stated && !head.accept.event_stream {
                    return note.refuse(&Refusal::NotAcceptable, principal);
                }
                let Some(session) = session else {
                    let fact = "a stream belongs to a session: send Mcp-Session-Id";
                    return note.refuse(&Refusal::Invalid(fact.into()), principal);
                };
                let last = head.last_event_id.and_then(EventId::parse);
                Intent::Stream(session, last, note.of(200, principal))
            }
            Method::Delete => match session {
                Some(session) => Intent::End(session, note.of(200, principal)),
                None => {
                    let fact = "there is no session to end: send Mcp-Session-Id";
                    note.refuse(&Refusal::Invalid(fact.into()), principal)
                }
            },
            _ => note.problem(
                405,
                "MCP uses GET, POST and DELETE",
                vec![("allow", ENDPOINT_METHODS.into())],
            ),
        }
    }

    /// The session that a request names. It may come from the connection's memory; whether it is still open
    /// is looked at, and whose it is: an id that leaked must not let another principal in.
    fn session_of_request(
        &self,
        asking: &mut Asking<'_>,
        id: Option<&str>,
        principal: &Option<Arc<str>>,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        let Some(id) = id else { return Ok(None) };
        let session = self.find_session(id, asking.session);
        let session = session.filter(|session| session.principal == *principal);
        let session = session.ok_or(Refusal::SessionUnknown)?;
        session.touch(self.now);
        Ok(Some(session))
    }

    fn find_session(
        &self,
        id: &str,
        remembered: &mut Option<Arc<Session>>,
    ) -> Option<Arc<Session>> {
        let id = SessionId::parse(id.as_bytes())?;
        if let Some(session) = remembered
            .as_ref()
            .filter(|session| session.id == id && !session.is_ended())
        {
            return Some(session.clone());
        }
        *remembered = self.sessions.find(id);
        remembered.clone()
    }

    /// A client's bytes could not be read as a request.
    pub(super) fn note_fault(&mut self, address: IpAddr, fault: Fault) {
        self.event(Event::RequestAnswered(Box::new(RequestAnswered {
            peer: address,
            method: "-",
            path: "-".into(),
            status: fault.status(),
            principal: None,
            took: Duration::ZERO,
        })));
    }
}

fn id_of(error: &EnvelopeError) -> Option<&[u8]> {
    match error {
        EnvelopeError::Invalid { id, .. } => id.as_deref(),
        _ => None,
    }
}

/// JSON, or what a program sends that was not told to say: `curl -d` names the type of a form. Pages cannot
/// abuse that, since their `Origin` was looked at before.
pub(super) fn is_json_or_unsaid(content_type: &str) -> bool {
    let kind = media_type(content_type);
    ["application/json", "application/x-www-form-urlencoded"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}

/// Whether a field of that name is one that proxies add for whom they ask.
fn is_of_proxy(name: &str) -> bool {
    ["forwarded", "via", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// What the access log gets to know of a request.
pub(super) struct Noted<'a> {
    method: Method,
    path: &'a str,
    address: IpAddr,
}

impl Noted<'_> {
    pub(super) fn of(&self, status: u16, principal: Option<Arc<str>>) -> Box<RequestAnswered> {
        let mut end = self.path.len().min(PATH_BYTES_LOGGED);
        while !self.path.is_char_boundary(end) {
            end -= 1;
        }
        Box::new(RequestAnswered {
            peer: self.address,
            method: self.method.as_str(),
            path: self.path[..end].into(),
            status,
            principal,
            took: Duration::ZERO,
        })
    }

    fn reply(&self, status: u16, fields: Vec<(&'static str, Vec<u8>)>, body: Vec<u8>) -> Intent {
        Intent::Reply(Reply {
            status,
            fields,
            body,
            note: Some(self.of(status, None)),
        })
    }

    /// An answer that is no JSON-RPC (RFC 9457).
    pub(super) fn problem(
        &self,
        status: u16,
        detail: &str,
        mut fields: Vec<(&'static str, Vec<u8>)>,
    ) -> Intent {
        let mut body = Vec::new();
        crate::http::write::problem(&mut body, status, detail);
        fields.push(("content-type", b"application/problem+json".to_vec()));
        self.reply(status, fields, body)
    }

    pub(super) fn refuse(&self, refusal: &Refusal, principal: Option<Arc<str>>) -> Intent {
        self.refuse_with_id(refusal, None, principal)
    }

    /// A refusal of a whole HTTP request, as JSON-RPC with the id if that much could be read.
    fn refuse_with_id(
        &self,
        refusal: &Refusal,
        id: Option<&[u8]>,
        principal: Option<Arc<str>>,
    ) -> Intent {
        let mut body = Vec::new();
        write::error(
            &mut body,
            id.unwrap_or(b"null"),
            &refusal.to_json(Era::Legacy),
        );
        let mut fields = vec![("content-type", b"application/json".to_vec())];
        if *refusal == Refusal::Unauthorized {
            fields.push(("www-authenticate", b"Bearer realm=\"switchbox\"".to_vec()));
        }
        let status = refusal.status(Era::Legacy);
        Intent::Reply(Reply {
            status,
            fields,
            body,
            note: Some(self.of(status, principal)),
        })
    }

    /// What a browser asks before it lets a page call (Fetch standard, CORS preflight).
    fn preflight(&self, methods: &'static str, head: &RequestHead<'_>) -> Intent {
        let mut fields: Vec<(&'static str, Vec<u8>)> = vec![("allow", methods.into())];
        if head.origin.is_some() {
            fields.push(("access-control-allow-methods", methods.into()));
            let mut headers = HEADERS.to_string();
            // What a tool's schema has repeated in the head cannot be listed beforehand.
            let wanted = head
                .fields()
                .filter(|(name, _)| name.eq_ignore_ascii_case("access-control-request-headers"));
            for name in wanted.flat_map(|(_, value)| value.split(|byte| *byte == b',')) {
                let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
                if name.starts_with("mcp-param-") && name.bytes().all(is_token_byte) {
                    headers += ", ";
                    headers += &name;
                }
            }
            fields.push(("access-control-allow-headers", headers.into_bytes()));
            fields.push(("access-control-max-age", b"600".to_vec()));
        }
        self.reply(204, fields, Vec::new())
    }
}

/// Nothing to be done about a message that only lets us know something we have no use for.
pub(super) const NOTHING: Intent = Intent::Note(Note::Nothing, None);
