//! Questions and answers, both ways.

use super::*;
use serde_json::{Value, json};

const SERVER: &str = r#"{"name":"s","version":"1"}"#;

fn whole(text: &str) -> Span {
    parse::check(text.as_bytes()).unwrap()
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn questions_are_read_in_their_order() {
    let text = r#"{"resultType":"input_required","requestState":"a\u0062","inputRequests":{
        "z":{"method":"roots/list"},
        "a\"b":{"method":"elicitation/create","params":{"message":"?"}},
        "":{"params":{"maxTokens":1},"method":"sampling/createMessage"}}}"#;
    let required = InputRequired::parse(text.as_bytes(), whole(text)).unwrap();
    let read: Vec<_> = required
        .requests
        .iter()
        .map(|r| (&*r.key, r.method, r.params.map(|p| p.of(text.as_bytes()))))
        .collect();
    let expected = [
        ("z", Method::RootsList, None),
        ("a\"b", Method::Elicit, Some(&br#"{"message":"?"}"#[..])),
        ("", Method::CreateMessage, Some(&br#"{"maxTokens":1}"#[..])),
    ];
    assert_eq!(read, expected);
    assert_eq!(required.state.unwrap().of(text.as_bytes()), br#""a\u0062""#);
}

#[test]
fn state_alone_is_enough() {
    for text in [
        r#"{"requestState":""}"#,
        r#"{"requestState":"s","inputRequests":{}}"#,
    ] {
        let required = InputRequired::parse(text.as_bytes(), whole(text)).unwrap();
        assert!(
            required.requests.is_empty() && required.state.is_some(),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_asked_is_named() {
    let check = |text: &str, fact: &str| {
        let error = InputRequired::parse(text.as_bytes(), whole(text)).unwrap_err();
        assert!(error.contains(fact), "{text}: {error}");
    };
    check("{}", "neither");
    check(r#"{"inputRequests":{}}"#, "neither");
    check(r#"{"inputRequests":[]}"#, "inputRequests must be an object");
    check(r#"{"requestState":1}"#, "requestState must be a string");
    check(r#"{"inputRequests":{"a":7}}"#, "method");
    check(
        r#"{"inputRequests":{"a":{"method":"tools/call","params":{}}}}"#,
        "method",
    );
    check(
        r#"{"inputRequests":{"a":{"method":"elicitation/create"}}}"#,
        "no params",
    );
    check(
        r#"{"inputRequests":{"a":{"method":"roots/list","params":[]}}}"#,
        "params must be an object",
    );
    check(
        r#"{"inputRequests":{"a":{"method":"roots/list"},"\u0061":{"method":"roots/list"}}}"#,
        "twice",
    );
    let many: Vec<String> = (0..=CLIENT_REQUESTS_MAX)
        .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
        .collect();
    check(
        &format!(r#"{{"inputRequests":{{{}}}}}"#, many.join(",")),
        "more than",
    );
}

#[test]
fn legacy_client_is_asked_in_the_words_of_its_revision() {
    let check = |revision, method, params: &str, expected: Option<&str>| {
        let request = InputRequest {
            key: "k".into(),
            method,
            params: (!params.is_empty()).then(|| whole(params)),
        };
        let asked = legacy_question(&request, params.as_bytes(), revision, "id-1");
        let asked = asked.map(|(as_method, params)| {
            assert_eq!(as_method, method);
            String::from_utf8(params).unwrap()
        });
        assert_eq!(asked.as_deref(), expected, "{revision:?} {params}");
    };
    use Revision::*;
    let form = r#"{"message":"?","requestedSchema":{"x":1.0}}"#;
    let formed = r#"{"mode":"form","message":"?","requestedSchema":{"x":1.0}}"#;
    check(V2025_11_25, Method::Elicit, form, Some(formed));
    check(V2025_11_25, Method::Elicit, formed, Some(formed));
    check(V2025_06_18, Method::Elicit, formed, Some(form));
    check(V2025_06_18, Method::Elicit, form, Some(form));
    check(V2025_03_26, Method::Elicit, form, None);
    let url = r#"{"mode":"url","message":"?","url":"https://a"}"#;
    check(
        V2025_11_25,
        Method::Elicit,
        url,
        Some(r#"{"elicitationId":"id-1","mode":"url","message":"?","url":"https://a"}"#),
    );
    check(V2025_06_18, Method::Elicit, url, None);
    check(
        V2024_11_05,
        Method::CreateMessage,
        r#"{"maxTokens":1e1}"#,
        Some(r#"{"maxTokens":1e1}"#),
    );
    check(V2024_11_05, Method::RootsList, "", Some(""));
}

#[test]
fn answers_become_input_responses() {
    let mut out = Vec::new();
    let answers = [
        (
            "a",
            Method::Elicit,
            Answer::Result(br#"{"action":"accept","content":{"n":1.0}}"#),
        ),
        (
            "b\"",
            Method::CreateMessage,
            Answer::Result(br#"{"role":"assistant"}"#),
        ),
        ("c", Method::Elicit, Answer::Refused),
        ("d", Method::Elicit, Answer::Result(b"7")),
    ];
    write_input_responses(&mut out, &answers).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"a":{"action":"accept","content":{"n":1.0}},"b\"":{"role":"assistant"},"c":{"action":"cancel"},"d":{"action":"cancel"}}"#
    );
}

#[test]
fn refused_sampling_and_roots_end_the_call() {
    for method in [Method::CreateMessage, Method::RootsList] {
        for answer in [Answer::Refused, Answer::Result(b"null")] {
            let answers = [
                ("a", Method::Elicit, Answer::Refused),
                ("b", method, answer),
            ];
            assert_eq!(write_input_responses(&mut Vec::new(), &answers), Err("b"));
        }
    }
    let result = unanswered(Method::ToolsCall, "no \"b\"").unwrap();
    assert_eq!(value(&result)["isError"], true);
    assert_eq!(value(&result)["content"][0]["text"], "no \"b\"");
    assert_eq!(unanswered(Method::PromptsGet, ""), None);
}

#[test]
fn retry_says_only_what_this_round_answered() {
    let check = |params: &str, responses: Option<&[u8]>, state: Option<&[u8]>, expected: &str| {
        let text = retry_params(params.as_bytes(), responses, state);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{params}");
    };
    check(
        r#"{"name":"t","arguments":{"n":1.0}}"#,
        Some(b"{}"),
        Some(br#""s\u0062""#),
        r#"{"inputResponses":{},"requestState":"s\u0062","name":"t","arguments":{"n":1.0}}"#,
    );
    check(
        r#"{"requestState":"old","name":"t","inputResponses":{"old":{}}}"#,
        Some(br#"{"new":{}}"#),
        None,
        r#"{"inputResponses":{"new":{}},"name":"t"}"#,
    );
    check(
        r#"{"requestState":"old"}"#,
        None,
        Some(b"\"s\""),
        r#"{"requestState":"s"}"#,
    );
    check("", None, Some(b"\"s\""), r#"{"requestState":"s"}"#);
    check(r#"{"requestState":"old","a":1}"#, None, None, r#"{"a":1}"#);
}

#[test]
fn modern_client_is_asked_without_what_only_requests_have() {
    let questions: [(&str, Method, &[u8]); 4] = [
        (
            "elicitation-1",
            Method::Elicit,
            br#"{"mode":"url","elicitationId":"e","url":"https://a","message":"?","_meta":{"progressToken":1}}"#,
        ),
        (
            "sampling-2",
            Method::CreateMessage,
            br#"{"task":{"ttl":1},"maxTokens":1,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"a/b":1}}"#,
        ),
        ("roots-3", Method::RootsList, b""),
        ("roots-4", Method::RootsList, br#"{"_meta":{"progressToken":1}}"#),
    ];
    let text = input_required(&questions, Some("st\"ate"), SERVER);
    assert_eq!(
        value(&text),
        json!({
            "resultType": "input_required",
            "inputRequests": {
                "elicitation-1": {"method": "elicitation/create",
                    "params": {"mode": "url", "url": "https://a", "message": "?"}},
                "sampling-2": {"method": "sampling/createMessage",
                    "params": {"maxTokens": 1, "_meta": {"a/b": 1}}},
                "roots-3": {"method": "roots/list"},
                "roots-4": {"method": "roots/list"},
            },
            "requestState": "st\"ate",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
        })
    );
    let text = input_required(&questions[2..3], None, SERVER);
    assert_eq!(value(&text).get("requestState"), None);
}

#[test]
fn question_survives_a_round_trip() {
    let params = br#"{"mode":"form","message":"?","requestedSchema":{"n":1.0}}"#;
    let text = input_required(&[("k", Method::Elicit, params)], Some("s"), SERVER);
    let required = InputRequired::parse(&text, parse::check(&text).unwrap()).unwrap();
    let back = legacy_question(&required.requests[0], &text, Revision::V2025_11_25, "");
    assert_eq!(back, Some((Method::Elicit, params.to_vec())));
}

#[test]
fn keys_say_what_is_asked() {
    assert_eq!(key(Method::Elicit, 1), "elicitation-1");
    assert_eq!(key(Method::CreateMessage, 2), "sampling-2");
    assert_eq!(key(Method::RootsList, 3), "roots-3");
}

#[test]
fn input_responses_are_read_by_key() {
    let text = r#"{"a\u0062":{"action":"accept"},"c":{}}"#;
    let read = answers(text.as_bytes(), whole(text)).unwrap();
    let read: Vec<_> = read
        .iter()
        .map(|(key, value)| (&**key, value.of(text.as_bytes())))
        .collect();
    assert_eq!(read, [("ab", &br#"{"action":"accept"}"#[..]), ("c", b"{}")]);
    let check = |text: &str, fact: &str| {
        let error = answers(text.as_bytes(), whole(text))
            .unwrap_err()
            .to_string();
        assert!(error.contains(fact), "{text}: {error}");
    };
    check("[]", "inputResponses must be an object");
    check(
        r#"{"a":1}"#,
        "inputResponses has a member that is no object",
    );
    check(r#"{"a":{},"a":{}}"#, "two members");
}
