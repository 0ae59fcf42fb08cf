"""Counters by receive and transmit queue out of `ethtool -S`, and by CPU out of /proc/net/softnet_stat."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_QUEUES = 1024

# Drivers agree on no name: "rx0_packets" (virtio_net, mlx5), "rx_queue_0_packets" (ixgbe, veth), "rx-0.packets" (i40e),
# "queue_0_rx_cnt" (ena), "[0]: rx_ucast_packets" (bnxt_en).
_COUNTS = {"packets": "packets", "cnt": "packets", "ucast_packets": "packets", "bytes": "bytes", "drops": "drops",
           "dropped": "drops"}  # fmt: skip
_WHAT = "|".join(_COUNTS)
_FORMS = (
    re.compile(rf"^(?P<way>rx|tx)(?:_queue_|-|_)?(?P<queue>\d+)[._](?P<what>{_WHAT})$"),
    re.compile(rf"^queue_(?P<queue>\d+)_(?P<way>rx|tx)_(?P<what>{_WHAT})$"),
    re.compile(rf"^\[(?P<queue>\d+)\]: (?P<way>rx|tx)_(?P<what>{_WHAT})$"),
)


class Softnet(NamedTuple):
    """Packets that one CPU took from its receive queues, those its backlog dropped, and how often it ran out of its
    budget (Documentation/networking/scaling.rst)."""

    processed: int
    dropped: int
    squeezed: int


def parse_queues(text: str) -> dict[str, dict[str, int]]:
    """{"rx 0": {"packets": 12, "drops": 0}, …}; what is no counter of a queue is left out."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().rpartition(": ")
        match = next((match for form in _FORMS if (match := form.match(name))), None)
        if match and value.isdecimal() and len(found) < MAX_QUEUES:
            queue = found.setdefault(f"{match['way']} {int(match['queue'])}", {})
            queue[_COUNTS[match["what"]]] = int(value)
    return found


def parse_softnet(text: str) -> dict[int, Softnet]:
    """By CPU number. Raises ValueError for other text. Since Linux 5.13 column 13 is the CPU; before, it is the row."""
    cpus = {}
    for row, line in enumerate(text.splitlines()):
        values = [int(value, 16) for value in line.split()]
        if len(values) < 9:
            raise ValueError(f"/proc/net/softnet_stat has a line of {len(values)} values")
        cpus[values[12] if len(values) > 12 else row] = Softnet(*values[:3])
    return cpus
