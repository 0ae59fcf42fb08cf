"""What this gateway is: CPUs, NUMA nodes, NICs, kernel, programs. Plain JSON values; the caller checks them."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import engines
from wiretune_agent.command import attempt, run_json
from wiretune_agent.errors import AgentError

SYSTEM = Path("/sys/devices/system")
CPU_FLAGS = ("aes", "avx2", "avx512f", "avx512ifma", "vaes", "gfni", "neon", "asimd")
SETTINGS = (
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.default_qdisc",
)
VERSION_LENGTH = 200


def gather(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`: engine_paths (engine name to programs to try). Returns fingerprint, topology and engines."""
    programs = {engine: engines.find(paths) for engine, paths in arguments["engine_paths"].items()}
    return {
        "topology": topology(_interface_of(arguments.get("data_address"))),
        "fingerprint": {
            "cpu": cpu(),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "distribution": distribution(),
            "memory_mib": memory_mib(),
            "settings": settings(),
            "programs": versions(programs),
            "python": platform.python_version(),
        },
        "engines": sorted(
            engine for engine, paths in arguments["engine_paths"].items() if engines.available(engine, paths)
        ),
    }


def cpu() -> dict[str, Any]:
    """Model and the instruction sets that matter to ChaCha20-Poly1305."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    model = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags.group(1).split()) if flags else set()
    return {
        "model": model.group(1).strip()[:128] if model else "",
        "flags": [flag for flag in CPU_FLAGS if flag in present],
        "hypervisor": "hypervisor" in present,
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


def distribution() -> str:
    """The distribution's own name of itself."""
    try:
        text = Path("/etc/os-release").read_text(errors="replace")
    except OSError:
        return ""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found.group(1)[:128] if found else ""


def memory_mib() -> int:
    """Total memory."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def settings() -> dict[str, str]:
    """Kernel settings that change what TCP and sockets can do; those that the kernel lacks are left out."""
    values = {}
    for name in SETTINGS:
        path = Path("/proc/sys", *name.split("."))
        if path.exists():
            values[name] = " ".join(path.read_text().split())
    return values


def versions(programs: Mapping[str, str | None]) -> dict[str, str]:
    """First line of each program's version; programs that are missing are left out."""
    argvs = {
        "iperf3": ["iperf3", "--version"],
        "wg": ["wg", "--version"],
        "dpdk-testpmd": ["dpkg-query", "-W", "-f", "dpdk ${Version}", "dpdk-dev"],
    }
    argvs |= {engine: [program, "--version"] for engine, program in programs.items() if program}
    found = {}
    for name, argv in argvs.items():
        try:
            result = attempt(argv, timeout_s=5)
        except AgentError:
            continue  # Not installed: absence from the result says so.
        lines = (result.stdout or result.stderr).strip().splitlines()
        if result.returncode == 0 and lines:
            found[name] = lines[0][:VERSION_LENGTH]
    return found


def _interface_of(data_address: str | None) -> str:
    """The interface of the underlay: `underlay` in a namespace, on a host the one that has its address."""
    for link in run_json(["ip", "-j", "address", "show"]) if data_address else []:
        if any(entry.get("local") == data_address for entry in link.get("addr_info", [])):
            return str(link["ifname"])
    return "underlay"


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
