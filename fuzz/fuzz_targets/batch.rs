//! Batches: see the check.
#![no_main]

#[path = "../checks/batch.rs"]
mod batch;

libfuzzer_sys::fuzz_target!(|input: &[u8]| batch::check(input));
