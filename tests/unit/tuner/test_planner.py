from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.candidate import Candidate
from tuner.model import CostParameters, GatewayModel
from tuner.planner import PlannedHost, plan
from tuner.samples import Workload
from tuner.topology import Topology


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 400), st.sampled_from([(1, 1), (4, 1), (32, 2), (24, 4)]), st.sampled_from([1, 2]))
def test_a_plan_holds_what_it_promises(target: float, shape: tuple[int, int], threads: int) -> None:
    host = PlannedHost(cores=shape[0], nodes=shape[1], threads_per_core=threads, link_gbps=400)
    found = plan(host, target)
    assert found.modelled
    assert found.reached == (found.chosen.throughput_gbps >= target)
    if not found.reached:
        assert found.chosen.throughput_gbps == max(option.throughput_gbps for option in found.curve)
    topology = host.topology()
    for option in found.curve:
        assert 0 < option.throughput_gbps < 400
        assert option.data_plane_cpus <= len(topology.usable_cpus)
        for side in (option.candidate.cpu_sets.a, option.candidate.cpu_sets.b):
            topology.check(side.used())


def test_more_is_asked_of_more_lanes_until_the_link_is_full() -> None:
    host = PlannedHost(cores=32, nodes=2, link_gbps=100)
    small, large = plan(host, 9), plan(host, 90)
    assert small.chosen.lanes < large.chosen.lanes
    assert not plan(host, 99).reached
    assert plan(host, 99).chosen.limited_by == "the link"


def test_small_packets_are_harder() -> None:
    host = PlannedHost(cores=8, packet_bytes=64)
    assert plan(host, 10).chosen.throughput_gbps < plan(PlannedHost(cores=8), 10).chosen.throughput_gbps / 3


def test_cores_must_divide_over_the_nodes() -> None:
    with pytest.raises(ValueError, match="do not divide evenly"):
        plan(PlannedHost(cores=9, nodes=2), 10)


@pytest.mark.parametrize(
    ("costs", "bottleneck"),
    [
        (CostParameters(memory_gbytes_per_s=1), "memory bandwidth of gateway a"),
        (CostParameters(nic_queue_ns_per_packet=9000), "receive queues of the NIC"),
    ],
)
def test_memory_and_nic_queues_can_be_the_limit(costs: CostParameters, bottleneck: str) -> None:
    host = Topology.uniform(cores_per_node=8)
    model = GatewayModel({"a": host, "b": host}, shared_machine=False, costs=costs)
    prediction = model.predict(Candidate(lanes=8), Workload(flows=16))
    assert prediction.bottleneck == bottleneck
    # More lanes are more receive queues; the memory is the same.
    more = model.predict(Candidate(lanes=16), Workload(flows=16)).throughput_gbps / prediction.throughput_gbps
    assert more == pytest.approx(2 if "queues" in bottleneck else 1, rel=0.02)


def test_queues_grow_towards_the_capacity() -> None:
    host = Topology.uniform(cores_per_node=8)
    model = GatewayModel({"a": host, "b": host}, shared_machine=False)
    delays = [model.delay_us(Candidate(), Workload(), ratio) for ratio in (0.0, 0.5, 0.9, 0.99)]
    assert delays == sorted(delays)
    assert delays[3] > 10 * delays[0]
    with pytest.raises(ValueError, match="below its capacity"):
        model.delay_us(Candidate(), Workload(), 1.0)


def test_threaded_napi_lets_the_kernels_tunnels_scale() -> None:
    host = Topology.uniform(nodes=2, cores_per_node=16)
    model = GatewayModel({"a": host, "b": host}, shared_machine=False)
    stock, threaded = (
        model.predict(Candidate(engine="kernel", mode=None, lanes=16, threaded_napi=napi), Workload(flows=32))
        for napi in (False, True)
    )
    assert threaded.throughput_gbps > 2 * stock.throughput_gbps
