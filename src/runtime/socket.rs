//! One connection's bytes, whatever carries them: TCP, TLS on TCP, a child's pipes, or the pair that
//! leads to our own stdin and stdout.

use super::dial::Dial;
use super::process::Pipes;
use super::tls::TlsStream;
use crate::time::Time;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry, Token};
use rustix::fd::OwnedFd;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// What carries one connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// A client, or an HTTP server without TLS.
    Tcp(TcpStream),
    /// An HTTP server with TLS.
    Tls(Box<TlsStream>),
    /// A child's pipes.
    Child(Box<Child>),
    /// Our end of the pair that leads to our own stdin and stdout.
    Stdio(UnixStream),
    /// A connection that is being opened.
    Dialing(Box<Dial>),
    /// A child that is being started.
    Spawning,
}

/// Our ends of a child's pipes, those that are still open, and what is known of its end.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) stdin: Option<Sender>,
    pub(super) stdout: Option<Receiver>,
    pub(super) stderr: Option<Receiver>,
    /// How it ended, once that is known.
    pub(super) exit: Option<String>,
    /// Until when the rest is waited for: its output, once it ended; or its end, once its output did.
    pub(super) deadline: Time,
}

impl Child {
    pub(super) fn new(pipes: Pipes) -> Child {
        Child {
            stdin: Some(pipes.stdin),
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            exit: None,
            deadline: Time::NEVER,
        }
    }
}

/// Which of a connection's file descriptors an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The only one, or a child's stdout.
    Main,
    /// A child's stdin.
    Stdin,
    /// A child's stderr.
    Stderr,
    /// Something that is only read to its end, after its connection was closed.
    Lingering,
}

/// The token of a lane of the connection in `slot`. Generations are not in it: an event for an earlier
/// tenant of the slot only causes a read that finds nothing.
pub(super) fn token(slot: u32, lane: Lane) -> Token {
    Token((slot as usize) << 2 | lane as usize)
}

/// What [`token`] was made of.
pub(super) fn untoken(token: Token) -> (u32, Lane) {
    let lane = match token.0 & 3 {
        0 => Lane::Main,
        1 => Lane::Stdin,
        2 => Lane::Stderr,
        _ => Lane::Lingering,
    };
    // A slot is a `u32`, and tokens are made from slots alone.
    ((token.0 >> 2) as u32, lane)
}

impl Socket {
    /// Registers every descriptor, once and for all it may ever be waited for.
    pub(super) fn register(&mut self, registry: &Registry, slot: u32) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let main = token(slot, Lane::Main);
        match self {
            Socket::Tcp(stream) => stream.register(registry, main, both),
            Socket::Tls(stream) => stream.tcp().register(registry, main, both),
            Socket::Stdio(stream) => stream.register(registry, main, both),
            Socket::Child(child) => {
                if let Some(stdin) = &mut child.stdin {
                    stdin.register(registry, token(slot, Lane::Stdin), Interest::WRITABLE)?;
                }
                if let Some(stdout) = &mut child.stdout {
                    stdout.register(registry, main, Interest::READABLE)?;
                }
                if let Some(stderr) = &mut child.stderr {
                    stderr.register(registry, token(slot, Lane::Stderr), Interest::READABLE)?;
                }
                Ok(())
            }
            Socket::Dialing(_) | Socket::Spawning => Ok(()),
        }
    }

    /// Whether a read that does not fill the buffer has left nothing behind.
    ///
    /// So it is with sockets and pipes: the next byte makes a new event. TLS hands out single records.
    pub(super) fn short_read_drains(&self) -> bool {
        !matches!(self, Socket::Tls(_))
    }

    /// Reads from the main lane. 0 is the end; a closed stdout is at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
            Socket::Stdio(stream) => stream.read(buffer),
            Socket::Child(child) => match &mut child.stdout {
                Some(stdout) => stdout.read(buffer),
                None => Ok(0),
            },
            Socket::Dialing(_) | Socket::Spawning => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes as much as is taken at once.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            // Most answers are one piece, and the kernel is a little quicker with one than with a list.
            Socket::Tcp(stream) => match slices {
                [piece] => stream.write(piece),
                pieces => stream.write_vectored(pieces),
            },
            Socket::Tls(stream) => stream.write(slices),
            Socket::Stdio(stream) => stream.write_vectored(slices),
            Socket::Child(child) => match &mut child.stdin {
                Some(stdin) => stdin.write_vectored(slices),
                None => Err(ErrorKind::BrokenPipe.into()),
            },
            Socket::Dialing(_) | Socket::Spawning => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends a part of a long answer, the rest of which comes from a file: in one packet with that, if it may.
    pub(super) fn write_before_file(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Socket::Tcp(stream) = self else {
            return self.write(slices);
        };
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        Ok(sendmsg(stream, slices, &mut nothing, flags)?)
    }

    /// Sends `file` from `start` on, as much as is taken at once; `Unsupported` where it has to be written.
    pub(super) fn send_file(
        &mut self,
        file: &OwnedFd,
        start: usize,
        length: usize,
    ) -> io::Result<usize> {
        let Socket::Tcp(stream) = self else {
            return Err(ErrorKind::Unsupported.into());
        };
        let mut start = start as u64;
        match sendfile(stream, file, Some(&mut start), length) {
            // The file is as long as it was made, so that this is not its end.
            Ok(0) | Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                Err(ErrorKind::Unsupported.into())
            }
            sent => Ok(sent?),
        }
    }

    /// Sends what was taken but not sent; `WouldBlock` if the kernel does not take all of it.
    pub(super) fn push(&mut self) -> io::Result<()> {
        match self {
            Socket::Tls(stream) => stream.push(),
            _ => Ok(()),
        }
    }

    /// Whether something was taken that is not sent.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Socket::Tls(stream) => stream.has_unsent(),
            _ => false,
        }
    }

    /// Why the kernel calls the connection broken, if it does.
    pub(super) fn error(&mut self) -> Option<io::Error> {
        match self {
            Socket::Tcp(stream) => stream.take_error().ok().flatten(),
            Socket::Tls(stream) => stream.tcp().take_error().ok().flatten(),
            Socket::Stdio(stream) => stream.take_error().ok().flatten(),
            Socket::Child(_) | Socket::Dialing(_) | Socket::Spawning => None,
        }
    }
}

/// What an I/O error says, as a fact: lower case, without the number.
pub(super) fn fact(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => return "connection refused".into(),
        ErrorKind::ConnectionReset => return "connection reset".into(),
        ErrorKind::BrokenPipe => return "closed by the other side".into(),
        ErrorKind::UnexpectedEof => return "connection cut without notice".into(),
        ErrorKind::TimedOut => return "timed out".into(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_tells_slot_and_lane() {
        let check = |slot, lane| assert_eq!(untoken(token(slot, lane)), (slot, lane));
        check(0, Lane::Main);
        check(1, Lane::Stdin);
        check(77, Lane::Stderr);
        check(1 << 20, Lane::Lingering);
    }

    #[test]
    fn errors_are_told_as_facts() {
        let check = |code, expected| {
            assert_eq!(fact(&io::Error::from_raw_os_error(code)), expected);
        };
        check(111, "connection refused");
        check(104, "connection reset");
        check(113, "no route to host");
        check(24, "too many open files");
    }
}
