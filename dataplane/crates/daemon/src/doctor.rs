//! `wirelane doctor`: what this machine offers to a data plane.

use serde_json::{Value, json};
use wirelane_engine::available_backends;
use wirelane_io::{Capabilities, nodes};

/// The report, as one JSON object or as lines for people.
pub fn report(as_json: bool) -> Result<String, String> {
    let found = Capabilities::detect().map_err(|error| format!("cannot examine this machine: {error}"))?;
    let aead: Vec<String> = available_backends().iter().map(ToString::to_string).collect();
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": format!("{}.{}", found.kernel.major, found.kernel.minor),
        "tun": found.tun,
        "tun_error": found.tun_error,
        "tun_tso": found.tun_tso,
        "tun_uso": found.tun_uso,
        "udp_gso": found.udp_gso,
        "udp_gro": found.udp_gro,
        "aead": aead,
        "numa_nodes": nodes(),
    });
    Ok(if as_json { format!("{report}\n") } else { for_people(&report) })
}

fn for_people(report: &Value) -> String {
    let answer = |name: &str| match &report[name] {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(word) => word.clone(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    };
    let mut text = String::new();
    for (name, what) in [
        ("kernel", "kernel"),
        ("tun", "TUN device"),
        ("tun_tso", "TUN: TCP super-packets"),
        ("tun_uso", "TUN: UDP super-packets (Linux 6.2)"),
        ("udp_gso", "UDP: many datagrams a send"),
        ("udp_gro", "UDP: many datagrams a receive"),
        ("aead", "AEAD backends, best first"),
        ("numa_nodes", "NUMA nodes"),
    ] {
        text.push_str(&format!("{what:38} {}\n", answer(name)));
    }
    if let Value::String(why) = &report["tun_error"] {
        text.push_str(&format!("no TUN device: {why}\n"));
    }
    text
}
