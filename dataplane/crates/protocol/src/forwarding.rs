//! What the packet path shares with the control side: sessions by receiver index, peers by allowed IP.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::allowed_ips::AllowedIps;
use crate::messages::DropReason;
use crate::peer::Peer;
use crate::session::{Receiver, SessionTable};

/// The tables of one device; get it from [`Device::forwarding`](crate::Device::forwarding) and keep it. Reading takes
/// no lock.
#[derive(Debug)]
pub struct Forwarding {
    pub(crate) sessions: SessionTable,
    pub(crate) routes: ArcSwap<AllowedIps<Arc<Peer>>>,
}

impl Forwarding {
    pub(crate) fn new(session_slots: usize) -> Self {
        Self { sessions: SessionTable::new(session_slots), routes: ArcSwap::from_pointee(AllowedIps::new([])) }
    }

    /// The session and peer of a transport message, by its receiver index.
    pub fn receiver(&self, receiver_index: u32) -> Result<Arc<Receiver>, DropReason> {
        self.sessions.lookup(receiver_index)
    }

    /// The allowed IPs. Take it once a batch and drop it at the batch's end: an old table lives as long as its guards.
    pub fn routes(&self) -> Guard<Arc<AllowedIps<Arc<Peer>>>> {
        self.routes.load()
    }
}

impl AllowedIps<Arc<Peer>> {
    /// The peer to send to (paper, section 2).
    pub fn peer_towards(&self, destination: IpAddr) -> Result<&Arc<Peer>, DropReason> {
        self.lookup(destination).ok_or(DropReason::NoRoute)
    }

    /// Whether a packet from `source` may come out of the tunnel with `peer` (paper, section 2).
    pub fn is_allowed(&self, source: IpAddr, peer: &Peer) -> bool {
        self.lookup(source).is_some_and(|owner| std::ptr::eq(&raw const **owner, peer))
    }
}
