//! All requests of ours that servers have not answered, and where those of one exchange, one connection or one
//! conversation are among them: what a server says, or a client gives up, must not cost a walk over everybody's.

use super::forward::{Awaiter, Pending};
use super::slots::{Slots, Ticket};
use super::wire_id;
use crate::id::{ConnectionId, Home};

/// The requests of a worker.
#[derive(Debug)]
pub(super) struct Pendings {
    all: Slots<Kept>,
    /// Those of each conversation that has a line.
    lines: Slots<Vec<Ticket>>,
    /// The latest of each exchange: by its worker, and its place there. What is found must be looked at, since
    /// nothing is taken out.
    latest: Vec<Vec<Ticket>>,
    /// How many there were, ever.
    number: u64,
}

#[derive(Debug)]
struct Kept {
    pending: Pending,
    number: u64,
    /// The line in which it is, and where.
    line: Option<(Ticket, usize)>,
    /// The connection that it was put on last.
    link: Option<ConnectionId>,
}

impl Pendings {
    /// None yet.
    pub(super) fn new() -> Pendings {
        Pendings {
            all: Slots::new(wire_id::GENERATIONS),
            lines: Slots::new(u32::MAX),
            latest: Vec::new(),
            number: 0,
        }
    }

    /// A line for a conversation's requests.
    pub(super) fn open_line(&mut self) -> Ticket {
        self.lines.insert(Vec::new())
    }

    /// Does without a line; its requests stay.
    pub(super) fn close_line(&mut self, line: Ticket) {
        self.lines.remove(line);
    }

    /// Takes in a request, of the conversation with that line if it has one.
    pub(super) fn insert(&mut self, pending: Pending, line: Option<Ticket>) -> Ticket {
        let home = match pending.awaiter {
            Awaiter::Client(home) => Some(home),
            _ => None,
        };
        self.number += 1;
        let ticket = self.all.insert(Kept {
            pending,
            number: self.number,
            line: None,
            link: None,
        });
        if let Some(line) = line
            && let Some(own) = self.lines.get_mut(line)
            && let Some(kept) = self.all.get_mut(ticket)
        {
            kept.line = Some((line, own.len()));
            own.push(ticket);
        }
        if let Some(home) = home {
            *self.latest_of(home) = ticket;
        }
        ticket
    }

    fn latest_of(&mut self, home: Home) -> &mut Ticket {
        let (worker, place) = (usize::from(home.worker.0), home.exchange.slot as usize);
        if self.latest.len() <= worker {
            self.latest.resize_with(worker + 1, Vec::new);
        }
        let places = &mut self.latest[worker];
        if places.len() <= place {
            places.resize(place + 1, (0, 0));
        }
        &mut places[place]
    }

    /// Takes one out, if it is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let kept = self.all.remove(ticket)?;
        if let Some((line, at)) = kept.line
            && let Some(own) = self.lines.get_mut(line)
        {
            let removed = own.swap_remove(at);
            assert_eq!(
                removed, ticket,
                "a line and its requests agree on where they are"
            );
            if let Some(moved) = own.get(at).and_then(|moved| self.all.get_mut(*moved)) {
                moved.line = Some((line, at));
            }
        }
        Some(kept.pending)
    }

    /// The request, if it is still there.
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Pending> {
        self.all.get(ticket).map(|kept| &kept.pending)
    }

    /// The request, if it is still there.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        self.all.get_mut(ticket).map(|kept| &mut kept.pending)
    }

    /// Notes the connection that a request was put on.
    pub(super) fn put_on(&mut self, ticket: Ticket, link: ConnectionId) {
        if let Some(kept) = self.all.get_mut(ticket) {
            kept.link = Some(link);
        }
    }

    /// The connection that a request was put on last; it may carry something else by now.
    pub(super) fn link(&self, ticket: Ticket) -> Option<ConnectionId> {
        self.all.get(ticket)?.link
    }

    /// The request whose answer an exchange waits for.
    pub(super) fn of(&self, home: Home) -> Option<(Ticket, &Pending)> {
        let places = self.latest.get(usize::from(home.worker.0))?;
        let ticket = *places.get(home.exchange.slot as usize)?;
        let pending = self.get(ticket)?;
        matches!(pending.awaiter, Awaiter::Client(own) if own == home).then_some((ticket, pending))
    }

    /// How many requests are in a line.
    pub(super) fn len_of_line(&self, line: Ticket) -> usize {
        self.lines.get(line).map_or(0, Vec::len)
    }

    /// The requests in a line with their numbers, in no order.
    pub(super) fn in_line(&self, line: Ticket) -> impl Iterator<Item = (u64, Ticket, &Pending)> {
        let own = self.lines.get(line).into_iter().flatten();
        own.filter_map(|ticket| {
            let kept = self.all.get(*ticket)?;
            Some((kept.number, *ticket, &kept.pending))
        })
    }

    /// All of them with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u64, Ticket, &Pending)> {
        let all = self.all.iter();
        all.map(|(ticket, kept)| (kept.number, ticket, &kept.pending))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ticket, &Pending)> {
        self.all
            .iter()
            .map(|(ticket, kept)| (ticket, &kept.pending))
    }

    /// Where all of them are, so that they can be visited while they change.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.all.tickets()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ExchangeId, WorkerId};
    use crate::mcp::Era;
    use crate::upstream::key::Key;

    fn home(worker: u8, slot: u32) -> Home {
        Home {
            worker: WorkerId(worker),
            exchange: ExchangeId {
                slot,
                generation: 1,
            },
        }
    }

    fn pending(home: Home) -> Pending {
        Pending {
            key: Key::base(0),
            awaiter: Awaiter::Client(home),
            epoch: None,
            session: None,
            subscription: None,
            task: None,
            era: Era::Legacy,
        }
    }

    #[test]
    fn line_holds_what_is_not_answered_and_nothing_else() {
        let mut pendings = Pendings::new();
        let lines = [pendings.open_line(), pendings.open_line()];
        let mut kept: Vec<(usize, Ticket)> = Vec::new();
        let mut draw = 1u32;
        for slot in 0..500 {
            draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let line = draw as usize >> 16 & 1;
            kept.push((
                line,
                pendings.insert(pending(home(0, slot)), Some(lines[line])),
            ));
            if draw >> 20 & 1 == 0 {
                let (_, ticket) = kept.swap_remove(draw as usize % kept.len());
                assert!(pendings.remove(ticket).is_some());
                assert!(pendings.remove(ticket).is_none());
            }
            for (number, line) in lines.iter().enumerate() {
                let own = kept.iter().filter(|(own, _)| *own == number);
                let mut own: Vec<Ticket> = own.map(|(_, ticket)| *ticket).collect();
                let mut found: Vec<Ticket> = pendings.in_line(*line).map(|(_, t, _)| t).collect();
                own.sort();
                found.sort();
                assert_eq!(found, own);
                assert_eq!(pendings.len_of_line(*line), own.len());
            }
        }
        assert_eq!(pendings.len(), kept.len());
    }

    #[test]
    fn exchange_is_found_by_its_home_while_it_waits() {
        let mut pendings = Pendings::new();
        let first = pendings.insert(pending(home(3, 7)), None);
        assert_eq!(
            pendings.of(home(3, 7)).map(|(ticket, _)| ticket),
            Some(first)
        );
        assert!(pendings.of(home(2, 7)).is_none());
        let next = Home {
            exchange: ExchangeId {
                generation: 2,
                ..home(3, 7).exchange
            },
            ..home(3, 7)
        };
        assert!(pendings.of(next).is_none());
        pendings.remove(first);
        let second = pendings.insert(pending(next), None);
        assert_eq!(pendings.of(next).map(|(ticket, _)| ticket), Some(second));
        assert!(pendings.of(home(3, 7)).is_none());
    }
}
