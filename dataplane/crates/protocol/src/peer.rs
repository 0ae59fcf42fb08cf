//! The half of a peer that the packet path uses: shared, and written without a lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use wirelane_packet::Endpoint;

use crate::keys::PublicKey;
use crate::session::{OwnCacheLine, Session};
use crate::time::Instant;

/// Names a peer of one device for as long as the device lives; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) u64);

/// A batch of authenticated datagrams, to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams.
    pub packets: u64,
    /// UDP payload: headers, ciphertext and tags, as `wg show` counts.
    pub bytes: u64,
    /// Whether one of them was more than a keepalive.
    pub carries_data: bool,
}

/// One direction's counters. Times are in nanoseconds, 0 for never.
#[derive(Debug, Default)]
struct Direction {
    packets: AtomicU64,
    bytes: AtomicU64,
    last_any: AtomicU64,
    last_data: AtomicU64,
}

impl Direction {
    fn record(&self, now: Instant, traffic: Traffic) {
        // Relaxed: each is read for itself, by statistics and by timers that are coarser than any reordering.
        self.packets.fetch_add(traffic.packets, Ordering::Relaxed);
        self.bytes.fetch_add(traffic.bytes, Ordering::Relaxed);
        let nanos = now.as_nanos().max(1);
        self.last_any.store(nanos, Ordering::Relaxed);
        if traffic.carries_data {
            self.last_data.store(nanos, Ordering::Relaxed);
        }
    }
}

/// When a peer was last active, for its timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    pub sent: Option<Instant>,
    pub sent_data: Option<Instant>,
    pub received: Option<Instant>,
    pub received_data: Option<Instant>,
}

/// A peer as the packet path sees it.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    public_key: PublicKey,
    sending: ArcSwapOption<Session>,
    endpoint: ArcSwapOption<Endpoint>,
    tx: OwnCacheLine<Direction>,
    rx: OwnCacheLine<Direction>,
    /// When its silence was noticed the last time; nanoseconds, 0 for never.
    silence_noticed: AtomicU64,
}

impl Peer {
    pub(crate) fn new(id: PeerId, public_key: PublicKey) -> Self {
        Self {
            id,
            public_key,
            sending: ArcSwapOption::empty(),
            endpoint: ArcSwapOption::empty(),
            tx: OwnCacheLine::default(),
            rx: OwnCacheLine::default(),
            silence_noticed: AtomicU64::new(0),
        }
    }

    /// The name to give to [`Device`](crate::Device).
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Who it is.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The session to send on. A load without a lock; the guard is to be dropped at the end of the batch. Where there
    /// is none, or its [`Session::send_verdict`] is `Expired`, the packets go to [`Device::stage`](crate::Device::stage).
    pub fn sending(&self) -> Guard<Option<Arc<Session>>> {
        self.sending.load()
    }

    pub(crate) fn set_sending(&self, session: Option<Arc<Session>>) {
        self.sending.store(session);
    }

    /// Where to send to; `None` until it is configured or the peer has spoken.
    pub fn endpoint(&self) -> Guard<Option<Arc<Endpoint>>> {
        self.endpoint.load()
    }

    /// Notes where an authenticated packet came from (paper, section 2.1). True if the peer was elsewhere before.
    pub fn roam(&self, source: &Endpoint) -> bool {
        if self.endpoint.load().as_deref() == Some(source) {
            return false;
        }
        self.endpoint.store(Some(Arc::new(*source)));
        true
    }

    /// Where to send to from now on, from whatever source address.
    pub(crate) fn set_remote(&self, remote: SocketAddr) {
        if self.endpoint.load().as_deref().is_none_or(|endpoint| endpoint.remote != remote) {
            self.endpoint.store(Some(Arc::new(Endpoint::new(remote))));
        }
    }

    /// Forgets the source address to send from, so that routing chooses again. For a peer that does not answer, and for
    /// senders who find that the address is gone.
    pub fn forget_source(&self) {
        let present = self.endpoint.load();
        if let Some(endpoint) = present.as_deref().filter(|endpoint| endpoint.local.is_some()) {
            // A peer that roams at this moment is not moved back.
            self.endpoint.compare_and_swap(&present, Some(Arc::new(Endpoint::new(endpoint.remote))));
        }
    }

    /// Counts datagrams that were sent on a session, keepalives included.
    pub fn record_sent(&self, now: Instant, traffic: Traffic) {
        self.tx.0.record(now, traffic);
    }

    /// Counts datagrams that were received, authenticated and not replayed, keepalives included.
    pub fn record_received(&self, now: Instant, traffic: Traffic) {
        self.rx.0.record(now, traffic);
    }

    /// Notes that data was sent, and nothing came back for so long that a handshake is begun (paper, section 6.4).
    pub(crate) fn note_silence(&self, now: Instant) {
        self.silence_noticed.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    /// Whether nothing has come from it since its silence was noticed. It may still have a session that can be used.
    pub fn is_silent(&self) -> bool {
        let noticed = self.silence_noticed.load(Ordering::Relaxed);
        noticed != 0 && self.rx.0.last_any.load(Ordering::Relaxed) < noticed
    }

    /// Sent so far, `(packets, bytes)`, handshake messages included.
    pub fn sent(&self) -> (u64, u64) {
        (self.tx.0.packets.load(Ordering::Relaxed), self.tx.0.bytes.load(Ordering::Relaxed))
    }

    /// Received so far, `(packets, bytes)`, handshake messages included.
    pub fn received(&self) -> (u64, u64) {
        (self.rx.0.packets.load(Ordering::Relaxed), self.rx.0.bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn activity(&self) -> Activity {
        let load = |time: &AtomicU64| match time.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Instant::from_nanos(nanos)),
        };
        Activity {
            sent: load(&self.tx.0.last_any),
            sent_data: load(&self.tx.0.last_data),
            received: load(&self.rx.0.last_any),
            received_data: load(&self.rx.0.last_data),
        }
    }
}
