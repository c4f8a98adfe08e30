//! The half of a loop that writes: what the worker shows, until the kernel takes no more.
//!
//! Most of it is written from where the worker holds it. Long answers that many clients get go out of a file
//! in memory instead, if there is one (see [`super::memfiles`]): what comes before them is sent with the
//! promise of more, and what comes after them with a write of its own.

use super::driven::Driven;
use super::memfiles::Memfiles;
use super::panics::caught;
use super::poll::Loop;
use super::socket::{Socket, fact};
use crate::config::limits::MEMFILE_BYTES_MIN;
use crate::id::ConnectionId;
use crate::worker::effect::Input;
use rustix::fd::OwnedFd;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

/// Pieces that one write gathers.
const SLICES: usize = 32;

impl<W: Driven> Loop<W> {
    /// The kernel takes bytes again.
    pub(super) fn unblock(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if !std::mem::take(&mut entry.blocked) {
            return;
        }
        match entry.socket.push() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => entry.blocked = true,
            Err(error) => self.fail(id, fact(&error)),
            Ok(()) => self.flush(id),
        }
    }

    /// Writes what the worker shows until there is nothing or the kernel takes no more.
    pub(super) fn flush(&mut self, id: ConnectionId) {
        loop {
            let Some(entry) = self.entries.get_mut(id) else {
                return;
            };
            if entry.blocked {
                return;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let pieces = match caught(|| self.worker.outgoing(id, &mut slices)) {
                Ok(pieces) => pieces,
                Err(message) => return self.pay_for_panic(Some(id), message),
            };
            if pieces == 0 {
                return;
            }
            let slices = &slices[..pieces];
            let shown: usize = slices.iter().map(|slice| slice.len()).sum();
            let file = match entry.socket {
                Socket::Tcp(_) if shown >= MEMFILE_BYTES_MIN => {
                    file_ahead(&self.worker, &self.links.memfiles, id, slices)
                }
                _ => None,
            };
            let written = match file {
                None => entry.socket.write(slices),
                Some((0, start, file)) => entry.socket.send_file(&file, start, slices[0].len()),
                Some((place, ..)) => entry.socket.write_before_file(&slices[..place]),
            };
            match written {
                Ok(taken) => {
                    entry.blocked = entry.socket.has_unsent();
                    self.tell(Input::Wrote(id, taken));
                    // Less than was shown is not yet a promise of an event: the next write asks for it.
                    if taken == shown && pieces < SLICES {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.links.memfiles.give_up();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    entry.blocked = true;
                    return;
                }
                Err(error) => return self.cannot_write(id, &error),
            }
        }
    }

    /// What becomes of a connection that takes no bytes.
    fn cannot_write(&mut self, id: ConnectionId, error: &io::Error) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        match &mut entry.socket {
            // Its stdin is closed: it has ended or is about to, and how is worth waiting for.
            Socket::Child(child) => {
                child.stdin = None;
                entry.blocked = true;
                self.expect_end(id);
            }
            _ => self.fail(id, fact(error)),
        }
    }
}

/// The first of the slices that there is a file of: its place among them, where it begins in the file, and
/// that.
fn file_ahead(
    worker: &impl Driven,
    memfiles: &Memfiles,
    id: ConnectionId,
    slices: &[IoSlice<'_>],
) -> Option<(usize, usize, Arc<OwnedFd>)> {
    let ahead = worker.shared(id)?;
    // One that is nearly sent may end with a copy.
    let long = slices.get(ahead.place)?.len() >= MEMFILE_BYTES_MIN;
    let file = long.then(|| memfiles.of(ahead.piece))??;
    Some((ahead.place, ahead.sent, file))
}
