//! JSON-RPC: the verdict agrees with serde_json's, what was found is where serde_json finds it, and a message
//! with another id is the same message otherwise.

use serde_json::Value;
use serde_json::value::RawValue;
use switchbox::config::limits::JSON_DEPTH_MAX;
use switchbox::jsonrpc::envelope::{Envelope, Kind};
use switchbox::jsonrpc::parse::{self, Span};
use switchbox::jsonrpc::write;

pub(crate) fn check(input: &[u8]) {
    let ours = parse::check(input);
    // `RawValue` accepts any depth; ours ends at the limit, which is the only lawful difference.
    let theirs = serde_json::from_slice::<&RawValue>(input);
    match ours {
        Ok(whole) => {
            let raw = theirs.expect("serde_json accepts what we accept");
            assert_eq!(raw.get().as_bytes(), whole.of(input));
            check_members(input, whole);
        }
        Err(error) => {
            assert!(error.at <= input.len());
            let deep = error.fact.starts_with("nested") && depth(input) > JSON_DEPTH_MAX;
            assert!(deep || theirs.is_err(), "{error}");
        }
    }
    if let Ok(envelope) = Envelope::parse(input) {
        check_envelope(&envelope);
    }
}

/// The members of an object are those that serde_json sees, where no name stands there twice.
fn check_members(input: &[u8], whole: Span) {
    let Ok(Value::Object(theirs)) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let ours: Vec<_> = parse::members(input, whole).collect();
    if ours.len() != theirs.len() {
        return;
    }
    for (key, place) in ours {
        let name = key.text().expect("serde_json resolved it");
        let value: Value = serde_json::from_slice(place.of(input)).expect("a member is a value");
        assert_eq!(theirs.get(&*name), Some(&value));
        assert!(key.is(&name) && !key.resembles(&name));
    }
}

fn check_envelope(envelope: &Envelope<'_>) {
    let text = envelope.text;
    let places = envelope.params.map(|params| parse::members(text, params));
    for (_, known) in places.into_iter().flatten() {
        if text[known.start] == b'{' {
            let again = Envelope::parse_knowing(text, known.of(text)).expect("it was read before");
            assert_eq!(again.kind, envelope.kind);
            assert_eq!(again.params, envelope.params);
        }
    }
    let (Kind::Request { id, .. } | Kind::Result { id, .. }) = &envelope.kind else {
        return;
    };
    let mut changed = Vec::new();
    write::spliced(&mut changed, text, &[(*id, b"\"another\"")]);
    let again = Envelope::parse(&changed).expect("only the id is another");
    assert_eq!(again.id(), Some(&b"\"another\""[..]));
    let mut back = Vec::new();
    let (Kind::Request { id: place, .. } | Kind::Result { id: place, .. }) = &again.kind else {
        panic!("a message of another kind");
    };
    write::spliced(&mut back, &changed, &[(*place, id.of(text))]);
    assert_eq!(back, text);
}

/// How deep brackets outside strings are nested at most.
fn depth(input: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in input {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
