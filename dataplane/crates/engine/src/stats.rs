//! What a lane says of itself: counters and the placement of its threads.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::counters::Flow;

/// Packets, bytes and batches that went one way since the lane started. Bytes are those of inner packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FlowStats {
    pub packets: u64,
    pub bytes: u64,
    pub batches: u64,
}

/// Counters of one lane.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct LaneStats {
    pub interface: String,
    pub mode: String,
    /// The AEAD implementation that runs.
    pub aead: String,
    pub listen_port: u16,
    /// From the TUN to the network.
    pub tx: FlowStats,
    /// From the network to the TUN.
    pub rx: FlowStats,
    /// Sessions that came about, as initiator or responder.
    pub handshakes: u64,
    /// Discarded packets by reason; reasons without any are left out.
    pub drops: BTreeMap<&'static str, u64>,
    pub threads: Vec<ThreadStats>,
}

/// Counters of one thread.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct ThreadStats {
    pub name: String,
    pub tid: i32,
    pub stage: &'static str,
    /// CPU time, user and system.
    pub cpu_s: f64,
    pub tx: FlowStats,
    pub rx: FlowStats,
    pub drops: BTreeMap<&'static str, u64>,
}

/// Where one thread may run.
#[derive(Debug, Clone, Serialize)]
pub struct ThreadPlacement {
    /// The thread's name, as the kernel shows it.
    pub name: String,
    /// Its kernel thread number.
    pub tid: i32,
    /// Its stage.
    pub stage: &'static str,
    /// The cpulist that the kernel reports for it.
    pub cpu_set: String,
}

impl From<&Flow> for FlowStats {
    fn from(flow: &Flow) -> Self {
        Self { packets: flow.packets.get(), bytes: flow.bytes.get(), batches: flow.batches.get() }
    }
}

impl std::ops::AddAssign for FlowStats {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.batches += other.batches;
    }
}
