//! Pipelined mode, the architecture of stock WireGuard: reader, parallel crypto workers, strictly in-order writer, for
//! each direction.
//!
//! The unit that is handed off is a whole batch in its buffer; buffers come back to the reader over a free ring, so
//! that nothing is allocated on the way and the reader is held back when the writer is slow. Batch number n goes to
//! worker n mod N over that worker's own ring, and the writer takes from the workers in the same turn: packets leave in
//! the order in which they came without a sequence number or a lock. Each ring has one thread at either end (`ring.rs`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wirelane_io::Waker;

use crate::aead::ThreadAead;
use crate::collect::{SocketCollector, Step, TunCollector};
use crate::counters::{EngineReason, ThreadCounters};
use crate::inbound::{Delivery, InboundBatch};
use crate::outbound::OutboundBatch;
use crate::ring::{Consumer, Producer, ring};
use crate::shared::Shared;

/// Batches under way for each worker: one that it works on, and some before and behind it.
pub const BATCHES_PER_WORKER: usize = 4;

/// The rings of one direction, to be taken apart by its threads.
pub struct Pipeline<B> {
    pub reader: ReaderEnd<B>,
    pub workers: Vec<WorkerEnd<B>>,
    pub writer: WriterEnd<B>,
}

/// Where the reader gets empty batches and puts full ones.
pub struct ReaderEnd<B> {
    free: Consumer<B>,
    to_workers: Vec<Producer<B>>,
    turn: usize,
    /// Comes before the free ring.
    kept: Option<B>,
}

/// What lies on both sides of a worker.
pub struct WorkerEnd<B> {
    from_reader: Consumer<B>,
    to_writer: Producer<B>,
}

/// Where the writer gets finished batches and puts empty ones.
pub struct WriterEnd<B> {
    from_workers: Vec<Consumer<B>>,
    free: Producer<B>,
}

impl<B> Pipeline<B> {
    /// Rings for `workers` workers, with every batch in the free ring.
    pub fn new(workers: usize, make: impl FnMut() -> io::Result<B>) -> io::Result<Self> {
        let (free_in, free_out) = free_ring(workers * BATCHES_PER_WORKER + 1, make)?;
        let (mut to_workers, mut ends, mut from_workers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..workers {
            let (to_worker, from_reader) = ring(BATCHES_PER_WORKER);
            let (to_writer, from_worker) = ring(BATCHES_PER_WORKER);
            to_workers.push(to_worker);
            from_workers.push(from_worker);
            ends.push(WorkerEnd { from_reader, to_writer });
        }
        Ok(Self {
            reader: ReaderEnd { free: free_out, to_workers, turn: 0, kept: None },
            workers: ends,
            writer: WriterEnd { from_workers, free: free_in },
        })
    }
}

/// One ring from a reader to a thread that does all the rest, of `batches` batches.
pub fn single_ring<B>(batches: usize, make: impl FnMut() -> io::Result<B>) -> io::Result<(ReaderEnd<B>, WriterEnd<B>)> {
    let (free_in, free_out) = free_ring(batches, make)?;
    let (to_writer, from_reader) = ring(batches);
    let reader = ReaderEnd { free: free_out, to_workers: vec![to_writer], turn: 0, kept: None };
    Ok((reader, WriterEnd { from_workers: vec![from_reader], free: free_in }))
}

/// A ring that holds as many empty batches as it has room for.
fn free_ring<B>(batches: usize, mut make: impl FnMut() -> io::Result<B>) -> io::Result<(Producer<B>, Consumer<B>)> {
    let (mut free_in, free_out) = ring(batches);
    for _ in 0..batches {
        if free_in.send(make()?).is_err() {
            return Err(io::Error::other("the free ring is smaller than the number of batches"));
        }
    }
    Ok((free_in, free_out))
}

impl<B> ReaderEnd<B> {
    /// An empty batch, as soon as there is one; none when the writer has ended.
    pub fn empty_batch(&mut self) -> Option<B> {
        self.free.receive()
    }

    /// An empty batch, if there is one within this time.
    pub fn empty_batch_within(&mut self, time: Duration) -> Option<B> {
        let kept = self.kept.take();
        kept.or_else(|| self.free.try_receive()).or_else(|| self.free.receive_within(time))
    }

    /// Takes back an empty batch that was not needed.
    pub fn keep(&mut self, batch: B) {
        self.kept = Some(batch);
    }

    /// Hands a batch to the worker whose turn it is. The batch comes back if that has ended.
    pub fn hand_on(&mut self, batch: B, counters: &ThreadCounters) -> Result<(), B> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.to_workers.len();
        self.to_workers[turn].send(batch)?;
        counters.handed_on.add(1);
        Ok(())
    }
}

impl<B> WorkerEnd<B> {
    /// Calls `work` for every batch until the reader ends.
    pub fn run(mut self, counters: &ThreadCounters, mut work: impl FnMut(&mut B)) {
        while let Some(mut batch) = self.from_reader.receive() {
            counters.taken.add(1);
            work(&mut batch);
            if self.to_writer.send(batch).is_err() {
                return;
            }
            counters.handed_on.add(1);
        }
    }
}

impl<B> WriterEnd<B> {
    /// Calls `write` for every batch in the order of the reader, until the workers end; `write` leaves it empty.
    pub fn run(mut self, counters: &ThreadCounters, mut write: impl FnMut(&mut B)) {
        let mut turn = 0;
        loop {
            let Some(mut batch) = self.from_workers[turn].receive() else { return };
            turn = (turn + 1) % self.from_workers.len();
            counters.taken.add(1);
            write(&mut batch);
            // The reader has ended: the batches that are still under way are written all the same.
            let _ = self.free.send(batch);
        }
    }
}

/// Reads the TUN, until the lane ends.
pub fn read_tun(
    shared: &Shared,
    mut collector: TunCollector,
    mut end: ReaderEnd<OutboundBatch>,
    stop: &Waker,
    counters: &ThreadCounters,
) {
    let Some(mut batch) = end.empty_batch() else { return };
    let mut hand_on = |batch: &mut OutboundBatch| {
        if batch.packets.is_empty() {
            return !shared.is_stopping();
        }
        // Counters are reserved here, where the order of packets is known.
        if !batch.prepare(shared, shared.now(), counters) {
            batch.clear();
            return !shared.is_stopping();
        }
        let Some(empty) = end.empty_batch() else { return false };
        counters.tx.add_batch(batch.packets.segments().len(), batch.inner_bytes());
        match end.hand_on(std::mem::replace(batch, empty), counters) {
            Ok(()) => !shared.is_stopping(),
            Err(refused) => {
                counters.drop_packets(EngineReason::Stopping, refused.packets.segments().len());
                false
            }
        }
    };
    loop {
        match collector.take_one(shared, counters, &mut batch, &mut hand_on) {
            Step::More => {}
            Step::Empty => {
                if !hand_on(&mut batch) || collector.wait(&shared.tun, stop, || shared.is_stopping()) == Step::End {
                    return;
                }
            }
            Step::End => return,
        }
    }
}

/// Seals batches, until the reader ends.
pub fn seal(end: WorkerEnd<OutboundBatch>, mut aead: ThreadAead, counters: &ThreadCounters) {
    end.run(counters, |batch| {
        batch.seal(aead.get());
        counters.tx.add_batch(batch.packets.segments().len(), batch.inner_bytes());
    });
}

/// Sends batches in order, until the workers end.
pub fn send(shared: &Shared, end: WriterEnd<OutboundBatch>, stop: &Waker, counters: &ThreadCounters) {
    end.run(counters, |batch| {
        batch.send(shared, stop, shared.now(), counters, &mut || {});
        batch.clear();
    });
}

/// Receives from the sockets, until the lane ends.
pub fn read_sockets(
    shared: &Arc<Shared>,
    mut collector: SocketCollector,
    mut end: ReaderEnd<InboundBatch>,
    stop: &Waker,
    counters: &ThreadCounters,
) {
    let Some(mut batch) = end.empty_batch() else { return };
    loop {
        let step = collector.take(&mut batch, shared);
        if !batch.is_empty() {
            batch.sort(shared, shared.now(), counters);
            let Some(empty) = end.empty_batch() else { return };
            counters.rx.add_batch(batch.datagrams(), batch.datagram_bytes());
            if let Err(refused) = end.hand_on(std::mem::replace(&mut batch, empty), counters) {
                counters.drop_packets(EngineReason::Stopping, refused.datagrams());
                return;
            }
        }
        if shared.is_stopping() || (step == Step::Empty && collector.wait(shared, stop) == Step::End) {
            return;
        }
    }
}

/// Opens batches, until the reader ends.
pub fn open(end: WorkerEnd<InboundBatch>, mut aead: ThreadAead, counters: &ThreadCounters) {
    end.run(counters, |batch| {
        batch.open(aead.get());
        counters.rx.add_batch(batch.datagrams(), batch.datagram_bytes());
    });
}

/// Delivers batches to the TUN in order, until the workers end.
pub fn deliver(shared: &Shared, end: WriterEnd<InboundBatch>, counters: &ThreadCounters) {
    let mut delivery = Delivery::new(shared);
    end.run(counters, |batch| {
        delivery.deliver(batch, shared, shared.now(), counters);
        batch.clear();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches 0 to `count` through as many workers as there are `pauses`; each worker pauses so long for a batch.
    fn pass_through(count: u64, pauses: &[fn(u64)]) -> Vec<u64> {
        let Pipeline { mut reader, workers, writer } = Pipeline::<u64>::new(pauses.len(), || Ok(0)).unwrap();
        std::thread::scope(|scope| {
            for (worker, pause) in workers.into_iter().zip(pauses) {
                scope.spawn(move || {
                    worker.run(&ThreadCounters::default(), |batch| {
                        pause(*batch);
                        *batch *= 2;
                    });
                });
            }
            let writing = scope.spawn(move || {
                let mut written = Vec::new();
                writer.run(&ThreadCounters::default(), |batch| written.push(*batch));
                written
            });
            let counters = ThreadCounters::default();
            for number in 0..count {
                assert!(reader.empty_batch().is_some());
                assert_eq!(reader.hand_on(number, &counters), Ok(()));
            }
            assert_eq!(counters.handed_on.get(), count);
            drop(reader);
            writing.join().unwrap()
        })
    }

    #[test]
    fn batches_leave_in_the_order_in_which_they_came() {
        let never: fn(u64) = |_| {};
        let always: fn(u64) = |_| std::thread::sleep(Duration::from_micros(50));
        let at_times: fn(u64) = |number| {
            if number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 0 {
                std::thread::sleep(Duration::from_micros(number % 200));
            }
        };
        let hands_over: fn(u64) = |_| std::thread::yield_now();
        for (count, pauses) in [
            (20_000, vec![never]),
            (20_000, vec![never, never, never]),
            (1_000, vec![always, never, hands_over]),
            (10_000, vec![at_times, at_times, hands_over, never]),
        ] {
            let expected: Vec<_> = (0..count).map(|number| number * 2).collect();
            assert_eq!(pass_through(count, &pauses), expected);
        }
    }
}
