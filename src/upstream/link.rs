//! One connection to an HTTP server, carrying one request at a time.
//!
//! Bytes out are queued by whoever has a request to send; bytes in become [`Arrival`]s. A response that
//! arrives whole is handed out where it lies. The link knows HTTP and event streams, not what is said.

use crate::config::limits::ANSWER_BYTES_MAX;
use crate::http::body::{Chunks, Decoded};
use crate::http::head::HeadEnd;
use crate::http::outbox::Outbox;
use crate::http::response::{ContentKind, ResponseFraming, ResponseHead};
use crate::http::sse::{Event, EventReader};
use std::fmt;
use std::time::Duration;

/// A connection to a server.
#[derive(Debug, Default)]
pub struct Link {
    /// What is to be sent.
    pub outbox: Outbox,
    buffer: Vec<u8>,
    head_end: HeadEnd,
    reading: Reading,
    keep_alive: bool,
    keep_alive_timeout: Option<Duration>,
}

#[derive(Debug, Default)]
enum Reading {
    /// No request is out; nothing may come.
    #[default]
    Idle,
    /// A request is out; its response's head is due.
    Head,
    /// The rest of a body that is wanted whole.
    Body(Framing),
    /// An event stream.
    Events(Framing, Box<EventReader>),
    /// The stream or connection broke, or carried what cannot be framed.
    Broken,
}

#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// What a response's head said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// HTTP status.
    pub status: u16,
    /// What the body is.
    pub content: ContentKind,
    /// The server's id for this conversation, if it gave one.
    pub session_id: Option<String>,
}

/// A piece of a response.
#[derive(Debug)]
pub enum Arrival<'a> {
    /// The head of the response, once.
    Opening(Opening),
    /// The whole body, of a response that is no event stream.
    Body(&'a [u8]),
    /// An event.
    Event(Event<'a>),
    /// The response is complete.
    Done,
}

/// Why a response cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkError(pub &'static str);

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Link {
    /// Notes that a request was queued in the outbox: its response may come.
    pub fn expect(&mut self) {
        assert!(
            matches!(self.reading, Reading::Idle),
            "a link carries one request at a time"
        );
        self.reading = Reading::Head;
        self.head_end = HeadEnd::default();
    }

    /// Whether no response is due.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Idle)
    }

    /// Whether another request may be sent on it once it is idle.
    pub fn is_reusable(&self) -> bool {
        self.is_idle() && self.keep_alive
    }

    /// How long the server keeps it open when idle, if it said so.
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        self.keep_alive_timeout
    }

    /// Reads on, and says what `input` means, piece by piece.
    ///
    /// # Errors
    /// The server broke HTTP or a limit; the link must be closed.
    pub fn read(
        &mut self,
        input: &[u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<(), LinkError> {
        let read = self.advance(input, arrive);
        if read.is_err() {
            self.reading = Reading::Broken;
        }
        read
    }

    fn advance(
        &mut self,
        mut input: &[u8],
        arrive: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<(), LinkError> {
        loop {
            match &mut self.reading {
                Reading::Broken => return Ok(()),
                Reading::Idle if input.is_empty() => return Ok(()),
                Reading::Idle => return Err(LinkError("it sent what was not asked for")),
                Reading::Head => {
                    let opening = if self.buffer.is_empty() {
                        match ResponseHead::parse(input).map_err(|_| BAD_HEAD)? {
                            Some((head, used)) => {
                                input = &input[used..];
                                Some(self.open(&head))
                            }
                            None => {
                                self.buffer.extend_from_slice(input);
                                None
                            }
                        }
                    } else {
                        self.buffer.extend_from_slice(input);
                        let buffer = std::mem::take(&mut self.buffer);
                        match ResponseHead::parse_in_pieces(&buffer, &mut self.head_end)
                            .map_err(|_| BAD_HEAD)?
                        {
                            Some((head, used)) => {
                                // All that was kept before belongs to the head.
                                input = &input[input.len() - (buffer.len() - used)..];
                                Some(self.open(&head))
                            }
                            None => {
                                self.buffer = buffer;
                                None
                            }
                        }
                    };
                    match opening {
                        // 1xx: the real one follows.
                        Some(opening) if opening.status < 200 => {
                            self.reading = Reading::Head;
                            self.head_end = HeadEnd::default();
                        }
                        Some(opening) => arrive(Arrival::Opening(opening)),
                        None => return Ok(()),
                    }
                }
                Reading::Body(framing) => {
                    let whole = match framing {
                        Framing::Length(length)
                            if self.buffer.is_empty() && *length <= input.len() as u64 =>
                        {
                            let (body, rest) = input.split_at(*length as usize);
                            input = rest;
                            self.reading = Reading::Idle;
                            arrive(Arrival::Body(body));
                            arrive(Arrival::Done);
                            continue;
                        }
                        Framing::Length(length) => {
                            if *length > ANSWER_BYTES_MAX as u64 {
                                return Err(TOO_LONG);
                            }
                            let missing = *length as usize - self.buffer.len();
                            let (part, rest) = input.split_at(missing.min(input.len()));
                            self.buffer.extend_from_slice(part);
                            input = rest;
                            self.buffer.len() == *length as usize
                        }
                        Framing::Chunked(chunks) => loop {
                            match chunks.decode(&mut input).map_err(|_| BAD_CHUNKS)? {
                                Decoded::Content(part) => self.buffer.extend_from_slice(part),
                                Decoded::More => break false,
                                Decoded::End => break true,
                            }
                            if self.buffer.len() > ANSWER_BYTES_MAX {
                                return Err(TOO_LONG);
                            }
                        },
                        Framing::UntilClose => {
                            self.buffer.extend_from_slice(input);
                            input = &[];
                            if self.buffer.len() > ANSWER_BYTES_MAX {
                                return Err(TOO_LONG);
                            }
                            false
                        }
                    };
                    if !whole {
                        return Ok(());
                    }
                    self.reading = Reading::Idle;
                    let body = std::mem::take(&mut self.buffer);
                    arrive(Arrival::Body(&body));
                    arrive(Arrival::Done);
                }
                Reading::Events(framing, events) => {
                    let (mut part, ends) = match framing {
                        Framing::Length(length) => {
                            let (part, rest) =
                                input.split_at((*length).min(input.len() as u64) as usize);
                            input = rest;
                            *length -= part.len() as u64;
                            (part, *length == 0)
                        }
                        Framing::Chunked(chunks) => {
                            match chunks.decode(&mut input).map_err(|_| BAD_CHUNKS)? {
                                Decoded::Content(part) => (part, false),
                                Decoded::More => return Ok(()),
                                Decoded::End => (&[][..], true),
                            }
                        }
                        Framing::UntilClose => (std::mem::take(&mut input), false),
                    };
                    while let Some(event) = events.next(&mut part).map_err(|_| EVENT_TOO_LONG)? {
                        arrive(Arrival::Event(event));
                    }
                    if ends {
                        self.reading = Reading::Idle;
                        arrive(Arrival::Done);
                    } else if input.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The server closed its side. The body that this completes, if it does; an error if a response is
    /// cut short by it.
    pub fn ended(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        self.keep_alive = false;
        match std::mem::replace(&mut self.reading, Reading::Broken) {
            Reading::Idle | Reading::Events(Framing::UntilClose, _) => Ok(None),
            Reading::Body(Framing::UntilClose) => Ok(Some(std::mem::take(&mut self.buffer))),
            Reading::Head => Err(LinkError("it closed the connection before answering")),
            _ => Err(LinkError(
                "it closed the connection in the middle of its answer",
            )),
        }
    }

    fn open(&mut self, head: &ResponseHead<'_>) -> Opening {
        self.keep_alive = head.keep_alive;
        self.keep_alive_timeout = head.keep_alive_timeout;
        let framing = match head.framing {
            ResponseFraming::None => Framing::Length(0),
            ResponseFraming::Length(length) => Framing::Length(length),
            ResponseFraming::Chunked => Framing::Chunked(Chunks::new()),
            ResponseFraming::UntilClose => {
                self.keep_alive = false;
                Framing::UntilClose
            }
        };
        self.reading = if head.content == ContentKind::EventStream {
            Reading::Events(framing, Box::new(EventReader::new(ANSWER_BYTES_MAX)))
        } else {
            Reading::Body(framing)
        };
        Opening {
            status: head.status,
            content: head.content,
            session_id: head.session_id.map(String::from),
        }
    }
}

const BAD_HEAD: LinkError = LinkError("its response head is not HTTP/1.1");
const BAD_CHUNKS: LinkError = LinkError("the chunks of its answer are malformed");
const TOO_LONG: LinkError = LinkError("its answer exceeds 16 MiB");
const EVENT_TOO_LONG: LinkError = LinkError("an event of its stream exceeds 16 MiB");
const _: () = assert!(
    ANSWER_BYTES_MAX == 16 * 1024 * 1024,
    "the two texts above name the limit"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that arrives when `text` comes in pieces of `step` bytes, as one text.
    fn arrivals(text: &[u8], step: usize) -> Result<String, LinkError> {
        let mut link = Link::default();
        link.expect();
        let mut seen = String::new();
        for piece in text.chunks(step) {
            link.read(piece, &mut |arrival| {
                seen += &match arrival {
                    Arrival::Opening(o) => {
                        format!("[{} {:?} {:?}]", o.status, o.content, o.session_id)
                    }
                    Arrival::Body(body) => format!("({})", String::from_utf8_lossy(body)),
                    Arrival::Event(e) => {
                        format!("<{}>", String::from_utf8_lossy(e.data.unwrap_or(b"-")))
                    }
                    Arrival::Done => ".".to_string(),
                };
            })?;
        }
        if let Some(body) = link.ended()? {
            seen += &format!("({})", String::from_utf8_lossy(&body));
        }
        Ok(seen)
    }

    #[test]
    fn responses_mean_the_same_however_they_are_cut() {
        let check = |text: &str, expected: &str| {
            for step in 1..=text.len() {
                assert_eq!(
                    arrivals(text.as_bytes(), step).as_deref(),
                    Ok(expected),
                    "in steps of {step}: {text}"
                );
            }
        };
        check(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s\r\nContent-Length: 2\r\n\r\n{}",
            "[200 Json Some(\"s\")]({}).",
        );
        check(
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
            "[202 Unstated None]().",
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\nb\r\n\ndata: 23\n\n\r\n0\r\n\r\n",
            "[200 EventStream None]<1><23>.",
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            "[200 Json None]({}).",
        );
        check(
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
            "[200 Json None]({})",
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: 1\n\n",
            "[200 EventStream None]<1>.",
        );
    }

    #[test]
    fn cut_and_surplus_answers_are_errors() {
        let check = |text: &str, fact: &str| {
            let error = arrivals(text.as_bytes(), text.len().max(1)).unwrap_err();
            assert!(error.0.contains(fact), "{text}: {error}");
        };
        check("", "before answering");
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "in the middle",
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}",
            "not asked for",
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "exceeds 16 MiB",
        );
        check("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "malformed",
        );
    }
}
