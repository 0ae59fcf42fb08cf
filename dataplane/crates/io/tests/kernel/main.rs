//! The system calls against the real kernel, each test in network namespaces of its own. They need root and skip, saying
//! so, without.

mod confinement;
mod forward;
mod links;
mod sockets;

use std::io;
use std::net::IpAddr;
use std::thread;
use wirelane_io::{Netlink, Prefix};

/// Run `test` on a thread in a new network namespace whose loopback is up. False: skipped.
fn in_namespace<T: Send + 'static>(
    name: &str,
    test: impl FnOnce() -> T + Send + 'static,
) -> Option<thread::JoinHandle<T>> {
    // SAFETY: geteuid touches no memory and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: {name} needs root for a network namespace");
        return None;
    }
    Some(thread::spawn(move || {
        // SAFETY: unshare changes the calling thread's namespace and touches no memory.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "unshare: {}", io::Error::last_os_error());
        Netlink::open().unwrap().set_up(1, true).unwrap();
        test()
    }))
}

/// Like [`in_namespace`], to the end.
fn run_in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    if let Some(thread) = in_namespace(name, test) {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
