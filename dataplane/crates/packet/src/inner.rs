//! Parsing of inner packets. Every length is checked; nothing is believed before it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a packet is not a usable IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerError {
    /// Shorter than its header.
    Truncated,
    /// Neither IPv4 nor IPv6.
    Version,
    /// A header length or total length that contradicts the packet.
    Length,
}

impl std::fmt::Display for InnerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet shorter than its IP header",
            Self::Version => "neither IPv4 nor IPv6",
            Self::Length => "IP header length or total length contradicts the packet",
        })
    }
}

impl std::error::Error for InnerError {}

/// What routing and allowed-IPs checks need of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Length that the IP header claims, at most the bytes given: what follows is padding.
    pub total_len: usize,
}

impl IpPacket {
    /// Read version, addresses and length.
    pub fn parse(packet: &[u8]) -> Result<Self, InnerError> {
        match packet.first().ok_or(InnerError::Truncated)? >> 4 {
            4 => {
                let h: &[u8; 20] = packet.first_chunk().ok_or(InnerError::Truncated)?;
                let header_len = usize::from(h[0] & 0xf) * 4;
                let total_len = usize::from(u16::from_be_bytes([h[2], h[3]]));
                if header_len < 20 || total_len < header_len || total_len > packet.len() {
                    return Err(InnerError::Length);
                }
                Ok(Self {
                    source: Ipv4Addr::new(h[12], h[13], h[14], h[15]).into(),
                    destination: Ipv4Addr::new(h[16], h[17], h[18], h[19]).into(),
                    total_len,
                })
            }
            6 => {
                let h: &[u8; 40] = packet.first_chunk().ok_or(InnerError::Truncated)?;
                let total_len = 40 + usize::from(u16::from_be_bytes([h[4], h[5]]));
                if total_len > packet.len() {
                    return Err(InnerError::Length);
                }
                let address = |at: usize| {
                    let octets: [u8; 16] = std::array::from_fn(|i| h[at + i]);
                    IpAddr::from(Ipv6Addr::from(octets))
                };
                Ok(Self { source: address(8), destination: address(24), total_len })
            }
            _ => Err(InnerError::Version),
        }
    }
}

/// The transport protocol of a packet that is neither a fragment nor hidden behind IPv6 extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment with a whole header.
    Tcp,
    /// A UDP datagram with a whole header.
    Udp,
    /// Anything else, including fragments and IPv6 packets with extension headers.
    Other,
}

/// Header positions of an IP packet; built by [`layout`], which has checked that they lie inside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// IPv6 rather than IPv4.
    pub is_ipv6: bool,
    /// What follows the IP header.
    pub transport: Transport,
    /// Length of the IP header, options included: where the transport header begins.
    pub ip_header_len: usize,
    /// Where the payload begins; equal to `ip_header_len` for [`Transport::Other`].
    pub payload_offset: usize,
    /// Length that the IP header claims, at most the bytes given.
    pub total_len: usize,
}

/// Find the headers of an IP packet.
pub fn layout(packet: &[u8]) -> Result<Layout, InnerError> {
    let (is_ipv6, ip_header_len, total_len, protocol) = match packet.first().ok_or(InnerError::Truncated)? >> 4 {
        4 => {
            let h: &[u8; 20] = packet.first_chunk().ok_or(InnerError::Truncated)?;
            let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0; // MF or an offset
            let total_len = usize::from(u16::from_be_bytes([h[2], h[3]]));
            (false, usize::from(h[0] & 0xf) * 4, total_len, if fragment { NO_PROTOCOL } else { h[9] })
        }
        6 => {
            let h: &[u8; 40] = packet.first_chunk().ok_or(InnerError::Truncated)?;
            (true, 40, 40 + usize::from(u16::from_be_bytes([h[4], h[5]])), h[6])
        }
        _ => return Err(InnerError::Version),
    };
    if ip_header_len < 20 || total_len < ip_header_len || total_len > packet.len() {
        return Err(InnerError::Length);
    }
    let transport_header = &packet[ip_header_len..total_len];
    let (transport, header_len) = match protocol {
        PROTOCOL_TCP if transport_header.len() >= 20 => {
            let len = usize::from(transport_header[12] >> 4) * 4;
            if len < 20 || len > transport_header.len() { (Transport::Other, 0) } else { (Transport::Tcp, len) }
        }
        PROTOCOL_UDP if transport_header.len() >= 8 => (Transport::Udp, 8),
        _ => (Transport::Other, 0),
    };
    Ok(Layout { is_ipv6, transport, ip_header_len, payload_offset: ip_header_len + header_len, total_len })
}

/// IPv4 protocol number and IPv6 next header of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IPv4 protocol number and IPv6 next header of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// "Reserved" in the IANA list: matches no transport.
const NO_PROTOCOL: u8 = 255;

/// A hash of addresses, protocol and ports, the same for every packet of a flow in one direction. Fragments and packets
/// without ports hash by addresses alone, so that all fragments of a datagram stay together. Not for hostile input to
/// choose buckets by: it is unkeyed and serves to spread load.
pub fn flow_hash(packet: &[u8]) -> u32 {
    let Ok(layout) = layout(packet) else { return 0 };
    let addresses = if layout.is_ipv6 { &packet[8..40] } else { &packet[12..20] };
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for word in addresses.chunks_exact(8) {
        hash = mix(hash ^ u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    if layout.transport != Transport::Other {
        let at = layout.ip_header_len;
        let ports = u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        let protocol = u64::from(layout.transport == Transport::Tcp);
        hash = mix(hash ^ u64::from(ports) ^ (protocol << 32));
    }
    (hash >> 32) as u32
}

/// Multiply and fold: every input bit reaches the upper half.
fn mix(value: u64) -> u64 {
    let product = u128::from(value) * 0xd6e8_feb8_6659_fd93_u128;
    (product as u64) ^ ((product >> 64) as u64)
}
