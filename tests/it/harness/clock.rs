//! Waiting for what other processes do: never for a length of time, always for a fact, until a deadline.

use std::time::{Duration, Instant};

/// How long anything may take that is not a timeout itself. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[expect(
    clippy::disallowed_methods,
    reason = "real processes take their real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass for a fixture that is slow on purpose.
#[expect(clippy::disallowed_methods, reason = "the fixture is slow on purpose")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The first answer of `look` that is one; panics past [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < end, "{what}: not within {PATIENCE:?}");
        pause(Duration::from_millis(5));
    }
}

/// Waits until `look` says so.
pub(crate) fn holds(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
