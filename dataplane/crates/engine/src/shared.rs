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
    pub tun: Tun,
    pub forwarding: Arc<Forwarding>,
    device: Mutex<Device>,
    sockets: ArcSwap<UdpPair>,
    drops_of_old_sockets: AtomicU64,
    mtu: AtomicUsize,
    stopping: AtomicBool,
    handshakes: Mutex<Vec<HandshakeMessage>>,
    control_is_woken: AtomicBool,
    control: Waker,
    /// Wakes the threads that wait for the TUN or for a socket: all is to be looked at again.
    packet_threads: Mutex<Vec<Waker>>,
}

impl Shared {
    /// For a device whose sockets and TUN are open.
    pub fn new(tun: Tun, device: Device, sockets: UdpPair, mtu: usize) -> std::io::Result<Self> {
        Ok(Self {
            tun,
            forwarding: device.forwarding(),
            device: Mutex::new(device),
            sockets: ArcSwap::from_pointee(sockets),
            drops_of_old_sockets: AtomicU64::new(0),
            mtu: AtomicUsize::new(mtu),
            stopping: AtomicBool::new(false),
            handshakes: Mutex::new(Vec::new()),
            control_is_woken: AtomicBool::new(false),
            control: Waker::new()?,
            packet_threads: Mutex::new(Vec::new()),
        })
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

    /// A waker for a thread that waits for packets; it is woken when sockets change and at the end.
    pub fn register_packet_thread(&self) -> std::io::Result<Waker> {
        let waker = Waker::new()?;
        self.packet_threads.lock().unwrap_or_else(PoisonError::into_inner).push(waker.try_clone()?);
        Ok(waker)
    }

    fn wake_packet_threads(&self) {
        for waker in self.packet_threads.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            wake(waker);
        }
    }

    /// Tells every thread to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_packet_threads();
        wake(&self.control);
    }

    /// Whether every thread is to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
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
