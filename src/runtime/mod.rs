//! The shell: everything that touches sockets, pipes, processes, threads, signals and the clock.

pub mod clock;
pub mod guard;
