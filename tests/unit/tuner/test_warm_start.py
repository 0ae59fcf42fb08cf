from __future__ import annotations

from typing import Any

from study_loop import host_space

from tuner.candidate import Candidate
from tuner.samples import Workload
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Narrowing
from tuner.warm_start import EarlierCandidate, EarlierStudy, Hosts, StudyMatch, warm_start

SMALL, LARGE = Topology.uniform(cores_per_node=4), Topology.uniform(cores_per_node=8)
FACTS = {"cpu": {"model": "Xeon 5220", "flags": ["avx2"], "hypervisor": False}, "kernel": "6.12.1", "machine": "x86_64"}
WORKLOADS = (Workload(flows=16, duration_s=3),)


def hosts(topology: Topology = SMALL, facts: Any = FACTS, **rest: bool) -> Hosts:
    marks = {"shared_machine": False, "simulated": False} | rest
    return Hosts({"a": topology, "b": topology}, {"a": facts, "b": facts}, **marks)


def best_of(space: SearchSpace) -> EarlierCandidate:
    """A point that no expert names."""
    params = space.params_of(Candidate(mode="inline", lanes=2, batch_packets=32, mtu=1420))
    return EarlierCandidate(space.candidate(params), params)


def earlier(study: str = "one", topology: Topology = SMALL, **rest: Any) -> EarlierStudy:
    given = {
        "hosts": hosts(topology),
        "objective": "throughput",
        "workloads": WORKLOADS,
        "best": (best_of(host_space(topology, shared=False)),),
    }
    return EarlierStudy(study=study, **(given | rest))


def matched(*studies: EarlierStudy, here: Hosts | None = None, space: SearchSpace | None = None) -> list[StudyMatch]:
    space = space or host_space(SMALL, shared=False)
    found = warm_start(space, here or hosts(), "throughput", WORKLOADS, studies)
    assert all(candidate in space for candidate in found.candidates)
    return list(found.studies)


def test_the_winner_on_the_same_hosts_comes_before_the_experts() -> None:
    space = host_space(SMALL, shared=False)
    found = warm_start(space, hosts(), "throughput", WORKLOADS, [earlier()])
    assert found.candidates == (best_of(space).candidate, *space.expert_candidates())
    assert [(one.match, one.used) for one in found.studies] == [(1.0, True)]


def test_without_earlier_studies_the_experts_begin() -> None:
    space = host_space(SMALL, shared=False)
    assert warm_start(space, hosts(), "throughput", WORKLOADS, []).candidates == space.expert_candidates()


def test_stock_settings_are_tried_where_the_baseline_is_something_else() -> None:
    own = Candidate(mode="inline", lanes=2, mtu=1420)
    space = host_space(SMALL, shared=False, narrowing=Narrowing(baseline=own))
    assert space.expert_candidates()[0] == space.stock()
    assert host_space(SMALL, shared=False).stock() not in host_space(SMALL, shared=False).expert_candidates()


def test_a_poor_match_is_refused_and_the_reason_said() -> None:
    other_cpu = FACTS | {"cpu": {"model": "EPYC 7763"}}
    refused = {
        "other CPU model: EPYC 7763, here Xeon 5220": earlier(hosts=hosts(facts=other_cpu)),
        "other architecture: aarch64, here x86_64": earlier(hosts=hosts(facts=FACTS | {"machine": "aarch64"})),
        "it looked for another goal: Gbit per CPU-second": earlier(objective="efficiency"),
        "its testbed was simulated": earlier(hosts=hosts(simulated=True)),
        "its CPUs were emulated": earlier(hosts=hosts(emulated=True)),
        "its gateways shared a machine, these do not": earlier(hosts=hosts(shared_machine=True)),
        "it found nothing better than its baseline": earlier(best=()),
    }
    for reason, study in refused.items():
        (one,) = matched(study)
        assert (one.used, one.reason, one.candidates) == (False, reason, ())
    (far,) = matched(earlier(topology=Topology.uniform(cores_per_node=32)))
    assert not far.used
    assert far.match < 0.2
    assert "32 cores then, 4 now" in far.reason


def test_the_nearest_study_comes_first_and_what_differs_is_said() -> None:
    newer_kernel = earlier("kernel", hosts=hosts(facts=FACTS | {"kernel": "6.18.2"}))
    rebuilt = earlier("rebuilt", hosts=hosts(facts=FACTS | {"kernel": "6.12.9"}))
    busier = earlier("workloads", workloads=(Workload(flows=1, duration_s=3),))
    found = matched(busier, newer_kernel, rebuilt)
    assert [one.study for one in found] == ["rebuilt", "kernel", "workloads"]
    assert found[0].used
    assert "kernel 6.18 then, 6.12 now of gateway a" in found[1].reason or not found[1].used
    assert found[0].match > found[1].match > found[2].match


def test_facts_that_are_missing_or_strange_do_no_harm() -> None:
    strange: list[Any] = [{}, {"cpu": "Xeon"}, {"cpu": {"model": None, "flags": 7}}, {"kernel": ["x"]}, {"programs": 3}]
    for facts in strange:
        (one,) = matched(earlier(hosts=hosts(facts=facts)))
        assert one.used, one


def test_a_placement_by_rule_fits_other_cpu_numbers() -> None:
    space = host_space(LARGE, shared=False)
    params = space.params_of(space.expert_candidates()[0]) | {"batch_packets": 32, "lanes": 4}
    study = earlier(topology=LARGE, best=(EarlierCandidate(space.candidate(params), params),))
    seven = Topology.uniform(cores_per_node=6)
    (one,) = matched(study, here=hosts(seven), space=host_space(seven, shared=False))
    assert one.used
    assert one.match == 0.75
    assert (one.candidates[0].lanes, one.candidates[0].batch_packets) == (4, 32)


def test_what_this_space_does_not_hold_is_refused_with_the_reason() -> None:
    (one,) = matched(earlier(), space=host_space(SMALL, shared=False, narrowing=Narrowing(batch_packets=[64])))
    assert not one.used
    assert one.reason == "nothing of it is new and legal here"
    assert "32 is not in the search space" in one.refused[0]
    own = EarlierCandidate(Candidate(mode="inline", lanes=2, mtu=1420), {"placement": "custom", "lanes": 2})
    (pinned,) = matched(earlier(best=(own,)))
    assert pinned.used, "parameters that name the other study's own CPU sets mean nothing here; the candidate does"
