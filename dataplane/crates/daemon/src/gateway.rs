//! `wirelane run`: all lanes of a gateway, their addresses and routes, and everything gone again at the end.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use wirelane_engine::{Lane, Tuning};
use wirelane_protocol::{AllowedIpChange, DeviceChange, PeerChange, PresharedKey, PrivateKey};

use crate::config::{self, Gateway};
use crate::termination::{Cause, Termination};
use crate::{control, keys, metrics, network, privileges};

/// Carries the gateway until SIGTERM or SIGINT. Whatever fails, nothing that was made stays.
pub fn run(gateway: &Gateway, tuning: &Tuning) -> Result<(), String> {
    // Read before anything is made: a bad key file is the most common mistake.
    let changes = gateway.lanes.iter().map(device_change).collect::<Result<Vec<_>, _>>()?;
    privileges::confine(gateway.control_socket.as_deref())?;
    let termination = Termination::watch()?;
    let mut lanes = Lanes(Arc::default());
    let mut started = Vec::new();
    for (index, (lane, change)) in gateway.lanes.iter().zip(changes).enumerate() {
        started.push(start(index, lane, change, tuning, &termination)?);
        if termination.now().is_some() {
            return Ok(());
        }
    }
    lanes.0 = Arc::new(started);
    network::configure(gateway)?;
    for warning in network::hash_policy_warnings(gateway) {
        log::warn!("{warning}");
    }
    let _control =
        gateway.control_socket.as_deref().map(|path| control::serve(path, Arc::clone(&lanes.0))).transpose()?;
    if let Some(address) = gateway.metrics_listen {
        metrics::serve(address, Arc::clone(&lanes.0))?;
    }
    // Whoever started us may have closed standard output; the gateway runs all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    match termination.wait(|| true) {
        Cause::DeviceGone(why) => Err(why),
        Cause::Signal | Cause::SocketGone => Ok(()),
    }
}

/// Stops the lanes when it goes, however the program ends.
struct Lanes(Arc<Vec<Lane>>);

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in self.0.iter() {
            lane.stop();
        }
    }
}

fn start(
    index: usize,
    config: &config::Lane,
    change: DeviceChange,
    tuning: &Tuning,
    termination: &Termination,
) -> Result<Lane, String> {
    let name = config.interface.get_ref().as_str();
    let report = termination.reporter();
    let lane = Lane::start(name, index, tuning, {
        let name = name.to_owned();
        move |why| {
            // The receiver lives as long as the program does.
            let _ = report.send(Cause::DeviceGone(format!("{name}: {why}")));
        }
    })
    .map_err(|error| error.to_string())?;
    lane.change(change).map_err(|error| format!("{name}: {error}"))?;
    Ok(lane)
}

fn device_change(lane: &config::Lane) -> Result<DeviceChange, String> {
    let peers = lane.peers.iter().map(peer_change).collect::<Result<Vec<_>, _>>()?;
    Ok(DeviceChange {
        private_key: Some(Some(keys::read_secret_file(&lane.private_key_file, PrivateKey::from_base64)?)),
        listen_port: Some(*lane.listen_port.get_ref()),
        fwmark: Some(lane.fwmark),
        replace_peers: true,
        peers,
    })
}

fn peer_change(peer: &config::Peer) -> Result<PeerChange, String> {
    let mut change = PeerChange::new(*peer.public_key.get_ref());
    let read = |path: &Path| keys::read_secret_file(path, PresharedKey::from_base64);
    change.preshared_key = peer.preshared_key_file.as_deref().map(read).transpose()?;
    change.endpoint = peer.endpoint;
    change.persistent_keepalive_s = Some(peer.persistent_keepalive_s);
    change.replace_allowed_ips = true;
    change.allowed_ips =
        peer.allowed_ips.iter().map(|prefix| AllowedIpChange { prefix: *prefix, remove: false }).collect();
    Ok(change)
}

/// Reads every key file and forgets the keys; the error is the first that cannot be used.
pub fn check_key_files(gateway: &Gateway) -> Result<(), String> {
    gateway.lanes.iter().try_for_each(|lane| device_change(lane).map(drop))
}
