//! `requestState`: a token opens to what was sealed, for the same request however it is spelt, and for nothing
//! else; no changed token opens. The canonical form of a value is the same value. The id of a task leads back to its
//! server's own, for its principal alone.

use serde_json::Value;
use switchbox::id::WorkerId;
use switchbox::jsonrpc::canonical;
use switchbox::jsonrpc::parse::{self, Span};
use switchbox::mcp::state::{Binding, Payload, Sealer, StateError};
use switchbox::mcp::task::{Task, TaskIds};
use switchbox::time::Time;

/// The input is 16 bytes of payload and up to four lines: principal, method, a token, params.
pub(crate) fn check(input: &[u8]) {
    let Some((numbers, rest)) = input.split_at_checked(16) else {
        return;
    };
    let number = |at| u32::from_le_bytes([0, 1, 2, 3].map(|n: usize| numbers[at + n]));
    let payload = Payload {
        worker: WorkerId(numbers[3]),
        slot: number(0),
        generation: number(4),
        round: number(8),
        expires: Time::from_micros(number(12).into()),
    };
    let text = String::from_utf8_lossy(rest);
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (principal, method, token, params) = (next(), next(), next(), next());
    let place = parse::check(params.as_bytes()).ok();
    let binding = Binding::of(Some(principal), "s", method, params.as_bytes(), place);
    let sealer = Sealer::new(&[numbers[0]; 32]);
    let sealed = sealer.seal(&payload, &binding);
    check_opened(&sealer, &payload, &sealed, &binding);
    for other in [
        Binding::of(Some(principal), "other", method, params.as_bytes(), place),
        Binding::of(None, "s", method, params.as_bytes(), place),
        Binding::of(
            Some(principal),
            "s",
            "",
            params.as_bytes(),
            place.filter(|_| method.is_empty()),
        ),
        Binding::of(
            Some(principal),
            "s",
            method,
            b"[0]",
            parse::check(b"[0]").ok(),
        ),
    ] {
        if other != binding {
            let verdict = sealer.open(&sealed, Time::ZERO, &other);
            assert_eq!(verdict, Err(StateError::Foreign));
        }
    }
    check_task(principal, method, token);
    if token != sealed {
        assert!(sealer.open(token, Time::ZERO, &binding).is_err());
    }
    if let Some(place) = place {
        check_canonical(params.as_bytes(), place);
        if let Some(respelt) = respelt(params.as_bytes(), place) {
            let place = parse::check(respelt.as_bytes()).ok();
            let again = Binding::of(Some(principal), "s", method, respelt.as_bytes(), place);
            assert_eq!(again, binding, "{respelt}");
        }
    }
}

/// The task `id` of the server `server`, which nobody but this principal knows.
fn check_task(principal: &str, server: &str, id: &str) {
    let ids = TaskIds::new(&[]);
    let sealed = ids.seal(server, Some(principal), id);
    let task = Task {
        server: server.into(),
        id: id.into(),
    };
    assert_eq!(ids.open(&sealed, Some(principal)), Some(task));
    assert_eq!(ids.open(&sealed, None), None);
    assert_eq!(ids.open(&sealed, Some(&format!("{principal} "))), None);
    // Nobody made this one, so it is an id only if it is made just like this again.
    if let Some(found) = ids.open(id, Some(principal)) {
        assert_eq!(ids.seal(&found.server, Some(principal), &found.id), id);
    }
}

fn check_opened(sealer: &Sealer, payload: &Payload, sealed: &str, binding: &Binding) {
    let verdict = |token: &str, now| sealer.open(token, now, binding);
    assert_eq!(verdict(sealed, payload.expires), Err(StateError::Expired));
    if payload.expires > Time::ZERO {
        assert_eq!(verdict(sealed, Time::ZERO), Ok(*payload));
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.to_owned().into_bytes();
        changed[at] ^= 1 << ((payload.slot as usize + at) % 7);
        let changed = String::from_utf8(changed).expect("it is ASCII");
        let verdict = verdict(&changed, Time::ZERO);
        let refused = matches!(verdict, Err(StateError::Forged | StateError::Malformed));
        assert!(refused, "{verdict:?}");
    }
    let other = Sealer::new(&[payload.slot.to_le_bytes()[0].wrapping_add(1); 32]);
    let verdict = other.open(sealed, Time::ZERO, binding);
    assert_eq!(verdict, Err(StateError::Forged));
}

fn check_canonical(text: &[u8], place: Span) {
    let mut once = Vec::new();
    canonical::write(&mut once, text, place, &[]);
    let whole = parse::check(&once).expect("it is JSON");
    assert_eq!(whole.of(&once), once, "nothing stands around it");
    let mut twice = Vec::new();
    canonical::write(&mut twice, &once, whole, &[]);
    assert_eq!(twice, once);
    // Past the range of a float serde_json gives up, on both sides or because only one spells the exponent.
    let (theirs, ours) = (serde_json::from_slice(text), serde_json::from_slice(&once));
    if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
        assert!(same(&theirs, &ours), "{theirs} and {ours}");
    }
}

/// Whether two values are one, numbers compared as floats.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

/// The value as another client would write it: members the other way round, more space, `_meta` anew. `None`
/// where serde_json would change it.
fn respelt(text: &[u8], place: Span) -> Option<String> {
    let mut value: Value = serde_json::from_slice(place.of(text)).ok()?;
    if members(text, place) != count(&value)? {
        return None;
    }
    turn(&mut value);
    if let Value::Object(params) = &mut value {
        params.insert("_meta".into(), Value::Null);
        params.remove("requestState");
        params.insert("inputResponses".into(), true.into());
    }
    serde_json::to_string_pretty(&value).ok()
}

fn members(text: &[u8], place: Span) -> usize {
    let own = parse::members(text, place).map(|(_, value)| 1 + members(text, value));
    let inner = parse::elements(text, place).map(|value| members(text, value));
    own.sum::<usize>() + inner.sum::<usize>()
}

/// How many members there are; `None` if a number is no plain integer.
fn count(value: &Value) -> Option<usize> {
    match value {
        Value::Number(number) => (number.is_i64() || number.is_u64()).then_some(0),
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(members) => members.values().map(|v| count(v).map(|n| n + 1)).sum(),
        _ => Some(0),
    }
}

fn turn(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(turn),
        Value::Object(members) => {
            let all = std::mem::take(members);
            let turned = all.into_iter().collect::<Vec<_>>().into_iter().rev();
            *members = turned
                .map(|(name, mut value)| {
                    turn(&mut value);
                    (name, value)
                })
                .collect();
        }
        _ => {}
    }
}
