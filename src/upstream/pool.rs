//! The connections that one worker keeps to one HTTP server.
//!
//! The one used last is used next, so that a burst's surplus ages and is closed. What waits for a
//! connection waits in order.

use crate::config::limits::POOL_IDLE_TIMEOUT;
use crate::id::ConnectionId;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// One pool; `W` is what waits for a connection.
#[derive(Debug)]
pub struct Pool<W> {
    idle: Vec<(ConnectionId, Time)>,
    open: usize,
    most: usize,
    waiting: VecDeque<W>,
}

/// What a request for a connection gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Lease {
    /// This open one.
    Idle(ConnectionId),
    /// Leave to open one.
    New,
    /// None: as many as allowed are in use. Wait with [`Pool::wait`].
    Full,
}

impl<W> Pool<W> {
    /// A pool of at most `most` connections.
    pub fn new(most: usize) -> Pool<W> {
        Pool {
            idle: Vec::new(),
            open: 0,
            most,
            waiting: VecDeque::new(),
        }
    }

    /// A connection to send on. Leave to open one must be returned by [`Pool::closed`] in the end.
    pub fn lease(&mut self) -> Lease {
        if let Some((connection, _)) = self.idle.pop() {
            return Lease::Idle(connection);
        }
        if self.open < self.most {
            self.open += 1;
            return Lease::New;
        }
        Lease::Full
    }

    /// Whether [`Pool::lease`] has something to give.
    pub fn has_room(&self) -> bool {
        !self.idle.is_empty() || self.open < self.most
    }

    /// Queues what waits for a connection.
    pub fn wait(&mut self, waiter: W) {
        self.waiting.push_back(waiter);
    }

    /// What has waited longest, for a connection that has become free or may be opened.
    pub fn next_waiter(&mut self) -> Option<W> {
        self.waiting.pop_front()
    }

    /// Takes back a connection that can carry another request. `allowed` is how long its server keeps it.
    pub fn give_back(&mut self, now: Time, connection: ConnectionId, allowed: Option<Duration>) {
        // A second less than the server says: its clock began before the answer had travelled here.
        let allowed = allowed.map(|a| a.saturating_sub(Duration::from_secs(1)));
        let keep = allowed.map_or(POOL_IDLE_TIMEOUT, |a| a.min(POOL_IDLE_TIMEOUT));
        self.idle.push((connection, now + keep));
    }

    /// Notes that a connection is gone, whether it was idle or not.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.idle.retain(|(idle, _)| *idle != connection);
        self.open = self
            .open
            .checked_sub(1)
            .expect("every connection was leased once");
    }

    /// The idle connections whose time is over. Each must be closed, and [`Pool::closed`] called.
    pub fn expired(&self, now: Time) -> Vec<ConnectionId> {
        self.idle
            .iter()
            .filter(|(_, until)| *until <= now)
            .map(|(connection, _)| *connection)
            .collect()
    }

    /// When the next idle connection's time is over.
    pub fn deadline(&self) -> Option<Time> {
        self.idle.iter().map(|(_, until)| *until).min()
    }

    /// How many wait for a connection.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Connections, idle ones included.
    pub fn open(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 0,
        }
    }

    #[test]
    fn last_used_is_next_used_and_the_rest_expires() {
        let mut pool: Pool<()> = Pool::new(2);
        assert_eq!(
            (pool.lease(), pool.lease(), pool.lease()),
            (Lease::New, Lease::New, Lease::Full)
        );
        pool.give_back(Time::ZERO, id(1), None);
        pool.give_back(Time::ZERO, id(2), Some(Duration::from_secs(3)));
        assert_eq!(pool.lease(), Lease::Idle(id(2)));
        pool.give_back(Time::ZERO, id(2), Some(Duration::from_secs(3)));
        let two = Time::ZERO + Duration::from_secs(2);
        assert_eq!(
            (pool.deadline(), pool.expired(two)),
            (Some(two), vec![id(2)])
        );
        pool.closed(id(2));
        assert_eq!(
            (pool.open(), pool.lease(), pool.lease()),
            (1, Lease::Idle(id(1)), Lease::New)
        );
    }
}
