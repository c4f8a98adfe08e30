//! Batches: an array is taken apart as serde_json takes it apart, each message is what it would be alone, and
//! what is written as one array comes apart into the same.

use serde_json::value::RawValue;
use switchbox::config::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, JSON_DEPTH_MAX};
use switchbox::jsonrpc::batch::{self, BatchError};
use switchbox::jsonrpc::envelope::{Envelope, EnvelopeError, Kind};
use switchbox::jsonrpc::parse;

pub(crate) fn check(input: &[u8]) {
    let theirs = serde_json::from_slice::<Vec<&RawValue>>(input);
    let messages = match batch::messages(input) {
        Ok(messages) => messages,
        Err(error) => return check_refusal(input, &error, theirs.ok().as_deref()),
    };
    let theirs = theirs.expect("serde_json accepts what we accept");
    let theirs: Vec<&[u8]> = theirs.iter().map(|raw| raw.get().as_bytes()).collect();
    assert_eq!(messages, theirs);
    // Whoever reads it as one message is told that it is none.
    assert!(matches!(Envelope::parse(input), Err(EnvelopeError::Batch)));
    for message in &messages {
        check_message(message);
    }
    let answers: Vec<Vec<u8>> = messages.iter().map(|message| message.to_vec()).collect();
    let array = batch::array(&answers);
    assert_eq!(
        batch::messages(&array).expect("an array of messages"),
        messages
    );
}

fn check_refusal(input: &[u8], error: &BatchError, theirs: Option<&[&RawValue]>) {
    match error {
        BatchError::TooLong => assert!(input.len() > BATCH_BYTES_MAX),
        BatchError::TooMany => {
            assert!(theirs.is_some_and(|all| all.len() > BATCH_MESSAGES_MAX));
        }
        BatchError::Empty => assert!(theirs.is_none_or(|all| all.is_empty())),
        BatchError::Parse(error) => {
            // serde_json accepts any depth within a value that it leaves alone.
            let deep = error.fact.starts_with("nested") && input.len() > JSON_DEPTH_MAX;
            assert!(deep || theirs.is_none(), "{error}");
        }
    }
}

/// A message of a batch: whether it is one depends on nothing that stands around it.
fn check_message(message: &[u8]) {
    let spaced = [b" \r\n", message, b"\t"].concat();
    match (Envelope::parse(message), Envelope::parse(&spaced)) {
        (Ok(own), Ok(other)) => {
            assert_eq!(own.id(), other.id());
            let text =
                |envelope: &Envelope<'_>| envelope.params.map(|p| p.of(envelope.text).to_vec());
            assert_eq!(text(&own), text(&other));
            if let Kind::Request { id, .. } = &own.kind {
                let id = id.of(message);
                assert!(
                    parse::check(id).is_ok() && !id.is_empty(),
                    "an id that can be answered"
                );
            }
        }
        (Err(EnvelopeError::Batch), Err(EnvelopeError::Batch)) => {
            assert_eq!(message[0], b'[', "a batch within a batch");
        }
        (Err(EnvelopeError::Invalid { id, .. }), Err(EnvelopeError::Invalid { id: other, .. })) => {
            assert_eq!(id, other);
            if let Some(id) = id {
                assert!(parse::check(&id).is_ok(), "an id that can be answered");
            }
        }
        (own, other) => panic!("{own:?} alone, {other:?} with spaces"),
    }
}
