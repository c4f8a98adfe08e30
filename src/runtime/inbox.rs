//! A thread's inbox: what others send it, and the bell that is rung only when it sleeps.
//!
//! The queue itself grows by small blocks and has no memory of its own while empty; the bound is looked
//! at before something is put in, so that it may be overshot by the number of senders and no more. What
//! must arrive (answers, new tables) ignores the bound: what that may be, and why it is not without a bound of
//! its own, is said at [`Parcel::must_arrive`](crate::worker::parcel::Parcel::must_arrive).

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The side that sends. Cheap to clone, one for each sender. The bell goes with the last of them, rung or
/// not, so that the thread that reads keeps one for itself.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    sender: Sender<T>,
    asleep: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// The side that reads, owned by one thread.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    receiver: Receiver<T>,
    asleep: Arc<AtomicBool>,
}

/// A new inbox whose bell is `waker`, registered with the poll of the thread that will read it.
pub(super) fn inbox<T>(waker: Waker) -> (Inbox<T>, Mailbox<T>) {
    let (sender, receiver) = unbounded();
    let asleep = Arc::new(AtomicBool::new(false));
    let inbox = Inbox {
        sender,
        asleep: Arc::clone(&asleep),
        waker: Arc::new(waker),
    };
    (inbox, Mailbox { receiver, asleep })
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox {
            sender: self.sender.clone(),
            asleep: Arc::clone(&self.asleep),
            waker: Arc::clone(&self.waker),
        }
    }
}

impl<T> Inbox<T> {
    /// Puts `letter` in, whatever else waits there. Lost only if the reader's thread is gone, which
    /// happens when the process ends.
    pub(super) fn post(&self, letter: T) {
        if self.sender.send(letter).is_err() {
            return;
        }
        // Either the reader sees the letter when it looks a last time before sleeping, or this thread sees
        // that it went to sleep: the fences on both sides rule out that neither does.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // The bell is a counter in the kernel: it cannot be rung in vain.
            let _ = self.waker.wake();
        }
    }

    /// Puts `letter` in unless `most` are waiting already: then it comes back.
    pub(super) fn offer(&self, letter: T, most: usize) -> Result<(), T> {
        if self.sender.len() >= most {
            return Err(letter);
        }
        self.post(letter);
        Ok(())
    }
}

impl<T> Mailbox<T> {
    /// The next letter, if there is one.
    pub(super) fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Says that the reader is about to sleep; false if it must not, since something has come.
    pub(super) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.receiver.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// Says that the reader is awake, so that senders need not ring.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    fn pair() -> (Poll, Inbox<u32>, Mailbox<u32>) {
        let poll = Poll::new().unwrap();
        let (inbox, mailbox) = inbox(Waker::new(poll.registry(), Token(7)).unwrap());
        (poll, inbox, mailbox)
    }

    /// Whether the bell rings within 20 ms.
    fn rings(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_millis(20)))
            .unwrap();
        !events.is_empty()
    }

    #[test]
    fn bell_is_silent_while_the_reader_is_awake() {
        let (mut poll, inbox, mailbox) = pair();
        inbox.post(1);
        assert!(!rings(&mut poll));
        assert_eq!(mailbox.take(), Some(1));
    }

    #[test]
    fn sleeper_is_woken_once() {
        let (mut poll, inbox, mailbox) = pair();
        assert!(mailbox.may_sleep());
        inbox.post(1);
        inbox.post(2);
        assert!(rings(&mut poll));
        assert!(!rings(&mut poll));
        assert_eq!((mailbox.take(), mailbox.take()), (Some(1), Some(2)));
    }

    #[test]
    fn reader_with_letters_may_not_sleep() {
        let (_poll, inbox, mailbox) = pair();
        inbox.post(1);
        assert!(!mailbox.may_sleep());
    }

    #[test]
    fn full_inbox_gives_the_letter_back() {
        let (_poll, inbox, mailbox) = pair();
        assert_eq!(inbox.offer(1, 2), Ok(()));
        assert_eq!(inbox.offer(2, 2), Ok(()));
        assert_eq!(inbox.offer(3, 2), Err(3));
        inbox.post(4);
        assert_eq!(mailbox.len(), 3);
    }

    #[test]
    fn no_letter_is_slept_through() {
        let (mut poll, inbox, mailbox) = pair();
        const LETTERS: u32 = 20_000;
        // The bell goes with the last inbox: this one stays.
        let theirs = inbox.clone();
        let sender = std::thread::spawn(move || (0..LETTERS).for_each(|n| theirs.post(n)));
        let mut events = Events::with_capacity(4);
        let mut expected = 0;
        while expected < LETTERS {
            if mailbox.may_sleep() {
                poll.poll(&mut events, Some(Duration::from_secs(5)))
                    .unwrap();
                assert!(
                    !events.is_empty(),
                    "slept with {} letters waiting",
                    mailbox.len()
                );
                mailbox.wake_up();
            }
            while let Some(n) = mailbox.take() {
                assert_eq!(n, expected);
                expected += 1;
            }
        }
        sender.join().unwrap();
        drop(inbox);
    }
}
