//! A configuration file, read: its settings as a [`Draft`], its servers, and all that is wrong.
//!
//! [`parse`] is a function of its arguments, never panics, and never stops at the first problem. It
//! accepts the shapes people already have: the `mcpServers` map of most clients, VS Code's `servers`
//! map, and a `servers` list.

use super::Server;
use super::draft::{Draft, Setting, Takes};
use super::expand;
use super::node::{Entry, Node, Span, Value};
use super::problem::{Fault, Place, Problem, nearest};
use super::resolve::Note;
use super::schema::{self, Section};
use super::server;
use super::source::Source;
use super::surroundings::Surroundings;
use super::syntax::Syntax;
use super::words::Expected;
use std::sync::Arc;

/// Characters of a value that a message repeats.
const FOUND_CHARS_MAX: usize = 60;

/// What a file says.
#[derive(Debug, Default)]
pub struct Reading {
    /// The settings that could be read.
    pub draft: Draft,
    /// The servers that could be read.
    pub servers: Vec<Arc<Server>>,
    /// What is wrong, in the order of the file. Empty: the rest is complete.
    pub problems: Vec<Problem>,
    /// What the operator should know although nothing is wrong.
    pub notes: Vec<Note>,
}

/// Reads the text of a configuration file.
pub fn parse(text: &str, syntax: Syntax, around: &dyn Surroundings) -> Reading {
    let source = Source::new(text, syntax);
    let root = match syntax.read(text) {
        Ok(root) => root,
        Err(faults) => {
            let problems = faults
                .into_iter()
                .map(|fault| Problem {
                    place: Place::Text(source.excerpt(fault.span)),
                    fault: Fault::Syntax(fault.message),
                    expected: fault.expected,
                    hint: Some(syntax.reminder().into()),
                })
                .collect();
            return Reading {
                problems,
                ..Reading::default()
            };
        }
    };
    let source = source.with_tree(&root);
    let mut reader = Reader {
        source: &source,
        around,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let mut draft = Draft::default();
    let servers = reader.root(&root, &mut draft);
    reader.problems.sort_by_key(|(span, _)| *span);
    Reading {
        draft,
        servers: servers.into_iter().map(Arc::new).collect(),
        problems: reader
            .problems
            .into_iter()
            .map(|(_, problem)| problem)
            .collect(),
        notes: reader.notes,
    }
}

/// Reads a tree, keeping what is wrong.
pub(super) struct Reader<'r> {
    pub(super) source: &'r Source<'r>,
    around: &'r dyn Surroundings,
    problems: Vec<(Span, Problem)>,
    pub(super) notes: Vec<Note>,
}

/// The entries of one table by the names of their keys.
pub(super) struct Fields<'n> {
    found: Vec<(&'static str, &'n Entry)>,
    /// What unknown keys were probably meant to be.
    misspelt: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(super) fn find(&self, name: &str) -> Option<&'n Entry> {
        self.found
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, entry)| *entry)
    }

    /// Whether an unknown key was probably meant to be one of these.
    pub(super) fn misspells(&self, names: &[&str]) -> bool {
        self.misspelt.iter().any(|meant| names.contains(meant))
    }
}

impl Reader<'_> {
    fn root(&mut self, root: &Node, draft: &mut Draft) -> Vec<Server> {
        let Some(fields) = self.fields(root, &schema::ROOT) else {
            return Vec::new();
        };
        let mut servers = server::Names::default();
        for (name, entry) in &fields.found {
            match *name {
                "auth" => self.section(entry, &schema::AUTH, "auth.", draft),
                "log" => self.section(entry, &schema::LOG, "log.", draft),
                "metrics" => self.section(entry, &schema::METRICS, "metrics.", draft),
                "proxy" => self.section(entry, &schema::PROXY, "", draft),
                "servers" | "mcpServers" => self.servers(entry, &mut servers),
                "version" => self.version(entry),
                "$schema" => {}
                "api_keys" => self.setting(Setting::Keys, entry, draft),
                "api_keys_env" | "api_keys_file" => self.keys_elsewhere(name, entry, draft),
                path => match Setting::at(path) {
                    Some(setting) => self.setting(setting, entry, draft),
                    None => unreachable!("the schema's root reads only what is matched here"),
                },
            }
        }
        servers.into_list()
    }

    fn section(&mut self, entry: &Entry, section: &Section, prefix: &str, draft: &mut Draft) {
        let Some(fields) = self.fields(&entry.node, section) else {
            return;
        };
        for (name, entry) in &fields.found {
            match (*name, Setting::at(&format!("{prefix}{name}"))) {
                (_, Some(setting)) => self.setting(setting, entry, draft),
                ("keys_env" | "keys_file", _) => self.keys_elsewhere(name, entry, draft),
                ("path", _) => {
                    if let Some((text, _)) = self.text(entry)
                        && text != "/metrics"
                    {
                        self.unfit(
                            &entry.key,
                            &entry.node,
                            Expected::new("\"/metrics\", the only path"),
                        );
                    }
                }
                _ => unreachable!("the schema's sections read only what is matched here"),
            }
        }
    }

    /// The version of the schema, which so far is the first.
    fn version(&mut self, entry: &Entry) {
        let version = match &entry.node.value {
            Value::Text(text) | Value::Number(text) => text.as_str(),
            _ => "",
        };
        if !matches!(version, "1" | "1.0") {
            self.unfit(
                &entry.key,
                &entry.node,
                Expected::new("\"1.0\", the only version so far"),
            );
        }
    }

    fn servers(&mut self, entry: &Entry, servers: &mut server::Names) {
        match &entry.node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let name = (entry.key.as_str(), entry.key_span);
                    self.server(Some(name), &entry.node, servers);
                }
            }
            Value::List(items) => {
                for item in items {
                    self.server(None, item, servers);
                }
            }
            _ => {
                let expected = Expected::new("a table of servers by name, or a list of servers");
                self.unfit(&entry.key, &entry.node, expected);
            }
        }
    }

    /// Makes a setting from its entry.
    fn setting(&mut self, setting: Setting, entry: &Entry, draft: &mut Draft) {
        if let Some(Place::Text(at)) = draft.place(setting) {
            let first = at.line;
            let fault = Fault::Repeated {
                key: setting.path().into(),
                line: first,
            };
            self.problem(entry.key_span, fault).expected = Some("one of the two".into());
            return;
        }
        let node = &entry.node;
        let texts: Vec<(String, Span)> = match setting.takes() {
            Takes::Texts => match self.texts(&entry.key, node) {
                Some(texts) => texts,
                None => return,
            },
            takes => match self.scalar(&entry.key, node, takes) {
                Some(text) => vec![(text, node.span)],
                None => return,
            },
        };
        if texts.is_empty() && setting == Setting::Listen {
            self.unfit(&entry.key, node, Expected::new("at least one address"));
            return;
        }
        let values: Vec<String> = texts.iter().map(|(text, _)| text.clone()).collect();
        let place = Place::Text(self.source.excerpt(node.span));
        if let Err(unfit) = draft.set(setting, &values, place) {
            for (index, expected) in unfit {
                let span = texts.get(index).map_or(node.span, |(_, span)| *span);
                self.unfit_at(&entry.key, span, expected);
            }
        }
    }

    /// Keys from a variable or a file that the entry names, separated by commas or lines.
    fn keys_elsewhere(&mut self, name: &str, entry: &Entry, draft: &mut Draft) {
        if let Some(Place::Text(at)) = draft.place(Setting::Keys) {
            let fault = Fault::Repeated {
                key: "auth.keys".into(),
                line: at.line,
            };
            self.problem(entry.key_span, fault).expected = Some("one of the two".into());
            return;
        }
        let Some(text) = self.elsewhere(name, entry) else {
            return;
        };
        let place = Place::Text(self.source.excerpt(entry.node.span));
        let keys = super::env::separate(&text);
        if keys.is_empty() {
            self.problem(entry.node.span, Fault::Fact("no key stands there".into()));
        } else if let Err(unfit) = draft.set(Setting::Keys, &keys, place) {
            for (_, expected) in unfit {
                self.unfit_at(&entry.key, entry.node.span, expected);
            }
        }
    }

    /// The text that a key ending in `_env` or `_file` points at.
    pub(super) fn elsewhere(&mut self, name: &str, entry: &Entry) -> Option<String> {
        let (pointer, span) = self.text(entry)?;
        let is_variable = name.ends_with("_env");
        let read = match is_variable {
            true => expand::variable(&pointer, self.around).transpose(),
            false => Some(expand::file(&pointer, self.around)),
        };
        let hint = match is_variable {
            true => "the key wants the name of a variable that is set, not the secret itself",
            false => "the key wants the path of a file, not the secret itself",
        };
        // Who took the key for one of the secret itself must not find it in a log.
        let fact = match (read, is_variable) {
            (Some(Ok(text)), _) => return Some(text),
            (_, true) if !pointer.chars().all(is_of_variable) => "there is no such variable".into(),
            (_, false) if !pointer.contains(['/', '.']) => "there is no such file".into(),
            (Some(Err((reason, _))), _) => reason,
            (None, _) => format!("variable {pointer} is not set"),
        };
        self.problem(span, Fault::Placeholder(fact)).hint = Some(hint.into());
        None
    }

    /// The entries of a table, every key of which the section knows.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, section: &Section) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            let fault = Fault::Fact(format!("{} is {}", section.name, node.value.kind()));
            self.problem(node.span, fault).expected = Some("a table".into());
            return None;
        };
        let mut fields: Vec<(&'static str, &Entry)> = Vec::new();
        let mut misspelt = Vec::new();
        for entry in entries {
            let key = entry.key.as_str();
            if let Some(name) = section.find(key) {
                match fields.iter().find(|(known, _)| *known == name) {
                    Some((_, first)) => {
                        let fault = Fault::Both(first.key.clone(), key.into());
                        let problem = self.problem(entry.key_span, fault);
                        problem.hint = Some("they are two spellings of one key".into());
                    }
                    None => fields.push((name, entry)),
                }
            } else if section.later.contains(&key) {
                let problem = self.problem(entry.key_span, Fault::NotYet(key.into()));
                problem.hint = Some("take it out; it would have no effect".into());
            } else if section.passed_over.contains(&key) || is_extension(key, section) {
                let place = Place::Text(self.source.excerpt(entry.key_span));
                self.notes.push(Note::PassedOver {
                    key: key.into(),
                    place,
                });
            } else {
                misspelt.extend(self.unknown(entry, section));
            }
        }
        Some(Fields {
            found: fields,
            misspelt,
        })
    }

    /// Refuses a key; the one it was probably meant to be, if any.
    fn unknown(&mut self, entry: &Entry, section: &Section) -> Option<&'static str> {
        let near = nearest(&entry.key, section.spellings());
        let known: Vec<&str> = section.read.iter().map(|field| field.name).collect();
        let hint = match near {
            Some(near) => Some(format!("did you mean {near:?}?")),
            None if std::ptr::eq(section, &schema::ROOT) => {
                Some("of a client's own settings only the table of servers belongs here".into())
            }
            None => None,
        };
        let problem = self.problem(entry.key_span, Fault::UnknownKey(entry.key.clone()));
        problem.expected = Some(format!("one of {}", known.join(", ")));
        problem.hint = hint;
        near.and_then(|near| section.find(near))
    }

    /// A problem at a place of the file; the caller may say more about it.
    pub(super) fn problem(&mut self, span: Span, fault: Fault) -> &mut Problem {
        let place = Place::Text(self.source.excerpt(span));
        self.problems.push((span, Problem::new(place, fault)));
        let (_, problem) = self.problems.last_mut().expect("one was just pushed");
        problem
    }

    /// A value that does not fit its key.
    pub(super) fn unfit(&mut self, key: &str, node: &Node, expected: Expected) {
        let found = match &node.value {
            Value::List(_) | Value::Map(_) | Value::Null => node.value.kind().to_string(),
            _ => self.found(node.span),
        };
        let problem = self.problem(
            node.span,
            Fault::Unfit {
                key: key.into(),
                found,
            },
        );
        problem.expected = Some(expected.what);
        problem.hint = expected.hint;
    }

    pub(super) fn unfit_at(&mut self, key: &str, span: Span, expected: Expected) {
        let found = self.found(span);
        let problem = self.problem(
            span,
            Fault::Unfit {
                key: key.into(),
                found,
            },
        );
        problem.expected = Some(expected.what);
        problem.hint = expected.hint;
    }

    /// A scalar as it is written, unless it could be a secret.
    fn found(&self, span: Span) -> String {
        if self.source.hides(span) {
            return String::new();
        }
        let text = self.source.slice(span).trim();
        if text.contains('\n') {
            return "text of several lines".into();
        }
        match text.char_indices().nth(FOUND_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.into(),
        }
    }

    /// The text of an entry with its placeholders filled.
    pub(super) fn text(&mut self, entry: &Entry) -> Option<(String, Span)> {
        let text = self.scalar(&entry.key, &entry.node, Takes::Text)?;
        Some((text, entry.node.span))
    }

    /// A scalar of the right kind, as text. Text with a placeholder is of every kind.
    pub(super) fn scalar(&mut self, key: &str, node: &Node, takes: Takes) -> Option<String> {
        let expected = match (takes, &node.value) {
            (_, Value::Text(text)) if expand::has_placeholder(text) => {
                return self.expanded(text, node.span);
            }
            (Takes::Text | Takes::TextOrNumber | Takes::Texts, Value::Text(text)) => {
                return Some(text.clone());
            }
            (Takes::Number | Takes::TextOrNumber | Takes::Texts, Value::Number(number)) => {
                return Some(number.replace('_', ""));
            }
            (Takes::Boolean, Value::Boolean(boolean)) => return Some(boolean.to_string()),
            (Takes::Text | Takes::Texts, _) => "a string",
            (Takes::TextOrNumber, _) => "a string or a number",
            (Takes::Number, _) => "a number",
            (Takes::Boolean, _) => "true or false",
        };
        let mut expected = Expected::new(expected);
        match (&node.value, takes) {
            (Value::Text(text), Takes::Boolean) if matches!(text.as_str(), "true" | "false") => {
                expected.hint = Some("without quotes".into());
            }
            (Value::Text(text), Takes::Number) if text.parse::<i64>().is_ok() => {
                expected.hint = Some("without quotes".into());
            }
            (Value::Number(_) | Value::Boolean(_) | Value::Date(_), Takes::Text | Takes::Texts) => {
                expected.hint = Some("in quotes".into());
            }
            (Value::Null, _) => expected.hint = Some("leave the key out for its default".into()),
            _ => {}
        }
        self.unfit(key, node, expected);
        None
    }

    /// One text, or a list of them, each with its place.
    pub(super) fn texts(&mut self, key: &str, node: &Node) -> Option<Vec<(String, Span)>> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Text(_) | Value::Number(_) => std::slice::from_ref(node),
            _ => {
                self.unfit(key, node, Expected::new("a string or a list of strings"));
                return None;
            }
        };
        let texts: Vec<Option<(String, Span)>> = items
            .iter()
            .map(|item| Some((self.scalar(key, item, Takes::Texts)?, item.span)))
            .collect();
        texts.into_iter().collect()
    }

    /// Fills the placeholders of a text; each that cannot be filled is a problem at its place.
    fn expanded(&mut self, text: &str, span: Span) -> Option<String> {
        let unfilled = match expand::expand(text, self.around) {
            Ok(text) => return Some(text),
            Err(unfilled) => unfilled,
        };
        // Escapes may stand before a placeholder, so its place is looked up in the source.
        let mut from = 0;
        for one in unfilled {
            let written = &self.source.slice(span)[from..];
            let at = match written.find(&one.placeholder) {
                Some(at) => {
                    let start = span.start + from + at;
                    from += at + one.placeholder.len();
                    Span {
                        start,
                        end: start + one.placeholder.len(),
                    }
                }
                None => span,
            };
            self.problem(at, Fault::Placeholder(one.reason)).hint = one.hint;
        }
        None
    }
}

/// A character of a variable's name as they are mostly written; secrets mostly have others, too.
fn is_of_variable(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

/// Keys that hold anchors for the rest of a YAML file, as in compose files.
fn is_extension(key: &str, section: &Section) -> bool {
    key.starts_with("x-") && std::ptr::eq(section, &schema::ROOT)
}
