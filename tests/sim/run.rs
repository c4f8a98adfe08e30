//! One run: a storm, a calm, an end; and what must hold in each.

use crate::caller::End;
use crate::calls::METHODS;
use crate::client::{Answer, What};
use crate::spec::{config, specs};
use crate::world::{Action, Plant, World};
use crate::{Cover, chance::Chance};
use std::time::Duration;

/// What must have happened on some seed, or the simulation does not show what it is meant to.
pub(crate) const EXPECTED: &[&str] = &[
    "about a call on the standing stream",
    "answer cut off",
    "answer on a resumed stream",
    "ask answered",
    "ask refused",
    "asked was answered twice",
    "asked wrongly",
    "batch answered by an array",
    "batch answered by events",
    "batch on HTTP+SSE",
    "bytes in crumbs",
    "bytes split",
    "call answered by a stream",
    "call succeeded",
    "call without a session",
    "came back late",
    "came back twice",
    "came back with too little",
    "came back with what is no answer",
    "cancelled at server",
    "cancelled by client",
    "change heard",
    "child crashed in a line",
    "child exits when it is asked about its era",
    "child not started",
    "client left",
    "client reads slowly",
    "client's connection broke",
    "connection refused",
    "drained",
    "ended because its client could not be asked",
    "endpoint heard",
    "endpoint late",
    "endpoint named",
    "everyone left",
    "exchange's stream resumed",
    "HTTP 404 from a server",
    "HTTP+SSE server forgot its stream",
    "HTTP+SSE stream lost",
    "hung up on a modern server",
    "inbox full",
    "initialize never answered",
    "initialize refused",
    "legacy request refused by a modern server",
    "listen ended in good order",
    "listen granted in part",
    "listen refused",
    "log heard",
    "modern client cancelled",
    "modern client lacks a capability",
    "modern client listens",
    "modern request refused by a legacy server",
    "modern server asks without a state",
    "modern server wants a call again",
    "never came back",
    "parcel late",
    "parcel stale",
    "post refused",
    "progress heard",
    "refused to a modern server",
    "refused: busy",
    "refused: failed or cancelled",
    "refused: timed out",
    "refused: unavailable",
    "request sent ahead",
    "server came back in the other era",
    "server exits",
    "server hangs",
    "server lost its connection",
    "server slow",
    "server's error passed on",
    "server's stream broke",
    "server/discover ignored",
    "server/discover never answered",
    "session ended at server",
    "session forgotten",
    "short write",
    "slow reader cut off",
    "standing stream at server",
    "standing stream resumed",
    "state forged",
    "state not taken",
    "state shown by another",
    "state shown with another request",
    "stdio front",
    "stdio front, modern",
    "stdout noise",
    "stream caught up at server",
    "table late",
    "tagged message heard",
    "tried the newer way first",
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
    let cells = world.cells.iter();
    let cells = cells.map(|(cell, times)| (cell.to_string().into(), *times));
    let happened = world.cover.iter();
    let happened = happened.map(|(what, times)| ((*what).into(), *times));
    happened.chain(cells).collect()
}

fn storm(world: &mut World) {
    let (clients, callers) = (world.chance.between(1, 3), world.chance.between(1, 4));
    for _ in 0..clients {
        let acts = world.chance.between(8, 24);
        world.new_client(false, acts);
    }
    for _ in 0..callers {
        let acts = world.chance.between(8, 24);
        world.new_caller(false, acts);
    }
    match world.chance.below(6) {
        0 => {
            world.count("stdio front");
            world.new_client(true, 20);
        }
        1 => {
            world.count("stdio front, modern");
            world.new_caller(true, 20);
        }
        _ => {}
    }
    world.run_for(8 * SECOND);
}

/// From here on nothing goes wrong any more.
fn calm(world: &mut World) {
    world.calm = true;
    // A server may wait for a client that never answers: five minutes, and its own time after that.
    world.run_for(400 * SECOND);
    check_answered(world);
    // It may have asked again after that, and then it waits as long again.
    if world.workers.iter().any(|worker| worker.census().asks > 0) {
        world.run_for(300 * SECOND);
    }
    check_at_rest(world);
    for client in 0..world.clients.len() {
        if world.clients[client].session.is_none() {
            world.initialize(client);
        }
    }
    world.run_for(3 * SECOND);
    // Whoever has come back in the other era may be noticed only now.
    for server in 0..world.specs.len() {
        for client in 0..world.clients.len() {
            world.ask_server(client, server, "completion/complete");
        }
        for caller in 0..world.callers.len() {
            world.call_as_caller(caller, server, "completion/complete");
        }
    }
    world.run_for(40 * SECOND);
    let (mut calls, mut quests) = (Vec::new(), Vec::new());
    for server in 0..world.specs.len() {
        for client in 0..world.clients.len() {
            let method = *world.chance.pick(&METHODS);
            calls.push((client, world.clients[client].asked.len()));
            world.ask_server(client, server, method);
        }
        for caller in 0..world.callers.len() {
            let method = *world.chance.pick(&METHODS);
            quests.push((caller, world.callers[caller].quests.len(), server));
            world.call_as_caller(caller, server, method);
        }
    }
    world.run_for(30 * SECOND);
    check_answered(world);
    for (caller, quest, server) in quests {
        let quest = &world.callers[caller].quests[quest];
        let name = &world.specs[server].name;
        assert!(
            matches!(quest.end, Some(End::Result | End::ServerError)),
            "{} of {name}, which is well, came to {:?}",
            quest.tag,
            quest.end
        );
    }
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
    for caller in &world.callers {
        let open = caller.requests.iter().find(|request| {
            let listens = caller.quests[request.quest].method == "subscriptions/listen";
            let heard = request.answered || (listens && request.granted.is_some());
            !heard && !request.lost
        });
        if let Some(open) = open {
            let quest = &caller.quests[open.quest];
            panic!("{} ({}) was not answered", quest.tag, quest.method);
        }
    }
}

/// When every deadline has passed, nothing is under way any more.
fn check_at_rest(world: &World) {
    for (number, worker) in world.workers.iter().enumerate() {
        let census = worker.census();
        let left = [
            ("exchanges", census.exchanges),
            ("asks", census.asks),
            ("batches", census.batches),
            ("parked calls", census.parked),
            ("bytes of parked calls", census.parked_bytes),
            ("lanes in use", census.lanes),
        ];
        for (what, count) in left {
            assert_eq!(count, 0, "worker {number} still has {what}: {census:?}");
        }
    }
}

/// What is in flight is finished within the time for that, and then nothing is.
fn drain(world: &mut World) {
    for client in 0..world.clients.len() {
        let server = world.chance.below(world.specs.len());
        world.ask_server(client, server, "tools/call");
    }
    for caller in 0..world.callers.len() {
        let server = world.chance.below(world.specs.len());
        world.call_as_caller(caller, server, "tools/call");
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
    for caller in 0..world.callers.len() {
        if world.chance.one_in(2) {
            world.caller_vanishes(caller);
        }
    }
    world.run_for(2 * SECOND);
    for client in 0..world.clients.len() {
        world.vanish(client);
    }
    for caller in 0..world.callers.len() {
        world.caller_vanishes(caller);
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
            ("parked calls", census.parked),
            ("bytes of parked calls", census.parked_bytes),
            ("lanes in use", census.lanes),
            ("listeners", census.listeners),
        ];
        for (what, count) in left {
            assert_eq!(count, 0, "worker {number} still has {what}: {census:?}");
        }
    }
}
