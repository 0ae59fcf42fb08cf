//! Which of a peer's sessions is which (paper, section 6.3).
//!
//! | what happens | previous | current | next |
//! |---|---|---|---|
//! | we finish as initiator: session N | next, else current | N | none |
//! | the same, but both called at once and the peer's call has precedence | current | N | as it was |
//! | we respond: session N | none | as it was | N |
//! | a packet confirms next | current | next | none |
//!
//! We send on `current` and receive on all three.
//!
//! When both peers call at once, both handshakes succeed. So that the two do not go on as initiators of a session each
//! and call at once again at every rekey, which costs what is under way on the sessions that are replaced, both come to
//! send on the same one: the device with the greater public key keeps `next`, and moves to it when it is confirmed.
//! (Linux gives up its own call when it hears the peer's, so `next` then just stays unconfirmed.)

use std::sync::Arc;

use crate::session::{Receiver, Role, Session};
use crate::time::Instant;

/// The sessions of a peer.
#[derive(Default)]
pub(crate) struct Keypairs {
    previous: Option<Arc<Receiver>>,
    current: Option<Arc<Receiver>>,
    next: Option<Arc<Receiver>>,
}

impl Keypairs {
    pub fn current(&self) -> Option<&Arc<Session>> {
        self.current.as_ref().map(|receiver| &receiver.session)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Receiver>> {
        [&self.previous, &self.current, &self.next].into_iter().flatten()
    }

    /// Whether one of them can still receive.
    pub fn any_live(&self, now: Instant) -> bool {
        self.iter().any(|receiver| receiver.session.receive_verdict(now) != crate::Verdict::Expired)
    }

    /// Takes in a new session; those that have no place any more come back. `peer_has_precedence`: see the module.
    pub fn install(&mut self, new: Arc<Receiver>, peer_has_precedence: bool) -> impl Iterator<Item = Arc<Receiver>> {
        let Self { previous, current, next } = std::mem::take(self);
        let (kept, dropped) = match (new.session.role(), next) {
            (Role::Initiator, None) => ((current, Some(new), None), [previous, None]),
            (Role::Initiator, next) if peer_has_precedence => ((current, Some(new), next), [previous, None]),
            (Role::Initiator, next) => ((next, Some(new), None), [previous, current]),
            (Role::Responder, next) => ((None, current, Some(new)), [previous, next]),
        };
        let (previous, current, next) = kept;
        *self = Self { previous, current, next };
        dropped.into_iter().flatten()
    }

    /// If `session` is the next one: makes it current. What was previous comes back.
    pub fn confirm(&mut self, session: &Arc<Session>) -> Confirmation {
        if !self.next.as_ref().is_some_and(|next| Arc::ptr_eq(&next.session, session)) {
            return Confirmation::NotNext;
        }
        let next = self.next.take();
        let dropped = std::mem::replace(&mut self.previous, std::mem::replace(&mut self.current, next));
        Confirmation::Promoted { dropped }
    }

    /// Nothing more is sent on any of them.
    pub fn stop_sending(&self) {
        for receiver in self.iter() {
            receiver.session.stop_sending();
        }
    }

    pub fn take_all(&mut self) -> impl Iterator<Item = Arc<Receiver>> {
        let Self { previous, current, next } = std::mem::take(self);
        [previous, current, next].into_iter().flatten()
    }
}

/// What [`Keypairs::confirm`] did.
pub(crate) enum Confirmation {
    NotNext,
    Promoted { dropped: Option<Arc<Receiver>> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;
    use crate::peer::{Peer, PeerId};
    use crate::session::TransportKeys;
    use crate::timers::Timings;

    fn session(index: u32, role: Role) -> Arc<Receiver> {
        let keys = TransportKeys { send: Default::default(), receive: Default::default() };
        let session = Session::new((index, 0), role, keys, Timings::default(), Instant::from_nanos(0));
        let peer = Peer::new(PeerId(0), PublicKey::from([0; 32]));
        Arc::new(Receiver { session: Arc::new(session), peer: Arc::new(peer) })
    }

    /// Previous, current and next by their indices; 0 for none.
    fn indices(keypairs: &Keypairs) -> [u32; 3] {
        let index = |receiver: &Option<Arc<Receiver>>| receiver.as_ref().map_or(0, |one| one.session.local_index());
        [index(&keypairs.previous), index(&keypairs.current), index(&keypairs.next)]
    }

    fn install(keypairs: &mut Keypairs, index: u32, role: Role, peer_has_precedence: bool) -> Vec<u32> {
        keypairs.install(session(index, role), peer_has_precedence).map(|old| old.session.local_index()).collect()
    }

    fn confirm(keypairs: &mut Keypairs) -> Option<u32> {
        let next = keypairs.next.as_ref().map(|next| next.session.clone()).unwrap();
        match keypairs.confirm(&next) {
            Confirmation::Promoted { dropped } => dropped.map(|old| old.session.local_index()),
            Confirmation::NotNext => panic!("it is next"),
        }
    }

    #[test]
    fn the_table_holds_for_an_initiator() {
        let mut keypairs = Keypairs::default();
        assert!(install(&mut keypairs, 1, Role::Initiator, false).is_empty());
        assert!(install(&mut keypairs, 2, Role::Initiator, true).is_empty());
        assert_eq!(indices(&keypairs), [1, 2, 0]);
        assert_eq!(install(&mut keypairs, 3, Role::Initiator, false), [1]);
        assert_eq!(indices(&keypairs), [2, 3, 0]);
    }

    #[test]
    fn the_table_holds_for_a_responder() {
        let mut keypairs = Keypairs::default();
        install(&mut keypairs, 1, Role::Responder, false);
        assert_eq!((indices(&keypairs), confirm(&mut keypairs)), ([0, 0, 1], None));
        install(&mut keypairs, 2, Role::Responder, false);
        assert_eq!((indices(&keypairs), confirm(&mut keypairs)), ([0, 1, 2], None));
        assert_eq!(indices(&keypairs), [1, 2, 0]);
        assert_eq!(install(&mut keypairs, 3, Role::Responder, false), [1]);
        assert_eq!(install(&mut keypairs, 4, Role::Responder, false), [3], "3 was never confirmed");
        assert_eq!(indices(&keypairs), [0, 2, 4]);
        let stranger = session(4, Role::Responder);
        assert!(matches!(keypairs.confirm(&stranger.session), Confirmation::NotNext));
    }

    #[test]
    fn of_two_calls_at_once_both_peers_keep_the_same() {
        let (mut ours, mut theirs) = (Keypairs::default(), Keypairs::default());
        for (keypairs, peer_has_precedence) in [(&mut ours, false), (&mut theirs, true)] {
            install(keypairs, 1, Role::Responder, peer_has_precedence);
            install(keypairs, 2, Role::Initiator, peer_has_precedence);
        }
        assert_eq!((indices(&ours), indices(&theirs)), ([1, 2, 0], [0, 2, 1]));
        confirm(&mut theirs);
        assert_eq!(indices(&theirs), [2, 1, 0]);
    }
}
