"""A gateway's CPUs, NUMA nodes and NICs, read from untrusted JSON, and the questions that placement asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import permutations
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.candidate import MAX_CPU, CpuSet, format_cpulist, parse_cpulist

MAX_NODES = 64
MAX_NICS = 256
_MAX_NODES_PERMUTED = 6
LOCAL_DISTANCE = 10
"""ACPI SLIT: the distance of a node to itself; other nodes are 11 to 254."""

Index = Annotated[int, Field(ge=0, le=1 << 20)]
NodeNumber = Annotated[int, Field(ge=0, lt=1024)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cpu(_Value):
    """One logical CPU. Two CPUs with the same socket and core are SMT siblings."""

    cpu: int = Field(ge=0, le=MAX_CPU, description="CPU number of the kernel")
    core: Index = Field(description="core id, unique within the socket")
    socket: Index = 0
    node: NodeNumber = Field(0, description="NUMA node")
    core_type: str = Field("", max_length=32, description="kind of core on a hybrid machine; empty where all are alike")


class Nic(_Value):
    """A network interface that can carry the underlay."""

    name: str = Field(min_length=1, max_length=32, pattern=r"^[^\s/]+$")
    node: NodeNumber | None = Field(None, description="NUMA node of its PCI slot; null for virtual devices")
    link_gbps: float | None = Field(None, gt=0, le=10_000)


class Topology(_Value):
    """What one gateway's hardware looks like. `Topology.model_validate(json_value)` raises ValueError with the reason.

    JSON: {"cpus": [{"cpu": 0, "core": 0, "socket": 0, "node": 0}, …],
           "node_distances": {"0": {"0": 10, "1": 21}, …}, "nics": [{"name": "eth0", "node": 0}], "allowed_cpus": "0-7"}
    Only `cpus` is required.
    """

    cpus: tuple[Cpu, ...] = Field(min_length=1, max_length=MAX_CPU + 1)
    node_distances: dict[NodeNumber, dict[NodeNumber, Annotated[int, Field(ge=1, le=255)]]] = Field(
        default_factory=dict, max_length=MAX_NODES, description="ACPI SLIT distances; empty: all remote nodes are alike"
    )
    nics: tuple[Nic, ...] = Field((), max_length=MAX_NICS, description="the underlay's NIC first")
    allowed_cpus: CpuSet = Field("", description="affinity mask of the lab on this host; empty: every CPU")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers = [cpu.cpu for cpu in self.cpus]
        if len(set(numbers)) != len(numbers):
            repeated = next(number for number in numbers if numbers.count(number) > 1)
            raise ValueError(f"CPU {repeated} is listed twice")
        nodes = {cpu.node for cpu in self.cpus}
        if len(nodes) > MAX_NODES:
            raise ValueError(f"{len(nodes)} NUMA nodes are more than {MAX_NODES}")
        for core, members in _by_core(self.cpus).items():
            if len({(cpu.node, cpu.core_type) for cpu in members}) > 1:
                raise ValueError(f"the CPUs of core {core[1]} in socket {core[0]} differ in NUMA node or core type")
        # Nodes without a CPU (memory only) may have distances, hence only the CPUs' own nodes are required.
        if self.node_distances:
            for node in nodes:
                missing = nodes - set(self.node_distances.get(node, {}))
                if missing:
                    raise ValueError(f"node_distances has no distance from node {node} to node {min(missing)}")
        stray = set(parse_cpulist(self.allowed_cpus)) - set(numbers)
        if stray:
            raise ValueError(f"allowed_cpus names CPUs that do not exist: {format_cpulist(stray)}")
        return self

    @cached_property
    def usable(self) -> tuple[Cpu, ...]:
        """The CPUs that a candidate may use, ascending by CPU number."""
        mask = set(parse_cpulist(self.allowed_cpus))
        return tuple(sorted((cpu for cpu in self.cpus if not mask or cpu.cpu in mask), key=lambda cpu: cpu.cpu))

    @cached_property
    def usable_cpus(self) -> tuple[int, ...]:
        """Numbers of the usable CPUs, ascending."""
        return tuple(cpu.cpu for cpu in self.usable)

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """NUMA nodes that have a usable CPU, ascending."""
        return tuple(sorted({cpu.node for cpu in self.usable}))

    @cached_property
    def cores(self) -> tuple[tuple[Cpu, ...], ...]:
        """Usable CPUs grouped by physical core (SMT siblings together), in order of each core's lowest CPU number."""
        return tuple(sorted(map(tuple, _by_core(self.usable).values()), key=lambda core: core[0].cpu))

    @cached_property
    def nic_node(self) -> int:
        """Node of the underlay's NIC; the lowest usable node where the NIC has none or none of its CPUs is usable."""
        node = self.nics[0].node if self.nics else None
        return node if node in self.nodes else self.nodes[0]

    @cached_property
    def cores_by_shape(self) -> dict[int, dict[tuple[str, int], list[tuple[Cpu, ...]]]]:
        """Of each node: its cores by core type and number of threads."""
        shapes: dict[int, dict[tuple[str, int], list[tuple[Cpu, ...]]]] = {node: {} for node in self.nodes}
        for core in self.cores:
            shapes[core[0].node].setdefault((core[0].core_type, len(core)), []).append(core)
        return shapes

    @cached_property
    def node_symmetries(self) -> tuple[dict[int, int], ...]:
        """Permutations of the nodes that keep shapes, NICs and distances, the identity first; only that on machines of
        many nodes."""
        identity = dict(zip(self.nodes, self.nodes, strict=True))
        if len(self.nodes) > _MAX_NODES_PERMUTED:
            return (identity,)
        profile = {
            node: (
                sorted((shape, len(cores)) for shape, cores in self.cores_by_shape[node].items()),
                sorted(nic.name for nic in self.nics if nic.node == node),
            )
            for node in self.nodes
        }
        mappings = (dict(zip(self.nodes, image, strict=True)) for image in permutations(self.nodes))
        return tuple(
            mapping
            for mapping in mappings
            if all(
                profile[one] == profile[mapping[one]]
                and all(self.distance(one, two) == self.distance(mapping[one], mapping[two]) for two in self.nodes)
                for one in self.nodes
            )
        )

    def check(self, cpu_sets: Mapping[str, str]) -> None:
        """Raises ValueError when the CPU set of a stage names a CPU that does not exist here or must not be used."""
        for stage, text in cpu_sets.items():
            stray = set(parse_cpulist(text)) - set(self.usable_cpus)
            if stray:
                raise ValueError(
                    f"CPU set {text!r} of stage {stage} names CPU {format_cpulist(stray)}, which is not usable;"
                    f" usable are {format_cpulist(self.usable_cpus)}"
                )

    def distance(self, from_node: int, to_node: int) -> int:
        """ACPI SLIT distance; 10 for the node itself, 20 for another node where the host reports none."""
        if from_node in self.node_distances:
            return self.node_distances[from_node].get(to_node, 2 * LOCAL_DISTANCE)
        return LOCAL_DISTANCE if from_node == to_node else 2 * LOCAL_DISTANCE

    def siblings(self, cpu: int) -> tuple[int, ...]:
        """Usable CPUs on the same core as `cpu`, itself included, ascending. Raises ValueError for an unusable CPU."""
        for core in self.cores:
            numbers = tuple(member.cpu for member in core)
            if cpu in numbers:
                return numbers
        raise ValueError(f"CPU {cpu} is not usable on this host; usable are {format_cpulist(self.usable_cpus)}")

    @classmethod
    def uniform(
        cls, *, nodes: int = 1, cores_per_node: int, threads_per_core: int = 1, nic_node: int | None = 0
    ) -> Topology:
        """A regular machine, one socket a node, CPUs numbered as x86 Linux does: first threads of all cores first."""
        cores = nodes * cores_per_node
        return cls(
            cpus=tuple(
                Cpu(
                    cpu=thread * cores + core,
                    core=core % cores_per_node,
                    socket=core // cores_per_node,
                    node=core // cores_per_node,
                )
                for thread in range(threads_per_core)
                for core in range(cores)
            ),
            node_distances={
                one: {other: LOCAL_DISTANCE if one == other else 21 for other in range(nodes)} for one in range(nodes)
            },
            nics=(Nic(name="nic0", node=nic_node),),
        )


def _by_core(cpus: tuple[Cpu, ...]) -> dict[tuple[int, int], list[Cpu]]:
    groups: dict[tuple[int, int], list[Cpu]] = {}
    for cpu in cpus:
        groups.setdefault((cpu.socket, cpu.core), []).append(cpu)
    return groups
