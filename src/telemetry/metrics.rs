//! Every metric by name: what it counts, in which unit, with which labels.
//!
//! The only file that names metrics; `counts` does the counting, `exposition` the format. Labels come from
//! enums, from the configuration (servers) or from the catalog (tools, the first thousand), never from what
//! a client sends. Each length is recorded once; see [`EDGES`](super::exposition::EDGES).

use super::counts::{Admission, Counts, Gauges, SESSION_ENDS, Tool, Total};
use super::exposition::{Family, Kind, Page};
use crate::event::Event;
use crate::ops::process::Process;
use crate::router::status::{ServerState, ServerStatus};
use crate::time::Wall;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Edges of requests and of servers' answers: those that three generations of dashboards ask for, and a tail.
const REQUEST_EDGES: &[u64] = &[
    1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 30_000_000,
    60_000_000,
];
/// Edges of tools: few, since there may be a thousand of them.
const TOOL_EDGES: &[u64] = &[10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];
/// Edges of our own time: fine, since it is short.
const OVERHEAD_EDGES: &[u64] = &[50, 100, 250, 500, 1_000, 5_000, 10_000, 50_000, 100_000];

macro_rules! families {
    ($($name:ident = $kind:ident $metric:literal $help:literal;)*) => {
        $(const $name: Family = Family { name: $metric, kind: Kind::$kind, help: $help };)*
        /// Every family, in the order of the page.
        #[cfg(test)]
        const FAMILIES: &[Family] = &[$($name,)*];
    };
}

families! {
    BUILD_INFO = Gauge "switchbox_build_info" "What is running; always 1.";
    DRAINING = Gauge "switchbox_draining" "Whether the process admits nothing more before it ends.";
    REQUESTS = Counter "switchbox_requests_total" "JSON-RPC requests of clients that were answered, by method and HTTP status (none on stdio).";
    REQUEST_OUTCOMES = Counter "switchbox_request_outcomes_total" "The same by how they went.";
    REQUEST_SECONDS = Histogram "switchbox_request_duration_seconds" "From a request's last byte to its answer's last.";
    OVERHEAD_SECONDS = Histogram "switchbox_overhead_duration_seconds" "The part of that which was not spent waiting for a server.";
    ERRORS = Counter "switchbox_errors_total" "JSON-RPC errors of servers and refusals, and other HTTP answers of 500 and above.";
    TOOL_CALLS = Counter "switchbox_tool_calls_total" "Calls of tools of the catalog.";
    TOOL_SECONDS = Histogram "switchbox_tool_duration_seconds" "From a tool call's last byte to its answer's last.";
    BACKEND_UP = Gauge "switchbox_backend_up" "Whether the server has answered initialize and is connected.";
    BACKEND_REQUESTS = Counter "switchbox_backend_requests_total" "Requests of clients that concerned this server.";
    BACKEND_ERRORS = Counter "switchbox_backend_errors_total" "Those of them that ended with an error of the server or for want of it.";
    BACKEND_SECONDS = Histogram "switchbox_backend_duration_seconds" "Time spent waiting for the server.";
    BACKEND_RESTARTS = Counter "switchbox_backend_restarts_total" "Times the server was started or connected to again after a failure.";
    BACKEND_FAILURES = Counter "switchbox_backend_failures_total" "Conversations with the server that broke or could not be opened.";
    BACKEND_CONVERSATIONS = Gauge "switchbox_backend_conversations" "Conversations open with the server.";
    CHILD_NOISE = Counter "switchbox_child_noise_lines_total" "Lines on a child's stdout that are no message.";
    CHILD_STDERR = Counter "switchbox_child_stderr_lines_total" "Lines on a child's stderr.";
    STRAY_ANSWERS = Counter "switchbox_stray_answers_total" "Answers of a server that belonged to no request in flight.";
    DROPPED_NOTIFICATIONS = Counter "switchbox_dropped_notifications_total" "Notifications of a server that reached nobody.";
    REFUSED_SERVER_REQUESTS = Counter "switchbox_refused_server_requests_total" "Requests of a server to a client that were refused.";
    HTTP_REQUESTS = Counter "switchbox_http_requests_total" "HTTP requests that were answered.";
    CONNECTIONS_ACTIVE = Gauge "switchbox_connections_active" "Connections of clients that are open.";
    CONNECTIONS = Counter "switchbox_connections_total" "Connections of clients that were taken in.";
    CONNECTIONS_REFUSED = Counter "switchbox_connections_refused_total" "Connections closed at once because there were too many.";
    ACCEPT_FAILURES = Counter "switchbox_accept_failures_total" "Connections that the system could not hand over.";
    SESSIONS_ACTIVE = Gauge "switchbox_sessions_active" "Sessions of clients that are open.";
    SESSIONS = Counter "switchbox_sessions_total" "Sessions of clients that began.";
    SESSION_ENDS_TOTAL = Counter "switchbox_session_ends_total" "Sessions of clients that ended, by why.";
    STREAMS_ACTIVE = Gauge "switchbox_streams_active" "Standing event streams of clients that are open.";
    STREAMS_CUT = Counter "switchbox_streams_cut_total" "Event streams cut because their reader was too slow.";
    HTTP_SSE_SESSIONS = Counter "switchbox_http_sse_sessions_total" "Streams of clients that use the deprecated HTTP+SSE transport.";
    HTTP_SSE_CONVERSATIONS = Counter "switchbox_http_sse_conversations_total" "Conversations with the server over the deprecated HTTP+SSE transport.";
    NAMES_COLLIDED = Counter "switchbox_name_collisions_total" "Names hidden because an earlier server offers the same.";
    LISTS_CUT = Counter "switchbox_lists_cut_total" "Lists of servers of which a part was left out.";
    LISTS_ANNOUNCED = Counter "switchbox_list_announcements_total" "Times that clients were told of changed lists.";
    PARCELS_STALE = Counter "switchbox_stale_parcels_total" "Messages between threads for something that was gone.";
    PARCELS_LOST = Counter "switchbox_lost_parcels_total" "Messages between threads that found a full inbox.";
    PANICS = Counter "switchbox_panics_total" "Events whose handling panicked, at the cost of one connection each.";
    LOG_LINES_LOST = Counter "switchbox_log_lines_lost_total" "Log and access lines that were dropped.";
    MEMORY = Gauge "switchbox_memory_bytes" "Resident memory.";
    PROCESS_START = Gauge "process_start_time_seconds" "When the process started, since 1970-01-01T00:00:00Z.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" "User and system time spent.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" "Resident memory.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" "Mapped address space.";
    PROCESS_FDS = Gauge "process_open_fds" "Open file descriptors.";
    PROCESS_FDS_MAX = Gauge "process_max_fds" "Most file descriptors that may be open.";
    PROCESS_THREADS = Gauge "process_threads" "Threads.";
}

/// One thread's numbers, for it to add to and for the exposition to read.
#[derive(Default)]
pub(super) struct Block(Mutex<Counts>);

/// The numbers of all threads.
#[derive(Default)]
pub(super) struct Registry {
    blocks: Mutex<Vec<Arc<Block>>>,
    tools: Admission,
    servers: Admission,
}

/// What the page shows beside what was counted.
pub(super) struct Seen<'a> {
    pub(super) version: &'a str,
    pub(super) now: Wall,
    pub(super) uptime: Duration,
    pub(super) draining: bool,
    pub(super) statuses: &'a [ServerStatus],
    pub(super) process: Process,
    pub(super) log_lines_lost: u64,
}

impl Registry {
    /// A block for a new thread.
    pub(super) fn block(&self) -> Arc<Block> {
        let block = Arc::new(Block::default());
        self.blocks.lock().push(block.clone());
        block
    }

    /// Counts one event in the calling thread's block.
    pub(super) fn count(&self, block: &Block, event: &Event) {
        block.0.lock().count(event, &self.tools, &self.servers);
    }

    /// What is open now.
    pub(super) fn gauges(&self) -> Gauges {
        self.total().gauges()
    }

    fn total(&self) -> Total {
        let mut total = Total::default();
        for block in self.blocks.lock().iter() {
            total.add(&block.0.lock());
        }
        total
    }

    /// The whole page.
    pub(super) fn page(&self, seen: &Seen) -> String {
        let mut total = self.total();
        // A counter that exists from the start, at zero, is one whose first increase can be seen.
        for status in seen
            .statuses
            .iter()
            .filter(|status| status.state != ServerState::Disabled)
        {
            total
                .backends
                .entry(status.server.name.clone())
                .or_default();
        }
        let mut page = Page::default();
        page.family(BUILD_INFO)
            .sample(&[("version", seen.version), ("target", TARGET)], 1);
        page.family(DRAINING).sample(&[], seen.draining);
        requests(&mut page, &total);
        tools(&mut page, &total.tools);
        backends(&mut page, &total, seen.statuses);
        http(&mut page, &total);
        clients(&mut page, &total);
        innards(&mut page, &total, seen.log_lines_lost);
        process(&mut page, seen);
        page.end()
    }
}

/// Architecture and system that this was built for.
const TARGET: &str = if cfg!(target_arch = "x86_64") {
    "x86_64-linux"
} else if cfg!(target_arch = "aarch64") {
    "aarch64-linux"
} else {
    "linux"
};

fn requests(page: &mut Page, total: &Total) {
    page.family(REQUESTS);
    for ((method, status), histogram) in &total.requests {
        let status = status_word(*status);
        page.sample(
            &[("method", method.name()), ("status", &status)],
            histogram.count(),
        );
    }
    page.family(REQUEST_OUTCOMES);
    for ((method, outcome), count) in &total.outcomes {
        page.sample(&[("method", method.name()), ("outcome", outcome)], *count);
    }
    page.family(REQUEST_SECONDS);
    for ((method, status), histogram) in &total.requests {
        let status = status_word(*status);
        page.histogram(
            &[("method", method.name()), ("status", &status)],
            histogram,
            REQUEST_EDGES,
        );
    }
    page.family(OVERHEAD_SECONDS)
        .histogram(&[], &total.plain.overhead, OVERHEAD_EDGES);
    page.family(ERRORS).sample(&[], total.plain.errors);
}

fn status_word(status: u16) -> String {
    if status == 0 {
        "none".into()
    } else {
        status.to_string()
    }
}

fn tools(page: &mut Page, tools: &BTreeMap<String, Tool>) {
    page.family(TOOL_CALLS);
    for (name, tool) in tools {
        page.sample(&[("tool", name), ("status", "success")], tool.success);
        page.sample(&[("tool", name), ("status", "error")], tool.error);
        if tool.cancelled > 0 {
            page.sample(&[("tool", name), ("status", "cancelled")], tool.cancelled);
        }
    }
    page.family(TOOL_SECONDS);
    for (name, tool) in tools {
        page.histogram(&[("tool", name)], &tool.took, TOOL_EDGES);
    }
}

fn backends(page: &mut Page, total: &Total, statuses: &[ServerStatus]) {
    let enabled = || {
        statuses
            .iter()
            .filter(|status| status.state != ServerState::Disabled)
    };
    page.family(BACKEND_UP);
    for status in enabled() {
        page.sample(
            &[("server", &status.server.name)],
            status.state == ServerState::Ready,
        );
    }
    page.family(BACKEND_RESTARTS);
    for status in enabled() {
        page.sample(&[("server", &status.server.name)], status.restarts);
    }
    page.family(BACKEND_CONVERSATIONS);
    for status in enabled() {
        page.sample(
            &[("server", &status.server.name)],
            status.conversations as u64,
        );
    }
    page.family(BACKEND_SECONDS);
    for (server, backend) in &total.backends {
        page.histogram(&[("server", server)], &backend.took, REQUEST_EDGES);
    }
    let mut each = |family, count: fn(&super::counts::Backend) -> u64| {
        page.family(family);
        for (server, backend) in &total.backends {
            page.sample(&[("server", server)], count(backend));
        }
    };
    each(BACKEND_REQUESTS, |backend| backend.requests);
    each(BACKEND_ERRORS, |backend| backend.errors);
    each(BACKEND_FAILURES, |backend| backend.failures);
    each(CHILD_NOISE, |backend| backend.noise);
    each(CHILD_STDERR, |backend| backend.stderr);
    each(STRAY_ANSWERS, |backend| backend.strays);
    each(DROPPED_NOTIFICATIONS, |backend| backend.dropped);
    each(REFUSED_SERVER_REQUESTS, |backend| backend.refused);
    each(HTTP_SSE_CONVERSATIONS, |backend| backend.http_sse);
}

/// Exchanges over HTTP are POSTs to the endpoint; they are counted once, above, and shown here as well.
fn http(page: &mut Page, total: &Total) {
    let mut answered: BTreeMap<(&str, &str, u16), u64> = BTreeMap::new();
    for ((class, method, status), count) in &total.answered {
        *answered.entry((class.word(), method, *status)).or_default() += count;
    }
    for ((_, status), histogram) in total
        .requests
        .iter()
        .filter(|((_, status), _)| *status != 0)
    {
        *answered.entry(("mcp", "POST", *status)).or_default() += histogram.count();
    }
    page.family(HTTP_REQUESTS);
    for ((class, method, status), count) in answered {
        let status = status.to_string();
        page.sample(
            &[("path", class), ("method", method), ("status", &status)],
            count,
        );
    }
}

fn clients(page: &mut Page, total: &Total) {
    let (plain, gauges) = (&total.plain, total.gauges());
    page.family(CONNECTIONS_ACTIVE)
        .sample(&[], gauges.connections);
    page.family(CONNECTIONS)
        .sample(&[], plain.connections_opened);
    page.family(CONNECTIONS_REFUSED)
        .sample(&[], plain.connections_refused);
    page.family(ACCEPT_FAILURES)
        .sample(&[], plain.accepts_failed);
    page.family(SESSIONS_ACTIVE).sample(&[], gauges.sessions);
    page.family(SESSIONS).sample(&[], plain.sessions_opened);
    page.family(SESSION_ENDS_TOTAL);
    for (why, count) in SESSION_ENDS.iter().zip(plain.sessions_ended) {
        page.sample(&[("why", why.word())], count);
    }
    page.family(STREAMS_ACTIVE).sample(&[], gauges.streams);
    page.family(STREAMS_CUT).sample(&[], plain.streams_cut);
    page.family(HTTP_SSE_SESSIONS)
        .sample(&[], plain.http_sse_sessions);
}

fn innards(page: &mut Page, total: &Total, log_lines_lost: u64) {
    let plain = &total.plain;
    page.family(NAMES_COLLIDED)
        .sample(&[], plain.names_collided);
    page.family(LISTS_CUT).sample(&[], plain.lists_cut);
    page.family(LISTS_ANNOUNCED)
        .sample(&[], plain.lists_announced);
    page.family(PARCELS_STALE).sample(&[], plain.parcels_stale);
    page.family(PARCELS_LOST).sample(&[], plain.parcels_lost);
    page.family(PANICS).sample(&[], plain.panics);
    page.family(LOG_LINES_LOST).sample(&[], log_lines_lost);
}

fn process(page: &mut Page, seen: &Seen) {
    let process = &seen.process;
    let started = (seen.now.0 as f64 / 1e3 - seen.uptime.as_secs_f64()).max(0.0);
    page.family(MEMORY).sample(&[], process.resident_bytes);
    page.family(PROCESS_START).sample(&[], started);
    page.family(PROCESS_CPU)
        .sample(&[], process.cpu.as_secs_f64());
    page.family(PROCESS_RESIDENT)
        .sample(&[], process.resident_bytes);
    page.family(PROCESS_VIRTUAL)
        .sample(&[], process.virtual_bytes);
    page.family(PROCESS_FDS).sample(&[], process.open_fds);
    if let Some(most) = process.fds_max {
        page.family(PROCESS_FDS_MAX).sample(&[], most);
    }
    page.family(PROCESS_THREADS).sample(&[], process.threads);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::{every_event, exchange, server};

    fn page() -> String {
        let registry = Registry::default();
        let (one, two) = (registry.block(), registry.block());
        for event in every_event("nasty \"tool\"\\\n name") {
            registry.count(&one, &event);
        }
        registry.count(&two, &Event::ExchangeEnded(Box::new(exchange("time__now"))));
        registry.page(&Seen {
            version: "1.2.3",
            now: Wall(1_795_167_000_125),
            uptime: Duration::from_secs(60),
            draining: false,
            statuses: &[
                ServerStatus::new(server("time")),
                ServerStatus::new(server("idle")),
            ],
            process: Process::read(),
            log_lines_lost: 0,
        })
    }

    #[test]
    fn every_family_has_help_type_and_samples_of_its_own() {
        let page = page();
        let mut current = None;
        let mut seen = Vec::new();
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.ends_with('.') && help.len() > 5, "{line}");
                assert!(!seen.contains(&name), "{name} comes twice");
                current = Some(name);
                seen.push(name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert_eq!(kind.split(' ').next(), current, "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let family = current.unwrap();
                let suffix = name.strip_prefix(family).unwrap_or("?");
                assert!(
                    matches!(suffix, "" | "_bucket" | "_sum" | "_count"),
                    "{line} under {family}"
                );
                assert!(
                    line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                    "{line}"
                );
            }
        }
        let declared: std::collections::BTreeSet<_> =
            FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(
            seen.into_iter().collect::<std::collections::BTreeSet<_>>(),
            declared
        );
    }

    #[test]
    fn names_are_snake_case_and_end_in_their_unit() {
        for family in FAMILIES {
            let name = family.name;
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert!(!name.contains("__") && !name.ends_with('_'), "{name}");
            assert!(
                name.starts_with("switchbox_") || name.starts_with("process_"),
                "{name}"
            );
            match family.kind {
                Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
                Kind::Histogram => assert!(name.ends_with("_seconds"), "{name}"),
                Kind::Gauge => assert!(!name.ends_with("_total"), "{name}"),
            }
        }
    }

    #[test]
    fn page_adds_up_all_threads() {
        let page = page();
        let check =
            |line: &str| assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        check("switchbox_requests_total{method=\"tools/call\",status=\"200\"} 2");
        check("switchbox_request_outcomes_total{method=\"tools/call\",outcome=\"success\"} 2");
        check(
            "switchbox_request_duration_seconds_bucket{method=\"tools/call\",status=\"200\",le=\"1\"} 2",
        );
        check("switchbox_tool_calls_total{tool=\"time__now\",status=\"success\"} 1");
        check(
            "switchbox_tool_calls_total{tool=\"nasty \\\"tool\\\"\\\\\\n name\",status=\"error\"} 0",
        );
        check("switchbox_tool_duration_seconds_sum{tool=\"time__now\"} 0.125");
        check("switchbox_backend_requests_total{server=\"time\"} 2");
        check("switchbox_backend_requests_total{server=\"idle\"} 0");
        check("switchbox_backend_up{server=\"idle\"} 0");
        check("switchbox_http_requests_total{path=\"mcp\",method=\"POST\",status=\"200\"} 2");
        check("switchbox_http_requests_total{path=\"other\",method=\"POST\",status=\"401\"} 1");
        check("switchbox_connections_active 0");
        check("switchbox_panics_total 1");
        check("switchbox_session_ends_total{why=\"idle\"} 1");
        check("process_start_time_seconds 1795166940.125");
    }

    #[test]
    fn shown_edges_are_recorded_ones() {
        for edge in [REQUEST_EDGES, TOOL_EDGES, OVERHEAD_EDGES].concat() {
            assert!(super::super::exposition::EDGES.contains(&edge), "{edge}");
        }
    }
}
