use super::*;
use crate::testing::{ACK, FIN, Flow, PSH, naive, naive_transport_sum};
use crate::{SendBatch, Splitter};
use proptest::prelude::*;

const ALL: TunOffload = TunOffload { tso: true, uso: true };

/// Packets in a receive buffer, each with its gap; coalesced; the bytes of every write.
fn writes(packets: &[Vec<u8>], offload: TunOffload) -> Vec<Vec<u8>> {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(&[0xdd; 16]);
        spans.push(Span::new(buffer.len(), packet.len()));
        buffer.extend_from_slice(packet);
        buffer.extend_from_slice(&[0xee; 16]);
    }
    let mut coalescer = Coalescer::new(offload);
    // Twice, so that what is left from one batch would show in the next.
    coalescer.coalesce(&mut buffer.clone(), &spans);
    let groups = coalescer.coalesce(&mut buffer, &spans).to_vec();
    groups.iter().map(|g| g.spans().iter().flat_map(|s| buffer[s.range()].to_vec()).collect()).collect()
}

fn plain(packet: &[u8]) -> Vec<u8> {
    [&[0; VNET_HEADER_LEN], packet].concat()
}

/// `count` packets of one flow, the last of them with `last_flags`.
fn train(flow: &Flow, count: usize, len: usize, last_flags: u8) -> Vec<Vec<u8>> {
    let payload = |i: usize| vec![i as u8; len];
    let flags = |i: usize| if i + 1 == count { last_flags } else { ACK };
    (0..count).map(|i| flow.packet(i as u16, (i * len) as u32, flags(i), &payload(i))).collect()
}

#[test]
fn a_train_becomes_the_super_packet_it_was() {
    for flow in
        [Flow::tcp4(1), Flow { is_ipv6: true, ..Flow::tcp4(1) }, Flow::udp4(1), Flow { is_ipv6: true, ..Flow::udp4(1) }]
    {
        let packets = train(&flow, 40, 1000, ACK | PSH);
        let payload: Vec<u8> = (0..40).flat_map(|i| vec![i; 1000]).collect();
        let flags = if flow.is_tcp { ACK | PSH } else { 0 };
        assert_eq!(writes(&packets, ALL), [flow.super_packet(0, 0, flags, &payload, 1000)], "{flow:?}");
    }
}

#[test]
fn without_the_offload_nothing_is_merged() {
    for (flow, offload) in
        [(Flow::tcp4(1), TunOffload { tso: false, uso: true }), (Flow::udp4(1), TunOffload { tso: true, uso: false })]
    {
        let packets = train(&flow, 5, 100, ACK);
        assert_eq!(writes(&packets, offload), packets.iter().map(|p| plain(p)).collect::<Vec<_>>());
    }
}

/// Whether the second of two packets joins the first.
fn joins(first: &[u8], second: &[u8]) -> bool {
    match writes(&[first.to_vec(), second.to_vec()], ALL).len() {
        1 => true,
        2 => false,
        n => panic!("two packets became {n}"),
    }
}

/// Change a byte of the IP or transport header and make the checksums right again.
fn patched(flow: &Flow, packet: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] = value;
    if !flow.is_ipv6 {
        packet[10..12].fill(0);
        let sum = naive(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let field = flow.ip_len() + if flow.is_tcp { 16 } else { 6 };
    packet[field..field + 2].fill(0);
    let sum = naive_transport_sum(&packet, flow);
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn tcp_rules() {
    let flow = Flow::tcp4(1);
    let first = flow.packet(1, 0, ACK, &[1; 100]);
    let second = flow.packet(2, 100, ACK, &[2; 100]);
    let apart = |second: &[u8]| assert!(!joins(&first, second));
    assert!(joins(&first, &second));
    assert!(joins(&first, &flow.packet(2, 100, ACK | PSH, &[2; 100])), "PSH ends a group");
    assert!(joins(&first, &flow.packet(2, 100, ACK, &[2; 60])), "a shorter last packet");
    apart(&flow.packet(2, 101, ACK, &[2; 100])); // a gap
    apart(&flow.packet(2, 0, ACK, &[2; 100])); // a retransmission
    apart(&flow.packet(2, 100, ACK, &[2; 101])); // longer
    apart(&flow.packet(2, 100, ACK, &[])); // a pure acknowledgement
    apart(&flow.packet(2, 100, ACK | FIN, &[2; 100]));
    apart(&Flow::tcp4(2).packet(2, 100, ACK, &[2; 100])); // another flow
    apart(&flow.packet(3, 100, ACK, &[2; 100])); // identification out of step, without DF
    assert!(!joins(&flow.packet(1, 0, ACK | PSH, &[1; 100]), &second), "nothing follows PSH");
    for (at, what) in [
        (1, "TOS"),
        (8, "TTL"),
        (20 + 11, "acknowledgement"),
        (20 + 15, "window"),
        (20 + 19, "urgent pointer"),
        (20 + 25, "options"),
    ] {
        assert!(!joins(&first, &patched(&flow, &second, at, 0x55)), "{what}");
    }
    let dont_fragment = |packet: &[u8]| patched(&flow, packet, 6, 0x40);
    let out_of_step = flow.packet(9, 100, ACK, &[2; 100]);
    assert!(joins(&dont_fragment(&first), &dont_fragment(&out_of_step)), "with DF the identification is free");
    assert!(!joins(&first, &dont_fragment(&second)));
}

#[test]
fn udp_rules() {
    let flow = Flow::udp4(1);
    let packet = |id, len: usize| flow.packet(id, 0, 0, &vec![3; len]);
    assert!(joins(&packet(1, 100), &packet(2, 100)));
    assert!(joins(&packet(1, 100), &packet(2, 60)));
    assert!(!joins(&packet(1, 100), &packet(2, 101)));
    assert_eq!(writes(&[packet(1, 100), packet(2, 60), packet(3, 60)], ALL).len(), 2, "a shorter one is the last");
    let mut without_checksum = packet(2, 100);
    without_checksum[26..28].fill(0);
    assert!(!joins(&packet(1, 100), &without_checksum));
    assert_eq!(writes(&train(&flow, 65, 10, 0), ALL).len(), 2, "at most 64 datagrams");
}

#[test]
fn a_wrong_checksum_is_never_vouched_for() {
    for flow in [Flow::tcp4(1), Flow::udp4(1), Flow { is_ipv6: true, ..Flow::tcp4(1) }] {
        for bad in 0..4 {
            let mut packets = train(&flow, 4, 100, ACK);
            packets[bad][flow.header_len() + 50] ^= 1;
            let all = writes(&packets, ALL);
            assert!(all.contains(&plain(&packets[bad])), "{flow:?}: packet {bad} is not written as it came");
            assert_eq!(all.len(), [2, 3, 3, 2][bad]);
        }
    }
}

#[test]
fn a_wrong_ip_header_checksum_is_not_mended() {
    let flow = Flow::tcp4(1);
    for bad in 0..2 {
        let mut packets = train(&flow, 2, 100, ACK);
        packets[bad][10] ^= 1;
        assert!(!joins(&packets[0], &packets[1]), "packet {bad}");
    }
}

#[test]
fn fragments_options_and_extension_headers_stay_as_they_are() {
    let flow = Flow::tcp4(1);
    let packets = train(&flow, 3, 100, ACK);
    let fragment = patched(&flow, &packets[1], 6, 0x20);
    let all = writes(&[packets[0].clone(), fragment.clone(), packets[1].clone(), packets[2].clone()], ALL);
    assert_eq!(all.len(), 3);
    assert_eq!(all[1], plain(&fragment), "later packets do not overtake the fragment");
    let not_ip = vec![0xff; 40];
    assert_eq!(writes(std::slice::from_ref(&not_ip), ALL), [plain(&not_ip)]);
}

/// Flow number and sequence of every packet that a write stands for, by splitting it again.
fn split_again(write: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(write, 0).unwrap();
    let mut batch = SendBatch::new(vec![0; 300_000]);
    splitter.fill(&mut batch);
    assert!(splitter.is_done());
    let trim = |bytes: &[u8]| bytes[..crate::inner::IpPacket::parse(bytes).unwrap().total_len].to_vec();
    batch.segments().iter().map(|s| trim(batch.plaintext(*s))).collect()
}

#[derive(Clone, Debug)]
struct Step {
    flow: usize,
    len: usize,
    flags: u8,
    jump: bool,
    damage: bool,
}

fn steps() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![8 => Just(ACK), 2 => Just(ACK | PSH), 1 => Just(ACK | FIN)];
    let len = prop_oneof![6 => Just(500usize), 1 => 0usize..600];
    (0usize..6, len, flags, proptest::bool::weighted(0.1), proptest::bool::weighted(0.05))
        .prop_map(|(flow, len, flags, jump, damage)| Step { flow, len, flags, jump, damage })
}

proptest! {
    /// Whatever is merged splits again into exactly the packets that came, in order within each flow.
    #[test]
    fn coalescing_loses_reorders_and_changes_nothing(steps in proptest::collection::vec(steps(), 1..80)) {
        let flows = [
            Flow::tcp4(1), Flow::tcp4(2), Flow { is_ipv6: true, ..Flow::tcp4(1) },
            Flow::udp4(1), Flow::udp4(2), Flow { is_ipv6: true, ..Flow::udp4(1) },
        ];
        let (mut sequence, mut id) = ([0u32; 6], [0u16; 6]);
        let mut sent: [Vec<Vec<u8>>; 6] = Default::default();
        let mut packets = Vec::new();
        for step in &steps {
            let flow = &flows[step.flow];
            if step.jump { sequence[step.flow] = sequence[step.flow].wrapping_add(1000); }
            let mut packet = flow.packet(id[step.flow], sequence[step.flow], step.flags, &vec![step.len as u8; step.len]);
            sequence[step.flow] = sequence[step.flow].wrapping_add(step.len as u32);
            id[step.flow] = id[step.flow].wrapping_add(1);
            if step.damage { *packet.last_mut().unwrap() ^= 0x10; }
            sent[step.flow].push(packet.clone());
            packets.push(packet);
        }
        let mut received: [Vec<Vec<u8>>; 6] = Default::default();
        for packet in writes(&packets, ALL).iter().flat_map(|write| split_again(write)) {
            let (v6, protocol) = if packet[0] >> 4 == 6 { (true, packet[6]) } else { (false, packet[9]) };
            let ports_at = if v6 { 40 } else { 20 };
            let port = u16::from_be_bytes([packet[ports_at], packet[ports_at + 1]]);
            let is = |flow: &Flow| v6 == flow.is_ipv6 && (protocol == 6) == flow.is_tcp && port == flow.port;
            let flow = flows.iter().position(is).expect("a packet of a flow that was never sent");
            received[flow].push(packet);
        }
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn any_bytes_coalesce_without_a_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..20)) {
        let all = writes(&packets, ALL);
        prop_assert!(all.len() <= packets.len());
    }
}

#[test]
fn many_flows_are_merged_at_once() {
    let flows: Vec<_> = (0..100).map(Flow::tcp4).collect();
    let packets: Vec<_> =
        (0..3u32).flat_map(|i| flows.iter().map(move |f| f.packet(i as u16, i * 50, ACK, &[1; 50]))).collect();
    // More flows than the table holds: correct, if less merged.
    assert!(writes(&packets, ALL).len() <= 300);
    let few: Vec<_> = (0..3u32)
        .flat_map(|i| flows[..MAX_FLOWS].iter().map(move |f| f.packet(i as u16, i * 50, ACK, &[1; 50])))
        .collect();
    assert_eq!(writes(&few, ALL).len(), MAX_FLOWS);
}
