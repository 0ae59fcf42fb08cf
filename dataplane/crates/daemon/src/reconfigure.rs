//! `wirelane apply`: a running gateway takes over another configuration, all of it or nothing.
//!
//! What can fail is done first, each step with its undoing; what is left then cannot fail. Lanes that do not change are
//! not touched, and a change of mode, CPU sets or batch keeps every session (see the engine's `packet_threads`).

use std::sync::Arc;

use wirelane_engine::{Lane, Stage, Tuning};
use wirelane_io::Existing;
use wirelane_protocol::{DeviceChange, PeerChange};

use crate::config::{self, Gateway};
use crate::gateway::{Running, interface_indices, peer_change, private_key};
use crate::network::Network;

/// Whether to change anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Change what differs.
    Apply,
    /// Only say what would change.
    DryRun,
}

/// Makes `running` run as `wanted`, and says what that changes, in words. The error says why nothing was changed.
pub fn apply(running: &Running, wanted: Gateway, extent: Extent) -> Result<Vec<String>, String> {
    let mut present = running.config();
    refuse_what_is_fixed(&present, &wanted)?;
    let lanes = running.lanes.all();
    let (old_tuning, tuning) = (running.tuning(&present), running.tuning(&wanted));
    let mut changes = tuning_changes(&old_tuning, &tuning);
    let mut edits = Vec::new();
    for (config, lane) in present.lanes.iter().zip(lanes.iter()) {
        match wanted.lanes.iter().find(|wanted| wanted.name() == config.name()) {
            Some(wanted) => edits.push(LaneEdit::between(config, wanted, lane)?),
            None => changes.push(format!("lane {}: removed", lane.name())),
        }
    }
    let is_new = |lane: &&config::Lane| !edits.iter().any(|edit| edit.lane.name() == lane.name());
    let added: Vec<_> = wanted.lanes.iter().filter(is_new).collect();
    changes.extend(added.iter().map(|lane| format!("lane {}: added", lane.name())));
    changes.extend(
        edits.iter().flat_map(|edit| edit.words.iter().map(|word| format!("lane {}: {word}", edit.lane.name()))),
    );
    changes.extend(route_changes(&present, &wanted));
    if let (Some(old), Some(new)) = (flowlet_gap_ms(&present), flowlet_gap_ms(&wanted))
        && old != new
    {
        changes.push(format!("flowlet_gap_ms: {old} -> {new}"));
    }
    if extent == Extent::DryRun {
        return Ok(changes);
    }

    let mut network = Network::open()?;
    let mut undo = Undo::default();
    let mut started = Vec::new();
    let result = (|| {
        for config in added {
            started.push(running.start_lane(config, &tuning, &mut network)?);
        }
        for edit in &edits {
            edit.apply_fallible(&mut network, &mut undo)?;
        }
        let order = in_order(&wanted, &lanes, &started);
        reroute(&present, &wanted, &lanes, &order, &mut network, &mut undo)?;
        if let Some(gap_ms) = flowlet_gap_ms(&wanted) {
            running.lanes.set_flowlet_gap_ms(gap_ms);
        }
        running.lanes.arrange(order, &tuning).map_err(|error| error.to_string())
    })();
    if let Err(why) = result {
        undo.run(&mut network);
        if let Some(gap_ms) = flowlet_gap_ms(&present) {
            running.lanes.set_flowlet_gap_ms(gap_ms);
        }
        return Err(why);
    }
    for edit in edits {
        edit.finish(&mut network);
    }
    *present = wanted;
    Ok(changes)
}

fn refuse_what_is_fixed(present: &Gateway, wanted: &Gateway) -> Result<(), String> {
    let fixed = [
        ("control_socket", present.control_socket != wanted.control_socket),
        ("spread", present.spread != wanted.spread),
        ("bond (but for flowlet_gap_ms)", device_of(present) != device_of(wanted)),
        ("metrics_listen", present.metrics_listen != wanted.metrics_listen),
    ];
    match fixed.into_iter().find(|(_, differs)| *differs) {
        Some((field, _)) => Err(format!("{field} cannot be changed while the gateway runs: restart it")),
        None => Ok(()),
    }
}

/// What of a bond's device cannot change.
fn device_of(gateway: &Gateway) -> Option<(&str, u16, &[config::InterfaceAddress])> {
    let bond = gateway.bond.as_ref()?.get_ref();
    Some((bond.interface.as_str(), bond.mtu, &bond.addresses))
}

fn flowlet_gap_ms(gateway: &Gateway) -> Option<u32> {
    gateway.bond.as_ref().map(|bond| bond.get_ref().flowlet_gap_ms)
}

fn tuning_changes(old: &Tuning, new: &Tuning) -> Vec<String> {
    let mut fields = vec![
        ("mode".to_owned(), old.mode.to_string(), new.mode.to_string()),
        ("crypto_workers".to_owned(), old.crypto_workers.to_string(), new.crypto_workers.to_string()),
        ("batch_packets".to_owned(), old.batch_packets.to_string(), new.batch_packets.to_string()),
        ("socket_buffer_bytes".to_owned(), old.socket_buffer_bytes.to_string(), new.socket_buffer_bytes.to_string()),
        ("numa_policy".to_owned(), old.numa_policy.to_string(), new.numa_policy.to_string()),
        ("huge_pages".to_owned(), old.huge_pages.to_string(), new.huge_pages.to_string()),
    ];
    for stage in Stage::WITH_CPU_SET {
        let set = |tuning: &Tuning| match tuning.cpu_sets.of(*stage).map(ToString::to_string).unwrap_or_default() {
            none if none.is_empty() => "any CPU".to_owned(),
            list => list,
        };
        fields.push((format!("cpu_sets.{}", stage.name()), set(old), set(new)));
    }
    fields
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name}: {old} -> {new}"))
        .collect()
}

fn route_changes(present: &Gateway, wanted: &Gateway) -> Vec<String> {
    let new = wanted.ecmp_routes.iter().filter(|prefix| !present.ecmp_routes.contains(prefix));
    let gone = present.ecmp_routes.iter().filter(|prefix| !wanted.ecmp_routes.contains(prefix));
    let mut changes: Vec<_> = new.map(|prefix| format!("route {prefix}: added")).collect();
    changes.extend(gone.map(|prefix| format!("route {prefix}: removed")));
    if present.route_source != wanted.route_source {
        let source = |gateway: &Gateway| gateway.route_source.map_or("none".to_owned(), |source| source.to_string());
        changes.push(format!("route_source: {} -> {}", source(present), source(wanted)));
    }
    changes
}

/// The lanes as `wanted` orders them.
fn in_order(wanted: &Gateway, present: &[Arc<Lane>], started: &[Arc<Lane>]) -> Vec<Arc<Lane>> {
    let of = |config: &config::Lane| {
        let name = config.name();
        present.iter().chain(started).find(|lane| lane.name() == name).map(Arc::clone)
    };
    wanted.lanes.iter().filter_map(of).collect()
}

/// Routes over the new set of lanes; what has gone from the file goes from the table.
fn reroute(
    present: &Gateway,
    wanted: &Gateway,
    old_lanes: &[Arc<Lane>],
    lanes: &[Arc<Lane>],
    network: &mut Network,
    undo: &mut Undo,
) -> Result<(), String> {
    let (old_indices, indices) = (interface_indices(old_lanes), interface_indices(lanes));
    let is_same_way = old_indices == indices && present.route_source == wanted.route_source;
    for prefix in &wanted.ecmp_routes {
        let was_there = present.ecmp_routes.contains(prefix);
        if was_there && is_same_way {
            continue;
        }
        let existing = if was_there { Existing::Replace } else { Existing::Refuse };
        network.route(prefix, wanted.route_source, &indices, existing)?;
        let (prefix, source, old_indices) = (*prefix, present.route_source, old_indices.clone());
        undo.push(move |network| match was_there {
            true => network.route(&prefix, source, &old_indices, Existing::Replace),
            false => network.delete_route(&prefix),
        });
    }
    for prefix in present.ecmp_routes.iter().filter(|prefix| !wanted.ecmp_routes.contains(prefix)) {
        network.delete_route(prefix)?;
        let (prefix, source, old_indices) = (*prefix, present.route_source, old_indices.clone());
        undo.push(move |network| network.route(&prefix, source, &old_indices, Existing::Refuse));
    }
    Ok(())
}

/// What a lane that stays has to become.
struct LaneEdit<'a> {
    lane: Arc<Lane>,
    old: &'a config::Lane,
    new: &'a config::Lane,
    /// Keys and peers: cannot fail.
    change: DeviceChange,
    /// The changes for people.
    words: Vec<String>,
}

impl<'a> LaneEdit<'a> {
    fn between(old: &'a config::Lane, new: &'a config::Lane, lane: &Arc<Lane>) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut change = DeviceChange::default();
        let snapshot = lane.snapshot();
        let key = private_key(new)?;
        if snapshot.private_key.as_ref() != Some(&key) {
            words.push("private key: changed; its sessions end".to_owned());
            change.private_key = Some(Some(key));
        }
        let (old_port, new_port) = (*old.listen_port.get_ref(), *new.listen_port.get_ref());
        for (field, old, new) in [
            ("listen_port", u32::from(old_port), u32::from(new_port)),
            ("mtu", old.mtu().into(), new.mtu().into()),
            ("fwmark", old.fwmark, new.fwmark),
        ] {
            if old != new {
                words.push(format!("{field}: {old} -> {new}"));
            }
        }
        let (gained, lost) = (difference(&new.addresses, &old.addresses), difference(&old.addresses, &new.addresses));
        words.extend(gained.iter().map(|address| format!("address {address}: added")));
        words.extend(lost.iter().map(|address| format!("address {address}: removed")));
        for peer in &new.peers {
            let name = peer.public_key.get_ref();
            let wanted = peer_change(peer)?;
            let known = old.peers.iter().find(|old| old.public_key.get_ref() == name);
            let preshared_key = snapshot.peers.iter().find(|had| had.public_key == *name).map(|had| &had.preshared_key);
            match known {
                None => words.push(format!("peer {name}: added")),
                Some(known) if peer.same_settings(known) && preshared_key == wanted.preshared_key.as_ref() => continue,
                Some(_) => words.push(format!("peer {name}: changed")),
            }
            change.peers.push(wanted);
        }
        for peer in &old.peers {
            let name = peer.public_key.get_ref();
            if !new.peers.iter().any(|new| new.public_key.get_ref() == name) {
                words.push(format!("peer {name}: removed"));
                change.peers.push(PeerChange { remove: true, ..PeerChange::new(*name) });
            }
        }
        Ok(Self { lane: Arc::clone(lane), old, new, change, words })
    }

    /// Port, mark, MTU and new addresses.
    fn apply_fallible(&self, network: &mut Network, undo: &mut Undo) -> Result<(), String> {
        let (index, name) = (self.lane.interface_index(), self.lane.name().to_owned());
        let sockets = |of: &config::Lane| DeviceChange {
            listen_port: Some(*of.listen_port.get_ref()),
            fwmark: Some(of.fwmark),
            ..DeviceChange::default()
        };
        if self.old.listen_port.get_ref() != self.new.listen_port.get_ref() || self.old.fwmark != self.new.fwmark {
            self.lane.change(sockets(self.new)).map_err(|error| format!("{name}: {error}"))?;
            let (lane, back) = (Arc::clone(&self.lane), sockets(self.old));
            undo.push(move |_| lane.change(back).map_err(|error| error.to_string()));
        }
        if self.old.mtu() != self.new.mtu() {
            network.set_mtu(index, &name, self.new.mtu())?;
            let (name, mtu) = (name.clone(), self.old.mtu());
            undo.push(move |network| network.set_mtu(index, &name, mtu));
        }
        for address in difference(&self.new.addresses, &self.old.addresses) {
            network.add_address(index, &name, &address)?;
            let name = name.clone();
            undo.push(move |network| network.delete_address(index, &name, &address));
        }
        Ok(())
    }

    /// What cannot fail, or has no consequence if it does.
    fn finish(self, network: &mut Network) {
        // Neither ports nor marks are among it: those have been changed.
        if let Err(error) = self.lane.change(self.change) {
            log::error!("{}: {error}", self.lane.name());
        }
        for address in difference(&self.old.addresses, &self.new.addresses) {
            if let Err(error) = network.delete_address(self.lane.interface_index(), self.lane.name(), &address) {
                log::warn!("{error}");
            }
        }
    }
}

fn difference(
    these: &[config::InterfaceAddress],
    without: &[config::InterfaceAddress],
) -> Vec<config::InterfaceAddress> {
    these.iter().filter(|address| !without.contains(address)).copied().collect()
}

type Step = Box<dyn FnOnce(&mut Network) -> Result<(), String>>;

/// How to take back what has been done, the last first.
#[derive(Default)]
struct Undo(Vec<Step>);

impl Undo {
    fn push(&mut self, step: impl FnOnce(&mut Network) -> Result<(), String> + 'static) {
        self.0.push(Box::new(step));
    }

    fn run(self, network: &mut Network) {
        for step in self.0.into_iter().rev() {
            if let Err(error) = step(network) {
                log::error!("cannot take a change back: {error}");
            }
        }
    }
}
