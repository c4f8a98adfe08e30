//! What a modern request says in its header of its body: the same, or it is refused and reaches no server.

use crate::harness::http::request;
use crate::harness::modern::{Modern, dressed, envelope};
use crate::harness::place::{Place, VERSION, call, with};
use serde_json::{Value, json};

/// What is wrong, the header fields, and what has to be named.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn header_that_does_not_say_what_the_body_says_is_refused() {
    let place = Place::open();
    let body = request(7, "tools/call", call("m__echo", json!({})));
    let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "m__echo"));
    let version = "MCP-Protocol-Version";
    let cases: &[Case<'_>] = &[
        ("no version", &[method, name], version),
        (
            "a legacy version",
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            version,
        ),
        (
            "another version",
            &[("mcp-protocol-version", "2027-01-01"), method, name],
            version,
        ),
        ("no method", &[VERSION, name], "Mcp-Method"),
        (
            "an empty method",
            &[VERSION, ("mcp-method", ""), name],
            "Mcp-Method",
        ),
        (
            "another method",
            &[VERSION, ("mcp-method", "tools/list"), name],
            "Mcp-Method",
        ),
        (
            "a method in capitals",
            &[VERSION, ("mcp-method", "TOOLS/CALL"), name],
            "Mcp-Method",
        ),
        (
            "two methods",
            &[VERSION, method, ("mcp-method", "tools/list"), name],
            "Mcp-Method",
        ),
        ("no name", &[VERSION, method], "Mcp-Name"),
        (
            "another name",
            &[VERSION, method, ("mcp-name", "l__echo")],
            "Mcp-Name",
        ),
        (
            "two names",
            &[VERSION, method, name, ("mcp-name", "l__echo")],
            "Mcp-Name",
        ),
        (
            "a name in capitals",
            &[VERSION, method, ("mcp-name", "M__ECHO")],
            "Mcp-Name",
        ),
        (
            "another name in Base64",
            &[VERSION, method, ("mcp-name", "=?base64?bF9fZWNobw==?=")],
            "Mcp-Name",
        ),
        (
            "broken Base64",
            &[VERSION, method, ("mcp-name", "=?base64?!!!!?=")],
            "Mcp-Name",
        ),
        (
            "Base64 of no UTF-8",
            &[VERSION, method, ("mcp-name", "=?base64?/w==?=")],
            "Mcp-Name",
        ),
        (
            "a marker in capitals",
            &[VERSION, method, ("mcp-name", "=?BASE64?bV9fZWNobw==?=")],
            "Mcp-Name",
        ),
    ];
    for (what, fields, named) in cases {
        place.refuses(what, &with(&body, fields), &json!(7), (400, -32020), named);
    }
    for (method, member, named) in [
        ("prompts/get", "name", "m__greet"),
        ("resources/read", "uri", "note://m/1"),
    ] {
        let params = json!({"_meta": envelope(&json!({})), member: named});
        let body = request("s", method, params);
        let fields = [VERSION, ("mcp-method", method)];
        place.refuses(
            method,
            &with(&body, &fields),
            &json!("s"),
            (400, -32020),
            "Mcp-Name",
        );
        let fields = [VERSION, ("mcp-method", method), ("mcp-name", "note://m/2")];
        place.refuses(
            method,
            &with(&body, &fields),
            &json!("s"),
            (400, -32020),
            "Mcp-Name",
        );
    }
}

#[test]
fn header_says_what_the_body_says_in_more_than_one_way() {
    let place = Place::open();
    let body = request(7, "tools/call", call("m__echo", json!({})));
    for name in ["m__echo", "  m__echo  ", "=?base64?bV9fZWNobw==?="] {
        let fields = [VERSION, ("MCP-METHOD", "tools/call"), ("Mcp-NAME", name)];
        let answer = with(&body, &fields).send(place.gateway.address);
        assert_eq!(answer.status(), 200, "{name:?}: {}", answer.text());
    }
    // Names that are not ASCII can only come wrapped.
    let client = Modern::new(place.gateway.address);
    let (_, answer, _) = client.round("resources/read", json!({"uri": "note://m/by-name/é"}));
    assert_eq!(
        answer["result"]["contents"][0]["text"],
        "m has note://m/by-name/é"
    );
}

#[test]
fn mirrored_arguments_that_differ_are_refused() {
    let place = Place::open();
    for server in ["m", "l"] {
        let tool = format!("{server}__header_tool");
        let ask = |arguments: &Value, fields: &[(&str, &str)]| {
            let body = request(7, "tools/call", call(&tool, arguments.clone()));
            fields
                .iter()
                .fold(dressed(&body), |request, (name, value)| {
                    request.field(name, value)
                })
        };
        let arguments =
            json!({"region": "west é", "count": 42, "deep": {"flag": true}, "plain": "p"});
        let region = ("mcp-param-region", "=?base64?d2VzdCDDqQ==?=");
        let (count, flag) = (("mcp-param-count", "42"), ("mcp-param-x-flag", "true"));
        let cases: &[Case<'_>] = &[
            ("nothing", &[], "Mcp-Param-"),
            ("no region", &[count, flag], "Mcp-Param-Region"),
            (
                "another region",
                &[("mcp-param-region", "east"), count, flag],
                "Mcp-Param-Region",
            ),
            (
                "region as it is",
                &[("mcp-param-region", "west"), count, flag],
                "Mcp-Param-Region",
            ),
            (
                "broken region",
                &[("mcp-param-region", "=?base64?d2VzdCDDq?="), count, flag],
                "Mcp-Param-Region",
            ),
            (
                "another count",
                &[region, ("mcp-param-count", "43"), flag],
                "Mcp-Param-Count",
            ),
            (
                "a count that is none",
                &[region, ("mcp-param-count", "many"), flag],
                "Mcp-Param-Count",
            ),
            (
                "another flag",
                &[region, count, ("mcp-param-x-flag", "false")],
                "Mcp-Param-X-Flag",
            ),
            (
                "a flag in capitals",
                &[region, count, ("mcp-param-x-flag", "True")],
                "Mcp-Param-X-Flag",
            ),
        ];
        for (what, fields, named) in cases {
            let what = format!("{server} {what}");
            place.refuses(
                &what,
                &ask(&arguments, fields),
                &json!(7),
                (400, -32020),
                named,
            );
        }
        let absent = json!({"count": 1});
        let fields = [("mcp-param-region", "west"), ("mcp-param-count", "1")];
        place.refuses(
            "an argument that is not there",
            &ask(&absent, &fields),
            &json!(7),
            (400, -32020),
            "Mcp-Param-Region",
        );
        // The same number written otherwise is the same; what no schema knows is not looked at.
        for count in ["42", "42.0", "  42 "] {
            let fields = [
                region,
                ("mcp-param-count", count),
                flag,
                ("mcp-param-other", "x"),
            ];
            let answer = ask(&arguments, &fields).send(place.gateway.address);
            assert_eq!(answer.status(), 200, "{count:?}: {}", answer.text());
        }
        let nothing = ask(&json!({"region": null}), &[]).send(place.gateway.address);
        assert_eq!(nothing.status(), 200, "{}", nothing.text());
    }
}
