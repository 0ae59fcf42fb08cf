"""Whether the other gateway answers, through a lane and over the link: this tells a dead tunnel from a dead link."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from wiretune_agent.errors import AgentError

DISCARD_PORT = 9
LINK_TIMEOUT_S = 3.0


class Link(NamedTuple):
    """Where the other gateway is outside of the tunnel: its address, and the port that measurements use."""

    address: str
    port: int

    def fault(self, error: AgentError) -> AgentError | None:
        """The same error told as the link's, if the link is silent too; None while it answers."""
        if reach(self.address, self.port, LINK_TIMEOUT_S) == 0:
            return None
        return AgentError(
            f"the link is dead: {self.address} does not answer outside of the tunnel either ({error.message})",
            hint=f"check the link between the gateways, and that TCP port {self.port} is not filtered on it",
            detail=error.detail,
        )


def family_of(address: str) -> socket.AddressFamily:
    """IPv6 or IPv4, by how the address is written."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def reach(address: str, port: int, timeout_s: float) -> int:
    """Try a TCP connection: 0 when the far end takes or refuses it, which proves both ways; else the error's number."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout_s)
        result = probe.connect_ex((address, port))
    return 0 if result == errno.ECONNREFUSED else result
