//! What is fuzzed, and what must hold whatever comes in. `../../fuzz` feeds these functions from libFuzzer;
//! `tests/replay.rs` feeds them the corpus that it left, on every `cargo test`.
#![forbid(unsafe_code)]

mod flows;
mod handshake;
mod offload;
mod text;

pub use flows::flows;
pub use handshake::handshake;
pub use offload::{coalesce, inner, round_trip, split};
pub use text::{config, control, uapi, words};

/// A target: takes any bytes, panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("split", split),
    ("coalesce", coalesce),
    ("round_trip", round_trip),
    ("inner", inner),
    ("handshake", handshake),
    ("uapi", uapi),
    ("config", config),
    ("words", words),
    ("control", control),
    ("flows", flows),
];
