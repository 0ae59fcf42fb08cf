//! The control socket of a gateway: one JSON object a line, both ways. And its client, `wirelane stats|placement`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use wirelane_engine::Lane;

use crate::listener::{self, CLIENT_TIMEOUT, SocketFile};

/// Longest request, in bytes.
const MAX_REQUEST_BYTES: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    get: Subject,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Subject {
    Stats,
    Placement,
}

/// Answers at `path` until the process ends; the socket file goes with the value.
pub fn serve(path: &Path, lanes: Arc<Vec<Lane>>) -> Result<SocketFile, String> {
    let (listener, file) = SocketFile::bind(path)?;
    listener::serve(
        "control",
        move || listener.accept().map(|(stream, _)| stream),
        move |stream| answer(&stream, &lanes),
    )?;
    Ok(file)
}

fn answer(stream: &UnixStream, lanes: &[Lane]) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    loop {
        let mut line = String::new();
        if (&mut input).take(MAX_REQUEST_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(Request { get: Subject::Stats }) => stats(lanes),
            Ok(Request { get: Subject::Placement }) => placement(lanes),
            Err(error) => json!({ "error": format!("not a request: {error}") }),
        };
        output.write_all(format!("{reply}\n").as_bytes())?;
        if !line.ends_with('\n') {
            return Ok(());
        }
    }
}

/// Counters of all lanes.
pub fn stats(lanes: &[Lane]) -> Value {
    json!({ "lanes": lanes.iter().map(Lane::stats).collect::<Vec<_>>() })
}

/// Threads of all lanes, with the CPU sets that the kernel reports.
pub fn placement(lanes: &[Lane]) -> Value {
    let of_lane = |lane: &Lane| json!({ "interface": lane.interface(), "threads": lane.placement() });
    json!({ "lanes": lanes.iter().map(of_lane).collect::<Vec<_>>() })
}

/// Asks the gateway at `path` for "stats" or "placement".
pub fn ask(path: &Path, subject: &str) -> Result<Value, String> {
    let name = path.display();
    let failed = |error: io::Error| format!("cannot reach a gateway at {name}: {error}");
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT)).map_err(failed)?;
    stream.write_all(format!("{}\n", json!({ "get": subject })).as_bytes()).map_err(failed)?;
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
