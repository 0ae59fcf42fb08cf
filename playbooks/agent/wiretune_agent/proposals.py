"""What a reboot could make faster or steadier: proposed in words, never done."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from wiretune_agent.fingerprint import CPUS, text_of

FEW_CPUS = 4
USO_KERNEL = (6, 2)


def proposals() -> list[str]:
    """For this host."""
    reserved = re.search(r"HugePages_Total: (\d+)", text_of(Path("/proc/meminfo"), 8192))
    return list(
        proposed(
            text_of(Path("/proc/cmdline"), 8192),
            platform.release(),
            cpus=os.cpu_count() or 1,
            huge_pages=int(reserved[1]) if reserved else 0,
            idle_driver=text_of(Path("/sys/devices/system/cpu/cpuidle/current_driver")),
            smt=text_of(CPUS / "smt/control"),
        )
    )


def proposed(
    command_line: str, release: str, *, cpus: int, huge_pages: int, idle_driver: str, smt: str
) -> Iterator[str]:
    """Each with the parameter or the version it needs, and what it is good for."""
    number = re.match(r"(\d+)\.(\d+)", release)
    if number and (int(number[1]), int(number[2])) < USO_KERNEL:
        yield "a kernel of 6.2 or later: UDP crosses the TUN device in super-packets (USO)"
    if cpus > FEW_CPUS and "isolcpus=" not in command_line and "nohz_full=" not in command_line:
        yield "isolcpus=… nohz_full=… for the data plane's CPUs: no other task and no timer tick there"
    if cpus > FEW_CPUS and huge_pages == 0 and "hugepages=" not in command_line:
        yield "hugepages=256: wirelane's packet buffers in reserved huge pages, with huge_pages = true"
    if idle_driver in ("intel_idle", "acpi_idle") and "max_cstate=" not in command_line:
        yield "intel_idle.max_cstate=1 (or processor.max_cstate=1): no deep sleep, a steadier latency, more power"
    if smt == "on" and cpus > FEW_CPUS and "nosmt" not in command_line:
        yield "nosmt: measure with one thread a core; siblings share what encryption needs most"
