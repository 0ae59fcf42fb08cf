//! `struct virtio_net_hdr` as a TUN device with IFF_VNET_HDR passes it (linux/virtio_net.h), host byte order.

/// Bytes of the header in front of every packet that crosses the TUN.
pub const VNET_HEADER_LEN: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What a super-packet has to be split into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoType {
    /// An ordinary packet.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv4 or IPv6 (USO).
    UdpL4,
}

/// The header, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioNetHeader {
    /// The transport checksum field holds the pseudo-header sum and the rest is to be filled in.
    pub needs_checksum: bool,
    /// The kind of super-packet.
    pub gso_type: GsoType,
    /// The TCP super-packet's CWR flag belongs on the first segment only (VIRTIO_NET_HDR_GSO_ECN).
    pub ecn: bool,
    /// Bytes of all headers; a hint, never trusted.
    pub header_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the checksummed part begins: the transport header.
    pub checksum_start: u16,
    /// Where the checksum field is, from `checksum_start`.
    pub checksum_offset: u16,
}

impl VirtioNetHeader {
    /// Read the header from the start of `bytes`; `None` if it is too short or of an unknown type.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let b: &[u8; VNET_HEADER_LEN] = bytes.first_chunk()?;
        let gso_type = match b[1] & !GSO_ECN {
            GSO_NONE => GsoType::None,
            GSO_TCPV4 => GsoType::TcpV4,
            GSO_TCPV6 => GsoType::TcpV6,
            GSO_UDP_L4 => GsoType::UdpL4,
            _ => return None,
        };
        let field = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
        Some(Self {
            needs_checksum: b[0] & F_NEEDS_CSUM != 0,
            gso_type,
            ecn: b[1] & GSO_ECN != 0,
            header_len: field(2),
            gso_size: field(4),
            checksum_start: field(6),
            checksum_offset: field(8),
        })
    }

    /// The header's bytes, as the TUN takes them.
    pub fn to_bytes(self) -> [u8; VNET_HEADER_LEN] {
        let mut b = [0; VNET_HEADER_LEN];
        b[0] = if self.needs_checksum { F_NEEDS_CSUM } else { 0 };
        b[1] = match self.gso_type {
            GsoType::None => GSO_NONE,
            GsoType::TcpV4 => GSO_TCPV4,
            GsoType::TcpV6 => GSO_TCPV6,
            GsoType::UdpL4 => GSO_UDP_L4,
        } | if self.ecn { GSO_ECN } else { 0 };
        b[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        b[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        b[6..8].copy_from_slice(&self.checksum_start.to_ne_bytes());
        b[8..10].copy_from_slice(&self.checksum_offset.to_ne_bytes());
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_read_back() {
        for gso_type in [GsoType::None, GsoType::TcpV4, GsoType::TcpV6, GsoType::UdpL4] {
            let header = VirtioNetHeader {
                needs_checksum: true,
                gso_type,
                ecn: gso_type == GsoType::TcpV4,
                header_len: 52,
                gso_size: 1368,
                checksum_start: 20,
                checksum_offset: 16,
            };
            assert_eq!(VirtioNetHeader::parse(&header.to_bytes()), Some(header));
        }
    }

    #[test]
    fn a_short_or_unknown_header_is_refused() {
        assert_eq!(VirtioNetHeader::parse(&[0; VNET_HEADER_LEN - 1]), None);
        let mut bytes = [0; VNET_HEADER_LEN];
        bytes[1] = 3; // VIRTIO_NET_HDR_GSO_UDP: fragmentation offload, which we never ask for
        assert_eq!(VirtioNetHeader::parse(&bytes), None);
    }
}
