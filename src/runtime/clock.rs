//! The one place that reads clocks and draws randomness, so that everything else takes both as arguments.

use crate::time::{Time, Wall};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The process's own clock: monotonic, from [`Time::ZERO`], with the wall clock as one offset.
///
/// Copied into every thread, so that all of them agree on what an instant means.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    wall_at_zero: Wall,
}

impl Clock {
    /// Starts counting. Called once, by whoever starts the process's threads.
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell's clock is the lawful reader"
    )]
    pub fn start() -> Clock {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Clock {
            zero: Instant::now(),
            wall_at_zero: Wall(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Now. One system call without a switch to the kernel (20 ns): once for each turn of a loop is enough.
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell's clock is the lawful reader"
    )]
    pub fn now(&self) -> Time {
        let elapsed = Instant::now().saturating_duration_since(self.zero);
        Time::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// What the wall clock showed at [`Time::ZERO`].
    pub fn wall_at_zero(&self) -> Wall {
        self.wall_at_zero
    }

    /// What is shown to people as the time of `now`.
    pub fn wall(&self, now: Time) -> Wall {
        Wall(self.wall_at_zero.0.saturating_add(now.as_micros() / 1000))
    }
}

/// Bytes nobody can guess, from the kernel; up to 256 of them.
///
/// # Errors
/// Only a kernel without `getrandom(2)` (before Linux 3.17) or a filter that forbids it.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    const { assert!(N <= 256, "longer requests may be cut short, getrandom(2)") };
    let mut bytes = [0; N];
    let taken = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    assert_eq!(taken, N, "the kernel gave less randomness");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_goes_forward_from_zero() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first < Time::from_micros(60_000_000));
    }

    #[test]
    fn wall_time_follows_the_monotonic_clock() {
        let clock = Clock::start();
        let later = clock.wall(Time::from_micros(5_000_000));
        assert_eq!(later.0 - clock.wall_at_zero().0, 5000);
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
