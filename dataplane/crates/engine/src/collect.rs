//! Taking packets in: from the TUN into batches for one peer each, from the sockets into receive batches.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use wirelane_io::{Buffer, Interest, UdpPair, Waker, poll};
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{MAX_TUN_READ, Splitter, ecn};
use wirelane_protocol::Peer;

use crate::counters::{EngineReason, ThreadCounters};
use crate::inbound::InboundBatch;
use crate::outbound::OutboundBatch;
use crate::shared::Shared;

/// A receive batch with so many bytes is handed on although more may be waiting: what follows should find it in the
/// cache, and a GRO batch is a unit of its own.
pub const FULL_BATCH_BYTES: usize = 32 << 10;

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
    stop: Waker,
    batch_packets: usize,
}

impl TunCollector {
    /// For one thread.
    pub fn new(read: Buffer, stop: Waker, batch_packets: usize) -> Self {
        debug_assert!(read.len() >= MAX_TUN_READ);
        Self { read, stop, batch_packets }
    }

    /// Waits until the TUN has something.
    pub fn wait(&self, shared: &Shared) -> Step {
        wait_for(
            &[(shared.tun.as_fd(), Interest::Readable), (self.stop.as_fd(), Interest::Readable)],
            &self.stop,
            shared,
        )
        .1
    }

    /// What interrupts a wait.
    pub fn stop_waker(&self) -> &Waker {
        &self.stop
    }

    /// Reads one packet or super-packet into `batch`. `hand_on` gets each batch that is full or must not take more, and
    /// leaves an empty one in its place.
    pub fn take_one(
        &mut self,
        shared: &Shared,
        counters: &ThreadCounters,
        batch: &mut OutboundBatch,
        mut hand_on: impl FnMut(&mut OutboundBatch) -> bool,
    ) -> Step {
        let len = match shared.tun.read(&mut self.read) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Empty,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Step::More,
            Err(error) => {
                log::debug!("{}: cannot read the TUN: {error}", shared.tun.name());
                // The control thread notices a device that is gone; one that is down comes back.
                std::thread::sleep(std::time::Duration::from_millis(20));
                return Step::Empty;
            }
        };
        let Ok(mut splitter) = Splitter::new(&self.read[..len], shared.mtu()) else {
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

    /// Appends the segments. What of a super-packet does not fit into one send stays in the batch, for the next packet
    /// to join: sends are as large as they can be as long as there is more to send.
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
        if !batch.takes(peer, codepoint) && !hand_on(batch) {
            return Step::End;
        }
        loop {
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
            if is_full && !hand_on(batch) {
                return Step::End;
            }
            if splitter.is_done() {
                return Step::More;
            }
        }
    }
}

/// Receives from the sockets.
pub struct SocketCollector {
    sockets: Arc<UdpPair>,
    stop: Waker,
    batch_packets: usize,
    /// Bit i: the i-th socket may have something.
    ready: u32,
}

impl SocketCollector {
    /// For one thread.
    pub fn new(shared: &Shared, stop: Waker, batch_packets: usize) -> Self {
        Self { sockets: Arc::clone(&shared.sockets()), stop, batch_packets, ready: 0 }
    }

    /// Waits until a socket has something, or there are other sockets.
    pub fn wait(&mut self, shared: &Shared) -> Step {
        let stop = (self.stop.as_fd(), Interest::Readable);
        let mut descriptors = [stop; 3];
        let mut count = 0;
        for socket in self.sockets.sockets().take(2) {
            descriptors[count] = (socket.as_fd(), Interest::Readable);
            count += 1;
        }
        let (ready, step) = wait_for(&descriptors[..=count], &self.stop, shared);
        self.ready = ready;
        if ready >> count & 1 == 1 {
            self.sockets = Arc::clone(&shared.sockets());
            self.ready = 0;
        }
        step
    }

    /// Fills `batch` with what is waiting. [`Step::More`]: it is full, there may be more.
    pub fn take(&mut self, batch: &mut InboundBatch, shared: &Shared) -> Step {
        for (index, socket) in self.sockets.sockets().enumerate() {
            while self.ready >> index & 1 == 1 {
                let is_full = batch.datagrams() >= self.batch_packets || batch.bytes() >= FULL_BATCH_BYTES;
                let Some(room) = batch.room().filter(|_| !is_full) else { return Step::More };
                match socket.receive(room) {
                    Ok(received) => batch.add(received),
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
fn wait_for(descriptors: &[(std::os::fd::BorrowedFd<'_>, Interest)], stop: &Waker, shared: &Shared) -> (u32, Step) {
    let ready = match poll(descriptors, None) {
        Ok(ready) => ready,
        Err(error) => {
            log::error!("{}: cannot wait: {error}", shared.tun.name());
            return (0, Step::End);
        }
    };
    if shared.is_stopping() {
        return (0, Step::End);
    }
    if ready >> (descriptors.len() - 1) & 1 == 1
        && let Err(error) = stop.reset()
    {
        log::error!("{}: cannot reset a waker: {error}", shared.tun.name());
    }
    (ready, Step::More)
}
