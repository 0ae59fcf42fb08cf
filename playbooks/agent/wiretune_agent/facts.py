"""What this gateway is: CPUs, NUMA nodes, NICs, kernel, programs. Plain JSON values; the caller checks them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import engines, fingerprint, host_tuning, surroundings
from wiretune_agent.host_settings import udp_flow

SYSTEM = Path("/sys/devices/system")


def gather(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`: data_address, whole_host (whether settings that namespaces share may be changed), engine_paths
    (engine name to programs to try). Returns fingerprint, topology, whether the CPUs are emulated, engines, host
    tunables, what may disturb."""
    interface = surroundings.interface_of(arguments["data_address"])
    programs = {engine: engines.find(paths) for engine, paths in arguments["engine_paths"].items()}
    return {
        "topology": topology(interface),
        "fingerprint": fingerprint.gather(interface, programs),
        "emulated": fingerprint.is_emulated(),
        "host_tunables": host_tuning.available(
            interface, udp_flow(arguments["data_address"]), whole_host=arguments["whole_host"]
        ),
        "before": surroundings.before_measuring(),
        "engines": sorted(
            engine for engine, paths in arguments["engine_paths"].items() if engines.available(engine, paths)
        ),
    }


def topology(underlay: str = "underlay") -> dict[str, Any]:
    """Online CPUs with core, socket and NUMA node; node distances; NICs with an address first. See tuner's Topology."""
    nodes = {
        int(folder.name[4:]): _cpulist((folder / "cpulist").read_text())
        for folder in sorted((SYSTEM / "node").glob("node[0-9]*"))
    }
    node_of = {number: node for node, numbers in nodes.items() for number in numbers}
    online = _cpulist((SYSTEM / "cpu/online").read_text())
    cpus = [
        {
            "cpu": number,
            "core": _id(number, "core_id"),
            "socket": _id(number, "physical_package_id"),
            "node": node_of.get(number, 0),
        }
        for number in online
    ]
    distances = {
        str(node): dict(zip(map(str, nodes), map(int, _node_file(node, "distance").split()), strict=False))
        for node in nodes
    }
    allowed = sorted(os.sched_getaffinity(0))
    return {
        "cpus": cpus,
        "node_distances": distances,
        "nics": nics(underlay),
        "allowed_cpus": ",".join(map(str, allowed)) if set(allowed) != set(online) else "",
    }


def nics(underlay: str) -> list[dict[str, Any]]:
    """The interface of the underlay first, then those with a PCI device."""
    found = []
    for folder in sorted(Path("/sys/class/net").iterdir(), key=lambda path: (path.name != underlay, path.name)):
        if folder.name != underlay and not (folder / "device").exists():
            continue
        node = _integer(folder / "device/numa_node")
        speed_mbps = _integer(folder / "speed")
        found.append(
            {
                "name": folder.name,
                "node": node if node is not None and node >= 0 else None,
                # veth reports a nominal 10 Gb/s that means nothing.
                "link_gbps": speed_mbps / 1000
                if speed_mbps and speed_mbps > 0 and (folder / "device").exists()
                else None,
            }
        )
    return found


def _cpulist(text: str) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _id(number: int, name: str) -> int:
    value = _integer(SYSTEM / f"cpu/cpu{number}/topology/{name}")
    # Some virtual machines report -1 or nothing: then every CPU is a core of its own on one socket.
    if value is None or value < 0:
        return number if name == "core_id" else 0
    return value


def _node_file(node: int, name: str) -> str:
    return (SYSTEM / f"node/node{node}" / name).read_text()


def _integer(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
