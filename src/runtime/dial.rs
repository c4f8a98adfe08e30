//! Opening a connection to an HTTP server: its name is looked up, its addresses are tried in turn, and
//! TLS is agreed on where the URL asks for it.
//!
//! ```text
//!  Resolving ─ addresses ─▶ Connecting ─ open ─▶ [Handshaking] ─▶ Open
//!                              │  ▲ refused, slow: the next address
//!                              └──┘
//! ```

use super::socket::{Lane, Socket, fact, token};
use super::tls::TlsStream;
use crate::config::limits::{
    CONNECT_TIMEOUT, SERVER_PROBE_INTERVAL, SERVER_PROBES_MAX, SERVER_SILENCE,
};
use crate::config::{Http, Scheme};
use crate::time::Time;
use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A connection that is being opened.
#[derive(Debug)]
pub(super) struct Dial {
    slot: u32,
    scheme: Scheme,
    host: String,
    port: u16,
    /// For `https`.
    tls: Option<Arc<ClientConfig>>,
    stage: Stage,
    /// Those not tried yet, the next one last.
    addresses: Vec<SocketAddr>,
    /// When all of it must be done.
    end: Time,
    /// When the present attempt must be done.
    deadline: Time,
}

#[derive(Debug)]
enum Stage {
    Resolving,
    Connecting(SocketAddr, TcpStream),
    Handshaking(SocketAddr, Box<TlsStream>),
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// It goes on.
    Pending(Box<Dial>),
    /// It is open; what it is read and written by from now on.
    Open(Socket),
    /// It came to nothing; a fact.
    Failed(String),
}

impl Dial {
    /// Begins with the name of the server `http`, for the connection in `slot`.
    pub(super) fn new(
        now: Time,
        slot: u32,
        http: &Http,
        tls: Option<Arc<ClientConfig>>,
    ) -> Box<Dial> {
        Box::new(Dial {
            slot,
            scheme: http.scheme,
            host: http.host.clone(),
            port: http.port,
            tls,
            stage: Stage::Resolving,
            addresses: Vec::new(),
            end: now + CONNECT_TIMEOUT,
            deadline: now + CONNECT_TIMEOUT,
        })
    }

    /// When to call [`Dial::expire`].
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// The addresses are known.
    pub(super) fn resolved(
        mut self: Box<Self>,
        now: Time,
        registry: &Registry,
        addresses: &[IpAddr],
    ) -> Progress {
        let addresses = addresses.iter().rev();
        self.addresses = addresses
            .map(|ip| SocketAddr::new(*ip, self.port))
            .collect();
        let nothing = format!("{} has no address", self.host);
        self.next(now, registry, nothing)
    }

    /// Tries the next address; `last` is why the one before was not it.
    fn next(mut self: Box<Self>, now: Time, registry: &Registry, mut last: String) -> Progress {
        while let Some(address) = self.addresses.pop() {
            match connect(address, registry, self.slot) {
                Ok(stream) => {
                    // An equal share of what is left for each, so that the last one has its chance.
                    let shares = u32::try_from(self.addresses.len() + 1).unwrap_or(u32::MAX);
                    self.deadline = now + self.end.since(now) / shares;
                    self.stage = Stage::Connecting(address, stream);
                    return Progress::Pending(self);
                }
                Err(error) => last = format!("{address}: {}", fact(&error)),
            }
        }
        Progress::Failed(last)
    }

    /// Something happened on the descriptor.
    pub(super) fn ready(mut self: Box<Self>, now: Time, registry: &Registry) -> Progress {
        match self.stage {
            Stage::Resolving => Progress::Pending(self),
            Stage::Connecting(address, stream) => match is_open(&stream) {
                Ok(false) => {
                    self.stage = Stage::Connecting(address, stream);
                    Progress::Pending(self)
                }
                Ok(true) if self.scheme == Scheme::Https => {
                    self.stage = Stage::Resolving;
                    self.shake_hands(now, registry, address, stream)
                }
                Ok(true) => Progress::Open(Socket::Tcp(stream)),
                Err(error) => {
                    self.stage = Stage::Resolving;
                    drop(stream);
                    let last = format!("{address}: {}", fact(&error));
                    self.next(now, registry, last)
                }
            },
            Stage::Handshaking(address, mut stream) => match stream.handshake() {
                Ok(true) => Progress::Open(Socket::Tls(stream)),
                Ok(false) => {
                    self.stage = Stage::Handshaking(address, stream);
                    Progress::Pending(self)
                }
                // Another address of the same server would show the same certificate.
                Err(error) => Progress::Failed(format!(
                    "TLS handshake with {} at {address}: {}",
                    self.host,
                    fact(&error)
                )),
            },
        }
    }

    fn shake_hands(
        mut self: Box<Self>,
        now: Time,
        registry: &Registry,
        address: SocketAddr,
        stream: TcpStream,
    ) -> Progress {
        let config = self
            .tls
            .take()
            .ok_or_else(|| "TLS is not set up".to_owned());
        match config.and_then(|config| TlsStream::new(stream, &self.host, config)) {
            Ok(stream) => {
                self.stage = Stage::Handshaking(address, Box::new(stream));
                self.end = now + CONNECT_TIMEOUT;
                self.deadline = self.end;
                self.ready(now, registry)
            }
            Err(fact) => Progress::Failed(fact),
        }
    }

    /// The present attempt took too long.
    pub(super) fn expire(mut self: Box<Self>, now: Time, registry: &Registry) -> Progress {
        let seconds = CONNECT_TIMEOUT.as_secs();
        match std::mem::replace(&mut self.stage, Stage::Resolving) {
            Stage::Resolving => {
                let host = &self.host;
                Progress::Failed(format!("address of {host} not known within {seconds} s"))
            }
            Stage::Connecting(address, stream) => {
                drop(stream);
                self.next(now, registry, format!("{address}: no answer in time"))
            }
            Stage::Handshaking(address, _) => Progress::Failed(format!(
                "TLS handshake with {} at {address} not done within {seconds} s",
                self.host
            )),
        }
    }
}

fn connect(address: SocketAddr, registry: &Registry, slot: u32) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    // What waits for news would not find out by itself that the server was cut off.
    let keep_alive = TcpKeepalive::new()
        .with_time(SERVER_SILENCE)
        .with_interval(SERVER_PROBE_INTERVAL)
        .with_retries(SERVER_PROBES_MAX);
    SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    stream.register(
        registry,
        token(slot, Lane::Main),
        Interest::READABLE | Interest::WRITABLE,
    )?;
    Ok(stream)
}

/// Whether a connection in the making is open by now.
fn is_open(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    fn dial(port: u16, scheme: Scheme, tls: Option<Arc<ClientConfig>>) -> Box<Dial> {
        let http = Http {
            scheme,
            host: "localhost".into(),
            port,
            path: "/".into(),
            headers: Vec::new(),
            speaks: crate::config::Speaks::Streamable,
        };
        Dial::new(Time::ZERO, 0, &http, tls)
    }

    /// Goes on until it is decided.
    fn decided(poll: &mut Poll, mut progress: Progress) -> Progress {
        let mut events = Events::with_capacity(8);
        while let Progress::Pending(dial) = progress {
            poll.poll(&mut events, Some(Duration::from_secs(5)))
                .unwrap();
            assert!(!events.is_empty(), "nothing within 5 s: {dial:?}");
            progress = dial.ready(Time::ZERO, poll.registry());
        }
        progress
    }

    /// A port of this address on which nobody listens.
    fn vacant() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut poll = Poll::new().unwrap();
        // Nobody listens at the second loopback address.
        let addresses = ["127.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let begun =
            dial(port, Scheme::Http, None).resolved(Time::ZERO, poll.registry(), &addresses);
        let Progress::Open(Socket::Tcp(stream)) = decided(&mut poll, begun) else {
            panic!("not open");
        };
        assert_eq!(
            stream.peer_addr().unwrap().to_string(),
            format!("127.0.0.1:{port}")
        );
    }

    #[test]
    fn server_that_was_cut_off_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut poll = Poll::new().unwrap();
        let begun = dial(port, Scheme::Http, None).resolved(
            Time::ZERO,
            poll.registry(),
            &[Ipv4Addr::LOCALHOST.into()],
        );
        let Progress::Open(Socket::Tcp(stream)) = decided(&mut poll, begun) else {
            panic!("not open");
        };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SERVER_SILENCE);
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            SERVER_PROBE_INTERVAL
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), SERVER_PROBES_MAX);
    }

    #[test]
    fn refusal_is_told_with_the_address() {
        let port = vacant();
        let mut poll = Poll::new().unwrap();
        let begun = dial(port, Scheme::Http, None).resolved(
            Time::ZERO,
            poll.registry(),
            &[Ipv4Addr::LOCALHOST.into()],
        );
        let Progress::Failed(text) = decided(&mut poll, begun) else {
            panic!("not failed");
        };
        assert_eq!(text, format!("127.0.0.1:{port}: connection refused"));
    }

    #[test]
    fn each_address_has_its_share_of_the_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let poll = Poll::new().unwrap();
        let two = ["127.0.0.1", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let begun = dial(port, Scheme::Http, None).resolved(Time::ZERO, poll.registry(), &two);
        let Progress::Pending(first) = begun else {
            panic!("decided at once");
        };
        let half = Time::ZERO + CONNECT_TIMEOUT / 2;
        assert_eq!(first.deadline(), half);
        let Progress::Pending(second) = first.expire(half, poll.registry()) else {
            panic!("decided at once");
        };
        assert_eq!(second.deadline(), Time::ZERO + CONNECT_TIMEOUT);
        let Progress::Failed(text) = second.expire(Time::ZERO + CONNECT_TIMEOUT, poll.registry())
        else {
            panic!("not failed");
        };
        assert_eq!(text, format!("127.0.0.1:{port}: no answer in time"));
    }

    #[test]
    fn peer_that_speaks_no_tls_fails_the_handshake() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = std::thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
            stream
        });
        let mut poll = Poll::new().unwrap();
        let config = super::super::tls::client_config(None).unwrap();
        let begun = dial(port, Scheme::Https, Some(config)).resolved(
            Time::ZERO,
            poll.registry(),
            &[Ipv4Addr::LOCALHOST.into()],
        );
        let Progress::Failed(text) = decided(&mut poll, begun) else {
            panic!("not failed");
        };
        assert!(
            text.starts_with(&format!(
                "TLS handshake with localhost at 127.0.0.1:{port}: "
            )),
            "{text}"
        );
        peer.join().unwrap();
    }
}
