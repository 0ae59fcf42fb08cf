//! The replay window (paper, section 5.4.6): a sliding bitmap after RFC 6479, 8192 bits as in Linux.

use crate::session::REJECT_AFTER_MESSAGES;

/// Bits of the ring, a power of two.
const RING_BITS: u64 = 8192;
const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (RING_BITS / WORD_BITS) as usize;

/// How far behind the greatest counter one may be. One word of the ring is always being cleared (RFC 6479, section 2).
pub const REPLAY_WINDOW: u64 = RING_BITS - WORD_BITS;

/// Counters seen on one session.
#[derive(Debug)]
pub struct ReplayWindow {
    /// One more than the greatest counter seen.
    next: u64,
    ring: [u64; WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        Self { next: 0, ring: [0; WORDS] }
    }

    /// Whether a counter would be accepted. Saves the decryption of replays; only [`accept`](Self::accept) counts.
    pub fn would_accept(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter < REJECT_AFTER_MESSAGES;
        }
        let behind_greatest = self.next - 1 - counter;
        behind_greatest <= REPLAY_WINDOW && self.ring[Self::word(counter)] & Self::bit(counter) == 0
    }

    /// Notes a counter; false if it came before or is too old. Call it only after the packet has been authenticated.
    #[must_use]
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.would_accept(counter) {
            return false;
        }
        if counter >= self.next {
            self.advance(counter);
        }
        self.ring[Self::word(counter)] |= Self::bit(counter);
        true
    }

    /// Clears the words between the old greatest counter's and the new one's.
    fn advance(&mut self, counter: u64) {
        // Before the first counter the whole ring is clear, and word 0 counts as the current one.
        let current = self.next.saturating_sub(1) / WORD_BITS;
        let new_words = (counter / WORD_BITS - current).min(WORDS as u64);
        for word in 1..=new_words {
            self.ring[((current + word) % WORDS as u64) as usize] = 0;
        }
        self.next = counter + 1;
    }

    fn word(counter: u64) -> usize {
        (counter / WORD_BITS % WORDS as u64) as usize
    }

    fn bit(counter: u64) -> u64 {
        1 << (counter % WORD_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The specification: everything seen, and the greatest of it.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            let too_old = self.seen.last().is_some_and(|greatest| greatest.saturating_sub(counter) > REPLAY_WINDOW);
            counter < REJECT_AFTER_MESSAGES && !too_old && self.seen.insert(counter)
        }
    }

    #[test]
    fn edges() {
        let mut window = ReplayWindow::new();
        assert!(window.accept(0));
        assert!(!window.accept(0));
        assert!(window.accept(REPLAY_WINDOW + 1));
        assert!(!window.accept(0));
        assert!(window.accept(1));
        assert!(!window.accept(1));
        assert!(!window.accept(REJECT_AFTER_MESSAGES) && !window.accept(u64::MAX));
        assert!(window.accept(REJECT_AFTER_MESSAGES - 1));
        assert!(!window.accept(2));
        assert!(window.accept(REJECT_AFTER_MESSAGES - 1 - REPLAY_WINDOW));
        assert!(!window.accept(REJECT_AFTER_MESSAGES - 2 - REPLAY_WINDOW));
    }

    /// A walk of small and large steps, forwards and backwards.
    fn counters() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            8 => -70i64..70,
            3 => -9000i64..9000,
            1 => -200_000i64..200_000,
            1 => Just(i64::MAX / 2),
        ];
        proptest::collection::vec(step, 1..600).prop_map(|steps| {
            let mut at = 5000u64;
            steps
                .into_iter()
                .map(|step| {
                    at = at.saturating_add_signed(step);
                    at
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(counters in counters()) {
            let (mut window, mut model) = (ReplayWindow::new(), Model::default());
            for counter in counters {
                let would = window.would_accept(counter);
                prop_assert_eq!(would, model.accept(counter));
                prop_assert_eq!(window.accept(counter), would);
            }
        }
    }
}
