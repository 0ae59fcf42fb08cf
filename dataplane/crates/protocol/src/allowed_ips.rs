//! Allowed IPs: the cryptokey routing table (paper, section 2), a path-compressed binary trie for each address family.
//!
//! A trie is built once for each configuration change and never altered, so that the packet path reads it without a
//! lock. The addresses of one node and its children's positions share a cache line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and a prefix length in bits; bits past the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

/// Why something is not a [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixError;

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an allowed IP is ADDRESS/LENGTH, with a length of at most 32 for IPv4 and 128 for IPv6")
    }
}

impl std::error::Error for PrefixError {}

impl Prefix {
    /// The prefix that `address` lies in; bits past the length are cleared, as Linux does.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let address = match address {
            IpAddr::V4(v4) if len <= 32 => IpAddr::V4(Ipv4Addr::from(v4.to_bits() & u32::mask(len))),
            IpAddr::V6(v6) if len <= 128 => IpAddr::V6(Ipv6Addr::from(v6.to_bits() & u128::mask(len))),
            _ => return Err(PrefixError),
        };
        Ok(Self { address, len })
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length in bits.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// `ADDRESS/LENGTH`, or an address alone for its full length.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) if len.bytes().all(|digit| digit.is_ascii_digit()) => {
                (address, Some(len.parse().map_err(|_| PrefixError)?))
            }
            Some(_) => return Err(PrefixError),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError)?;
        Self::new(address, len.unwrap_or(if address.is_ipv4() { 32 } else { 128 }))
    }
}

/// Longest-prefix look-up from addresses to values.
#[derive(Clone, Debug)]
pub struct AllowedIps<T> {
    v4: Trie<u32>,
    v6: Trie<u128>,
    values: Vec<T>,
}

impl<T> AllowedIps<T> {
    /// Of several entries with one prefix the last counts.
    pub fn new(entries: impl IntoIterator<Item = (Prefix, T)>) -> Self {
        let mut table = Self { v4: Trie::new(), v6: Trie::new(), values: Vec::new() };
        for (prefix, value) in entries {
            let position = u32::try_from(table.values.len()).unwrap_or(NONE);
            match prefix.address {
                IpAddr::V4(v4) => table.v4.insert(v4.to_bits(), prefix.len, position),
                IpAddr::V6(v6) => table.v6.insert(v6.to_bits(), prefix.len, position),
            }
            table.values.push(value);
        }
        table
    }

    /// The value of the longest prefix that holds `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let position = match address {
            IpAddr::V4(v4) => self.v4.lookup(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.lookup(v6.to_bits()),
        };
        self.values.get(position as usize)
    }
}

/// "No node" and "no value".
const NONE: u32 = u32::MAX;

/// An address as a number, most significant bit first.
trait Bits: Copy + Eq + std::ops::BitAnd<Output = Self> + std::ops::BitXor<Output = Self> {
    fn mask(len: u8) -> Self;
    fn leading_zeros(self) -> u8;
    /// The bit that follows the first `len`; 0 where none does: the child on that side of a full-length node is absent.
    fn bit_after(self, len: u8) -> usize;
}

macro_rules! bits {
    ($type:ty) => {
        impl Bits for $type {
            fn mask(len: u8) -> Self {
                <$type>::MAX.checked_shl(<$type>::BITS - u32::from(len)).unwrap_or(0)
            }

            fn leading_zeros(self) -> u8 {
                <$type>::leading_zeros(self) as u8
            }

            fn bit_after(self, len: u8) -> usize {
                (self.checked_shl(u32::from(len)).unwrap_or(0) >> (<$type>::BITS - 1)) as usize
            }
        }
    };
}

bits!(u32);
bits!(u128);

#[derive(Clone, Debug)]
struct Node<B> {
    prefix: B,
    mask: B,
    len: u8,
    value: u32,
    children: [u32; 2],
}

#[derive(Clone, Debug)]
struct Trie<B> {
    nodes: Vec<Node<B>>,
    root: u32,
}

impl<B: Bits> Trie<B> {
    const fn new() -> Self {
        Self { nodes: Vec::new(), root: NONE }
    }

    fn lookup(&self, address: B) -> u32 {
        let mut best = NONE;
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            if (address ^ node.prefix) & node.mask != B::mask(0) {
                break;
            }
            if node.value != NONE {
                best = node.value;
            }
            at = node.children[address.bit_after(node.len)];
        }
        best
    }

    fn add(&mut self, prefix: B, len: u8, value: u32, children: [u32; 2]) -> u32 {
        self.nodes.push(Node { prefix, mask: B::mask(len), len, value, children });
        (self.nodes.len() - 1) as u32
    }

    fn insert(&mut self, prefix: B, len: u8, value: u32) {
        // Walk down while nodes are a true prefix of the new one; `parent` is the link that is followed.
        let mut parent: Option<(u32, usize)> = None;
        let mut at = self.root;
        while at != NONE {
            let node = &mut self.nodes[at as usize];
            let common = (prefix ^ node.prefix).leading_zeros().min(len).min(node.len);
            if common == node.len && common == len {
                node.value = value;
                return;
            }
            if common < node.len {
                break;
            }
            let branch = prefix.bit_after(common);
            parent = Some((at, branch));
            at = node.children[branch];
        }
        let new = if at == NONE { self.add(prefix, len, value, [NONE; 2]) } else { self.split(at, prefix, len, value) };
        match parent {
            Some((node, branch)) => self.nodes[node as usize].children[branch] = new,
            None => self.root = new,
        }
    }

    /// Puts the new prefix above node `at`, or a fork above both.
    fn split(&mut self, at: u32, prefix: B, len: u8, value: u32) -> u32 {
        let (below, below_len) = (self.nodes[at as usize].prefix, self.nodes[at as usize].len);
        let common = (prefix ^ below).leading_zeros().min(len).min(below_len);
        let mut children = [NONE; 2];
        children[below.bit_after(common)] = at;
        if common == len {
            return self.add(prefix, len, value, children);
        }
        let leaf = self.add(prefix, len, value, [NONE; 2]);
        children[prefix.bit_after(common)] = leaf;
        self.add(prefix & B::mask(common), common, NONE, children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The specification.
    fn naive(entries: &[(Prefix, usize)], address: IpAddr) -> Option<usize> {
        entries
            .iter()
            .filter(|(prefix, _)| address.is_ipv4() == prefix.address.is_ipv4())
            .filter(|(prefix, _)| Prefix::new(address, prefix.len) == Ok(*prefix))
            .max_by_key(|(prefix, value)| (prefix.len, *value))
            .map(|(_, value)| *value)
    }

    #[test]
    fn text() {
        assert_eq!("10.1.2.3/8".parse::<Prefix>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("fd00::1".parse::<Prefix>().unwrap().to_string(), "fd00::1/128");
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "x/8", "10.0.0.0/8/8"] {
            assert_eq!(wrong.parse::<Prefix>(), Err(PrefixError), "{wrong}");
        }
    }

    #[test]
    fn default_routes_and_hosts() {
        let entries = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "::/0", "fd00::/128", "255.255.255.255/32"];
        let table = AllowedIps::new(entries.iter().enumerate().map(|(i, text)| (text.parse().unwrap(), i)));
        let lookup = |address: &str| table.lookup(address.parse().unwrap()).copied();
        assert_eq!(lookup("1.1.1.1"), Some(0));
        assert_eq!(lookup("10.0.0.2"), Some(1));
        assert_eq!(lookup("10.0.0.1"), Some(2));
        assert_eq!(lookup("255.255.255.255"), Some(5));
        assert_eq!(lookup("fd00::"), Some(4));
        assert_eq!(lookup("fd00::1"), Some(3));
        assert_eq!(AllowedIps::<u8>::new([]).lookup("::".parse().unwrap()), None);
    }

    /// Few distinct bits, so that prefixes nest and collide.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..8, 0u32..4, any::<bool>()).prop_map(|(high, low, ones)| {
                IpAddr::V4(Ipv4Addr::from(high << 29 | low | if ones { 0x00ff_ff00 } else { 0 }))
            }),
            (0u128..8, 0u128..4, any::<bool>()).prop_map(|(high, low, ones)| {
                IpAddr::V6(Ipv6Addr::from(high << 125 | low | if ones { 0xffff << 60 } else { 0 }))
            }),
        ]
    }

    fn prefix() -> impl Strategy<Value = Prefix> {
        (address(), any::<u8>())
            .prop_map(|(address, len)| Prefix::new(address, len % if address.is_ipv4() { 33 } else { 129 }).unwrap())
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            prefixes in proptest::collection::vec(prefix(), 0..40),
            addresses in proptest::collection::vec(address(), 1..40),
        ) {
            let entries: Vec<_> = prefixes.into_iter().enumerate().map(|(i, prefix)| (prefix, i)).collect();
            let table = AllowedIps::new(entries.iter().copied());
            for address in addresses.into_iter().chain(entries.iter().map(|(prefix, _)| prefix.address)) {
                prop_assert_eq!(table.lookup(address).copied(), naive(&entries, address));
            }
        }
    }
}
