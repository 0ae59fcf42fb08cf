//! Control messages (`struct cmsghdr`, cmsg(3)) in a small buffer, written and read as plain bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wirelane_packet::{Ecn, LocalAddr};

const WORD: usize = size_of::<usize>();
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
/// A control buffer, aligned as the kernel expects.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; Self::CAPACITY],
}

impl Control {
    /// Room for a segment length, a packet info of either family and a traffic class, and some to spare.
    pub(super) const CAPACITY: usize = 128;

    pub(super) const fn new() -> Self {
        Self { bytes: [0; Self::CAPACITY] }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Write what a send needs; returns the length.
    pub(super) fn write_send(
        &mut self,
        segment_len: Option<u16>,
        local: Option<LocalAddr>,
        ecn: Ecn,
        v6: bool,
    ) -> usize {
        let mut at = 0;
        if let Some(len) = segment_len {
            at = self.put(at, libc::SOL_UDP, libc::UDP_SEGMENT, &len.to_ne_bytes());
        }
        match local {
            Some(LocalAddr { ip: IpAddr::V4(ip), interface }) if !v6 => {
                // struct in_pktinfo: interface index, address to send from, (ignored) address.
                let mut info = [0; 12];
                info[..4].copy_from_slice(&interface.to_ne_bytes());
                info[4..8].copy_from_slice(&ip.octets());
                at = self.put(at, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(LocalAddr { ip: IpAddr::V6(ip), interface }) if v6 => {
                // struct in6_pktinfo: address to send from, interface index.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                info[16..].copy_from_slice(&interface.to_ne_bytes());
                at = self.put(at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
        if ecn != Ecn::NotEct {
            let class = (ecn as i32).to_ne_bytes();
            at = match v6 {
                true => self.put(at, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
                false => self.put(at, libc::IPPROTO_IP, libc::IP_TOS, &class),
            };
        }
        at
    }

    fn put(&mut self, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
        let len = HEADER_LEN + data.len();
        let message = &mut self.bytes[at..at + len.next_multiple_of(WORD)];
        message[..WORD].copy_from_slice(&len.to_ne_bytes());
        message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        message[WORD + 4..HEADER_LEN].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_LEN..len].copy_from_slice(data);
        at + message.len()
    }

    /// What the kernel says about a received datagram; `len` is the control length it returned.
    pub(super) fn read_received(&self, len: usize) -> ReceivedControl {
        let mut result = ReceivedControl::default();
        let mut rest = &self.bytes[..len.min(Self::CAPACITY)];
        while let Some((level, kind, data, next)) = take(rest) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    result.segment_len = data.first_chunk().map(|b| i32::from_ne_bytes(*b).max(0) as usize);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => result.local = local_v4(data),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => result.local = local_v6(data),
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    // One byte from IPv4, an int from IPv6.
                    let tos = match data.first_chunk() {
                        Some(int) => i32::from_ne_bytes(*int) as u8,
                        None => data.first().copied().unwrap_or(0),
                    };
                    result.ecn = Ecn::from_tos(tos);
                }
                _ => {}
            }
            rest = next;
        }
        result
    }
}

/// See [`Control::read_received`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReceivedControl {
    pub(super) segment_len: Option<usize>,
    pub(super) local: Option<LocalAddr>,
    pub(super) ecn: Ecn,
}

fn take(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(*bytes.first_chunk()?);
    let level = i32::from_ne_bytes(*bytes.get(WORD..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*bytes.get(WORD + 4..)?.first_chunk()?);
    let data = bytes.get(HEADER_LEN..len)?;
    let next = bytes.get(len.next_multiple_of(WORD)..).unwrap_or(&[]);
    Some((level, kind, data, next))
}

/// struct in_pktinfo: interface index, our address to answer from, the header's destination.
fn local_v4(data: &[u8]) -> Option<LocalAddr> {
    let info: &[u8; 12] = data.first_chunk()?;
    let interface = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
    Some(LocalAddr { ip: Ipv4Addr::new(info[4], info[5], info[6], info[7]).into(), interface })
}

/// struct in6_pktinfo: our address, interface index.
fn local_v6(data: &[u8]) -> Option<LocalAddr> {
    let info: &[u8; 20] = data.first_chunk()?;
    let (address, interface) = info.split_first_chunk::<16>()?;
    let interface = u32::from_ne_bytes(*interface.first_chunk()?);
    Some(LocalAddr { ip: Ipv6Addr::from(*address).into(), interface })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back() {
        let v4 = LocalAddr { ip: Ipv4Addr::new(10, 0, 0, 1).into(), interface: 7 };
        let v6 = LocalAddr { ip: Ipv6Addr::LOCALHOST.into(), interface: 1 };
        for (local, is_v6) in [(v4, false), (v6, true)] {
            let mut control = Control::new();
            let len = control.write_send(Some(1456), Some(local), Ecn::Ect0, is_v6);
            let read = control.read_received(len);
            assert_eq!((read.local, read.ecn), (Some(local), Ecn::Ect0));
        }
    }

    #[test]
    fn cut_or_senseless_messages_end_the_reading() {
        let mut control = Control::new();
        let len = control.write_send(None, None, Ecn::Ce, true);
        for cut in 0..len {
            assert!(matches!(control.read_received(cut).ecn, Ecn::NotEct | Ecn::Ce));
        }
        let senseless = Control { bytes: [0xff; Control::CAPACITY] };
        assert_eq!(senseless.read_received(Control::CAPACITY), ReceivedControl::default());
        assert_eq!(Control::new().read_received(Control::CAPACITY), ReceivedControl::default());
    }
}
