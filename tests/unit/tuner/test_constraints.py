from __future__ import annotations

from pathlib import Path

import pytest
from study_loop import Outcome, Study, host_space

from tuner.candidate import Candidate
from tuner.constraints import Constraint, check_constraints, workload_for
from tuner.history import ProcedureSettings
from tuner.objectives import BlockMetrics
from tuner.outcomes import Infeasible, Measured
from tuner.procedure import Procedure
from tuner.samples import Workload
from tuner.search import StudySearch
from tuner.steps import MeasureBlock
from tuner.topology import Topology

SPACE = host_space(Topology.uniform(cores_per_node=2), shared=True)


def block(gbps: float, **given: float) -> BlockMetrics:
    return BlockMetrics.model_validate({"throughput_gbps": gbps, "gbit_per_cpu_s": 4.0} | given)


def test_limits_are_absolute_or_relative_to_the_baseline() -> None:
    baseline = block(10, data_plane_cpus=2.0)
    relative = Constraint(metric="data_plane_cpus", at_most=1.1, of_baseline=True)
    assert relative.check(block(12, data_plane_cpus=2.1), baseline).violation == 0
    check = relative.check(block(12, data_plane_cpus=3.3), baseline)
    assert check.limit == pytest.approx(2.2)
    assert check.violation == pytest.approx(0.5)
    assert check.words == "Data-plane CPUs at most 1.1x the baseline's"
    least = Constraint(metric="throughput_gbps", at_least=8)
    assert least.check(block(6), baseline).violation == pytest.approx(0.25)
    unknown = Constraint(metric="loss_ratio", at_most=0).check(block(6), baseline)
    assert (unknown.value, unknown.violation) == (None, 0)


@pytest.mark.parametrize("limits", [{}, {"at_most": 1, "at_least": 1}])
def test_a_constraint_has_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one limit"):
        Constraint.model_validate({"metric": "loss_ratio"} | limits)


def test_what_no_workload_measures_cannot_be_limited() -> None:
    latency = Constraint(metric="latency_p99_ms", at_most=5)
    assert workload_for("throughput", (latency,), 3).latency_probe
    with pytest.raises(ValueError, match="latency_probe"):
        check_constraints((latency,), (Workload(),))
    with pytest.raises(ValueError, match="udp workload"):
        check_constraints((Constraint(metric="loss_ratio", at_most=0),), (Workload(),))


def test_a_study_finds_the_best_within_the_limit_and_says_what_violates_it(tmp_path: Path) -> None:
    """More lanes carry more and cost more: the limit decides, not the throughput."""

    def costly(candidate: Candidate, step: MeasureBlock) -> Outcome:
        if step.trial_number is None:
            return Measured(metrics=block(3, data_plane_cpus=1.0))
        cpus = 2.0 if candidate.mode == "pipelined" else 1.2
        return Measured(metrics=block(4.0 * candidate.lanes * cpus, data_plane_cpus=cpus))

    limit = Constraint(metric="data_plane_cpus", at_most=1.5, of_baseline=True)
    plan = ProcedureSettings(trials=15, verdict_rounds=4, explain_rounds=0, constraints=(limit,))
    procedure = Procedure(plan, SPACE.baseline())
    with StudySearch.open(
        tmp_path / "study", "s", SPACE, procedure.objective, constraints=plan.constraints, seed=1
    ) as search:
        one = Study(procedure, search, costly)
        assert one.run().reason == "complete"
        told = [trial.constraints for trial in search._trials() if trial.state.name == "COMPLETE"]
    verdict = procedure.verdict(one.history)
    assert verdict is not None
    assert verdict.best.mode != "pipelined"
    assert [check.violation for check in verdict.constraints] == [0]
    violating = [one.history.trial_outcome(trial.number, plan.constraints) for trial in one.history.trials]
    found = [outcome for outcome in violating if isinstance(outcome, Infeasible)]
    assert found, "some pipelined candidate was tried"
    assert found[0].violations[0].value == 2.0
    assert "Data-plane CPUs at most 1.5x the baseline's: 2" in found[0].reason
    assert any(constraints["Data-plane CPUs at most 1.5x the baseline's"] > 0 for constraints in told), "Optuna's own"
