//! The parsers of inner packets agree with each other and stay inside the packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelane_packet::{Ecn, ecn, inner};

fuzz_target!(|packet: &[u8]| {
    let (parsed, layout) = (inner::IpPacket::parse(packet), inner::layout(packet));
    assert_eq!(parsed.map(|p| p.total_len), layout.map(|l| l.total_len));
    if let Ok(layout) = layout {
        assert!(layout.ip_header_len <= layout.payload_offset && layout.payload_offset <= layout.total_len);
        assert!(layout.total_len <= packet.len());
    }
    inner::flow_hash(packet);
    let mut marked = packet.to_vec();
    if ecn::decapsulate(Ecn::Ce, &mut marked) {
        assert_eq!(ecn::of_packet(&marked), Ecn::Ce);
    }
});
