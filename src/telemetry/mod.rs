//! What happened, as operators see it: log lines, access lines and metrics, all from [`Event`]s.
//!
//! For the shell, in this order:
//!
//! ```text
//! let telemetry = Arc::new(Telemetry::start(&config)?);   // opens the access file, starts the log thread
//! let recorder = telemetry.recorder();                     // one for each thread that has events
//! recorder.record(wall, &event);                           // never blocks, formats only what is written
//! telemetry.learn(&config);                                // after a reload: new level, new secrets
//! telemetry.reopen();                                      // on USR1
//! telemetry.stop();                                        // last of all: flushes
//! ```
//!
//! `/metrics` and the gauges of `/status` are made in `ops`, which asks [`Telemetry`].
//!
//! An event below the configured level costs a few additions in the thread's own block. Lines go through
//! a bounded channel to one log thread; when that is full they are dropped and counted. Whatever others
//! wrote is stripped of known secrets, escaped and cut before it becomes part of a line.

mod access;
mod counts;
mod escape;
pub mod exposition;
mod line;
mod log;
mod metrics;
mod repeats;

pub use counts::Gauges;

use crate::config::redact::Redactor;
use crate::config::{Access, Config, Level, LogFormat};
use crate::event::Event;
use crate::ops::process::Process;
use crate::router::status::ServerStatus;
use crate::time::Wall;
use log::{Outbox, Target};
use metrics::{Block, Registry, Seen};
use parking_lot::{Mutex, RwLock};
use repeats::{Repeats, Verdict};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

/// Everything that is logged and counted, for the whole process.
pub struct Telemetry(Arc<Shared>);

struct Shared {
    registry: Registry,
    outbox: Outbox,
    /// A [`Level`], read with every event.
    level: AtomicU8,
    format: LogFormat,
    requests: Requests,
    redactor: RwLock<Arc<Redactor>>,
}

/// What becomes of requests beyond being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    Unlogged,
    /// Access lines, on stderr or in a file.
    Lines,
    /// Lines like those of events, whatever the level: on a stderr of JSON nothing else would parse.
    Events,
}

/// One thread's way to record events.
pub struct Recorder {
    shared: Arc<Shared>,
    block: Arc<Block>,
    /// Looked at for warnings and errors only.
    repeats: Mutex<Repeats>,
}

impl Telemetry {
    /// Opens the access log and starts the log thread; fails if either is impossible.
    pub fn start(config: &Config) -> io::Result<Telemetry> {
        Telemetry::start_with(config, Box::new(io::stderr()))
    }

    /// The same, with something else in place of stderr.
    pub fn start_with(config: &Config, stderr: Box<dyn Write + Send>) -> io::Result<Telemetry> {
        let log = &config.log;
        let requests = match (&log.access, log.format) {
            (Access::Off, _) => Requests::Unlogged,
            (Access::Stderr, LogFormat::Json) => Requests::Events,
            (Access::Stderr, LogFormat::Text) | (Access::File(_), _) => Requests::Lines,
        };
        Ok(Telemetry(Arc::new(Shared {
            registry: Registry::default(),
            outbox: Outbox::open(&log.access, log.format, stderr)?,
            level: AtomicU8::new(log.level as u8),
            format: log.format,
            requests,
            redactor: RwLock::new(Arc::new(Redactor::new(config))),
        })))
    }

    /// A handle for one thread. Its numbers stay when it is dropped.
    pub fn recorder(&self) -> Recorder {
        Recorder {
            shared: self.0.clone(),
            block: self.0.registry.block(),
            repeats: Mutex::default(),
        }
    }

    /// Takes over level and secrets of a new configuration. Format and access log stay as they were at
    /// the start.
    pub fn learn(&self, config: &Config) {
        *self.0.redactor.write() = Arc::new(Redactor::new(config));
        self.0.level.store(config.log.level as u8, Relaxed);
    }

    /// Opens the access file again under its name, for whoever rotated it.
    pub fn reopen(&self) {
        self.0.outbox.reopen();
    }

    /// Writes what waits and ends the log thread; what is recorded afterwards is counted only. Takes as
    /// long as `limits::LOG_FLUSH_TIMEOUT`, twice, if stderr is stuck.
    pub fn stop(&self) {
        self.0.outbox.stop();
    }

    /// What knows the secrets of the configuration.
    pub fn redactor(&self) -> Arc<Redactor> {
        self.0.redactor.read().clone()
    }

    /// What is open now.
    pub fn gauges(&self) -> Gauges {
        self.0.registry.gauges()
    }

    /// Lines that were dropped so far.
    pub fn lines_lost(&self) -> u64 {
        self.0.outbox.lost()
    }

    /// The page for Prometheus; its media type is [`exposition::CONTENT_TYPE`]. Takes each thread's lock
    /// for the time of adding its numbers up.
    pub fn metrics_page(
        &self,
        version: &str,
        now: Wall,
        uptime: Duration,
        draining: bool,
        statuses: &[ServerStatus],
    ) -> String {
        self.0.registry.page(&Seen {
            version,
            now,
            uptime,
            draining,
            statuses,
            process: Process::read(),
            log_lines_lost: self.lines_lost(),
        })
    }
}

impl Recorder {
    /// Counts an event, and logs it if its level asks for that. Never blocks on a reader of logs.
    pub fn record(&self, wall: Wall, event: &Event) {
        let shared = &*self.shared;
        shared.registry.count(&self.block, event);
        let is_request = matches!(event, Event::ExchangeEnded(_) | Event::RequestAnswered(_));
        let is_access = is_request && shared.requests == Requests::Events;
        if is_access || self.logs(event.level()) {
            self.log(wall, event);
        }
        if is_request && shared.requests == Requests::Lines {
            let redactor = shared.redactor.read().clone();
            if let Some(line) = access::line(wall, event, &redactor) {
                shared.outbox.put(Target::Access, wall, line);
            }
        }
    }

    fn log(&self, wall: Wall, event: &Event) {
        let verdict = match event.level() {
            Level::Debug | Level::Info => Verdict::Write { held: 0 },
            Level::Warn | Level::Error => self.repeats.lock().judge(event.name(), wall),
        };
        if let Verdict::Write { held } = verdict {
            let redactor = self.shared.redactor.read().clone();
            let line = line::of_event(self.shared.format, wall, event, held, &redactor);
            self.shared.outbox.put(Target::Log, wall, line);
        }
    }

    /// Whether an event of that level would be logged; for who would otherwise gather its fields in vain.
    pub fn logs(&self, level: Level) -> bool {
        level as u8 >= self.shared.level.load(Relaxed)
    }
}

#[cfg(test)]
pub(crate) mod tests;
