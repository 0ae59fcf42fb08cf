//! Changing a device: what the UAPI's `set=1` may say.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wirelane_protocol::{
    AllowedIpChange, Device, DeviceChange, DropReason, PeerChange, PrivateKey, PublicKey, Role, Time, Timings,
};

use crate::simulation::{A, B, World, inner_packet};

fn add(prefix: &str) -> AllowedIpChange {
    AllowedIpChange { prefix: prefix.parse().unwrap(), remove: false }
}

fn remove(prefix: &str) -> AllowedIpChange {
    AllowedIpChange { remove: true, ..add(prefix) }
}

fn now() -> Time {
    Time { monotonic: Duration::from_secs(1).into(), unix: Duration::from_secs(1) }
}

fn device() -> Device {
    Device::new(Box::new(ChaCha20Rng::seed_from_u64(1)), Timings::default(), now())
}

fn peer(number: u8) -> PublicKey {
    PublicKey::from([number; 32])
}

fn apply(device: &mut Device, peers: Vec<PeerChange>) {
    device.apply(DeviceChange { peers, ..DeviceChange::default() }, now());
}

fn with_ips(number: u8, allowed_ips: Vec<AllowedIpChange>) -> PeerChange {
    PeerChange { allowed_ips, ..PeerChange::new(peer(number)) }
}

/// Each peer's allowed IPs, as text.
fn allowed_ips(device: &Device) -> Vec<(PublicKey, String)> {
    let text =
        |prefixes: &[wirelane_protocol::Prefix]| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    device.snapshot().peers.iter().map(|peer| (peer.public_key, text(&peer.allowed_ips))).collect()
}

fn owner(device: &Device, address: &str) -> Option<PublicKey> {
    let routes = device.forwarding().routes();
    routes.lookup(address.parse().unwrap()).map(|peer| *peer.public_key())
}

#[test]
fn an_allowed_ip_moves_from_peer_to_peer() {
    let mut device = device();
    apply(
        &mut device,
        vec![with_ips(1, vec![add("10.0.0.0/8"), add("fd00::/64")]), with_ips(2, vec![add("10.0.0.0/8")])],
    );
    assert_eq!(allowed_ips(&device), [(peer(1), "fd00::/64".into()), (peer(2), "10.0.0.0/8".into())]);
    assert_eq!(owner(&device, "10.1.1.1"), Some(peer(2)));
    apply(&mut device, vec![with_ips(1, vec![add("10.1.0.0/16")])]);
    assert_eq!((owner(&device, "10.1.1.1"), owner(&device, "10.2.1.1")), (Some(peer(1)), Some(peer(2))));
}

#[test]
fn an_allowed_ip_is_removed_only_from_its_owner() {
    let mut device = device();
    apply(
        &mut device,
        vec![with_ips(1, vec![add("10.0.0.0/8"), add("::/0")]), with_ips(2, vec![remove("10.0.0.0/8")])],
    );
    assert_eq!(owner(&device, "10.1.1.1"), Some(peer(1)));
    apply(&mut device, vec![with_ips(1, vec![remove("10.0.0.0/8")])]);
    assert_eq!(owner(&device, "10.1.1.1"), None);
    apply(&mut device, vec![PeerChange { replace_allowed_ips: true, ..with_ips(1, vec![add("0.0.0.0/0")]) }]);
    assert_eq!(allowed_ips(&device), [(peer(1), "0.0.0.0/0".into()), (peer(2), String::new())]);
    assert_eq!(owner(&device, "::1"), None);
}

#[test]
fn peers_come_and_go() {
    let mut device = device();
    apply(&mut device, vec![PeerChange { update_only: true, ..PeerChange::new(peer(1)) }]);
    assert!(device.peer(&peer(1)).is_none());
    apply(&mut device, vec![with_ips(1, vec![add("10.0.0.0/8")]), PeerChange::new(peer(2))]);
    let old = device.peer(&peer(1)).unwrap();
    apply(&mut device, vec![PeerChange { remove: true, ..PeerChange::new(peer(1)) }]);
    apply(&mut device, vec![PeerChange { remove: true, ..PeerChange::new(peer(9)) }]);
    assert!(device.peer(&peer(1)).is_none() && device.peer(&peer(2)).is_some());
    assert_eq!(owner(&device, "10.0.0.1"), None);
    device.apply(DeviceChange { private_key: Some(Some(PrivateKey::from([1; 32]))), ..DeviceChange::default() }, now());
    assert_eq!(device.stage(old.id(), vec![], now()), Err(DropReason::PeerRemoved));
    device.apply(
        DeviceChange { replace_peers: true, peers: vec![PeerChange::new(peer(3))], ..DeviceChange::default() },
        now(),
    );
    assert_eq!(allowed_ips(&device), [(peer(3), String::new())]);
}

#[test]
fn a_snapshot_shows_what_was_set_and_what_happened() {
    let mut world = World::new(1);
    world.apply(A, DeviceChange { listen_port: Some(51820), fwmark: Some(7), ..DeviceChange::default() });
    world.apply_to_peer(A, |peer| peer.persistent_keepalive_s = Some(25));
    world.advance_s(1);
    let snapshot = world.nodes[A].device.snapshot();
    assert_eq!((snapshot.listen_port, snapshot.fwmark), (51820, 7));
    assert!(snapshot.private_key.as_ref() == Some(&world.nodes[A].private_key));
    let peer = &snapshot.peers[0];
    assert_eq!(peer.endpoint, Some(world.nodes[B].address));
    assert_eq!(peer.persistent_keepalive_s, 25);
    // Initiation and keepalive; response.
    assert_eq!((peer.tx_bytes, peer.rx_bytes), (148 + 32, 92));
    assert!(world.time(A).unix - peer.last_handshake_time < Duration::from_secs(1));
    let peer = &world.nodes[B].device.snapshot().peers[0];
    assert_eq!((peer.tx_bytes, peer.rx_bytes), (92, 148 + 32));
    assert!(!format!("{snapshot:?}").contains(world.nodes[A].private_key.to_hex().as_str()));
}

#[test]
fn without_key_endpoint_or_route_packets_are_refused() {
    let mut device = device();
    apply(&mut device, vec![with_ips(1, vec![add("10.0.0.0/8")])]);
    let id = device.peer(&peer(1)).unwrap().id();
    assert_eq!(device.stage(id, vec![], now()), Err(DropReason::NoPrivateKey));
    device.apply(DeviceChange { private_key: Some(Some(PrivateKey::from([1; 32]))), ..DeviceChange::default() }, now());
    assert_eq!(device.stage(id, vec![], now()), Err(DropReason::NoEndpoint));
    assert_eq!(device.forwarding().routes().peer_towards("11.0.0.1".parse().unwrap()).err(), Some(DropReason::NoRoute));
    device.set_up(false, now());
    assert_eq!(device.stage(id, vec![], now()), Err(DropReason::DeviceDown));
}

#[test]
fn a_new_private_key_ends_what_the_old_one_began() {
    let mut world = World::new(2);
    world.send(A, 1);
    world.advance_s(10);
    let same = DeviceChange { private_key: Some(Some(world.nodes[A].private_key.clone())), ..DeviceChange::default() };
    world.apply(A, same);
    world.send(A, 2);
    world.advance_s(1);
    assert_eq!(
        (world.nodes[A].initiations.len(), world.nodes[B].delivered.len()),
        (1, 2),
        "the same key changes nothing"
    );

    world.nodes[A].private_key = PrivateKey::from([9; 32]);
    let key = world.nodes[A].private_key.clone();
    world.apply(A, DeviceChange { private_key: Some(Some(key)), ..DeviceChange::default() });
    world.send(A, 3);
    world.advance_s(20);
    assert_eq!(world.nodes[B].delivered.len(), 2);
    assert!(world.nodes[B].drops_of(DropReason::UnknownPeer) >= 1);
    let change = DeviceChange { replace_peers: true, peers: vec![world.peer_change(B)], ..DeviceChange::default() };
    world.apply(B, change);
    world.advance_s(10);
    assert_eq!(world.nodes[B].delivered, [1, 2, 3]);
}

#[test]
fn a_device_is_not_its_own_peer() {
    let mut device = device();
    let own = PrivateKey::from([5; 32]);
    apply(&mut device, vec![PeerChange::new(own.public_key())]);
    device.apply(DeviceChange { private_key: Some(Some(own.clone())), ..DeviceChange::default() }, now());
    assert!(device.peer(&own.public_key()).is_none());
    apply(&mut device, vec![PeerChange::new(own.public_key())]);
    assert!(device.peer(&own.public_key()).is_none());
}

#[test]
fn a_peer_with_a_key_of_low_order_does_no_harm() {
    let mut device = device();
    device.apply(DeviceChange { private_key: Some(Some(PrivateKey::from([1; 32]))), ..DeviceChange::default() }, now());
    let endpoint = Some("192.0.2.1:1".parse().unwrap());
    apply(&mut device, vec![PeerChange { endpoint, ..PeerChange::new(PublicKey::from([0; 32])) }]);
    let id = device.peer(&PublicKey::from([0; 32])).unwrap().id();
    assert!(device.initiate(id, now()).is_ok());
    assert!(device.poll_transmit().is_none());
}

#[test]
fn a_device_that_went_down_comes_up_again() {
    let mut world = World::new(3);
    world.apply_to_peer(A, |peer| peer.persistent_keepalive_s = Some(25));
    world.advance_s(1);
    world.set_up(A, false);
    assert!(world.peer(A).sending().is_none());
    let before = world.nodes[A].initiations.len();
    world.send(A, 1);
    world.send(B, 2);
    world.advance_s(600);
    assert_eq!(world.nodes[A].initiations.len(), before, "silent while down");
    assert!(world.nodes[A].drops_of(DropReason::DeviceDown) >= 2 && world.nodes[A].delivered.is_empty());
    world.set_up(A, true);
    world.advance_s(1);
    assert_eq!(world.peer(A).sending().as_ref().map(|session| session.role()), Some(Role::Initiator));
}

#[test]
fn a_source_address_of_another_peer_is_refused() {
    let mut world = World::new(4);
    let forged = inner_packet(Ipv4Addr::new(10, 9, 9, 9), world.nodes[B].inner, 1);
    world.send_packet(A, forged);
    world.advance_s(1);
    assert_eq!(world.nodes[B].drops_of(DropReason::SourceNotAllowed), 1);
    let unroutable = inner_packet(world.nodes[A].inner, Ipv4Addr::new(10, 9, 9, 9), 1);
    world.send_packet(A, unroutable);
    assert_eq!(world.nodes[A].drops_of(DropReason::NoRoute), 1);
    assert!(world.nodes[B].delivered.is_empty());
}

#[test]
fn thousands_of_peers_are_added_without_disturbing_a_session() {
    let mut world = World::new(5);
    world.send(A, 1);
    world.advance_s(1);
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let peers = (0..3000u32).map(|number| {
        let mut key = [0; 32];
        rand_core::Rng::fill_bytes(&mut rng, &mut key);
        let prefix = format!("{}/32", Ipv4Addr::from(0x0b00_0000 + number));
        PeerChange { allowed_ips: vec![add(&prefix)], ..PeerChange::new(PublicKey::from(key)) }
    });
    world.apply(A, DeviceChange { peers: peers.collect(), ..DeviceChange::default() });
    for number in 2..200 {
        world.send(A, number);
        world.send(B, number);
        world.advance_s(1);
    }
    assert_eq!((world.nodes[A].delivered.len(), world.nodes[B].delivered.len()), (198, 199));
    assert_eq!(world.nodes[A].initiations.len(), 2);
    assert!(owner(&world.nodes[A].device, "11.0.11.183").is_some());
}
