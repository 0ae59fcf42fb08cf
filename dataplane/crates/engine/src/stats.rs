//! What a lane says of itself: counters and the placement of its threads.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::counters::{BATCH_SIZE_BOUNDS, Counter, Drops, Flow};

/// Packets and bytes that went one way since the lane started, and the batches that they came in.
///
/// Bytes are those of inner packets; where datagrams are not opened yet (`read` and `crypto` on the way in), those of
/// the datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FlowStats {
    pub packets: u64,
    pub bytes: u64,
    batch_sizes: [u64; BATCH_SIZE_BOUNDS.len() + 1],
}

impl FlowStats {
    /// How many batches.
    pub fn batches(&self) -> u64 {
        self.batch_sizes.iter().sum()
    }

    /// Batches by size: `(most packets, batches of at most so many)`, smallest first, without those above the largest
    /// bound.
    pub fn batches_up_to(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        BATCH_SIZE_BOUNDS.iter().zip(&self.batch_sizes).scan(0, |sum, (bound, batches)| {
            *sum += batches;
            Some((*bound, *sum))
        })
    }
}

/// Beside the counters: `batch_packets`, the mean size, and `batch_sizes`, batches by the upper bound of their class.
impl Serialize for FlowStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = BATCH_SIZE_BOUNDS.iter().map(u64::to_string).chain([format!(">{}", BATCH_SIZE_BOUNDS[7])]);
        let sizes: Vec<_> = names.zip(self.batch_sizes).filter(|(_, batches)| *batches > 0).collect();
        let mut fields = serializer.serialize_struct("FlowStats", 5)?;
        fields.serialize_field("packets", &self.packets)?;
        fields.serialize_field("bytes", &self.bytes)?;
        fields.serialize_field("batches", &self.batches())?;
        fields.serialize_field("batch_packets", &(self.packets as f64 / self.batches().max(1) as f64))?;
        fields.serialize_field("batch_sizes", &InOrder(&sizes))?;
        fields.end()
    }
}

struct InOrder<'a>(&'a [(String, u64)]);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, batches)| (name, batches)))
    }
}

/// Counters of one lane.
#[derive(Debug, Clone, serde::Serialize)]
#[allow(missing_docs)]
pub struct LaneStats {
    pub interface: String,
    pub mode: String,
    /// The AEAD implementation that runs.
    pub aead: String,
    pub listen_port: u16,
    /// From the TUN to the network, counted where packets leave.
    pub tx: FlowStats,
    /// From the network to the TUN, counted where packets leave.
    pub rx: FlowStats,
    /// Sessions that came about, as initiator or responder.
    pub handshakes: u64,
    /// What waits, by queue: batches before a stage, handshake messages, bytes in the socket's receive buffer.
    pub queues: BTreeMap<&'static str, u64>,
    /// Discarded packets by reason, those of the kernel's queues too.
    pub drops: Drops,
    pub threads: Vec<ThreadStats>,
}

/// Counters of the device of a bond.
#[derive(Debug, Clone, serde::Serialize)]
#[allow(missing_docs)]
pub struct BondStats {
    pub interface: String,
    /// Flows that got a lane.
    pub flows_placed: u64,
    /// Flows that moved to another lane in a gap.
    pub flows_moved: u64,
    /// Packets that were discarded before they had a lane.
    pub drops: Drops,
    pub threads: Vec<ThreadStats>,
}

/// Counters of one thread.
#[derive(Debug, Clone, serde::Serialize)]
#[allow(missing_docs)]
pub struct ThreadStats {
    pub name: String,
    pub tid: i32,
    pub stage: &'static str,
    /// CPU time, user and system.
    pub cpu_s: f64,
    pub tx: FlowStats,
    pub rx: FlowStats,
    pub drops: Drops,
}

/// Where one thread may run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ThreadPlacement {
    /// The thread's name, as the kernel shows it.
    pub name: String,
    /// Its kernel thread number.
    pub tid: i32,
    /// Its stage.
    pub stage: &'static str,
    /// The cpulist that the kernel reports for it.
    pub cpu_set: String,
    /// The memory policy that the kernel reported once it was placed: `default` is the node of the CPU at hand.
    pub numa_policy: String,
}

impl From<&Flow> for FlowStats {
    fn from(flow: &Flow) -> Self {
        let batch_sizes = std::array::from_fn(|class| flow.batch_sizes[class].get());
        Self { packets: flow.packets.get(), bytes: flow.bytes.get(), batch_sizes }
    }
}

impl AddAssign for FlowStats {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.batch_sizes.iter_mut().zip(other.batch_sizes).for_each(|(sum, batches)| *sum += batches);
    }
}

/// Batches in the queue between two stages: put in by `before`, not yet taken by `behind`.
pub fn waiting<'a>(before: impl Iterator<Item = &'a Counter>, behind: impl Iterator<Item = &'a Counter>) -> u64 {
    // Taken is read first: what is handed on in between can only make the depth look larger, never negative.
    let taken: u64 = behind.map(Counter::get).sum();
    before.map(Counter::get).sum::<u64>().saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_sizes_are_cumulative_for_histograms_and_plain_in_json() {
        let flow = Flow::default();
        [1, 1, 3, 200].into_iter().for_each(|packets| flow.add_batch(packets, 0));
        let stats = FlowStats::from(&flow);
        let up_to: Vec<_> = stats.batches_up_to().collect();
        assert_eq!((up_to[0], up_to[1], up_to[7], stats.batches()), ((1, 2), (2, 2), (128, 3), 4));
        let json = serde_json::to_value(stats).unwrap();
        assert_eq!(json["batch_sizes"], serde_json::json!({ "1": 2, "4": 1, ">128": 1 }));
        assert_eq!(json["batch_packets"], 51.25);
    }
}
