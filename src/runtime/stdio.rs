//! The stdio front: our own stdin and stdout as one socket.
//!
//! They may be pipes, files or a terminal, and are shared with whoever started us: making them
//! non-blocking would do so for the others too, and files cannot be waited for at all. So two threads copy
//! between them and a pair of sockets, and the worker sees one end of the pair.

use crossbeam_channel::{Receiver, bounded};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// Stack of each of the two threads.
const STACK_BYTES: usize = 128 * 1024;
/// Bytes copied at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The two threads.
#[derive(Debug)]
pub(super) struct Stdio {
    written: Receiver<()>,
}

impl Stdio {
    /// Starts copying from `input` and to `output`; what comes and goes is seen at the socket, which does
    /// not block. Its end is the end of `input`.
    ///
    /// # Errors
    /// What the kernel said about the pair or the threads.
    pub(super) fn start(
        mut input: impl Read + Send + 'static,
        mut output: impl Write + Send + 'static,
    ) -> io::Result<(Stdio, mio::net::UnixStream)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let (told, written) = bounded(1);
        let (mut to, mut from) = (far.try_clone()?, far);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.into())
                .stack_size(STACK_BYTES)
                .spawn(work)
        };
        spawn(
            "stdin",
            Box::new(move || {
                copy(&mut input, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            }),
        )?;
        spawn(
            "stdout",
            Box::new(move || {
                copy(&mut from, &mut output);
                let _ = output.flush();
                // Nobody reads us any more: let the worker know by its next write.
                let _ = from.shutdown(Shutdown::Read);
                let _ = told.send(());
            }),
        )?;
        Ok((Stdio { written }, mio::net::UnixStream::from_std(near)))
    }

    /// Waits until everything that was put into the socket before it was closed has been written; at most
    /// for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let _ = self.written.recv_timeout(timeout);
    }
}

/// Copies until either side ends.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() || to.flush().is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_written_passes_through() {
        let (input, mut their_output) = io::pipe().unwrap();
        let (mut their_input, output) = io::pipe().unwrap();
        let (stdio, socket) = Stdio::start(input, output).unwrap();
        let mut socket = UnixStream::from(std::os::fd::OwnedFd::from(socket));
        socket.set_nonblocking(false).unwrap();

        their_output.write_all(b"question\n").unwrap();
        drop(their_output);
        let mut asked = String::new();
        socket.read_to_string(&mut asked).unwrap();
        assert_eq!(asked, "question\n");

        socket.write_all(b"answer\n").unwrap();
        drop(socket);
        stdio.wait(Duration::from_secs(5));
        let mut answered = String::new();
        their_input.read_to_string(&mut answered).unwrap();
        assert_eq!(answered, "answer\n");
    }
}
