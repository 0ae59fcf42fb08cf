from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_loop import host_space

from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.model import CostParameters, GatewayModel
from tuner.samples import Workload
from tuner.simulation import Noise, Simulation
from tuner.topology import Topology

TWO_CPUS = Topology.uniform(cores_per_node=2)
LARGE = Topology.uniform(nodes=2, cores_per_node=8, threads_per_core=2)
SHARED = GatewayModel({"a": TWO_CPUS, "b": TWO_CPUS}, shared_machine=True)
TWO_HOSTS = GatewayModel({"a": LARGE, "b": LARGE}, shared_machine=False, costs=CostParameters(link_gbps=400))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def gbps(model: GatewayModel, candidate: Candidate, flows: int = 16) -> float:
    return model.predict(candidate, Workload(flows=flows)).throughput_gbps


@pytest.mark.parametrize(
    ("candidate", "measured_gbps"),
    [(Candidate(lanes=1), 6.7), (Candidate(lanes=2), 9.5), (Candidate(engine="wireguard-go", mode=None), 3.6)],
)
def test_is_within_a_third_of_what_was_measured_on_two_cpus(candidate: Candidate, measured_gbps: float) -> None:
    """FACTS.md's figures of the two-core machine; the model claims no more than that."""
    assert gbps(SHARED, candidate) == pytest.approx(measured_gbps, rel=0.33)


def test_lanes_scale_inline_until_flows_run_out() -> None:
    one, four = (gbps(TWO_HOSTS, Candidate(lanes=lanes)) for lanes in (1, 4))
    assert four == pytest.approx(4 * one)
    assert gbps(TWO_HOSTS, Candidate(lanes=4), flows=1) == pytest.approx(gbps(TWO_HOSTS, Candidate(lanes=1), flows=1))


def test_pipelining_helps_one_fat_tunnel_on_many_cpus_and_costs_on_two() -> None:
    pipelined = Candidate(mode="pipelined", crypto_workers=4)
    assert gbps(TWO_HOSTS, pipelined) > 1.5 * gbps(TWO_HOSTS, Candidate())
    assert gbps(SHARED, pipelined) < gbps(SHARED, Candidate())


def test_the_reader_is_the_ceiling_of_a_bond() -> None:
    wide = Workload(flows=64)
    for mode in ({}, {"mode": "pipelined", "crypto_workers": 1}):
        ecmp, bond = (Candidate(lanes=8, spread=spread, **mode) for spread in ("ecmp", "bond"))
        assert gbps(TWO_HOSTS, bond, flows=64) < gbps(TWO_HOSTS, ecmp, flows=64)
        assert TWO_HOSTS.predict(bond, wide).bottleneck == "the bond's reader at a"
    reverse = TWO_HOSTS.predict(Candidate(lanes=8, spread="bond"), Workload(flows=64, direction="reverse"))
    assert reverse.bottleneck == "the bond's reader at b", "the gateway that sends reads the device"
    assert reverse.thread_cpus["a", "read"][0] < 0.1, "acknowledgements only"


def test_the_reader_of_a_bond_is_one_thread_whatever_its_lanes_and_wants_a_cpu() -> None:
    two, four = (TWO_HOSTS.predict(Candidate(lanes=lanes, spread="bond"), Workload(flows=64)) for lanes in (2, 4))
    for prediction in (two, four):
        (busy,) = prediction.thread_cpus["a", "read"]
        assert 0 < busy <= 1.001
    alone, crowded = (
        Candidate(
            lanes=2,
            spread="bond",
            cpu_sets=GatewayCpuSets(a=StageCpuSets(read=cpu, tx="0,1", rx="2,3"), b=StageCpuSets(tx="0,1", rx="2,3")),
        )
        for cpu in ("4", "0")
    )
    assert gbps(TWO_HOSTS, crowded) < 0.9 * gbps(TWO_HOSTS, alone)


def test_the_far_node_is_slower() -> None:
    space = host_space(LARGE, shared=False)
    near = space.params_of(space.expert_candidates()[0])
    assert gbps(TWO_HOSTS, space.candidate(near | {"placement": "far"})) < 0.95 * gbps(TWO_HOSTS, space.candidate(near))


def test_the_link_is_a_limit_and_named() -> None:
    model = GatewayModel({"a": LARGE, "b": LARGE}, False, CostParameters(link_gbps=1.0))
    prediction = model.predict(Candidate(), Workload())
    assert 0.9 < prediction.throughput_gbps < 1.0
    assert prediction.bottleneck == "the link"


def test_offered_load_below_capacity_arrives_whole() -> None:
    prediction = SHARED.predict(Candidate(), Workload(protocol="udp", offered_load_gbps=0.5))
    assert (prediction.throughput_gbps, prediction.bottleneck) == (0.5, "offered load")


def test_small_packets_are_bound_by_packets() -> None:
    small = SHARED.predict(Candidate(), Workload(tool="pktgen", protocol="udp", packet_bytes=64))
    large = SHARED.predict(Candidate(), Workload(tool="pktgen", protocol="udp"))
    assert small.packets_per_s > large.packets_per_s
    assert small.throughput_gbps < large.throughput_gbps / 5


SPACES = [(host_space(TWO_CPUS, shared=True), SHARED), (host_space(LARGE, shared=False), TWO_HOSTS)]
WORKLOADS = [
    Workload(flows=16),
    Workload(flows=1, direction="reverse"),
    Workload(direction="both"),
    Workload(protocol="udp", offered_load_gbps=2),
    Workload(tool="pktgen", protocol="udp", packet_bytes=64),
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SPACES), st.sampled_from(WORKLOADS), st.data())
def test_predictions_are_physical(case: tuple[object, GatewayModel], workload: Workload, data: st.DataObject) -> None:
    space, model = case
    candidate = space.candidate(space.grid_params(data.draw(st.integers(0, space.grid_size - 1))))  # type: ignore[attr-defined]
    prediction = model.predict(candidate, workload)
    assert 0 < prediction.throughput_gbps < model.costs.link_gbps
    assert prediction.throughput_gbps <= prediction.offered_gbps
    for busy in prediction.cpu_busy_ratio.values():
        assert all(0 <= ratio <= 1 + 1e-9 for ratio in busy.values())
    for gateway, topology in model.topologies.items():
        assert prediction.data_plane_cpus(gateway) <= len(topology.usable_cpus)
    assert sum(prediction.lane_shares) == pytest.approx(1)
    assert len(prediction.lane_shares) == candidate.lanes


# -- simulation -------------------------------------------------------------------------------------------------------


def throughputs(noise: Noise, count: int, seed: int = 0) -> np.ndarray:
    simulation = Simulation(SHARED, noise, seed)
    values = [
        simulation.measure(Candidate(), [Workload(flows=16)], elapsed_s=60.0 * k, started_at=NOW)[0].throughput_gbps
        for k in range(count)
    ]
    return np.array(values) / gbps(SHARED, Candidate())


def test_noise_has_the_spread_asked_for_and_is_repeatable() -> None:
    values = throughputs(Noise(spread=0.05), 400)
    assert np.std(np.log(values)) == pytest.approx(0.05, rel=0.15)
    assert np.mean(np.log(values)) == pytest.approx(0, abs=0.01)
    assert list(throughputs(Noise(spread=0.05), 5)) == list(values[:5])
    assert list(throughputs(Noise(spread=0.05), 5, seed=1)) != list(values[:5])


def test_drift_and_outliers() -> None:
    drifting = throughputs(Noise(spread=0, drift_per_hour=-0.2), 61)
    assert drifting[0] == pytest.approx(1)
    assert drifting[60] == pytest.approx(0.8)
    disturbed = throughputs(Noise(spread=0, outlier_rate=0.25, outlier_loss=0.5), 400)
    assert sorted(set(np.round(disturbed, 6))) == [0.5, 1.0]
    assert np.mean(disturbed == 0.5) == pytest.approx(0.25, abs=0.07)


def test_samples_are_complete_and_marked() -> None:
    tcp, udp = Simulation(SHARED).measure(
        Candidate(lanes=2),
        [Workload(duration_s=2), Workload(protocol="udp", duration_s=4)],
        elapsed_s=0,
        started_at=NOW,
    )
    assert tcp.simulated
    assert udp.simulated
    assert (tcp.loss_ratio, udp.retransmits) == (None, None)
    assert udp.loss_ratio is not None
    assert udp.loss_ratio > 0
    assert (udp.started_at - tcp.started_at).total_seconds() == 2
    carried_gbit = tcp.throughput_gbps * tcp.duration_s
    spent_s = sum(usage.data_plane_cpu_s for usage in tcp.gateways.values())
    assert tcp.data_plane_cpu_s_per_gbit == pytest.approx(spent_s / carried_gbit)
    assert "limited by" in tcp.warnings[0]
