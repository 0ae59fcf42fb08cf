//! The clock of the protocol, read once a batch.

use std::time::Duration;

/// CLOCK_BOOTTIME: exact, some 30 ns to read (no system call), and goes on while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub struct BootClock;

impl BootClock {
    /// Time since the machine started, never going back.
    pub fn now() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime writes one timespec, which `time` is.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        debug_assert_eq!(result, 0, "the clock has existed since Linux 2.6.39");
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_exact_enough_to_order_a_question_and_its_answer() {
        let readings: Vec<_> = (0..1000).map(|_| BootClock::now()).collect();
        assert!(readings.is_sorted());
        let distinct = readings.windows(2).filter(|pair| pair[0] < pair[1]).count();
        // A clock that moves with the kernel's tick would show one value or two.
        assert!(distinct > 100, "{distinct} distinct readings");
    }
}
