//! What decides whether two packets may be merged.

use super::TunOffload;
use crate::inner::{self, PROTOCOL_TCP, PROTOCOL_UDP, Transport};
use crate::{Span, checksum};

const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;

/// Addresses, ports and protocol; the order of the bytes does not matter, only equality. The addresses are words of
/// their own: an array would be compared in wider pieces than it has just been written in, which waits for the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    addresses: (u64, u64, u64, u64),
    ports: u32,
    is_tcp: bool,
    is_ipv6: bool,
}

/// A TCP or UDP packet of a batch. All offsets have been checked against its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) span: Span,
    pub(super) flow: FlowKey,
    pub(super) is_ipv6: bool,
    pub(super) is_tcp: bool,
    /// Where the transport header begins, from the packet's start.
    pub(super) transport: usize,
    /// Where the payload begins, from the packet's start.
    pub(super) payload: usize,
    /// Of the TCP segment; 0 for UDP.
    pub(super) sequence: u32,
    /// TCP's PSH: the last packet of its group.
    pub(super) push: bool,
    /// May begin or join a group, as far as this packet alone can tell.
    pub(super) is_mergeable: bool,
}

impl Candidate {
    /// `None`: not TCP or UDP, or a fragment, or hidden behind IPv6 extension headers.
    #[inline(always)] // through memory, the fields would be read back wider than they were written, which stalls
    pub(super) fn parse(buffer: &[u8], span: Span, offload: TunOffload) -> Option<Self> {
        let bytes = &buffer[span.range()];
        let layout = inner::layout(bytes).ok()?;
        let is_tcp = match layout.transport {
            Transport::Tcp => true,
            Transport::Udp => false,
            Transport::Other => return None,
        };
        let transport = &bytes[layout.ip_header_len..];
        let payload_len = bytes.len() - layout.payload_offset;
        let flags = if is_tcp { transport[13] } else { 0 };
        let allowed = if is_tcp {
            offload.tso && flags & !TCP_PSH == TCP_ACK
        } else {
            let udp_len = usize::from(u16::from_be_bytes([transport[4], transport[5]]));
            offload.uso && udp_len == transport.len() && transport[6..8] != [0, 0]
        };
        let has_ip_options = !layout.is_ipv6 && layout.ip_header_len != 20;
        Some(Self {
            span,
            flow: flow_key(bytes, layout.is_ipv6, is_tcp, transport),
            is_ipv6: layout.is_ipv6,
            is_tcp,
            transport: layout.ip_header_len,
            payload: layout.payload_offset,
            sequence: if is_tcp {
                u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]])
            } else {
                0
            },
            push: flags & TCP_PSH != 0,
            is_mergeable: allowed && payload_len > 0 && !has_ip_options && layout.total_len == bytes.len(),
        })
    }

    pub(super) fn payload_len(&self) -> usize {
        self.span.len as usize - self.payload
    }

    /// The payload's place in the buffer.
    pub(super) fn payload_span(&self) -> Span {
        Span::new(self.span.offset as usize + self.payload, self.payload_len())
    }

    /// Do the headers agree in all that one header for both must say? `distance`: how many packets `self` is behind
    /// `first`.
    pub(super) fn agrees_with(&self, first: &Self, distance: usize, buffer: &[u8]) -> bool {
        let (a, b) = (&buffer[first.span.range()], &buffer[self.span.range()]);
        self.payload == first.payload
            && if self.is_ipv6 { same_ipv6(a, b) } else { same_ipv4(a, b, distance) }
            && (!self.is_tcp || same_tcp(&a[first.transport..first.payload], &b[self.transport..self.payload]))
    }

    /// Are the checksums right, the transport's and in IPv4 the header's? What is merged gets new ones.
    pub(super) fn has_valid_checksum(&self, buffer: &[u8]) -> bool {
        let bytes = &buffer[self.span.range()];
        let (ip, transport) = bytes.split_at(self.transport);
        let ip_is_valid = self.is_ipv6 || checksum::finish(checksum::add(0, ip)) == 0;
        ip_is_valid && checksum::finish(checksum::add(self.pseudo_header_sum(bytes, transport.len()), transport)) == 0
    }

    /// The pseudo-header's sum for a transport length that may be another than this packet's.
    pub(super) fn pseudo_header_sum(&self, bytes: &[u8], transport_len: usize) -> u64 {
        let addresses = if self.is_ipv6 { &bytes[8..40] } else { &bytes[12..20] };
        let protocol = if self.is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
        checksum::pseudo_header(addresses, protocol, transport_len)
    }
}

#[inline(always)]
fn flow_key(bytes: &[u8], is_ipv6: bool, is_tcp: bool, transport: &[u8]) -> FlowKey {
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    let addresses = if is_ipv6 { (word(8), word(16), word(24), word(32)) } else { (word(12), 0, 0, 0) };
    let ports = u32::from_ne_bytes([transport[0], transport[1], transport[2], transport[3]]);
    FlowKey { addresses, ports, is_tcp, is_ipv6 }
}

/// TOS, flags and TTL equal. Without DF the identification matters to reassembly, so it must be the one that
/// segmenting the super-packet would give back.
fn same_ipv4(a: &[u8], b: &[u8], distance: usize) -> bool {
    let id = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
    let dont_fragment = a[6] & 0x40 != 0;
    a[1] == b[1]
        && a[6..8] == b[6..8]
        && a[8] == b[8]
        && (dont_fragment || id(b) == id(a).wrapping_add(distance as u16))
}

/// Traffic class, flow label and hop limit equal.
fn same_ipv6(a: &[u8], b: &[u8]) -> bool {
    a[..4] == b[..4] && a[7] == b[7]
}

/// Acknowledgement, header length, window, urgent pointer and options equal; flags but PSH are the same in every mergeable segment.
fn same_tcp(a: &[u8], b: &[u8]) -> bool {
    a[8..13] == b[8..13] && a[14..16] == b[14..16] && a[18..] == b[18..]
}
