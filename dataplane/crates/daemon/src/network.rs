//! Addresses, MTU and routes of a gateway's lanes, set with the `ip` program.
//!
//! Nothing here is undone by hand: addresses and routes go with the TUN devices they belong to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use wirelane_protocol::Prefix;

use crate::config::Gateway;

/// Gives every lane its MTU and addresses, sets it up, and routes `ecmp_routes` over all of them.
pub fn configure(gateway: &Gateway) -> Result<(), String> {
    let mut script = String::new();
    for lane in &gateway.lanes {
        let name = lane.interface.get_ref().as_str();
        // Writing to a String cannot fail.
        let _ = writeln!(script, "link set dev {name} mtu {}", lane.mtu);
        for address in &lane.addresses {
            let _ = writeln!(script, "address add {address} dev {name}");
        }
        let _ = writeln!(script, "link set dev {name} up");
    }
    for prefix in &gateway.ecmp_routes {
        let _ = writeln!(script, "{}", ecmp_route(gateway, prefix));
    }
    ip_batch(&script)
}

fn ecmp_route(gateway: &Gateway, prefix: &Prefix) -> String {
    let mut line = format!("route add {prefix}");
    if let Some(source) = gateway.route_source.filter(|source| source.is_ipv4() == prefix.address().is_ipv4()) {
        let _ = write!(line, " src {source}");
    }
    if let [lane] = gateway.lanes.as_slice() {
        let _ = write!(line, " dev {}", lane.interface.get_ref().as_str());
        return line;
    }
    for lane in &gateway.lanes {
        let _ = write!(line, " nexthop dev {} weight 1", lane.interface.get_ref().as_str());
    }
    line
}

fn ip_batch(script: &str) -> Result<(), String> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run the ip program (package iproute2): {error}"))?;
    let written = ip.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = ip.wait_with_output().map_err(|error| format!("cannot wait for the ip program: {error}"))?;
    if output.status.success() {
        return written.map_err(|error| format!("cannot speak to the ip program: {error}"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(match failed_line(&said, script) {
        Some(line) => format!("`ip {line}` failed: {}", said.lines().next().unwrap_or_default()),
        None => format!("the ip program failed: {}", said.trim()),
    })
}

/// The line of the script that "Command failed -:3" speaks of.
fn failed_line<'a>(said: &str, script: &'a str) -> Option<&'a str> {
    let number: usize = said.rsplit_once("Command failed -:")?.1.trim().parse().ok()?;
    script.lines().nth(number.checked_sub(1)?)
}

/// A warning for each address family whose routes would not spread flows over the lanes.
pub fn hash_policy_warnings(gateway: &Gateway) -> Vec<String> {
    if gateway.lanes.len() < 2 {
        return Vec::new();
    }
    [("ipv4", true), ("ipv6", false)]
        .into_iter()
        .filter(|(_, ipv4)| gateway.ecmp_routes.iter().any(|prefix| prefix.address().is_ipv4() == *ipv4))
        .filter_map(|(family, _)| {
            let key = format!("net.{family}.fib_multipath_hash_policy");
            let value = std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap_or_default();
            (value.trim() != "1").then(|| {
                format!(
                    "{key} is {:?}: flows are not spread over the lanes by their ports; run sysctl -w {key}=1",
                    value.trim()
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_over_one_and_two_lanes() {
        let lane = |i: u16| {
            format!("[[lane]]\ninterface = \"wl{i}\"\nlisten_port = {}\nprivate_key_file = \"/k\"\n", 51820 + i)
        };
        let head = "ecmp_routes = [\"10.0.0.0/8\", \"fd00::/8\"]\nroute_source = \"10.1.0.1\"\n";
        let one = Gateway::parse(&format!("{head}{}", lane(0))).unwrap();
        assert_eq!(ecmp_route(&one, &one.ecmp_routes[0]), "route add 10.0.0.0/8 src 10.1.0.1 dev wl0");
        let two = Gateway::parse(&format!("{head}{}{}", lane(0), lane(1))).unwrap();
        assert_eq!(
            ecmp_route(&two, &two.ecmp_routes[1]),
            "route add fd00::/8 nexthop dev wl0 weight 1 nexthop dev wl1 weight 1"
        );
    }

    #[test]
    fn a_failure_names_the_command() {
        let said = "RTNETLINK answers: File exists\nCommand failed -:2\n";
        assert_eq!(failed_line(said, "a\nroute add 10.0.0.0/8\nb\n"), Some("route add 10.0.0.0/8"));
    }
}
