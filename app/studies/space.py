"""The search space of a study, made from what was asked for and from what the testbed is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.lab.driver import ProvisionedTestbed
from app.studies.schemas import StudyCreate
from tuner.candidate import Engine
from tuner.samples import Workload
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Narrowing


def search_space(spec: StudyCreate, provisioned: ProvisionedTestbed) -> SearchSpace:
    """The space of a study on a testbed. Raises ValueError that says what is impossible there."""
    gateways = provisioned.gateways
    engines = set(gateways["a"].engines) & set(gateways["b"].engines)
    return SearchSpace.from_host(
        topologies={name: Topology.model_validate(gateway.topology) for name, gateway in gateways.items()},
        engines=engines,
        shared_machine=provisioned.shared_machine,
        underlay_mtu=provisioned.underlay_mtu,
        narrowing=_narrowing(spec.space or Narrowing(), spec.engines),
        host_tunables=set(gateways["a"].host_tunables) & set(gateways["b"].host_tunables),
        symmetric_traffic=_is_symmetric(spec.workloads or ()),
    )


def _narrowing(narrowing: Narrowing, engines: Sequence[Engine] | None) -> Narrowing:
    return narrowing if engines is None else narrowing.model_copy(update={"engine": tuple(engines)})


def _is_symmetric(workloads: Sequence[Workload]) -> bool:
    """Whether the workloads load both directions alike."""
    balance: Counter[Workload] = Counter()
    for workload in workloads:
        neutral = workload.model_copy(update={"direction": "both"})
        balance[neutral] += {"forward": 1, "reverse": -1, "both": 0}[workload.direction]
    return not any(balance.values())
