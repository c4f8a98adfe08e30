//! A slab whose places know which tenant they have, so that a late word to an earlier one goes nowhere.

/// A place and its tenant's number.
pub(super) type Ticket = (u32, u32);

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenant: Option<T>,
}

/// The slab.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    generations: u32,
    len: usize,
}

impl<T> Slots<T> {
    /// An empty slab whose tenants' numbers stay below `generations`.
    pub(super) fn new(generations: u32) -> Slots<T> {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            generations,
            len: 0,
        }
    }

    /// Takes in a tenant.
    pub(super) fn insert(&mut self, tenant: T) -> Ticket {
        self.len += 1;
        if let Some(place) = self.free.pop() {
            let slot = &mut self.slots[place as usize];
            slot.tenant = Some(tenant);
            return (place, slot.generation);
        }
        let place = u32::try_from(self.slots.len()).expect("limits keep every slab far below 2^32");
        self.slots.push(Slot {
            generation: 1,
            tenant: Some(tenant),
        });
        (place, 1)
    }

    /// The tenant, if it is still that one.
    pub(super) fn get(&self, (place, generation): Ticket) -> Option<&T> {
        let slot = self
            .slots
            .get(place as usize)
            .filter(|slot| slot.generation == generation)?;
        slot.tenant.as_ref()
    }

    /// The tenant, if it is still that one.
    pub(super) fn get_mut(&mut self, (place, generation): Ticket) -> Option<&mut T> {
        let slot = self
            .slots
            .get_mut(place as usize)
            .filter(|slot| slot.generation == generation)?;
        slot.tenant.as_mut()
    }

    /// Lets the tenant out, if it is still that one; its number is not given again for long.
    pub(super) fn remove(&mut self, (place, generation): Ticket) -> Option<T> {
        let generations = self.generations;
        let slot = self
            .slots
            .get_mut(place as usize)
            .filter(|slot| slot.generation == generation)?;
        let tenant = slot.tenant.take()?;
        slot.generation = if generation + 1 >= generations {
            1
        } else {
            generation + 1
        };
        self.free.push(place);
        self.len -= 1;
        Some(tenant)
    }

    /// The tenants, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.slots.iter().enumerate().filter_map(|(place, slot)| {
            slot.tenant
                .as_ref()
                .map(|tenant| ((place as u32, slot.generation), tenant))
        })
    }

    /// Who lives here, so that they can be visited while the slab changes.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.iter().map(|(ticket, _)| ticket).collect()
    }

    /// How many live here.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_reused_and_the_former_tenant_is_not_found() {
        let mut slots = Slots::new(4);
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.0, second.0);
        assert_eq!(slots.remove(first), None);
        assert_eq!((slots.get(first), slots.get(second)), (None, Some(&'b')));
        assert_eq!((slots.len(), slots.tickets()), (1, vec![second]));
    }

    #[test]
    fn numbers_start_over_within_their_bound() {
        let mut slots = Slots::new(4);
        for _ in 0..10 {
            let ticket = slots.insert(());
            assert!((1..4).contains(&ticket.1));
            slots.remove(ticket);
        }
    }
}
