//! The TUN device: whole super-packets in and out, each behind a vnet header.

use crate::netlink::Netlink;
use crate::syscall::{check, check_len};
use libc::{c_int, c_short, c_uint};
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use wirelane_packet::{Span, TunOffload, VNET_HEADER_LEN};

// linux/if_tun.h
const TUN_F_CSUM: c_uint = 0x01;
const TUN_F_TSO4: c_uint = 0x02;
const TUN_F_TSO6: c_uint = 0x04;
const TUN_F_TSO_ECN: c_uint = 0x08;
const TUN_F_USO4: c_uint = 0x20;
const TUN_F_USO6: c_uint = 0x40;

/// Most spans of one write; UIO_MAXIOV is 1,024.
const MAX_SPANS: usize = 256;

/// How to open a TUN device.
#[derive(Clone, Debug)]
pub struct TunOptions {
    /// The interface's name, 1 to 15 bytes; it may hold `%d`, which the kernel replaces by a number.
    pub name: String,
    /// Ask for TCP super-packets.
    pub tso: bool,
    /// Ask for UDP super-packets where the kernel has them (Linux 6.2).
    pub uso: bool,
    /// Allow [`Tun::another_queue`].
    pub multi_queue: bool,
}

impl TunOptions {
    /// All offloads, one queue.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), tso: true, uso: true, multi_queue: false }
    }
}

/// One queue of a TUN device. Reads and writes never block and may come from different threads at once.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    index: u32,
    offload: TunOffload,
    multi_queue: bool,
}

impl Tun {
    /// Create the device, or attach to a persistent one of that name.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN, `NotFound` without /dev/net/tun, `InvalidInput` for an impossible name,
    /// `ResourceBusy` if another process holds the device.
    pub fn create(options: &TunOptions) -> io::Result<Self> {
        let (file, name) = open_queue(&options.name, options.multi_queue)?;
        let offload = set_offload(&file, options.tso, options.uso)?;
        let index = interface_index(&name)?;
        Ok(Self { file, name, index, offload, multi_queue: options.multi_queue })
    }

    /// One more queue of the same device, for another thread.
    ///
    /// # Errors
    /// If the device was not created with `multi_queue`.
    pub fn another_queue(&self) -> io::Result<Self> {
        if !self.multi_queue {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the TUN device has a single queue"));
        }
        let (file, name) = open_queue(&self.name, true)?;
        let offload = set_offload(&file, self.offload.tso, self.offload.uso)?;
        Ok(Self { file, name, index: self.index, offload, multi_queue: true })
    }

    /// The interface's name when it was created.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index, which does not change when it is renamed.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What super-packets the kernel granted, in both directions.
    pub fn offload(&self) -> TunOffload {
        self.offload
    }

    /// Read one packet: vnet header, then IP packet. Give it [`wirelane_packet::MAX_TUN_READ`] bytes.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; any other error is the device's (`EBADFD`: it was deleted, `EIO`: it is down).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Write one packet, gathered from `spans` of `buffer`, the first of which begins with the vnet header.
    ///
    /// # Errors
    /// `WouldBlock`, `EIO` if the device is down, `InvalidInput` if the kernel refuses the packet or there are too many
    /// spans.
    ///
    /// # Panics
    /// If a span lies outside `buffer`: a bug of the caller.
    pub fn write(&self, buffer: &[u8], spans: &[Span]) -> io::Result<()> {
        const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut pieces = [EMPTY; MAX_SPANS];
        let Some(pieces) = pieces.get_mut(..spans.len()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many spans for one TUN write"));
        };
        let mut total = 0;
        for (piece, span) in pieces.iter_mut().zip(spans) {
            let bytes = &buffer[span.range()];
            *piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            total += bytes.len();
        }
        // SAFETY: `pieces` holds `pieces.len()` initialised iovecs, each of which points to bytes that `buffer` borrows
        // for the whole call; writev only reads them.
        let result = unsafe { libc::writev(self.file.as_raw_fd(), pieces.as_ptr(), pieces.len() as c_int) };
        let written = check_len(result)?;
        debug_assert_eq!(written, total, "a TUN takes a packet whole or not at all");
        Ok(())
    }

    /// The interface's MTU in bytes.
    pub fn mtu(&self) -> io::Result<u32> {
        Ok(Netlink::open()?.link(self.index)?.mtu)
    }

    /// Packets that the kernel dropped because the device's queue was full.
    pub fn queue_drops(&self) -> io::Result<u64> {
        Ok(Netlink::open()?.link(self.index)?.tx_dropped)
    }

    /// Is the interface administratively up?
    pub fn is_up(&self) -> io::Result<bool> {
        Ok(Netlink::open()?.link(self.index)?.is_up)
    }

    /// Set the MTU in bytes.
    pub fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        Netlink::open()?.set_mtu(self.index, mtu)
    }

    /// Set the interface up or down.
    pub fn set_up(&self, up: bool) -> io::Result<()> {
        Netlink::open()?.set_up(self.index, up)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open_queue(name: &str, multi_queue: bool) -> io::Result<(File, String)> {
    let mut request = interface_request(name)?;
    let flags =
        libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags = flags as c_short;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, and nothing else; the descriptor is open.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    let header_len = VNET_HEADER_LEN as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which `header_len` is.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw const header_len) })?;
    let name = request.ifr_name.map(|c| c.cast_unsigned());
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| io::Error::other("interface name without end"))?;
    Ok((file, name.to_string_lossy().into_owned()))
}

/// An `ifreq` with its name filled in and everything else zero.
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a C struct of integers and a union of integers, addresses and a pointer; all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let is_valid = !name.is_empty()
        && name.len() < request.ifr_name.len()
        && !matches!(name, "." | "..")
        && !name.bytes().any(|b| b == 0 || b == b'/' || b == b':' || b.is_ascii_whitespace());
    if !is_valid {
        let message = format!("{name:?} is no interface name: 1 to 15 bytes without '/', ':' and blanks");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// Ask for the offloads, fewer if the kernel refuses; says which it granted.
fn set_offload(file: &File, tso: bool, uso: bool) -> io::Result<TunOffload> {
    let tso_flags = if tso { TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN } else { 0 };
    if uso && try_offload(file, TUN_F_CSUM | tso_flags | TUN_F_USO4 | TUN_F_USO6).is_ok() {
        return Ok(TunOffload { tso, uso: true });
    }
    try_offload(file, tso_flags)?;
    Ok(TunOffload { tso, uso: false })
}

fn try_offload(file: &File, flags: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags by value and touches no memory of ours.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(flags)) })?;
    Ok(())
}

fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` is a string that ends in a zero byte and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
