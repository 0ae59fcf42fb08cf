//! Which lane a flow of a bond goes over.
//!
//! A flow stays on its lane as long as its packets follow each other closely. Only after a gap may it move (a flowlet):
//! by then its last packet has arrived, whichever path it took, and the next cannot overtake it. The table is of fixed
//! size and belongs to one thread: no lock, no allocation, and a flood of flows costs no memory.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A lane of a bond, for as long as the bond lives; never used again for another lane.
pub type LaneId = u16;

const WAYS: usize = 4;
const SETS: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// The flow's hash. Two flows with one hash share an entry, and so a lane: harmless.
    flow: u32,
    /// When its last packet came, in milliseconds; an entry that was never used is long past.
    seen_ms: u32,
    lane: LaneId,
    is_used: bool,
}

#[derive(Clone, Copy, Default)]
struct Set {
    entries: [Entry; WAYS],
    /// Flows that found no room here were sent by hash until then, if `is_overflown`.
    overflow_ms: u32,
    is_overflown: bool,
}

/// Where the flows are: 16,384 of them, with four places for each set of hashes.
pub struct FlowTable {
    sets: Box<[Set]>,
    gap_ms: u32,
    /// Keys the choice of a set: which flows meet in one is not for senders to choose.
    key: u32,
}

/// What the table says of a packet's flow.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// It stays on this lane.
    Keep(LaneId),
    /// It may go to any lane: tell [`FlowTable::place`] which. This was its lane, if it is known.
    Choose(Option<LaneId>),
    /// There is no room for it: it goes where its hash says, as all of its packets do until there is room.
    ByHash,
}

impl FlowTable {
    /// `gap_ms`: a flow that is silent for longer may move.
    pub fn new(gap_ms: u32) -> Self {
        Self::with_key(gap_ms, RandomState::new().hash_one(0) as u32)
    }

    /// With a key that is known: for who has to see the same table again.
    pub fn with_key(gap_ms: u32, key: u32) -> Self {
        Self { sets: vec![Set::default(); SETS].into_boxed_slice(), gap_ms, key }
    }

    /// Another gap from now on.
    pub fn set_gap_ms(&mut self, gap_ms: u32) {
        self.gap_ms = gap_ms;
    }

    fn position_of(&self, flow: u32) -> usize {
        let mixed = u64::from(flow ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize % SETS
    }

    fn set_of(&mut self, flow: u32) -> &mut Set {
        let position = self.position_of(flow);
        &mut self.sets[position]
    }

    /// A packet of `flow` comes at `now_ms`, a clock that may wrap around.
    pub fn look_up(&mut self, flow: u32, now_ms: u32) -> Place {
        let gap_ms = self.gap_ms;
        let is_past = |then: u32| now_ms.wrapping_sub(then) > gap_ms;
        let set = self.set_of(flow);
        if let Some(entry) = set.entries.iter_mut().find(|entry| entry.is_used && entry.flow == flow) {
            let was_past = is_past(entry.seen_ms);
            entry.seen_ms = now_ms;
            return if was_past { Place::Choose(Some(entry.lane)) } else { Place::Keep(entry.lane) };
        }
        let has_room = set.entries.iter().any(|entry| !entry.is_used || is_past(entry.seen_ms));
        if has_room && (!set.is_overflown || is_past(set.overflow_ms)) {
            set.is_overflown = false;
            return Place::Choose(None);
        }
        // A flow without a place may be among those that were sent by hash a moment ago: so is this packet.
        set.overflow_ms = now_ms;
        set.is_overflown = true;
        Place::ByHash
    }

    /// `flow` goes over `lane`, after [`FlowTable::look_up`] left the choice.
    pub fn place(&mut self, flow: u32, lane: LaneId, now_ms: u32) {
        let gap_ms = self.gap_ms;
        let set = self.set_of(flow);
        let own = set.entries.iter().position(|entry| entry.is_used && entry.flow == flow);
        let free = || set.entries.iter().position(|entry| !entry.is_used);
        let past = || set.entries.iter().position(|entry| now_ms.wrapping_sub(entry.seen_ms) > gap_ms);
        let Some(position) = own.or_else(free).or_else(past) else { return };
        set.entries[position] = Entry { flow, seen_ms: now_ms, lane, is_used: true };
    }

    /// Flows of lanes that are no longer there may go anywhere.
    pub fn keep_lanes(&mut self, lanes: &[LaneId]) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.entries) {
            entry.is_used &= lanes.contains(&entry.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GAP_MS: u32 = 100;

    #[test]
    fn a_flow_moves_only_in_a_gap() {
        let mut table = FlowTable::new(GAP_MS);
        let start = u32::MAX - 150; // the clock wraps around meanwhile
        assert_eq!(table.look_up(7, start), Place::Choose(None));
        table.place(7, 1, start);
        let mut now = start;
        for _ in 0..10 {
            now = now.wrapping_add(GAP_MS);
            assert_eq!(table.look_up(7, now), Place::Keep(1));
        }
        now = now.wrapping_add(GAP_MS + 1);
        assert_eq!(table.look_up(7, now), Place::Choose(Some(1)));
        table.place(7, 2, now);
        assert_eq!(table.look_up(7, now), Place::Keep(2));
    }

    #[test]
    fn a_flow_that_was_sent_by_hash_is_not_placed_before_a_gap() {
        let mut table = FlowTable::new(GAP_MS);
        let is_in_first = |flow: &u32| table.position_of(*flow) == table.position_of(0);
        let same_set: Vec<u32> = (0..).filter(is_in_first).take(WAYS + 1).collect();
        for flow in &same_set[..WAYS] {
            assert_eq!(table.look_up(*flow, 0), Place::Choose(None));
            table.place(*flow, 3, 0);
        }
        let extra = same_set[WAYS];
        assert_eq!(table.look_up(extra, 1), Place::ByHash);
        // Others have gone silent, but this flow has not: it stays where its hash puts it.
        for now in (50..1000).step_by(50) {
            assert_eq!(table.look_up(extra, now), Place::ByHash, "{now}");
        }
        assert_eq!(table.look_up(extra, 950 + GAP_MS + 1), Place::Choose(None));
    }

    #[test]
    fn a_flood_of_flows_takes_no_memory_and_leaves_busy_flows_alone() {
        let mut table = FlowTable::new(GAP_MS);
        assert!(size_of::<Set>() <= 64);
        table.place(42, 5, 0);
        for flow in 1000..200_000 {
            if let Place::Choose(_) = table.look_up(flow, 10) {
                table.place(flow, 1, 10);
            }
        }
        assert_eq!(table.look_up(42, 20), Place::Keep(5));
        assert_eq!(table.sets.len() * WAYS, 16_384);
    }

    proptest! {
        /// Whatever comes when, among flows of which more meet in one set than it has room for: two packets of a flow
        /// that follow each other within the gap go over the same lane.
        #[test]
        fn no_flow_changes_its_lane_within_the_gap(
            packets in proptest::collection::vec((0..3 * WAYS, 0..2 * GAP_MS, 0..4u16), 1..400),
            start in any::<u32>(),
        ) {
            const LANES: u32 = 4;
            let mut table = FlowTable::new(GAP_MS);
            let is_in_first = |flow: &u32| table.position_of(*flow) == table.position_of(0);
            let flows: Vec<u32> = (0..).filter(is_in_first).take(3 * WAYS).collect();
            let mut last = std::collections::HashMap::new();
            let mut now = start;
            for (which, pause, choice) in packets {
                // Mostly close together: pauses add up to gaps for some flows and not for others.
                now = now.wrapping_add(pause / 8 * u32::from(choice != 0) + pause * u32::from(choice == 0));
                let flow = flows[which];
                let lane = match table.look_up(flow, now) {
                    Place::Keep(lane) => lane,
                    Place::ByHash => (flow % LANES) as LaneId,
                    Place::Choose(_) => {
                        table.place(flow, choice, now);
                        choice
                    }
                };
                if let Some((seen, before)) = last.insert(flow, (now, lane)) && now.wrapping_sub(seen) <= GAP_MS {
                    prop_assert_eq!(lane, before);
                }
            }
        }
    }

    #[test]
    fn flows_of_a_lane_that_has_gone_are_free() {
        let mut table = FlowTable::new(GAP_MS);
        table.place(1, 1, 0);
        table.place(2, 2, 0);
        table.keep_lanes(&[2]);
        assert_eq!((table.look_up(1, 1), table.look_up(2, 1)), (Place::Choose(None), Place::Keep(2)));
    }
}
