//! What the threads of one lane share.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use wirelane_io::{BootClock, SocketMemory, Tun, UdpPair, Waker};
use wirelane_packet::Endpoint;
use wirelane_protocol::{Device, Forwarding, INITIATION_LEN, Instant, Time};

/// Most handshake messages that wait for the control thread.
const MAX_WAITING_HANDSHAKES: usize = 4096;
/// A handshake message or cookie reply as it came in.
pub struct HandshakeMessage {
    bytes: [u8; INITIATION_LEN],
    len: usize,
    pub source: Endpoint,
}

impl HandshakeMessage {
    /// The datagram.
    pub fn datagram(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What the threads of one lane share. On the packet path it is only read.
pub struct Shared {
    /// The lane's name: that of its device, or of the bond and its port.
    name: String,
    /// One lane's own, or shared by all lanes of a bond.
    pub tun: Arc<Tun>,
    pub forwarding: Arc<Forwarding>,
    device: Mutex<Device>,
    sockets: ArcSwap<UdpPair>,
    drops_of_old_sockets: AtomicU64,
    mtu: AtomicUsize,
    ended: AtomicBool,
    /// The packet threads are to end, for others to take over.
    paused: AtomicBool,
    handshakes: Mutex<Vec<HandshakeMessage>>,
    control_is_woken: AtomicBool,
    control: Waker,
    /// Interrupts whatever else the control thread waits for, when the lane ends.
    control_stop: Waker,
    /// Wakes the threads that wait for the TUN or for a socket: all is to be looked at again. With the generation of
    /// threads that each belongs to.
    packet_threads: Mutex<Vec<(u64, Waker)>>,
    generations: AtomicU64,
}

impl Shared {
    /// For a device whose sockets and TUN are open.
    pub fn new(name: &str, tun: Arc<Tun>, device: Device, sockets: UdpPair, mtu: usize) -> std::io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            tun,
            forwarding: device.forwarding(),
            device: Mutex::new(device),
            sockets: ArcSwap::from_pointee(sockets),
            drops_of_old_sockets: AtomicU64::new(0),
            mtu: AtomicUsize::new(mtu),
            ended: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            handshakes: Mutex::new(Vec::new()),
            control_is_woken: AtomicBool::new(false),
            control: Waker::new()?,
            control_stop: Waker::new()?,
            packet_threads: Mutex::new(Vec::new()),
            generations: AtomicU64::new(0),
        })
    }

    /// The lane's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The protocol's control side. Wake the control thread after any change.
    pub fn device(&self) -> MutexGuard<'_, Device> {
        // A panic aborts the whole program in release builds; in tests the state is still worth looking at.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sockets at present; drop the guard at the end of the batch.
    pub fn sockets(&self) -> Guard<Arc<UdpPair>> {
        self.sockets.load()
    }

    /// Other sockets from now on. Receivers are woken, to wait on the new ones.
    pub fn replace_sockets(&self, sockets: UdpPair) {
        let old = self.sockets.swap(Arc::new(sockets));
        self.drops_of_old_sockets.fetch_add(old.memory().drops, Ordering::Relaxed);
        self.wake_packet_threads();
    }

    /// What the kernel holds for the sockets, with the drops of those that were replaced.
    pub fn socket_memory(&self) -> SocketMemory {
        let mut memory = self.sockets().memory();
        memory.drops += self.drops_of_old_sockets.load(Ordering::Relaxed);
        memory
    }

    /// How many handshake messages wait for the control thread.
    pub fn waiting_handshakes(&self) -> usize {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The TUN's MTU in bytes.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// The TUN has another MTU.
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// The protocol's monotonic clock. Read it once a batch: after the batch was read, before any of it is passed on.
    pub fn now(&self) -> Instant {
        Instant::from(BootClock::now())
    }

    /// Both clocks.
    pub fn time(&self) -> Time {
        // A clock before 1970 is as good as one at 1970.
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time { monotonic: self.now(), unix }
    }

    /// A name for packet threads that begin and end together.
    pub fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// A waker for a thread that waits for packets; it is woken when sockets change and at the end.
    pub fn register_packet_thread(&self, generation: u64) -> std::io::Result<Waker> {
        let waker = Waker::new()?;
        self.packet_threads.lock().unwrap_or_else(PoisonError::into_inner).push((generation, waker.try_clone()?));
        Ok(waker)
    }

    /// The threads of this generation have ended.
    pub fn forget_packet_threads(&self, generation: u64) {
        self.packet_threads.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| *of != generation);
    }

    fn wake_packet_threads(&self) {
        for (_, waker) in self.packet_threads.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            wake(waker);
        }
    }

    /// Tells the packet threads to end after what they hold.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.wake_packet_threads();
    }

    /// Other packet threads may work now.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Tells every thread to end.
    pub fn stop(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake_packet_threads();
        wake(&self.control);
        wake(&self.control_stop);
    }

    /// Whether the lane has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the packet threads are to end.
    pub fn is_stopping(&self) -> bool {
        self.paused.load(Ordering::Relaxed) || self.has_ended()
    }

    /// Queues a handshake message for the control thread; false if too many wait already.
    #[must_use]
    pub fn queue_handshake(&self, datagram: &[u8], source: Endpoint) -> bool {
        let mut message = HandshakeMessage { bytes: [0; INITIATION_LEN], len: datagram.len(), source };
        let Some(bytes) = message.bytes.get_mut(..datagram.len()) else { return false };
        bytes.copy_from_slice(datagram);
        let mut queue = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= MAX_WAITING_HANDSHAKES {
            return false;
        }
        queue.push(message);
        drop(queue);
        self.wake_control();
        true
    }

    /// Takes the handshake messages that wait.
    pub fn take_handshakes(&self) -> Vec<HandshakeMessage> {
        std::mem::take(&mut *self.handshakes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the control thread look at the device and at the handshake queue.
    pub fn wake_control(&self) {
        if !self.control_is_woken.swap(true, Ordering::AcqRel) {
            wake(&self.control);
        }
    }

    /// The control thread has seen the wake-up; what comes from now on wakes it again.
    pub fn reset_control(&self) {
        // In this order: a wake-up that falls in between is seen, because the queues are looked at after this.
        if let Err(error) = self.control.reset() {
            log::error!("cannot reset a waker: {error}");
        }
        self.control_is_woken.store(false, Ordering::SeqCst);
    }

    /// Readable once the lane has ended.
    pub fn control_stop(&self) -> std::io::Result<Waker> {
        self.control_stop.try_clone()
    }

    /// What the control thread waits on.
    pub fn control_descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.control.as_fd()
    }
}

fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        log::error!("cannot wake a thread: {error}");
    }
}
