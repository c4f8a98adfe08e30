//! The rarer things that a worker wants of its thread: opening, closing, and passing on.

use super::dial::{Dial, Progress};
use super::driven::Driven;
use super::entries::{Entry, Side};
use super::helpers::Answer;
use super::linger::Lingerer;
use super::mail::{Mail, Order};
use super::poll::Loop;
use super::socket::{Lane, Socket, token};
use crate::config::limits::{CHILD_EOF_GRACE, CHILD_TERM_GRACE, INBOX_PARCELS_MAX, LINGER_TIMEOUT};
use crate::config::{Scheme, Server, Transport};
use crate::id::{ConnectionId, WorkerId};
use crate::time::Time;
use crate::worker::effect::{Close, Input};
use crate::worker::parcel::Parcel;
use mio::Registry;
use std::net::Shutdown;
use std::time::Duration;

impl<W: Driven> Loop<W> {
    // ── opening ──────────────────────────────────────────────────────────────────────────────────

    /// Begins to open a connection to an HTTP server.
    pub(super) fn dial(&mut self, id: ConnectionId, server: &Server) {
        let Transport::Http(http) = &server.transport else {
            let fact = format!("server {:?} is not reached over HTTP", server.name);
            return self.tell(Input::ConnectFailed(id, fact));
        };
        let tls = match http.scheme {
            Scheme::Https => self.links.tls.clone(),
            Scheme::Http => None,
        };
        let dial = Dial::new(self.now, id.slot, http, tls);
        self.set_alarm(dial.deadline(), token(id.slot, Lane::Main));
        self.entries.insert(id, Side::Server, Socket::Dialing(dial));
        let own = &self.links.workers[usize::from(self.links.own.0)];
        if let Some(answer) = self.names.ask(self.now, &http.host, id, own) {
            self.dial_resolved(id, &answer);
        }
    }

    pub(super) fn dial_resolved(&mut self, id: ConnectionId, answer: &Answer) {
        self.dial_further(id, |dial, now, registry| match answer {
            Ok(addresses) => dial.resolved(now, registry, addresses),
            Err(fact) => Progress::Failed(fact.clone()),
        });
    }

    pub(super) fn dial_on(&mut self, id: ConnectionId) {
        self.dial_further(id, Dial::ready);
    }

    pub(super) fn dial_expired(&mut self, id: ConnectionId) {
        self.dial_further(id, Dial::expire);
    }

    fn dial_further(
        &mut self,
        id: ConnectionId,
        step: impl FnOnce(Box<Dial>, Time, &Registry) -> Progress,
    ) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let dial = match std::mem::replace(&mut entry.socket, Socket::Spawning) {
            Socket::Dialing(dial) => dial,
            other => {
                entry.socket = other;
                return;
            }
        };
        let before = dial.deadline();
        match step(dial, self.now, self.poll.registry()) {
            Progress::Pending(dial) => {
                let after = dial.deadline();
                entry.socket = Socket::Dialing(dial);
                if after != before {
                    self.set_alarm(after, token(id.slot, Lane::Main));
                }
            }
            Progress::Open(socket) => {
                entry.socket = socket;
                // The event that said so may have said that there is something to read as well.
                entry.unread = true;
                entry.blocked = entry.socket.has_unsent();
                self.tell(Input::Connected(id));
                // What was asked to be sent while it was being opened had nowhere to go.
                self.flush(id);
                self.read(id);
            }
            Progress::Failed(fact) => {
                self.entries.remove(id);
                self.tell(Input::ConnectFailed(id, fact));
            }
        }
    }

    // ── closing ──────────────────────────────────────────────────────────────────────────────────

    /// Closes a connection in the way that the worker asks for.
    pub(super) fn close(&mut self, id: ConnectionId, how: Close) {
        let Some(entry) = self.forget(id) else {
            return;
        };
        match entry.socket {
            Socket::Tcp(stream) if how == Close::Lingering => {
                // A peer that is gone already has nothing to lose.
                if stream.shutdown(Shutdown::Write).is_ok() {
                    self.let_linger(Lingerer::Tcp(stream), LINGER_TIMEOUT);
                }
            }
            Socket::Tcp(stream) if how == Close::Reset => reset(&stream),
            Socket::Tls(mut stream) if how == Close::Reset => reset(stream.tcp()),
            Socket::Tls(mut stream) => stream.close(),
            Socket::Child(child) => {
                drop(child.stdin);
                let grace = CHILD_EOF_GRACE + CHILD_TERM_GRACE + Duration::from_secs(1);
                for pipe in [child.stdout, child.stderr].into_iter().flatten() {
                    self.let_linger(Lingerer::Pipe(pipe), grace);
                }
            }
            // Not yet open; what still comes for it finds it gone.
            Socket::Tcp(_) | Socket::Stdio(_) | Socket::Dialing(_) | Socket::Spawning => {}
        }
    }

    /// Closes everything there is, since the process is about to end.
    pub(super) fn close_all(&mut self) {
        for id in self.entries.ids() {
            self.close(id, Close::Now);
        }
    }

    fn let_linger(&mut self, lingerer: Lingerer, timeout: Duration) {
        let deadline = self.now + timeout;
        let registry = self.poll.registry();
        if let Some(token) = self.lingering.take_in(registry, lingerer, deadline) {
            self.set_alarm(deadline, token);
        }
    }

    /// Takes a connection out, and tells those who count them.
    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        match entry.side {
            Side::Client => self.links.loads.give_place(self.links.own),
            Side::Stdio => self.links.controller.post(Order::FrontClosed),
            Side::Server => {}
        }
        if let Socket::Child(child) = &entry.socket
            && child.exit.is_none()
        {
            let place = self.place(id);
            self.links.controller.post(Order::Stop(place));
        }
        Some(entry)
    }

    // ── passing on ───────────────────────────────────────────────────────────────────────────────

    /// Puts a parcel into a worker's inbox, or tells the sender that it is full.
    pub(super) fn post(&mut self, worker: WorkerId, parcel: Parcel) {
        let inbox = &self.links.workers[usize::from(worker.0)];
        if parcel.must_arrive() {
            return inbox.post(Mail::Parcel(parcel));
        }
        match inbox.offer(Mail::Parcel(parcel), INBOX_PARCELS_MAX) {
            Ok(()) => {}
            Err(Mail::Parcel(parcel)) => self.tell(Input::Bounced(worker, parcel)),
            Err(_) => unreachable!("what comes back is what was sent"),
        }
    }
}

/// Has the kernel send a reset when the stream is closed, which drops what was not sent.
fn reset(stream: &mio::net::TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
