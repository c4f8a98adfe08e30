//! One run: a storm, a calm, an end; and what must hold in each.

use crate::client::{Answer, What};
use crate::feeds::Older;
use crate::server::Spec;
use crate::world::{Action, Plant, World};
use crate::{Cover, chance::Chance};
use std::sync::Arc;
use std::time::Duration;
use switchbox::config::{
    Access, Command, Config, EraChoice, Filter, Http, Level, Log, LogFormat, Metrics, Names,
    Scheme, Server, Share, Speaks, Transport,
};
use switchbox::time::Time;

/// What must have happened on some seed, or the simulation does not show what it is meant to.
pub(crate) const EXPECTED: &[&str] = &[
    "about a call on the standing stream",
    "answer cut off",
    "answer on a resumed stream",
    "ask answered",
    "ask refused",
    "asked was answered twice",
    "batch answered by an array",
    "batch answered by events",
    "batch on HTTP+SSE",
    "bytes in crumbs",
    "bytes split",
    "call answered by a stream",
    "call succeeded",
    "call without a session",
    "cancelled at server",
    "cancelled by client",
    "change heard",
    "child crashed in a line",
    "child not started",
    "client left",
    "client reads slowly",
    "client's connection broke",
    "connection refused",
    "drained",
    "endpoint heard",
    "endpoint late",
    "endpoint named",
    "everyone left",
    "exchange's stream resumed",
    "HTTP 404 from a server",
    "HTTP+SSE server forgot its stream",
    "HTTP+SSE stream lost",
    "inbox full",
    "initialize never answered",
    "initialize refused",
    "log heard",
    "parcel late",
    "parcel stale",
    "post refused",
    "progress heard",
    "refused: busy",
    "refused: failed or cancelled",
    "refused: timed out",
    "refused: unavailable",
    "request sent ahead",
    "server exits",
    "server hangs",
    "server lost its connection",
    "server slow",
    "server's error passed on",
    "server's stream broke",
    "session ended at server",
    "session forgotten",
    "short write",
    "slow reader cut off",
    "standing stream at server",
    "standing stream resumed",
    "stdio front",
    "stdout noise",
    "stream caught up at server",
    "table late",
    "tried the newer way first",
    "tagged message heard",
    "update heard",
    "upstream reopened",
    "upstream retired",
];

const SECOND: Duration = Duration::from_secs(1);

/// Runs a seed to its end, or panics with what went wrong.
pub(crate) fn run(seed: u64, plant: Option<Plant>, trace: bool) -> Cover {
    let mut chance = Chance::new(!seed);
    let specs = specs(&mut chance);
    let config = config(&mut chance, &specs);
    let workers = chance.between(2, 3);
    let mut world = World::new(seed, workers, config, specs);
    world.plant = plant;
    world.trace = trace;
    world.begin();
    storm(&mut world);
    calm(&mut world);
    match world.chance.one_in(2) {
        true => drain(&mut world),
        false => everyone_leaves(&mut world),
    }
    world.cover
}

fn storm(world: &mut World) {
    let clients = world.chance.between(2, 5);
    for _ in 0..clients {
        let acts = world.chance.between(10, 40);
        world.new_client(false, acts);
    }
    if world.chance.one_in(3) {
        world.count("stdio front");
        world.new_client(true, 20);
    }
    world.run_for(8 * SECOND);
}

/// From here on nothing goes wrong any more.
fn calm(world: &mut World) {
    world.calm = true;
    // A server may wait for a client that never answers: five minutes, and its own time after that.
    world.run_for(400 * SECOND);
    check_answered(world);
    for client in 0..world.clients.len() {
        if world.clients[client].session.is_none() {
            world.initialize(client);
        }
    }
    world.run_for(3 * SECOND);
    let mut calls = Vec::new();
    for client in 0..world.clients.len() {
        for server in 0..world.specs.len() {
            calls.push((client, world.clients[client].asked.len()));
            world.call_server(client, server);
        }
    }
    world.run_for(30 * SECOND);
    check_answered(world);
    for (client, ask) in calls {
        let asked = &world.clients[client].asked[ask];
        let well = matches!(asked.answer, Some(Answer::Result | Answer::ServerError));
        let What::Call(server) = asked.what else {
            panic!("a call was remembered as {:?}", asked.what);
        };
        let name = &world.specs[server].name;
        assert!(
            well,
            "{} of {name}, which is well, came to {:?}",
            asked.tag, asked.answer
        );
    }
}

/// Whatever was asked on a connection that is still there has been answered.
fn check_answered(world: &World) {
    let all = world.clients.iter().flat_map(|client| &client.asked);
    let mut open = all.filter(|asked| asked.answer.is_none() && !asked.lost && !asked.cancelled);
    if let Some(asked) = open.next() {
        panic!("{} ({:?}) was not answered", asked.tag, asked.what);
    }
}

/// What is in flight is finished within the time for that, and then nothing is.
fn drain(world: &mut World) {
    for client in 0..world.clients.len() {
        let server = world.chance.below(world.specs.len());
        world.call_server(client, server);
    }
    let pause = world.chance.millis(20);
    world.run_for(pause);
    world.draining = true;
    world.count("drained");
    for worker in 0..world.workers.len() {
        let delay = world.chance.millis(5);
        world.after(delay, Action::Drain(worker));
    }
    world.run_for(world.config.drain);
    for (number, worker) in world.workers.iter().enumerate() {
        assert!(
            worker.is_drained(),
            "worker {number} is not drained: {:?}",
            worker.census()
        );
    }
}

/// When everyone has left, nothing is left.
fn everyone_leaves(world: &mut World) {
    world.count("everyone left");
    for client in 0..world.clients.len() {
        match world.chance.below(3) {
            0 => world.farewell(client),
            1 => world.vanish(client),
            _ => {}
        }
    }
    world.run_for(2 * SECOND);
    for client in 0..world.clients.len() {
        world.vanish(client);
    }
    world.run_for(33 * 60 * SECOND);
    assert!(
        world.sessions.is_empty(),
        "{} sessions are left",
        world.sessions.len()
    );
    assert!(world.sessions.endpoints().is_empty(), "endpoints are left");
    for (number, worker) in world.workers.iter().enumerate() {
        let census = worker.census();
        let left = [
            ("exchanges", census.exchanges),
            ("pendings", census.pendings),
            ("asks", census.asks),
            ("batches", census.batches),
            ("clients", census.clients),
            ("waiters", census.waiters),
            ("guests", census.guests),
        ];
        for (what, count) in left {
            assert_eq!(count, 0, "worker {number} still has {what}: {census:?}");
        }
    }
}

// ── what the world is made of ────────────────────────────────────────────────────────────────────────

fn specs(chance: &mut Chance) -> Vec<Spec> {
    let count = chance.between(2, 4);
    let spec = |number: usize| Spec {
        name: format!("s{number}"),
        http: chance.one_in(2),
        older: *chance.pick(&[Older::No, Older::No, Older::Said, Older::Unsaid]),
        per_session: chance.one_in(4),
        sessions: !chance.one_in(4),
        standing: !chance.one_in(4),
        resumable: chance.one_in(2),
        faults: *chance.pick(&[4, 8, 30]),
        down_until: match chance.one_in(5) {
            true => Time::ZERO + chance.millis(3000),
            false => Time::ZERO,
        },
    };
    let mut specs: Vec<Spec> = (0..count).map(spec).collect();
    // Without session ids, the streams of several conversations could not be told apart.
    for spec in &mut specs {
        spec.standing &= spec.sessions;
        if !spec.http {
            spec.older = Older::No;
        }
    }
    specs
}

fn config(chance: &mut Chance, specs: &[Spec]) -> Config {
    let server = |spec: &Spec| {
        Arc::new(Server {
            name: spec.name.clone(),
            enabled: true,
            tags: vec![],
            transport: match spec.http {
                true => Transport::Http(Http {
                    scheme: Scheme::Http,
                    host: spec.name.clone(),
                    port: 80,
                    path: match spec.older {
                        Older::No => "/mcp".into(),
                        Older::Said | Older::Unsaid => "/sse".into(),
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
            era: EraChoice::Auto,
            required: false,
        })
    };
    Config {
        listen: vec![([127, 0, 0, 1], 3050).into()],
        names: Names::Prefixed,
        wait_for_servers: None,
        workers: None,
        keys: vec![],
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
        servers: specs.iter().map(server).collect(),
        origin: None,
    }
}
