//! Client connections: the same requests, verdict and bytes out however the bytes in were split.

use switchbox::config::limits::PIPELINE_BYTES_MAX;
use switchbox::downstream::{Closing, Connection, Fault, Received};
use switchbox::http::{HttpDate, Piece};
use switchbox::time::{Time, Wall};

/// What can be told of a conversation from outside.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conversation {
    requests: Vec<(String, Vec<u8>)>,
    refused: Option<Fault>,
    sent: Vec<u8>,
    closing: Option<Closing>,
}

/// Answers every request at once; even ones with a body, odd ones as a stream.
fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Conversation {
    let (now, date) = (Time::ZERO, HttpDate::at(Wall(0)));
    let mut connection = Connection::new(now);
    let mut told = Conversation::default();
    for piece in pieces {
        let mut received = connection.receive(now, &date, piece);
        loop {
            let count = told.requests.len();
            match received {
                Received::Request(request) => {
                    let line = format!("{:?} {:?}", request.head.method, request.head.target);
                    told.requests.push((line, request.body.to_vec()));
                }
                Received::Refused(fault) => {
                    assert_eq!(told.refused.replace(fault), None);
                }
                Received::More => {}
            }
            if told.requests.len() > count {
                assert!(!connection.is_idle());
                if count % 2 == 0 {
                    connection.respond(now, &date, 200, &[], &[Piece::Bytes(b"{}")]);
                } else {
                    connection.begin_stream(now, &date, 200, &[]);
                    connection
                        .stream(now, b"data: 1\n\n")
                        .expect("little is sent");
                    connection.end_stream(now);
                }
            }
            assert!(connection.outbox().len() < PIPELINE_BYTES_MAX);
            told.sent.extend_from_slice(connection.outbox().front());
            connection.wrote(now, connection.outbox().front().len());
            if told.requests.len() == count {
                break;
            }
            received = connection.resume(now, &date);
        }
    }
    told.closing = connection.wants_close();
    told
}

pub(crate) fn check(input: &[u8]) {
    let mut whole = converse([input].into_iter());
    // Whether a client is told to continue, and whether an end is expected, depends on what it has sent
    // by then.
    let settle = |told: &mut Conversation| {
        let text = String::from_utf8_lossy(&told.sent).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        told.sent = text.into_bytes();
        told.closing = told.closing.map(|_| Closing::Lingering);
    };
    settle(&mut whole);
    for size in [1, 3, 50, 1000] {
        let mut pieces = converse(input.chunks(size));
        settle(&mut pieces);
        assert_eq!(pieces, whole, "in pieces of {size}");
    }
}
