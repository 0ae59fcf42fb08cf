//! From datagrams to inner packets: a batch is sorted, opened in place and delivered to the TUN from where it lies.
//!
//! Inline mode does the three steps in one thread; pipelined mode gives each to a thread of its own.

use std::sync::Arc;

use wirelane_crypto::{Aead, Key, OpenJob};
use wirelane_io::{Buffer, Received};
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{Coalescer, Ecn, Endpoint, MAX_GSO_BYTES, Segment, Span, ecn};
use wirelane_protocol::DropReason;
use wirelane_protocol::{Instant, MessageKind, Receiver, Traffic, TransportHeader, Verdict, classify};

use crate::counters::{EngineReason, ThreadCounters};
use crate::shared::Shared;

/// Room that one receive needs: the largest datagram, or the largest GRO batch.
pub const RECEIVE_BYTES: usize = 65_535;

/// Transport data that belongs to a session, before it has been opened.
struct Candidate {
    segment: Segment,
    counter: u64,
    /// Position in `receivers`.
    receiver: usize,
    /// Position in `received`.
    received: usize,
}

/// Datagrams in one buffer, and what is known about them.
pub struct InboundBatch {
    buffer: Buffer,
    /// Bytes of the buffer that are taken.
    filled: usize,
    received: Vec<Received>,
    datagrams: usize,
    candidates: Vec<Candidate>,
    receivers: Vec<Arc<Receiver>>,
    authentic: Vec<bool>,
}

impl InboundBatch {
    /// An empty batch.
    pub fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            filled: 0,
            received: Vec::new(),
            datagrams: 0,
            candidates: Vec::new(),
            receivers: Vec::new(),
            authentic: Vec::new(),
        }
    }

    /// Back to an empty batch. No session is kept alive by it.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.datagrams = 0;
        self.received.clear();
        self.candidates.clear();
        self.receivers.clear();
        self.authentic.clear();
    }

    /// Where the next receive may write, if there is room for one.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        self.buffer.get_mut(self.filled..).filter(|room| room.len() >= RECEIVE_BYTES)
    }

    /// Takes over what a receive wrote at the start of [`room`](Self::room).
    pub fn add(&mut self, mut received: Received) {
        let (at, len) = (self.filled, received.span.len as usize);
        received.span = Span::new(at, len);
        self.datagrams += len.div_ceil(received.segment_len.max(1)).max(1);
        self.filled = (at + len).next_multiple_of(64);
        self.received.push(received);
    }

    /// No datagram in it?
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// How many datagrams are in it.
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// How many bytes the datagrams have.
    pub fn datagram_bytes(&self) -> usize {
        self.received.iter().map(|received| received.span.len as usize).sum()
    }

    /// Whether the last receive was as long as one send can be: more of the sender's super-packet is likely to follow.
    pub fn ends_in_full_run(&self) -> bool {
        self.received.last().is_some_and(|last| last.span.len as usize + last.segment_len > MAX_GSO_BYTES)
    }

    /// How many bytes of the buffer are taken.
    pub fn bytes(&self) -> usize {
        self.filled
    }

    /// Sorts the datagrams: handshakes go to the control thread, transport data is matched with its session.
    pub fn sort(&mut self, shared: &Shared, now: Instant, counters: &ThreadCounters) {
        for index in 0..self.received.len() {
            let received = self.received[index];
            if received.truncated {
                counters.drop_packets(EngineReason::ReceiveTruncated, 1);
                continue;
            }
            if received.span.len == 0 {
                counters.drop_packets(DropReason::TooShort, 1);
            }
            for span in received.datagrams() {
                let datagram = &self.buffer[span.range()];
                match classify(datagram) {
                    Ok(MessageKind::Transport) => {}
                    Ok(_) => {
                        if !shared.queue_handshake(datagram, received.from) {
                            counters.drop_packets(EngineReason::HandshakeQueueFull, 1);
                        }
                        continue;
                    }
                    Err(reason) => {
                        counters.drop_packets(reason, 1);
                        continue;
                    }
                }
                if let Err(reason) = self.add_candidate(shared, now, index, span) {
                    counters.drop_packets(reason, 1);
                }
            }
        }
    }

    fn add_candidate(&mut self, shared: &Shared, now: Instant, received: usize, span: Span) -> Result<(), DropReason> {
        let datagram = &self.buffer[span.range()];
        let header = TransportHeader::parse(datagram)?;
        let segment = Segment::of_datagram(span.offset as usize, datagram.len()).ok_or(DropReason::TooShort)?;
        let is_same = |receiver: &Arc<Receiver>| receiver.session.local_index() == header.receiver_index;
        // Nearly always the session of the datagram before.
        let receiver = match self.receivers.iter().rposition(is_same) {
            Some(position) => position,
            None => {
                let receiver = shared.forwarding.receiver(header.receiver_index)?;
                if receiver.session.receive_verdict(now) == Verdict::Expired {
                    return Err(DropReason::SessionExpired);
                }
                self.receivers.push(receiver);
                self.receivers.len() - 1
            }
        };
        self.candidates.push(Candidate { segment, counter: header.counter, receiver, received });
        Ok(())
    }

    /// Decrypts all transport data in place.
    pub fn open(&mut self, aead: &mut Aead) {
        if self.candidates.is_empty() {
            return;
        }
        let keys: Vec<Key> = self.receivers.iter().map(|receiver| Key::new(*receiver.session.receive_key())).collect();
        let jobs: Vec<OpenJob<'_>> = self
            .candidates
            .iter()
            .map(|candidate| OpenJob {
                segment: candidate.segment,
                key: &keys[candidate.receiver],
                counter: candidate.counter,
            })
            .collect();
        aead.open_batch(&mut self.buffer, &jobs, &mut self.authentic);
    }
}

/// Delivers opened batches to the TUN, strictly in the order in which they are given.
pub struct Delivery {
    coalescer: Coalescer,
    packets: Vec<Span>,
}

/// Candidates of one session in a row.
struct Run {
    candidates: std::ops::Range<usize>,
    accepted: usize,
    bytes: usize,
    carries_data: bool,
    newest_source: Option<Endpoint>,
}

impl Delivery {
    /// For one direction of one lane.
    pub fn new(shared: &Shared) -> Self {
        Self { coalescer: Coalescer::new(shared.tun.offload()), packets: Vec::new() }
    }

    /// Checks each packet of the batch, and writes what passes to the TUN.
    pub fn deliver(&mut self, batch: &mut InboundBatch, shared: &Shared, now: Instant, counters: &ThreadCounters) {
        self.packets.clear();
        let mut start = 0;
        while let Some(first) = batch.candidates.get(start) {
            let receiver = Arc::clone(&batch.receivers[first.receiver]);
            let same = batch.candidates[start..].iter().take_while(|c| c.receiver == first.receiver).count();
            let mut run = Run {
                candidates: start..start + same,
                accepted: 0,
                bytes: 0,
                carries_data: false,
                newest_source: None,
            };
            start += same;
            self.accept(batch, &mut run, &receiver, shared, counters);
            note_peer(&run, &receiver, shared, now);
        }
        self.write(batch, shared, counters);
    }

    /// Replay window, allowed IPs and ECN for the packets of one session.
    fn accept(
        &mut self,
        batch: &mut InboundBatch,
        run: &mut Run,
        receiver: &Receiver,
        shared: &Shared,
        counters: &ThreadCounters,
    ) {
        let routes = shared.forwarding.routes();
        let mut window = receiver.session.replay();
        // Nearly always the source of the packet before.
        let mut allowed_source = None;
        for index in run.candidates.clone() {
            let candidate = &batch.candidates[index];
            if !batch.authentic[index] {
                counters.drop_packets(DropReason::InvalidTransport, 1);
                continue;
            }
            if !window.accept(candidate.counter) {
                counters.drop_packets(DropReason::ReplayedCounter, 1);
                continue;
            }
            let received = &batch.received[candidate.received];
            run.accepted += 1;
            run.bytes += candidate.segment.datagram_len();
            run.newest_source = Some(received.from);
            if candidate.segment.plaintext_len == 0 {
                continue; // a keepalive
            }
            run.carries_data = true;
            let packet = &mut batch.buffer[candidate.segment.plaintext()];
            let Ok(ip) = IpPacket::parse(packet) else {
                counters.drop_packets(EngineReason::InnerPacketMalformed, 1);
                continue;
            };
            if allowed_source != Some(ip.source) {
                if !routes.is_allowed(ip.source, &receiver.peer) {
                    counters.drop_packets(DropReason::SourceNotAllowed, 1);
                    continue;
                }
                allowed_source = Some(ip.source);
            }
            if received.ecn == Ecn::Ce && !ecn::decapsulate(received.ecn, &mut packet[..ip.total_len]) {
                counters.drop_packets(EngineReason::EcnInconsistent, 1);
                continue;
            }
            self.packets.push(Span::new(candidate.segment.plaintext().start, ip.total_len));
        }
    }

    fn write(&mut self, batch: &mut InboundBatch, shared: &Shared, counters: &ThreadCounters) {
        if self.packets.is_empty() {
            return;
        }
        let (mut packets, mut bytes) = (0, 0);
        for group in self.coalescer.coalesce(&mut batch.buffer, &self.packets) {
            match shared.tun.write(&batch.buffer, group.spans()) {
                Ok(()) => {
                    packets += group.packets();
                    bytes += group.spans().iter().map(|span| span.len as usize).sum::<usize>();
                }
                Err(error) => {
                    log::debug!("{}: cannot write to the TUN: {error}", shared.tun.name());
                    counters.drop_packets(EngineReason::TunWriteFailed, group.packets());
                }
            }
        }
        counters.rx.add_batch(packets, bytes);
    }
}

/// Roaming, confirmation and counters of the peer, once a run.
fn note_peer(run: &Run, receiver: &Receiver, shared: &Shared, now: Instant) {
    let Some(source) = run.newest_source else { return };
    receiver.peer.roam(&source);
    let traffic = Traffic { packets: run.accepted as u64, bytes: run.bytes as u64, carries_data: run.carries_data };
    receiver.peer.record_received(now, traffic);
    if !receiver.session.is_confirmed() {
        shared.device().confirm(receiver, shared.time());
        shared.wake_control();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wirelane_io::MemoryPlacement;

    #[test]
    fn a_batch_knows_whether_a_super_packet_goes_on() {
        let mut batch = InboundBatch::new(Buffer::new(4 * RECEIVE_BYTES, MemoryPlacement::default()).unwrap());
        assert!(!batch.ends_in_full_run());
        let from = Endpoint::new("198.18.0.1:1".parse().unwrap());
        // 47 datagrams of 1,452 bytes are sent as 45 and 2, because one send carries no more.
        for (datagrams, goes_on) in [(45, true), (2, false), (45, true), (30, false)] {
            let span = Span::new(0, datagrams * 1452);
            batch.add(Received { span, segment_len: 1452, from, ecn: Ecn::NotEct, truncated: false });
            assert_eq!(batch.ends_in_full_run(), goes_on, "{datagrams} datagrams");
        }
    }
}
