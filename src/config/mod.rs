//! What the operator decided, once it has been read, checked and completed.
//!
//! Everything here is lawful by construction: whoever holds a [`Config`] need not validate again.
//! `file` and `env` say where the values come from, `resolve` how they become this.
//!
//! ```text
//! text ─▶ syntax ─▶ node ─▶ file ─▶ draft ─┐
//!                  command line ─▶ draft ──┼─▶ resolve ─▶ Config
//!                   environment ─▶ draft ──┘
//! ```

pub mod draft;
pub mod env;
pub mod expand;
pub mod file;
pub mod fingerprint;
pub mod limits;
mod mask;
#[cfg(test)]
mod mutations;
pub mod node;
pub mod problem;
mod reach;
#[cfg(test)]
mod readings;
pub mod redact;
pub mod resolve;
pub mod schema;
#[cfg(test)]
mod secrecy;
mod server;
pub mod source;
pub mod surroundings;
pub mod syntax;
pub mod url;
pub mod words;

use crate::secret::Secret;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect. Never empty. Default `127.0.0.1:3050`.
    pub listen: Vec<SocketAddr>,
    /// How names of tools and prompts are shown.
    pub names: Names,
    /// How long `initialize` and lists wait for servers that are still starting; `None`: not at all.
    pub wait_for_servers: Option<Duration>,
    /// Worker threads; `None`: one for each core the process may use.
    pub workers: Option<usize>,
    /// API keys that admit a client. Empty: no credential is asked for.
    pub keys: Vec<Key>,
    /// Further `Host` names that are answered, beside the loopback names and the listen addresses.
    pub hosts: Vec<String>,
    /// Further `Origin`s that are answered, as `scheme://host[:port]`.
    pub origins: Vec<String>,
    /// Whether clients of the HTTP+SSE transport of 2024-11-05 are served at `/sse` and `/messages`. Default yes.
    pub http_sse: bool,
    /// How long what is in flight may take to finish after SIGTERM.
    pub drain: Duration,
    /// What is logged, how and where.
    pub log: Log,
    /// Whether and where `/metrics` is served.
    pub metrics: Metrics,
    /// The servers behind this gateway, in the order of the file.
    pub servers: Vec<Arc<Server>>,
    /// The file this came from, if there was one.
    pub origin: Option<PathBuf>,
}

/// One API key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Who it stands for, in logs: the part before the first `.` of the key, or `key-N`.
    pub id: String,
    /// What the client must send.
    pub secret: Secret<String>,
}

/// How names of tools and prompts are shown to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `server__tool`.
    Prefixed,
    /// `tool`; where two servers offer the same, the first in the file wins.
    Bare,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// The least serious level that is written.
    pub level: Level,
    /// The shape of a line.
    pub format: LogFormat,
    /// Whether requests are logged, and where to.
    pub access: Access,
}

/// Seriousness of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time level event key=value …`.
    Text,
    /// One JSON object.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nowhere (the default).
    Off,
    /// With the other lines, on stderr.
    Stderr,
    /// To a file of its own, appended.
    File(PathBuf),
}

/// The metrics endpoint.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether `/metrics` is served on the main listeners. Default yes.
    pub enabled: bool,
    /// A further listener that serves `/metrics` and the health paths only.
    pub listen: Option<SocketAddr>,
}

/// One MCP server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As the operator calls it. Not empty, at most `limits::SERVER_NAME_BYTES_MAX`.
    pub name: String,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Words to group servers by.
    pub tags: Vec<String>,
    /// How it is reached.
    pub transport: Transport,
    /// What of it is shown.
    pub tools: Filter,
    /// What of it is shown.
    pub prompts: Filter,
    /// What of it is shown, by URI.
    pub resources: Filter,
    /// Own names for tools and prompts: original name to shown name (before any prefix).
    pub rename: BTreeMap<String, String>,
    /// How long one exchange may take without progress. Default 60 s.
    pub timeout: Duration,
    /// Most connections that each worker keeps to an HTTP server, or most children of a stdio one in all.
    pub connections: usize,
    /// Whether clients share a child or an upstream session.
    pub share: Share,
    /// Which revisions it is spoken to in.
    pub era: EraChoice,
    /// Whether readiness fails while it is down.
    pub required: bool,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A child process that speaks on stdin and stdout.
    Stdio(Command),
    /// One of the two transports over HTTP.
    Http(Http),
}

impl Server {
    /// Whether all that it says in a conversation comes on one stream: a child's output, or that of HTTP+SSE.
    /// What it asks there does not say for whom.
    pub fn has_one_stream(&self) -> bool {
        match &self.transport {
            Transport::Stdio(_) => true,
            Transport::Http(http) => http.speaks != Speaks::Streamable,
        }
    }

    /// Whether all talk to it in the one conversation, whatever they declare.
    pub fn has_one_conversation(&self) -> bool {
        let has_one_child = matches!(self.transport, Transport::Stdio(_)) && self.connections == 1;
        has_one_child && self.share == Share::Shared
    }
}

/// A command to run. No shell is involved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name to look up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The environment it gets on top of the few inherited variables (`PATH`, `HOME`, …).
    pub env: BTreeMap<String, Secret<String>>,
    /// Where it runs; the gateway's own directory if not given.
    pub cwd: Option<PathBuf>,
}

/// A remote server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// With TLS or without.
    pub scheme: Scheme,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port, the scheme's own if the URL has none.
    pub port: u16,
    /// Path and query as they are sent, beginning with `/`.
    pub path: String,
    /// Further request headers. Names are lower case and none that frames or routes a message.
    pub headers: Vec<(String, Secret<String>)>,
    /// Which transport it speaks.
    pub speaks: Speaks,
}

/// Which of the two transports over HTTP a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Streamable HTTP; if it turns out not to, the other.
    Streamable,
    /// HTTP+SSE of 2024-11-05: one stream for all that it says, and an endpoint for what it is told.
    Sse,
    /// The first by its configuration, and the second when it was tried last.
    SseAfterAll,
}

impl Http {
    /// What its `Host` field says: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// URL scheme of a remote server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    Http,
    Https,
}

/// Which family of protocol revisions a server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraChoice {
    /// The one that it turns out to speak.
    #[default]
    Auto,
    /// Up to 2025-11-25, without asking: for a server that cannot bear the question.
    Legacy,
    /// From 2026-07-28 on, without asking.
    Modern,
}

/// Whether clients share one upstream conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Sessions that declare the same capabilities share one (and never one with `roots`).
    Shared,
    /// Each session has its own.
    PerSession,
}

/// Which names pass: any of `allow` (all, if empty) and none of `deny`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Globs; empty allows everything.
    pub allow: Vec<Glob>,
    /// Globs; stronger than `allow`.
    pub deny: Vec<Glob>,
}

impl Filter {
    /// Whether `name` is shown and may be used.
    pub fn passes(&self, name: &str) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|g| g.matches(name)))
            && !self.deny.iter().any(|g| g.matches(name))
    }
}

/// A pattern in which `*` stands for any run of characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub String);

impl Glob {
    /// Whether the whole of `text` fits the pattern. Linear in space, at worst the product in time.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), text.chars().collect());
        let (mut p, mut t) = (0, 0);
        // Where to resume when a later part does not fit: just past the last `*`, one more taken by it.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p + 1, t));
                    p += 1;
                }
                Some(&c) if c == '?' || c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match star {
                    Some((after, taken)) => {
                        star = Some((after, taken + 1));
                        p = after;
                        t = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_fits_the_whole_name() {
        let check = |glob: &str, text, expected| {
            assert_eq!(
                Glob(glob.into()).matches(text),
                expected,
                "{glob} on {text}"
            );
        };
        check("*", "", true);
        check("read_*", "read_file", true);
        check("read_*", "spread_file", false);
        check("*file*", "read_file", true);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-b-b", false);
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let filter = Filter {
            allow: vec![Glob("read_*".into())],
            deny: vec![Glob("*_secret".into())],
        };
        assert!(filter.passes("read_file"));
        assert!(!filter.passes("read_secret"));
        assert!(!filter.passes("write_file"));
    }
}
