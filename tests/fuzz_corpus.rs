//! Every input that the fuzz targets start from, through the same checks and without a fuzzer.
//!
//! An input that once broke something stays in `fuzz/corpus` and is a test from then on.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/checks/batch.rs"]
mod batch;
#[path = "../fuzz/checks/body.rs"]
mod body;
#[path = "../fuzz/checks/bridge.rs"]
mod bridge;
#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/connection.rs"]
mod connection;
#[path = "../fuzz/checks/head.rs"]
mod head;
#[path = "../fuzz/checks/headers.rs"]
mod headers;
#[path = "../fuzz/checks/jsonrpc.rs"]
mod jsonrpc;
#[path = "../fuzz/checks/meta.rs"]
mod meta;
#[path = "../fuzz/checks/names.rs"]
mod names;
#[path = "../fuzz/checks/sse.rs"]
mod sse;
#[path = "../fuzz/checks/state.rs"]
mod state;

/// Runs a check over the corpus of its target, and over each input cut short.
fn hold(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("every target has a corpus") {
        let path = entry.expect("the corpus is a plain folder").path();
        let input = fs::read(&path).expect("its inputs are files");
        let step = input.len() / 50 + 1;
        for length in (0..input.len()).step_by(step).chain([input.len()]) {
            let held = catch_unwind(AssertUnwindSafe(|| check(&input[..length])));
            assert!(
                held.is_ok(),
                "{target}: {} cut to {length} bytes",
                path.display()
            );
        }
        count += 1;
    }
    assert!(count >= 5, "{target} has {count} inputs");
}

#[test]
fn head_holds() {
    hold("head", head::check);
}

#[test]
fn body_holds() {
    hold("body", body::check);
}

#[test]
fn sse_holds() {
    hold("sse", sse::check);
}

#[test]
fn connection_holds() {
    hold("connection", connection::check);
}

#[test]
fn config_holds() {
    hold("config", config::check);
}

#[test]
fn jsonrpc_holds() {
    hold("jsonrpc", jsonrpc::check);
}

#[test]
fn batches_hold() {
    hold("batch", batch::check);
}

#[test]
fn names_hold() {
    hold("names", names::check);
}

#[test]
fn bridge_holds() {
    hold("bridge", bridge::check);
}

#[test]
fn meta_holds() {
    hold("meta", meta::check);
}

#[test]
fn headers_hold() {
    hold("headers", headers::check);
}

#[test]
fn state_holds() {
    hold("state", state::check);
}
