//! Nanoseconds a packet of checksum, split and coalesce on a 60 kB super-packet: `cargo bench -p wirelane-packet`.

use std::hint::black_box;
use std::time::{Duration, Instant};
use wirelane_packet::{Coalescer, SendBatch, Span, Splitter, TunOffload, checksum};

const SEGMENTS: usize = 44;
const PAYLOAD: usize = 1368;
const HEADERS: usize = 52;

fn main() {
    let bytes = vec![5; PAYLOAD];
    let mut copy = vec![0; PAYLOAD];
    report("checksum", 1, || {
        black_box(checksum::add(0, black_box(&bytes)));
    });
    report("copy and checksum", 1, || {
        black_box(checksum::copy_and_add(0, &mut copy, black_box(&bytes)));
    });

    let read = super_packet();
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

/// What the TUN hands over: TCP over IPv4, 44 segments.
fn super_packet() -> Vec<u8> {
    let mut vnet = vec![1, 1];
    for field in [HEADERS as u16, PAYLOAD as u16, 20, 16] {
        vnet.extend_from_slice(&field.to_ne_bytes());
    }
    let total = (HEADERS + SEGMENTS * PAYLOAD) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let mut tcp = vec![0x10, 0, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0, 0, 0, 0, 0];
    tcp.extend_from_slice(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let pseudo = checksum::fold(checksum::pseudo_header(&ip[12..20], 6, usize::from(total) - 20));
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let payload = (0..SEGMENTS * PAYLOAD).map(|i| (i % 251) as u8);
    vnet.into_iter().chain(ip).chain(tcp).chain(payload).collect()
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
