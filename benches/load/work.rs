//! What clients do over and over: a call, a list, a whole session. Each says what it sends and what must come back.

use crate::answer::Answer;
use serde::Serialize;

/// A task that one connection repeats; it may take several requests.
pub(crate) trait Work {
    /// Appends the next request to `out`. `session` is the connection's own, if it has one.
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, session: Option<&str>);

    /// Checks the answer. Whether the task is complete.
    ///
    /// # Errors
    /// What came instead.
    fn take(&mut self, answer: &Answer) -> Result<Task, String>;
}

/// Whether a task goes on.
#[derive(PartialEq)]
pub(crate) enum Task {
    /// A further request belongs to it.
    Goes,
    /// It is done.
    Done,
}

/// Where requests go.
pub(crate) struct Host {
    /// The port on loopback.
    pub(crate) port: u16,
    /// The path of the endpoint.
    pub(crate) path: String,
}

/// Appends one request with a JSON body.
pub(crate) fn post(out: &mut Vec<u8>, host: &Host, session: Option<&str>, body: &str) {
    out.extend_from_slice(
        format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n",
            host.path,
            host.port,
            body.len()
        )
        .as_bytes(),
    );
    if let Some(session) = session {
        let fields = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {REVISION}\r\n");
        out.extend_from_slice(fields.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
}

/// The protocol revision that clients and fixtures speak.
pub(crate) const REVISION: &str = "2025-11-25";

/// The body of `initialize`.
pub(crate) fn initialize(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{{"name":"load","version":"1"}}}}}}"#
    )
}

/// What follows it.
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// A call of the fixture's `echo`, whose answer must be exactly the text that was sent.
pub(crate) struct Call {
    tool: String,
    id: u64,
    text: String,
    padding: String,
}

impl Call {
    /// Calls of `tool` with `bytes` bytes of text.
    pub(crate) fn new(tool: String, bytes: usize) -> Call {
        Call {
            tool,
            id: 0,
            text: String::new(),
            padding: "x".repeat(bytes),
        }
    }
}

#[derive(Serialize)]
struct Echoed<'a> {
    content: [Block<'a>; 1],
}

#[derive(Serialize)]
struct Block<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// The result of the fixture's `echo`, as it is on the wire.
pub(crate) fn echoed(text: &str) -> String {
    let content = [Block {
        r#type: "text",
        text,
    }];
    serde_json::to_string(&Echoed { content }).expect("two strings can be written")
}

impl Work for Call {
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, session: Option<&str>) {
        self.id += 1;
        // Each text is told apart from the one before, so that an old answer is not taken for a new one.
        let mark = self.id.to_string();
        let padding = &self.padding[..self.padding.len().saturating_sub(mark.len())];
        self.text = format!("{mark}{padding}");
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"{}","arguments":{{"text":"{}"}}}}}}"#,
            self.id, self.tool, self.text
        );
        post(out, host, session, &body);
    }

    fn take(&mut self, answer: &Answer) -> Result<Task, String> {
        let result = answer.result(self.id)?;
        if result == echoed(&self.text).as_bytes() {
            Ok(Task::Done)
        } else {
            Err(format!(
                "an answer to something else: {}",
                String::from_utf8_lossy(result)
            ))
        }
    }
}

/// A list of tools, which must be complete the first time and the same every time.
pub(crate) struct List {
    id: u64,
    tools: usize,
    first: Option<Vec<u8>>,
}

impl List {
    /// Lists that hold this many tools.
    pub(crate) fn new(tools: usize) -> List {
        List {
            id: 0,
            tools,
            first: None,
        }
    }
}

/// How many tools a list holds.
pub(crate) fn tools_in(result: &[u8]) -> usize {
    memchr::memmem::find_iter(result, b"\"inputSchema\"").count()
}

impl Work for List {
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, session: Option<&str>) {
        self.id += 1;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/list"}}"#,
            self.id
        );
        post(out, host, session, &body);
    }

    fn take(&mut self, answer: &Answer) -> Result<Task, String> {
        let result = answer.result(self.id)?;
        match &self.first {
            Some(first) if first == result => Ok(Task::Done),
            Some(_) => Err("a list that differs from the first".to_owned()),
            None if tools_in(result) == self.tools => {
                self.first = Some(result.to_vec());
                Ok(Task::Done)
            }
            None => Err(format!(
                "a list of {} tools instead of {}",
                tools_in(result),
                self.tools
            )),
        }
    }
}

/// A session: opened, confirmed, ended.
#[derive(Default)]
pub(crate) struct Churn {
    step: usize,
    session: Option<String>,
}

impl Work for Churn {
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, _: Option<&str>) {
        let session = self.session.as_deref();
        match self.step {
            0 => post(out, host, None, &initialize(1)),
            1 => post(out, host, session, INITIALIZED),
            _ => {
                let head = format!(
                    "DELETE {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nMcp-Session-Id: {}\r\n\
                     MCP-Protocol-Version: {REVISION}\r\n\r\n",
                    host.path,
                    host.port,
                    session.unwrap_or_default()
                );
                out.extend_from_slice(head.as_bytes());
            }
        }
    }

    fn take(&mut self, answer: &Answer) -> Result<Task, String> {
        match (self.step, answer.status) {
            (0, _) => {
                answer.result(1)?;
                self.session = Some(answer.session.clone().ok_or("no session id")?);
            }
            (1, 202) | (2, 200 | 202 | 204) => {}
            (step, status) => return Err(format!("status {status} in step {step} of a session")),
        }
        self.step = (self.step + 1) % 3;
        Ok(if self.step == 0 {
            Task::Done
        } else {
            Task::Goes
        })
    }
}
