//! Builders of packets and an independent check of them, for the tests of splitting and coalescing.

use crate::{GsoType, VirtioNetHeader};

/// A flow's fixed parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) is_ipv6: bool,
    pub(crate) is_tcp: bool,
    pub(crate) tos: u8,
    pub(crate) port: u16,
    /// TCP option bytes, a multiple of 4.
    pub(crate) options: usize,
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;

impl Flow {
    pub(crate) fn tcp4(port: u16) -> Self {
        Self { is_ipv6: false, is_tcp: true, tos: 0, port, options: 12 }
    }

    pub(crate) fn udp4(port: u16) -> Self {
        Self { is_ipv6: false, is_tcp: false, tos: 0, port, options: 0 }
    }

    pub(crate) fn ip_len(&self) -> usize {
        if self.is_ipv6 { 40 } else { 20 }
    }

    pub(crate) fn header_len(&self) -> usize {
        self.ip_len() + if self.is_tcp { 20 + self.options } else { 8 }
    }

    /// A whole packet with right checksums.
    pub(crate) fn packet(&self, id: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.headers(id, sequence, flags, payload.len());
        packet.extend_from_slice(payload);
        let at = self.checksum_at();
        let sum = naive_transport_sum(&packet, self);
        let sum = if sum == 0 { 0xffff } else { sum };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// What the TUN hands over: a vnet header and a packet whose checksum field holds the pseudo-header sum.
    pub(crate) fn super_packet(&self, id: u16, sequence: u32, flags: u8, payload: &[u8], gso_size: u16) -> Vec<u8> {
        let mut packet = self.headers(id, sequence, flags, payload.len());
        packet.extend_from_slice(payload);
        let at = self.checksum_at();
        let pseudo = !naive(&pseudo_header(&packet, self));
        packet[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        let vnet = VirtioNetHeader {
            needs_checksum: true,
            gso_type: self.gso_type(),
            ecn: self.is_tcp && flags & CWR != 0,
            header_len: self.header_len() as u16,
            gso_size,
            checksum_start: self.ip_len() as u16,
            checksum_offset: if self.is_tcp { 16 } else { 6 },
        };
        [&vnet.to_bytes()[..], &packet].concat()
    }

    pub(crate) fn gso_type(&self) -> GsoType {
        match (self.is_tcp, self.is_ipv6) {
            (true, false) => GsoType::TcpV4,
            (true, true) => GsoType::TcpV6,
            (false, _) => GsoType::UdpL4,
        }
    }

    fn checksum_at(&self) -> usize {
        self.ip_len() + if self.is_tcp { 16 } else { 6 }
    }

    fn headers(&self, id: u16, sequence: u32, flags: u8, payload_len: usize) -> Vec<u8> {
        let total = self.header_len() + payload_len;
        let mut h = if self.is_ipv6 {
            let mut h = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
            h.extend_from_slice(&((total - 40) as u16).to_be_bytes());
            h.extend_from_slice(&[if self.is_tcp { 6 } else { 17 }, 64]);
            h.extend_from_slice(&[0xfd, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
            h.extend_from_slice(&[0xfd, 0, 0, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]);
            h
        } else {
            let mut h = vec![0x45, self.tos];
            h.extend_from_slice(&(total as u16).to_be_bytes());
            h.extend_from_slice(&id.to_be_bytes());
            h.extend_from_slice(&[0, 0, 64, if self.is_tcp { 6 } else { 17 }, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = naive(&h);
            h[10..12].copy_from_slice(&sum.to_be_bytes());
            h
        };
        h.extend_from_slice(&self.port.to_be_bytes());
        h.extend_from_slice(&5201u16.to_be_bytes());
        if self.is_tcp {
            h.extend_from_slice(&sequence.to_be_bytes());
            h.extend_from_slice(&77u32.to_be_bytes());
            h.extend_from_slice(&[(((20 + self.options) / 4) << 4) as u8, flags, 1, 0, 0, 0, 0, 0]);
            h.extend((0..self.options).map(|i| i as u8 + 1));
        } else {
            h.extend_from_slice(&((8 + payload_len) as u16).to_be_bytes());
            h.extend_from_slice(&[0, 0]);
        }
        h
    }
}

/// RFC 1071, word by word.
pub(crate) fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | pair.get(1).map_or(0, |b| u32::from(*b));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo_header(packet: &[u8], flow: &Flow) -> Vec<u8> {
    let addresses = if flow.is_ipv6 { &packet[8..40] } else { &packet[12..20] };
    let len = (packet.len() - flow.ip_len()) as u16;
    let mut pseudo = addresses.to_vec();
    pseudo.extend_from_slice(&[0, if flow.is_tcp { 6 } else { 17 }]);
    pseudo.extend_from_slice(&len.to_be_bytes());
    pseudo
}

/// The checksum over pseudo-header and transport part as it stands: 0 if it holds a valid checksum.
pub(crate) fn naive_transport_sum(packet: &[u8], flow: &Flow) -> u16 {
    let mut bytes = pseudo_header(packet, flow);
    bytes.extend_from_slice(&packet[flow.ip_len()..]);
    naive(&bytes)
}
