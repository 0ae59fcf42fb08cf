"""Linux's lists of CPUs, such as "0-3,8"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

MAX_CPU = 4095

_CPULIST = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", re.ASCII)


def parse_cpulist(text: str) -> tuple[int, ...]:
    """CPU numbers of a Linux cpulist such as "0-3,8", ascending and unique; "" is the empty set.

    Raises ValueError for anything else, and for CPU numbers above MAX_CPU.
    """
    if text == "":
        return ()
    if not _CPULIST.fullmatch(text):
        raise ValueError(f"{text!r} is not a CPU list such as '0-3,8'")
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if high < low or high > MAX_CPU:
            raise ValueError(f"{part!r} is not a range of CPUs between 0 and {MAX_CPU}")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def format_cpulist(cpus: Iterable[int]) -> str:
    """The shortest Linux cpulist of the given CPU numbers, such as "0-3,8"."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


CpuSet = Annotated[str, AfterValidator(lambda text: format_cpulist(parse_cpulist(text)))]
"""A canonical Linux cpulist; the empty string leaves the placement to the scheduler."""
