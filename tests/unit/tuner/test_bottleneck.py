from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tuner.bottleneck import Bottleneck, bottleneck
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.model import GatewayModel
from tuner.samples import GatewayUsage, Reference, Sample, StageUsage, Workload
from tuner.simulation import Noise, Simulation
from tuner.topology import Topology

PINNED = Candidate(lanes=1, cpu_sets=GatewayCpuSets(a=StageCpuSets(tx="0", rx="1"), b=StageCpuSets(tx="0", rx="1")))
REFERENCE = Reference(raw_gbps=20.0, aead_gbps={"a": 25.0, "b": 25.0})


def usage(busy: dict[int, float], **stages: tuple[int, float, float]) -> GatewayUsage:
    return GatewayUsage(
        cpu_busy_ratio=busy,
        data_plane_cpu_s=sum(cpus for _, cpus, _ in stages.values()),
        stages={
            name: StageUsage(threads=threads, busy_cpus=cpus, busiest_thread_ratio=busiest)
            for name, (threads, cpus, busiest) in stages.items()
        },
    )


def sample(a: GatewayUsage, b: GatewayUsage, gbps: float = 5.0, **workload: Any) -> Sample:
    return Sample(
        workload=Workload(**workload),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=1,
        throughput_gbps=gbps,
        packets_per_s=1,
        lane_shares=(1.0,),
        gateways={"a": a, "b": b},
        data_plane_cpu_s_per_gbit=0.2,
        argv=(),
        tool_version="",
    )


IDLE = usage({0: 0.3, 1: 0.3}, tx=(1, 0.2, 0.2), rx=(1, 0.2, 0.2))


def judged(*samples: Sample, shared: bool = False, reference: Reference | None = REFERENCE) -> Bottleneck:
    found = bottleneck(PINNED, samples, shared_machine=shared, reference=reference)
    assert found is not None
    return found


def test_a_busy_machine_is_named_with_what_keeps_it_busy() -> None:
    busy = usage({0: 0.98, 1: 0.97}, tx=(1, 0.6, 0.6), rx=(1, 0.1, 0.1))
    found = judged(sample(busy, busy), shared=True)
    assert (found.kind, found.gateway, found.stage) == ("all_cpus", None, "tx")
    assert "share" in found.words
    assert "1.40" in found.words
    apart = judged(sample(IDLE, busy))
    assert (apart.kind, apart.gateway, apart.stage) == ("all_cpus", "b", "tx")


def test_a_busy_thread_is_the_limit_where_cpus_are_left() -> None:
    receiver = usage({0: 0.3, 1: 0.96}, tx=(1, 0.1, 0.1), rx=(1, 0.95, 0.95))
    found = judged(sample(IDLE, receiver))
    assert (found.kind, found.gateway, found.stage) == ("thread", "b", "rx")
    assert "stage rx at gateway b" in found.words


def test_a_busy_cpu_is_the_limit_where_no_thread_alone_is() -> None:
    crowded = usage({0: 0.2, 1: 0.99}, tx=(1, 0.1, 0.1), rx=(2, 0.9, 0.45))
    found = judged(sample(crowded, IDLE))
    assert (found.kind, found.gateway, found.stage, found.cpu) == ("cpu", "a", "rx", 1)


def test_the_link_and_the_offered_load_come_before_the_hosts() -> None:
    busy = usage({0: 1.0, 1: 1.0}, tx=(1, 1.0, 1.0))
    assert judged(sample(busy, busy, gbps=19.0)).kind == "link"
    offered = sample(busy, busy, gbps=2.0, protocol="udp", offered_load_gbps=2.02)
    assert judged(offered).kind == "offered_load"


def test_nothing_saturated_is_said_so() -> None:
    found = judged(sample(IDLE, IDLE), reference=None)
    assert found.kind == "none"
    assert found.raw_share is None
    assert found.aead_share is None
    assert bottleneck(PINNED, (), shared_machine=False, reference=None) is None


def test_distances_to_the_raw_link_and_to_the_aead() -> None:
    found = judged(sample(IDLE, IDLE, gbps=5.0))
    assert found.raw_share == pytest.approx(0.25)
    # Two ends of 5/25 CPU each are 0.4 of the 0.8 that the data plane used.
    assert found.aead_share == pytest.approx(0.5)
    assert "25%" in found.words
    assert "50%" in found.words


def test_the_slowest_workload_is_judged_by_medians() -> None:
    fast = [sample(IDLE, IDLE, gbps=9.0, direction="reverse")] * 3
    slow = [sample(IDLE, IDLE, gbps=gbps) for gbps in (3.0, 4.0, 100.0)]
    found = judged(*fast, *slow)
    assert found.workload == "tcp forward"
    assert found.throughput_gbps == 4.0


def test_the_model_and_the_judgement_agree() -> None:
    """A single inline lane on a large host is held back by one thread, and the model says which."""
    host = Topology.uniform(cores_per_node=8)
    model = GatewayModel({"a": host, "b": host}, shared_machine=False)
    candidate, workload = Candidate(lanes=1), Workload(flows=8)
    limit = model.predict(candidate, workload).bottleneck
    samples = Simulation(model, Noise(spread=0)).measure(
        candidate, [workload], elapsed_s=0, started_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    found = bottleneck(candidate, samples, shared_machine=False, reference=None)
    assert found is not None
    assert found.kind == "thread"
    assert limit.startswith(f"{found.stage} thread of lane 0 at {found.gateway}")
