//! What the threads of the process write to each other.
//!
//! ```text
//!  controller ── Table, Attach, Gone, Drain, Stop ──▶ worker ── Report, Spawn, Stop, Drained ──▶ controller
//!  acceptor ──── Adopt ──▶ worker        helpers ── Resolved ──▶ worker        worker ── Parcel ──▶ worker
//! ```

use super::helpers::Answer;
use super::process::Pipes;
use crate::config::Server;
use crate::id::{ConnectionId, Place, WorkerId};
use crate::router::directory::Report;
use crate::router::table::Table;
use crate::worker::parcel::Parcel;
use mio::net::{TcpStream, UnixStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A letter to a worker's thread.
pub(super) enum Mail {
    /// From another worker.
    Parcel(Parcel),
    /// A client's socket, from the acceptor.
    Adopt(TcpStream, SocketAddr, Front),
    /// Our end of the pair that leads to our own stdin and stdout.
    Stdio(UnixStream),
    /// A child that was asked for runs.
    Attach(ConnectionId, Pipes),
    /// A child that was asked for could not be started; a fact.
    NotStarted(ConnectionId, String),
    /// A child has ended; how.
    Gone(ConnectionId, String),
    /// A name was looked up.
    Resolved(Arc<str>, Answer),
    /// A new table holds.
    Table(Arc<Table>),
    /// Finish what is in flight, admit nothing.
    Drain,
    /// Close every connection and every child's stdin: the process is about to end.
    Stop,
}

/// A letter to the controller.
pub(super) enum Order {
    /// A worker has something to tell.
    Report(Report),
    /// Start a child for this connection.
    Spawn(Place, Arc<Server>),
    /// This child was closed: see that it ends.
    Stop(Place),
    /// A worker that was told to drain has nothing in flight any more.
    Drained(WorkerId),
    /// The stdio front was closed, and with it our reason to be.
    FrontClosed,
    /// A worker's thread ended, which it must not.
    Lost(WorkerId),
}

pub(super) use crate::worker::Front;

/// How many clients each worker has, for whoever hands out the next one.
#[derive(Debug)]
pub(super) struct Loads(Vec<AtomicUsize>);

impl Loads {
    /// None yet, for so many workers.
    pub(super) fn new(workers: usize) -> Loads {
        Loads((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// The worker with the fewest clients, now with one more; `None` if there are `most` already.
    ///
    /// Only the acceptor adds, so that nothing it has counted can be overtaken.
    pub(super) fn take_place(&self, most: usize) -> Option<WorkerId> {
        if self.total() >= most {
            return None;
        }
        let loads = self.0.iter().map(|load| load.load(Ordering::Relaxed));
        let (least, _) = loads.enumerate().min_by_key(|(_, load)| *load)?;
        self.0[least].fetch_add(1, Ordering::Relaxed);
        Some(WorkerId(
            u8::try_from(least).expect("fewer workers than 256"),
        ))
    }

    /// How many there are in all.
    pub(super) fn total(&self) -> usize {
        self.0.iter().map(|load| load.load(Ordering::Relaxed)).sum()
    }

    /// A client of this worker is gone.
    pub(super) fn give_place(&self, worker: WorkerId) {
        self.0[usize::from(worker.0)].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_client_goes_where_the_fewest_are() {
        let loads = Loads::new(3);
        let taken: Vec<_> = (0..4).filter_map(|_| loads.take_place(9)).collect();
        assert_eq!(taken, [0, 1, 2, 0].map(WorkerId));
        loads.give_place(WorkerId(2));
        assert_eq!(loads.take_place(9), Some(WorkerId(2)));
    }

    #[test]
    fn nobody_is_taken_in_past_the_limit() {
        let loads = Loads::new(2);
        assert!((0..3).all(|_| loads.take_place(3).is_some()));
        assert_eq!(loads.take_place(3), None);
        loads.give_place(WorkerId(0));
        assert!(loads.take_place(3).is_some());
    }
}
