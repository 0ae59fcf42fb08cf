from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from study_loop import host_space

from tuner.ablation import MAX_STEPS, ablation_path
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.space import SearchSpace
from tuner.topology import Topology

SPACE: SearchSpace = host_space(Topology.uniform(cores_per_node=4, nodes=2, threads_per_core=2), shared=False)
INDEX = st.integers(0, SPACE.grid_size - 1)


@settings(max_examples=200, deadline=None)
@given(INDEX, INDEX, st.dictionaries(st.sampled_from([t.name for t in SPACE.tunables]), st.floats(0, 1)))
def test_every_path_is_legal_and_leads_from_the_baseline_to_the_winner(
    one: int, other: int, importance: dict[str, float]
) -> None:
    baseline, best = (SPACE.candidate(SPACE.grid_params(index)) for index in (one, other))
    path = ablation_path(baseline, best, importance)
    assert len(path) <= MAX_STEPS
    if baseline == best:
        assert not path
        return
    assert path[-1].candidate == best
    changed = [name for step in path for name in step.fields]
    assert len(changed) == len(set(changed))
    assert set(changed) == {n for n in Candidate.model_fields if getattr(baseline, n) != getattr(best, n)}
    at = baseline
    for step in path:
        differing = {n for n in Candidate.model_fields if getattr(at, n) != getattr(step.candidate, n)}
        assert differing == set(step.fields)
        at = step.candidate


def test_the_most_important_tunable_comes_first_and_what_belongs_together_moves_together() -> None:
    baseline = Candidate(mode="pipelined", crypto_workers=2)
    pinned = GatewayCpuSets(a=StageCpuSets(tx="0", rx="1"), b=StageCpuSets(tx="0", rx="1"))
    best = Candidate(mode="inline", lanes=2, batch_packets=128, cpu_sets=pinned)
    path = ablation_path(baseline, best, {"lanes": 0.6, "placement": 0.3, "mode": 0.05})
    assert [step.fields for step in path] == [
        ("lanes",),
        ("mode", "crypto_workers", "cpu_sets"),
        ("batch_packets",),
    ], "CPU sets of inline stages need inline mode, which has no crypto workers"


def test_a_change_of_engine_takes_along_what_the_engine_needs() -> None:
    pinned = GatewayCpuSets(a=StageCpuSets(process="0"), b=StageCpuSets(process="1"))
    baseline = Candidate(engine="wireguard-go", mode=None, cpu_sets=pinned)
    path = ablation_path(baseline, Candidate(lanes=2), {})
    assert path[0].fields == ("engine", "mode", "cpu_sets")


def test_a_long_path_ends_with_what_mattered_least() -> None:
    best = Candidate(mode="inline", lanes=4, mtu=1280, batch_packets=128, socket_buffer_bytes=1 << 20)
    path = ablation_path(Candidate(mode="pipelined", crypto_workers=1), best, {"mtu": 0.5, "lanes": 0.3, "mode": 0.1})
    assert len(path) == MAX_STEPS
    assert path[-1].fields == ("batch_packets", "socket_buffer_bytes")
