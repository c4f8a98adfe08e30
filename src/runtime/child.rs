//! A child as one connection of its worker's thread: three pipes, and an end that comes in two halves.
//!
//! That it has exited and that its output has ended are told by different sources, in either order. The
//! worker is told once, when both are known or the second does not come in time.

use super::driven::Driven;
use super::mail::Order;
use super::panics::caught;
use super::poll::{Loop, TURN_BYTES};
use super::socket::{Child, Lane, Socket, fact, token};
use crate::config::limits::CHILD_END_TIMEOUT;
use crate::id::ConnectionId;
use crate::time::Time;
use crate::worker::effect::Input;
use std::io::{ErrorKind, Read};

impl<W: Driven> Loop<W> {
    /// A child that was asked for runs.
    pub(super) fn attach(&mut self, id: ConnectionId, child: Child) {
        let Some(entry) = self.entries.get_mut(id) else {
            // It was closed before it ran.
            let place = self.place(id);
            self.links.controller.post(Order::Stop(place));
            return;
        };
        entry.socket = Socket::Child(Box::new(child));
        match entry.socket.register(self.poll.registry(), id.slot) {
            Ok(()) => self.tell(Input::Connected(id)),
            Err(error) => {
                self.forget(id);
                self.tell(Input::ConnectFailed(id, fact(&error)));
            }
        }
    }

    pub(super) fn read_stderr(&mut self, id: ConnectionId) {
        let mut taken = 0;
        loop {
            let Some(entry) = self.entries.get_mut(id) else {
                return;
            };
            let Socket::Child(child) = &mut entry.socket else {
                return;
            };
            let Some(stderr) = &mut child.stderr else {
                return;
            };
            if taken >= TURN_BYTES {
                self.ready.push_back(token(id.slot, Lane::Stderr));
                return;
            }
            match stderr.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(length) if length > 0 => {
                    taken += length;
                    let input = Input::Stderr(id, &self.buffer[..length]);
                    let told = caught(|| self.worker.handle(self.now, input));
                    if let Err(message) = told {
                        return self.pay_for_panic(Some(id), message);
                    }
                }
                _ => {
                    child.stderr = None;
                    return self.settle(id);
                }
            }
        }
    }

    /// Tells of a child's end when all of it is known, and else sees to it that it will be.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let Socket::Child(child) = &mut entry.socket else {
            return;
        };
        if child.exit.is_none() && child.stdout.is_some() {
            return;
        }
        match child
            .exit
            .take_if(|_| child.stdout.is_none() && child.stderr.is_none())
        {
            Some(exit) => {
                self.entries.remove(id);
                self.tell(Input::Exited(id, exit));
            }
            None => self.expect_end(id),
        }
    }

    /// Waits for the rest of a child's end, but not for ever.
    pub(super) fn expect_end(&mut self, id: ConnectionId) {
        let deadline = self.now + CHILD_END_TIMEOUT;
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Socket::Child(child) = &mut entry.socket
            && child.deadline == Time::NEVER
        {
            child.deadline = deadline;
            self.set_alarm(deadline, token(id.slot, Lane::Main));
        }
    }

    /// The rest of a child's end did not come in time.
    pub(super) fn give_up_on_end(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let paused = entry.paused;
        let Socket::Child(child) = &mut entry.socket else {
            return;
        };
        if self.now < child.deadline {
            return;
        }
        child.deadline = Time::NEVER;
        match child.exit.take() {
            // What it wrote is still to be read, when the worker wants it.
            Some(exit) if paused && child.stdout.is_some() => {
                child.exit = Some(exit);
                self.expect_end(id);
            }
            Some(exit) => {
                self.entries.remove(id);
                self.tell(Input::Exited(id, exit));
            }
            None if child.stdin.is_none() => {
                self.fail(id, "closed its standard input".into());
            }
            None => {
                entry.ended = true;
                self.tell(Input::Ended(id));
            }
        }
    }
}
