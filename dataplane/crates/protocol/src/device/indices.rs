//! Receiver indices: random, unique, and each alone in its slot (see [`SessionTable`](crate::SessionTable)).

use rand_core::CryptoRng;

use crate::peer::PeerId;
use crate::session::slot;

/// Who has which index: handshakes under way and sessions.
pub(crate) struct Indices {
    owners: Vec<Option<(u32, PeerId)>>,
}

impl Indices {
    /// At most four indices a peer are in use at once: a handshake, and the previous, current and next session. Twice
    /// as many slots keep the search for a free one short.
    pub fn slots_for(peers: usize) -> usize {
        (peers * 8).next_power_of_two().max(64)
    }

    pub fn new(slots: usize) -> Self {
        Self { owners: vec![None; slots] }
    }

    pub fn slots(&self) -> usize {
        self.owners.len()
    }

    pub fn allocate(&mut self, owner: PeerId, rng: &mut (impl CryptoRng + ?Sized)) -> u32 {
        loop {
            let index = rng.next_u32();
            let slots = self.slots();
            let entry = &mut self.owners[slot(index, slots)];
            if entry.is_none() {
                *entry = Some((index, owner));
                return index;
            }
        }
    }

    pub fn release(&mut self, index: u32) {
        let slots = self.slots();
        self.owners[slot(index, slots)].take_if(|(owned, _)| *owned == index);
    }

    pub fn owner(&self, index: u32) -> Option<PeerId> {
        self.owners[slot(index, self.slots())].filter(|(owned, _)| *owned == index).map(|(_, owner)| owner)
    }

    /// Indices that were apart in their low bits stay apart with one bit more.
    pub fn grow(&mut self, slots: usize) {
        let mut larger = Self::new(slots);
        for (index, owner) in self.owners.iter().flatten() {
            larger.owners[slot(*index, slots)] = Some((*index, *owner));
        }
        *self = larger;
    }
}
