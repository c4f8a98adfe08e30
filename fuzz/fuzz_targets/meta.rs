//! See the check.
#![no_main]

#[path = "../checks/meta.rs"]
mod meta;

libfuzzer_sys::fuzz_target!(|input: &[u8]| meta::check(input));
