//! The configuration file of `wirelane run`: a whole gateway of lanes, in TOML. Unknown fields are errors.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;
use wirelane_engine::{MAX_BATCH_PACKETS, MAX_CRYPTO_WORKERS, Mode, SOCKET_BUFFER_BYTES, StageCpuSets, Tuning};
use wirelane_io::{CpuSet, NumaPolicy};
use wirelane_protocol::{Prefix, PublicKey};

/// Most lanes of one gateway.
pub const MAX_LANES: usize = 64;
/// Largest configuration file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A gateway as its configuration file describes it, checked as far as that goes without touching the machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    #[serde(default, deserialize_with = "parsed")]
    pub mode: Mode,
    #[serde(default, deserialize_with = "parsed")]
    pub spread: Spread,
    pub bond: Option<Spanned<BondDevice>>,
    crypto_workers: Option<Spanned<usize>>,
    #[serde(default = "default_batch_packets", deserialize_with = "batch_packets")]
    batch_packets: usize,
    #[serde(default = "default_socket_buffer_bytes", deserialize_with = "socket_buffer_bytes")]
    socket_buffer_bytes: usize,
    #[serde(default, deserialize_with = "parsed")]
    numa_policy: NumaPolicy,
    #[serde(default)]
    huge_pages: bool,
    pub control_socket: Option<PathBuf>,
    pub metrics_listen: Option<SocketAddr>,
    #[serde(default, deserialize_with = "prefixes")]
    pub ecmp_routes: Vec<Prefix>,
    pub route_source: Option<IpAddr>,
    #[serde(default)]
    cpu_sets: CpuSets,
    #[serde(default, rename = "lane")]
    pub lanes: Vec<Lane>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CpuSets {
    tx: Option<Spanned<Cpus>>,
    rx: Option<Spanned<Cpus>>,
    read: Option<Spanned<Cpus>>,
    crypto: Option<Spanned<Cpus>>,
    write: Option<Spanned<Cpus>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Cpus(#[serde(deserialize_with = "parsed")] CpuSet);

/// How flows come to lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// One device a lane, and routes over all of them with an L4 hash.
    #[default]
    Ecmp,
    /// One device for all lanes; wirelane puts each flow on the least loaded.
    Bond,
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ecmp" => Ok(Self::Ecmp),
            "bond" => Ok(Self::Bond),
            _ => Err(format!("{text:?} is not a way to spread flows: use ecmp or bond")),
        }
    }
}

/// The device that all lanes of a bond share.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BondDevice {
    pub interface: InterfaceName,
    #[serde(default = "default_mtu", deserialize_with = "mtu")]
    pub mtu: u16,
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
    /// A flow that is silent for longer may move to another lane.
    #[serde(default = "default_flowlet_gap_ms", deserialize_with = "flowlet_gap_ms")]
    pub flowlet_gap_ms: u32,
}

/// One tunnel with its key, port and peers; but for a bond, with a device of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// See [`Lane::name`].
    #[serde(skip)]
    name: String,
    interface: Option<Spanned<InterfaceName>>,
    pub listen_port: Spanned<u16>,
    pub private_key_file: PathBuf,
    #[serde(default, deserialize_with = "optional_mtu")]
    mtu: Option<u16>,
    #[serde(default)]
    pub addresses: Vec<InterfaceAddress>,
    #[serde(default)]
    pub fwmark: u32,
    #[serde(default, rename = "peer")]
    pub peers: Vec<Peer>,
}

/// One peer of a lane.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    #[serde(deserialize_with = "public_key")]
    pub public_key: Spanned<PublicKey>,
    pub endpoint: Option<SocketAddr>,
    #[serde(default, deserialize_with = "prefixes")]
    pub allowed_ips: Vec<Prefix>,
    pub preshared_key_file: Option<PathBuf>,
    #[serde(default)]
    pub persistent_keepalive_s: u16,
}

impl Lane {
    /// The name of its device; in a bond, that of the bond and the port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// MTU of its device in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu.unwrap_or_else(default_mtu)
    }
}

impl Peer {
    /// Whether everything but the preshared key is the same; that is in a file.
    pub fn same_settings(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.allowed_ips == other.allowed_ips
            && self.persistent_keepalive_s == other.persistent_keepalive_s
    }
}

/// A name that Linux accepts for a network interface and that is safe on a command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
        if (1..=15).contains(&text.len()) && text.bytes().all(usable) && !text.starts_with(['-', '.']) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("{text:?} is not an interface name: 1 to 15 letters, digits and _ = + . - are allowed"))
    }
}

/// An address of an interface with the length of its network; without a length, the whole address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub address: IpAddr,
    pub network: Prefix,
}

impl FromStr for InterfaceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address such as 10.0.0.1/24 or fd00::1/64");
        let network = text.parse().map_err(|_| wrong())?;
        let address = text.split_once('/').map_or(text, |(address, _)| address).parse().map_err(|_| wrong())?;
        Ok(Self { address, network })
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.network.prefix_len())
    }
}

fn public_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Spanned<PublicKey>, D::Error> {
    let text = Spanned::<String>::deserialize(deserializer)?;
    let key = PublicKey::from_base64(text.get_ref());
    key.map(|key| Spanned::new(text.span(), key)).map_err(|why| D::Error::custom(format!("not a public key: {why}")))
}

fn prefixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Prefix>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(|why| D::Error::custom(format!("{text:?}: {why}")))).collect()
}

macro_rules! deserialize_from_str {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parsed(deserializer)
            }
        }
    )*};
}
deserialize_from_str!(InterfaceName, InterfaceAddress);

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, D::Error> {
    let value = i64::deserialize(deserializer)?;
    usize::try_from(value).ok().filter(|value| range.contains(value)).ok_or_else(|| {
        D::Error::custom(format!("{what} is {value}, but must be from {} to {}", range.start(), range.end()))
    })
}

fn batch_packets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, "batch_packets", 1..=MAX_BATCH_PACKETS)
}

fn socket_buffer_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, "socket_buffer_bytes", SOCKET_BUFFER_BYTES)
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    within(deserializer, "mtu", 576..=65_455).map(|mtu| mtu as u16)
}

fn optional_mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    mtu(deserializer).map(Some)
}

fn flowlet_gap_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, "flowlet_gap_ms", 1..=10_000).map(|gap| gap as u32)
}

/// See docs/data-plane.md: the delays of two paths between the same gateways differ by less.
fn default_flowlet_gap_ms() -> u32 {
    100
}

fn default_batch_packets() -> usize {
    Tuning::default().batch_packets
}

fn default_socket_buffer_bytes() -> usize {
    Tuning::default().socket_buffer_bytes
}

fn default_mtu() -> u16 {
    1420
}

impl Gateway {
    /// Reads and checks a configuration file. The error is one or more lines that name the file, line and field.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let size = std::fs::metadata(path).map_err(|error| format!("cannot read {name}: {error}"))?.len();
        if size > MAX_FILE_BYTES {
            return Err(format!("{name} has {size} bytes; a configuration file has at most {MAX_FILE_BYTES}"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        Self::parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    /// Parses and checks the text of a configuration file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut gateway: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        gateway.check_consistency().map_err(|(offset, message)| match offset {
            Some(offset) => format!("line {}: {message}", 1 + text[..offset].matches('\n').count()),
            None => message,
        })?;
        Ok(gateway)
    }

    fn check_consistency(&mut self) -> Result<(), (Option<usize>, String)> {
        if self.lanes.is_empty() {
            return Err((None, "no lane: a gateway needs at least one [[lane]]".to_owned()));
        }
        if self.lanes.len() > MAX_LANES {
            return Err((None, format!("{} lanes: at most {MAX_LANES} are possible", self.lanes.len())));
        }
        self.check_mode()?;
        self.check_spread()?;
        self.check_lanes()
    }

    fn check_mode(&self) -> Result<(), (Option<usize>, String)> {
        if let Some(workers) = &self.crypto_workers {
            let at = Some(workers.span().start);
            if self.mode == Mode::Inline {
                return Err((at, "crypto_workers belongs to mode = \"pipelined\"".to_owned()));
            }
            if !(1..=MAX_CRYPTO_WORKERS).contains(workers.get_ref()) {
                let message =
                    format!("crypto_workers is {}, but must be from 1 to {MAX_CRYPTO_WORKERS}", workers.get_ref());
                return Err((at, message));
            }
        }
        let mut cpu_sets = self.stage_cpu_sets();
        if self.spread == Spread::Bond {
            // The bond's reader is there in either mode.
            cpu_sets.read = CpuSet::default();
        }
        if let Some(stage) = cpu_sets.stray_stage(self.mode) {
            let sets = &self.cpu_sets;
            let span = [&sets.tx, &sets.rx, &sets.read, &sets.crypto, &sets.write]
                .into_iter()
                .zip(["tx", "rx", "read", "crypto", "write"])
                .find_map(|(set, name)| set.as_ref().filter(|_| name == stage.name()))
                .map(|set| set.span().start);
            return Err((span, format!("cpu_sets.{}: {} mode has no such stage", stage.name(), self.mode)));
        }
        Ok(())
    }

    /// Names the lanes on the way.
    fn check_spread(&mut self) -> Result<(), (Option<usize>, String)> {
        let bond = match (self.spread, &self.bond) {
            (Spread::Bond, None) => {
                return Err((None, "spread = \"bond\" needs a [bond] with an interface".to_owned()));
            }
            (Spread::Ecmp, Some(bond)) => {
                return Err((Some(bond.span().start), "[bond] belongs to spread = \"bond\"".to_owned()));
            }
            (_, bond) => bond.as_ref(),
        };
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let at = Some(lane.listen_port.span().start);
            match (bond, &lane.interface) {
                (Some(bond), None) if lane.mtu.is_none() && lane.addresses.is_empty() => {
                    lane.name = format!("{}:{}", bond.get_ref().interface.as_str(), lane.listen_port.get_ref());
                }
                (Some(_), _) => {
                    let message = "interface, mtu and addresses of a bond belong to [bond]: its lanes have none";
                    return Err((at, format!("lane[{index}]: {message}")));
                }
                (None, Some(interface)) => lane.name = interface.get_ref().as_str().to_owned(),
                (None, None) => return Err((at, format!("lane[{index}]: missing field `interface`"))),
            }
        }
        Ok(())
    }

    fn check_lanes(&self) -> Result<(), (Option<usize>, String)> {
        let mut interfaces = HashMap::new();
        let mut ports = HashMap::new();
        for (index, lane) in self.lanes.iter().enumerate() {
            let port = *lane.listen_port.get_ref();
            if let Some(interface) = &lane.interface
                && let Some(other) = interfaces.insert(lane.name(), index)
            {
                let message = format!("lane[{index}].interface: {:?} is the name of lane[{other}] too", lane.name());
                return Err((Some(interface.span().start), message));
            }
            if port == 0 {
                let message = format!("lane[{index}].listen_port: 0 is not a port that a peer can reach");
                return Err((Some(lane.listen_port.span().start), message));
            }
            if let Some(other) = ports.insert(port, index) {
                let message = format!("lane[{index}].listen_port: {port} is the port of lane[{other}] too");
                return Err((Some(lane.listen_port.span().start), message));
            }
            let mut peers = HashMap::new();
            for (k, peer) in lane.peers.iter().enumerate() {
                if let Some(other) = peers.insert(peer.public_key.get_ref(), k) {
                    let message = format!("lane[{index}].peer[{k}]: has the public key of peer[{other}] too");
                    return Err((Some(peer.public_key.span().start), message));
                }
            }
        }
        Ok(())
    }

    fn stage_cpu_sets(&self) -> StageCpuSets {
        let set =
            |stage: &Option<Spanned<Cpus>>| stage.as_ref().map_or_else(CpuSet::default, |s| s.get_ref().0.clone());
        let sets = &self.cpu_sets;
        StageCpuSets {
            tx: set(&sets.tx),
            rx: set(&sets.rx),
            read: set(&sets.read),
            crypto: set(&sets.crypto),
            write: set(&sets.write),
        }
    }

    /// The tuning of every lane of this gateway; what the file leaves out has the default of `base`.
    pub fn tuning(&self, base: &Tuning) -> Tuning {
        Tuning {
            mode: self.mode,
            crypto_workers: self.crypto_workers.as_ref().map_or(base.crypto_workers, |workers| *workers.get_ref()),
            batch_packets: self.batch_packets,
            socket_buffer_bytes: self.socket_buffer_bytes,
            numa_policy: self.numa_policy,
            huge_pages: self.huge_pages,
            cpu_sets: self.stage_cpu_sets(),
            ..base.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";

    fn lane(interface: &str, port: u16) -> String {
        format!("[[lane]]\ninterface = \"{interface}\"\nlisten_port = {port}\nprivate_key_file = \"/nowhere\"\n")
    }

    fn refusal(text: &str) -> String {
        Gateway::parse(text).unwrap_err()
    }

    #[test]
    fn the_example_of_the_architecture_document() {
        let text = format!(
            "mode = \"inline\"\nbatch_packets = 64\nsocket_buffer_bytes = 4194304\nnuma_policy = \"local\"\n\
             control_socket = \"/run/x\"\nmetrics_listen = \"127.0.0.1:9586\"\necmp_routes = [\"198.19.2.0/24\"]\n\
             route_source = \"198.19.1.1\"\n[cpu_sets]\ntx = \"0\"\nrx = \"0-1,3\"\n{}\
             addresses = [\"198.18.128.1/31\"]\n[[lane.peer]]\npublic_key = \"{KEY}\"\nendpoint = \"[fd00::1]:51820\"\n\
             allowed_ips = [\"0.0.0.0/0\", \"::/0\"]\npersistent_keepalive_s = 25\n",
            lane("wl0", 51820)
        );
        let gateway = Gateway::parse(&text).unwrap();
        assert_eq!(gateway.lanes[0].mtu(), 1420);
        assert_eq!(gateway.lanes[0].peers[0].allowed_ips[1].to_string(), "::/0");
        assert_eq!(gateway.tuning(&Tuning::default()).cpu_sets.rx.to_string(), "0-1,3");
    }

    #[test]
    fn a_bond_has_one_device() {
        let bond = "spread = \"bond\"\n[bond]\ninterface = \"wl0\"\naddresses = [\"10.0.0.1/24\"]\n";
        let bare = |port: u16| format!("[[lane]]\nlisten_port = {port}\nprivate_key_file = \"/k\"\n");
        let gateway = Gateway::parse(&format!("{bond}[cpu_sets]\nread = \"0\"\n{}{}", bare(1), bare(2))).unwrap();
        assert_eq!(gateway.lanes.iter().map(Lane::name).collect::<Vec<_>>(), ["wl0:1", "wl0:2"]);
        assert_eq!(gateway.bond.unwrap().get_ref().flowlet_gap_ms, 100);
        assert!(refusal(&(bond.to_owned() + &lane("wl1", 1))).contains("belong to [bond]"));
        assert!(refusal(&format!("spread = \"bond\"\n{}", bare(1))).contains("needs a [bond]"));
        assert!(refusal(&format!("[bond]\ninterface = \"x\"\n{}", lane("wl0", 1))).contains("belongs to spread"));
        assert!(refusal(&bare(1)).contains("missing field `interface`"));
        assert!(refusal(&format!("{bond}flowlet_gap_ms = 0\n{}", bare(1))).contains("from 1 to 10000"));
    }

    #[test]
    fn errors_name_line_and_field() {
        assert!(refusal("mode = \"inline\"\n").contains("at least one [[lane]]"));
        let unknown = refusal(&format!("moode = 1\n{}", lane("wl0", 1)));
        assert!(unknown.contains("line 1") && unknown.contains("unknown field `moode`"), "{unknown}");
        let twice = refusal(&(lane("wl0", 7) + &lane("wl1", 7)));
        assert!(twice.contains("line 7") && twice.contains("7 is the port of lane[0]"), "{twice}");
        let cpus = refusal(&format!("[cpu_sets]\ntx = \"3-1\"\n{}", lane("wl0", 1)));
        assert!(cpus.contains("line 2") && cpus.contains("runs backwards"), "{cpus}");
        let stray = refusal(&format!("[cpu_sets]\ncrypto = \"0\"\n{}", lane("wl0", 1)));
        assert!(stray.contains("line 2") && stray.contains("inline mode has no such stage"), "{stray}");
        let batch = refusal(&format!("batch_packets = 0\n{}", lane("wl0", 1)));
        assert!(batch.contains("from 1 to 128"), "{batch}");
        let workers = refusal(&format!("crypto_workers = 2\n{}", lane("wl0", 1)));
        assert!(workers.contains("pipelined"), "{workers}");
        assert!(refusal(&lane("wl0; rm -rf x", 1)).contains("not an interface name"));
        assert!(refusal(&lane("wl0", 0)).contains("not a port"));
    }
}
