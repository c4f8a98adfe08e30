//! What is measured: switchbox, nginx as a plain reverse proxy, another front, or the servers themselves.

use crate::drive::Client;
use crate::fixture;
use crate::process::{self, Running};
use crate::work::{self, Era, Host};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The servers of one configuration.
pub(crate) struct Upstreams(Vec<(String, Value)>);

impl Upstreams {
    /// `count` servers that one fixture serves over HTTP.
    pub(crate) fn http(fixture: &fixture::Http, count: usize) -> Upstreams {
        let entry = |n| json!({ "url": format!("http://127.0.0.1:{}/s{n}/mcp", fixture.port) });
        Upstreams((0..count).map(|n| (format!("s{n}"), entry(n))).collect())
    }

    /// `count` servers that are children.
    pub(crate) fn stdio(count: usize) -> Upstreams {
        let own = std::env::current_exe().expect("this program has a path");
        let entry = |n| json!({ "command": own, "args": ["fixture-stdio", format!("s{n}")] });
        Upstreams((0..count).map(|n| (format!("s{n}"), entry(n))).collect())
    }

    /// One server of each era over each transport, named for both.
    pub(crate) fn of_both_eras(fixture: &fixture::Http) -> Upstreams {
        let own = std::env::current_exe().expect("this program has a path");
        let of_era = |era: Era| {
            let era = era.word();
            let (http, stdio) = (format!("{era}-http"), format!("{era}-stdio"));
            let url = format!("http://127.0.0.1:{}/{http}/mcp", fixture.port);
            let child = json!({ "command": own, "args": ["fixture-stdio", stdio] });
            vec![(http, json!({ "url": url })), (stdio, child)]
        };
        Upstreams(
            [Era::Legacy, Era::Modern]
                .map(of_era)
                .into_iter()
                .flatten()
                .collect(),
        )
    }

    fn config(&self) -> String {
        let servers: serde_json::Map<String, Value> = self.0.iter().cloned().collect();
        json!({ "mcpServers": servers }).to_string()
    }
}

/// Something that listens and is driven.
pub(crate) struct Subject {
    /// As it is printed.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) host: Host,
    /// Whether clients open sessions at it.
    pub(crate) has_sessions: bool,
    prefix: &'static str,
    running: Option<Running>,
}

impl Subject {
    /// The fixture, without anything between: what the load generator and the machine can do at most.
    pub(crate) fn direct(fixture: &fixture::Http) -> Subject {
        let host = Host {
            port: fixture.port,
            path: "/s0/mcp".to_owned(),
        };
        Subject {
            name: "direct",
            host,
            has_sessions: true,
            prefix: "",
            running: None,
        }
    }

    /// switchbox with default settings, once it lists all tools.
    pub(crate) fn switchbox(binary: &Path, upstreams: &Upstreams) -> Subject {
        let subject = Subject::switchbox_at_once(binary, upstreams);
        subject.wait_for_tools(upstreams.0.len() * fixture::TOOLS);
        subject
    }

    /// switchbox as soon as it is started.
    pub(crate) fn switchbox_at_once(binary: &Path, upstreams: &Upstreams) -> Subject {
        let port = process::free_port();
        let config = process::folder().join(format!("switchbox-{port}.json"));
        std::fs::write(&config, upstreams.config()).expect("a configuration file");
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"));
        let running = Some(Running::start(&mut command));
        process::wait_for_port(port, "switchbox");
        let host = Host {
            port,
            path: "/mcp".to_owned(),
        };
        Subject {
            name: "switchbox",
            host,
            has_sessions: true,
            prefix: "s0__",
            running,
        }
    }

    /// nginx, if it is installed, with upstream connections kept open and nothing logged.
    pub(crate) fn nginx(fixture: &fixture::Http) -> Option<Subject> {
        let binary = find_in_path("nginx")?;
        let port = process::free_port();
        let folder = process::folder().join(format!("nginx-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for nginx");
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()))
            .concat();
        let config = format!(
            "daemon off;\nworker_processes {workers};\npid {}/pid;\nerror_log stderr error;\n\
             events {{ worker_connections 8192; }}\n\
             http {{\naccess_log off;\n{temporary}keepalive_requests 1000000000;\n\
             upstream servers {{ server 127.0.0.1:{}; keepalive 256; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port};\nlocation / {{ proxy_pass http://servers; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off; }} }}\n}}\n",
            folder.display(),
            fixture.port
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).expect("a configuration file");
        let running = Some(Running::start(
            Command::new(binary)
                .arg("-p")
                .arg(&folder)
                .arg("-c")
                .arg(&file),
        ));
        process::wait_for_port(port, "nginx");
        let host = Host {
            port,
            path: "/s0/mcp".to_owned(),
        };
        Some(Subject {
            name: "nginx",
            host,
            has_sessions: true,
            prefix: "",
            running,
        })
    }

    /// A program that answers plain calls: `FRONT --listen ADDRESS --upstream NAME=ADDRESS/PATH`.
    pub(crate) fn front(binary: &Path, fixture: &fixture::Http) -> Subject {
        let port = process::free_port();
        let mut command = Command::new(binary);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        command
            .arg("--upstream")
            .arg(format!("s0=127.0.0.1:{}/s0/mcp", fixture.port));
        let running = Some(Running::start(&mut command));
        process::wait_for_port(port, "the front");
        let host = Host {
            port,
            path: "/mcp".to_owned(),
        };
        Subject {
            name: "front",
            host,
            has_sessions: false,
            prefix: "s0__",
            running,
        }
    }

    /// The name under which it knows a tool of the first server.
    pub(crate) fn tool(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Its processes, without those of the fixtures.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.as_ref().map(Running::tree).unwrap_or_default()
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        process::resident_kib(&self.pids())
    }

    /// Waits until it lists this many tools to a client without a session.
    pub(crate) fn wait_for_tools(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut client = Client::connect(&self.host).expect("it listens");
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        loop {
            let answer = client.ask(&self.host, None, body);
            let listed = answer.and_then(|answer| answer.result(1).map(work::tools_in));
            if listed == Ok(count) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} lists {listed:?} tools of {count}",
                self.name
            );
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
