//! Explicit congestion notification across the tunnel (RFC 3168; decapsulation as in RFC 6040, section 4.2).

/// The two ECN bits of an IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct = 0,
    /// ECT(1).
    Ect1 = 1,
    /// ECT(0).
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The lowest two bits of a TOS or traffic-class byte.
    pub fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The outer codepoint for an inner one: copied, except that CE starts afresh as ECT(0), as Linux's
    /// `INET_ECN_encapsulate` does for WireGuard.
    pub fn encapsulate(self) -> Self {
        if self == Self::Ce { Self::Ect0 } else { self }
    }
}

/// The ECN field of an inner packet; [`Ecn::NotEct`] if it is no IP packet with a whole header.
pub fn of_packet(packet: &[u8]) -> Ecn {
    match packet {
        [b0, b1, ..] if b0 >> 4 == 4 && packet.len() >= 20 => Ecn::from_tos(*b1),
        [b0, b1, ..] if b0 >> 4 == 6 && packet.len() >= 40 => Ecn::from_tos((b0 << 4) | (b1 >> 4)),
        _ => Ecn::NotEct,
    }
}

/// Carry the outer codepoint over to a decrypted packet. False: outer CE on a packet that is not ECN-capable; the
/// packet has to be dropped, because its sender would never hear of the congestion.
#[must_use]
pub fn decapsulate(outer: Ecn, packet: &mut [u8]) -> bool {
    if outer != Ecn::Ce {
        return true;
    }
    match of_packet(packet) {
        Ecn::NotEct => false,
        Ecn::Ce => true,
        Ecn::Ect0 | Ecn::Ect1 => {
            set_ce(packet);
            true
        }
    }
}

/// For a packet with a whole header.
fn set_ce(packet: &mut [u8]) {
    if packet[0] >> 4 == 6 {
        packet[1] |= 0x30;
        return;
    }
    let old = u16::from_be_bytes([packet[0], packet[1]]);
    packet[1] |= 3;
    let new = u16::from_be_bytes([packet[0], packet[1]]);
    // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
    let check = u16::from_be_bytes([packet[10], packet[11]]);
    let mut sum = u32::from(!check) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;

    fn ipv4(tos: u8) -> Vec<u8> {
        let mut p = vec![0x45, tos, 0, 20, 1, 2, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = checksum::finish(checksum::add(0, &p));
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p
    }

    #[test]
    fn congestion_marks_capable_packets_and_keeps_the_header_checksum_right() {
        for tos in [0x01, 0x02, 0xfe, 0xfd, 0x03] {
            let mut packet = ipv4(tos);
            assert!(decapsulate(Ecn::Ce, &mut packet));
            assert_eq!(of_packet(&packet), Ecn::Ce);
            assert_eq!(checksum::finish(checksum::add(0, &packet)), 0);
        }
        let mut six = [&[0x60, 0x20][..], &[0; 38]].concat();
        assert!(decapsulate(Ecn::Ce, &mut six));
        assert_eq!(of_packet(&six), Ecn::Ce);
    }

    #[test]
    fn congestion_on_a_packet_that_cannot_say_so_is_a_drop() {
        assert!(!decapsulate(Ecn::Ce, &mut ipv4(0)));
        assert!(decapsulate(Ecn::Ect0, &mut ipv4(0)));
        assert!(!decapsulate(Ecn::Ce, &mut [0x4a, 0x02]), "no whole header");
    }
}
