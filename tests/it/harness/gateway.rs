//! A running switchbox: started with a configuration of its own, ended by its id when it is dropped.

use super::clock::{self, PATIENCE};
use super::http::{Answer, Request};
use super::session::Session;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) const SWITCHBOX: &str = env!("CARGO_BIN_EXE_switchbox");

/// The variable that ties a process to the gateway that it descends from.
pub(crate) const TOKEN: &str = "SWITCHBOX_TEST_TOKEN";

/// A switchbox that is to be started.
pub(crate) struct Setup {
    config: Value,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    wait: Wait,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Listed,
    Listening,
}

impl Setup {
    pub(crate) fn new(config: Value) -> Setup {
        Setup {
            config,
            flags: vec!["--listen".into(), "127.0.0.1:0".into()],
            variables: Vec::new(),
            wait: Wait::Listed,
        }
    }

    pub(crate) fn flags(mut self, flags: &[&str]) -> Setup {
        self.flags.extend(flags.iter().map(|flag| (*flag).into()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Setup {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Not to wait until every server has listed what it offers.
    pub(crate) fn without_waiting(mut self) -> Setup {
        self.wait = Wait::Listening;
        self
    }

    /// One that nobody has configured.
    pub(crate) fn demo() -> Gateway {
        Setup::new(Value::Null).start()
    }

    /// Starts it, and waits until it listens and, unless told otherwise, all its servers are listed.
    pub(crate) fn start(self) -> Gateway {
        let is_demo = self.config.is_null();
        let Workplace {
            folder,
            path,
            token,
            servers,
        } = workplace(self.config);
        let mut command = Command::new(SWITCHBOX);
        command.arg("serve");
        if !is_demo {
            command.arg("--config").arg(&path);
        }
        let mut child = command
            .args(&self.flags)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let log = Log::read(child.stderr.take().expect("stderr is piped"));
        let mut gateway = Gateway {
            address: ([127, 0, 0, 1], 0).into(),
            child,
            log,
            folder,
            token,
        };
        let listen = clock::until("switchbox listens", || {
            if let Some(status) = gateway.child.try_wait().expect("our own child") {
                panic!("switchbox ended with {status}:\n{}", gateway.log.text());
            }
            gateway.log.field("switchbox started", "listen")
        });
        let first = listen.split(',').next().expect("at least one");
        gateway.address = first.parse().expect("an address");
        if self.wait == Wait::Listed {
            clock::holds("all servers are listed", || {
                gateway.log.count("upstream listed") >= servers.max(1)
            });
            gateway.wait_for_catalog();
        }
        gateway
    }
}

/// Where a gateway works, and what it is told.
pub(crate) struct Workplace {
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) token: String,
    pub(crate) servers: usize,
}

/// Writes a configuration into a folder of its own. Every command in it gets a token in its environment, so
/// that whatever descends from it can be told.
pub(crate) fn workplace(mut config: Value) -> Workplace {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let token = format!("it-{}-{number}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&token);
    fs::create_dir_all(&folder).expect("the build's directory is writable");
    let mut servers = 0;
    if let Some(all) = config.get_mut("mcpServers").and_then(Value::as_object_mut) {
        servers = all.len();
        for server in all
            .values_mut()
            .filter(|server| server.get("command").is_some())
        {
            server["env"][TOKEN] = token.as_str().into();
        }
    }
    let path = folder.join("config.json");
    fs::write(&path, config.to_string()).expect("the folder is writable");
    Workplace {
        folder,
        path,
        token,
        servers,
    }
}

/// A running switchbox.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) log: Log,
    child: Child,
    token: String,
}

impl Gateway {
    /// One that serves these servers.
    pub(crate) fn of(servers: Value) -> Gateway {
        Setup::new(json!({ "mcpServers": servers })).start()
    }

    /// A client that said `initialize`, and declared nothing.
    pub(crate) fn session(&self) -> Session {
        self.session_with("2025-11-25", json!({}))
    }

    /// A client that speaks this revision and declares these capabilities.
    pub(crate) fn session_with(&self, revision: &str, capabilities: Value) -> Session {
        Session::open(self.address, revision, capabilities)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Request::get(path).send(self.address)
    }

    pub(crate) fn post(&self, body: &Value) -> Answer {
        Request::post(body).send(self.address)
    }

    /// A result that takes neither a session nor a word before.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        let answer =
            self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        answer.json()
    }

    /// `/status`.
    pub(crate) fn status(&self) -> Value {
        self.get("/status").json()
    }

    /// The value of a metric, written as `/metrics` writes its name and labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// What is listed has reached the workers a moment after it was logged.
    fn wait_for_catalog(&self) {
        clock::holds("the catalog is complete", || {
            let status = self.status();
            let details = status["servers"]["details"].as_array().expect("servers");
            let is_known = |server: &Value| {
                server["tools"].as_u64() > Some(0)
                    || server["hidden"]
                        .as_array()
                        .is_some_and(|hidden| !hidden.is_empty())
            };
            details.iter().all(is_known)
        });
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        clock::until("switchbox ends", || {
            self.child.try_wait().expect("our own child")
        })
    }

    /// The processes that descend from its commands and live.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        descendants(&self.token)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("── what switchbox logged ──\n{}", self.log.text());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The processes that live and carry this token in their environment.
pub(crate) fn descendants(token: &str) -> Vec<u32> {
    let mark = format!("{TOKEN}={token}\0");
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // A zombie's environment is empty, so it does not count.
        memchr::memmem::find(&environ, mark.as_bytes()).is_some()
    })
    .collect()
}

/// What a process writes to stderr, line by line.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn read(from: impl std::io::Read + Send + 'static) -> Log {
        let log = Log(Arc::default());
        let lines = log.0.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.lock().expect("no panic while held").push(line);
            }
        });
        log
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }

    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }

    /// Waits for a line with `part` in it.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        let mut found = None;
        let end = clock::now() + PATIENCE;
        while found.is_none() && clock::now() < end {
            found = self.lines().into_iter().find(|line| line.contains(part));
            clock::pause(std::time::Duration::from_millis(5));
        }
        found.unwrap_or_else(|| panic!("{part:?} is not in\n{}", self.text()))
    }

    /// A field of the first line with `event` in it.
    pub(crate) fn field(&self, event: &str, name: &str) -> Option<String> {
        self.fields(event, name).into_iter().next()
    }

    fn fields(&self, event: &str, name: &str) -> Vec<String> {
        let mark = format!(" {name}=");
        let lines = self.lines();
        let found = lines.iter().filter(|line| line.contains(event));
        found
            .filter_map(|line| {
                let (_, rest) = line.split_once(&mark)?;
                rest.split(' ').next().map(String::from)
            })
            .collect()
    }
}
