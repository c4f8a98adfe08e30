//! Chunked bodies: splitting changes nothing, and what is encoded is decoded.

use switchbox::http::body::{LAST_CHUNK, write_chunk};
use switchbox::http::{BodyError, Chunks, Decoded};

/// Content and what is left of the input, or nothing while it is not complete.
type Verdict = Result<Option<(Vec<u8>, usize)>, BodyError>;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, mut left: usize) -> Verdict {
    let mut chunks = Chunks::new();
    let mut content = Vec::new();
    for mut piece in pieces {
        loop {
            let before = piece.len();
            let decoded = chunks.decode(&mut piece)?;
            left -= before - piece.len();
            match decoded {
                Decoded::Content(part) => content.extend_from_slice(part),
                Decoded::More => break,
                Decoded::End => return Ok(Some((content, left))),
            }
        }
    }
    Ok(None)
}

pub(crate) fn check(input: &[u8]) {
    let whole = decode([input].into_iter(), input.len());
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(
            decode(input.chunks(size), input.len()),
            whole,
            "in pieces of {size}"
        );
    }
    if let Ok(Some((content, _))) = &whole {
        check_encoded(content, 5);
    }
    let size = input.first().map_or(1, |byte| usize::from(*byte) + 1);
    check_encoded(input, size);
}

fn check_encoded(content: &[u8], size: usize) {
    let mut encoded = Vec::new();
    for piece in content.chunks(size) {
        write_chunk(&mut encoded, piece);
    }
    encoded.extend_from_slice(LAST_CHUNK);
    encoded.extend_from_slice(b"GET");
    let decoded = decode([&encoded[..]].into_iter(), encoded.len());
    assert_eq!(decoded, Ok(Some((content.to_vec(), 3))));
}
