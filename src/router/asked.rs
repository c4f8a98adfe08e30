//! When a catalog was last asked for, and whose place the next one takes.
//!
//! Clients declare what they like, modern ones with every request, and each set of capabilities has a catalog of
//! its own as long as there is room. So those that nobody asks for any more give way, and where everyone keeps
//! asking, those of whoever has the most. Workers note that a catalog is asked for, the controller reads it: a
//! list costs a look, and a write once in `NOTE_INTERVAL` at most.

use crate::config::limits::{CATALOG_IDLE_TIMEOUT, CATALOGS_MAX};
use crate::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two notes that a catalog is asked for.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// When a catalog was last asked for, to within `NOTE_INTERVAL`, and who had it made.
#[derive(Debug, Default)]
pub struct Asked {
    micros: AtomicU64,
    principal: Option<Arc<str>>,
}

/// Where a further catalog finds its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is one.
    Free,
    /// That of clients with these capabilities gives way.
    InsteadOf(Arc<str>),
    /// Nowhere: all are in use, and nobody has many more than who wants this one.
    None,
}

impl Asked {
    /// That of a catalog which is made now, for that principal if it is known for whom.
    pub fn new(now: Time, principal: Option<Arc<str>>) -> Asked {
        Asked {
            micros: AtomicU64::new(now.as_micros()),
            principal,
        }
    }

    /// Notes that it is asked for now.
    pub fn note(&self, now: Time) {
        // Readers on other threads may see an older time for a moment, which is within what is promised.
        if now.since(self.at()) >= NOTE_INTERVAL {
            self.micros.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    fn at(&self) -> Time {
        Time::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

impl Room {
    /// Where a further catalog for that principal finds its place among all that have something declared.
    pub fn find<'a>(
        others: impl Iterator<Item = (&'a Arc<str>, &'a Asked)>,
        principal: Option<&str>,
        now: Time,
    ) -> Room {
        let others: Vec<(&Arc<str>, &Asked)> = others.collect();
        // The one of those that declared nothing counts as well.
        if others.len() + 1 < CATALOGS_MAX {
            return Room::Free;
        }
        let oldest = others.iter().min_by_key(|(_, asked)| asked.at());
        if let Some((capabilities, asked)) = oldest
            && now.since(asked.at()) >= CATALOG_IDLE_TIMEOUT
        {
            return Room::InsteadOf((*capabilities).clone());
        }
        let mut shares: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (_, asked) in &others {
            *shares.entry(asked.principal.as_deref()).or_default() += 1;
        }
        let own = shares.get(&principal).copied().unwrap_or(0);
        let Some((most, share)) = shares.into_iter().max_by_key(|(_, share)| *share) else {
            return Room::None;
        };
        // With one more the two would change places without end.
        if share <= own + 1 {
            return Room::None;
        }
        let of_most = others
            .iter()
            .filter(|(_, asked)| asked.principal.as_deref() == most);
        match of_most.min_by_key(|(_, asked)| asked.at()) {
            Some((capabilities, _)) => Room::InsteadOf((*capabilities).clone()),
            None => Room::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    /// As many as there may be: each asked for a second after the one before, by the first or the second principal.
    fn full(of_first: usize) -> Vec<(Arc<str>, Asked)> {
        let one = |number: usize| {
            let principal = if number < of_first { "first" } else { "second" };
            let asked = Asked::new(at(number as u64), Some(principal.into()));
            (format!("{number:02}").into(), asked)
        };
        (0..CATALOGS_MAX - 1).map(one).collect()
    }

    fn find(kept: &[(Arc<str>, Asked)], principal: &str, now: Time) -> Room {
        Room::find(kept.iter().map(|(c, a)| (c, a)), Some(principal), now)
    }

    #[test]
    fn longest_unasked_gives_way_once_nobody_uses_it() {
        let kept = full(CATALOGS_MAX);
        let idle = at(0) + CATALOG_IDLE_TIMEOUT;
        assert_eq!(find(&kept[1..], "first", at(0)), Room::Free);
        assert_eq!(find(&kept, "first", at(70)), Room::None);
        assert_eq!(find(&kept, "first", idle), Room::InsteadOf("00".into()));
        kept[0].1.note(at(90));
        let later = idle + Duration::from_secs(1);
        assert_eq!(find(&kept, "first", later), Room::InsteadOf("01".into()));
    }

    #[test]
    fn whoever_has_the_most_gives_way_to_others_and_not_to_itself() {
        let check = |of_first: usize, principal: &str, expected: Room| {
            assert_eq!(find(&full(of_first), principal, at(70)), expected);
        };
        let first = Room::InsteadOf("00".into());
        check(CATALOGS_MAX - 1, "second", first.clone());
        check(CATALOGS_MAX - 1, "first", Room::None);
        check(60, "second", first.clone());
        check(60, "first", Room::None);
        // 32 and 31: nobody has many more.
        check(32, "second", Room::None);
        check(32, "first", Room::None);
        check(32, "third", first);
    }

    #[test]
    fn who_asks_often_writes_once_a_second() {
        let asked = Asked::new(at(5), None);
        asked.note(at(5) + Duration::from_millis(999));
        assert_eq!(asked.at(), at(5));
        asked.note(at(6));
        assert_eq!(asked.at(), at(6));
    }
}
