//! One client's HTTP/1.1 connection: bytes in, requests out, answers in, bytes out.
//!
//! ```text
//!            receive                       respond
//!   Head ───────────────▶ (Body) ─▶ Answer ─────────▶ Head            kept alive
//!     │                      │        │ begin_stream   ▲
//!     │ refused, idle        │        ▼     end_stream │
//!     ▼                      │      Stream ────────────┤
//!   Closing ◀────────────────┴─────────────────────────┘              otherwise
//! ```
//!
//! It knows HTTP and deadlines, and nothing of what is asked for. One request at a time is out: what a
//! client sends ahead of its answer is kept, up to a bound, and comes with [`Connection::resume`]. A
//! request that lies whole in what has just arrived is handed out borrowed and never copied. An idle
//! connection holds no buffers, only the last head, if that is short, to know the next by it.
//!
//! After every call, whoever drives it looks at [`outbox`](Connection::outbox) for bytes to send,
//! [`wants_read`](Connection::wants_read), [`wants_close`](Connection::wants_close) and
//! [`deadline`](Connection::deadline). After an answer is complete, and after
//! [`wrote`](Connection::wrote), it calls `resume` if [`wants_resume`](Connection::wants_resume).

use super::fault::Fault;
use super::pace::Pace;
use crate::config::limits::{
    BODY_BYTES_MAX, BODY_ROOM_BYTES, PIECE_BYTES_MIN, PIPELINE_BYTES_MAX, STREAM_BACKLOG_BYTES_MAX,
};
use crate::http::write;
use crate::http::{
    Chunks, Decoded, Familiar, Framing, HeadEnd, HttpDate, Method, Outbox, RequestHead, Version,
};
use crate::time::Time;

mod answer;

/// A request, whole.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: RequestHead<'a>,
    /// Its body, decoded.
    pub body: &'a [u8],
}

/// What came of bytes that arrived.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is the usual one, and lives for one call"
)]
pub enum Received<'a> {
    /// A request, which is to be answered before there is another.
    Request(Request<'a>),
    /// Nothing yet.
    More,
    /// The client was told off and the connection is ending.
    Refused(Fault),
}

/// How a connection wants to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Everything is sent and the client expects the end.
    Now,
    /// Everything is sent, and the client may still be sending: shut down our side, then read and throw
    /// away for a while, so that a reset does not take the answer with it. RFC 9112 §9.6.
    Lingering,
    /// What is not sent will not be. Cut it.
    Reset,
}

/// What the connection waits for.
#[derive(Clone, Debug)]
enum State {
    /// A request's head; idle while nothing of it is there.
    Head(HeadEnd),
    /// The rest of a body of known length; head and body together shall be `whole` bytes.
    Body { head: usize, whole: usize },
    /// The rest of a chunked body.
    ChunkedBody { head: usize, chunks: Chunks },
    /// The answer to the request that was handed out.
    Answer,
    /// More of a stream that is being answered with.
    Stream,
    /// Its bytes to be sent, and its end.
    Closing(Closing),
}

/// What an answer must know of its request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
}

/// One client's connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    asked: Asked,
    /// What arrived and is not handed out. While a request is, it may begin with that request.
    input: Vec<u8>,
    /// How much of `input` belongs to the request handed out.
    lent: usize,
    /// A chunked body, decoded.
    body: Vec<u8>,
    outbox: Outbox,
    /// How much may be unsent when a stream is to carry more.
    backlog_max: usize,
    pace: Pace,
    /// The head of a request that came before, after the first: many connections bring only one.
    familiar: Option<Box<Familiar>>,
    /// Whether nothing was ever asked here.
    fresh: bool,
    draining: bool,
    /// Whether the client will send no more.
    ended: bool,
    /// Whether what is kept was read already and is the beginning of a head.
    searched: bool,
}

/// Where a complete request lies in the connection's own buffers.
struct Ready {
    head: usize,
    body: ReadyBody,
}

enum ReadyBody {
    Following { length: usize },
    Decoded,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(now: Time) -> Self {
        Connection {
            state: State::Head(HeadEnd::default()),
            asked: Asked {
                method: Method::Get,
                version: Version::Http11,
                keep_alive: true,
            },
            input: Vec::new(),
            lent: 0,
            body: Vec::new(),
            outbox: Outbox::new(),
            backlog_max: STREAM_BACKLOG_BYTES_MAX,
            pace: Pace::of_head(now),
            familiar: None,
            fresh: true,
            draining: false,
            ended: false,
            searched: false,
        }
    }

    // ── in ───────────────────────────────────────────────────────────────────────────────────────

    /// Takes what arrived, and hands out the request that it completes.
    ///
    /// `date` is for the answer of a refusal. While a request waits for its answer, bytes are kept and
    /// nothing is handed out; while the connection is closing they are thrown away.
    pub fn receive<'a>(&'a mut self, now: Time, date: &HttpDate, input: &'a [u8]) -> Received<'a> {
        self.return_lent();
        match self.state {
            State::Closing(_) => return Received::More,
            State::Head(_) if self.input.is_empty() && !self.is_clogged() => {}
            State::Answer | State::Stream => {
                self.input.extend_from_slice(input);
                return Received::More;
            }
            _ => {
                self.keep(now, input);
                return self.resume(now, date);
            }
        }
        // From here on: an idle connection, and nearly always one whole request.
        let familiar = self.familiar.as_ref();
        let (head, used) = match familiar.and_then(|head| head.read(input)) {
            Some(read) => read,
            None => match RequestHead::parse(input) {
                Ok(Some(read)) => {
                    if !self.fresh {
                        self.familiar = Familiar::of(&read.0).map(Box::new);
                    }
                    read
                }
                Ok(None) => {
                    self.keep(now, input);
                    return self.resume(now, date);
                }
                Err(error) => return self.refuse(now, date, Fault::Head(error)),
            },
        };
        let rest = &input[used..];
        let length = match head.framing {
            Framing::None => 0,
            Framing::Length(length) if length <= rest.len().min(BODY_BYTES_MAX) as u64 => {
                length as usize
            }
            Framing::Length(_) | Framing::Chunked => {
                self.keep(now, input);
                return self.resume(now, date);
            }
        };
        let (body, after) = rest.split_at(length);
        self.input.extend_from_slice(after);
        self.await_answer(&head);
        Received::Request(Request { head, body })
    }

    /// Hands out the next request of those that were kept.
    ///
    /// Also says [`Received::More`] while so much is unsent that the client should read first.
    pub fn resume(&mut self, now: Time, date: &HttpDate) -> Received<'_> {
        self.return_lent();
        let ready = match self.advance(now) {
            Ok(Some(ready)) => ready,
            Ok(None) => return Received::More,
            Err(fault) => return self.refuse(now, date, fault),
        };
        // Read a second time, since the buffer could not be lent out while it was still filled.
        let parsed = RequestHead::parse(&self.input).ok().flatten();
        let (head, _) = parsed.expect("this head was accepted a moment ago");
        let body = match ready.body {
            ReadyBody::Following { length } => &self.input[ready.head..][..length],
            ReadyBody::Decoded => &self.body,
        };
        self.lent = match ready.body {
            ReadyBody::Following { length } => ready.head + length,
            ReadyBody::Decoded => ready.head,
        };
        Received::Request(Request { head, body })
    }

    /// The client will send no more.
    ///
    /// What it asked before is still answered; whether that is of use, the caller must know.
    pub fn ended(&mut self) {
        self.ended = true;
        match self.state {
            State::Head(_) if self.is_clogged() && !self.input.is_empty() => {}
            State::Head(_) | State::Body { .. } | State::ChunkedBody { .. } => {
                self.close(Closing::Now);
            }
            State::Answer | State::Stream | State::Closing(_) => {}
        }
    }

    /// Reads on in what is kept, until a request is complete or the bytes are used up.
    fn advance(&mut self, now: Time) -> Result<Option<Ready>, Fault> {
        loop {
            match &mut self.state {
                State::Head(end) => {
                    if self.input.is_empty() || self.outbox.len() >= PIPELINE_BYTES_MAX {
                        return Ok(self.nothing_ready());
                    }
                    let parsed = RequestHead::parse_in_pieces(&self.input, end);
                    let Some((head, used)) = parsed.map_err(Fault::Head)? else {
                        self.searched = true;
                        return Ok(self.nothing_ready());
                    };
                    let waits = head.expect_continue && self.input.len() == used;
                    let asked = Asked::from(&head);
                    match head.framing {
                        Framing::Length(length) if length > BODY_BYTES_MAX as u64 => {
                            self.asked = asked;
                            return Err(Fault::BodyTooLarge);
                        }
                        Framing::None => self.begin_body(now, used, Some(used)),
                        Framing::Length(length) => {
                            self.begin_body(now, used, Some(used + length as usize));
                        }
                        Framing::Chunked => self.begin_body(now, used, None),
                    }
                    self.asked = asked;
                    if waits {
                        self.outbox.push(b"HTTP/1.1 100 Continue\r\n\r\n");
                        self.note_unsent(now);
                    }
                }
                State::Body { head, whole } => {
                    let (head, whole) = (*head, *whole);
                    if self.input.len() < whole {
                        return Ok(None);
                    }
                    self.state = State::Answer;
                    self.pace.await_nothing();
                    self.fresh = false;
                    let length = whole - head;
                    let body = ReadyBody::Following { length };
                    return Ok(Some(Ready { head, body }));
                }
                State::ChunkedBody { head, chunks } => {
                    let head = *head;
                    let mut rest = &self.input[head..];
                    let ended = decode_into(&mut self.body, chunks, &mut rest)?;
                    let decoded = self.input.len() - rest.len();
                    self.input.drain(head..decoded);
                    if !ended {
                        // It is all in the body by now, and that is enough to hold.
                        self.input.shrink_to(head + PIECE_BYTES_MIN);
                        return Ok(None);
                    }
                    self.state = State::Answer;
                    self.pace.await_nothing();
                    self.fresh = false;
                    let body = ReadyBody::Decoded;
                    return Ok(Some(Ready { head, body }));
                }
                State::Answer | State::Stream | State::Closing(_) => return Ok(None),
            }
        }
    }

    /// No request can be made of what is kept; if the client has ended, none ever will.
    fn nothing_ready(&mut self) -> Option<Ready> {
        if self.ended && !self.is_clogged() {
            self.close(Closing::Now);
        }
        None
    }

    fn begin_body(&mut self, now: Time, head: usize, whole: Option<usize>) {
        self.pace.await_body(now);
        self.state = match whole {
            Some(whole) => State::Body { head, whole },
            None => State::ChunkedBody {
                head,
                chunks: Chunks::new(),
            },
        };
    }

    fn await_answer(&mut self, head: &RequestHead<'_>) {
        self.asked = Asked::from(head);
        self.state = State::Answer;
        self.pace.await_nothing();
        self.fresh = false;
    }

    /// Forgets the request that was handed out of the buffers, whose borrow has ended.
    fn return_lent(&mut self) {
        if self.lent > 0 {
            match std::mem::take(&mut self.lent) {
                all if all == self.input.len() => self.input = Vec::new(),
                lent => drop(self.input.drain(..lent)),
            }
            self.body = Vec::new();
        }
    }

    /// Whether so much is unsent that nothing more should be asked.
    fn is_clogged(&self) -> bool {
        self.outbox.len() >= PIPELINE_BYTES_MAX
    }

    // ── ends and deadlines ───────────────────────────────────────────────────────────────────────

    /// When to call [`timed_out`](Self::timed_out), if nothing else happens.
    pub fn deadline(&self) -> Option<Time> {
        self.pace.deadline()
    }

    /// Ends what has taken too long: a slow client gets 408 where it can still be told, a client that
    /// does not read is reset, an idle connection is closed. Does nothing before the deadline.
    pub fn timed_out(&mut self, now: Time, date: &HttpDate) -> Option<Fault> {
        if self.pace.write_deadline() <= now {
            self.close(Closing::Reset);
            return Some(Fault::ReaderSlow);
        }
        if self.pace.read_deadline() > now {
            return None;
        }
        let fault = match self.state {
            State::Head(_) if self.input.is_empty() => {
                self.close(Closing::Now);
                return None;
            }
            State::Head(_) => Fault::HeadSlow,
            State::Body { .. } | State::ChunkedBody { .. } => Fault::BodySlow,
            State::Answer | State::Stream | State::Closing(_) => return None,
        };
        self.refuse(now, date, fault);
        Some(fault)
    }

    /// From now on every answer is the connection's last; an idle connection ends at once.
    ///
    /// An open stream goes on until [`end_stream`](Self::end_stream).
    pub fn begin_drain(&mut self) {
        self.draining = true;
        if self.is_idle() {
            self.close(Closing::Now);
        }
    }

    /// Whether nothing is asked, answered or on its way.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head(_)) && self.input.is_empty() && self.outbox.is_empty()
    }

    /// Whether a stream is open.
    pub const fn is_streaming(&self) -> bool {
        matches!(self.state, State::Stream)
    }

    /// Whether more bytes should be read. When not, the client must read its answers first.
    pub fn wants_read(&self) -> bool {
        match self.state {
            State::Head(_) => !self.is_clogged(),
            State::Answer | State::Stream => self.input.len() - self.lent < PIPELINE_BYTES_MAX,
            State::Body { .. } | State::ChunkedBody { .. } | State::Closing(_) => !self.ended,
        }
    }

    /// Whether [`resume`](Self::resume) may have something that it did not have when it was last called.
    pub fn wants_resume(&self) -> bool {
        matches!(self.state, State::Head(_))
            && !self.input.is_empty()
            && !self.searched
            && !self.is_clogged()
    }

    /// How to close the connection, once nothing is left to do on it.
    pub fn wants_close(&self) -> Option<Closing> {
        match self.state {
            State::Closing(Closing::Reset) => Some(Closing::Reset),
            State::Closing(closing) if self.outbox.is_empty() => Some(closing),
            _ => None,
        }
    }

    fn close(&mut self, closing: Closing) {
        if closing == Closing::Reset {
            self.outbox.clear();
            self.pace.note_sent(Time::NEVER, 0, 0);
        }
        self.state = State::Closing(closing);
        self.pace.await_nothing();
        self.lent = 0;
        self.input = Vec::new();
        self.body = Vec::new();
    }

    /// Tells the client what is wrong, and ends the connection: nothing after this can be framed.
    fn refuse<'a>(&mut self, now: Time, date: &HttpDate, fault: Fault) -> Received<'a> {
        let mut problem = Vec::new();
        write::problem(&mut problem, fault.status(), &fault.to_string());
        let method = match fault {
            Fault::Head(_) | Fault::HeadSlow => Method::Get,
            _ => self.asked.method,
        };
        self.asked = Asked {
            method,
            version: Version::Http11,
            keep_alive: false,
        };
        let length = problem.len() as u64;
        let fields = [("content-type", write::PROBLEM_TYPE)];
        self.write_head(date, fault.status(), &fields, |out| {
            write::field_number(out, "content-length", length);
        });
        if method != Method::Head {
            self.outbox.push(&problem);
        }
        self.note_unsent(now);
        self.close(Closing::Lingering);
        Received::Refused(fault)
    }

    /// Keeps what arrived, and lets it count against the deadlines.
    ///
    /// From its first byte on a head has to hurry; on a fresh connection it had to from the start. Few
    /// bytes of a body gain no time.
    fn keep(&mut self, now: Time, input: &[u8]) {
        match self.state {
            State::Head(_) if self.input.is_empty() && !self.fresh => {
                self.pace.await_head(now);
            }
            State::Body { whole, .. } => {
                self.pace.note_received(now, input.len());
                make_room(&mut self.input, input.len(), whole);
            }
            State::ChunkedBody { .. } => self.pace.note_received(now, input.len()),
            _ => {}
        }
        self.input.extend_from_slice(input);
    }

    /// Something was appended: if nothing was before, the client's time to take it begins.
    fn note_unsent(&mut self, now: Time) {
        if !self.outbox.is_empty() {
            self.pace.note_unsent(now);
        }
    }
}

impl From<&RequestHead<'_>> for Asked {
    fn from(head: &RequestHead<'_>) -> Self {
        Asked {
            method: head.method,
            version: head.version,
            keep_alive: head.keep_alive,
        }
    }
}

/// Makes room for `more` bytes in a buffer that shall hold `whole` at most.
///
/// A buffer that grows by doubling alone leaves as much behind as it holds, and when many bodies come slowly at
/// the same time nothing else has a use for that. Room that is not written to costs nothing.
fn make_room(buffer: &mut Vec<u8>, more: usize, whole: usize) {
    let needed = buffer.len() + more;
    if needed <= buffer.capacity() || needed <= PIECE_BYTES_MIN {
        return;
    }
    let room = (2 * buffer.capacity()).max(BODY_ROOM_BYTES).min(whole);
    buffer.reserve_exact(room.max(needed) - buffer.len());
}

/// Decodes what there is of a chunked body; whether it is complete.
///
/// Refuses it as soon as a chunk announces more than may come.
fn decode_into(body: &mut Vec<u8>, chunks: &mut Chunks, input: &mut &[u8]) -> Result<bool, Fault> {
    loop {
        match chunks.decode(input).map_err(Fault::Body)? {
            Decoded::Content(content) => {
                let announced = (body.len() + content.len()) as u64;
                if announced.saturating_add(chunks.remaining()) > BODY_BYTES_MAX as u64 {
                    return Err(Fault::BodyTooLarge);
                }
                make_room(body, content.len(), BODY_BYTES_MAX);
                body.extend_from_slice(content);
            }
            Decoded::More => return Ok(false),
            Decoded::End => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests;
