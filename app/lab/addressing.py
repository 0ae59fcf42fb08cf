"""Names and addresses of a testbed, from its name alone (the table is in ARCHITECTURE.md). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from app.lab.driver import LabError
from tuner.candidate import GATEWAYS, Gateway

TESTBED_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}", re.ASCII)
STATE_ROOT = Path("/run/wiretune")
FIRST_LANE_PORT = 51820
RENDEZVOUS_PORT = 51700


@dataclass(frozen=True)
class GatewayAddresses:
    """One gateway of a testbed: where it is, what it is called, where it keeps its things."""

    gateway: Gateway
    namespace: str
    state_folder: Path

    @property
    def underlay(self) -> str:
        """Address on the link between the gateways."""
        return "198.18.0.1" if self.gateway == "a" else "198.18.0.2"

    @property
    def underlay_prefix(self) -> str:
        """The same with its prefix length."""
        return f"{self.underlay}/30"

    @property
    def inner(self) -> str:
        """Address in the inner network."""
        return "198.19.1.1" if self.gateway == "a" else "198.19.2.1"

    @property
    def inner_prefix(self) -> str:
        """The same with its prefix length."""
        return f"{self.inner}/24"

    @property
    def inner_network(self) -> str:
        """The network behind this gateway."""
        return "198.19.1.0/24" if self.gateway == "a" else "198.19.2.0/24"

    def lane(self, lane: int) -> str:
        """Address of a lane's device."""
        host = 2 * lane + (0 if self.gateway == "a" else 1)
        return f"198.18.{128 + host // 256}.{host % 256}"

    @property
    def far(self) -> GatewayAddresses:
        """The other gateway. Its name follows from ours."""
        other = GATEWAYS[1 - GATEWAYS.index(self.gateway)]
        return GatewayAddresses(
            other, self.namespace[:-1] + other, self.state_folder.with_name(self.state_folder.name[:-1] + other)
        )


def lane_network(lane: int) -> str:
    """The /31 that both ends of a lane are in (RFC 3021)."""
    host = 2 * lane
    return f"198.18.{128 + host // 256}.{host % 256}/31"


def lane_port(lane: int) -> int:
    """UDP port of a lane, the same at both ends."""
    return FIRST_LANE_PORT + lane


def lane_endpoint(address: str, lane: int) -> str:
    """Where a lane's datagrams go at a gateway with this underlay address, as `wg` and wirelane write it."""
    return f"[{address}]:{lane_port(lane)}" if ":" in address else f"{address}:{lane_port(lane)}"


def programs_folder(gateway: GatewayAddresses) -> str:
    """Where the agent and the programs that were brought along are on a host."""
    return str(gateway.state_folder / "programs")


def upload_folder(gateway: GatewayAddresses) -> str:
    """Where Ansible puts its temporary files on a host."""
    return f"/tmp/.wiretune-{gateway.state_folder.name}"  # noqa: S108 - Ansible makes it 0700, as the login user


def gateways_of(testbed: str) -> dict[Gateway, GatewayAddresses]:
    """Both gateways of a testbed. Raises LabError for a name that is none."""
    if not TESTBED_NAME.fullmatch(testbed):
        raise LabError(
            f"{testbed!r} is not a testbed name",
            hint="use up to 15 lower-case letters, digits and hyphens, a letter first",
        )
    return {name: GatewayAddresses(name, f"wt-{testbed}-{name}", STATE_ROOT / f"{testbed}-{name}") for name in GATEWAYS}
