//! A lane: one WireGuard device with its TUN, sockets, protocol state and threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use wirelane_crypto::Backend;
use wirelane_io::{LinkMonitor, Netlink, Tun, TunOptions, UdpOptions, UdpPair};
use wirelane_protocol::{Device, DeviceChange, DeviceSnapshot};

use crate::aead::ThreadAead;
use crate::control::Control;
use crate::counters::{Drops, EngineReason, ThreadCounters};
use crate::packet_threads::{PacketThreads, Source};
use crate::shared::Shared;
use crate::stats::{FlowStats, LaneStats, ThreadPlacement, waiting};
use crate::threads::{LaneThread, ThreadPlan};
use crate::tuning::{Direction, Stage, Tuning};

/// What wireguard-go and wg-quick give a device by default, in bytes.
const DEFAULT_MTU: u32 = 1420;
const TX: Option<Direction> = Some(Direction::Tx);
const RX: Option<Direction> = Some(Direction::Rx);

/// Why a lane could not be started.
#[derive(Debug)]
pub struct StartError {
    what: String,
    error: io::Error,
}

impl StartError {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what: what.into(), error: io::Error::other(why) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl std::error::Error for StartError {}

pub(crate) fn while_doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
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

/// One WireGuard device with its sockets. It carries packets once it is one of [`Lanes`](crate::Lanes), and ends when it
/// is stopped or dropped.
pub struct Lane {
    backend: Backend,
    source: Source,
    started_with: Tuning,
    shared: Arc<Shared>,
    control: Mutex<Option<LaneThread>>,
    packets: Mutex<Option<PacketThreads>>,
    retired: Mutex<Retired>,
    /// One change at a time; holds the fwmark, which new sockets inherit.
    changing: Mutex<()>,
    fwmark: AtomicU32,
}

/// What threads had counted when they ended.
#[derive(Default)]
struct Retired {
    tx: FlowStats,
    rx: FlowStats,
    drops: Drops,
}

impl Lane {
    /// Makes the lane `name` on `tun`. It has no key and no peer; port 0 lets the kernel choose.
    ///
    /// `on_end` is called once, with the reason, if the lane ends by itself because its device is gone.
    pub fn start(
        name: &str,
        tun: Arc<Tun>,
        source: Source,
        listen_port: u16,
        backend: Backend,
        tuning: &Tuning,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, StartError> {
        let sockets = bind(listen_port, &udp_options(tuning, 0)).map_err(|error| StartError::new(name, error))?;
        let link = LinkMonitor::new(tun.index()).map_err(while_doing(format!("{name}: cannot watch the link")))?;
        let rng = Box::new(UnwrapErr(SysRng));
        let now = wirelane_protocol::Time {
            monotonic: wirelane_io::BootClock::now().into(),
            unix: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
        };
        let mut device = Device::new(rng, tuning.timings, now);
        device.set_up(false, now);
        let port = sockets.port();
        device.apply(DeviceChange { listen_port: Some(port), ..DeviceChange::default() }, now);
        let shared = Shared::new(name, tun, device, sockets, DEFAULT_MTU as usize);
        let lane = Self {
            backend,
            source,
            started_with: tuning.clone(),
            shared: Arc::new(shared.map_err(while_doing("no descriptor left"))?),
            control: Mutex::default(),
            packets: Mutex::default(),
            retired: Mutex::default(),
            changing: Mutex::new(()),
            fwmark: AtomicU32::new(0),
        };
        let control = lane.start_control(link, tuning, on_end);
        *lock(&lane.control) = Some(control.map_err(while_doing(format!("{name}: cannot start its threads")))?);
        Ok(lane)
    }

    fn start_control(
        &self,
        link: LinkMonitor,
        tuning: &Tuning,
        on_end: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<LaneThread> {
        let (shared, aead) = (Arc::clone(&self.shared), ThreadAead::new(self.backend));
        let stop = shared.control_stop()?;
        let name = format!("ctl:{}", shared.name());
        let plan = ThreadPlan { name, stage: Stage::Control, direction: None, number: 0 };
        LaneThread::spawn(plan, tuning, move |counters| {
            if let Err(why) = Control::new(&shared, counters, aead, link, stop).run() {
                shared.stop();
                on_end(why);
            }
        })
    }

    /// Whether packet threads for this tuning and position carry its packets.
    pub(crate) fn runs_as(&self, index: usize, tuning: &Tuning) -> bool {
        lock(&self.packets).as_ref().is_some_and(|own| own.index == index && own.tuning == *tuning)
    }

    /// Waits until its control thread is there.
    pub(crate) fn settle_control(&self) -> Result<(), StartError> {
        let settled = lock(&self.control).as_mut().map_or(Ok(()), LaneThread::settle);
        settled.map_err(while_doing(format!("{}: cannot start its threads", self.name())))
    }

    /// Waits until these packet threads are placed.
    pub(crate) fn settle(&self, threads: &mut PacketThreads) -> Result<(), StartError> {
        threads.settle().map_err(while_doing(format!("{}: cannot start its threads", self.name())))
    }

    /// Makes packet threads, parked, for another tuning or position. Nothing changes yet.
    pub(crate) fn prepare(&self, index: usize, tuning: &Tuning) -> Result<PacketThreads, StartError> {
        PacketThreads::new(&self.shared, index, tuning, self.backend, self.source)
            .map_err(while_doing(format!("{}: cannot start its threads", self.name())))
    }

    /// Lets these packet threads take over. Sessions stay, and packets keep their order: what the old threads hold
    /// leaves before the new ones begin.
    pub(crate) fn switch(&self, next: PacketThreads) {
        let mut packets = lock(&self.packets);
        self.shared.pause();
        if let Some(old) = packets.take() {
            let mut retired = lock(&self.retired);
            old.join(|stage, counters| retired.add(stage, counters));
        }
        if let Err(error) = self.shared.sockets().set_buffer_bytes(next.tuning.socket_buffer_bytes) {
            log::warn!("{}: socket buffers keep their size: {error}", self.name());
        }
        self.shared.resume();
        next.start();
        *packets = Some(next);
    }

    /// The lane's name: that of its device, or of the bond and its port.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The index of its device, which does not change when that is renamed.
    pub fn interface_index(&self) -> u32 {
        self.shared.tun.index()
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
        let sockets = bind(port, &self.udp_options(fwmark))?;
        let port = sockets.port();
        self.shared.replace_sockets(sockets);
        Ok(port)
    }

    /// For new sockets, under the tuning that runs.
    fn udp_options(&self, fwmark: u32) -> UdpOptions {
        let packets = lock(&self.packets);
        packets.as_ref().map_or_else(|| udp_options(&self.started_with, fwmark), |own| udp_options(&own.tuning, fwmark))
    }

    /// Configuration, peers and their counters. It holds the private key.
    pub fn snapshot(&self) -> DeviceSnapshot {
        self.shared.device().snapshot()
    }

    /// Counters.
    pub fn stats(&self) -> LaneStats {
        let listen_port = self.shared.device().listen_port();
        let sockets = self.shared.socket_memory();
        let (control, packets, retired) = (lock(&self.control), lock(&self.packets), lock(&self.retired));
        let threads: Vec<&LaneThread> = control.iter().chain(packets.iter().flat_map(PacketThreads::threads)).collect();
        let mut stats = LaneStats {
            interface: self.name().to_owned(),
            mode: packets.as_ref().map(|own| own.tuning.mode).unwrap_or_default().to_string(),
            aead: self.backend.to_string(),
            listen_port,
            tx: retired.tx,
            rx: retired.rx,
            handshakes: control.iter().map(|thread| thread.counters.handshakes.get()).sum(),
            queues: queues_between(&threads),
            drops: retired.drops.clone(),
            threads: threads.iter().map(|thread| thread.stats()).collect(),
        };
        for (thread, own) in threads.iter().zip(&stats.threads) {
            if thread.stage.is_last() {
                stats.tx += own.tx;
                stats.rx += own.rx;
            }
            stats.drops += &own.drops;
        }
        match packets.as_ref().and_then(PacketThreads::input_counters) {
            Some(input) => {
                let takes = |thread: &&&LaneThread| match thread.stage {
                    Stage::Tx | Stage::Crypto => thread.direction == TX,
                    _ => false,
                };
                let taken = threads.iter().filter(takes).map(|thread| &thread.counters.taken);
                stats.queues.remove("tx_crypto");
                stats.queues.insert("bond", waiting([&input.handed_on].into_iter(), taken));
                input.add_drops_to(&mut stats.drops);
            }
            // The device is this lane's alone.
            None => {
                stats.drops.add_kernel(EngineReason::TunQueueFull, self.shared.tun.queue_drops().unwrap_or(0));
            }
        }
        stats.queues.insert("handshakes", self.shared.waiting_handshakes() as u64);
        stats.queues.insert("socket_receive_bytes", sockets.receive_bytes);
        stats.drops.add_kernel(EngineReason::ReceiveBufferFull, sockets.drops);
        stats
    }

    /// The threads, with what the kernel reports of them.
    pub fn placement(&self) -> Vec<ThreadPlacement> {
        let (control, packets) = (lock(&self.control), lock(&self.packets));
        control.iter().chain(packets.iter().flat_map(PacketThreads::threads)).map(LaneThread::placement).collect()
    }

    /// Ends all threads and waits for them.
    pub fn stop(&self) {
        self.shared.stop();
        // Dropping them waits for their end.
        drop(lock(&self.packets).take());
        if let Some(control) = lock(&self.control).take() {
            control.join();
        }
    }
}

fn bind(port: u16, options: &UdpOptions) -> Result<UdpPair, ChangeError> {
    UdpPair::bind(port, options).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ChangeError::PortInUse { port },
        _ => ChangeError::Io { what: format!("cannot bind UDP port {port}"), error },
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the whole program in release builds; in tests the state is still worth looking at.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Retired {
    fn add(&mut self, stage: Stage, counters: &ThreadCounters) {
        if stage.is_last() {
            self.tx += FlowStats::from(&counters.tx);
            self.rx += FlowStats::from(&counters.rx);
        }
        counters.add_drops_to(&mut self.drops);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Batches that wait before each stage of a pipeline.
fn queues_between(threads: &[&LaneThread]) -> BTreeMap<&'static str, u64> {
    let of = |stage, direction| {
        let of_stage = move |thread: &&&LaneThread| thread.stage == stage && thread.direction == direction;
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

/// Creates a TUN device with the offloads that the tuning allows. It is down.
pub fn open_tun(interface: &str, tuning: &Tuning) -> Result<Arc<Tun>, StartError> {
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
    Ok(Arc::new(tun))
}
