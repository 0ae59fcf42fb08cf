//! Live counters. Each thread owns a block of its own, so that counting costs no shared cache line on the packet path.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! engine_reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why the engine discarded a packet; the protocol has reasons of its own. There is no uncounted drop.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum EngineReason {
            $($(#[$doc])* $reason,)*
        }

        impl EngineReason {
            const ALL: &'static [Self] = &[$(Self::$reason,)*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

engine_reasons! {
    /// What the TUN handed over is not a packet that can be sent.
    TunPacketMalformed = "tun_packet_malformed",
    /// The kernel refused the datagram for want of buffers (ENOBUFS).
    SendBufferFull = "send_buffer_full",
    /// There is no way to the endpoint (ENETUNREACH, EHOSTUNREACH, EPERM and the like).
    SendUnreachable = "send_unreachable",
    /// The datagram does not fit the path (EMSGSIZE).
    SendTooBig = "send_too_big",
    /// Any other failure to send.
    SendFailed = "send_failed",
    /// A datagram larger than a receive buffer.
    ReceiveTruncated = "receive_truncated",
    /// Decrypted, but not an IP packet.
    InnerPacketMalformed = "inner_packet_malformed",
    /// Congestion was marked on the outside of a packet that is not ECN-capable (RFC 6040, section 4.2).
    EcnInconsistent = "ecn_inconsistent",
    /// The TUN is down or refuses the packet.
    TunWriteFailed = "tun_write_failed",
    /// Handshake messages came faster than they could be handled.
    HandshakeQueueFull = "handshake_queue_full",
    /// The lane ended with the packet under way.
    Stopping = "stopping",
    /// A lane of a bond takes packets slower than they come.
    LaneQueueFull = "lane_queue_full",
    /// The kernel had no room left in the TUN's queue: packets came faster than they were read.
    TunQueueFull = "tun_queue_full",
    /// The kernel had no room left in the UDP socket's buffer: datagrams came faster than they were received.
    ReceiveBufferFull = "receive_buffer_full",
}

/// Why a packet was discarded, by the engine or by the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The engine's own reasons.
    Engine(EngineReason),
    /// The protocol's.
    Protocol(wirelane_protocol::DropReason),
}

impl From<EngineReason> for DropReason {
    fn from(reason: EngineReason) -> Self {
        Self::Engine(reason)
    }
}

impl From<wirelane_protocol::DropReason> for DropReason {
    fn from(reason: wirelane_protocol::DropReason) -> Self {
        Self::Protocol(reason)
    }
}

impl DropReason {
    fn position(self) -> usize {
        match self {
            Self::Engine(reason) => reason as usize,
            Self::Protocol(reason) => EngineReason::ALL.len() + reason as usize,
        }
    }

    /// The names of all reasons in statistics and metrics, by position.
    fn names() -> impl Iterator<Item = &'static str> {
        let of_protocol = wirelane_protocol::DropReason::ALL.iter().map(|reason| reason.name());
        EngineReason::ALL.iter().map(|reason| reason.name()).chain(of_protocol)
    }
}

/// Discarded packets by reason; every reason is there, those without any packet too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Drops(BTreeMap<&'static str, u64>);

impl Default for Drops {
    fn default() -> Self {
        Self(DropReason::names().map(|name| (name, 0)).collect())
    }
}

impl Drops {
    fn add(&mut self, name: &'static str, packets: u64) {
        *self.0.entry(name).or_default() += packets;
    }

    /// Counts packets that the kernel discarded.
    pub fn add_kernel(&mut self, reason: EngineReason, packets: u64) {
        self.add(reason.name(), packets);
    }

    /// Reasons and packets, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, packets)| (*name, *packets))
    }
}

impl AddAssign<&Drops> for Drops {
    fn add_assign(&mut self, other: &Drops) {
        other.iter().for_each(|(name, packets)| self.add(name, packets));
    }
}

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call it: a plain load and store instead of a locked instruction.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the classes by which batches are counted, in packets; the last class has none.
pub const BATCH_SIZE_BOUNDS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Packets and bytes that went one way, and the batches that they came in, by size.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Flow {
    pub packets: Counter,
    pub bytes: Counter,
    /// Batches whose size is above the bound before and up to [`BATCH_SIZE_BOUNDS`] of the same position.
    pub batch_sizes: [Counter; BATCH_SIZE_BOUNDS.len() + 1],
}

impl Flow {
    /// Counts one batch; one without a packet is none.
    pub fn add_batch(&self, packets: usize, bytes: usize) {
        let Some(before) = packets.checked_sub(1) else { return };
        self.packets.add(packets as u64);
        self.bytes.add(bytes as u64);
        let class = (usize::BITS - before.leading_zeros()) as usize;
        self.batch_sizes[class.min(BATCH_SIZE_BOUNDS.len())].add(1);
    }
}

/// The counters of one thread. Cache-line aligned, so that no two threads' counters share a line.
#[derive(Debug)]
#[repr(align(128))]
pub struct ThreadCounters {
    /// What this thread handled on the way from the TUN to the network.
    pub tx: Flow,
    /// What this thread handled on the way from the network to the TUN.
    pub rx: Flow,
    /// Batches that this thread took from the queue before it; 0 where there is none.
    pub taken: Counter,
    /// Batches that this thread put into the queue behind it; 0 where there is none.
    pub handed_on: Counter,
    /// Sessions that came about.
    pub handshakes: Counter,
    drops: Vec<Counter>,
}

impl Default for ThreadCounters {
    fn default() -> Self {
        let drops = DropReason::names().map(|_| Counter::default()).collect();
        Self {
            tx: Flow::default(),
            rx: Flow::default(),
            taken: Counter::default(),
            handed_on: Counter::default(),
            handshakes: Counter::default(),
            drops,
        }
    }
}

impl ThreadCounters {
    /// Counts `packets` discarded packets.
    pub fn drop_packets(&self, reason: impl Into<DropReason>, packets: usize) {
        self.drops[reason.into().position()].add(packets as u64);
    }

    /// The discarded packets of every reason, added to `sums`.
    pub fn add_drops_to(&self, sums: &mut Drops) {
        for (name, count) in DropReason::names().zip(&self.drops) {
            sums.add(name, count.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_named_and_summed_over_threads() {
        let (one, two) = (ThreadCounters::default(), ThreadCounters::default());
        one.drop_packets(wirelane_protocol::DropReason::ReplayedCounter, 2);
        two.drop_packets(wirelane_protocol::DropReason::ReplayedCounter, 3);
        two.drop_packets(EngineReason::Stopping, 1);
        let mut sums = Drops::default();
        one.add_drops_to(&mut sums);
        two.add_drops_to(&mut sums);
        let counted: Vec<_> = sums.iter().filter(|(_, packets)| *packets > 0).collect();
        assert_eq!(counted, [("replayed_counter", 5), ("stopping", 1)]);
        assert_eq!(sums.iter().count(), DropReason::names().count());
    }

    #[test]
    fn batches_are_counted_in_the_class_of_their_size() {
        let flow = Flow::default();
        for packets in [0, 1, 2, 3, 4, 5, 64, 65, 128, 129, 5000] {
            flow.add_batch(packets, 10 * packets);
        }
        let classes: Vec<_> = flow.batch_sizes.iter().map(Counter::get).collect();
        assert_eq!(classes, [1, 1, 2, 1, 0, 0, 1, 2, 2]);
        assert_eq!((flow.packets.get(), flow.bytes.get()), (5401, 54010));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = DropReason::names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
