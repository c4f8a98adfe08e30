//! How long to wait before a server that failed is tried again.
//!
//! Doubling from [`BACKOFF_FIRST`] to [`BACKOFF_MAX`] with full jitter, so that servers that failed
//! together do not return together. It begins anew once a server was up for [`BACKOFF_RESET`].

use crate::config::limits::{BACKOFF_FIRST, BACKOFF_MAX, BACKOFF_RESET};
use crate::time::Time;
use std::time::Duration;

/// One server's wait.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    chance: u64,
}

impl Backoff {
    /// A server that has not failed yet; `seed` decides the jitter.
    pub fn new(seed: u64) -> Backoff {
        Backoff {
            failures: 0,
            chance: seed,
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures of a server that has been up since `since`, if that is long enough.
    pub fn forgive(&mut self, now: Time, since: Time) {
        if now.since(since) >= BACKOFF_RESET {
            self.failures = 0;
        }
    }

    /// Notes a failure of a server that had been up since `up_since`, if it was; gives the wait.
    pub fn fail(&mut self, now: Time, up_since: Option<Time>) -> Duration {
        if let Some(since) = up_since {
            self.forgive(now, since);
        }
        let ceiling = BACKOFF_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let micros = ceiling.as_micros() as u64;
        Duration::from_micros(self.draw() % (micros + 1))
    }

    /// The next pseudo-random number (splitmix64, Steele et al. 2014): jitter needs no better.
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_differ_by_seed() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..40)
                .map(|_| backoff.fail(Time::ZERO, None))
                .collect::<Vec<_>>()
        };
        let (one, other) = (waits(1), waits(2));
        assert_ne!(one, other);
        assert!(one[0] <= BACKOFF_FIRST && one.iter().all(|wait| *wait <= BACKOFF_MAX));
        assert!(one[20..].iter().sum::<Duration>() > BACKOFF_MAX * 4);
    }

    #[test]
    fn long_uptime_begins_anew() {
        let mut backoff = Backoff::new(1);
        (0..20).for_each(|_| {
            backoff.fail(Time::ZERO, None);
        });
        let wait = backoff.fail(Time::ZERO + BACKOFF_RESET, Some(Time::ZERO));
        assert!(wait <= BACKOFF_FIRST && backoff.failures() == 1);
    }
}
