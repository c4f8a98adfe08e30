//! The main thread: signals, children, what is known of the servers, and the end.
//!
//! ```text
//!  Serving ── TERM, INT ──▶ Draining ── all drained, or time is up ──▶ Stopping ── no child left ──▶ exit 0
//!                              └────────────── TERM, INT again: now ──────────────────────────────▶
//! ```
//!
//! It never works for a client: what it does is rare, and it may wait for the kernel to start a process.

use super::acceptor::Acceptor;
use super::children::Children;
use super::clock::Clock;
use super::desk::{Desk, View};
use super::driven::Witness;
use super::inbox::{Inbox, Mailbox};
use super::mail::{Loads, Mail, Order};
use super::signals::{Signal, Signals};
use super::stdio::Stdio;
use crate::config::{Server, Transport};
use crate::event::Event;
use crate::id::{Place, WorkerId};
use crate::mcp::listing::Kind;
use crate::router::catalog::Collision;
use crate::router::directory::Directory;
use crate::time::Time;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The token of the bell that other threads ring.
pub(super) const BELL: Token = Token(0);
/// The token of the signals.
const SIGNALS: Token = Token(1);
/// At the very end: how long the last lines of the stdio front and the last strays are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// The exit code when a worker's thread was lost (sysexits `EX_SOFTWARE`).
const SOFTWARE: u8 = 70;

/// The main thread's state.
pub(super) struct Controller {
    pub(super) clock: Clock,
    pub(super) poll: Poll,
    pub(super) mailbox: Mailbox<Order>,
    pub(super) signals: Signals,
    pub(super) workers: Vec<Inbox<Mail>>,
    pub(super) loads: Arc<Loads>,
    pub(super) directory: Directory,
    pub(super) children: Children,
    /// `None` on the stdio front, and once it was told to stop.
    pub(super) acceptor: Option<Acceptor>,
    /// The stdio front, if that is the one.
    pub(super) stdio: Option<Stdio>,
    pub(super) desk: Desk,
    /// How long what is in flight may take once the end was asked for.
    pub(super) drain: Duration,
    pub(super) phase: Phase,
}

/// How far the end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Until a time, for these workers.
    Draining(Time, Vec<WorkerId>),
    /// For children to end.
    Stopping,
}

/// What the main thread does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Turn,
    End,
    /// A worker's thread is gone: nothing can be promised any more.
    Abort(WorkerId),
}

impl Controller {
    /// Turns until the end. All children are gone then.
    ///
    /// # Errors
    /// What the kernel said about waiting.
    pub(super) fn run(mut self) -> io::Result<ExitCode> {
        self.poll
            .registry()
            .register(self.signals.source(), SIGNALS, Interest::READABLE)?;
        let mut events = Events::with_capacity(8);
        let mut next = Next::Turn;
        while next == Next::Turn {
            next = self.turn(&mut events)?;
        }
        self.finish();
        Ok(match next {
            Next::Abort(worker) => {
                eprintln!("switchbox: worker {} is lost", worker.0);
                ExitCode::from(SOFTWARE)
            }
            _ => ExitCode::SUCCESS,
        })
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<Next> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            // A signal came: it is in the pipe by now.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled?,
        }
        self.mailbox.wake_up();
        let now = self.clock.now();
        for signal in self.signals.take() {
            if self.take_signal(now, signal) == Next::End {
                return Ok(Next::End);
            }
        }
        let mut reported = false;
        while let Some(order) = self.mailbox.take() {
            match order {
                Order::Report(report) => {
                    self.directory.report(now, self.clock.wall(now), report);
                    reported = true;
                }
                Order::Spawn(place, server) => self.start_child(place, &server),
                Order::Stop(place) => self.children.stop(now, place),
                Order::Drained(worker) => {
                    if let Phase::Draining(_, left) = &mut self.phase {
                        left.retain(|other| *other != worker);
                    }
                }
                Order::FrontClosed => self.begin_drain(now),
                Order::Lost(worker) => return Ok(Next::Abort(worker)),
            }
        }
        if let Some((table, collisions)) = self.directory.poll(now) {
            for inbox in &self.workers {
                inbox.post(Mail::Table(Arc::clone(&table)));
            }
            for collision in collisions {
                let event = self.name_collided(&table.servers, collision);
                self.desk.record(now, &event);
            }
            reported = true;
        }
        if reported {
            self.show();
        }
        self.children.advance(now);
        Ok(self.advance_end(now))
    }

    /// How long nothing will be due. Says that this thread sleeps, unless it is not going to.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let drain = match &self.phase {
            Phase::Draining(end, _) => Some(*end),
            Phase::Serving | Phase::Stopping => None,
        };
        let deadlines = [self.directory.deadline(), self.children.deadline(), drain];
        let next = deadlines.into_iter().flatten().min();
        next.map(|next| next.since(self.clock.now()))
    }

    fn take_signal(&mut self, now: Time, signal: Signal) -> Next {
        match signal {
            Signal::End if self.phase == Phase::Serving => self.begin_drain(now),
            Signal::End => return Next::End,
            Signal::Reload => {
                let remark = "reloading is not supported; restart to use a new configuration";
                let remark = remark.to_owned();
                self.desk.record(now, &Event::ConfigRemarked { remark });
            }
            Signal::Reopen => self.desk.reopen_logs(),
            Signal::Child => self.reap(),
        }
        Next::Turn
    }

    fn show(&self) {
        self.desk.show(View {
            draining: self.phase != Phase::Serving,
            statuses: self.directory.statuses(),
        });
    }

    fn name_collided(&self, servers: &[Arc<Server>], collision: Collision) -> Event {
        Event::NameCollided {
            kind: match collision.kind {
                Kind::Tools => "tool",
                Kind::Prompts => "prompt",
                Kind::Resources => "resource",
                Kind::Templates => "resource template",
            },
            name: collision.name,
            winner: Arc::clone(&servers[collision.winner]),
            loser: Arc::clone(&servers[collision.loser]),
        }
    }

    // ── children ─────────────────────────────────────────────────────────────────────────────────

    fn start_child(&mut self, place: Place, server: &Server) {
        let started = match (&server.transport, &self.phase) {
            (_, Phase::Stopping) => Err("switchbox is ending".into()),
            (Transport::Http(_), _) => Err(format!("server {:?} is no command", server.name)),
            (Transport::Stdio(command), _) => self.children.start(place, command),
        };
        let id = place.connection;
        self.tell(
            place.worker,
            match started {
                Ok(pipes) => Mail::Attach(id, pipes),
                Err(fact) => Mail::NotStarted(id, fact),
            },
        );
    }

    fn reap(&mut self) {
        for (place, how) in self.children.reap() {
            self.tell(place.worker, Mail::Gone(place.connection, how));
        }
    }

    fn tell(&self, worker: WorkerId, mail: Mail) {
        self.workers[usize::from(worker.0)].post(mail);
    }

    // ── the end ──────────────────────────────────────────────────────────────────────────────────

    /// Stops taking in clients and has every worker finish what is in flight.
    fn begin_drain(&mut self, now: Time) {
        if self.phase != Phase::Serving {
            return;
        }
        let all = (0..=u8::MAX).map(WorkerId).take(self.workers.len());
        self.phase = Phase::Draining(now + self.drain, all.collect());
        // Not ready first, not listening next: who asks in between is told the truth.
        self.show();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
        self.desk.record(now, &Event::DrainStarted);
        for inbox in &self.workers {
            inbox.post(Mail::Drain);
        }
    }

    fn advance_end(&mut self, now: Time) -> Next {
        if let Phase::Draining(end, left) = &self.phase
            && (left.is_empty() || *end <= now)
        {
            // A connection carries one exchange at a time, and idle ones are closed by now.
            let cut = match left.is_empty() {
                true => 0,
                false => self.loads.total(),
            };
            self.desk.record(now, &Event::DrainEnded { cut });
            for inbox in &self.workers {
                inbox.post(Mail::Stop);
            }
            self.children.stop_all(now);
            self.phase = Phase::Stopping;
        }
        match self.phase == Phase::Stopping && self.children.is_empty() {
            true => Next::End,
            false => Next::Turn,
        }
    }

    /// Leaves nothing behind: no child, no stray, no unwritten line.
    fn finish(&mut self) {
        self.children.kill_all();
        let end = self.clock.now() + LAST_WAIT;
        while self.children.kill_strays() + self.children.len() > 0 && self.clock.now() < end {
            pause();
            self.children.reap();
        }
        if let Some(stdio) = &self.stdio {
            stdio.wait(LAST_WAIT);
        }
        self.desk.close();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread, at the end of the process: nobody waits for it any more"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
