//! Buffers, addresses, batches and offload arithmetic: types that the other crates share.
//!
//! The unit of work is a batch in one contiguous buffer. Towards the network a [`SendBatch`] holds datagrams back to
//! back, each `[transport header][inner packet, padded][tag]`, encrypted where they will be sent from. From the network
//! a batch is whatever one UDP_GRO receive filled; [`Coalescer`] says which bytes of it to hand to the TUN, in place.
#![forbid(unsafe_code)]

pub mod checksum;
mod coalesce;
pub mod ecn;
mod endpoint;
pub mod inner;
mod send_batch;
mod span;
mod split;
#[cfg(test)]
mod testing;
mod virtio;

pub use coalesce::{Coalescer, Group, TunOffload};
pub use ecn::Ecn;
pub use endpoint::{Endpoint, LocalAddr};
pub use send_batch::{GsoRun, GsoRuns, SendBatch};
pub use span::{Segment, Span};
pub use split::{SplitError, Splitter};
pub use virtio::{GsoType, VNET_HEADER_LEN, VirtioNetHeader};

/// Bytes before the plaintext of a datagram: type, receiver index and counter (WireGuard paper, section 5.4.6).
pub const TRANSPORT_HEADER_LEN: usize = 16;
/// Bytes after the ciphertext of a datagram: the Poly1305 tag (RFC 8439, section 2.8).
pub const TAG_LEN: usize = 16;
/// Plaintext is zero-padded to a multiple of this (WireGuard paper, section 5.4.6).
pub const PADDING: usize = 16;
/// Most datagrams in one UDP_SEGMENT send (Linux UDP_MAX_SEGMENTS before 6.9; later kernels allow 128).
pub const MAX_GSO_SEGMENTS: usize = 64;
/// Most bytes in one UDP_SEGMENT send. With link, IP and UDP headers it must stay below 65,536, the usual gso_max_size:
/// what is larger the kernel cuts into packets before the device sees it.
pub const MAX_GSO_BYTES: usize = 65_400;
/// Largest packet that the TUN hands over or takes: 65,535 bytes and the vnet header.
pub const MAX_TUN_READ: usize = 65_535 + VNET_HEADER_LEN;
