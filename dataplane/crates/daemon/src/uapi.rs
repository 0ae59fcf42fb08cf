//! The text of WireGuard's cross-platform user-space interface: `get=1` and `set=1` (wireguard.com/xplatform).
//!
//! Pure text in and out; the socket is in `uapi_socket`.

use std::fmt::Write;
use std::io::{self, BufRead, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use wirelane_protocol::{
    AllowedIpChange, DeviceChange, DeviceSnapshot, PeerChange, PresharedKey, PrivateKey, PublicKey,
};
use zeroize::{Zeroize, Zeroizing};

/// `errno` values of the protocol's answers (asm-generic/errno-base.h).
pub const EINVAL: i32 = 22;
/// I/O error.
pub const EIO: i32 = 5;
/// Address already in use.
pub const EADDRINUSE: i32 = 98;
/// The request is larger than a request can be.
pub const EMSGSIZE: i32 = 90;

/// Longest line of a request; the longest legal one is a key with its name.
const MAX_LINE_BYTES: u64 = 256;
/// Most lines of one request: 10,000 peers with a dozen lines each, and room.
const MAX_LINES: usize = 4_000_000;

/// What a client asks for.
#[derive(Debug)]
pub enum Request {
    /// `get=1`
    Get,
    /// `set=1`
    Set(Box<DeviceChange>),
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno of the answer.
    pub errno: i32,
    /// For the log; holds no key.
    pub why: String,
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal { errno: EINVAL, why: why.into() }
}

/// Reads one request; none at the end of the connection.
pub fn read_request(input: &mut impl BufRead) -> io::Result<Option<Result<Request, Refusal>>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_LINE_BYTES as usize));
    let Some(first) = read_line(input, &mut line)? else { return Ok(None) };
    match first {
        "get=1" => match skip_rest(input, &mut line)? {
            0 => Ok(Some(Ok(Request::Get))),
            _ => Ok(Some(Err(invalid("get=1 takes nothing more")))),
        },
        "set=1" => read_set(input, &mut line).map(Some),
        _ => {
            skip_rest(input, &mut line)?;
            Ok(Some(Err(invalid("a request begins with get=1 or set=1"))))
        }
    }
}

/// Reads to the empty line that ends a request; returns how many lines came before it.
fn skip_rest(input: &mut impl BufRead, line: &mut String) -> io::Result<usize> {
    for skipped in 0..MAX_LINES {
        if let Some("") | None = read_line(input, line)? {
            return Ok(skipped);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a request without an end"))
}

fn read_set(input: &mut impl BufRead, line: &mut String) -> io::Result<Result<Request, Refusal>> {
    let mut parser = SetParser::default();
    let mut refusal = None;
    for _ in 0..MAX_LINES {
        match read_line(input, line)? {
            // The rest of a refused request is read to its end, so that the next one is understood.
            Some("") | None => {
                return Ok(match refusal {
                    Some(refusal) => Err(refusal),
                    None => Ok(Request::Set(Box::new(parser.device))),
                });
            }
            Some(text) if refusal.is_none() => refusal = parser.line(text).err(),
            Some(_) => {}
        }
    }
    Ok(Err(Refusal { errno: EMSGSIZE, why: format!("a request has at most {MAX_LINES} lines") }))
}

/// One line without its end; none at the end of the stream.
fn read_line<'a>(input: &mut impl BufRead, line: &'a mut String) -> io::Result<Option<&'a str>> {
    line.zeroize();
    let length = input.take(MAX_LINE_BYTES).read_line(line)?;
    if length as u64 == MAX_LINE_BYTES && !line.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
    }
    Ok((length > 0).then(|| line.strip_suffix('\n').unwrap_or(line)))
}

#[derive(Default)]
struct SetParser {
    device: DeviceChange,
}

impl SetParser {
    fn line(&mut self, text: &str) -> Result<(), Refusal> {
        let (key, value) = text.split_once('=').ok_or_else(|| invalid("a line without ="))?;
        let wrong = || invalid(format!("{key} has a value that cannot be used"));
        if key == "public_key" {
            let public_key = PublicKey::from_hex(value).map_err(|_| wrong())?;
            self.device.peers.push(PeerChange::new(public_key));
            return Ok(());
        }
        match self.device.peers.last_mut() {
            None => Self::device_line(&mut self.device, key, value).ok_or_else(wrong)?,
            Some(peer) => Self::peer_line(peer, key, value).ok_or_else(wrong)?,
        }
        .then_some(())
        .ok_or_else(|| invalid(format!("{key} is not a field here")))
    }

    /// Whether the field exists; none when its value is wrong.
    fn device_line(device: &mut DeviceChange, key: &str, value: &str) -> Option<bool> {
        match key {
            "private_key" => device.private_key = Some(private_key(value)?),
            "listen_port" => device.listen_port = Some(value.parse().ok()?),
            "fwmark" => device.fwmark = Some(value.parse().ok()?),
            "replace_peers" => device.replace_peers = flag(value)?,
            _ => return Some(false),
        }
        Some(true)
    }

    fn peer_line(peer: &mut PeerChange, key: &str, value: &str) -> Option<bool> {
        match key {
            "remove" => peer.remove = flag(value)?,
            "update_only" => peer.update_only = flag(value)?,
            "preshared_key" => peer.preshared_key = Some(PresharedKey::from_hex(value).ok()?),
            "endpoint" => peer.endpoint = Some(endpoint(value)?),
            "persistent_keepalive_interval" => peer.persistent_keepalive_s = Some(value.parse().ok()?),
            "replace_allowed_ips" => peer.replace_allowed_ips = flag(value)?,
            "allowed_ip" => {
                let (remove, text) = match value.strip_prefix('-') {
                    Some(text) => (true, text),
                    None => (false, value.strip_prefix('+').unwrap_or(value)),
                };
                peer.allowed_ips.push(AllowedIpChange { prefix: text.parse().ok()?, remove });
            }
            "protocol_version" => return (value == "1").then_some(true),
            _ => return Some(false),
        }
        Some(true)
    }
}

/// All zero takes the key away.
fn private_key(value: &str) -> Option<Option<PrivateKey>> {
    let key = PrivateKey::from_hex(value).ok()?;
    Some(value.bytes().any(|digit| digit != b'0').then_some(key))
}

/// Address and port; a link-local IPv6 address may have its interface behind it, by name as `wg` writes it or by number.
fn endpoint(value: &str) -> Option<SocketAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let (address, rest) = value.strip_prefix('[')?.split_once('%')?;
    let (interface, port) = rest.split_once("]:")?;
    let scope = rustix::net::netdevice::name_to_index(socket_for_names()?, interface).ok()?;
    Some(SocketAddrV6::new(address.parse().ok()?, port.parse().ok()?, 0, scope).into())
}

/// The kernel looks names up through any socket.
fn socket_for_names() -> Option<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).or_else(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).ok()
}

fn flag(value: &str) -> Option<bool> {
    (value == "true").then_some(true)
}

/// The answer to `get=1`. It holds the private key, as the protocol wants; it is wiped when dropped.
pub fn device_text(device: &DeviceSnapshot) -> Zeroizing<String> {
    // Reserved in full at once: a reallocation would leave a copy of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(
        256 + device.peers.len() * 512 + device.peers.iter().map(|peer| peer.allowed_ips.len() * 64).sum::<usize>(),
    ));
    if let Some(private_key) = &device.private_key {
        push(&mut text, "private_key", Some(private_key.to_hex().as_str()));
    }
    push(&mut text, "listen_port", (device.listen_port != 0).then_some(device.listen_port));
    push(&mut text, "fwmark", (device.fwmark != 0).then_some(device.fwmark));
    for peer in &device.peers {
        push(&mut text, "public_key", Some(peer.public_key.to_hex().as_str()));
        push(&mut text, "preshared_key", Some(peer.preshared_key.to_hex().as_str()));
        push(&mut text, "protocol_version", Some(1));
        push(&mut text, "endpoint", peer.endpoint);
        push(&mut text, "last_handshake_time_sec", Some(peer.last_handshake_time.as_secs()));
        push(&mut text, "last_handshake_time_nsec", Some(peer.last_handshake_time.subsec_nanos()));
        push(&mut text, "tx_bytes", Some(peer.tx_bytes));
        push(&mut text, "rx_bytes", Some(peer.rx_bytes));
        push(&mut text, "persistent_keepalive_interval", Some(peer.persistent_keepalive_s));
        for prefix in &peer.allowed_ips {
            push(&mut text, "allowed_ip", Some(prefix));
        }
    }
    text
}

fn push(text: &mut String, key: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, Refusal> {
        read_request(&mut text.as_bytes()).unwrap().unwrap()
    }

    fn change(text: &str) -> DeviceChange {
        match request(text).unwrap() {
            Request::Set(change) => *change,
            Request::Get => panic!("a get"),
        }
    }

    #[test]
    fn everything_that_wg_sends() {
        let key = "0".repeat(63) + "1";
        let change = change(&format!(
            "set=1\nprivate_key={key}\nlisten_port=51820\nfwmark=7\nreplace_peers=true\npublic_key={key}\n\
             preshared_key={key}\nendpoint=[fe80::1%3]:5\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n\
             allowed_ip=-fd00::/64\npersistent_keepalive_interval=25\nprotocol_version=1\npublic_key={key}\nremove=true\n\n"
        ));
        assert_eq!(change.peers[0].endpoint, Some("[fe80::1%3]:5".parse().unwrap()));
        assert_eq!((change.listen_port, change.fwmark, change.replace_peers), (Some(51820), Some(7), true));
        assert_eq!(change.peers.len(), 2);
        assert_eq!(change.peers[0].allowed_ips.len(), 2);
        assert!(change.peers[0].allowed_ips[1].remove && change.peers[1].remove);
        assert_eq!(change.peers[0].persistent_keepalive_s, Some(25));
    }

    #[test]
    fn a_link_local_endpoint_names_its_interface() {
        assert_eq!(endpoint("[fe80::1%lo]:7"), Some("[fe80::1%1]:7".parse().unwrap()));
        for wrong in
            ["[fe80::1%nowhere]:7", "[fe80::1%]:7", "fe80::1%lo:7", "[fe80::1%lo]", "[::1%lo]:70000", "[%lo]:7"]
        {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_and_the_next_request_is_read() {
        for line in ["listen_port=65536", "listen_port", "allowed_ip=10.0.0.0/8", "private_key=00", "replace_peers=yes"]
        {
            let text = format!("set=1\n{line}\nfwmark=1\n\nget=1\n\n");
            let mut input = text.as_bytes();
            assert_eq!(read_request(&mut input).unwrap().unwrap().unwrap_err().errno, EINVAL, "{line}");
            assert!(matches!(read_request(&mut input).unwrap(), Some(Ok(Request::Get))));
        }
        assert!(request("hello\n").is_err());
        assert!(read_request(&mut "".as_bytes()).unwrap().is_none());
        assert!(read_request(&mut "x".repeat(300).as_bytes()).is_err());
    }
}
