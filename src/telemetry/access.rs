//! The access log: one line for each HTTP request, the client's address first.
//!
//! ```text
//! 192.0.2.7 - ci [2026-11-20T09:30:00.125Z] "POST /mcp tools/call time__now" 200 3.25ms server=time outcome=success
//! 192.0.2.9 - - [2026-11-20T09:30:01.002Z] "POST /mcp" 401 0.04ms
//! ```
//!
//! The address and the status stand where a ban filter or `grep ' 401 '` expects them. A request that
//! became an exchange shows the JSON-RPC method and, for a tool in the catalog, its name.

use super::escape;
use super::line::Millis;
use crate::config::redact::Redactor;
use crate::event::{Event, ExchangeEnded, RequestAnswered};
use crate::time::Wall;
use std::fmt::Write as _;

/// The line of `event`, its line feed included, if it is a request's answer.
pub(super) fn line(wall: Wall, event: &Event, redactor: &Redactor) -> Option<String> {
    let mut out = String::with_capacity(160);
    match event {
        Event::RequestAnswered(answered) => request(&mut out, wall, answered, redactor),
        Event::ExchangeEnded(ended) => exchange(&mut out, wall, ended, redactor),
        _ => return None,
    }
    out.push('\n');
    Some(out)
}

fn request(out: &mut String, wall: Wall, answered: &RequestAnswered, redactor: &Redactor) {
    put(out, format_args!("{} - ", answered.peer.to_canonical()));
    escape::word(
        out,
        &redactor.clean(answered.principal.as_deref().unwrap_or_default()),
    );
    put(out, format_args!(" [{wall}] \"{} ", answered.method));
    escape::word(out, &redactor.clean(&answered.path));
    put(
        out,
        format_args!("\" {} {}ms", answered.status, Millis(answered.took)),
    );
}

fn exchange(out: &mut String, wall: Wall, ended: &ExchangeEnded, redactor: &Redactor) {
    match ended.peer {
        Some(peer) => put(out, format_args!("{} - ", peer.to_canonical())),
        None => out.push_str("- - "),
    }
    escape::word(
        out,
        &redactor.clean(ended.principal.as_deref().unwrap_or_default()),
    );
    put(out, format_args!(" [{wall}] \""));
    out.push_str(match (ended.peer, ended.status) {
        (None, _) => "STDIO - ",
        // Its answer went with a stream, and its POST has a line of its own.
        (Some(_), 0) => "SSE - ",
        (Some(_), _) => "POST /mcp ",
    });
    out.push_str(ended.method.name());
    if let Some(tool) = &ended.tool {
        out.push(' ');
        escape::word(out, &redactor.clean(tool));
    }
    put(
        out,
        format_args!("\" {} {}ms", ended.status, Millis(ended.took)),
    );
    if let Some(server) = &ended.server {
        out.push_str(" server=");
        escape::word(out, &server.name);
    }
    put(out, format_args!(" outcome={}", ended.outcome.word()));
}

fn put(out: &mut String, what: std::fmt::Arguments) {
    out.write_fmt(what).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::{answered, every_event, exchange as an_exchange};
    use std::net::IpAddr;

    fn shown(event: Event) -> String {
        line(Wall(1_795_167_000_125), &event, &Redactor::default()).unwrap()
    }

    #[test]
    fn exchange_shows_method_and_tool() {
        assert_eq!(
            shown(Event::ExchangeEnded(Box::new(an_exchange("time__now")))),
            "192.0.2.7 - ci [2026-11-20T09:30:00.125Z] \"POST /mcp tools/call time__now\" 200 125ms \
             server=time outcome=success\n"
        );
    }

    #[test]
    fn exchange_over_http_sse_is_told_from_a_post() {
        let mut ended = an_exchange("time__now");
        ended.status = 0;
        let line = shown(Event::ExchangeEnded(Box::new(ended)));
        assert!(
            line.contains("] \"SSE - tools/call time__now\" 0 125ms "),
            "{line}"
        );
    }

    #[test]
    fn refused_request_has_address_first_and_status_alone() {
        assert_eq!(
            shown(Event::RequestAnswered(Box::new(answered("/mcp", 401)))),
            "192.0.2.9 - - [2026-11-20T09:30:00.125Z] \"POST /mcp\" 401 0.04ms\n"
        );
    }

    #[test]
    fn mapped_address_is_shown_as_the_one_it_maps() {
        let mut request = answered("/", 403);
        request.peer = "::ffff:192.0.2.1".parse::<IpAddr>().unwrap();
        assert!(shown(Event::RequestAnswered(Box::new(request))).starts_with("192.0.2.1 - "));
    }

    #[test]
    fn no_path_tool_or_principal_adds_a_column() {
        for nasty in [
            "/a b",
            "/\" 200 0ms\n192.0.2.1 - -",
            "\r\n",
            "/x]\"",
            "\x1b[2K",
            "/\u{202e}",
        ] {
            for event in every_event(nasty) {
                let Some(line) = line(Wall(0), &event, &Redactor::default()) else {
                    continue;
                };
                let body = line.strip_suffix('\n').unwrap();
                assert!(!body.chars().any(escape::is_hidden), "{body}");
                // Without the escaped ones there are two quotes, and the status follows the second.
                let parts: Vec<_> = body.split('"').collect();
                let unescaped = body.replace("\\\"", "").matches('"').count();
                assert_eq!(unescaped, 2, "{body}");
                let status = parts.last().unwrap().split(' ').nth(1).unwrap();
                assert!(matches!(status, "200" | "401"), "{body}");
                assert_eq!(body.split(" [").count(), 2, "{body}");
            }
        }
    }
}
