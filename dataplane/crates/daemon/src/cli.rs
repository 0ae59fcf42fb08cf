//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wirelane_engine::{BackendChoice, MAX_BATCH_PACKETS, MAX_CRYPTO_WORKERS, Mode, Offloads};
use wirelane_engine::{SOCKET_BUFFER_BYTES, StageCpuSets, Tuning};
use wirelane_io::{CpuSet, NumaPolicy};

use crate::config::InterfaceName;

const AFTER_HELP: &str = "Examples:
  wirelane -f wg0                          a drop-in for wireguard-go; then: wg setconf wg0 FILE
  wirelane run --config gateway.toml       a gateway of several lanes
  wirelane stats --control PATH --json     its counters
  wirelane top --control PATH              the same as rates, live
  wirelane apply --control PATH --config gateway.toml     takes over what has changed in the file
  WG_QUICK_USERSPACE_IMPLEMENTATION=wirelane wg-quick up wg0";

/// A WireGuard data plane that runs many tunnels side by side.
#[derive(Parser, Debug)]
#[command(name = "wirelane", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Stay in the foreground
    #[arg(short, long, requires = "interface")]
    pub foreground: bool,

    /// Interface to create; it is configured over its UAPI socket, with wg(8)
    #[arg(value_parser = clap::value_parser!(InterfaceName))]
    pub interface: Option<InterfaceName>,

    #[command(flatten)]
    pub tuning: TuningArgs,
}

/// What the program can be asked to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Carry a gateway of several lanes; SIGTERM removes everything that it made
    Run {
        /// The gateway's configuration file
        #[arg(short, long)]
        config: PathBuf,
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Counters of a running gateway
    Stats(ControlArgs),
    /// Make a running gateway run as this configuration file says: what differs is changed, and sessions of lanes that
    /// stay live on
    Apply {
        /// Control socket of the gateway
        #[arg(long)]
        control: PathBuf,
        /// The configuration that it shall have
        #[arg(short, long)]
        config: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// The threads of a running gateway, with the CPU sets that the kernel reports
    Placement(ControlArgs),
    /// The counters of a running gateway as rates, live in this terminal; q quits
    Top {
        /// Control socket of the gateway
        #[arg(long)]
        control: PathBuf,
        /// Seconds between two readings, 0.1 to 60
        #[arg(long, default_value = "1", value_parser = top_interval)]
        interval_s: Duration,
    },
    /// Parse and validate a configuration file; nothing is started
    Check {
        /// The gateway's configuration file
        #[arg(short, long)]
        config: PathBuf,
    },
    /// How fast one CPU encrypts, with nothing around it; takes 0.2 s
    AeadRate {
        /// AEAD implementation: auto, ifma, avx512, avx2, sse or portable
        #[arg(long, default_value = "auto")]
        aead: BackendChoice,
        /// Bytes of a packet
        #[arg(long, default_value_t = 1420, value_parser = clap::value_parser!(u16).range(16..))]
        packet_bytes: u16,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// What this machine offers: TUN offloads, UDP GSO and GRO, AEAD backends, NUMA nodes
    Doctor {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// How a running gateway is reached.
#[derive(Args, Debug)]
pub struct ControlArgs {
    /// Control socket of the gateway
    #[arg(long)]
    pub control: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Choices about the machine rather than about the gateway; they hold for both ways to run.
#[derive(Args, Debug)]
pub struct MachineArgs {
    /// AEAD implementation: auto, avx512, avx2, sse or portable
    #[arg(long, env = "WIRELANE_AEAD", default_value = "auto")]
    pub aead: BackendChoice,
    /// Offloads to leave off: any of -gso -gro -uso -tso, separated by commas
    #[arg(long, env = "WIRELANE_OFFLOADS", default_value = "", allow_hyphen_values = true)]
    pub offloads: Offloads,
    /// For tests only: begin a new handshake when a session is so old, instead of after 120 seconds
    #[arg(long, env = "WIRELANE_TEST_REKEY_AFTER_S", hide = true)]
    test_rekey_after_s: Option<u64>,
}

/// The tuning of `wirelane -f`; `wirelane run` has it in its configuration file.
#[derive(Args, Debug)]
pub struct TuningArgs {
    /// inline or pipelined
    #[arg(long, env = "WIRELANE_MODE", default_value = "inline")]
    mode: Mode,
    /// Packet workers per direction; pipelined mode only
    #[arg(long, env = "WIRELANE_CRYPTO_WORKERS", value_parser = crypto_workers)]
    crypto_workers: Option<usize>,
    /// CPU set of the threads that take packets from the TUN (inline)
    #[arg(long, env = "WIRELANE_CPU_TX", default_value = "")]
    cpu_tx: CpuSet,
    /// CPU set of the threads that take packets from the socket (inline)
    #[arg(long, env = "WIRELANE_CPU_RX", default_value = "")]
    cpu_rx: CpuSet,
    /// CPU set of the readers (pipelined)
    #[arg(long, env = "WIRELANE_CPU_READ", default_value = "")]
    cpu_read: CpuSet,
    /// CPU set of the crypto workers (pipelined)
    #[arg(long, env = "WIRELANE_CPU_CRYPTO", default_value = "")]
    cpu_crypto: CpuSet,
    /// CPU set of the writers (pipelined)
    #[arg(long, env = "WIRELANE_CPU_WRITE", default_value = "")]
    cpu_write: CpuSet,
    /// Most packets handled as one unit of work, 1 to 128
    #[arg(long, env = "WIRELANE_BATCH_PACKETS", value_parser = batch_packets)]
    batch_packets: Option<usize>,
    /// UDP send and receive buffer in bytes
    #[arg(long, env = "WIRELANE_SOCKET_BUFFER_BYTES", value_parser = socket_buffer_bytes)]
    socket_buffer_bytes: Option<usize>,
    /// Where packet buffers live: local, bind or prefer
    #[arg(long, env = "WIRELANE_NUMA_POLICY", default_value = "local")]
    numa_policy: NumaPolicy,
    #[command(flatten)]
    machine: MachineArgs,
}

fn within(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
}

fn top_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "must be a number of seconds from 0.1 to 60".to_owned())
}

fn crypto_workers(text: &str) -> Result<usize, String> {
    within(text, 1..=MAX_CRYPTO_WORKERS)
}

fn batch_packets(text: &str) -> Result<usize, String> {
    within(text, 1..=MAX_BATCH_PACKETS)
}

fn socket_buffer_bytes(text: &str) -> Result<usize, String> {
    within(text, SOCKET_BUFFER_BYTES)
}

impl MachineArgs {
    /// The default tuning on this machine.
    pub fn tuning(&self) -> Tuning {
        let mut tuning = Tuning { aead: self.aead, offloads: self.offloads, ..Tuning::default() };
        if let Some(seconds) = self.test_rekey_after_s {
            tuning.timings.rekey_after = Duration::from_secs(seconds);
            tuning.timings.rekey_timeout = tuning.timings.rekey_timeout.min(tuning.timings.rekey_after / 2);
        }
        tuning
    }
}

impl TuningArgs {
    /// The tuning that flags and environment ask for.
    pub fn tuning(&self) -> Result<Tuning, String> {
        let base = self.machine.tuning();
        let cpu_sets = StageCpuSets {
            tx: self.cpu_tx.clone(),
            rx: self.cpu_rx.clone(),
            read: self.cpu_read.clone(),
            crypto: self.cpu_crypto.clone(),
            write: self.cpu_write.clone(),
        };
        if let Some(stage) = cpu_sets.stray_stage(self.mode) {
            return Err(format!("--cpu-{}: {} mode has no such stage", stage.name(), self.mode));
        }
        if self.mode == Mode::Inline && self.crypto_workers.is_some() {
            return Err("--crypto-workers belongs to --mode pipelined".to_owned());
        }
        Ok(Tuning {
            mode: self.mode,
            crypto_workers: self.crypto_workers.unwrap_or(base.crypto_workers),
            cpu_sets,
            batch_packets: self.batch_packets.unwrap_or(base.batch_packets),
            socket_buffer_bytes: self.socket_buffer_bytes.unwrap_or(base.socket_buffer_bytes),
            numa_policy: self.numa_policy,
            ..base
        })
    }
}
