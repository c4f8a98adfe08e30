//! A child's side of a conversation: its lines, its complaints, its end.

use super::{Worker, ticket, wire_id};
use crate::event::Event;
use crate::id::ConnectionId;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::parse::{self, Span};
use crate::upstream::key::Key;

impl Worker {
    pub(super) fn read_child(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(child) = self.child(id) else { return };
        let key = child.key.clone();
        // Its pipe must stay within reach while its lines are read: some are answered at once.
        let mut lines = std::mem::take(&mut child.lines);
        let mut input = bytes;
        loop {
            match lines.next(&mut input) {
                Ok(Some(line)) => {
                    self.child_said(&key, line);
                    if !self.is_current_child(&key, id) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    let limit = crate::config::limits::LINE_BYTES_MAX >> 20;
                    return self.conversation_failed(
                        &key,
                        &format!("it wrote a line longer than {limit} MiB"),
                    );
                }
            }
        }
        if let Some(child) = self.child(id) {
            child.lines = lines;
        }
    }

    fn child_said(&mut self, key: &Key, line: &[u8]) {
        let Ok(envelope) = Envelope::parse_knowing(line, self.said_in(key)) else {
            // Programs print banners and warnings to stdout; the protocol forbids it, but nothing is
            // lost by passing over them.
            let server = self.table.servers[key.server].clone();
            return self.event(Event::ChildNoise {
                server,
                bytes: line.len(),
            });
        };
        match envelope.kind {
            Kind::Result { id, result } => self.child_answered(key, line, id, Ok(result)),
            Kind::Error {
                id: Some(id),
                error,
            } => self.child_answered(key, line, id, Err(error)),
            Kind::Error { id: None, .. } => {
                let server = self.table.servers[key.server].clone();
                self.event(Event::AnswerStray { server });
            }
            Kind::Request { .. } | Kind::Notification { .. } => self.heard(key, &envelope, None),
        }
    }

    /// An answer counts only if its id is one that was sent in this very conversation.
    pub(super) fn child_answered(
        &mut self,
        key: &Key,
        line: &[u8],
        id: Span,
        answer: Result<Span, Span>,
    ) {
        let asked =
            parse::integer(line, id)
                .and_then(wire_id::unpack)
                .filter(|(worker, ticket)| {
                    *worker == self.id
                        && self
                            .pendings
                            .get(*ticket)
                            .is_some_and(|pending| pending.key == *key)
                });
        match asked {
            Some((_, ticket)) => self.pending_answered(ticket, line, id, answer, None),
            None => {
                let server = self.table.servers[key.server].clone();
                self.event(Event::AnswerStray { server });
            }
        }
    }

    pub(super) fn child_complained(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(child) = self.child(id) else { return };
        let key = child.key.clone();
        let Some(partner) = self.partners.get_mut(&key) else {
            return;
        };
        let lines = partner.conversation.stderr.push(bytes, &self.redactor);
        let server = partner.conversation.server.clone();
        for line in lines {
            self.event(Event::ChildStderr {
                server: server.clone(),
                line,
            });
        }
    }

    pub(super) fn child_exited(&mut self, id: ConnectionId, how: &str) {
        let Some(child) = self.child(id) else { return };
        let key = child.key.clone();
        self.wires.remove(ticket(id));
        self.child_lost(key, &format!("it ended ({how})"));
    }

    /// A child is gone, or could not be started.
    pub(super) fn child_lost(&mut self, key: Key, cause: &str) {
        // Where we have closed it ourselves, the conversation has another child by now, or none.
        if let Some(partner) = self.partners.get_mut(&key)
            && partner
                .child
                .is_some_and(|child| self.wires.get(ticket(child)).is_none())
        {
            partner.child = None;
            if !self.retried_unasked(&key) {
                self.conversation_failed(&key, cause);
            }
        }
    }
}
