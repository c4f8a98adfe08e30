//! The Model Context Protocol: its methods, its revisions, its messages' inside.
//!
//! The only place that compares protocol revisions. Everything else asks what a revision can do, or
//! which [`Era`] it belongs to, and mostly not even that.

pub mod bridge;
pub mod caching;
pub mod capabilities;
pub mod discover;
pub mod handshake;
pub mod headers;
pub mod listing;
pub mod meta;
pub mod method;
pub mod params;
pub mod revision;
mod schema;
pub mod state;
pub mod task;

/// The two families of revisions. The words are the specification's own (basic/versioning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: `initialize`, sessions, requests in both directions.
    Legacy,
    /// From 2026-07-28: every request carries its own `_meta`; there are no sessions.
    Modern,
}
