//! What the servers of a world are like, and the configuration that names them.

use crate::chance::Chance;
use crate::feeds::Older;
use std::sync::Arc;
use std::time::Duration;
use switchbox::config::{
    Access, Command, Config, EraChoice, Filter, Http, Key, Level, Log, LogFormat, Metrics, Names,
    Scheme, Server, Share, Speaks, Transport,
};
use switchbox::mcp::Era;
use switchbox::secret::Secret;
use switchbox::time::Time;

/// What a server is like.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) http: bool,
    /// HTTP: only knows HTTP+SSE.
    pub(crate) older: Older,
    /// The era that it speaks now.
    pub(crate) era: Era,
    /// Modern, and knows `initialize` all the same.
    pub(crate) dual: bool,
    /// When it comes back in the other era.
    pub(crate) turns_at: Option<Time>,
    /// It may have been taken for legacy: it was, or it did not answer when it was asked.
    pub(crate) doubtful: bool,
    /// What a legacy server says when it is asked about its era.
    pub(crate) probe: Probe,
    pub(crate) per_session: bool,
    /// HTTP, legacy: gives session ids.
    pub(crate) sessions: bool,
    /// HTTP, legacy: has a standing stream.
    pub(crate) standing: bool,
    /// HTTP, legacy: gives ids to the events of its streams.
    pub(crate) resumable: bool,
    /// One in so many things goes wrong.
    pub(crate) faults: usize,
    /// Nobody can connect until then.
    pub(crate) down_until: Time,
}

/// What a legacy child does when it is asked `server/discover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Refuses,
    Ignores,
    Exits,
}

/// The keys that clients show, where clients have to show one.
pub(crate) const KEYS: [&str; 2] = ["alice-key", "bob-key"];

impl Spec {
    pub(crate) fn is_modern(&self) -> bool {
        self.era == Era::Modern
    }

    pub(crate) fn is_older(&self) -> bool {
        self.older != Older::No
    }

    /// Everything it says comes on one stream.
    pub(crate) fn is_one_stream(&self) -> bool {
        !self.http || self.is_older()
    }
}

pub(crate) fn specs(chance: &mut Chance) -> Vec<Spec> {
    let count = chance.between(2, 4);
    (0..count).map(|number| spec(chance, number)).collect()
}

fn spec(chance: &mut Chance, number: usize) -> Spec {
    let http = chance.one_in(2);
    let sessions = !chance.one_in(4);
    let era = *chance.pick(&[Era::Legacy, Era::Modern]);
    let older = match http && era == Era::Legacy {
        true => *chance.pick(&[Older::No, Older::No, Older::Said, Older::Unsaid]),
        false => Older::No,
    };
    let turns = older == Older::No && chance.one_in(5);
    Spec {
        name: format!("s{number}"),
        http,
        older,
        era,
        dual: era == Era::Modern && chance.one_in(5),
        turns_at: turns.then(|| Time::from_micros(2_500_000) + chance.millis(3000)),
        doubtful: turns,
        probe: *chance.pick(&[Probe::Refuses, Probe::Refuses, Probe::Ignores, Probe::Exits]),
        per_session: chance.one_in(4),
        sessions,
        // Without session ids, the streams of several conversations could not be told apart.
        standing: sessions && !chance.one_in(4),
        resumable: !chance.one_in(4),
        faults: *chance.pick(&[4, 8, 30]),
        down_until: match chance.one_in(5) {
            true => Time::ZERO + chance.millis(3000),
            false => Time::ZERO,
        },
    }
}

pub(crate) fn config(chance: &mut Chance, specs: &[Spec]) -> Config {
    let keys = match chance.one_in(2) {
        true => &KEYS[..],
        false => &[],
    };
    let key = |secret: &&str| Key {
        id: secret.to_string(),
        secret: Secret::new(secret.to_string()),
    };
    Config {
        listen: vec![([127, 0, 0, 1], 3050).into()],
        names: Names::Prefixed,
        wait_for_servers: None,
        workers: None,
        keys: keys.iter().map(key).collect(),
        hosts: vec![],
        origins: vec![],
        http_sse: true,
        drain: Duration::from_secs(30),
        log: Log {
            level: Level::Info,
            format: LogFormat::Text,
            access: Access::Off,
        },
        metrics: Metrics {
            enabled: true,
            listen: None,
        },
        servers: specs.iter().map(|spec| server(chance, spec)).collect(),
        origin: None,
    }
}

fn server(chance: &mut Chance, spec: &Spec) -> Arc<Server> {
    // Of some servers the operator knows which era they speak, or which transport.
    let known = spec.turns_at.is_none() && chance.one_in(4);
    Arc::new(Server {
        name: spec.name.clone(),
        enabled: true,
        tags: vec![],
        transport: match spec.http {
            true => Transport::Http(Http {
                scheme: Scheme::Http,
                host: spec.name.clone(),
                port: 80,
                path: match spec.is_older() {
                    true => "/sse".into(),
                    false => "/mcp".into(),
                },
                headers: vec![],
                speaks: match spec.older {
                    Older::Said => Speaks::Sse,
                    Older::No | Older::Unsaid => Speaks::Streamable,
                },
            }),
            false => Transport::Stdio(Command {
                program: "sim".into(),
                args: vec![],
                env: Default::default(),
                cwd: None,
            }),
        },
        tools: Filter::default(),
        prompts: Filter::default(),
        resources: Filter::default(),
        rename: Default::default(),
        timeout: Duration::from_secs(chance.between(3, 10) as u64),
        connections: match spec.http {
            true => *chance.pick(&[1, 2, 3, 64]),
            false => 64,
        },
        share: match spec.per_session {
            true => Share::PerSession,
            false => Share::Shared,
        },
        era: match (known, spec.era) {
            (false, _) => EraChoice::Auto,
            (true, Era::Legacy) => EraChoice::Legacy,
            (true, Era::Modern) => EraChoice::Modern,
        },
        required: false,
    })
}
