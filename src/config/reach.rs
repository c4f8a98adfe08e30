//! How a server is reached, from its keys: a command with its environment, or a URL with headers.

use super::draft::Takes;
use super::file::{Fields, Reader};
use super::node::{Entry, Value};
use super::problem::Fault;
use super::schema;
use super::words::Expected;
use super::{Command, Http, Speaks, url};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Headers that frame or route a message, or belong to the protocol: they are ours to set.
const RESERVED_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The same for every header whose name begins so: they repeat what stands in the arguments of a call.
const RESERVED_PREFIX: &str = "mcp-param-";

impl Reader<'_> {
    pub(super) fn command(&mut self, entry: &Entry, fields: &Fields<'_>) -> Option<Command> {
        let expected = || Expected::new("a program, or a list of a program and its arguments");
        if !matches!(entry.node.value, Value::Text(_) | Value::List(_)) {
            self.unfit(&entry.key, &entry.node, expected());
            return None;
        }
        let words = self.texts(&entry.key, &entry.node);
        let args = fields.find("args").map(|entry| match &entry.node.value {
            Value::List(_) => self.texts(&entry.key, &entry.node),
            _ => {
                self.unfit(&entry.key, &entry.node, Expected::new("a list of strings"));
                None
            }
        });
        let env = fields
            .find("env")
            .map_or(Some(BTreeMap::new()), |entry| self.env(entry));
        let cwd = fields.find("cwd").map(|entry| self.text(entry));

        let mut words = words?.into_iter();
        let Some((program, _)) = words
            .next()
            .filter(|(program, _)| !program.trim().is_empty())
        else {
            self.unfit(&entry.key, &entry.node, expected());
            return None;
        };
        let is_line = matches!(entry.node.value, Value::Text(_))
            && program.split_whitespace().count() > 1
            && !program
                .split_whitespace()
                .next()
                .unwrap_or("")
                .contains('/');
        if is_line {
            let expected = expected().hinting(
                "no shell takes it apart: write [\"program\", \"argument\"], or put the arguments in \"args\"",
            );
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        }
        let mut all: Vec<String> = words.map(|(word, _)| word).collect();
        if let Some(args) = args {
            all.extend(args?.into_iter().map(|(arg, _)| arg));
        }
        if program.contains('\0') || all.iter().any(|arg| arg.contains('\0')) {
            self.unfit(
                &entry.key,
                &entry.node,
                Expected::new("arguments without NUL"),
            );
            return None;
        }
        let cwd = match cwd {
            Some(cwd) => Some(PathBuf::from(cwd?.0)),
            None => None,
        };
        Some(Command {
            program,
            args: all,
            env: env?,
            cwd,
        })
    }

    fn env(&mut self, entry: &Entry) -> Option<BTreeMap<String, Secret<String>>> {
        let Value::Map(entries) = &entry.node.value else {
            let expected = Expected::new("a table of variables");
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        };
        let mut variables = Some(BTreeMap::new());
        for entry in entries {
            let value = self.variable(entry);
            match (&mut variables, value) {
                (Some(variables), Some(value)) => {
                    variables.insert(entry.key.clone(), Secret::new(value));
                }
                _ => variables = None,
            }
        }
        variables
    }

    fn variable(&mut self, entry: &Entry) -> Option<String> {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let fault = Fault::Fact(format!("{:?} cannot be the name of a variable", entry.key));
            self.problem(entry.key_span, fault).expected = Some("a name without '='".into());
            return None;
        }
        let value = match &entry.node.value {
            // As they are written: `1.10` must not become `1.1`.
            Value::Number(number) => number.clone(),
            Value::Boolean(_) => self.source.slice(entry.node.span).to_string(),
            _ => self.scalar(&entry.key, &entry.node, Takes::Text)?,
        };
        if value.contains('\0') {
            self.unfit(
                &entry.key,
                &entry.node,
                Expected::new("a value without NUL"),
            );
            return None;
        }
        Some(value)
    }

    pub(super) fn http(&mut self, entry: &Entry, fields: &Fields<'_>) -> Option<Http> {
        let parsed = match self.text(entry) {
            Some((text, _)) => self.kept(entry, url::parse(&text)),
            None => None,
        };
        let mut headers = fields
            .find("headers")
            .map_or(Some(Vec::new()), |e| self.headers(e));
        if let Some(auth) = fields.find("auth") {
            let taken = headers
                .as_ref()
                .is_some_and(|headers| headers.iter().any(|(name, _)| name == "authorization"));
            if taken {
                let fault = Fault::Both("auth".into(), "authorization".into());
                self.problem(auth.key_span, fault).expected = Some("one of the two".into());
                headers = None;
            }
            match (&mut headers, self.bearer(auth)) {
                (Some(headers), Some(bearer)) => headers.push(("authorization".into(), bearer)),
                _ => headers = None,
            }
        }
        let (parsed, headers) = (parsed?, headers?);
        Some(Http {
            scheme: parsed.scheme,
            host: parsed.host,
            port: parsed.port,
            path: parsed.path,
            headers,
            speaks: Speaks::Streamable,
        })
    }

    fn headers(&mut self, entry: &Entry) -> Option<Vec<(String, Secret<String>)>> {
        let Value::Map(entries) = &entry.node.value else {
            self.unfit(
                &entry.key,
                &entry.node,
                Expected::new("a table of header fields"),
            );
            return None;
        };
        let mut headers: Option<Vec<(String, Secret<String>)>> = Some(Vec::new());
        for entry in entries {
            let name = entry.key.to_ascii_lowercase();
            let known = headers.iter().flatten().any(|(known, _)| *known == name);
            let fault = if name.is_empty() || !name.bytes().all(is_token) {
                Some("cannot be the name of a header field")
            } else if RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with(RESERVED_PREFIX)
            {
                Some("is set by the gateway itself")
            } else if known {
                Some("is there twice, case apart")
            } else {
                None
            };
            if let Some(fault) = fault {
                let fault = Fault::Fact(format!("{:?} {fault}", entry.key));
                self.problem(entry.key_span, fault).expected =
                    Some("a header field of its own name, such as Authorization".into());
                headers = None;
                continue;
            }
            let value = self.header_value(entry);
            match (&mut headers, value) {
                (Some(headers), Some(value)) => headers.push((name, value)),
                _ => headers = None,
            }
        }
        headers
    }

    fn header_value(&mut self, entry: &Entry) -> Option<Secret<String>> {
        let value = match &entry.node.value {
            Value::Number(number) => number.clone(),
            _ => self.scalar(&entry.key, &entry.node, Takes::Text)?,
        };
        self.clean(&value, entry)
    }

    fn clean(&mut self, value: &str, entry: &Entry) -> Option<Secret<String>> {
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let expected = Expected::new("a header value without control characters");
            self.unfit(&entry.key, &entry.node, expected);
            return None;
        }
        Some(Secret::new(value.to_string()))
    }

    /// `auth = { type = "bearer", token = … }`, as a header.
    fn bearer(&mut self, entry: &Entry) -> Option<Secret<String>> {
        let fields = self.fields(&entry.node, &schema::SERVER_AUTH)?;
        if let Some(kind) = fields.find("type") {
            let (text, _) = self.text(kind)?;
            if !text.eq_ignore_ascii_case("bearer") {
                self.unfit(&kind.key, &kind.node, Expected::new("\"bearer\""));
                return None;
            }
        }
        let pointers = ["token", "token_env", "token_file"];
        let mut given = pointers
            .iter()
            .filter_map(|name| fields.find(name).map(|e| (*name, e)));
        let Some((name, token)) = given.next() else {
            return self.missing(
                entry.key_span,
                "token",
                "\"token\", \"token_env\" or \"token_file\"",
            );
        };
        if let Some((_, other)) = given.next() {
            self.both(token, other);
            return None;
        }
        let text = match name {
            "token" => self.text(token)?.0,
            _ => self.elsewhere(name, token)?,
        };
        self.clean(&format!("Bearer {}", text.trim()), token)
    }
}

/// A character of a header's name. RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
