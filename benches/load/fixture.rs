//! The servers behind what is measured: small and fast, so that little of the machine goes to them.
//!
//! They run as processes of their own, out of this same program, and know one working tool: `echo`. A server whose
//! name begins with `modern` speaks 2026-07-28 and nothing else, any other 2025-11-25 and nothing else.

use crate::process::Running;
use crate::work::{Era, META, MODERN, REVISION, echoed};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use serde_json::value::RawValue;
use slab::Slab;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Tools of each server.
pub(crate) const TOOLS: usize = 25;

/// Any number of servers over HTTP, under `/NAME/mcp`, in one process.
pub(crate) struct Http {
    /// Where it listens.
    pub(crate) port: u16,
    _running: Running,
}

impl Http {
    /// Starts the process.
    pub(crate) fn start() -> Http {
        let own = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(own);
        command
            .arg("fixture-http")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts again");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints its port");
        Http {
            port: line.trim().parse().expect("a port"),
            _running: Running::adopt(child),
        }
    }
}

// ── what they answer ─────────────────────────────────────────────────────────────────────────────

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    text: &'a str,
}

static LIST: LazyLock<String> = LazyLock::new(|| {
    let tool = |n: usize| {
        let name = if n == 0 {
            "echo".to_owned()
        } else {
            format!("tool_{n:02}")
        };
        format!(
            r#"{{"name":"{name}","description":"One of the tools of a server that exists to be measured; it says back what it is told.","inputSchema":{{"type":"object","properties":{{"text":{{"type":"string","description":"What to say back"}},"times":{{"type":"integer","minimum":1,"default":1}}}},"required":["text"]}}}}"#
        )
    };
    (0..TOOLS).map(tool).collect::<Vec<_>>().join(",")
});

/// What every result of a modern server says.
fn said_of_itself() -> String {
    format!(
        r#""resultType":"complete","_meta":{{"{META}/serverInfo":{{"name":"fixture","version":"1"}}}}"#
    )
}

/// The era of the server of that name.
fn era_of(name: &str) -> Era {
    if name.starts_with(Era::Modern.word()) {
        Era::Modern
    } else {
        Era::Legacy
    }
}

/// The answer to one message; none to a notification or an answer.
fn answer(era: Era, bytes: &[u8]) -> Option<String> {
    let message: Message<'_> = serde_json::from_slice(bytes).expect("a gateway sends JSON-RPC");
    let (id, method) = (message.id?.get(), message.method?);
    let tools = r#""capabilities":{"tools":{"listChanged":true}}"#;
    let result = match (era, method) {
        (Era::Legacy, "initialize") => format!(
            r#"{{"protocolVersion":"{REVISION}",{tools},"serverInfo":{{"name":"fixture","version":"1"}}}}"#
        ),
        (Era::Legacy, "tools/list") => format!(r#"{{"tools":[{}]}}"#, *LIST),
        (Era::Legacy, "tools/call") => {
            format!("{{{}}}", echoed(message.params?.arguments?.text))
        }
        (Era::Legacy, "ping") => "{}".to_owned(),
        (Era::Modern, "server/discover") => format!(
            r#"{{{},"ttlMs":0,"cacheScope":"private","supportedVersions":["{MODERN}"],{tools}}}"#,
            said_of_itself()
        ),
        (Era::Modern, "tools/list") => format!(
            r#"{{{},"ttlMs":0,"cacheScope":"private","tools":[{}]}}"#,
            said_of_itself(),
            *LIST
        ),
        (Era::Modern, "tools/call") => format!(
            "{{{},{}}}",
            said_of_itself(),
            echoed(message.params?.arguments?.text)
        ),
        // Nothing ever changes, so that this is all that is ever said; the answer would come at the end.
        (Era::Modern, "subscriptions/listen") => {
            return Some(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{META}/subscriptionId":{id}}},"notifications":{{"toolsListChanged":true}}}}}}"#
            ));
        }
        _ => {
            let error = r#"{"code":-32601,"message":"method not found"}"#;
            return Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        }
    };
    Some(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
    ))
}

/// Serves on stdin and stdout until stdin ends.
pub(crate) fn serve_stdio(name: &str) {
    let era = era_of(name);
    let mut input = BufReader::with_capacity(64 * 1024, std::io::stdin().lock());
    let mut output = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    let mut line = Vec::new();
    while input
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        if let Some(answer) = answer(era, &line) {
            let written = writeln!(output, "{answer}");
            // Whatever else has been read already is answered in the same write.
            if written.is_err() || (input.buffer().is_empty() && output.flush().is_err()) {
                return;
            }
        }
        line.clear();
    }
}

// ── over HTTP ────────────────────────────────────────────────────────────────────────────────────

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

const LISTENER: Token = Token(usize::MAX);

/// Serves HTTP on a port that the kernel picks and that is printed first.
pub(crate) fn serve_http() -> ! {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a port on loopback");
    println!(
        "{}",
        listener
            .local_addr()
            .expect("a bound socket has an address")
            .port()
    );
    let mut poll = Poll::new().expect("a poll");
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .expect("a listener can be polled");
    let mut events = Events::with_capacity(1024);
    let mut connections: Slab<Connection> = Slab::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("polling works"),
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let slot = connections.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    // Answers are small and complete: waiting to merge them would only add delay.
                    let _ = stream.set_nodelay(true);
                    if poll
                        .registry()
                        .register(&mut stream, Token(slot.key()), interest)
                        .is_ok()
                    {
                        slot.insert(Connection {
                            stream,
                            input: Vec::new(),
                            output: Vec::new(),
                        });
                    }
                }
            } else if let Some(connection) = connections.get_mut(event.token().0)
                && connection.turn().is_none()
            {
                connections.remove(event.token().0);
            }
        }
    }
}

impl Connection {
    /// Reads, answers and writes as far as it can; `None` when the connection is over.
    fn turn(&mut self) -> Option<()> {
        let mut block = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(length) => self.input.extend_from_slice(&block[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        while let Some(taken) = respond(&self.input, &mut self.output) {
            self.input.drain(..taken);
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        Some(())
    }
}

/// Answers the request at the start of `input`, and says how long it was; `None` while it is not complete.
fn respond(input: &[u8], output: &mut Vec<u8>) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = request.parse(input).expect("a gateway sends HTTP")
    else {
        return None;
    };
    let length = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok())
        .unwrap_or(0);
    let body = input.get(head..head + length)?;
    let mut say = |status: &str, fields: &str, body: &str| {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        output.extend_from_slice(text.as_bytes());
    };
    let json = "Content-Type: application/json\r\n";
    let era = era_of(request.path.unwrap_or_default().trim_start_matches('/'));
    match request.method {
        // Its stream stays open and empty.
        Some("GET") => output.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        Some("POST") => match answer(era, body) {
            Some(answer) if memchr::memmem::find(body, b"\"initialize\"").is_some() => {
                say("200 OK", &format!("{json}Mcp-Session-Id: fixture\r\n"), &answer);
            }
            Some(answer) if memchr::memmem::find(body, b"\"subscriptions/listen\"").is_some() => {
                let event = format!("data: {answer}\n\n");
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
                let text = format!("{head}\r\n\r\n{:x}\r\n{event}\r\n", event.len());
                output.extend_from_slice(text.as_bytes());
            }
            Some(answer) => say("200 OK", json, &answer),
            None => say("202 Accepted", "", ""),
        },
        _ => say("200 OK", "", ""),
    }
    Some(head + length)
}
