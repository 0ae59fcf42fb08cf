//! Timers (paper, section 6). [`Timings`] holds their durations.

use std::time::Duration;

/// The durations of the protocol. [`Default`] is the paper's section 6.1; anything else is for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// REKEY_AFTER_TIME: an initiator that sends on an older session begins a new handshake.
    pub rekey_after: Duration,
    /// REJECT_AFTER_TIME: an older session is not used.
    pub reject_after: Duration,
    /// REKEY_ATTEMPT_TIME: how long a handshake is tried before giving up.
    pub rekey_attempt: Duration,
    /// REKEY_TIMEOUT: time between two initiations, up to a third of a second of jitter apart.
    pub rekey_timeout: Duration,
    /// KEEPALIVE_TIMEOUT: time without sending after which received data is answered with a keepalive.
    pub keepalive: Duration,
    /// COOKIE_SECRET_MAX_AGE: how long a cookie is good (section 5.4.7, "every two minutes").
    pub cookie_secret: Duration,
    /// How often `poll` looks at the activity of a peer with a live session; timers that depend on it may be late by
    /// as much. The packet path only notes when it sent and received, and is never asked to wake anybody.
    pub sampling: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            rekey_after: Duration::from_secs(120),
            reject_after: Duration::from_secs(180),
            rekey_attempt: Duration::from_secs(90),
            rekey_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(10),
            cookie_secret: Duration::from_secs(120),
            sampling: Duration::from_millis(250),
        }
    }
}

impl Timings {
    /// Age at which an initiator that only receives begins a new handshake (section 6.2).
    pub(crate) fn rekey_after_receiving(&self) -> Duration {
        self.reject_after.saturating_sub(self.keepalive).saturating_sub(self.rekey_timeout)
    }

    /// Time without a new session after which all keys of a peer are wiped (section 6.3).
    pub(crate) fn zero_keys_after(&self) -> Duration {
        self.reject_after * 3
    }
}
