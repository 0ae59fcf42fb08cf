"""Reading back what is really set on this gateway, and what of it differs from what was asked for."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import control, engines, host_tuning, sysctls
from wiretune_agent.command import run, run_json
from wiretune_agent.errors import AgentError
from wiretune_agent.reachability import DISCARD_PORT, Link, reach

ANSWER_TIMEOUT_S = 6.0
HIDDEN = "(hidden)"
ONLY_STAGE = {"wireguard-go": "process", "kernel": "napi"}
"""Engines whose threads all do the same."""


def verify(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read everything back and compare. `arguments`: those of `gateway.apply`, and stage_cpu_sets, probe_lanes.

    `probe_lanes` are the far addresses to reach through the lanes, in lane order; the first packet makes the
    handshake. Raises AgentError that blames the candidate and names every difference; a dead link is not its fault.
    """
    folder = Path(arguments["state_folder"])
    processes = engines.recorded(folder)
    fault = engines.fault(folder) if engines.lanes_of(folder) else "it was not started"
    if fault:
        raise AgentError(
            f"{arguments['engine']} died right after it had started: {fault}",
            blame="candidate",
            detail=engines.log_tail(folder),
        )
    observed: dict[str, Any] = {
        "lanes": {_name(lane, arguments["spread"]): _lane(lane, folder, arguments) for lane in arguments["lanes"]},
        "spread": _spread(folder, arguments["engine"]),
        "routes": [
            route
            for destination in arguments["routes"]
            for route in run_json(["ip", "-j", "route", "show", "exact", destination])
        ],
        "sysctls": {name: sysctls.read(name) for name in arguments["sysctls"]},
        "threads": _threads(folder, arguments["engine"], [process.pid for process in processes]),
    }
    differences = [*_differences(observed, arguments), *host_tuning.differences(folder)]
    if differences:
        raise AgentError(
            "what is set differs from what was asked for: " + "; ".join(differences[:5]),
            blame="candidate",
            detail="\n".join(differences) + "\n" + engines.log_tail(folder),
        )
    observed["host_tuning"] = host_tuning.observed(folder)
    link = Link(arguments["far_data_address"], arguments["rendezvous_port"])
    observed["answers_ms"] = [_round_trip_ms(address, link) for address in arguments["probe_lanes"]]
    return observed


def parse_wg_dump(text: str) -> dict[str, Any]:
    """`wg show IFACE dump` without its secrets. Columns: wg(8)."""
    lines = [line.split("\t") for line in text.splitlines()]
    if not lines or len(lines[0]) != 4:
        raise AgentError("wg show dump has no device line", detail=HIDDEN)
    _, public_key, listen_port, _ = lines[0]
    peers = [
        {"public_key": peer[0], "endpoint": peer[2], "allowed_ips": sorted(peer[3].split(","))}
        for peer in lines[1:]
        if len(peer) == 8
    ]
    return {"public_key": public_key, "listen_port": int(listen_port), "peers": peers}


def parse_socket_memory(text: str) -> dict[str, int] | None:
    """Receive and send buffer in bytes out of `ss -m` output (the kernel's figure, twice what was asked for)."""
    found = re.search(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+)", text)
    return {"receive_bytes": int(found.group(1)), "send_bytes": int(found.group(2))} if found else None


def _name(lane: Mapping[str, Any], spread: str) -> str:
    """As wirelane names its lanes: by the device or, where that is the same for all, by device and port."""
    return f"{lane['interface']}:{lane['listen_port']}" if spread == "bond" else str(lane["interface"])


def _spread(folder: Path, engine: str) -> str:
    """A bond, if wirelane says so; all else is spread by its routes."""
    return "bond" if engine == "wirelane" and "bond" in control.ask(folder, "stats") else "ecmp"


def _lane(lane: Mapping[str, Any], folder: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    interface = lane["interface"]
    links = run_json(["ip", "-j", "address", "show", "dev", interface])
    link = links[0] if links else {}
    if arguments["engine"] == "kernel" or (engines.UAPI_FOLDER / f"{interface}.sock").exists():
        device = parse_wg_dump(run(["wg", "show", interface, "dump"]))
    else:
        device = _device_of_control_socket(_name(lane, arguments["spread"]), folder)
    return {
        "mtu": link.get("mtu"),
        "up": "UP" in link.get("flags", []),
        "addresses": [f"{entry.get('local')}/{entry.get('prefixlen')}" for entry in link.get("addr_info", [])],
        "socket": parse_socket_memory(run(["ss", "-H", "-u", "-n", "-a", "-m", f"sport = :{lane['listen_port']}"])),
        **device,
    }


def _device_of_control_socket(interface: str, folder: Path) -> dict[str, Any]:
    """What `wirelane run` tells of a lane. It does not tell its peers: the lane's round trip proves those."""
    lanes = {lane["interface"]: lane for lane in control.ask(folder, "stats")["lanes"]}
    if interface not in lanes:
        raise AgentError(f"wirelane carries no lane {interface}", blame="candidate")
    return {"listen_port": lanes[interface]["listen_port"], "peers": None}


def _threads(folder: Path, engine: str, pids: list[int]) -> list[dict[str, Any]]:
    """Stage and allowed CPUs of every thread, as the kernel says; the engine's one stage where it tells none."""
    stages: dict[int, str] = {}
    if engine == "wirelane":
        placement = control.ask(folder, "placement")
        for lane in [*placement["lanes"], *([placement["bond"]] if "bond" in placement else [])]:
            stages |= {int(thread["tid"]): str(thread["stage"]) for thread in lane["threads"]}
    threads = []
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                status = (task / "status").read_text(errors="replace")
            except OSError:
                continue  # The thread ended in between; it places nothing any more.
            allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", status, re.MULTILINE)
            stage = stages.pop(int(task.name), "") if engine == "wirelane" else ONLY_STAGE[engine]
            threads.append({"tid": int(task.name), "stage": stage, "cpus": allowed.group(1) if allowed else ""})
    if stages:
        raise AgentError(f"wirelane reports threads that the kernel does not know: {sorted(stages)}", blame="candidate")
    return threads


def _differences(observed: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    for lane in asked["lanes"]:
        yield from _lane_differences(observed["lanes"][_name(lane, asked["spread"])], lane, asked)
    if observed["spread"] != asked["spread"]:
        yield f"flows come to lanes by {observed['spread']} instead of {asked['spread']}"
    interfaces = sorted({lane["interface"] for lane in asked["lanes"]})
    for destination in asked["routes"]:
        used = sorted(_route_interfaces(observed["routes"], destination))
        if used != interfaces:
            yield f"the route to {destination} uses {', '.join(used) or 'no lane'} instead of {', '.join(interfaces)}"
    for name, value in asked["sysctls"].items():
        if observed["sysctls"][name] != value:
            yield f"{name} is {observed['sysctls'][name]} instead of {value}"
    yield from _placement_differences(observed["threads"], asked["stage_cpu_sets"], asked["engine"])


def _lane_differences(seen: Mapping[str, Any], lane: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    name = lane["interface"]
    peer = {
        "public_key": lane["peer_public_key"],
        "endpoint": lane["endpoint"],
        "allowed_ips": sorted(lane["allowed_ips"]),
    }
    if seen["mtu"] != asked["mtu"]:
        yield f"{name} has MTU {seen['mtu']} instead of {asked['mtu']}"
    if not seen["up"]:
        yield f"{name} is down"
    if lane["address"] not in seen["addresses"]:
        yield f"{name} lacks the address {lane['address']}"
    if seen["listen_port"] != lane["listen_port"]:
        yield f"{name} listens on port {seen['listen_port']} instead of {lane['listen_port']}"
    if seen["peers"] not in ([peer], None):
        yield f"{name} has the peers {seen['peers']} instead of {[peer]}"
    wanted_bytes = asked["socket_buffer_bytes"]
    if wanted_bytes and seen["socket"]:
        # socket(7): the kernel doubles the value that was asked for.
        smallest = min(seen["socket"].values()) // 2
        if smallest < wanted_bytes:
            yield f"the socket of {name} got buffers of {smallest} bytes instead of {wanted_bytes}"


def _route_interfaces(routes: list[dict[str, Any]], destination: str) -> Iterator[str]:
    for route in routes:
        if route.get("dst") == destination:
            yield from (hop["dev"] for hop in route.get("nexthops", [route]) if "dev" in hop)


def _placement_differences(
    threads: list[dict[str, Any]], stage_cpu_sets: Mapping[str, list[int]], engine: str
) -> Iterator[str]:
    for stage, wanted in stage_cpu_sets.items():
        placed = [thread for thread in threads if thread["stage"] == stage]
        if not placed:
            yield f"no thread runs the stage {stage}"
        for thread in placed:
            cpus = _cpus(thread["cpus"])
            # A thread is pinned to one CPU of its stage's set; those of wireguard-go may use the whole set.
            fits = cpus <= set(wanted) and (len(cpus) == 1 or engine == "wireguard-go")
            if not fits:
                yield f"thread {thread['tid']} of stage {stage} may run on {thread['cpus']} instead of {wanted}"


def _cpus(cpulist: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, cpulist.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _round_trip_ms(address: str, link: Link) -> float:
    """Time until the far end of a lane refuses a TCP connection to its discard port: proof that both ways work."""
    started = time.monotonic()
    failure = reach(address, DISCARD_PORT, ANSWER_TIMEOUT_S)
    if not failure:
        return (time.monotonic() - started) * 1000
    silent = AgentError(
        f"no answer through the lane from {address} within {ANSWER_TIMEOUT_S:g} s: {errno.errorcode.get(failure)}",
        blame="candidate",
        hint="the handshake did not come about, or packets are lost in one direction",
    )
    if dead_link := link.fault(silent):
        raise dead_link
    # The link may have come back just now: the candidate is to blame if it is silent on a link that answers.
    started = time.monotonic()
    if reach(address, DISCARD_PORT, ANSWER_TIMEOUT_S):
        raise silent
    return (time.monotonic() - started) * 1000
