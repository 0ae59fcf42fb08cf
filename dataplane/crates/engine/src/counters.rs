//! Live counters. Each thread owns a block of its own, so that counting costs no shared cache line on the packet path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Packets, bytes and batches that went one way.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Flow {
    pub packets: Counter,
    pub bytes: Counter,
    pub batches: Counter,
}

impl Flow {
    /// Counts one batch.
    pub fn add_batch(&self, packets: usize, bytes: usize) {
        self.packets.add(packets as u64);
        self.bytes.add(bytes as u64);
        self.batches.add(1);
    }
}

/// The counters of one thread. Cache-line aligned, so that no two threads' counters share a line.
#[derive(Debug)]
#[repr(align(128))]
pub struct ThreadCounters {
    /// Inner packets on their way from the TUN to the network, with their inner bytes.
    pub tx: Flow,
    /// Inner packets on their way from the network to the TUN, with their inner bytes.
    pub rx: Flow,
    /// Sessions that came about.
    pub handshakes: Counter,
    drops: Vec<Counter>,
}

impl Default for ThreadCounters {
    fn default() -> Self {
        let drops = DropReason::names().map(|_| Counter::default()).collect();
        Self { tx: Flow::default(), rx: Flow::default(), handshakes: Counter::default(), drops }
    }
}

impl ThreadCounters {
    /// Counts `packets` discarded packets.
    pub fn drop_packets(&self, reason: impl Into<DropReason>, packets: usize) {
        self.drops[reason.into().position()].add(packets as u64);
    }

    /// The discarded packets of every reason that has any, added to `sums`.
    pub fn add_drops_to(&self, sums: &mut BTreeMap<&'static str, u64>) {
        for (name, count) in DropReason::names().zip(&self.drops) {
            if count.get() > 0 {
                *sums.entry(name).or_default() += count.get();
            }
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
        let mut sums = BTreeMap::new();
        one.add_drops_to(&mut sums);
        two.add_drops_to(&mut sums);
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [("replayed_counter", 5), ("stopping", 1)]);
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
