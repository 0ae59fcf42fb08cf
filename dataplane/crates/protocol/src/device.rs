//! The control side of a device, as a sans-I/O state machine.
//!
//! Give it datagrams, packets that cannot be sent yet, changes of the configuration, and the time. After every call
//! with `&mut self`, drain [`Device::poll_transmit`] and [`Device::poll_event`]. Call [`Device::poll`] after every such
//! call, and then at the moment that it returns.

mod configure;
mod indices;
mod keypairs;
mod peer_control;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;
use wirelane_packet::Endpoint;

use self::indices::Indices;
use self::peer_control::PeerControl;
use crate::allowed_ips::Prefix;
use crate::cookie::{CookieChecker, RateLimiter};
use crate::forwarding::Forwarding;
use crate::handshake::{Identity, Initiation, field};
use crate::keys::PublicKey;
use crate::messages::{COOKIE_REPLY_LEN, DropReason, INITIATION_LEN, MessageKind, RESPONSE_LEN, classify};
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

/// What the peers of a device share on the control side.
struct Core {
    rng: Box<dyn CryptoRng + Send>,
    timings: Timings,
    up: bool,
    identity: Option<Identity>,
    cookie_checker: Option<CookieChecker>,
    limiter: RateLimiter,
    indices: Indices,
    forwarding: Arc<Forwarding>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Core {
    fn jitter(&mut self) -> Duration {
        let max = u64::try_from(self.timings.jitter_max().as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.next_u64() % max.max(1))
    }

    fn forget_session(&mut self, receiver: &Receiver) {
        let index = receiver.session.local_index();
        self.forwarding.sessions.remove(index);
        self.indices.release(index);
    }
}

/// A WireGuard device without its sockets, threads and clocks.
pub struct Device {
    core: Core,
    listen_port: u16,
    fwmark: u32,
    peers: BTreeMap<PeerId, PeerControl>,
    by_key: HashMap<PublicKey, PeerId>,
    next_peer_id: u64,
    routes: BTreeMap<Prefix, PeerId>,
    routes_changed: bool,
    /// When to look at which peer.
    schedule: BTreeSet<(Instant, PeerId)>,
}

impl Device {
    /// A device that is up and has neither key nor peers. `rng` makes ephemeral keys, so it has to be the operating
    /// system's generator or one seeded from it.
    pub fn new(rng: Box<dyn CryptoRng + Send>, timings: Timings, now: Time) -> Self {
        let slots = Indices::slots_for(0);
        Self {
            core: Core {
                rng,
                timings,
                up: true,
                identity: None,
                cookie_checker: None,
                limiter: RateLimiter::new(now.monotonic),
                indices: Indices::new(slots),
                forwarding: Arc::new(Forwarding::new(slots)),
                transmits: VecDeque::new(),
                events: VecDeque::new(),
            },
            listen_port: 0,
            fwmark: 0,
            peers: BTreeMap::new(),
            by_key: HashMap::new(),
            next_peer_id: 0,
            routes: BTreeMap::new(),
            routes_changed: false,
            schedule: BTreeSet::new(),
        }
    }

    /// The tables for the packet path.
    pub fn forwarding(&self) -> Arc<Forwarding> {
        self.core.forwarding.clone()
    }

    /// The UDP port to listen on; 0: any.
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// The mark of outgoing datagrams; 0: none.
    pub fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Our public key, if there is a private one.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.core.identity.as_ref().map(|own| own.public)
    }

    /// The peer with this public key.
    pub fn peer(&self, public_key: &PublicKey) -> Option<Arc<Peer>> {
        self.by_key.get(public_key).and_then(|id| self.peers.get(id)).map(|peer| peer.path.clone())
    }

    /// Takes the device down (sessions and handshakes are wiped, staged packets dropped) or up (peers with a
    /// persistent keepalive are greeted), as when the interface goes down and up.
    pub fn set_up(&mut self, up: bool, now: Time) {
        if std::mem::replace(&mut self.core.up, up) == up {
            return;
        }
        for (id, peer) in &mut self.peers {
            if !up {
                peer.shut_down(&mut self.core);
            } else if peer.persistent_keepalive_s > 0 {
                peer.keepalive(&mut self.core, now);
            }
            reschedule(&mut self.schedule, *id, peer, up.then_some(now.monotonic));
        }
    }

    /// Takes a datagram that [`classify`] calls initiation, response or cookie reply. `under_load` asks senders to
    /// prove their address with a cookie before any Diffie-Hellman is done for them (paper, section 5.3).
    pub fn handle_handshake(
        &mut self,
        datagram: &[u8],
        source: &Endpoint,
        now: Time,
        under_load: bool,
    ) -> Result<(), DropReason> {
        let kind = classify(datagram)?;
        if !self.core.up {
            return Err(DropReason::DeviceDown);
        }
        if matches!(kind, MessageKind::Initiation | MessageKind::Response) {
            self.check_macs(datagram, source, now.monotonic, under_load)?;
        }
        let id = match kind {
            MessageKind::Initiation => self.handle_initiation(datagram, source, now)?,
            MessageKind::Response => self.handle_response(datagram, source, now)?,
            MessageKind::CookieReply => self.handle_cookie_reply(datagram, now.monotonic)?,
            MessageKind::Transport => return Err(DropReason::UnknownType),
        };
        self.wake(id, now.monotonic);
        Ok(())
    }

    fn check_macs(
        &mut self,
        datagram: &[u8],
        source: &Endpoint,
        now: Instant,
        under_load: bool,
    ) -> Result<(), DropReason> {
        let Core { cookie_checker, limiter, transmits, rng, .. } = &mut self.core;
        let checker = cookie_checker.as_mut().ok_or(DropReason::NoPrivateKey)?;
        if !checker.mac1_is_valid(datagram) {
            return Err(DropReason::InvalidMac1);
        }
        if !under_load {
            return Ok(());
        }
        if !checker.mac2_is_valid(datagram, source.remote, now) {
            let payload = checker.reply(datagram, source.remote, now, &mut **rng).to_vec();
            transmits.push_back(Transmit { endpoint: *source, payload });
            return Err(DropReason::CookieRequired);
        }
        if limiter.allows(source.remote.ip(), now) { Ok(()) } else { Err(DropReason::RateLimited) }
    }

    fn handle_initiation(&mut self, datagram: &[u8], source: &Endpoint, now: Time) -> Result<PeerId, DropReason> {
        let message = datagram.first_chunk::<INITIATION_LEN>().ok_or(DropReason::WrongLength)?;
        let identity = self.core.identity.as_ref().ok_or(DropReason::NoPrivateKey)?;
        let initiation = Initiation::open(identity, message).map_err(|_| DropReason::InvalidHandshake)?;
        let id = *self.by_key.get(&initiation.public).ok_or(DropReason::UnknownPeer)?;
        let peer = self.peers.get_mut(&id).ok_or(DropReason::UnknownPeer)?;
        peer.respond(initiation, source, &mut self.core, now)?;
        Ok(id)
    }

    fn handle_response(&mut self, datagram: &[u8], source: &Endpoint, now: Time) -> Result<PeerId, DropReason> {
        let message = datagram.first_chunk::<RESPONSE_LEN>().ok_or(DropReason::WrongLength)?;
        let receiver_index = u32::from_le_bytes(field(message, 8));
        let id = self.core.indices.owner(receiver_index).ok_or(DropReason::UnknownReceiverIndex)?;
        let peer = self.peers.get_mut(&id).ok_or(DropReason::UnknownReceiverIndex)?;
        peer.finish(message, receiver_index, source, &mut self.core, now)?;
        Ok(id)
    }

    fn handle_cookie_reply(&mut self, datagram: &[u8], now: Instant) -> Result<PeerId, DropReason> {
        let message = datagram.first_chunk::<COOKIE_REPLY_LEN>().ok_or(DropReason::WrongLength)?;
        let receiver_index = u32::from_le_bytes(field(message, 4));
        let id = self.core.indices.owner(receiver_index).ok_or(DropReason::UnknownReceiverIndex)?;
        let peer = self.peers.get_mut(&id).ok_or(DropReason::UnknownReceiverIndex)?;
        if peer.cookie_jar.accept_reply(message, now) { Ok(id) } else { Err(DropReason::InvalidHandshake) }
    }

    /// The first authenticated packet has come in on a session with [`Session::is_confirmed`] false: the peer has it
    /// too, and it becomes the sending session (paper, section 5.4.6).
    pub fn confirm(&mut self, receiver: &Receiver, now: Time) {
        receiver.session.set_confirmed();
        if let Some(peer) = self.peers.get_mut(&receiver.peer.id()) {
            peer.confirm(&receiver.session, &mut self.core, now);
            self.wake(receiver.peer.id(), now.monotonic);
        }
    }

    /// Keeps an inner packet that cannot be sent, because the peer has no usable session, and begins a handshake.
    pub fn stage(&mut self, peer: PeerId, packet: Vec<u8>, now: Time) -> Result<Staging, DropReason> {
        let control = self.ready_peer(peer)?;
        if control.path.endpoint().is_none() {
            return Err(DropReason::NoEndpoint);
        }
        let control = self.peers.get_mut(&peer).ok_or(DropReason::PeerRemoved)?;
        let outcome = control.stage(packet, &mut self.core, now);
        self.wake(peer, now.monotonic);
        Ok(outcome.map_or(Staging::Staged, Staging::SendNow))
    }

    fn ready_peer(&self, peer: PeerId) -> Result<&PeerControl, DropReason> {
        let control = self.peers.get(&peer).ok_or(DropReason::PeerRemoved)?;
        match (self.core.up, &self.core.identity) {
            (false, _) => Err(DropReason::DeviceDown),
            (true, None) => Err(DropReason::NoPrivateKey),
            (true, Some(_)) => Ok(control),
        }
    }

    /// The packets of an [`Event::SendStaged`] are sent. Makes its session the sending one, or brings another event
    /// with packets that were staged in between.
    pub fn staged_sent(&mut self, peer: PeerId, now: Time) {
        if let Some(control) = self.peers.get_mut(&peer) {
            control.staged_sent(&mut self.core);
            self.wake(peer, now.monotonic);
        }
    }

    /// Begins a handshake, unless one is under way.
    pub fn initiate(&mut self, peer: PeerId, now: Time) -> Result<(), DropReason> {
        self.ready_peer(peer)?;
        let control = self.peers.get_mut(&peer).ok_or(DropReason::PeerRemoved)?;
        control.request_initiation(&mut self.core, now);
        self.wake(peer, now.monotonic);
        Ok(())
    }

    /// Does what is due, and says when to call again at the latest; `None`: when something else has happened.
    pub fn poll(&mut self, now: Time) -> Option<Instant> {
        let due = self.schedule.range(..=(now.monotonic, PeerId(u64::MAX))).map(|(_, id)| *id).collect::<Vec<_>>();
        for id in due {
            if let Some(peer) = self.peers.get_mut(&id) {
                let next = if self.core.up { peer.run_timers(&mut self.core, now) } else { None };
                reschedule(&mut self.schedule, id, peer, next);
            }
        }
        self.schedule.first().map(|(at, _)| *at)
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.transmits.pop_front()
    }

    /// The next thing to be done.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// Something happened to this peer: the next poll looks at it.
    fn wake(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            reschedule(&mut self.schedule, id, peer, Some(now));
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("public_key", &self.public_key())
            .field("listen_port", &self.listen_port)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

fn reschedule(schedule: &mut BTreeSet<(Instant, PeerId)>, id: PeerId, peer: &mut PeerControl, at: Option<Instant>) {
    if let Some(old) = std::mem::replace(&mut peer.scheduled, at) {
        schedule.remove(&(old, id));
    }
    if let Some(at) = at {
        schedule.insert((at, id));
    }
}
