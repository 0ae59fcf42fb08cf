//! A bond's flows: which packets are one flow, and that none of them changes lanes while it can be overtaken.

use std::collections::HashMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use wirelane_engine::{FlowTable, LaneId, Place};
use wirelane_packet::inner::{IpPacket, flow_hash};

const LANES: u32 = 4;
const KEY: u32 = 0x5eed_1a4e;

/// Packets and pauses: those that have addresses, protocol and ports in common have one hash, whatever else is in them,
/// and those of one hash that follow each other within the gap go over the same lane.
pub fn flows(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((gap, mut now)) = <(u8, u32)>::arbitrary(&mut input) else { return };
    let gap_ms = u32::from(gap) + 1;
    let mut table = FlowTable::with_key(gap_ms, KEY);
    let mut hashes = HashMap::<Vec<u8>, u32>::new();
    let mut last = HashMap::<u32, (u32, LaneId)>::new();
    while !input.is_empty() {
        let Ok((pause, choice, packet)) = step(&mut input) else { break };
        now = now.wrapping_add(u32::from(pause));
        let hash = flow_hash(&packet);
        if IpPacket::parse(&packet).is_err() {
            // The reader drops it before it asks for its flow.
            continue;
        }
        let known = *hashes.entry(identity(&packet)).or_insert(hash);
        assert_eq!(known, hash, "two packets of one flow: {:?}", &packet[..packet.len().min(60)]);
        let lane = match table.look_up(hash, now) {
            Place::Keep(lane) => lane,
            Place::ByHash => (hash % LANES) as LaneId,
            Place::Choose(previous) => {
                assert_eq!(previous, last.get(&hash).map(|(_, lane)| *lane).filter(|_| previous.is_some()));
                table.place(hash, choice, now);
                choice
            }
        };
        if let Some((seen, before)) = last.insert(hash, (now, lane))
            && now.wrapping_sub(seen) <= gap_ms
        {
            assert_eq!(lane, before, "a flow changed lanes {} ms after its last packet", now.wrapping_sub(seen));
        }
    }
}

/// A pause in milliseconds, the lane to go to if there is a choice, and a packet: mostly one of a few flows with odd
/// fields, sometimes anything.
fn step(input: &mut Unstructured<'_>) -> Result<(u8, LaneId, Vec<u8>)> {
    let (kind, pause, flow): (u8, u8, u8) = input.arbitrary()?;
    let lane = LaneId::from(kind >> 6);
    if kind & 3 == 3 {
        let len = usize::from(flow).min(input.len());
        return Ok((pause, lane, input.bytes(len)?.to_vec()));
    }
    let (is_v6, is_tcp) = (kind & 1 == 1, kind & 4 == 4);
    let protocol = if is_tcp { 6 } else { 17 };
    let mut packet = if is_v6 {
        [&[0x60, 0, 0, 0, 0, 32, protocol, 64][..], &[0xfd; 31], &[flow >> 4], &[0; 32]].concat()
    } else {
        [&[0x45, 0, 0, 52, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, flow >> 4][..], &[0; 32]].concat()
    };
    let transport = packet.len() - 32;
    packet[transport + 1] = flow & 15;
    packet[transport + 12] = 0x50;
    for _ in 0..kind >> 3 & 7 {
        let (at, value): (u8, u8) = input.arbitrary()?;
        let at = usize::from(at) % packet.len();
        packet[at] = value;
    }
    Ok((pause, lane, packet))
}

/// What names a packet's flow, read byte by byte: addresses, and for a whole TCP or UDP header protocol and ports.
/// A second reading of `inner::layout`, for packets that are IP.
fn identity(packet: &[u8]) -> Vec<u8> {
    let (addresses, transport, len, protocol) = if packet[0] >> 4 == 6 {
        let len = 40 + usize::from(packet[4]) * 256 + usize::from(packet[5]);
        (&packet[8..40], 40, len, Some(packet[6]))
    } else {
        let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
        let len = usize::from(packet[2]) * 256 + usize::from(packet[3]);
        (&packet[12..20], usize::from(packet[0] & 15) * 4, len, Some(packet[9]).filter(|_| !is_fragment))
    };
    let header = &packet[transport..len];
    let has_ports = match protocol {
        Some(6) => header.len() >= 20 && (20..=header.len()).contains(&(usize::from(header[12] >> 4) * 4)),
        Some(17) => header.len() >= 8,
        _ => false,
    };
    let ports: &[u8] = if has_ports { &header[..4] } else { &[] };
    [addresses, ports, &[if has_ports { protocol.unwrap_or(0) } else { 0 }]].concat()
}
