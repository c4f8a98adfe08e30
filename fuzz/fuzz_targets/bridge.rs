//! See the check.
#![no_main]

#[path = "../checks/bridge.rs"]
mod bridge;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bridge::check(input));
