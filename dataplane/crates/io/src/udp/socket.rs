//! One UDP socket of one family.

use super::UdpOptions;
use super::control::Control;
use crate::syscall::{check, check_len};
use libc::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use wirelane_packet::{Ecn, Endpoint, MAX_GSO_SEGMENTS, Span};

// asm-generic/socket.h and linux/sock_diag.h (SK_MEMINFO_VARS)
const SO_MEMINFO: c_int = 55;
const SK_MEMINFO_WORDS: usize = 9;
/// Most messages of one sendmmsg or recvmmsg.
const MAX_MESSAGES: usize = 64;

/// A UDP socket bound to all addresses of one family. Calls never block and may come from several threads at once.
#[derive(Debug)]
pub struct UdpSocket {
    descriptor: OwnedFd,
    is_v6: bool,
    /// Cleared for good when the device refuses (EIO: it cannot checksum).
    gso: AtomicBool,
    gro: bool,
}

/// Buffers of a socket, or of several, in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketMemory {
    /// Received and not yet taken, with the kernel's own overhead.
    pub receive_bytes: u64,
    /// Sent and not yet on the wire, with the kernel's own overhead.
    pub send_bytes: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub drops: u64,
}

/// What one receive brought: one datagram, or several of one sender that UDP_GRO put together.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Where in the buffer.
    pub span: Span,
    /// Length of every datagram in it but the last, which may be shorter.
    pub segment_len: usize,
    /// The sender, and our address that it sent to.
    pub from: Endpoint,
    /// The outer ECN codepoint of all of them.
    pub ecn: Ecn,
    /// The buffer was too small; the rest is lost.
    pub truncated: bool,
}

impl Received {
    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = Span> + use<> {
        let (start, end, step) = (self.span.offset as usize, self.span.end(), self.segment_len.max(1));
        (start..end).step_by(step).map(move |at| Span::new(at, step.min(end - at)))
    }
}

/// One send: datagrams back to back, all of `segment_len` bytes except that the last may be shorter. At most
/// [`MAX_GSO_SEGMENTS`] of them and [`wirelane_packet::MAX_GSO_BYTES`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams<'a> {
    /// The datagrams.
    pub bytes: &'a [u8],
    /// Length of each but the last.
    pub segment_len: usize,
    /// Where to, and from which of our addresses.
    pub to: Endpoint,
    /// The outer ECN codepoint.
    pub ecn: Ecn,
}

impl Datagrams<'_> {
    /// How many datagrams these are.
    pub fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment_len.max(1))
    }
}

/// Why a send failed. Nothing was sent unless it says so.
#[derive(Debug)]
pub enum SendError {
    /// The socket's buffer is full; wait until it is writable.
    WouldBlock,
    /// The queue of the device is full (ENOBUFS): drop and count.
    NoBuffers,
    /// The endpoint's local address is not ours any more: forget it (`Endpoint::local = None`) and send again.
    SourceGone,
    /// Anything else, such as no route.
    Io(io::Error),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("send buffer full"),
            Self::NoBuffers => f.write_str("device queue full"),
            Self::SourceGone => f.write_str("source address gone"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

impl UdpSocket {
    /// Bind an IPv4 socket to `port` on all addresses.
    pub fn bind_v4(port: u16, options: &UdpOptions) -> io::Result<Self> {
        Self::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), options)
    }

    /// Bind an IPv6 socket, for IPv6 only, to `port` on all addresses.
    pub fn bind_v6(port: u16, options: &UdpOptions) -> io::Result<Self> {
        Self::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), options)
    }

    /// Bind to one address: for tests and for a device that listens on one address only.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let is_v6 = address.is_ipv6();
        let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket touches no memory of ours.
        let descriptor = check(unsafe { libc::socket(family, kind, 0) })?;
        // SAFETY: socket has just returned this descriptor; nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mut socket = Self { descriptor, is_v6, gso: AtomicBool::new(false), gro: false };
        socket.configure(options)?;
        let address = RawAddress::from(&address);
        // SAFETY: bind reads `len` bytes of `address`, which holds a socket address of that length.
        check(unsafe { libc::bind(socket.descriptor.as_raw_fd(), address.as_ptr(), address.len(is_v6)) })?;
        Ok(socket)
    }

    fn configure(&mut self, options: &UdpOptions) -> io::Result<()> {
        if self.is_v6 {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
        } else {
            self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            self.set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        }
        if options.reuse_port {
            self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if options.fwmark != 0 {
            self.set_fwmark(options.fwmark)?;
        }
        self.set_buffer_bytes(options.buffer_bytes)?;
        // A kernel that has UDP_SEGMENT (4.18) or UDP_GRO (5.0) accepts the option; others say ENOPROTOOPT.
        *self.gso.get_mut() = options.gso && self.set(libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        self.gro = options.gro && self.set(libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        Ok(())
    }

    fn set(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        let len = size_of::<c_int>() as libc::socklen_t;
        let value = &raw const value;
        // SAFETY: setsockopt reads `len` bytes at `value`, an int on this stack frame.
        check(unsafe { libc::setsockopt(self.descriptor.as_raw_fd(), level, option, value.cast(), len) })?;
        Ok(())
    }

    /// Mark all packets sent from now on (SO_MARK); 0: no mark.
    pub fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed())
    }

    /// Size of the kernel's send and receive buffer.
    pub fn set_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            // Without CAP_NET_ADMIN the kernel caps the plain option at net.core.*mem_max instead of failing.
            if self.set(libc::SOL_SOCKET, force, bytes).is_err() {
                self.set(libc::SOL_SOCKET, plain, bytes)?;
            }
        }
        Ok(())
    }

    /// What the kernel holds for this socket (SO_MEMINFO); zero where it does not say.
    pub fn memory(&self) -> SocketMemory {
        let mut words = [0u32; SK_MEMINFO_WORDS];
        let mut len = size_of_val(&words) as libc::socklen_t;
        // SAFETY: getsockopt writes at most `len` bytes to `words`, which has as many, and the length to `len`.
        let result = unsafe {
            let words = words.as_mut_ptr().cast();
            libc::getsockopt(self.descriptor.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, words, &raw mut len)
        };
        if let Err(error) = check(result) {
            debug_assert!(false, "SO_MEMINFO exists since Linux 4.12: {error}");
        }
        let word = |index: c_int| u64::from(words[index as usize]);
        SocketMemory {
            receive_bytes: word(libc::SK_MEMINFO_RMEM_ALLOC),
            send_bytes: word(libc::SK_MEMINFO_WMEM_ALLOC),
            drops: word(libc::SK_MEMINFO_DROPS),
        }
    }

    /// The port that it is bound to.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.local_address()?.port())
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let mut address = RawAddress::ZERO;
        let mut len = RawAddress::CAPACITY;
        // SAFETY: getsockname writes at most `len` bytes to `address`, which has that many.
        check(unsafe { libc::getsockname(self.descriptor.as_raw_fd(), address.as_mut_ptr(), &raw mut len) })?;
        Ok(address.decode(self.is_v6))
    }

    /// Most datagrams that one send can carry at present: 1 without GSO.
    pub fn max_segments(&self) -> usize {
        if self.gso.load(Relaxed) { MAX_GSO_SEGMENTS } else { 1 }
    }

    /// Does the kernel put received datagrams together?
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Receive one datagram or one GRO batch at the start of `buffer`. Give it 65,535 bytes.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = Control::new();
        let mut address = RawAddress::ZERO;
        let mut piece = iovec(buffer);
        let mut message = message(&mut address, &mut piece, &mut control, self.is_v6);
        message.msg_namelen = RawAddress::CAPACITY;
        message.msg_controllen = Control::CAPACITY as _;
        // SAFETY: `message` points to an address, one iovec over `buffer` and a control buffer, each with its true
        // length, all alive and unaliased through the call; recvmsg writes nothing else.
        let len = check_len(unsafe { libc::recvmsg(self.descriptor.as_raw_fd(), &raw mut message, 0) })?;
        Ok(self.received(0, len, &message, &address, &control))
    }

    /// Receive up to 64 datagrams or GRO batches, the i-th at `i * slot_len` of `buffer`; `out` is cleared first.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn receive_many(&self, buffer: &mut [u8], slot_len: usize, out: &mut Vec<Received>) -> io::Result<()> {
        out.clear();
        let mut controls = [Control::new(); MAX_MESSAGES];
        let mut addresses = [RawAddress::ZERO; MAX_MESSAGES];
        let mut pieces: [MaybeUninit<libc::iovec>; MAX_MESSAGES] = [const { MaybeUninit::uninit() }; MAX_MESSAGES];
        let mut messages: [MaybeUninit<libc::mmsghdr>; MAX_MESSAGES] = [const { MaybeUninit::uninit() }; MAX_MESSAGES];
        let mut count = 0;
        for (i, slot) in buffer.chunks_exact_mut(slot_len).take(MAX_MESSAGES).enumerate() {
            let piece = pieces[i].write(iovec(slot));
            let mut header = message(&mut addresses[i], piece, &mut controls[i], self.is_v6);
            header.msg_namelen = RawAddress::CAPACITY;
            header.msg_controllen = Control::CAPACITY as _;
            messages[i].write(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
            count += 1;
        }
        let first = messages.as_mut_ptr().cast::<libc::mmsghdr>();
        // SAFETY: the first `count` messages are initialised; each points to an address, an iovec over a slot of
        // `buffer` of its own and a control buffer, with their true lengths, all alive and unaliased through the call.
        // MSG_DONTWAIT and no timeout: the call returns with what there is.
        let received = check(unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(self.descriptor.as_raw_fd(), first, count, flags as _, std::ptr::null_mut())
        })?;
        for i in 0..received as usize {
            // SAFETY: `received` is at most `count`, and these were initialised above.
            let message = unsafe { messages[i].assume_init_ref() };
            let len = message.msg_len as usize;
            out.push(self.received(i * slot_len, len, &message.msg_hdr, &addresses[i], &controls[i]));
        }
        Ok(())
    }

    fn received(
        &self,
        at: usize,
        len: usize,
        message: &libc::msghdr,
        from: &RawAddress,
        control: &Control,
    ) -> Received {
        let control = control.read_received(message.msg_controllen);
        Received {
            span: Span::new(at, len),
            segment_len: control.segment_len.unwrap_or(len),
            from: Endpoint { remote: from.decode(self.is_v6), local: control.local },
            ecn: control.ecn,
            truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    /// Send one super-datagram. If the kernel or the device refuses the segmentation, the datagrams go out one by one.
    ///
    /// # Errors
    /// See [`SendError`]. Without GSO some of the datagrams may have been sent before the error.
    pub fn send(&self, datagrams: &Datagrams<'_>) -> Result<(), SendError> {
        if datagrams.count() <= 1 {
            return self.send_message(datagrams, None);
        }
        if self.gso.load(Relaxed) {
            match self.send_message(datagrams, Some(datagrams.segment_len as u16)) {
                Err(SendError::Io(error)) if self.is_gso_refusal(&error) => {}
                result => return result,
            }
        }
        self.send_one_by_one(datagrams)
    }

    /// EIO: the device cannot checksum, for good. EINVAL and EMSGSIZE: a segment larger than this route's MTU, which
    /// goes out as IP fragments if sent alone.
    fn is_gso_refusal(&self, error: &io::Error) -> bool {
        match error.raw_os_error() {
            Some(libc::EIO) => {
                self.gso.store(false, Relaxed);
                true
            }
            Some(libc::EINVAL | libc::EMSGSIZE) => true,
            _ => false,
        }
    }

    fn send_message(&self, datagrams: &Datagrams<'_>, segment_len: Option<u16>) -> Result<(), SendError> {
        let mut control = Control::new();
        let mut address = RawAddress::from(&datagrams.to.remote);
        let control_len = control.write_send(segment_len, datagrams.to.local, datagrams.ecn, self.is_v6);
        let mut piece = iovec_to_read(datagrams.bytes);
        let mut message = message(&mut address, &mut piece, &mut control, self.is_v6);
        message.msg_controllen = control_len as _;
        loop {
            // SAFETY: `message` points to an address, one iovec over `datagrams.bytes` and a control buffer, each with
            // its true length and alive through the call; sendmsg only reads them.
            match check_len(unsafe { libc::sendmsg(self.descriptor.as_raw_fd(), &raw const message, 0) }) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(send_error(error, datagrams.to.local.is_some())),
            }
        }
    }

    fn send_one_by_one(&self, datagrams: &Datagrams<'_>) -> Result<(), SendError> {
        let mut each =
            datagrams.bytes.chunks(datagrams.segment_len.max(1)).map(|bytes| Datagrams { bytes, ..*datagrams });
        loop {
            let mut batch = [*datagrams; MAX_MESSAGES];
            let mut count = 0;
            for (slot, one) in batch.iter_mut().zip(each.by_ref()) {
                *slot = one;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            if let (_, Some(error)) = self.send_many(&batch[..count]) {
                return Err(error);
            }
        }
    }

    /// Send several super-datagrams, to any endpoints, with as few system calls as possible. Returns how many were sent
    /// and the error that stopped it.
    pub fn send_many(&self, sends: &[Datagrams<'_>]) -> (usize, Option<SendError>) {
        let mut sent = 0;
        while sent < sends.len() {
            let batch = &sends[sent..sends.len().min(sent + MAX_MESSAGES)];
            match self.send_batch(batch) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The first of the batch failed: alone it falls back to one by one, or says why not.
                Err(error) if batch[0].count() > 1 && self.is_gso_refusal(&error) => match self.send(&batch[0]) {
                    Ok(()) => sent += 1,
                    Err(error) => return (sent, Some(error)),
                },
                Err(error) => return (sent, Some(send_error(error, batch[0].to.local.is_some()))),
            }
        }
        (sent, None)
    }

    /// One sendmmsg; at least one was sent, or the error is the first one's.
    fn send_batch(&self, sends: &[Datagrams<'_>]) -> io::Result<usize> {
        let gso = self.gso.load(Relaxed);
        let mut controls = [Control::new(); MAX_MESSAGES];
        let mut addresses = [RawAddress::ZERO; MAX_MESSAGES];
        let mut pieces: [MaybeUninit<libc::iovec>; MAX_MESSAGES] = [const { MaybeUninit::uninit() }; MAX_MESSAGES];
        let mut messages: [MaybeUninit<libc::mmsghdr>; MAX_MESSAGES] = [const { MaybeUninit::uninit() }; MAX_MESSAGES];
        let mut count = 0;
        for (i, send) in sends.iter().enumerate() {
            let is_super = send.count() > 1;
            if is_super && !gso {
                if i > 0 {
                    break;
                }
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            addresses[i] = RawAddress::from(&send.to.remote);
            let segment_len = is_super.then_some(send.segment_len as u16);
            let control_len = controls[i].write_send(segment_len, send.to.local, send.ecn, self.is_v6);
            let piece = pieces[i].write(iovec_to_read(send.bytes));
            let mut header = message(&mut addresses[i], piece, &mut controls[i], self.is_v6);
            header.msg_controllen = control_len as _;
            messages[i].write(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
            count += 1;
        }
        let first = messages.as_mut_ptr().cast::<libc::mmsghdr>();
        // SAFETY: the first `count` messages are initialised; each points to an address, an iovec over the bytes of its
        // send and a control buffer, with their true lengths and alive through the call, which writes `msg_len` only.
        let sent = check(unsafe { libc::sendmmsg(self.descriptor.as_raw_fd(), first, count, 0) })?;
        Ok(sent as usize)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn send_error(error: io::Error, has_local: bool) -> SendError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => SendError::WouldBlock,
        Some(libc::ENOBUFS | libc::ENOMEM) => SendError::NoBuffers,
        Some(libc::EINVAL | libc::ENODEV | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH)
            if has_local =>
        {
            SendError::SourceGone
        }
        _ => SendError::Io(error),
    }
}

fn iovec(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: bytes.len() }
}

/// For calls that only read.
fn iovec_to_read(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: bytes.len() }
}

/// A message header over these parts, with the address length of the family and no control data yet.
fn message(address: &mut RawAddress, piece: &mut libc::iovec, control: &mut Control, is_v6: bool) -> libc::msghdr {
    // SAFETY: msghdr is a C struct of integers and pointers (and padding on musl); all zeroes is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = address.len(is_v6);
    message.msg_iov = piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr();
    message
}

/// A socket address as the kernel has it: the bytes of a sockaddr_in or sockaddr_in6.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct RawAddress([u8; size_of::<libc::sockaddr_in6>()]);

impl RawAddress {
    const ZERO: Self = Self([0; size_of::<libc::sockaddr_in6>()]);
    const CAPACITY: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

    fn as_ptr(&self) -> *const libc::sockaddr {
        self.0.as_ptr().cast()
    }

    fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        self.0.as_mut_ptr().cast()
    }

    fn len(&self, is_v6: bool) -> libc::socklen_t {
        let len = if is_v6 { size_of::<libc::sockaddr_in6>() } else { size_of::<libc::sockaddr_in>() };
        len as libc::socklen_t
    }

    /// struct sockaddr_in: family, port, address. struct sockaddr_in6: family, port, flow label, address, scope.
    fn decode(&self, is_v6: bool) -> SocketAddr {
        let b = &self.0;
        let port = u16::from_be_bytes([b[2], b[3]]);
        if !is_v6 {
            return SocketAddrV4::new(Ipv4Addr::new(b[4], b[5], b[6], b[7]), port).into();
        }
        let octets: [u8; 16] = std::array::from_fn(|i| b[8 + i]);
        let scope = u32::from_ne_bytes([b[24], b[25], b[26], b[27]]);
        SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into()
    }
}

impl From<&SocketAddr> for RawAddress {
    fn from(address: &SocketAddr) -> Self {
        let mut b = [0; size_of::<libc::sockaddr_in6>()];
        b[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                b[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                b[4..8].copy_from_slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                b[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                b[8..24].copy_from_slice(&v6.ip().octets());
                b[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            }
        }
        Self(b)
    }
}
