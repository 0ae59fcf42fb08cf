//! Counters for Prometheus: a small HTTP/1.1 responder that knows one page.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use wirelane_engine::{Lane, LaneStats};

use crate::listener;

/// Longest request head, in bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers `GET /metrics` at `address` until the process ends.
pub fn serve(address: SocketAddr, lanes: Arc<Vec<Lane>>) -> Result<(), String> {
    let listener =
        TcpListener::bind(address).map_err(|error| format!("metrics_listen: cannot listen on {address}: {error}"))?;
    listener::serve(
        "metrics",
        move || listener.accept().map(|(stream, _)| stream),
        move |stream| answer(&stream, &lanes),
    )
}

fn answer(stream: &TcpStream, lanes: &[Lane]) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut head = BufReader::new(stream).take(MAX_HEAD_BYTES);
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, body) = match request.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
        ["GET", "/metrics", ..] => ("200 OK", page(&lanes.iter().map(Lane::stats).collect::<Vec<_>>())),
        ["GET", ..] => ("404 Not Found", "the counters are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET is known here\n".to_owned()),
    };
    let mut output = stream;
    write!(
        output,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

type OfLane = fn(&LaneStats) -> u64;

/// The counters in Prometheus' text format, version 0.0.4.
fn page(lanes: &[LaneStats]) -> String {
    let mut text = String::new();
    let counters: [(&str, &str, OfLane, OfLane); 3] = [
        ("packets", "Inner packets carried", |lane| lane.tx.packets, |lane| lane.rx.packets),
        ("bytes", "Bytes of inner packets carried", |lane| lane.tx.bytes, |lane| lane.rx.bytes),
        ("batches", "Batches carried", |lane| lane.tx.batches, |lane| lane.rx.batches),
    ];
    for (what, help, tx, rx) in counters {
        head(&mut text, what, help);
        for lane in lanes {
            for (direction, value) in [("tx", tx(lane)), ("rx", rx(lane))] {
                line(&mut text, what, &[("lane", &lane.interface), ("direction", direction)], value);
            }
        }
    }
    head(&mut text, "handshakes", "Sessions that came about");
    for lane in lanes {
        line(&mut text, "handshakes", &[("lane", &lane.interface)], lane.handshakes);
    }
    head(&mut text, "drops", "Discarded packets by reason");
    for lane in lanes {
        for (reason, count) in &lane.drops {
            line(&mut text, "drops", &[("lane", &lane.interface), ("reason", reason)], count);
        }
    }
    head(&mut text, "thread_cpu_seconds", "CPU time of a thread, user and system");
    for lane in lanes {
        for thread in &lane.threads {
            let labels = [("lane", lane.interface.as_str()), ("stage", thread.stage), ("thread", &thread.name)];
            line(&mut text, "thread_cpu_seconds", &labels, thread.cpu_s);
        }
    }
    text
}

// Writing to a String cannot fail: the results of writeln! below carry nothing.
fn head(text: &mut String, what: &str, help: &str) {
    let _ = writeln!(text, "# HELP wirelane_{what}_total {help}.\n# TYPE wirelane_{what}_total counter");
}

/// Label values are interface and thread names and our own words: none needs escaping.
fn line(text: &mut String, what: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let _ = writeln!(text, "wirelane_{what}_total{{{}}} {value}", labels.join(","));
}
