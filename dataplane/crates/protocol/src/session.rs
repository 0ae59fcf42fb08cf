//! Sessions: what a handshake leaves behind (paper, section 5.4.5), and the look-up by receiver index.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use zeroize::Zeroizing;

use crate::keys::KEY_LEN;
use crate::messages::DropReason;
use crate::peer::Peer;
use crate::replay::ReplayWindow;
use crate::time::Instant;
use crate::timers::Timings;

/// A session wants a successor after this many messages (paper, section 6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A session neither sends nor receives a message with this counter or a greater one (paper, section 6.1).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Keeps what different threads write apart: two cache lines, since x86-64 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct OwnCacheLine<T>(pub T);

/// Who began the handshake. Only the initiator of a session replaces it for its age (paper, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We sent the initiation.
    Initiator,
    /// We sent the response.
    Responder,
}

/// Whether a session may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Go on.
    Usable,
    /// Go on; a successor is due. Nothing to do: [`Device::poll`](crate::Device::poll) sees it from the peer's
    /// activity within [`Timings::sampling`].
    RekeyWanted,
    /// Do not use it. To send: [`Device::stage`](crate::Device::stage) the packets, which starts a handshake.
    Expired,
}

/// The two AEAD keys, wiped when dropped.
pub(crate) struct TransportKeys {
    pub send: Zeroizing<[u8; KEY_LEN]>,
    pub receive: Zeroizing<[u8; KEY_LEN]>,
}

/// The keys and counters of one handshake, shared by the packet path and the control thread.
///
/// Nothing but the send counter (senders) and the replay window (receivers) changes, and these have cache lines of
/// their own. The keys are wiped when the last reference goes.
pub struct Session {
    local_index: u32,
    remote_index: u32,
    role: Role,
    born: Instant,
    keys: TransportKeys,
    timings: Timings,
    confirmed: AtomicBool,
    send_counter: OwnCacheLine<AtomicU64>,
    replay: OwnCacheLine<Mutex<ReplayWindow>>,
}

impl Session {
    pub(crate) fn new(
        (local_index, remote_index): (u32, u32),
        role: Role,
        keys: TransportKeys,
        timings: Timings,
        born: Instant,
    ) -> Self {
        Self {
            local_index,
            remote_index,
            role,
            born,
            keys,
            timings,
            confirmed: AtomicBool::new(role == Role::Initiator),
            send_counter: OwnCacheLine::default(),
            replay: OwnCacheLine(Mutex::new(ReplayWindow::new())),
        }
    }

    /// The index that the peer writes into what it sends us.
    pub fn local_index(&self) -> u32 {
        self.local_index
    }

    /// The index that we write into what we send.
    pub fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// Who began the handshake.
    pub fn role(&self) -> Role {
        self.role
    }

    /// When the handshake was complete.
    pub fn born(&self) -> Instant {
        self.born
    }

    /// The ChaCha20-Poly1305 key for what we send.
    pub fn send_key(&self) -> &[u8; KEY_LEN] {
        &self.keys.send
    }

    /// The ChaCha20-Poly1305 key for what we receive.
    pub fn receive_key(&self) -> &[u8; KEY_LEN] {
        &self.keys.receive
    }

    /// Reserves `n` successive counters for sending and returns the first, or `None` where one of them would reach
    /// [`REJECT_AFTER_MESSAGES`]. Lock-free; several threads may reserve.
    pub fn reserve_counters(&self, n: u64) -> Option<u64> {
        let end = |first: u64| first.checked_add(n).filter(|end| *end <= REJECT_AFTER_MESSAGES);
        self.send_counter.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end).ok()
    }

    /// How many counters have been reserved.
    pub fn sent_messages(&self) -> u64 {
        self.send_counter.0.load(Ordering::Relaxed)
    }

    /// Whether to send on this session (paper, section 6.2).
    pub fn send_verdict(&self, now: Instant) -> Verdict {
        let (age, sent) = (now.since(self.born), self.sent_messages());
        if age >= self.timings.reject_after || sent >= REJECT_AFTER_MESSAGES {
            Verdict::Expired
        } else if sent > REKEY_AFTER_MESSAGES || (self.role == Role::Initiator && age >= self.timings.rekey_after) {
            Verdict::RekeyWanted
        } else {
            Verdict::Usable
        }
    }

    /// Whether to decrypt what comes in on this session (paper, section 6.2).
    pub fn receive_verdict(&self, now: Instant) -> Verdict {
        let age = now.since(self.born);
        if age >= self.timings.reject_after {
            Verdict::Expired
        } else if self.role == Role::Initiator && age >= self.timings.rekey_after_receiving() {
            Verdict::RekeyWanted
        } else {
            Verdict::Usable
        }
    }

    /// Whether the peer is known to have this session too. If not, the first authenticated packet on it goes to
    /// [`Device::confirm`](crate::Device::confirm): a responder sends nothing before (paper, section 5.4.6).
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_confirmed(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
    }

    /// The replay window. Take it once a batch, after decryption, and never hold it while waiting for anything.
    pub fn replay(&self) -> MutexGuard<'_, ReplayWindow> {
        // A bitmap is in order after every statement, so a panic elsewhere does not spoil it.
        self.replay.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is sent on this session; what is under way to us is still received.
    pub(crate) fn stop_sending(&self) {
        self.send_counter.0.store(REJECT_AFTER_MESSAGES, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("local_index", &self.local_index)
            .field("remote_index", &self.remote_index)
            .field("role", &self.role)
            .field("born", &self.born)
            .finish_non_exhaustive()
    }
}

/// What a receiver index leads to.
#[derive(Debug)]
pub struct Receiver {
    /// The session that the datagram belongs to.
    pub session: Arc<Session>,
    /// The peer at the other end of it.
    pub peer: Arc<Peer>,
}

/// Sessions by receiver index. Reading takes no lock; one writer, the [`Device`](crate::Device).
///
/// The low bits of an index are its slot and the rest is random, so that looking up is one masked load, a rekey
/// touches one slot, and doubling the table keeps every index where it can be found.
#[derive(Debug)]
pub struct SessionTable {
    slots: ArcSwap<Box<[ArcSwapOption<Receiver>]>>,
}

impl SessionTable {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: ArcSwap::from_pointee(empty_slots(slots)) }
    }

    /// The session and peer that a transport message with this receiver index belongs to.
    pub fn lookup(&self, receiver_index: u32) -> Result<Arc<Receiver>, DropReason> {
        let slots = self.slots.load();
        slots[slot(receiver_index, slots.len())]
            .load_full()
            .filter(|receiver| receiver.session.local_index == receiver_index)
            .ok_or(DropReason::UnknownReceiverIndex)
    }

    pub(crate) fn insert(&self, receiver: &Arc<Receiver>) {
        let slots = self.slots.load();
        slots[slot(receiver.session.local_index, slots.len())].store(Some(receiver.clone()));
    }

    pub(crate) fn remove(&self, receiver_index: u32) {
        let slots = self.slots.load();
        slots[slot(receiver_index, slots.len())].store(None);
    }

    /// A larger table with the same sessions; costs O(n), so it belongs to a change of the configuration.
    pub(crate) fn grow(&self, len: usize) {
        let larger = empty_slots(len);
        for receiver in self.slots.load().iter().filter_map(|slot| slot.load_full()) {
            larger[slot(receiver.session.local_index, len)].store(Some(receiver));
        }
        self.slots.store(Arc::new(larger));
    }
}

/// The slot of an index in a table of `len` slots, a power of two.
pub(crate) fn slot(index: u32, len: usize) -> usize {
    index as usize & (len - 1)
}

fn empty_slots(len: usize) -> Box<[ArcSwapOption<Receiver>]> {
    debug_assert!(len.is_power_of_two());
    (0..len).map(|_| ArcSwapOption::empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn session(role: Role) -> Session {
        let keys = TransportKeys { send: Zeroizing::new([0xab; 32]), receive: Zeroizing::default() };
        Session::new((0x1234_5678, 9), role, keys, Timings::default(), at(1000))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from(Duration::from_secs(seconds))
    }

    #[test]
    fn sessions_age() {
        let verdicts = |role, age: u64| {
            let session = session(role);
            (session.send_verdict(at(1000 + age)), session.receive_verdict(at(1000 + age)))
        };
        use Verdict::{Expired, RekeyWanted, Usable};
        assert_eq!(verdicts(Role::Initiator, 119), (Usable, Usable));
        assert_eq!(verdicts(Role::Initiator, 120), (RekeyWanted, Usable));
        assert_eq!(verdicts(Role::Initiator, 165), (RekeyWanted, RekeyWanted));
        assert_eq!(verdicts(Role::Responder, 179), (Usable, Usable));
        assert_eq!(verdicts(Role::Initiator, 180), (Expired, Expired));
        assert_eq!(verdicts(Role::Responder, 180), (Expired, Expired));
    }

    #[test]
    fn counters_run_out() {
        let session = session(Role::Responder);
        assert_eq!(session.reserve_counters(REKEY_AFTER_MESSAGES), Some(0));
        assert_eq!(session.send_verdict(at(1000)), Verdict::Usable);
        assert_eq!(session.reserve_counters(1), Some(REKEY_AFTER_MESSAGES));
        assert_eq!(session.send_verdict(at(1000)), Verdict::RekeyWanted);
        let rest = REJECT_AFTER_MESSAGES - session.sent_messages();
        assert_eq!(session.reserve_counters(rest + 1), None);
        assert_eq!(session.reserve_counters(u64::MAX), None);
        assert_eq!(session.reserve_counters(rest), Some(REKEY_AFTER_MESSAGES + 1));
        assert_eq!(session.reserve_counters(1), None);
        assert_eq!(session.send_verdict(at(1000)), Verdict::Expired);
        assert_eq!(session.receive_verdict(at(1000)), Verdict::Usable);
    }

    #[test]
    fn threads_never_reserve_the_same_counter() {
        let session = session(Role::Initiator);
        let reserve = || (0..1000).filter_map(|n| session.reserve_counters(n % 3 + 1)).collect::<Vec<_>>();
        let firsts = std::thread::scope(|scope| {
            let threads = [scope.spawn(reserve), scope.spawn(reserve), scope.spawn(reserve)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
        });
        assert_eq!(firsts.len(), 3000);
        assert_eq!(session.sent_messages(), 3 * (0..1000).map(|n| n % 3 + 1).sum::<u64>());
    }

    #[test]
    fn a_growing_table_keeps_its_sessions() {
        use crate::peer::PeerId;
        let peer = Arc::new(Peer::new(PeerId(0), crate::keys::PublicKey::from([0; 32])));
        let receiver = Arc::new(Receiver { session: Arc::new(session(Role::Initiator)), peer });
        let table = SessionTable::new(64);
        table.insert(&receiver);
        for slots in [128, 4096] {
            table.grow(slots);
            assert!(Arc::ptr_eq(&table.lookup(0x1234_5678).unwrap(), &receiver));
            assert_eq!(table.lookup(0x1234_5678 ^ 1 << 31).err(), Some(DropReason::UnknownReceiverIndex));
        }
        table.remove(0x1234_5678);
        assert!(table.lookup(0x1234_5678).is_err());
    }

    #[test]
    fn keys_are_not_shown() {
        assert!(!format!("{:?}", session(Role::Initiator)).contains("171"));
    }
}
