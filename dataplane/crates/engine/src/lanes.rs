//! All lanes of a gateway: which there are, in which order and under which tuning, changed while they run.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use wirelane_crypto::{Aead, Backend, BackendChoice};
use wirelane_io::Tun;

use crate::bond::Bond;
use crate::lane::{Lane, StartError, while_doing};
use crate::packet_threads::Source;
use crate::stats::{BondStats, LaneStats, ThreadPlacement};
use crate::tuning::Tuning;

/// How flows come to lanes.
#[derive(Clone)]
pub enum Spread {
    /// Each lane has a device; the routing table spreads flows over them.
    Ecmp,
    /// One device for all lanes; wirelane spreads flows, and moves one only after a gap of this many milliseconds.
    Bond(Arc<Tun>, u32),
}

/// The lanes that carry packets.
pub struct Lanes {
    all: ArcSwap<Vec<Arc<Lane>>>,
    bond: Option<(Bond, Arc<Tun>)>,
    gap_ms: AtomicU32,
    gap_is_new: AtomicBool,
    next_id: AtomicU16,
    /// What the first lane's choice came to. Asking a virtual machine's CPU for its features takes a millisecond.
    backend: OnceLock<(BackendChoice, Backend)>,
    /// One arrangement at a time.
    arranging: Mutex<()>,
}

impl Lanes {
    /// Without any lane.
    pub fn new(spread: Spread) -> Self {
        let (bond, gap_ms) = match spread {
            Spread::Ecmp => (None, 0),
            Spread::Bond(tun, gap_ms) => (Some((Bond::new(Arc::clone(&tun), gap_ms), tun)), gap_ms),
        };
        Self {
            all: ArcSwap::default(),
            bond,
            gap_ms: AtomicU32::new(gap_ms),
            gap_is_new: AtomicBool::new(false),
            next_id: AtomicU16::new(0),
            backend: OnceLock::new(),
            arranging: Mutex::new(()),
        }
    }

    /// The lanes at present, in their order.
    pub fn all(&self) -> Arc<Vec<Arc<Lane>>> {
        self.all.load_full()
    }

    /// The device that all lanes share, in a bond.
    pub fn shared_tun(&self) -> Option<&Arc<Tun>> {
        self.bond.as_ref().map(|(_, tun)| tun)
    }

    /// Makes a lane, which carries packets once it is arranged: in a bond on its device, else on `own_tun`. Port 0 lets
    /// the kernel choose.
    pub fn make_lane(
        &self,
        name: &str,
        own_tun: impl FnOnce() -> Result<Arc<Tun>, StartError>,
        listen_port: u16,
        tuning: &Tuning,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> Result<Arc<Lane>, StartError> {
        let backend = self.backend_for(tuning.aead)?;
        let (tun, source) = match self.shared_tun() {
            Some(tun) => (Arc::clone(tun), Source::Bond(self.next_id.fetch_add(1, Ordering::Relaxed))),
            None => (own_tun()?, Source::OwnTun),
        };
        Lane::start(name, tun, source, listen_port, backend, tuning, on_end).map(Arc::new)
    }

    fn backend_for(&self, choice: BackendChoice) -> Result<Backend, StartError> {
        if let Some((known, backend)) = self.backend.get()
            && *known == choice
        {
            return Ok(*backend);
        }
        let backend = Aead::new(choice).map_err(|error| StartError::new("aead", error))?.backend();
        self.backend.get_or_init(|| (choice, backend));
        Ok(backend)
    }

    /// The gap after which flows of a bond may move, from the next arrangement on.
    pub fn set_flowlet_gap_ms(&self, gap_ms: u32) {
        let old = self.gap_ms.swap(gap_ms, Ordering::Relaxed);
        self.gap_is_new.store(old != gap_ms, Ordering::Relaxed);
    }

    /// From now on these lanes carry packets, under this tuning: all of it, or nothing changes. Lanes that are no longer
    /// among them are stopped. Sessions of the others stay, and so does the order of their packets; a lane whose
    /// threads are as they should be is not touched, unless it is one of a bond that changes.
    pub fn arrange(&self, lanes: Vec<Arc<Lane>>, tuning: &Tuning) -> Result<(), StartError> {
        let _one_at_a_time = self.arranging.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.all();
        let is_settled = |(index, lane): (usize, &Arc<Lane>)| {
            lane.runs_as(index, tuning) && old.get(index).is_some_and(|old| Arc::ptr_eq(old, lane))
        };
        if old.len() == lanes.len()
            && lanes.iter().enumerate().all(is_settled)
            && !self.gap_is_new.swap(false, Ordering::Relaxed)
        {
            return Ok(());
        }
        let mut prepared = Vec::new();
        for (index, lane) in lanes.iter().enumerate() {
            // The reader of a bond has the queues of all lanes in its hands: new queues for one mean new ones for all.
            if self.bond.is_some() || !lane.runs_as(index, tuning) {
                prepared.push((lane, lane.prepare(index, tuning)?));
            }
        }
        // All of them at once: a gateway has many threads, and each takes its time to be placed.
        lanes.iter().try_for_each(|lane| lane.settle_control())?;
        prepared.iter_mut().try_for_each(|(lane, threads)| lane.settle(threads))?;
        match &self.bond {
            None => prepared.into_iter().for_each(|(lane, threads)| lane.switch(threads)),
            Some((bond, tun)) => {
                let inputs: Vec<_> = prepared.iter_mut().filter_map(|(_, threads)| threads.take_input()).collect();
                let ids: Vec<_> = inputs.iter().map(|input| input.id).collect();
                let failed = while_doing(format!("{}: cannot start its reader", tun.name()));
                let reader = bond.prepare(inputs, tuning).map_err(failed)?;
                // In this order: what the old reader holds goes to the old threads, and those send all that they have.
                bond.stop();
                prepared.into_iter().for_each(|(lane, threads)| lane.switch(threads));
                bond.start(reader, &ids, self.gap_ms.load(Ordering::Relaxed));
            }
        }
        self.all.store(Arc::new(lanes.clone()));
        for gone in old.iter().filter(|old| !lanes.iter().any(|lane| Arc::ptr_eq(old, lane))) {
            gone.stop();
        }
        Ok(())
    }

    /// Counters of each lane.
    pub fn stats(&self) -> Vec<LaneStats> {
        self.all().iter().map(|lane| lane.stats()).collect()
    }

    /// Counters of the device of a bond.
    pub fn bond_stats(&self) -> Option<BondStats> {
        self.bond.as_ref().map(|(bond, _)| bond.stats())
    }

    /// The threads of the device of a bond, with what the kernel reports of them.
    pub fn bond_placement(&self) -> Option<Vec<ThreadPlacement>> {
        self.bond.as_ref().map(|(bond, _)| bond.placement())
    }

    /// Ends all threads of all lanes and waits for them.
    pub fn stop(&self) {
        if let Some((bond, _)) = &self.bond {
            bond.stop();
        }
        for lane in self.all().iter() {
            lane.stop();
        }
    }
}
