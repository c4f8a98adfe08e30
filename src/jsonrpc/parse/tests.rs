//! What the reader accepts, refuses and finds, with serde_json as the second opinion.

use super::*;

#[test]
fn verdict_agrees_with_serde_json() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let cases = [
        "{}",
        "[]",
        "0",
        "-0",
        "1.0",
        "-1.5e+10",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "\"\"",
        "\"a\\u00e9\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"a",
        "tru",
        "true",
        "nul",
        "null",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1]]",
        " [1] ",
        "\u{feff}[]",
        "",
        " ",
        "\"\t\"",
        "[\"a\",{\"b\":[null,false]}]",
        "{\"a\":{\"a\":{}}}",
        "'a'",
        "NaN",
        "Infinity",
        "1e5",
        "1E-5",
        "[-]",
        "--1",
        "\"\\\"\"",
        "\"\\\\\"",
        "\"\\\\\\\"",
        "/**/1",
        "{\"a\":1 \"b\":2}",
    ];
    for case in cases.iter().map(|c| c.to_string()).chain([deep(100)]) {
        let second = serde_json::from_str::<serde_json::Value>(&case).is_ok();
        assert_eq!(check(case.as_bytes()).is_ok(), second, "{case}");
    }
}

#[test]
fn string_ends_where_it_ends_whatever_stands_around_it() {
    for length in 0..20 {
        for at in 0..=length {
            let plain: String = "aé\u{7f}ü~ xyzé0123456789".chars().take(length).collect();
            let (left, right) = plain.split_at(plain.floor_char_boundary(at));
            let check = |middle: &str, expected: bool| {
                let text = format!("[\"{left}{middle}{right}\",1]");
                assert_eq!(super::check(text.as_bytes()).is_ok(), expected, "{text:?}");
            };
            check("", true);
            check("\\\\", true);
            check("\\\"", true);
            check("\"", false);
            check("\u{1f}", false);
            check("\u{0}", false);
            check("\n", false);
        }
    }
}

#[test]
fn depth_is_bounded_at_the_limit() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(check(deep(JSON_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        check(deep(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err().at,
        JSON_DEPTH_MAX
    );
}

#[test]
fn what_is_not_utf_8_is_refused() {
    assert_eq!(
        check(b"\"\xff\"").unwrap_err(),
        ParseError {
            at: 1,
            fact: "not UTF-8"
        }
    );
}

#[test]
fn what_is_known_changes_neither_verdict_nor_places() {
    let known = r#"{"a":[1,"}"],"b":{"c":{}}}"#;
    let deep = format!(r#"{{"p":{{"_meta":@,"x":{}"#, "[".repeat(JSON_DEPTH_MAX));
    for text in [
        r#"{"id":1,"params":{"_meta":@,"name":"t"}}"#,
        r#" { "params" : { "name" : "t" , "_meta" : @ } } "#,
        r#"{"params":{"_meta":@@}}"#,
        r#"{"params":{"_meta":@x}}"#,
        r#"{"params":{"_meta":@"#,
        r#"{"params":{"_meta":"@"}}"#,
        r#"{"params":{@:1}}"#,
        r#"{"_meta":@,"params":[@,@]}"#,
        r#"{"params":{"_meta":{"_meta":@}}}"#,
        "@",
        &deep,
    ] {
        let text = text.replace('@', known);
        let text = text.as_bytes();
        let mut shown = Vec::new();
        let verdict = check_members(text, known.as_bytes(), |key, value| {
            shown.push((key, value))
        });
        assert_eq!(verdict, check(text), "{}", String::from_utf8_lossy(text));
        let Ok(whole) = verdict else { continue };
        assert!(members(text, whole).eq(shown));
        for span in members(text, whole).map(|(_, value)| value) {
            assert!(members_knowing(text, span, known.as_bytes()).eq(members(text, span)));
        }
    }
}

#[test]
fn members_are_found_where_they_stand() {
    let text = br#" { "a" : [1, {"b": 2}] ,"c\u0064":"x,}" , "e": -1.50 } "#;
    let span = check(text).unwrap();
    let found: Vec<(String, String)> = members(text, span)
        .map(|(k, v)| {
            (
                k.text().unwrap().into_owned(),
                String::from_utf8(v.of(text).to_vec()).unwrap(),
            )
        })
        .collect();
    let expected = [
        ("a", r#"[1, {"b": 2}]"#),
        ("cd", r#""x,}""#),
        ("e", "-1.50"),
    ];
    assert_eq!(found, expected.map(|(k, v)| (k.to_string(), v.to_string())));
}

#[test]
fn elements_are_found_where_they_stand() {
    let text = br#"[1,"]",[2,[3]], {} ]"#;
    let found: Vec<&[u8]> = elements(text, check(text).unwrap())
        .map(|s| s.of(text))
        .collect();
    assert_eq!(found, [&b"1"[..], b"\"]\"", b"[2,[3]]", b"{}"]);
}

#[test]
fn key_is_known_however_it_is_escaped_and_however_it_is_cased() {
    let check = |json: &str, name: &str, is: bool, resembles: bool| {
        let text = format!("{{{json}:1}}");
        let span = super::check(text.as_bytes()).unwrap();
        let (key, _) = members(text.as_bytes(), span).next().unwrap();
        assert_eq!(
            (key.is(name), key.resembles(name)),
            (is, resembles),
            "{json}"
        );
    };
    check(r#""method""#, "method", true, false);
    check(r#""m\u0065thod""#, "method", true, false);
    check(r#""Method""#, "method", false, true);
    check("\"param\u{17f}\"", "params", false, true);
    check(r#""param\u017f""#, "params", false, true);
    check("\"to\u{212a}en\"", "token", false, true);
    check(r#""other""#, "method", false, false);
}

#[test]
fn strings_are_unescaped_as_serde_json_does() {
    for json in [
        r#""a\"b\\c\/d\b\f\n\r\t""#,
        r#""\u00e9\ud83d\ude00""#,
        r#""plain é""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
    ] {
        let text = json.as_bytes();
        let span = check(text).unwrap();
        let second = serde_json::from_str::<String>(json).ok();
        assert_eq!(string(text, span).map(Cow::into_owned), second, "{json}");
    }
}

#[test]
fn key_is_found_among_names_as_one_by_one() {
    let names = ["name", "_meta", "task", "ids"];
    for key in [
        "name",
        "Name",
        "n\\u0061me",
        "N\\u0061me",
        "tas\\u212a",
        "tas\u{212a}",
        "id\u{17f}",
        "\\ud800",
        "",
        "names",
    ] {
        let json = format!("{{\"{key}\":0}}");
        let span = check(json.as_bytes()).unwrap();
        let (key, _) = members(json.as_bytes(), span).next().unwrap();
        let is = names.iter().position(|name| key.is(name));
        let resembles = names.iter().position(|name| key.resembles(name));
        let expected = match (is, resembles) {
            (Some(place), _) => Among::Is(place),
            (None, Some(place)) => Among::Resembles(place),
            (None, None) => Among::Unknown,
        };
        assert_eq!(key.among(&names), expected, "{json}");
    }
}

#[test]
fn cursor_passes_through_everything_once() {
    fn walk(cursor: &mut Cursor<'_>, out: &mut String) {
        if cursor.enter_object() {
            out.push('{');
            while let Some(key) = cursor.member() {
                out.push_str(&key.text().unwrap());
                walk(cursor, out);
            }
            out.push('}');
        } else if cursor.enter_array() {
            out.push('[');
            while cursor.element() {
                walk(cursor, out);
            }
            out.push(']');
        } else {
            let start = cursor.place();
            assert_eq!(cursor.pass().unwrap().start, start);
            out.push('.');
        }
    }
    let check = |json: &str, expected: &str| {
        let span = super::check(json.as_bytes()).unwrap();
        let mut cursor = Cursor::new(json.as_bytes(), span);
        let mut shape = String::new();
        walk(&mut cursor, &mut shape);
        assert_eq!((shape.as_str(), cursor.place()), (expected, span.end));
    };
    check(" 7 ", ".");
    check("[ ]", "[]");
    check(
        r#" { "a" : [ {} , [ ] , "]" ] , "b":{"c\u0064" :-1.5}, "e": null } "#,
        "{a[{}[].]b{cd.}e.}",
    );
    check(
        &format!("{}{}", "[".repeat(128), "]".repeat(128)),
        &format!("{}{}", "[".repeat(128), "]".repeat(128)),
    );
}
