//! The ids that our own requests carry, towards servers and towards clients.
//!
//! One integer below 2^53 that says which worker asked, in which place of its slab, and as which tenant of
//! it: an answer finds its question without a table, two workers never use the same id in one upstream
//! session, and an id that was not given out for a thing in flight leads nowhere.

use super::slots::Ticket;
use crate::id::WorkerId;

const PLACE_BITS: u32 = 20;
const GENERATION_BITS: u32 = 26;
const WORKER_BITS: u32 = 6;

/// Numbers of tenants stay below this.
pub(super) const GENERATIONS: u32 = 1 << GENERATION_BITS;
/// So do their places.
pub(super) const PLACES: usize = 1 << PLACE_BITS;

const _: () = assert!(
    PLACE_BITS + GENERATION_BITS + WORKER_BITS <= 53,
    "ids survive JavaScript"
);
const _: () = assert!(crate::config::limits::WORKERS_MAX <= 1 << WORKER_BITS);

/// The id of what lives there.
pub(super) fn pack(worker: WorkerId, (place, generation): Ticket) -> u64 {
    assert!((place as usize) < PLACES && generation < GENERATIONS);
    u64::from(worker.0) << (PLACE_BITS + GENERATION_BITS)
        | u64::from(generation) << PLACE_BITS
        | u64::from(place)
}

/// What that id names, if it can be one of ours.
pub(super) fn unpack(id: u64) -> Option<(WorkerId, Ticket)> {
    let worker = u8::try_from(id >> (PLACE_BITS + GENERATION_BITS)).ok()?;
    let generation = (id >> PLACE_BITS) as u32 & (GENERATIONS - 1);
    let place = id as u32 & (PLACES as u32 - 1);
    Some((WorkerId(worker), (place, generation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_survives_a_round_trip_and_javascript() {
        for worker in [0, 1, 63] {
            for ticket in [(0, 1), (PLACES as u32 - 1, GENERATIONS - 1), (7, 12345)] {
                let id = pack(WorkerId(worker), ticket);
                assert!(id < 1 << 53);
                assert_eq!(unpack(id), Some((WorkerId(worker), ticket)));
            }
        }
        assert_eq!(unpack(u64::MAX), None);
    }
}
