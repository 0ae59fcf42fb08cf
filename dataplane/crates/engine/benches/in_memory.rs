//! What the data plane adds to its AEAD, without the kernel: `cargo bench -p wirelane-engine --bench in_memory`.
//!
//! Two devices with a session between them. One super-packet of 44 packets of 1,408 B is routed, split with its
//! checksums, numbered, sealed and cut into sends; then it is received, matched with its session, opened, checked
//! against replay and allowed IPs, and coalesced into one write. Beside it, in turn: the bare AEAD over the same bytes.
//! The steps are those of `outbound.rs` and `inbound.rs`, on the same types, with memory where those have descriptors.

#[path = "../../packet/benches/traffic/mod.rs"]
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use traffic::{HEADERS, super_packet};
use wirelane_crypto::{Aead, BackendChoice, Key, OpenJob};
use wirelane_engine::pipeline_rate;
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{Coalescer, Endpoint, Segment, SendBatch, Span, Splitter, TunOffload, ecn};
use wirelane_protocol::{
    AllowedIpChange, Device, DeviceChange, Event, MessageKind, Peer, PeerChange, PrivateKey, Time, Timings,
    TransportHeader, Verdict, classify,
};

const SEGMENTS: usize = 44;
const PACKET: usize = 1408;
const MTU: usize = 1420;
const ROUNDS: usize = 6000;
/// What one UDP_SEGMENT send takes.
const SEGMENTS_A_SEND: usize = 64;
const WORKERS: [usize; 3] = [1, 2, 4];
const PIPELINE_TURNS: usize = 20;
const PIPELINE_TURN: Duration = Duration::from_millis(60);

fn main() {
    for choice in choices() {
        let Ok(aead) = Aead::new(choice) else { continue };
        println!("{} packets of {PACKET} B, AEAD {}: ns a packet", SEGMENTS, aead.backend());
        measure(aead);
    }
    println!(
        "\npipelined, in memory, portable AEAD: batches of {SEGMENTS} packets of {PACKET} B through reader, workers, writer"
    );
    // The fastest of many short turns, one after the other: what else runs here meets all alike.
    let mut fastest = WORKERS.map(|_| 0.0f64);
    for _ in 0..PIPELINE_TURNS {
        for (best, workers) in fastest.iter_mut().zip(WORKERS) {
            *best = best.max(pipeline_rate(workers, PIPELINE_TURN));
        }
    }
    for (gbit_per_s, workers) in fastest.iter().zip(WORKERS) {
        println!("  {workers} worker(s) {gbit_per_s:8.2} Gb/s  x {:.2}", gbit_per_s / fastest[0]);
    }
}

/// The best, and the one that every machine has.
fn choices() -> [BackendChoice; 2] {
    [BackendChoice::Auto, BackendChoice::Force(wirelane_crypto::Backend::Portable)]
}

fn measure(mut aead: Aead) {
    let mut ends = Ends::connected();
    let read = super_packet(SEGMENTS, PACKET - HEADERS);
    let mut batch = SendBatch::new(vec![0; SendBatch::<Vec<u8>>::RECOMMENDED_BYTES]);
    let mut scratch = vec![0; SendBatch::<Vec<u8>>::RECOMMENDED_BYTES];
    let mut coalescer = Coalescer::new(TunOffload { tso: true, uso: true });
    let key = Key::new([7; 32]);
    let mut authentic = Vec::new();
    let [mut seal, mut split, mut open, mut bare_seal, mut bare_open] = [f64::MAX; 5];
    let fastest = |best: &mut f64, start: Instant| {
        *best = best.min(start.elapsed().as_secs_f64() * 1e9 / SEGMENTS as f64);
    };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        batch.clear();
        assert_eq!(Splitter::new(&read, MTU).expect("a right super-packet").fill(&mut batch), SEGMENTS);
        fastest(&mut split, start);

        let start = Instant::now();
        ends.seal(&read, &mut batch, &mut aead);
        fastest(&mut seal, start);

        let len = batch.bytes().len();
        let segments = batch.segments().to_vec();
        scratch[..len].copy_from_slice(batch.bytes());
        let start = Instant::now();
        ends.open(&mut scratch, &segments, &mut aead, &mut coalescer, &mut authentic);
        fastest(&mut open, start);

        let start = Instant::now();
        aead.seal_batch(&mut scratch, &segments, &key, 1);
        fastest(&mut bare_seal, start);

        let jobs: Vec<_> =
            (1..).zip(&segments).map(|(counter, s)| OpenJob { segment: *s, key: &key, counter }).collect();
        let start = Instant::now();
        aead.open_batch(&mut scratch, &jobs, &mut authentic);
        fastest(&mut bare_open, start);
        assert!(authentic.iter().all(|is| *is));
    }
    for (name, all, bare) in [("seal", seal, bare_seal), ("open", open, bare_open)] {
        println!("  {name}: engine {all:7.1}  AEAD alone {bare:7.1}  x {:.2}", all / bare);
    }
    println!("  of sealing, splitting with its copy and checksums: {split:.1}");
}

/// Both devices of a tunnel.
struct Ends {
    a: Device,
    b: Device,
    now: Time,
}

impl Ends {
    fn connected() -> Self {
        let now = Time { monotonic: Duration::from_secs(1).into(), unix: Duration::from_secs(1_800_000_000) };
        let device = || Device::new(Box::new(UnwrapErr(SysRng)), Timings::default(), now);
        let mut ends = Self { a: device(), b: device(), now };
        let private = [(); 2].map(|()| PrivateKey::generate(&mut UnwrapErr(SysRng)));
        let public = private.each_ref().map(PrivateKey::public_key);
        let networks = ["10.0.0.1/32", "10.0.0.2/32"];
        let addresses: [SocketAddr; 2] = ["198.18.0.1:1", "198.18.0.2:2"].map(|text| text.parse().expect("an address"));
        for (own, (device, private)) in [&mut ends.a, &mut ends.b].into_iter().zip(private).enumerate() {
            let mut peer = PeerChange::new(public[1 - own]);
            peer.endpoint = Some(addresses[1 - own]);
            let prefix = networks[1 - own].parse().expect("a prefix");
            peer.allowed_ips = vec![AllowedIpChange { prefix, remove: false }];
            let change =
                DeviceChange { private_key: Some(Some(private)), peers: vec![peer], ..DeviceChange::default() };
            device.apply(change, now);
            device.set_up(true, now);
        }
        let peer = ends.a.peer(&public[1]).expect("just configured");
        ends.a.initiate(peer.id(), now).expect("its endpoint is known");
        let initiation = transmit(&mut ends.a);
        ends.b.handle_handshake(&initiation, &Endpoint::new(addresses[0]), now, false).expect("a right initiation");
        let response = transmit(&mut ends.b);
        ends.a.handle_handshake(&response, &Endpoint::new(addresses[1]), now, false).expect("a right response");
        while let Some(event) = ends.a.poll_event() {
            if let Event::SessionEstablished { peer, .. } = event {
                assert!(peer.sending().is_some());
            }
        }
        ends
    }

    /// From what the TUN gave to what a socket takes.
    fn seal(&mut self, read: &[u8], batch: &mut SendBatch<Vec<u8>>, aead: &mut Aead) {
        batch.clear();
        let forwarding = self.a.forwarding();
        let mut splitter = Splitter::new(read, MTU).expect("a right super-packet");
        let packet = IpPacket::parse(splitter.packet()).expect("a right packet");
        let routes = forwarding.routes();
        let peer: Arc<Peer> = Arc::clone(routes.peer_towards(packet.destination).expect("an allowed IP"));
        let codepoint = ecn::of_packet(splitter.packet()).encapsulate();
        assert_eq!(splitter.fill(batch), SEGMENTS);
        let sending = peer.sending();
        let session = sending.as_ref().expect("there is a session");
        assert!(session.send_verdict(self.now.monotonic) == Verdict::Usable);
        let first = session.reserve_counters(SEGMENTS as u64).expect("not used up");
        let receiver_index = session.remote_index();
        let (buffer, segments) = batch.parts_mut();
        for (counter, segment) in (first..).zip(segments) {
            buffer[segment.header()].copy_from_slice(&TransportHeader { receiver_index, counter }.to_bytes());
        }
        aead.seal_batch(buffer, segments, &Key::new(*session.send_key()), first);
        let sends = batch.gso_runs(0..SEGMENTS, SEGMENTS_A_SEND).count();
        std::hint::black_box((sends, codepoint));
    }

    /// From what a socket gave to what the TUN takes.
    fn open(
        &mut self,
        buffer: &mut [u8],
        datagrams: &[Segment],
        aead: &mut Aead,
        coalescer: &mut Coalescer,
        authentic: &mut Vec<bool>,
    ) {
        let forwarding = self.b.forwarding();
        let mut candidates = Vec::with_capacity(SEGMENTS);
        let mut receiver = None;
        for segment in datagrams {
            let datagram = &buffer[segment.datagram()];
            assert!(matches!(classify(datagram), Ok(MessageKind::Transport)));
            let header = TransportHeader::parse(datagram).expect("a right header");
            let known = receiver.get_or_insert_with(|| forwarding.receiver(header.receiver_index).expect("a session"));
            assert!(known.session.local_index() == header.receiver_index);
            let segment = Segment::of_datagram(segment.datagram().start, datagram.len()).expect("long enough");
            candidates.push((segment, header.counter));
        }
        let receiver = receiver.expect("there are datagrams");
        let key = Key::new(*receiver.session.receive_key());
        let jobs: Vec<_> = candidates
            .iter()
            .map(|(segment, counter)| OpenJob { segment: *segment, key: &key, counter: *counter })
            .collect();
        aead.open_batch(buffer, &jobs, authentic);
        let routes = forwarding.routes();
        let mut window = receiver.session.replay();
        let mut allowed_source = None;
        let mut packets = Vec::with_capacity(SEGMENTS);
        for ((segment, counter), is_authentic) in candidates.iter().zip(authentic.iter()) {
            assert!(*is_authentic && window.accept(*counter));
            let ip = IpPacket::parse(&buffer[segment.plaintext()]).expect("a right packet");
            if allowed_source != Some(ip.source) {
                assert!(routes.is_allowed(ip.source, &receiver.peer));
                allowed_source = Some(ip.source);
            }
            packets.push(Span::new(segment.plaintext().start, ip.total_len));
        }
        assert_eq!(coalescer.coalesce(buffer, &packets).len(), 1);
    }
}

fn transmit(device: &mut Device) -> Vec<u8> {
    device.poll_transmit().expect("a handshake message").payload
}
