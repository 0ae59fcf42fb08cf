//! Handshake messages, cookie replies and the state machine behind them: two devices and an attacker between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use blake2::digest::{KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wirelane_packet::Endpoint;
use wirelane_protocol::{
    Device, DeviceChange, Event, MessageKind, Peer, PeerChange, PresharedKey, PrivateKey, PublicKey, Session, Time,
    Timings, TransportHeader, classify,
};

const MAC_LEN: usize = 16;
/// Most messages that the network holds; the oldest are lost.
const MAX_PENDING: usize = 16;

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, side as u8 + 1], 51820))
}

fn attacker() -> Endpoint {
    Endpoint::new(SocketAddr::from(([203, 0, 113, 9], 9)))
}

struct World {
    devices: [Device; 2],
    keys: [PublicKey; 2],
    now: Duration,
    under_load: [bool; 2],
    /// For which side, and what.
    pending: Vec<(usize, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let now = Duration::from_secs(1000);
        let time = Time { monotonic: now.into(), unix: now };
        let private = [PrivateKey::from([1; 32]), PrivateKey::from([2; 32])];
        let keys = [private[0].public_key(), private[1].public_key()];
        let device = |side: usize| {
            let rng = ChaCha20Rng::seed_from_u64(side as u64);
            let mut device = Device::new(Box::new(rng), Timings::default(), time);
            let peer = PeerChange { endpoint: Some(address(1 - side)), ..PeerChange::new(keys[1 - side]) };
            let private_key = Some(Some(private[side].clone()));
            device.apply(DeviceChange { private_key, peers: vec![peer], ..DeviceChange::default() }, time);
            device
        };
        Self { devices: [device(0), device(1)], keys, now, under_load: [false; 2], pending: Vec::new() }
    }

    fn time(&self) -> Time {
        Time { monotonic: self.now.into(), unix: self.now }
    }

    fn peer(&self, side: usize) -> Arc<Peer> {
        self.devices[side].peer(&self.keys[1 - side]).expect("peers are never removed here")
    }

    fn deliver(&mut self, side: usize, datagram: &[u8], source: &Endpoint) -> bool {
        let (time, under_load) = (self.time(), self.under_load[side]);
        let accepted = self.devices[side].handle_handshake(datagram, source, time, under_load).is_ok();
        self.settle(side);
        accepted
    }

    /// Does what a device asks for, as an engine would.
    fn settle(&mut self, side: usize) {
        let time = self.time();
        self.devices[side].poll(time);
        loop {
            while let Some(transmit) = self.devices[side].poll_transmit() {
                assert_ne!(classify(&transmit.payload), Ok(MessageKind::Transport));
                self.pending.push((1 - side, transmit.payload));
            }
            let Some(event) = self.devices[side].poll_event() else { break };
            match event {
                Event::SendStaged { peer, session, packets } => {
                    assert!(!packets.is_empty());
                    self.carry(side, &session);
                    self.devices[side].staged_sent(peer.id(), time);
                }
                Event::SendKeepalive { session, .. } => self.carry(side, &session),
                Event::SessionEstablished { .. } | Event::Dropped { .. } => {}
            }
        }
        let overflow = self.pending.len().saturating_sub(MAX_PENDING);
        self.pending.drain(..overflow);
        assert!(self.devices[side].poll(time).is_none_or(|next| next > time.monotonic), "polling makes progress");
        let endpoint = self.peer(side).endpoint().as_deref().copied();
        assert_ne!(endpoint.map(|e| e.remote), Some(attacker().remote), "an attacker moves nobody");
    }

    /// A transport packet arrives at once: both ends of a session have the same keys.
    fn carry(&mut self, side: usize, session: &Session) {
        let header = TransportHeader { receiver_index: session.remote_index(), counter: 0 };
        let header = TransportHeader::parse(&header.to_bytes()).expect("it is long enough");
        let Ok(receiver) = self.devices[1 - side].forwarding().receiver(header.receiver_index) else { return };
        assert_eq!(receiver.session.receive_key(), session.send_key());
        assert_eq!(receiver.session.send_key(), session.receive_key());
        assert_ne!(receiver.session.role(), session.role());
        if !receiver.session.is_confirmed() {
            let time = self.time();
            self.devices[1 - side].confirm(&receiver, time);
        }
    }
}

/// Anything as a message of any kind, if wanted with a mac1 that is right: whoever knows the public key can do that.
fn forged(input: &mut Unstructured<'_>, receiver: &PublicKey) -> Result<Vec<u8>> {
    let (kind, has_mac): (u8, bool) = input.arbitrary()?;
    let len = match kind {
        1 => 148,
        2 => 92,
        3 => 64,
        _ => usize::from(input.arbitrary::<u8>()?),
    };
    let mut message = vec![0; len];
    input.fill_buffer(&mut message)?;
    if let Some(head) = message.first_chunk_mut::<4>() {
        *head = [kind, 0, 0, 0];
    }
    if has_mac && len > 2 * MAC_LEN {
        let key = Blake2s256::new().chain_update(b"mac1----").chain_update(receiver.as_bytes()).finalize();
        let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key).expect("32 bytes");
        mac.update(&message[..len - 2 * MAC_LEN]);
        message[len - 2 * MAC_LEN..len - MAC_LEN].copy_from_slice(&mac.finalize().into_bytes());
    }
    Ok(message)
}

fn step(world: &mut World, input: &mut Unstructured<'_>) -> Result<()> {
    let choice: u8 = input.arbitrary()?;
    let side = usize::from(choice >> 7);
    let time = world.time();
    match choice & 0x0f {
        0 | 1 => {
            let peer = world.peer(side).id();
            // Refused while the device is down.
            let _ = world.devices[side].initiate(peer, time);
        }
        2..=5 if !world.pending.is_empty() => {
            let which = input.choose_index(world.pending.len())?;
            let (to, datagram) = world.pending.remove(which);
            world.deliver(to, &datagram, &Endpoint::new(address(1 - to)));
        }
        6 | 7 if !world.pending.is_empty() => {
            let which = input.choose_index(world.pending.len())?;
            let (to, mut datagram) = world.pending[which].clone();
            // mac2 counts under load only; every other bit always does.
            let covered = if datagram.len() == 64 { 64 } else { datagram.len() - MAC_LEN };
            let at = input.choose_index(covered)?;
            datagram[at] ^= input.int_in_range(1..=255u8)?;
            assert!(!world.deliver(to, &datagram, &attacker()), "a changed message was accepted");
        }
        8 | 9 => {
            let message = forged(input, &world.keys[side])?;
            assert!(!world.deliver(side, &message, &attacker()), "a forged message was accepted");
        }
        10 => world.now += Duration::from_millis(input.arbitrary::<u16>()?.into()),
        11 => world.now += Duration::from_secs(input.arbitrary::<u8>()?.into()),
        12 => world.under_load[side] = !world.under_load[side],
        13 => {
            let up = input.arbitrary()?;
            world.devices[side].set_up(up, time);
        }
        14 => {
            let peer = world.peer(side).id();
            // Refused while the device is down.
            let _ = world.devices[side].stage(peer, vec![0x45; 20], time);
        }
        _ => {
            let preshared_key = Some(PresharedKey::from([input.arbitrary::<u8>()? & 1; 32]));
            let peer = PeerChange { preshared_key, ..PeerChange::new(world.keys[1 - side]) };
            world.devices[side].apply(DeviceChange { peers: vec![peer], ..DeviceChange::default() }, time);
        }
    }
    world.settle(0);
    world.settle(1);
    Ok(())
}

/// Whatever two devices, their clock and an attacker do: no panic, nothing forged or changed is accepted, nobody is
/// moved, and the two ends of every session that carries something have the same keys.
pub fn handshake(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut world = World::new();
    while !input.is_empty() {
        if step(&mut world, &mut input).is_err() {
            return;
        }
    }
}
