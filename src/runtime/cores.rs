//! How many worker threads there are, and on which cores they stay.

use crate::config::limits::WORKERS_MAX;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::thread::available_parallelism;

/// The cores that the process may use, by number; empty where the kernel does not say.
pub(super) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

/// The number of workers: what the operator says, else one for each core that the process may use fully.
pub(super) fn workers(wanted: Option<usize>) -> usize {
    // Counts a container's quota as well as the cores that are allowed.
    let cores = || available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(cores).clamp(1, WORKERS_MAX)
}

/// The core that each worker stays on, or none of them.
///
/// None if there are more workers than cores, and none under a quota: many small containers on a large
/// machine would all crowd its first cores.
pub(super) fn plan(workers: usize, allowed: &[usize], usable: usize) -> Option<&[usize]> {
    (workers <= allowed.len() && usable == allowed.len()).then(|| &allowed[..workers])
}

/// As many cores as may be used fully.
pub(super) fn usable() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Keeps the calling thread on `core`. Where that is forbidden it goes where it likes.
pub(super) fn stay_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_stay_on_cores_of_their_own_or_none_do() {
        let check = |workers, allowed: &[usize], usable, expected: Option<&[usize]>| {
            assert_eq!(plan(workers, allowed, usable), expected);
        };
        check(2, &[0, 1], 2, Some(&[0, 1]));
        check(1, &[4, 6], 2, Some(&[4]));
        check(3, &[0, 1], 2, None);
        check(2, &[0, 1, 2, 3], 2, None);
        check(1, &[], 1, None);
    }

    #[test]
    fn number_of_workers_is_bounded() {
        assert_eq!(workers(Some(3)), 3);
        assert_eq!(workers(Some(0)), 1);
        assert_eq!(workers(Some(5000)), WORKERS_MAX);
        assert!(workers(None) >= 1);
    }

    #[test]
    fn pinned_thread_may_use_one_core() {
        let core = *allowed().last().unwrap();
        let seen = std::thread::spawn(move || {
            stay_on(core);
            allowed()
        });
        assert_eq!(seen.join().unwrap(), [core]);
    }
}
