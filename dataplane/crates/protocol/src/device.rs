//! The control side of a device, as a sans-I/O state machine.
//!
//! Give it datagrams, packets that cannot be sent yet, changes of the configuration, and the time. After every call
//! with `&mut self`, drain [`Device::poll_transmit`] and [`Device::poll_event`], and call [`Device::poll`] no later than
//! the moment it last returned.

use std::sync::Arc;

use rand_core::CryptoRng;
use wirelane_packet::Endpoint;

use crate::config::{DeviceChange, DeviceSnapshot};
use crate::forwarding::Forwarding;
use crate::keys::PublicKey;
use crate::messages::DropReason;
use crate::peer::{Peer, PeerId};
use crate::session::{Receiver, Role, Session};
use crate::time::{Instant, Time};
use crate::timers::Timings;

/// A handshake message or cookie reply to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to, and from where.
    pub endpoint: Endpoint,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Something for the engine to do or to count.
#[derive(Debug)]
pub enum Event {
    /// A session can be used in both directions.
    SessionEstablished {
        /// With whom.
        peer: Arc<Peer>,
        /// Who began it.
        role: Role,
    },
    /// Encrypt these inner packets on this session and send them, then call [`Device::staged_sent`]. Until then the
    /// session is not the peer's sending session, so that no later packet can overtake these.
    SendStaged {
        /// To whom.
        peer: Arc<Peer>,
        /// On which session.
        session: Arc<Session>,
        /// What, oldest first.
        packets: Vec<Vec<u8>>,
    },
    /// Encrypt an empty packet on this session and send it.
    SendKeepalive {
        /// To whom.
        peer: Arc<Peer>,
        /// On which session.
        session: Arc<Session>,
    },
    /// Staged packets were dropped; count them.
    Dropped {
        /// Whom they were for.
        peer: Arc<Peer>,
        /// Why.
        reason: DropReason,
        /// How many.
        packets: u64,
    },
}

/// What became of a packet given to [`Device::stage`].
#[derive(Debug, PartialEq, Eq)]
pub enum Staging {
    /// It waits; [`Event::SendStaged`] will bring it back.
    Staged,
    /// The peer has a usable session by now: send it there.
    SendNow(Vec<u8>),
}

/// A WireGuard device without its sockets, threads and clocks.
pub struct Device {
    forwarding: Arc<Forwarding>,
}

impl Device {
    /// A device that is up and has neither key nor peers. `rng` makes ephemeral keys, so it has to be the operating
    /// system's generator or one seeded from it.
    pub fn new(rng: Box<dyn CryptoRng + Send>, timings: Timings, now: Time) -> Self {
        todo!()
    }

    /// The tables for the packet path.
    pub fn forwarding(&self) -> Arc<Forwarding> {
        self.forwarding.clone()
    }

    /// Changes the configuration. What does not change keeps its sessions. Bind the socket to a new listen port first:
    /// here it is only remembered. A peer with the device's own public key is removed, as in Linux.
    pub fn apply(&mut self, change: DeviceChange, now: Time) {
        todo!()
    }

    /// The configuration and counters, for the UAPI's `get=1`.
    pub fn snapshot(&self) -> DeviceSnapshot {
        todo!()
    }

    /// The UDP port to listen on; 0: any.
    pub fn listen_port(&self) -> u16 {
        todo!()
    }

    /// The mark of outgoing datagrams; 0: none.
    pub fn fwmark(&self) -> u32 {
        todo!()
    }

    /// The peer with this public key.
    pub fn peer(&self, public_key: &PublicKey) -> Option<Arc<Peer>> {
        todo!()
    }

    /// Takes the device down (sessions and handshakes are wiped, staged packets dropped) or up (peers with a
    /// persistent keepalive are greeted), as when the interface goes down and up.
    pub fn set_up(&mut self, up: bool, now: Time) {
        todo!()
    }

    /// Takes a datagram that [`classify`](crate::classify) calls initiation, response or cookie reply. `under_load`
    /// asks senders to prove their address with a cookie before any Diffie-Hellman is done for them (paper, section 5.3).
    pub fn handle_handshake(
        &mut self,
        datagram: &[u8],
        source: &Endpoint,
        now: Time,
        under_load: bool,
    ) -> Result<(), DropReason> {
        todo!()
    }

    /// The first authenticated packet has come in on a session with [`Session::is_confirmed`] false: the peer has it
    /// too, and it becomes the sending session (paper, section 5.4.6).
    pub fn confirm(&mut self, receiver: &Receiver, now: Time) {
        todo!()
    }

    /// Keeps an inner packet that cannot be sent, because the peer has no usable session, and begins a handshake.
    pub fn stage(&mut self, peer: PeerId, packet: Vec<u8>, now: Time) -> Result<Staging, DropReason> {
        todo!()
    }

    /// The packets of an [`Event::SendStaged`] are sent. Makes its session the sending one, or brings another event
    /// with packets that were staged in between.
    pub fn staged_sent(&mut self, peer: PeerId, now: Time) {
        todo!()
    }

    /// Begins a handshake, unless one is under way.
    pub fn initiate(&mut self, peer: PeerId, now: Time) {
        todo!()
    }

    /// Does what is due, and says when to call again at the latest; `None`: when something else has happened.
    pub fn poll(&mut self, now: Time) -> Option<Instant> {
        todo!()
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        todo!()
    }

    /// The next thing to be done.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
}
