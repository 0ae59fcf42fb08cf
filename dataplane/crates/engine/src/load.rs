//! When a device is under load, and asks senders to prove their address (paper, section 5.3).

use std::time::Duration;

use wirelane_protocol::Instant;

/// From this many waiting handshake messages on (MAX_QUEUED_INCOMING_HANDSHAKES / 8 in Linux).
const HANDSHAKES: usize = 512;
/// It lasts so long after the queue was last so full, as in Linux: a flood that is answered with cookies empties the
/// queue, and must not be let in again for that.
const LASTS: Duration = Duration::from_secs(1);

/// Whether one device is under load.
#[derive(Debug, Default)]
pub struct Load {
    until: Option<Instant>,
}

impl Load {
    /// Notes how many handshake messages wait, and says whether the device is under load.
    pub fn observe(&mut self, waiting: usize, now: Instant) -> bool {
        if waiting >= HANDSHAKES {
            self.until = Some(now + LASTS);
        }
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_lasts_a_second_longer_than_the_full_queue() {
        let at = |ms| Instant::from(Duration::from_millis(ms));
        let mut load = Load::default();
        assert!(!load.observe(HANDSHAKES - 1, at(1000)));
        assert!(load.observe(HANDSHAKES, at(1001)));
        assert!(load.observe(0, at(2000)) && !load.observe(0, at(2001)));
        assert!(load.observe(4096, at(3000)) && load.observe(HANDSHAKES, at(3500)) && load.observe(1, at(4499)));
        assert!(!load.observe(1, at(4500)));
    }
}
