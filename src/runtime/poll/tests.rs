//! The loop with a worker that is played: real sockets and pipes, invented decisions.

mod shared;

use super::super::driven::{Links, Witness};
use super::super::inbox::{Inbox, inbox};
use super::super::mail::Loads;
use super::super::process::Pipes;
use super::*;
use crate::config::{EraChoice, Http, Scheme, Server, Share, Speaks, Transport};
use crate::event::Event;
use crate::http::outbox::{Outbox, SharedAhead};
use crate::id::WorkerId;
use crate::worker::effect::{Close, OpsAnswer, OpsPath, OpsRequest};
use mio::{Waker, unix::pipe};
use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Sees nothing.
pub(in crate::runtime) struct Blind;

impl Witness for Blind {
    fn record(&mut self, _: Time, _: &Event) {}
    fn answer(&mut self, _: Time, _: &OpsRequest) -> OpsAnswer {
        OpsAnswer {
            status: 200,
            content_type: "text/plain",
            body: b"well".to_vec(),
        }
    }
}

/// Remembers the names of events.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Witness for Notes {
    fn record(&mut self, _: Time, event: &Event) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
    fn answer(&mut self, now: Time, request: &OpsRequest) -> OpsAnswer {
        Blind.answer(now, request)
    }
}

/// Plays the worker: writes down what it is told, and wants what the test wants.
#[derive(Default)]
struct Player {
    told: Vec<String>,
    wants: VecDeque<Effect>,
    /// What is to be sent, by slot, in pieces.
    outgoing: BTreeMap<u32, VecDeque<Vec<u8>>>,
    /// The same for those connections on which some of it is shared.
    outboxes: BTreeMap<u32, Outbox>,
    received: BTreeMap<u32, usize>,
    connections: u32,
    /// Sends back what it receives.
    echoes: bool,
    /// Panics over what it receives.
    panics: bool,
    drained: bool,
}

impl Player {
    fn new_id(&mut self) -> ConnectionId {
        let slot = self.connections;
        self.connections += 1;
        ConnectionId {
            slot,
            generation: 9,
        }
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.outgoing
            .entry(id.slot)
            .or_default()
            .push_back(bytes.into());
        self.wants.push_back(Effect::Flush(id));
    }

    fn note(&mut self, words: impl Into<String>) {
        self.told.push(words.into());
    }
}

impl Driven for Player {
    fn accept(&mut self, _: Time, _: SocketAddr, _: Front) -> ConnectionId {
        self.new_id()
    }
    fn open_stdio(&mut self, _: Time) -> ConnectionId {
        self.new_id()
    }
    fn handle(&mut self, _: Time, input: Input<'_>) {
        match input {
            Input::Connected(_) => self.note("connected"),
            Input::ConnectFailed(_, fact) => self.note(format!("not connected: {fact}")),
            Input::Received(id, bytes) => {
                *self.received.entry(id.slot).or_default() += bytes.len();
                assert!(!self.panics, "cannot bear {} bytes", bytes.len());
                if self.echoes {
                    self.send(id, bytes);
                }
            }
            Input::Ended(_) => self.note("ended"),
            Input::Failed(_, fact) => self.note(format!("failed: {fact}")),
            Input::Wrote(id, length) if self.outboxes.contains_key(&id.slot) => {
                self.outboxes.get_mut(&id.slot).unwrap().consume(length);
            }
            Input::Wrote(id, mut length) => {
                let pieces = self.outgoing.get_mut(&id.slot).unwrap();
                while length > 0 {
                    let piece = pieces.front_mut().unwrap();
                    let part = length.min(piece.len());
                    piece.drain(..part);
                    length -= part;
                    if piece.is_empty() {
                        pieces.pop_front();
                    }
                }
            }
            Input::Stderr(_, bytes) => self.note(format!("stderr: {}", bytes.escape_ascii())),
            Input::Exited(_, how) => self.note(format!("exited: {how}")),
            Input::OpsAnswer(_, answer) => {
                self.note(format!("{} {:?}", answer.status, answer.body))
            }
            Input::Drain => self.drained = true,
            Input::Table(_) | Input::Tick | Input::Parcel(_) | Input::Bounced(..) => {}
        }
    }
    fn poll(&mut self) -> Option<Effect> {
        self.wants.pop_front()
    }
    fn outgoing<'a>(&'a self, id: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        if let Some(outbox) = self.outboxes.get(&id.slot) {
            return outbox.slices(slices);
        }
        let pieces = self.outgoing.get(&id.slot).into_iter().flatten();
        let shown = slices.iter_mut().zip(pieces);
        shown
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }
    fn shared(&self, id: ConnectionId) -> Option<SharedAhead<'_>> {
        self.outboxes.get(&id.slot)?.shared_ahead()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
    fn is_drained(&self) -> bool {
        self.drained
    }
}

/// A loop and the ends of what it is connected to.
struct World {
    looped: Loop<Player>,
    inbox: Inbox<Mail>,
    orders: Mailbox<Order>,
    notes: Notes,
    events: Events,
}

fn world() -> World {
    super::super::panics::install_hook_for_tests();
    let poll = Poll::new().unwrap();
    let (own, mailbox) = inbox(Waker::new(poll.registry(), BELL).unwrap());
    let silent = Waker::new(Poll::new().unwrap().registry(), BELL).unwrap();
    let (controller, orders) = inbox(silent);
    let notes = Notes::default();
    let links = Links {
        own: WorkerId(0),
        workers: vec![own.clone()],
        controller,
        lookups: None,
        tls: None,
        loads: Arc::new(Loads::new(1)),
        memfiles: Arc::default(),
    };
    let witness = Box::new(notes.clone());
    let clock = Clock::start();
    World {
        looped: Loop::new(Player::default(), witness, links, clock, poll, mailbox),
        inbox: own,
        orders,
        notes,
        events: Events::with_capacity(64),
    }
}

impl World {
    fn player(&mut self) -> &mut Player {
        &mut self.looped.worker
    }

    /// Turns until `done`, at most for some seconds.
    fn turn_until(&mut self, done: impl Fn(&mut Player) -> bool) {
        let clock = Clock::start();
        while !done(&mut self.looped.worker) {
            assert!(
                clock.now() < Time::ZERO + Duration::from_secs(10),
                "not within 10 s; told: {:?}",
                self.looped.worker.told
            );
            // A letter to itself, so that no turn waits for long.
            self.looped.set_alarm(
                self.looped.now + Duration::from_millis(5),
                token(u32::MAX >> 4, Lane::Main),
            );
            self.looped.turn(&mut self.events).unwrap();
        }
    }

    fn turn_until_told(&mut self, expected: &str) {
        self.turn_until(|player| player.told.iter().any(|told| told == expected));
    }

    /// A client and our connection to it.
    fn client(&mut self) -> (std::net::TcpStream, ConnectionId) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, peer) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert!(self.looped.links.loads.take_place(usize::MAX).is_some());
        let ours = TcpStream::from_std(ours);
        self.inbox.post(Mail::Adopt(ours, peer, Front::Main));
        let slot = self.player().connections;
        self.turn_until(|player| player.connections > slot);
        (
            client,
            ConnectionId {
                slot,
                generation: 9,
            },
        )
    }

    /// A child and the other ends of its pipes.
    fn child(&mut self) -> (ConnectionId, pipe::Receiver, pipe::Sender, pipe::Sender) {
        let id = self.player().new_id();
        self.player().wants.push_back(Effect::Spawn(id, server(1)));
        self.turn_until(|player| player.wants.is_empty());
        assert!(
            matches!(self.orders.take(), Some(Order::Spawn(place, _)) if place.connection == id)
        );
        let (stdin, their_stdin) = pipe::new().unwrap();
        let (their_stdout, stdout) = pipe::new().unwrap();
        let (their_stderr, stderr) = pipe::new().unwrap();
        let pipes = Pipes {
            stdin,
            stdout,
            stderr,
        };
        self.inbox.post(Mail::Attach(id, pipes));
        self.turn_until_told("connected");
        (id, their_stdin, their_stdout, their_stderr)
    }
}

fn server(port: u16) -> Arc<Server> {
    Arc::new(Server {
        name: "one".into(),
        enabled: true,
        tags: Vec::new(),
        transport: Transport::Http(Http {
            scheme: Scheme::Http,
            host: "127.0.0.1".into(),
            port,
            path: "/".into(),
            headers: Vec::new(),
            speaks: Speaks::Streamable,
        }),
        tools: Default::default(),
        prompts: Default::default(),
        resources: Default::default(),
        rename: BTreeMap::new(),
        timeout: Duration::from_secs(1),
        connections: 1,
        share: Share::Shared,
        era: EraChoice::Auto,
        required: false,
    })
}

#[test]
fn bytes_go_there_and_back() {
    let mut world = world();
    world.player().echoes = true;
    let (mut client, id) = world.client();
    client.write_all(b"hello").unwrap();
    world.turn_until(|player| player.received.get(&id.slot) == Some(&5));
    let mut echo = [0; 5];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
}

#[test]
fn end_that_comes_with_the_last_bytes_is_told() {
    let mut world = world();
    let (mut client, id) = world.client();
    client.write_all(b"last").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    world.turn_until_told("ended");
    assert_eq!(world.player().received[&id.slot], 4);
}

#[test]
fn megabytes_pass_a_slow_reader() {
    const BYTES: usize = 8 << 20;
    let mut world = world();
    let (client, id) = world.client();
    for _ in 0..BYTES / (1 << 16) {
        world.player().send(id, &[b'x'; 1 << 16]);
    }
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        (&client).take(BYTES as u64).read_to_end(&mut all).unwrap();
        all.len()
    });
    world.turn_until(|player| player.outgoing.values().all(VecDeque::is_empty));
    assert_eq!(reader.join().unwrap(), BYTES);
}

#[test]
fn megabytes_from_a_fast_writer_are_all_read() {
    const BYTES: usize = 8 << 20;
    let mut world = world();
    let (mut client, id) = world.client();
    let writer = std::thread::spawn(move || {
        client.write_all(&vec![b'x'; BYTES]).unwrap();
        client
    });
    world.turn_until(|player| player.received.get(&id.slot) == Some(&BYTES));
    writer.join().unwrap();
}

#[test]
fn paused_connection_is_read_after_resume_only() {
    let mut world = world();
    let (mut client, id) = world.client();
    world.player().wants.push_back(Effect::Pause(id));
    world.turn_until(|player| player.wants.is_empty());
    client.write_all(b"later").unwrap();
    for _ in 0..5 {
        world.turn_until(|_| true);
        world
            .looped
            .set_alarm(world.looped.now, token(0, Lane::Main));
        world.looped.turn(&mut world.events).unwrap();
    }
    assert_eq!(world.player().received.get(&id.slot), None);
    world.player().wants.push_back(Effect::Resume(id));
    world.turn_until(|player| player.received.get(&id.slot) == Some(&5));
}

#[test]
fn lingering_close_keeps_the_answer_from_a_reset() {
    let mut world = world();
    let (mut client, id) = world.client();
    client.write_all(&[b'x'; 1000]).unwrap();
    world.player().send(id, b"answer");
    world
        .player()
        .wants
        .push_back(Effect::Close(id, Close::Lingering));
    world.turn_until(|player| player.wants.is_empty());
    client.write_all(&[b'x'; 1000]).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    assert!(world.looped.links.loads.take_place(1).is_some());
}

#[test]
fn reset_is_seen_as_one() {
    let mut world = world();
    let (mut client, id) = world.client();
    world
        .player()
        .wants
        .push_back(Effect::Close(id, Close::Reset));
    world.turn_until(|player| player.wants.is_empty());
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn panic_costs_one_connection() {
    let mut world = world();
    let (mut first, _) = world.client();
    let (mut second, other) = world.client();
    world.player().panics = true;
    first.write_all(b"ouch").unwrap();
    world.turn_until_told("failed: handling it panicked");
    assert!(world.notes.0.lock().unwrap()[0].contains("cannot bear 4 bytes at "));
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    world.player().panics = false;
    second.write_all(b"fine").unwrap();
    world.turn_until(|player| player.received.get(&other.slot) == Some(&4));
}

#[test]
fn server_is_connected_to() {
    let mut world = world();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let id = world.player().new_id();
    world.player().send(id, b"early");
    world.player().wants.clear();
    world
        .player()
        .wants
        .push_back(Effect::Connect(id, server(port)));
    world.turn_until_told("connected");
    world.player().wants.push_back(Effect::Flush(id));
    world.turn_until(|player| player.outgoing[&id.slot].is_empty());
    let (mut accepted, _) = listener.accept().unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"early");
}

#[test]
fn refused_connection_is_told() {
    let mut world = world();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let id = world.player().new_id();
    world
        .player()
        .wants
        .push_back(Effect::Connect(id, server(port)));
    world.turn_until_told(&format!(
        "not connected: 127.0.0.1:{port}: connection refused"
    ));
    assert!(world.looped.entries.get_mut(id).is_none());
}

#[test]
fn child_is_one_connection() {
    let mut world = world();
    let (id, mut stdin, mut stdout, mut stderr) = world.child();
    world.player().send(id, b"question");
    world.turn_until(|player| player.outgoing[&id.slot].is_empty());
    let mut asked = [0; 8];
    stdin.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"question");
    stdout.write_all(b"answer").unwrap();
    stderr.write_all(b"sigh").unwrap();
    world.turn_until_told("stderr: sigh");
    world.turn_until(|player| player.received.get(&id.slot) == Some(&6));
}

#[test]
fn exit_comes_after_everything_that_was_written() {
    let mut world = world();
    let (id, _stdin, mut stdout, stderr) = world.child();
    world.inbox.post(Mail::Gone(id, "exit status: 1".into()));
    world.turn_until(|player| player.wants.is_empty());
    stdout.write_all(b"last words").unwrap();
    drop((stdout, stderr));
    world.turn_until_told("exited: exit status: 1");
    assert_eq!(world.player().received[&id.slot], 10);
    assert!(world.orders.take().is_none());
}

#[test]
fn grandchild_with_the_pipe_does_not_hold_up_the_exit() {
    let mut world = world();
    let (id, _stdin, _stdout, _stderr) = world.child();
    world.inbox.post(Mail::Gone(id, "exit status: 1".into()));
    world.turn_until_told("exited: exit status: 1");
}

#[test]
fn child_that_closes_its_output_but_stays_has_ended() {
    let mut world = world();
    let (_, _stdin, stdout, _stderr) = world.child();
    drop(stdout);
    world.turn_until_told("ended");
}

#[test]
fn closed_child_is_left_to_the_controller() {
    let mut world = world();
    let (id, mut stdin, mut stdout, _stderr) = world.child();
    world
        .player()
        .wants
        .push_back(Effect::Close(id, Close::Now));
    world.turn_until(|player| player.wants.is_empty());
    assert!(matches!(world.orders.take(), Some(Order::Stop(place)) if place.connection == id));
    assert_eq!(stdin.read(&mut [0]).unwrap(), 0);
    assert!(stdout.write_all(b"last words").is_ok());
}

#[test]
fn child_that_starts_too_late_is_stopped() {
    let mut world = world();
    let id = world.player().new_id();
    world.player().wants.push_back(Effect::Spawn(id, server(1)));
    world
        .player()
        .wants
        .push_back(Effect::Close(id, Close::Now));
    world.turn_until(|player| player.wants.is_empty());
    assert!(matches!(world.orders.take(), Some(Order::Spawn(..))));
    let (stdin, _their_stdin) = pipe::new().unwrap();
    let (_their_stdout, stdout) = pipe::new().unwrap();
    let (_their_stderr, stderr) = pipe::new().unwrap();
    world.inbox.post(Mail::Attach(
        id,
        Pipes {
            stdin,
            stdout,
            stderr,
        },
    ));
    world.turn_until(|_| true);
    world.looped.turn(&mut world.events).unwrap();
    assert!(matches!(world.orders.take(), Some(Order::Stop(place)) if place.connection == id));
}

#[test]
fn questions_about_the_process_are_answered() {
    let mut world = world();
    let id = world.player().new_id();
    let request = OpsRequest {
        path: OpsPath::Live,
        peer: [127, 0, 0, 1].into(),
        proxied: false,
    };
    world.player().wants.push_back(Effect::Ops(id, request));
    world.turn_until_told("200 [119, 101, 108, 108]");
}

#[test]
fn drained_worker_is_reported_once() {
    let mut world = world();
    world.inbox.post(Mail::Drain);
    world.turn_until(|player| player.drained);
    world
        .looped
        .set_alarm(world.looped.now, token(0, Lane::Main));
    world.looped.turn(&mut world.events).unwrap();
    assert!(matches!(
        world.orders.take(),
        Some(Order::Drained(WorkerId(0)))
    ));
    assert!(world.orders.take().is_none());
}

#[test]
fn stdio_front_that_closes_is_reported() {
    let mut world = world();
    let (ours, theirs) = UnixStream::pair().unwrap();
    world.inbox.post(Mail::Stdio(ours));
    world.turn_until(|player| player.connections == 1);
    drop(theirs);
    world.turn_until_told("ended");
    let id = ConnectionId {
        slot: 0,
        generation: 9,
    };
    world
        .player()
        .wants
        .push_back(Effect::Close(id, Close::Now));
    world.turn_until(|player| player.wants.is_empty());
    assert!(matches!(world.orders.take(), Some(Order::FrontClosed)));
}
