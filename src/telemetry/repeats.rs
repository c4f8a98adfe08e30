//! Holds back what repeats too fast: one thread's warnings and errors, by kind.
//!
//! A flood of connections or a server that breaks for every client is one piece of news, not ten thousand.
//! The metrics count all of it. Debug and info lines are never held back: who asks for them wants them all.

use crate::config::limits::LOG_REPEATS_MAX;
use crate::time::Wall;
use std::collections::BTreeMap;

/// What one thread has written lately, by the name of the event.
#[derive(Default)]
pub(super) struct Repeats(BTreeMap<&'static str, Kind>);

#[derive(Default)]
struct Kind {
    second: u64,
    lines: u32,
    held: u64,
}

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is, and so many before it were not.
    Write { held: u64 },
    /// It is not.
    Hold,
}

impl Repeats {
    /// Decides about one more line of the event called `name`.
    pub(super) fn judge(&mut self, name: &'static str, wall: Wall) -> Verdict {
        let kind = self.0.entry(name).or_default();
        let second = wall.0 / 1000;
        // Any other second, earlier ones too: the time of day may be set back.
        if kind.second != second {
            kind.second = second;
            kind.lines = 0;
        }
        if kind.lines >= LOG_REPEATS_MAX {
            kind.held += 1;
            return Verdict::Hold;
        }
        kind.lines += 1;
        Verdict::Write {
            held: std::mem::take(&mut kind.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_is_held_back_and_told_with_the_next_line() {
        let mut repeats = Repeats::default();
        let verdicts: Vec<_> = (0..1000)
            .map(|_| repeats.judge("flood", Wall(5_000)))
            .collect();
        let written = verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Write { held: 0 });
        assert_eq!(written.count(), LOG_REPEATS_MAX as usize);
        assert_eq!(
            repeats.judge("other", Wall(5_000)),
            Verdict::Write { held: 0 }
        );
        assert_eq!(
            repeats.judge("flood", Wall(6_000)),
            Verdict::Write {
                held: 1000 - u64::from(LOG_REPEATS_MAX)
            }
        );
        assert_eq!(
            repeats.judge("flood", Wall(6_001)),
            Verdict::Write { held: 0 }
        );
    }

    #[test]
    fn clock_set_back_does_not_silence() {
        let mut repeats = Repeats::default();
        (0..50).for_each(|_| {
            repeats.judge("flood", Wall(9_000));
        });
        assert!(matches!(
            repeats.judge("flood", Wall(2_000)),
            Verdict::Write { held: 40 }
        ));
    }
}
