//! A bounded ring from one thread to one other, for batches. Whoever finds it empty or full spins for a moment if that
//! has paid of late, and then parks; a thread that is awake is never woken by a system call.
//!
//! The ring itself is wait-free (rtrb). Parking follows Dekker: a thread that wants to sleep says so, then looks once
//! more; the other side acts, then looks whether anybody sleeps. Sequentially consistent fences between the two steps
//! of either make it impossible that both miss the other.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rtrb::{PopError, PushError, RingBuffer};

/// Turns of a spin that pays: some ten microseconds where a pause takes 140 cycles, less elsewhere; falling asleep and
/// waking up take as long.
const SPIN_TURNS: u32 = 192;
/// A spin that may pay again is tried after so many that were left out.
const RETRY_AFTER: u32 = 64;

/// Where a thread sleeps until the other side of its ring has done something. An end may change hands before it first
/// sleeps, and not after: it is this thread that is woken.
#[derive(Debug, Default)]
struct Bed {
    is_taken: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Bed {
    /// Sleeps until woken, unless `is_ready` holds after the intention is known. It may return for no reason.
    fn sleep(&self, limit: Option<Instant>, is_ready: impl Fn() -> bool) {
        self.sleeper.get_or_init(std::thread::current);
        self.is_taken.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if !is_ready() {
            match limit {
                None => std::thread::park(),
                Some(limit) => std::thread::park_timeout(limit.saturating_duration_since(Instant::now())),
            }
        }
        self.is_taken.store(false, Ordering::Relaxed);
    }

    /// Wakes whoever sleeps there, after something has been done.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.is_taken.load(Ordering::Relaxed)
            && self.is_taken.swap(false, Ordering::Acquire)
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }
}

/// The beds of both sides.
#[derive(Debug, Default)]
struct Beds {
    producer: Bed,
    consumer: Bed,
}

/// Whether spinning pays: as long as it does, and now and then when it did not.
#[derive(Debug)]
struct Spin {
    /// None where there is a single CPU: whoever is waited for needs it.
    may: bool,
    left_out: u32,
    pays: bool,
}

impl Spin {
    fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { may: cpus > 1, left_out: 0, pays: true }
    }

    /// Spins until `is_ready`, for a bounded time or not at all.
    fn until(&mut self, is_ready: impl Fn() -> bool) {
        if !self.may {
            return;
        }
        if !self.pays {
            self.left_out += 1;
            if self.left_out < RETRY_AFTER {
                return;
            }
            self.left_out = 0;
        }
        self.pays = (0..SPIN_TURNS).any(|_| {
            std::hint::spin_loop();
            is_ready()
        });
    }
}

/// A ring for `capacity` values, at least one.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = RingBuffer::new(capacity.max(1));
    let beds = Arc::new(Beds::default());
    (
        Producer { ring: Some(producer), beds: Arc::clone(&beds), spin: Spin::new() },
        Consumer { ring: Some(consumer), beds, spin: Spin::new() },
    )
}

/// The side that puts in. Dropping it ends the ring, once that is empty.
#[derive(Debug)]
pub struct Producer<T> {
    /// There until it is dropped.
    ring: Option<rtrb::Producer<T>>,
    beds: Arc<Beds>,
    spin: Spin,
}

impl<T> Producer<T> {
    /// Puts a value in; waits for room. It comes back if the consumer has gone.
    pub fn send(&mut self, mut value: T) -> Result<(), T> {
        let Some(ring) = &mut self.ring else { return Err(value) };
        loop {
            if ring.is_abandoned() {
                return Err(value);
            }
            match ring.push(value) {
                Ok(()) => break,
                Err(PushError::Full(back)) => value = back,
            }
            let is_ready = || !ring.is_full() || ring.is_abandoned();
            self.spin.until(is_ready);
            if !is_ready() {
                self.beds.producer.sleep(None, is_ready);
            }
        }
        self.beds.consumer.wake();
        Ok(())
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // First the end, then the news of it.
        self.ring = None;
        self.beds.consumer.wake();
    }
}

/// The side that takes out.
#[derive(Debug)]
pub struct Consumer<T> {
    /// There until it is dropped.
    ring: Option<rtrb::Consumer<T>>,
    beds: Arc<Beds>,
    spin: Spin,
}

impl<T> Consumer<T> {
    /// The next value, if there is one now.
    pub fn try_receive(&mut self) -> Option<T> {
        match self.ring.as_mut()?.pop() {
            Ok(value) => {
                self.beds.producer.wake();
                Some(value)
            }
            Err(PopError::Empty) => None,
        }
    }

    /// The next value, as soon as there is one; none when the producer has gone and the ring is empty.
    pub fn receive(&mut self) -> Option<T> {
        self.receive_until(None)
    }

    /// The next value, if there is one within this time.
    pub fn receive_within(&mut self, time: Duration) -> Option<T> {
        self.receive_until(Some(Instant::now() + time))
    }

    fn receive_until(&mut self, limit: Option<Instant>) -> Option<T> {
        loop {
            let has_ended = self.ring.as_ref().is_none_or(rtrb::Consumer::is_abandoned);
            // In this order: what was put in before the end is there afterwards.
            if let Some(value) = self.try_receive() {
                return Some(value);
            }
            if has_ended || limit.is_some_and(|limit| Instant::now() >= limit) {
                return None;
            }
            let Some(ring) = &self.ring else { return None };
            let is_ready = || !ring.is_empty() || ring.is_abandoned();
            self.spin.until(is_ready);
            if !is_ready() {
                self.beds.consumer.sleep(limit, is_ready);
            }
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.ring = None;
        self.beds.producer.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses that let each side fall asleep at moments of every kind.
    fn pause(seed: &mut u64) {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match *seed >> 58 {
            0 => std::thread::sleep(Duration::from_micros(*seed >> 32 & 127)),
            1..8 => std::thread::yield_now(),
            8..12 => (0..*seed >> 40 & 1023).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }

    #[test]
    fn everything_arrives_in_order_whoever_sleeps_when() {
        for capacity in [1, 2, 7] {
            let (mut producer, mut consumer) = ring(capacity);
            let count = 20_000u64;
            let sending = std::thread::spawn(move || {
                let mut seed = 1;
                (0..count).for_each(|number| {
                    pause(&mut seed);
                    producer.send(number).unwrap();
                });
            });
            let mut seed = 2;
            for number in 0..count {
                pause(&mut seed);
                assert_eq!(consumer.receive(), Some(number), "capacity {capacity}");
            }
            sending.join().unwrap();
            assert_eq!(consumer.receive(), None);
        }
    }

    #[test]
    fn each_side_notices_that_the_other_has_gone() {
        let (producer, mut consumer) = ring::<u8>(1);
        let waiting = std::thread::spawn(move || consumer.receive());
        drop(producer);
        assert_eq!(waiting.join().unwrap(), None);

        let (mut producer, consumer) = ring(1);
        producer.send(1).unwrap();
        let waiting = std::thread::spawn(move || producer.send(2));
        drop(consumer);
        assert_eq!(waiting.join().unwrap(), Err(2));
    }

    #[test]
    fn a_wait_with_a_limit_ends() {
        let (mut producer, mut consumer) = ring(1);
        assert_eq!(consumer.receive_within(Duration::from_millis(1)), None);
        producer.send(3).unwrap();
        assert_eq!(consumer.receive_within(Duration::ZERO), Some(3));
    }
}
