//! From a super-packet of the TUN to packets at their final place in a [`SendBatch`].

#[cfg(test)]
mod tests;

use crate::inner::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::{GsoType, SendBatch, VNET_HEADER_LEN, VirtioNetHeader, checksum};

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Why what the TUN handed over cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// No whole vnet header, or of an unknown type.
    VnetHeader,
    /// The vnet header's checksum position lies outside the packet.
    ChecksumPosition,
    /// The vnet header says TSO or USO, the packet is something else or has a header that contradicts its length.
    Headers,
    /// A super-packet with a segment size of 0.
    SegmentSize,
}

impl std::fmt::Display for SplitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::VnetHeader => "no whole vnet header, or of an unknown type",
            Self::ChecksumPosition => "checksum position outside the packet",
            Self::Headers => "super-packet whose headers contradict its vnet header",
            Self::SegmentSize => "super-packet with a segment size of 0",
        })
    }
}

impl std::error::Error for SplitError {}

/// Splits one packet or super-packet, into as many batches as it takes.
#[derive(Debug)]
pub struct Splitter<'a> {
    packet: &'a [u8],
    kind: Kind,
    mtu: usize,
    /// Next payload byte, from the start of the packet.
    next: usize,
    done: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Whole { checksum: Option<ChecksumPosition> },
    Super(Headers),
}

#[derive(Clone, Copy, Debug)]
struct ChecksumPosition {
    start: usize,
    field: usize,
}

/// Where the headers of a super-packet are; all offsets lie inside the packet.
#[derive(Clone, Copy, Debug)]
struct Headers {
    is_ipv6: bool,
    is_tcp: bool,
    /// Where the transport header begins.
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    segment_payload_len: usize,
    /// Sum of the IPv4 header without total length, identification and checksum, which are each segment's own.
    ip_sum: u64,
    /// Sum of pseudo-header and transport header without what is each segment's own: the length, the sequence number, the
    /// 16 bits with the TCP flags.
    transport_sum: u64,
}

impl<'a> Splitter<'a> {
    /// Check the headers of what a TUN read returned: vnet header and packet. `mtu` is the TUN's, and limits padding.
    pub fn new(read: &'a [u8], mtu: usize) -> Result<Self, SplitError> {
        let vnet = VirtioNetHeader::parse(read).ok_or(SplitError::VnetHeader)?;
        let packet = &read[VNET_HEADER_LEN..];
        let (kind, next) = match vnet.gso_type {
            GsoType::None => (Kind::Whole { checksum: checksum_position(&vnet, packet)? }, 0),
            GsoType::TcpV4 | GsoType::TcpV6 | GsoType::UdpL4 => {
                let headers = super_packet_headers(&vnet, packet)?;
                (Kind::Super(headers), headers.payload)
            }
        };
        Ok(Self { packet, kind, mtu, next, done: false })
    }

    /// The packet as it came, without the vnet header: for the route lookup. All segments share its addresses.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Has every segment been appended to a batch?
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Append segments until none is left or the batch is full; returns how many. Zero with an empty batch means that
    /// the batch's buffer is smaller than one packet.
    pub fn fill<B: AsRef<[u8]> + AsMut<[u8]>>(&mut self, batch: &mut SendBatch<B>) -> usize {
        let mut appended = 0;
        while !self.done && self.append_next(batch) {
            appended += 1;
        }
        appended
    }

    /// False: the batch is full.
    fn append_next<B: AsRef<[u8]> + AsMut<[u8]>>(&mut self, batch: &mut SendBatch<B>) -> bool {
        match self.kind {
            Kind::Whole { checksum } => {
                let Some(target) = batch.append(self.packet.len(), self.mtu) else { return false };
                copy_whole(target, self.packet, checksum);
                self.done = true;
            }
            Kind::Super(headers) => {
                let end = self.packet.len().min(self.next + headers.segment_payload_len);
                let len = headers.payload + (end - self.next);
                let Some(target) = batch.append(len, self.mtu) else { return false };
                headers.write_segment(target, self.packet, self.next..end);
                self.next = end;
                self.done = end == self.packet.len();
            }
        }
        true
    }
}

fn checksum_position(vnet: &VirtioNetHeader, packet: &[u8]) -> Result<Option<ChecksumPosition>, SplitError> {
    if !vnet.needs_checksum {
        return Ok(None);
    }
    let start = usize::from(vnet.checksum_start);
    let field = start + usize::from(vnet.checksum_offset);
    if field + 2 > packet.len() {
        return Err(SplitError::ChecksumPosition);
    }
    Ok(Some(ChecksumPosition { start, field }))
}

/// The field holds the pseudo-header sum, so the sum from `start` to the end is all there is to it.
fn copy_whole(target: &mut [u8], packet: &[u8], position: Option<ChecksumPosition>) {
    let Some(ChecksumPosition { start, field }) = position else {
        target.copy_from_slice(packet);
        return;
    };
    target[..start].copy_from_slice(&packet[..start]);
    let sum = checksum::finish(checksum::copy_and_add(0, &mut target[start..], &packet[start..]));
    write_checksum(target, field, sum);
}

/// 0 stands for "no checksum" in UDP; 0xffff is the same number and right for TCP too.
fn write_checksum(packet: &mut [u8], at: usize, sum: u16) {
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Find the headers. The transport header is where the vnet header's checksum starts, as the kernel sets it for every
/// super-packet; that also steps over IPv6 extension headers.
fn super_packet_headers(vnet: &VirtioNetHeader, packet: &[u8]) -> Result<Headers, SplitError> {
    let position = checksum_position(vnet, packet)?.ok_or(SplitError::ChecksumPosition)?;
    let (is_ipv6, smallest) = match (packet.first().ok_or(SplitError::Headers)? >> 4, vnet.gso_type) {
        (4, GsoType::TcpV4 | GsoType::UdpL4) => (false, usize::from(packet[0] & 0xf) * 4),
        (6, GsoType::TcpV6 | GsoType::UdpL4) => (true, 40),
        _ => return Err(SplitError::Headers),
    };
    let is_tcp = vnet.gso_type != GsoType::UdpL4;
    let transport = position.start;
    let transport_is_right = if is_ipv6 { transport >= 40 } else { smallest >= 20 && transport == smallest };
    let header = packet.get(transport..).ok_or(SplitError::Headers)?;
    if !transport_is_right || (!is_ipv6 && packet[9] != if is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP }) {
        return Err(SplitError::Headers);
    }
    let (header_len, field) = if is_tcp { (header.get(12).map_or(0, |b| usize::from(b >> 4) * 4), 16) } else { (8, 6) };
    let payload = transport + header_len;
    // A super-packet without payload has nothing to split; the kernel never makes one.
    if header_len < if is_tcp { 20 } else { 8 } || payload >= packet.len() || position.field != transport + field {
        return Err(SplitError::Headers);
    }
    if vnet.gso_size == 0 {
        return Err(SplitError::SegmentSize);
    }
    Ok(Headers {
        is_ipv6,
        is_tcp,
        transport,
        payload,
        segment_payload_len: usize::from(vnet.gso_size),
        ip_sum: if is_ipv6 { 0 } else { sum_without(&packet[..transport], &[2, 4, 10]) },
        // The checksum field holds the pseudo-header's sum already, with the length of all.
        transport_sum: sum_without(&packet[transport..payload], if is_tcp { &[4, 6, 12] } else { &[4] })
            + checksum::minus_u16((packet.len() - transport) as u16),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The sum of a header without the 16-bit fields at these places.
fn sum_without(header: &[u8], fields: &[usize]) -> u64 {
    checksum::add(0, header) + fields.iter().map(|at| checksum::minus_u16(u16_at(header, *at))).sum::<u64>()
}

impl Headers {
    /// Write the segment that carries `payload` (a range of the super-packet) to `target`. Sums are worked out from those
    /// of the super-packet: to read back a header that has just been written would wait for each of its stores.
    fn write_segment(&self, target: &mut [u8], packet: &[u8], payload: std::ops::Range<usize>) {
        let (header, body) = target.split_at_mut(self.payload);
        header.copy_from_slice(&packet[..self.payload]);
        let body_sum = checksum::copy_and_add(0, body, &packet[payload.clone()]);

        let total_len = self.payload + payload.len();
        let sent_before = payload.start - self.payload;
        let (ip, transport) = header.split_at_mut(self.transport);
        let index = (sent_before / self.segment_payload_len) as u16;
        self.patch_ip(ip, u16_at(packet, 4).wrapping_add(index), total_len);

        let transport_len = (total_len - self.transport) as u16;
        let (field, own_sum) = if self.is_tcp {
            let is_last = payload.end == packet.len();
            (16, patch_tcp(transport, &packet[self.transport..], sent_before as u32, is_last))
        } else {
            transport[4..6].copy_from_slice(&transport_len.to_be_bytes());
            (6, checksum::of_u16(transport_len))
        };
        let sum = self.transport_sum + checksum::of_u16(transport_len) + own_sum + body_sum;
        write_checksum(transport, field, checksum::finish(sum));
    }

    /// `identification` is for IPv4.
    fn patch_ip(&self, header: &mut [u8], identification: u16, total_len: usize) {
        if self.is_ipv6 {
            header[4..6].copy_from_slice(&((total_len - 40) as u16).to_be_bytes());
            return;
        }
        let total_len = total_len as u16;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        let sum = checksum::finish(self.ip_sum + checksum::of_u16(total_len) + checksum::of_u16(identification));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Sequence number and flags, from those of the super-packet; returns their sum. FIN and PSH belong to the last segment,
/// CWR to the first (RFC 3168, section 6.1.2).
fn patch_tcp(header: &mut [u8], super_packet: &[u8], sent_before: u32, is_last: bool) -> u64 {
    let [s0, s1, s2, s3] = [super_packet[4], super_packet[5], super_packet[6], super_packet[7]];
    let sequence = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(sent_before);
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    let mut flags = super_packet[13];
    if !is_last {
        flags &= !(TCP_FIN | TCP_PSH);
    }
    if sent_before > 0 {
        flags &= !TCP_CWR;
    }
    header[13] = flags;
    checksum::of_u16((sequence >> 16) as u16)
        + checksum::of_u16(sequence as u16)
        + checksum::of_u16(u16::from_be_bytes([super_packet[12], flags]))
}
