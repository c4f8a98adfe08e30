//! Putting the process together: threads, listeners and what connects them.

use super::acceptor::{Acceptor, Listener};
use super::children::{Children, Orphans};
use super::clock::{self, Clock};
use super::controller::{self, Controller, Phase};
use super::desk::Desk;
use super::driven::{Driven, Links, Seat, Witness};
use super::inbox::{Inbox, Mailbox, inbox};
use super::mail::{Front, Loads, Mail, Order};
use super::memfiles::Memfiles;
use super::poll::{self, Loop};
use super::process::Launcher;
use super::signals::Signals;
use super::socket::fact;
use super::stdio::Stdio;
use super::{cores, helpers, panics, tls};
use crate::config::{Config, Http, Scheme, Transport};
use crate::event::Event;
use crate::id::WorkerId;
use crate::ops::Summary;
use crate::router::directory::Directory;
use crate::session::store::Store;
use crate::telemetry::Telemetry;
use mio::{Poll, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

/// Stack of a worker's thread. Nothing it does recurses deeper than `JSON_DEPTH_MAX`.
const WORKER_STACK_BYTES: usize = 512 * 1024;
/// The exit code when something that is needed is not there (sysexits `EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// The exit code when the operator has to change the configuration (sysexits `EX_CONFIG`).
const CONFIGURATION: u8 = 78;

/// What to serve besides what the configuration says.
pub struct ServeOptions {
    /// Who is served.
    pub face: Face,
    /// Called once, when the listeners are bound, with the addresses that they really have (none on the
    /// stdio face).
    pub announce: Announce,
    /// What the operator should know about the configuration; logged once.
    pub remarks: Vec<String>,
}

/// What is done with the addresses once they are known.
pub type Announce = Box<dyn FnOnce(&[SocketAddr])>;

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Whoever connects to the listeners.
    Http,
    /// The one client on our stdin and stdout.
    Stdio,
}

/// Why serving did not begin.
#[derive(Debug)]
struct Fault {
    code: u8,
    message: String,
}

/// Serves until it is told to end, and says how the process ends: 0 after a drain, 69 if something that is
/// needed is not there (an address is taken, say), 78 if a file that the configuration names is not
/// usable, 70 if a worker's thread was lost.
///
/// To be called from the process's main thread, which it becomes the controller of: the kernel ties
/// children to the thread that started them. What is wrong is written to stderr.
pub(super) fn serve<W: Driven>(
    config: Config,
    options: ServeOptions,
    make: fn(Seat) -> W,
) -> ExitCode {
    match begin(config, options, make).and_then(|controller| controller.run().map_err(Fault::from))
    {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("switchbox: {}", fault.message);
            ExitCode::from(fault.code)
        }
    }
}

/// Everything up to the first turn of the controller.
fn begin<W: Driven>(
    config: Config,
    options: ServeOptions,
    make: fn(Seat) -> W,
) -> Result<Controller, Fault> {
    panics::install_hook();
    let files = raise_limit_on_files();
    let clock = Clock::start();
    // What may fail for reasons that the operator can mend comes before any thread is started.
    let (listeners, addresses) = match options.face {
        Face::Http => bind(&config)?,
        Face::Stdio => (Vec::new(), Vec::new()),
    };
    let remote: Vec<&Http> = remote_servers(&config);
    let tls = match remote.iter().any(|http| http.scheme == Scheme::Https) {
        true => Some(tls::client_config(certificates().as_deref()).map_err(Fault::configuration)?),
        false => None,
    };
    let telemetry = Telemetry::start(&config)
        .map_err(|error| Fault::configuration(format!("log: {}", fact(&error))))?;
    let signals = Signals::listen()?;
    let is_named = |http: &&Http| http.host.parse::<IpAddr>().is_err();
    let lookups = match remote.iter().any(is_named) {
        true => Some(helpers::start()?),
        false => None,
    };

    let directory = Directory::new(&config);
    let mut desk = Desk::new(
        clock,
        Arc::new(telemetry),
        Summary::new(&config),
        directory.statuses(),
    );
    let count = match options.face {
        Face::Http => cores::workers(config.workers),
        // One client needs one, unless the operator knows better.
        Face::Stdio => cores::workers(Some(config.workers.unwrap_or(1))),
    };
    let poll = Poll::new()?;
    let (controller, mailbox) = inbox(Waker::new(poll.registry(), controller::BELL)?);
    let loads = Arc::new(Loads::new(count));
    let memfiles = Arc::new(Memfiles::default());
    let berths = (0..count).map(|_| Berth::new());
    let berths = berths.collect::<io::Result<Vec<_>>>()?;
    let workers: Vec<_> = berths.iter().map(|berth| berth.inbox.clone()).collect();

    let started = Event::Started {
        listen: listed(&addresses),
        workers: count,
        servers: config.servers.iter().filter(|s| s.enabled).count(),
    };
    let drain = config.drain;
    let config = Arc::new(config);
    let sessions = Arc::new(Store::new(clock::random()?));
    let allowed = cores::allowed();
    let pins = cores::plan(count, &allowed, cores::usable());
    for (number, berth) in berths.into_iter().enumerate() {
        let own = WorkerId(u8::try_from(number).expect("at most `WORKERS_MAX`"));
        let seat = Seat {
            id: own,
            workers: count,
            config: Arc::clone(&config),
            table: directory.table(),
            sessions: Arc::clone(&sessions),
            seed: u64::from_ne_bytes(clock::random()?),
            wall_at_zero: clock.wall_at_zero(),
        };
        let links = Links {
            own,
            workers: workers.clone(),
            controller: controller.clone(),
            lookups: lookups.clone(),
            tls: tls.clone(),
            loads: Arc::clone(&loads),
            memfiles: Arc::clone(&memfiles),
        };
        let core = pins.map(|pins| pins[number]);
        let witness = Box::new(desk.another());
        let thread = Thread {
            seat,
            links,
            berth,
            witness,
            clock,
            core,
        };
        thread.start(make)?;
    }

    let stdio = match options.face {
        Face::Http => None,
        Face::Stdio => Some(start_stdio(&workers[0])?),
    };
    let acceptor = match options.face {
        Face::Http => Some(Acceptor::start(
            listeners,
            workers.clone(),
            Arc::clone(&loads),
            Box::new(desk.another()),
            clock,
            u64::from_ne_bytes(clock::random()?),
        )?),
        Face::Stdio => None,
    };
    (options.announce)(&addresses);
    desk.record(clock.now(), &started);
    for remark in options.remarks {
        desk.record(clock.now(), &Event::ConfigRemarked { remark });
    }
    Ok(Controller {
        clock,
        poll,
        mailbox,
        signals,
        workers,
        loads,
        directory,
        children: Children::new(Launcher::own(files), Orphans::Adopted),
        acceptor,
        stdio,
        desk,
        drain,
        phase: Phase::Serving,
    })
}

// ── threads ──────────────────────────────────────────────────────────────────────────────────────

/// A worker's thread before it starts: where its letters come in.
struct Berth {
    poll: Poll,
    inbox: Inbox<Mail>,
    mailbox: Mailbox<Mail>,
}

impl Berth {
    fn new() -> io::Result<Berth> {
        let poll = Poll::new()?;
        let (inbox, mailbox) = inbox(Waker::new(poll.registry(), poll::BELL)?);
        Ok(Berth {
            poll,
            inbox,
            mailbox,
        })
    }
}

/// Says that a worker's thread is gone, whatever ended it.
struct LastWord(Inbox<Order>, WorkerId);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.post(Order::Lost(self.1));
    }
}

/// All that a worker's thread starts with.
struct Thread {
    seat: Seat,
    links: Links,
    berth: Berth,
    witness: Box<dyn Witness>,
    clock: Clock,
    core: Option<usize>,
}

impl Thread {
    fn start<W: Driven>(self, make: fn(Seat) -> W) -> io::Result<()> {
        thread::Builder::new()
            .name(format!("worker {}", self.links.own.0))
            .stack_size(WORKER_STACK_BYTES)
            .spawn(move || self.run(make))
            .map(|_| ())
    }

    fn run<W: Driven>(self, make: fn(Seat) -> W) {
        let _last_word = LastWord(self.links.controller.clone(), self.links.own);
        if let Some(core) = self.core {
            cores::stay_on(core);
        }
        let Berth { poll, mailbox, .. } = self.berth;
        let worker = make(self.seat);
        let looped = Loop::new(worker, self.witness, self.links, self.clock, poll, mailbox);
        if let Err(error) = looped.run() {
            eprintln!("switchbox: waiting for events: {error}");
        }
    }
}

fn start_stdio(worker: &Inbox<Mail>) -> io::Result<Stdio> {
    // Files rather than the standard library's own, which keep buffers and locks of theirs.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (stdio, socket) = Stdio::start(input, output)?;
    worker.post(Mail::Stdio(socket));
    Ok(stdio)
}

// ── surroundings ─────────────────────────────────────────────────────────────────────────────────

/// Binds every listener; the addresses are those of the main ones.
fn bind(config: &Config) -> Result<(Vec<Listener>, Vec<SocketAddr>), Fault> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for address in &config.listen {
        let listener = Listener::bind(*address, Front::Main)
            .map_err(|error| Fault::unavailable(bind_fault(*address, &error)))?;
        addresses.push(listener.address()?);
        listeners.push(listener);
    }
    if let Some(address) = config.metrics.listen {
        let listener = Listener::bind(address, Front::Metrics)
            .map_err(|error| Fault::unavailable(bind_fault(address, &error)))?;
        listeners.push(listener);
    }
    Ok((listeners, addresses))
}

/// What is wrong with an address, and what to do about it.
fn bind_fault(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => {
            "is taken by another process; end that one, or choose another port with --listen"
        }
        ErrorKind::AddrNotAvailable => {
            "is not an address of this machine; choose one that is with --listen"
        }
        ErrorKind::PermissionDenied => {
            "needs a privilege (ports below 1024 do); choose a higher port with --listen"
        }
        _ => return format!("{address}: {}", fact(error)),
    };
    format!("{address} {advice}")
}

fn listed(addresses: &[SocketAddr]) -> String {
    match addresses {
        [] => "stdio".into(),
        all => {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            all.join(" ")
        }
    }
}

/// The servers in use that are reached over HTTP.
fn remote_servers(config: &Config) -> Vec<&Http> {
    let used = config.servers.iter().filter(|server| server.enabled);
    used.filter_map(|server| match &server.transport {
        Transport::Http(http) => Some(http),
        Transport::Stdio(_) => None,
    })
    .collect()
}

/// The PEM file with further certificates to trust, as OpenSSL's variable names it.
fn certificates() -> Option<PathBuf> {
    let file = std::env::var_os("SSL_CERT_FILE")?;
    (!file.is_empty()).then(|| file.into())
}

/// Raises our limit on open files as far as it goes without a privilege; returns what it was, for
/// children to start with.
fn raise_limit_on_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let highest = Rlimit {
            current: maximum,
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, highest);
    }
    current
}

impl Fault {
    fn unavailable(message: String) -> Fault {
        Fault {
            code: UNAVAILABLE,
            message,
        }
    }

    fn configuration(message: String) -> Fault {
        Fault {
            code: CONFIGURATION,
            message,
        }
    }
}

/// The kernel refuses something that no configuration asked for.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::unavailable(fact(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_address_is_named_with_what_to_do() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap(), Front::Main).unwrap();
        let taken = first.address().unwrap();
        let error = Listener::bind(taken, Front::Main).unwrap_err();
        assert_eq!(
            bind_fault(taken, &error),
            format!(
                "{taken} is taken by another process; end that one, or choose another port with --listen"
            )
        );
    }

    #[test]
    fn listeners_are_listed_as_they_are() {
        assert_eq!(listed(&[]), "stdio");
        let addresses = ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse().unwrap());
        assert_eq!(listed(&addresses), "127.0.0.1:1 [::1]:2");
    }
}
