//! Claims about event streams: what is read whatever the pieces, and that writing is its inverse.

use super::*;

type Owned = (
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Option<u64>,
);

fn run(pieces: &[&[u8]], limit: usize) -> Result<Vec<Owned>, EventTooLong> {
    let mut reader = EventReader::new(limit);
    let mut events = Vec::new();
    let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    for mut piece in pieces.iter().copied() {
        while let Some(event) = reader.next(&mut piece)? {
            events.push((own(event.id), own(event.kind), own(event.data), event.retry));
        }
        assert!(piece.is_empty());
    }
    Ok(events)
}

/// The events of a stream, and that they are the same however the bytes are split in two.
fn read(input: &[u8]) -> Vec<Owned> {
    let whole = run(&[input], 1000).expect("no event is too long");
    for at in 0..=input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(
            run(&[a, b], 1000).as_ref(),
            Ok(&whole),
            "{} at {at}",
            input.escape_ascii()
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(
        run(&bytes, 1000).as_ref(),
        Ok(&whole),
        "{} bytewise",
        input.escape_ascii()
    );
    whole
}

fn data(text: &str) -> Owned {
    (None, None, Some(text.as_bytes().to_vec()), None)
}

#[test]
fn data_is_read() {
    let check = |input: &str, expected: &[&str]| {
        let expected: Vec<Owned> = expected.iter().copied().map(data).collect();
        assert_eq!(read(input.as_bytes()), expected, "{input:?}");
    };
    check("data: a\n\n", &["a"]);
    check("data:a\r\n\r\ndata:  b\r\rdata: c\n\n", &["a", " b", "c"]);
    check("data: a\ndata: b\ndata\n\n", &["a\nb\n"]);
    check("data: a\rdata: b\r\ndata: c\n\r\n", &["a\nb\nc"]);
    check("data: a\r\n\n", &["a"]);
    check("\n\r\n\rdata: a\n\n\n\n", &["a"]);
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]);
    check("\u{feff}\ndata: a\n\n", &["a"]);
    check(":\n\n: comment\n\ndata: a\n: b\ndatax: c\n\n", &["a"]);
    check("data\n\n", &[""]);
    check("data: a", &[]);
    check("data: a\n", &[]);
    check("data: a:b: c\n\n", &["a:b: c"]);
}

#[test]
fn other_fields_are_read() {
    let check = |input: &str, id: Option<&str>, kind: Option<&str>, retry| {
        let own = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
        assert_eq!(
            read(input.as_bytes()),
            [(own(id), own(kind), None, retry)],
            "{input:?}"
        );
    };
    check("id: 1\n\n", Some("1"), None, None);
    check("id: 1\nid\n\n", Some(""), None, None);
    check("id: 1\nid: 2\0\n\n", Some("1"), None, None);
    check("event: x\r\n\r\n", None, Some("x"), None);
    check("retry: 1500\n\n", None, None, Some(1500));
    check("retry: 15a\n\n", None, None, None);
    check("retry: 1\nretry: -1\n\n", None, None, Some(1));
    check("retry: 99999999999999999999\n\n", None, None, None);
    check("retry:\n\n", None, None, None);
}

#[test]
fn only_messages_with_content_are_messages() {
    let check = |input: &[u8], expected| {
        let mut reader = EventReader::new(100);
        let mut input = input;
        let event = reader.next(&mut input).unwrap().unwrap();
        assert_eq!(event.is_message(), expected, "{event:?}");
    };
    check(b"data: a\n\n", true);
    check(b"event: message\ndata: a\n\n", true);
    check(b"event: ping\ndata: a\n\n", false);
    check(b"id: 1\ndata:\n\n", false);
    check(b"id: 1\n\n", false);
}

#[test]
fn event_past_the_limit_is_refused() {
    let event = b"data: 0123456789\n\n";
    let refused = Err(EventTooLong { limit: 16 });
    assert!(run(&[event], 17).is_ok());
    assert_eq!(run(&[event], 16), refused);
    let bytes: Vec<&[u8]> = event.chunks(1).collect();
    assert!(run(&bytes, 17).is_ok());
    assert_eq!(run(&bytes, 16), refused);
    assert_eq!(run(&[&b":".repeat(17)], 16), refused);
}

#[test]
fn whole_event_is_not_copied() {
    let text = b"data: 0123456789\n\ndata: rest".to_vec();
    let mut input = &text[..];
    let mut reader = EventReader::new(100);
    let event = reader.next(&mut input).unwrap().unwrap();
    let range = text.as_ptr_range();
    assert!(range.contains(&event.data.unwrap().as_ptr()));
    assert_eq!(reader.next(&mut input), Ok(None));
    assert_eq!(reader.pending(), b"data: rest".len());
}

#[test]
fn long_buffers_are_given_back() {
    let mut reader = EventReader::new(100_000);
    let long = [b"data: ", &[b'x'; 50_000][..]].concat();
    assert_eq!(reader.next(&mut &long[..]), Ok(None));
    assert!(reader.next(&mut &b"\n\n"[..]).unwrap().is_some());
    assert_eq!(reader.next(&mut &b""[..]), Ok(None));
    assert!(reader.block.capacity() <= BUFFER_BYTES_KEPT);
}

#[test]
fn written_events_are_read_back() {
    let check = |event: Event<'_>, text: &str| {
        let mut out = Vec::new();
        write_event(&mut out, &event);
        assert_eq!(
            out.escape_ascii().to_string(),
            text.as_bytes().escape_ascii().to_string()
        );
        let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
        let expected = (own(event.id), own(event.kind), own(event.data), event.retry);
        out.extend_from_slice(KEEP_ALIVE);
        assert_eq!(read(&out), [expected]);
    };
    let json = Event {
        data: Some(b"{\"a\": 1}"),
        ..Event::default()
    };
    check(json, "data: {\"a\": 1}\n\n");
    let full = Event {
        id: Some(b"7-1"),
        kind: Some(b"message"),
        retry: Some(1000),
        ..json
    };
    check(
        full,
        "id: 7-1\nevent: message\nretry: 1000\ndata: {\"a\": 1}\n\n",
    );
    let priming = Event {
        id: Some(b"1"),
        data: Some(b""),
        ..Event::default()
    };
    check(priming, "id: 1\ndata: \n\n");
}
