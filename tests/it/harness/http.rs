//! A blocking HTTP/1.1 client that hides nothing: every byte of what is asked and answered can be seen.

use super::clock::PATIENCE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A request that is put together.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    host: Option<String>,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            host: None,
            fields: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn get(path: &str) -> Request {
        Request::new("GET", path)
    }

    /// A message to the endpoint, as a client of MCP sends it.
    pub(crate) fn post(body: &Value) -> Request {
        Request::post_bytes(body.to_string().into_bytes())
            .field("accept", "application/json, text/event-stream")
            .field("content-type", "application/json")
    }

    /// Any body to the endpoint, with nothing said about it.
    pub(crate) fn post_bytes(body: Vec<u8>) -> Request {
        Request {
            body: Some(body),
            ..Request::new("POST", "/mcp")
        }
    }

    /// The same request, to another path.
    pub(crate) fn at(mut self, path: &str) -> Request {
        self.path = path.into();
        self
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Request {
        self.host = Some(host.into());
        self
    }

    pub(crate) fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let host = self.host.clone().unwrap_or_else(|| address.to_string());
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.fields {
            bytes += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            bytes += &format!("content-length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it on a connection of its own and reads the answer to its end.
    pub(crate) fn send(&self, address: SocketAddr) -> Answer {
        let mut connection = Connection::open(address);
        connection.write(&self.bytes(address));
        connection.answer(&self.method)
    }

    /// Sends it on a connection of its own and reads no more than the answer's head.
    pub(crate) fn begin(&self, address: SocketAddr) -> (Head, Connection) {
        let mut connection = Connection::open(address);
        connection.write(&self.bytes(address));
        let head = connection.head().expect("an answer");
        (head, connection)
    }
}

/// A connection to switchbox.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("switchbox listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a lawful length");
        stream.set_nodelay(true).expect("a socket of ours");
        Connection {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // Whoever was refused in the middle of a body learns so from the answer.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// The next answer's head; [`None`] at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.stream.read_line(&mut line).unwrap_or(0);
            if length == 0 {
                assert!(lines.is_empty(), "the head ends early: {lines:?}");
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines[0]
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok());
        let fields = lines[1..].iter().map(|line| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Some(Head {
            status: status.expect("a status line has a status"),
            fields: fields.collect(),
        })
    }

    /// Reads an answer to its end.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let mut head = self.head().expect("an answer");
        while head.status == 100 {
            head = self.head().expect("an answer after 100");
        }
        let mut body = Vec::new();
        if method != "HEAD" && !matches!(head.status, 204 | 304) {
            self.body(&head, &mut body);
        }
        Answer { head, body }
    }

    /// Reads the body that belongs to a head.
    pub(crate) fn rest_of(&mut self, head: &Head) -> Vec<u8> {
        let mut body = Vec::new();
        self.body(head, &mut body);
        body
    }

    fn body(&mut self, head: &Head, body: &mut Vec<u8>) {
        if head.field("transfer-encoding") == Some("chunked") {
            while self.chunk(body) {}
        } else if let Some(length) = head.field("content-length") {
            body.resize(length.parse().expect("a number"), 0);
            self.stream
                .read_exact(body)
                .expect("as much as was announced");
        } else {
            self.stream.read_to_end(body).expect("a body until the end");
        }
    }

    /// Reads one more chunk; whether there was one before the last.
    pub(crate) fn chunk(&mut self, body: &mut Vec<u8>) -> bool {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        let size = usize::from_str_radix(line.trim(), 16)
            .unwrap_or_else(|_| panic!("{line:?} is no chunk size"));
        let start = body.len();
        body.resize(start + size + 2, 0);
        if self.stream.read_exact(&mut body[start..]).is_err() {
            body.truncate(start);
            return false;
        }
        body.truncate(start + size);
        size > 0
    }

    /// Reads as much as there is room for.
    pub(crate) fn fill(&mut self, room: &mut [u8]) {
        self.stream
            .read_exact(room)
            .expect("as much as was announced");
    }

    /// Reads until the other side closes or resets.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

impl Head {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("an answer is UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Status, and the code of the JSON-RPC error.
    pub(crate) fn refusal(&self) -> (u16, Value) {
        (self.status(), self.json()["error"]["code"].clone())
    }
}

/// A JSON-RPC request.
pub(crate) fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

/// A JSON-RPC notification.
pub(crate) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}
