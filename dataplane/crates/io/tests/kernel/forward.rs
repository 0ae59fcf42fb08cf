//! Two namespaces, a TUN device in each, and a cable between them that splits and coalesces as the data plane does. The
//! kernel's own TCP and UDP judge whether every header and checksum is right.

use crate::{in_namespace, prefix};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use wirelane_io::{Datagrams, Interest, Netlink, Tun, TunOptions, UdpOptions, UdpPair, poll};
use wirelane_packet::inner::IpPacket;
use wirelane_packet::{Coalescer, Ecn, MAX_TUN_READ, SendBatch, Span, Splitter};

const MTU: u32 = 1420;

/// Largest numbers of packets of one read and of one write.
#[derive(Default)]
struct Seen {
    split: AtomicUsize,
    merged: AtomicUsize,
}

fn cable(from: &Tun, to: &Tun, stop: &AtomicBool, seen: &Seen) {
    let mut read = vec![0; MAX_TUN_READ];
    let mut batch = SendBatch::new(vec![0; SendBatch::<Vec<u8>>::RECOMMENDED_BYTES]);
    let mut coalescer = Coalescer::new(to.offload());
    while !stop.load(Relaxed) {
        let len = match from.read(&mut read) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                poll(&[(from.as_fd(), Interest::Readable)], Some(Duration::from_millis(50))).unwrap();
                continue;
            }
            Err(error) => panic!("read: {error}"),
        };
        let mut splitter = Splitter::new(&read[..len], MTU as usize).unwrap();
        while !splitter.is_done() {
            batch.clear();
            seen.split.fetch_max(splitter.fill(&mut batch), Relaxed);
            let packets: Vec<_> = batch
                .segments()
                .iter()
                .map(|s| Span::new(s.plaintext().start, IpPacket::parse(batch.plaintext(*s)).unwrap().total_len))
                .collect();
            let (buffer, _) = batch.parts_mut();
            for group in coalescer.coalesce(buffer, &packets) {
                seen.merged.fetch_max(group.packets(), Relaxed);
                to.write(buffer, group.spans()).unwrap();
            }
        }
    }
}

/// Run `test` in the first namespace against `server` in the second, which says the port it listens on.
fn over_a_cable(
    name: &str,
    offload: bool,
    server: impl FnOnce(mpsc::Sender<u16>) + Send + 'static,
    client: impl FnOnce(u16) + Send + 'static,
) -> Option<Arc<Seen>> {
    let (tun_out, tun_in) = mpsc::channel();
    let (port_out, port_in) = mpsc::channel();
    let make = move |last: u8| {
        let options = TunOptions { tso: offload, uso: offload, ..TunOptions::new("wl0") };
        let tun = Arc::new(Tun::create(&options).unwrap());
        let mut netlink = Netlink::open().unwrap();
        tun.set_mtu(MTU).unwrap();
        netlink.add_address(tun.index(), prefix(&format!("10.9.0.{last}/24"))).unwrap();
        tun.set_up(true).unwrap();
        netlink.add_address(tun.index(), prefix(&format!("fd09::{last}/64"))).unwrap();
        tun
    };
    let there = in_namespace(name, {
        move || {
            tun_out.send(make(2)).unwrap();
            server(port_out);
        }
    })?;
    let seen = Arc::new(Seen::default());
    let here = in_namespace(name, {
        let seen = Arc::clone(&seen);
        move || {
            let (near, far, stop) = (make(1), tun_in.recv().unwrap(), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| cable(&near, &far, &stop, &seen));
                scope.spawn(|| cable(&far, &near, &stop, &seen));
                let stop_at_the_end = StopOnDrop(&stop);
                client(port_in.recv().unwrap());
                there.join().unwrap();
                drop(stop_at_the_end);
            });
        }
    })?;
    here.join().unwrap();
    Some(seen)
}

/// Ends the cable also when the test panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

const STREAM_LEN: usize = 20_000_000;

fn stream_byte(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

fn tcp(address: &'static str, offload: bool) -> Option<Arc<Seen>> {
    let server = move |port: mpsc::Sender<u16>| {
        let listener = TcpListener::bind((address.replace("::1", "::2").replace(".1", ".2").as_str(), 0)).unwrap();
        port.send(listener.local_addr().unwrap().port()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), STREAM_LEN);
        assert!(all.iter().enumerate().all(|(i, b)| *b == stream_byte(i)), "the stream is damaged");
    };
    let client = move |port| {
        let remote = address.replace("::1", "::2").replace(".1", ".2");
        let mut stream = TcpStream::connect((remote.as_str(), port)).unwrap();
        stream.write_all(&(0..STREAM_LEN).map(stream_byte).collect::<Vec<_>>()).unwrap();
    };
    over_a_cable("TCP over two TUN devices", offload, server, client)
}

#[test]
fn tcp_over_ipv4_with_super_packets() {
    if let Some(seen) = tcp("10.9.0.1", true) {
        assert!(seen.split.load(Relaxed) > 20 && seen.merged.load(Relaxed) > 20);
    }
}

#[test]
fn tcp_over_ipv6_with_super_packets() {
    if let Some(seen) = tcp("fd09::1", true) {
        assert!(seen.split.load(Relaxed) > 20 && seen.merged.load(Relaxed) > 20);
    }
}

#[test]
fn tcp_without_any_tun_offload() {
    if let Some(seen) = tcp("10.9.0.1", false) {
        assert_eq!((seen.split.load(Relaxed), seen.merged.load(Relaxed)), (1, 1));
    }
}

fn udp(address: &'static str, offload: bool) -> Option<Arc<Seen>> {
    const SENDS: usize = 50;
    let bytes = || (0..40 * 1200 + 77).map(stream_byte).collect::<Vec<_>>();
    let server = move |port: mpsc::Sender<u16>| {
        let pair = UdpPair::bind(0, &UdpOptions::default()).unwrap();
        port.send(pair.port()).unwrap();
        let remote: SocketAddr = SocketAddr::new(address.parse().unwrap(), 1);
        let socket = pair.socket_for(&remote).unwrap();
        let (mut buffer, expected, mut came) = (vec![0; 65_535], bytes(), 0);
        while came < SENDS * 41 {
            assert_eq!(
                poll(&[(socket.as_fd(), Interest::Readable)], Some(Duration::from_secs(5))).unwrap(),
                1,
                "{came}"
            );
            let received = socket.receive(&mut buffer).unwrap();
            for span in received.datagrams() {
                let at = came % 41 * 1200;
                assert!(buffer[span.range()] == expected[at..expected.len().min(at + 1200)], "datagram {came}");
                came += 1;
            }
        }
    };
    let client = move |port| {
        let remote = SocketAddr::new(address.replace("::1", "::2").replace(".1", ".2").parse().unwrap(), port);
        let pair = UdpPair::bind(0, &UdpOptions::default()).unwrap();
        let socket = pair.socket_for(&remote).unwrap();
        for _ in 0..SENDS {
            let bytes = bytes();
            socket.send(&Datagrams { bytes: &bytes, segment_len: 1200, to: remote.into(), ecn: Ecn::NotEct }).unwrap();
            thread::sleep(Duration::from_millis(2)); // slower than the cable: nothing may be lost
        }
    };
    over_a_cable("UDP over two TUN devices", offload, server, client)
}

#[test]
fn udp_with_super_packets() {
    for address in ["10.9.0.1", "fd09::1"] {
        if let Some(seen) = udp(address, true) {
            let has_uso = wirelane_io::Capabilities::detect().unwrap().tun_uso;
            assert_eq!((seen.split.load(Relaxed), seen.merged.load(Relaxed)), if has_uso { (41, 41) } else { (1, 1) });
        }
    }
}

#[test]
fn udp_without_any_tun_offload() {
    if let Some(seen) = udp("10.9.0.1", false) {
        assert_eq!(seen.merged.load(Relaxed), 1);
    }
}
