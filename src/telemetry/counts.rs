//! What one thread has counted, and how it is added up.
//!
//! Every thread has a block of its own, behind a lock that only the exposition ever contends: recording
//! one exchange is an uncontended lock, two look-ups by name and a few additions. Blocks outlive their
//! threads, so that no counter ever goes back.

use super::exposition::Histogram;
use crate::config::limits::METRIC_NAMES_MAX;
use crate::event::{Event, ExchangeEnded, Outcome, RequestAnswered, SessionEnd};
use crate::mcp::method::Method;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// The name under which everything past [`METRIC_NAMES_MAX`] is counted.
pub(super) const OTHER: &str = "other";

/// One more than the table's: the last is [`Method::Other`].
const METHODS: usize = Method::ALL.len() + 1;

/// Which names have a metric of their own, for all threads alike, so that a name does not move to
/// `other` on one of them only.
#[derive(Default)]
pub(super) struct Admission(Mutex<BTreeSet<Box<str>>>);

impl Admission {
    fn admits(&self, name: &str) -> bool {
        let mut names = self.0.lock();
        names.contains(name) || (names.len() < METRIC_NAMES_MAX && names.insert(name.into()))
    }
}

/// Something counted for each name.
pub(super) struct Named<C> {
    places: HashMap<Box<str>, usize, BuildHasherDefault<Words>>,
    /// The first is [`OTHER`]'s.
    cells: Vec<C>,
}

impl<C: Default> Default for Named<C> {
    fn default() -> Self {
        Named {
            places: HashMap::with_hasher(BuildHasherDefault::default()),
            cells: vec![C::default()],
        }
    }
}

impl<C: Default> Named<C> {
    /// The cell of `name`, or of [`OTHER`].
    pub(super) fn cell(&mut self, name: &str, admission: &Admission) -> &mut C {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = if admission.admits(name) {
                    self.cells.len()
                } else {
                    0
                };
                if place > 0 {
                    self.cells.push(C::default());
                }
                // Remembering who is not admitted keeps the shared lock off the hot path; up to a bound.
                if place > 0 || self.places.len() < 4 * METRIC_NAMES_MAX {
                    self.places.insert(name.into(), place);
                }
                place
            }
        };
        &mut self.cells[place]
    }

    /// Each name with its cell, in no particular order; [`OTHER`] among them.
    fn iter(&self) -> impl Iterator<Item = (&str, &C)> {
        self.places
            .iter()
            .filter(|(_, place)| **place > 0)
            .map(|(name, place)| (&**name, &self.cells[*place]))
            .chain([(OTHER, &self.cells[0])])
    }
}

/// A word at a time: short keys, few of them, and a number of entries that is bounded whoever chooses
/// them, so that collisions made on purpose cost little.
#[derive(Default)]
pub(super) struct Words(u64);

impl Words {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.mix(u64::from_le_bytes(*word)));
        self.mix(
            rest.iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        );
    }

    fn finish(&self) -> u64 {
        // The product's high bits are the well-mixed ones; the map looks at both ends.
        self.0.rotate_left(26)
    }
}

/// What is counted for one tool.
#[derive(Clone, Debug, Default)]
pub(super) struct Tool {
    pub(super) success: u64,
    pub(super) error: u64,
    pub(super) cancelled: u64,
    pub(super) took: Histogram,
}

/// What is counted for one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Backend {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) took: Histogram,
    pub(super) failures: u64,
    pub(super) noise: u64,
    pub(super) stderr: u64,
    pub(super) strays: u64,
    pub(super) dropped: u64,
    pub(super) refused: u64,
    pub(super) http_sse: u64,
}

/// Which kind of path was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathClass {
    Mcp,
    Sse,
    Messages,
    Health,
    Status,
    Metrics,
    Other,
}

impl PathClass {
    fn of(path: &str) -> PathClass {
        match path {
            "/mcp" => PathClass::Mcp,
            "/sse" => PathClass::Sse,
            "/messages" => PathClass::Messages,
            "/health" | "/healthz" | "/health/live" | "/livez" | "/health/ready" | "/ready"
            | "/readyz" => PathClass::Health,
            "/status" => PathClass::Status,
            "/metrics" => PathClass::Metrics,
            _ => PathClass::Other,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            PathClass::Mcp => "mcp",
            PathClass::Sse => "sse",
            PathClass::Messages => "messages",
            PathClass::Health => "health",
            PathClass::Status => "status",
            PathClass::Metrics => "metrics",
            PathClass::Other => "other",
        }
    }
}

/// One thread's numbers.
pub(super) struct Counts {
    /// For each method, by place, the statuses met so far.
    requests: [Vec<(u16, Histogram)>; METHODS],
    outcomes: [[u64; Outcome::ALL.len()]; METHODS],
    answered: BTreeMap<(PathClass, &'static str, u16), u64>,
    tools: Named<Tool>,
    backends: Named<Backend>,
    pub(super) overhead: Histogram,
    pub(super) errors: u64,
    pub(super) connections_opened: u64,
    pub(super) connections_closed: u64,
    pub(super) connections_refused: u64,
    pub(super) accepts_failed: u64,
    pub(super) sessions_opened: u64,
    pub(super) sessions_ended: [u64; 4],
    pub(super) streams_opened: u64,
    pub(super) streams_closed: u64,
    pub(super) streams_cut: u64,
    pub(super) http_sse_sessions: u64,
    pub(super) names_collided: u64,
    pub(super) lists_cut: u64,
    pub(super) lists_announced: u64,
    pub(super) parcels_stale: u64,
    pub(super) parcels_lost: u64,
    pub(super) panics: u64,
}

/// The order of [`Counts::sessions_ended`].
pub(super) const SESSION_ENDS: [SessionEnd; 4] = [
    SessionEnd::Closed,
    SessionEnd::Idle,
    SessionEnd::Evicted,
    SessionEnd::Drained,
];

impl Default for Counts {
    fn default() -> Self {
        Counts {
            requests: std::array::from_fn(|_| Vec::new()),
            outcomes: [[0; Outcome::ALL.len()]; METHODS],
            answered: BTreeMap::new(),
            tools: Named::default(),
            backends: Named::default(),
            overhead: Histogram::default(),
            errors: 0,
            connections_opened: 0,
            connections_closed: 0,
            connections_refused: 0,
            accepts_failed: 0,
            sessions_opened: 0,
            sessions_ended: [0; 4],
            streams_opened: 0,
            streams_closed: 0,
            streams_cut: 0,
            http_sse_sessions: 0,
            names_collided: 0,
            lists_cut: 0,
            lists_announced: 0,
            parcels_stale: 0,
            parcels_lost: 0,
            panics: 0,
        }
    }
}

impl Counts {
    /// Counts one event.
    pub(super) fn count(&mut self, event: &Event, tools: &Admission, servers: &Admission) {
        match event {
            Event::ExchangeEnded(ended) => self.exchange(ended, tools, servers),
            Event::RequestAnswered(answered) => self.request(answered),
            Event::ConnectionOpened => self.connections_opened += 1,
            Event::ConnectionClosed => self.connections_closed += 1,
            Event::ConnectionRefused { .. } => self.connections_refused += 1,
            Event::AcceptFailed { .. } => self.accepts_failed += 1,
            Event::SessionOpened => self.sessions_opened += 1,
            Event::SessionEnded { why } => self.sessions_ended[*why as usize] += 1,
            Event::StreamOpened => self.streams_opened += 1,
            Event::StreamClosed => self.streams_closed += 1,
            Event::StreamCut { .. } => self.streams_cut += 1,
            Event::HttpSseUsed { server: None, .. } => self.http_sse_sessions += 1,
            Event::HttpSseUsed {
                server: Some(server),
                ..
            } => self.backends.cell(&server.name, servers).http_sse += 1,
            Event::UpstreamFailed { server, .. } => {
                self.backends.cell(&server.name, servers).failures += 1
            }
            Event::ChildNoise { server, .. } => {
                self.backends.cell(&server.name, servers).noise += 1
            }
            Event::ChildStderr { server, .. } => {
                self.backends.cell(&server.name, servers).stderr += 1
            }
            Event::AnswerStray { server } => self.backends.cell(&server.name, servers).strays += 1,
            Event::NotificationDropped { server, .. } => {
                self.backends.cell(&server.name, servers).dropped += 1;
            }
            Event::ServerRequestRefused { server, .. } => {
                self.backends.cell(&server.name, servers).refused += 1;
            }
            Event::NameCollided { .. } => self.names_collided += 1,
            Event::ListCut { .. } => self.lists_cut += 1,
            Event::ListChangeAnnounced { .. } => self.lists_announced += 1,
            Event::ParcelStale => self.parcels_stale += 1,
            Event::ParcelLost => self.parcels_lost += 1,
            Event::HandlerPanicked { .. } => self.panics += 1,
            // States of servers are shown as they are when somebody looks, the process's likewise.
            Event::UpstreamStarting { .. }
            | Event::UpstreamReady { .. }
            | Event::UpstreamListed { .. }
            | Event::UpstreamRetired { .. }
            | Event::UpstreamReopened { .. }
            | Event::Started { .. }
            | Event::ConfigRemarked { .. }
            | Event::DrainStarted
            | Event::DrainEnded { .. } => {}
        }
    }

    fn exchange(&mut self, ended: &ExchangeEnded, tools: &Admission, servers: &Admission) {
        let method = ended.method as usize;
        let by_status = &mut self.requests[method];
        let place = by_status
            .iter()
            .position(|(status, _)| *status == ended.status)
            .unwrap_or_else(|| {
                by_status.push((ended.status, Histogram::default()));
                by_status.len() - 1
            });
        by_status[place].1.observe(ended.took);
        self.outcomes[method][ended.outcome as usize] += 1;
        self.overhead.observe(
            ended
                .took
                .saturating_sub(ended.upstream.unwrap_or_default()),
        );
        let failed = matches!(ended.outcome, Outcome::ServerError | Outcome::Refused);
        self.errors += u64::from(failed);
        if let Some(tool) = &ended.tool {
            let tool = self.tools.cell(tool, tools);
            match ended.outcome {
                Outcome::Success => tool.success += 1,
                Outcome::ToolError | Outcome::ServerError | Outcome::Refused => tool.error += 1,
                Outcome::Cancelled => tool.cancelled += 1,
            }
            tool.took.observe(ended.took);
        }
        if let Some(server) = &ended.server {
            let backend = self.backends.cell(&server.name, servers);
            backend.requests += 1;
            backend.errors += u64::from(failed);
            if let Some(upstream) = ended.upstream {
                backend.took.observe(upstream);
            }
        }
    }

    fn request(&mut self, answered: &RequestAnswered) {
        let key = (
            PathClass::of(&answered.path),
            answered.method,
            answered.status,
        );
        *self.answered.entry(key).or_default() += 1;
        self.errors += u64::from(answered.status >= 500);
    }
}

/// All threads' numbers, ordered for being shown.
#[derive(Default)]
pub(super) struct Total {
    pub(super) requests: BTreeMap<(Method, u16), Histogram>,
    pub(super) outcomes: BTreeMap<(Method, &'static str), u64>,
    pub(super) answered: BTreeMap<(PathClass, &'static str, u16), u64>,
    pub(super) tools: BTreeMap<String, Tool>,
    pub(super) backends: BTreeMap<String, Backend>,
    /// The numbers that have no name; its other members stay empty.
    pub(super) plain: Counts,
}

impl Total {
    /// Adds one thread's numbers.
    pub(super) fn add(&mut self, counts: &Counts) {
        for method in Method::ALL.iter().copied().chain([Method::Other]) {
            for (status, histogram) in &counts.requests[method as usize] {
                self.requests
                    .entry((method, *status))
                    .or_default()
                    .add(histogram);
            }
            let outcomes = counts.outcomes[method as usize];
            for (outcome, count) in Outcome::ALL
                .into_iter()
                .zip(outcomes)
                .filter(|(_, count)| *count > 0)
            {
                *self.outcomes.entry((method, outcome.word())).or_default() += count;
            }
        }
        for (key, count) in &counts.answered {
            *self.answered.entry(*key).or_default() += count;
        }
        for (name, tool) in counts
            .tools
            .iter()
            .filter(|(_, tool)| tool.took.count() > 0)
        {
            let total = self.tools.entry(name.to_string()).or_default();
            total.success += tool.success;
            total.error += tool.error;
            total.cancelled += tool.cancelled;
            total.took.add(&tool.took);
        }
        for (name, backend) in counts
            .backends
            .iter()
            .filter(|(name, backend)| *name != OTHER || backend.any())
        {
            self.backends
                .entry(name.to_string())
                .or_default()
                .add(backend);
        }
        self.add_plain(counts);
    }

    fn add_plain(&mut self, counts: &Counts) {
        let total = &mut self.plain;
        total.overhead.add(&counts.overhead);
        for (mine, theirs) in total.sessions_ended.iter_mut().zip(counts.sessions_ended) {
            *mine += theirs;
        }
        total.errors += counts.errors;
        total.connections_opened += counts.connections_opened;
        total.connections_closed += counts.connections_closed;
        total.connections_refused += counts.connections_refused;
        total.accepts_failed += counts.accepts_failed;
        total.sessions_opened += counts.sessions_opened;
        total.streams_opened += counts.streams_opened;
        total.streams_closed += counts.streams_closed;
        total.streams_cut += counts.streams_cut;
        total.http_sse_sessions += counts.http_sse_sessions;
        total.names_collided += counts.names_collided;
        total.lists_cut += counts.lists_cut;
        total.lists_announced += counts.lists_announced;
        total.parcels_stale += counts.parcels_stale;
        total.parcels_lost += counts.parcels_lost;
        total.panics += counts.panics;
    }

    /// Connections, sessions and event streams open now. What one thread opened another may close, so
    /// only the sums mean something, and a reader between the two sees none below zero.
    pub(super) fn gauges(&self) -> Gauges {
        let plain = &self.plain;
        Gauges {
            connections: plain
                .connections_opened
                .saturating_sub(plain.connections_closed),
            sessions: plain
                .sessions_opened
                .saturating_sub(plain.sessions_ended.iter().sum()),
            streams: plain.streams_opened.saturating_sub(plain.streams_closed),
        }
    }
}

impl Backend {
    fn any(&self) -> bool {
        self.requests
            + self.failures
            + self.noise
            + self.stderr
            + self.strays
            + self.dropped
            + self.refused
            + self.http_sse
            > 0
    }

    fn add(&mut self, other: &Backend) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.took.add(&other.took);
        self.failures += other.failures;
        self.noise += other.noise;
        self.stderr += other.stderr;
        self.strays += other.strays;
        self.dropped += other.dropped;
        self.refused += other.refused;
        self.http_sse += other.http_sse;
    }
}

/// What is open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections of clients.
    pub connections: u64,
    /// Sessions of clients.
    pub sessions: u64,
    /// Standing event streams of clients.
    pub streams: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::exchange;

    #[test]
    fn names_past_the_limit_are_other_on_every_thread() {
        let (tools, servers) = (Admission::default(), Admission::default());
        let mut threads = [Counts::default(), Counts::default()];
        for number in 0..METRIC_NAMES_MAX + 50 {
            let event = Event::ExchangeEnded(Box::new(exchange(&format!("tool-{number}"))));
            threads[number % 2].count(&event, &tools, &servers);
            threads[(number + 1) % 2].count(&event, &tools, &servers);
        }
        let mut total = Total::default();
        threads.iter().for_each(|counts| total.add(counts));
        assert_eq!(total.tools.len(), METRIC_NAMES_MAX + 1);
        assert_eq!(total.tools[OTHER].success, 100);
        assert_eq!(total.tools["tool-0"].success, 2);
    }

    #[test]
    fn own_time_is_what_the_server_did_not_take() {
        let admission = Admission::default();
        let mut counts = Counts::default();
        counts.count(
            &Event::ExchangeEnded(Box::new(exchange("t"))),
            &admission,
            &Admission::default(),
        );
        let mut expected = Histogram::default();
        expected.observe(std::time::Duration::from_micros(500));
        assert_eq!(format!("{:?}", counts.overhead), format!("{expected:?}"));
    }

    #[test]
    fn indices_agree_with_the_tables() {
        assert_eq!(Method::Other as usize, METHODS - 1);
        for (place, method) in Method::ALL.iter().enumerate() {
            assert_eq!(*method as usize, place);
        }
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place);
        }
        for (place, why) in SESSION_ENDS.iter().enumerate() {
            assert_eq!(*why as usize, place);
        }
    }
}
