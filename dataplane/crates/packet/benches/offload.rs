//! Nanoseconds a packet of checksum, split and coalesce on a 60 kB super-packet: `cargo bench -p wirelane-packet`.

mod traffic;

use std::hint::black_box;
use std::time::{Duration, Instant};
use traffic::{HEADERS, super_packet};
use wirelane_packet::{Coalescer, SendBatch, Span, Splitter, TunOffload, checksum};

const SEGMENTS: usize = 44;
const PAYLOAD: usize = 1368;

fn main() {
    let bytes = vec![5; PAYLOAD];
    let mut copy = vec![0; PAYLOAD];
    report("checksum", 1, || {
        black_box(checksum::add(0, black_box(&bytes)));
    });
    report("copy and checksum", 1, || {
        black_box(checksum::copy_and_add(0, &mut copy, black_box(&bytes)));
    });

    let read = super_packet(SEGMENTS, PAYLOAD);
    let mut batch = SendBatch::new(vec![0; SendBatch::<Vec<u8>>::RECOMMENDED_BYTES]);
    report("split", SEGMENTS, || {
        batch.clear();
        let mut splitter = Splitter::new(black_box(&read), 1420).expect("a right super-packet");
        assert_eq!(splitter.fill(&mut batch), SEGMENTS);
    });

    let packets: Vec<_> = batch.segments().iter().map(|s| Span::new(s.plaintext().start, HEADERS + PAYLOAD)).collect();
    let (buffer, _) = batch.parts_mut();
    let first = buffer[packets[0].range()].to_vec();
    let mut coalescer = Coalescer::new(TunOffload { tso: true, uso: true });
    report("coalesce", SEGMENTS, || {
        buffer[packets[0].range()].copy_from_slice(&first);
        assert_eq!(coalescer.coalesce(buffer, &packets).len(), 1);
    });
}

/// Print the fastest of several rounds.
fn report(name: &str, packets: usize, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..400 {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_micros(500) {
            for _ in 0..16 {
                work();
            }
            count += 16 * packets;
        }
        best = best.min(start.elapsed().as_secs_f64() / count as f64);
    }
    println!("{name:20} {:7.1} ns/packet {:6.2} GB/s", best * 1e9, PAYLOAD as f64 / best / 1e9);
}
