//! The world: two nodes, a network that loses, delays and duplicates, and a clock that moves when it is told to.
//!
//! A node does what an engine does, through the public API, one packet at a time. Invariants that hold whatever happens
//! are asserted on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wirelane_packet::Endpoint;
use wirelane_protocol::{
    Device, DeviceChange, DropReason, Event, Instant, MessageKind, Peer, PeerChange, PrivateKey, Session, Staging,
    Time, Timings, Traffic, TransportHeader, Verdict, classify, nonce, padded_len,
};

/// Which of the two nodes.
pub type Side = usize;
pub const A: Side = 0;
pub const B: Side = 1;

pub fn other(side: Side) -> Side {
    1 - side
}

/// Where the attacker sends from.
pub const ATTACKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66)), 666);

const UNIX_START: Duration = Duration::from_secs(1_700_000_000);

#[derive(Clone)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload: Vec<u8>,
}

impl Datagram {
    pub fn is(&self, kind: MessageKind) -> bool {
        classify(&self.payload) == Ok(kind)
    }
}

/// What the network does to datagrams.
pub struct Link {
    pub loss_percent: u32,
    pub duplicate_percent: u32,
    pub delay_ms: Range<u64>,
}

impl Default for Link {
    fn default() -> Self {
        Self { loss_percent: 0, duplicate_percent: 0, delay_ms: 5..6 }
    }
}

pub struct Node {
    pub device: Device,
    pub private_key: PrivateKey,
    pub address: SocketAddr,
    pub inner: Ipv4Addr,
    /// Numbers of the inner packets that came out of the tunnel, in order.
    pub delivered: Vec<u64>,
    pub drops: BTreeMap<DropReason, u64>,
    pub initiations: Vec<Duration>,
    pub keepalives: Vec<Duration>,
    pub established: usize,
    pub under_load: bool,
    /// How far the wall clock is off, in seconds.
    pub clock_offset_s: i64,
    last_initiation: Option<Duration>,
    wake_at: Option<Instant>,
    used_nonces: BTreeSet<([u8; 32], u64)>,
}

impl Node {
    fn new(side: Side, private_key: PrivateKey, seed: u64, now: Time, timings: Timings) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self {
            device: Device::new(Box::new(rng), timings, now),
            private_key,
            address: SocketAddr::new(Ipv4Addr::new(198, 51, 100, side as u8 + 1).into(), 51820),
            inner: Ipv4Addr::new(10, 0, 0, side as u8 + 1),
            delivered: Vec::new(),
            drops: BTreeMap::new(),
            initiations: Vec::new(),
            keepalives: Vec::new(),
            established: 0,
            under_load: false,
            clock_offset_s: 0,
            last_initiation: None,
            wake_at: None,
            used_nonces: BTreeSet::new(),
        }
    }

    pub fn drops_of(&self, reason: DropReason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    fn count(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    fn seal(&mut self, session: &Session, packet: &[u8], now: Instant) -> Vec<u8> {
        assert_ne!(session.send_verdict(now), Verdict::Expired, "nothing is sent on an expired session");
        let counter = session.reserve_counters(1).unwrap();
        assert!(self.used_nonces.insert((*session.send_key(), counter)), "a nonce is never used twice");
        let mut plaintext = packet.to_vec();
        plaintext.resize(padded_len(packet.len(), 1420), 0);
        let sealed = ChaCha20Poly1305::new(session.send_key().into()).encrypt(&nonce(counter).into(), &plaintext[..]);
        let header = TransportHeader { receiver_index: session.remote_index(), counter };
        [&header.to_bytes()[..], &sealed.unwrap()].concat()
    }
}

pub struct World {
    pub now: Duration,
    pub nodes: [Node; 2],
    pub link: Link,
    /// What was accepted, for an attacker to send again. (What was not, an attacker on the path may well deliver.)
    pub captured: Vec<Datagram>,
    pub timings: Timings,
    flight: BTreeMap<(Duration, u64), Datagram>,
    sequence: u64,
    rng: ChaCha20Rng,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with_timings(seed, Timings::default())
    }

    /// Two nodes that are configured as each other's peers.
    pub fn with_timings(seed: u64, timings: Timings) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let now = Duration::from_secs(1000);
        let time = Time { monotonic: now.into(), unix: UNIX_START + now };
        let nodes = [A, B].map(|side| {
            let private_key = PrivateKey::generate(&mut rng);
            Node::new(side, private_key, rng.next_u64(), time, timings)
        });
        let mut world = Self {
            now,
            nodes,
            link: Link::default(),
            captured: Vec::new(),
            timings,
            flight: BTreeMap::new(),
            sequence: 0,
            rng,
        };
        world.configure(A);
        world.configure(B);
        world
    }

    pub fn time(&self, side: Side) -> Time {
        let unix = UNIX_START + self.now;
        let unix = unix.as_secs().saturating_add_signed(self.nodes[side].clock_offset_s);
        let unix = Duration::new(unix, self.now.subsec_nanos());
        Time { monotonic: self.now.into(), unix }
    }

    /// What makes the other node a peer.
    pub fn peer_change(&self, side: Side) -> PeerChange {
        let peer = &self.nodes[other(side)];
        let mut change = PeerChange::new(peer.private_key.public_key());
        change.endpoint = Some(peer.address);
        let prefix = format!("{}/32", peer.inner).parse().unwrap();
        change.allowed_ips.push(wirelane_protocol::AllowedIpChange { prefix, remove: false });
        change
    }

    fn configure(&mut self, side: Side) {
        let change = DeviceChange {
            private_key: Some(Some(self.nodes[side].private_key.clone())),
            peers: vec![self.peer_change(side)],
            ..DeviceChange::default()
        };
        self.apply(side, change);
    }

    pub fn apply(&mut self, side: Side, change: DeviceChange) {
        let time = self.time(side);
        self.nodes[side].device.apply(change, time);
        self.settle(side);
    }

    /// Changes only the peer.
    pub fn apply_to_peer(&mut self, side: Side, change: impl FnOnce(&mut PeerChange)) {
        let mut peer = PeerChange::new(self.nodes[other(side)].private_key.public_key());
        change(&mut peer);
        self.apply(side, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    }

    /// The node forgets everything but its configuration.
    pub fn restart(&mut self, side: Side) {
        let (time, seed, timings) = (self.time(side), self.rng.next_u64(), self.timings);
        let old = &self.nodes[side];
        let mut new = Node::new(side, old.private_key.clone(), seed, time, timings);
        new.clock_offset_s = old.clock_offset_s;
        new.address = old.address;
        new.delivered = old.delivered.clone();
        new.used_nonces = old.used_nonces.clone();
        self.nodes[side] = new;
        self.configure(side);
    }

    pub fn peer(&self, side: Side) -> Arc<Peer> {
        self.nodes[side].device.peer(&self.nodes[other(side)].private_key.public_key()).unwrap()
    }

    /// Takes the interface down or up.
    pub fn set_up(&mut self, side: Side, up: bool) {
        let time = self.time(side);
        // One that comes up may call at once, as in Linux.
        self.nodes[side].last_initiation = None;
        self.nodes[side].device.set_up(up, time);
        self.settle(side);
    }

    /// Sends an inner packet with a number to the other node.
    pub fn send(&mut self, side: Side, number: u64) {
        let destination = self.nodes[other(side)].inner;
        let packet = inner_packet(self.nodes[side].inner, destination, number);
        self.send_packet(side, packet);
    }

    pub fn send_packet(&mut self, side: Side, packet: Vec<u8>) {
        let destination = Ipv4Addr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap());
        let routes = self.nodes[side].device.forwarding().routes();
        match routes.peer_towards(destination.into()) {
            Ok(peer) => self.send_to_peer(side, peer, packet),
            Err(reason) => self.nodes[side].count(reason),
        }
        self.settle(side);
    }

    fn send_to_peer(&mut self, side: Side, peer: &Arc<Peer>, packet: Vec<u8>) {
        let time = self.time(side);
        let sending = peer.sending();
        let usable = sending.as_ref().filter(|session| session.send_verdict(time.monotonic) != Verdict::Expired);
        if let Some(session) = usable {
            return self.transmit(side, peer, session, &packet);
        }
        match self.nodes[side].device.stage(peer.id(), packet, time) {
            Ok(Staging::Staged) => {}
            Ok(Staging::SendNow(packet)) => self.send_to_peer(side, peer, packet),
            Err(reason) => self.nodes[side].count(reason),
        }
    }

    fn transmit(&mut self, side: Side, peer: &Peer, session: &Session, packet: &[u8]) {
        let now = self.now.into();
        let payload = self.nodes[side].seal(session, packet, now);
        let bytes = payload.len() as u64;
        peer.record_sent(now, Traffic { packets: 1, bytes, carries_data: !packet.is_empty() });
        let endpoint = peer.endpoint().as_deref().copied().unwrap();
        self.put(side, endpoint.remote, payload);
    }

    /// Hands a datagram to the network.
    fn put(&mut self, side: Side, to: SocketAddr, payload: Vec<u8>) {
        let datagram = Datagram { from: self.nodes[side].address, to, payload };
        let duplicate = self.chance(self.link.duplicate_percent);
        for _ in 0..1 + u32::from(duplicate) {
            if !self.chance(self.link.loss_percent) {
                let delays = &self.link.delay_ms;
                let delay = delays.start + self.rng.next_u64() % (delays.end - delays.start);
                self.inject(datagram.clone(), Duration::from_millis(delay));
            }
        }
    }

    /// Puts a datagram where nobody expects it.
    pub fn inject(&mut self, datagram: Datagram, delay: Duration) {
        self.sequence += 1;
        self.flight.insert((self.now + delay, self.sequence), datagram);
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    /// Drops all datagrams that are under way.
    pub fn lose_flight(&mut self) {
        self.flight.clear();
    }

    pub fn in_flight(&self) -> impl Iterator<Item = &Datagram> {
        self.flight.values()
    }

    /// Lets time pass.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let wake = |node: &Node| node.wake_at.map(|at| Duration::from_nanos(at.as_nanos()));
            let wakes = self.nodes.iter().filter_map(wake);
            let Some(next) = wakes.chain(self.flight.keys().map(|(at, _)| *at).next()).min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let datagram = entry.remove();
                self.arrive(datagram);
            }
            self.settle(A);
            self.settle(B);
        }
        self.now = end;
    }

    pub fn advance_s(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    fn arrive(&mut self, datagram: Datagram) {
        let Some(side) = [A, B].into_iter().find(|side| self.nodes[*side].address == datagram.to) else { return };
        match self.receive(side, &datagram) {
            Ok(()) if datagram.from != ATTACKER => self.captured.push(datagram),
            Ok(()) => {}
            Err(reason) => self.nodes[side].count(reason),
        }
        self.settle(side);
    }

    /// What an engine does with a datagram.
    pub fn receive(&mut self, side: Side, datagram: &Datagram) -> Result<(), DropReason> {
        let time = self.time(side);
        let node = &mut self.nodes[side];
        let source = Endpoint::new(datagram.from);
        if classify(&datagram.payload)? != MessageKind::Transport {
            return node.device.handle_handshake(&datagram.payload, &source, time, node.under_load);
        }
        let header = TransportHeader::parse(&datagram.payload)?;
        let receiver = node.device.forwarding().receiver(header.receiver_index)?;
        let session = &receiver.session;
        if session.receive_verdict(time.monotonic) == Verdict::Expired {
            return Err(DropReason::SessionExpired);
        }
        let plaintext = ChaCha20Poly1305::new(session.receive_key().into())
            .decrypt(&nonce(header.counter).into(), &datagram.payload[16..])
            .map_err(|_| DropReason::InvalidTransport)?;
        if !session.replay().accept(header.counter) {
            return Err(DropReason::ReplayedCounter);
        }
        receiver.peer.roam(&source);
        let (bytes, carries_data) = (datagram.payload.len() as u64, !plaintext.is_empty());
        receiver.peer.record_received(time.monotonic, Traffic { packets: 1, bytes, carries_data });
        if !session.is_confirmed() {
            node.device.confirm(&receiver, time);
        }
        if plaintext.is_empty() {
            return Ok(());
        }
        let source = Ipv4Addr::from(<[u8; 4]>::try_from(&plaintext[12..16]).unwrap());
        if !node.device.forwarding().routes().is_allowed(source.into(), &receiver.peer) {
            return Err(DropReason::SourceNotAllowed);
        }
        node.delivered.push(u64::from_be_bytes(plaintext[20..28].try_into().unwrap()));
        Ok(())
    }

    /// Does all that a device asks for, and notes when it wants to be polled.
    pub fn settle(&mut self, side: Side) {
        let time = self.time(side);
        self.nodes[side].wake_at = self.nodes[side].device.poll(time);
        while let Some(transmit) = self.nodes[side].device.poll_transmit() {
            if classify(&transmit.payload) == Ok(MessageKind::Initiation) {
                self.check_initiation_rate(side);
            }
            self.put(side, transmit.endpoint.remote, transmit.payload);
        }
        while let Some(event) = self.nodes[side].device.poll_event() {
            self.handle(side, event);
        }
        let wake_at = self.nodes[side].device.poll(time);
        assert!(wake_at.is_none_or(|at| at > time.monotonic), "polling makes progress");
        self.nodes[side].wake_at = wake_at;
    }

    fn check_initiation_rate(&mut self, side: Side) {
        let now = self.now;
        self.nodes[side].initiations.push(now);
        if let Some(last) = self.nodes[side].last_initiation.replace(now) {
            assert!(now - last >= self.timings.rekey_timeout, "initiations keep their distance");
        }
    }

    fn handle(&mut self, side: Side, event: Event) {
        match event {
            Event::SessionEstablished { .. } => self.nodes[side].established += 1,
            Event::SendKeepalive { peer, session } => {
                let now = self.now;
                self.nodes[side].keepalives.push(now);
                self.transmit(side, &peer, &session, &[]);
            }
            Event::SendStaged { peer, session, packets } => {
                assert!(!peer.sending().as_ref().is_some_and(|sending| Arc::ptr_eq(sending, &session)));
                for packet in packets {
                    self.transmit(side, &peer, &session, &packet);
                }
                let time = self.time(side);
                self.nodes[side].device.staged_sent(peer.id(), time);
            }
            Event::Dropped { reason, packets, .. } => *self.nodes[side].drops.entry(reason).or_default() += packets,
        }
    }
}

/// An IPv4 packet, as far as routing looks at it, with a number inside.
pub fn inner_packet(source: Ipv4Addr, destination: Ipv4Addr, number: u64) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet[20..].copy_from_slice(&number.to_be_bytes());
    packet
}
