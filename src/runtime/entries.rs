//! The shell's side of a worker's connections: by slot, as the worker counts them.

use super::socket::Socket;
use crate::id::ConnectionId;

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    generation: u32,
    /// What carries it.
    pub(super) socket: Socket,
    /// Whose side it is on.
    pub(super) side: Side,
    /// The kernel takes no more for now: an event will say when it does.
    pub(super) blocked: bool,
    /// There may be something to read.
    pub(super) unread: bool,
    /// The worker wants to read no more for now.
    pub(super) paused: bool,
    /// The other side has said that it will send no more: reading on finds the end.
    pub(super) at_end: bool,
    /// The worker was told of the end.
    pub(super) ended: bool,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A client that the acceptor has counted.
    Client,
    /// The client that started us.
    Stdio,
    /// A server.
    Server,
}

/// All connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Entries(Vec<Option<Entry>>);

impl Entries {
    /// Keeps what carries the connection `id`, which is new.
    pub(super) fn insert(&mut self, id: ConnectionId, side: Side, socket: Socket) -> &mut Entry {
        let slot = id.slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        assert!(self.0[slot].is_none(), "connection {id} in a taken slot");
        self.0[slot].insert(Entry {
            generation: id.generation,
            socket,
            side,
            blocked: false,
            unread: false,
            paused: false,
            at_end: false,
            ended: false,
        })
    }

    /// The connection `id`, if it is still open.
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        let entry = self.0.get_mut(id.slot as usize)?.as_mut()?;
        (entry.generation == id.generation).then_some(entry)
    }

    /// Whoever is in `slot` now, and its id.
    pub(super) fn in_slot(&mut self, slot: u32) -> Option<(ConnectionId, &mut Entry)> {
        let entry = self.0.get_mut(slot as usize)?.as_mut()?;
        let id = ConnectionId {
            slot,
            generation: entry.generation,
        };
        Some((id, entry))
    }

    /// Takes the connection `id` out, if it is still open.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Entry> {
        self.get_mut(id)?;
        self.0[id.slot as usize].take()
    }

    /// The ids of all that are open.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        let slots = self.0.iter().enumerate();
        slots
            .filter_map(|(slot, entry)| {
                Some(ConnectionId {
                    slot: u32::try_from(slot).ok()?,
                    generation: entry.as_ref()?.generation,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_tenant_of_a_slot_is_not_found() {
        let id = |generation| ConnectionId {
            slot: 2,
            generation,
        };
        let mut entries = Entries::default();
        entries.insert(id(1), Side::Server, Socket::Spawning);
        assert!(entries.remove(id(1)).is_some());
        entries.insert(id(2), Side::Server, Socket::Spawning);
        assert!(entries.get_mut(id(1)).is_none());
        assert!(entries.remove(id(1)).is_none());
        assert_eq!(entries.in_slot(2).map(|(found, _)| found), Some(id(2)));
        assert_eq!(entries.ids(), [id(2)]);
    }
}
