//! What a client makes of the bytes that it is sent: strictly HTTP/1.1 and event streams, or lines.

use serde_json::Value;
use switchbox::http::sse::EventReader;
use switchbox::http::{Chunks, ContentKind, Decoded, ResponseFraming, ResponseHead};

/// A reader of one connection.
#[derive(Default)]
pub(crate) struct Reader {
    input: Vec<u8>,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Head,
    Length {
        left: usize,
        json: bool,
        body: Vec<u8>,
    },
    Chunked(Chunks, Box<EventReader>),
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Heard {
    Head {
        status: u16,
        session: Option<String>,
        closes: bool,
        streams: bool,
    },
    /// A message, and the id of the event that brought it.
    Message(Value, Option<String>),
    /// An event that only has an id.
    Id(String),
    /// Where the messages of an HTTP+SSE client go.
    Endpoint(String),
    /// The response is complete.
    End,
    /// A line.
    Line(Value),
}

impl Reader {
    pub(crate) fn read_lines(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.input.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while let Some(end) = self.input.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            heard.push(Heard::Line(json(&line)));
        }
        heard
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.input.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while self.advance(&mut heard) {}
        heard
    }

    /// Reads on; whether there may be more to read.
    fn advance(&mut self, heard: &mut Vec<Heard>) -> bool {
        match &mut self.state {
            State::Head => {
                if self.input.is_empty() {
                    return false;
                }
                let parsed = ResponseHead::parse(&self.input);
                let parsed = parsed.unwrap_or_else(|e| {
                    panic!("not HTTP: {e}: {}", crate::world::shown(&self.input))
                });
                let Some((head, used)) = parsed else {
                    return false;
                };
                let streams = head.content == ContentKind::EventStream;
                heard.push(Heard::Head {
                    status: head.status,
                    session: head.session_id.map(String::from),
                    closes: !head.keep_alive,
                    streams,
                });
                self.state = match head.framing {
                    ResponseFraming::None => panic!("HTTP {} has no length", head.status),
                    ResponseFraming::UntilClose => {
                        panic!("a response to HTTP/1.1 ends with the connection")
                    }
                    ResponseFraming::Length(length) => {
                        assert!(!streams, "an event stream of known length");
                        State::Length {
                            left: length as usize,
                            json: head.content == ContentKind::Json,
                            body: Vec::new(),
                        }
                    }
                    ResponseFraming::Chunked => {
                        assert!(streams, "only event streams come in chunks");
                        State::Chunked(Chunks::new(), Box::new(EventReader::new(1 << 20)))
                    }
                };
                self.input.drain(..used);
            }
            State::Length {
                left,
                json: is_json,
                body,
            } => {
                let count = (*left).min(self.input.len());
                body.extend(self.input.drain(..count));
                *left -= count;
                if *left > 0 {
                    return false;
                }
                if *is_json {
                    heard.push(Heard::Message(json(body), None));
                }
                heard.push(Heard::End);
                self.state = State::Head;
            }
            State::Chunked(chunks, events) => {
                let all = std::mem::take(&mut self.input);
                let mut rest = &all[..];
                let ended = loop {
                    match chunks.decode(&mut rest).expect("chunks are well formed") {
                        Decoded::Content(mut part) => {
                            while let Some(event) =
                                events.next(&mut part).expect("events are short")
                            {
                                let id =
                                    event.id.map(|id| String::from_utf8_lossy(id).into_owned());
                                let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
                                if event.kind == Some(b"endpoint") {
                                    let data = event.data.expect("an endpoint");
                                    heard.push(Heard::Endpoint(text(data)));
                                    continue;
                                }
                                match (event.data.filter(|data| !data.is_empty()), id) {
                                    (Some(data), id) => heard.push(Heard::Message(json(data), id)),
                                    (None, Some(id)) => heard.push(Heard::Id(id)),
                                    (None, None) => {}
                                }
                            }
                        }
                        Decoded::More => break false,
                        Decoded::End => break true,
                    }
                };
                self.input = rest.to_vec();
                if !ended {
                    assert!(self.input.is_empty(), "the reader of chunks left bytes");
                    return false;
                }
                assert_eq!(
                    events.pending(),
                    0,
                    "a stream ended in the middle of an event"
                );
                heard.push(Heard::End);
                self.state = State::Head;
            }
        }
        true
    }
}

fn json(text: &[u8]) -> Value {
    let parsed = serde_json::from_slice(text);
    parsed.unwrap_or_else(|e| panic!("not JSON: {e}: {}", String::from_utf8_lossy(text)))
}
