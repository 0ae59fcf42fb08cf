"""What a candidate must keep to, whatever it gains: limits on a metric, absolute or relative to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.objectives import METRICS, BlockMetrics, MetricName, ObjectiveName, default_workload
from tuner.samples import Workload


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Constraint(_Value):
    """A limit on one metric: `at_most` or `at_least`, in the metric's unit or as a multiple of the baseline's value."""

    metric: MetricName
    at_most: float | None = Field(None, ge=0, examples=[0.001])
    at_least: float | None = Field(None, ge=0)
    of_baseline: bool = Field(
        False, description="the limit is a multiple of the baseline's value: 1.1 with at_most allows 10% more"
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a constraint has one limit: at_most or at_least")
        return self

    @property
    def in_words(self) -> str:
        """ "p99 latency under load at most 5 ms", "Throughput at least 0.95x the baseline's"."""
        metric = METRICS[self.metric]
        side, limit = ("at least", self.at_least) if self.at_most is None else ("at most", self.at_most)
        unit = "x the baseline's" if self.of_baseline else f" {metric.unit}"
        return f"{metric.label} {side} {limit:g}{unit}"

    def check(self, block: BlockMetrics, baseline: BlockMetrics) -> ConstraintCheck:
        """How the block stands to the limit. A metric that was not measured violates nothing, and says so."""
        limit = self.at_least if self.at_most is None else self.at_most
        value, reference = getattr(block, self.metric), getattr(baseline, self.metric)
        if self.of_baseline:
            limit = None if reference is None or limit is None else limit * reference
        excess = 0.0
        if value is not None and limit is not None:
            beyond = value - limit if self.at_most is not None else limit - value
            excess = max(0.0, beyond / limit if limit > 0 else beyond)
        return ConstraintCheck(constraint=self, words=self.in_words, value=value, limit=limit, violation=excess)


class ConstraintCheck(_Value):
    """A constraint and what was measured."""

    constraint: Constraint
    words: str
    value: float | None = Field(description="measured, in the metric's unit; null: not measured")
    limit: float | None = Field(description="in the metric's unit; null: the baseline's value is not known")
    violation: float = Field(ge=0, description="how far beyond the limit, as a ratio of it; 0: it holds")


def checks(
    constraints: Sequence[Constraint], block: BlockMetrics, baseline: BlockMetrics
) -> tuple[ConstraintCheck, ...]:
    """Every constraint against one candidate's metrics."""
    return tuple(constraint.check(block, baseline) for constraint in constraints)


def workload_for(objective: ObjectiveName, constraints: Sequence[Constraint], sample_seconds: float) -> Workload:
    """The objective's default workload, which also measures what the constraints limit."""
    workload = default_workload(objective, sample_seconds)
    probed = any(constraint.metric == "latency_p99_ms" for constraint in constraints)
    return workload.model_copy(update={"latency_probe": workload.latency_probe or probed})


def check_constraints(constraints: Sequence[Constraint], workloads: Sequence[Workload]) -> None:
    """Raises ValueError where no workload measures what a constraint limits."""
    limited = {constraint.metric for constraint in constraints}
    if "latency_p99_ms" in limited and not any(workload.latency_probe for workload in workloads):
        raise ValueError("a limit on latency needs a workload with a latency_probe")
    if "loss_ratio" in limited and not any(workload.protocol == "udp" for workload in workloads):
        raise ValueError("a limit on loss needs a udp workload, with an offered load that the link should carry")
    rates: tuple[tuple[MetricName, bool], ...] = (("ndr_pps", True), ("pdr_pps", False))
    for name, lossless in rates:
        goals = [workload.rate_search for workload in workloads if workload.rate_search is not None]
        if name in limited and not any((goal.loss_ratio == 0) == lossless for goal in goals):
            raise ValueError(f"a limit on {METRICS[name].label} needs a workload with such a rate_search")
