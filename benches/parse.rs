//! What it costs to read a request head and a JSON-RPC envelope: `cargo bench --bench parse`.
//!
//! These two are paid by every exchange. The figure is the fastest of many short runs, since whatever else the
//! machine does can only add to it.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the real clock"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};
use switchbox::http::request::RequestHead;
use switchbox::jsonrpc::envelope::Envelope;

const RUNS: usize = 200;
const RUN: Duration = Duration::from_millis(5);

fn main() {
    println!("{:<36} {:>8} {:>8} {:>8}", "", "bytes", "ns", "MB/s");
    let heads = [
        ("head as the SDKs send it", head(&[])),
        ("head behind two proxies", head(&[PROXIES])),
    ];
    for (name, text) in &heads {
        measure(name, text, |text| {
            RequestHead::parse(text).is_ok_and(|head| head.is_some())
        });
    }
    for bytes in [200, 4 * 1024, 256 * 1024] {
        let text = call(bytes);
        measure("envelope of a call", &text, |text| {
            Envelope::parse(text).is_ok()
        });
    }
}

const PROXIES: &str = "Via: 1.1 edge, 1.1 inner\r\nX-Forwarded-For: 192.0.2.7, 198.51.100.9\r\n\
    X-Forwarded-Proto: https\r\nX-Request-Id: 7f1c6c1e-9f0a-4c43-9d0a-3d0f5a6c2b11\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: *\r\nSec-Fetch-Mode: cors\r\n";

fn head(more: &[&str]) -> Vec<u8> {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:3050\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: 4b1d7c1e9f0a4c439d0a3d0f5a6c2b11\r\n\
         User-Agent: node\r\nContent-Length: 180\r\n{}\r\n",
        more.concat()
    )
    .into_bytes()
}

fn call(bytes: usize) -> Vec<u8> {
    let text = "a line of text with a \\\"quotation\\\" in it\\n".repeat(bytes.div_ceil(40));
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"files__write_file","arguments":{{"path":"/srv/data/note.txt","content":"{text}"}},"_meta":{{"progressToken":7}}}}}}"#
    )
    .into_bytes()
}

/// Prints what one `read` of `text` takes. `read` says whether it succeeded, which it must.
fn measure(name: &str, text: &[u8], read: impl Fn(&[u8]) -> bool) {
    assert!(read(text), "{name}: what is measured does not parse");
    // The clock is read once for many, so that it is not what is measured.
    let batch = (64 * 1024 / text.len()).clamp(1, 64);
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let (began, mut count) = (Instant::now(), 0_u32);
        while began.elapsed() < RUN {
            for _ in 0..batch {
                black_box(read(black_box(text)));
                count += 1;
            }
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    let megabytes = text.len() as f64 / best * 1e3;
    println!("{name:<36} {:>8} {best:>8.0} {megabytes:>8.0}", text.len());
}
