//! Inline mode: each direction of a lane runs to completion in one thread. No queue, no hand-off of packets.
//!
//! A direction that carries next to nothing beside a busy one, such as the acknowledgements of a transfer, would cost a
//! wake-up for nearly every packet of its own. Its thread lends it to the busy one's, which is awake anyway, and gets it
//! back once it carries a share of the load. Where there is little to do at all, the receiving thread has both directions:
//! what answers a packet then leaves by a thread that is still awake. Two threads lend to each other only where they have
//! the same CPUs.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wirelane_io::{Interest, Waker};

use crate::aead::ThreadAead;
use crate::collect::{SocketCollector, Step, TunCollector, wait_for};
use crate::counters::{Counter, ThreadCounters};
use crate::inbound::{Delivery, InboundBatch};
use crate::outbound::OutboundBatch;
use crate::pipelined::WriterEnd;
use crate::shared::Shared;
use crate::tuning::Direction;

/// So many waits of a lightly loaded thread, or rounds of one that looks after both directions, come between two looks
/// at who carries what.
const BETWEEN_LOOKS: u32 = 64;
/// A direction is lent if the other carries so many times its bytes…
const LENT_BELOW: u64 = 32;
/// …and so many bytes for each time that its own thread wakes: less, and the other may not be awake.
const BUSY_BYTES_A_WAIT: u64 = 16 << 10;
/// It is given back once the other carries less than so many times its bytes.
const RETURNED_ABOVE: u64 = 8;
/// Transmitting is lent to the receiving thread, whatever that carries, if its own thread wakes less often than that…
const LENT_BELOW_A_SECOND: u32 = 500;
/// …and stays there until the receiving thread takes more rounds than that.
const RETURNED_ABOVE_A_SECOND: u32 = 4000;
/// So many batches of its own a thread carries between two looks at the direction that was lent to it: acknowledgements
/// then leave several in one send.
const ROUNDS_A_LENT_BATCH: u32 = 4;

/// TUN to network.
pub struct Transmit {
    collector: TunCollector,
    batch: OutboundBatch,
}

impl Transmit {
    /// With buffers of its own.
    pub fn new(collector: TunCollector, batch: OutboundBatch) -> Self {
        Self { collector, batch }
    }

    /// Reads until a batch has been sent, or nothing is waiting and what there was has been sent.
    fn step(&mut self, sender: &mut Sender<'_>) -> Step {
        let mut has_sent = false;
        loop {
            let step = self.collector.take_one(sender.shared, sender.counters, &mut self.batch, |batch| {
                has_sent = true;
                sender.send(batch);
                !sender.shared.is_stopping()
            });
            match step {
                Step::More if !has_sent => {}
                Step::Empty => {
                    sender.send(&mut self.batch);
                    return Step::Empty;
                }
                step => return step,
            }
        }
    }
}

/// Network to TUN.
pub struct Receive {
    collector: SocketCollector,
    batch: InboundBatch,
    delivery: Delivery,
}

impl Receive {
    /// With buffers of its own.
    pub fn new(collector: SocketCollector, batch: InboundBatch, delivery: Delivery) -> Self {
        Self { collector, batch, delivery }
    }

    /// Receives one batch and delivers it.
    fn step(&mut self, shared: &Shared, aead: &mut ThreadAead, counters: &ThreadCounters) -> Step {
        let step = self.collector.take(&mut self.batch, shared);
        if !self.batch.is_empty() {
            let now = shared.now();
            self.batch.sort(shared, now, counters);
            self.batch.open(aead.get());
            self.delivery.deliver(&mut self.batch, shared, now, counters);
            self.batch.clear();
        }
        step
    }
}

/// One direction of a lane, with all that it needs.
pub enum Duty {
    /// TUN to network.
    Transmit(Transmit),
    /// Network to TUN.
    Receive(Receive),
}

/// Where the two threads of a lane leave each other the directions that they lend.
pub struct Exchange {
    /// By direction, which is the home duty of the thread whose desk it is.
    desks: [Desk; 2],
}

struct Desk {
    duties: Mutex<Vec<Duty>>,
    /// Whether to look at them.
    has_some: AtomicBool,
    /// Wakes the thread whose desk it is.
    waker: Waker,
    /// Bytes of this direction so far, whoever carried them.
    carried_bytes: Counter,
}

impl Exchange {
    /// For the threads that these wakers wake.
    pub fn new(tx: Waker, rx: Waker) -> Self {
        let desk = |waker| Desk {
            duties: Mutex::default(),
            has_some: AtomicBool::new(false),
            waker,
            carried_bytes: Counter::default(),
        };
        Self { desks: [desk(tx), desk(rx)] }
    }

    fn desk(&self, of: Direction) -> &Desk {
        &self.desks[of as usize]
    }

    fn leave(&self, duty: Duty, to: Direction) {
        let desk = self.desk(to);
        desk.duties.lock().unwrap_or_else(PoisonError::into_inner).push(duty);
        desk.has_some.store(true, Ordering::Release);
        if let Err(error) = desk.waker.wake() {
            log::error!("cannot wake a thread: {error}");
        }
    }

    fn collect(&self, at: Direction) -> Vec<Duty> {
        let desk = self.desk(at);
        if !desk.has_some.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *desk.duties.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A packet thread of an inline lane.
pub struct InlineThread {
    home: Direction,
    tx: Option<Transmit>,
    rx: Option<Receive>,
    aead: ThreadAead,
    stop: Waker,
    /// None: it keeps its direction.
    exchange: Option<Arc<Exchange>>,
    /// Since the last look…
    rounds: u32,
    /// …when so many bytes had been carried, by direction.
    carried_bytes: [u64; 2],
    looked_at: Instant,
}

impl InlineThread {
    /// A thread that begins with one direction. `stop` wakes it.
    pub fn new(home: Duty, aead: ThreadAead, stop: Waker, exchange: Option<Arc<Exchange>>) -> Self {
        let (home, tx, rx) = match home {
            Duty::Transmit(tx) => (Direction::Tx, Some(tx), None),
            Duty::Receive(rx) => (Direction::Rx, None, Some(rx)),
        };
        Self { home, tx, rx, aead, stop, exchange, rounds: 0, carried_bytes: [0; 2], looked_at: Instant::now() }
    }

    /// Carries packets until the lane ends.
    pub fn run(mut self, shared: &Shared, counters: &ThreadCounters) {
        loop {
            self.collect_duties();
            let step = self.step(shared, counters);
            if step == Step::End || shared.is_stopping() {
                break;
            }
            if step == Step::Empty || self.holds_both() {
                self.rounds += 1;
            }
            if self.rounds >= BETWEEN_LOOKS {
                self.look_at_loads(shared, counters);
            }
            if step == Step::Empty && self.wait(shared) == Step::End {
                break;
            }
        }
        self.finish_tx(shared, counters);
    }

    /// One batch of its own direction; one of the other in some rounds, and whenever its own has no more.
    /// [`Step::Empty`]: none of those that it has has more.
    fn step(&mut self, shared: &Shared, counters: &ThreadCounters) -> Step {
        let before = [counters.tx.bytes.get(), counters.rx.bytes.get()];
        let mut step = self.step_one(self.home, shared, counters);
        if step == Step::Empty || self.rounds.is_multiple_of(ROUNDS_A_LENT_BATCH) {
            let away = self.step_one(self.home.opposite(), shared, counters);
            step = if step == Step::Empty { away } else { step };
        }
        if let Some(exchange) = &self.exchange {
            let after = [counters.tx.bytes.get(), counters.rx.bytes.get()];
            for (desk, carried) in exchange.desks.iter().zip(std::array::from_fn::<_, 2, _>(|i| after[i] - before[i])) {
                // Of the other direction's total the other thread may be writing.
                if carried > 0 {
                    desk.carried_bytes.add(carried);
                }
            }
        }
        step
    }

    fn step_one(&mut self, direction: Direction, shared: &Shared, counters: &ThreadCounters) -> Step {
        let (stop, aead) = (&self.stop, &mut self.aead);
        match direction {
            Direction::Tx => {
                let Some(tx) = &mut self.tx else { return Step::Empty };
                let (rx, exchange) = (&mut self.rx, self.exchange.as_deref().filter(|_| self.home == direction));
                // Whoever waits for a socket must not make the other direction wait.
                let mut before_wait = || {
                    if let Some((exchange, rx)) = exchange.and_then(|exchange| Some((exchange, rx.take()?))) {
                        exchange.leave(Duty::Receive(rx), Direction::Rx);
                    }
                };
                tx.step(&mut Sender { shared, stop, aead, counters, before_wait: &mut before_wait })
            }
            Direction::Rx => self.rx.as_mut().map_or(Step::Empty, |rx| rx.step(shared, aead, counters)),
        }
    }

    /// Sends what has been read.
    fn finish_tx(&mut self, shared: &Shared, counters: &ThreadCounters) {
        if let Some(tx) = &mut self.tx {
            let (stop, aead) = (&self.stop, &mut self.aead);
            Sender { shared, stop, aead, counters, before_wait: &mut || {} }.send(&mut tx.batch);
        }
    }

    fn wait(&mut self, shared: &Shared) -> Step {
        let mut descriptors = [(self.stop.as_fd(), Interest::Readable); 4];
        let mut count = 0;
        if self.tx.is_some() {
            descriptors[0].0 = shared.tun.as_fd();
            count += 1;
        }
        let first_socket = count;
        for socket in self.rx.iter().flat_map(|rx| rx.collector.sockets()).take(2) {
            descriptors[count].0 = socket.as_fd();
            count += 1;
        }
        let (ready, step) = wait_for(&descriptors[..=count], &self.stop, || shared.is_stopping());
        if let Some(rx) = &mut self.rx {
            rx.collector.set_ready(ready >> first_socket);
        }
        step
    }

    fn holds_both(&self) -> bool {
        self.tx.is_some() && self.rx.is_some()
    }

    fn collect_duties(&mut self) {
        let Some(exchange) = &self.exchange else { return };
        for duty in exchange.collect(self.home) {
            match duty {
                Duty::Transmit(tx) => self.tx = Some(tx),
                Duty::Receive(rx) => self.rx = Some(rx),
            }
        }
    }

    /// Lends the home direction, gives the other one back, or leaves all as it is.
    fn look_at_loads(&mut self, shared: &Shared, counters: &ThreadCounters) {
        let rounds = std::mem::take(&mut self.rounds);
        let Some(exchange) = self.exchange.clone() else { return };
        let total = [Direction::Tx, Direction::Rx].map(|direction| exchange.desk(direction).carried_bytes.get());
        let since = |direction: Direction| total[direction as usize] - self.carried_bytes[direction as usize];
        let (home, away) = (self.home, self.home.opposite());
        let took = self.looked_at.elapsed();
        let loads = Loads { home, home_bytes: since(home), away_bytes: since(away), rounds, took };
        match (self.holds(home), self.holds(away)) {
            (true, false) if loads.lend_home() => self.give(home, &exchange, shared, counters),
            (true, true) if loads.return_away() => self.give(away, &exchange, shared, counters),
            // Both threads have lent at the same time.
            (false, true) => self.give(away, &exchange, shared, counters),
            _ => {}
        }
        self.carried_bytes = total;
        self.looked_at += took;
    }

    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::Tx => self.tx.is_some(),
            Direction::Rx => self.rx.is_some(),
        }
    }

    /// Leaves a direction on the desk of the other thread. All that was read of it has left.
    fn give(&mut self, what: Direction, exchange: &Exchange, shared: &Shared, counters: &ThreadCounters) {
        let duty = match what {
            Direction::Tx => {
                self.finish_tx(shared, counters);
                self.tx.take().map(Duty::Transmit)
            }
            Direction::Rx => self.rx.take().map(Duty::Receive),
        };
        if let Some(duty) = duty {
            log::debug!("{}: {what:?} is {}", shared.name(), if what == self.home { "lent" } else { "given back" });
            exchange.leave(duty, self.home.opposite());
        }
    }
}

/// What both directions have carried since a thread looked last.
struct Loads {
    /// Of the thread.
    home: Direction,
    home_bytes: u64,
    away_bytes: u64,
    rounds: u32,
    /// All rounds together.
    took: Duration,
}

impl Loads {
    /// For a thread that has its own direction only, and has waited so many `rounds`.
    fn lend_home(&self) -> bool {
        let is_busy_away = self.away_bytes > u64::from(self.rounds) * BUSY_BYTES_A_WAIT;
        let next_to_nothing = self.away_bytes > self.home_bytes * LENT_BELOW && is_busy_away;
        next_to_nothing || self.home == Direction::Tx && self.are_light(LENT_BELOW_A_SECOND)
    }

    /// For a thread that has both.
    fn return_away(&self) -> bool {
        let is_a_share = self.away_bytes * RETURNED_ABOVE > self.home_bytes;
        is_a_share && !(self.home == Direction::Rx && self.are_light(RETURNED_ABOVE_A_SECOND))
    }

    /// Few rounds and little in each.
    fn are_light(&self, rounds_a_second: u32) -> bool {
        let is_seldom = self.took * rounds_a_second > Duration::from_secs(1) * self.rounds;
        is_seldom && self.home_bytes + self.away_bytes < u64::from(self.rounds) * BUSY_BYTES_A_WAIT
    }
}

/// Batches that a bond's reader hands over, to the network, until that ends.
pub fn transmit_handed(
    shared: &Shared,
    end: WriterEnd<OutboundBatch>,
    stop: &Waker,
    mut aead: ThreadAead,
    counters: &ThreadCounters,
) {
    let mut sender = Sender { shared, stop, aead: &mut aead, counters, before_wait: &mut || {} };
    end.run(counters, |batch| sender.send(batch));
}

/// What a thread needs to carry batches from the TUN to the network.
struct Sender<'a> {
    shared: &'a Shared,
    stop: &'a Waker,
    aead: &'a mut ThreadAead,
    counters: &'a ThreadCounters,
    /// Called before the thread waits for room in a socket.
    before_wait: &'a mut dyn FnMut(),
}

impl Sender<'_> {
    /// All that happens to a batch. It is empty afterwards.
    fn send(&mut self, batch: &mut OutboundBatch) {
        let Self { shared, stop, counters, .. } = *self;
        if !batch.packets.is_empty() {
            let now = shared.now();
            if batch.prepare(shared, now, counters) {
                batch.seal(self.aead.get());
                batch.send(shared, stop, now, counters, self.before_wait);
            }
        }
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads of busy threads that begin with transmitting.
    fn busy(home_bytes: u64, away_bytes: u64) -> Loads {
        let took = Duration::from_millis(5);
        Loads { home: Direction::Tx, home_bytes, away_bytes, rounds: BETWEEN_LOOKS, took }
    }

    #[test]
    fn acknowledgements_are_lent_and_traffic_both_ways_is_not() {
        // One acknowledgement of 52 bytes for two super-packets.
        let transfer = busy(64 * 52, 64 * 128_000);
        assert!(transfer.lend_home() && !busy(64 * 128_000, 64 * 52).return_away());
        for both_ways in [busy(64 * 64_000, 64 * 128_000), busy(64 * 84, 64 * 84), busy(0, 0), busy(64 * 52, 100_000)] {
            assert!(!both_ways.lend_home());
        }
        for both_ways in [busy(64 * 64_000, 64 * 64_000), busy(64 * 84, 64 * 84), busy(7_000_000, 1_000_000)] {
            assert!(both_ways.return_away());
        }
        // What has just been given back is not lent at once, nor the other way round.
        assert!(!busy(1_000_000, 7_000_000).lend_home() && !busy(40_000_000, 1_000_000).return_away());
    }

    #[test]
    fn the_receiving_thread_has_both_directions_of_a_light_load() {
        let pings = |home, a_second| {
            let took = Duration::from_secs(1) * BETWEEN_LOOKS / a_second;
            Loads { home, home_bytes: 64 * 84, away_bytes: 64 * 84, rounds: BETWEEN_LOOKS, took }
        };
        assert!(pings(Direction::Tx, 200).lend_home() && !pings(Direction::Rx, 200).lend_home());
        assert!(!pings(Direction::Rx, 400).return_away() && pings(Direction::Tx, 400).return_away());
        assert!(!pings(Direction::Tx, 10_000).lend_home() && pings(Direction::Rx, 10_000).return_away());
        // Seldom, but much each time: a thread that hardly ever has to wait.
        let full = Loads { home_bytes: 64 * 1_000_000, ..pings(Direction::Tx, 200) };
        assert!(!full.lend_home());
        // What has just been lent is not given back at once: there a packet and its answer are two rounds and more.
        assert!(!pings(Direction::Rx, 3 * LENT_BELOW_A_SECOND).return_away());
    }
}
