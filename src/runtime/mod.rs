//! The shell: everything that touches sockets, pipes, processes, threads, signals and the clock.

#![expect(
    dead_code,
    reason = "the pieces are tested one by one; what joins them comes with the worker"
)]

mod acceptor;
mod child;
mod children;
pub mod clock;
mod controller;
mod cores;
mod desk;
mod dial;
mod driven;
mod effects;
mod entries;
pub mod guard;
mod helpers;
mod inbox;
mod linger;
mod mail;
mod panics;
mod poll;
mod process;
mod serve;
mod signals;
mod socket;
mod stdio;
mod tls;

pub use serve::{Announce, Face, ServeOptions};
