"""Applying a candidate to this gateway and taking it away again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import engines, host_tuning, keys, lease, sysctls
from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import udp_flow
from wiretune_agent.surroundings import interface_of


def prepare(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """State folder and key pairs. `arguments`: state_folder, key_pairs. Returns the public keys."""
    if os.geteuid() != 0:
        raise AgentError("a gateway needs root", hint="run it with sudo")
    folder = _state_folder(arguments)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    host_tuning.restore(folder)
    return {"lane_public_keys": keys.ensure(folder, arguments["key_pairs"])}


def apply(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace whatever candidate runs by this one; with `lease_s`, only until `lease.confirm` unless that comes.

    `arguments`: state_folder, engine, engine_paths, config (wirelane's TOML), mtu, process_cpu_set, stage_cpu_sets,
    threaded_napi, host_tuning, data_address, routes, route_source, sysctls, lanes (each: interface, listen_port,
    address, peer_public_key, endpoint, allowed_ips).
    """
    folder = _state_folder(arguments)
    if not folder.is_dir():
        raise AgentError(f"the gateway has no state folder {folder}", hint="provision the testbed first")
    if arguments.get("lease_s"):
        lease.arm(folder, arguments["lease_s"])
    engines.stop_recorded(folder)
    sysctls.apply(arguments["sysctls"], folder)
    address = arguments["data_address"]
    host_tuning.apply(arguments["host_tuning"], interface_of(address), udp_flow(address), folder)
    engines.start(folder, arguments)
    return {"engine_pids": [process.pid for process in engines.recorded(folder)]}


def rollback(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Stop the applied candidate; settings are back to before the first apply. `arguments`: state_folder."""
    folder = _state_folder(arguments)
    engines.stop_recorded(folder)
    try:
        sysctls.restore(folder)
    finally:
        host_tuning.restore(folder)
    lease.end(folder)
    return {}


def _state_folder(arguments: Mapping[str, Any]) -> Path:
    return Path(arguments["state_folder"])
