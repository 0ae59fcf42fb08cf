"""Simulated testbeds whose true optimum is known, because every candidate of their space was computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tuner.candidate import Candidate
from tuner.model import CostParameters, GatewayModel, Prediction
from tuner.samples import Workload
from tuner.simulation import Noise
from tuner.space import SearchSpace
from tuner.topology import Nic, Topology
from tuner.tunables import Narrowing

SAMPLE_S, OVERHEAD_S = 3.0, 1.5
BLOCK_S = SAMPLE_S + OVERHEAD_S


class KnownModel(GatewayModel):
    """A model that remembers what it predicted: the truth does not change from seed to seed."""

    def predict(self, candidate: Candidate, workload: Workload) -> Prediction:
        """See GatewayModel."""
        memory: dict[tuple[str, Workload], Prediction] = self.__dict__.setdefault("memory", {})
        key = (candidate.key, workload)
        if key not in memory:
            memory[key] = super().predict(candidate, workload)
        return memory[key]


@dataclass(frozen=True)
class Testbed:
    """Two equal gateways. `reported` is what the hosts say of themselves, `true` what they are: firmware lies."""

    name: str
    what: str
    true: Topology
    noise: Noise
    costs: CostParameters
    reported: Topology | None = None
    shared_machine: bool = False
    flows: int = 64
    narrowing: dict[str, Any] = field(default_factory=dict)

    @property
    def workload(self) -> Workload:
        """What is measured."""
        return Workload(direction="both", flows=self.flows, duration_s=SAMPLE_S)

    @cached_property
    def space(self) -> SearchSpace:
        """The space as the tuner sees it."""
        return self.space_with(Narrowing(**self.narrowing))

    def space_with(self, narrowing: Narrowing) -> SearchSpace:
        """The same hosts with another narrowing."""
        host = self.reported or self.true
        return SearchSpace.from_host(
            topologies={"a": host, "b": host},
            engines=("wirelane",),
            shared_machine=self.shared_machine,
            underlay_mtu=1500,
            narrowing=narrowing,
            symmetric_traffic=True,
        )

    @cached_property
    def model(self) -> KnownModel:
        """The truth."""
        return KnownModel({"a": self.true, "b": self.true}, self.shared_machine, self.costs)

    def truth(self, candidate: Candidate) -> float:
        """True throughput in Gbit/s."""
        return self.model.predict(candidate, self.workload).throughput_gbps

    @cached_property
    def every(self) -> dict[str, float]:
        """True throughput of every candidate of the space, by its key."""
        points = {tuple(self.space.grid_params(index).items()) for index in range(self.space.grid_size)}
        candidates = (self.space.candidate(dict(point)) for point in sorted(points, key=str))
        return {candidate.key: self.truth(candidate) for candidate in candidates}

    @cached_property
    def best_gbps(self) -> float:
        """The true optimum."""
        return max(self.every.values())


def _lying(nodes: int, cores_per_node: int, threads: int, true_nic_node: int) -> tuple[Topology, Topology]:
    true = Topology.uniform(
        nodes=nodes, cores_per_node=cores_per_node, threads_per_core=threads, nic_node=true_nic_node
    )
    return true, true.model_copy(update={"nics": (Nic(name="nic0", node=0),)})


_FAR, _FAR_REPORTED = _lying(2, 8, 1, true_nic_node=1)
_QUAD, _QUAD_REPORTED = _lying(4, 8, 1, true_nic_node=2)
_SMALL = {
    "batch_packets": [8, 16, 32, 64, 128],
    "mtu": [1280, 1420],
    "socket_buffer_bytes": [256 << 10, 1 << 20, 4 << 20],
}
_LARGE = _SMALL | {
    "crypto_workers": [1, 4],
    "numa_policy": ["local", "bind"],
    "socket_buffer_bytes": [256 << 10, 4 << 20],
}
# A CPU without wide vectors: encryption is what costs, so that a few fat flows want many crypto workers.
_SLOW_AEAD = 1.2

TESTBEDS: tuple[Testbed, ...] = (
    Testbed(
        "laptop",
        "1 socket, 4 cores shared by both ends; 1% noise",
        Topology.uniform(cores_per_node=4, nic_node=None),
        Noise(spread=0.01),
        CostParameters(),
        shared_machine=True,
        narrowing=_SMALL,
    ),
    Testbed(
        "office",
        "1 socket, 8 cores with SMT, many flows; 3% noise, 5% outliers",
        Topology.uniform(cores_per_node=8, threads_per_core=2),
        Noise(spread=0.03, outlier_rate=0.05),
        CostParameters(link_gbps=200),
        narrowing=_SMALL | {"crypto_workers": [1, 2, 4, 16]},
    ),
    Testbed(
        "fat flow",
        "2 sockets, 16 cores, one flow, slow AEAD: experts are wrong; 5% noise, drift of -15% an hour",
        Topology.uniform(nodes=2, cores_per_node=8),
        Noise(spread=0.05, drift_per_hour=-0.15),
        CostParameters(link_gbps=400, remote_node_ratio=0.8, aead_ns_per_byte=_SLOW_AEAD),
        flows=1,
        narrowing=_LARGE | {"crypto_workers": [1, 2, 4, 8]},
    ),
    Testbed(
        "wrong node",
        "2 sockets, 16 cores, firmware names the wrong node of the NIC; 5% noise",
        _FAR,
        Noise(spread=0.05),
        CostParameters(link_gbps=400, remote_node_ratio=4.0),
        reported=_FAR_REPORTED,
        narrowing=_LARGE,
    ),
    Testbed(
        "restless",
        "2 sockets, 16 cores with SMT, two flows; 5% noise, a wave of 15% every 10 minutes, 5% outliers",
        Topology.uniform(nodes=2, cores_per_node=8, threads_per_core=2),
        Noise(spread=0.05, swing=0.15, outlier_rate=0.05),
        CostParameters(link_gbps=400, remote_node_ratio=1.2, aead_ns_per_byte=0.8),
        flows=2,
        narrowing=_LARGE,
    ),
    Testbed(
        "noisy cloud",
        "1 socket, 8 cores, two flows, slow AEAD; 20% noise",
        Topology.uniform(cores_per_node=8),
        Noise(spread=0.2),
        CostParameters(link_gbps=200, aead_ns_per_byte=_SLOW_AEAD),
        flows=2,
        narrowing=_SMALL | {"crypto_workers": [1, 2, 8]},
    ),
    Testbed(
        "noisy sockets",
        "4 sockets, 32 cores, the NIC on another node than reported; 20% noise, 5% outliers, drift of -10% an hour",
        _QUAD,
        Noise(spread=0.2, outlier_rate=0.05, drift_per_hour=-0.1),
        CostParameters(link_gbps=800, remote_node_ratio=0.8),
        reported=_QUAD_REPORTED,
        narrowing=_LARGE,
    ),
    Testbed(
        "large",
        "4 sockets, 64 cores with SMT (128 CPUs), many flows; 10% noise",
        Topology.uniform(nodes=4, cores_per_node=16, threads_per_core=2),
        Noise(spread=0.1),
        CostParameters(link_gbps=800, remote_node_ratio=0.6),
        narrowing=_LARGE | {"lanes": [1, 4, 8, 16, 32, 64], "batch_packets": [8, 32, 64, 128], "mtu": [1420]},
    ),
)
