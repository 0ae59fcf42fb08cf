//! Buffers, addresses, batches and offload arithmetic: types that the other crates share.
#![forbid(unsafe_code)]
