//! Answers on their way from a server of one era to a client of the other; what they become is the bridge's
//! affair, what follows from them is decided here.

use super::answer::Response;
use super::exchange::Exchange;
use super::tasking::Tasking;
use super::{Worker, exchange_ticket};
use crate::id::ExchangeId;
use crate::jsonrpc::parse::Span;
use crate::mcp::Era;
use crate::mcp::bridge::error::{self, Translated};
use crate::mcp::bridge::input::InputRequired;
use crate::mcp::bridge::need::Need;
use crate::mcp::bridge::result::{self, Outcome, Output};
use crate::mcp::bridge::{Cell, input};
use crate::mcp::meta::OURSELVES;
use crate::mcp::method::Method;
use crate::mcp::revision::Revision;
use crate::refusal::Refusal;
use memchr::memmem::Finder;
use std::sync::LazyLock;

impl Worker {
    /// Answers an exchange in which at least one side is modern.
    pub(super) fn answer_across(&mut self, id: ExchangeId, text: &[u8], response: Response) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let method = exchange.method;
        match (exchange.era(), response.era, response.body) {
            (Era::Modern, Era::Legacy, Ok(result)) => {
                let result = result::for_modern(method, text, result, OURSELVES);
                self.finish(id, Ok(&result));
            }
            (Era::Legacy, Era::Modern, Ok(result)) => {
                self.answer_legacy(id, text, response, result)
            }
            (Era::Modern, Era::Modern, Ok(result)) => {
                self.answer_modern(id, text, response, result)
            }
            (_, _, Err(error)) => self.fail_across(id, text, response, error),
            _ => self.pass_on(id, text, response),
        }
    }

    /// Answers a modern client with a modern server's result, unless that asks what the client has not declared.
    fn answer_modern(&mut self, id: ExchangeId, text: &[u8], response: Response, result: Span) {
        static TASK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("taskId"));
        static INPUT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("input_required"));
        let exchange = self.exchanges.get(exchange_ticket(id));
        // Few results hold these words at all.
        if TASK.find(text).is_some()
            && exchange.is_some_and(|exchange| exchange.tasking != Tasking::Client)
            && result::result_type(text, result) == Outcome::Task
        {
            return self.refuse_result(id);
        }
        if INPUT.find(text).is_some()
            && result::result_type(text, result) == Outcome::InputRequired
            && let Some(declared) = exchange.and_then(|exchange| exchange.declared.as_ref())
            && let Ok(required) = InputRequired::parse(text, result)
        {
            let needs = required.requests.iter();
            let needs = needs.map(|asked| Need::of(asked.method, text, asked.params));
            let capabilities = declared.capabilities.text();
            let unmet = |need: &Need| !need.is_met_by(capabilities.as_bytes());
            if let Some(need) = needs.flatten().find(unmet) {
                return self.refuse(id, Refusal::CapabilityMissing(need.to_json().into()));
            }
        }
        self.pass_on(id, text, response);
    }

    /// Answers a legacy client with a modern server's result.
    fn answer_legacy(&mut self, id: ExchangeId, text: &[u8], response: Response, result: Span) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let (method, output) = (exchange.method, self.output_of(exchange));
        let session = exchange.session.as_ref();
        let revision = session.map_or(Revision::LATEST, |session| session.revision);
        match result::for_legacy(method, text, result, revision, output) {
            Ok(Some(result)) => self.finish(id, Ok(&result)),
            Ok(None) => self.pass_on(id, text, response),
            Err(Outcome::InputRequired) => self.inquire(id, text, result),
            Err(_) => self.refuse_result(id),
        }
    }

    /// Ends an exchange whose server answered in a way that its client cannot understand.
    fn refuse_result(&mut self, id: ExchangeId) {
        let exchange = self.exchanges.get(exchange_ticket(id));
        let server = exchange.and_then(|exchange| exchange.awaits.server());
        let refusal = Refusal::Failed {
            server: server.map(|server| server.name.clone()).unwrap_or_default(),
            cause: "its result is of a type that was not asked for".into(),
        };
        self.refuse(id, refusal);
    }

    /// Answers an exchange whose server answered with an error.
    fn fail_across(&mut self, id: ExchangeId, text: &[u8], response: Response, error: Span) {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return;
        };
        let cell = Cell::new(exchange.era(), response.era);
        let name = exchange.awaits.server().map(|server| server.name.clone());
        let server = name.unwrap_or_default();
        let failed = |cause: &str| Refusal::Failed {
            server: server.clone(),
            cause: cause.into(),
        };
        let uri = exchange.uri.as_deref();
        match error::translated(cell, exchange.method, text, error, uri) {
            Translated::Same => self.pass_on(id, text, response),
            Translated::Error(error) => self.finish(id, Err(&error)),
            Translated::UrlsRequired(_) if !exchange.may_be_asked(Need::Url) => {
                let need = Need::Url.to_json().into();
                self.refuse(id, Refusal::CapabilityMissing(need));
            }
            Translated::UrlsRequired(urls) => {
                let keys: Vec<String> = (1..=urls.len())
                    .map(|n| input::key(Method::Elicit, n))
                    .collect();
                let questions: Vec<(&str, Method, &[u8])> = keys
                    .iter()
                    .zip(urls)
                    .map(|(key, url)| (&**key, Method::Elicit, url.of(text)))
                    .collect();
                let result = input::input_required(&questions, None, OURSELVES);
                self.finish(id, Ok(&result));
            }
            Translated::HeaderMismatch => {
                self.refuse(
                    id,
                    failed("it says that the head of the request differs from its body"),
                );
            }
            Translated::MissingCapability { required } => {
                let required = required.map_or("{}".into(), |span| {
                    String::from_utf8_lossy(span.of(text)).into_owned()
                });
                match cell.client {
                    Era::Modern => self.refuse(id, Refusal::CapabilityMissing(required)),
                    Era::Legacy => {
                        let cause = format!("it needs a client that declares {required}");
                        self.refuse(id, failed(&cause));
                    }
                }
            }
            Translated::Version { .. } => {
                self.refuse(
                    id,
                    failed("it no longer speaks the protocol revision that it spoke"),
                );
            }
        }
    }

    /// How the client was shown the output schema of the tool that was called.
    fn output_of(&self, exchange: &Exchange) -> Output {
        let capabilities = exchange
            .session
            .as_ref()
            .map(|session| &session.capabilities);
        let route = exchange
            .tool
            .as_ref()
            .and_then(|tool| self.table.catalog(capabilities).tool(tool));
        route.map_or(Output::default(), |route| route.output)
    }
}

impl Exchange {
    /// Whether the request declared that its client can be asked this.
    fn may_be_asked(&self, need: Need) -> bool {
        let declared = self.declared.as_ref();
        declared.is_some_and(|d| need.is_met_by(d.capabilities.text().as_bytes()))
    }

    /// The HTTP status that goes with a server's error.
    pub(super) fn status_of(&self, error: &[u8]) -> u16 {
        match self.era() {
            Era::Legacy => 200,
            Era::Modern => error::http_status(error),
        }
    }
}
