"""Where the threads of a data plane run and where its memory is, as the kernel of a virtual machine reports it."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from vm_gateway import Machine

from tuner.topology import Topology

THREADS = """
for task in /proc/{pid}/task/*; do
  allowed=$(sed -n 's/^Cpus_allowed_list:\\t//p' $task/status)
  echo "$(cat $task/comm)|$allowed|$(sed 's/.*) //' $task/stat | cut -d' ' -f37)"
done
"""


class Thread(NamedTuple):
    """One thread: its name, the CPUs on which it may run, and the one on which it has run last (proc(5), field 39)."""

    name: str
    cpus: str
    ran_on: int

    def told(self, topology: Topology) -> str:
        """In words, with the NUMA node."""
        node = next(cpu.node for cpu in topology.cpus if cpu.cpu == self.ran_on)
        return f"thread {self.name} may run on CPUs {self.cpus}, ran last on CPU {self.ran_on} of node {node}"


def threads_of(machine: Machine, pid: int | str) -> list[Thread]:
    """All threads of a process, or the one kernel thread."""
    lines = machine.output(THREADS.format(pid=pid)).splitlines()
    return [Thread(name, cpus, int(ran_on)) for name, cpus, ran_on in (line.rsplit("|", 2) for line in lines)]


def pages_of(machine: Machine, pid: int | str) -> dict[str, dict[int, int]]:
    """Pages by memory policy ("default", "bind:1") and NUMA node, out of /proc/PID/numa_maps (numa(7))."""
    pages: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for line in machine.output(f"cat /proc/{pid}/numa_maps").splitlines():
        policy = line.split()[1]
        for node, count in re.findall(r" N(\d+)=(\d+)", line):
            pages[policy][int(node)] += int(count)
    return pages


def in_words(pages: dict[str, dict[int, int]]) -> list[str]:
    """A line for each memory policy."""
    return [
        f"pages of policy {policy}: " + ", ".join(f"{count} on node {node}" for node, count in sorted(by_node.items()))
        for policy, by_node in sorted(pages.items())
    ]
