//! What a client wants to hear of unasked, and the messages that carry it.
//!
//! A modern client says so in `subscriptions/listen`, and every message of that stream names the id of the
//! request that opened it (MCP 2026-07-28, basic/utilities/subscriptions). A legacy client hears of changed lists
//! without asking, and of resources that it subscribed to one by one; its messages name nothing.

use crate::config::limits::SUBSCRIPTIONS_MAX;
use crate::jsonrpc::edit::{Edits, Fate};
use crate::jsonrpc::parse::{self, Span};
use crate::jsonrpc::write;
use crate::mcp::capabilities::ServerCapabilities;
use crate::mcp::meta::{self, Fault};
use crate::mcp::method::Method;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Kinds of messages, as a client asks for them and as a server grants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// That the list of tools changed.
    pub tools: bool,
    /// That the list of prompts changed.
    pub prompts: bool,
    /// That the list of resources or templates changed.
    pub resources: bool,
    /// That one of these resources, or a part of one, changed.
    pub uris: Vec<String>,
    /// That one of these tasks got on (extension `io.modelcontextprotocol/tasks`).
    pub task_ids: Vec<String>,
}

impl Filter {
    /// Reads `notifications`, of a listen or of its acknowledgement, at this place of a message that was checked
    /// before. Kinds that are not known here are not granted, and so not read.
    ///
    /// # Errors
    /// The member that is of the wrong kind, or too long.
    pub fn parse(text: &[u8], notifications: Span) -> Result<Filter, Fault> {
        Filter::parse_lists(text, notifications, SUBSCRIPTIONS_MAX)
    }

    fn parse_lists(text: &[u8], notifications: Span, most: usize) -> Result<Filter, Fault> {
        if text[notifications.start] != b'{' {
            return Err(Fault::no_object("notifications"));
        }
        let mut filter = Filter::default();
        for (key, value) in parse::members(text, notifications) {
            if key.is("toolsListChanged") {
                filter.tools = boolean(text, value)
                    .ok_or(Fault::new("notifications.toolsListChanged", BOOLEAN))?;
            } else if key.is("promptsListChanged") {
                filter.prompts = boolean(text, value)
                    .ok_or(Fault::new("notifications.promptsListChanged", BOOLEAN))?;
            } else if key.is("resourcesListChanged") {
                filter.resources = boolean(text, value)
                    .ok_or(Fault::new("notifications.resourcesListChanged", BOOLEAN))?;
            } else if key.is("resourceSubscriptions") {
                filter.uris = strings(text, value, most)
                    .ok_or(Fault::new("notifications.resourceSubscriptions", STRINGS))?;
            } else if key.is("taskIds") {
                filter.task_ids = strings(text, value, most)
                    .ok_or(Fault::new("notifications.taskIds", STRINGS))?;
            }
        }
        Ok(filter)
    }

    /// As the object that is sent; what is not wanted is not mentioned.
    pub fn to_json(&self) -> Vec<u8> {
        let mut members: Vec<Vec<u8>> = Vec::new();
        for (wanted, name) in [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ] {
            if wanted {
                members.push([&*write::quoted(name), b":true"].concat());
            }
        }
        for (list, name) in [
            (&self.uris, "resourceSubscriptions"),
            (&self.task_ids, "taskIds"),
        ] {
            if !list.is_empty() {
                let list: Vec<Vec<u8>> = list.iter().map(|text| write::quoted(text)).collect();
                let list = list.join(&b',');
                members.push([&*write::quoted(name), b":[", &list, b"]"].concat());
            }
        }
        [b"{", &*members.join(&b','), b"}"].concat()
    }

    /// The part of it that somebody with these capabilities can grant.
    ///
    /// Tasks are no capability of a server's own: who keeps them adds those that it knows.
    pub fn honoured(&self, capabilities: ServerCapabilities) -> Filter {
        Filter {
            tools: self.tools && capabilities.tools,
            prompts: self.prompts && capabilities.prompts,
            resources: self.resources && capabilities.resources,
            uris: if capabilities.subscribe {
                self.uris.clone()
            } else {
                Vec::new()
            },
            task_ids: Vec::new(),
        }
    }

    /// What either wants.
    pub fn union(mut self, other: &Filter) -> Filter {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend_from_slice(&other.uris);
        self.task_ids.extend_from_slice(&other.task_ids);
        once(&mut self.uris);
        once(&mut self.task_ids);
        self
    }

    /// How many resources and tasks it names.
    pub fn named(&self) -> usize {
        self.uris.len() + self.task_ids.len()
    }

    /// Whether it wants nothing.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether it wants this notification; `uri` is that of the resource, if it names one. A resource is also a part
    /// of those whose URI it begins with, up to a `/`.
    pub fn wants(&self, method: Method, uri: Option<&str>) -> bool {
        match method {
            Method::ToolsChanged => self.tools,
            Method::PromptsChanged => self.prompts,
            Method::ResourcesChanged => self.resources,
            Method::ResourceUpdated => uri.is_some_and(|uri| {
                self.uris.iter().any(|whole| {
                    uri.strip_prefix(whole.as_str()).is_some_and(|part| {
                        part.is_empty() || part.starts_with('/') || whole.ends_with('/')
                    })
                })
            }),
            _ => false,
        }
    }
}

const BOOLEAN: &str = "must be true or false";
const STRINGS: &str = "must be a list of at most 1024 strings";
const _: () = assert!(SUBSCRIPTIONS_MAX == 1024);

fn boolean(text: &[u8], span: Span) -> Option<bool> {
    match span.of(text) {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The list of at most so many strings at `span`, each once, in their order.
fn strings(text: &[u8], span: Span, most: usize) -> Option<Vec<String>> {
    if text[span.start] != b'[' || parse::elements(text, span).count() > most {
        return None;
    }
    let list: Option<Vec<String>> = parse::elements(text, span)
        .map(|element| parse::string(text, element).map(Cow::into_owned))
        .collect();
    let mut list = list?;
    once(&mut list);
    Some(list)
}

fn once(list: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    list.retain(|text| seen.insert(text.clone()));
}

/// The params of a listen that asks a modern server for `filter`; `own_meta` as of [`super::request::own_meta`].
pub fn listen_params(own_meta: &[u8], filter: &Filter) -> Vec<u8> {
    let filter = filter.to_json();
    [
        br#"{"_meta":{"#,
        own_meta,
        br#"},"notifications":"#,
        &filter,
        b"}",
    ]
    .concat()
}

/// The first message of a client's stream: what was granted of what it asked for. `id` is that of its request, as it
/// is written.
pub fn acknowledged(id: &[u8], filter: &Filter) -> Vec<u8> {
    let filter = filter.to_json();
    let tag = tag(id);
    let params = [
        br#"{"_meta":{"#,
        &*tag,
        br#"},"notifications":"#,
        &filter,
        b"}",
    ]
    .concat();
    let mut out = Vec::with_capacity(96 + params.len());
    write::notification(&mut out, Method::Acknowledged.name(), &params);
    out
}

/// What a server's acknowledgement with these `params` grants: nothing, unless it can be read. It answers what was
/// asked for several clients, so that it may be longer than what one asks for.
pub fn granted(text: &[u8], params: Option<Span>) -> Filter {
    let notifications = params.and_then(|params| parse::member(text, params, "notifications"));
    let granted = notifications.map(|span| Filter::parse_lists(text, span, usize::MAX));
    granted.and_then(Result::ok).unwrap_or_default()
}

/// The last message of a client's stream that ends because we end it: the response to its request. `server` is a
/// server's name and version as a JSON object.
pub fn ended(id: &[u8], server: &str) -> Vec<u8> {
    let info = [b",\"", meta::SERVER.as_bytes(), b"\":", server.as_bytes()].concat();
    let result = [
        br#"{"resultType":"complete","_meta":{"#,
        &*tag(id),
        &info,
        b"}}",
    ]
    .concat();
    let mut out = Vec::with_capacity(64 + result.len());
    write::result(&mut out, id, &result);
    out
}

/// The member of `_meta` that says which stream a message belongs to.
fn tag(id: &[u8]) -> Vec<u8> {
    [b"\"", meta::SUBSCRIPTION.as_bytes(), b"\":", id].concat()
}

/// A notification, of a server of either era, as one of the stream that the request with this id opened. The id is
/// written as it came: `1` is not `"1"`.
pub fn tagged(message: &[u8], id: &[u8]) -> Vec<u8> {
    let tag = tag(id);
    let mut edits = Edits::new(message);
    let whole = edits.whole();
    let mut has_params = false;
    let stay = edits.members(whole, |edits, key, params| {
        if !key.is("params") || message[params.start] != b'{' {
            return Fate::Keep;
        }
        has_params = true;
        let mut has_meta = false;
        let stay = edits.members(params, |edits, key, value| {
            if !key.is("_meta") {
                return Fate::Keep;
            }
            if message[value.start] != b'{' {
                return Fate::Drop;
            }
            has_meta = true;
            let stay = edits.members(value, |_, key, _| subscription_fate(key));
            edits.put_first(value, &[&tag], stay);
            Fate::Keep
        });
        if !has_meta {
            edits.put_first(params, &[br#""_meta":{"#, &tag, b"}"], stay);
        }
        Fate::Keep
    });
    if !has_params && stay > 0 {
        // Behind the others, where params stand.
        let end = Span {
            start: whole.end - 1,
            end: whole.end - 1,
        };
        let params = [br#","params":{"_meta":{"#, &*tag, b"}}"].concat();
        edits.replace(end, params);
    }
    edits.finished().into_owned()
}

/// A modern server's notification without the stream that it belongs to, as a legacy client gets it; `_meta` and
/// params that were there for nothing else are gone as well.
pub fn untagged(message: &[u8]) -> Cow<'_, [u8]> {
    let mut edits = Edits::new(message);
    let whole = edits.whole();
    edits.members(whole, |edits, key, params| {
        if !key.is("params") || message[params.start] != b'{' {
            return Fate::Keep;
        }
        let mut emptied = false;
        let stay = edits.members(params, |edits, key, value| {
            if !key.is("_meta") || message[value.start] != b'{' {
                return Fate::Keep;
            }
            let mut found = false;
            let stay = edits.members(value, |_, key, _| {
                let fate = subscription_fate(key);
                found |= fate == Fate::Drop;
                fate
            });
            if found && stay == 0 {
                emptied = true;
                return Fate::Drop;
            }
            Fate::Keep
        });
        if emptied && stay == 0 {
            Fate::Drop
        } else {
            Fate::Keep
        }
    });
    edits.finished()
}

fn subscription_fate<'a>(key: parse::Key<'a>) -> Fate<'a> {
    if key.is(meta::SUBSCRIPTION) {
        Fate::Drop
    } else {
        Fate::Keep
    }
}

/// The id, as it is written, of the stream that a notification with these params or a result belongs to.
pub fn subscription_id(text: &[u8], params: Option<Span>) -> Option<Span> {
    let meta = parse::member(text, params?, "_meta")?;
    parse::member(text, meta, meta::SUBSCRIPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<Filter, Fault> {
        Filter::parse(text.as_bytes(), parse::check(text.as_bytes()).unwrap())
    }

    fn check_text(text: impl AsRef<[u8]>, expected: &str) {
        parse::check(text.as_ref()).unwrap();
        assert_eq!(String::from_utf8_lossy(text.as_ref()), expected);
    }

    const ALL: &str = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:b","c\"d"],"taskIds":["t"]}"#;

    #[test]
    fn filter_survives_a_round_trip() {
        for text in [
            "{}",
            r#"{"promptsListChanged":true}"#,
            r#"{"taskIds":["t"]}"#,
            ALL,
        ] {
            check_text(filter(text).unwrap().to_json(), text);
        }
        let lax = r#"{"toolsListChanged":false,"later":7,"resourceSubscriptions":["b","a","b"]}"#;
        check_text(
            filter(lax).unwrap().to_json(),
            r#"{"resourceSubscriptions":["b","a"]}"#,
        );
        assert!(filter("{}").unwrap().is_empty() && !filter(ALL).unwrap().is_empty());
    }

    #[test]
    fn member_at_fault_is_named() {
        let check = |text: &str, member: &str| {
            let fact = filter(text).unwrap_err().to_string();
            assert!(fact.contains(member), "{text}: {fact}");
        };
        check("[]", "notifications must");
        check(r#"{"toolsListChanged":1}"#, "toolsListChanged");
        check(r#"{"promptsListChanged":"true"}"#, "promptsListChanged");
        check(r#"{"resourcesListChanged":null}"#, "resourcesListChanged");
        check(r#"{"resourceSubscriptions":"a"}"#, "resourceSubscriptions");
        check(
            r#"{"resourceSubscriptions":["a",1]}"#,
            "resourceSubscriptions",
        );
        check(r#"{"taskIds":{}}"#, "taskIds");
        let many = vec!["\"a\""; SUBSCRIPTIONS_MAX + 1].join(",");
        check(&format!(r#"{{"taskIds":[{many}]}}"#), "taskIds");
    }

    #[test]
    fn only_what_can_be_granted_is_honoured() {
        let check = |capabilities, expected: &str| {
            let honoured = filter(ALL).unwrap().honoured(capabilities);
            check_text(honoured.to_json(), expected);
        };
        let nothing = ServerCapabilities::default();
        check(nothing, "{}");
        check(
            ServerCapabilities {
                tools: true,
                ..nothing
            },
            r#"{"toolsListChanged":true}"#,
        );
        check(
            ServerCapabilities {
                resources: true,
                subscribe: true,
                prompts: true,
                ..nothing
            },
            r#"{"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:b","c\"d"]}"#,
        );
    }

    #[test]
    fn server_grants_what_its_acknowledgement_says() {
        let check = |params: &str, expected: &str| {
            let span = parse::check(params.as_bytes()).unwrap();
            check_text(granted(params.as_bytes(), Some(span)).to_json(), expected);
        };
        check(&format!(r#"{{"notifications":{ALL}}}"#), ALL);
        check(r#"{"notifications":{}}"#, "{}");
        check("{}", "{}");
        check(r#"{"notifications":null}"#, "{}");
        check(r#"{"notifications":{"resourceSubscriptions":"a"}}"#, "{}");
        assert_eq!(granted(b"", None), Filter::default());
        let many: Vec<String> = (0..2000).map(|n| format!("\"a:{n}\"")).collect();
        let many = format!(r#"{{"resourceSubscriptions":[{}]}}"#, many.join(","));
        check(&format!(r#"{{"notifications":{many}}}"#), &many);
    }

    #[test]
    fn union_wants_what_either_wants() {
        let check = |one: &str, other: &str, expected: &str| {
            check_text(
                filter(one)
                    .unwrap()
                    .union(&filter(other).unwrap())
                    .to_json(),
                expected,
            );
        };
        check("{}", ALL, ALL);
        check(ALL, "{}", ALL);
        check(
            r#"{"toolsListChanged":true,"resourceSubscriptions":["b"]}"#,
            r#"{"resourceSubscriptions":["a","b"]}"#,
            r#"{"toolsListChanged":true,"resourceSubscriptions":["b","a"]}"#,
        );
    }

    #[test]
    fn nothing_is_sent_that_was_not_asked_for() {
        let check = |text: &str, method, uri, expected| {
            assert_eq!(
                filter(text).unwrap().wants(method, uri),
                expected,
                "{text} {method:?} {uri:?}"
            );
        };
        for method in [
            Method::ToolsChanged,
            Method::PromptsChanged,
            Method::ResourcesChanged,
        ] {
            check(ALL, method, None, true);
            check("{}", method, None, false);
        }
        check(ALL, Method::LogMessage, None, false);
        check(ALL, Method::Progress, None, false);
        check(ALL, Method::ResourceUpdated, None, false);
        check(ALL, Method::ResourceUpdated, Some("a:b"), true);
        check(ALL, Method::ResourceUpdated, Some("a:b/part"), true);
        check(ALL, Method::ResourceUpdated, Some("a:bc"), false);
        check(ALL, Method::ResourceUpdated, Some("a:"), false);
        let folder = r#"{"resourceSubscriptions":["a:b/"]}"#;
        check(folder, Method::ResourceUpdated, Some("a:b/c"), true);
    }

    #[test]
    fn messages_of_a_stream_name_it() {
        let check = |message: &str, id: &str, expected: &str| {
            check_text(tagged(message.as_bytes(), id.as_bytes()), expected);
        };
        check(
            r#"{"jsonrpc":"2.0","method":"m"}"#,
            "1",
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#,
        );
        check(
            r#"{"params":{"uri":"a","x":1.0},"method":"m"}"#,
            r#""1""#,
            r#"{"params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"1"},"uri":"a","x":1.0},"method":"m"}"#,
        );
        check(
            r#"{"params":{"_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":"theirs"}}}"#,
            "7",
            r#"{"params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7,"a":1}}}"#,
        );
    }

    #[test]
    fn legacy_client_hears_of_no_stream() {
        let check =
            |message: &str, expected: &str| check_text(untagged(message.as_bytes()), expected);
        for message in [
            r#"{"jsonrpc":"2.0","method":"m"}"#,
            r#"{"params":{"uri":"a","x":1.0},"method":"m"}"#,
            r#"{"method":"m","params":{"_meta":{"a":1}}}"#,
        ] {
            check(message, message);
            let there = tagged(message.as_bytes(), b"\"id\"");
            check(std::str::from_utf8(&there).unwrap(), message);
        }
        check(
            r#"{"method":"m","params":{}}"#,
            r#"{"method":"m","params":{}}"#,
        );
    }

    #[test]
    fn stream_begins_and_ends_under_the_id_of_its_request() {
        check_text(
            acknowledged(b"\"l\"", &filter(r#"{"toolsListChanged":true}"#).unwrap()),
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"},"notifications":{"toolsListChanged":true}}}"#,
        );
        check_text(
            ended(b"3", r#"{"name":"s"}"#),
            r#"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":3,"io.modelcontextprotocol/serverInfo":{"name":"s"}}}}"#,
        );
        check_text(
            listen_params(br#""a":1"#, &Filter::default()),
            r#"{"_meta":{"a":1},"notifications":{}}"#,
        );
    }

    #[test]
    fn stream_of_a_message_is_found() {
        let text = br#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}"#;
        let params = parse::check(text).unwrap();
        let id = subscription_id(text, Some(params)).unwrap();
        assert_eq!(id.of(text), b"\"l\"");
        assert_eq!(subscription_id(text, None), None);
        assert_eq!(
            subscription_id(b"{}", Some(Span { start: 0, end: 2 })),
            None
        );
    }
}
