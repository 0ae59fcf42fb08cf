"""What one measurement says: one workload for one duration on one applied candidate, with both gateways' telemetry."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.rate_search import RateGoal, RateResult

Tool = Literal["iperf3", "pktgen"]
Direction = Literal["forward", "reverse", "both"]


IMIX = ((64, 7), (570, 4), (1400, 1))
"""Inner packet sizes in bytes and how many of each: simple IMIX, its largest packet cut to what fits a tunnel."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Value):
    """Traffic offered to the link. `forward` flows from gateway a to gateway b."""

    tool: Tool = "iperf3"
    protocol: Literal["tcp", "udp"] = "tcp"
    direction: Direction = "forward"
    flows: int = Field(4, ge=1, le=128, description="flows in each direction; spread evenly over the lanes on purpose")
    duration_s: float = Field(3.0, gt=0, le=3600)
    packet_bytes: int | None = Field(
        None, ge=64, le=9000, description="inner IP packet size for udp and pktgen; null: the tunnel's MTU"
    )
    imix: bool = Field(False, description="for pktgen, in place of a size: 64, 570 and 1400 bytes, 7:4:1 in packets")
    offered_load_gbps: float | None = Field(None, gt=0, le=1000, description="for udp; null: as fast as the sender can")
    offered_load_pps: float | None = Field(None, gt=0, le=1e9, description="for pktgen; null: as fast as it can")
    rate_search: RateGoal | None = Field(
        None,
        description="for udp: search the highest rate that meets this goal (NDR, PDR); an offered load is then the most"
        " that is tried, and duration_s the length of a final trial",
    )
    latency_probe: bool = Field(False, description="send echo requests through every lane while the load runs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tool == "pktgen" and self.protocol != "udp":
            raise ValueError("pktgen sends udp: set protocol to udp")
        if self.imix and (self.tool != "pktgen" or self.packet_bytes is not None):
            raise ValueError("imix goes with pktgen, and without packet_bytes")
        if self.tool == "pktgen" and self.direction == "both":
            raise ValueError("pktgen measures one direction at a time: forward or reverse")
        if self.offered_load_gbps is not None and (self.tool, self.protocol) != ("iperf3", "udp"):
            raise ValueError("offered_load_gbps is for iperf3 udp")
        if self.offered_load_pps is not None and self.tool != "pktgen":
            raise ValueError("offered_load_pps is for pktgen")
        if self.rate_search is not None and self.protocol != "udp":
            raise ValueError("rate_search needs udp: tcp chooses its own rate")
        if self.rate_search is not None and self.rate_search.final_trial_duration_s != self.duration_s:
            raise ValueError("duration_s is the length of a final trial: set it to rate_search.final_trial_duration_s")
        if self.latency_probe and (self.tool == "pktgen" or self.rate_search is not None):
            raise ValueError("latency_probe goes with an iperf3 load, and not with a rate_search")
        return self

    @property
    def name(self) -> str:
        """Short name for people: "tcp forward", "pktgen 64 B forward", "NDR, pktgen IMIX forward"."""
        size = "IMIX" if self.imix else f"{self.packet_bytes or 'MTU'} B"
        kind = f"pktgen {size}" if self.tool == "pktgen" else self.protocol
        sought = f"{self.rate_search.name}, " if self.rate_search else ""
        return f"{sought}{kind} {self.direction}{' with latency' if self.latency_probe else ''}"

    def mean_packet_bytes(self, mtu: int) -> float:
        """Mean size of its inner packets in a tunnel of this MTU."""
        if not self.imix:
            return self.packet_bytes or mtu
        return sum(min(size, mtu) * count for size, count in IMIX) / sum(count for _, count in IMIX)


class StageUsage(_Value):
    """CPU time of the data plane's threads of one stage during a sample."""

    threads: int = Field(ge=0, le=8192)
    busy_cpus: float = Field(ge=0, description="CPUs that they keep busy together")
    busiest_thread_ratio: float = Field(ge=0, description="share of one CPU that the busiest of them uses")


class SoftnetUsage(_Value):
    """Received packets of one CPU between the looks before and after a sample."""

    packets: int = Field(ge=0)
    backlog_drops: int = Field(ge=0, description="more waited than net.core.netdev_max_backlog")
    budget_exhausted: int = Field(ge=0, description="times that net.core.netdev_budget ended a round with work left")


class Unfitness(_Value):
    """What disturbed a host while a sample was taken."""

    kind: Literal["steal", "throttling", "foreign_load", "foreign_traffic", "canary", "changed_host", "undone_setting"]
    gateway: Literal["a", "b"]
    value: float = Field(description="what was found, in the unit of the limit")
    limit: float
    words: str = Field(max_length=500)


class GatewayUsage(_Value):
    """What one gateway spent during a sample."""

    cpu_busy_ratio: dict[int, float] = Field(description="per CPU number: share of the sample's time it was not idle")
    data_plane_cpu_s: float = Field(
        ge=0, description="CPU seconds of the engine's processes, or of softirqs and kernel workers"
    )
    steal_ratio: float = Field(0.0, ge=0, le=1, description="share of time that the hypervisor took away")
    stages: dict[str, StageUsage] = Field({}, description="by stage; empty where the engine does not tell")
    drops: dict[str, int] = Field({}, description="packets dropped by the engine during the sample, by reason")
    softirq_ratio: dict[int, float] = Field({}, description="per CPU number: share of the time spent in softirqs")
    softnet: dict[int, SoftnetUsage] = Field({}, description="per CPU number: what it received for the network stack")
    queues: dict[str, dict[str, int]] = Field(
        {},
        description="of the link's interface, by queue: packets, bytes, drops, as far as its driver counts them",
        examples=[{"rx 0": {"packets": 81234, "drops": 0}}],
    )
    canary_ms: float | None = Field(None, gt=0, description="a small fixed piece of work on one CPU before the sample")


class Reference(_Value):
    """What the hosts can do without a tunnel: measured once a study, for distances and never for a verdict."""

    raw_gbps: float | None = Field(None, gt=0, description="TCP over the underlay, Gbit/s; null: not measured")
    aead_gbps: dict[Literal["a", "b"], float] = Field({}, description="what one CPU of each gateway encrypts, Gbit/s")
    aead_backend: dict[Literal["a", "b"], str] = Field({}, examples=[{"a": "ifma", "b": "ifma"}])
    packet_bytes: int | None = Field(None, description="of the packets that were encrypted")
    argv: tuple[tuple[str, ...], ...] = Field((), description="exact command lines of the tools")
    tool_version: str = ""
    detail: str | None = Field(None, description="what could not be measured, and why")
    simulated: bool = False


class Latency(_Value):
    """Round trips through the tunnel while a workload ran, in milliseconds, as the kernel stamped the answers."""

    p50_ms: float = Field(gt=0)
    p90_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    max_ms: float = Field(gt=0)
    sent: int = Field(ge=1, description="echo requests")
    lost: int = Field(ge=0, description="requests without an answer")


class Sample(_Value):
    """One workload, one duration. Rates are what the receiver counted; ratios are between 0 and 1."""

    workload: Workload
    started_at: datetime
    duration_s: float = Field(gt=0, description="measured, not asked for")
    throughput_gbps: float = Field(ge=0, description="goodput of all flows and directions, 1e9 bit/s")
    packets_per_s: float = Field(ge=0, description="inner packets that arrived")
    offered_pps: float | None = Field(None, ge=0, description="inner packets that were really sent; null for tcp")
    loss_ratio: float | None = Field(None, ge=0, le=1, description="null for tcp")
    retransmits: int | None = Field(None, ge=0, description="null for udp")
    latency: Latency | None = Field(None, description="null unless the workload asks for it")
    lane_shares: tuple[float, ...] = Field(description="each lane's share of the inner bytes, in lane order; sums to 1")
    gateways: dict[Literal["a", "b"], GatewayUsage]
    data_plane_cpu_s_per_gbit: float = Field(ge=0, description="both gateways' engine CPU seconds per Gbit carried")
    rate: RateResult | None = Field(
        None, description="of a rate search; the other figures are then those of its trial at the lower bound"
    )
    argv: tuple[tuple[str, ...], ...] = Field(description="exact command lines of the tools")
    tool_version: str
    warnings: tuple[str, ...] = ()
    simulated: bool = False
    emulated: bool = Field(False, description="measured on emulated CPUs: to be compared with its like only, if at all")
    unfit: tuple[Unfitness, ...] = Field(
        (), description="what disturbed the hosts meanwhile; empty: nothing that is known"
    )
    fingerprints: dict[Literal["a", "b"], str] = Field(
        {}, description="hash of each gateway's fingerprint as this was measured; empty: not known"
    )

    @property
    def data_plane_cpus(self) -> float:
        """CPUs that the data planes of both ends kept busy."""
        return sum(gateway.data_plane_cpu_s for gateway in self.gateways.values()) / self.duration_s

    @property
    def gbit_per_cpu_s(self) -> float:
        """Gbit carried per CPU-second of the data plane at both ends; 0 when nothing was carried."""
        return 1 / self.data_plane_cpu_s_per_gbit if self.data_plane_cpu_s_per_gbit > 0 else 0.0
