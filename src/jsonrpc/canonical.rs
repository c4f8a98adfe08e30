//! A JSON value in the one form that all its spellings share.
//!
//! White space, escapes, the order of members and the way numbers are written are a writer's choice, and a
//! client that sends the same request twice need not choose the same. One pass whatever the depth: what lies
//! under many levels is read once, and moved only where the members of a level are out of order.

use super::decimal::Decimal;
use super::parse::{self, Span};
use super::write;
use memchr::memchr2;

/// Bytes up to which an integer is canonical as it stands.
const PLAIN_BYTES_MAX: usize = 20;

/// Appends the value at `span` of a text that was checked before, in canonical form; of an object, without
/// those members of its own that `left_out` names.
///
/// Members come in the order of their names; those of one name stay in the order they stood in. A string with
/// half a surrogate pair, and a number past all measure, stay as they are written.
pub fn write(out: &mut Vec<u8>, text: &[u8], span: Span, left_out: &[&str]) {
    let mut writer = Writer {
        text: &text[..span.end],
        at: span.start,
        out,
    };
    match writer.next() {
        b'{' => writer.object(left_out),
        _ => writer.value(),
    }
}

/// A member as it was written, as places in what was written.
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
}

struct Writer<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// The first byte of the next token; zero at the end.
    fn next(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.peek()
    }

    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Depth is bounded by that of JSON that was checked.
    fn value(&mut self) {
        match self.next() {
            b'{' => self.object(&[]),
            b'[' => self.array(),
            b'"' => self.string(),
            _ => self.scalar(),
        }
    }

    fn array(&mut self) {
        self.at += 1;
        self.out.push(b'[');
        loop {
            match self.next() {
                b']' | 0 => break,
                b',' => {
                    self.at += 1;
                    self.out.push(b',');
                }
                _ => self.value(),
            }
        }
        self.at += 1;
        self.out.push(b']');
    }

    /// Every member is written with a comma behind it, so that it can be moved; the last becomes the brace.
    fn object(&mut self, left_out: &[&str]) {
        self.at += 1;
        self.out.push(b'{');
        let inside = self.out.len();
        let mut members = Vec::new();
        loop {
            match self.next() {
                b'}' | 0 => break,
                b',' => self.at += 1,
                _ => {
                    let member = self.member();
                    let name = &self.out[member.start + 1..member.name_end - 1];
                    match left_out.iter().any(|other| name == other.as_bytes()) {
                        true => self.out.truncate(member.start),
                        false => members.push(member),
                    }
                }
            }
        }
        self.at += 1;
        let name = |member: &Member| &self.out[member.start..member.name_end];
        if !members.is_sorted_by(|one, other| name(one) <= name(other)) {
            members.sort_by(|one, other| name(one).cmp(name(other)));
            let mut sorted = Vec::with_capacity(self.out.len() - inside);
            for member in &members {
                sorted.extend_from_slice(&self.out[member.start..member.end]);
            }
            self.out.truncate(inside);
            self.out.append(&mut sorted);
        }
        match members.is_empty() {
            true => self.out.push(b'}'),
            false => {
                let last = self.out.len() - 1;
                self.out[last] = b'}';
            }
        }
    }

    fn member(&mut self) -> Member {
        let start = self.out.len();
        self.string();
        let name_end = self.out.len();
        self.next();
        self.at += 1;
        self.out.push(b':');
        self.value();
        self.out.push(b',');
        Member {
            start,
            name_end,
            end: self.out.len(),
        }
    }

    fn string(&mut self) {
        let start = self.at;
        self.at += 1;
        while let Some(at) = memchr2(b'"', b'\\', &self.text[self.at.min(self.text.len())..]) {
            self.at += at + 1;
            if self.text[self.at - 1] == b'"' {
                break;
            }
            self.at += 1;
        }
        let end = self.at;
        match parse::string(self.text, Span { start, end }) {
            Some(string) => write::string(self.out, &string),
            None => self.out.extend_from_slice(&self.text[start..end]),
        }
    }

    fn scalar(&mut self) {
        let start = self.at;
        let ends = |byte| matches!(byte, 0 | b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        while !ends(self.peek()) {
            self.at += 1;
        }
        let raw = &self.text[start..self.at];
        let plain = raw.len() <= PLAIN_BYTES_MAX && raw.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(raw).ok().filter(|_| !plain);
        match number.and_then(Decimal::parse) {
            Some(number) => self.out.extend_from_slice(number.canonical().as_bytes()),
            None => self.out.extend_from_slice(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str, left_out: &[&str]) -> String {
        let span = parse::check(json.as_bytes()).unwrap();
        let mut out = b"before".to_vec();
        write(&mut out, json.as_bytes(), span, left_out);
        String::from_utf8(out.split_off(6)).unwrap()
    }

    #[test]
    fn spellings_of_one_value_share_a_form() {
        let check = |expected: &str, spellings: &[&str]| {
            for json in spellings {
                assert_eq!(canonical(json, &[]), expected, "{json}");
            }
            assert_eq!(canonical(expected, &[]), expected);
        };
        check("{}", &["{ }", "\n{}\t"]);
        check("[[],{}]", &[" [ [ ] , { } ] "]);
        check(
            r#"{"a":{"x":1,"y":[2,3]},"b":null}"#,
            &[
                r#"{"b": null, "a": {"y": [2, 3.0], "x": 1}}"#,
                r#"{"a":{"x":1e0,"y":[2,3]},"\u0062":null}"#,
            ],
        );
        check(r#""é\n\"/""#, &[r#""\u00e9\u000a\u0022\/""#]);
        check(r#"{"a":1,"a":2,"b":0}"#, &[r#"{"a":1,"b":0,"a":2}"#]);
        check(
            r#"[true,false,null,0,15e-1]"#,
            &["[true,false,null,-0,1.5]"],
        );
        check(r#"["\ud800"]"#, &[r#"[ "\ud800" ]"#]);
        check("{\"\":\"\\\\\"}", &[r#"{"":"\u005c"}"#]);
    }

    #[test]
    fn other_values_have_other_forms() {
        let check = |one: &str, other: &str| {
            assert_ne!(canonical(one, &[]), canonical(other, &[]));
        };
        check("1", r#""1""#);
        check("[1,2]", "[2,1]");
        check("[12]", "[1,2]");
        check(r#"{"a":1}"#, r#"{"a":[1]}"#);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#);
        check("9007199254740993", "9007199254740992");
        check(r#""\ud800""#, r#""\\ud800""#);
        check("null", r#""null""#);
    }

    #[test]
    fn only_members_of_the_value_itself_are_left_out() {
        let json = r#"{"b":{"a":1},"a":{"b":2},"c":3,"\u0061":4}"#;
        assert_eq!(canonical(json, &["a"]), r#"{"b":{"a":1},"c":3}"#);
        assert_eq!(canonical(json, &["a", "b", "c"]), "{}");
        assert_eq!(canonical("[{\"a\":1}]", &["a"]), "[{\"a\":1}]");
    }
}
