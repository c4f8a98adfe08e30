//! The routing table: everything a worker needs to know about servers and what they offer, immutable.

use crate::config::Server;
use std::sync::Arc;

/// One state of the world, shared by all workers until the next one comes.
#[derive(Debug)]
pub struct Table {
    /// The enabled servers, in configuration order.
    pub servers: Vec<Arc<Server>>,
}
