//! Long answers that many clients get, kept as files in memory.
//!
//! What is written to a socket is copied into the kernel, and for a list of hundreds of tools that copy is
//! most of what its answer costs. A file's pages are sent as they are. So a long shared piece that is sent for
//! the second time is put into a sealed file in memory, of which every later answer is made.
//!
//! One for all workers, as the pieces are. A piece is known by its address, which the weak pointer beside it
//! keeps from being given to another. Where the kernel has no such files everything is written as before.

use crate::config::limits::{MEMFILES_BYTES_MAX, MEMFILES_MAX};
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Weak};

/// What such a file is called in `/proc`.
const NAME: &CStr = c"switchbox-answer";

/// The pieces that were sent, and the files of those that were sent again.
#[derive(Debug, Default)]
pub(super) struct Memfiles(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Those that were asked for last come last.
    pieces: Vec<Kept>,
    /// The kernel does not do it: nothing is kept any more.
    given_up: bool,
}

#[derive(Debug)]
struct Kept {
    piece: Weak<[u8]>,
    bytes: usize,
    /// Not made before the piece is sent for the second time.
    file: Option<Arc<OwnedFd>>,
}

impl Memfiles {
    /// The file that holds what `piece` holds, if it is worth one.
    pub(super) fn of(&self, piece: &Arc<[u8]>) -> Option<Arc<OwnedFd>> {
        let mut known = self.0.lock();
        if known.given_up {
            return None;
        }
        known.forget_dead();
        let address = Arc::as_ptr(piece);
        let found = known
            .pieces
            .iter()
            .position(|kept| std::ptr::addr_eq(kept.piece.as_ptr(), address));
        let Some(at) = found else {
            known.admit(piece);
            return None;
        };
        let mut kept = known.pieces.remove(at);
        if kept.file.is_none() {
            // Too many open files, say: then the piece counts as never sent.
            kept.file = Some(Arc::new(file_of(piece).ok()?));
        }
        let file = kept.file.clone();
        known.pieces.push(kept);
        file
    }

    /// Lets go of the pieces that nobody else holds any more.
    pub(super) fn forget_dead(&self) {
        self.0.lock().forget_dead();
    }

    /// The kernel does not send from such files.
    pub(super) fn give_up(&self) {
        self.0.lock().give_up();
    }
}

impl Known {
    fn forget_dead(&mut self) {
        self.pieces.retain(|kept| kept.piece.strong_count() > 0);
    }

    fn give_up(&mut self) {
        *self = Known {
            pieces: Vec::new(),
            given_up: true,
        };
    }

    /// Takes a piece in; those that were not asked for the longest make room.
    fn admit(&mut self, piece: &Arc<[u8]>) {
        let bytes = piece.len();
        if bytes > MEMFILES_BYTES_MAX {
            return;
        }
        let mut total: usize = self.pieces.iter().map(|kept| kept.bytes).sum();
        while total + bytes > MEMFILES_BYTES_MAX || self.pieces.len() >= MEMFILES_MAX {
            total -= self.pieces.remove(0).bytes;
        }
        self.pieces.push(Kept {
            piece: Arc::downgrade(piece),
            bytes,
            file: None,
        });
    }
}

/// A file in memory that holds `bytes` and will never hold anything else.
fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before Linux 6.3 do not know the last flag; some newer ones insist on it.
    let file = memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(NAME, flags))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn piece(bytes: usize) -> Arc<[u8]> {
        vec![b'p'; bytes].into()
    }

    #[test]
    fn file_is_made_when_a_piece_is_sent_again() {
        let memfiles = Memfiles::default();
        let piece = piece(50_000);
        assert!(memfiles.of(&piece).is_none());
        let file = memfiles.of(&piece).expect("the kernel has files in memory");
        let mut content = Vec::new();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*file));
        let mut opened = File::open(path).unwrap();
        opened.read_to_end(&mut content).unwrap();
        assert!(content == *piece);
        assert!(File::from(file.try_clone().unwrap()).write(b"x").is_err());
        assert!(Arc::ptr_eq(&file, &memfiles.of(&piece).unwrap()));
    }

    #[test]
    fn file_does_not_outlive_its_piece() {
        let memfiles = Memfiles::default();
        let piece = piece(50_000);
        let _ = memfiles.of(&piece);
        let file = Arc::downgrade(&memfiles.of(&piece).unwrap());
        drop(piece);
        memfiles.forget_dead();
        assert_eq!(file.strong_count(), 0);
        assert!(memfiles.0.lock().pieces.is_empty());
    }

    #[test]
    fn pieces_not_asked_for_the_longest_make_room() {
        let check = |bytes: usize, most: usize| {
            let memfiles = Memfiles::default();
            let pieces: Vec<_> = (0..=most).map(|_| piece(bytes)).collect();
            for piece in &pieces[..most] {
                let _ = memfiles.of(piece);
            }
            assert!(memfiles.of(&pieces[0]).is_some());
            assert!(memfiles.of(&pieces[most]).is_none());
            assert!(memfiles.of(&pieces[0]).is_some(), "asked for lately");
            assert!(memfiles.of(&pieces[1]).is_none(), "made room");
            assert_eq!(memfiles.0.lock().pieces.len(), most);
        };
        check(10, MEMFILES_MAX);
        check(MEMFILES_BYTES_MAX / 3, 3);
    }

    #[test]
    fn what_is_longer_than_all_may_be_is_not_kept() {
        let memfiles = Memfiles::default();
        let piece = piece(MEMFILES_BYTES_MAX + 1);
        assert!(memfiles.of(&piece).is_none());
        assert!(memfiles.of(&piece).is_none());
    }

    #[test]
    fn nothing_is_kept_once_it_was_given_up() {
        let memfiles = Memfiles::default();
        let piece = piece(50_000);
        let _ = memfiles.of(&piece);
        memfiles.give_up();
        assert!(memfiles.of(&piece).is_none());
        assert!(memfiles.of(&piece).is_none());
    }
}
