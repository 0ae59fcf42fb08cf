//! Inner packets: splitting what the TUN hands over, coalescing what peers send, and the parsers of both.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use wirelane_packet::{
    Coalescer, Ecn, SendBatch, Span, Splitter, TunOffload, VNET_HEADER_LEN, checksum, ecn, inner as parsers,
};

const ALL: TunOffload = TunOffload { tso: true, uso: true };

/// What a TUN read returns is refused, or split with progress into runs that cover every byte.
pub fn split(data: &[u8]) {
    const CAPACITY: usize = 4096;
    let Ok((mtu, read)) = <(u16, &[u8])>::arbitrary_take_rest(Unstructured::new(data)) else { return };
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
}

/// The writes that coalescing makes of these packets.
fn writes(packets: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(&[0; 16]);
        spans.push(Span::new(buffer.len(), packet.len()));
        buffer.extend_from_slice(packet);
    }
    let mut coalescer = Coalescer::new(ALL);
    let groups = coalescer.coalesce(&mut buffer, &spans);
    let count: usize = groups.iter().map(|group| group.packets()).sum();
    assert_eq!(count, spans.len(), "a packet was lost or written twice");
    let bytes = |span: &Span| buffer[span.range()].iter().copied();
    let writes: Vec<Vec<u8>> = groups.iter().map(|group| group.spans().iter().flat_map(bytes).collect()).collect();
    for write in &writes {
        assert!(write.len() <= VNET_HEADER_LEN + 65_535, "a super-packet that no IP header can describe");
    }
    writes
}

/// Of the decrypted packets of a batch, each is in exactly one write, none larger than an IP header can say.
pub fn coalesce(data: &[u8]) {
    if let Ok(packets) = Vec::<&[u8]>::arbitrary_take_rest(Unstructured::new(data)) {
        writes(&packets);
    }
}

/// The parsers of inner packets agree with each other and stay inside the packet.
pub fn inner(packet: &[u8]) {
    let (parsed, layout) = (parsers::IpPacket::parse(packet), parsers::layout(packet));
    assert_eq!(parsed.map(|p| p.total_len), layout.map(|l| l.total_len));
    if let Ok(layout) = layout {
        assert!(layout.ip_header_len <= layout.payload_offset && layout.payload_offset <= layout.total_len);
        assert!(layout.total_len <= packet.len());
    }
    parsers::flow_hash(packet);
    let mut marked = packet.to_vec();
    if ecn::decapsulate(Ecn::Ce, &mut marked) {
        assert_eq!(ecn::of_packet(&marked), Ecn::Ce);
    }
}

/// Packets with mostly right checksums and hostile headers: what is coalesced splits again into the very packets that came, in
/// the order in which they came within each flow.
pub fn round_trip(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut packets = Vec::new();
    while packets.len() < 160 && !input.is_empty() {
        let Ok(packet) = packet(&mut input) else { break };
        packets.push(packet);
    }
    let came: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let mut left: Vec<Vec<u8>> = writes(&came).iter().flat_map(|write| split_again(write)).collect();
    left.iter_mut().chain(&mut packets).for_each(|packet| forget_free_identification(packet));
    let came: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (left, came) = (by_flow(left.iter().map(Vec::as_slice)), by_flow(came.iter().copied()));
    assert!(left.keys().eq(came.keys()), "a flow came up or was lost");
    for (flow, packets) in came {
        assert_eq!(left[&flow].len(), packets.len(), "packets of flow {flow:?}");
        for (left, came) in left[&flow].iter().zip(packets) {
            let headers = |packet: &[u8]| packet[..packet.len().min(60)].to_vec();
            assert!(
                *left == came,
                "packet of {} bytes changed: {:?} into {:?}",
                came.len(),
                headers(came),
                headers(left)
            );
        }
    }
}

/// The identification of a packet that must not be fragmented says nothing (RFC 6864, section 4.1).
fn forget_free_identification(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}

fn split_again(write: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(write, 0).expect("what was coalesced can be split");
    let mut batch = SendBatch::new(vec![0; 400_000]);
    splitter.fill(&mut batch);
    assert!(splitter.is_done(), "at most 128 packets fit");
    let whole = |bytes: &[u8]| bytes[..parsers::IpPacket::parse(bytes).map_or(bytes.len(), |ip| ip.total_len)].to_vec();
    batch.segments().iter().map(|segment| whole(batch.plaintext(*segment))).collect()
}

/// Addresses, protocol and ports as they lie in packets of [`packet`], and what was sent between them.
fn by_flow<'a>(packets: impl Iterator<Item = &'a [u8]>) -> BTreeMap<Vec<u8>, Vec<&'a [u8]>> {
    let mut flows = BTreeMap::<_, Vec<_>>::new();
    for packet in packets {
        let flow = if packet[0] >> 4 == 6 {
            [&packet[6..7], &packet[8..44]].concat()
        } else {
            [&packet[9..10], &packet[12..24]].concat()
        };
        flows.entry(flow).or_default().push(packet);
    }
    flows
}

/// A TCP or UDP packet whose fields are mostly what continues a flow, and sometimes anything.
fn packet(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let choice: u8 = input.arbitrary()?;
    let (is_v6, is_tcp, has_odd_field) = (choice & 1 == 1, choice & 2 == 2, choice & 0xc0 == 0xc0);
    let len: usize = match choice >> 2 & 3 {
        0 => 100,
        1 => 60,
        _ => usize::from(u16::arbitrary(input)?) % 1500,
    };
    let (flow, position, payload): (u8, u8, u8) = input.arbitrary()?;
    let mut packet = if is_v6 {
        let mut ip = vec![0x60, 0, 0, 0, 0, 0, if is_tcp { 6 } else { 17 }, 64];
        ip.extend_from_slice(&[0xfd; 32]);
        ip
    } else {
        let flags = if choice & 0x10 == 0 { 0x40 } else { 0 };
        vec![0x45, 0, 0, 0, 0, position, flags, 0, 64, if is_tcp { 6 } else { 17 }, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    };
    let transport = packet.len();
    packet.extend_from_slice(&[0, flow % 4, 0, 9]);
    if is_tcp {
        packet.extend_from_slice(&(u32::from(position) * 100).to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 0, 9, 0, 0, 0, 0]);
    } else {
        packet.extend_from_slice(&[0; 4]);
    }
    let header = packet.len();
    packet.resize(header + len, payload);
    if has_odd_field {
        // Anywhere in the headers but in the version and in what names the flow.
        let (at, value): (u8, u8) = input.arbitrary()?;
        let at = 1 + usize::from(at) % (header - 1);
        let names_the_flow = if is_v6 { at == 6 || (8..44).contains(&at) } else { at == 9 || (12..24).contains(&at) };
        if !names_the_flow {
            packet[at] = value;
        }
    }
    set_lengths_and_checksums(&mut packet, transport, is_tcp);
    if choice & 0xf0 == 0xb0 {
        // One bit wrong, perhaps in a checksum; not in what names the flow.
        let at = input.choose_index(packet.len() - transport - 4)?;
        let at = if is_v6 || at % 7 != 0 { transport + 4 + at } else { 10 };
        packet[at] ^= 1;
    }
    Ok(packet)
}

fn set_lengths_and_checksums(packet: &mut [u8], transport: usize, is_tcp: bool) {
    let (len, transport_len) = (packet.len() as u16, (packet.len() - transport) as u16);
    let addresses = if transport == 40 {
        packet[4..6].copy_from_slice(&transport_len.to_be_bytes());
        8..40
    } else {
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::finish(checksum::add(0, &packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        12..20
    };
    let field = transport + if is_tcp { 16 } else { 6 };
    if !is_tcp {
        packet[transport + 4..transport + 6].copy_from_slice(&transport_len.to_be_bytes());
    }
    packet[field..field + 2].fill(0);
    let protocol = [0, if is_tcp { 6 } else { 17 }];
    let pseudo = [&packet[addresses], &protocol, &transport_len.to_be_bytes()].concat();
    let sum = checksum::finish(checksum::add(checksum::add(0, &pseudo), &packet[transport..]));
    packet[field..field + 2].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
}
