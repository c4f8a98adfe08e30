//! The bridge: whatever it is given, what it makes of it is JSON (serde_json's word for it), members that it does not
//! know are the same bytes in the same order, and what went to the other era and came back lost nothing.

use serde_json::value::RawValue;
use switchbox::jsonrpc::parse::{self, Span};
use switchbox::mcp::Era;
use switchbox::mcp::bridge::error::{Translated, translated};
use switchbox::mcp::bridge::input::{self, Answer, InputRequest, InputRequired};
use switchbox::mcp::bridge::listen::{self, Filter};
use switchbox::mcp::bridge::need::Need;
use switchbox::mcp::bridge::result::{self, Output};
use switchbox::mcp::bridge::task::{self, Naming, Wish};
use switchbox::mcp::bridge::{Cell, listing, request};
use switchbox::mcp::caching::Caching;
use switchbox::mcp::discover;
use switchbox::mcp::handshake::Introduced;
use switchbox::mcp::headers;
use switchbox::mcp::meta;
use switchbox::mcp::method::Method;
use switchbox::mcp::revision::Revision;

pub(crate) fn check(input: &[u8]) {
    let Ok(place) = parse::check(input) else {
        return;
    };
    let text = place.of(input);
    check_params(text);
    check_capabilities(text);
    check_results(text);
    check_entries(text);
    check_errors(text);
    check_questions(text);
    check_notifications(text);
    check_tasks(text);
    check_discovery(text);
}

const METHODS: [Method; 4] = [
    Method::ToolsCall,
    Method::PromptsGet,
    Method::ResourcesRead,
    Method::Complete,
];

/// What the hop says of itself in `_meta`, whose names it takes away from others.
fn own_meta() -> Vec<u8> {
    request::own_meta(r#"{"roots":{}}"#, None, Some(2))
}

fn check_params(text: &[u8]) {
    let own = own_meta();
    let (modern, token) = request::for_modern(text, &own);
    assert_json(&modern);
    assert_same(text, &modern, &["_meta", "task"]);
    let is_object = text[0] == b'{';
    if is_object {
        let meta = place_of(&modern, "_meta").expect("a modern request has a _meta");
        assert!(meta.of(&modern)[1..].starts_with(&own));
    }
    // The token is where it is said to be, and the one that was there.
    let metas: Vec<Span> = members(text)
        .filter(|(key, value)| key.is("_meta") && text[value.start] == b'{')
        .map(|(_, value)| value)
        .collect();
    let mut tokens = metas
        .iter()
        .filter_map(|meta| parse::member(text, *meta, "progressToken"));
    assert_eq!(
        token.map(|place| place.of(&modern)),
        tokens.next_back().map(|place| place.of(text))
    );
    let (legacy, _) = request::for_legacy(text, None);
    assert_json(&legacy);
    assert_same(text, &legacy, &["_meta", "inputResponses", "requestState"]);
    let (back, token) = request::for_legacy(&modern, None);
    assert_json(&back);
    assert_same(
        text,
        &back,
        &["_meta", "task", "inputResponses", "requestState"],
    );
    if let [meta] = metas[..] {
        let mut gone = meta::OF_HOP.to_vec();
        gone.push(meta::RELATED_TASK);
        let before = kept(meta.of(text), &gone);
        let after = place_of(&back, "_meta").map(|meta| kept(meta.of(&back), &[]));
        assert_eq!(after.unwrap_or_default(), before);
        assert_eq!(
            token.map(|place| place.of(&back)),
            parse::member(text, meta, "progressToken").map(|place| place.of(text))
        );
    }
    let retry = input::retry_params(text, Some(b"{\"k\":{}}"), Some(b"\"s\""));
    assert_json(&retry);
    assert_same(text, &retry, &["inputResponses", "requestState"]);
    if is_object {
        let state = place_of(&retry, "requestState").expect("it was put there");
        assert_eq!(state.of(&retry), b"\"s\"");
    }
}

fn check_capabilities(text: &[u8]) {
    let text = std::str::from_utf8(text).expect("checked JSON is UTF-8");
    for capabilities in [
        request::capabilities_for_legacy,
        request::capabilities_for_modern,
        request::capabilities_within_modern,
    ] {
        let told = capabilities(text);
        assert_json(told.as_bytes());
        assert_same(
            text.as_bytes(),
            told.as_bytes(),
            &["tasks", "roots", "extensions"],
        );
        assert_eq!(capabilities(&told), told);
        for need in Need::ALL {
            assert_eq!(
                need.is_met_by(text.as_bytes()),
                need.is_met_by(told.as_bytes())
            );
        }
    }
}

fn check_results(text: &[u8]) {
    let place = whole(text);
    let _ = result::result_type(text, place);
    let caching = Caching::parse(text, place);
    let members = format!("{{{}}}", caching.to_members());
    assert_eq!(
        Caching::parse(members.as_bytes(), whole(members.as_bytes())),
        caching
    );
    for method in METHODS {
        let modern = result::for_modern(method, text, place, meta::OURSELVES);
        assert_json(&modern);
        let mut replaced = vec!["_meta", "resultType"];
        if result::is_cacheable(method) {
            replaced.extend(["ttlMs", "cacheScope"]);
        }
        let mut gone = replaced.clone();
        gone.push("content");
        assert_same(text, &modern, &gone);
        for (revision, output) in Revision::LEGACY
            .into_iter()
            .flat_map(|revision| [(revision, Output::Natural), (revision, Output::Wrapped)])
        {
            let legacy = result::for_legacy(method, text, place, revision, output);
            let Ok(Some(legacy)) = legacy else { continue };
            assert_json(&legacy);
            gone.push("structuredContent");
            assert_same(text, &legacy, &gone);
            let structured = place_of(&legacy, "structuredContent");
            assert!(
                method != Method::ToolsCall || structured.is_none_or(|it| legacy[it.start] == b'{')
            );
        }
        // Structured content of a legacy server is an object already, unless it has none of the era's manners.
        let (revision, output) = (Revision::LATEST, Output::Natural);
        let back = result::for_legacy(method, &modern, whole(&modern), revision, output);
        let back = back.ok().flatten().unwrap_or(modern);
        assert_same(text, &back, &{
            let mut gone = replaced.clone();
            gone.extend(["content", "structuredContent"]);
            gone
        });
    }
}

fn check_entries(text: &[u8]) {
    let legacy = listing::tool_for_legacy(text);
    assert_json(&legacy);
    assert_same(text, &legacy, &["outputSchema"]);
    assert_eq!(listing::output(&legacy), Output::Natural);
    assert_eq!(listing::tool_for_legacy(&legacy), legacy);
    let modern = listing::tool_for_modern(text);
    assert_json(&modern);
    assert_same(text, &modern, &["execution", "inputSchema"]);
    if let Some(schema) = place_of(&modern, "inputSchema") {
        assert!(headers::header_params(&modern, schema).is_ok());
    }
    let own = listing::tool_within_modern(text);
    assert_json(&own);
    assert_same(text, &own, &["inputSchema"]);
    assert_eq!(listing::tool_for_modern(&own), modern);
}

fn check_errors(text: &[u8]) {
    let _ = discover::is_modern_error(text, whole(text));
    for cell in Cell::ALL {
        for method in METHODS {
            match translated(cell, method, text, whole(text), Some(b"\"a:b\"")) {
                Translated::Error(error) => {
                    assert_json(&error);
                    assert_same(text, &error, &["code", "data"]);
                    assert!(cell.crosses() || cell.client == Era::Modern);
                }
                Translated::UrlsRequired(urls) => {
                    assert!(!urls.is_empty());
                    let questions: Vec<_> = urls
                        .iter()
                        .map(|url| ("k", Method::Elicit, url.of(text)))
                        .collect();
                    assert_json(&input::input_required(&questions, None, "{}"));
                }
                _ => {}
            }
        }
    }
}

fn check_questions(text: &[u8]) {
    if let Ok(required) = InputRequired::parse(text, whole(text)) {
        let mut asked = Vec::new();
        let mut answers = Vec::new();
        for request in &required.requests {
            let params = request.params.map_or(&b""[..], |params| params.of(text));
            let _ = Need::of(request.method, text, request.params);
            let question = input::legacy_question(request, text, Revision::LATEST, "e-1");
            let (method, legacy) = question.expect("the latest revision knows every question");
            assert_eq!(method, request.method);
            if !legacy.is_empty() {
                assert_json(&legacy);
                assert_same(params, &legacy, &["mode", "elicitationId"]);
            }
            asked.push((&*request.key, method, legacy));
            answers.push((&*request.key, Method::Elicit, Answer::Refused));
        }
        // There and back: the same questions under the same keys.
        let questions: Vec<_> = asked
            .iter()
            .map(|(key, method, params)| (*key, *method, &**params))
            .collect();
        let back = input::input_required(&questions, Some("s"), "{}");
        assert_json(&back);
        let again = InputRequired::parse(&back, whole(&back)).expect("it was written by us");
        let names = |requests: &[InputRequest<'_>]| -> Vec<_> {
            requests
                .iter()
                .map(|request| (request.key.to_string(), request.method))
                .collect()
        };
        assert_eq!(names(&again.requests), names(&required.requests));
        let mut responses = Vec::new();
        input::write_input_responses(&mut responses, &answers)
            .expect("elicitations can be cancelled");
        assert_json(&responses);
        let read = input::answers(&responses, whole(&responses)).expect("it was written by us");
        assert_eq!(read.len(), answers.len());
    }
    if let Ok(answers) = input::answers(text, whole(text)) {
        let answers: Vec<_> = answers
            .iter()
            .map(|(key, place)| (&**key, Method::RootsList, Answer::Result(place.of(text))))
            .collect();
        let mut again = Vec::new();
        input::write_input_responses(&mut again, &answers).expect("each answer is an object");
        assert_json(&again);
        assert_eq!(
            input::answers(&again, whole(&again)).map(|read| read.len()),
            Ok(answers.len())
        );
    }
}

/// Whether all that relates a message, or params alone, to a task says to which.
fn names_its_tasks(message: &serde_json::Value) -> bool {
    [message, &message["params"], &message["result"]]
        .into_iter()
        .filter_map(|place| place["_meta"].get("io.modelcontextprotocol/related-task"))
        .all(|related| related["taskId"].is_string())
}

fn check_tasks(text: &[u8]) {
    let there = task::renamed(text, Naming::Subject, |id| Some(format!("s:{id}")));
    if let Some(there) = &there {
        assert_json(there);
    }
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    // What relates a message to a task that it does not name is gone.
    let comes_back = read(text).is_none_or(|message| names_its_tasks(&message));
    if let Some(there) = there.filter(|_| comes_back) {
        let back = task::renamed(&there, Naming::Subject, |id| {
            Some(
                id.strip_prefix("s:")
                    .expect("every id was renamed")
                    .to_owned(),
            )
        });
        let back = back.expect("what was renamed once is renamed again");
        assert_eq!(read(&back), read(text));
    }
    if let Some(unnamed) = task::renamed(text, Naming::Related, |_| None) {
        assert_json(&unnamed);
        assert_eq!(task::related(&unnamed, place_of(&unnamed, "params")), None);
    }
    for wish in [Wish::Task, Wish::Answer] {
        let wishing = task::wishing(text, wish);
        let wishing = wishing.as_deref().unwrap_or(text);
        assert_json(wishing);
        assert_same(text, wishing, &["task"]);
    }
    assert_json(&task::answered_in(text, "t"));
}

fn check_notifications(text: &[u8]) {
    if let Ok(filter) = Filter::parse(text, whole(text)) {
        let json = filter.to_json();
        assert_json(&json);
        assert_eq!(Filter::parse(&json, whole(&json)).as_ref(), Ok(&filter));
        assert_eq!(filter.clone().union(&filter), filter);
        assert_json(&listen::acknowledged(b"1", &filter));
    }
    let tagged = listen::tagged(text, b"\"l\"");
    assert_json(&tagged);
    assert_same(text, &tagged, &["params"]);
    let of_stream = |message: &[u8]| {
        let id = listen::subscription_id(message, place_of(message, "params"))?;
        Some(id.of(message).to_vec())
    };
    let params = place_of(text, "params");
    if text[0] == b'{' && members(text).count() > 0 && params.is_none_or(|p| text[p.start] == b'{')
    {
        assert_eq!(of_stream(&tagged).as_deref(), Some(&b"\"l\""[..]));
    }
    for message in [text, &tagged] {
        let untagged = listen::untagged(message);
        assert_json(&untagged);
        assert_same(text, &untagged, &["params"]);
        assert_eq!(of_stream(&untagged), None);
    }
}

fn check_discovery(text: &[u8]) {
    if let Ok(introduced) = Introduced::discovered(text, whole(text)) {
        assert_eq!(introduced.era(), Era::Modern);
        let told = discover::discovered(
            introduced.capabilities,
            &introduced.instructions,
            Caching::parse(text, whole(text)),
        );
        assert_json(&told);
        let again = Introduced::discovered(&told, whole(&told)).expect("it was written by us");
        assert_eq!(again.capabilities, introduced.capabilities);
        assert_eq!(again.instructions, introduced.instructions);
    }
}

fn whole(text: &[u8]) -> Span {
    Span {
        start: 0,
        end: text.len(),
    }
}

fn members(text: &[u8]) -> parse::Members<'_> {
    parse::members(text, whole(text))
}

fn place_of(text: &[u8], name: &str) -> Option<Span> {
    parse::member(text, whole(text), name)
}

fn assert_json(text: &[u8]) {
    let second = serde_json::from_slice::<&RawValue>(text);
    assert!(
        second.is_ok(),
        "{second:?}: {}",
        String::from_utf8_lossy(text)
    );
}

/// The members of an object but those with these names, each as the bytes of its name and value, in order.
fn kept(text: &[u8], gone: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
    members(text)
        .filter(|(key, _)| !gone.iter().any(|name| key.is(name)))
        .map(|(key, value)| {
            let name = &text[key.start()..value.start];
            let name = name
                .trim_ascii_end()
                .strip_suffix(b":")
                .expect("a colon follows");
            (name.trim_ascii_end().to_vec(), value.of(text).to_vec())
        })
        .collect()
}

/// Asserts that two texts are the same, or objects with the same members but for those with these names.
fn assert_same(before: &[u8], after: &[u8], gone: &[&str]) {
    if before[0] == b'{' {
        assert_eq!(kept(before, gone), kept(after, gone));
    } else {
        assert_eq!(before, after);
    }
}
