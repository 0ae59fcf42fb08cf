//! Lanes: the threads, queues and counters that carry packets between a TUN and the network.
//!
//! | you look for | it is in |
//! |---|---|
//! | a device from start to end | `lane.rs`; all of a gateway and changing their tuning: `lanes.rs` |
//! | the send path | `collect.rs` (from the TUN) → `outbound.rs` (prepare, seal, send) |
//! | the receive path | `collect.rs` (from the sockets) → `inbound.rs` (sort, open, deliver) |
//! | the packet threads of a lane | `packet_threads.rs` |
//! | who runs the steps | `inline.rs`: one thread a direction · `pipelined.rs`: reader, workers, writer; between them `ring.rs` |
//! | handshakes, timers, staged packets | `control.rs` |
//! | counters and drop reasons | `counters.rs` |
#![forbid(unsafe_code)]

mod aead;
mod aead_rate;
mod bond;
mod collect;
mod control;
mod counters;
mod flows;
mod inbound;
mod inline;
mod lane;
mod lanes;
mod load;
mod outbound;
mod packet_threads;
mod pipeline_rate;
mod pipelined;
mod ring;
mod shared;
mod stats;
mod threads;
mod tuning;

pub use aead_rate::{AeadRate, aead_rate};
pub use counters::{DropReason, Drops, EngineReason};
pub use flows::{FlowTable, LaneId, Place};
pub use lane::{ChangeError, Lane, StartError, open_tun};
pub use lanes::{Lanes, Spread};
pub use pipeline_rate::pipeline_rate;
pub use stats::{BondStats, FlowStats, LaneStats, ThreadPlacement, ThreadStats};
pub use tuning::{
    MAX_BATCH_PACKETS, MAX_CRYPTO_WORKERS, Mode, Offloads, SOCKET_BUFFER_BYTES, Stage, StageCpuSets, Tuning,
};
pub use wirelane_crypto::{Backend, BackendChoice, available as available_backends};
