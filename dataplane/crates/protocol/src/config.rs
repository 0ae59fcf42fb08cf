//! Configuration as values: what the UAPI's `set=1` changes and `get=1` shows, without its text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::allowed_ips::Prefix;
use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::peer::Peer;

/// A change to a device; `None` leaves a thing as it is.
#[derive(Debug, Default)]
pub struct DeviceChange {
    /// `Some(None)` takes the key away (in the UAPI: all zero).
    pub private_key: Option<Option<PrivateKey>>,
    /// 0: let the socket choose, then tell the device with another change.
    pub listen_port: Option<u16>,
    /// 0: none.
    pub fwmark: Option<u32>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// In order.
    pub peers: Vec<PeerChange>,
}

/// A change to one peer, which is created if there is none; `None` leaves a thing as it is.
#[derive(Debug)]
pub struct PeerChange {
    /// Whom it is about.
    pub public_key: PublicKey,
    /// Remove the peer; the rest is ignored.
    pub remove: bool,
    /// Do nothing if there is no such peer.
    pub update_only: bool,
    /// All zero: none.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send to, until it roams.
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0: off.
    pub persistent_keepalive_s: Option<u16>,
    /// Remove all its allowed IPs first.
    pub replace_allowed_ips: bool,
    /// In order. One that another peer has moves to this one.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// Adds or removes an allowed IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedIpChange {
    /// Which.
    pub prefix: Prefix,
    /// Remove it, if this peer has it (in the UAPI: a leading `-`).
    pub remove: bool,
}

impl PeerChange {
    /// Creates the peer, if there is none, and changes nothing else.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive_s: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// What a device is and does now.
#[derive(Debug)]
pub struct DeviceSnapshot {
    /// Wiped when dropped.
    pub private_key: Option<PrivateKey>,
    /// 0: none.
    pub listen_port: u16,
    /// 0: none.
    pub fwmark: u32,
    /// In the order of creation.
    pub peers: Vec<PeerSnapshot>,
}

/// What a peer is and does now.
#[derive(Debug)]
pub struct PeerSnapshot {
    /// The half that the packet path uses: counters, endpoint, session.
    pub peer: Arc<Peer>,
    /// Who it is.
    pub public_key: PublicKey,
    /// All zero: none.
    pub preshared_key: PresharedKey,
    /// Where it was last heard, or is configured to be.
    pub endpoint: Option<SocketAddr>,
    /// Since the Unix epoch; zero for never.
    pub last_handshake_time: Duration,
    /// UDP payload received, in bytes.
    pub rx_bytes: u64,
    /// UDP payload sent, in bytes.
    pub tx_bytes: u64,
    /// Seconds; 0: off.
    pub persistent_keepalive_s: u16,
    /// IPv4 before IPv6, ascending.
    pub allowed_ips: Vec<Prefix>,
}
