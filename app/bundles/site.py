"""Where a bundle is going to run: addresses and ports of the two production gateways."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tuner.candidate import MAX_LANES, Gateway


def _without_scope(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    # An IPv6 scope id may hold any characters, and the address is written into configuration files.
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a scope id cannot be routed between sites")
    return address


Address = Annotated[IPv4Address | IPv6Address, AfterValidator(_without_scope)]
Network = IPv4Network | IPv6Network
InterfacePrefix = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,9}$")]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteGateway(_Value):
    """One production gateway."""

    underlay_address: Address = Field(description="where the other gateway sends its UDP datagrams")
    inner_networks: tuple[Network, ...] = Field(
        min_length=1, max_length=64, description="networks behind this gateway that the other one routes into the lanes"
    )
    inner_address: Address | None = Field(None, description="preferred source address of this gateway's own traffic")


class Site(_Value):
    """Addresses of both gateways and of the lanes between them."""

    a: SiteGateway
    b: SiteGateway
    lane_network: IPv4Network = Field(
        IPv4Network("198.18.128.0/24"), description="lane i takes the i-th /31 of it: the lower address is gateway a's"
    )
    first_listen_port: int = Field(
        51820, ge=1024, le=65535 - MAX_LANES + 1, description="lane i listens on this plus i"
    )
    interface_prefix: InterfacePrefix = Field("wl", description="lane i is the device prefix + i")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.a.underlay_address.version != self.b.underlay_address.version:
            raise ValueError("the underlay addresses of both gateways must be of the same IP version")
        if self.a.underlay_address == self.b.underlay_address:
            raise ValueError("both gateways have the same underlay address")
        if self.lane_network.num_addresses < 2 * MAX_LANES:
            raise ValueError(f"lane_network needs room for {MAX_LANES} lanes: a /25 or larger")
        for near in self.a.inner_networks:
            for far in self.b.inner_networks:
                if near.version == far.version and near.overlaps(far):
                    raise ValueError(f"the inner networks {near} at a and {far} at b overlap")
        return self

    def gateway(self, name: Gateway) -> SiteGateway:
        """The gateway of that name."""
        return self.a if name == "a" else self.b

    def lane_address(self, name: Gateway, lane: int) -> str:
        """Address of a lane's device at one gateway, without its prefix length of 31."""
        return str(self.lane_network[2 * lane + (0 if name == "a" else 1)])

    def interface(self, lane: int) -> str:
        """Name of a lane's device, the same at both gateways."""
        return f"{self.interface_prefix}{lane}"


NETNS_SITE = Site(
    a=SiteGateway(
        underlay_address=IPv4Address("198.18.0.1"),
        inner_networks=(IPv4Network("198.19.1.0/24"),),
        inner_address=IPv4Address("198.19.1.1"),
    ),
    b=SiteGateway(
        underlay_address=IPv4Address("198.18.0.2"),
        inner_networks=(IPv4Network("198.19.2.0/24"),),
        inner_address=IPv4Address("198.19.2.1"),
    ),
)
"""The addresses of the netns testbed (ARCHITECTURE.md), out of the range that RFC 2544 reserves for benchmarks."""
