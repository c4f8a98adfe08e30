//! The command line of switchbox.

fn main() {}
