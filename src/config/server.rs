//! One server of a configuration file, from its table to a [`Server`].

use super::draft::Takes;
use super::file::{Fields, Reader};
use super::limits::{
    CHILDREN_MAX, EXCHANGE_TIMEOUT_MAX, NAME_BYTES_MAX, POOL_CONNECTIONS, SERVER_CONNECTIONS_MAX,
    SERVER_NAME_BYTES_MAX, SERVER_TIMEOUT, SERVERS_MAX,
};
use super::node::{Entry, Node, Span, Value};
use super::problem::{Fault, nearest};
use super::schema;
use super::words::{self, Expected, Unit};
use super::{EraChoice, Filter, Glob, Server, Share, Speaks, Transport};
use std::collections::BTreeMap;
use std::time::Duration;

/// The servers read so far, no name twice.
#[derive(Default)]
pub(super) struct Names {
    servers: Vec<Server>,
    lines: BTreeMap<String, usize>,
}

impl Names {
    pub(super) fn into_list(self) -> Vec<Server> {
        self.servers
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Stdio,
    Http,
    Sse,
}

impl Reader<'_> {
    /// Reads one server. In a map its name is its key; in a list it names itself.
    pub(super) fn server(&mut self, key: Option<(&str, Span)>, node: &Node, servers: &mut Names) {
        let at = key.map_or(
            first_line(node.span, self.source.slice(node.span)),
            |(_, span)| span,
        );
        let fields = self.fields(node, &schema::SERVER);
        let named = fields
            .as_ref()
            .and_then(|f| f.find("id").or(f.find("name")));
        let (name, name_span) = match (key, named) {
            (Some((key, span)), _) => (Some(key.to_string()), span),
            (None, Some(entry)) => (self.text(entry).map(|(name, _)| name), entry.node.span),
            (None, None) if fields.is_some() => {
                let fault = Fault::Missing("name of the server".into());
                self.problem(at, fault).expected = Some("a key \"name\" or \"id\"".into());
                (None, at)
            }
            (None, None) => (None, at),
        };
        if let Some(name) = &name {
            self.name(name, name_span, servers);
        }
        let Some(fields) = fields else { return };
        let server = self.server_of(name.as_deref().unwrap_or(""), at, &fields);
        if servers.servers.len() == SERVERS_MAX {
            let fault = Fault::Fact(format!("more than {SERVERS_MAX} servers"));
            self.problem(at, fault).expected = Some(format!("at most {SERVERS_MAX}"));
        }
        if let (Some(server), Some(_)) = (server, name) {
            servers.servers.push(server);
        }
    }

    fn name(&mut self, name: &str, span: Span, servers: &mut Names) {
        let fits = !name.trim().is_empty()
            && name.len() <= SERVER_NAME_BYTES_MAX
            && !name.chars().any(char::is_control);
        if !fits {
            let what = format!("1 to {SERVER_NAME_BYTES_MAX} bytes without control characters");
            let problem = self.problem(span, Fault::Fact("unfit name of a server".into()));
            problem.expected = Some(what);
        }
        let line = self.source.line(span.start);
        match servers.lines.get(name) {
            Some(&line) => {
                let fault = Fault::Repeated {
                    key: name.into(),
                    line,
                };
                self.problem(span, fault).expected = Some("another name".into());
            }
            None => {
                servers.lines.insert(name.into(), line);
            }
        }
    }

    fn server_of(&mut self, name: &str, at: Span, fields: &Fields<'_>) -> Option<Server> {
        let transport = self.transport(at, fields);
        let enabled = self.enabled(fields);
        let tags = fields
            .find("tags")
            .map(|entry| self.texts(&entry.key, &entry.node));
        let tools = self.tools(fields);
        let prompts = self.filter(fields.find("prompts"));
        let resources = self.filter(fields.find("resources"));
        let rename = fields
            .find("rename")
            .map_or(Some(BTreeMap::new()), |e| self.rename(e));
        let timeout = self.timeout(fields);
        let connections = fields.find("connections").map(|entry| {
            let text = self.scalar(&entry.key, &entry.node, Takes::Number)?;
            let count = words::count(&text, 1, SERVER_CONNECTIONS_MAX);
            self.kept(entry, count)
        });
        let share = fields.find("share").map_or(Some(Share::Shared), |entry| {
            let (text, _) = self.text(entry)?;
            self.kept(entry, words::share(&text))
        });
        let era = fields.find("era").map_or(Some(EraChoice::Auto), |entry| {
            let (text, _) = self.text(entry)?;
            self.kept(entry, words::era(&text))
        });
        let required = fields
            .find("required")
            .map_or(Some(false), |entry| self.boolean(entry));

        let transport = transport?;
        if let (Transport::Http(http), Some(EraChoice::Modern), Some(entry)) =
            (&transport, era, fields.find("era"))
            && http.speaks == Speaks::Sse
        {
            let expected = Expected::new("\"legacy\" or \"auto\"")
                .hinting("the modern era has no HTTP+SSE transport");
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        }
        let connections = match (connections, &transport) {
            (Some(connections), _) => connections,
            (None, Transport::Http(_)) => Some(POOL_CONNECTIONS),
            (None, Transport::Stdio(_)) => Some(CHILDREN_MAX),
        };
        Some(Server {
            name: name.into(),
            enabled: enabled?,
            tags: match tags {
                Some(tags) => tags?.into_iter().map(|(tag, _)| tag).collect(),
                None => Vec::new(),
            },
            transport,
            tools: tools?,
            prompts: prompts?,
            resources: resources?,
            rename: rename?,
            timeout: timeout?,
            connections: connections?,
            share: share?,
            era: era?,
            required: required?,
        })
    }

    /// The value, or `None` and a problem at the entry.
    pub(super) fn kept<T>(&mut self, entry: &Entry, value: Result<T, Expected>) -> Option<T> {
        value
            .map_err(|expected| self.unfit(&entry.key, &entry.node, expected))
            .ok()
    }

    fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        let text = self.scalar(&entry.key, &entry.node, Takes::Boolean)?;
        self.kept(entry, words::boolean(&text))
    }

    pub(super) fn both(&mut self, one: &Entry, other: &Entry) {
        let fault = Fault::Both(one.key.clone(), other.key.clone());
        let later = one.key_span.max(other.key_span);
        self.problem(later, fault).expected = Some("one of the two".into());
    }

    fn enabled(&mut self, fields: &Fields<'_>) -> Option<bool> {
        match (fields.find("enabled"), fields.find("disabled")) {
            (Some(enabled), Some(disabled)) => {
                self.both(enabled, disabled);
                None
            }
            (Some(entry), None) => self.boolean(entry),
            (None, Some(entry)) => self.boolean(entry).map(|disabled| !disabled),
            (None, None) => Some(true),
        }
    }

    fn timeout(&mut self, fields: &Fields<'_>) -> Option<Duration> {
        let (entry, unit) = match (fields.find("timeout"), fields.find("timeout_ms")) {
            (Some(one), Some(other)) => {
                self.both(one, other);
                return None;
            }
            (Some(entry), None) => (entry, Unit::Seconds),
            (None, Some(entry)) => (entry, Unit::Milliseconds),
            (None, None) => return Some(SERVER_TIMEOUT),
        };
        let takes = match unit {
            Unit::Seconds => Takes::TextOrNumber,
            Unit::Milliseconds => Takes::Number,
        };
        let text = self.scalar(&entry.key, &entry.node, takes)?;
        let length = words::duration(&text, unit, EXCHANGE_TIMEOUT_MAX);
        let length = self.kept(entry, length)?;
        if length.is_zero() {
            self.unfit(&entry.key, &entry.node, Expected::new("more than nothing"));
            return None;
        }
        Some(length)
    }

    fn transport(&mut self, at: Span, fields: &Fields<'_>) -> Option<Transport> {
        let (command, url) = (fields.find("command"), fields.find("url"));
        let said = match fields.find("transport") {
            Some(entry) => Some(self.kind(entry)?),
            None => None,
        };
        if command.is_none() && url.is_none() && fields.misspells(&["command", "url", "args"]) {
            return None;
        }
        match (command, url, said) {
            (Some(command), Some(url), _) => {
                self.both(command, url);
                None
            }
            (Some(entry), None, None | Some(Kind::Stdio)) => {
                self.misplaced(fields, &["headers", "auth"], "a server with a command");
                self.command(entry, fields).map(Transport::Stdio)
            }
            (None, Some(entry), None | Some(Kind::Http | Kind::Sse)) => {
                self.misplaced(fields, &["args", "env", "cwd"], "a server with a URL");
                let mut http = self.http(entry, fields)?;
                if said == Some(Kind::Sse) {
                    http.speaks = Speaks::Sse;
                }
                Some(Transport::Http(http))
            }
            (None, _, Some(Kind::Stdio)) => self.missing(
                at,
                "command",
                "a program to run, as transport \"stdio\" says",
            ),
            (_, None, Some(Kind::Http | Kind::Sse)) => self.missing(
                at,
                "url",
                "an http:// or https:// URL, as transport \"http\" or \"sse\" says",
            ),
            (None, None, None) => self.missing(
                at,
                "command or url",
                "\"command\" for a program, \"url\" for a remote server",
            ),
        }
    }

    pub(super) fn missing<T>(&mut self, at: Span, what: &str, expected: &str) -> Option<T> {
        self.problem(at, Fault::Missing(what.into())).expected = Some(expected.into());
        None
    }

    /// Keys that belong to the other transport.
    fn misplaced(&mut self, fields: &Fields<'_>, keys: &[&str], of: &str) {
        for key in keys {
            let Some(entry) = fields.find(key) else {
                continue;
            };
            // Programs that write client files put in the empty ones, too.
            let is_empty = match &entry.node.value {
                Value::List(items) => items.is_empty(),
                Value::Map(entries) => entries.is_empty(),
                _ => false,
            };
            if !is_empty {
                let fault = Fault::Fact(format!("{key:?} has no meaning for {of}"));
                self.problem(entry.key_span, fault).hint = Some("take it out".into());
            }
        }
    }

    fn kind(&mut self, entry: &Entry) -> Option<Kind> {
        let (text, _) = self.text(entry)?;
        match text.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "stdio" => Some(Kind::Stdio),
            "http" | "streamablehttp" => Some(Kind::Http),
            "sse" | "httpsse" => Some(Kind::Sse),
            _ => {
                let mut expected = Expected::new("\"stdio\", \"http\" or \"sse\"");
                expected.hint = nearest(&text, ["stdio", "http", "streamable-http", "sse"])
                    .map(|near| format!("did you mean {near:?}?"));
                self.unfit(&entry.key, &entry.node, expected);
                None
            }
        }
    }

    fn tools(&mut self, fields: &Fields<'_>) -> Option<Filter> {
        let mut filter = self.filter(fields.find("tools"))?;
        for (name, list) in [
            ("include_tools", &mut filter.allow),
            ("exclude_tools", &mut filter.deny),
        ] {
            let Some(entry) = fields.find(name) else {
                continue;
            };
            match fields.find("tools") {
                Some(tools) => self.both(tools, entry),
                None => *list = self.globs(&entry.key, &entry.node)?,
            }
        }
        Some(filter)
    }

    fn filter(&mut self, entry: Option<&Entry>) -> Option<Filter> {
        let Some(entry) = entry else {
            return Some(Filter::default());
        };
        if matches!(entry.node.value, Value::List(_)) {
            let allow = self.globs(&entry.key, &entry.node)?;
            if allow.is_empty() {
                let expected =
                    Expected::new("a table with \"allow\" and \"deny\", or a list of names")
                        .hinting("deny = [\"*\"] hides everything");
                self.unfit(&entry.key, &entry.node, expected);
                return None;
            }
            return Some(Filter {
                allow,
                deny: Vec::new(),
            });
        }
        let fields = self.fields(&entry.node, &schema::FILTER)?;
        let mut list = |name| match fields.find(name) {
            Some(entry) => self.globs(&entry.key, &entry.node),
            None => Some(Vec::new()),
        };
        let (allow, deny) = (list("allow"), list("deny"));
        if let (Some(entry), Some([])) = (fields.find("allow"), allow.as_deref()) {
            let expected = Expected::new("at least one name or pattern")
                .hinting("an empty list would allow everything; deny = [\"*\"] hides everything");
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        }
        Some(Filter {
            allow: allow?,
            deny: deny?,
        })
    }

    fn globs(&mut self, key: &str, node: &Node) -> Option<Vec<Glob>> {
        let texts = self.texts(key, node)?;
        for (text, span) in &texts {
            if text.is_empty() {
                self.unfit_at(
                    key,
                    *span,
                    Expected::new("a name, or a pattern with * and ?"),
                );
                return None;
            }
        }
        Some(texts.into_iter().map(|(text, _)| Glob(text)).collect())
    }

    fn rename(&mut self, entry: &Entry) -> Option<BTreeMap<String, String>> {
        let Value::Map(entries) = &entry.node.value else {
            let expected = Expected::new("a table from a server's names to those to show");
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        };
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        let mut complete = true;
        for entry in entries {
            let Some((shown, span)) = self.text(entry) else {
                complete = false;
                continue;
            };
            let fits = (1..=NAME_BYTES_MAX).contains(&shown.len())
                && shown
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            if !fits {
                let what = format!(
                    "1 to {NAME_BYTES_MAX} of the characters A-Z, a-z, 0-9, '_', '-' and '.'"
                );
                self.unfit(&entry.key, &entry.node, Expected::new(what));
                complete = false;
            } else if renamed.values().any(|known| *known == shown) {
                let fault = Fault::Fact(format!("two names become {shown:?}"));
                self.problem(span, fault).expected = Some("a name of its own for each".into());
                complete = false;
            }
            renamed.insert(entry.key.clone(), shown);
        }
        complete.then_some(renamed)
    }
}

/// The first line of a stretch: enough to point at a table that has no name.
fn first_line(span: Span, text: &str) -> Span {
    let length = text.find('\n').unwrap_or(text.len());
    Span {
        start: span.start,
        end: span.start + length,
    }
}
