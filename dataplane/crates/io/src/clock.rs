//! A clock that is cheap enough to read for every batch.

use std::time::Duration;

/// CLOCK_MONOTONIC_COARSE: some nanoseconds to read, exact to a kernel tick (1 to 10 ms).
#[derive(Clone, Copy, Debug)]
pub struct CoarseClock;

impl CoarseClock {
    /// Time since some fixed point, never going back. Stops while the machine is suspended.
    pub fn now() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime writes one timespec, which `time` is.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
        debug_assert_eq!(result, 0, "the clock has existed since Linux 2.6.32");
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    }
}
