//! See the check.
#![no_main]

#[path = "../checks/jsonrpc.rs"]
mod jsonrpc;

libfuzzer_sys::fuzz_target!(|input: &[u8]| jsonrpc::check(input));
