//! Where a peer is, and which of our addresses it last talked to.

use std::net::{IpAddr, SocketAddr};

/// Our address and interface that a datagram came in on; replies leave from the same one (sticky source).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The address the peer sent to.
    pub ip: IpAddr,
    /// The index of the interface that it came in on; 0: leave the choice to routing.
    pub interface: u32,
}

/// A peer's outer address, with the source address to use towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's address and UDP port. IPv4 addresses are never IPv4-mapped IPv6 ones.
    pub remote: SocketAddr,
    /// The source address to send from; `None`: the kernel chooses.
    pub local: Option<LocalAddr>,
}

impl Endpoint {
    /// A peer whose source address the kernel chooses.
    pub fn new(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Self {
        Self::new(remote)
    }
}
