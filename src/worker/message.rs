//! A client's JSON-RPC message, understood: what it asks, and who can answer.

use super::Worker;
use super::batch::takes_batches;
use super::exchange::{Awaits, Declared, Exchange, Sink};
use super::intake::NOTHING;
use super::intent::{Intent, Local, LocalAnswer, Note, Opening, Sending};
use super::letter::outgoing;
use super::modern::says_modern;
use super::parcel::{ClientAnswer, TaskFor};
use super::tasking::Tasking;
use crate::config::limits::{
    CLIENT_REQUEST_TIMEOUT, EXCHANGES_MAX, ID_BYTES_MAX, SESSION_EXCHANGES_MAX,
};
use crate::id::ConnectionId;
use crate::jsonrpc::envelope::{Envelope, EnvelopeError, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::bridge::task::Wish;
use crate::mcp::capabilities::ClientCapabilities;
use crate::mcp::handshake::Hello;
use crate::mcp::headers::HeaderParam;
use crate::mcp::listing;
use crate::mcp::method::Method;
use crate::mcp::params::{self, Params, Reference};
use crate::refusal::{Refusal, shown};
use crate::session::Session;
use crate::time::Time;
use crate::upstream::key::Key;
use std::net::IpAddr;
use std::sync::Arc;

/// Who sent a message, and where its answer goes.
pub(super) struct Caller {
    pub(super) sink: Sink,
    pub(super) stream_only: bool,
    pub(super) session: Option<Arc<Session>>,
    pub(super) principal: Option<Arc<str>>,
    pub(super) peer: Option<IpAddr>,
    /// What the message declares, if it is a modern request.
    pub(super) declared: Option<Declared>,
}

impl Caller {
    pub(super) fn era(&self) -> Era {
        match self.declared {
            None => Era::Legacy,
            Some(_) => Era::Modern,
        }
    }

    /// What the client declared, now or for its session.
    pub(super) fn capabilities(&self) -> Option<&ClientCapabilities> {
        let of_session = || self.session.as_ref().map(|session| &session.capabilities);
        let declared = self.declared.as_ref();
        declared
            .map(|declared| &declared.capabilities)
            .or_else(of_session)
    }
}

/// What a request to a server is made of, before it is known whom it is for.
pub(super) struct Routed {
    pub(super) place: usize,
    pub(super) tool: Option<Arc<str>>,
    /// What stands for the name the client used, and where.
    pub(super) name: Option<(Span, Arc<str>)>,
    pub(super) subscription: Option<String>,
    /// The arguments that an HTTP request repeats in its head.
    pub(super) mirrored: Option<Arc<[HeaderParam]>>,
    /// Fields of its head that are passed on as they are.
    pub(super) passed: Option<Box<[u8]>>,
    /// What is wished for in place of what the client wished.
    pub(super) wish: Option<Wish>,
    /// Whose task a legacy server's call becomes, if it becomes one.
    pub(super) task: Option<TaskFor>,
}

impl Routed {
    /// A request that goes to the server at that place as it is.
    pub(super) fn plain(place: usize) -> Routed {
        Routed {
            place,
            tool: None,
            name: None,
            subscription: None,
            mirrored: None,
            passed: None,
            wish: None,
            task: None,
        }
    }

    /// A request for the server at that place with `name` in the place of what stands there.
    pub(super) fn renamed(place: usize, at: Span, name: Arc<str>) -> Routed {
        Routed {
            name: Some((at, name)),
            ..Routed::plain(place)
        }
    }
}

impl Worker {
    /// What a line of the stdio front comes to.
    pub(super) fn consider_line(&mut self, id: ConnectionId, line: &[u8]) -> Intent {
        let session = self.stdio(id).and_then(|front| front.session.clone());
        let caller = Caller {
            sink: Sink::Line { connection: id },
            stream_only: false,
            session,
            principal: None,
            peer: None,
            declared: None,
        };
        match Envelope::parse(line) {
            Ok(envelope) if says_modern(&envelope) => {
                self.consider_modern(caller, None, &envelope, &mut None)
            }
            Ok(envelope) => self.consider_message(caller, &envelope),
            Err(EnvelopeError::Batch) if takes_batches(caller.session.as_deref(), None) => {
                match self.consider_batch(&caller, line) {
                    Ok(batched) => Intent::Batch(batched),
                    Err(refusal) => refuse(&caller, b"null", Method::Other, None, refusal),
                }
            }
            Err(error) => {
                let id = match &error {
                    EnvelopeError::Invalid { id: Some(id), .. } => id.as_slice(),
                    _ => b"null",
                };
                refuse(&caller, id, Method::Other, None, Refusal::from(&error))
            }
        }
    }

    /// What a message comes to.
    pub(super) fn consider_message(&mut self, caller: Caller, envelope: &Envelope<'_>) -> Intent {
        let text = envelope.text;
        match &envelope.kind {
            Kind::Request { method, id } => {
                let (id, known) = (id.of(text), Method::parse(method));
                match self.consider_asked(&caller, envelope, known, id) {
                    Ok(intent) => intent,
                    Err(Refusal::MethodUnknown(_)) => refuse(
                        &caller,
                        id,
                        known,
                        None,
                        Refusal::MethodUnknown(shown(method)),
                    ),
                    Err(refusal) => refuse(&caller, id, known, None, refusal),
                }
            }
            Kind::Notification { method } => {
                consider_told(&caller, envelope, Method::parse(method))
            }
            Kind::Result { id, .. } | Kind::Error { id: Some(id), .. } => {
                let (Some(session), Some(ask)) = (caller.session, parse::integer(text, *id)) else {
                    return NOTHING;
                };
                let answer = ClientAnswer {
                    text: text.to_vec(),
                    id: *id,
                };
                Intent::Note(Note::Answer(session, ask, Box::new(answer)), None)
            }
            Kind::Error { id: None, .. } => NOTHING,
        }
    }

    fn consider_asked(
        &mut self,
        caller: &Caller,
        envelope: &Envelope<'_>,
        method: Method,
        id: &[u8],
    ) -> Result<Intent, Refusal> {
        let text = envelope.text;
        if self.draining {
            return Err(Refusal::Draining);
        }
        let local = |answer| {
            Ok(Intent::Local(Local {
                id: id.into(),
                method,
                tool: None,
                principal: caller.principal.clone(),
                answer,
                era: Era::Legacy,
                stream_only: caller.stream_only,
            }))
        };
        match method {
            Method::Ping => return local(LocalAnswer::Result(b"{}".to_vec())),
            Method::Initialize => {
                if caller.session.is_some() {
                    return Err(Refusal::Invalid(
                        "this session is initialized already".into(),
                    ));
                }
                let hello = Hello::parse(text, envelope.params)
                    .map_err(|fact| Refusal::Params(fact.into()))?;
                if let Some(until) = self.servers_awaited() {
                    self.admissible(caller)?;
                    return Ok(self.begin(caller, id, method, Awaits::Servers(hello), until));
                }
                return Ok(Intent::Welcome(Opening {
                    id: id.into(),
                    hello,
                    principal: caller.principal.clone(),
                    stream_only: caller.stream_only,
                }));
            }
            _ => {}
        }
        let params =
            Params::parse(text, envelope.params).map_err(|fact| Refusal::Params(fact.into()))?;
        if let Some(kind) = listing::Kind::listed_by(method) {
            let cursor = match params.cursor {
                Some(span) => Some(string(text, span, "cursor")?),
                None => None,
            };
            if let Some(until) = self.lists_awaited(caller.session.as_deref()) {
                self.admissible(caller)?;
                return Ok(self.begin(caller, id, method, Awaits::Lists(kind, cursor), until));
            }
            return local(self.page(caller.session.as_deref(), kind, cursor.as_deref()));
        }
        if method == Method::SetLevel {
            let place = params.level.and_then(|span| params::level(text, span));
            let level =
                place.ok_or_else(|| Refusal::Params("level must be one of RFC 5424's".into()))?;
            if let Some(session) = &caller.session {
                session.choose_level(level);
                let key = session.key;
                self.post_to_all(|| super::parcel::Parcel::LevelChosen(key, level));
            }
            return local(LocalAnswer::Result(b"{}".to_vec()));
        }
        let routed = self.route(caller, envelope, method, &params)?;
        self.begin_routed(caller, envelope, method, id, &params, routed)
    }

    /// Begins the exchange of a request that a server has to answer.
    pub(super) fn begin_routed(
        &mut self,
        caller: &Caller,
        envelope: &Envelope<'_>,
        method: Method,
        id: &[u8],
        params: &Params,
        routed: Routed,
    ) -> Result<Intent, Refusal> {
        let server = self.table.servers[routed.place].clone();
        let outgoing = outgoing(caller, method, envelope, params, &routed);
        let back = match caller.era() {
            // A server may have become a modern one since it asked.
            Era::Modern
                if self.table.eras[routed.place] == Era::Legacy
                    || self.has_state_of_ours(envelope.text, params) =>
            {
                self.consider_return(caller, envelope.text, params, &server.name, &outgoing)?
            }
            // A modern server's state is its own affair.
            _ => None,
        };
        self.admissible(caller)?;
        let key = match self.table.eras[routed.place] {
            // It keeps nothing of its clients, so that one conversation is all of theirs.
            Era::Modern => Key::of(routed.place, &server, Some(&self.nothing), None),
            Era::Legacy => Key::of(
                routed.place,
                &server,
                caller.capabilities(),
                caller.session.as_ref().map(|session| session.key),
            ),
        };
        let awaits = Awaits::Owner {
            server: server.clone(),
            key: key.clone(),
        };
        let mut deadline = self.now + server.timeout;
        let awaits_ours = routed.task == Some(TaskFor::Us) && back.is_some();
        if method == Method::TasksResult || awaits_ours {
            // It is answered when the task is done.
            deadline = deadline + CLIENT_REQUEST_TIMEOUT;
        }
        let mut intent = self.begin(caller, id, method, awaits, deadline);
        if let Intent::Begin(exchange, sending) = &mut intent {
            exchange.tasking = Tasking::of(caller, method, routed.task, back.is_some());
            exchange.tool = routed.tool;
            let uri = params.uri.filter(|_| method == Method::ResourcesRead);
            exchange.uri = uri.map(|span| span.of(envelope.text).into());
            let token = params
                .modern
                .token
                .map(|span| span.of(envelope.text).into());
            exchange.token = token;
            match back {
                Some(back) => {
                    let call = back.call;
                    exchange.awaits = Awaits::Parked { server, call };
                    *sending = Some(Sending::Return(back));
                }
                None => *sending = Some(Sending::Request(key, outgoing)),
            }
        }
        Ok(intent)
    }

    /// Which server a request is for, and what it calls the thing that is asked for.
    pub(super) fn route(
        &self,
        caller: &Caller,
        envelope: &Envelope<'_>,
        method: Method,
        params: &Params,
    ) -> Result<Routed, Refusal> {
        let text = envelope.text;
        let catalog = self.table.catalog_asked(caller.capabilities(), self.now);
        let plain = Routed::plain;
        let owner = |uri: &str| {
            catalog
                .owner(uri)
                .ok_or_else(|| Refusal::ResourceUnknown { uri: uri.into() })
        };
        match method {
            Method::ToolsCall | Method::PromptsGet => {
                let span = params
                    .name
                    .ok_or_else(|| Refusal::Params("name is missing".into()))?;
                let name = parse::string(text, span)
                    .ok_or_else(|| Refusal::Params("name must be a string".into()))?;
                let found = match method {
                    Method::ToolsCall => catalog.tool(&name),
                    _ => catalog.prompt(&name),
                };
                let Some(route) = found else {
                    return Err(self.nobody_has(method, &name));
                };
                let (wish, task) = match method {
                    Method::ToolsCall => self.task_wished(caller, params, route),
                    _ => (params.task.map(|_| Wish::Answer), None),
                };
                Ok(Routed {
                    wish,
                    task,
                    tool: (method == Method::ToolsCall).then(|| route.shown.clone()),
                    name: Some((span, route.original.clone())),
                    mirrored: route.mirrored.clone(),
                    ..plain(route.server)
                })
            }
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                let span = params
                    .uri
                    .ok_or_else(|| Refusal::Params("uri is missing".into()))?;
                let uri = string(text, span, "uri")?;
                let place = owner(&uri)?;
                if method == Method::ResourcesRead {
                    return Ok(plain(place));
                }
                if caller.session.is_none() {
                    let fact = "subscribing needs a session: send initialize first";
                    return Err(Refusal::Invalid(fact.into()));
                }
                Ok(Routed {
                    subscription: Some(uri),
                    ..plain(place)
                })
            }
            Method::Complete => {
                let span = params
                    .reference
                    .ok_or_else(|| Refusal::Params("ref is missing".into()))?;
                match Reference::parse(text, span).map_err(|fact| Refusal::Params(fact.into()))? {
                    Reference::Prompt(name, span) => {
                        let Some(route) = catalog.prompt(&name) else {
                            return Err(self.nobody_has(Method::PromptsGet, &name));
                        };
                        let name = Some((span, route.original.clone()));
                        Ok(Routed {
                            name,
                            ..plain(route.server)
                        })
                    }
                    Reference::Resource(uri) => {
                        let place = catalog.template_owner(&uri);
                        place
                            .map(plain)
                            .ok_or_else(|| Refusal::ResourceUnknown { uri: uri.into() })
                    }
                }
            }
            Method::TasksGet | Method::TasksResult | Method::TasksUpdate | Method::TasksCancel => {
                self.route_task(caller, method, params, text)
            }
            other => Err(Refusal::MethodUnknown(other.name().into())),
        }
    }

    /// Why nobody has a tool or prompt of that name: no such thing, or its server is not there yet.
    fn nobody_has(&self, method: Method, name: &str) -> Refusal {
        let unlisted = &self.table.base.unlisted;
        let missing = |place: &usize| self.table.servers[*place].name.clone();
        if let Some(place) = self
            .table
            .server_named_in(name)
            .filter(|place| unlisted.contains(place))
        {
            return Refusal::Unavailable {
                server: missing(&place),
                reason: self.why_unlisted(place),
            };
        }
        let waiting: Vec<String> = unlisted.iter().take(8).map(missing).collect();
        let note = match (waiting.is_empty(), self.table.server_named_in(name)) {
            (false, None) => format!(" (not there yet: {})", waiting.join(", ")),
            _ => String::new(),
        };
        let name = shown(name);
        match method {
            Method::ToolsCall => Refusal::ToolUnknown { name, note },
            _ => Refusal::PromptUnknown { name, note },
        }
    }

    /// Whether one more exchange may begin. If so it is counted, and must begin.
    pub(super) fn admissible(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.exchanges.len() >= EXCHANGES_MAX {
            return Err(Refusal::Busy("too many exchanges are in flight"));
        }
        if let Some(session) = &caller.session
            && !session.begin_exchange(SESSION_EXCHANGES_MAX)
        {
            let fact = "this session has too many exchanges in flight";
            return Err(Refusal::Busy(fact));
        }
        Ok(())
    }

    pub(super) fn begin(
        &self,
        caller: &Caller,
        id: &[u8],
        method: Method,
        awaits: Awaits,
        deadline: Time,
    ) -> Intent {
        let sink = match caller.sink {
            Sink::Answer {
                connection,
                may_stream,
            } => Sink::Answer {
                connection,
                may_stream,
            },
            Sink::Line { connection } => Sink::Line { connection },
            _ => unreachable!("a message comes from a connection that is there"),
        };
        let mut exchange = Exchange::new(self.now, sink, method);
        exchange.session = caller.session.clone();
        exchange.principal = caller.principal.clone();
        exchange.peer = caller.peer;
        exchange.id = id.into();
        exchange.awaits = awaits;
        exchange.deadline = deadline;
        exchange.stream_only = caller.stream_only;
        exchange.declared = caller.declared.clone();
        Intent::Begin(Box::new(exchange), None)
    }
}

/// What a notification comes to.
fn consider_told(caller: &Caller, envelope: &Envelope<'_>, method: Method) -> Intent {
    let text = envelope.text;
    if method == Method::Cancelled && matches!(caller.sink, Sink::Line { .. }) {
        return cancelled_on_line(caller, envelope);
    }
    let Some(session) = caller.session.clone() else {
        return NOTHING;
    };
    let Ok(params) = Params::parse(text, envelope.params) else {
        return NOTHING;
    };
    let note = match method {
        Method::Cancelled => match params.request_id {
            Some(span) if span.of(text).len() <= ID_BYTES_MAX => {
                Note::Cancel(session, span.of(text).into())
            }
            _ => Note::Nothing,
        },
        Method::RootsChanged => Note::RootsChanged(session),
        Method::Progress => match params
            .progress_token
            .and_then(|span| parse::integer(text, span))
        {
            Some(token) => Note::Progress(session, token, text.to_vec()),
            None => Note::Nothing,
        },
        _ => Note::Nothing,
    };
    Intent::Note(note, None)
}

/// What a cancellation comes to that says nothing of its era, on a line where clients of both may be.
pub(super) fn cancelled_on_line(caller: &Caller, envelope: &Envelope<'_>) -> Intent {
    let Sink::Line { connection } = caller.sink else {
        return NOTHING;
    };
    let text = envelope.text;
    let params = Params::parse(text, envelope.params).ok();
    let id = params
        .and_then(|params| params.request_id)
        .map(|span| span.of(text));
    match id.filter(|id| id.len() <= ID_BYTES_MAX) {
        Some(id) => Intent::Note(Note::CancelLine(connection, id.into()), None),
        None => NOTHING,
    }
}

/// A refusal of one JSON-RPC request.
pub(super) fn refuse(
    caller: &Caller,
    id: &[u8],
    method: Method,
    tool: Option<Arc<str>>,
    refusal: Refusal,
) -> Intent {
    Intent::Local(Local {
        id: id.into(),
        method,
        tool,
        principal: caller.principal.clone(),
        answer: LocalAnswer::Refused(refusal),
        era: caller.era(),
        stream_only: caller.stream_only,
    })
}

pub(super) fn string(text: &[u8], span: Span, name: &str) -> Result<String, Refusal> {
    let string = parse::string(text, span).map(|string| string.into_owned());
    string.ok_or_else(|| Refusal::Params(format!("{name} must be a string")))
}
