//! What every thread shows of the process: events recorded, and answers to those who ask how it does.

use super::clock::Clock;
use super::driven::Witness;
use crate::event::Event;
use crate::ops::{self, Snapshot, Summary};
use crate::router::status::ServerStatus;
use crate::telemetry::{Recorder, Telemetry};
use crate::time::Time;
use crate::worker::effect::{OpsAnswer, OpsRequest};
use parking_lot::RwLock;
use std::sync::Arc;

/// What the controller lets the others see. Replaced as a whole.
#[derive(Debug)]
pub(super) struct View {
    /// Whether nothing more is admitted.
    pub(super) draining: bool,
    /// Every server's condition.
    pub(super) statuses: Vec<ServerStatus>,
}

/// One thread's desk.
pub(super) struct Desk {
    clock: Clock,
    telemetry: Arc<Telemetry>,
    recorder: Recorder,
    summary: Summary,
    view: Arc<RwLock<Arc<View>>>,
}

impl Desk {
    /// The first desk, and what it shows until the controller knows more.
    pub(super) fn new(
        clock: Clock,
        telemetry: Arc<Telemetry>,
        summary: Summary,
        statuses: Vec<ServerStatus>,
    ) -> Desk {
        let view = View {
            draining: false,
            statuses,
        };
        Desk {
            clock,
            recorder: telemetry.recorder(),
            telemetry,
            summary,
            view: Arc::new(RwLock::new(Arc::new(view))),
        }
    }

    /// A desk of the same process for another thread.
    pub(super) fn another(&self) -> Desk {
        Desk {
            clock: self.clock,
            telemetry: Arc::clone(&self.telemetry),
            recorder: self.telemetry.recorder(),
            summary: self.summary,
            view: Arc::clone(&self.view),
        }
    }

    /// Replaces what is shown. No lock is held while anybody looks at it.
    pub(super) fn show(&self, view: View) {
        *self.view.write() = Arc::new(view);
    }

    /// Opens the logs again.
    pub(super) fn reopen_logs(&self) {
        self.telemetry.reopen();
    }

    /// Writes what waits to be written, as the last thing of all.
    pub(super) fn close(&self) {
        self.telemetry.stop();
    }
}

impl Witness for Desk {
    fn record(&mut self, now: Time, event: &Event) {
        self.recorder.record(self.clock.wall(now), event);
    }

    fn answer(&mut self, now: Time, request: &OpsRequest) -> OpsAnswer {
        let view = Arc::clone(&self.view.read());
        ops::answer(
            request,
            &Snapshot {
                version: env!("CARGO_PKG_VERSION"),
                now: self.clock.wall(now),
                uptime: now.since(Time::ZERO),
                draining: view.draining,
                summary: &self.summary,
                statuses: &view.statuses,
                telemetry: &self.telemetry,
            },
        )
    }
}
