//! `switchbox demo-server`: a real MCP server on stdin and stdout, to try a gateway with.
//!
//! One line in, at most one line out, in order. It keeps no state, so every message can be answered
//! by itself.

use super::demo::{Arguments, TOOLS, Tool};
use super::{Exit, Stop};
use crate::config::limits::{CHILDREN_MAX, LINE_BYTES_MAX, SERVER_TIMEOUT};
use crate::config::{Command, EraChoice, Filter, Server, Share, Transport};
use crate::jsonrpc::envelope::{Envelope, EnvelopeError, Kind};
use crate::jsonrpc::{parse, write};
use crate::mcp::Era;
use crate::mcp::handshake::Hello;
use crate::mcp::method::Method;
use crate::refusal::{self, Refusal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

/// The name under which the gateway shows it.
const NAME: &str = "demo";

/// Runs the verb until stdin ends.
pub fn run(arguments: &[OsString]) -> Result<ExitCode, Stop> {
    if let Some(argument) = arguments.first() {
        let message = format!("unexpected argument {argument:?}");
        return Err(Stop::usage("demo-server", message));
    }
    match converse(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => Ok(Exit::Done.into()),
        // Whoever listened is gone; there is nobody to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done.into()),
        Err(error) => Err(Stop {
            exit: Exit::Failed,
            message: format!("demo-server: {error}"),
        }),
    }
}

/// The demo server as an entry of a configuration: this very program.
pub fn entry() -> Server {
    let program = std::env::current_exe()
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| "switchbox".into());
    Server {
        name: NAME.into(),
        enabled: true,
        tags: Vec::new(),
        transport: Transport::Stdio(Command {
            program,
            args: vec!["demo-server".into()],
            env: BTreeMap::new(),
            cwd: None,
        }),
        tools: Filter::default(),
        prompts: Filter::default(),
        resources: Filter::default(),
        rename: BTreeMap::new(),
        timeout: SERVER_TIMEOUT,
        connections: CHILDREN_MAX,
        share: Share::Shared,
        era: EraChoice::Auto,
        required: false,
    }
}

/// Answers every line of `input` on `output`. A line that is too long ends it.
fn converse(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX {
            let fact = format!("line exceeds {LINE_BYTES_MAX} bytes");
            return Err(io::Error::other(fact));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some(mut answer) = answer(&line) {
            answer.push(b'\n');
            output.write_all(&answer)?;
            output.flush()?;
        }
    }
}

/// The answer to one message, if it wants one.
fn answer(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let envelope = match Envelope::parse(line) {
        Ok(envelope) => envelope,
        Err(error) => {
            let id = match &error {
                EnvelopeError::Invalid { id: Some(id), .. } => id.as_slice(),
                _ => b"null",
            };
            write::error(&mut out, id, &Refusal::from(&error).to_json(Era::Legacy));
            return Some(out);
        }
    };
    let Kind::Request { method, id } = &envelope.kind else {
        return None;
    };
    let id = id.of(line);
    match result(method, &envelope) {
        Ok(result) => write::result(&mut out, id, result.to_string().as_bytes()),
        Err(refusal) => write::error(&mut out, id, &refusal.to_json(Era::Legacy)),
    }
    Some(out)
}

fn result(method: &str, envelope: &Envelope<'_>) -> Result<Value, Refusal> {
    match Method::parse(method) {
        Method::Initialize => initialize(envelope),
        Method::Ping => Ok(json!({})),
        Method::ToolsList => {
            let tools: Vec<Value> = TOOLS.iter().map(Tool::listed).collect();
            Ok(json!({"tools": tools}))
        }
        Method::ToolsCall => call(envelope),
        _ => Err(Refusal::MethodUnknown(refusal::shown(method))),
    }
}

fn initialize(envelope: &Envelope<'_>) -> Result<Value, Refusal> {
    let hello = Hello::parse(envelope.text, envelope.params)
        .map_err(|fact| Refusal::Params(fact.into()))?;
    Ok(json!({
        "protocolVersion": hello.revision.name(),
        "capabilities": {"tools": {}},
        "serverInfo": {
            "name": "switchbox-demo",
            "title": "switchbox demo server",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": "Tells about the machine it runs on: network interfaces, system, disks, time. It changes nothing.",
    }))
}

fn call(envelope: &Envelope<'_>) -> Result<Value, Refusal> {
    let wrong = |fact: &str| Refusal::Params(fact.into());
    let params = envelope
        .params
        .ok_or_else(|| wrong("params must be an object"))?;
    let text = envelope.text;
    let name = parse::member(text, params, "name")
        .and_then(|span| parse::string(text, span))
        .ok_or_else(|| wrong("name must be a string"))?;
    let tool = Tool::find(&name).ok_or_else(|| Refusal::ToolUnknown {
        name: refusal::shown(&name),
        note: String::new(),
    })?;
    let arguments = match parse::member(text, params, "arguments") {
        None => Arguments::new(),
        Some(span) => serde_json::from_slice(span.of(text))
            .map_err(|_| wrong("arguments must be an object"))?,
    };
    Ok(tool.called(&arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        converse(lines.as_bytes(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn request(method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        say(&message.to_string()).remove(0)
    }

    #[test]
    fn revision_is_the_clients_own_or_the_latest() {
        let check = |asked: &str, expected: &str| {
            let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
            let answer = request("initialize", params);
            assert_eq!(answer["result"]["protocolVersion"], expected);
        };
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            check(revision, revision);
        }
        check("1999-01-01", "2025-11-25");
    }

    #[test]
    fn each_request_is_answered_once_and_in_order() {
        let answers = say(concat!(
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n\n",
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"method\":\"tools/list\"}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"ping\"}",
        ));
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
        assert_eq!(ids, [json!(1), json!("two"), json!(3)]);
        assert_eq!(answers[1]["result"]["tools"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn mistakes_have_the_codes_of_the_specification() {
        let code = |answer: Value| answer["error"]["code"].as_i64();
        assert_eq!(code(request("resources/list", json!({}))), Some(-32601));
        assert_eq!(
            code(request("tools/call", json!({"name": "nope"}))),
            Some(-32602)
        );
        assert_eq!(code(request("tools/call", json!({}))), Some(-32602));
        assert_eq!(code(request("initialize", json!({}))), Some(-32602));
        let echo = json!({"name": "echo", "arguments": "text"});
        assert_eq!(code(request("tools/call", echo)), Some(-32602));
        assert_eq!(code(say("{nonsense").remove(0)), Some(-32700));
        assert_eq!(code(say("[]").remove(0)), Some(-32600));
    }

    #[test]
    fn echo_returns_its_text() {
        let answer = request(
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "ü\n"}}),
        );
        assert_eq!(answer["result"]["structuredContent"]["text"], "ü\n");
        assert_eq!(answer["result"]["isError"], false);
    }
}
