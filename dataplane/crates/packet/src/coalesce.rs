//! From the decrypted packets of a receive batch to super-packets for the TUN, without moving a payload byte.

use crate::Span;

/// What the TUN's receiving side accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOffload {
    /// TCP super-packets, IPv4 and IPv6 (TUN_F_TSO4, TUN_F_TSO6).
    pub tso: bool,
    /// UDP super-packets (TUN_F_USO4, TUN_F_USO6).
    pub uso: bool,
}

/// Merges the packets of one batch. Reused from batch to batch, so that it allocates nothing once warm.
#[derive(Debug, Default)]
pub struct Coalescer {
    offload: TunOffload,
    groups: Vec<Group>,
}

/// One write to the TUN: the spans of the buffer that make it up, vnet header included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    spans: Vec<Span>,
    packets: usize,
}

impl Group {
    /// What to hand to `Tun::write`, in order; the first span begins with the vnet header.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Number of inner packets in it.
    pub fn packets(&self) -> usize {
        self.packets
    }
}

impl Coalescer {
    /// For a TUN that accepts `offload`.
    pub fn new(offload: TunOffload) -> Self {
        Self { offload, groups: Vec::new() }
    }

    /// Merge `packets`, which lie in `buffer` in the order of their arrival, each trimmed to its IP length and with at
    /// least [`crate::VNET_HEADER_LEN`] free bytes before it (the transport header's place). Headers in `buffer` are
    /// patched in place. The groups, written in order, keep the order of packets within every flow.
    pub fn coalesce(&mut self, buffer: &mut [u8], packets: &[Span]) -> &[Group] {
        let _ = (buffer, packets);
        todo!()
    }
}
