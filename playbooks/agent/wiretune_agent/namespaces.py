"""The netns testbed: two network namespaces on this machine, joined by a veth pair, each with an inner network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import engines, inner_network
from wiretune_agent.command import attempt, run, run_json
from wiretune_agent.errors import AgentError
from wiretune_agent.processes import Process, stop

NAMESPACE_FOLDER = Path("/run/netns")
UAPI_FOLDER = Path("/run/wireguard")
STATE_FOLDER = Path("/run/wiretune")
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.fib_multipath_hash_policy": "1",
    # A trial must not inherit the round-trip times and thresholds that TCP learned in the one before.
    "net.ipv4.tcp_no_metrics_save": "1",
    # Short runs in quick succession would otherwise run into each other's TIME-WAIT ports.
    "net.ipv4.tcp_tw_reuse": "1",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}
"""Namespaced settings, made once; candidates' own settings come with `apply`."""


def create(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make the testbed, or heal it: whatever is damaged is made anew.

    `arguments`: gateways (two of: namespace, state_folder, underlay_address, inner_address), underlay_mtu.
    """
    if os.geteuid() != 0:
        raise AgentError("network namespaces need root", hint="run it with sudo")
    gateways = arguments["gateways"]
    for gateway in gateways:
        engines.stop_recorded(Path(gateway["state_folder"]), gateway["namespace"])
        _end_processes(gateway["namespace"])
    damages = [damage for gateway in gateways for damage in _damages(gateway, arguments["underlay_mtu"])]
    if damages:
        for gateway in gateways:
            _delete_namespace(gateway["namespace"])
        _make(gateways, arguments["underlay_mtu"])
        _await_undamaged(gateways, arguments["underlay_mtu"])
    for gateway in gateways:
        folder = Path(gateway["state_folder"])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for old in ("engine.json", "sysctl-snapshot.json"):
            (folder / old).unlink(missing_ok=True)
    return {"healed": damages}


def remove(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Remove every process, namespace, interface and folder of the testbed; works from the names alone."""
    for gateway in arguments["gateways"]:
        folder = Path(gateway["state_folder"])
        engines.stop_recorded(folder, gateway["namespace"])
        _end_processes(gateway["namespace"])
        _delete_namespace(gateway["namespace"])
        if folder.exists():
            shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # Another testbed, or another WireGuard, still has something there.
        STATE_FOLDER.rmdir()
        # Last, because a testbed that is still there has its own folder mounted over this one.
        UAPI_FOLDER.rmdir()
    return {}


def _make(gateways: Iterable[Mapping[str, Any]], underlay_mtu: int) -> None:
    first, second = gateways
    for gateway in (first, second):
        run(["ip", "netns", "add", gateway["namespace"]])
    run(
        ["ip", "-batch", "-"],
        stdin=f"link add underlay netns {first['namespace']} mtu {underlay_mtu} type veth "
        f"peer name underlay netns {second['namespace']} mtu {underlay_mtu}\n",
    )
    for gateway in (first, second):
        namespace = gateway["namespace"]
        settings = [f"{name}={value}" for name, value in SYSCTLS.items()]
        run(["ip", "netns", "exec", namespace, "sysctl", "-q", "-w", *settings])
        commands = [
            "link set lo up",
            *inner_network.make_commands(gateway["inner_address"]),
            inner_network.counter_command(gateway["inner_address"]),
            f"address add {gateway['underlay_address']} dev underlay",
            "link set underlay up",
        ]
        run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(commands) + "\n")


def _damages(gateway: Mapping[str, Any], underlay_mtu: int) -> list[str]:
    """What is missing or wrong in one namespace; empty when it is as it should be."""
    namespace = gateway["namespace"]
    if attempt(["ip", "netns", "exec", namespace, "true"]).returncode != 0:
        return [f"namespace {namespace} is missing"]
    links = {link["ifname"]: link for link in run_json(["ip", "-n", namespace, "-j", "address", "show"])}
    found = []
    for interface, address in (
        ("underlay", gateway["underlay_address"]),
        ("inside", gateway["inner_address"]),
        ("gen", None),
    ):
        link = links.get(interface)
        if link is None:
            found.append(f"{namespace} has no interface {interface}")
            continue
        if link.get("operstate") != "UP":
            found.append(f"{interface} in {namespace} is {link.get('operstate')}")
        addresses = {f"{entry.get('local')}/{entry.get('prefixlen')}" for entry in link.get("addr_info", [])}
        if address is not None and address not in addresses:
            found.append(f"{interface} in {namespace} lacks the address {address}")
        if interface == "underlay" and link.get("mtu") != underlay_mtu:
            found.append(f"underlay in {namespace} has MTU {link.get('mtu')}")
    counter = inner_network.counter(gateway["inner_address"])
    neighbours = attempt(["ip", "-n", namespace, "-j", "neighbour", "show", "dev", "inside", "nud", "permanent"]).stdout
    if not any(entry.get("dst") == counter for entry in json.loads(neighbours or "[]")):
        found.append(f"inside in {namespace} does not know {counter}")
    values = attempt(["ip", "netns", "exec", namespace, "sysctl", "-n", *SYSCTLS]).stdout.split()
    found += [
        f"{name} in {namespace} is {value}"
        for (name, wanted), value in zip(SYSCTLS.items(), values, strict=False)
        if value != wanted
    ]
    return found


def _await_undamaged(gateways: Iterable[Mapping[str, Any]], underlay_mtu: int) -> None:
    """The kernel reports a link's state with a delay of up to a second."""
    deadline = time.monotonic() + 5
    while damages := [damage for gateway in gateways for damage in _damages(gateway, underlay_mtu)]:
        if time.monotonic() > deadline:
            raise AgentError(f"the testbed could not be made: {damages[0]}", detail="\n".join(damages))
        time.sleep(0.05)


def _end_processes(namespace: str) -> None:
    """End every process inside the namespace."""
    if (NAMESPACE_FOLDER / namespace).exists():
        pids = attempt(["ip", "netns", "pids", namespace]).stdout.split()
        stop(process for pid in pids if (process := Process.of(int(pid))))


def _delete_namespace(namespace: str) -> None:
    if not (NAMESPACE_FOLDER / namespace).exists():
        return
    # Its devices go with the last reference to it; taking the link down first makes that immediate for the peer.
    attempt(["ip", "-n", namespace, "link", "delete", "underlay"])
    run(["ip", "netns", "delete", namespace])
    deadline = time.monotonic() + 5
    while (NAMESPACE_FOLDER / namespace).exists():
        if time.monotonic() > deadline:
            raise AgentError(f"namespace {namespace} does not go away")
        time.sleep(0.01)
