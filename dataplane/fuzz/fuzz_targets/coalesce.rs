//! Anything that peers could send as a batch: every byte is written exactly once or belongs to a merged header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelane_packet::{Coalescer, Span, TunOffload, VNET_HEADER_LEN};

fuzz_target!(|packets: Vec<&[u8]>| {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(&[0; 16]);
        spans.push(Span::new(buffer.len(), packet.len()));
        buffer.extend_from_slice(packet);
    }
    let mut coalescer = Coalescer::new(TunOffload { tso: true, uso: true });
    let groups = coalescer.coalesce(&mut buffer, &spans);
    let count: usize = groups.iter().map(|group| group.packets()).sum();
    assert_eq!(count, spans.len(), "a packet was lost or written twice");
    for group in groups {
        let len: usize = group.spans().iter().map(|span| span.len as usize).sum();
        assert!(len <= VNET_HEADER_LEN + 65_535, "a super-packet that no IP header can describe");
        assert!(group.spans().iter().all(|span| span.end() <= buffer.len()));
    }
});
