//! One thing after the other: each test tells a story from the paper.

use std::time::Duration;

use wirelane_packet::{Endpoint, LocalAddr};
use wirelane_protocol::{DeviceChange, DropReason, MessageKind, PresharedKey, Role, Timings};

use crate::simulation::{A, ATTACKER, B, Datagram, World, other};

/// A session between the two, one packet each way.
fn connected(seed: u64) -> World {
    let mut world = World::new(seed);
    world.send(A, 1);
    world.advance_s(1);
    world.send(B, 2);
    world.advance_s(1);
    assert_eq!((world.nodes[B].delivered.as_slice(), world.nodes[A].delivered.as_slice()), (&[1][..], &[2][..]));
    world
}

fn role(world: &World, side: usize) -> Option<Role> {
    world.peer(side).sending().as_ref().map(|session| session.role())
}

#[test]
fn the_first_packet_waits_for_the_handshake_and_confirms_it() {
    let mut world = World::new(1);
    world.send(A, 1);
    assert!(world.in_flight().all(|datagram| datagram.is(MessageKind::Initiation)));
    assert!(world.peer(A).sending().is_none());
    world.advance_s(1);
    assert_eq!(world.nodes[B].delivered, [1]);
    assert_eq!((role(&world, A), role(&world, B)), (Some(Role::Initiator), Some(Role::Responder)));
    assert_eq!((world.nodes[A].established, world.nodes[B].established), (1, 1));
    assert!(world.nodes[A].keepalives.is_empty(), "the packet was confirmation enough");
    assert!(world.nodes.iter().all(|node| node.drops.is_empty()));
}

#[test]
fn staged_packets_leave_in_order_and_before_later_ones() {
    let mut world = World::new(2);
    for number in 0..100 {
        world.send(A, number);
    }
    world.advance_s(1);
    for number in 100..110 {
        world.send(A, number);
    }
    world.advance_s(1);
    assert!(world.nodes[B].delivered.iter().copied().eq(0..110));
}

#[test]
fn only_so_many_packets_wait_and_the_oldest_go_first() {
    let mut world = World::new(3);
    for number in 0..200 {
        world.send(A, number);
    }
    world.advance_s(1);
    assert!(world.nodes[B].delivered.iter().copied().eq(72..200));
    assert_eq!(world.nodes[A].drops_of(DropReason::StagedOverflow), 72);
}

#[test]
fn a_responder_does_not_send_before_it_has_heard_the_initiator() {
    let mut world = World::new(4);
    let (a, time) = (world.peer(A), world.time(A));
    world.nodes[A].device.initiate(a.id(), time).unwrap();
    world.settle(A);
    world.advance(Duration::from_millis(7));
    assert!(world.in_flight().all(|datagram| datagram.is(MessageKind::Response)));
    assert!(world.peer(B).sending().is_none());
    world.advance(Duration::from_millis(10));
    assert_eq!(world.nodes[A].keepalives.len(), 1, "the initiator confirms with a keepalive");
    assert_eq!(role(&world, B), Some(Role::Responder));
}

#[test]
fn the_initiator_renews_the_session_after_two_minutes_when_it_sends() {
    let mut world = connected(5);
    for second in 0..400u64 {
        world.send(A, 1000 + second);
        world.send(B, 2000 + second);
        world.advance_s(1);
    }
    assert!((3..=4).contains(&world.nodes[A].initiations.len()), "{:?}", world.nodes[A].initiations);
    assert!(world.nodes[B].initiations.is_empty());
    assert_eq!((world.nodes[A].delivered.len(), world.nodes[B].delivered.len()), (401, 401));
    let gap = world.nodes[A].initiations[1] - world.nodes[A].initiations[0];
    assert!((120..123).contains(&gap.as_secs()), "{gap:?}");
    assert!(world.nodes.iter().all(|node| node.drops.is_empty()));
}

#[test]
fn an_initiator_that_only_receives_renews_it_in_time() {
    let mut world = connected(6);
    for second in 0..360u64 {
        world.send(B, 1000 + second);
        world.advance_s(1);
    }
    // Its passive keepalives count as sending, so it need not wait for 165 s.
    assert_eq!(world.nodes[A].delivered.len(), 361);
    assert!(world.nodes[B].initiations.is_empty() && world.nodes[A].initiations.len() >= 3);
}

#[test]
fn nothing_is_said_when_there_is_nothing_to_say() {
    let mut world = connected(7);
    world.advance_s(30);
    // The reply to packet 1 was packet 2, and A's reply to that was a keepalive.
    assert_eq!((world.nodes[A].keepalives.len(), world.nodes[B].keepalives.len()), (1, 0));
    let before = world.captured.len();
    world.advance_s(3600);
    assert_eq!(world.captured.len(), before);
}

#[test]
fn a_peer_that_only_receives_sends_a_keepalive_every_ten_seconds() {
    let mut world = connected(8);
    for _ in 0..100 {
        world.send(A, 3);
        world.advance_s(1);
    }
    let keepalives = &world.nodes[B].keepalives;
    assert!((8..=10).contains(&keepalives.len()), "{keepalives:?}");
    assert!(keepalives.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(10)));
    assert_eq!(world.nodes[A].initiations.len(), 1);
}

#[test]
fn a_peer_that_vanishes_is_called_for_ninety_seconds_and_found_again() {
    let mut world = connected(9);
    world.link.loss_percent = 100;
    let start = world.now;
    world.send(A, 3);
    world.advance_s(14);
    assert_eq!(world.nodes[A].initiations.len(), 1);
    world.advance_s(300);
    let calls: Vec<_> = world.nodes[A].initiations[1..].iter().map(|at| (*at - start).as_secs()).collect();
    assert!((15..=16).contains(&calls[0]), "{calls:?}");
    assert!((15..=18).contains(&calls.len()) && *calls.last().unwrap() <= 110, "{calls:?}");
    world.link.loss_percent = 0;
    world.send(A, 4);
    world.advance_s(1);
    assert_eq!(world.nodes[B].delivered, [1, 4]);
}

#[test]
fn what_waits_is_dropped_when_the_handshake_is_given_up() {
    let mut world = World::new(10);
    world.link.loss_percent = 100;
    for number in 0..10 {
        world.send(A, number);
    }
    world.advance_s(200);
    assert_eq!(world.nodes[A].drops_of(DropReason::StagedPurged), 10);
    assert!((16..=19).contains(&world.nodes[A].initiations.len()));
}

#[test]
fn either_side_may_restart() {
    for side in [A, B] {
        let mut world = connected(11);
        world.restart(side);
        world.send(side, 10);
        world.advance_s(1);
        assert_eq!(world.nodes[other(side)].delivered.last(), Some(&10), "the one that restarted calls");
        world.restart(side);
        for number in 20..60 {
            world.send(other(side), number);
            world.advance_s(1);
        }
        assert_eq!(world.nodes[side].delivered.last(), Some(&59), "the other one notices");
    }
}

#[test]
fn both_may_call_at_once() {
    let mut world = World::new(12);
    for number in 0..3 {
        world.send(A, number);
        world.send(B, 10 + number);
    }
    world.advance_s(2);
    assert_eq!(world.nodes[B].delivered, [0, 1, 2]);
    assert_eq!(world.nodes[A].delivered, [10, 11, 12]);
    for number in 0..300 {
        world.send(A, 100 + number);
        world.send(B, 1000 + number);
        world.advance_s(1);
    }
    assert_eq!((world.nodes[A].delivered.len(), world.nodes[B].delivered.len()), (303, 303));
}

#[test]
fn a_peer_roams_with_its_authentic_packets() {
    let mut world = connected(13);
    world.nodes[A].address = "203.0.113.9:1234".parse().unwrap();
    world.send(A, 3);
    world.advance_s(1);
    world.send(B, 4);
    world.advance_s(1);
    assert_eq!(world.peer(B).endpoint().as_ref().unwrap().remote, world.nodes[A].address);
    assert_eq!(world.nodes[A].delivered, [2, 4]);
}

#[test]
fn replays_change_nothing() {
    let mut world = connected(14);
    let endpoints = [A, B].map(|side| *world.peer(side).endpoint().as_deref().unwrap());
    let established = [A, B].map(|side| world.nodes[side].established);
    let captured = world.captured.clone();
    assert!(captured.iter().any(|datagram| datagram.is(MessageKind::Initiation)));
    for datagram in captured {
        world.inject(Datagram { from: ATTACKER, ..datagram }, Duration::ZERO);
    }
    world.advance_s(1);
    assert_eq!([A, B].map(|side| *world.peer(side).endpoint().as_deref().unwrap()), endpoints);
    assert_eq!([A, B].map(|side| world.nodes[side].established), established);
    assert_eq!((world.nodes[B].delivered.as_slice(), world.nodes[A].delivered.as_slice()), (&[1][..], &[2][..]));
    assert_eq!(world.nodes[B].drops_of(DropReason::ReplayedInitiation), 1);
    assert!(world.nodes[B].drops_of(DropReason::ReplayedCounter) >= 1);
    assert_eq!(world.nodes[A].drops_of(DropReason::UnexpectedResponse), 1);
}

#[test]
fn under_load_only_a_cookie_opens_the_door() {
    let mut world = World::new(15);
    world.nodes[B].under_load = true;
    world.send(A, 1);
    world.advance_s(4);
    assert_eq!(world.nodes[B].drops_of(DropReason::CookieRequired), 1);
    assert!(world.nodes[B].delivered.is_empty());
    world.advance_s(3);
    assert_eq!(world.nodes[B].delivered, [1], "the next initiation has the cookie's MAC");
    assert_eq!(world.nodes[A].initiations.len(), 2);
}

#[test]
fn under_load_a_source_with_a_cookie_is_limited() {
    let mut world = World::new(16);
    world.nodes[B].under_load = true;
    world.send(A, 1);
    world.advance_s(5);
    while !world.in_flight().any(|datagram| datagram.is(MessageKind::Initiation)) {
        world.advance(Duration::from_millis(1));
    }
    let initiation = world.in_flight().next().unwrap().clone();
    let results: Vec<_> = (0..8).map(|_| world.receive(B, &initiation)).collect();
    assert_eq!(results.iter().filter(|result| **result == Err(DropReason::RateLimited)).count(), 3);
    assert_eq!(results[0], Ok(()));
}

#[test]
fn initiations_too_close_together_are_refused() {
    // A second device with A's key can make initiations as often as it likes.
    let mut world = World::with_timings(17, Timings { rekey_timeout: Duration::from_millis(1), ..Timings::default() });
    let (peer, mut accepted) = (world.peer(A), 0);
    for _ in 0..100 {
        let time = world.time(A);
        world.nodes[A].device.initiate(peer.id(), time).unwrap();
        while let Some(transmit) = world.nodes[A].device.poll_transmit() {
            let datagram =
                Datagram { from: world.nodes[A].address, to: world.nodes[B].address, payload: transmit.payload };
            accepted += u32::from(world.receive(B, &datagram).is_ok());
        }
        world.nodes[A].device.poll(time);
        world.now += Duration::from_millis(2);
    }
    assert!((5..=10).contains(&accepted), "{accepted} in 200 ms");
}

#[test]
fn a_wrong_preshared_key_lets_nobody_in_and_a_new_one_is_used_at_the_next_handshake() {
    let mut world = connected(18);
    world.apply_to_peer(A, |peer| peer.preshared_key = Some(PresharedKey::from([7; 32])));
    world.send(A, 3);
    world.advance_s(1);
    assert_eq!(world.nodes[B].delivered, [1, 3], "the session that is there goes on");
    world.advance_s(200);
    world.send(A, 4);
    world.advance_s(1);
    assert_eq!(world.nodes[A].drops_of(DropReason::InvalidHandshake), 1);
    assert_eq!(world.nodes[B].delivered, [1, 3]);
    world.apply_to_peer(B, |peer| peer.preshared_key = Some(PresharedKey::from([7; 32])));
    world.advance_s(10);
    assert_eq!(world.nodes[B].delivered, [1, 3, 4]);
}

#[test]
fn a_persistent_keepalive_opens_and_keeps_the_way() {
    let mut world = World::new(19);
    world.apply_to_peer(A, |peer| peer.persistent_keepalive_s = Some(25));
    world.advance_s(1);
    assert_eq!((role(&world, A), role(&world, B)), (Some(Role::Initiator), Some(Role::Responder)));
    world.advance_s(1000);
    let keepalives = &world.nodes[A].keepalives;
    assert!(keepalives.windows(2).all(|pair| pair[1] - pair[0] <= Duration::from_millis(25_010)), "{keepalives:?}");
    assert!(keepalives.len() >= 40);
    world.apply_to_peer(A, |peer| peer.persistent_keepalive_s = Some(0));
    let before = world.nodes[A].keepalives.len();
    world.advance_s(1000);
    assert_eq!(world.nodes[A].keepalives.len(), before);
}

#[test]
fn a_persistent_keepalive_goes_on_calling_a_peer_that_is_away() {
    let mut world = World::new(20);
    world.link.loss_percent = 100;
    world.apply_to_peer(A, |peer| peer.persistent_keepalive_s = Some(25));
    world.advance_s(3600);
    world.link.loss_percent = 0;
    world.advance_s(40);
    assert!(world.peer(B).sending().is_some());
}

#[test]
fn keys_are_wiped_after_nine_minutes() {
    let mut world = connected(21);
    let session = std::sync::Arc::downgrade(world.peer(A).sending().as_ref().unwrap());
    world.advance_s(530);
    assert!(session.upgrade().is_some());
    world.advance_s(20);
    assert!(session.upgrade().is_none());
    assert!(world.peer(A).sending().is_none());
}

#[test]
fn an_old_session_is_not_received_on() {
    let mut world = connected(22);
    world.send(A, 3);
    let late = world.in_flight().next().unwrap().clone();
    world.lose_flight();
    world.advance_s(200);
    world.link.loss_percent = 100;
    assert_eq!(world.receive(B, &late), Err(DropReason::SessionExpired));
}

#[test]
fn the_sticky_source_is_forgotten_when_the_peer_does_not_answer() {
    let mut world = connected(23);
    let local = LocalAddr { ip: world.nodes[A].address.ip(), interface: 3 };
    let endpoint = Endpoint { remote: world.nodes[B].address, local: Some(local) };
    assert!(world.peer(A).roam(&endpoint) && !world.peer(A).roam(&endpoint));
    world.link.loss_percent = 100;
    world.send(A, 3);
    world.advance_s(14);
    assert_eq!(world.peer(A).endpoint().as_deref(), Some(&endpoint));
    assert!(!world.peer(A).is_silent());
    world.advance_s(4);
    assert_eq!(world.peer(A).endpoint().as_deref(), Some(&Endpoint::new(endpoint.remote)));
    assert!(world.peer(A).is_silent(), "it has a session, and does not answer");
    world.link.loss_percent = 0;
    world.advance_s(10);
    assert!(!world.peer(A).is_silent(), "its handshake response is an answer");
}

#[test]
fn the_sticky_source_is_forgotten_when_the_mark_changes() {
    let mut world = connected(26);
    let local = LocalAddr { ip: world.nodes[A].address.ip(), interface: 3 };
    let endpoint = Endpoint { remote: world.nodes[B].address, local: Some(local) };
    assert!(world.peer(A).roam(&endpoint));
    for (mark, expected) in [(0, endpoint), (7, Endpoint::new(endpoint.remote))] {
        world.apply(A, DeviceChange { fwmark: Some(mark), ..DeviceChange::default() });
        assert_eq!(world.peer(A).endpoint().as_deref(), Some(&expected), "mark {mark}");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_handshakes() {
    let mut world = connected(24);
    world.nodes[A].clock_offset_s = -86_400;
    for number in 10..300 {
        world.send(A, number);
        world.advance_s(1);
    }
    assert_eq!(world.nodes[B].delivered.len(), 291);
    assert_eq!(world.nodes[B].drops_of(DropReason::ReplayedInitiation), 0);
}

#[test]
fn accelerated_timings_are_the_papers_in_less_time() {
    let mut world = World::with_timings(25, Timings::accelerated(60));
    world.link.delay_ms = 1..2;
    for number in 0..1000 {
        world.send(A, number);
        world.send(B, number);
        world.advance(Duration::from_millis(10));
    }
    let [a, b] = [A, B].map(|side| world.nodes[side].initiations.len());
    assert!(a.min(b) == 1 && (5..=6).contains(&a.max(b)), "both call at once, then one of them every two seconds");
    assert_eq!((world.nodes[A].delivered.len(), world.nodes[B].delivered.len()), (1000, 1000));
}
