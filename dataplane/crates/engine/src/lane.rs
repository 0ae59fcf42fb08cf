//! A lane: one WireGuard device with its TUN, sockets, protocol state and threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use wirelane_crypto::{Aead, Backend};
use wirelane_io::{Buffer, LinkMonitor, MemoryPlacement, Netlink, Tun, TunOptions, UdpOptions, UdpPair, node_of_cpu};
use wirelane_packet::{MAX_GSO_BYTES, MAX_TUN_READ, SendBatch, TAG_LEN, TRANSPORT_HEADER_LEN};
use wirelane_protocol::{Device, DeviceChange, DeviceSnapshot};

use crate::aead::ThreadAead;
use crate::collect::{FULL_BATCH_BYTES, SocketCollector, TunCollector};
use crate::control::Control;
use crate::counters::{Drops, EngineReason, ThreadCounters};
use crate::inbound::{InboundBatch, RECEIVE_BYTES};
use crate::inline;
use crate::outbound::OutboundBatch;
use crate::pipelined::{self, Pipeline};
use crate::shared::Shared;
use crate::stats::{FlowStats, LaneStats, ThreadPlacement, ThreadStats, waiting};
use crate::threads::{LaneThread, LaneThreads, ThreadPlan};
use crate::tuning::{Direction, Mode, Stage, Tuning, cpu_of_thread};

/// What wireguard-go and wg-quick give a device by default, in bytes.
const DEFAULT_MTU: u32 = 1420;
/// Receive buffers have room for a batch that is nearly full and one more receive.
const TX: Option<Direction> = Some(Direction::Tx);
const RX: Option<Direction> = Some(Direction::Rx);
const INBOUND_BYTES: usize = FULL_BATCH_BYTES + RECEIVE_BYTES + 1024;

/// Why a lane could not be started.
#[derive(Debug)]
pub struct StartError {
    what: String,
    error: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl std::error::Error for StartError {}

fn while_doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |error| StartError { what, error }
}

/// Why a change could not be made. Nothing of it has been applied.
#[derive(Debug)]
pub enum ChangeError {
    /// Another socket has the port.
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The sockets could not be changed.
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortInUse { port } => write!(f, "UDP port {port} is in use by another program or lane"),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for ChangeError {}

/// One running device. It ends when it is stopped or dropped.
pub struct Lane {
    interface: String,
    /// Position among the lanes of the gateway: thread k of a stage runs on CPU k mod |set|.
    index: usize,
    tuning: Tuning,
    backend: Backend,
    shared: Arc<Shared>,
    threads: Arc<LaneThreads>,
    /// One change at a time; holds the fwmark, which new sockets inherit.
    changing: Mutex<()>,
    fwmark: AtomicU32,
}

impl Lane {
    /// Creates the device and starts its threads. It has no key, no peer, a port that the kernel chose, and is down.
    ///
    /// `on_end` is called once, with the reason, if the lane ends by itself because its device is gone.
    pub fn start(
        interface: &str,
        index: usize,
        tuning: &Tuning,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, StartError> {
        let backend = Aead::new(tuning.aead)
            .map_err(|error| StartError { what: "aead".into(), error: io::Error::other(error) })?
            .backend();
        let tun = open_tun(interface, tuning)?;
        let sockets = UdpPair::bind(0, &udp_options(tuning, 0)).map_err(while_doing("cannot open UDP sockets"))?;
        let link = LinkMonitor::new(tun.index()).map_err(while_doing(format!("{interface}: cannot watch the link")))?;
        let rng = Box::new(UnwrapErr(SysRng));
        let now = wirelane_protocol::Time {
            monotonic: wirelane_io::BootClock::now().into(),
            unix: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
        };
        let mut device = Device::new(rng, tuning.timings, now);
        device.set_up(false, now);
        let port = sockets.port();
        device.apply(DeviceChange { listen_port: Some(port), ..DeviceChange::default() }, now);
        let shared =
            Shared::new(tun, device, sockets, DEFAULT_MTU as usize).map_err(while_doing("no descriptor left"))?;
        let lane = Self {
            interface: interface.to_owned(),
            index,
            tuning: tuning.clone(),
            backend,
            shared: Arc::new(shared),
            threads: Arc::default(),
            changing: Mutex::new(()),
            fwmark: AtomicU32::new(0),
        };
        lane.start_threads(link, on_end).map_err(while_doing(format!("{interface}: cannot start its threads")))?;
        Ok(lane)
    }

    fn start_threads(&self, link: LinkMonitor, on_end: impl FnOnce(String) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let aead = ThreadAead::new(self.backend);
        let stop = shared.register_packet_thread()?;
        self.spawn("ctl", (Stage::Control, None), 0, move |counters| {
            if let Err(why) = Control::new(&shared, counters, aead, link, stop).run() {
                shared.stop();
                on_end(why);
            }
        })?;
        match self.tuning.mode {
            Mode::Inline => self.start_inline(),
            Mode::Pipelined => {
                self.start_pipelined_tx()?;
                self.start_pipelined_rx()
            }
        }
    }

    fn start_inline(&self) -> io::Result<()> {
        let (shared, aead) = (Arc::clone(&self.shared), ThreadAead::new(self.backend));
        let place = self.placement_of(Stage::Tx, self.index);
        let collector = self.tun_collector(place)?;
        let batch = OutboundBatch::new(Buffer::new(SendBatch::<Buffer>::RECOMMENDED_BYTES, place)?);
        self.spawn("tx", (Stage::Tx, TX), self.index, move |counters| {
            inline::transmit(&shared, collector, batch, aead, counters);
        })?;
        let (shared, aead) = (Arc::clone(&self.shared), ThreadAead::new(self.backend));
        let collector = SocketCollector::new(&shared, shared.register_packet_thread()?, self.tuning.batch_packets);
        let batch = InboundBatch::new(Buffer::new(INBOUND_BYTES, self.placement_of(Stage::Rx, self.index))?);
        self.spawn("rx", (Stage::Rx, RX), self.index, move |counters| {
            inline::receive(&shared, collector, batch, aead, counters);
        })
    }

    fn start_pipelined_tx(&self) -> io::Result<()> {
        let (workers, reader_number) = (self.tuning.crypto_workers, 2 * self.index);
        let place = self.placement_of(Stage::Read, reader_number);
        let Pipeline { reader, workers: ends, writer } = Pipeline::new(workers, || {
            Buffer::new(SendBatch::<Buffer>::RECOMMENDED_BYTES, place).map(OutboundBatch::new)
        })?;
        for (k, end) in ends.into_iter().enumerate() {
            let aead = ThreadAead::new(self.backend);
            self.spawn(&format!("sealer{k}"), (Stage::Crypto, TX), reader_number * workers + k, move |counters| {
                pipelined::seal(end, aead, counters);
            })?;
        }
        let shared = Arc::clone(&self.shared);
        let stop = shared.register_packet_thread()?;
        self.spawn("sender", (Stage::Write, TX), reader_number, move |counters| {
            pipelined::send(&shared, writer, &stop, counters);
        })?;
        let (shared, collector) = (Arc::clone(&self.shared), self.tun_collector(place)?);
        self.spawn("tunreader", (Stage::Read, TX), reader_number, move |counters| {
            pipelined::read_tun(&shared, collector, reader, counters);
        })
    }

    fn start_pipelined_rx(&self) -> io::Result<()> {
        let (workers, reader_number) = (self.tuning.crypto_workers, 2 * self.index + 1);
        let place = self.placement_of(Stage::Read, reader_number);
        let Pipeline { reader, workers: ends, writer } =
            Pipeline::new(workers, || Buffer::new(INBOUND_BYTES, place).map(InboundBatch::new))?;
        for (k, end) in ends.into_iter().enumerate() {
            let aead = ThreadAead::new(self.backend);
            self.spawn(&format!("opener{k}"), (Stage::Crypto, RX), reader_number * workers + k, move |counters| {
                pipelined::open(end, aead, counters);
            })?;
        }
        let shared = Arc::clone(&self.shared);
        self.spawn("tunwriter", (Stage::Write, RX), reader_number, move |counters| {
            pipelined::deliver(&shared, writer, counters);
        })?;
        let shared = Arc::clone(&self.shared);
        let collector = SocketCollector::new(&shared, shared.register_packet_thread()?, self.tuning.batch_packets);
        self.spawn("receiver", (Stage::Read, RX), reader_number, move |counters| {
            pipelined::read_sockets(&shared, collector, reader, counters);
        })
    }

    fn tun_collector(&self, place: MemoryPlacement) -> io::Result<TunCollector> {
        let stop = self.shared.register_packet_thread()?;
        Ok(TunCollector::new(Buffer::new(MAX_TUN_READ, place)?, stop, self.tuning.batch_packets))
    }

    fn spawn(
        &self,
        role: &str,
        (stage, direction): (Stage, Option<Direction>),
        number: usize,
        body: impl FnOnce(&ThreadCounters) + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("{role}:{}", self.interface);
        self.threads.add(LaneThread::spawn(ThreadPlan { name, stage, direction, number }, &self.tuning, body)?);
        Ok(())
    }

    /// Where the buffers of a thread come from: the node of its CPU.
    fn placement_of(&self, stage: Stage, number: usize) -> MemoryPlacement {
        let cpu = self.tuning.cpu_sets.of(stage).and_then(|set| cpu_of_thread(set, number));
        match cpu {
            Some(cpu) => MemoryPlacement {
                policy: self.tuning.numa_policy,
                node: node_of_cpu(cpu),
                ..MemoryPlacement::default()
            },
            None => MemoryPlacement::default(),
        }
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Changes keys, port, mark and peers. If the sockets cannot be changed, nothing is.
    pub fn change(&self, mut change: DeviceChange) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = change.listen_port {
            change.listen_port = Some(self.rebind(port, change.fwmark)?);
        } else if let Some(fwmark) = change.fwmark {
            let failed = |error| ChangeError::Io { what: format!("cannot set fwmark {fwmark}"), error };
            self.shared.sockets().set_fwmark(fwmark).map_err(failed)?;
        }
        if let Some(fwmark) = change.fwmark {
            self.fwmark.store(fwmark, Ordering::Relaxed);
        }
        self.shared.device().apply(change, self.shared.time());
        self.shared.wake_control();
        Ok(())
    }

    /// Binds other sockets and returns their port. The old ones stay until the receiver has let go of them.
    fn rebind(&self, port: u16, fwmark: Option<u32>) -> Result<u16, ChangeError> {
        let fwmark = fwmark.unwrap_or_else(|| self.fwmark.load(Ordering::Relaxed));
        let present = self.shared.sockets().port();
        if port == present {
            let failed = |error| ChangeError::Io { what: format!("cannot set fwmark {fwmark}"), error };
            self.shared.sockets().set_fwmark(fwmark).map_err(failed)?;
            return Ok(port);
        }
        let sockets = UdpPair::bind(port, &udp_options(&self.tuning, fwmark)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ChangeError::PortInUse { port },
            _ => ChangeError::Io { what: format!("cannot bind UDP port {port}"), error },
        })?;
        let port = sockets.port();
        self.shared.replace_sockets(sockets);
        Ok(port)
    }

    /// Configuration, peers and their counters. It holds the private key.
    pub fn snapshot(&self) -> DeviceSnapshot {
        self.shared.device().snapshot()
    }

    /// Counters.
    pub fn stats(&self) -> LaneStats {
        let listen_port = self.shared.device().listen_port();
        let sockets = self.shared.socket_memory();
        self.threads.with(|threads| {
            let mut stats = LaneStats {
                interface: self.interface.clone(),
                mode: self.tuning.mode.to_string(),
                aead: self.backend.to_string(),
                listen_port,
                tx: FlowStats::default(),
                rx: FlowStats::default(),
                handshakes: 0,
                queues: queues_between(threads),
                drops: Drops::default(),
                threads: threads.iter().map(thread_stats).collect(),
            };
            for (thread, own) in threads.iter().zip(&stats.threads) {
                if thread.stage.is_last() {
                    stats.tx += own.tx;
                    stats.rx += own.rx;
                }
                stats.handshakes += thread.counters.handshakes.get();
                stats.drops += &own.drops;
            }
            stats.queues.insert("handshakes", self.shared.waiting_handshakes() as u64);
            stats.queues.insert("socket_receive_bytes", sockets.receive_bytes);
            stats.drops.add_kernel(EngineReason::ReceiveBufferFull, sockets.drops);
            stats.drops.add_kernel(EngineReason::TunQueueFull, self.shared.tun.queue_drops().unwrap_or(0));
            stats
        })
    }

    /// The threads, with the CPU sets that the kernel reports.
    pub fn placement(&self) -> Vec<ThreadPlacement> {
        self.threads.with(|threads| threads.iter().map(LaneThread::placement).collect())
    }

    /// Ends all threads and waits for them.
    pub fn stop(&self) {
        self.shared.stop();
        self.threads.join();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn thread_stats(thread: &LaneThread) -> ThreadStats {
    let mut drops = Drops::default();
    thread.counters.add_drops_to(&mut drops);
    ThreadStats {
        name: thread.name.clone(),
        tid: thread.tid(),
        stage: thread.stage.name(),
        cpu_s: thread.cpu_s(),
        tx: FlowStats::from(&thread.counters.tx),
        rx: FlowStats::from(&thread.counters.rx),
        drops,
    }
}

/// Batches that wait before each stage of a pipeline.
fn queues_between(threads: &[LaneThread]) -> BTreeMap<&'static str, u64> {
    let of = |stage, direction| {
        let of_stage = move |thread: &&LaneThread| thread.stage == stage && thread.direction == direction;
        threads.iter().filter(of_stage).map(|thread| &*thread.counters)
    };
    let depth = |before, behind, direction| {
        waiting(of(before, direction).map(|own| &own.handed_on), of(behind, direction).map(|own| &own.taken))
    };
    if !threads.iter().any(|thread| thread.stage == Stage::Crypto) {
        return BTreeMap::new();
    }
    BTreeMap::from([
        ("tx_crypto", depth(Stage::Read, Stage::Crypto, TX)),
        ("tx_write", depth(Stage::Crypto, Stage::Write, TX)),
        ("rx_crypto", depth(Stage::Read, Stage::Crypto, RX)),
        ("rx_write", depth(Stage::Crypto, Stage::Write, RX)),
    ])
}

fn udp_options(tuning: &Tuning, fwmark: u32) -> UdpOptions {
    UdpOptions {
        buffer_bytes: tuning.socket_buffer_bytes,
        fwmark,
        gso: tuning.offloads.udp_gso,
        gro: tuning.offloads.udp_gro,
        ..UdpOptions::default()
    }
}

fn open_tun(interface: &str, tuning: &Tuning) -> Result<Tun, StartError> {
    let mut options = TunOptions::new(interface);
    options.tso = tuning.offloads.tun_tso;
    options.uso = tuning.offloads.tun_uso;
    let tun = Tun::create(&options).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => " (run as root, or with CAP_NET_ADMIN)",
            io::ErrorKind::NotFound => " (no /dev/net/tun: load the tun module, or give the device to the container)",
            io::ErrorKind::ResourceBusy => " (an interface of that name exists and is in use)",
            _ => "",
        };
        StartError { what: format!("cannot create the TUN device {interface}{advice}"), error }
    })?;
    let failed = || while_doing(format!("{interface}: cannot set the MTU"));
    let mut netlink = Netlink::open().map_err(failed())?;
    netlink.set_mtu(tun.index(), DEFAULT_MTU).map_err(failed())?;
    limit_super_packets(&tun, &mut netlink, DEFAULT_MTU as usize);
    Ok(tun)
}

/// Makes the kernel build super-packets that fit into one UDP_SEGMENT send with the tunnel's overhead. A kernel that
/// refuses costs a second, smaller send for each of them.
pub fn limit_super_packets(tun: &Tun, netlink: &mut Netlink, mtu: usize) {
    let datagram = mtu.next_multiple_of(16).min(mtu) + TRANSPORT_HEADER_LEN + TAG_LEN;
    let segments = (MAX_GSO_BYTES / datagram).min(wirelane_packet::MAX_GSO_SEGMENTS);
    let bytes = (segments * mtu).min(MAX_GSO_BYTES);
    if let Err(error) = netlink.set_gso_max_size(tun.index(), bytes as u32) {
        log::debug!("{}: cannot limit super-packets to {bytes} bytes: {error}", tun.name());
    }
}
