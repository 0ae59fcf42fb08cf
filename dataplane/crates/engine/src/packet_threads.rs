//! The packet threads of a lane under one tuning.
//!
//! They are made parked: placed, confined, with their buffers, and touching no packet. When all that a new tuning needs
//! is there, the threads of the old one are told to end, which they do after what they hold has left in its order; only
//! then do the new ones start. Meanwhile packets wait in the kernel's queues, and sessions know nothing of it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wirelane_crypto::Backend;
use wirelane_io::{Buffer, MemoryPlacement, Waker, node_of_cpu};
use wirelane_packet::{MAX_TUN_READ, SendBatch};

use crate::aead::ThreadAead;
use crate::bond::{LaneInput, LaneQueue};
use crate::collect::{FULL_BATCH_BYTES, SocketCollector, TunCollector};
use crate::counters::ThreadCounters;
use crate::flows::LaneId;
use crate::inbound::{Delivery, InboundBatch, RECEIVE_BYTES};
use crate::inline::{self, Duty, Exchange, InlineThread, Receive, Transmit};
use crate::outbound::OutboundBatch;
use crate::pipelined::{self, Pipeline, ReaderEnd};
use crate::shared::Shared;
use crate::threads::{LaneThread, ThreadPlan};
use crate::tuning::{Direction, Mode, Stage, Tuning, cpu_of_thread};

/// Receive buffers have room for a batch that is nearly full, one more receive, and the rest of that super-packet.
const INBOUND_BYTES: usize = FULL_BATCH_BYTES + 2 * RECEIVE_BYTES + 1024;
/// Batches between a bond's reader and an inline lane: enough for some milliseconds in which the lane's thread waits for
/// its CPU.
const HANDED_BATCHES: usize = 32;
const TX: Option<Direction> = Some(Direction::Tx);
const RX: Option<Direction> = Some(Direction::Rx);

/// Holds threads back until it is opened, or sends them home.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    opened: Mutex<Option<bool>>,
    decided: Condvar,
}

impl Gate {
    /// Only the first decision counts.
    pub fn decide(&self, open: bool) {
        self.0.opened.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(open);
        self.0.decided.notify_all();
    }

    fn wait(&self) -> bool {
        let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *opened {
                Some(open) => return open,
                None => opened = self.0.decided.wait(opened).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Starts a thread that waits at this gate, once it is placed.
    pub fn spawn(
        &self,
        plan: ThreadPlan,
        tuning: &Tuning,
        body: impl FnOnce(&ThreadCounters) + Send + 'static,
    ) -> io::Result<LaneThread> {
        let gate = self.clone();
        LaneThread::spawn(plan, tuning, move |counters: &ThreadCounters| {
            if gate.wait() {
                body(counters);
            }
        })
    }
}

/// Who reads the TUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A thread of the lane: it has a device of its own.
    OwnTun,
    /// The reader of a bond, which knows the lane by this name.
    Bond(LaneId),
}

/// Threads that start together. Before they are dropped they have to be parked still, or told to end.
pub struct PacketThreads {
    shared: Arc<Shared>,
    threads: Vec<LaneThread>,
    gate: Gate,
    /// The name of their wakers in `shared`.
    generation: u64,
    /// Made for this tuning…
    pub tuning: Tuning,
    /// …and this position among the lanes: thread k of a stage runs on CPU k mod |set|.
    pub index: usize,
    /// In a bond: what happens to packets before these threads see them…
    input_counters: Option<Arc<ThreadCounters>>,
    /// …and where the bond's reader puts them, until it takes it.
    input: Option<LaneInput>,
}

impl PacketThreads {
    /// Makes the threads of a lane, parked, and does not wait for them ([`settle`](Self::settle) does). On an error
    /// nothing of them stays.
    pub fn new(
        shared: &Arc<Shared>,
        index: usize,
        tuning: &Tuning,
        backend: Backend,
        source: Source,
    ) -> io::Result<Self> {
        let mut made = Self {
            shared: Arc::clone(shared),
            threads: Vec::new(),
            gate: Gate::default(),
            generation: shared.next_generation(),
            tuning: tuning.clone(),
            index,
            input_counters: None,
            input: None,
        };
        match (tuning.mode, source) {
            (Mode::Inline, Source::OwnTun) => made.add_inline(backend)?,
            (Mode::Inline, Source::Bond(id)) => {
                made.add_handed_tx(backend, id)?;
                let stop = made.stop_waker()?;
                made.add_inline_rx(backend, stop, None)?;
            }
            (Mode::Pipelined, source) => {
                made.add_pipelined_tx(backend, source)?;
                made.add_pipelined_rx(backend)?;
            }
        }
        Ok(made)
    }

    /// Waits until all threads are placed. The error says which could not be.
    pub fn settle(&mut self) -> io::Result<()> {
        self.threads.iter_mut().try_for_each(LaneThread::settle)
    }

    /// Lets them work.
    pub fn start(&self) {
        self.gate.decide(true);
    }

    /// The threads.
    pub fn threads(&self) -> &[LaneThread] {
        &self.threads
    }

    /// Where a bond's reader puts packets for these threads; it is there once.
    pub fn take_input(&mut self) -> Option<LaneInput> {
        self.input.take()
    }

    /// What happens to packets before these threads see them; in a bond only.
    pub fn input_counters(&self) -> Option<&ThreadCounters> {
        self.input_counters.as_deref()
    }

    /// Waits for their end, and calls `count` with the counters of each.
    pub fn join(mut self, mut count: impl FnMut(Stage, &ThreadCounters)) {
        for thread in std::mem::take(&mut self.threads) {
            let (stage, counters) = (thread.stage, Arc::clone(&thread.counters));
            thread.join();
            count(stage, &counters);
        }
        if let Some(counters) = &self.input_counters {
            count(Stage::Read, counters);
        }
    }

    /// Two threads, which lend each other their directions unless they have been given different CPUs.
    fn add_inline(&mut self, backend: Backend) -> io::Result<()> {
        let cpu_of = |stage| self.tuning.cpu_sets.of(stage).and_then(|set| cpu_of_thread(set, self.index));
        let (tx_stop, rx_stop) = (self.stop_waker()?, self.stop_waker()?);
        let exchange = if cpu_of(Stage::Tx) == cpu_of(Stage::Rx) {
            Some(Arc::new(Exchange::new(tx_stop.try_clone()?, rx_stop.try_clone()?)))
        } else {
            None
        };
        let place = self.placement_of(Stage::Tx, self.index);
        let batch = OutboundBatch::new(Buffer::new(SendBatch::<Buffer>::RECOMMENDED_BYTES, place)?);
        let transmit = Transmit::new(self.tun_collector(place)?, batch);
        let thread = InlineThread::new(Duty::Transmit(transmit), ThreadAead::new(backend), tx_stop, exchange.clone());
        self.spawn_inline("tx", (Stage::Tx, TX), thread)?;
        self.add_inline_rx(backend, rx_stop, exchange)
    }

    fn add_inline_rx(&mut self, backend: Backend, stop: Waker, exchange: Option<Arc<Exchange>>) -> io::Result<()> {
        let batch = InboundBatch::new(Buffer::new(INBOUND_BYTES, self.placement_of(Stage::Rx, self.index))?);
        let receive = Receive::new(self.socket_collector(), batch, Delivery::new(&self.shared));
        let thread = InlineThread::new(Duty::Receive(receive), ThreadAead::new(backend), stop, exchange);
        self.spawn_inline("rx", (Stage::Rx, RX), thread)
    }

    fn spawn_inline(&mut self, role: &str, stage: (Stage, Option<Direction>), thread: InlineThread) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.spawn(role, stage, self.index, move |counters| thread.run(&shared, counters))
    }

    /// Inline in a bond: the reader hands batches over, this thread does all the rest.
    fn add_handed_tx(&mut self, backend: Backend, id: LaneId) -> io::Result<()> {
        let place = self.placement_of(Stage::Tx, self.index);
        let make = || Buffer::new(SendBatch::<Buffer>::RECOMMENDED_BYTES, place).map(OutboundBatch::new);
        let (end, writer) = pipelined::single_ring(HANDED_BATCHES, make)?;
        let (shared, aead) = (Arc::clone(&self.shared), ThreadAead::new(backend));
        let stop = self.stop_waker()?;
        let batch = make()?;
        self.spawn("tx", (Stage::Tx, TX), self.index, move |counters| {
            inline::transmit_handed(&shared, writer, &stop, aead, counters);
        })?;
        self.put_input(id, batch, end, false);
        Ok(())
    }

    /// The threads made so far take from `end`.
    fn put_input(&mut self, id: LaneId, batch: OutboundBatch, end: ReaderEnd<OutboundBatch>, prepares: bool) {
        let counters = Arc::new(ThreadCounters::default());
        self.input_counters = Some(Arc::clone(&counters));
        let takes = |thread: &&LaneThread| matches!(thread.stage, Stage::Tx | Stage::Crypto);
        let consumers = self.threads.iter().filter(takes).map(|thread| Arc::clone(&thread.counters)).collect();
        let queue = LaneQueue::new(end, consumers, prepares);
        self.input = Some(LaneInput { id, shared: Arc::clone(&self.shared), counters, batch, queue });
    }

    fn add_pipelined_tx(&mut self, backend: Backend, source: Source) -> io::Result<()> {
        let (workers, reader_number) = (self.tuning.crypto_workers, 2 * self.index);
        let place = self.placement_of(Stage::Read, reader_number);
        let make = || Buffer::new(SendBatch::<Buffer>::RECOMMENDED_BYTES, place).map(OutboundBatch::new);
        let Pipeline { reader, workers: ends, writer } = Pipeline::new(workers, make)?;
        for (k, end) in ends.into_iter().enumerate() {
            let aead = ThreadAead::new(backend);
            self.spawn(&format!("sealer{k}"), (Stage::Crypto, TX), reader_number * workers + k, move |counters| {
                pipelined::seal(end, aead, counters);
            })?;
        }
        let shared = Arc::clone(&self.shared);
        let stop = self.stop_waker()?;
        self.spawn("sender", (Stage::Write, TX), reader_number, move |counters| {
            pipelined::send(&shared, writer, &stop, counters);
        })?;
        if let Source::Bond(id) = source {
            self.put_input(id, make()?, reader, true);
            return Ok(());
        }
        let (shared, collector, stop) = (Arc::clone(&self.shared), self.tun_collector(place)?, self.stop_waker()?);
        self.spawn("tunreader", (Stage::Read, TX), reader_number, move |counters| {
            pipelined::read_tun(&shared, collector, reader, &stop, counters);
        })
    }

    fn add_pipelined_rx(&mut self, backend: Backend) -> io::Result<()> {
        let (workers, reader_number) = (self.tuning.crypto_workers, 2 * self.index + 1);
        let place = self.placement_of(Stage::Read, reader_number);
        let Pipeline { reader, workers: ends, writer } =
            Pipeline::new(workers, || Buffer::new(INBOUND_BYTES, place).map(InboundBatch::new))?;
        for (k, end) in ends.into_iter().enumerate() {
            let aead = ThreadAead::new(backend);
            self.spawn(&format!("opener{k}"), (Stage::Crypto, RX), reader_number * workers + k, move |counters| {
                pipelined::open(end, aead, counters);
            })?;
        }
        let shared = Arc::clone(&self.shared);
        self.spawn("tunwriter", (Stage::Write, RX), reader_number, move |counters| {
            pipelined::deliver(&shared, writer, counters);
        })?;
        let (shared, collector, stop) = (Arc::clone(&self.shared), self.socket_collector(), self.stop_waker()?);
        self.spawn("receiver", (Stage::Read, RX), reader_number, move |counters| {
            pipelined::read_sockets(&shared, collector, reader, &stop, counters);
        })
    }

    fn tun_collector(&self, place: MemoryPlacement) -> io::Result<TunCollector> {
        Ok(TunCollector::new(Buffer::new(MAX_TUN_READ, place)?, self.tuning.batch_packets))
    }

    fn socket_collector(&self) -> SocketCollector {
        SocketCollector::new(&self.shared, self.tuning.batch_packets)
    }

    /// Wakes one thread: all is to be looked at again.
    fn stop_waker(&self) -> io::Result<Waker> {
        self.shared.register_packet_thread(self.generation)
    }

    fn spawn(
        &mut self,
        role: &str,
        (stage, direction): (Stage, Option<Direction>),
        number: usize,
        body: impl FnOnce(&ThreadCounters) + Send + 'static,
    ) -> io::Result<()> {
        let plan = ThreadPlan { name: format!("{role}:{}", self.shared.name()), stage, direction, number };
        self.threads.push(self.gate.spawn(plan, &self.tuning, body)?);
        Ok(())
    }

    fn placement_of(&self, stage: Stage, number: usize) -> MemoryPlacement {
        memory_placement(&self.tuning, stage, number)
    }
}

/// Where the buffers of a thread come from: the node of its CPU.
pub fn memory_placement(tuning: &Tuning, stage: Stage, number: usize) -> MemoryPlacement {
    let huge_pages = tuning.huge_pages;
    match tuning.cpu_sets.of(stage).and_then(|set| cpu_of_thread(set, number)) {
        Some(cpu) => MemoryPlacement { policy: tuning.numa_policy, node: node_of_cpu(cpu), huge_pages },
        None => MemoryPlacement { huge_pages, ..MemoryPlacement::default() },
    }
}

impl Drop for PacketThreads {
    fn drop(&mut self) {
        self.gate.decide(false);
        for thread in std::mem::take(&mut self.threads) {
            thread.join();
        }
        self.shared.forget_packet_threads(self.generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_decides_once_and_for_all_that_wait() {
        for open in [true, false] {
            let gate = Gate::default();
            let waiting: Vec<_> =
                (0..3).map(|_| gate.clone()).map(|gate| std::thread::spawn(move || gate.wait())).collect();
            gate.decide(open);
            gate.decide(!open);
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == open));
            assert_eq!(gate.wait(), open);
        }
    }
}
