//! The shell: everything that touches sockets, pipes, processes, threads, signals and the clock.

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
mod memfiles;
mod panics;
mod poll;
mod process;
mod sending;
mod serve;
mod signals;
mod socket;
mod stdio;
mod tls;

pub use serve::{Announce, Face, ServeOptions};

use crate::config::Config;
use crate::worker::Worker;
use std::process::ExitCode;

/// Serves until it is told to end, and says how the process ends: 0 after a drain, 69 if something that is
/// needed is not there (an address is taken, say), 78 if a file that the configuration names is not
/// usable, 70 if a worker's thread was lost.
///
/// To be called from the process's main thread: the kernel ties children to the thread that started them.
pub fn serve(config: Config, options: ServeOptions) -> ExitCode {
    serve::serve(config, options, Worker::new)
}
