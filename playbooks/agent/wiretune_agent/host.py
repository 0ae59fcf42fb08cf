"""A gateway that is a host of its own: what it must offer, and what a testbed makes on it besides the state folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import gateway, inner_network
from wiretune_agent.command import PACKAGES, attempt, run
from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import interface_with
from wiretune_agent.reachability import LINK_TIMEOUT_S, reach

NETWORK = Path("/sys/class/net")
OLDEST_KERNEL = (4, 18)
OLDEST_PYTHON = (3, 10)
PROGRAMS = ("ip", "ss", "tc", "wg", "iperf3", "taskset")
CLOCK_LIMIT_S = 120.0
"""The controller's clock was read as the play began, and a slow host takes its time to get here."""
FOREIGN_LIMIT_BYTES_PER_S = 125_000
MADE = "host.json"


def prepare(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check the host, then make its inner network. Idempotent: a veth pair of ours that is there already stays.

    `arguments`: state_folder, inner_address, data_address, far_data_address, rendezvous_port (0: gateway a looks at the
    link), controller_time_s. Returns the data interface and its MTU. Raises one AgentError that lists everything that
    is missing.
    """
    folder = Path(arguments["state_folder"])
    problems = list(_problems(arguments, folder))
    if problems:
        raise AgentError(
            f"this host cannot be a gateway: {'; '.join(problems)}",
            hint="put right what is listed, then provision the testbed again; nothing was changed",
            detail="\n".join(problems),
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    gateway.rollback(arguments)
    if not (NETWORK / "inside").exists():
        (folder / MADE).write_text(json.dumps(["inside"]))
        run(["ip", "-batch", "-"], stdin="\n".join(inner_network.make_commands(arguments["inner_address"])) + "\n")
    run(["ip", *inner_network.counter_command(arguments["inner_address"]).split()])
    interface = interface_with(arguments["data_address"])
    return {"data_interface": interface, "mtu": int((NETWORK / str(interface) / "mtu").read_text())}


def release(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take away everything that the testbed made on this host. `arguments`: state_folder, programs_folder."""
    folder = Path(arguments["state_folder"])
    if not folder.exists():
        return {}
    gateway.rollback(arguments)
    if (folder / MADE).exists():
        attempt(["ip", "link", "delete", "inside"])
    shutil.rmtree(arguments["upload_folder"], ignore_errors=True)
    # Lazily, because this very agent was read from it.
    attempt(["umount", "--lazy", arguments["programs_folder"]])
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # Another testbed still has something there.
        folder.parent.rmdir()
    return {}


def _problems(arguments: Mapping[str, Any], folder: Path) -> Iterator[str]:
    if os.geteuid() != 0:
        yield "a gateway needs root: log in as root, or set become"
        return
    if sys.version_info < OLDEST_PYTHON:
        yield f"Python {platform.python_version()} is older than {'.'.join(map(str, OLDEST_PYTHON))}"
    kernel = re.match(r"(\d+)\.(\d+)", platform.release())
    if kernel and (int(kernel[1]), int(kernel[2])) < OLDEST_KERNEL:
        yield f"kernel {platform.release()} is too old: {'.'.join(map(str, OLDEST_KERNEL))} is needed"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            yield f"{program} is missing (apt-get install {PACKAGES[program]})"
            if program == "ip":
                return
    skew_s = time.time() - arguments["controller_time_s"]
    if abs(skew_s) > CLOCK_LIMIT_S:
        yield f"its clock is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}: set it, by NTP best"
    if not (folder / MADE).exists():
        for name in inner_network.INTERFACES:
            if (NETWORK / name).exists():
                yield f"it has an interface {name} already, which the testbed would make"
    yield from _link_problems(arguments)


def _link_problems(arguments: Mapping[str, Any]) -> Iterator[str]:
    near, far = arguments["data_address"], arguments["far_data_address"]
    interface = interface_with(near)
    if interface is None:
        yield f"no interface has the data address {near}"
        return
    route = attempt(["ip", "-j", "route", "get", far, "from", near])
    hops = json.loads(route.stdout or "[]") if route.returncode == 0 else []
    if not hops or hops[0].get("dev") != interface:
        yield f"there is no route to {far} over {interface}"
    elif arguments["rendezvous_port"] and reach(far, arguments["rendezvous_port"], LINK_TIMEOUT_S):
        yield (
            f"the other gateway does not answer over {interface} at {far}: look whether the link is up and TCP port "
            f"{arguments['rendezvous_port']} is not filtered"
        )
    if interface in _management_interfaces():
        yield f"the data interface {interface} carries the management connection"
    before = _bytes(interface)
    time.sleep(1)
    foreign = _bytes(interface) - before
    if foreign > FOREIGN_LIMIT_BYTES_PER_S:
        yield f"{interface} carries other traffic ({foreign * 8 / 1e6:.1f} Mbit/s): measure when it is idle"


def _management_interfaces() -> set[str | None]:
    """Interfaces that carry an SSH connection to this host now."""
    lines = attempt(["ss", "-H", "-t", "-n", "-p", "state", "established"]).stdout.splitlines()
    return {interface_with(address) for address in ssh_addresses(lines)}


def ssh_addresses(established: Iterable[str]) -> Iterator[str]:
    """Own addresses of SSH connections, out of `ss -tnp`: `192.0.2.1:22`, `[2001:db8::1]:22`, `[fe80::1]%eth0:22`."""
    for line in established:
        if '"sshd' in line:
            address = line.split()[2].rpartition(":")[0].partition("%")[0]
            yield address.strip("[]").removeprefix("::ffff:")


def _bytes(interface: str) -> int:
    counters = NETWORK / interface / "statistics"
    return sum(int((counters / name).read_text()) for name in ("rx_bytes", "tx_bytes"))
