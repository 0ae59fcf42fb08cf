//! Time is an argument: the core reads no clock.

use std::time::Duration;

/// A moment on the caller's monotonic clock, in nanoseconds since any fixed origin.
///
/// Use a clock that goes on while the machine sleeps (Linux's `CLOCK_BOOTTIME`): a session that is too old must stay
/// too old after a suspend. It has to be exact, not coarse, and one reading serves a whole batch: after the batch has
/// been read, before anything of it is passed on. From the order of the readings the timers conclude what answered
/// what. Of two that are equal, the later call is taken for an answer; within one tick of a coarse clock that would
/// often be wrong, and cost a needless handshake after an exchange on a fast link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment that lies `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if that lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Instant {
    fn from(since_origin: Duration) -> Self {
        Self(u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(Self::from(later).0))
    }
}

/// What both clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// For every timer and age.
    pub monotonic: Instant,
    /// Since the Unix epoch: for the handshake's TAI64N timestamp and for the "last handshake" that users see, only.
    pub unix: Duration,
}
