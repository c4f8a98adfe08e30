//! Work that can only be done by waiting, on threads of its own: looking up host names.
//!
//! The C library's resolver blocks for as long as it likes. A few threads wait for it, each with a small
//! stack, so that one name server that does not answer holds up one of them.

use super::inbox::Inbox;
use super::mail::Mail;
use crate::config::limits::{ADDRESSES_LIFETIME, RESOLVER_THREADS};
use crate::time::Time;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

/// Stack of one such thread. The C library's resolver keeps whole answers on it.
const HELPER_STACK_BYTES: usize = 256 * 1024;

/// What came of looking up a name: its addresses in the order to try them, never empty, or a fact.
pub(super) type Answer = Result<Arc<[IpAddr]>, String>;

/// A name to look up, and where the answer goes.
pub(super) struct Lookup {
    host: Arc<str>,
    reply: Inbox<Mail>,
}

/// Starts the threads, which live as long as the process.
///
/// # Errors
/// What the kernel said about the first thread; fewer than wanted is no error.
pub(super) fn start() -> io::Result<Sender<Lookup>> {
    let (sender, receiver) = unbounded::<Lookup>();
    for number in 0..RESOLVER_THREADS {
        let lookups: Receiver<Lookup> = receiver.clone();
        let started = thread::Builder::new()
            .name(format!("helper {number}"))
            .stack_size(HELPER_STACK_BYTES)
            .spawn(move || {
                for lookup in lookups {
                    let answer = look_up(&lookup.host);
                    lookup.reply.post(Mail::Resolved(lookup.host, answer));
                }
            });
        match started {
            Err(error) if number == 0 => return Err(error),
            _ => {}
        }
    }
    Ok(sender)
}

/// Asks the system, however long that takes.
fn look_up(host: &str) -> Answer {
    let mut addresses: Vec<IpAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| format!("{host} has no address: {}", super::socket::fact(&error)))?
        .map(|address| address.ip())
        .collect();
    addresses.dedup();
    match addresses.is_empty() {
        true => Err(format!("{host} has no address")),
        false => Ok(addresses.into()),
    }
}

/// One worker's memory of names, and of who waits for which.
pub(super) struct Names<W> {
    lookups: Option<Sender<Lookup>>,
    known: BTreeMap<Arc<str>, (Arc<[IpAddr]>, Time)>,
    awaited: BTreeMap<Arc<str>, Vec<W>>,
}

impl<W> Names<W> {
    /// Knows nothing; asks over `lookups`, if there is anybody to ask.
    pub(super) fn new(lookups: Option<Sender<Lookup>>) -> Names<W> {
        Names {
            lookups,
            known: BTreeMap::new(),
            awaited: BTreeMap::new(),
        }
    }

    /// The addresses of `host`, if they are known; else `who` is told by [`Names::learn`] once they are.
    pub(super) fn ask(
        &mut self,
        now: Time,
        host: &str,
        who: W,
        reply: &Inbox<Mail>,
    ) -> Option<Answer> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Ok(Arc::new([address])));
        }
        match self.known.get(host) {
            Some((addresses, expiry)) if now < *expiry => return Some(Ok(Arc::clone(addresses))),
            _ => {}
        }
        let Some(lookups) = &self.lookups else {
            return Some(Err(format!("{host} cannot be looked up here")));
        };
        let host: Arc<str> = host.into();
        let waiting = self.awaited.entry(Arc::clone(&host)).or_default();
        waiting.push(who);
        // Whoever comes while the question is out waits for the same answer.
        if waiting.len() == 1 {
            let reply = reply.clone();
            let _ = lookups.send(Lookup { host, reply });
        }
        None
    }

    /// Takes an answer in; who was waiting for it.
    pub(super) fn learn(&mut self, now: Time, host: &Arc<str>, answer: &Answer) -> Vec<W> {
        // Names come from the configuration, so there is a bounded number of them.
        match answer {
            Ok(addresses) => {
                let expiry = now + ADDRESSES_LIFETIME;
                self.known
                    .insert(Arc::clone(host), (Arc::clone(addresses), expiry));
            }
            Err(_) => {
                self.known.remove(host);
            }
        }
        self.awaited.remove(host).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbox::{Mailbox, inbox};
    use super::*;
    use mio::{Poll, Token, Waker};
    use std::time::Duration;

    type Kit = (Names<u32>, Receiver<Lookup>, Inbox<Mail>, Mailbox<Mail>);

    fn kit() -> Kit {
        let (lookups, asked) = unbounded();
        let waker = Waker::new(Poll::new().unwrap().registry(), Token(0)).unwrap();
        let (reply, mailbox) = inbox(waker);
        (Names::new(Some(lookups)), asked, reply, mailbox)
    }

    fn answer(address: &str) -> Answer {
        Ok(Arc::new([address.parse().unwrap()]))
    }

    #[test]
    fn literal_addresses_are_known_at_once() {
        let (mut names, asked, reply, _mailbox) = kit();
        let check = |names: &mut Names<u32>, host| {
            assert_eq!(names.ask(Time::ZERO, host, 1, &reply), Some(answer(host)));
        };
        check(&mut names, "127.0.0.1");
        check(&mut names, "::1");
        assert!(asked.is_empty());
    }

    #[test]
    fn two_who_ask_for_one_name_cause_one_lookup() {
        let (mut names, asked, reply, _mailbox) = kit();
        assert_eq!(names.ask(Time::ZERO, "a.test", 1, &reply), None);
        assert_eq!(names.ask(Time::ZERO, "a.test", 2, &reply), None);
        assert_eq!(asked.len(), 1);
        let told = names.learn(Time::ZERO, &"a.test".into(), &answer("10.0.0.1"));
        assert_eq!(told, [1, 2]);
    }

    #[test]
    fn answer_is_believed_for_a_minute() {
        let (mut names, asked, reply, _mailbox) = kit();
        names.learn(Time::ZERO, &"a.test".into(), &answer("10.0.0.1"));
        let last = Time::ZERO + (ADDRESSES_LIFETIME - Duration::from_micros(1));
        assert_eq!(
            names.ask(last, "a.test", 1, &reply),
            Some(answer("10.0.0.1"))
        );
        assert_eq!(
            names.ask(Time::ZERO + ADDRESSES_LIFETIME, "a.test", 1, &reply),
            None
        );
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn failure_is_not_remembered() {
        let (mut names, asked, reply, _mailbox) = kit();
        assert_eq!(names.ask(Time::ZERO, "a.test", 1, &reply), None);
        let told = names.learn(Time::ZERO, &"a.test".into(), &Err("no".into()));
        assert_eq!(told, [1]);
        assert_eq!(names.ask(Time::ZERO, "a.test", 1, &reply), None);
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn system_is_asked_on_another_thread() {
        let lookups = start().unwrap();
        let mut poll = Poll::new().unwrap();
        let (reply, mailbox) = inbox(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut names = Names::new(Some(lookups));
        assert_eq!(names.ask(Time::ZERO, "localhost", 1, &reply), None);
        if mailbox.may_sleep() {
            poll.poll(
                &mut mio::Events::with_capacity(1),
                Some(Duration::from_secs(10)),
            )
            .unwrap();
        }
        let Some(Mail::Resolved(host, Ok(addresses))) = mailbox.take() else {
            panic!("localhost was not found");
        };
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert_eq!(names.learn(Time::ZERO, &host, &Ok(addresses)), [1]);
    }
}
