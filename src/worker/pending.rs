//! Requests of ours to servers, once they are answered or will not be.

use super::Worker;
use super::answer::Response;
use super::forward::{Awaiter, Pending, Step};
use super::partner::uri_params;
use super::{slots, wire_id};
use crate::event::Event;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse;
use crate::mcp::method::Method;
use crate::refusal::Refusal;
use crate::upstream::key::Key;

impl Worker {
    /// A request of ours was answered.
    pub(super) fn pending_answered(
        &mut self,
        ticket: slots::Ticket,
        text: &[u8],
        id: parse::Span,
        answer: Result<parse::Span, parse::Span>,
        session_id: Option<&str>,
    ) {
        let Some(pending) = self.pendings.remove(ticket) else {
            return;
        };
        self.note_served(&pending);
        if let (Some(_), Ok(result)) = (&pending.task, answer) {
            self.note_task(&pending, wire_id::pack(self.id, ticket), text, result);
        }
        match pending.awaiter {
            Awaiter::Client(home) => {
                if let (Some(uri), Some(session)) = (&pending.subscription, pending.session)
                    && let Some(partner) = self.partners.get_mut(&pending.key)
                {
                    match answer {
                        // Unless it is that it will not tell of it any more.
                        Ok(_) if partner.conversation.is_subscribed(session, uri) => {
                            partner.conversation.grant(uri);
                        }
                        Ok(_) => {}
                        Err(_) => {
                            partner.conversation.unsubscribe(session, uri);
                        }
                    }
                }
                let (era, body) = (pending.era, answer);
                self.answer_home(home, text, Response { id, body, era });
            }
            Awaiter::Step(step, _) => {
                self.step_answered(&pending.key, step, text, answer, session_id)
            }
            // Who wanted to hear of it has given up meanwhile.
            Awaiter::Ghost(_) => {
                if let Some(uri) = pending.subscription.as_deref().filter(|_| answer.is_ok())
                    && let Some(partner) = self.partners.get(&pending.key)
                    && !partner.conversation.is_wanted(uri)
                {
                    let (key, params) = (&pending.key, uri_params(uri));
                    self.ask_quietly(key, Method::ResourcesUnsubscribe, &params);
                }
            }
        }
    }

    /// Has a conversation that several share remember whose request it has just dealt with, since its server may
    /// go on talking about it.
    fn note_served(&mut self, pending: &Pending) {
        let is_ours = matches!(pending.awaiter, Awaiter::Step(..));
        if is_ours || pending.key.session.is_some() {
            return;
        }
        let Some(partner) = self.partners.get_mut(&pending.key) else {
            return;
        };
        if pending.session.is_none() {
            partner.conversation.unsettle(self.now);
        }
        partner.conversation.serve(self.now, pending.session);
    }

    /// A request of ours will not be answered.
    pub(super) fn pending_failed(&mut self, ticket: slots::Ticket, cause: &str) {
        let Some(pending) = self.pendings.remove(ticket) else {
            return;
        };
        self.note_served(&pending);
        let server = self.table.servers[pending.key.server].name.clone();
        let uri = pending.subscription.as_deref();
        self.take_back_subscription(&pending.key, pending.session, uri);
        match pending.awaiter {
            Awaiter::Client(home) => self.fail_home(
                home,
                Refusal::Failed {
                    server,
                    cause: cause.into(),
                },
            ),
            Awaiter::Step(Step::Initialize | Step::Probe, _) => {
                self.conversation_failed(&pending.key, cause)
            }
            Awaiter::Step(Step::Listen, _) => self.changes_lost(&pending.key),
            Awaiter::Step(Step::Subscribe(uri), _) => {
                self.subscribe_answered(&pending.key, &uri, Err(()))
            }
            Awaiter::Step(Step::List(_), _) => self.list_failed(&pending.key, cause),
            Awaiter::Step(Step::Quiet, _) | Awaiter::Ghost(_) => {}
        }
    }

    /// An answer came on a stream that is not the request's: it counts in the same conversation only.
    pub(super) fn strayed(&mut self, key: &Key, text: &[u8]) {
        let (id, answer) = match Envelope::parse(text).map(|envelope| envelope.kind) {
            Ok(Kind::Result { id, result }) => (id, Ok(result)),
            Ok(Kind::Error {
                id: Some(id),
                error,
            }) => (id, Err(error)),
            _ => return,
        };
        let asked = parse::integer(text, id).and_then(wire_id::unpack);
        let own = |ticket| {
            self.pendings
                .get(ticket)
                .is_some_and(|pending| pending.key == *key)
        };
        match asked.filter(|(worker, ticket)| *worker == self.id && own(*ticket)) {
            Some((_, ticket)) => self.pending_answered(ticket, text, id, answer, None),
            None => {
                let server = self.table.servers[key.server].clone();
                self.event(Event::AnswerStray { server });
            }
        }
    }
}
