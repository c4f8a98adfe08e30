//! Claims about mirrored arguments: which schemas are lawful, what is written, what agrees.

use super::*;
use crate::http::RequestHead;
use crate::mcp::bridge::listing::tool_for_modern;

fn span(json: &str) -> Span {
    parse::check(json.as_bytes()).unwrap()
}

/// The mirrored arguments of a tool with these properties.
fn of(properties: &str) -> Result<Vec<HeaderParam>, &'static str> {
    of_schema(&format!(
        r#"{{"type":"object","properties":{{{properties}}}}}"#
    ))
}

fn of_schema(schema: &str) -> Result<Vec<HeaderParam>, &'static str> {
    header_params(schema.as_bytes(), span(schema))
}

fn tool() -> Vec<HeaderParam> {
    let params = of(r#"
        "region": {"type": "string", "x-mcp-header": "Region"},
        "query": {"type": "string", "default": {"x-mcp-header": "no"}},
        "opts": {"type": "object", "properties": {
            "dry": {"x-mcp-header": "Dry-Run", "type": "boolean"},
            "n/a": {"type": "integer", "x-mcp-header": "Count"}
        }}"#);
    params.unwrap()
}

#[test]
fn annotations_are_found_along_properties() {
    let found: Vec<String> = tool()
        .iter()
        .map(|param| format!("{} {:?} {:?}", param.header, param.path, param.kind))
        .collect();
    let expected = [
        r#"Region ["region"] Text"#,
        r#"Dry-Run ["opts", "dry"] Boolean"#,
        r#"Count ["opts", "n/a"] Integer"#,
    ];
    assert_eq!(found, expected);
}

#[test]
fn most_tools_mirror_nothing() {
    let check = |schema| assert_eq!(of_schema(schema), Ok(Vec::new()), "{schema}");
    check("{}");
    check("true");
    check(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#);
    // A property of that name, and data that looks like a schema.
    check(r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#);
    check(r#"{"properties":{"a":{"enum":[{"x-mcp-header":"A"}],"const":{"x-mcp-header":"A"}}}}"#);
    check(r#"{"examples":[{"x-mcp-header":"A"}],"description":"x-mcp-header"}"#);
}

#[test]
fn schema_that_breaks_a_rule_is_told_which() {
    let check = |properties: &str, fact: &str| {
        let broken = of(properties).unwrap_err();
        assert!(broken.contains(fact), "{properties}: {broken}");
        // What is left once the annotations are gone is lawful.
        let tool = format!(r#"{{"inputSchema":{{"properties":{{{properties}}}}}}}"#);
        let stripped = tool_for_modern(tool.as_bytes());
        let schema = parse::member(&stripped, parse::check(&stripped).unwrap(), "inputSchema");
        assert_eq!(
            header_params(&stripped, schema.unwrap()),
            Ok(Vec::new()),
            "{properties}"
        );
    };
    let name = |name: &str| format!(r#""a":{{"type":"string","x-mcp-header":{name}}}"#);
    for bad in [
        r#""""#,
        r#""My Region""#,
        r#""a:b""#,
        r#""Région""#,
        r#""a\t1""#,
        r#""a\r\nb""#,
    ] {
        check(&name(bad), "no name");
    }
    check(&name("7"), "no string");
    check(&name("null"), "no string");
    check(&name(&format!("\"{}\"", "x".repeat(129))), "128 bytes");
    for kind in ["object", "array", "null", "number", "String"] {
        let property = format!(r#""a":{{"type":"{kind}","x-mcp-header":"A"}}"#);
        check(&property, "no string, integer or boolean");
    }
    check(r#""a":{"x-mcp-header":"A"}"#, "no string, integer");
    check(
        r#""a":{"type":["string","null"],"x-mcp-header":"A"}"#,
        "no string, integer",
    );
    check(
        r#""a":{"type":"string","x-mcp-header":"MyField"},"b":{"type":"string","x-mcp-header":"myfield"}"#,
        "the same",
    );
    check(
        r#""a":{"type":"string","x-mcp-header":"A","x-mcp-header":"B"}"#,
        "twice",
    );
    check(
        r#""a":{"type":"string","\u0078-mcp-header":"A B"}"#,
        "no name",
    );
    let lawful = r#"{"type":"string","x-mcp-header":"A"}"#;
    let inner = format!(r#"{{"type":"object","properties":{{"b":{lawful}}}}}"#);
    for keyword in [
        "items",
        "contains",
        "not",
        "if",
        "then",
        "else",
        "additionalProperties",
        "x-own",
    ] {
        check(
            &format!(r#""a":{{"{keyword}":{lawful}}}"#),
            "properties alone",
        );
        check(
            &format!(r#""a":{{"{keyword}":{inner}}}"#),
            "properties alone",
        );
    }
    for keyword in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        check(
            &format!(r#""a":{{"{keyword}":[true,{lawful}]}}"#),
            "properties alone",
        );
    }
    for keyword in [
        "$defs",
        "definitions",
        "patternProperties",
        "dependentSchemas",
    ] {
        check(
            &format!(r#""a":{{"{keyword}":{{"const":{lawful}}}}}"#),
            "properties alone",
        );
    }
    assert!(of_schema(lawful).unwrap_err().contains("properties alone"));
}

#[test]
fn mirrored_arguments_are_bounded() {
    let tool = |count: usize| {
        let property = |n| format!(r#""a{n}":{{"type":"string","x-mcp-header":"A{n}"}}"#);
        of(&(0..count).map(property).collect::<Vec<_>>().join(","))
    };
    assert_eq!(tool(HEADER_PARAMS_MAX).unwrap().len(), HEADER_PARAMS_MAX);
    assert!(tool(HEADER_PARAMS_MAX + 1).unwrap_err().contains("32"));
}

/// What is written for these arguments of [`tool`].
fn written(arguments: &str) -> String {
    let mut out = Vec::new();
    write_params(
        &mut out,
        &tool(),
        arguments.as_bytes(),
        Some(span(arguments)),
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn arguments_are_written_where_there_is_a_value() {
    let check = |arguments: &str, expected: &[&str]| {
        let lines: String = expected
            .iter()
            .map(|line| format!("Mcp-Param-{line}\r\n"))
            .collect();
        assert_eq!(written(arguments), lines, "{arguments}");
    };
    check(
        r#"{"region":"us-west1","query":"q","opts":{"dry":true,"n/a":42}}"#,
        &["Region: us-west1", "Dry-Run: true", "Count: 42"],
    );
    check(r#"{"region":null,"opts":{"dry":null}}"#, &[]);
    check(r#"{"opts":null}"#, &[]);
    check(r#"{"opts":[{"dry":true}]}"#, &[]);
    check(r#"{"region":{"a":1}}"#, &[]);
    check(r#"{"region":""}"#, &["Region: "]);
    check(
        r#"{"region":"\u00e9\r\nX: y"}"#,
        &["Region: =?base64?w6kNClg6IHk=?="],
    );
    check(r#"{"region":"\ud800"}"#, &[]);
    check(r#"{"region":1.50}"#, &["Region: 1.50"]);
    check(r#"{"region":"a","region":"b"}"#, &["Region: b"]);
    for (number, shown) in [
        ("42.0", "42"),
        ("-7", "-7"),
        ("4.2e1", "42"),
        ("420E-1", "42"),
        ("-0", "0"),
        ("0e5", "0"),
        ("9007199254740993", "9007199254740993"),
        ("1e30", "1e30"),
        ("1.5", "1.5"),
        ("1e99999999999999999999", "1e99999999999999999999"),
    ] {
        check(
            &format!(r#"{{"opts":{{"n/a":{number}}}}}"#),
            &[&format!("Count: {shown}")],
        );
    }
    let mut out = Vec::new();
    write_params(&mut out, &tool(), b"", None);
    assert!(out.is_empty());
}

/// The verdict on these fields with these arguments of [`tool`].
fn verdict(fields: &[(&str, &str)], arguments: &str) -> String {
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    match check_params(fields, &tool(), arguments.as_bytes(), Some(span(arguments))) {
        Ok(()) => "agrees".into(),
        Err(mismatch) => format!("{} {:?}", mismatch.header, mismatch.reason),
    }
}

#[test]
fn fields_agree_with_arguments_or_are_named() {
    let check = |fields: &[(&str, &str)], arguments, expected| {
        assert_eq!(
            verdict(fields, arguments),
            expected,
            "{fields:?} {arguments}"
        );
    };
    let us = r#"{"region":"us"}"#;
    check(&[("Region", "us")], us, "agrees");
    check(&[("REGION", " us\t")], us, "agrees");
    check(
        &[("region", "=?base64?dXM=?="), ("other", "\u{e9}")],
        us,
        "agrees",
    );
    check(&[], us, "Mcp-Param-Region Missing");
    check(&[("Region", "US")], us, "Mcp-Param-Region Differs");
    check(
        &[("Region", "us"), ("region", "us")],
        us,
        "Mcp-Param-Region Repeated",
    );
    check(
        &[("Region", "=?base64?dXM?=")],
        us,
        "Mcp-Param-Region Undecodable",
    );
    check(&[("Region", "\u{e9}")], us, "Mcp-Param-Region Undecodable");
    check(
        &[("Region", "=?base64?dXM=")],
        r#"{"region":"=?base64?dXM="}"#,
        "agrees",
    );
    check(&[], r#"{"region":null}"#, "agrees");
    check(&[], "{}", "agrees");
    check(
        &[("Region", "us")],
        r#"{"region":null}"#,
        "Mcp-Param-Region Differs",
    );
    check(&[("Region", "us")], "{}", "Mcp-Param-Region Differs");
    check(&[("Region", "")], "{}", "Mcp-Param-Region Differs");
    check(&[("Region", "")], r#"{"region":""}"#, "agrees");
    // Two readers would see two regions.
    check(
        &[("Region", "b")],
        r#"{"region":"a","region":"b"}"#,
        "Mcp-Param-Region Differs",
    );
    check(
        &[],
        r#"{"region":"eu","region":null}"#,
        "Mcp-Param-Region Differs",
    );
    check(
        &[],
        r#"{"opts":{"dry":true},"opts":{}}"#,
        "Mcp-Param-Dry-Run Differs",
    );
    // What has no form in a header is for the server to judge.
    check(&[], r#"{"region":{}}"#, "agrees");
    check(
        &[("Region", "{}")],
        r#"{"region":{}}"#,
        "Mcp-Param-Region Differs",
    );
}

#[test]
fn last_of_several_values_counts_wherever_they_part() {
    let params = of(r#"
        "o": {"type": "string", "x-mcp-header": "O", "properties": {
            "a": {"type": "string", "x-mcp-header": "A"},
            "p": {"properties": {"b": {"type": "string", "x-mcp-header": "B"}}}
        }}"#)
    .unwrap();
    let check = |arguments: &str, expected: [(&str, bool); 3]| {
        let found = find_all(&params, arguments.as_bytes(), Some(span(arguments)));
        let found: Vec<_> = found
            .iter()
            .map(|found| {
                let value = found
                    .value
                    .map_or(&b""[..], |it| it.of(arguments.as_bytes()));
                (std::str::from_utf8(value).unwrap(), found.ambiguous)
            })
            .collect();
        assert_eq!(found, expected, "{arguments}");
    };
    // In the order in which they were found: what is within stands before what it is within.
    check(
        r#"{"a":0,"o": {"p" : {"b":1 } ,"a":[2]} }"#,
        [
            ("[2]", false),
            ("1", false),
            (r#"{"p" : {"b":1 } ,"a":[2]}"#, false),
        ],
    );
    check(
        r#"{"o":{"a":1,"a":2,"p":{"b":3},"p":4}}"#,
        [
            ("2", true),
            ("", true),
            (r#"{"a":1,"a":2,"p":{"b":3},"p":4}"#, false),
        ],
    );
    check(
        r#"{"o":{"a":1},"\u006f":{"p":{"b":3}}}"#,
        [("", true), ("3", true), (r#"{"p":{"b":3}}"#, true)],
    );
    check(
        r#"{"o":"s","O":{"a":1}}"#,
        [("", false), ("", false), (r#""s""#, false)],
    );
    check("[]", [("", false), ("", false), ("", false)]);
}

#[test]
fn integers_are_compared_by_value_and_other_values_as_they_stand() {
    let check = |field: &str, value: &str, expected: bool| {
        let arguments = format!(r#"{{"opts":{{"n/a":{value}}}}}"#);
        let agrees = verdict(&[("Count", field)], &arguments) == "agrees";
        assert_eq!(agrees, expected, "{field} and {value}");
    };
    check("42", "42", true);
    check("42.0", "42", true);
    check("42", "42.0", true);
    check("4.2e1", "42", true);
    check("42", "420e-1", true);
    check("0", "-0.0", true);
    check("-42", "42", false);
    check("043", "43", false);
    check("+42", "42", false);
    check("42 0", "42", false);
    check("", "42", false);
    check("9007199254740992", "9007199254740993", false);
    check("1e400", "1e400", true);
    check("10e399", "1e400", true);
    check("42.0", "\"42\"", false);
    check("42", "\"42\"", true);
    let region = |field| verdict(&[("Region", field)], r#"{"region":1.0}"#);
    assert_eq!(region("1.0"), "agrees");
    assert_eq!(region("1"), "Mcp-Param-Region Differs");
    let dry = |field| verdict(&[("Dry-Run", field)], r#"{"opts":{"dry":false}}"#);
    assert_eq!(dry("false"), "agrees");
    assert_eq!(dry("False"), "Mcp-Param-Dry-Run Differs");
}

#[test]
fn what_is_written_agrees_when_it_is_read() {
    for arguments in [
        "{}",
        r#"{"region":"","opts":{"dry":false,"n/a":-1e3}}"#,
        r#"{"region":" =?base64?x?= ","opts":{"dry":null,"n/a":"7"}}"#,
        r#"{"region":"\u0000\ud83d\ude00","opts":{}}"#,
    ] {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: h\r\n{}\r\n",
            written(arguments)
        );
        let (head, _) = RequestHead::parse(head.as_bytes()).unwrap().unwrap();
        let text = arguments.as_bytes();
        let verdict = check_params(head.mcp_params(), &tool(), text, Some(span(arguments)));
        assert_eq!(verdict, Ok(()), "{arguments}");
    }
}
