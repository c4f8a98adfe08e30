//! A client of `switchbox stdio`: lines in, lines out.

use super::clock::{self, PATIENCE};
use super::gateway::{Log, SWITCHBOX, Workplace, descendants, workplace};
use super::http::{notification, request};
use super::session::hello;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A running `switchbox stdio`, and the client that started it.
pub(crate) struct Front {
    pub(crate) log: Log,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    folder: PathBuf,
    token: String,
}

impl Front {
    /// Starts it with these servers, and waits until all of them are listed.
    pub(crate) fn of(servers: Value) -> Front {
        let names: Vec<String> = servers
            .as_object()
            .expect("servers by name")
            .keys()
            .cloned()
            .collect();
        let mut front = Front::start(servers);
        clock::holds("all servers are listed", || {
            let listed = front.ask(0, "tools/list", json!({})).to_string();
            names
                .iter()
                .all(|name| listed.contains(&format!("{name}__")))
        });
        front
    }

    /// Starts it and waits for nothing.
    pub(crate) fn start(servers: Value) -> Front {
        let Workplace {
            folder,
            path,
            token,
            ..
        } = workplace(json!({ "mcpServers": servers }));
        let mut child = Command::new(SWITCHBOX)
            .args(["stdio", "--config"])
            .arg(&path)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let log = Log::read(child.stderr.take().expect("stderr is piped"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Front {
            stdin: child.stdin.take(),
            child,
            log,
            lines,
            folder,
            token,
        }
    }

    /// Says `initialize`; what it was answered.
    pub(crate) fn open(&mut self, capabilities: Value) -> Value {
        self.say(&request(
            "hello",
            "initialize",
            hello("2025-11-25", capabilities),
        ));
        let answer = self.next();
        assert_eq!(answer["id"], "hello", "{answer}");
        self.say(&notification("notifications/initialized", json!({})));
        answer["result"].clone()
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.say_line(&message.to_string());
    }

    pub(crate) fn say_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was not closed");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// The next line, which must be a message.
    pub(crate) fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE);
        let line =
            line.unwrap_or_else(|_| panic!("nothing is said; its log:\n{}", self.log.text()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// The answer to the request of that id; what is said before is passed over.
    pub(crate) fn answer(&self, id: impl Into<Value>) -> Value {
        let id = id.into();
        loop {
            let message = self.next();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The next message of that method; what is said before is passed over.
    pub(crate) fn wait_for(&self, method: &str) -> Value {
        loop {
            let message = self.next();
            if message["method"] == method {
                return message;
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.say(&request(id, method, params));
        self.answer(id)
    }

    /// Closes its input and waits for its end.
    pub(crate) fn close(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        clock::until("switchbox ends with its input", || {
            self.child.try_wait().expect("our own child")
        })
    }

    /// The processes that descend from its commands and live.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants(&self.token)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("── what switchbox logged ──\n{}", self.log.text());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
