"""What came of measuring a candidate: a measurement, an infeasible candidate, or a fault of the lab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.constraints import ConstraintCheck
from tuner.objectives import BlockMetrics, Objective, block_metrics
from tuner.samples import Sample


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Value):
    """The candidate ran; `metrics` of one block, or the median of several when a whole trial is told."""

    kind: Literal["measured"] = "measured"
    metrics: BlockMetrics


class Infeasible(_Value):
    """The candidate cannot run, broke under load, or violates a constraint of the study. It is not measured again."""

    kind: Literal["infeasible"] = "infeasible"
    reason: str
    violated: tuple[str, ...] = Field(("runs",), min_length=1, description="names of the violated constraints")
    violations: tuple[ConstraintCheck, ...] = Field((), description="the study's constraints that it violates")
    metrics: BlockMetrics | None = Field(None, description="what it was measured at; null: it broke")


class Failed(_Value):
    """The lab failed. Says nothing about the candidate: retried, and never scored."""

    kind: Literal["failed"] = "failed"
    reason: str


Outcome = Annotated[Measured | Infeasible | Failed, Field(discriminator="kind")]
"""Store with `.model_dump(mode="json")`, read with `OUTCOME.validate_python`."""


def none_is_within_limits(outcomes: Sequence[Outcome | None]) -> str | None:
    """What to say where trials were measured and not one keeps to the study's limits; None where another thing was the
    matter with one of them."""
    beyond = [outcome for outcome in outcomes if isinstance(outcome, Infeasible) and outcome.violations]
    if not beyond or any(isinstance(outcome, Measured) for outcome in outcomes):
        return None
    nearest = min(beyond, key=lambda outcome: sum(check.violation for check in outcome.violations))
    return f"no candidate of {len(outcomes)} keeps to the limits; the nearest one {nearest.reason}"


def outcome_of(samples: Sequence[Sample], objective: Objective) -> Measured | Infeasible | Failed:
    """Judges the samples of one block. A workload that carried nothing, or a rate search without a rate, makes the
    candidate infeasible; missing telemetry is a fault of the lab where the objective needs it. Raises ValueError when
    there is no sample."""
    dead = [sample.workload.name for sample in samples if sample.throughput_gbps <= 0]
    if dead:
        return Infeasible(reason=f"carried no traffic: {', '.join(dead)}", violated=("carries_traffic",))
    lossy = [sample.workload.name for sample in samples if sample.rate and not sample.rate.conditional_throughput_pps]
    if lossy:
        return Infeasible(reason=f"no rate meets the loss goal: {', '.join(lossy)}", violated=("meets_loss_goal",))
    metrics = block_metrics(samples)
    missing = [metric.label for metric in objective.metrics if getattr(metrics, metric.name) is None]
    if missing:
        return Failed(reason=f"no telemetry for {', '.join(missing)} in what was measured")
    return Measured(metrics=metrics)
