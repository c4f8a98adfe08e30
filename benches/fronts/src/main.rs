//! The least that a gateway does, on may_minihttp: the baseline for the front that switchbox has instead.
//!
//!     cargo build --release --manifest-path benches/fronts/Cargo.toml
//!     cargo bench --bench load -- --only http --front benches/fronts/target/release/fronts
//!
//! A POST of `tools/call` is routed by the name's prefix, sent to its server over a pooled connection under the name
//! that the server knows, and answered with the server's JSON. No sessions, no streams, no limits, no refusals but
//! one: what switchbox does beyond this it does in the time that is left.

use may::net::TcpStream;
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Bytes of an answer's head. Past this the call fails.
const HEAD_BYTES_MAX: usize = 16 * 1024;

fn main() {
    let mut listen = None;
    let mut upstreams = BTreeMap::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    for pair in words.chunks(2) {
        match pair {
            [flag, value] if flag == "--listen" => listen = Some(value.clone()),
            [flag, value] if flag == "--upstream" => {
                let (name, place) = value.split_once('=').expect("NAME=ADDRESS/PATH");
                let (address, path) = place.split_once('/').expect("ADDRESS/PATH");
                let address = address.parse().expect("an address with a port");
                let path = format!("/{path}");
                let idle = Mutex::default();
                upstreams.insert(
                    name.to_owned(),
                    Upstream {
                        address,
                        path,
                        idle,
                    },
                );
            }
            _ => panic!("usage: fronts --listen ADDRESS --upstream NAME=ADDRESS/PATH…"),
        }
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    may::config().set_workers(workers);
    let front = Front(Arc::new(upstreams));
    let listen = listen.expect("--listen ADDRESS");
    front
        .start(listen)
        .expect("the address can be bound")
        .join()
        .expect("it serves until it is killed");
}

/// The service of one connection.
#[derive(Clone)]
struct Front(Arc<BTreeMap<String, Upstream>>);

impl HttpServiceFactory for Front {
    type Service = Front;

    fn new_service(&self, _id: usize) -> Front {
        self.clone()
    }
}

/// One server and its idle connections.
struct Upstream {
    address: SocketAddr,
    path: String,
    idle: Mutex<Vec<TcpStream>>,
}

/// What is read of a message; `params` stays as it is.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

impl HttpService for Front {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let mut body = Vec::new();
        request.body().read_to_end(&mut body)?;
        match self.answer(&body) {
            Some(answer) => {
                response.header("Content-Type: application/json");
                response.body_vec(answer?);
            }
            None => {
                response.status_code(404, "Not Found");
            }
        }
        Ok(())
    }
}

impl Front {
    /// The server's answer; `None` to what is no call of a tool of one of the servers.
    fn answer(&self, body: &[u8]) -> Option<io::Result<Vec<u8>>> {
        let envelope: Envelope = serde_json::from_slice(body).ok()?;
        let (server, tool) = envelope.params.name.split_once("__")?;
        let upstream = self.0.get(server)?;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"{}","params":{{"name":"{tool}","arguments":{}}}}}"#,
            envelope.id, envelope.method, envelope.params.arguments
        );
        Some(upstream.ask(&body))
    }
}

impl Upstream {
    /// Sends one request on an idle connection, or a new one, and keeps the connection when it is answered.
    fn ask(&self, body: &str) -> io::Result<Vec<u8>> {
        let idle = self
            .idle
            .lock()
            .expect("nobody panics while holding it")
            .pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let answer = read_answer(&mut stream)?;
        self.idle
            .lock()
            .expect("nobody panics while holding it")
            .push(stream);
        Ok(answer)
    }
}

/// The body of the one answer that is under way.
fn read_answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match stream.read(&mut bytes[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => filled += length,
        }
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&bytes[..filled]).map_err(io::Error::other)?;
        let httparse::Status::Complete(start) = parsed else {
            continue;
        };
        let length: usize = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("content-length"))
            .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut body = bytes[start..filled].to_vec();
        let had = body.len();
        body.resize(length, 0);
        if length > had {
            stream.read_exact(&mut body[had..])?;
        }
        return Ok(body);
    }
}
