//! Whether more crypto workers help one tunnel: the rings of pipelined mode around real sealing, without the kernel.

use std::time::{Duration, Instant};

use wirelane_crypto::{Aead, Backend, BackendChoice, Key};
use wirelane_packet::Segment;

use crate::counters::ThreadCounters;
use crate::pipelined::Pipeline;

const PACKETS: usize = 44;
const PACKET_BYTES: usize = 1408;
const STRIDE: usize = PACKET_BYTES + 32;

/// Gbit/s that leave the writer, with the portable AEAD: the slower that is, the more the workers decide.
///
/// # Panics
/// Never: every machine has the portable AEAD, and memory for a few batches.
pub fn pipeline_rate(workers: usize, duration: Duration) -> f64 {
    let segments: Vec<_> =
        (0..PACKETS).map(|i| Segment { offset: (i * STRIDE) as u32, plaintext_len: PACKET_BYTES as u32 }).collect();
    let made = Pipeline::new(workers, || Ok(vec![1u8; PACKETS * STRIDE])).expect("rings fit their batches");
    let Pipeline { mut reader, workers, writer } = made;
    let start = Instant::now();
    let batches: usize = std::thread::scope(|scope| {
        for worker in workers {
            let segments = &segments;
            scope.spawn(move || {
                let mut aead = Aead::new(BackendChoice::Force(Backend::Portable)).expect("it is everywhere");
                let key = Key::new([7; 32]);
                worker.run(&ThreadCounters::default(), |batch| aead.seal_batch(batch, segments, &key, 0));
            });
        }
        let writing = scope.spawn(move || {
            let mut batches = 0;
            writer.run(&ThreadCounters::default(), |_| batches += 1);
            batches
        });
        let counters = ThreadCounters::default();
        while start.elapsed() < duration {
            let Some(batch) = reader.empty_batch() else { break };
            if reader.hand_on(batch, &counters).is_err() {
                break;
            }
        }
        drop(reader);
        writing.join().unwrap_or_default()
    });
    (batches * PACKETS * PACKET_BYTES * 8) as f64 / start.elapsed().as_secs_f64() / 1e9
}
