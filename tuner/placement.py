"""Which CPUs each stage runs on: legal placements by rule, and one canonical form for placements that behave alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from tuner.candidate import (
    GATEWAYS,
    Candidate,
    Gateway,
    GatewayCpuSets,
    StageCpuSets,
    format_cpulist,
    parse_cpulist,
)
from tuner.topology import Cpu, Topology

Rule = Literal["unpinned", "near", "spread", "far", "packed", "siblings"]
Division = Literal["together", "apart"]

RULES: dict[Rule, str] = {
    "unpinned": "the scheduler decides",
    "near": "a CPU of its own for each thread where possible, on the NIC's node",
    "spread": "a CPU of its own for each thread where possible, lanes dealt out over all nodes",
    "far": "as near, on the node most distant from the NIC",
    "packed": "all stages of a lane on one CPU, near the NIC",
    "siblings": "the stages of a lane on SMT siblings of one core, near the NIC",
}


class Placement(NamedTuple):
    """A placement rule; on a machine that both gateways share, also how they divide its CPUs."""

    rule: Rule
    division: Division = "together"

    @property
    def name(self) -> str:
        """Name in parameters and for people: "near", "near apart"."""
        return self.rule if self.division == "together" else f"{self.rule} apart"


def stage_threads(candidate: Candidate) -> dict[str, int]:
    """The most threads that each stage of the candidate has on one gateway; both directions of a stage counted."""
    if candidate.engine == "kernel":
        return {"napi": candidate.lanes} if candidate.threaded_napi else {}
    if candidate.engine != "wirelane":
        return {"process": candidate.lanes}
    if candidate.mode == "inline":
        return {"tx": candidate.lanes, "rx": candidate.lanes}
    both_directions = 2 * candidate.lanes
    return {
        "read": both_directions,
        "crypto": both_directions * (candidate.crypto_workers or 1),
        "write": both_directions,
    }


def legal_placements(topologies: Mapping[Gateway, Topology], shared_machine: bool) -> tuple[Placement, ...]:
    """Placements that can differ on these hosts: no node rules without nodes, no siblings without SMT, and the CPUs of
    a shared machine divided only where there are two cores or more."""
    hosts = tuple(topologies.values())
    rules: list[Rule] = ["near", "packed"]
    if any(len(host.nodes) > 1 for host in hosts):
        rules += ["spread", "far"]
    if any(len(core) > 1 for host in hosts for core in host.cores):
        rules.append("siblings")
    divisions: list[Division] = ["together"]
    if shared_machine and len(hosts[0].cores) > 1:
        divisions.append("apart")
    ordered = [rule for rule in RULES if rule in rules]
    return (Placement("unpinned"), *(Placement(rule, division) for rule in ordered for division in divisions))


def place(
    candidate: Candidate, placements: Mapping[Gateway, Placement], topologies: Mapping[Gateway, Topology]
) -> Candidate:
    """The candidate with the CPU sets that each gateway's placement gives it."""
    sets = {}
    for gateway in GATEWAYS:
        rule, topology = placements[gateway].rule, topologies[gateway]
        cores = _share(placements[gateway].division, gateway, topology.cores)
        sets[gateway] = StageCpuSets() if rule == "unpinned" else _stage_sets(candidate, rule, topology, cores)
    return candidate.model_copy(update={"cpu_sets": GatewayCpuSets(a=sets["a"], b=sets["b"])})


_Cores = Sequence[tuple[Cpu, ...]]


def _share(division: Division, gateway: Gateway, cores: _Cores) -> _Cores:
    """The cores that the gateway may use: all of them, or its half, taken node by node."""
    if division == "together":
        return cores
    by_node = sorted(cores, key=lambda core: (core[0].node, core[0].cpu))
    middle = len(by_node) // 2
    return by_node[:middle] if gateway == "a" else by_node[middle:]


def _stage_sets(candidate: Candidate, rule: Rule, topology: Topology, share: _Cores) -> StageCpuSets:
    cores = _cores_by_rule(rule, topology, share)
    # First threads of all cores come first: two threads of one core share its execution units.
    cpus = [core[k].cpu for k in range(max(map(len, cores))) for core in cores if k < len(core)]
    threads = stage_threads(candidate)
    groups: dict[str, Sequence[int]]
    if candidate.engine == "kernel":
        groups = {stage: cpus[:count] for stage, count in threads.items()}
    elif candidate.engine != "wirelane":
        groups = {"process": _process_cpus(rule, candidate.lanes, cores, cpus)}
    elif rule == "packed":
        per_lane = threads["crypto"] // threads["read"] if "crypto" in threads else 1
        groups = dict.fromkeys(threads, cpus[: candidate.lanes * per_lane])
    elif rule == "siblings":
        groups = _sibling_sets(threads, cores)
    else:
        groups = _divide(cpus, threads)
    return StageCpuSets(**{stage: format_cpulist(group) for stage, group in groups.items()})


def _cores_by_rule(rule: Rule, topology: Topology, share: _Cores) -> _Cores:
    if rule == "spread":
        return _dealt_by_node(share)

    def from_nic(node: int) -> tuple[int, int]:
        return topology.distance(topology.nic_node, node), node

    nodes = {core[0].node for core in share}
    node = max(nodes, key=from_nic) if rule == "far" else min(nodes, key=from_nic)
    return [core for core in share if core[0].node == node]


def _dealt_by_node(cores: _Cores) -> _Cores:
    """Cores in turn from each node, so that neighbouring lanes land on different nodes."""
    turn: dict[int, int] = {}
    keyed = []
    for core in cores:
        turn[core[0].node] = turn.get(core[0].node, 0) + 1
        keyed.append((turn[core[0].node], core[0].node, core))
    return [core for _, _, core in sorted(keyed, key=lambda item: item[:2])]


def _process_cpus(rule: Rule, lanes: int, cores: _Cores, cpus: Sequence[int]) -> Sequence[int]:
    if rule == "packed":
        return cpus[:lanes]
    if rule == "siblings":
        return [cpu.cpu for core in cores[:lanes] for cpu in core]
    return cpus


def _sibling_sets(threads: Mapping[str, int], cores: _Cores) -> dict[str, Sequence[int]]:
    first = [core[0].cpu for core in cores]
    second = [core[-1].cpu for core in cores]
    if "tx" in threads:
        return {"tx": first, "rx": second}
    return {"read": second, "crypto": first, "write": second}


def _divide(cpus: Sequence[int], threads: Mapping[str, int]) -> dict[str, Sequence[int]]:
    """Slices of the CPUs for the stages: one CPU a thread, in proportion where they do not suffice, all CPUs for all
    where there are fewer CPUs than stages."""
    total = sum(threads.values())
    if len(cpus) < len(threads):
        return dict.fromkeys(threads, cpus)
    spare = min(len(cpus), total) - len(threads)
    groups: dict[str, Sequence[int]] = {}
    begin = counted = given = 0
    for stage, count in threads.items():
        counted += count - 1
        until = spare * counted // max(1, total - len(threads))
        end = begin + 1 + until - given
        groups[stage], begin, given = cpus[begin:end], end, until
    return groups


# -- symmetry ---------------------------------------------------------------------------------------------------------

_Sets = dict[tuple[Gateway, str], tuple[int, ...]]
"""CPUs of each pinned stage of each gateway, ascending: thread k of the stage runs on element k mod length."""


def canonical(
    candidate: Candidate, topologies: Mapping[Gateway, Topology], *, shared_machine: bool, mirror: bool = False
) -> Candidate:
    """The representative of all candidates that differ from this one only by relabelling CPUs that are alike.

    CPUs are alike when swapping them changes nothing: threads of a core, cores of one type on a node, nodes with the
    same shape, NICs and distances. `mirror` adds swapping the gateways, which is only right when the traffic is the
    same both ways; it is ignored unless the hosts are identical. CPUs of a set that no thread reaches are dropped.
    Idempotent. Where relabelling would change the order of a stage's threads the candidate is left as it is: two
    candidates that behave alike may then stay apart, but different ones never become one.
    """
    sets = _reachable_sets(candidate)
    alternatives = [sets]
    if mirror and topologies["a"] == topologies["b"]:
        alternatives.append({("b" if gateway == "a" else "a", stage): cpus for (gateway, stage), cpus in sets.items()})
    forms = [_least_relabelled(alternative, topologies, shared_machine) for alternative in alternatives]
    best = min((form for form in forms if form is not None), key=_in_order, default=sets)
    stages = {
        gateway: StageCpuSets(
            **{stage: format_cpulist(cpus) for (owner, stage), cpus in best.items() if owner == gateway}
        )
        for gateway in GATEWAYS
    }
    return candidate.model_copy(update={"cpu_sets": GatewayCpuSets(a=stages["a"], b=stages["b"])})


def _in_order(sets: _Sets) -> list[tuple[Gateway, int, tuple[int, ...]]]:
    return sorted((gateway, _STAGE_ORDER.index(stage), cpus) for (gateway, stage), cpus in sets.items())


def _reachable_sets(candidate: Candidate) -> _Sets:
    threads = stage_threads(candidate)
    sets: _Sets = {}
    for gateway in GATEWAYS:
        for stage, text in getattr(candidate.cpu_sets, gateway).used().items():
            cpus = parse_cpulist(text)
            # The reader of a bond has no place of its own in the rules, and is one thread.
            sets[gateway, stage] = cpus if stage == "process" else cpus[: threads.get(stage, 1)]
    return sets


def _least_relabelled(sets: _Sets, topologies: Mapping[Gateway, Topology], shared_machine: bool) -> _Sets | None:
    """The first in order of the relabellings that keep the order of each stage's threads; None where none does."""
    if shared_machine:
        return min(_relabelled_on_host(sets, topologies["a"]), key=_in_order, default=None)
    # Two hosts are relabelled one without the other, so that the least of both together is the least of each.
    least: _Sets = {}
    for gateway in GATEWAYS:
        own = {key: cpus for key, cpus in sets.items() if key[0] == gateway}
        form = min(_relabelled_on_host(own, topologies[gateway]), key=_in_order, default=None)
        if form is None:
            return None
        least |= form
    return least


def _relabelled_on_host(sets: _Sets, topology: Topology) -> Iterator[_Sets]:
    if not sets:
        yield {}
        return
    keys = sorted(sets, key=lambda key: (key[0], _STAGE_ORDER.index(key[1])))
    position = {key: {cpu: k for k, cpu in enumerate(cpus)} for key, cpus in sets.items()}

    # A thread on a process-wide set may run on any of its CPUs, so only membership counts there.
    signature = {
        cpu: tuple(
            _ABSENT if cpu not in position[key] else 0 if key[1] == "process" else position[key][cpu] for key in keys
        )
        for cpu in topology.usable_cpus
    }
    ordered = {
        node: {
            shape: sorted(
                (sorted(core, key=lambda cpu: (signature[cpu.cpu], cpu.cpu)) for core in cores),
                key=lambda core: [signature[cpu.cpu] for cpu in core],
            )
            for shape, cores in topology.cores_by_shape[node].items()
        }
        for node in topology.nodes
    }
    for node_map in topology.node_symmetries:
        relabel: dict[int, int] = {}
        for node, target in node_map.items():
            for shape, cores in ordered[node].items():
                for source_core, target_core in zip(cores, topology.cores_by_shape[target][shape], strict=True):
                    relabel |= {one.cpu: other.cpu for one, other in zip(source_core, target_core, strict=True)}
        moved = {key: tuple(relabel[cpu] for cpu in cpus) for key, cpus in sets.items()}
        if all(list(cpus) == sorted(cpus) for (_, stage), cpus in moved.items() if stage != "process"):
            yield {key: tuple(sorted(cpus)) for key, cpus in moved.items()}


_ABSENT = 1 << 30
_STAGE_ORDER = tuple(StageCpuSets.model_fields)
