//! UDP sockets with segmentation offload: one super-datagram a system call in both directions.

mod control;
mod socket;

pub use socket::{Datagrams, Received, SendError, SocketMemory, UdpSocket};

use std::io;
use std::net::SocketAddr;

/// How to open the sockets.
#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// Kernel buffer for each direction of each socket; beyond `net.core.*mem_max` only with CAP_NET_ADMIN.
    pub buffer_bytes: usize,
    /// SO_MARK; 0: none.
    pub fwmark: u32,
    /// Send with UDP_SEGMENT where the kernel has it.
    pub gso: bool,
    /// Receive with UDP_GRO where the kernel has it.
    pub gro: bool,
    /// Let several processes or threads bind the port (SO_REUSEPORT).
    pub reuse_port: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self { buffer_bytes: 4 << 20, fwmark: 0, gso: true, gro: true, reuse_port: false }
    }
}

/// The IPv4 and the IPv6 socket of a device, on one port. A machine without one of the families has one socket.
#[derive(Debug)]
pub struct UdpPair {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    port: u16,
}

impl UdpPair {
    /// Bind both families to `port` on all addresses; 0: to some free port that both can have.
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken, `Unsupported` if the machine has neither family.
    pub fn bind(port: u16, options: &UdpOptions) -> io::Result<Self> {
        // A port that the kernel chose for IPv4 may be taken for IPv6: as wireguard-go, choose again.
        const ATTEMPTS: usize = 100;
        for _ in 1..ATTEMPTS {
            match Self::bind_once(port, options) {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Self::bind_once(port, options)
    }

    fn bind_once(port: u16, options: &UdpOptions) -> io::Result<Self> {
        let v4 = unless_unsupported(UdpSocket::bind_v4(port, options))?;
        let port = v4.as_ref().map_or(Ok(port), UdpSocket::port)?;
        let v6 = unless_unsupported(UdpSocket::bind_v6(port, options))?;
        let port = v6.as_ref().map_or(Ok(port), UdpSocket::port)?;
        if v4.is_none() && v6.is_none() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "neither IPv4 nor IPv6 sockets on this machine"));
        }
        Ok(Self { v4, v6, port })
    }

    /// The UDP port of both sockets.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The sockets there are, IPv4 first.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.v4.iter().chain(&self.v6)
    }

    /// The socket of `remote`'s family.
    pub fn socket_for(&self, remote: &SocketAddr) -> Option<&UdpSocket> {
        if remote.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// What the kernel holds for both sockets.
    pub fn memory(&self) -> SocketMemory {
        self.sockets().map(UdpSocket::memory).fold(SocketMemory::default(), |sum, of_one| SocketMemory {
            receive_bytes: sum.receive_bytes + of_one.receive_bytes,
            send_bytes: sum.send_bytes + of_one.send_bytes,
            drops: sum.drops + of_one.drops,
        })
    }

    /// Size of the kernel's send and receive buffer of each.
    pub fn set_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        self.sockets().try_for_each(|socket| socket.set_buffer_bytes(bytes))
    }

    /// Mark all packets sent from now on (SO_MARK); 0: no mark.
    pub fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        self.sockets().try_for_each(|socket| socket.set_fwmark(fwmark))
    }
}

/// A family that the kernel does not have is no failure; EADDRNOTAVAIL is what IPv6 says when it is disabled.
fn unless_unsupported(result: io::Result<UdpSocket>) -> io::Result<Option<UdpSocket>> {
    match result {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => Ok(None),
        Err(error) => Err(error),
    }
}
