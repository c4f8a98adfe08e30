//! Claims about a client connection, told as conversations.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::limits::{BODY_TIMEOUT, HEAD_TIMEOUT, KEEP_ALIVE_TIMEOUT, PIECE_BYTES_MIN};
use crate::http::{BodyError, HeadError, Piece};
use crate::time::Wall;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// A client, its connection, and the time.
struct Client {
    connection: Connection,
    now: Time,
    date: HttpDate,
    fault: Option<Fault>,
}

impl Client {
    fn connect() -> Self {
        Client {
            connection: Connection::new(Time::ZERO),
            now: Time::ZERO,
            date: HttpDate::at(Wall(0)),
            fault: None,
        }
    }

    /// Sends bytes; the request that comes of it, as `METHOD path body`.
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> Option<String> {
        let received = self
            .connection
            .receive(self.now, &self.date, bytes.as_ref());
        told(received, &mut self.fault)
    }

    fn resume(&mut self) -> Option<String> {
        told(
            self.connection.resume(self.now, &self.date),
            &mut self.fault,
        )
    }

    fn answer(&mut self, status: u16, body: &str) {
        let pieces = [Piece::Bytes(body.as_bytes())];
        let fields = [("x", &b"y"[..])];
        self.connection
            .respond(self.now, &self.date, status, &fields, &pieces);
    }

    fn stream(&mut self) {
        self.connection.begin_stream(self.now, &self.date, 200, &[]);
    }

    /// Everything that was sent to the client since it last looked.
    fn read(&mut self) -> String {
        let bytes = self.connection.outbox().front().to_vec();
        self.connection.wrote(self.now, bytes.len());
        assert!(self.connection.outbox().is_empty());
        String::from_utf8(bytes).expect("tests speak text")
    }

    /// Lets time pass, and lets the deadline fire if it has come.
    fn wait(&mut self, time: Duration) -> Option<Fault> {
        self.now = self.now + time;
        let due = self
            .connection
            .deadline()
            .is_some_and(|deadline| deadline <= self.now);
        let fault = self.connection.timed_out(self.now, &self.date);
        assert!(due || fault.is_none(), "nothing ends before its deadline");
        fault
    }
}

fn told(received: Received<'_>, fault: &mut Option<Fault>) -> Option<String> {
    match received {
        Received::More => None,
        Received::Refused(refused) => {
            *fault = Some(refused);
            None
        }
        Received::Request(Request { head, body }) => {
            let body = String::from_utf8_lossy(body);
            Some(format!(
                "{} {} {body}",
                head.method.as_str(),
                head.target.path
            ))
        }
    }
}

fn head(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n{fields}\r\n")
}

fn post(length: usize, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn request_is_answered_and_the_connection_goes_on() {
    let mut client = Client::connect();
    for _ in 0..2 {
        assert_eq!(client.send(post(5, "hello")).unwrap(), "POST /p hello");
        assert!(!client.connection.is_idle());
        client.answer(200, "{}");
        assert_eq!(
            client.read(),
            head("200 OK", "x: y\r\ncontent-length: 2\r\n") + "{}"
        );
        assert!(client.connection.is_idle());
        assert_eq!(client.connection.wants_close(), None);
    }
}

#[test]
fn whole_request_is_not_copied() {
    let mut connection = Connection::new(Time::ZERO);
    let text = post(5, "hello");
    let date = HttpDate::at(Wall(0));
    let Received::Request(request) = connection.receive(Time::ZERO, &date, text.as_bytes()) else {
        panic!("the request is whole");
    };
    let range = text.as_bytes().as_ptr_range();
    assert!(range.contains(&request.body.as_ptr()));
    assert!(range.contains(&request.head.target.path.as_ptr()));
}

#[test]
fn requests_are_the_same_whatever_the_pieces() {
    let conversation = [
        GET,
        &post(5, "hello"),
        "\r\n",
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n",
        &post(0, ""),
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
        GET,
    ]
    .concat();
    let expected = [
        "GET /a ",
        "POST /p hello",
        "POST /c abcde",
        "POST /p ",
        "POST /c ",
        "GET /a ",
    ];
    let check = |pieces: &[&[u8]]| {
        let mut client = Client::connect();
        let mut requests = Vec::new();
        for piece in pieces {
            let mut request = client.send(piece);
            while let Some(told) = request {
                requests.push(told);
                client.answer(200, "{}");
                request = match client.connection.wants_resume() {
                    true => client.resume(),
                    false => None,
                };
            }
        }
        assert_eq!(client.fault, None);
        assert_eq!(requests, expected);
        assert_eq!(
            client.read().matches("HTTP/1.1 200 OK").count(),
            expected.len()
        );
        assert!(client.connection.is_idle());
    };
    let bytes = conversation.as_bytes();
    check(&[bytes]);
    check(&bytes.chunks(1).collect::<Vec<_>>());
    for at in 1..bytes.len() {
        let (a, b) = bytes.split_at(at);
        check(&[a, b]);
    }
}

#[test]
fn one_request_is_out_at_a_time() {
    let mut client = Client::connect();
    assert!(client.send([GET, GET].concat()).is_some());
    assert_eq!(client.resume(), None);
    assert_eq!(client.send(GET), None);
    assert!(!client.connection.wants_resume());
    client.answer(200, "");
    assert!(client.connection.wants_resume());
    assert!(client.resume().is_some());
    client.answer(200, "");
    assert!(client.resume().is_some());
    client.answer(200, "");
    assert_eq!(client.resume(), None);
    assert!(!client.connection.wants_resume());
}

#[test]
fn what_is_sent_ahead_is_bounded() {
    let mut client = Client::connect();
    assert!(client.send(GET).is_some());
    while client.connection.wants_read() {
        assert_eq!(client.send(GET), None);
    }
    let kept = client.connection.input.len();
    assert!((PIPELINE_BYTES_MAX..PIPELINE_BYTES_MAX + GET.len()).contains(&kept));
    client.answer(200, "");
    assert!(client.resume().is_some());
}

#[test]
fn who_does_not_read_answers_is_not_asked_for_more() {
    let mut client = Client::connect();
    assert!(client.send([GET, GET].concat()).is_some());
    client.answer(200, &"x".repeat(PIPELINE_BYTES_MAX));
    assert!(!client.connection.wants_read() && !client.connection.wants_resume());
    assert_eq!(client.resume(), None);
    client.read();
    assert!(client.connection.wants_read() && client.connection.wants_resume());
    assert!(client.resume().is_some());
}

#[test]
fn shared_body_goes_out_uncopied() {
    let mut client = Client::connect();
    client.send(GET);
    let shared: Arc<[u8]> = vec![b's'; 5000].into();
    let pieces = [
        Piece::Bytes(b"<"),
        Piece::Shared(&shared),
        Piece::Bytes(b">"),
    ];
    client
        .connection
        .respond(client.now, &client.date, 200, &[], &pieces);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    assert_eq!(client.connection.outbox().slices(&mut slices), 3);
    assert!(slices[0].ends_with(b"content-length: 5002\r\n\r\n<"));
    assert_eq!(slices[1].as_ptr(), shared.as_ptr());
    assert_eq!(&*slices[2], b">");
}

#[test]
fn answer_fits_its_request() {
    let check = |request: &str, status, expected: String, closing| {
        let mut client = Client::connect();
        client.send(request).expect("the request is whole");
        client.answer(status, "abc");
        assert_eq!(client.read(), expected, "{request}");
        assert_eq!(client.connection.wants_close(), closing, "{request}");
    };
    let body = |fields: &str| head("200 OK", &format!("x: y\r\ncontent-length: 3\r\n{fields}"));
    let now = Some(Closing::Now);
    check("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 200, body(""), None);
    check(
        "GET / HTTP/1.0\r\n\r\n",
        200,
        body("connection: close\r\n") + "abc",
        now,
    );
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        200,
        body("connection: keep-alive\r\n") + "abc",
        None,
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        200,
        body("connection: close\r\n") + "abc",
        now,
    );
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nmore",
        200,
        body("connection: close\r\n") + "abc",
        Some(Closing::Lingering),
    );
    check(GET, 204, head("204 No Content", "x: y\r\n"), None);
}

#[test]
fn stream_is_chunked_where_chunks_are_known() {
    let run = |request: &str| {
        let mut client = Client::connect();
        client.send(request).expect("the request is whole");
        client.stream();
        assert_eq!(client.connection.stream(client.now, b"data: 1\n\n"), Ok(()));
        assert_eq!(client.connection.stream(client.now, b""), Ok(()));
        client.connection.end_stream(client.now);
        (
            client.read(),
            client.connection.wants_close(),
            client.connection.is_idle(),
        )
    };
    let chunked = head("200 OK", "transfer-encoding: chunked\r\n");
    let text = chunked.clone() + "9\r\ndata: 1\n\n\r\n0\r\n\r\n";
    assert_eq!(run(GET), (text, None, true));
    let text = head("200 OK", "connection: close\r\n") + "data: 1\n\n";
    assert_eq!(
        run("GET / HTTP/1.0\r\n\r\n"),
        (text, Some(Closing::Now), false)
    );
    assert_eq!(
        run("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (chunked, None, true)
    );
}

#[test]
fn client_is_told_to_continue_when_it_waits() {
    let head_of = |length: usize| {
        format!(
            "POST /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut client = Client::connect();
    assert_eq!(client.send(head_of(5)), None);
    assert_eq!(client.read(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("he"), None);
    assert_eq!(client.send("llo").unwrap(), "POST /p hello");
    assert_eq!(client.read(), "");

    let mut client = Client::connect();
    assert_eq!(client.send(head_of(5) + "hello").unwrap(), "POST /p hello");
    assert_eq!(client.read(), "");

    let mut client = Client::connect();
    client.send(head_of(BODY_BYTES_MAX + 1));
    assert!(client.read().starts_with("HTTP/1.1 413 "));
}

#[test]
fn refusal_is_told_and_ends_the_connection() {
    let check = |request: &str, status: &str, fault: Fault| {
        for step in [1, request.len()] {
            let mut client = Client::connect();
            for piece in request.as_bytes().chunks(step) {
                assert_eq!(client.send(piece), None, "{request:?}");
            }
            assert_eq!(client.fault, Some(fault), "{request:?}");
            let text = client.read();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(text.contains("connection: close\r\n"), "{text}");
            let (_, body) = text.split_once("\r\n\r\n").expect("there is a body");
            assert!(body.contains(&fault.to_string()), "{text}");
            assert!(
                text.contains(&format!("content-length: {}\r\n", body.len())),
                "{text}"
            );
            assert_eq!(client.connection.wants_close(), Some(Closing::Lingering));
            assert_eq!(client.send(GET), None);
            assert_eq!(client.read(), "");
        }
    };
    let both =
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(both, "400", Fault::Head(HeadError::LengthAndEncoding));
    check(
        "GET / HTTP/3.0\r\nHost: h\r\n\r\n",
        "505",
        Fault::Head(HeadError::Version),
    );
    check(&post(BODY_BYTES_MAX + 1, ""), "413", Fault::BodyTooLarge);
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &format!("{chunked}x"),
        "400",
        Fault::Body(BodyError::ChunkSize),
    );
    check(
        &format!("{chunked}ffffffff\r\na"),
        "413",
        Fault::BodyTooLarge,
    );
}

#[test]
fn longest_body_is_taken_and_one_byte_more_is_not() {
    let run = |text: String| {
        let mut client = Client::connect();
        let request = text.as_bytes().chunks(64 * 1024).fold(None, |last, piece| {
            assert_eq!(last, None);
            client.send(piece)
        });
        (request.map(|request| request.len()), client.fault)
    };
    let taken = (Some("POST /p ".len() + BODY_BYTES_MAX), None);
    let body = "x".repeat(BODY_BYTES_MAX);
    assert_eq!(run(post(body.len(), &body)), taken);
    let chunked = |last: &str| {
        let head = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n{last}0\r\n\r\n", body.len())
    };
    assert_eq!(run(chunked("")), taken);
    assert_eq!(
        run(chunked("1\r\nx\r\n")),
        (None, Some(Fault::BodyTooLarge))
    );
}

#[test]
fn body_takes_memory_as_it_comes() {
    let check = |framing: &str, piece: &str, pieces: usize, most: usize| {
        let mut client = Client::connect();
        client.send(format!("POST /a HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
        assert!((0..pieces).all(|_| client.send(piece).is_none()));
        let Connection { input, body, .. } = &client.connection;
        let held = input.capacity() + body.capacity();
        assert!(held <= most, "{framing}: {held}");
    };
    let [known, chunked] = ["Content-Length: 4194304", "Transfer-Encoding: chunked"];
    let (room, piece) = (BODY_ROOM_BYTES + 2 * PIECE_BYTES_MIN, "x".repeat(1 << 14));
    check(known, &piece[..1000], 1, PIECE_BYTES_MIN);
    check(known, &piece, 4, room);
    check(chunked, &format!("4000\r\n{piece}\r\n"), 4, room);
    check(
        chunked,
        &format!("10000\r\n{}\r\n", piece.repeat(4)),
        1,
        room,
    );
}

#[test]
fn slow_clients_are_ended() {
    let ended = |client: &mut Client, every: Duration, piece: &str| {
        let started = client.now;
        loop {
            if let Some(fault) = client.wait(every) {
                return (fault, client.now.since(started));
            }
            client.send(piece);
        }
    };
    let limit = Duration::from_secs(15);

    let mut client = Client::connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n");
    let (fault, time) = ended(&mut client, SECOND, "a: b\r\n");
    assert!(fault == Fault::HeadSlow && time <= limit);
    assert!(client.read().starts_with("HTTP/1.1 408 "));
    assert_eq!(client.connection.wants_close(), Some(Closing::Lingering));

    for framing in ["Content-Length: 4096", "Transfer-Encoding: chunked"] {
        let mut client = Client::connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
        let (fault, time) = ended(&mut client, SECOND, "1\r\na\r\n");
        assert!(fault == Fault::BodySlow && time <= limit);
        assert!(client.read().starts_with("HTTP/1.1 408 "));
    }

    // A body that keeps coming may take longer, but not for ever.
    let mut client = Client::connect();
    client.send(post(BODY_BYTES_MAX, ""));
    let (fault, time) = ended(&mut client, SECOND, &"x".repeat(PIECE_BYTES_MIN));
    assert!(fault == Fault::BodySlow && time == BODY_TIMEOUT);
}

#[test]
fn client_that_does_not_read_is_reset() {
    let mut client = Client::connect();
    client.send(GET);
    client.answer(200, &"x".repeat(10 * PIECE_BYTES_MIN));
    // Taking a byte now and then is no progress, taking a piece is.
    assert_eq!(client.wait(5 * SECOND), None);
    client.connection.wrote(client.now, PIECE_BYTES_MIN);
    assert_eq!(client.wait(9 * SECOND), None);
    client.connection.wrote(client.now, 1);
    assert_eq!(client.wait(SECOND), Some(Fault::ReaderSlow));
    assert_eq!(client.connection.wants_close(), Some(Closing::Reset));
    assert!(client.connection.outbox().is_empty());
    assert_eq!(client.connection.deadline(), None);
}

#[test]
fn silent_connections_are_closed_in_time() {
    let mut fresh = Client::connect();
    assert_eq!(fresh.wait(HEAD_TIMEOUT), None);
    assert_eq!(fresh.connection.wants_close(), Some(Closing::Now));
    assert_eq!(fresh.read(), "");

    let mut kept = Client::connect();
    kept.send(GET);
    assert_eq!(kept.connection.deadline(), None);
    kept.answer(200, "");
    kept.read();
    kept.wait(KEEP_ALIVE_TIMEOUT - SECOND);
    assert_eq!(kept.connection.wants_close(), None);
    // A head that begins late has its full time.
    kept.send("GET");
    assert_eq!(kept.wait(HEAD_TIMEOUT - SECOND), None);
    assert!(kept.send(" / HTTP/1.1\r\nHost: h\r\n\r\n").is_some());
    kept.answer(200, "");
    kept.read();
    assert_eq!(kept.wait(KEEP_ALIVE_TIMEOUT), None);
    assert_eq!(kept.connection.wants_close(), Some(Closing::Now));
}

#[test]
fn drain_ends_idle_connections_now_and_busy_ones_after_their_answer() {
    let mut idle = Client::connect();
    idle.connection.begin_drain();
    assert_eq!(idle.connection.wants_close(), Some(Closing::Now));

    let mut busy = Client::connect();
    busy.send(GET);
    busy.connection.begin_drain();
    assert_eq!(busy.connection.wants_close(), None);
    busy.answer(200, "");
    assert!(busy.read().contains("connection: close\r\n"));
    assert_eq!(busy.connection.wants_close(), Some(Closing::Lingering));
}

#[test]
fn client_that_ended_is_answered_what_it_asked() {
    let mut client = Client::connect();
    client.send([GET, GET, "GET /"].concat());
    client.connection.ended();
    client.answer(200, "");
    assert!(client.resume().is_some());
    client.answer(200, "");
    assert_eq!(client.connection.wants_close(), None);
    assert_eq!(client.resume(), None);
    assert_eq!(client.read().matches("200 OK").count(), 2);
    assert_eq!(client.connection.wants_close(), Some(Closing::Now));

    for unfinished in ["", "GET /", &post(5, "he")] {
        let mut client = Client::connect();
        client.send(unfinished);
        client.connection.ended();
        assert_eq!(
            client.connection.wants_close(),
            Some(Closing::Now),
            "{unfinished}"
        );
    }
}

#[test]
fn answer_after_the_end_is_dropped() {
    let mut client = Client::connect();
    client.answer(200, "early");
    assert_eq!(client.read(), "");
    client.send("\0\r\n\r\n");
    client.read();
    client.answer(200, "late");
    client.stream();
    assert_eq!(client.connection.stream(client.now, b"late"), Ok(()));
    assert_eq!(client.read(), "");
}

#[test]
fn idle_connection_is_small() {
    let mut client = Client::connect();
    let request = post(3000, &"x".repeat(3000));
    for piece in request.as_bytes().chunks(1000) {
        client.send(piece);
    }
    client.answer(200, &"x".repeat(5000));
    client.read();
    let connection = &client.connection;
    assert!(connection.is_idle());
    assert_eq!(
        (connection.input.capacity(), connection.body.capacity()),
        (0, 0)
    );
    assert!(
        size_of::<Connection>() <= 320,
        "{}",
        size_of::<Connection>()
    );
}

#[test]
fn beginning_of_a_head_is_not_read_again_until_more_comes() {
    let mut client = Client::connect();
    let request = post(0, "");
    client.send(&request[..10]);
    assert!(!client.connection.wants_resume());
    client.send(&request[10..]);
    client.send(&request[..10]);
    client.answer(200, "");
    assert!(client.connection.wants_resume());
    assert_eq!(client.resume(), None);
    assert!(!client.connection.wants_resume());
}
