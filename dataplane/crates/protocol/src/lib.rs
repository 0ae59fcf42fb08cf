//! WireGuard as a sans-I/O core: no socket, no thread, no clock, no global randomness.
//!
//! Section numbers are those of the WireGuard paper (Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel").
//!
//! | you look for | it is in |
//! |---|---|
//! | the handshake (Noise_IKpsk2, section 5.4) | `handshake.rs`, on the Noise steps of `noise.rs` |
//! | cookies, mac1 and mac2, the limiter (section 5.3) | `cookie.rs` |
//! | timers (section 6) | `timers.rs` decides, `device/schedule.rs` acts |
//! | the replay window (section 5.4.6) | `replay.rs` |
//! | sessions and their limits (sections 5.4.5, 6.2) | `session.rs` |
//! | allowed IPs (section 2) | `allowed_ips.rs` |
//! | message layout, drop reasons | `messages.rs` |
//! | the state machine that joins them | `device.rs` |
//!
//! Two halves. [`Device`] is the control side: it lives behind one mutex and sees handshakes, timers and configuration.
//! [`Forwarding`], [`Peer`] and [`Session`] are the packet path's: shared, and read without a lock.
//!
//! The engine encrypts: transport data, keepalives and staged packets all go through its AEAD, on the keys of a
//! [`Session`]. The protocol only says what is to be sent ([`Event`]).
//!
//! # The packet path
//! To send a batch to `destination`:
//! 1. `forwarding.routes().peer_towards(destination)` is the peer; `peer.sending()` its session.
//! 2. Without a session, or on [`Verdict::Expired`] from [`Session::send_verdict`]: [`Device::stage`].
//! 3. [`Session::reserve_counters`], then for each packet [`TransportHeader`], [`padded_len`], [`nonce`], encrypt.
//! 4. Send to `peer.endpoint()`; [`Peer::record_sent`].
//!
//! To receive a batch:
//! 1. [`classify`] each datagram; handshakes go to [`Device::handle_handshake`].
//! 2. `forwarding.receiver(index)` is session and peer; [`Session::receive_verdict`]; decrypt.
//! 3. [`Session::replay`] once, [`ReplayWindow::accept`] for each packet that authenticates.
//! 4. [`Peer::roam`], [`Peer::record_received`]; if not [`Session::is_confirmed`], [`Device::confirm`].
//! 5. `routes.is_allowed(source, &peer)` for each inner packet.
#![forbid(unsafe_code)]

mod allowed_ips;
mod config;
mod cookie;
mod device;
mod forwarding;
mod handshake;
mod keys;
mod messages;
mod noise;
mod peer;
mod replay;
mod session;
#[cfg(test)]
mod testing;
mod time;
mod timers;

pub use allowed_ips::{AllowedIps, Prefix, PrefixError};
pub use config::{AllowedIpChange, DeviceChange, DeviceSnapshot, PeerChange, PeerSnapshot};
pub use device::{Device, Event, Staging, Transmit};
pub use forwarding::Forwarding;
pub use keys::{KEY_LEN, KeyParseError, PresharedKey, PrivateKey, PublicKey};
pub use messages::{
    COOKIE_REPLY_LEN, DropReason, INITIATION_LEN, KEEPALIVE_LEN, MessageKind, PADDING_MULTIPLE, RESPONSE_LEN, TAG_LEN,
    TRANSPORT_HEADER_LEN, TYPE_COOKIE_REPLY, TYPE_INITIATION, TYPE_RESPONSE, TYPE_TRANSPORT, TransportHeader, classify,
    nonce, padded_len,
};
pub use peer::{Peer, PeerId, Traffic};
pub use rand_core;
pub use replay::{REPLAY_WINDOW, ReplayWindow};
pub use session::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, Receiver, Role, Session, SessionTable, Verdict};
pub use time::{Instant, Time};
pub use timers::Timings;
