//! Which of a peer's sessions is which (paper, section 6.3).
//!
//! | what happens | previous | current | next |
//! |---|---|---|---|
//! | we finish as initiator: session N | next, else current | N | none |
//! | we respond: session N | none | as it was | N |
//! | a packet confirms next | current | next | none |
//!
//! We send on `current` and receive on all three.

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

    /// Takes in a new session; those that have no place any more come back.
    pub fn install(&mut self, new: Arc<Receiver>) -> impl Iterator<Item = Arc<Receiver>> + use<> {
        let (current, next) = (self.current.take(), self.next.take());
        let previous = self.previous.take();
        let dropped = match new.session.role() {
            Role::Initiator => {
                self.current = Some(new);
                if next.is_some() {
                    self.previous = next;
                    [previous, current]
                } else {
                    self.previous = current;
                    [previous, None]
                }
            }
            Role::Responder => {
                self.current = current;
                self.next = Some(new);
                [previous, next]
            }
        };
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

    pub fn take_all(&mut self) -> impl Iterator<Item = Arc<Receiver>> + use<> {
        let Self { previous, current, next } = std::mem::take(self);
        [previous, current, next].into_iter().flatten()
    }
}

/// What [`Keypairs::confirm`] did.
pub(crate) enum Confirmation {
    NotNext,
    Promoted { dropped: Option<Arc<Receiver>> },
}
