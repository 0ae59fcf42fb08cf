//! The control socket of a gateway: one JSON object a line, both ways. And its clients: `wirelane stats`,
//! `placement`, `top` and `apply`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use wirelane_daemon::control_request::{Configuration, Request, Subject};
use wirelane_engine::Lane;
use wirelane_io::ProcessMemory;

use crate::config::{self, Gateway};
use crate::gateway::{Running, check_key_files};
use crate::listener::{self, CLIENT_TIMEOUT, SocketFile};
use crate::reconfigure::{self, Extent};

/// Longest request, in bytes: a configuration file as a JSON string, with room for what has to be escaped.
const MAX_REQUEST_BYTES: u64 = 2 * config::MAX_FILE_BYTES;

/// Answers at `path` until the process ends; the socket file goes with the value.
pub fn serve(path: &Path, gateway: Arc<Running>) -> Result<SocketFile, String> {
    let (listener, file) = SocketFile::bind(path)?;
    listener::serve(
        "control",
        move || listener.accept().map(|(stream, _)| stream),
        move |stream| answer(&stream, &gateway),
    )?;
    Ok(file)
}

fn answer(stream: &UnixStream, gateway: &Running) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    loop {
        let mut line = String::new();
        if (&mut input).take(MAX_REQUEST_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match Request::parse(&line) {
            Ok(Request::Get(Subject::Stats)) => stats_of(gateway),
            Ok(Request::Get(Subject::Placement)) => placement(gateway),
            Ok(Request::Apply(wanted)) => match take_over(gateway, &wanted) {
                Ok(changes) => json!({ "changes": changes, "dry_run": wanted.dry_run }),
                Err(why) => json!({ "error": why }),
            },
            Err(why) => json!({ "error": why }),
        };
        output.write_all(format!("{reply}\n").as_bytes())?;
        if !line.ends_with('\n') {
            return Ok(());
        }
    }
}

/// Counters of all lanes, and of the device that they share in a bond.
fn stats_of(gateway: &Running) -> Value {
    let mut stats = json!({ "lanes": gateway.lanes.stats() });
    if let Some(bond) = gateway.lanes.bond_stats() {
        stats["bond"] = json!(bond);
    }
    stats
}

/// Threads of all lanes, with what the kernel reports of them.
fn placement(gateway: &Running) -> Value {
    let of_lane = |lane: &Arc<Lane>| json!({ "interface": lane.name(), "threads": lane.placement() });
    let mut placement = json!({ "lanes": gateway.lanes.all().iter().map(of_lane).collect::<Vec<_>>() });
    match ProcessMemory::read() {
        Ok(memory) => {
            let by_node: BTreeMap<_, _> =
                memory.by_node.iter().map(|(node, bytes)| (node.to_string(), bytes)).collect();
            placement["memory"] = json!({
                "bytes_by_node": by_node,
                "reserved_huge_page_bytes": memory.reserved_huge,
                "transparent_huge_page_bytes": memory.transparent_huge,
            });
        }
        // A kernel without NUMA has no such report.
        Err(error) => log::debug!("no memory placement: {error}"),
    }
    if let Some(threads) = gateway.lanes.bond_placement() {
        placement["bond"] = json!({ "threads": threads });
    }
    placement
}

fn take_over(gateway: &Running, wanted: &Configuration) -> Result<Vec<String>, String> {
    let extent = if wanted.dry_run { Extent::DryRun } else { Extent::Apply };
    let changes = reconfigure::apply(gateway, Gateway::parse(&wanted.config)?, extent)?;
    if extent == Extent::Apply {
        changes.iter().for_each(|change| log::info!("changed: {change}"));
    }
    Ok(changes)
}

/// `wirelane apply`: asks the gateway at `control` to run as the file `config` says, and prints what that changes.
pub fn apply(control: &Path, config: &Path, dry_run: bool) -> Result<(), String> {
    // Here errors can name the file and the line.
    check_key_files(&Gateway::read(config)?)?;
    let text = std::fs::read_to_string(config).map_err(|error| format!("cannot read {}: {error}", config.display()))?;
    let reply = request(control, &Request::Apply(Configuration { config: text, dry_run }))?;
    if let Some(why) = reply.get("error") {
        return Err(format!("nothing was changed: {}", why.as_str().unwrap_or("no reason given")));
    }
    let changes: Vec<_> = reply["changes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut output = io::stdout();
    let failed = |error: io::Error| format!("cannot write: {error}");
    match (changes.as_slice(), dry_run) {
        ([], _) => writeln!(output, "the gateway runs like this already").map_err(failed),
        (some, true) => writeln!(output, "would change:\n{}", some.join("\n")).map_err(failed),
        (some, false) => writeln!(output, "changed:\n{}", some.join("\n")).map_err(failed),
    }
}

/// Asks the gateway at `path` for its counters.
pub fn stats(path: &Path) -> Result<Value, String> {
    request(path, &Request::Get(Subject::Stats))
}

/// Asks the gateway at `path` where its threads run.
pub fn threads(path: &Path) -> Result<Value, String> {
    request(path, &Request::Get(Subject::Placement))
}

fn request(path: &Path, request: &Request) -> Result<Value, String> {
    let name = path.display();
    let failed = |error: io::Error| format!("cannot reach a gateway at {name}: {error}");
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT)).map_err(failed)?;
    stream.write_all(format!("{}\n", request.to_line()).as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    serde_json::from_str(&line).map_err(|error| format!("the gateway at {name} gave no JSON: {error}"))
}

/// `stats` or `placement` as indented text for people.
pub fn for_people(reply: &Value) -> String {
    let mut text = String::new();
    push_value(&mut text, reply, 0, false);
    text
}

fn push_value(text: &mut String, value: &Value, depth: usize, is_drops: bool) {
    let indent = "  ".repeat(depth);
    let named: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), field)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
        _ => return,
    };
    for (name, field) in named {
        match field {
            Value::Object(_) | Value::Array(_) => {
                text.push_str(&format!("{indent}{name}:\n"));
                push_value(text, field, depth + 1, name == "drops");
            }
            // Of the many reasons to drop a packet, those are shown that dropped one.
            Value::Number(zero) if zero.as_u64() == Some(0) && is_drops => {}
            Value::String(word) => text.push_str(&format!("{indent}{name}: {word}\n")),
            other => text.push_str(&format!("{indent}{name}: {other}\n")),
        }
    }
}
