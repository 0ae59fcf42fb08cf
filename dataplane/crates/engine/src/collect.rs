//! Taking packets in: from the TUN into batches for one peer each, from the sockets into receive batches.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use wirelane_io::{Buffer, Interest, Tun, UdpPair, UdpSocket, Waker, poll};
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{MAX_TUN_READ, Splitter, VNET_HEADER_LEN, ecn};
use wirelane_protocol::Peer;

use crate::counters::{EngineReason, ThreadCounters};
use crate::inbound::InboundBatch;
use crate::outbound::OutboundBatch;
use crate::shared::Shared;

/// A receive batch with so many bytes is handed on although more may be waiting. A super-packet of the sender's TUN
/// comes as two GRO batches, a large and a small one: both should be here to be put together again.
pub const FULL_BATCH_BYTES: usize = 64 << 10;

/// What a step of a collector came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    More,
    /// Nothing is waiting: hand on what there is, at once.
    Empty,
    /// The device is gone or the lane is ending.
    End,
}

/// Reads the TUN.
pub struct TunCollector {
    read: Buffer,
    /// How much of the buffer the last read filled.
    len: usize,
    batch_packets: usize,
}

impl TunCollector {
    /// For one thread at a time.
    pub fn new(read: Buffer, batch_packets: usize) -> Self {
        debug_assert!(read.len() >= MAX_TUN_READ);
        Self { read, len: 0, batch_packets }
    }

    /// Waits until the TUN has something, or `stop` wakes.
    pub fn wait(&self, tun: &Tun, stop: &Waker, is_stopping: impl Fn() -> bool) -> Step {
        let descriptors = [(tun.as_fd(), Interest::Readable), (stop.as_fd(), Interest::Readable)];
        wait_for(&descriptors, stop, is_stopping).1
    }

    /// Reads one packet or super-packet into `batch`. `hand_on` gets each batch that is full or must not take more, and
    /// leaves an empty one in its place.
    pub fn take_one(
        &mut self,
        shared: &Shared,
        counters: &ThreadCounters,
        batch: &mut OutboundBatch,
        hand_on: impl FnMut(&mut OutboundBatch) -> bool,
    ) -> Step {
        match self.read(&shared.tun) {
            Ok(_) => self.put(shared, counters, batch, hand_on),
            Err(step) => step,
        }
    }

    /// Reads one packet or super-packet and keeps it; says how long it is, or why there is none.
    pub fn read(&mut self, tun: &Tun) -> Result<usize, Step> {
        match tun.read(&mut self.read) {
            Ok(len) => {
                self.len = len;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Step::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Step::More),
            Err(error) => {
                log::debug!("{}: cannot read the TUN: {error}", tun.name());
                // The control thread notices a device that is gone; one that is down comes back.
                std::thread::sleep(std::time::Duration::from_millis(20));
                Err(Step::Empty)
            }
        }
    }

    /// The packet that was read last, without its vnet header.
    pub fn packet(&self) -> &[u8] {
        self.read.get(VNET_HEADER_LEN..self.len).unwrap_or_default()
    }

    /// Puts the packet that was read into `batch`.
    pub fn put(
        &self,
        shared: &Shared,
        counters: &ThreadCounters,
        batch: &mut OutboundBatch,
        mut hand_on: impl FnMut(&mut OutboundBatch) -> bool,
    ) -> Step {
        let Ok(mut splitter) = Splitter::new(&self.read[..self.len], shared.mtu()) else {
            counters.drop_packets(EngineReason::TunPacketMalformed, 1);
            return Step::More;
        };
        let Ok(ip) = IpPacket::parse(splitter.packet()) else {
            counters.drop_packets(EngineReason::TunPacketMalformed, 1);
            return Step::More;
        };
        let peer = match shared.forwarding.routes().peer_towards(ip.destination) {
            Ok(peer) => Arc::clone(peer),
            Err(reason) => {
                counters.drop_packets(reason, 1);
                return Step::More;
            }
        };
        let codepoint = ecn::of_packet(splitter.packet()).encapsulate();
        self.fill(shared, batch, &mut splitter, &peer, codepoint, counters, &mut hand_on)
    }

    /// Appends the segments. A super-packet stays in one batch where the buffer has room, even if that takes two sends:
    /// the other end then puts it together again as it was.
    #[allow(clippy::too_many_arguments)]
    fn fill(
        &self,
        shared: &Shared,
        batch: &mut OutboundBatch,
        splitter: &mut Splitter<'_>,
        peer: &Arc<Peer>,
        codepoint: wirelane_packet::Ecn,
        counters: &ThreadCounters,
        hand_on: &mut impl FnMut(&mut OutboundBatch) -> bool,
    ) -> Step {
        // Whoever is told to end sends what it has read first, as long as there is a way.
        let mut goes_on = batch.takes(peer, codepoint) || hand_on(batch);
        loop {
            if !goes_on && !batch.packets.is_empty() {
                counters.drop_packets(EngineReason::Stopping, batch.packets.segments().len());
                return Step::End;
            }
            let appended = splitter.fill(&mut batch.packets);
            if appended > 0 {
                batch.assign(peer, codepoint);
            } else if batch.packets.is_empty() {
                counters.drop_packets(EngineReason::TunPacketMalformed, 1);
                return Step::More;
            }
            let is_full = !splitter.is_done()
                || batch.packets.segments().len() >= self.batch_packets
                || !batch.packets.has_room_for(shared.mtu(), shared.mtu());
            if is_full {
                goes_on = hand_on(batch);
            }
            if splitter.is_done() {
                return if goes_on { Step::More } else { Step::End };
            }
        }
    }
}

/// Receives from the sockets.
pub struct SocketCollector {
    sockets: Arc<UdpPair>,
    batch_packets: usize,
    /// Bit i: the i-th socket may have something.
    ready: u32,
    /// Bit i: it had something before.
    used: u32,
}

impl SocketCollector {
    /// For one thread at a time.
    pub fn new(shared: &Shared, batch_packets: usize) -> Self {
        Self { sockets: Arc::clone(&shared.sockets()), batch_packets, ready: 0, used: 0 }
    }

    /// Waits until a socket has something, or `stop` wakes, which it does when there are other sockets.
    pub fn wait(&mut self, shared: &Shared, stop: &Waker) -> Step {
        let mut descriptors = [(stop.as_fd(), Interest::Readable); 3];
        let mut count = 0;
        for socket in self.sockets().take(2) {
            descriptors[count].0 = socket.as_fd();
            count += 1;
        }
        let (ready, step) = wait_for(&descriptors[..=count], stop, || shared.is_stopping());
        self.set_ready(ready);
        step
    }

    /// What to wait for.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.sockets()
    }

    /// Bit i: the i-th of the sockets has something.
    pub fn set_ready(&mut self, ready: u32) {
        self.ready = ready;
    }

    /// Fills `batch` with what is waiting. [`Step::More`]: it is full, there may be more. Without a wait in between, the
    /// sockets that had something before are tried.
    pub fn take(&mut self, batch: &mut InboundBatch, shared: &Shared) -> Step {
        let present = shared.sockets();
        if !Arc::ptr_eq(&self.sockets, &present) {
            self.sockets = Arc::clone(&present);
            self.used = 0;
        }
        if self.ready == 0 {
            self.ready = self.used;
        }
        for (index, socket) in self.sockets.sockets().enumerate() {
            while self.ready >> index & 1 == 1 {
                let has_enough = batch.bytes() >= FULL_BATCH_BYTES && !batch.ends_in_full_run();
                let is_full = batch.datagrams() >= self.batch_packets || has_enough;
                let Some(room) = batch.room().filter(|_| !is_full) else { return Step::More };
                match socket.receive(room) {
                    Ok(received) => {
                        self.used |= 1 << index;
                        batch.add(received);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        // An error that was queued on the socket, such as ECONNREFUSED, is gone once fetched.
                        if error.kind() != io::ErrorKind::WouldBlock {
                            log::debug!("{}: cannot receive: {error}", shared.tun.name());
                        }
                        self.ready &= !(1 << index);
                    }
                }
            }
        }
        Step::Empty
    }
}

/// Waits for any of the descriptors, the last of which is `stop`; says which are ready.
pub fn wait_for(
    descriptors: &[(std::os::fd::BorrowedFd<'_>, Interest)],
    stop: &Waker,
    is_stopping: impl Fn() -> bool,
) -> (u32, Step) {
    let ready = match poll(descriptors, None) {
        Ok(ready) => ready,
        Err(error) => {
            log::error!("cannot wait for packets: {error}");
            return (0, Step::End);
        }
    };
    if is_stopping() {
        return (0, Step::End);
    }
    if ready >> (descriptors.len() - 1) & 1 == 1
        && let Err(error) = stop.reset()
    {
        log::error!("cannot reset a waker: {error}");
    }
    (ready, Step::More)
}
