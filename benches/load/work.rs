//! What clients do over and over: a call, a list, a whole session. Each says what it sends and what must come back.

use crate::answer::Answer;
use serde::Serialize;

/// A task that one connection repeats; it may take several requests.
pub(crate) trait Work {
    /// Appends the next request to `out`. `session` is the connection's own, if it has one.
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, session: Option<&str>);

    /// What its client declares when it opens its session; nothing if it opens none.
    fn declares(&self) -> Option<&'static str> {
        Some("{}")
    }

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
    let fields = session.map(|session| {
        format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {REVISION}\r\n")
    });
    post_with(out, host, &fields.unwrap_or_default(), body);
}

/// Appends the request that ends a session.
pub(crate) fn end(out: &mut Vec<u8>, host: &Host, session: &str) {
    let head = format!(
        "DELETE {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nMcp-Session-Id: {session}\r\n\
         MCP-Protocol-Version: {REVISION}\r\n\r\n",
        host.path, host.port
    );
    out.extend_from_slice(head.as_bytes());
}

/// Appends one request with a JSON body and these further lines in its head.
fn post_with(out: &mut Vec<u8>, host: &Host, fields: &str, body: &str) {
    out.extend_from_slice(
        format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{fields}\r\n",
            host.path,
            host.port,
            body.len()
        )
        .as_bytes(),
    );
    out.extend_from_slice(body.as_bytes());
}

/// The protocol revision that clients and fixtures speak which have sessions.
pub(crate) const REVISION: &str = "2025-11-25";
/// That of those which have none.
pub(crate) const MODERN: &str = "2026-07-28";
/// What the names of its members of `_meta` begin with.
pub(crate) const META: &str = "io.modelcontextprotocol";

/// Whether there are sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// A client says once for its session what it is.
    Legacy,
    /// And here with each request.
    Modern,
}

impl Era {
    /// Its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        }
    }
}

/// The body of `initialize`.
pub(crate) fn initialize(id: u64, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{REVISION}","capabilities":{capabilities},"clientInfo":{{"name":"load","version":"1"}}}}}}"#
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
    capabilities: &'static str,
    /// What a modern client says of itself: members of `params`, ended by a comma.
    meta: Option<String>,
}

impl Call {
    /// Calls of `tool` with `bytes` bytes of text, by a client of this era that declares this.
    pub(crate) fn new(tool: String, bytes: usize, era: Era, capabilities: &'static str) -> Call {
        let meta = || {
            format!(
                r#""_meta":{{"{META}/protocolVersion":"{MODERN}","{META}/clientInfo":{{"name":"load","version":"1"}},"{META}/clientCapabilities":{capabilities}}},"#
            )
        };
        Call {
            tool,
            id: 0,
            text: String::new(),
            padding: "x".repeat(bytes),
            capabilities,
            meta: (era == Era::Modern).then(meta),
        }
    }
}

#[derive(Serialize)]
struct Block<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// What the result of the fixture's `echo` says whatever its era, as it is on the wire: a member without braces.
pub(crate) fn echoed(text: &str) -> String {
    let block = Block {
        r#type: "text",
        text,
    };
    let block = serde_json::to_string(&block).expect("two strings can be written");
    format!(r#""content":[{block}]"#)
}

impl Work for Call {
    fn ask(&mut self, out: &mut Vec<u8>, host: &Host, session: Option<&str>) {
        self.id += 1;
        // Each text is told apart from the one before, so that an old answer is not taken for a new one.
        let mark = self.id.to_string();
        let padding = &self.padding[..self.padding.len().saturating_sub(mark.len())];
        self.text = format!("{mark}{padding}");
        let meta = self.meta.as_deref().unwrap_or_default();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{{meta}"name":"{}","arguments":{{"text":"{}"}}}}}}"#,
            self.id, self.tool, self.text
        );
        if self.meta.is_none() {
            return post(out, host, session, &body);
        }
        let fields = format!(
            "MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {}\r\n",
            self.tool
        );
        post_with(out, host, &fields, &body);
    }

    fn declares(&self) -> Option<&'static str> {
        self.meta.is_none().then_some(self.capabilities)
    }

    fn take(&mut self, answer: &Answer) -> Result<Task, String> {
        let result = answer.result(self.id)?;
        let echoed = echoed(&self.text);
        let is_it = match &self.meta {
            None => result == format!("{{{echoed}}}").as_bytes(),
            // Who answered is told as well.
            Some(_) => {
                let says = |text: &str| memchr::memmem::find(result, text.as_bytes()).is_some();
                says(r#""resultType":"complete""#) && says(&echoed)
            }
        };
        if is_it {
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
            0 => post(out, host, None, &initialize(1, "{}")),
            1 => post(out, host, session, INITIALIZED),
            _ => end(out, host, session.unwrap_or_default()),
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
