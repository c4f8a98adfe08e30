//! Claims about request heads: what is read, what is refused, and that splitting changes neither.

use super::*;
use crate::config::limits::HEADER_FIELDS_MAX;

/// The verdict on a head, and that it is the same however the bytes arrive.
fn parse(input: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, HeadError> {
    let verdict = RequestHead::parse(input);
    let mut end = HeadEnd::default();
    let bytewise = (1..=input.len())
        .map(|len| RequestHead::parse_in_pieces(&input[..len], &mut end))
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(
        format!("{bytewise:?}"),
        format!("{verdict:?}"),
        "{}",
        input.escape_ascii()
    );
    verdict
}

fn accepted(text: &str) -> RequestHead<'_> {
    match parse(text.as_bytes()) {
        Ok(Some((head, used))) if used == text.len() => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: &str, expected: HeadError) {
    match parse(text.as_bytes()) {
        Err(error) => assert_eq!(error, expected, "{text:?}"),
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A `POST` with that field added.
fn with(field: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n")
}

#[test]
fn head_of_a_call_is_read_in_full() {
    let text = "POST /mcp?x=1 HTTP/1.1\r\nhost: localhost:3050\r\nUser-Agent: t\r\n\
                ACCEPT: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
                Content-Length: 42\r\nMcp-Session-Id: s\r\nMCP-Protocol-Version: v\r\n\
                Authorization: Bearer t\r\nX-API-Key: k\r\nOrigin: null\r\nLast-Event-ID: 1-2\r\n\
                X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n\r\n";
    let head = accepted(text);
    assert_eq!(head.method, Method::Post);
    assert_eq!((head.target.path, head.target.query), ("/mcp", Some("x=1")));
    assert_eq!(head.host.and_then(|host| host.port), Some(3050));
    assert_eq!(head.framing, Framing::Length(42));
    assert!(head.keep_alive && !head.expect_continue);
    assert!(head.accept.stated && head.accept.json && head.accept.event_stream);
    assert_eq!(head.content_type, Some("application/json"));
    assert_eq!(head.session_id, Some("s"));
    assert_eq!(head.protocol_version, Some("v"));
    assert_eq!(head.authorization, Some("Bearer t"));
    assert_eq!(head.api_key, Some("k"));
    assert_eq!(head.origin, Some("null"));
    assert_eq!(head.last_event_id, Some("1-2"));
    assert_eq!(head.fields().count(), 13);
    assert_eq!(head.fields().next(), Some(("host", &b"localhost:3050"[..])));
    assert_eq!(head.fields().first("user-agent"), Some(&b"t"[..]));
}

#[test]
fn what_follows_a_head_is_not_touched() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n\0\nGET";
    let (_, used) = RequestHead::parse(input).unwrap().unwrap();
    assert_eq!(used, input.len() - 5);
}

#[test]
fn unfinished_head_is_waited_for() {
    for text in [
        "",
        "\r",
        "\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n",
        "\x16\x03",
    ] {
        assert!(matches!(parse(text.as_bytes()), Ok(None)), "{text:?}");
    }
}

#[test]
fn one_empty_line_may_come_first() {
    accepted("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    refused(
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        HeadError::RequestLine,
    );
    refused(
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        HeadError::BareLineEnd,
    );
}

#[test]
fn request_line_is_three_words() {
    let check = |line: &str, expected| refused(&format!("{line}\r\nHost: h\r\n\r\n"), expected);
    check("GET  / HTTP/1.1", HeadError::RequestLine);
    check("GET\t/ HTTP/1.1", HeadError::RequestLine);
    check("GET HTTP/1.1", HeadError::RequestLine);
    check("GET /a b HTTP/1.1", HeadError::RequestLine);
    check(" GET / HTTP/1.1", HeadError::RequestLine);
    check("GET / HTTP/1.1 ", HeadError::BareLineEnd);
    check("GET /", HeadError::RequestLine);
    check("GET / HTTP/1", HeadError::RequestLine);
    check("GET / HTTP/ 1.1", HeadError::RequestLine);
    check("GET / HTTP/01.01", HeadError::RequestLine);
    check("GET / http/1.1", HeadError::RequestLine);
    check("GET / HTTP/1.2", HeadError::Version);
    check("GET / HTTP/9.9", HeadError::Version);
    check("PRI * HTTP/2.0", HeadError::Version);
    check("get / HTTP/1.1", HeadError::Method);
    check("BREW / HTTP/1.1", HeadError::Method);
    check("CONNECT h:443 HTTP/1.1", HeadError::Method);
    check("TRACE / HTTP/1.1", HeadError::Method);
    check("GET * HTTP/1.1", HeadError::Target);
    check("GET /# HTTP/1.1", HeadError::Target);
    check("GET h:80 HTTP/1.1", HeadError::Target);
    check("GET /\u{e9} HTTP/1.1", HeadError::Target);
    check("GET http://other/ HTTP/1.1", HeadError::HostDisagrees);
    assert_eq!(
        accepted("GET http://H/p HTTP/1.1\r\nHost: h\r\n\r\n")
            .target
            .path,
        "/p"
    );
    assert_eq!(
        accepted("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
            .target
            .path,
        "*"
    );
}

#[test]
fn lines_end_in_cr_lf() {
    refused("GET / HTTP/1.1\nHost: h\r\n\r\n", HeadError::BareLineEnd);
    refused(
        "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
        HeadError::BareLineEnd,
    );
    refused("GET / HTTP/1.1\r\nHost: h\r\n\n", HeadError::BareLineEnd);
    refused("GET / HTTP/1.1\r\nHost: h\n\r\n", HeadError::BareLineEnd);
    refused("GET / HTTP/1.1\rHost: h\r\n\r\n", HeadError::BareLineEnd);
    refused(&with("A: b\rc"), HeadError::FieldLine);
}

#[test]
fn field_lines_are_a_name_a_colon_and_a_value() {
    for line in [
        "A : b",
        ": b",
        "A",
        "A[: b",
        "\u{e9}: b",
        "A: b\r\n c",
        "A: \0",
        "A: \x07",
        " A: b",
        "A: \x7f",
        "Transfer-Encoding:\r\n chunked",
    ] {
        refused(&with(line), HeadError::FieldLine);
    }
    accepted(&with("A: \u{e9}\tb"));
    accepted(&with("A:"));
}

#[test]
fn host_is_one_and_a_host() {
    let check =
        |fields: &str, expected| refused(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), expected);
    check("", HeadError::HostMissing);
    check("Host: \r\n", HeadError::HostMalformed);
    check("Host: h\r\nHost: h\r\n", HeadError::Repeated("host"));
    for host in ["u@h", "h/p", "h, i", "h?x=", "h:p"] {
        check(&format!("Host: {host}\r\n"), HeadError::HostMalformed);
    }
    check("Host: \u{e9}\r\n", HeadError::NotAscii("host"));
    assert_eq!(accepted("GET / HTTP/1.0\r\n\r\n").host, None);
    refused("GET / HTTP/1.0\r\nHost: \r\n\r\n", HeadError::HostMalformed);
}

#[test]
fn body_is_framed_one_way() {
    let framing = |field: &str| accepted(&with(field)).framing;
    assert_eq!(framing("A: b"), Framing::None);
    assert_eq!(framing("Content-Length: 0"), Framing::Length(0));
    assert_eq!(framing("Content-Length:5"), Framing::Length(5));
    assert_eq!(framing("Transfer-Encoding: CHUNKED"), Framing::Chunked);
    for length in [
        "",
        "+5",
        "-1",
        "-0",
        "005",
        "00",
        "0x5",
        "0o5",
        "1_0",
        "1 0",
        "5, 5",
        "5, 10",
        "abc",
        "99999999999999999999",
        " 5",
        "5 ",
        "\t5",
    ] {
        refused(
            &with(&format!("Content-Length: {length}")),
            HeadError::ContentLength,
        );
    }
    refused(
        &with("Content-Length: 999999999"),
        HeadError::ContentLengthAbsurd,
    );
    refused(
        &with("Content-Length: 5\r\nContent-Length: 5"),
        HeadError::Repeated("content-length"),
    );
    for coding in [
        "chunked",
        "chunked ",
        "",
        "identity",
        ", chunked",
        "xchunked",
        "Chunked",
    ] {
        let both = with(&format!("Transfer-Encoding: {coding}\r\nContent-Length: 5"));
        refused(&both, HeadError::LengthAndEncoding);
    }
    for coding in [
        "chunked, gzip",
        "gzip, chunked",
        "chunked, chunked",
        "",
        ",",
        "chunked;a=b",
    ] {
        let line = with(&format!("Transfer-Encoding: {coding}"));
        refused(&line, HeadError::TransferEncoding);
    }
    refused(&with("Transfer-Encoding: gzip"), HeadError::TransferCoding);
    refused(
        &with("Transfer-Encoding: identity"),
        HeadError::TransferCoding,
    );
    refused(
        &with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        HeadError::Repeated("transfer-encoding"),
    );
    refused(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        HeadError::TransferEncoding,
    );
    refused(
        &with("Transfer_Encoding: chunked"),
        HeadError::Underscore("transfer-encoding"),
    );
    refused(
        &with("content_LENGTH: 5"),
        HeadError::Underscore("content-length"),
    );
    accepted(&with("my_own: 5"));
}

#[test]
fn connection_goes_on_as_the_version_has_it() {
    let check = |version: &str, connection: &str, expected| {
        let text = format!("GET / {version}\r\nHost: h\r\nConnection: {connection}\r\n\r\n");
        assert_eq!(accepted(&text).keep_alive, expected, "{text}");
    };
    check("HTTP/1.1", "", true);
    check("HTTP/1.1", "TE, Close", false);
    check("HTTP/1.1", "keep-alive, close", false);
    check("HTTP/1.0", "", false);
    check("HTTP/1.0", "Keep-Alive", true);
}

#[test]
fn only_one_expectation_is_known() {
    assert!(accepted(&with("Expect: 100-Continue")).expect_continue);
    refused(&with("Expect: 200-ok"), HeadError::Expectation);
    let old = accepted("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert!(!old.expect_continue);
}

#[test]
fn single_fields_stand_once() {
    for name in [
        "content-type",
        "origin",
        "authorization",
        "x-api-key",
        "mcp-session-id",
        "mcp-protocol-version",
        "last-event-id",
    ] {
        let twice = with(&format!("{name}: a\r\n{}: a", name.to_uppercase()));
        let name = Known::of(name).expect("it is known").0;
        refused(&twice, HeadError::Repeated(name));
    }
}

#[test]
fn mirrored_fields_are_left_to_who_reads_the_body() {
    let check = |fields: &str, method, name| {
        let text = with(fields);
        let head = accepted(&text);
        assert_eq!((head.mcp_method, head.mcp_name), (method, name), "{fields}");
    };
    use Mirrored::{Absent, Once, Repeated};
    check("A: b", Absent, Absent);
    check(
        "MCP-METHOD: tools/call\r\nmcp-name:\t echo \t",
        Once(b"tools/call"),
        Once(b"echo"),
    );
    check("Mcp-Name:", Absent, Once(b""));
    check("Mcp-Name: \u{e9}", Absent, Once("\u{e9}".as_bytes()));
    check("Mcp-Name: a\r\nMcp-Name: a", Absent, Repeated);
    check(
        "Mcp-Method: a\r\nMcp-Method: b\r\nmcp-method: c",
        Repeated,
        Absent,
    );
    refused(&with("Mcp_Name: a"), HeadError::Underscore("mcp-name"));
}

#[test]
fn parameters_are_told_from_other_fields() {
    let text = with(
        "Mcp-Param-Region: us\r\nMcp-Params: 1\r\nMCP-PARAM-region:  \u{e9} \r\nMcp-Param: 2\r\n\
         mcp-param-: 3\r\nX-Mcp-Param-A: 4",
    );
    let found: Vec<_> = accepted(&text).mcp_params().collect();
    let expected: [(&str, &[u8]); 3] = [
        ("Region", b"us"),
        ("region", "\u{e9}".as_bytes()),
        ("", b"3"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn names_are_listed_by_length() {
    for (name, known) in Known::NAMES {
        let found = Known::of(&name.to_uppercase()).expect("it is in range of its length");
        assert!(found == (name, known), "{name}");
    }
    let lengths: Vec<usize> = Known::NAMES.iter().map(|(name, _)| name.len()).collect();
    assert!(lengths.is_sorted());
}

#[test]
fn accept_is_read_by_name_and_wildcard() {
    let check = |value: &str, json, event_stream| {
        let accept = accepted(&with(&format!("Accept: {value}"))).accept;
        assert_eq!(
            (accept.json, accept.event_stream),
            (json, event_stream),
            "{value}"
        );
    };
    check("application/json", true, false);
    check("text/event-stream;q=0.5", false, true);
    check("*/*", true, true);
    check("text/*, application/xml", false, true);
    check("application/json;q=0, */*; Q=0.0", false, false);
    check("*/*;q=0.1;a=b", true, true);
    check("application/json\r\nAccept: text/event-stream", true, true);
    check("Application/JSON ; charset=utf-8", true, false);
    assert!(!accepted(&with("A: b")).accept.stated);
}

#[test]
fn websocket_of_another_version_is_refused() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version";
    accepted(&with(&format!("{upgrade}: 13")));
    refused(
        &with(&format!("{upgrade}: 99")),
        HeadError::WebSocketVersion,
    );
}

#[test]
fn heads_are_bounded() {
    let fields = |count: usize| {
        (0..count)
            .map(|n| format!("a{n}: b\r\n"))
            .collect::<String>()
    };
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    accepted(&head(&fields(HEADER_FIELDS_MAX - 1)));
    refused(&head(&fields(HEADER_FIELDS_MAX)), HeadError::TooManyFields);

    let long = |bytes: usize| {
        let frame = head("a: \r\n").len();
        head(&format!("a: {}\r\n", "b".repeat(bytes - frame)))
    };
    accepted(&long(HEAD_BYTES_MAX));
    refused(&long(HEAD_BYTES_MAX + 1), HeadError::TooLong);

    let target =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes - 1));
    accepted(&target(TARGET_BYTES_MAX));
    refused(&target(TARGET_BYTES_MAX + 1), HeadError::TargetTooLong);
    refused(&target(HEAD_BYTES_MAX * 2), HeadError::TargetTooLong);
    refused(&"A".repeat(HEAD_BYTES_MAX * 2), HeadError::RequestLine);
}
