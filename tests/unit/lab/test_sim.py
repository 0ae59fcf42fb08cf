from __future__ import annotations

import time
from typing import Literal

import pytest

from app.lab.driver import CandidateFailed, LabCancelled, LabError
from app.lab.driver import TestbedDriver as Driver  # pytest would collect the protocol by its name
from app.lab.sim import SimDriver, SimSettings
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.rate_search import RateGoal
from tuner.samples import Workload
from tuner.simulation import Noise
from tuner.space import SearchSpace
from tuner.topology import Topology

WORKLOADS = (Workload(duration_s=3), Workload(protocol="udp", direction="reverse", duration_s=3))


def never() -> bool:
    return False


def quiet(_phase: str, _message: str) -> None:
    """Nobody listens."""


def test_a_trial_reports_its_phases_and_is_marked_simulated() -> None:
    driver: Driver = SimDriver("sim-1")
    phases: list[str] = []
    result = driver.run_trial(Candidate(), WORKLOADS, lambda phase, _: phases.append(phase), never)
    assert phases == ["apply", "verify", "measure", "measure", "collect"]
    assert [sample.workload for sample in result.samples] == list(WORKLOADS)
    assert all(sample.simulated for sample in result.samples)
    assert 0.06 <= result.timings.measure_s < 1, "six simulated seconds at a hundredth"
    assert result.read_back["a"] == Candidate().model_dump(mode="json")


@pytest.mark.parametrize("name", ["ndr", "pdr"])
@pytest.mark.parametrize("tool", ["pktgen", "iperf3"])
def test_a_rate_search_finds_the_models_capacity(
    name: Literal["ndr", "pdr"], tool: Literal["pktgen", "iperf3"]
) -> None:
    driver = SimDriver("sim-8", SimSettings(time_scale=0, noise=Noise(spread=0)))
    goal = RateGoal.named(name)
    traffic = Workload(tool=tool, protocol="udp", packet_bytes=512, duration_s=1)
    sample = driver.run_trial(Candidate(), [traffic.model_copy(update={"rate_search": goal})], quiet, never).samples[0]
    prediction = driver.model.predict(Candidate(), traffic)
    capacity_pps = prediction.packets_per_s * prediction.capacity_gbps / prediction.throughput_gbps
    assert sample.rate is not None
    assert sample.rate.is_regular
    assert sample.rate.lower_bound_pps is not None
    assert 1 - goal.width <= sample.rate.lower_bound_pps * (1 - goal.loss_ratio) / capacity_pps <= 1.0001
    assert sample.workload.rate_search == goal
    assert sample.simulated
    assert (sample.loss_ratio or 0) <= goal.loss_ratio
    assert sample.packets_per_s == pytest.approx(sample.rate.conditional_throughput_pps, rel=0.001)


def test_what_it_provisions_makes_a_search_space() -> None:
    large = Topology.uniform(nodes=2, cores_per_node=4)
    settings = SimSettings(topology_a=large, topology_b=large, shared_machine=False, underlay_mtu=9000, time_scale=0)
    testbed = SimDriver("sim-2", settings).provision(quiet, never)
    assert testbed.simulated
    space = SearchSpace.from_host(
        topologies={name: Topology.model_validate(gateway.topology) for name, gateway in testbed.gateways.items()},
        engines=testbed.gateways["a"].engines,
        shared_machine=testbed.shared_machine,
        underlay_mtu=testbed.underlay_mtu,
    )
    assert space.baseline().crypto_workers == 8


def test_cancelling_stops_within_a_poll() -> None:
    driver = SimDriver("sim-3", SimSettings(time_scale=1))
    begin = time.monotonic()
    with pytest.raises(LabCancelled):
        driver.run_trial(Candidate(), WORKLOADS, quiet, lambda: time.monotonic() - begin > 0.3)
    assert time.monotonic() - begin < 2


def test_faults_at_the_rates_asked_for() -> None:
    def outcomes(**rates: float) -> list[str]:
        driver = SimDriver("sim-4", SimSettings(time_scale=0, **rates))  # type: ignore[arg-type]
        seen = []
        for batch in range(1, 101):
            try:
                driver.run_trial(Candidate(batch_packets=batch), WORKLOADS[:1], quiet, never)
                seen.append("measured")
            except CandidateFailed:
                seen.append("broken")
            except LabError:
                seen.append("fault")
        return seen

    assert set(outcomes()) == {"measured"}
    assert 15 < outcomes(lab_failure_rate=0.3).count("fault") < 45
    broken = outcomes(broken_candidate_rate=0.3)
    assert 15 < broken.count("broken") < 45
    assert outcomes(broken_candidate_rate=0.3) == broken, "a broken candidate stays broken"


def test_a_cpu_that_does_not_exist_breaks_the_candidate() -> None:
    sets = StageCpuSets(tx="5")
    with pytest.raises(CandidateFailed, match=r"gateway a: .*CPU 5"):
        SimDriver("sim-5", SimSettings(time_scale=0)).run_trial(
            Candidate(cpu_sets=GatewayCpuSets(a=sets, b=sets)), WORKLOADS, quiet, never
        )


def test_drift_follows_simulated_time() -> None:
    driver = SimDriver("sim-6", SimSettings(time_scale=0, noise=Noise(spread=0, drift_per_hour=-0.5)))
    hour = (Workload(duration_s=3600),)
    first, second = (driver.run_trial(Candidate(), hour, quiet, never).samples[0] for _ in range(2))
    assert second.throughput_gbps / first.throughput_gbps == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    "settings", [{"time_scale": -1}, {"noise": {"spread": 2}}, {"topology_a": {"cpus": []}}, {"x": 1}]
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="SimSettings"):
        SimSettings.model_validate(settings)


def test_rollback_and_teardown_are_idempotent() -> None:
    driver = SimDriver("sim-7", SimSettings(time_scale=0))
    for _ in range(2):
        driver.rollback()
        driver.teardown()
    assert driver.provision(quiet, never).simulated
