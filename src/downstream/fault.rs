//! What a client does that ends its connection.

use std::fmt;

use crate::config::limits::{
    BODY_BYTES_MAX, BODY_IDLE_TIMEOUT, BODY_TIMEOUT, HEAD_TIMEOUT, WRITE_TIMEOUT,
};
use crate::http::{BodyError, HeadError};

/// Why a connection is ended by us: the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The head is refused.
    Head(HeadError),
    /// The body is refused.
    Body(BodyError),
    /// The body is longer than [`BODY_BYTES_MAX`].
    BodyTooLarge,
    /// The head did not arrive within [`HEAD_TIMEOUT`].
    HeadSlow,
    /// The body did not arrive within [`BODY_TIMEOUT`], or stood still for [`BODY_IDLE_TIMEOUT`].
    BodySlow,
    /// The client took next to nothing of its answer for [`WRITE_TIMEOUT`]. It is not told.
    ReaderSlow,
}

impl Fault {
    /// The status that the client gets.
    pub const fn status(self) -> u16 {
        match self {
            Fault::Head(error) => error.status(),
            Fault::Body(_) => 400,
            Fault::BodyTooLarge => 413,
            Fault::HeadSlow | Fault::BodySlow | Fault::ReaderSlow => 408,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Head(error) => error.fmt(f),
            Fault::Body(error) => error.fmt(f),
            Fault::BodyTooLarge => write!(f, "body exceeds {BODY_BYTES_MAX} bytes"),
            Fault::HeadSlow => write!(f, "head took longer than {} s", HEAD_TIMEOUT.as_secs()),
            Fault::BodySlow => write!(
                f,
                "body stood still for {} s or took longer than {} s",
                BODY_IDLE_TIMEOUT.as_secs(),
                BODY_TIMEOUT.as_secs()
            ),
            Fault::ReaderSlow => {
                write!(f, "answer was not taken for {} s", WRITE_TIMEOUT.as_secs())
            }
        }
    }
}

/// A stream has more to send than its reader takes: the connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamBacklog;
