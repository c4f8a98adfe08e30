//! The closed loop: a number of connections, each with one request under way, and what came of it.

use crate::answer::{Answer, Head};
use crate::process;
use crate::subject::Subject;
use crate::work::{self, Host, Task, Work};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How hard and how long.
pub(crate) struct Plan {
    /// Connections, each with a session of its own.
    pub(crate) connections: usize,
    /// What goes before the measured part.
    pub(crate) warm_up: Duration,
    /// The measured part.
    pub(crate) length: Duration,
}

/// What one measurement found.
pub(crate) struct Measured {
    latencies: Vec<u32>,
    elapsed: f64,
    cpu: Option<f64>,
}

impl Measured {
    /// CPU µs for each task.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.unwrap_or_default() * 1e6 / self.latencies.len() as f64
    }

    /// Tasks per second, CPU µs for each, median and 99th percentile of their latency in µs.
    pub(crate) fn figures(mut self) -> Vec<Option<f64>> {
        let count = self.latencies.len() as f64;
        self.latencies.sort_unstable();
        let at = |share: f64| {
            self.latencies
                .get((count * share) as usize)
                .map(|micros| f64::from(*micros))
        };
        vec![
            Some(count / self.elapsed),
            self.cpu.map(|cpu| cpu * 1e6 / count),
            at(0.5),
            at(0.99),
        ]
    }
}

/// Repeats `work` at `subject` on every connection until the plan is over.
///
/// # Errors
/// The first answer that is not what it must be.
pub(crate) fn drive(
    subject: &Subject,
    plan: &Plan,
    work: &dyn Fn() -> Box<dyn Work>,
) -> Result<Measured, String> {
    let mut poll = Poll::new().map_err(|error| error.to_string())?;
    let mut events = Events::with_capacity(plan.connections);
    let mut connections = Vec::with_capacity(plan.connections);
    for slot in 0..plan.connections {
        let mut connection = Connection::open(subject, work())?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut connection.stream, Token(slot), interest)
            .map_err(|error| error.to_string())?;
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.ask(&subject.host)?;
    }
    let began = Instant::now() + plan.warm_up;
    let pids = subject.pids();
    let (mut latencies, mut cpu_before) = (Vec::with_capacity(1 << 18), None);
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(10)))
            .map_err(|error| error.to_string())?;
        if events.is_empty() {
            return Err("no answer for 10 s".to_owned());
        }
        let now = Instant::now();
        if now >= began && cpu_before.is_none() {
            cpu_before = Some(process::cpu_seconds(&pids));
        }
        if now >= began + plan.length {
            let elapsed = (now - began).as_secs_f64();
            let cpu = process::cpu_seconds(&pids) - cpu_before.unwrap_or_default();
            // What a session holds, at worst a child of its own, must not weigh on what is measured next.
            let mut ender = Client::connect(&subject.host)?;
            for session in connections.iter().filter_map(|c| c.session.as_deref()) {
                ender.end_session(&subject.host, session)?;
            }
            return Ok(Measured {
                latencies,
                elapsed,
                cpu: (!pids.is_empty()).then_some(cpu),
            });
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            while let Some(took) = connection.turn(&subject.host)? {
                if cpu_before.is_some() {
                    latencies.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                }
            }
        }
    }
}

/// One client: a connection and the task that it repeats.
struct Connection {
    stream: mio::net::TcpStream,
    session: Option<String>,
    work: Box<dyn Work>,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    task_began: Option<Instant>,
}

impl Connection {
    fn open(subject: &Subject, work: Box<dyn Work>) -> Result<Connection, String> {
        let mut client = Client::connect(&subject.host)?;
        let session = match work.declares().filter(|_| subject.has_sessions) {
            Some(capabilities) => Some(client.open_session(&subject.host, capabilities)?),
            None => None,
        };
        client
            .stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let stream = mio::net::TcpStream::from_std(client.stream);
        Ok(Connection {
            stream,
            session,
            work,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            task_began: None,
        })
    }

    fn ask(&mut self, host: &Host) -> Result<(), String> {
        self.out.clear();
        self.sent = 0;
        self.work.ask(&mut self.out, host, self.session.as_deref());
        self.task_began.get_or_insert_with(Instant::now);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("writing a request: {error}")),
            }
        }
        Ok(())
    }

    /// Goes on as far as it can. How long the task took that this completed; then there may be more to do.
    fn turn(&mut self, host: &Host) -> Result<Option<Duration>, String> {
        self.flush()?;
        let mut block = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(length) => self.input.extend_from_slice(&block[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(format!("reading an answer: {error}")),
            }
            let Some(answer) = Answer::read(&self.input)? else {
                continue;
            };
            self.input.drain(..answer.length);
            let task = self.work.take(&answer)?;
            let took = (task == Task::Done)
                .then(|| self.task_began.take())
                .flatten()
                .map(|began| began.elapsed());
            self.ask(host)?;
            if took.is_some() {
                return Ok(took);
            }
        }
    }
}

/// A connection that waits for each answer.
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn connect(host: &Host) -> Result<Client, String> {
        let stream = TcpStream::connect(("127.0.0.1", host.port))
            .map_err(|error| format!("connecting: {error}"))?;
        let patience = Some(Duration::from_secs(20));
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(patience))
            .map_err(|error| error.to_string())?;
        Ok(Client {
            stream,
            input: Vec::new(),
        })
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn ask(
        &mut self,
        host: &Host,
        session: Option<&str>,
        body: &str,
    ) -> Result<Answer, String> {
        let mut out = Vec::new();
        work::post(&mut out, host, session, body);
        self.exchange(&out)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn end_session(&mut self, host: &Host, session: &str) -> Result<Answer, String> {
        let mut out = Vec::new();
        work::end(&mut out, host, session);
        self.exchange(&out)
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Answer, String> {
        self.stream
            .write_all(request)
            .map_err(|error| error.to_string())?;
        loop {
            if let Some(answer) = Answer::read(&self.input)? {
                self.input.drain(..answer.length);
                return Ok(answer);
            }
            self.fill()?;
        }
    }

    /// Opens a session and returns its id.
    ///
    /// # Errors
    /// What came instead.
    pub(crate) fn open_session(
        &mut self,
        host: &Host,
        capabilities: &str,
    ) -> Result<String, String> {
        let answer = self.ask(host, None, &work::initialize(0, capabilities))?;
        answer.result(0)?;
        let session = answer.session.ok_or("no session id")?;
        self.ask(host, Some(&session), work::INITIALIZED)?;
        Ok(session)
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block) {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(length) => {
                self.input.extend_from_slice(&block[..length]);
                Ok(())
            }
            Err(error) => Err(format!("reading: {error}")),
        }
    }
}

/// Opens sessions, each with its standing event stream on a connection of its own, and returns those connections.
///
/// # Errors
/// The first that could not be had.
pub(crate) fn hold_streams(subject: &Subject, count: usize) -> Result<Vec<Client>, String> {
    let mut opener = Client::connect(&subject.host)?;
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let session = opener.open_session(&subject.host, "{}")?;
        let mut client = Client::connect(&subject.host)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\
             MCP-Protocol-Version: {}\r\n\r\n",
            subject.host.path,
            subject.host.port,
            work::REVISION
        );
        client
            .stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        let head = loop {
            match Head::read(&client.input)? {
                Some(head) => break head,
                None => client.fill()?,
            }
        };
        if head.status != 200 {
            return Err(format!("status {} for an event stream", head.status));
        }
        held.push(client);
    }
    Ok(held)
}
