"""Settings of a gateway's kernel and NIC that a candidate may ask for: typed, so that nothing else reaches a host."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tuner.cpulist import CpuSet

Governor = Literal["performance", "powersave", "schedutil", "ondemand", "conservative"]
Qdisc = Literal["fq", "fq_codel", "pfifo_fast", "pfifo"]


class HostTuning(BaseModel):
    """Null leaves a setting as the host has it. Each exists only where the host offers it, on both gateways.

    CPU sets count for both gateways; "the interface" is the one that carries the tunnels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    socket_buffer_max_bytes: int | None = Field(
        None, ge=64 << 10, le=1 << 30, description="sysctls net.core.rmem_max and wmem_max"
    )
    netdev_budget: int | None = Field(None, ge=16, le=100_000, description="packets a softirq round may take")
    netdev_budget_us: int | None = Field(None, ge=100, le=1_000_000, description="microseconds it may take")
    netdev_max_backlog: int | None = Field(None, ge=16, le=10_000_000, description="packets that wait on a CPU at most")
    busy_poll_us: int | None = Field(None, ge=0, le=10_000, description="poll and select spin for so long; 0: never")
    busy_read_us: int | None = Field(None, ge=0, le=10_000, description="reads of a socket spin for so long; 0: never")
    irq_cpus: CpuSet | None = Field(None, min_length=1, description="interrupt k of the interface on CPU k mod n")
    rps_cpus: CpuSet | None = Field(None, description="CPUs that received packets are dealt out to; empty: RPS off")
    xps_cpus: CpuSet | None = Field(None, min_length=1, description="CPUs dealt out to the transmit queues")
    channels: int | None = Field(None, ge=1, le=1024, description="queue pairs of the interface")
    udp_rss_ports: bool | None = Field(
        None, description="the interface deals UDP flows out to its queues by their ports too, not by addresses alone"
    )
    ring_packets: int | None = Field(
        None, ge=16, le=65_536, description="descriptors of each receive and transmit ring"
    )
    coalesce_us: int | None = Field(None, ge=0, le=100_000, description="an interrupt waits so long for more packets")
    adaptive_coalescing: bool | None = Field(None, description="the driver chooses that time by itself")
    gro: bool | None = Field(None, description="generic receive offload")
    tso: bool | None = Field(None, description="TCP segmentation offload")
    gso: bool | None = Field(None, description="generic segmentation offload")
    udp_segmentation: bool | None = Field(None, description="UDP segmentation offload (tx-udp-segmentation)")
    udp_gro_forwarding: bool | None = Field(None, description="GRO for UDP that no socket asked for")
    qdisc: Qdisc | None = Field(None, description="queueing discipline of the interface")
    governor: Governor | None = Field(None, description="CPU frequency governor of every CPU")
    underlay_mtu: int | None = Field(None, ge=1280, le=65_535, description="MTU of the interface in bytes")

    def used(self) -> dict[str, Any]:
        """The settings that are asked for, in the order in which they are made: queues before what goes by queue."""
        return {name: value for name in ORDER if (value := getattr(self, name)) is not None}

    def in_words(self) -> list[str]:
        """Each setting for people: "netdev budget 600"."""
        shown = {True: "on", False: "off", "": "none"}
        return [f"{name.replace('_', ' ')} {shown.get(value, value)}" for name, value in self.used().items()]


AS_IT_IS = "as it is"
"""The choice of a search that leaves a setting as the host has it."""

HostChoice = bool | int | str
HostChoices = Annotated[
    dict[str, Annotated[tuple[HostChoice, ...], Field(min_length=1, max_length=64)]],
    AfterValidator(lambda given: {name: checked(name, values) for name, values in given.items()}),
]
"""Values to search by the name of a setting: {"netdev_budget": ["as it is", 300, 600]}."""


def checked(name: str, values: tuple[HostChoice, ...]) -> tuple[HostChoice, ...]:
    """The values in the setting's own form. Raises ValueError for no setting, and for a value that it cannot take."""
    if name not in HostTuning.model_fields:
        raise ValueError(f"there is no host setting {name!r}; there are {', '.join(sorted(ORDER))}")
    if all(value == AS_IT_IS for value in values):
        raise ValueError(f"{name} has no value to search but {AS_IT_IS!r}")
    return tuple(dict.fromkeys(value if value == AS_IT_IS else _own_form(name, value) for value in values))


def _own_form(name: str, value: HostChoice) -> HostChoice:
    try:
        own: HostChoice = getattr(HostTuning(**{name: value}), name)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name} cannot be {value!r}: {reason}") from error
    return own


ORDER = (
    "channels", "udp_rss_ports", "ring_packets", "adaptive_coalescing", "coalesce_us", "gro", "tso", "gso",
    "udp_segmentation", "udp_gro_forwarding", "qdisc", "underlay_mtu", "irq_cpus", "rps_cpus", "xps_cpus", "governor",
    "socket_buffer_max_bytes", "netdev_budget", "netdev_budget_us", "netdev_max_backlog", "busy_poll_us",
    "busy_read_us",
)  # fmt: skip
"""Undone the other way round: the kernel's own qdisc, which it dimensions by the MTU, comes back after that."""
assert set(ORDER) == set(HostTuning.model_fields)  # noqa: S101 - a field without a place would never be set
