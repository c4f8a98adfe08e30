//! Event streams: splitting changes nothing, a reader written line by line after the standard agrees,
//! and what is written is read back.

use switchbox::http::sse::{Event, EventReader, EventTooLong, write_event};

#[derive(Debug, Default, PartialEq, Eq)]
struct Owned {
    id: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    retry: Option<u64>,
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        Owned {
            id: event.id.map(<[u8]>::to_vec),
            kind: event.kind.map(<[u8]>::to_vec),
            data: event.data.map(<[u8]>::to_vec),
            retry: event.retry,
        }
    }
}

fn read<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    limit: usize,
) -> Result<Vec<Owned>, EventTooLong> {
    let mut reader = EventReader::new(limit);
    let mut events = Vec::new();
    for mut piece in pieces {
        while let Some(event) = reader.next(&mut piece)? {
            events.push(event.into());
        }
        assert!(piece.is_empty() && reader.pending() <= limit);
    }
    Ok(events)
}

/// The same, a line at a time and with everything copied.
fn read_naively(input: &[u8]) -> Vec<Owned> {
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    let mut lines = vec![Vec::new()];
    let mut after_return = false;
    for &byte in input {
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("there is a line").push(byte),
        }
        after_return = byte == b'\r';
    }
    lines.pop();
    let mut events = Vec::new();
    let mut event = Owned::default();
    let mut says = false;
    for line in lines {
        if line.is_empty() {
            if std::mem::take(&mut says) {
                events.push(std::mem::take(&mut event));
            }
            continue;
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
        says |= matches!(&line[..colon], b"data" | b"event" | b"id" | b"retry");
        match &line[..colon] {
            b"data" => match &mut event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend(value);
                }
                none => *none = Some(value),
            },
            b"event" => event.kind = Some(value),
            b"id" if !value.contains(&0) => event.id = Some(value),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let number = String::from_utf8_lossy(&value).parse().ok();
                event.retry = number.or(event.retry);
            }
            _ => {}
        }
    }
    events
}

pub(crate) fn check(input: &[u8]) {
    let whole = read([input].into_iter(), usize::MAX);
    assert_eq!(whole.as_deref(), Ok(&read_naively(input)[..]));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(
            read(input.chunks(size), usize::MAX),
            whole,
            "in pieces of {size}"
        );
        assert_eq!(
            read(input.chunks(size), 40).is_err(),
            read([input].into_iter(), 40).is_err(),
            "in pieces of {size}, bounded"
        );
    }

    let data: Vec<u8> = input
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let event = Event {
        id: Some(b"7"),
        data: Some(&data),
        ..Event::default()
    };
    let mut out = Vec::new();
    write_event(&mut out, &event);
    assert_eq!(
        read([&out[..]].into_iter(), usize::MAX),
        Ok(vec![event.into()])
    );
}
