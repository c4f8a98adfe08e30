//! Where the messages of HTTP+SSE clients go (2024-11-05 basic/transports, "HTTP with SSE").
//!
//! Such a client holds one stream open and posts its messages to an endpoint that it was told on it. The post
//! may come to any worker; the stream belongs to one. An endpoint is as unguessable as a session, serves no
//! principal but the one that opened the stream, and is gone with it. There are no more of them than
//! connections.

use super::store::SessionId;
use crate::id::Place;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The endpoints of all workers.
#[derive(Debug, Default)]
pub struct Endpoints {
    open: Mutex<BTreeMap<SessionId, Endpoint>>,
    used: AtomicBool,
}

#[derive(Debug)]
struct Endpoint {
    place: Place,
    principal: Option<Arc<str>>,
}

impl Endpoints {
    pub(super) fn open(&self, id: SessionId, place: Place, principal: Option<Arc<str>>) {
        let endpoint = Endpoint { place, principal };
        self.open.lock().insert(id, endpoint);
    }

    /// The stream that a message of this principal belongs to; `None` for another's and for what is gone.
    pub fn find(&self, id: SessionId, principal: Option<&str>) -> Option<Place> {
        let open = self.open.lock();
        let endpoint = open.get(&id)?;
        (endpoint.principal.as_deref() == principal).then_some(endpoint.place)
    }

    /// Forgets an endpoint whose stream is gone.
    pub fn close(&self, id: SessionId) {
        self.open.lock().remove(&id);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is asked for the first time in the life of the process.
    pub fn is_first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::Store;
    use super::*;
    use crate::id::{ConnectionId, WorkerId};

    #[test]
    fn endpoint_serves_its_principal_until_it_is_closed() {
        let place = Place {
            worker: WorkerId(1),
            connection: ConnectionId {
                slot: 2,
                generation: 3,
            },
        };
        let store = Store::new([7; 32]);
        let id = store.open_endpoint(place, Some("ci".into()));
        let endpoints = store.endpoints();
        assert_ne!(id, store.open_endpoint(place, None));
        assert_eq!(endpoints.find(id, Some("ci")), Some(place));
        assert_eq!(endpoints.find(id, Some("other")), None);
        assert_eq!(endpoints.find(id, None), None);
        endpoints.close(id);
        assert_eq!((endpoints.find(id, Some("ci")), endpoints.len()), (None, 1));
    }
}
