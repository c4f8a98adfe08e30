//! What a worker's thread drives, and what it is connected to.

use super::helpers::Lookup;
use super::inbox::Inbox;
use super::mail::{Loads, Mail, Order};
use super::memfiles::Memfiles;
use crate::event::Event;
use crate::http::outbox::SharedAhead;
use crate::id::{ConnectionId, WorkerId};
use crate::time::Time;
use crate::worker::effect::{Effect, Input, OpsAnswer, OpsRequest};
pub(super) use crate::worker::{Front, Seat, Worker};
use rustls::ClientConfig;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a loop drives: the worker, or in a test something that plays it.
pub(super) trait Driven: 'static {
    fn accept(&mut self, now: Time, peer: SocketAddr, front: Front) -> ConnectionId;
    fn open_stdio(&mut self, now: Time) -> ConnectionId;
    fn handle(&mut self, now: Time, input: Input<'_>);
    fn poll(&mut self) -> Option<Effect>;
    fn outgoing<'a>(&'a self, connection: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize;
    /// What of that may be worth sending from a file. A hint only: nothing is lost without it.
    fn shared(&self, _: ConnectionId) -> Option<SharedAhead<'_>> {
        None
    }
    fn deadline(&self) -> Option<Time>;
    fn is_drained(&self) -> bool;
}

impl Driven for Worker {
    fn accept(&mut self, now: Time, peer: SocketAddr, front: Front) -> ConnectionId {
        Worker::accept(self, now, peer, front)
    }
    fn open_stdio(&mut self, now: Time) -> ConnectionId {
        Worker::open_stdio(self, now)
    }
    fn handle(&mut self, now: Time, input: Input<'_>) {
        Worker::handle(self, now, input);
    }
    fn poll(&mut self) -> Option<Effect> {
        Worker::poll(self)
    }
    fn outgoing<'a>(&'a self, connection: ConnectionId, slices: &mut [IoSlice<'a>]) -> usize {
        Worker::outgoing(self, connection, slices)
    }
    fn shared(&self, connection: ConnectionId) -> Option<SharedAhead<'_>> {
        Worker::shared(self, connection)
    }
    fn deadline(&self) -> Option<Time> {
        Worker::deadline(self)
    }
    fn is_drained(&self) -> bool {
        Worker::is_drained(self)
    }
}

/// Who is told what happens, and answers what the worker cannot.
pub(super) trait Witness: Send {
    fn record(&mut self, now: Time, event: &Event);
    fn answer(&mut self, now: Time, request: &OpsRequest) -> OpsAnswer;
}

/// What a loop is connected to.
pub(super) struct Links {
    /// Which worker this is.
    pub(super) own: WorkerId,
    /// The inboxes of all workers, its own included.
    pub(super) workers: Vec<Inbox<Mail>>,
    /// The controller's inbox.
    pub(super) controller: Inbox<Order>,
    /// Where names are looked up.
    pub(super) lookups: Option<crossbeam_channel::Sender<Lookup>>,
    /// For `https`.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// How many clients each worker has.
    pub(super) loads: Arc<Loads>,
    /// Long answers as files.
    pub(super) memfiles: Arc<Memfiles>,
}
