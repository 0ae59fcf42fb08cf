//! Confinement holds for one thread and what it starts, so each test has a thread of its own.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;

use crate::run_in_namespace;

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("wirelane-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The value of a field of this thread's status.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().trim().to_owned()
}

/// The version of the kernel's Landlock; negative without.
fn landlock_version() -> i64 {
    // SAFETY: with a null pointer and LANDLOCK_CREATE_RULESET_VERSION (1) the call only returns a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, 1u32) }
}

#[test]
fn a_confined_process_configures_the_network_and_writes_its_sockets_only() {
    run_in_namespace("confinement of the process", || {
        let (own, other) = (folder("own"), folder("other"));
        wirelane_io::confine_process(&[&own]).unwrap();
        assert_eq!(status("NoNewPrivs"), "1");
        assert_eq!(status("CapEff"), "0000000000001400", "CAP_NET_ADMIN and CAP_NET_BIND_SERVICE");
        wirelane_io::Netlink::open().unwrap().set_up(1, false).unwrap();
        wirelane_io::Netlink::open().unwrap().set_up(1, true).unwrap();
        UdpSocket::bind("127.0.0.1:53").unwrap();
        std::fs::write(own.join("a"), "x").unwrap();
        std::fs::create_dir(own.join("b")).unwrap();
        std::fs::rename(own.join("a"), own.join("b/a")).unwrap();
        std::fs::remove_dir_all(own.join("b")).unwrap();
        assert!(Command::new("true").status().unwrap().success(), "programs such as ip can be started");
        if landlock_version() >= 2 {
            assert_eq!(File::create(other.join("a")).unwrap_err().kind(), ErrorKind::PermissionDenied);
        } else {
            eprintln!("skipped: this kernel has no Landlock");
        }
        if landlock_version() >= 4 {
            let refused = std::net::TcpStream::connect("127.0.0.1:9").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "not only nobody there");
        }
        // SAFETY: unshare changes the calling thread's namespaces and touches no memory.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, -1);
    });
    for name in ["own", "other"] {
        std::fs::remove_dir_all(folder(name)).unwrap();
    }
}

#[test]
fn a_confined_packet_thread_carries_packets_and_does_nothing_else() {
    run_in_namespace("confinement of a packet thread", || {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut open = File::open("/proc/self/comm").unwrap();
        let waker = wirelane_io::Waker::new().unwrap();
        wirelane_io::confine_packet_thread().unwrap();

        a.send_to(b"packet", b.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(b.recv(&mut buffer).unwrap(), 6);
        waker.try_clone().unwrap().wake().unwrap();
        let ready = wirelane_io::poll(&[(waker.as_fd(), wirelane_io::Interest::Readable)], None).unwrap();
        assert_eq!(ready, 1);
        let memory = vec![1u8; 64 << 20];
        assert_eq!(memory.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 64 << 20);
        assert!(open.read(&mut buffer).unwrap() > 0, "what is open stays open");

        let refused = |result: std::io::Result<()>| result.unwrap_err().kind() == ErrorKind::PermissionDenied;
        assert!(refused(File::open("/proc/self/comm").map(drop)));
        assert!(refused(UdpSocket::bind("127.0.0.1:0").map(drop)));
        assert!(refused(Command::new("true").status().map(drop)));
        assert!(refused(wirelane_io::Netlink::open().map(drop)));
        assert!(std::io::stderr().write_all(b"").is_ok());
    });
}
