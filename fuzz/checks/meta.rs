//! `params` and its `_meta`: the members found are those that serde_json sees, and what is refused is what a
//! reader of its list of members finds wrong.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use switchbox::config::limits::CAPABILITIES_BYTES_MAX;
use switchbox::jsonrpc::parse::{self, Span};
use switchbox::mcp::meta::{CAPABILITIES, CLIENT, LEVEL, Meta, SUBSCRIPTION, TOKEN, VERSION};
use switchbox::mcp::params::{LEVELS, Params};

const PARAMS: [&str; 14] = [
    "name",
    "arguments",
    "uri",
    "cursor",
    "level",
    "ref",
    "requestId",
    "progressToken",
    "task",
    "taskId",
    "inputResponses",
    "requestState",
    "notifications",
    "_meta",
];

const META: [&str; 6] = [VERSION, CAPABILITIES, CLIENT, LEVEL, SUBSCRIPTION, TOKEN];

/// The input is the `params` of a request.
pub(crate) fn check(input: &[u8]) {
    let Ok(whole) = parse::check(input) else {
        return;
    };
    // Half a surrogate pair is where serde_json gives up.
    let Ok(members) = serde_json::from_slice::<Members>(input) else {
        return;
    };
    let verdict = Params::parse(input, Some(whole));
    let expected = read(&members, &PARAMS).and_then(|found| {
        let meta = match found[13] {
            Some(raw) => meta_of(raw)?,
            None => [None; 6],
        };
        Ok((found, meta))
    });
    let (params, (found, meta)) = match (verdict, expected) {
        (Ok(params), Ok(expected)) => (params, expected),
        (Err(fault), Err(member)) => return assert_eq!(fault.member, member),
        (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
    };
    if let Some(meta) = params.meta {
        let said = meta.of(input);
        let read = parse::check(said).map(|whole| Meta::parse(said, whole));
        let read = read.expect("it is a value").expect("it was read before");
        let again = Params::parse_knowing(input, Some(whole), Some((said, &read)));
        assert_eq!(again, Ok(params));
    }
    let places = [
        params.name,
        params.arguments,
        params.uri,
        params.cursor,
        params.level,
        params.reference,
        params.request_id,
        params.progress_token,
        params.task,
        params.task_id,
        params.input_responses,
        params.request_state,
        params.notifications,
        params.meta,
    ];
    check_places(input, &places, &found);
    let Meta {
        version,
        capabilities,
        client,
        level,
        subscription,
        token,
        has_others,
    } = params.modern;
    let places = [version, capabilities, client, level, subscription, token];
    check_places(input, &places, &meta);
    let members = params.meta.into_iter();
    let members = members.flat_map(|meta| parse::members(input, meta)).count();
    assert_eq!(has_others, members > places.iter().flatten().count());
    let fault = params.modern.complete(input).err();
    assert_eq!(fault.map(|fault| fault.member), incomplete(&meta));
}

fn check_places(input: &[u8], ours: &[Option<Span>], theirs: &[Option<&str>]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        let ours = ours.map(|place| place.of(input));
        assert_eq!(ours, theirs.map(str::as_bytes));
    }
}

fn meta_of(raw: &str) -> Result<[Option<&str>; 6], &'static str> {
    let members: Members = serde_json::from_str(raw).map_err(|_| "_meta")?;
    read(&members, &META)
}

/// The value of each name, or the first name that stands there twice or in another case.
fn read<'a, const N: usize>(
    members: &Members<'a>,
    names: &[&'static str; N],
) -> Result<[Option<&'a str>; N], &'static str> {
    let mut found = [None; N];
    for (key, value) in &members.0 {
        for (name, place) in names.iter().zip(&mut found) {
            let twice = key == name && place.replace(value.get()).is_some();
            let twin = key != name && folded(key) == folded(name);
            if twice || twin {
                return Err(name);
            }
        }
    }
    Ok(found)
}

fn folded(name: &str) -> String {
    let name = name.replace('\u{17f}', "s").replace('\u{212a}', "k");
    name.to_ascii_lowercase()
}

/// The member for which a request with this `_meta` is no modern one.
fn incomplete(meta: &[Option<&str>; 6]) -> Option<&'static str> {
    let [version, capabilities, client, level, _, token] =
        meta.map(|raw| raw.map(|raw| serde_json::from_str::<Value>(raw).expect("it is JSON")));
    let short = meta[1].is_some_and(|raw| raw.len() <= CAPABILITIES_BYTES_MAX);
    let whole = |client: Value| client["name"].is_string() && client["version"].is_string();
    let known = |level: Value| level.as_str().is_some_and(|name| LEVELS.contains(&name));
    let integer = |raw: &str| !raw.contains(['.', 'e', 'E']);
    if !version.is_some_and(|version| version.is_string()) {
        Some(VERSION)
    } else if !capabilities.is_some_and(|capabilities| capabilities.is_object() && short) {
        Some(CAPABILITIES)
    } else if !client.is_none_or(whole) {
        Some(CLIENT)
    } else if !level.is_none_or(known) {
        Some(LEVEL)
    } else if !token.is_none_or(|token| {
        token.is_string() || (token.is_number() && meta[5].is_some_and(integer))
    }) {
        Some(TOKEN)
    } else {
        None
    }
}

/// The members of an object, every one of them, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}
