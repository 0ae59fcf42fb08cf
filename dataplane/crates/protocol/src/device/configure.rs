//! Changing and showing the configuration.

use super::indices::Indices;
use super::peer_control::PeerControl;
use super::{Device, PeerId};
use crate::allowed_ips::AllowedIps;
use crate::config::{AllowedIpChange, DeviceChange, DeviceSnapshot, PeerChange, PeerSnapshot};
use crate::cookie::CookieChecker;
use crate::handshake::Identity;
use crate::keys::{PrivateKey, PublicKey};
use crate::time::Time;

impl Device {
    /// Changes the configuration. What does not change keeps its sessions. Bind the socket to a new listen port first:
    /// here it is only remembered. A peer with the device's own public key is removed, as in Linux.
    pub fn apply(&mut self, change: DeviceChange, now: Time) {
        let DeviceChange { private_key, listen_port, fwmark, replace_peers, peers } = change;
        self.listen_port = listen_port.unwrap_or(self.listen_port);
        if let Some(fwmark) = fwmark.filter(|fwmark| *fwmark != self.fwmark) {
            self.fwmark = fwmark;
            // Another mark may mean another way out, which the interface that a source is tied to would overrule.
            self.peers.values().for_each(|peer| peer.path.forget_source());
        }
        if replace_peers {
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.remove_peer(id);
            }
        }
        if let Some(private_key) = private_key {
            self.set_private_key(private_key);
        }
        for peer in peers {
            self.apply_to_peer(peer, now);
        }
        if std::mem::take(&mut self.routes_changed) {
            let entries = self.routes.iter().map(|(prefix, id)| (*prefix, self.peers[id].path.clone()));
            self.core.forwarding.routes.store(AllowedIps::new(entries).into());
        }
    }

    fn set_private_key(&mut self, private_key: Option<PrivateKey>) {
        if self.core.identity.as_ref().map(|identity| &identity.private) == private_key.as_ref() {
            return;
        }
        self.core.identity = private_key.map(Identity::new);
        self.core.cookie_checker =
            self.core.identity.as_ref().map(|own| CookieChecker::new(&own.public, self.core.timings.cookie_secret));
        if let Some(own) = self.core.identity.as_ref().and_then(|own| self.by_key.get(&own.public).copied()) {
            self.remove_peer(own);
        }
        for peer in self.peers.values_mut() {
            peer.identity_changed(&mut self.core);
        }
    }

    fn apply_to_peer(&mut self, change: PeerChange, now: Time) {
        let existing = self.by_key.get(&change.public_key).copied();
        if change.remove {
            if let Some(id) = existing {
                self.remove_peer(id);
            }
            return;
        }
        let is_own = self.core.identity.as_ref().is_some_and(|own| own.public == change.public_key);
        let Some(id) = existing.or_else(|| (!change.update_only && !is_own).then(|| self.add_peer(change.public_key)))
        else {
            return;
        };
        self.change_allowed_ips(id, change.replace_allowed_ips, &change.allowed_ips);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(preshared_key) = change.preshared_key {
            peer.preshared_key = preshared_key;
        }
        if let Some(endpoint) = change.endpoint {
            peer.path.set_remote(endpoint);
        }
        if let Some(seconds) = change.persistent_keepalive_s {
            let switched_on = peer.persistent_keepalive_s == 0 && seconds > 0;
            peer.persistent_keepalive_s = seconds;
            if switched_on && self.core.up {
                peer.keepalive(&mut self.core, now);
            }
        }
        self.wake(id, now.monotonic);
    }

    fn add_peer(&mut self, public_key: PublicKey) -> PeerId {
        let id = PeerId(self.next_peer_id);
        self.next_peer_id += 1;
        self.peers.insert(id, PeerControl::new(id, public_key, &self.core));
        self.by_key.insert(public_key, id);
        let slots = Indices::slots_for(self.peers.len());
        if slots > self.core.indices.slots() {
            self.core.indices.grow(slots);
            self.core.forwarding.sessions.grow(slots);
        }
        id
    }

    fn remove_peer(&mut self, id: PeerId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        peer.shut_down(&mut self.core);
        self.by_key.remove(peer.path.public_key());
        for prefix in &peer.allowed_ips {
            self.routes.remove(prefix);
            self.routes_changed = true;
        }
        if let Some(at) = peer.scheduled {
            self.schedule.remove(&(at, id));
        }
    }

    fn change_allowed_ips(&mut self, id: PeerId, replace: bool, changes: &[AllowedIpChange]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if replace {
            for prefix in std::mem::take(&mut peer.allowed_ips) {
                self.routes.remove(&prefix);
                self.routes_changed = true;
            }
        }
        for AllowedIpChange { prefix, remove } in changes.iter().copied() {
            let owner = self.routes.get(&prefix).copied();
            if remove == (owner == Some(id)) {
                self.routes_changed = true;
                if let Some(owner) = owner.and_then(|owner| self.peers.get_mut(&owner)) {
                    owner.allowed_ips.remove(&prefix);
                }
                if remove {
                    self.routes.remove(&prefix);
                } else {
                    self.routes.insert(prefix, id);
                    self.peers.get_mut(&id).map(|peer| peer.allowed_ips.insert(prefix));
                }
            }
        }
    }

    /// The configuration and counters, for the UAPI's `get=1`.
    pub fn snapshot(&self) -> DeviceSnapshot {
        DeviceSnapshot {
            private_key: self.core.identity.as_ref().map(|own| own.private.clone()),
            listen_port: self.listen_port,
            fwmark: self.fwmark,
            peers: self.peers.values().map(PeerControl::snapshot).collect(),
        }
    }
}

impl PeerControl {
    fn snapshot(&self) -> PeerSnapshot {
        PeerSnapshot {
            public_key: *self.path.public_key(),
            preshared_key: self.preshared_key.clone(),
            endpoint: self.path.endpoint().as_deref().map(|endpoint| endpoint.remote),
            last_handshake_time: self.last_handshake_time,
            rx_bytes: self.path.received().1,
            tx_bytes: self.path.sent().1,
            persistent_keepalive_s: self.persistent_keepalive_s,
            allowed_ips: self.allowed_ips.iter().copied().collect(),
            peer: self.path.clone(),
        }
    }
}
