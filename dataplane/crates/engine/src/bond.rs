//! A bond: one TUN device for several lanes. One thread reads it and hands batches to the lanes; each flow stays on one
//! lane, and new flows go where the load is least (docs/decisions/0006).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wirelane_io::{Buffer, Tun, Waker};
use wirelane_packet::MAX_TUN_READ;
use wirelane_packet::inner::{IpPacket, flow_hash};
use wirelane_protocol::{Instant, Verdict};

use crate::collect::{Step, TunCollector};
use crate::counters::{Counter, Drops, EngineReason, ThreadCounters};
use crate::flows::{FlowTable, LaneId, Place};
use crate::outbound::OutboundBatch;
use crate::packet_threads::{Gate, memory_placement};
use crate::pipelined::ReaderEnd;
use crate::shared::Shared;
use crate::stats::{BondStats, ThreadPlacement};
use crate::threads::{LaneThread, ThreadPlan};
use crate::tuning::{Direction, Stage, Tuning};

/// A lane whose queue is full is waited for so long, once; then its packets are dropped until it has room again: the
/// other lanes do not wait for one that is slow.
const LONGEST_LANE_WAIT: Duration = Duration::from_millis(1);
/// The load of a lane is halved so often, in milliseconds.
const LOAD_HALF_LIFE_MS: u32 = 100;
/// Loads that differ by less, or by a quarter, are the same: new flows take turns then.
const EQUAL_LOAD_BYTES: u64 = 64 << 10;
/// What a batch that waits counts as: one or two are noise, a queue is not.
const WAITING_BATCH_BYTES: u64 = 16 << 10;
/// A lane without a session, or with a silent peer, is asked to make one so often at most, in milliseconds.
const SESSION_ATTEMPT_MS: u32 = 5000;
/// Batches that are not full go on after so many bytes or packets have been read, if the TUN never runs empty.
const BYTES_BETWEEN_FLUSHES: usize = 256 << 10;
const READS_BETWEEN_FLUSHES: usize = 64;

/// Where a lane of a bond gets its packets from.
pub struct LaneInput {
    pub id: LaneId,
    pub shared: Arc<Shared>,
    /// What happens to packets before the lane's own threads see them.
    pub counters: Arc<ThreadCounters>,
    pub batch: OutboundBatch,
    pub queue: LaneQueue,
}

/// The queue in front of a lane's first tx threads.
pub struct LaneQueue {
    end: ReaderEnd<OutboundBatch>,
    /// Who takes from it.
    consumers: Vec<Arc<ThreadCounters>>,
    /// In pipelined mode counters are reserved here, where the order of packets is known.
    prepares: bool,
    is_stuck: bool,
    load: Load,
    session_attempt_ms: Option<u32>,
}

/// Bytes that were offered to a lane, the recent ones above all.
#[derive(Default)]
struct Load {
    bytes: u64,
    halved_ms: u32,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn at(&mut self, now_ms: u32) -> u64 {
        let halvings = now_ms.wrapping_sub(self.halved_ms) / LOAD_HALF_LIFE_MS;
        self.bytes = self.bytes.checked_shr(halvings).unwrap_or(0);
        self.halved_ms = self.halved_ms.wrapping_add(halvings * LOAD_HALF_LIFE_MS);
        self.bytes
    }
}

impl LaneQueue {
    /// A queue that ends in `end`, from which `consumers` take.
    pub fn new(end: ReaderEnd<OutboundBatch>, consumers: Vec<Arc<ThreadCounters>>, prepares: bool) -> Self {
        Self { end, consumers, prepares, is_stuck: false, load: Load::default(), session_attempt_ms: None }
    }

    /// Hands the batch to the lane, or drops it if the lane has no room. It is empty afterwards.
    fn hand_on(&mut self, shared: &Shared, batch: &mut OutboundBatch, own: &ThreadCounters, reader: &ThreadCounters) {
        let packets = batch.packets.segments().len();
        if packets == 0 {
            return;
        }
        let bytes = batch.packets.bytes().len();
        self.load.add(bytes);
        let wait = if self.is_stuck { Duration::ZERO } else { LONGEST_LANE_WAIT };
        let empty = self.end.empty_batch_within(wait);
        self.is_stuck = empty.is_none();
        let Some(empty) = empty else {
            own.drop_packets(EngineReason::LaneQueueFull, packets);
            batch.clear();
            return;
        };
        if self.prepares && !batch.prepare(shared, shared.now(), own) {
            batch.clear();
            self.end.keep(empty);
            return;
        }
        reader.tx.add_batch(packets, bytes);
        if let Err(refused) = self.end.hand_on(std::mem::replace(batch, empty), own) {
            own.drop_packets(EngineReason::Stopping, refused.packets.segments().len());
        }
    }

    fn waiting(&self, own: &ThreadCounters) -> u64 {
        crate::stats::waiting([&own.handed_on].into_iter(), self.consumers.iter().map(|thread| &thread.taken))
    }
}

impl LaneInput {
    fn flush(&mut self, reader: &ThreadCounters) {
        let Self { shared, counters, batch, queue, .. } = self;
        queue.hand_on(shared, batch, counters, reader);
    }

    /// Bytes offered of late and waiting; none if the lane has no way to the packet's destination. And whether it could
    /// be sent at once, to a peer that is not known to be silent: a lane whose path is gone has a session for minutes.
    fn standing(&mut self, packet: &IpPacket, now: Instant, now_ms: u32) -> Option<(u64, bool)> {
        let routes = self.shared.forwarding.routes();
        let peer = routes.peer_towards(packet.destination).ok()?;
        let has_session = peer.sending().as_ref().is_some_and(|session| session.send_verdict(now) != Verdict::Expired);
        let has_session = has_session && !peer.is_silent();
        let attempted = self.queue.session_attempt_ms;
        if !has_session && attempted.is_none_or(|at| now_ms.wrapping_sub(at) >= SESSION_ATTEMPT_MS) {
            self.queue.session_attempt_ms = Some(now_ms);
            // A peer whose endpoint is not known yet has to come to us.
            if self.shared.device().initiate(peer.id(), self.shared.time()).is_ok() {
                self.shared.wake_control();
            }
        }
        let waiting = self.queue.waiting(&self.counters);
        Some((self.queue.load.at(now_ms) + waiting * WAITING_BATCH_BYTES, has_session))
    }
}

/// The bond's reader, with all that it needs.
struct Reader {
    tun: Arc<Tun>,
    collector: TunCollector,
    stop: Arc<AtomicBool>,
    waker: Waker,
    lanes: Vec<LaneInput>,
    /// Whose turn it is among lanes of equal load.
    turn: usize,
    flows: Arc<Mutex<FlowTable>>,
    started: Instant,
    counts: Arc<FlowCounts>,
}

/// Flows that got a lane, and those that moved to another.
#[derive(Default)]
struct FlowCounts {
    placed: Counter,
    moved: Counter,
}

impl Reader {
    fn run(mut self, counters: &ThreadCounters) {
        let flows = Arc::clone(&self.flows);
        // Nobody else takes it while a reader runs.
        let mut flows = flows.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut reads, mut bytes) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            match self.collector.read(&self.tun) {
                Ok(len) => {
                    self.put(&mut flows, counters);
                    (reads, bytes) = (reads + 1, bytes + len);
                    if reads >= READS_BETWEEN_FLUSHES || bytes >= BYTES_BETWEEN_FLUSHES {
                        self.flush(counters);
                        (reads, bytes) = (0, 0);
                    }
                }
                Err(Step::Empty) => {
                    self.flush(counters);
                    (reads, bytes) = (0, 0);
                    let stop = Arc::clone(&self.stop);
                    if self.collector.wait(&self.tun, &self.waker, || stop.load(Ordering::Relaxed)) == Step::End {
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        self.flush(counters);
    }

    fn flush(&mut self, counters: &ThreadCounters) {
        self.lanes.iter_mut().for_each(|lane| lane.flush(counters));
    }

    /// The packet that was read goes to the lane of its flow.
    fn put(&mut self, flows: &mut FlowTable, counters: &ThreadCounters) {
        let Ok(packet) = IpPacket::parse(self.collector.packet()) else {
            counters.drop_packets(EngineReason::TunPacketMalformed, 1);
            return;
        };
        let flow = flow_hash(self.collector.packet());
        let position = self.position_for(flows, flow, &packet);
        let LaneInput { shared, counters: own, batch, queue, .. } = &mut self.lanes[position];
        self.collector.put(shared, own, batch, |batch| {
            queue.hand_on(shared, batch, own, counters);
            true
        });
    }

    fn position_for(&mut self, flows: &mut FlowTable, flow: u32, packet: &IpPacket) -> usize {
        let now = Instant::from(wirelane_io::BootClock::now());
        let now_ms = now.since(self.started).as_millis() as u32;
        let by_hash = flow as usize % self.lanes.len();
        let position_of = |id: LaneId| self.lanes.iter().position(|lane| lane.id == id);
        match flows.look_up(flow, now_ms) {
            Place::Keep(id) => position_of(id).unwrap_or(by_hash),
            Place::ByHash => by_hash,
            Place::Choose(previous) => {
                let previous = previous.and_then(position_of);
                let chosen = self.choose(packet, previous, now, now_ms);
                flows.place(flow, self.lanes[chosen].id, now_ms);
                match previous {
                    None => self.counts.placed.add(1),
                    Some(previous) => self.counts.moved.add(u64::from(previous != chosen)),
                }
                chosen
            }
        }
    }

    /// The lane with the least load among those that lead there, and of these among those with a session. Among equals
    /// a flow stays where it was, and new ones take turns.
    fn choose(&mut self, packet: &IpPacket, previous: Option<usize>, now: Instant, now_ms: u32) -> usize {
        let standings: Vec<_> = self.lanes.iter_mut().map(|lane| lane.standing(packet, now, now_ms)).collect();
        let with_session = standings.iter().flatten().any(|(_, has_session)| *has_session);
        let load_of = |position: usize| {
            standings[position].filter(|(_, has_session)| *has_session || !with_session).map(|(load, _)| load)
        };
        let Some(least) = (0..standings.len()).filter_map(load_of).min() else { return previous.unwrap_or(0) };
        let is_good =
            |position: &usize| load_of(*position).is_some_and(|load| load <= least + (least / 4).max(EQUAL_LOAD_BYTES));
        if let Some(previous) = previous.filter(is_good) {
            return previous;
        }
        let count = standings.len();
        let chosen = (1..=count).map(|step| (self.turn + step) % count).find(is_good).unwrap_or(0);
        self.turn = chosen;
        chosen
    }
}

/// One device for several lanes.
pub struct Bond {
    tun: Arc<Tun>,
    flows: Arc<Mutex<FlowTable>>,
    started: Instant,
    counts: Arc<FlowCounts>,
    running: Mutex<Option<ReaderThread>>,
    drops_of_old_readers: Mutex<Drops>,
}

/// A reader that is parked or runs.
pub struct ReaderThread {
    thread: LaneThread,
    gate: Gate,
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Bond {
    /// Over this device; flows move after gaps of more than `gap_ms`.
    pub fn new(tun: Arc<Tun>, gap_ms: u32) -> Self {
        Self {
            tun,
            flows: Arc::new(Mutex::new(FlowTable::new(gap_ms))),
            started: wirelane_io::BootClock::now().into(),
            counts: Arc::default(),
            running: Mutex::default(),
            drops_of_old_readers: Mutex::default(),
        }
    }

    /// Makes a reader for these lanes, parked.
    pub fn prepare(&self, lanes: Vec<LaneInput>, tuning: &Tuning) -> io::Result<ReaderThread> {
        let place = memory_placement(tuning, Stage::Read, 0);
        let waker = Waker::new()?;
        let collector = TunCollector::new(Buffer::new(MAX_TUN_READ, place)?, tuning.batch_packets);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            tun: Arc::clone(&self.tun),
            collector,
            stop: Arc::clone(&stop),
            waker: waker.try_clone()?,
            lanes,
            turn: 0,
            flows: Arc::clone(&self.flows),
            started: self.started,
            counts: Arc::clone(&self.counts),
        };
        let name = format!("bond:{}", self.tun.name());
        let plan = ThreadPlan { name, stage: Stage::Read, direction: Some(Direction::Tx), number: 0 };
        let gate = Gate::default();
        let mut thread = gate.spawn(plan, tuning, move |counters| reader.run(counters))?;
        thread.settle()?;
        Ok(ReaderThread { thread, gate, stop, waker })
    }

    /// Ends the reader that runs: what it holds is with the lanes afterwards.
    pub fn stop(&self) {
        if let Some(old) = lock(&self.running).take() {
            let counters = Arc::clone(&old.thread.counters);
            old.end();
            counters.add_drops_to(&mut lock(&self.drops_of_old_readers));
        }
    }

    /// Lets a reader begin, after the one before has been stopped. Flows keep their lanes as long as those are there.
    pub fn start(&self, next: ReaderThread, lanes: &[LaneId], gap_ms: u32) {
        {
            let mut flows = lock(&self.flows);
            flows.keep_lanes(lanes);
            flows.set_gap_ms(gap_ms);
        }
        next.gate.decide(true);
        *lock(&self.running) = Some(next);
    }

    /// Counters of the device.
    pub fn stats(&self) -> BondStats {
        let threads: Vec<_> = lock(&self.running).iter().map(|reader| reader.thread.stats()).collect();
        let mut drops = lock(&self.drops_of_old_readers).clone();
        threads.iter().for_each(|thread| drops += &thread.drops);
        drops.add_kernel(EngineReason::TunQueueFull, self.tun.queue_drops().unwrap_or(0));
        BondStats {
            interface: self.tun.name().to_owned(),
            flows_placed: self.counts.placed.get(),
            flows_moved: self.counts.moved.get(),
            drops,
            threads,
        }
    }

    /// The reader, with what the kernel reports of it.
    pub fn placement(&self) -> Vec<ThreadPlacement> {
        lock(&self.running).iter().map(|reader| reader.thread.placement()).collect()
    }
}

impl ReaderThread {
    /// Ends it, whether it was let go or not.
    pub fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.gate.decide(false);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake a thread: {error}");
        }
        self.thread.join();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_fades() {
        let mut load = Load::default();
        load.add(1000);
        assert_eq!(load.at(50), 1000);
        assert_eq!(load.at(100), 500);
        assert_eq!(load.at(199), 500);
        assert_eq!(load.at(300), 125);
        assert_eq!(load.at(1_000_000), 0);
    }
}
