//! Addresses, MTU and routes of a gateway's lanes.
//!
//! Addresses and routes go with the TUN devices they belong to: what ends with the program needs no undoing here.

use std::net::IpAddr;

use wirelane_daemon::config::{Gateway, InterfaceAddress, Spread};
use wirelane_io::{Existing, Netlink};
use wirelane_protocol::Prefix;

/// The network configuration of this namespace. Errors say what was tried.
pub struct Network(Netlink);

impl Network {
    /// Connects to the kernel.
    pub fn open() -> Result<Self, String> {
        Netlink::open().map(Self).map_err(|error| format!("cannot reach rtnetlink: {error}"))
    }

    /// Gives a device its MTU and addresses, and sets it up.
    pub fn bring_up(&mut self, index: u32, name: &str, mtu: u16, addresses: &[InterfaceAddress]) -> Result<(), String> {
        self.set_mtu(index, name, mtu)?;
        for address in addresses {
            self.add_address(index, name, address)?;
        }
        self.0.set_up(index, true).map_err(|error| format!("{name}: cannot be set up: {error}"))
    }

    /// Sets the MTU of a device.
    pub fn set_mtu(&mut self, index: u32, name: &str, mtu: u16) -> Result<(), String> {
        self.0.set_mtu(index, mtu.into()).map_err(|error| format!("{name}: cannot set the MTU to {mtu}: {error}"))
    }

    /// Gives a device an address.
    pub fn add_address(&mut self, index: u32, name: &str, address: &InterfaceAddress) -> Result<(), String> {
        let added = self.0.add_address(index, with_host_bits(address));
        added.map_err(|error| format!("{name}: cannot add the address {address}: {error}"))
    }

    /// Takes an address from a device.
    pub fn delete_address(&mut self, index: u32, name: &str, address: &InterfaceAddress) -> Result<(), String> {
        let deleted = self.0.delete_address(index, with_host_bits(address));
        deleted.map_err(|error| format!("{name}: cannot remove the address {address}: {error}"))
    }

    /// Routes `prefix` over devices, with an L4 hash where there are several.
    pub fn route(
        &mut self,
        prefix: &Prefix,
        source: Option<IpAddr>,
        indices: &[u32],
        existing: Existing,
    ) -> Result<(), String> {
        let source = source.filter(|source| source.is_ipv4() == prefix.address().is_ipv4());
        self.0.route(destination(prefix), source, indices, existing).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => format!("cannot route {prefix}: there is such a route already"),
            _ => format!("cannot route {prefix}: {error}"),
        })
    }

    /// Removes the route to `prefix`.
    pub fn delete_route(&mut self, prefix: &Prefix) -> Result<(), String> {
        self.0.delete_route(destination(prefix)).map_err(|error| format!("cannot remove the route {prefix}: {error}"))
    }
}

fn destination(prefix: &Prefix) -> wirelane_io::Prefix {
    wirelane_io::Prefix { address: prefix.address(), len: prefix.prefix_len() }
}

fn with_host_bits(address: &InterfaceAddress) -> wirelane_io::Prefix {
    wirelane_io::Prefix { address: address.address, len: address.network.prefix_len() }
}

/// A warning for each address family whose routes would not spread flows over the lanes.
pub fn hash_policy_warnings(gateway: &Gateway) -> Vec<String> {
    if gateway.lanes.len() < 2 || gateway.spread == Spread::Bond {
        return Vec::new();
    }
    [("ipv4", true), ("ipv6", false)]
        .into_iter()
        .filter(|(_, ipv4)| gateway.ecmp_routes.iter().any(|prefix| prefix.address().is_ipv4() == *ipv4))
        .filter_map(|(family, _)| {
            let key = format!("net.{family}.fib_multipath_hash_policy");
            let value = std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap_or_default();
            (value.trim() != "1").then(|| {
                format!(
                    "{key} is {:?}: flows are not spread over the lanes by their ports; run sysctl -w {key}=1",
                    value.trim()
                )
            })
        })
        .collect()
}
