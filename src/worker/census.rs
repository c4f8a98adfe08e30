//! How much of everything a worker holds, for whoever wants to see that nothing is left behind.

use super::Worker;
use super::exchange::Sink;
use super::forward::{Awaiter, Step};
use super::peers::Peer;

/// Counts of what a worker holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Exchanges that are not answered.
    pub exchanges: usize,
    /// Requests to servers that are not answered, given-up ones included, and those by which modern servers are
    /// listened to for changes not.
    pub pendings: usize,
    /// Requests of servers that clients have not answered.
    pub asks: usize,
    /// Batches whose answers are not all there.
    pub batches: usize,
    /// Connections of clients.
    pub clients: usize,
    /// Connections to HTTP servers.
    pub links: usize,
    /// Children.
    pub children: usize,
    /// What waits for a connection to an HTTP server.
    pub waiters: usize,
    /// Conversations besides each server's first.
    pub guests: usize,
    /// Calls whose clients have not come back with what a server asked.
    pub parked: usize,
    /// Bytes of the answers that are kept for them.
    pub parked_bytes: usize,
    /// Guests that are used, or waited for, by calls of modern clients.
    pub lanes: usize,
    /// Clients that listen for changes.
    pub listeners: usize,
}

impl Worker {
    /// Counts everything. Its cost is that of a walk over all of it.
    pub fn census(&self) -> Census {
        let mut census = Census {
            exchanges: self.exchanges.len(),
            pendings: self
                .pendings
                .iter()
                .filter(|(_, pending)| !matches!(pending.awaiter, Awaiter::Step(Step::Listen, _)))
                .count(),
            asks: self.asks.len(),
            batches: self.batches.len(),
            waiters: self.pools.iter().map(|pool| pool.waiting()).sum(),
            guests: self.partners.keys().filter(|key| !key.is_base()).count(),
            parked: self
                .exchanges
                .iter()
                .filter(|(_, exchange)| matches!(exchange.sink, Sink::Parked))
                .count(),
            parked_bytes: self.parked_bytes,
            lanes: self.lanes.in_use(),
            listeners: self.listeners.len(),
            ..Census::default()
        };
        for (_, wire) in self.wires.iter() {
            match wire.peer {
                Peer::Client(_) | Peer::Stdio(_) => census.clients += 1,
                Peer::Link(_) => census.links += 1,
                Peer::Child(_) => census.children += 1,
                Peer::Lent => {}
            }
        }
        census
    }
}
