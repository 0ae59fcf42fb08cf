"""The inner network of a gateway: the veth pair `inside`-`gen`, and behind it a host that counts pktgen's packets.

Made with the testbed and gone with it, so that no trial leaves anything of it behind.
"""

from __future__ import annotations

INTERFACES = ("inside", "gen")
COUNTER_NUMBER = 2
"""Generated packets go from .2 of one inner network to .2 of the other: neither is an address of a gateway."""
COUNTER_MAC = "02:00:00:00:00:02"
"""Where the receiving gateway sends them. Nobody has this address: with that of `gen`, which lives in the same
namespace, every packet would be forwarded again and again until its TTL is used up, and be counted each time."""


def make_commands(inner_address: str) -> list[str]:
    """Lines for `ip -batch` that make the pair; `inner_address` with its prefix length."""
    return [
        "link add inside type veth peer name gen",
        f"address add {inner_address} dev inside",
        "link set inside up",
        "link set gen up",
    ]


def counter_command(inner_address: str) -> str:
    """The line that makes the counter known, anew where it is already: it answers no ARP."""
    return f"neighbour replace {counter(inner_address)} lladdr {COUNTER_MAC} dev inside nud permanent"


def counter(inner_address: str) -> str:
    """Address of the counter in the network of this address, which may have a prefix length."""
    return f"{inner_address.rpartition('.')[0]}.{COUNTER_NUMBER}"
