//! Waiting for several descriptors, and waking a thread that waits.

use crate::syscall::{check, check_len};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or an error to fetch.
    Readable,
    /// Room to write.
    Writable,
}

/// Wait until one of `descriptors` is ready or `timeout` is over (`None`: for ever). Bit i of the answer says that the
/// i-th is ready; 0: the time is over. A signal counts as nothing ready.
///
/// # Panics
/// With more than 8 descriptors.
pub fn poll(descriptors: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<u32> {
    let mut entries = [libc::pollfd { fd: -1, events: 0, revents: 0 }; 8];
    let entries = &mut entries[..descriptors.len()];
    for (entry, (descriptor, interest)) in entries.iter_mut().zip(descriptors) {
        entry.fd = descriptor.as_raw_fd();
        entry.events = match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
        };
    }
    let limit =
        timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as libc::time_t, tv_nsec: t.subsec_nanos().into() });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` is an array of that many initialised pollfds; `limit` is null or points to a timespec on this
    // stack frame; the signal mask is null, which leaves it as it is.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, limit, std::ptr::null()) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
        Ok(_) => Ok(entries.iter().enumerate().fold(0, |set, (i, e)| set | u32::from(e.revents != 0) << i)),
    }
}

/// Wakes a thread that waits in [`poll`] (an eventfd). Shared by reference or [`Waker::try_clone`].
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
}

impl Waker {
    /// A waker that has not been used yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd touches no memory of ours.
        let event = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: eventfd has just returned this descriptor; nothing else owns it.
        Ok(Self { event: unsafe { OwnedFd::from_raw_fd(event) } })
    }

    /// Another handle of the same waker.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { event: self.event.try_clone()? })
    }

    /// Make the descriptor readable until [`Waker::reset`].
    pub fn wake(&self) -> io::Result<()> {
        let one = 1u64.to_ne_bytes();
        // SAFETY: write reads the eight bytes of `one`, which lives through the call.
        match check_len(unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) }) {
            // The counter is full: the thread has been woken already.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result.map(drop),
        }
    }

    /// Take the wake-ups back; says whether there was one.
    pub fn reset(&self) -> io::Result<bool> {
        let mut count = [0u8; 8];
        // SAFETY: read writes at most the eight bytes of `count`.
        match check_len(unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            result => result.map(|_| true),
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_wakes_once_until_reset() {
        let waker = Waker::new().unwrap();
        let wait = |timeout| poll(&[(waker.as_fd(), Interest::Readable)], Some(timeout)).unwrap();
        assert_eq!(wait(Duration::ZERO), 0);
        waker.try_clone().unwrap().wake().unwrap();
        assert_eq!(wait(Duration::from_secs(5)), 1);
        assert!(waker.reset().unwrap());
        assert!(!waker.reset().unwrap());
        assert_eq!(wait(Duration::ZERO), 0);
    }
}
