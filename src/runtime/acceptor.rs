//! The thread that takes in clients: one for all listeners, since what it does for each client is little.
//!
//! A client goes to the worker with the fewest. Past the limit the newest is closed at once, and when the
//! process is out of descriptors it waits a little longer each time before it tries again: clients then
//! wait in the kernel's queue.

use super::clock::Clock;
use super::driven::Witness;
use super::inbox::Inbox;
use super::mail::{Front, Loads, Mail};
use super::socket::fact;
use crate::config::limits::{
    ACCEPT_BACKLOG, ACCEPT_WAIT_FIRST, ACCEPT_WAIT_MAX, CONNECTIONS_MAX, TAKE_TIMEOUT,
};
use crate::event::Event;
use crate::time::Time;
use mio::event::Source;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Type};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Stack of the thread.
const STACK_BYTES: usize = 128 * 1024;
/// The token of the bell that ends it.
const BELL: Token = Token(usize::MAX);

/// A listener that is bound, and what it is for.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    front: Front,
    /// Clients may be waiting in the kernel's queue.
    waiting: bool,
}

impl Listener {
    /// Binds `address`, whose port may be 0 for one that the kernel picks.
    ///
    /// # Errors
    /// What the kernel said: the address is in use, not ours, or its port asks for a privilege.
    pub(super) fn bind(address: SocketAddr, front: Front) -> io::Result<Listener> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        // A restart must not wait for the connections of the one before to be forgotten.
        socket.set_reuse_address(true)?;
        // Those that are accepted have it from here: what a client does not take is not kept for it for long.
        socket.set_tcp_user_timeout(Some(TAKE_TIMEOUT))?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        Ok(Listener {
            socket: TcpListener::from_std(socket.into()),
            front,
            waiting: false,
        })
    }

    /// Where it really listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// The running thread, for who may end it.
#[derive(Debug)]
pub(super) struct Acceptor {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Acceptor {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the kernel said about the thread or its poll.
    pub(super) fn start(
        mut listeners: Vec<Listener>,
        workers: Vec<Inbox<Mail>>,
        loads: Arc<Loads>,
        witness: Box<dyn Witness>,
        clock: Clock,
        seed: u64,
    ) -> io::Result<Acceptor> {
        let poll = Poll::new()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            listener
                .socket
                .register(poll.registry(), Token(number), Interest::READABLE)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Waker::new(poll.registry(), BELL)?;
        let work = Work {
            poll,
            listeners,
            workers,
            loads,
            witness,
            clock,
            backoff: Backoff::new(seed),
            stop: Arc::clone(&stop),
        };
        thread::Builder::new()
            .name("acceptor".into())
            .stack_size(STACK_BYTES)
            .spawn(|| work.run())?;
        Ok(Acceptor { stop, waker })
    }

    /// Takes in those who wait already and no more; the listeners are closed then.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // The bell is a counter in the kernel: it cannot be rung in vain.
        let _ = self.waker.wake();
    }
}

/// What the thread works with.
struct Work {
    poll: Poll,
    listeners: Vec<Listener>,
    workers: Vec<Inbox<Mail>>,
    loads: Arc<Loads>,
    witness: Box<dyn Witness>,
    clock: Clock,
    backoff: Backoff,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self) {
        let mut events = Events::with_capacity(16);
        let mut retry = None;
        loop {
            let timeout = retry.map(|retry: Time| retry.since(self.clock.now()));
            // Interrupted by a signal, say: look again.
            let polled = self.poll.poll(&mut events, timeout);
            if polled.is_err_and(|error| error.kind() != ErrorKind::Interrupted) {
                return;
            }
            for event in &events {
                if let Some(listener) = self.listeners.get_mut(event.token().0) {
                    listener.waiting = true;
                }
            }
            let stop = self.stop.load(Ordering::Acquire);
            let now = self.clock.now();
            if stop || retry.is_none_or(|retry| retry <= now) {
                retry = self.take_in_all(now);
            }
            if stop {
                return;
            }
        }
    }

    /// Takes in all who wait; when to try again, if that was impossible.
    fn take_in_all(&mut self, now: Time) -> Option<Time> {
        for number in 0..self.listeners.len() {
            while self.listeners[number].waiting {
                match self.listeners[number].socket.accept() {
                    Ok((stream, peer)) => {
                        self.backoff.reset();
                        self.take_in(now, stream, peer, self.listeners[number].front);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.listeners[number].waiting = false;
                    }
                    Err(error) if is_scarcity(&error) => {
                        let cause = fact(&error);
                        self.witness.record(now, &Event::AcceptFailed { cause });
                        return Some(now + self.backoff.next());
                    }
                    // The client was gone before it was taken in, or the network has an opinion on it.
                    Err(_) => {}
                }
            }
        }
        None
    }

    fn take_in(&mut self, now: Time, stream: mio::net::TcpStream, peer: SocketAddr, front: Front) {
        match self.loads.take_place(CONNECTIONS_MAX) {
            Some(worker) => {
                // Answers are written whole: there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                self.workers[usize::from(worker.0)].post(Mail::Adopt(stream, peer, front));
            }
            None => self
                .witness
                .record(now, &Event::ConnectionRefused { peer: peer.ip() }),
        }
    }
}

/// Whether accepting failed for want of something of ours that others may give back: descriptors or memory.
fn is_scarcity(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|code| {
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&code)
    })
}

/// Waits that double, each with a random part taken off, so that many processes do not try in step.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    chance: u64,
}

impl Backoff {
    fn new(seed: u64) -> Backoff {
        Backoff {
            next: ACCEPT_WAIT_FIRST,
            // The generator would stay at zero.
            chance: seed | 1,
        }
    }

    fn reset(&mut self) {
        self.next = ACCEPT_WAIT_FIRST;
    }

    /// The next wait: between half and all of the present length.
    fn next(&mut self) -> Duration {
        // xorshift64: all that jitter needs.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let wait = self.next;
        self.next = (self.next * 2).min(ACCEPT_WAIT_MAX);
        wait / 2 + (wait / 2).mul_f64((self.chance % 1024) as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbox::{Mailbox, inbox};
    use super::super::poll::tests::Blind;
    use super::*;
    use std::io::Read;
    use std::net::TcpStream;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// What stands in for a worker's thread. The bell goes with the last inbox, so one is kept.
    struct Reader {
        mailbox: Mailbox<Mail>,
        poll: Poll,
        _inbox: Inbox<Mail>,
    }

    /// An acceptor on one listener, its address, and its one worker.
    fn started(loads: &Arc<Loads>) -> (Acceptor, SocketAddr, Reader) {
        let listener = Listener::bind(any_port(), Front::Main).unwrap();
        let address = listener.address().unwrap();
        let poll = Poll::new().unwrap();
        let (inbox, mailbox) = inbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let loads = Arc::clone(loads);
        let acceptor = Acceptor::start(
            vec![listener],
            vec![inbox.clone()],
            loads,
            Box::new(Blind),
            Clock::start(),
            7,
        );
        let reader = Reader {
            mailbox,
            poll,
            _inbox: inbox,
        };
        (acceptor.unwrap(), address, reader)
    }

    fn next_letter(reader: &mut Reader) -> Mail {
        let Reader { mailbox, poll, .. } = reader;
        let mut events = Events::with_capacity(1);
        if mailbox.may_sleep() {
            poll.poll(&mut events, Some(Duration::from_secs(5)))
                .unwrap();
            mailbox.wake_up();
        }
        mailbox.take().expect("a letter within 5 s")
    }

    #[test]
    fn client_is_handed_to_a_worker() {
        let loads = Arc::new(Loads::new(1));
        let (_acceptor, address, mut reader) = started(&loads);
        let client = TcpStream::connect(address).unwrap();
        let Mail::Adopt(stream, peer, front) = next_letter(&mut reader) else {
            panic!("not a client");
        };
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(front, Front::Main);
        assert!(stream.nodelay().unwrap());
        let timeout = socket2::SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(TAKE_TIMEOUT));
    }

    #[test]
    fn client_past_the_limit_is_closed_at_once() {
        let loads = Arc::new(Loads::new(1));
        assert!((0..CONNECTIONS_MAX).all(|_| loads.take_place(CONNECTIONS_MAX).is_some()));
        let (_acceptor, address, reader) = started(&loads);
        let mut client = TcpStream::connect(address).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert!(reader.mailbox.take().is_none());
    }

    #[test]
    fn nobody_is_listening_after_the_end() {
        let loads = Arc::new(Loads::new(1));
        let (acceptor, address, mut reader) = started(&loads);
        let _last = TcpStream::connect(address).unwrap();
        acceptor.stop();
        assert!(matches!(next_letter(&mut reader), Mail::Adopt(..)));
        let refused = (0..500).any(|_| {
            let refused = TcpStream::connect(address).is_err();
            thread::yield_now();
            refused
        });
        assert!(refused, "{address} still takes connections");
    }

    #[test]
    fn waits_double_to_a_second_and_begin_anew() {
        let mut backoff = Backoff::new(1);
        for length in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let wait = backoff.next();
            let whole = Duration::from_millis(length);
            assert!(
                wait >= whole / 2 && wait <= whole,
                "{wait:?} is not about {whole:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= ACCEPT_WAIT_FIRST);
    }

    #[test]
    fn want_of_descriptors_is_told_from_a_client_that_left() {
        let check = |code, expected| {
            assert_eq!(is_scarcity(&io::Error::from_raw_os_error(code)), expected);
        };
        check(24, true);
        check(23, true);
        check(103, false);
        check(11, false);
    }
}
