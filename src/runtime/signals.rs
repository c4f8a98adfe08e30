//! Signals, as something that a poll can wait for.

use mio::net::UnixStream;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What we listen for, and where it is noted.
const HEARD: &[(i32, Signal)] = &[
    (SIGTERM, Signal::End),
    (SIGINT, Signal::End),
    (SIGHUP, Signal::Reload),
    (SIGUSR1, Signal::Reopen),
    (SIGCHLD, Signal::Child),
];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// TERM or INT: come to an end; the second time at once.
    End,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: open the logs again.
    Reopen,
    /// CHLD: a child has ended.
    Child,
}

/// The signals that came and were not taken yet. Several of one kind count as one.
#[derive(Debug)]
pub(super) struct Signals {
    flags: [Arc<AtomicBool>; 4],
    pipe: UnixStream,
}

impl Signals {
    /// Listens from now on; not undone.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn listen() -> io::Result<Signals> {
        let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let flags: [Arc<AtomicBool>; 4] = Default::default();
        for (number, signal) in HEARD {
            let flag = Arc::clone(&flags[*signal as usize]);
            // The flag first: whoever finds the byte must find the flag.
            signal_hook::flag::register(*number, flag)?;
            signal_hook::low_level::pipe::register(*number, writer.try_clone()?)?;
        }
        Ok(Signals {
            flags,
            pipe: UnixStream::from_std(reader),
        })
    }

    /// What becomes readable when a signal comes.
    pub(super) fn source(&mut self) -> &mut UnixStream {
        &mut self.pipe
    }

    /// The kinds that came since the last time.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        loop {
            match self.pipe.read(&mut bytes) {
                Ok(length) if length > 0 => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        [Signal::End, Signal::Reload, Signal::Reopen, Signal::Child]
            .into_iter()
            .filter(|signal| self.flags[*signal as usize].swap(false, Ordering::SeqCst))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpid, kill_process};

    #[test]
    fn signals_are_taken_once() {
        let mut signals = Signals::listen().unwrap();
        kill_process(getpid(), rustix::process::Signal::USR1).unwrap();
        kill_process(getpid(), rustix::process::Signal::HUP).unwrap();
        // They come when the kernel likes, and children of other tests may end meanwhile.
        let mut taken = Vec::new();
        while !(taken.contains(&Signal::Reload) && taken.contains(&Signal::Reopen)) {
            taken.extend(signals.take());
            std::thread::yield_now();
        }
        taken.retain(|signal| *signal != Signal::Child);
        assert_eq!(taken.len(), 2, "{taken:?}");
    }
}
