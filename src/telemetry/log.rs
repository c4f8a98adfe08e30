//! The thread that writes lines, and the way to it.
//!
//! Whoever has a line puts it into a bounded channel and goes on. When the channel is full, because
//! stderr is a pipe that nobody reads or a disk that has filled up, the line is dropped and counted, and
//! the next line that gets through is followed by one that says how many are missing. Lines are gathered
//! while there are any, so that a burst costs few system calls.

use super::line::Line;
use crate::config::limits::{LOG_FLUSH_TIMEOUT, LOG_LINES_MAX};
use crate::config::redact::Redactor;
use crate::config::{Access, Level, LogFormat};
use crate::event::Field;
use crate::time::Wall;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Bytes gathered before they are written although more lines wait.
const GATHERED_BYTES: usize = 32 * 1024;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Events: stderr.
    Log,
    /// Requests: the access file, or stderr.
    Access,
}

enum Message {
    Line(Target, Wall, String),
    /// Look at [`Counts::reopen`] now, though there is no line.
    Wake,
    Stop,
}

#[derive(Default)]
struct Counts {
    lost: AtomicU64,
    reopen: AtomicBool,
}

/// The way to the log thread.
pub(super) struct Outbox {
    messages: Sender<Message>,
    ended: Receiver<()>,
    counts: Arc<Counts>,
}

impl Outbox {
    /// Opens the access file and starts the thread. `stderr` is where everything else goes.
    pub(super) fn open(
        access: &Access,
        format: LogFormat,
        stderr: Box<dyn Write + Send>,
    ) -> io::Result<Outbox> {
        let access = match access {
            Access::File(path) => Some(AccessFile {
                file: append_to(path)?,
                path: path.clone(),
            }),
            Access::Off | Access::Stderr => None,
        };
        let (messages, waiting) = bounded(LOG_LINES_MAX);
        let (running, ended) = bounded(0);
        let counts = Arc::new(Counts::default());
        let mut writer = Writer {
            stderr,
            access,
            format,
            counts: counts.clone(),
            told: 0,
        };
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                writer.run(&waiting);
                // In this order: once the end is known, a line put is a line counted as lost.
                drop(waiting);
                drop(running);
            })?;
        Ok(Outbox {
            messages,
            ended,
            counts,
        })
    }

    /// Hands a line over, or drops and counts it.
    pub(super) fn put(&self, target: Target, wall: Wall, line: String) {
        if self
            .messages
            .try_send(Message::Line(target, wall, line))
            .is_err()
        {
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were dropped, or that the file or stderr did not take.
    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Relaxed)
    }

    /// Lets the access file be opened again under its name, for whoever rotated it.
    pub(super) fn reopen(&self) {
        self.counts.reopen.store(true, Relaxed);
        match self.messages.try_send(Message::Wake) {
            // A full channel is being worked on: the flag is seen with the next line.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits until everything handed over so far is written, at most [`LOG_FLUSH_TIMEOUT`], and ends the
    /// thread.
    pub(super) fn stop(&self) {
        if self
            .messages
            .send_timeout(Message::Stop, LOG_FLUSH_TIMEOUT)
            .is_ok()
        {
            // Nothing is ever sent: the thread's end drops the other side. A timeout means that stderr
            // is stuck, and there is nobody left to tell.
            let _ = self.ended.recv_timeout(LOG_FLUSH_TIMEOUT);
        }
    }
}

struct AccessFile {
    path: PathBuf,
    file: File,
}

struct Writer {
    stderr: Box<dyn Write + Send>,
    access: Option<AccessFile>,
    format: LogFormat,
    counts: Arc<Counts>,
    /// Lost lines that a line of ours has mentioned.
    told: u64,
}

impl Writer {
    fn run(&mut self, messages: &Receiver<Message>) {
        let (mut log, mut access) = (Gathered::default(), Gathered::default());
        let mut going = true;
        while going {
            let Ok(first) = messages.recv() else { return };
            let mut wall = Wall(0);
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Line(target, at, line) => {
                        let gathered = match target {
                            Target::Access if self.access.is_some() => &mut access,
                            Target::Access | Target::Log => &mut log,
                        };
                        gathered.text.extend_from_slice(line.as_bytes());
                        gathered.lines += 1;
                        wall = at;
                    }
                    Message::Wake => {}
                    Message::Stop => {
                        going = false;
                        break;
                    }
                }
                if log.text.len() + access.text.len() >= GATHERED_BYTES {
                    break;
                }
            }
            if self.counts.reopen.swap(false, Relaxed) {
                self.reopen(wall, &mut log.text);
            }
            if log.lines + access.lines > 0 {
                self.tell_losses(wall, &mut log.text);
            }
            let mut lost = log.write(&mut *self.stderr);
            if let Some(access_file) = &mut self.access {
                lost += access.write(&mut access_file.file);
            }
            self.counts.lost.fetch_add(lost, Relaxed);
        }
    }

    fn tell_losses(&mut self, wall: Wall, log: &mut Vec<u8>) {
        let lost = self.counts.lost.load(Relaxed);
        if lost > self.told {
            let mut line = Line::new(self.format, wall, Level::Warn, "log lines lost");
            line.field(
                "lines",
                Field::Number(lost - self.told),
                &Redactor::default(),
            );
            log.extend_from_slice(line.end().as_bytes());
            self.told = lost;
        }
    }

    /// Opens the access file anew; keeps the old one, and says why, where that is impossible.
    fn reopen(&mut self, wall: Wall, log: &mut Vec<u8>) {
        let Some(access) = &mut self.access else {
            return;
        };
        match append_to(&access.path) {
            Ok(file) => access.file = file,
            Err(cause) => {
                let mut line = Line::new(self.format, wall, Level::Error, "access log kept");
                let redactor = Redactor::default();
                line.field(
                    "path",
                    Field::Foreign(&access.path.to_string_lossy()),
                    &redactor,
                );
                line.field("cause", Field::Foreign(&cause.to_string()), &redactor);
                log.extend_from_slice(line.end().as_bytes());
            }
        }
    }
}

/// Lines on their way to one place.
#[derive(Default)]
struct Gathered {
    text: Vec<u8>,
    lines: u64,
}

impl Gathered {
    /// Writes them and forgets them; gives how many are lost, which are all if one of them is.
    fn write(&mut self, place: &mut dyn Write) -> u64 {
        let written = place.write_all(&self.text);
        self.text.clear();
        self.text.shrink_to(GATHERED_BYTES);
        let lines = std::mem::take(&mut self.lines);
        if written.is_ok() { 0 } else { lines }
    }
}

/// Readable by owner and group only: the lines hold clients' addresses.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::{Blocked, Shared};

    fn outbox(access: &Access, stderr: &Shared) -> Outbox {
        Outbox::open(access, LogFormat::Text, Box::new(stderr.clone())).unwrap()
    }

    #[test]
    fn lines_come_out_in_order_and_none_is_left_behind_at_exit() {
        let stderr = Shared::default();
        let out = outbox(&Access::Off, &stderr);
        for number in 0..500 {
            out.put(Target::Log, Wall(0), format!("{number}\n"));
        }
        out.stop();
        let expected: String = (0..500).map(|number| format!("{number}\n")).collect();
        assert_eq!(stderr.text(), expected);
        assert_eq!(out.lost(), 0);
    }

    #[test]
    fn full_channel_drops_counts_and_says_so() {
        let stderr = Shared::default();
        let (blocked, release) = Blocked::new(stderr.clone());
        let out = Outbox::open(&Access::Off, LogFormat::Text, Box::new(blocked)).unwrap();
        // The thread holds at most one gathered batch, the channel its capacity; the rest is lost.
        let sent = 4 * LOG_LINES_MAX as u64;
        for _ in 0..sent {
            out.put(
                Target::Log,
                Wall(0),
                format!("{}\n", "x".repeat(GATHERED_BYTES / 64)),
            );
        }
        let lost = out.lost();
        assert!(lost > 0);
        drop(release);
        out.stop();
        let text = stderr.text();
        assert_eq!(
            text.lines().filter(|line| line.starts_with('x')).count() as u64,
            sent - lost
        );
        let told = text
            .lines()
            .filter_map(|line| line.split_once("WARN log lines lost lines="));
        assert_eq!(
            told.map(|(_, lines)| lines.parse::<u64>().unwrap())
                .sum::<u64>(),
            lost
        );
    }

    #[test]
    fn broken_stderr_does_not_silence_the_access_file() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let name = format!("switchbox-broken-{}.log", std::process::id());
        let path = std::env::temp_dir().join(name);
        let access = Access::File(path.clone());
        let out = Outbox::open(&access, LogFormat::Text, Box::new(Broken)).unwrap();
        out.put(Target::Log, Wall(0), "nobody hears it\n".into());
        // Each in a batch of its own, the last ones beside a word about what was lost.
        for expected in ["one\n", "one\ntwo\n", "one\ntwo\nthree\n"] {
            let line = expected.split_inclusive('\n').next_back().unwrap();
            out.put(Target::Access, Wall(0), line.into());
            while std::fs::read_to_string(&path).unwrap() != expected && out.lost() < 2 {
                std::thread::yield_now();
            }
        }
        out.stop();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((&*text, out.lost()), ("one\ntwo\nthree\n", 1));
    }

    #[test]
    fn reopened_file_gets_what_comes_after() {
        let folder = std::env::temp_dir().join(format!("switchbox-access-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, rotated) = (folder.join("access.log"), folder.join("access.log.1"));
        let stderr = Shared::default();
        let out = outbox(&Access::File(path.clone()), &stderr);
        out.put(Target::Access, Wall(0), "one\n".into());
        // The first line is out once it can be read.
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &rotated).unwrap();
        out.reopen();
        out.put(Target::Access, Wall(0), "two\n".into());
        out.put(Target::Log, Wall(0), "other\n".into());
        out.stop();
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(stderr.text(), "other\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
