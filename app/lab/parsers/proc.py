"""Counters out of /proc: CPU time a core and a process, packets and bytes an interface. Formats: proc(5)."""

from __future__ import annotations

from typing import NamedTuple


class CpuTicks(NamedTuple):
    """Time of one CPU since boot, in clock ticks."""

    total: int
    idle: int
    steal: int
    softirq: int


class InterfaceCounters(NamedTuple):
    """Counters of one network interface since it was made."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int


def parse_stat(text: str) -> dict[int, CpuTicks]:
    """The `cpuN` lines of /proc/stat, by CPU number. Raises ValueError for anything that is no such line."""
    cpus = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu"):
            continue
        # user nice system idle iowait irq softirq steal; guest time is in user already.
        ticks = [int(field) for field in fields[:8]]
        if len(ticks) < 8:
            raise ValueError(f"/proc/stat has a line of {len(ticks)} values for {name}")
        if name != "cpu":
            cpus[int(name[3:])] = CpuTicks(total=sum(ticks), idle=ticks[3] + ticks[4], steal=ticks[7], softirq=ticks[6])
    if not cpus:
        raise ValueError("/proc/stat has no line for a CPU")
    return cpus


def parse_process_ticks(text: str) -> int:
    """User and system time of a process out of /proc/PID/stat, in clock ticks. Raises ValueError for other text."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 13:
        raise ValueError(f"/proc/PID/stat has only {len(fields)} fields after the name")
    return int(fields[11]) + int(fields[12])


def parse_net_dev(text: str) -> dict[str, InterfaceCounters]:
    """/proc/net/dev by interface name. Raises ValueError for other text."""
    interfaces = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if len(fields) < 16:
            raise ValueError(f"/proc/net/dev has a line of {len(fields)} values")
        interfaces[name.strip()] = InterfaceCounters(int(fields[0]), int(fields[1]), int(fields[8]), int(fields[9]))
    return interfaces
