from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.candidate import GATEWAYS, Candidate, GatewayCpuSets, StageCpuSets, format_cpulist, parse_cpulist
from tuner.model import GatewayModel
from tuner.placement import Placement, canonical, legal_placements, place
from tuner.samples import Workload
from tuner.topology import Cpu, Nic, Topology

SMT_HOST = Topology.uniform(nodes=2, cores_per_node=4, threads_per_core=2, nic_node=1)


def placed(candidate: Candidate, name: str, host: Topology, *, shared: bool = False) -> Candidate:
    hosts = {"a": host, "b": host}
    legal = {placement.name: placement for placement in legal_placements(hosts, shared)}
    return place(candidate, dict.fromkeys(GATEWAYS, legal[name]), hosts)


def sets_of(candidate: Candidate, gateway: str = "a") -> dict[str, str]:
    used: dict[str, str] = getattr(candidate.cpu_sets, gateway).used()
    return used


@pytest.mark.parametrize(
    ("host", "shared", "names"),
    [
        (Topology.uniform(cores_per_node=1), True, ["unpinned", "near", "packed"]),
        (Topology.uniform(cores_per_node=2), True, ["unpinned", "near", "near apart", "packed", "packed apart"]),
        (Topology.uniform(cores_per_node=2, threads_per_core=2), False, ["unpinned", "near", "packed", "siblings"]),
        (SMT_HOST, False, ["unpinned", "near", "spread", "far", "packed", "siblings"]),
    ],
)
def test_only_placements_that_the_host_has(host: Topology, shared: bool, names: list[str]) -> None:
    assert [placement.name for placement in legal_placements({"a": host, "b": host}, shared)] == names


def test_near_and_far_are_sides_of_the_nic() -> None:
    near = sets_of(placed(Candidate(lanes=2), "near", SMT_HOST))
    far = sets_of(placed(Candidate(lanes=2), "far", SMT_HOST))
    assert near == {"tx": "4-5", "rx": "6-7"}, "node 1 has the NIC"
    assert far == {"tx": "0-1", "rx": "2-3"}


def test_spread_deals_lanes_over_the_nodes() -> None:
    assert sets_of(placed(Candidate(lanes=2), "spread", SMT_HOST)) == {"tx": "0,4", "rx": "1,5"}


def test_packed_and_siblings_keep_a_lane_together() -> None:
    assert sets_of(placed(Candidate(lanes=2), "packed", SMT_HOST)) == {"tx": "4-5", "rx": "4-5"}
    lanes = sets_of(placed(Candidate(lanes=4), "siblings", SMT_HOST))
    assert lanes == {"tx": "4-7", "rx": "12-15"}
    assert all(SMT_HOST.siblings(tx) == (tx, tx + 8) for tx in parse_cpulist(lanes["tx"]))


def test_stages_share_cpus_only_when_there_are_too_few() -> None:
    two = Topology.uniform(cores_per_node=2)
    pipelined = Candidate(mode="pipelined", crypto_workers=2)
    assert sets_of(placed(pipelined, "near", two)) == {"read": "0-1", "crypto": "0-1", "write": "0-1"}
    assert sets_of(placed(Candidate(lanes=2), "near", two)) == {"tx": "0", "rx": "1"}


def test_apart_divides_a_shared_machine() -> None:
    host = Topology.uniform(cores_per_node=4, threads_per_core=2)
    candidate = placed(Candidate(lanes=4), "near apart", host, shared=True)
    ends = [{cpu for text in sets_of(candidate, end).values() for cpu in parse_cpulist(text)} for end in GATEWAYS]
    assert ends[0].isdisjoint(ends[1])
    assert ends[0] | ends[1] == set(host.usable_cpus)


def test_wireguard_go_is_confined_as_a_whole() -> None:
    assert sets_of(placed(Candidate(engine="wireguard-go", mode=None), "near", SMT_HOST)) == {"process": "4-7,12-15"}


def test_in_tree_wireguard_places_a_thread_a_lane_and_only_with_threaded_napi() -> None:
    threaded = Candidate(engine="kernel", mode=None, lanes=2, threaded_napi=True)
    assert sets_of(placed(threaded, "near", SMT_HOST)) == {"napi": "4-5"}
    softirq = threaded.model_copy(update={"threaded_napi": False})
    assert placed(softirq, "near", SMT_HOST) == softirq


# -- symmetry ---------------------------------------------------------------------------------------------------------

HOSTS = st.builds(
    Topology.uniform,
    nodes=st.integers(1, 3),
    cores_per_node=st.integers(1, 4),
    threads_per_core=st.integers(1, 2),
    nic_node=st.sampled_from([None, 0]),
)


@st.composite
def pinned(draw: st.DrawFn) -> tuple[Topology, bool, Candidate]:
    """A host and a candidate with any CPU sets on it."""
    host, shared = draw(HOSTS), draw(st.booleans())
    cpu_sets = st.sets(st.sampled_from(host.usable_cpus), max_size=4).map(format_cpulist)
    lanes = draw(st.integers(1, 4))
    if draw(st.booleans()):
        candidate = Candidate(lanes=lanes)
        stages = st.builds(StageCpuSets, tx=cpu_sets, rx=cpu_sets)
    else:
        candidate = Candidate(lanes=lanes, mode="pipelined", crypto_workers=draw(st.integers(1, 2)))
        stages = st.builds(StageCpuSets, read=cpu_sets, crypto=cpu_sets, write=cpu_sets)
    return host, shared, candidate.model_copy(update={"cpu_sets": GatewayCpuSets(a=draw(stages), b=draw(stages))})


@settings(max_examples=100, deadline=None)
@given(pinned())
def test_canonical_is_idempotent_and_behaves_alike(case: tuple[Topology, bool, Candidate]) -> None:
    host, shared, candidate = case
    hosts = {"a": host, "b": host}
    form = canonical(candidate, hosts, shared_machine=shared)
    assert canonical(form, hosts, shared_machine=shared) == form
    model = GatewayModel(hosts, shared)  # type: ignore[arg-type]
    before, after = model.predict(candidate, Workload()), model.predict(form, Workload())
    assert after.throughput_gbps == pytest.approx(before.throughput_gbps)
    assert sorted(after.cpu_busy_ratio["a"].values()) == pytest.approx(sorted(before.cpu_busy_ratio["a"].values()))


@settings(max_examples=100, deadline=None)
@given(HOSTS, st.booleans(), st.integers(1, 4), st.randoms(use_true_random=False), st.data())
def test_relabelled_cpus_collapse(host: Topology, shared: bool, lanes: int, rng: object, data: st.DataObject) -> None:
    """Swapping cores of a node changes nothing, as long as each stage's threads keep their order."""
    hosts = {"a": host, "b": host}
    name = data.draw(st.sampled_from([placement.name for placement in legal_placements(hosts, shared)]))
    candidate = canonical(placed(Candidate(lanes=lanes), name, host, shared=shared), hosts, shared_machine=shared)
    relabel = _shuffled_cores(host, rng)
    moved = _relabelled(candidate, relabel)
    if moved is not None:
        assert canonical(moved, hosts, shared_machine=shared) == candidate


def _shuffled_cores(host: Topology, rng: object) -> dict[int, int]:
    relabel: dict[int, int] = {}
    for node in host.nodes:
        cores = [core for core in host.cores if core[0].node == node]
        image = list(cores)
        rng.shuffle(image)  # type: ignore[attr-defined]
        for core, target in zip(cores, image, strict=True):
            relabel |= {one.cpu: other.cpu for one, other in zip(core, target, strict=True)}
    return relabel


def _relabelled(candidate: Candidate, relabel: Mapping[int, int]) -> Candidate | None:
    """The candidate on renamed CPUs; None where that changes which thread runs where."""
    ends = {}
    for gateway in GATEWAYS:
        stages = {}
        for stage, text in sets_of(candidate, gateway).items():
            cpus = [relabel[cpu] for cpu in parse_cpulist(text)]
            if cpus != sorted(cpus):
                return None
            stages[stage] = format_cpulist(cpus)
        ends[gateway] = StageCpuSets(**stages)
    return candidate.model_copy(update={"cpu_sets": GatewayCpuSets(a=ends["a"], b=ends["b"])})


def pair(tx: str, rx: str) -> Candidate:
    sets = StageCpuSets(tx=tx, rx=rx)
    return Candidate(lanes=2, cpu_sets=GatewayCpuSets(a=sets, b=sets))


def test_collapses_cores_that_are_alike_and_keeps_those_that_are_not() -> None:
    plain = Topology.uniform(cores_per_node=4)
    hybrid = Topology(
        cpus=tuple(Cpu(cpu=k, core=k, core_type="performance" if k < 2 else "efficiency") for k in range(4)),
        nics=(Nic(name="eth0", node=0),),
    )

    def form(candidate: Candidate, host: Topology) -> Candidate:
        return canonical(candidate, {"a": host, "b": host}, shared_machine=True)

    assert form(pair("0-1", "2-3"), plain) == form(pair("2-3", "0-1"), plain) == form(pair("0,2", "1,3"), plain)
    assert form(pair("0-1", "2-3"), hybrid) != form(pair("2-3", "0-1"), hybrid)
    # Lane 0 shares a CPU with lane 1 on one side only: neither cores nor lanes may be renamed into the other.
    assert form(pair("0-1", "1-2"), plain) != form(pair("0-1", "0,2"), plain)


def test_nodes_collapse_only_where_no_nic_tells_them_apart() -> None:
    virtual = Topology.uniform(nodes=2, cores_per_node=2, nic_node=None)
    wired = Topology.uniform(nodes=2, cores_per_node=2, nic_node=0)
    for host, same in ((virtual, True), (wired, False)):
        hosts = {"a": host, "b": host}
        forms = {canonical(pair(sets, sets), hosts, shared_machine=False) for sets in ("0-1", "2-3")}
        assert (len(forms) == 1) is same


def test_mirrored_gateways_collapse_only_under_symmetric_traffic() -> None:
    host = Topology.uniform(nodes=2, cores_per_node=2)
    one, other = StageCpuSets(tx="0", rx="1"), StageCpuSets(tx="2", rx="3")
    there = Candidate(cpu_sets=GatewayCpuSets(a=one, b=other))
    back = Candidate(cpu_sets=GatewayCpuSets(a=other, b=one))

    def same(b: Topology, *, mirror: bool) -> bool:
        hosts = {"a": host, "b": b}
        forms = {canonical(candidate, hosts, shared_machine=False, mirror=mirror) for candidate in (there, back)}
        return len(forms) == 1

    assert same(host, mirror=True)
    assert not same(host, mirror=False)
    assert not same(Topology.uniform(nodes=2, cores_per_node=3), mirror=True)


def test_cpus_that_no_thread_reaches_are_dropped() -> None:
    host = Topology.uniform(cores_per_node=4)
    form = canonical(pair("0-3", "0-3"), {"a": host, "b": host}, shared_machine=False)
    assert sets_of(form) == {"tx": "0-1", "rx": "0-1"}


def test_placement_names() -> None:
    assert Placement("near", "apart").name == "near apart"
