//! A socket filter: a gateway of n lanes has n monitors, and the change of one device must not wake them all.

use crate::syscall::check;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Offset of the interface's index: struct nlmsghdr, then struct ifinfomsg.
const INDEX_OFFSET: u32 = 16 + 4;

/// Lets messages about the interface with this index through, and no others.
pub(super) fn only_link(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let instruction = |code: u32, if_equal, if_not, value| libc::sock_filter {
        code: code as u16,
        jt: if_equal,
        jf: if_not,
        k: value,
    };
    let mut program = [
        // A filter loads words in network byte order.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, INDEX_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from_be_bytes(index.to_ne_bytes())),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let described = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads a sock_fprog and the instructions that it points to, which both live through the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const described).cast(),
            size_of_val(&described) as libc::socklen_t,
        )
    })?;
    Ok(())
}
