from __future__ import annotations

import random
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from tuner.calibration import FITTED, Calibration, Case, calibrate, calibration_plan
from tuner.model import CostParameters, GatewayModel
from tuner.simulation import Noise, Simulation
from tuner.topology import Topology

HOST = Topology.uniform(cores_per_node=4)
TOPOLOGIES = {"a": HOST, "b": HOST}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cases_of(costs: CostParameters, noise: Noise, repeats: int = 1) -> list[Case]:
    simulation = Simulation(GatewayModel(TOPOLOGIES, False, costs), noise, seed=1)
    engines = ("wirelane", "kernel", "wireguard-go")
    candidates, workloads, held_out = calibration_plan(TOPOLOGIES, engines, 1.0, has_pktgen=True)
    assert held_out < set(candidates)
    return [
        Case.of(
            candidate,
            [simulation.measure(candidate, [workload], elapsed_s=0, started_at=NOW)[0] for _ in range(repeats)],
            held_out=name in held_out,
        )
        for name, candidate in candidates.items()
        for workload in workloads
    ]


def another_host(seed: int) -> CostParameters:
    """A host whose fitted costs differ from the defaults by up to a factor of two either way."""
    chance = random.Random(seed)
    defaults = asdict(CostParameters())
    return replace(
        CostParameters(),
        **{name: defaults[name] * 2 ** chance.uniform(-1, 1) for name in FITTED if not name.endswith("_ratio")},
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_calibrated_model_predicts_what_it_was_not_fitted_to(seed: int) -> None:
    cases = cases_of(another_host(seed), Noise(spread=0.02), repeats=3)
    found = calibrate(TOPOLOGIES, False, cases)
    untouched = GatewayModel(TOPOLOGIES, False)
    before = [
        abs(untouched.predict(case.candidate, case.workload).packets_per_s / case.packets_per_s - 1)
        for case in cases
        if case.held_out
    ]
    error = found.typical_error(held_out=True)
    assert error is not None
    assert error < 0.08
    assert error < sorted(before)[len(before) // 2] / 2
    assert max(abs(one.rate_ratio - 1) for one in found.residuals) < 0.3


def test_it_survives_its_file() -> None:
    found = calibrate(
        TOPOLOGIES, False, cases_of(CostParameters(), Noise(spread=0)), fingerprint_hash="ab", simulated=True
    )
    again = Calibration.model_validate_json(found.model_dump_json())
    assert again == found
    assert again.parameters() == found.parameters()
    assert again.simulated
    for name in FITTED:
        assert found.costs[name] == pytest.approx(asdict(CostParameters())[name], rel=0.35), name


def test_too_little_and_nonsense_are_refused() -> None:
    cases = cases_of(CostParameters(), Noise(spread=0))
    with pytest.raises(ValueError, match="too few"):
        calibrate(TOPOLOGIES, False, [case for case in cases if case.held_out])
    found = calibrate(TOPOLOGIES, False, cases[:3])
    for costs in ({"x": 1.0}, {"io_ns_per_byte": -1.0}, {"io_ns_per_byte": float("inf")}):
        with pytest.raises(ValueError, match="not a calibration"):
            found.model_copy(update={"costs": costs}).parameters()


def test_without_a_packet_generator_iperf3_does() -> None:
    _, workloads, _ = calibration_plan(TOPOLOGIES, ("wirelane",), 1.0, has_pktgen=False)
    assert {workload.tool for workload in workloads} == {"iperf3"}
    assert {workload.protocol for workload in workloads} == {"tcp", "udp"}
