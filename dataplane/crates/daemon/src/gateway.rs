//! `wirelane run`: all lanes of a gateway, their addresses and routes, and everything gone again at the end.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wirelane_engine::{Lane, Lanes, Spread, Tuning, open_tun};
use wirelane_io::Existing;
use wirelane_protocol::{AllowedIpChange, DeviceChange, PeerChange, PresharedKey, PrivateKey};

use crate::config::{self, Gateway};
use crate::network::Network;
use crate::termination::{Cause, Reporter, Termination};
use crate::{control, keys, metrics, network, privileges};

/// Carries the gateway until SIGTERM or SIGINT. Whatever fails, nothing that was made stays.
pub fn run(config: Gateway, base: Tuning) -> Result<(), String> {
    // Read before anything is made: a bad key file is the most common mistake.
    check_key_files(&config)?;
    privileges::confine(config.control_socket.as_deref())?;
    let termination = Termination::watch()?;
    let Some(running) = Running::start(config, base, &termination)? else { return Ok(()) };
    let running = Arc::new(running);
    let _stop = StopAtEnd(Arc::clone(&running));
    let (control_socket, metrics_listen) = {
        let config = running.config();
        for warning in network::hash_policy_warnings(&config) {
            log::warn!("{warning}");
        }
        (config.control_socket.clone(), config.metrics_listen)
    };
    let _control = control_socket.as_deref().map(|path| control::serve(path, Arc::clone(&running))).transpose()?;
    if let Some(address) = metrics_listen {
        metrics::serve(address, Arc::clone(&running))?;
    }
    // Whoever started us may have closed standard output; the gateway runs all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    match termination.wait(|| true) {
        Cause::DeviceGone(why) => Err(why),
        Cause::Signal | Cause::SocketGone => Ok(()),
    }
}

/// A gateway that carries packets.
pub struct Running {
    /// What it was told last.
    config: Mutex<Gateway>,
    /// What the file does not say.
    base: Tuning,
    pub lanes: Lanes,
    report: Reporter,
}

impl Running {
    /// Starts every lane; none when a signal came in between.
    fn start(config: Gateway, base: Tuning, termination: &Termination) -> Result<Option<Self>, String> {
        let tuning = config.tuning(&base);
        let mut network = Network::open()?;
        let lanes = Lanes::new(spread(&config, &tuning, &mut network)?);
        let running = Self { config: Mutex::new(config), base, lanes, report: termination.reporter() };
        let mut lanes = Vec::new();
        {
            let config = running.config();
            for lane in &config.lanes {
                lanes.push(running.start_lane(lane, &tuning, &mut network)?);
                if termination.now().is_some() {
                    return Ok(None);
                }
            }
            let indices = interface_indices(&lanes);
            for prefix in &config.ecmp_routes {
                network.route(prefix, config.route_source, &indices, Existing::Refuse)?;
            }
        }
        running.lanes.arrange(lanes, &tuning).map_err(|error| error.to_string())?;
        Ok(Some(running))
    }

    /// What the gateway was told last. Locked while it is being changed.
    pub fn config(&self) -> MutexGuard<'_, Gateway> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its lanes run, or would run, with this configuration.
    pub fn tuning(&self, config: &Gateway) -> Tuning {
        config.tuning(&self.base)
    }

    /// Makes a lane with its keys, peers, port, MTU and addresses. It carries packets once it is arranged.
    pub fn start_lane(
        &self,
        config: &config::Lane,
        tuning: &Tuning,
        network: &mut Network,
    ) -> Result<Arc<Lane>, String> {
        let name = config.name();
        let (change, port) = (device_change(config)?, *config.listen_port.get_ref());
        let (report, reported_name) = (self.report.clone(), name.to_owned());
        let on_end = move |why| {
            // The receiver lives as long as the program does.
            let _ = report.send(Cause::DeviceGone(format!("{reported_name}: {why}")));
        };
        let lane = self.lanes.make_lane(name, || open_tun(name, tuning), port, tuning, on_end);
        let lane = lane.map_err(|error| error.to_string())?;
        lane.change(change).map_err(|error| format!("{name}: {error}"))?;
        if self.lanes.shared_tun().is_none() {
            network.bring_up(lane.interface_index(), name, config.mtu(), &config.addresses)?;
        }
        Ok(lane)
    }
}

/// For a bond, with its device set up.
fn spread(config: &Gateway, tuning: &Tuning, network: &mut Network) -> Result<Spread, String> {
    let Some(bond) = config.bond.as_ref().map(|bond| bond.get_ref()) else { return Ok(Spread::Ecmp) };
    let name = bond.interface.as_str();
    let tun = open_tun(name, tuning).map_err(|error| error.to_string())?;
    network.bring_up(tun.index(), name, bond.mtu, &bond.addresses)?;
    Ok(Spread::Bond(tun, bond.flowlet_gap_ms))
}

/// The devices of these lanes; in a bond that is one.
pub fn interface_indices(lanes: &[Arc<Lane>]) -> Vec<u32> {
    let mut indices: Vec<_> = lanes.iter().map(|lane| lane.interface_index()).collect();
    indices.dedup();
    indices
}

/// Stops the lanes when it goes, however the program ends.
struct StopAtEnd(Arc<Running>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.lanes.stop();
    }
}

fn device_change(lane: &config::Lane) -> Result<DeviceChange, String> {
    let peers = lane.peers.iter().map(peer_change).collect::<Result<Vec<_>, _>>()?;
    Ok(DeviceChange {
        private_key: Some(Some(private_key(lane)?)),
        listen_port: Some(*lane.listen_port.get_ref()),
        fwmark: Some(lane.fwmark),
        replace_peers: true,
        peers,
    })
}

/// The key in the lane's file.
pub fn private_key(lane: &config::Lane) -> Result<PrivateKey, String> {
    keys::read_secret_file(&lane.private_key_file, PrivateKey::from_base64)
}

/// All of a peer, as its device has to be told.
pub fn peer_change(peer: &config::Peer) -> Result<PeerChange, String> {
    let mut change = PeerChange::new(*peer.public_key.get_ref());
    let read = |path: &Path| keys::read_secret_file(path, PresharedKey::from_base64);
    change.preshared_key = Some(peer.preshared_key_file.as_deref().map_or(Ok(PresharedKey::default()), read)?);
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
