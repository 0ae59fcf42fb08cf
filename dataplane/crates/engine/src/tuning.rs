//! How a lane runs: mode, CPU sets, batch size, buffers. Everything here is configuration, nothing is state.

use std::fmt;
use std::str::FromStr;

use wirelane_crypto::BackendChoice;
use wirelane_io::{CpuSet, NumaPolicy};
use wirelane_protocol::Timings;

/// Most packets that are handled as one unit of work.
pub const MAX_BATCH_PACKETS: usize = 128;
/// Most packet workers of one lane and direction.
pub const MAX_CRYPTO_WORKERS: usize = 256;
/// Smallest and largest UDP socket buffer that can be asked for, in bytes.
pub const SOCKET_BUFFER_BYTES: std::ops::RangeInclusive<usize> = (64 << 10)..=(256 << 20);

/// Which architecture carries a lane's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Run to completion: one thread a direction does everything to a packet.
    #[default]
    Inline,
    /// Reader, parallel crypto workers, in-order writer; one set of each for a direction.
    Pipelined,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "inline" => Ok(Self::Inline),
            "pipelined" => Ok(Self::Pipelined),
            _ => Err(format!("{text:?} is not a mode: use inline or pipelined")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline",
            Self::Pipelined => "pipelined",
        })
    }
}

/// The CPU of a stage's thread `k`: number `k` mod |set|; none where the scheduler decides.
pub fn cpu_of_thread(set: &CpuSet, k: usize) -> Option<u32> {
    (!set.is_empty()).then(|| set.cpus()[k % set.cpus().len()])
}

/// A step of the packet path that has threads and a CPU set of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Inline: TUN to UDP.
    Tx,
    /// Inline: UDP to TUN.
    Rx,
    /// Pipelined: takes batches from the TUN or the socket.
    Read,
    /// Pipelined: seals or opens batches.
    Crypto,
    /// Pipelined: sends or writes batches in their order.
    Write,
    /// Handshakes, timers, staged packets.
    Control,
}

impl Stage {
    /// The stages that have a CPU set, in whichever mode.
    pub const WITH_CPU_SET: &[Stage] = &[Self::Tx, Self::Rx, Self::Read, Self::Crypto, Self::Write];

    /// The stage's name in configuration, placement and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
            Self::Read => "read",
            Self::Crypto => "crypto",
            Self::Write => "write",
            Self::Control => "control",
        }
    }

    /// Packets leave the lane here: its packets are those of the lane. (The control thread sends what was staged.)
    pub fn is_last(self) -> bool {
        matches!(self, Self::Tx | Self::Rx | Self::Write | Self::Control)
    }

    /// The stages that can be given a CPU set in `mode`.
    pub fn of_mode(mode: Mode) -> &'static [Stage] {
        match mode {
            Mode::Inline => &[Self::Tx, Self::Rx],
            Mode::Pipelined => &[Self::Read, Self::Crypto, Self::Write],
        }
    }
}

/// CPU set of each stage; thread k of a stage runs on CPU number k mod |set|.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct StageCpuSets {
    pub tx: CpuSet,
    pub rx: CpuSet,
    pub read: CpuSet,
    pub crypto: CpuSet,
    pub write: CpuSet,
}

impl StageCpuSets {
    /// The CPU set of `stage`; control threads have none.
    pub fn of(&self, stage: Stage) -> Option<&CpuSet> {
        match stage {
            Stage::Tx => Some(&self.tx),
            Stage::Rx => Some(&self.rx),
            Stage::Read => Some(&self.read),
            Stage::Crypto => Some(&self.crypto),
            Stage::Write => Some(&self.write),
            Stage::Control => None,
        }
    }

    /// A stage that has a CPU set although `mode` has no such stage.
    pub fn stray_stage(&self, mode: Mode) -> Option<Stage> {
        Stage::WITH_CPU_SET
            .iter()
            .copied()
            .find(|stage| !Stage::of_mode(mode).contains(stage) && self.of(*stage).is_some_and(|set| !set.is_empty()))
    }
}

/// Which offloads may be used; the machine's lack of one turns it off as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Offloads {
    pub udp_gso: bool,
    pub udp_gro: bool,
    pub tun_tso: bool,
    pub tun_uso: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self { udp_gso: true, udp_gro: true, tun_tso: true, tun_uso: true }
    }
}

/// "-gso,-uso" turns these two off; the empty text leaves all on.
impl FromStr for Offloads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut offloads = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "-gso" => offloads.udp_gso = false,
                "-gro" => offloads.udp_gro = false,
                "-tso" => offloads.tun_tso = false,
                "-uso" => offloads.tun_uso = false,
                _ => return Err(format!("{word:?} is none of -gso, -gro, -tso, -uso")),
            }
        }
        Ok(offloads)
    }
}

/// Which way packets go through a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the TUN to the network.
    Tx,
    /// From the network to the TUN.
    Rx,
}

impl Direction {
    /// The other way.
    pub fn opposite(self) -> Self {
        match self {
            Self::Tx => Self::Rx,
            Self::Rx => Self::Tx,
        }
    }
}

/// How a lane runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Which architecture.
    pub mode: Mode,
    /// Packet workers per direction; pipelined mode only.
    pub crypto_workers: usize,
    /// Where each stage's threads run.
    pub cpu_sets: StageCpuSets,
    /// Where packet buffers live.
    pub numa_policy: NumaPolicy,
    /// Packet buffers in 2 MiB pages where there are any.
    pub huge_pages: bool,
    /// Most packets handled as one unit of work; a super-packet of the TUN is never cut.
    pub batch_packets: usize,
    /// UDP send and receive buffer that is asked for.
    pub socket_buffer_bytes: usize,
    /// AEAD implementation.
    pub aead: BackendChoice,
    /// What may be used of the machine's offloads.
    pub offloads: Offloads,
    /// The protocol's durations; anything but the default is for tests.
    pub timings: Timings,
}

/// The fastest on a small machine: inline, any CPU.
impl Default for Tuning {
    fn default() -> Self {
        Self {
            mode: Mode::Inline,
            crypto_workers: 1,
            cpu_sets: StageCpuSets::default(),
            numa_policy: NumaPolicy::default(),
            huge_pages: false,
            batch_packets: 64,
            socket_buffer_bytes: 4 << 20,
            aead: BackendChoice::Auto,
            offloads: Offloads::default(),
            timings: Timings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_k_runs_on_cpu_k_mod_set() {
        let set: CpuSet = "2,4-5".parse().unwrap();
        assert_eq!((0..4).filter_map(|k| cpu_of_thread(&set, k)).collect::<Vec<_>>(), [2, 4, 5, 2]);
        assert_eq!(cpu_of_thread(&CpuSet::default(), 3), None);
    }

    #[test]
    fn offloads_are_turned_off_by_name() {
        let offloads: Offloads = "-gso,-uso".parse().unwrap();
        assert!(!offloads.udp_gso && !offloads.tun_uso && offloads.udp_gro && offloads.tun_tso);
        assert!("gso".parse::<Offloads>().is_err());
    }

    #[test]
    fn a_stage_of_the_other_mode_is_stray() {
        let sets = StageCpuSets { crypto: "0".parse().unwrap(), ..StageCpuSets::default() };
        assert_eq!(sets.stray_stage(Mode::Inline), Some(Stage::Crypto));
        assert_eq!(sets.stray_stage(Mode::Pipelined), None);
    }
}
