//! What a client, a server, or all servers together say they can do.

use super::Era;
use super::revision::Revision;
use crate::jsonrpc::canonical;
use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use std::sync::Arc;

/// A client's capabilities, in a form in which equal ones are equal texts.
///
/// A server is told exactly what the client declared, except `tasks`: their ids are not mapped here, so
/// they must not be promised. Nor is what the client's revision does not know: it could not be asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCapabilities {
    text: Arc<str>,
    sampling: bool,
    elicitation: bool,
    roots: bool,
}

impl ClientCapabilities {
    /// Those of a client that declared nothing.
    pub fn none() -> ClientCapabilities {
        ClientCapabilities {
            text: "{}".into(),
            sampling: false,
            elicitation: false,
            roots: false,
        }
    }

    /// Takes over the object at `span` of a message that was checked before, from a client of that revision;
    /// `None` if it is none.
    pub fn parse(revision: Revision, text: &[u8], span: Span) -> Option<ClientCapabilities> {
        if text[span.start] != b'{' {
            return None;
        }
        let unknown: &[&str] = match revision.has_elicitation() {
            true => &["tasks"],
            false => &["tasks", "elicitation"],
        };
        let mut own = Vec::with_capacity(span.of(text).len());
        canonical::write(&mut own, text, span, unknown);
        if !revision.has_elicitation_modes() {
            own = with_forms_only(&own).unwrap_or(own);
        }
        let mut capabilities = ClientCapabilities::none();
        let whole = Span {
            start: 0,
            end: own.len(),
        };
        for (key, _) in parse::members(&own, whole) {
            capabilities.sampling |= key.is("sampling");
            capabilities.elicitation |= key.is("elicitation");
            capabilities.roots |= key.is("roots");
        }
        capabilities.text = String::from_utf8(own).ok()?.into();
        Some(capabilities)
    }

    /// The object as JSON, in the form of [`canonical`].
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether a server may ask this client anything: sampling, elicitation or roots.
    pub fn may_be_asked(&self) -> bool {
        self.sampling || self.elicitation || self.roots
    }

    /// Whether the client has roots: state that a server keeps for it.
    pub fn has_roots(&self) -> bool {
        self.roots
    }
}

/// Without modes that the revision does not know: there forms are the only one. `None` if nothing changes.
fn with_forms_only(declared: &[u8]) -> Option<Vec<u8>> {
    let mut edits = Edits::new(declared);
    let whole = edits.whole();
    edits.members(whole, |edits, key, value| {
        if key.is("elicitation") {
            edits.members(value, |_, mode, _| match mode.is("url") {
                true => Fate::Drop,
                false => Fate::Keep,
            });
        }
        Fate::Keep
    });
    edits.finish()
}

/// What a server offers; for several, their union.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCapabilities {
    /// It has tools.
    pub tools: bool,
    /// It has prompts.
    pub prompts: bool,
    /// It has resources.
    pub resources: bool,
    /// Clients may subscribe to its resources.
    pub subscribe: bool,
    /// It completes arguments.
    pub completions: bool,
    /// It logs to clients.
    pub logging: bool,
    /// Calls of its tools may become tasks of 2025-11-25, which may be cancelled.
    pub tasks: bool,
    /// The same by the extension of the modern era.
    pub tasks_extension: bool,
    /// It has user interfaces (MCP Apps).
    pub apps: bool,
}

/// The extension by which a call may become a task.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The extension by which a tool may have a user interface.
pub const APPS: &str = "io.modelcontextprotocol/ui";

/// What a client must declare to see tasks of the modern era.
pub const TASKS_DECLARED: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;

impl ServerCapabilities {
    /// What is promised while a server has not said yet what it offers.
    pub const EVERYTHING: ServerCapabilities = ServerCapabilities {
        tools: true,
        prompts: true,
        resources: true,
        subscribe: true,
        completions: true,
        logging: true,
        tasks: true,
        tasks_extension: true,
        apps: true,
    };

    /// Reads the object at `span` of a message that was checked before.
    pub fn parse(text: &[u8], span: Span) -> ServerCapabilities {
        let has = |name| parse::member(text, span, name).is_some_and(|v| text[v.start] == b'{');
        let subscribe = parse::member(text, span, "resources")
            .and_then(|resources| parse::member(text, resources, "subscribe"))
            .is_some_and(|value| value.of(text) == b"true");
        let within = |path: &[&str]| {
            let step = |at, name: &&str| parse::member(text, at, name);
            path.iter().try_fold(span, step).is_some()
        };
        ServerCapabilities {
            tools: has("tools"),
            prompts: has("prompts"),
            resources: has("resources"),
            subscribe,
            completions: has("completions"),
            logging: has("logging"),
            tasks: within(&["tasks", "requests", "tools", "call"]),
            tasks_extension: within(&["extensions", TASKS]),
            apps: within(&["extensions", APPS]),
        }
    }

    /// What either offers.
    pub fn union(self, other: ServerCapabilities) -> ServerCapabilities {
        ServerCapabilities {
            tools: self.tools || other.tools,
            prompts: self.prompts || other.prompts,
            resources: self.resources || other.resources,
            subscribe: self.subscribe || other.subscribe,
            completions: self.completions || other.completions,
            logging: self.logging || other.logging,
            tasks: self.tasks || other.tasks,
            tasks_extension: self.tasks_extension || other.tasks_extension,
            apps: self.apps || other.apps,
        }
    }

    /// As the object that clients of that revision are shown. Lists always may change, since servers come and go.
    ///
    /// Tasks are shown in the form of their era, and without the list of all of them: what was asked for in
    /// one session is not shown in another.
    pub fn to_json(self, revision: Revision) -> String {
        let mut members = Vec::new();
        if self.tools {
            members.push(r#""tools":{"listChanged":true}"#);
        }
        if self.prompts {
            members.push(r#""prompts":{"listChanged":true}"#);
        }
        if self.resources {
            members.push(if self.subscribe {
                r#""resources":{"subscribe":true,"listChanged":true}"#
            } else {
                r#""resources":{"listChanged":true}"#
            });
        }
        if self.completions {
            members.push(r#""completions":{}"#);
        }
        if self.logging {
            members.push(r#""logging":{}"#);
        }
        if self.tasks && revision.has_tasks() {
            members.push(r#""tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}"#);
        }
        let tasks = self.tasks_extension && revision.era() == Era::Modern;
        let extensions: Vec<String> = [(tasks, TASKS), (self.apps, APPS)]
            .iter()
            .filter(|(offered, _)| *offered)
            .map(|(_, name)| format!("\"{name}\":{{}}"))
            .collect();
        let extensions = format!("\"extensions\":{{{}}}", extensions.join(","));
        if tasks || self.apps {
            members.push(&extensions);
        }
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(json: &str) -> ClientCapabilities {
        let span = parse::check(json.as_bytes()).unwrap();
        ClientCapabilities::parse(Revision::LATEST, json.as_bytes(), span).unwrap()
    }

    #[test]
    fn what_a_revision_does_not_know_is_not_declared() {
        let check = |revision, declared: &str, expected: &str| {
            let span = parse::check(declared.as_bytes()).unwrap();
            let own = ClientCapabilities::parse(revision, declared.as_bytes(), span).unwrap();
            assert_eq!(&**own.text(), expected, "{revision:?}");
        };
        let all = r#"{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{}}"#;
        let early = r#"{"roots":{},"sampling":{}}"#;
        let forms = r#"{"elicitation":{"form":{}},"roots":{},"sampling":{}}"#;
        check(Revision::V2024_11_05, all, early);
        check(Revision::V2025_03_26, all, early);
        check(Revision::V2025_06_18, all, forms);
        check(Revision::V2025_11_25, all, all);
        check(Revision::MODERN, all, all);
        check(Revision::V2025_03_26, r#"{"elicitation":{}}"#, "{}");
    }

    #[test]
    fn equal_capabilities_are_equal_however_they_are_written() {
        let one = client(r#"{"sampling":{},"elicitation":{"url":{},"form":{}}}"#);
        let other = client(r#" {"elicitation" : {"form":{}, "url":{}}, "sampling":{}} "#);
        assert_eq!(one, other);
        assert_eq!(
            &**one.text(),
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{}}"#
        );
    }

    #[test]
    fn what_is_declared_keeps_its_value_whatever_it_is() {
        let check = |value: &str, expected: &str| {
            let of = |value: &str| format!(r#"{{"experimental":{{"x":{value}}}}}"#);
            assert_eq!(**client(&of(value)).text(), *of(expected));
        };
        check("9007199254740993", "9007199254740993");
        check("123456789012345678901", "123456789012345678901e0");
        check("1e400", "1e400");
        check(r#""\ud800""#, r#""\ud800""#);
        let span = parse::check(b"[]").unwrap();
        assert!(ClientCapabilities::parse(Revision::LATEST, b"[]", span).is_none());
    }

    #[test]
    fn tasks_are_not_promised_to_servers() {
        assert_eq!(
            client(r#"{"tasks":{"list":{}}}"#),
            ClientCapabilities::none()
        );
    }

    #[test]
    fn who_may_be_asked_is_told_apart() {
        let check = |json, asked, roots| {
            let capabilities = client(json);
            assert_eq!(
                (capabilities.may_be_asked(), capabilities.has_roots()),
                (asked, roots),
                "{json}"
            );
        };
        check("{}", false, false);
        check(r#"{"experimental":{"x":{}}}"#, false, false);
        check(r#"{"sampling":{}}"#, true, false);
        check(r#"{"roots":{"listChanged":true}}"#, true, true);
    }

    #[test]
    fn tasks_are_shown_in_the_form_of_the_clients_era() {
        let all = ServerCapabilities::EVERYTHING;
        let check = |revision, tasks, tasks_extension| {
            let json = all.to_json(revision);
            let span = parse::check(json.as_bytes()).unwrap();
            let shown = ServerCapabilities {
                tasks,
                tasks_extension,
                ..all
            };
            assert_eq!(ServerCapabilities::parse(json.as_bytes(), span), shown);
        };
        check(Revision::V2025_06_18, false, false);
        check(Revision::LATEST, true, false);
        check(Revision::MODERN, false, true);
    }

    #[test]
    fn server_capabilities_survive_a_round_trip() {
        for capabilities in [
            ServerCapabilities {
                apps: true,
                tasks_extension: true,
                ..Default::default()
            },
            ServerCapabilities {
                tasks: false,
                ..ServerCapabilities::EVERYTHING
            },
            ServerCapabilities {
                tools: true,
                ..Default::default()
            },
        ] {
            let json = capabilities.to_json(Revision::MODERN);
            let span = parse::check(json.as_bytes()).unwrap();
            assert_eq!(
                ServerCapabilities::parse(json.as_bytes(), span),
                capabilities
            );
        }
    }
}
