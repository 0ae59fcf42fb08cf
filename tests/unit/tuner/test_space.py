from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_loop import host_space

from tuner.candidate import GATEWAYS, Candidate, GatewayCpuSets, StageCpuSets, parse_cpulist
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Narrowing

TWO_CPUS = Topology.uniform(cores_per_node=2)
LARGE = Topology.uniform(nodes=2, cores_per_node=8, threads_per_core=2, nic_node=1)

SPACES = [
    host_space(TWO_CPUS, shared=True),
    host_space(LARGE, shared=False, underlay_mtu=9000, symmetric_traffic=True),
    host_space(LARGE, shared=True, narrowing=Narrowing(placement_per_gateway=True)),
    host_space(Topology.uniform(cores_per_node=1), shared=True, engines=("wireguard-go",)),
    host_space(Topology.uniform(cores_per_node=3, threads_per_core=2), shared=False),
    host_space(TWO_CPUS, shared=True, narrowing=Narrowing(crypto_workers=(1, 64), lanes=(1, 40))),
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SPACES), st.data())
def test_every_point_is_a_valid_candidate_and_comes_back(space: SearchSpace, data: st.DataObject) -> None:
    params = space.grid_params(data.draw(st.integers(0, space.grid_size - 1)))
    candidate = space.candidate(params)
    assert Candidate.model_validate(candidate.model_dump()) == candidate
    for gateway in GATEWAYS:
        for text in getattr(candidate.cpu_sets, gateway).used().values():
            assert set(parse_cpulist(text)) <= set(space.topologies[gateway].usable_cpus)
    assert space.canonical(candidate) == candidate
    assert candidate in space
    assert space.candidate(space.params_of(candidate)) == candidate


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SPACES), st.data())
def test_neighbours_are_in_the_space_and_elsewhere(space: SearchSpace, data: st.DataObject) -> None:
    params = space.grid_params(data.draw(st.integers(0, space.grid_size - 1)))
    for neighbour in space.neighbours(params):
        assert neighbour != params
        space.candidate(neighbour)


@pytest.mark.parametrize("space", [SPACES[0], SPACES[3]])
def test_size_counts_each_combination_once(space: SearchSpace) -> None:
    combinations = {tuple(space.grid_params(index).items()) for index in range(space.grid_size)}
    assert space.size == len(combinations)


def test_baseline_is_what_stock_does() -> None:
    assert SPACES[0].baseline() == Candidate(mode="pipelined", lanes=1, crypto_workers=2)
    assert SPACES[3].baseline() == Candidate(engine="wireguard-go", mode=None)


def test_experts_are_distinct_members_other_than_the_baseline() -> None:
    for space in SPACES:
        experts = space.expert_candidates()
        assert len({expert.key for expert in experts}) == len(experts)
        assert space.baseline().key not in {expert.key for expert in experts}
        assert all(expert in space for expert in experts)
    assert SPACES[1].expert_candidates()[0].lanes == 8, "a lane for each core on the NIC's node"


def test_two_cpus_have_lanes_one_and_two_and_no_numa_policy() -> None:
    tunables = {tunable["name"]: tunable for tunable in SPACES[0].describe()}
    assert tunables["lanes"]["choices"] == [1, 2]
    assert "numa_policy" not in tunables
    assert tunables["crypto_workers"]["applies_when"] == {"engine": ["wirelane"], "mode": ["pipelined"]}
    assert tunables["mtu"]["choices"] == [1280, 1420]
    assert {"name", "label", "unit", "choices", "ordered", "applies_when"} == set(tunables["mtu"])


def test_jumbo_underlay_offers_larger_mtus_that_fit() -> None:
    mtus = next(tunable.choices for tunable in SPACES[1].tunables if tunable.name == "mtu")
    assert max(mtus) > 8000
    assert max(mtus) <= 9000 - 80


def test_small_underlay_bounds_the_baseline_too() -> None:
    space = host_space(TWO_CPUS, shared=True, underlay_mtu=1400)
    assert space.baseline().mtu == 1320


def test_narrowing_fixes_narrows_and_adds() -> None:
    space = host_space(TWO_CPUS, shared=True, narrowing=Narrowing(mode="inline", lanes=[3], mtu=[1300, 1380]))
    tunables = {tunable.name: tunable.choices for tunable in space.tunables}
    assert tunables["mode"] == ("inline",)
    assert tunables["lanes"] == (3,)
    assert tunables["mtu"] == (1300, 1380)
    assert "crypto_workers" not in tunables


def test_own_cpu_sets_replace_the_generated_placements() -> None:
    own = GatewayCpuSets(a=StageCpuSets(tx="0", rx="1"), b=StageCpuSets(tx="1", rx="0"))
    space = host_space(TWO_CPUS, shared=True, narrowing=Narrowing(engine="wirelane", mode="inline", cpu_sets=own))
    candidates = [space.candidate(space.grid_params(index)) for index in range(space.grid_size)]
    assert {candidate.cpu_sets for candidate in candidates} == {own}


def test_in_tree_wireguard_is_the_baseline_where_it_is_searched() -> None:
    engines = ("wirelane", "kernel")
    space = host_space(TWO_CPUS, shared=False, engines=engines)
    assert space.baseline() == Candidate(engine="kernel", mode=None)
    assert any(candidate.threaded_napi and candidate.cpu_sets.a.napi for candidate in space.expert_candidates())
    without = host_space(TWO_CPUS, shared=False, engines=engines, narrowing=Narrowing(engine="wirelane"))
    assert without.baseline().engine == "wirelane"
    assert all(candidate.engine == "wirelane" for candidate in without.expert_candidates())


def test_users_baseline_is_taken() -> None:
    own = Candidate(lanes=2, batch_packets=32)
    assert host_space(TWO_CPUS, shared=True, narrowing=Narrowing(baseline=own)).baseline() == own


@pytest.mark.parametrize(
    ("narrowing", "message"),
    [
        ({"lanes": 0}, "greater than or equal to 1"),
        ({"lanes": []}, "at least 1"),
        ({"lane": 2}, "Extra inputs"),
        ({"engine": "openvpn"}, "wirelane"),
        ({"mtu": 1500}, "1420 is the most"),
        ({"placement": "far"}, "'far' does not exist on these hosts; unpinned, near"),
        ({"mode": "inline", "crypto_workers": 2}, "leaves out"),
        ({"engine": "wireguard-go", "batch_packets": 8}, "tunable of wirelane"),
        ({"threaded_napi": True}, "tunable of kernel"),
        ({"spread": "bond", "lanes": 1}, "two lanes or more"),
        ({"engine": "wireguard-go", "spread": ["ecmp", "bond"]}, "tunable of wirelane"),
        ({"baseline": {"spread": "bond"}}, "two lanes or more"),
        ({"baseline": {"engine": "kernel", "mode": None, "lanes": 2, "spread": "bond"}}, "kernel has none"),
        (
            {"mode": "inline", "engine": "wirelane", "cpu_sets": {"a": {"tx": "7"}}},
            "gateway a: .*CPU 7.*usable are 0-1",
        ),
        ({"cpu_sets": {"a": {"tx": "0"}}}, "stage tx, which (wireguard-go|pipelined) does not have"),
        ({"cpu_sets": {"a": {"tx": "x"}}}, "not a CPU list"),
        ({"baseline": {"cpu_sets": {"b": {"tx": "9"}}}}, "gateway b: .*CPU 9"),
        ({"baseline": {"mtu": 9000}}, "does not fit the underlay"),
    ],
)
def test_impossible_narrowing_says_why(narrowing: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        host_space(TWO_CPUS, shared=True, narrowing=Narrowing.model_validate(narrowing))


def test_a_bond_is_searched_only_where_a_study_asks_for_it() -> None:
    asked = Narrowing(spread=("ecmp", "bond"), engine=("wirelane",))
    opened = host_space(TWO_CPUS, shared=True, narrowing=asked)
    closed = host_space(TWO_CPUS, shared=True, narrowing=Narrowing(engine=("wirelane",)))
    assert "spread" not in {tunable["name"] for tunable in closed.describe()}
    assert closed.size < opened.size < 2 * closed.size  # a bond of one lane is none
    tunable = next(tunable for tunable in opened.describe() if tunable["name"] == "spread")
    assert (tunable["choices"], tunable["applies_when"]) == (["ecmp", "bond"], {"engine": ["wirelane"], "lanes": [2]})
    bond = opened.canonical(Candidate(lanes=2, spread="bond"))
    params = opened.params_of(bond)
    assert params["spread"] == "bond" and opened.candidate(params) == bond
    assert bond not in closed
    assert {opened.candidate(one).spread for one in opened.neighbours(params)} == {"ecmp", "bond"}


def test_candidates_without_a_bond_keep_their_names() -> None:
    assert Candidate().key == Candidate(spread="ecmp").key != Candidate(lanes=2, spread="bond").key
    assert Candidate(lanes=2).key != Candidate(lanes=2, spread="bond").key
    assert ", bond," in Candidate(lanes=2, spread="bond").in_words()


def test_the_reader_of_a_bond_can_be_placed_in_either_mode() -> None:
    sets = GatewayCpuSets(a=StageCpuSets(tx="0-1", rx="0-1", read="1"))
    one = host_space(TWO_CPUS, shared=True).canonical(Candidate(lanes=2, spread="bond", cpu_sets=sets))
    assert one.cpu_sets.a.used().keys() == {"tx", "rx", "read"}
    with pytest.raises(ValueError, match="no stage 'read'"):
        Candidate(lanes=2, cpu_sets=sets)


def test_hosts_that_cannot_work_say_why() -> None:
    with pytest.raises(ValueError, match="no engine runs"):
        host_space(TWO_CPUS, shared=True, engines=())
    with pytest.raises(ValueError, match="RFC 8200"):
        host_space(TWO_CPUS, shared=True, underlay_mtu=1300)
    with pytest.raises(ValueError, match="wireguard-go does not run"):
        host_space(TWO_CPUS, shared=True, engines=("wirelane",), narrowing=Narrowing(engine="wireguard-go"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 3}, "lanes 3 is not one of"),
        ({"speed": 1}, "speed is not a tunable"),
        ({"crypto_workers": 1}, "crypto_workers is of no use here"),
    ],
)
def test_parameters_outside_the_space_are_refused(change: dict[str, int], message: str) -> None:
    params = SPACES[0].params_of(SPACES[0].expert_candidates()[0])
    with pytest.raises(ValueError, match=message):
        SPACES[0].candidate(params | change)


def test_a_candidate_of_another_host_is_not_in_the_space() -> None:
    assert Candidate(lanes=2, batch_packets=63) not in SPACES[0]
    assert Candidate(cpu_sets=GatewayCpuSets(a=StageCpuSets(tx="0"))) not in SPACES[0]
