//! The control thread of a lane: handshakes, timers, staged packets, and the link's state.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use wirelane_io::{Buffer, Datagrams, Interest, LinkEvent, LinkMonitor, SendError, Waker, poll};
use wirelane_packet::{Ecn, ecn};
use wirelane_protocol::{Event, Instant, Peer, Session, Transmit, Verdict};

use crate::aead::ThreadAead;
use crate::counters::{EngineReason, ThreadCounters};
use crate::load::Load;
use crate::outbound::OutboundBatch;
use crate::shared::Shared;

/// Longest sleep, so that nothing that depends on a clock is ever far off.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Shortest sleep until a deadline; what happens meanwhile wakes the thread all the same.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// Room for a few staged packets at a time; more go out in several batches.
const BATCH_BYTES: usize = 72 << 10;

/// Everything that the control thread owns.
pub struct Control<'a> {
    pub shared: &'a Arc<Shared>,
    pub counters: &'a ThreadCounters,
    pub aead: ThreadAead,
    pub link: LinkMonitor,
    /// Interrupts a send that waits for room, when the lane ends.
    pub stop: Waker,
    batch: Option<OutboundBatch>,
    load: Load,
}

impl<'a> Control<'a> {
    /// For one lane.
    pub fn new(
        shared: &'a Arc<Shared>,
        counters: &'a ThreadCounters,
        aead: ThreadAead,
        link: LinkMonitor,
        stop: Waker,
    ) -> Self {
        Self { shared, counters, aead, link, stop, batch: None, load: Load::default() }
    }

    /// Works until the lane ends. The error says that the device is gone.
    pub fn run(&mut self) -> Result<(), String> {
        while !self.shared.has_ended() {
            self.take_link_events()?;
            self.take_handshakes();
            let next = self.shared.device().poll(self.shared.time());
            self.drain();
            self.sleep_until(next).map_err(|error| format!("the control thread cannot wait: {error}"))?;
        }
        Ok(())
    }

    fn sleep_until(&mut self, next: Option<Instant>) -> io::Result<()> {
        let now = self.shared.now();
        let until_next = next.map(|next| next.since(now));
        let timeout = until_next.into_iter().chain(self.link.longest_wait()).fold(LONGEST_SLEEP, Duration::min);
        // A deadline that passes while it is computed is not worth a turn of its own.
        let timeout = timeout.max(SHORTEST_SLEEP);
        let descriptors =
            [(self.shared.control_descriptor(), Interest::Readable), (self.link.as_fd(), Interest::Readable)];
        if poll(&descriptors, Some(timeout))? & 1 != 0 {
            self.shared.reset_control();
        }
        Ok(())
    }

    fn take_link_events(&mut self) -> Result<(), String> {
        loop {
            match self.link.next_event() {
                Ok(Some(LinkEvent::Up)) => self.shared.device().set_up(true, self.shared.time()),
                Ok(Some(LinkEvent::Down)) => self.shared.device().set_up(false, self.shared.time()),
                Ok(Some(LinkEvent::Mtu(mtu))) => self.shared.set_mtu(mtu as usize),
                Ok(Some(LinkEvent::Removed)) => return Err("the device was deleted".to_owned()),
                Ok(None) => return Ok(()),
                Err(error) => {
                    log::warn!("{}: cannot read link events: {error}", self.shared.tun.name());
                    return Ok(());
                }
            }
        }
    }

    fn take_handshakes(&mut self) {
        let messages = self.shared.take_handshakes();
        let under_load = self.load.observe(messages.len(), self.shared.now());
        for message in messages {
            // Locked for each message: under a flood the packet path gets its turn in between.
            let now = self.shared.time();
            let result = self.shared.device().handle_handshake(message.datagram(), &message.source, now, under_load);
            if let Err(reason) = result {
                log::debug!("{}: handshake message dropped: {reason}", self.shared.tun.name());
                self.counters.drop_packets(reason, 1);
            }
            self.drain();
        }
    }

    /// Sends what the device wants sent and does what it wants done, until it wants nothing more.
    fn drain(&mut self) {
        loop {
            let (transmit, event) = {
                let mut device = self.shared.device();
                (device.poll_transmit(), device.poll_event())
            };
            if transmit.is_none() && event.is_none() {
                return;
            }
            if let Some(transmit) = transmit {
                self.transmit(&transmit);
            }
            if let Some(event) = event {
                self.handle(event);
            }
        }
    }

    /// A lost handshake message is retried by the protocol's timers, so it is counted and no more.
    fn transmit(&self, transmit: &Transmit) {
        let sockets = self.shared.sockets();
        let Some(socket) = sockets.socket_for(&transmit.endpoint.remote) else {
            self.counters.drop_packets(EngineReason::SendUnreachable, 1);
            return;
        };
        let bytes = &transmit.payload;
        let mut datagram = Datagrams { bytes, segment_len: bytes.len(), to: transmit.endpoint, ecn: Ecn::NotEct };
        let mut result = socket.send(&datagram);
        if let Err(SendError::SourceGone) = result {
            datagram.to.local = None;
            result = socket.send(&datagram);
        }
        if let Err(error) = result {
            log::debug!("{}: cannot send to {}: {error}", self.shared.tun.name(), transmit.endpoint.remote);
            self.counters.drop_packets(EngineReason::SendFailed, 1);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::SessionEstablished { peer, role } => {
                self.counters.handshakes.add(1);
                log::info!("{}: session with {} as {role:?}", self.shared.tun.name(), peer.public_key());
            }
            Event::SendStaged { peer, session, packets } => {
                self.send_packets(&peer, &session, &packets);
                self.shared.device().staged_sent(peer.id(), self.shared.time());
            }
            Event::SendKeepalive { peer, session } => self.send_packets(&peer, &session, &[Vec::new()]),
            Event::Dropped { peer: _, reason, packets } => self.counters.drop_packets(reason, packets as usize),
        }
    }

    fn send_packets(&mut self, peer: &Arc<Peer>, session: &Arc<Session>, packets: &[Vec<u8>]) {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => match Buffer::new(BATCH_BYTES, wirelane_io::MemoryPlacement::default()) {
                Ok(buffer) => OutboundBatch::new(buffer),
                Err(error) => {
                    log::error!("no memory for {} packets: {error}", packets.len());
                    self.counters.drop_packets(EngineReason::SendBufferFull, packets.len());
                    return;
                }
            },
        };
        for packet in packets {
            let codepoint = ecn::of_packet(packet).encapsulate();
            if !batch.takes(peer, codepoint) || !batch.packets.append_packet(packet, self.shared.mtu()) {
                self.send(&mut batch, session);
                if !batch.packets.append_packet(packet, self.shared.mtu()) {
                    self.counters.drop_packets(EngineReason::SendTooBig, 1);
                    continue;
                }
            }
            batch.assign(peer, codepoint);
        }
        self.send(&mut batch, session);
        self.batch = Some(batch);
    }

    fn send(&mut self, batch: &mut OutboundBatch, session: &Arc<Session>) {
        let now = self.shared.now();
        let count = batch.packets.segments().len();
        if count > 0 {
            let first = match session.send_verdict(now) {
                Verdict::Expired => None,
                Verdict::Usable | Verdict::RekeyWanted => session.reserve_counters(count as u64),
            };
            match first {
                Some(first) => {
                    batch.use_session(Arc::clone(session), first);
                    batch.seal(self.aead.get());
                    batch.send(self.shared, &self.stop, now, self.counters, &mut || {});
                }
                None => self.counters.drop_packets(wirelane_protocol::DropReason::SessionExpired, count),
            }
        }
        batch.clear();
    }
}
