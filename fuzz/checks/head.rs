//! Heads: splitting changes no verdict, a naive reader agrees with what was accepted, and what is
//! written of an accepted head is read as the same.

use switchbox::config::limits::{HEAD_BYTES_MAX, TARGET_BYTES_MAX};
use switchbox::http::{Familiar, Framing, HeadEnd, RequestHead, ResponseHead, Version, write};

/// Everything a head says, to compare by.
fn said(head: &RequestHead<'_>) -> String {
    let fields: Vec<_> = head.fields().collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {fields:?}",
        head.method, head.target, head.host, head.framing, head.keep_alive, head.accept
    )
}

/// Lengths at which to look at an input that arrives in pieces.
fn lengths(input: &[u8]) -> impl Iterator<Item = usize> {
    let step = input.len() / 300 + 1;
    (1..input.len()).step_by(step).chain([input.len()])
}

pub(crate) fn check(input: &[u8]) {
    let whole = RequestHead::parse(input);
    let mut end = HeadEnd::default();
    let pieces = lengths(input)
        .map(|length| RequestHead::parse_in_pieces(&input[..length], &mut end))
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(format!("{pieces:?}"), format!("{whole:?}"));
    if let Ok(Some((head, used))) = whole {
        check_naively(&head, &input[..used]);
        check_written(&head, used);
        check_familiar(&head, &input[..used]);
    }

    let whole = ResponseHead::parse(input);
    let mut end = HeadEnd::default();
    let pieces = lengths(input)
        .map(|length| ResponseHead::parse_in_pieces(&input[..length], &mut end))
        .find(|verdict| !matches!(verdict, Ok(None)))
        .unwrap_or(Ok(None));
    assert_eq!(format!("{pieces:?}"), format!("{whole:?}"));
}

/// A head that is known by the one before it is what it is read as, also when a byte of it differs.
fn check_familiar(head: &RequestHead<'_>, bytes: &[u8]) {
    let Some(known) = Familiar::of(head) else {
        return;
    };
    let mut bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes).to_vec();
    let same = known.read(&bytes).map(|(head, _)| head);
    assert_eq!(same.as_ref(), Some(head));
    for at in 0..bytes.len() {
        let byte = bytes[at];
        for other in [b'0', b'7', b' ', b'\n', byte ^ 0x20] {
            bytes[at] = other;
            if let Some(found) = known.read(&bytes) {
                assert_eq!(RequestHead::parse(&bytes), Ok(Some(found)));
            }
        }
        bytes[at] = byte;
    }
}

fn check_naively(head: &RequestHead<'_>, bytes: &[u8]) {
    assert!(bytes.len() <= HEAD_BYTES_MAX);
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.trim_start_matches("\r\n").split("\r\n").collect();
    let [_, fields @ .., "", ""] = &lines[..] else {
        panic!("a head ends in an empty line");
    };
    assert!(fields.iter().all(|line| !line.contains(['\r', '\n', '\0'])));
    let values = |name: &str| -> Vec<&str> {
        let fields = fields.iter().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    };
    assert_eq!(fields.len(), head.fields().count());
    let hosts: Vec<&str> = head.host.iter().map(|host| host.text).collect();
    assert_eq!(values("host"), hosts);
    let (length, chunked) = match head.framing {
        Framing::None => (vec![], 0),
        Framing::Length(length) => (vec![length.to_string()], 0),
        Framing::Chunked => (vec![], 1),
    };
    assert_eq!(values("content-length"), length);
    assert_eq!(values("transfer-encoding").len(), chunked);
}

fn check_written(head: &RequestHead<'_>, used: usize) {
    let target = match (head.target.authority, head.target.query) {
        (None, None) => head.target.path.to_string(),
        (None, Some(query)) => format!("{}?{query}", head.target.path),
        (Some(authority), None) => format!("http://{authority}{}", head.target.path),
        (Some(authority), Some(query)) => format!("http://{authority}{}?{query}", head.target.path),
    };
    let longer = 256;
    if head.version == Version::Http10
        || used + longer > HEAD_BYTES_MAX
        || target.len() > TARGET_BYTES_MAX
    {
        return;
    }
    let mut out = Vec::new();
    write::request_line(&mut out, head.method, &target);
    for (name, value) in head.fields() {
        write::field(&mut out, name, value);
    }
    write::end(&mut out);
    let again = RequestHead::parse(&out);
    let (again, length) = again.expect("it was accepted once").expect("it is whole");
    assert_eq!(length, out.len());
    assert_eq!(said(&again), said(head));
}
