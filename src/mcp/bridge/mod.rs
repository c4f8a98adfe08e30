//! The bridge: what one exchange becomes when its client and its server are of different eras.
//!
//! Nowhere else are revisions compared to decide what a message looks like. Everything here is pure and works
//! on the bytes as they came: members are dropped, put first or replaced in place; content is never written
//! anew, and what nobody here knows survives byte for byte.
//!
//! | | client legacy, server legacy | client modern, server modern | client legacy, server modern | client modern, server legacy |
//! |---|---|---|---|---|
//! | [`request`] | as it came | as it came, but [`request::capabilities_within_modern`] | [`request::for_modern`] | [`request::for_legacy`] |
//! | [`result`] | as it came | as it came | [`result::for_legacy`] | [`result::for_modern`] |
//! | [`listing`] | as it came | as it came, but [`listing::tool_within_modern`] | [`listing::tool_for_legacy`] | [`listing::tool_for_modern`] |
//! | [`error`] | as it came | [`error::translated`] | [`error::translated`] | [`error::translated`] |
//! | [`input`] | as it came | as it came | [`input::legacy_question`], [`input::retry_params`] | [`input::input_required`], [`input::answers`] |
//! | [`listen`] | as it came | [`listen::tagged`] anew | [`listen::untagged`] | [`listen::tagged`] |

pub mod error;
pub mod input;
pub mod listen;
pub mod listing;
pub mod need;
pub mod request;
pub mod result;
pub mod task;

use super::Era;

/// The two eras that meet in one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// That of the client.
    pub client: Era,
    /// That of the server.
    pub server: Era,
}

impl Cell {
    /// All four.
    pub const ALL: [Cell; 4] = [
        Cell::new(Era::Legacy, Era::Legacy),
        Cell::new(Era::Modern, Era::Modern),
        Cell::new(Era::Legacy, Era::Modern),
        Cell::new(Era::Modern, Era::Legacy),
    ];

    /// The cell in which `client` meets `server`.
    pub const fn new(client: Era, server: Era) -> Cell {
        Cell { client, server }
    }

    /// Whether the two are of different eras.
    pub fn crosses(self) -> bool {
        self.client != self.server
    }
}
