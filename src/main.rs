//! The command line of switchbox.

use std::process::ExitCode;

#[cfg(any(feature = "mimalloc", target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    switchbox::cli::run(std::env::args_os().skip(1).collect())
}
