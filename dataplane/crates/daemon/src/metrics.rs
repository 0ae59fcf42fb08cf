//! Counters for Prometheus: a small HTTP/1.1 responder that knows one page.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use wirelane_engine::{BondStats, FlowStats, LaneStats, ThreadStats};

use crate::gateway::Running;
use crate::listener;

/// Longest request head, in bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers `GET /metrics` at `address` until the process ends.
pub fn serve(address: SocketAddr, gateway: Arc<Running>) -> Result<(), String> {
    let listener =
        TcpListener::bind(address).map_err(|error| format!("metrics_listen: cannot listen on {address}: {error}"))?;
    listener::serve(
        "metrics",
        move || listener.accept().map(|(stream, _)| stream),
        move |stream| answer(&stream, &gateway),
    )
}

fn answer(stream: &TcpStream, gateway: &Running) -> io::Result<()> {
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
        ["GET", "/metrics", ..] => ("200 OK", page(&gateway.lanes.stats(), gateway.lanes.bond_stats().as_ref())),
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
fn page(lanes: &[LaneStats], bond: Option<&BondStats>) -> String {
    let mut text = String::new();
    let counters: [(&str, &str, OfLane, OfLane); 2] = [
        ("packets", "Inner packets carried", |lane| lane.tx.packets, |lane| lane.rx.packets),
        ("bytes", "Bytes of inner packets carried", |lane| lane.tx.bytes, |lane| lane.rx.bytes),
    ];
    for (what, help, tx, rx) in counters {
        head(&mut text, what, help);
        for lane in lanes {
            for (direction, value) in [("tx", tx(lane)), ("rx", rx(lane))] {
                line(&mut text, what, &[("lane", &lane.interface), ("direction", direction)], value);
            }
        }
    }
    batch_sizes(&mut text, lanes);
    gauge_head(&mut text, "queue_depth", "What waits: batches before a stage, handshake messages, bytes in the socket");
    for lane in lanes {
        for (queue, depth) in &lane.queues {
            sample(&mut text, "queue_depth", &[("lane", &lane.interface), ("queue", queue)], depth);
        }
    }
    head(&mut text, "handshakes", "Sessions that came about");
    for lane in lanes {
        line(&mut text, "handshakes", &[("lane", &lane.interface)], lane.handshakes);
    }
    head(&mut text, "drops", "Discarded packets by reason");
    for lane in lanes {
        for (reason, count) in lane.drops.iter() {
            line(&mut text, "drops", &[("lane", &lane.interface), ("reason", reason)], count);
        }
    }
    of_threads(&mut text, lanes);
    if let Some(bond) = bond {
        of_bond(&mut text, bond);
    }
    text
}

fn of_bond(text: &mut String, bond: &BondStats) {
    let device = ("device", bond.interface.as_str());
    head(text, "bond_flows_placed", "Flows that got a lane");
    line(text, "bond_flows_placed", &[device], bond.flows_placed);
    head(text, "bond_flows_moved", "Flows that moved to another lane in a gap");
    line(text, "bond_flows_moved", &[device], bond.flows_moved);
    head(text, "bond_drops", "Packets discarded before they had a lane");
    for (reason, count) in bond.drops.iter() {
        line(text, "bond_drops", &[device, ("reason", reason)], count);
    }
    head(text, "bond_reader_cpu_seconds", "CPU time of the thread that reads the device");
    for thread in &bond.threads {
        line(text, "bond_reader_cpu_seconds", &[device, ("thread", &thread.name)], thread.cpu_s);
    }
}

fn batch_sizes(text: &mut String, lanes: &[LaneStats]) {
    let _ =
        writeln!(text, "# HELP wirelane_batch_packets Packets of a batch.\n# TYPE wirelane_batch_packets histogram");
    for lane in lanes {
        for (direction, flow) in [("tx", &lane.tx), ("rx", &lane.rx)] {
            let labels = [("lane", lane.interface.as_str()), ("direction", direction)];
            let bounds = flow.batches_up_to().map(|(bound, batches)| (bound.to_string(), batches));
            for (bound, batches) in bounds.chain([("+Inf".to_owned(), flow.batches())]) {
                sample(text, "batch_packets_bucket", &[labels[0], labels[1], ("le", &bound)], batches);
            }
            sample(text, "batch_packets_sum", &labels, flow.packets);
            sample(text, "batch_packets_count", &labels, flow.batches());
        }
    }
}

type OfThread = fn(&ThreadStats, &str) -> f64;

/// Of every thread by stage. Where a thread works in one direction only, the other has no sample.
fn of_threads(text: &mut String, lanes: &[LaneStats]) {
    let counters: [(&str, &str, OfThread); 3] = [
        ("thread_packets", "Packets handled by a thread", |thread, way| flow_of(thread, way).packets as f64),
        ("thread_bytes", "Bytes handled by a thread", |thread, way| flow_of(thread, way).bytes as f64),
        ("thread_batches", "Batches handled by a thread", |thread, way| flow_of(thread, way).batches() as f64),
    ];
    let each = || lanes.iter().flat_map(|lane| lane.threads.iter().map(move |thread| (lane, thread)));
    for (what, help, value) in counters {
        head(text, what, help);
        for (lane, thread) in each() {
            for direction in ["tx", "rx"].into_iter().filter(|direction| flow_of(thread, direction).packets > 0) {
                let labels = thread_labels(lane, thread);
                line(
                    text,
                    what,
                    &[labels[0], labels[1], labels[2], ("direction", direction)],
                    value(thread, direction),
                );
            }
        }
    }
    head(text, "thread_cpu_seconds", "CPU time of a thread, user and system");
    for (lane, thread) in each() {
        line(text, "thread_cpu_seconds", &thread_labels(lane, thread), thread.cpu_s);
    }
}

fn flow_of(thread: &ThreadStats, direction: &str) -> FlowStats {
    if direction == "tx" { thread.tx } else { thread.rx }
}

fn thread_labels<'a>(lane: &'a LaneStats, thread: &'a ThreadStats) -> [(&'a str, &'a str); 3] {
    [("lane", &lane.interface), ("stage", thread.stage), ("thread", &thread.name)]
}

// Writing to a String cannot fail: the results of writeln! below carry nothing.
fn head(text: &mut String, what: &str, help: &str) {
    let _ = writeln!(text, "# HELP wirelane_{what}_total {help}.\n# TYPE wirelane_{what}_total counter");
}

fn gauge_head(text: &mut String, what: &str, help: &str) {
    let _ = writeln!(text, "# HELP wirelane_{what} {help}.\n# TYPE wirelane_{what} gauge");
}

/// One counter's value.
fn line(text: &mut String, what: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    sample(text, &format!("{what}_total"), labels, value);
}

/// Label values are interface and thread names and our own words: none needs escaping.
fn sample(text: &mut String, what: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let _ = writeln!(text, "wirelane_{what}{{{}}} {value}", labels.join(","));
}
