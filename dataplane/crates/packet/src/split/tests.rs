use super::*;
use crate::Segment;
use crate::testing::{ACK, CWR, FIN, Flow, PSH};
use proptest::prelude::*;

/// Split into as many batches of `capacity` bytes as it takes.
fn split(read: &[u8], mtu: usize, capacity: usize) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(read, mtu).unwrap();
    let mut batch = SendBatch::new(vec![0xee; capacity]);
    let mut packets = Vec::new();
    while !splitter.is_done() {
        batch.clear();
        assert!(splitter.fill(&mut batch) > 0, "batch too small for one packet");
        packets.extend(batch.segments().iter().map(|segment: &Segment| batch.plaintext(*segment).to_vec()));
    }
    packets
}

/// What the segments must be, built one by one; padded as they are to be sent.
fn expected(
    flow: &Flow,
    id: u16,
    sequence: u32,
    flags: u8,
    payload: &[u8],
    gso_size: usize,
    mtu: usize,
) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(gso_size);
    let piece = |(i, piece): (usize, &[u8])| {
        let mut flags = flags;
        if i + 1 < count {
            flags &= !(FIN | PSH);
        }
        if i > 0 {
            flags &= !CWR;
        }
        let mut packet =
            flow.packet(id.wrapping_add(i as u16), sequence.wrapping_add((i * gso_size) as u32), flags, piece);
        packet.resize(crate::send_batch::padded_len(packet.len(), mtu), 0);
        packet
    };
    payload.chunks(gso_size).enumerate().map(piece).collect()
}

fn flows() -> impl Strategy<Value = Flow> {
    (any::<bool>(), any::<bool>(), any::<u8>(), any::<u16>(), 0usize..=10)
        .prop_map(|(is_ipv6, is_tcp, tos, port, options)| Flow { is_ipv6, is_tcp, tos, port, options: options * 4 })
}

proptest! {
    #[test]
    fn segments_are_what_the_sender_would_have_sent(
        flow in flows(), id in any::<u16>(), sequence in any::<u32>(),
        flags in prop_oneof![Just(ACK), Just(ACK | PSH), Just(ACK | FIN | PSH), Just(ACK | CWR)],
        payload in proptest::collection::vec(any::<u8>(), 1..20_000), gso_size in 100u16..1500, mtu in 1280usize..1600,
        capacity in 2000usize..40_000,
    ) {
        let flags = if flow.is_tcp { flags } else { 0 };
        let read = flow.super_packet(id, sequence, flags, &payload, gso_size);
        let packets = split(&read, mtu, capacity);
        prop_assert_eq!(packets, expected(&flow, id, sequence, flags, &payload, gso_size.into(), mtu));
    }

    #[test]
    fn a_single_packet_gets_its_checksum(flow in flows(), payload in proptest::collection::vec(any::<u8>(), 0..1300)) {
        let mut read = flow.super_packet(7, 8, ACK, &payload, 0);
        read[1] = 0; // GSO_NONE
        let packets = split(&read, 0, 4000);
        let mut whole = flow.packet(7, 8, ACK, &payload);
        whole.resize(whole.len().next_multiple_of(16), 0);
        prop_assert_eq!(packets, vec![whole]);
    }

    #[test]
    fn any_bytes_split_or_fail_without_a_panic(mut read in proptest::collection::vec(any::<u8>(), 0..300), gso in 0u8..6) {
        if let Some(byte) = read.get_mut(1) { *byte = gso; }
        if let Ok(mut splitter) = Splitter::new(&read, 1420) {
            let mut batch = SendBatch::new(vec![0; 400]);
            while !splitter.is_done() {
                batch.clear();
                prop_assert!(splitter.fill(&mut batch) > 0);
            }
        }
    }

    #[test]
    fn damaged_super_packets_split_or_fail_without_a_panic(
        flow in flows(), at in 0usize..110, value in any::<u8>(), cut in 0usize..1200,
    ) {
        let mut read = flow.super_packet(1, 2, ACK, &[5; 1000], 100);
        read[at] = value;
        read.truncate(cut.max(at));
        if let Ok(mut splitter) = Splitter::new(&read, 1420) {
            let mut batch = SendBatch::new(vec![0; 2000]);
            while !splitter.is_done() {
                batch.clear();
                prop_assert!(splitter.fill(&mut batch) > 0);
            }
        }
    }
}

#[test]
fn a_full_super_packet_needs_two_sends_at_an_mtu_of_1420() {
    let flow = Flow::tcp4(1);
    let payload = vec![1; 65_535 - flow.header_len()];
    let read = flow.super_packet(0, 0, ACK, &payload, 1368);
    let mut batch = SendBatch::new(vec![0; SendBatch::<Vec<u8>>::RECOMMENDED_BYTES]);
    let mut splitter = Splitter::new(&read, 1420).unwrap();
    let mut runs = Vec::new();
    while !splitter.is_done() {
        batch.clear();
        let count = splitter.fill(&mut batch);
        runs.extend(batch.gso_runs(0..count, 64).map(|run| (run.segments.len(), run.segment_len)));
    }
    assert_eq!(runs, [(45, 1452), (3, 1452)]);
}

#[test]
fn contradictions_are_refused() {
    let read = Flow::tcp4(1).super_packet(0, 0, ACK, &[0; 3000], 1000);
    assert!(Splitter::new(&read, 0).is_ok());
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = read.clone();
        change(&mut changed);
        Splitter::new(&changed, 0).unwrap_err()
    };
    assert_eq!(refused(&|r| r.truncate(9)), SplitError::VnetHeader);
    assert_eq!(refused(&|r| r[1] = 9), SplitError::VnetHeader);
    assert_eq!(refused(&|r| r[0] = 0), SplitError::ChecksumPosition);
    assert_eq!(refused(&|r| r[6..8].fill(0xff)), SplitError::ChecksumPosition);
    assert_eq!(refused(&|r| r[4..6].fill(0)), SplitError::SegmentSize);
    assert_eq!(refused(&|r| r[1] = 5), SplitError::Headers);
    assert_eq!(refused(&|r| r[1] = 4), SplitError::Headers);
    assert_eq!(refused(&|r| r[10] = 0x4f), SplitError::Headers);
    assert_eq!(refused(&|r| r[10 + 20 + 12] = 0x40), SplitError::Headers);
    assert_eq!(refused(&|r| r.truncate(10 + 52)), SplitError::Headers);
}
