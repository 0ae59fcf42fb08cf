"""Capacity planning on the cost model: which mode, how many lanes and which placement would reach a target, and what
limits them. Everything here is modelled, never measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import MAX_LANES, Candidate, Mode
from tuner.model import CostParameters, GatewayModel, Prediction
from tuner.placement import Placement, Rule, place
from tuner.samples import Workload
from tuner.topology import Topology

DELAY_AT = 0.8
"""Share of its capacity at which a plan's delay is given: above it queues grow fast."""
_RULES: tuple[Rule, ...] = ("near", "spread", "unpinned")
_FEWER_CPUS = 0.98
"""Two plans whose CPU need differs by less are alike; the one with fewer lanes is simpler to run."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedHost(_Value):
    """The gateways that a plan is for; both ends alike, the NIC on node 0."""

    cores: int = Field(ge=1, le=1024, description="physical cores of one gateway")
    nodes: int = Field(1, ge=1, le=16, description="NUMA nodes that they are on")
    threads_per_core: int = Field(1, ge=1, le=2)
    link_gbps: float = Field(100.0, gt=0, le=10_000)
    mtu: int = Field(1420, ge=1280, le=65455)
    packet_bytes: int | None = Field(None, ge=64, le=9000, description="of UDP packets; null: bulk TCP")

    def topology(self) -> Topology:
        """Raises ValueError when the cores do not divide evenly."""
        if self.cores % self.nodes:
            raise ValueError(f"{self.cores} cores do not divide evenly over {self.nodes} NUMA nodes")
        return Topology.uniform(
            nodes=self.nodes, cores_per_node=self.cores // self.nodes, threads_per_core=self.threads_per_core
        )


class Option(_Value):
    """One configuration and what the model expects of it."""

    mode: Mode
    lanes: int
    placement: str
    candidate: Candidate
    throughput_gbps: float
    limited_by: str
    data_plane_cpus: float = Field(description="CPUs kept busy at the busier end")
    delay_us: float = Field(description="mean delay from gateway to gateway at 80% of the throughput")


class Plan(_Value):
    """The answer: the cheapest option that reaches the target, or the best there is."""

    modelled: bool = True
    host: PlannedHost
    target_gbps: float
    reached: bool
    chosen: Option
    curve: tuple[Option, ...] = Field(description="the best placement for each mode and number of lanes")

    def in_words(self) -> str:
        """Two sentences for people."""
        best = self.chosen
        lanes = "1 lane" if best.lanes == 1 else f"{best.lanes} lanes"
        what = f"{best.mode}, {lanes}, {best.placement}: {best.throughput_gbps:.1f} Gbit/s modelled"
        if self.reached:
            return f"{self.target_gbps:g} Gbit/s would be reached by {what}. Its limit is {best.limited_by}."
        return f"{self.target_gbps:g} Gbit/s would not be reached. The most is {what}; its limit is {best.limited_by}."


@dataclass(frozen=True)
class _Planner:
    model: GatewayModel
    topology: Topology
    workload: Workload
    mtu: int

    def options(self, mode: Mode, lanes: int) -> Iterator[Option]:
        for workers in self._workers(mode, lanes):
            base = Candidate(mode=mode, lanes=lanes, crypto_workers=workers, mtu=self.mtu)
            for rule in _RULES:
                if rule == "spread" and len(self.topology.nodes) == 1:
                    continue
                placement = Placement(rule)
                sides = {"a": placement, "b": placement}
                candidate = place(base, sides, self.model.topologies)  # type: ignore[arg-type]
                yield self._option(mode, lanes, rule, candidate, self.model.predict(candidate, self.workload))

    def _workers(self, mode: Mode, lanes: int) -> Sequence[int | None]:
        if mode == "inline":
            return (None,)
        most = max(1, min(32, len(self.topology.usable_cpus) // lanes))
        return sorted({1, max(1, most // 2), most})

    def _option(self, mode: Mode, lanes: int, rule: Rule, candidate: Candidate, prediction: Prediction) -> Option:
        return Option(
            mode=mode,
            lanes=lanes,
            placement=rule,
            candidate=candidate,
            throughput_gbps=prediction.throughput_gbps,
            limited_by=prediction.bottleneck,
            data_plane_cpus=max(prediction.data_plane_cpus("a"), prediction.data_plane_cpus("b")),
            delay_us=self.model.delay_us(candidate, self.workload, DELAY_AT),
        )


def plan(host: PlannedHost, target_gbps: float, costs: CostParameters | None = None) -> Plan:
    """The plan for two such gateways that forward other hosts' traffic. `costs`: those of a calibrated machine of the
    same kind; None: the defaults. Raises ValueError for an impossible host."""
    topology = host.topology()
    # A gateway carries traffic, it does not make it: no generator takes CPUs away.
    costs = replace(costs or CostParameters(), link_gbps=host.link_gbps, generator_ns_per_byte=0.0)
    costs = replace(costs, generator_ns_per_packet=0.0, generator_udp_ns_per_packet=0.0)
    model = GatewayModel({"a": topology, "b": topology}, shared_machine=False, costs=costs)
    most_lanes = min(MAX_LANES, len(topology.usable_cpus))
    workload = Workload(flows=128) if host.packet_bytes is None else _small_packets(host.packet_bytes)
    planner = _Planner(model, topology, workload, host.mtu)
    one_lane_gbps = max(option.throughput_gbps for option in planner.options("inline", 1))
    just_enough = min(most_lanes, math.ceil(target_gbps / one_lane_gbps))
    lanes = sorted({just_enough, most_lanes, *(1 << k for k in range(7) if 1 << k <= most_lanes)})
    modes: tuple[Mode, ...] = ("inline", "pipelined")
    options = [option for mode in modes for count in lanes for option in planner.options(mode, count)]
    curve = tuple(
        max(
            (option for option in options if (option.mode, option.lanes) == (mode, count)),
            key=lambda option: option.throughput_gbps,
        )
        for mode in modes
        for count in lanes
    )
    enough = [option for option in options if option.throughput_gbps >= target_gbps]
    chosen = _cheapest(enough) if enough else max(options, key=lambda option: option.throughput_gbps)
    return Plan(host=host, target_gbps=target_gbps, reached=bool(enough), chosen=chosen, curve=curve)


def _small_packets(packet_bytes: int) -> Workload:
    return Workload(tool="pktgen", protocol="udp", flows=128, packet_bytes=packet_bytes)


def _cheapest(options: Sequence[Option]) -> Option:
    fewest_cpus = min(option.data_plane_cpus for option in options)
    alike = [option for option in options if option.data_plane_cpus * _FEWER_CPUS <= fewest_cpus]
    return min(alike, key=lambda option: (option.lanes, option.data_plane_cpus))
