//! GB/s of every AEAD backend, both directions, in batches of 64 packets: `cargo bench -p wirelane-crypto --bench aead [-- BACKEND]`.
//! The best of several short rounds, which is what a shared machine disturbs least.

use std::time::{Duration, Instant};
use wirelane_crypto::{Aead, Backend, BackendChoice, Key, OpenJob, available};
use wirelane_packet::Segment;

const PACKETS: usize = 64;
const ROUNDS: usize = 400;
/// Shorter than the scheduler's time slice, so that some rounds pass undisturbed.
const ROUND: Duration = Duration::from_micros(500);

fn main() {
    println!("{:10} {:>8} {:>8} {:>8} {:>8}", "backend", "bytes", "seal", "open", "ns/packet sealed");
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    for backend in available().into_iter().filter(|b| only.as_ref().is_none_or(|only| *only == b.to_string())) {
        for len in [64, 512, 1408, 8192] {
            let (seal, open) = measure(backend, len);
            let gb_per_s = |seconds: f64| len as f64 / seconds / 1e9;
            let (name, ns) = (backend.to_string(), seal * 1e9);
            println!("{name:10} {len:8} {:8.2} {:8.2} {ns:8.0}", gb_per_s(seal), gb_per_s(open));
        }
    }
}

/// Seconds a packet, sealing and opening.
fn measure(backend: Backend, len: usize) -> (f64, f64) {
    let mut aead = Aead::new(BackendChoice::Force(backend)).expect("listed as available");
    let key = Key::new([7; 32]);
    let stride = len + 32;
    let segments: Vec<_> =
        (0..PACKETS).map(|i| Segment { offset: (i * stride) as u32, plaintext_len: len as u32 }).collect();
    let jobs: Vec<_> = segments.iter().map(|segment| OpenJob { segment: *segment, key: &key, counter: 0 }).collect();
    let mut buffer = vec![1; PACKETS * stride];
    let mut authentic = Vec::new();
    let seal = best(|| aead.seal_batch(&mut buffer, &segments, &key, 0));
    // What is opened is not authentic, which takes the same time with ipsec-mb and saves the decryption with ring; so
    // the batch is sealed afresh each time and that time taken off.
    let both = best(|| {
        aead.seal_batch(&mut buffer, &segments, &key, 0);
        let jobs = jobs.iter().zip(0..).map(|(job, counter)| OpenJob { counter, ..*job }).collect::<Vec<_>>();
        aead.open_batch(&mut buffer, &jobs, &mut authentic);
    });
    assert!(authentic.iter().all(|ok| *ok));
    (seal, both - seal)
}

/// Seconds a packet of the fastest round.
fn best(mut batch: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        let mut batches = 0;
        while start.elapsed() < ROUND {
            batch();
            batches += 1;
        }
        start.elapsed().as_secs_f64() / (batches * PACKETS) as f64
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}
