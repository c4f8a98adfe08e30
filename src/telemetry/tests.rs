//! Builders for the tests of this folder and of `ops`, and what holds for telemetry as a whole.

use super::*;
use crate::config::{
    Command, EraChoice, Filter, Http, Key, Log, Metrics, Names, Scheme, Server, Share, Speaks,
    Transport,
};
use crate::event::{ExchangeEnded, Outcome, RequestAnswered, SessionEnd};
use crate::mcp::method::Method;
use crate::secret::Secret;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A stdio server of that name.
pub(crate) fn server(name: &str) -> Arc<Server> {
    Arc::new(a_server(
        name,
        Transport::Stdio(Command {
            program: "serve".into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
        }),
    ))
}

fn a_server(name: &str, transport: Transport) -> Server {
    Server {
        name: name.into(),
        enabled: true,
        tags: vec!["local".into()],
        transport,
        tools: Filter::default(),
        prompts: Filter::default(),
        resources: Filter::default(),
        rename: BTreeMap::new(),
        timeout: Duration::from_secs(60),
        connections: 1,
        share: Share::Shared,
        era: EraChoice::Auto,
        required: false,
    }
}

/// Info as text on stderr, no access log, no servers.
pub(crate) fn config() -> Config {
    Config {
        listen: vec!["127.0.0.1:3050".parse().unwrap()],
        names: Names::Prefixed,
        wait_for_servers: None,
        workers: None,
        keys: Vec::new(),
        hosts: Vec::new(),
        origins: Vec::new(),
        http_sse: true,
        drain: Duration::from_secs(30),
        log: Log {
            level: Level::Info,
            format: LogFormat::Text,
            access: Access::Off,
        },
        metrics: Metrics {
            enabled: true,
            listen: None,
        },
        servers: Vec::new(),
        origin: None,
    }
}

/// Every place of a configuration that can hold a secret holds one of [`SECRETS`], and a word of every day.
pub(crate) fn config_with_secrets() -> Config {
    let secret = |text: &str| Secret::new(text.to_string());
    let stdio = Transport::Stdio(Command {
        program: "serve".into(),
        args: Vec::new(),
        env: BTreeMap::from([
            ("TZ".into(), secret("UTC")),
            ("PASSWORD".into(), secret("pa\"ss word")),
        ]),
        cwd: None,
    });
    let http = Transport::Http(Http {
        scheme: Scheme::Https,
        host: "search.example".into(),
        port: 443,
        path: "/mcp?key=in-the-url".into(),
        headers: vec![("authorization".into(), secret("Bearer tok/en+42"))],
        speaks: Speaks::Streamable,
    });
    Config {
        keys: vec![Key {
            id: "ci".into(),
            secret: secret("ci.0123456789abcdef"),
        }],
        servers: vec![
            Arc::new(a_server("files", stdio)),
            Arc::new(a_server("search", http)),
        ],
        ..config()
    }
}

/// The secrets of [`config_with_secrets`].
pub(crate) const SECRETS: &[&str] = &[
    "ci.0123456789abcdef",
    "pa\"ss word",
    "tok/en+42",
    "in-the-url",
];

/// A call of `tool` at the server `time` that went well.
pub(crate) fn exchange(tool: &str) -> ExchangeEnded {
    ExchangeEnded {
        peer: Some("192.0.2.7".parse().unwrap()),
        principal: Some("ci".into()),
        method: Method::ToolsCall,
        tool: Some(tool.into()),
        server: Some(server("time")),
        outcome: Outcome::Success,
        status: 200,
        took: Duration::from_millis(125),
        upstream: Some(Duration::from_micros(124_500)),
    }
}

/// A POST that was answered with that status.
pub(crate) fn answered(path: &str, status: u16) -> RequestAnswered {
    RequestAnswered {
        peer: "192.0.2.9".parse().unwrap(),
        method: "POST",
        path: path.into(),
        status,
        principal: None,
        took: Duration::from_micros(40),
    }
}

/// One of each, with `text` wherever somebody else chose the words.
pub(crate) fn every_event(text: &str) -> Vec<Event> {
    let server = || server("time");
    let method = Method::Progress;
    vec![
        Event::ConnectionOpened,
        Event::ConnectionClosed,
        Event::RequestAnswered(Box::new(RequestAnswered {
            principal: Some(text.into()),
            ..answered(text, 401)
        })),
        Event::ExchangeEnded(Box::new(ExchangeEnded {
            principal: Some(text.into()),
            ..exchange(text)
        })),
        Event::SessionOpened,
        Event::SessionEnded {
            why: SessionEnd::Idle,
        },
        Event::StreamOpened,
        Event::StreamClosed,
        Event::StreamCut { bytes: 1 },
        Event::HttpSseUsed {
            server: Some(server()),
            first: true,
        },
        Event::UpstreamStarting { server: server() },
        Event::UpstreamReady {
            server: server(),
            took: Duration::ZERO,
            name: text.into(),
            version: text.into(),
        },
        Event::UpstreamListed {
            server: server(),
            tools: 1,
            prompts: 2,
            resources: 3,
            templates: 4,
        },
        Event::UpstreamFailed {
            server: server(),
            cause: text.into(),
            retry_in: Some(Duration::from_millis(100)),
        },
        Event::UpstreamRetired { server: server() },
        Event::UpstreamReopened { server: server() },
        Event::ChildNoise {
            server: server(),
            bytes: 1,
        },
        Event::ChildStderr {
            server: server(),
            line: text.into(),
        },
        Event::ListCut {
            server: server(),
            method: Method::ToolsList,
            why: "too many pages",
        },
        Event::NameCollided {
            kind: "tool",
            name: text.into(),
            winner: server(),
            loser: server(),
        },
        Event::ListChangeAnnounced { sessions: 1 },
        Event::ServerRequestRefused {
            server: server(),
            method: Method::Elicit,
            why: "no client",
        },
        Event::NotificationDropped {
            server: server(),
            method,
            why: "no client",
        },
        Event::AnswerStray { server: server() },
        Event::ParcelStale,
        Event::ParcelLost,
        Event::HandlerPanicked {
            message: text.into(),
        },
        Event::Started {
            listen: text.into(),
            workers: 1,
            servers: 1,
        },
        Event::ConfigRemarked {
            remark: text.into(),
        },
        Event::DrainStarted,
        Event::DrainEnded { cut: 1 },
        Event::ConnectionRefused {
            peer: "192.0.2.9".parse().unwrap(),
        },
        Event::AcceptFailed { cause: text.into() },
    ]
}

/// A stderr that can be read.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stderr that takes nothing until the other half is dropped.
pub(crate) struct Blocked(Shared, Receiver<()>);

impl Blocked {
    pub(crate) fn new(behind: Shared) -> (Blocked, Sender<()>) {
        let (release, released) = bounded(0);
        (Blocked(behind, released), release)
    }
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.1.recv();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stderr shows after `events`.
fn logged(config: &Config, events: &[Event]) -> String {
    let stderr = Shared::default();
    let telemetry = Telemetry::start_with(config, Box::new(stderr.clone())).unwrap();
    let recorder = telemetry.recorder();
    events
        .iter()
        .for_each(|event| recorder.record(Wall(0), event));
    telemetry.stop();
    stderr.text()
}

fn with_log(level: Level, format: LogFormat, access: Access) -> Config {
    Config {
        log: Log {
            level,
            format,
            access,
        },
        ..config_with_secrets()
    }
}

#[test]
fn secrets_never_appear_whatever_is_logged() {
    for secret in SECRETS {
        let events = every_event(&format!("before {secret} after"));
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(&with_log(Level::Debug, format, Access::Stderr), &events);
            let escaped = serde_json::Value::from(*secret).to_string();
            assert!(text.contains("***"), "{text}");
            assert!(!text.contains(secret), "{secret} in\n{text}");
            assert!(
                !text.contains(escaped.trim_matches('"')),
                "{secret} in\n{text}"
            );
        }
    }
}

#[test]
fn good_day_fits_on_a_screen() {
    let text = logged(
        &with_log(Level::Info, LogFormat::Text, Access::Off),
        &every_event("x"),
    );
    let names: Vec<_> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert!(!names.contains(&"DEBUG"), "{text}");
    for hidden in [
        "request completed",
        "request answered",
        "connection opened",
        "child stderr",
    ] {
        assert!(!text.contains(hidden), "{hidden} in\n{text}");
    }
    assert!(text.contains("INFO upstream ready"), "{text}");
    assert!(text.contains("ERROR handler panicked"), "{text}");
}

#[test]
fn access_lines_come_at_any_level() {
    let events = [Event::ExchangeEnded(Box::new(exchange("time__now")))];
    let text = logged(
        &with_log(Level::Error, LogFormat::Text, Access::Stderr),
        &events,
    );
    assert!(text.starts_with("192.0.2.7 - ci ["), "{text}");
    assert_eq!(text.lines().count(), 1);
    let text = logged(
        &with_log(Level::Error, LogFormat::Json, Access::Stderr),
        &events,
    );
    assert!(text.starts_with("{\"timestamp\""), "{text}");
    assert_eq!(text.lines().count(), 1);
    let text = logged(
        &with_log(Level::Error, LogFormat::Text, Access::Off),
        &events,
    );
    assert_eq!(text, "");
}

#[test]
fn new_configuration_brings_its_level_and_its_secrets() {
    let stderr = Shared::default();
    let telemetry = Telemetry::start_with(&config(), Box::new(stderr.clone())).unwrap();
    let recorder = telemetry.recorder();
    let event = Event::ChildStderr {
        server: server("time"),
        line: "got tok/en+42".into(),
    };
    recorder.record(Wall(0), &event);
    telemetry.learn(&with_log(Level::Debug, LogFormat::Text, Access::Off));
    assert!(recorder.logs(Level::Debug));
    recorder.record(Wall(0), &event);
    telemetry.stop();
    let text = stderr.text();
    assert_eq!(
        text,
        "1970-01-01T00:00:00.000Z DEBUG child stderr server=time line=\"got ***\"\n"
    );
}

#[test]
fn flood_of_warnings_is_counted_in_full_and_logged_in_part() {
    let peer = "192.0.2.9".parse().unwrap();
    let stderr = Shared::default();
    let telemetry = Telemetry::start_with(&config(), Box::new(stderr.clone())).unwrap();
    let recorder = telemetry.recorder();
    for _ in 0..500 {
        recorder.record(Wall(0), &Event::ConnectionRefused { peer });
    }
    recorder.record(Wall(1000), &Event::ConnectionRefused { peer });
    let page = telemetry.metrics_page("1", Wall(0), Duration::ZERO, false, &[]);
    telemetry.stop();
    assert!(page.contains("_connections_refused_total 501\n"), "{page}");
    assert_eq!(stderr.text().lines().count(), 11);
    assert!(
        stderr
            .text()
            .ends_with("WARN connection refused peer=192.0.2.9 held=490\n")
    );
}

#[test]
fn recording_goes_on_after_the_log_has_stopped() {
    let telemetry = Telemetry::start_with(&config(), Box::new(Shared::default())).unwrap();
    let recorder = telemetry.recorder();
    telemetry.stop();
    recorder.record(Wall(0), &Event::DrainStarted);
    recorder.record(Wall(0), &Event::ConnectionOpened);
    assert_eq!(telemetry.lines_lost(), 1);
    assert_eq!(telemetry.gauges().connections, 1);
}
