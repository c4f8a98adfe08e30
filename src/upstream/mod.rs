//! The servers' side: how one is spoken to over HTTP or through a child's pipes, and what is known of a
//! conversation with one.
//!
//! Everything here is told what arrived and says what it means; nothing here decides whom to tell.

pub mod backoff;
pub mod conversation;
pub mod endpoint;
pub mod key;
pub mod lines;
pub mod link;
pub mod pool;
pub mod stderr;
mod subscriptions;
