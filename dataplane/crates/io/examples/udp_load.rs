//! UDP load for the benchmarks: datagrams at a fixed rate, and what of them arrives. One JSON line each.
//!
//!     udp_load receive ADDRESS:PORT SECONDS                   ends one second after the last datagram
//!     udp_load send ADDRESS:PORT SECONDS BYTES PPS [gso]      gso: super-datagrams, as a QUIC server sends

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::exit;
use std::time::{Duration, Instant};

use wirelane_io::{Datagrams, Interest, SendError, UdpOptions, UdpSocket, poll};
use wirelane_packet::{Ecn, Endpoint};

/// Datagrams of one system call: a QUIC server's usual burst.
const BURST: usize = 32;
const PAUSE: Duration = Duration::from_micros(100);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["receive", address, seconds] => receive(parse(address), parse(seconds)),
        ["send", address, seconds, bytes, pps] => send(parse(address), parse(seconds), parse(bytes), parse(pps), false),
        ["send", address, seconds, bytes, pps, "gso"] => {
            send(parse(address), parse(seconds), parse(bytes), parse(pps), true)
        }
        _ => Err("usage: udp_load receive ADDRESS:PORT SECONDS | send ADDRESS:PORT SECONDS BYTES PPS [gso]".into()),
    };
    if let Err(error) = result {
        eprintln!("udp_load: {error}");
        exit(1);
    }
}

fn parse<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| {
        eprintln!("udp_load: cannot use {word:?}");
        exit(2)
    })
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Counts datagrams until none has come for a second, or none at all for `seconds`.
fn receive(address: SocketAddr, seconds: f64) -> Outcome {
    let socket = UdpSocket::bind(address, &UdpOptions { buffer_bytes: 32 << 20, ..UdpOptions::default() })?;
    let mut buffer = vec![0; 65_535];
    let (mut datagrams, mut bytes) = (0, 0);
    let mut patience = Duration::from_secs_f64(seconds);
    loop {
        match socket.receive(&mut buffer) {
            Ok(received) => {
                datagrams += received.datagrams().count();
                bytes += received.span.len as usize;
                patience = Duration::from_secs(1);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if poll(&[(socket.as_fd(), Interest::Readable)], Some(patience))? == 0 {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    println!("{{\"datagrams\": {datagrams}, \"bytes\": {bytes}}}");
    Ok(())
}

/// Sends at `pps`, at most; a full socket or device queue counts as offered and lost.
fn send(to: SocketAddr, seconds: f64, bytes: usize, pps: f64, gso: bool) -> Outcome {
    let local = SocketAddr::new(if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse()?, 0);
    let socket = UdpSocket::bind(local, &UdpOptions { gso, ..UdpOptions::default() })?;
    let payload = vec![0x5a; BURST * bytes];
    let burst = Datagrams { bytes: &payload, segment_len: bytes, to: Endpoint::new(to), ecn: Ecn::NotEct };
    let start = Instant::now();
    let (mut offered, mut refused) = (0usize, 0usize);
    while start.elapsed().as_secs_f64() < seconds {
        let due = (start.elapsed().as_secs_f64() * pps) as usize;
        if due < offered + BURST {
            std::thread::sleep(PAUSE);
            continue;
        }
        match socket.send(&burst) {
            Ok(()) => {}
            Err(SendError::WouldBlock | SendError::NoBuffers) => refused += BURST,
            Err(error) => return Err(error.into()),
        }
        offered += BURST;
    }
    let elapsed = start.elapsed().as_secs_f64();
    println!("{{\"offered\": {offered}, \"refused\": {refused}, \"seconds\": {elapsed:.3}}}");
    Ok(())
}
