//! One peer on the control side: its handshake, its sessions, its timers, and what waits for a session.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wirelane_packet::Endpoint;

use super::keypairs::{Confirmation, Keypairs};
use super::{Core, Event, Transmit};
use crate::allowed_ips::Prefix;
use crate::cookie::CookieJar;
use crate::handshake::{Authenticated, Initiator, PeerKeys, Tai64N};
use crate::keys::{PresharedKey, PublicKey};
use crate::messages::{DropReason, RESPONSE_LEN};
use crate::noise::Key;
use crate::peer::{Peer, PeerId, Traffic};
use crate::session::{Receiver, Role, Session, TransportKeys, Verdict};
use crate::time::{Instant, Time};
use crate::timers::{Timers, View};

/// Most packets that wait for a session (MAX_STAGED_PACKETS in Linux).
const MAX_STAGED_PACKETS: usize = 128;

/// Least time between two initiations of a peer that are accepted (INITIATIONS_PER_SECOND = 50 in Linux).
const INITIATION_INTERVAL: Duration = Duration::from_millis(1000 / 50);

/// Our side of a handshake that we begin.
///
/// | state | what happens | next state |
/// |---|---|---|
/// | Idle | wanted, and the last handshake message is REKEY_TIMEOUT ago | AwaitingResponse |
/// | Idle | wanted earlier than that | Postponed |
/// | Postponed | REKEY_TIMEOUT is over | AwaitingResponse |
/// | AwaitingResponse | REKEY_TIMEOUT and jitter are over | AwaitingResponse, with a new initiation |
/// | AwaitingResponse | the same, after REKEY_ATTEMPT_TIME | Idle: given up |
/// | any | a session is established, in either role | Idle |
#[derive(Default)]
pub(super) enum Handshake {
    #[default]
    Idle,
    Postponed {
        attempts_from: Instant,
        until: Instant,
    },
    AwaitingResponse {
        initiator: Box<Initiator>,
        attempts_from: Instant,
        retry_at: Instant,
    },
}

pub(super) struct PeerControl {
    pub path: Arc<Peer>,
    pub preshared_key: PresharedKey,
    pub persistent_keepalive_s: u16,
    pub allowed_ips: BTreeSet<Prefix>,
    pub last_handshake_time: Duration,
    pub cookie_jar: CookieJar,
    /// DH of the two static keys; made when first needed. `Some(None)`: the peer's key is of low order.
    static_shared: Option<Option<Key>>,
    handshake: Handshake,
    keypairs: Keypairs,
    timers: Timers,
    staged: VecDeque<Vec<u8>>,
    /// The engine is sending packets that were staged; until it has, the new session is not published.
    draining: bool,
    last_handshake_sent: Option<Instant>,
    /// The Unix time in our last initiation: the next one has to be later, whatever the clock does.
    last_timestamp_sent: Option<Duration>,
    greatest_timestamp: Option<Tai64N>,
    initiation_accepted: Option<Instant>,
    /// Its entry in the device's schedule.
    pub scheduled: Option<Instant>,
}

impl PeerControl {
    pub fn new(id: PeerId, public_key: PublicKey, core: &Core) -> Self {
        Self {
            path: Arc::new(Peer::new(id, public_key)),
            preshared_key: PresharedKey::default(),
            persistent_keepalive_s: 0,
            allowed_ips: BTreeSet::new(),
            last_handshake_time: Duration::ZERO,
            cookie_jar: CookieJar::new(&public_key, core.timings.cookie_secret),
            static_shared: None,
            handshake: Handshake::Idle,
            keypairs: Keypairs::default(),
            timers: Timers::default(),
            staged: VecDeque::new(),
            draining: false,
            last_handshake_sent: None,
            last_timestamp_sent: None,
            greatest_timestamp: None,
            initiation_accepted: None,
            scheduled: None,
        }
    }

    // --- Sending ---

    /// The session that can be sent on now.
    fn sendable(&self, now: Instant) -> Option<&Arc<Session>> {
        self.keypairs.current().filter(|session| session.send_verdict(now) != Verdict::Expired)
    }

    /// None: it waits. Some: it can be sent at once.
    pub fn stage(&mut self, packet: Vec<u8>, core: &mut Core, now: Time) -> Option<Vec<u8>> {
        if !self.draining {
            if self.sendable(now.monotonic).is_some() {
                return Some(packet);
            }
            self.request_initiation(core, now);
        }
        if self.staged.len() >= MAX_STAGED_PACKETS {
            self.staged.pop_front();
            self.report_drop(core, DropReason::StagedOverflow, 1);
        }
        self.staged.push_back(packet);
        None
    }

    pub fn purge_staged(&mut self, core: &mut Core) {
        let packets = self.staged.len() as u64;
        self.staged.clear();
        if packets > 0 {
            self.report_drop(core, DropReason::StagedPurged, packets);
        }
    }

    fn report_drop(&self, core: &mut Core, reason: DropReason, packets: u64) {
        core.events.push_back(Event::Dropped { peer: self.path.clone(), reason, packets });
    }

    pub fn keepalive(&mut self, core: &mut Core, now: Time) {
        match self.sendable(now.monotonic) {
            // Packets that are about to be sent say as much.
            Some(_) if self.draining => {}
            Some(session) => {
                let (peer, session) = (self.path.clone(), session.clone());
                core.events.push_back(Event::SendKeepalive { peer, session });
            }
            None => self.request_initiation(core, now),
        }
    }

    /// Makes the current session the one that the packet path sends on, once what is staged has been sent.
    fn publish(&mut self, core: &mut Core) {
        let Some(session) = self.keypairs.current().cloned() else { return };
        self.draining = !self.staged.is_empty();
        if self.draining {
            let packets = self.staged.drain(..).collect();
            core.events.push_back(Event::SendStaged { peer: self.path.clone(), session, packets });
        } else {
            self.path.set_sending(Some(session));
        }
    }

    pub fn staged_sent(&mut self, core: &mut Core) {
        if self.draining {
            self.publish(core);
        }
    }

    // --- Handshakes that we begin ---

    pub fn request_initiation(&mut self, core: &mut Core, now: Time) {
        match &mut self.handshake {
            Handshake::Idle => self.initiate(now.monotonic, core, now),
            Handshake::Postponed { attempts_from, .. } | Handshake::AwaitingResponse { attempts_from, .. } => {
                *attempts_from = now.monotonic;
            }
        }
    }

    fn initiate(&mut self, attempts_from: Instant, core: &mut Core, now: Time) {
        let earliest = self.last_handshake_sent.map(|sent| sent + core.timings.rekey_timeout);
        if let Some(until) = earliest.filter(|earliest| *earliest > now.monotonic) {
            self.abandon_handshake(core);
            self.handshake = Handshake::Postponed { attempts_from, until };
            return;
        }
        self.send_initiation(attempts_from, core, now);
    }

    fn send_initiation(&mut self, attempts_from: Instant, core: &mut Core, now: Time) {
        self.abandon_handshake(core);
        let Some(endpoint) = self.path.endpoint().as_deref().copied() else { return };
        let timestamp = self.next_timestamp(now.unix);
        self.static_shared(core);
        let (Some(identity), Some(Some(static_shared))) = (&core.identity, &self.static_shared) else { return };
        let local_index = core.indices.allocate(self.path.id(), &mut *core.rng);
        let keys = PeerKeys { public: self.path.public_key(), preshared: &self.preshared_key, static_shared };
        match Initiator::initiate(identity, &keys, local_index, timestamp, &mut *core.rng) {
            Ok((initiator, mut message)) => {
                let retry_at = now.monotonic + core.timings.rekey_timeout + core.jitter();
                self.handshake =
                    Handshake::AwaitingResponse { initiator: Box::new(initiator), attempts_from, retry_at };
                self.transmit(&mut message, endpoint, core, now.monotonic);
            }
            // A peer whose key is of low order has no static_shared, and never gets here.
            Err(_) => core.indices.release(local_index),
        }
    }

    /// Later than the last one by at least a timestamp's resolution, even when the clock was set back.
    fn next_timestamp(&mut self, unix: Duration) -> Tai64N {
        let unix = self.last_timestamp_sent.map_or(unix, |last| unix.max(last + Tai64N::RESOLUTION));
        self.last_timestamp_sent = Some(unix);
        Tai64N::from_unix(unix)
    }

    fn static_shared(&mut self, core: &Core) -> Option<&Key> {
        let identity = core.identity.as_ref()?;
        let public = self.path.public_key();
        self.static_shared.get_or_insert_with(|| identity.private.diffie_hellman(public)).as_ref()
    }

    fn transmit(&mut self, message: &mut [u8], endpoint: Endpoint, core: &mut Core, now: Instant) {
        self.cookie_jar.stamp(message, now);
        self.last_handshake_sent = Some(now);
        self.path.record_sent(now, Traffic { packets: 1, bytes: message.len() as u64, carries_data: false });
        core.transmits.push_back(Transmit { endpoint, payload: message.to_vec() });
    }

    fn abandon_handshake(&mut self, core: &mut Core) {
        if let Handshake::AwaitingResponse { initiator, .. } = std::mem::take(&mut self.handshake) {
            core.indices.release(initiator.local_index);
        }
    }

    /// The response to our initiation.
    pub fn finish(
        &mut self,
        message: &[u8; RESPONSE_LEN],
        receiver_index: u32,
        source: &Endpoint,
        core: &mut Core,
        now: Time,
    ) -> Result<(), DropReason> {
        let (Handshake::AwaitingResponse { initiator, .. }, Some(identity)) = (&self.handshake, &core.identity) else {
            return Err(DropReason::UnexpectedResponse);
        };
        if initiator.local_index != receiver_index {
            return Err(DropReason::UnexpectedResponse);
        }
        let (remote_index, keys) =
            initiator.finish(identity, &self.preshared_key, message).map_err(|_| DropReason::InvalidHandshake)?;
        // The index goes over to the session.
        self.handshake = Handshake::Idle;
        self.received_handshake(source, RESPONSE_LEN, now.monotonic);
        self.install((receiver_index, remote_index), Role::Initiator, keys, core, now.monotonic);
        self.established(Role::Initiator, core, now);
        if !self.draining {
            self.keepalive(core, now);
        }
        Ok(())
    }

    // --- Handshakes that the peer begins ---

    /// An initiation whose sender is this peer, if it authenticates.
    pub fn respond(
        &mut self,
        initiation: crate::handshake::Initiation<'_>,
        source: &Endpoint,
        core: &mut Core,
        now: Time,
    ) -> Result<(), DropReason> {
        let static_shared = self.static_shared(core).ok_or(DropReason::InvalidHandshake)?;
        let authenticated = initiation.authenticate(static_shared).map_err(|_| DropReason::InvalidHandshake)?;
        self.check_is_new(&authenticated, now.monotonic)?;
        self.greatest_timestamp = Some(authenticated.timestamp);
        self.initiation_accepted = Some(now.monotonic);
        self.received_handshake(source, crate::messages::INITIATION_LEN, now.monotonic);

        let Some(Some(static_shared)) = &self.static_shared else { return Err(DropReason::InvalidHandshake) };
        let keys = PeerKeys { public: self.path.public_key(), preshared: &self.preshared_key, static_shared };
        let local_index = core.indices.allocate(self.path.id(), &mut *core.rng);
        let remote_index = authenticated.remote_index;
        match authenticated.respond(&keys, local_index, &mut *core.rng) {
            Ok((mut message, keys)) => {
                self.transmit(&mut message, *source, core, now.monotonic);
                self.install((local_index, remote_index), Role::Responder, keys, core, now.monotonic);
                Ok(())
            }
            Err(_) => {
                core.indices.release(local_index);
                Err(DropReason::InvalidHandshake)
            }
        }
    }

    fn check_is_new(&self, initiation: &Authenticated, now: Instant) -> Result<(), DropReason> {
        if self.greatest_timestamp >= Some(initiation.timestamp) {
            return Err(DropReason::ReplayedInitiation);
        }
        if self.initiation_accepted.is_some_and(|accepted| now.since(accepted) < INITIATION_INTERVAL) {
            return Err(DropReason::InitiationFlood);
        }
        Ok(())
    }

    fn received_handshake(&self, source: &Endpoint, len: usize, now: Instant) {
        self.path.roam(source);
        self.path.record_received(now, Traffic { packets: 1, bytes: len as u64, carries_data: false });
    }

    // --- Sessions ---

    fn install(&mut self, indices: (u32, u32), role: Role, keys: TransportKeys, core: &mut Core, now: Instant) {
        let session = Arc::new(Session::new(indices, role, keys, core.timings, now));
        let receiver = Arc::new(Receiver { session, peer: self.path.clone() });
        core.forwarding.sessions.insert(&receiver);
        let peer_has_precedence = core.identity.as_ref().is_some_and(|own| own.public > *self.path.public_key());
        for dropped in self.keypairs.install(receiver, peer_has_precedence) {
            core.forget_session(&dropped);
        }
        let jitter = core.jitter();
        self.timers.session_derived(now, jitter, &core.timings);
    }

    fn established(&mut self, role: Role, core: &mut Core, now: Time) {
        self.abandon_handshake(core);
        self.last_handshake_time = now.unix;
        core.events.push_back(Event::SessionEstablished { peer: self.path.clone(), role });
        self.publish(core);
    }

    pub fn confirm(&mut self, session: &Arc<Session>, core: &mut Core, now: Time) {
        if let Confirmation::Promoted { dropped } = self.keypairs.confirm(session) {
            if let Some(dropped) = dropped {
                core.forget_session(&dropped);
            }
            self.established(Role::Responder, core, now);
        }
    }

    /// The device has another private key: what was agreed on with the old one is not sent on any more.
    pub fn identity_changed(&mut self, core: &mut Core) {
        self.static_shared = None;
        self.abandon_handshake(core);
        self.keypairs.stop_sending();
    }

    /// Wipes handshake and sessions.
    pub fn wipe(&mut self, core: &mut Core) {
        self.abandon_handshake(core);
        self.path.set_sending(None);
        self.draining = false;
        for receiver in self.keypairs.take_all() {
            core.forget_session(&receiver);
        }
    }

    /// The device goes down, or the peer is removed.
    pub fn shut_down(&mut self, core: &mut Core) {
        self.wipe(core);
        self.purge_staged(core);
        self.timers = Timers::default();
        self.last_handshake_sent = None;
    }

    // --- Time ---

    /// Does what is due, and says when to come again.
    pub fn run_timers(&mut self, core: &mut Core, now: Time) -> Option<Instant> {
        self.retry_handshake(core, now);
        let seconds = u64::from(self.persistent_keepalive_s);
        let current = self.sendable(now.monotonic).cloned();
        let view = View {
            now: now.monotonic,
            activity: self.path.activity(),
            current: current.as_deref(),
            live: self.keypairs.any_live(now.monotonic),
            persistent_keepalive: (seconds > 0).then(|| Duration::from_secs(seconds)),
        };
        let due = self.timers.decide(&view, &core.timings);
        if due.zero_keys {
            self.wipe(core);
        }
        if due.no_answer {
            self.path.note_silence(now.monotonic);
            self.path.forget_source();
        }
        if due.no_answer || due.rekey && matches!(self.handshake, Handshake::Idle) {
            self.request_initiation(core, now);
        }
        if due.keepalive {
            self.keepalive(core, now);
        }
        let handshake_at = match self.handshake {
            Handshake::Idle => None,
            Handshake::Postponed { until, .. } => Some(until),
            Handshake::AwaitingResponse { retry_at, .. } => Some(retry_at),
        };
        due.next.into_iter().chain(handshake_at).min()
    }

    fn retry_handshake(&mut self, core: &mut Core, now: Time) {
        match self.handshake {
            Handshake::Postponed { attempts_from, until } if until <= now.monotonic => {
                self.send_initiation(attempts_from, core, now);
            }
            Handshake::AwaitingResponse { attempts_from, retry_at, .. } if retry_at <= now.monotonic => {
                if now.monotonic.since(attempts_from) >= core.timings.rekey_attempt {
                    self.abandon_handshake(core);
                    self.purge_staged(core);
                    self.timers.gave_up(now.monotonic, &core.timings);
                } else {
                    self.path.forget_source();
                    self.send_initiation(attempts_from, core, now);
                }
            }
            _ => {}
        }
    }
}
