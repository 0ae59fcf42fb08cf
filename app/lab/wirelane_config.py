"""wirelane's configuration file for one gateway of a candidate (format: ARCHITECTURE.md). Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from app.lab.addressing import GatewayAddresses, lane_endpoint, lane_network, lane_port
from tuner.candidate import Candidate


def wirelane_toml(candidate: Candidate, gateway: GatewayAddresses, peer_public_keys: Sequence[str]) -> str:
    """The file's text. Keys stay where they are: it names their files only."""
    state: Path = gateway.state_folder
    lines = [f"mode = {_text(candidate.mode or 'inline')}"]
    if candidate.crypto_workers is not None:
        lines.append(f"crypto_workers = {candidate.crypto_workers}")
    if candidate.spread == "bond":
        lines.append('spread = "bond"')
    lines += [
        f"batch_packets = {candidate.batch_packets}",
        f"socket_buffer_bytes = {candidate.socket_buffer_bytes}",
        f"numa_policy = {_text(candidate.numa_policy)}",
        f"control_socket = {_text(str(state / 'control.sock'))}",
        f"ecmp_routes = [{_text(gateway.far.inner_network)}]",
        f"route_source = {_text(gateway.inner)}",
    ]
    cpu_sets = getattr(candidate.cpu_sets, gateway.gateway).used()
    if cpu_sets:
        lines += ["", "[cpu_sets]", *(f"{stage} = {_text(cpus)}" for stage, cpus in cpu_sets.items())]
    addresses = [_text(gateway.lane(lane) + "/31") for lane in range(candidate.lanes)]
    if candidate.spread == "bond":
        # With the addresses of all lanes, of which each lane has its own among its allowed IPs: each can be reached.
        lines += ["", "[bond]", 'interface = "wl0"', f"mtu = {candidate.mtu}", f"addresses = [{', '.join(addresses)}]"]
    for lane in range(candidate.lanes):
        lines += [
            "",
            "[[lane]]",
            f"listen_port = {lane_port(lane)}",
            f"private_key_file = {_text(str(state / 'keys' / f'lane{lane}'))}",
        ]
        if candidate.spread == "ecmp":
            lines += [f'interface = "wl{lane}"', f"mtu = {candidate.mtu}", f"addresses = [{addresses[lane]}]"]
        lines += [
            "",
            "[[lane.peer]]",
            f"public_key = {_text(peer_public_keys[lane])}",
            f"endpoint = {_text(lane_endpoint(gateway.far.underlay, lane))}",
            f"allowed_ips = [{_text(gateway.far.inner_network)}, {_text(lane_network(lane))}]",
        ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(value)
