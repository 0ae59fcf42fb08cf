//! Requests that change or read the network configuration of this namespace.

use super::message::{Answer, Request, answers, attributes};
use crate::syscall::{check, check_len};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::str::FromStr;

// linux/if_link.h, linux/rtnetlink.h
const IFLA_NEW_NETNSID: u16 = 45;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_NEW_IFINDEX: u16 = 49;
const RTNH_F_ONLINK: u8 = 4;
const IFLA_STATS64: u16 = 23;
/// Offset of `tx_dropped` in struct rtnl_link_stats64, eighth of its 64-bit counters.
const TX_DROPPED_OFFSET: usize = 7 * 8;
const IFINFOMSG_LEN: usize = 16;

/// An address and a prefix length in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address; host bits may be set.
    pub address: IpAddr,
    /// At most 32 or 128.
    pub len: u8,
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no ADDRESS/LENGTH");
        let (address, len) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let len: u8 = len.parse().map_err(|_| error())?;
        if len > if address.is_ipv4() { 32 } else { 128 } { Err(error()) } else { Ok(Self { address, len }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// What becomes of a route that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The new one takes its place, without a moment between.
    Replace,
    /// It stays, and the new one is refused.
    Refuse,
}

/// State of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which stays when it is renamed.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Administratively up (IFF_UP).
    pub is_up: bool,
    /// In bytes.
    pub mtu: u32,
    /// Packets that the kernel wanted to send over it and dropped: for a TUN, those that its queue had no room for.
    pub tx_dropped: u64,
}

impl Link {
    /// From the body of an RTM_NEWLINK or RTM_DELLINK message.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let fixed: &[u8; IFINFOMSG_LEN] = body.first_chunk()?;
        let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let is_up = word(8) & libc::IFF_UP as u32 != 0;
        let mut link = Self { index: word(4), name: String::new(), is_up, mtu: 0, tx_dropped: 0 };
        for (kind, value) in attributes(body, IFINFOMSG_LEN) {
            match kind {
                libc::IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
                libc::IFLA_MTU => link.mtu = u32::from_ne_bytes(*value.first_chunk()?),
                IFLA_STATS64 => {
                    link.tx_dropped = u64::from_ne_bytes(*value.get(TX_DROPPED_OFFSET..)?.first_chunk()?);
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// An interface in another network namespace, as this one names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) namespace: i32,
    pub(super) index: u32,
}

impl Elsewhere {
    /// From the body of an RTM_DELLINK message: where the interface has gone, if it has not gone for good.
    pub(super) fn parse(body: &[u8], index: u32) -> Option<Self> {
        let find = |wanted| {
            let mut values = attributes(body, IFINFOMSG_LEN).filter(|(kind, _)| *kind == wanted);
            values.next().and_then(|(_, value)| value.first_chunk().copied())
        };
        let namespace = i32::from_ne_bytes(find(IFLA_NEW_NETNSID)?);
        Some(Self { namespace, index: find(IFLA_NEW_IFINDEX).map_or(index, u32::from_ne_bytes) })
    }
}

/// A connection to the kernel's routing tables.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Connect.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open_socket(0, 0)?, sequence: 0 })
    }

    /// State of the interface with this index.
    pub fn link(&mut self, index: u32) -> io::Result<Link> {
        self.get_link(Request::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &ifinfomsg(index, 0, 0)))
    }

    /// State of an interface in another namespace. Needs CAP_NET_ADMIN over that.
    pub(super) fn link_elsewhere(&mut self, Elsewhere { namespace, index }: Elsewhere) -> io::Result<Link> {
        let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &ifinfomsg(index, 0, 0));
        self.get_link(request.attribute(IFLA_TARGET_NETNSID, &namespace.to_ne_bytes()))
    }

    fn get_link(&mut self, request: Request) -> io::Result<Link> {
        let mut link = None;
        self.exchange(request, |answer| {
            link = Link::parse(answer.body);
        })?;
        link.ok_or_else(|| io::Error::other("the kernel's answer has no link in it"))
    }

    /// Set an interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mask = libc::IFF_UP as u32;
        self.acknowledged(libc::RTM_NEWLINK, 0, &ifinfomsg(index, if up { mask } else { 0 }, mask), |r| r)
    }

    /// Set an interface's MTU in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.acknowledged(libc::RTM_NEWLINK, 0, &ifinfomsg(index, 0, 0), |r| r.attribute_u32(libc::IFLA_MTU, mtu))
    }

    /// Give an interface an address; one that it has already is no error. IPv6 addresses are usable at once: a tunnel
    /// has no neighbours that could have the same one.
    pub fn add_address(&mut self, index: u32, prefix: Prefix) -> io::Result<()> {
        let flags = if prefix.address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        let create = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.acknowledged(libc::RTM_NEWADDR, create, &ifaddrmsg(index, prefix, flags), |r| local_address(r, prefix))
    }

    /// Take an address from an interface.
    ///
    /// # Errors
    /// EADDRNOTAVAIL if it has none such.
    pub fn delete_address(&mut self, index: u32, prefix: Prefix) -> io::Result<()> {
        self.acknowledged(libc::RTM_DELADDR, 0, &ifaddrmsg(index, prefix, 0), |r| local_address(r, prefix))
    }

    /// Route `destination` over all of `interfaces` with equal weight, or over the one. `source` is the preferred source address. Flows spread by ports only if the sysctl
    /// `net.ipv4.fib_multipath_hash_policy` (`net.ipv6.…`) is 1.
    ///
    /// # Errors
    /// `InvalidInput` without an interface or with a source of the other family; EEXIST if there is such a route and it
    /// is not to be replaced.
    pub fn route(
        &mut self,
        destination: Prefix,
        source: Option<IpAddr>,
        interfaces: &[u32],
        existing: Existing,
    ) -> io::Result<()> {
        if interfaces.is_empty() || source.is_some_and(|s| s.is_ipv4() != destination.address.is_ipv4()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a route needs an interface and a source of its family",
            ));
        }
        let flags = libc::NLM_F_CREATE
            | match existing {
                Existing::Replace => libc::NLM_F_REPLACE,
                Existing::Refuse => libc::NLM_F_EXCL,
            };
        self.acknowledged(libc::RTM_NEWROUTE, flags, &rtmsg(destination), |request| {
            let request = route_attributes(request, destination, source);
            match interfaces {
                [only] => request.attribute_u32(libc::RTA_OIF, *only),
                several => request.attribute(libc::RTA_MULTIPATH, &next_hops(several, destination.address.is_ipv6())),
            }
        })
    }

    /// Remove the route to `destination`.
    ///
    /// # Errors
    /// ESRCH if there is none.
    pub fn delete_route(&mut self, destination: Prefix) -> io::Result<()> {
        self.acknowledged(libc::RTM_DELROUTE, 0, &rtmsg(destination), |r| route_attributes(r, destination, None))
    }

    fn acknowledged(
        &mut self,
        kind: u16,
        flags: i32,
        fixed: &[u8],
        attributes: impl FnOnce(Request) -> Request,
    ) -> io::Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
        self.exchange(attributes(Request::new(kind, flags, fixed)), |_| {})
    }

    /// Send a request and pass what answers it to `each`, until the acknowledgement or the single answer.
    fn exchange(&mut self, request: Request, mut each: impl FnMut(Answer<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request.finish(self.sequence))?;
        let mut buffer = [0; 16384];
        loop {
            let len = receive(&self.socket, &mut buffer, 0)?;
            // What answers an earlier request that failed half-way is not ours.
            let Some(answer) = answers(&buffer[..len]).find(|answer| answer.sequence == self.sequence) else {
                continue;
            };
            if i32::from(answer.kind) == libc::NLMSG_ERROR {
                let code = answer.body.first_chunk().map_or(-libc::EBADMSG, |b| i32::from_ne_bytes(*b));
                return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            each(answer);
            return Ok(());
        }
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// struct ifinfomsg: family, padding, type, index, flags, which of them to change.
fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG_LEN] {
    let mut fixed = [0; IFINFOMSG_LEN];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// struct ifaddrmsg: family, prefix length, flags, scope, interface index.
fn ifaddrmsg(index: u32, prefix: Prefix, flags: u8) -> [u8; 8] {
    let mut fixed = [family(prefix.address), prefix.len, flags, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    fixed
}

fn local_address(request: Request, prefix: Prefix) -> Request {
    let address = octets(prefix.address);
    request.attribute(libc::IFA_LOCAL, &address).attribute(libc::IFA_ADDRESS, &address)
}

/// struct rtmsg: family, destination and source length, TOS, table, protocol, scope, type, flags.
fn rtmsg(destination: Prefix) -> [u8; 12] {
    let scope = if destination.address.is_ipv4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let table = libc::RT_TABLE_MAIN;
    let kind = libc::RTN_UNICAST;
    [family(destination.address), destination.len, 0, 0, table, libc::RTPROT_STATIC, scope, kind, 0, 0, 0, 0]
}

fn route_attributes(request: Request, destination: Prefix, source: Option<IpAddr>) -> Request {
    let request = request.attribute(libc::RTA_DST, &octets(destination.address));
    match source {
        Some(source) => request.attribute(libc::RTA_PREFSRC, &octets(source)),
        None => request,
    }
}

/// A struct rtnexthop each: length, flags, weight minus one, interface index. The kernel takes no IPv6 multipath route
/// without gateways; on a TUN device, which has no neighbours, any link-local one means the device itself.
fn next_hops(interfaces: &[u32], is_ipv6: bool) -> Vec<u8> {
    const ANY_LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut bytes = Vec::new();
    for index in interfaces {
        let (len, flags) = if is_ipv6 { (8 + 20u16, RTNH_F_ONLINK) } else { (8, 0) };
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&[flags, 0]);
        bytes.extend_from_slice(&index.to_ne_bytes());
        if is_ipv6 {
            bytes.extend_from_slice(&20u16.to_ne_bytes());
            bytes.extend_from_slice(&libc::RTA_GATEWAY.to_ne_bytes());
            bytes.extend_from_slice(&ANY_LINK_LOCAL);
        }
    }
    bytes
}

/// A route socket that listens to `groups`.
pub(super) fn open_socket(groups: u32, flags: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags;
    // SAFETY: socket touches no memory of ours.
    let socket = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: socket has just returned this descriptor; nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: sockaddr_nl is a C struct of integers; all zeroes is valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: bind reads `len` bytes at `address`, which has exactly that many.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: send reads `bytes`, which lives through the call.
    check_len(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) })?;
    Ok(())
}

pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    loop {
        // SAFETY: recv writes at most `buffer.len()` bytes to `buffer`.
        let result = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        match check_len(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_read_and_write() {
        for text in ["10.0.0.0/8", "fe80::1/64", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1", ""] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_loopback_is_there() {
        let link = Netlink::open().unwrap().link(1).unwrap();
        assert_eq!((link.index, link.name.as_str()), (1, "lo"));
        assert!(link.mtu > 0);
        let error = Netlink::open().unwrap().link(u32::MAX / 2).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
