"""What else happens on this gateway while it measures: other processes, throttling, other traffic, the NIC's queues.

Everything is read before a workload is prepared and after it has ended, never in between: a look costs some
milliseconds of a CPU, and must not take them from what is measured.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wiretune_agent import engines, host_tuning, proposals
from wiretune_agent.command import attempt
from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import interface_with
from wiretune_agent.processes import KTHREADD, ancestors

NETWORK = Path("/sys/class/net")
CONTROLLER = b"playbook_child.py"
MOST_PROCESSES = 20_000
NAMED_PROCESSES = 3
MOST_UNDONE = 8
QUEUE_TEXT = 200_000
CANARY_BYTES = 256 << 10
CANARY_S = 0.01
LEAST_CANARIES = 3
BEFORE_S = 0.2
NOTICED_CPUS = 0.5
MOVERS = {
    "irqbalance": "irqbalance runs: it moves the interrupts that a candidate places",
    "tuned": "TuneD runs: it sets governors and sysctls of its own",
    "power-profiles-": "power-profiles-daemon runs: it sets the CPU governor",
    "thermald": "thermald runs: it may hold the CPU's frequency down",
}
"""Services that change settings behind our back, by the kernel's name of the process (15 characters)."""


class Spent(NamedTuple):
    """CPU time of a process so far, its ended children included, in clock ticks."""

    parent: int
    start_ticks: int
    name: str
    ticks: int


class Surroundings:
    """Looks around when it is made, and again for the `report`."""

    def __init__(self, state_folder: Path, link: str) -> None:
        """`link`: the interface that carries the tunnels."""
        self._folder, self._link = state_folder, link
        self._before = self._look()
        self._canary_ms = canary_ms()

    def report(self) -> dict[str, Any]:
        """What has happened since: differences, and the queues as the tools wrote them."""
        before, after = self._before, self._look()
        foreign, busiest = foreign_ticks(before["processes"], after["processes"], self._roots())
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        return {
            "window_s": after["at_s"] - before["at_s"],
            "canary_ms": self._canary_ms,
            "foreign_cpu_s": foreign / ticks_per_s,
            "foreign_busiest": [[name, ticks / ticks_per_s] for name, ticks in busiest],
            "throttled": {name: after["throttled"][name] - count for name, count in before["throttled"].items()},
            "link": {name: after["link"][name] - count for name, count in before["link"].items()},
            "lanes": {name: after["lanes"][name] - count for name, count in before["lanes"].items()},
            "softnet": [before["softnet"], after["softnet"]],
            "queues": [before["queues"], after["queues"]],
            "undone": [*host_tuning.differences(self._folder)][:MOST_UNDONE],
        }

    def _look(self) -> dict[str, Any]:
        return {
            "at_s": time.monotonic(),
            "processes": processes(),
            "throttled": throttled(),
            "link": _counters([self._link], "rx_bytes", "tx_bytes"),
            "lanes": _counters(engines.lanes_of(self._folder), "tx_bytes", "tx_packets"),
            "softnet": Path("/proc/net/softnet_stat").read_text(),
            "queues": queues(self._link),
        }

    def _roots(self) -> set[int]:
        """Processes of ours whose descendants are ours too; the engines' parent is init."""
        siblings = [self._folder.with_name(self._folder.name[:-1] + side) for side in "ab"]
        found = {process.pid for folder in siblings for process in engines.recorded(folder)}
        return found | _own_roots()


def processes() -> dict[int, Spent]:
    """Every process that is no kernel thread."""
    found = {}
    for entry in [name for name in os.listdir("/proc") if name.isdigit()][:MOST_PROCESSES]:  # noqa: PTH208 - half the time
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123 - as above
                spent = parse_spent(file.read(1024))
        except (OSError, ValueError, IndexError):
            continue  # It ended while we looked.
        if spent.parent != KTHREADD and int(entry) != KTHREADD:
            found[int(entry)] = spent
    return found


def parse_spent(stat: bytes) -> Spent:
    """Out of /proc/PID/stat (proc(5)). A name may hold anything, brackets too. Raises ValueError, IndexError."""
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Spent(int(fields[1]), int(fields[19]), name, sum(map(int, fields[11:15])))


def foreign_ticks(
    before: Mapping[int, Spent], after: Mapping[int, Spent], roots: Iterable[int]
) -> tuple[int, list[tuple[str, int]]]:
    """CPU time between two looks of processes that are not ours, and the names that spent most.

    Ours are the roots, what descends from them, and what they descend from. A process that ended in between is in the
    time of the parent that waited for it, from its beginning on: what it had spent before is taken off there.
    """
    roots = set(roots)
    elders = {pid for root in roots for pid in _line_of(root, after)}

    def is_foreign(pid: int, table: Mapping[int, Spent]) -> bool:
        return pid not in elders and not roots.intersection(_line_of(pid, table))

    spent: dict[str, int] = {}
    for pid, process in after.items():
        if is_foreign(pid, after):
            old = before.get(pid)
            known = old.ticks if old is not None and old.start_ticks == process.start_ticks else 0
            spent[process.name] = spent.get(process.name, 0) + process.ticks - known
    for pid, process in before.items():
        gone = pid not in after or after[pid].start_ticks != process.start_ticks
        heir = _heir(process, before, after) if gone and is_foreign(pid, before) else None
        if heir is not None and is_foreign(heir, after):
            spent[after[heir].name] = spent.get(after[heir].name, 0) - process.ticks
    busiest = sorted(((name, ticks) for name, ticks in spent.items() if ticks > 0), key=lambda item: -item[1])
    return sum(ticks for _, ticks in busiest), busiest[:NAMED_PROCESSES]


def _heir(process: Spent, before: Mapping[int, Spent], after: Mapping[int, Spent]) -> int | None:
    """The nearest of those it descended from that is still there; those in between have handed its time on."""
    while process.parent in before:
        parent = before[process.parent]
        if process.parent in after and after[process.parent].start_ticks == parent.start_ticks:
            return process.parent
        process = parent
    return None


def throttled() -> dict[str, int]:
    """How often a CPU was too hot, and for how long (microseconds) the CPU limit of our control group held us back."""
    events = sum(
        _number(path) for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    )
    return {"thermal_events": events, "limited_us": _limited_us()}


def queues(interface: str) -> str:
    """The driver's counters, some of them by queue; empty where it has none."""
    try:
        return attempt(["ethtool", "-S", interface], timeout_s=5).stdout[:QUEUE_TEXT]
    except AgentError:
        return ""  # No ethtool: the telemetry lacks the queues.


def canary_ms() -> float:
    """Time of a small fixed piece of work on one CPU, the best of several: it grows when the CPU slows down."""
    block, best_s, runs = bytes(CANARY_BYTES), float("inf"), 0
    started = time.perf_counter()
    while runs < LEAST_CANARIES or time.perf_counter() - started < CANARY_S:
        begin = time.perf_counter()
        hashlib.blake2b(block).digest()
        best_s, runs = min(best_s, time.perf_counter() - begin), runs + 1
    return best_s * 1000


def before_measuring() -> dict[str, Any]:
    """The canary of a testbed that is provisioned, what of this host may disturb measurements to come, and what a
    reboot could improve."""
    first = processes()
    time.sleep(BEFORE_S)
    names = {process.name for process in first.values()}
    foreign, busiest = foreign_ticks(first, processes(), _own_roots())
    load = foreign / os.sysconf("SC_CLK_TCK") / BEFORE_S
    notices = [words for name, words in MOVERS.items() if name in names]
    if load > NOTICED_CPUS:
        notices.append(f"other processes use {load:.1f} CPUs now: {', '.join(name for name, _ in busiest)}")
    return {"canary_ms": canary_ms(), "notices": notices, "proposals": proposals.proposals()}


def interface_of(address: str) -> str:
    """The interface that has an address. Raises AgentError where none has."""
    interface = interface_with(address)
    if interface is None:
        raise AgentError(f"no interface has the address {address}", hint="provision the testbed again, which heals it")
    return interface


def _line_of(pid: int, table: Mapping[int, Spent]) -> set[int]:
    """The process and all it descends from."""
    line: set[int] = set()
    while pid in table and pid not in line:
        line.add(pid)
        pid = table[pid].parent
    return line


def _own_roots() -> set[int]:
    """This process, and the controller where it is on this machine."""
    return {os.getpid(), *(pid for pid in ancestors() if CONTROLLER in _command(pid))}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()[:4096]
    except OSError:
        return b""


def _counters(interfaces: Iterable[str], *names: str) -> dict[str, int]:
    return {name: sum(_number(NETWORK / one / "statistics" / name) for one in interfaces) for name in names}


def _limited_us() -> int:
    """Version 2 counts in microseconds, version 1 in nanoseconds (cgroups(7)); without a limit neither counts."""
    for path in (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat")):
        try:
            text = path.read_text()
        except OSError:
            continue  # The other version, or no control groups at all.
        if found := re.search(r"^throttled_(usec|time) (\d+)", text, re.MULTILINE):
            return int(found[2]) // (1 if found[1] == "usec" else 1000)
    return 0


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
