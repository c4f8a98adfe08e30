//! See the check.
#![no_main]

#[path = "../checks/state.rs"]
mod state;

libfuzzer_sys::fuzz_target!(|input: &[u8]| state::check(input));
