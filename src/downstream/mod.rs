//! The client's side: connections, and what is spoken on them.

pub mod connection;
pub mod fault;
pub mod gate;
mod pace;

pub use connection::{Closing, Connection, Received, Request};
pub use fault::{Fault, StreamBacklog};
