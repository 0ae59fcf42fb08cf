//! All lanes of a gateway: which there are, in which order and under which tuning, changed while they run.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::lane::{Lane, StartError};
use crate::stats::LaneStats;
use crate::tuning::Tuning;

/// The lanes that carry packets.
#[derive(Default)]
pub struct Lanes {
    all: ArcSwap<Vec<Arc<Lane>>>,
    /// One arrangement at a time.
    arranging: Mutex<()>,
}

impl Lanes {
    /// The lanes at present, in their order.
    pub fn all(&self) -> Arc<Vec<Arc<Lane>>> {
        self.all.load_full()
    }

    /// From now on these lanes carry packets, under this tuning: all of it, or nothing changes. Lanes that are no longer
    /// among them are stopped. Sessions of the others stay, and so does the order of their packets; a lane whose
    /// threads are as they should be is not touched.
    pub fn arrange(&self, lanes: Vec<Arc<Lane>>, tuning: &Tuning) -> Result<(), StartError> {
        let _one_at_a_time = self.arranging.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = Vec::new();
        for (index, lane) in lanes.iter().enumerate().filter(|(index, lane)| !lane.runs_as(*index, tuning)) {
            prepared.push((lane, lane.prepare(index, tuning)?));
        }
        for (lane, threads) in prepared {
            lane.switch(threads);
        }
        let old = self.all.swap(Arc::new(lanes.clone()));
        for gone in old.iter().filter(|old| !lanes.iter().any(|lane| Arc::ptr_eq(old, lane))) {
            gone.stop();
        }
        Ok(())
    }

    /// Counters of each lane.
    pub fn stats(&self) -> Vec<LaneStats> {
        self.all().iter().map(|lane| lane.stats()).collect()
    }

    /// Ends all threads of all lanes and waits for them.
    pub fn stop(&self) {
        for lane in self.all().iter() {
            lane.stop();
        }
    }
}
