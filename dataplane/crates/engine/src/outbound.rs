//! From inner packets to datagrams: a batch for one peer is prepared, sealed in place and sent from where it lies.
//!
//! Inline mode does the three steps in one thread; pipelined mode gives each to a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wirelane_crypto::{Aead, Key};
use wirelane_io::{Buffer, Datagrams, Interest, SendError, UdpSocket, Waker, poll};
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{Ecn, Endpoint, SendBatch};
use wirelane_protocol::{DropReason, Instant, Peer, Session, Staging, Traffic, TransportHeader, Verdict};

use crate::counters::{EngineReason, ThreadCounters};
use crate::shared::Shared;

/// A send that the socket has no room for waits so long at most before its packets are dropped.
const LONGEST_SEND_WAIT: Duration = Duration::from_millis(200);
/// Most runs of one `send_many`; ordinary batches have one to three.
const RUNS_AT_ONCE: usize = 32;

/// Packets of one peer and one ECN codepoint, in the order in which the TUN gave them.
pub struct OutboundBatch {
    pub packets: SendBatch<Buffer>,
    pub ecn: Ecn,
    pub peer: Option<Arc<Peer>>,
    /// Set by [`prepare`](Self::prepare), with the first of the reserved counters.
    session: Option<(Arc<Session>, u64)>,
    /// Bytes of the inner packets, without padding.
    inner_bytes: usize,
}

impl OutboundBatch {
    /// An empty batch.
    pub fn new(buffer: Buffer) -> Self {
        Self { packets: SendBatch::new(buffer), ecn: Ecn::NotEct, peer: None, session: None, inner_bytes: 0 }
    }

    /// Back to an empty batch.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.peer = None;
        self.session = None;
        self.inner_bytes = 0;
    }

    /// Whether a packet for `peer` with this codepoint may go into this batch.
    pub fn takes(&self, peer: &Arc<Peer>, ecn: Ecn) -> bool {
        match &self.peer {
            Some(own) => Arc::ptr_eq(own, peer) && self.ecn == ecn,
            None => true,
        }
    }

    /// Bytes of the inner packets, without padding; known once the batch is prepared.
    pub fn inner_bytes(&self) -> usize {
        self.inner_bytes
    }

    /// Notes for whom the packets are; `inner_bytes` more have been appended.
    pub fn assign(&mut self, peer: &Arc<Peer>, ecn: Ecn) {
        if self.peer.is_none() {
            self.peer = Some(Arc::clone(peer));
        }
        self.ecn = ecn;
    }

    /// Reserves counters on the peer's session and writes the transport headers. False: there is no session that can be
    /// used, the packets wait for the handshake, and the batch is empty.
    pub fn prepare(&mut self, shared: &Shared, now: Instant, counters: &ThreadCounters) -> bool {
        let Some(peer) = self.peer.clone() else { return false };
        loop {
            let session = peer.sending().as_ref().map(Arc::clone);
            if let Some(session) = session.filter(|session| session.send_verdict(now) != Verdict::Expired)
                && let Some(first) = session.reserve_counters(self.packets.segments().len() as u64)
            {
                self.use_session(session, first);
                return true;
            }
            if !self.stage(shared, &peer, counters) {
                self.clear();
                return false;
            }
        }
    }

    /// Uses counters that have been reserved.
    pub fn use_session(&mut self, session: Arc<Session>, first_counter: u64) {
        let receiver_index = session.remote_index();
        let (buffer, segments) = self.packets.parts_mut();
        let mut inner_bytes = 0;
        for (counter, segment) in (first_counter..).zip(segments) {
            buffer[segment.header()].copy_from_slice(&TransportHeader { receiver_index, counter }.to_bytes());
            inner_bytes += segment.plaintext_len as usize;
        }
        self.inner_bytes = inner_bytes;
        self.session = Some((session, first_counter));
    }

    /// Hands the packets to the device, to wait for a handshake. True: a session has just come up, and the batch holds
    /// the packets that are to be sent on it.
    fn stage(&mut self, shared: &Shared, peer: &Peer, counters: &ThreadCounters) -> bool {
        let mut to_send = Vec::new();
        {
            let mut device = shared.device();
            let now = shared.time();
            for segment in self.packets.segments() {
                let packet = self.packets.plaintext(*segment);
                let len = IpPacket::parse(packet).map_or(packet.len(), |ip| ip.total_len);
                match device.stage(peer.id(), packet[..len].to_vec(), now) {
                    Ok(Staging::Staged) => {}
                    Ok(Staging::SendNow(packet)) => to_send.push(packet),
                    Err(reason) => counters.drop_packets(reason, 1),
                }
            }
        }
        shared.wake_control();
        self.packets.clear();
        for packet in &to_send {
            let fits = self.packets.append_packet(packet, shared.mtu());
            debug_assert!(fits, "they came from this very batch");
        }
        !to_send.is_empty()
    }

    /// Encrypts all packets in place.
    pub fn seal(&mut self, aead: &mut Aead) {
        if let Some((session, first_counter)) = &self.session {
            let (buffer, segments) = self.packets.parts_mut();
            aead.seal_batch(buffer, segments, &Key::new(*session.send_key()), *first_counter);
        }
    }

    /// Sends the sealed packets, with one system call if the kernel can, and counts them. `before_wait` is called before
    /// the thread waits for room in the socket.
    pub fn send(
        &self,
        shared: &Shared,
        stop: &Waker,
        now: Instant,
        counters: &ThreadCounters,
        before_wait: &mut dyn FnMut(),
    ) {
        let packets = self.packets.segments().len();
        let Some(peer) = &self.peer else { return };
        let Some(endpoint) = peer.endpoint().as_deref().copied() else {
            counters.drop_packets(DropReason::NoEndpoint, packets);
            return;
        };
        let sockets = shared.sockets();
        let Some(socket) = sockets.socket_for(&endpoint.remote) else {
            counters.drop_packets(EngineReason::SendUnreachable, packets);
            return;
        };
        let mut sender = Sender { socket, stop, peer, endpoint, ecn: self.ecn, counters, before_wait };
        let dropped = sender.send_all(&self.packets);
        let sent = packets - dropped;
        if sent > 0 {
            let bytes = self.packets.bytes().len() * sent / packets;
            let carries_data = self.inner_bytes > 0;
            peer.record_sent(now, Traffic { packets: sent as u64, bytes: bytes as u64, carries_data });
            if carries_data {
                counters.tx.add_batch(sent, self.inner_bytes * sent / packets);
            }
        }
    }
}

/// One batch on its way into one socket.
struct Sender<'a> {
    socket: &'a UdpSocket,
    stop: &'a Waker,
    peer: &'a Peer,
    endpoint: Endpoint,
    ecn: Ecn,
    counters: &'a ThreadCounters,
    before_wait: &'a mut dyn FnMut(),
}

impl Sender<'_> {
    /// Returns how many packets were dropped; they have been counted.
    fn send_all(&mut self, packets: &SendBatch<Buffer>) -> usize {
        let count = packets.segments().len();
        let mut runs = packets.gso_runs(0..count, self.socket.max_segments()).peekable();
        let mut dropped = 0;
        while let Some(first) = runs.next() {
            if runs.peek().is_none() {
                dropped += self.send_some(&mut [self.datagrams(packets, &first)]);
                break;
            }
            let mut several = [self.datagrams(packets, &first); RUNS_AT_ONCE];
            let mut filled = 1;
            while filled < RUNS_AT_ONCE
                && let Some(run) = runs.next()
            {
                several[filled] = self.datagrams(packets, &run);
                filled += 1;
            }
            dropped += self.send_some(&mut several[..filled]);
        }
        dropped
    }

    fn datagrams<'p>(&self, packets: &'p SendBatch<Buffer>, run: &wirelane_packet::GsoRun) -> Datagrams<'p> {
        let bytes = &packets.bytes()[run.bytes.clone()];
        Datagrams { bytes, segment_len: run.segment_len, to: self.endpoint, ecn: self.ecn }
    }

    /// Sends some runs, whatever it takes; returns how many packets were dropped.
    fn send_some(&mut self, mut runs: &mut [Datagrams<'_>]) -> usize {
        let mut dropped = 0;
        let mut has_waited = false;
        while !runs.is_empty() {
            let (sent, error) = match runs {
                [only] => match self.socket.send(only) {
                    Ok(()) => (1, None),
                    Err(error) => (0, Some(error)),
                },
                _ => self.socket.send_many(runs),
            };
            runs = &mut runs[sent..];
            let Some(error) = error else { continue };
            let reason = match error {
                SendError::WouldBlock if !has_waited => {
                    has_waited = true;
                    (self.before_wait)();
                    self.wait_for_room();
                    continue;
                }
                SendError::SourceGone if self.endpoint.local.is_some() => {
                    self.endpoint.local = None;
                    self.peer.forget_source();
                    runs.iter_mut().for_each(|run| run.to = self.endpoint);
                    continue;
                }
                SendError::WouldBlock | SendError::NoBuffers => EngineReason::SendBufferFull,
                SendError::SourceGone => EngineReason::SendUnreachable,
                SendError::Io(error) => send_failure(&error),
            };
            let Some((failed, rest)) = runs.split_first_mut() else { break };
            self.counters.drop_packets(reason, failed.count());
            dropped += failed.count();
            runs = rest;
        }
        dropped
    }

    fn wait_for_room(&self) {
        use std::os::fd::AsFd;
        let descriptors = [(self.socket.as_fd(), Interest::Writable), (self.stop.as_fd(), Interest::Readable)];
        if let Err(error) = poll(&descriptors, Some(LONGEST_SEND_WAIT)) {
            log::warn!("cannot wait for the socket: {error}");
        }
    }
}

fn send_failure(error: &io::Error) -> EngineReason {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::ConnectionRefused => EngineReason::SendUnreachable,
        // EMSGSIZE has no stable kind.
        _ if error.raw_os_error() == Some(90) => EngineReason::SendTooBig,
        _ => {
            log::debug!("cannot send: {error}");
            EngineReason::SendFailed
        }
    }
}
