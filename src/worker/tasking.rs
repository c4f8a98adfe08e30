//! Tasks: calls whose answer comes later, under ids that clients know them by (see [`crate::mcp::task`]).
//!
//! A client that knows tasks of its server's era gets them, and what it says of them goes to the server whose they
//! are. A tool that a legacy server only lets be called as a task can be called by everyone else too: then the
//! task is ours, its client waits as for any answer, and what comes up in it is that call's affair.
//!
//! ```text
//!   client ── call ──▶ exchange ── call, task ──▶ server
//!                         │ ◀─── task ───────────   │
//!                         │ ──── tasks/result ──▶   │ ◀─ questions, progress ─▶ as in any call
//!   client ◀─ result ─────┘ ◀─── result ─────────   │
//! ```
//!
//! Ids need no memory. Whom a server's news of a task are for is remembered in [`super::tasks`].

use super::answer::Response;
use super::exchange::{Exchange, Sink};
use super::lanes::Left;
use super::message::{Caller, Routed, string};
use super::parcel::{Outgoing, Parcel, Said, TaskFor};
use super::{Worker, exchange_ticket};
use crate::config::Server;
use crate::config::limits::CLIENT_REQUEST_TIMEOUT;
use crate::id::ExchangeId;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::mcp::Era;
use crate::mcp::bridge::result::{self, Outcome};
use crate::mcp::bridge::task::{self, Naming, Wish};
use crate::mcp::capabilities::TASKS_DECLARED;
use crate::mcp::method::Method;
use crate::mcp::params::Params;
use crate::refusal::{Refusal, shown};
use crate::router::catalog::Route;
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// What an exchange has to do with tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Tasking {
    /// Nothing.
    #[default]
    No,
    /// Its client understands that it may become one, or asks about one.
    Client,
    /// It is to become one that its client knows nothing of; the server's id, once it has.
    Ours(Option<String>),
}

impl Tasking {
    /// That of a request; `is_return` if its client is back for a call that goes on elsewhere.
    pub(super) fn of(
        caller: &Caller,
        method: Method,
        task: Option<TaskFor>,
        is_return: bool,
    ) -> Tasking {
        let declared = caller.declared.as_ref();
        match (task, method) {
            (Some(TaskFor::Us), _) if !is_return => Tasking::Ours(None),
            (Some(TaskFor::Client), _) => Tasking::Client,
            (None, Method::TasksGet | Method::TasksResult) => Tasking::Client,
            (None, Method::TasksUpdate | Method::TasksCancel) => Tasking::Client,
            (None, Method::ToolsCall) if declared.is_some_and(|it| it.tasks) => Tasking::Client,
            _ => Tasking::No,
        }
    }
}

impl Worker {
    // ── requests of clients ──────────────────────────────────────────────────────────────────────

    /// What is wished for in a call's name, and whose task it may become.
    pub(super) fn task_wished(
        &self,
        caller: &Caller,
        params: &Params,
        route: &Route,
    ) -> (Option<Wish>, Option<TaskFor>) {
        if self.table.eras[route.server] != Era::Legacy {
            return (None, None);
        }
        let catalog = self.table.catalog(caller.capabilities());
        let offered = catalog.offers(route.server).tasks;
        let asked = params.task.is_some() && caller.era() == Era::Legacy;
        match (offered, asked) {
            (true, true) => (None, Some(TaskFor::Client)),
            (true, false) if route.is_task => (Some(Wish::Task), Some(TaskFor::Us)),
            _ => (params.task.map(|_| Wish::Answer), None),
        }
    }

    /// Which server a request about a task is for.
    pub(super) fn route_task(
        &self,
        caller: &Caller,
        method: Method,
        params: &Params,
        text: &[u8],
    ) -> Result<Routed, Refusal> {
        let era = caller.era();
        let offers = self.table.catalog(caller.capabilities()).capabilities;
        let offered = match era {
            Era::Legacy => offers.tasks,
            Era::Modern => offers.tasks_extension,
        };
        if !offered || !method.known_in(era) {
            return Err(Refusal::MethodUnknown(method.name().into()));
        }
        if caller.declared.as_ref().is_some_and(|it| !it.tasks) {
            return Err(Refusal::CapabilityMissing(TASKS_DECLARED.into()));
        }
        let span = params
            .task_id
            .ok_or_else(|| Refusal::Params("taskId is missing".into()))?;
        let id = string(text, span, "taskId")?;
        let unknown = || Refusal::Params(format!("taskId: there is no task {}", shown(&id)));
        let principal = caller.principal.as_deref();
        let (place, own) = self.task_of(&id, principal).ok_or_else(unknown)?;
        if self.table.base.unlisted.contains(&place) {
            return Err(Refusal::Unavailable {
                server: self.table.servers[place].name.clone(),
                reason: self.why_unlisted(place),
            });
        }
        // A server that changed its era has no tasks of the other one.
        if self.table.eras[place] != era {
            return Err(unknown());
        }
        Ok(Routed::renamed(place, span, own.into()))
    }

    /// The server, by its place, and its id of the task that `principal` knows under this one.
    pub(super) fn task_of(&self, id: &str, principal: Option<&str>) -> Option<(usize, String)> {
        let task = self.task_ids.open(id, principal)?;
        let mut servers = self.table.servers.iter();
        let place = servers.position(|server| server.name == task.server)?;
        Some((place, task.id))
    }

    // ── answers ──────────────────────────────────────────────────────────────────────────────────

    /// An answer with its task under the client's id; `None` if it names none, or if there is more to come, which
    /// is then seen to.
    pub(super) fn answer_of_task(
        &mut self,
        id: ExchangeId,
        text: &[u8],
        response: Response,
    ) -> Settled {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return Settled::AsItIs;
        };
        let naming = match (&exchange.tasking, exchange.method, response.body) {
            (Tasking::No, ..) => return Settled::AsItIs,
            (Tasking::Ours(None), _, Ok(result)) => match task::created(text, result) {
                Some(own) => {
                    let (own, is_refused) =
                        (own.into_owned(), matches!(exchange.sink, Sink::Refused));
                    if is_refused {
                        self.unwant_task(id, own);
                        return Settled::Unwanted;
                    }
                    self.await_task(id, own);
                    return Settled::Awaited;
                }
                None => Naming::Related,
            },
            (Tasking::Ours(_), ..) | (_, Method::TasksResult, Ok(_)) => Naming::Related,
            // What else a tool answers is its own, whatever it calls it.
            (Tasking::Client, Method::ToolsCall, Ok(result)) => {
                let became = match response.era {
                    Era::Legacy => task::created(text, result).is_some(),
                    Era::Modern => result::result_type(text, result) == Outcome::Task,
                };
                match became {
                    true => Naming::Subject,
                    false => Naming::Related,
                }
            }
            (Tasking::Client, Method::ToolsCall, Err(_)) => return Settled::AsItIs,
            (Tasking::Client, ..) => Naming::Subject,
        };
        match self.named_for(exchange, text, naming) {
            Some(renamed) => match Response::of(&renamed, response.era) {
                Some(response) => Settled::Renamed(renamed, response),
                None => Settled::AsItIs,
            },
            None => Settled::AsItIs,
        }
    }

    /// What is said about an exchange, with tasks as its client knows them.
    pub(super) fn said_of_task(&self, id: ExchangeId, said: Said) -> Said {
        let Some(exchange) = self.exchanges.get(exchange_ticket(id)) else {
            return said;
        };
        let renamed = |text: &[u8], naming| self.named_for(exchange, text, naming);
        let related = |text: Vec<u8>| renamed(&text, Naming::Related).unwrap_or(text);
        match said {
            Said::Progress(text, place) => match renamed(&text, Naming::Related) {
                Some(text) => match token_in(&text) {
                    Some(place) => Said::Progress(text, place),
                    None => Said::Notification(Method::Progress, text),
                },
                None => Said::Progress(text, place),
            },
            Said::Log(text, level) => Said::Log(related(text), level),
            Said::Notification(method, text) => Said::Notification(method, related(text)),
            Said::Request(text, ask) => Said::Request(related(text), ask),
            Said::Status(text) => {
                let text = renamed(&text, Naming::Subject).unwrap_or(text);
                Said::Status(text)
            }
            Said::Withdrawn(..) | Said::Lacking(_) => said,
        }
    }

    /// A message on its way to an exchange's client, with tasks as that knows them; `None` if nothing changes.
    fn named_for(&self, exchange: &Exchange, text: &[u8], naming: Naming) -> Option<Vec<u8>> {
        let server = exchange.awaits.server()?;
        let principal = exchange.principal.as_deref();
        // A modern client of a legacy server knows no task of it.
        let crosses = exchange.era() == Era::Modern && naming == Naming::Related;
        let is_known = !crosses && !matches!(exchange.tasking, Tasking::Ours(_));
        let name = |id: &str| is_known.then(|| self.task_ids.seal(&server.name, principal, id));
        task::renamed(text, naming, name)
    }

    /// Has a task cancelled that an exchange became after its client was refused. The server may still ask something
    /// about it.
    fn unwant_task(&mut self, id: ExchangeId, task: String) {
        let Some(exchange) = self.exchange(id) else {
            return;
        };
        exchange.left = Left::Asked;
        if let Some(key) = exchange.awaits.key().cloned() {
            let owner = self.owner(&key);
            self.post(owner, Parcel::TaskUnwanted(Arc::new(key), task.into()));
        }
    }

    /// Waits for the result of a task that an exchange became without its client's knowing.
    fn await_task(&mut self, id: ExchangeId, task: String) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(exchange_ticket(id)) else {
            return;
        };
        let outgoing = Outgoing::own(Method::TasksResult, task::about(&task));
        exchange.tasking = Tasking::Ours(Some(task));
        let (Some(key), Some(server)) = (exchange.awaits.key().cloned(), exchange.awaits.server())
        else {
            return;
        };
        let until = now + exchange.patience(server);
        exchange.deadline = until.min(exchange.last_deadline);
        let sent = exchange.sent;
        self.wake_at(until);
        self.send_in(id, key, outgoing);
        // It is the call that took its time.
        if let Some(exchange) = self.exchange(id) {
            exchange.sent = sent;
        }
    }
}

/// What became of an answer that may concern a task.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is passed on as it is.
    AsItIs,
    /// It is passed on like this.
    Renamed(Vec<u8>, Response),
    /// It is not the answer yet: that is waited for.
    Awaited,
    /// It would not be the answer yet, and nobody waits for that.
    Unwanted,
}

impl Exchange {
    /// How long its server may be silent.
    pub(super) fn patience(&self, server: &Server) -> Duration {
        let waits = matches!(self.tasking, Tasking::Ours(Some(_)));
        match waits || self.method == Method::TasksResult {
            true => CLIENT_REQUEST_TIMEOUT + server.timeout,
            false => server.timeout,
        }
    }

    /// Gives it more time: whoever makes progress is not stuck.
    pub(super) fn reprieve(&mut self, now: Time) {
        if let Some(server) = self.awaits.server() {
            let until = now + self.patience(server);
            self.deadline = until.min(self.last_deadline);
        }
    }

    /// The server's id of the task that it became without its client's knowing.
    pub(super) fn own_task(&self) -> Option<&str> {
        match &self.tasking {
            Tasking::Ours(Some(id)) => Some(id),
            _ => None,
        }
    }
}

impl Outgoing {
    /// What is to be known of it when its answer says that it became a task.
    pub(super) fn task_with_token(&self) -> Option<(TaskFor, Option<Box<[u8]>>)> {
        let token = self.token.map(|span| span.of(&self.params).into());
        self.task.map(|whose| (whose, token))
    }
}

impl Response {
    /// Where things stand in a response that was written anew.
    fn of(text: &[u8], era: Era) -> Option<Response> {
        match Envelope::parse(text).ok()?.kind {
            Kind::Result { id, result } => Some(Response {
                id,
                body: Ok(result),
                era,
            }),
            Kind::Error {
                id: Some(id),
                error,
            } => Some(Response {
                id,
                body: Err(error),
                era,
            }),
            _ => None,
        }
    }
}

/// Where the token stands in a progress notification that was written anew.
fn token_in(text: &[u8]) -> Option<Span> {
    let params = Envelope::parse(text).ok()?.params?;
    parse::member(text, params, "progressToken")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::scene::Scene;
    use serde_json::json;

    #[test]
    fn call_that_becomes_a_task_after_its_client_was_refused_is_not_waited_for() {
        let mut scene = Scene::new(Era::Legacy);
        scene.modern("tools/call", json!({"name": "t", "arguments": {}}));
        let (child, call) = scene.asked("tools/call");
        for ticket in scene.worker.exchanges.tickets() {
            let exchange = scene.worker.exchanges.get_mut(ticket).expect("one");
            exchange.tasking = Tasking::Ours(None);
        }
        let params = json!({"messages": [], "maxTokens": 1});
        let method = "sampling/createMessage";
        scene.says(
            child,
            &json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}),
        );
        let task = json!({
            "taskId": "1", "status": "working", "createdAt": "2026-01-01T00:00:00Z",
            "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": null,
        });
        scene.answers(child, &call, &json!({"task": task}));
        assert_eq!(scene.worker.census().lanes, 0);
        let said = scene.lines(child);
        let cancels = said.iter().filter(|line| line["method"] == "tasks/cancel");
        assert_eq!(cancels.count(), 1, "{said:?}");
    }
}
