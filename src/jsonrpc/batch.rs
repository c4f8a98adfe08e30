//! Messages that come in one array, and answers that go in one (JSON-RPC 2.0 §6).
//!
//! Taken apart into texts that are read as if each had come alone: what is wrong with one is no matter of the
//! others. What is wrong with the array is a matter of all, and none of them is looked at.

use super::parse::{self, ParseError};
use crate::config::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use std::fmt;

/// Why none of the messages of an array is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BatchError {
    /// It is no JSON: -32700.
    Parse(ParseError),
    /// The others are -32600. It is longer than [`BATCH_BYTES_MAX`].
    TooLong,
    /// It has more messages than [`BATCH_MESSAGES_MAX`].
    TooMany,
    /// It has none, or is no array.
    Empty,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Parse(error) => error.fmt(f),
            BatchError::TooLong => write!(f, "a batch exceeds {BATCH_BYTES_MAX} bytes"),
            BatchError::TooMany => write!(f, "a batch exceeds {BATCH_MESSAGES_MAX} messages"),
            BatchError::Empty => f.write_str("an empty batch"),
        }
    }
}

impl std::error::Error for BatchError {}

/// The messages of an array, each as it is written; at least one, and at most [`BATCH_MESSAGES_MAX`].
///
/// # Errors
/// See [`BatchError`].
pub fn messages(text: &[u8]) -> Result<Vec<&[u8]>, BatchError> {
    if text.len() > BATCH_BYTES_MAX {
        return Err(BatchError::TooLong);
    }
    let whole = parse::check(text).map_err(BatchError::Parse)?;
    if text[whole.start] != b'[' {
        return Err(BatchError::Empty);
    }
    // Without a count of all: an array may have millions.
    let messages: Vec<&[u8]> = parse::elements(text, whole)
        .take(BATCH_MESSAGES_MAX + 1)
        .map(|span| span.of(text))
        .collect();
    match messages.len() {
        0 => Err(BatchError::Empty),
        1..=BATCH_MESSAGES_MAX => Ok(messages),
        _ => Err(BatchError::TooMany),
    }
}

/// These answers as one array.
pub fn array(answers: &[Vec<u8>]) -> Vec<u8> {
    let bytes = answers.iter().map(|answer| answer.len() + 1).sum::<usize>();
    let mut array = Vec::with_capacity(bytes + 1);
    for (place, answer) in answers.iter().enumerate() {
        array.push(if place == 0 { b'[' } else { b',' });
        array.extend_from_slice(answer);
    }
    array.push(b']');
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_is_taken_apart_or_refused_as_a_whole() {
        let many = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        let check = |text: &str, expected: Result<usize, BatchError>| {
            let found = messages(text.as_bytes()).map(|messages| messages.len());
            assert_eq!(found, expected, "{text:.40}");
        };
        check(r#" [{"a":[1,2]} , "x,y" ,[3,4]] "#, Ok(3));
        check("[]", Err(BatchError::Empty));
        check("{}", Err(BatchError::Empty));
        check(&many(BATCH_MESSAGES_MAX), Ok(BATCH_MESSAGES_MAX));
        check(&many(BATCH_MESSAGES_MAX + 1), Err(BatchError::TooMany));
        check(&" ".repeat(BATCH_BYTES_MAX + 1), Err(BatchError::TooLong));
        let error = ParseError { at: 3, fact: "" };
        let found = messages(b"[1,");
        assert!(matches!(found, Err(BatchError::Parse(ParseError { at, .. })) if at == error.at));
    }
}
