"""Which lane a flow takes: the kernel's ECMP hash is asked, and ports are chosen so that every lane gets its share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wiretune_agent.command import run

NO_LANE = -1
PROTOCOL_NUMBERS = {"tcp": "6", "udp": "17"}
"""By number, since a minimal host has no /etc/protocols."""
QUERIES_PER_CALL = 16384
_DEVICE = re.compile(r" dev wl(\d+) ")


class Path4(NamedTuple):
    """An IPv4 flow as the hash sees it; `incoming` is the device that forwarded packets come from, "" for our own."""

    protocol: str
    source: str
    destination: str
    source_port: int
    destination_port: int
    incoming: str = ""


def candidates_per_flow(lanes: int) -> int:
    """Source ports to ask about for one flow: enough that one fits in both directions nearly always.

    Both directions fall on the wanted lane with probability 1/lanes²; six times as many candidates miss in 0.2%.
    Beyond 512 the search gives up on the way back and still finds the way there.
    """
    return 1 if lanes == 1 else min(6 * lanes * lanes, 512)


def lanes_of(paths: Sequence[Path4]) -> list[int]:
    """The lane of each flow, as this gateway's routing decides it; NO_LANE for what goes elsewhere."""
    found: list[int] = []
    for start in range(0, len(paths), QUERIES_PER_CALL):
        part = paths[start : start + QUERIES_PER_CALL]
        lines = run(["ip", "-o", "-batch", "-"], stdin="".join(map(_query, part)), timeout_s=30).splitlines()
        found += [int(device.group(1)) if (device := _DEVICE.search(line)) else NO_LANE for line in lines]
    return found


def choose(there: Iterable[int], back: Iterable[int], wanted: int) -> int | None:
    """Index of the best candidate: both directions on the wanted lane, else the way there; None when there is none."""
    fallback = None
    for index, (lane_there, lane_back) in enumerate(zip(there, back, strict=True)):
        if lane_there == wanted:
            if lane_back == wanted:
                return index
            fallback = index if fallback is None else fallback
    return fallback


def uneven(count: int, lanes: int) -> list[str]:
    """A warning where the flows cannot load the lanes alike; nothing where they can."""
    return [f"{count} flows do not spread evenly over {lanes} lanes"] if count % lanes else []


def _query(path: Path4) -> str:
    words = ["route get", path.destination, "from", path.source]
    if path.incoming:
        words += ["iif", path.incoming]
    words += [
        "ipproto",
        PROTOCOL_NUMBERS[path.protocol],
        "sport",
        str(path.source_port),
        "dport",
        str(path.destination_port),
    ]
    return " ".join(words) + "\n"
