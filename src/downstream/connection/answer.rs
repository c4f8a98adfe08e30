//! The way out of a connection: answers, whole or as streams, and what becomes of it after them.

use super::{Closing, Connection, State};
use crate::config::limits::{ANSWERS_BACKLOG_BYTES_MAX, STREAM_BACKLOG_BYTES_MAX};
use crate::downstream::fault::StreamBacklog;
use crate::http::body::{LAST_CHUNK, write_chunk};
use crate::http::outbox::pieces_len;
use crate::http::write::{self, Field};
use crate::http::{HeadEnd, HttpDate, Method, Outbox, Piece, Version};
use crate::time::Time;

impl Connection {
    /// Answers the request that was handed out.
    ///
    /// `fields` do not include `Date`, `Connection`, `Content-Length` and `Transfer-Encoding`. To
    /// `HEAD`, and with 204 and 304, the body is left out. Does nothing if no answer is awaited: the
    /// connection may have ended in the meantime.
    pub fn respond(
        &mut self,
        now: Time,
        date: &HttpDate,
        status: u16,
        fields: &[Field<'_>],
        body: &[Piece<'_>],
    ) {
        if !matches!(self.state, State::Answer) {
            return;
        }
        self.return_lent();
        let length = pieces_len(body);
        let bodiless = matches!(status, 204 | 304);
        self.write_head(date, status, fields, |out| {
            if !bodiless {
                write::field_number(out, "content-length", length as u64);
            }
        });
        if !bodiless && self.asked.method != Method::Head {
            for piece in body {
                self.outbox.push_piece(*piece);
            }
        }
        self.note_unsent(now);
        self.finish(now);
    }

    /// Begins to answer the request that was handed out with a body that has no length yet.
    ///
    /// Chunked on HTTP/1.1; on HTTP/1.0 the end of the connection is the end of the body. To `HEAD`
    /// this is the whole answer. Does nothing if no answer is awaited.
    pub fn begin_stream(&mut self, now: Time, date: &HttpDate, status: u16, fields: &[Field<'_>]) {
        if !matches!(self.state, State::Answer) {
            return;
        }
        self.return_lent();
        self.backlog_max = STREAM_BACKLOG_BYTES_MAX;
        let chunked = self.asked.version == Version::Http11;
        self.asked.keep_alive &= chunked;
        self.write_head(date, status, fields, |out| {
            if chunked {
                write::field(out, "transfer-encoding", b"chunked");
            }
        });
        self.note_unsent(now);
        match self.asked.method {
            Method::Head => self.finish(now),
            _ => self.state = State::Stream,
        }
    }

    /// Sends more of the stream. Does nothing if none is open.
    ///
    /// If more than [`STREAM_BACKLOG_BYTES_MAX`] bytes are unsent already, the connection is to be reset, and
    /// [`StreamBacklog`] says so. One event may be longer than that: it says nothing about its reader. A
    /// stream of [several answers](Self::expect_answers) may have more unsent.
    pub fn stream(&mut self, now: Time, bytes: &[u8]) -> Result<(), StreamBacklog> {
        if !matches!(self.state, State::Stream) {
            return Ok(());
        }
        if self.outbox.len() > self.backlog_max {
            self.close(Closing::Reset);
            return Err(StreamBacklog);
        }
        match self.asked.version {
            Version::Http11 => self.outbox.push_with(|out| write_chunk(out, bytes)),
            Version::Http10 => self.outbox.push(bytes),
        }
        self.note_unsent(now);
        Ok(())
    }

    /// Has the stream that was begun carry the answers of several requests.
    ///
    /// They were asked for and may come all at once, so that as much as [`ANSWERS_BACKLOG_BYTES_MAX`] may be
    /// unsent when another comes. Who does not read at all is found out by the time that it takes.
    pub fn expect_answers(&mut self) {
        self.backlog_max = ANSWERS_BACKLOG_BYTES_MAX;
    }

    /// Ends the stream, and with it the answer. Does nothing if none is open.
    pub fn end_stream(&mut self, now: Time) {
        if !matches!(self.state, State::Stream) {
            return;
        }
        if self.asked.version == Version::Http11 {
            self.outbox.push(LAST_CHUNK);
        }
        self.note_unsent(now);
        self.finish(now);
    }

    /// What is to be sent.
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// So many bytes of the outbox were taken.
    pub fn wrote(&mut self, now: Time, count: usize) {
        self.outbox.consume(count);
        self.pace.note_sent(now, count, self.outbox.len());
    }

    pub(super) fn write_head(
        &mut self,
        date: &HttpDate,
        status: u16,
        fields: &[Field<'_>],
        framing: impl FnOnce(&mut Vec<u8>),
    ) {
        let ends = self.ends_after_answer();
        let version = self.asked.version;
        self.outbox.push_with(|out| {
            out.reserve(HEAD_BYTES_USUAL);
            write::status_line(out, status);
            write::field(out, "date", date.as_bytes());
            for (name, value) in fields {
                write::field(out, name, value);
            }
            framing(out);
            if ends {
                write::field(out, "connection", b"close");
            } else if version == Version::Http10 {
                write::field(out, "connection", b"keep-alive");
            }
            write::end(out);
        });
    }

    fn ends_after_answer(&self) -> bool {
        !self.asked.keep_alive || self.draining
    }

    /// The answer is complete: on to the next request, or to the end.
    fn finish(&mut self, now: Time) {
        if self.ends_after_answer() {
            let expected = !self.asked.keep_alive && self.input.is_empty();
            return self.close(if expected {
                Closing::Now
            } else {
                Closing::Lingering
            });
        }
        if self.ended && self.input.is_empty() {
            return self.close(Closing::Now);
        }
        self.state = State::Head(HeadEnd::default());
        self.searched = false;
        match self.input.is_empty() {
            true => self.pace.await_request(now),
            false => self.pace.await_head(now),
        }
    }
}

/// Room for a head as answers have it, so that its buffer grows once.
const HEAD_BYTES_USUAL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// A connection whose request is being answered with a stream.
    fn streaming() -> Connection {
        let (mut connection, date) = (Connection::new(Time::ZERO), HttpDate::at(Wall(0)));
        let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
        connection.receive(Time::ZERO, &date, request);
        connection.begin_stream(Time::ZERO, &date, 200, &[]);
        connection
    }

    fn streams(connection: &mut Connection, length: usize) -> bool {
        connection.stream(Time::ZERO, &vec![b'x'; length]).is_ok()
    }

    #[test]
    fn stream_with_a_backlog_is_reset() {
        let mut connection = streaming();
        let piece = 64 * 1024;
        let sent = (0..100)
            .take_while(|_| streams(&mut connection, piece))
            .count();
        assert!((sent - 1) * piece <= STREAM_BACKLOG_BYTES_MAX);
        assert!((sent + 1) * piece > STREAM_BACKLOG_BYTES_MAX);
        assert_eq!(connection.wants_close(), Some(Closing::Reset));
        assert!(connection.outbox().is_empty());
    }

    #[test]
    fn one_event_longer_than_the_backlog_is_sent() {
        let mut connection = streaming();
        assert!(streams(&mut connection, 3));
        assert!(streams(&mut connection, 3 * STREAM_BACKLOG_BYTES_MAX));
        assert_eq!(connection.wants_close(), None);
        assert!(!streams(&mut connection, 3));
    }

    #[test]
    fn several_answers_may_come_at_once() {
        let mut connection = streaming();
        connection.expect_answers();
        for _ in 0..3 {
            assert!(streams(&mut connection, 3 * STREAM_BACKLOG_BYTES_MAX));
        }
        assert_eq!(connection.wants_close(), None);
    }
}
