//! Anything that a TUN could hand over: it splits into bounded segments, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelane_packet::{SendBatch, Splitter};

const CAPACITY: usize = 4096;

fuzz_target!(|input: (u16, &[u8])| {
    let (mtu, read) = input;
    let Ok(mut splitter) = Splitter::new(read, usize::from(mtu)) else { return };
    let packet_len = splitter.packet().len();
    let mut batch = SendBatch::new(vec![0xee; packet_len + CAPACITY]);
    while !splitter.is_done() {
        batch.clear();
        assert!(splitter.fill(&mut batch) > 0, "no progress");
        let covered: usize = batch.gso_runs(0..batch.segments().len(), 64).map(|run| run.bytes.len()).sum();
        assert_eq!(covered, batch.bytes().len(), "the runs leave bytes out");
        for segment in batch.segments() {
            assert!(segment.plaintext_len as usize <= packet_len + 15, "a segment longer than its packet");
        }
    }
});
