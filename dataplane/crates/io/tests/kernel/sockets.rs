use crate::{ip, run_in_namespace};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use wirelane_io::{Datagrams, Interest, Received, SendError, UdpOptions, UdpPair, UdpSocket, poll};
use wirelane_packet::{Ecn, Endpoint, LocalAddr};

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Received {
    assert_eq!(poll(&[(socket.as_fd(), Interest::Readable)], Some(Duration::from_secs(5))).unwrap(), 1, "nothing came");
    socket.receive(buffer).unwrap()
}

/// Receive until `count` datagrams came.
fn receive_all(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let mut all = Vec::new();
    while all.len() < count {
        let received = receive(socket, &mut buffer);
        assert!(!received.truncated);
        all.extend(received.datagrams().map(|span| buffer[span.range()].to_vec()));
    }
    all
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8).collect()
}

fn to(pair: &UdpPair, address: &str) -> Endpoint {
    SocketAddr::new(ip(address), pair.port()).into()
}

#[test]
fn one_send_and_one_receive_carry_many_datagrams() {
    run_in_namespace("UDP GSO and GRO", || {
        let (a, b) =
            (UdpPair::bind(0, &UdpOptions::default()).unwrap(), UdpPair::bind(0, &UdpOptions::default()).unwrap());
        for address in ["127.0.0.1", "::1"] {
            let target = to(&b, address);
            let (from, at) = (a.socket_for(&target.remote).unwrap(), b.socket_for(&target.remote).unwrap());
            assert!(from.max_segments() == 64 && at.gro());
            let bytes = payload(40 * 1452 + 100);
            from.send(&Datagrams { bytes: &bytes, segment_len: 1452, to: target, ecn: Ecn::Ect0 }).unwrap();
            let mut buffer = vec![0; 65_535];
            let received = receive(at, &mut buffer);
            assert_eq!((received.segment_len, received.span.len as usize), (1452, bytes.len()));
            assert_eq!(received.datagrams().count(), 41);
            assert!(buffer[received.span.range()] == bytes[..]);
            assert_eq!(received.from.remote, SocketAddr::new(ip(address), a.port()));
            assert_eq!(received.from.local, Some(LocalAddr { ip: ip(address), interface: 1 }));
            assert_eq!(received.ecn, Ecn::Ect0);
        }
    });
}

#[test]
fn every_offload_can_be_off() {
    run_in_namespace("UDP without offloads", || {
        for (gso, gro) in [(false, false), (true, false), (false, true)] {
            let options = UdpOptions { gso, gro, ..UdpOptions::default() };
            let (a, b) = (UdpPair::bind(0, &options).unwrap(), UdpPair::bind(0, &options).unwrap());
            let target = to(&b, "127.0.0.1");
            let (from, at) = (a.socket_for(&target.remote).unwrap(), b.socket_for(&target.remote).unwrap());
            assert_eq!((from.max_segments() > 1, at.gro()), (gso, gro));
            let bytes = payload(63 * 800 + 3);
            from.send(&Datagrams { bytes: &bytes, segment_len: 800, to: target, ecn: Ecn::NotEct }).unwrap();
            assert_eq!(receive_all(at, 64), bytes.chunks(800).map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    });
}

#[test]
fn many_super_datagrams_go_and_come_in_one_call() {
    run_in_namespace("sendmmsg and recvmmsg", || {
        let (a, b) =
            (UdpPair::bind(0, &UdpOptions::default()).unwrap(), UdpPair::bind(0, &UdpOptions::default()).unwrap());
        let bytes = payload(5000);
        let sends: Vec<_> = (0..100)
            .map(|i| {
                let to = to(&b, if i % 3 == 0 { "127.0.0.1" } else { "127.0.0.2" });
                Datagrams { bytes: &bytes[..1000 + i * 40], segment_len: 1000, to, ecn: Ecn::NotEct }
            })
            .collect();
        let v4 = a.sockets().next().unwrap();
        let (sent, error) = v4.send_many(&sends);
        assert!(error.is_none() && sent == 100, "{sent} {error:?}");
        let at = b.sockets().next().unwrap();
        let mut buffer = vec![0; 16 * 8192];
        let mut out = Vec::new();
        let mut next = sends.iter();
        while next.len() > 0 {
            at.receive_many(&mut buffer, 8192, &mut out).unwrap();
            assert!(out.len() <= 16 && !out.is_empty());
            for received in &out {
                let send = next.next().expect("more came than was sent");
                assert!(buffer[received.span.range()] == *send.bytes);
                assert_eq!(received.datagrams().count(), send.count());
                assert_eq!(received.from.local.map(|l| l.ip), Some(send.to.remote.ip()));
            }
        }
        assert!(at.receive_many(&mut buffer, 8192, &mut out).unwrap_err().kind() == std::io::ErrorKind::WouldBlock);
        assert!(out.is_empty());
    });
}

#[test]
fn replies_leave_from_the_address_that_was_spoken_to() {
    run_in_namespace("sticky source address", || {
        let (a, b) =
            (UdpPair::bind(0, &UdpOptions::default()).unwrap(), UdpPair::bind(0, &UdpOptions::default()).unwrap());
        let (a, b_port) = (a.sockets().next().unwrap(), b.port());
        let b = b.sockets().next().unwrap();
        let there = Endpoint::new(SocketAddr::new(ip("127.0.0.9"), b_port));
        a.send(&Datagrams { bytes: &[1], segment_len: 1, to: there, ecn: Ecn::NotEct }).unwrap();
        let mut buffer = [0; 100];
        let question = receive(b, &mut buffer);
        b.send(&Datagrams { bytes: &[2], segment_len: 1, to: question.from, ecn: Ecn::NotEct }).unwrap();
        assert_eq!(receive(a, &mut buffer).from.remote.ip(), ip("127.0.0.9"));

        let gone = LocalAddr { ip: ip("192.0.2.1"), interface: 0 };
        let to = Endpoint { local: Some(gone), ..question.from };
        let error = b.send(&Datagrams { bytes: &[2], segment_len: 1, to, ecn: Ecn::NotEct }).unwrap_err();
        assert!(matches!(error, SendError::SourceGone), "{error:?}");
        let nowhere = Endpoint::new("192.0.2.1:9".parse().unwrap());
        let error = b.send(&Datagrams { bytes: &[2], segment_len: 1, to: nowhere, ecn: Ecn::NotEct }).unwrap_err();
        assert!(matches!(&error, SendError::Io(e) if e.raw_os_error() == Some(libc::ENETUNREACH)), "{error:?}");
    });
}

#[test]
fn both_families_share_a_port_that_is_then_taken() {
    run_in_namespace("port binding", || {
        let pair = UdpPair::bind(0, &UdpOptions { fwmark: 7, ..UdpOptions::default() }).unwrap();
        assert_eq!(pair.sockets().map(|s| s.port().unwrap()).collect::<Vec<_>>(), [pair.port(); 2]);
        pair.set_fwmark(0).unwrap();
        let error = UdpPair::bind(pair.port(), &UdpOptions::default()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    });
}

#[test]
fn a_segment_beyond_the_mtu_still_goes_out() {
    run_in_namespace("GSO refused", || {
        let mut netlink = wirelane_io::Netlink::open().unwrap();
        netlink.set_mtu(1, 1400).unwrap();
        let (a, b) =
            (UdpPair::bind(0, &UdpOptions::default()).unwrap(), UdpPair::bind(0, &UdpOptions::default()).unwrap());
        let target = to(&b, "127.0.0.1");
        let bytes = payload(3 * 1452);
        let from = a.sockets().next().unwrap();
        from.send(&Datagrams { bytes: &bytes, segment_len: 1452, to: target, ecn: Ecn::NotEct }).unwrap();
        assert_eq!(receive_all(b.sockets().next().unwrap(), 3).concat(), bytes);
        let sends = [Datagrams { bytes: &bytes, segment_len: 1452, to: target, ecn: Ecn::NotEct }; 2];
        assert!(matches!(from.send_many(&sends), (2, None)));
        assert_eq!(receive_all(b.sockets().next().unwrap(), 6).concat(), [&bytes[..], &bytes].concat());
    });
}
