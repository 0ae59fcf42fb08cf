//! From the decrypted packets of a receive batch to super-packets for the TUN, without moving a payload byte: the
//! user-space counterpart of the kernel's GRO (net/ipv4/tcp_offload.c, udp_offload.c), with the same rules.

mod candidate;
#[cfg(test)]
mod tests;

use crate::{GsoType, Span, VNET_HEADER_LEN, VirtioNetHeader, checksum};
use candidate::Candidate;

const TCP_PSH: u8 = 0x08;

/// Most packets of one TCP group: 64 KiB at the smallest sensible segment size.
const MAX_TCP_PACKETS: usize = 128;
/// Most packets of one UDP group (the kernel's UDP_GRO_CNT_MAX).
const MAX_UDP_PACKETS: usize = 64;
/// Most bytes of one group: what an IP header's length field can say.
const MAX_BYTES: usize = 65_535;
/// Most flows of one batch that grow at a time; a further flow ends the growth of the oldest.
const MAX_FLOWS: usize = 32;

/// What the TUN's receiving side accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOffload {
    /// TCP super-packets, IPv4 and IPv6 (TUN_F_TSO4, TUN_F_TSO6).
    pub tso: bool,
    /// UDP super-packets (TUN_F_USO4, TUN_F_USO6).
    pub uso: bool,
}

/// One write to the TUN: the spans of the buffer that make it up, vnet header included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    spans: Vec<Span>,
}

impl Group {
    /// What to hand to `Tun::write`, in order; the first span begins with the vnet header.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Number of inner packets in it: the first span holds a whole packet, each other one a packet's payload.
    pub fn packets(&self) -> usize {
        self.spans.len()
    }
}

/// Merges the packets of one batch. Reused from batch to batch, so that it allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Coalescer {
    offload: TunOffload,
    groups: Vec<Group>,
    /// Groups of this batch; those behind keep their memory for the next.
    used: usize,
    /// Groups that may still grow, oldest first; at most one a flow.
    growing: Vec<Growing>,
}

/// A group that may still grow.
#[derive(Clone, Copy, Debug)]
struct Growing {
    /// Index of the group.
    group: usize,
    first: Candidate,
    packets: usize,
    /// IP length of the super-packet so far.
    total_len: usize,
    next_sequence: u32,
    push: bool,
    /// The first packet's checksum is looked at only when a second one is there to be merged.
    first_is_valid: Option<bool>,
}

impl Coalescer {
    /// For a TUN that accepts `offload`.
    pub fn new(offload: TunOffload) -> Self {
        Self { offload, ..Self::default() }
    }

    /// Merge `packets`, which lie in `buffer` in the order of their arrival, each trimmed to its IP length and with at
    /// least [`VNET_HEADER_LEN`] free bytes before it (the transport header's place). Headers in `buffer` are patched in
    /// place. The groups, written in order, keep the order of packets within every flow.
    ///
    /// # Panics
    /// If a packet lies outside `buffer` or has no room before it: a bug of the caller.
    pub fn coalesce(&mut self, buffer: &mut [u8], packets: &[Span]) -> &[Group] {
        self.used = 0;
        for packet in packets {
            self.add(buffer, *packet);
        }
        self.finish_all(buffer);
        &self.groups[..self.used]
    }

    fn add(&mut self, buffer: &mut [u8], packet: Span) {
        let Some(candidate) = Candidate::parse(buffer, packet, self.offload) else {
            // A fragment or another packet without ports may belong to any flow between its addresses: nothing that
            // comes later may overtake it.
            self.finish_all(buffer);
            self.start_group(buffer, packet);
            return;
        };
        let known = self.growing.iter().rposition(|growing| growing.first.flow == candidate.flow);
        if let Some(known) = known {
            let growing = &mut self.growing[known];
            if growing.accepts(&candidate, buffer) {
                self.groups[growing.group].spans.push(candidate.payload_span());
                if !growing.append(&candidate) {
                    self.growing.remove(known).finish(buffer);
                }
                return;
            }
            self.growing.remove(known).finish(buffer);
        }
        let group = self.start_group(buffer, packet);
        if candidate.is_mergeable && !candidate.push {
            if self.growing.len() == MAX_FLOWS {
                self.growing.remove(0).finish(buffer);
            }
            self.growing.push(Growing::new(group, candidate));
        }
    }

    /// Begin a group with a packet as it is, to be written behind an empty vnet header; returns its index.
    fn start_group(&mut self, buffer: &mut [u8], packet: Span) -> usize {
        let index = self.used;
        if index == self.groups.len() {
            self.groups.push(Group::default());
        }
        self.used += 1;
        write_vnet_header(buffer, packet, VirtioNetHeader::default());
        let spans = &mut self.groups[index].spans;
        spans.clear();
        spans.push(Span::new(packet.offset as usize - VNET_HEADER_LEN, packet.len as usize + VNET_HEADER_LEN));
        index
    }

    fn finish_all(&mut self, buffer: &mut [u8]) {
        for growing in self.growing.drain(..) {
            growing.finish(buffer);
        }
    }
}

impl Growing {
    fn new(group: usize, first: Candidate) -> Self {
        Self {
            group,
            first,
            packets: 1,
            total_len: first.span.len as usize,
            next_sequence: first.sequence.wrapping_add(first.payload_len() as u32),
            push: false,
            first_is_valid: None,
        }
    }

    /// May `candidate`, of the same flow, be appended? The checksums come last: they cost the most.
    fn accepts(&mut self, candidate: &Candidate, buffer: &[u8]) -> bool {
        let max_packets = if self.first.is_tcp { MAX_TCP_PACKETS } else { MAX_UDP_PACKETS };
        let fits = candidate.is_mergeable
            && self.packets < max_packets
            && candidate.payload_len() <= self.first.payload_len()
            && self.total_len + candidate.payload_len() <= MAX_BYTES
            && (!candidate.is_tcp || candidate.sequence == self.next_sequence)
            && candidate.agrees_with(&self.first, self.packets, buffer);
        fits && *self.first_is_valid.get_or_insert_with(|| self.first.has_valid_checksum(buffer))
            && candidate.has_valid_checksum(buffer)
    }

    /// Count `candidate` in; false: nothing may follow it.
    fn append(&mut self, candidate: &Candidate) -> bool {
        self.packets += 1;
        self.total_len += candidate.payload_len();
        self.next_sequence = self.next_sequence.wrapping_add(candidate.payload_len() as u32);
        self.push |= candidate.push;
        !candidate.push && candidate.payload_len() == self.first.payload_len()
    }

    /// Make the first packet's headers those of the whole group.
    fn finish(self, buffer: &mut [u8]) {
        if self.packets == 1 {
            return;
        }
        let first = &self.first;
        let packet = &mut buffer[first.span.range()];
        let transport_len = self.total_len - first.transport;
        if first.is_ipv6 {
            packet[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
        } else {
            packet[2..4].copy_from_slice(&(self.total_len as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::add(0, &packet[..first.transport]));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let pseudo_sum = checksum::fold(first.pseudo_header_sum(packet, transport_len));
        let transport = &mut packet[first.transport..];
        let checksum_offset = if first.is_tcp {
            transport[13] |= if self.push { TCP_PSH } else { 0 };
            16
        } else {
            transport[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
            6
        };
        transport[checksum_offset..checksum_offset + 2].copy_from_slice(&pseudo_sum.to_be_bytes());
        let header = VirtioNetHeader {
            needs_checksum: true,
            gso_type: match (first.is_tcp, first.is_ipv6) {
                (true, false) => GsoType::TcpV4,
                (true, true) => GsoType::TcpV6,
                (false, _) => GsoType::UdpL4,
            },
            ecn: false,
            header_len: first.payload as u16,
            gso_size: first.payload_len() as u16,
            checksum_start: first.transport as u16,
            checksum_offset: checksum_offset as u16,
        };
        write_vnet_header(buffer, first.span, header);
    }
}

fn write_vnet_header(buffer: &mut [u8], packet: Span, header: VirtioNetHeader) {
    let at = packet.offset as usize;
    buffer[at - VNET_HEADER_LEN..at].copy_from_slice(&header.to_bytes());
}
