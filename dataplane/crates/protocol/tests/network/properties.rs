//! Whatever happens: loss, reordering, duplicates, replays, restarts, roaming, clocks that jump.
//!
//! The reference model is what users are promised: a packet comes out at most once and only if it went in; an attacker
//! moves nobody; and once the network works, packets arrive again. Nonces, initiation rates and session ages are checked
//! by the simulation on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use wirelane_protocol::MessageKind;

use crate::simulation::{A, ATTACKER, B, Datagram, Link, Side, World, other};

#[derive(Clone, Debug)]
enum Step {
    Send(Side),
    Advance(Duration),
    Link { loss_percent: u32, duplicate_percent: u32, delay_ms: u64 },
    Replay(usize),
    Corrupt { which: usize, byte: usize },
    Roam(Side, u16),
    Restart(Side),
    JumpClock(Side, i64),
    UnderLoad(Side, bool),
    SetUp(Side, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![Just(A), Just(B)];
    prop_oneof![
        10 => side().prop_map(Step::Send),
        5 => (1u64..2000).prop_map(|ms| Step::Advance(Duration::from_millis(ms))),
        3 => (1u64..70).prop_map(|s| Step::Advance(Duration::from_secs(s))),
        1 => (100u64..700).prop_map(|s| Step::Advance(Duration::from_secs(s))),
        2 => (0u32..101, 0u32..50, 1u64..3000)
            .prop_map(|(loss_percent, duplicate_percent, delay_ms)| Step::Link { loss_percent, duplicate_percent, delay_ms }),
        3 => any::<usize>().prop_map(Step::Replay),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, byte)| Step::Corrupt { which, byte }),
        1 => (side(), 1024u16..2048).prop_map(|(side, port)| Step::Roam(side, port)),
        1 => side().prop_map(Step::Restart),
        1 => (side(), -100_000i64..100_000).prop_map(|(side, seconds)| Step::JumpClock(side, seconds)),
        1 => (side(), any::<bool>()).prop_map(|(side, on)| Step::UnderLoad(side, on)),
        1 => (side(), any::<bool>()).prop_map(|(side, up)| Step::SetUp(side, up)),
    ]
}

/// The world and what is known about it.
struct Run {
    world: World,
    sent: [BTreeSet<u64>; 2],
    next: u64,
}

impl Run {
    fn send(&mut self, side: Side) {
        self.sent[side].insert(self.next);
        self.world.send(side, self.next);
        self.next += 1;
    }

    fn take(&mut self, step: &Step) {
        let world = &mut self.world;
        match *step {
            Step::Send(side) => self.send(side),
            Step::Advance(duration) => world.advance(duration),
            Step::Link { loss_percent, duplicate_percent, delay_ms } => {
                world.link = Link { loss_percent, duplicate_percent, delay_ms: 1..delay_ms + 1 };
            }
            Step::Replay(which) => self.attack(which, |_| {}),
            Step::Corrupt { which, byte } => self.attack(which, |payload| {
                let byte = byte % payload.len();
                payload[byte] ^= 1;
            }),
            Step::Roam(side, port) => world.nodes[side].address.set_port(port),
            Step::Restart(side) => {
                // A node that has just started cannot know an old initiation from a new one: the paper leaves it to
                // the transport data, which cannot be replayed. So the attacker begins anew too.
                world.captured.clear();
                // Nor can it know what its clock showed before.
                world.nodes[side].clock_offset_s = world.nodes[side].clock_offset_s.max(200_000);
                world.restart(side);
            }
            Step::JumpClock(side, seconds) => {
                world.nodes[side].clock_offset_s = (world.nodes[side].clock_offset_s + seconds).min(200_000);
            }
            Step::UnderLoad(side, on) => world.nodes[side].under_load = on,
            Step::SetUp(side, up) => world.set_up(side, up),
        }
    }

    fn attack(&mut self, which: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(datagram) = self.world.captured.get(which % self.world.captured.len().max(1)) {
            let mut datagram = Datagram { from: ATTACKER, ..datagram.clone() };
            change(&mut datagram.payload);
            self.world.inject(datagram, Duration::ZERO);
            self.world.advance(Duration::ZERO);
        }
    }

    fn check_safety(&self) {
        for side in [A, B] {
            let delivered = &self.world.nodes[side].delivered;
            let distinct: BTreeSet<_> = delivered.iter().copied().collect();
            assert_eq!(distinct.len(), delivered.len(), "a packet comes out once");
            assert!(distinct.is_subset(&self.sent[other(side)]), "what comes out went in");
            let endpoint = self.world.peer(side).endpoint();
            assert_ne!(endpoint.as_ref().map(|endpoint| endpoint.remote), Some(ATTACKER), "an attacker moves nobody");
        }
    }

    /// The network works again, both are up, and each is told where the other is.
    fn heal(&mut self) {
        self.world.link = Link::default();
        for side in [A, B] {
            self.world.set_up(side, true);
            let address = self.world.nodes[other(side)].address;
            self.world.apply_to_peer(side, |peer| peer.endpoint = Some(address));
        }
        // Long enough for a handshake that is postponed or awaits a response, and for one that needs a cookie first.
        for _ in 0..40 {
            self.send(A);
            self.send(B);
            self.world.advance_s(1);
        }
        for side in [A, B] {
            let last = *self.sent[other(side)].last().unwrap();
            assert!(self.world.nodes[side].delivered.contains(&last), "packets arrive again");
        }
    }
}

fn run(seed: u64, steps: &[Step]) {
    let world = World::new(seed);
    let mut run = Run { world, sent: [BTreeSet::new(), BTreeSet::new()], next: 0 };
    for step in steps {
        run.take(step);
        run.check_safety();
    }
    run.heal();
    run.check_safety();
}

/// Each case is hours of virtual time, so there are few by default; PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { default } else { ProptestConfig { cases: 64, ..default } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn promises_are_kept(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..80)) {
        run(seed, &steps);
    }

    #[test]
    fn in_order_networks_keep_the_order(seed in any::<u64>(), gaps in proptest::collection::vec(0u64..3000, 1..300)) {
        let mut world = World::new(seed);
        for (number, gap) in gaps.iter().enumerate() {
            world.send(A, number as u64);
            if gap % 3 == 0 {
                world.send(B, number as u64);
            }
            world.advance(Duration::from_millis(*gap));
        }
        world.advance_s(10);
        prop_assert!(world.nodes[B].delivered.iter().copied().eq(0..gaps.len() as u64), "none lost, none overtaken");
        prop_assert!(world.nodes[A].delivered.is_sorted());
    }

    #[test]
    fn any_bytes_are_refused_and_do_no_harm(
        seed in any::<u64>(),
        datagrams in proptest::collection::vec((0u8..6, proptest::collection::vec(any::<u8>(), 0..200)), 1..50),
    ) {
        let mut world = World::new(seed);
        world.send(A, 1);
        world.advance_s(1);
        for (kind, mut payload) in datagrams {
            payload.resize(match kind { 1 => 148, 2 => 92, 3 => 64, _ => payload.len() }, 0x5a);
            if let Some(head) = payload.first_chunk_mut::<4>() {
                *head = [kind, 0, 0, 0];
            }
            let datagram = Datagram { from: ATTACKER, to: world.nodes[B].address, payload };
            prop_assert!(world.receive(B, &datagram).is_err());
        }
        world.send(A, 2);
        world.advance_s(1);
        prop_assert_eq!(&world.nodes[B].delivered, &[1, 2]);
        prop_assert!(world.captured.iter().all(|datagram| !datagram.is(MessageKind::CookieReply)));
    }
}
