"""Which earlier studies a search may learn from: those on hosts that are much like these, for the same goal.

A configuration carries over as far as what decided it is the same. Fingerprints are what hosts say of themselves: any
field may be missing or of another type, and what is not known on both sides counts neither for nor against a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import GATEWAYS, Candidate, Gateway
from tuner.objectives import OBJECTIVES, ObjectiveName
from tuner.samples import Workload
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Params

LEAST_MATCH = 0.6
"""Below it an earlier study is refused: its winners would be guesses like any other."""
MOST_STUDIES, MOST_CANDIDATES = 3, 4
"""Studies that a search starts from, and candidates of all of them; each costs a trial where hosts differ after all."""

# What a difference leaves of a match. They order studies by how much decides a placement or a rate, no more than that.
_OTHER_WORKLOAD, _OTHER_NODES, _OTHER_NIC_NODE, _OTHER_SMT = 0.85, 0.7, 0.8, 0.85
_OTHER_FLAGS, _OTHER_HYPERVISOR, _OTHER_NIC_DRIVER = 0.8, 0.7, 0.85
_OTHER_KERNEL, _OTHER_KERNEL_BUILD, _OTHER_PROGRAM = 0.9, 0.98, 0.97


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a testbed is, as far as a configuration depends on it."""

    topologies: Mapping[Gateway, Topology]
    fingerprints: Mapping[Gateway, Mapping[str, Any]]
    shared_machine: bool
    simulated: bool
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class EarlierCandidate:
    """A configuration that an earlier study confirmed, or tried with success."""

    candidate: Candidate
    params: Params
    """As that study's space named it: a placement by rule fits other CPU numbers as well. Empty: not known."""


@dataclass(frozen=True, slots=True)
class EarlierStudy:
    """A finished study, its best candidates first."""

    study: str
    hosts: Hosts
    objective: ObjectiveName
    workloads: tuple[Workload, ...]
    best: tuple[EarlierCandidate, ...]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyMatch(_Value):
    """What a search makes of one earlier study."""

    study: str
    match: float = Field(ge=0, le=1, description="how much alike hosts and workloads are; 1: no difference is known")
    used: bool
    reason: str = Field(description="what differs, or why it is refused", examples=["other CPU model: X, here Y"])
    candidates: tuple[Candidate, ...] = Field((), description="what the search starts from")
    refused: tuple[str, ...] = Field((), description="why others of its candidates cannot be tried here")


class WarmStart(_Value):
    """Where a search begins, and what of earlier studies it refused."""

    studies: tuple[StudyMatch, ...] = Field((), description="best match first")
    experts: tuple[Candidate, ...] = Field((), description="stock settings and an expert's rules")

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All of them in the order in which they are tried, each once."""
        every = (*(one for study in self.studies for one in study.candidates), *self.experts)
        return tuple({candidate.key: candidate for candidate in every}.values())


def warm_start(
    space: SearchSpace,
    hosts: Hosts,
    objective: ObjectiveName,
    workloads: Sequence[Workload],
    earlier: Iterable[EarlierStudy],
) -> WarmStart:
    """The best configurations of the nearest earlier studies, legal in this space, then the expert's rules.
    Deterministic; of studies that match alike the first given wins."""
    judged = [(one, *_match(one, hosts, objective, workloads)) for one in earlier]
    ranked = sorted(judged, key=lambda each: -each[1])
    found: list[StudyMatch] = []
    taken = {space.baseline().key}
    used = 0
    for study, match, reason in ranked:
        refusal = reason if match < LEAST_MATCH else "nearer studies are enough" if used >= MOST_STUDIES else ""
        left = MOST_CANDIDATES - sum(len(one.candidates) for one in found)
        candidates, refused = ((), ()) if refusal else _legal(space, study.best, taken, left)
        if not refusal and not candidates:
            refusal = "nothing of it is new and legal here"
        used += not refusal
        taken |= {candidate.key for candidate in candidates}
        found.append(
            StudyMatch(
                study=study.study,
                match=round(match, 2),
                used=not refusal,
                reason=refusal or reason,
                candidates=candidates,
                refused=refused,
            )
        )
    return WarmStart(studies=tuple(found), experts=space.expert_candidates())


def _legal(
    space: SearchSpace, best: Sequence[EarlierCandidate], taken: set[str], most: int
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Those of a study that this space holds, and why it does not hold the others."""
    legal: dict[str, Candidate] = {}
    refused = []
    for one in best:
        try:
            candidate = _adopted(space, one)
        except ValueError as error:
            refused.append(f"{one.candidate.in_words()}: {error}")
            continue
        if candidate.key not in taken and len(legal) < most:
            legal[candidate.key] = candidate
    return tuple(legal.values()), tuple(refused)


def _adopted(space: SearchSpace, one: EarlierCandidate) -> Candidate:
    """The candidate in this space. Raises ValueError that says what this space does not have."""
    by_rule = bool(one.params) and not any(str(value).startswith("custom") for value in one.params.values())
    if by_rule:
        return space.adopted(one.params)
    return space.candidate(space.params_of(one.candidate))


# -- how much alike ---------------------------------------------------------------------------------------------------


def _match(
    earlier: EarlierStudy, hosts: Hosts, objective: ObjectiveName, workloads: Sequence[Workload]
) -> tuple[float, str]:
    """Between 0 (refused whatever else) and 1, and what differs."""
    refusal = _refusal(earlier, hosts, objective)
    if refusal:
        return 0.0, refusal
    differences = [("other workloads", _OTHER_WORKLOAD)] if _loads(earlier.workloads) != _loads(workloads) else []
    match, words = 1.0, [words for words, _ in differences]
    for gateway in GATEWAYS:
        own = _differences(earlier.hosts, hosts, gateway)
        factor = 1.0
        for name, left in own:
            factor *= left
            words.append(name if hosts.shared_machine else f"{name} of gateway {gateway}")
        match = min(match, factor)  # the poorer end decides
    for _, left in differences:
        match *= left
    return match, "; ".join(dict.fromkeys(words)) or "the same hosts and workloads"


def _refusal(earlier: EarlierStudy, hosts: Hosts, objective: ObjectiveName) -> str:
    then = earlier.hosts
    if not earlier.best:
        return "it found nothing better than its baseline"
    if earlier.objective != objective:
        return f"it looked for another goal: {OBJECTIVES[earlier.objective].label}"
    kinds = (
        (then.simulated, hosts.simulated, "its testbed was simulated", "its testbed was real, this one is simulated"),
        (then.emulated, hosts.emulated, "its CPUs were emulated", "its CPUs were real, these are emulated"),
        (
            then.shared_machine,
            hosts.shared_machine,
            "its gateways shared a machine, these do not",
            "its gateways were two machines, these share one",
        ),
    )
    for before, now, was, was_not in kinds:
        if before != now:
            return was if before else was_not
    for gateway in GATEWAYS:
        for name, what in (("cpu model", "CPU model"), ("machine", "architecture")):
            before, now = _fact(then, gateway, name), _fact(hosts, gateway, name)
            if before and now and before != now:
                return f"other {what}: {before}, here {now}"
    return ""


def _fact(hosts: Hosts, gateway: Gateway, name: str) -> Any:
    """A fact by its path in the fingerprint; None where the host does not say."""
    value: Any = hosts.fingerprints.get(gateway, {})
    for key in name.split():
        value = value.get(key) if isinstance(value, Mapping) else None
    return value or None


def _loads(workloads: Sequence[Workload]) -> list[str]:
    """What is offered, however long it is measured."""
    return sorted(one.model_dump_json(exclude={"duration_s", "rate_search"}) for one in workloads)


def _differences(then: Hosts, now: Hosts, gateway: Gateway) -> list[tuple[str, float]]:
    """What differs between the gateway then and now, and what each difference leaves of a match."""
    one, other = then.topologies[gateway], now.topologies[gateway]
    found: list[tuple[str, float]] = []
    cores = len(one.cores), len(other.cores)
    if cores[0] != cores[1]:
        found.append((f"{cores[0]} cores then, {cores[1]} now", min(cores) / max(cores)))
    if len(one.usable_cpus) * cores[1] != len(other.usable_cpus) * cores[0]:
        found.append(("other SMT", _OTHER_SMT))
    if len(one.nodes) != len(other.nodes):
        found.append((f"{len(one.nodes)} NUMA nodes then, {len(other.nodes)} now", _OTHER_NODES))
    elif one.nic_node != other.nic_node:
        found.append(("NIC on another NUMA node", _OTHER_NIC_NODE))
    facts = (
        ("cpu flags", "other instruction sets", _OTHER_FLAGS),
        ("nic driver", "other NIC driver", _OTHER_NIC_DRIVER),
        ("programs", "other versions of the engines", _OTHER_PROGRAM),
    )
    for name, what, left in facts:
        before, after = _fact(then, gateway, name), _fact(now, gateway, name)
        if before and after and before != after:
            found.append((what, left))
    if _is_guest(then, gateway) != _is_guest(now, gateway):
        found.append(("virtual machine then or now, not both", _OTHER_HYPERVISOR))
    found += _kernels(_fact(then, gateway, "kernel"), _fact(now, gateway, "kernel"))
    return found


def _is_guest(hosts: Hosts, gateway: Gateway) -> bool:
    return bool(_fact(hosts, gateway, "cpu hypervisor"))


def _kernels(then: Any, now: Any) -> list[tuple[str, float]]:
    if not then or not now or then == now:
        return []
    releases = [".".join(str(kernel).split(".")[:2]) for kernel in (then, now)]
    if releases[0] == releases[1]:
        return [("another build of the kernel", _OTHER_KERNEL_BUILD)]
    return [(f"kernel {releases[0]} then, {releases[1]} now", _OTHER_KERNEL)]
