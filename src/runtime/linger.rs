//! What is only read to its end after its connection was closed.
//!
//! A client that is still sending must not see a reset before it has read our answer, and a child that
//! says its last words must not be told that nobody listens.

use super::socket::{Lane, token};
use crate::time::Time;
use mio::event::Source;
use mio::net::TcpStream;
use mio::unix::pipe::Receiver;
use mio::{Interest, Registry, Token};
use slab::Slab;
use std::io::{ErrorKind, Read};

/// Bytes read of one of them before the others have their turn.
const TURN_BYTES: usize = 256 * 1024;

/// Those that linger, each until its end or its deadline.
#[derive(Debug, Default)]
pub(super) struct Lingering(Slab<(Time, Lingerer)>);

/// One of them.
#[derive(Debug)]
pub(super) enum Lingerer {
    /// A client's socket whose sending side is shut down.
    Tcp(TcpStream),
    /// A child's stdout or stderr.
    Pipe(Receiver),
}

/// What is left of one after a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It has ended, or was gone already.
    Ended,
    /// It is silent now; an event will say when it is not.
    Silent,
    /// It has more to say than fits in one turn.
    Talking,
}

impl Lingering {
    /// Takes it in until `deadline`; the token under which it is to be visited.
    pub(super) fn take_in(
        &mut self,
        registry: &Registry,
        mut lingerer: Lingerer,
        deadline: Time,
    ) -> Option<Token> {
        let entry = self.0.vacant_entry();
        // More than fit a token are never open at once: each has a descriptor.
        let token = token(u32::try_from(entry.key()).ok()?, Lane::Lingering);
        let source: &mut dyn Source = match &mut lingerer {
            Lingerer::Tcp(stream) => stream,
            Lingerer::Pipe(pipe) => pipe,
        };
        // Registered under another token before: a new registration also repeats the event for what
        // waits to be read already. What cannot be registered is closed here.
        source
            .reregister(registry, token, Interest::READABLE)
            .ok()?;
        entry.insert((deadline, lingerer));
        Some(token)
    }

    /// Reads what it has to say, and lets go of it at its end.
    pub(super) fn visit(&mut self, slot: u32, buffer: &mut [u8]) -> Visit {
        let slot = slot as usize;
        let Some((_, lingerer)) = self.0.get_mut(slot) else {
            return Visit::Ended;
        };
        let mut taken = 0;
        while taken < TURN_BYTES {
            let read = match lingerer {
                Lingerer::Tcp(stream) => stream.read(buffer),
                Lingerer::Pipe(pipe) => pipe.read(buffer),
            };
            match read {
                Ok(length) if length > 0 => taken += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Visit::Silent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => {
                    self.0.remove(slot);
                    return Visit::Ended;
                }
            }
        }
        Visit::Talking
    }

    /// Lets go of it if its deadline has come.
    pub(super) fn expire(&mut self, now: Time, slot: u32) {
        let slot = slot as usize;
        if self.0.get(slot).is_some_and(|(end, _)| *end <= now) {
            self.0.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::untoken;
    use super::*;
    use mio::{Poll, unix::pipe};
    use std::io::Write;

    fn kit() -> (Lingering, pipe::Sender, u32) {
        let poll = Poll::new().unwrap();
        let (sender, mut receiver) = pipe::new().unwrap();
        poll.registry()
            .register(&mut receiver, Token(0), Interest::READABLE)
            .unwrap();
        let mut lingering = Lingering::default();
        let deadline = Time::from_micros(5);
        let token = lingering
            .take_in(poll.registry(), Lingerer::Pipe(receiver), deadline)
            .unwrap();
        (lingering, sender, untoken(token).0)
    }

    #[test]
    fn last_words_are_heard_to_the_end() {
        let (mut lingering, mut sender, slot) = kit();
        let mut buffer = [0; 4];
        sender.write_all(b"bye bye").unwrap();
        assert_eq!(lingering.visit(slot, &mut buffer), Visit::Silent);
        drop(sender);
        assert_eq!(lingering.visit(slot, &mut buffer), Visit::Ended);
        assert!(lingering.0.is_empty());
    }

    #[test]
    fn deadline_ends_the_silence() {
        let (mut lingering, mut sender, slot) = kit();
        lingering.expire(Time::from_micros(4), slot);
        assert!(sender.write_all(b"still there").is_ok());
        lingering.expire(Time::from_micros(5), slot);
        assert!(lingering.0.is_empty());
        assert!(sender.write_all(b"anybody?").is_err());
    }
}
