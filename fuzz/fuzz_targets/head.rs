//! Request and response heads: see the check.
#![no_main]

#[path = "../checks/head.rs"]
mod head;

libfuzzer_sys::fuzz_target!(|input: &[u8]| head::check(input));
