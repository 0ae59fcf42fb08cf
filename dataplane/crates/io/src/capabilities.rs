//! What this machine offers, found out by trying.

use crate::numa;
use crate::tun::{Tun, TunOptions};
use crate::udp::{UdpOptions, UdpSocket};
use std::fmt;
use std::fs;
use std::io;

/// The kernel's release, as far as it decides about offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl KernelVersion {
    /// Of the running kernel; 0.0 if it hides it.
    pub fn running() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self::parse(&release).unwrap_or(Self { major: 0, minor: 0 })
    }

    fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The answers of `wirelane doctor`.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// A TUN device can be created.
    pub tun: bool,
    /// It takes and gives TCP super-packets.
    pub tun_tso: bool,
    /// It takes and gives UDP super-packets.
    pub tun_uso: bool,
    /// One send can carry many datagrams.
    pub udp_gso: bool,
    /// One receive can bring many datagrams.
    pub udp_gro: bool,
    /// NUMA nodes that are online.
    pub numa_nodes: Vec<u32>,
    /// The kernel's version.
    pub kernel: KernelVersion,
    /// Why there is no TUN device, if there is none.
    pub tun_error: Option<String>,
}

impl Capabilities {
    /// Create a TUN device and a socket, look, and remove them again.
    ///
    /// # Errors
    /// If not even a UDP socket can be made.
    pub fn detect() -> io::Result<Self> {
        let socket = UdpSocket::bind_v4(0, &UdpOptions::default())?;
        let tun = Tun::create(&TunOptions::new("wlprobe%d"));
        let offload = tun.as_ref().map(Tun::offload).unwrap_or_default();
        Ok(Self {
            tun: tun.is_ok(),
            tun_tso: offload.tso,
            tun_uso: offload.uso,
            udp_gso: socket.max_segments() > 1,
            udp_gro: socket.gro(),
            numa_nodes: numa::nodes(),
            kernel: KernelVersion::running(),
            tun_error: tun.err().map(|error| error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_parse() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(KernelVersion::parse("6.18.44-fc-v669\n"), version(6, 18));
        assert_eq!(KernelVersion::parse("5.10"), version(5, 10));
        assert_eq!(KernelVersion::parse("unknown"), None);
        assert!(KernelVersion::running() > KernelVersion { major: 2, minor: 6 });
    }

    #[test]
    fn this_machine_has_offloads() {
        let found = Capabilities::detect().unwrap();
        assert!(!found.numa_nodes.is_empty());
        if found.kernel >= (KernelVersion { major: 5, minor: 0 }) {
            assert!(found.udp_gso && found.udp_gro);
        }
        assert_eq!(found.tun, found.tun_error.is_none());
    }
}
