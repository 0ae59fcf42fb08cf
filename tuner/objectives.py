"""From the samples of one block to the numbers that a study optimises and compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.samples import Sample

ObjectiveName = Literal["throughput", "efficiency", "pareto"]
MetricName = Literal["throughput_gbps", "gbit_per_cpu_s"]


class BlockMetrics(BaseModel):
    """One block (every workload once, back to back on one candidate), reduced to one number a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    throughput_gbps: float = Field(ge=0, description="geometric mean over the block's workloads, Gbit/s")
    gbit_per_cpu_s: float = Field(
        ge=0, description="geometric mean of Gbit carried per data-plane CPU-second, both ends"
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """One optimised number, with what the UI needs to show it."""

    name: MetricName
    label: str
    unit: str
    direction: Literal["maximize", "minimize"] = "maximize"


@dataclass(frozen=True, slots=True)
class Objective:
    """What a study optimises: one metric, or several at once (a Pareto front)."""

    name: ObjectiveName
    label: str
    metrics: tuple[Metric, ...]

    @property
    def directions(self) -> tuple[str, ...]:
        """Optuna's direction of each metric."""
        return tuple(metric.direction for metric in self.metrics)

    def values(self, block: BlockMetrics) -> tuple[float, ...]:
        """The block's value of each metric, in the order of `metrics`."""
        return tuple(float(getattr(block, metric.name)) for metric in self.metrics)

    def score(self, block: BlockMetrics) -> float:
        """One number to rank by, larger is better: the geometric mean of the metrics. Candidates are compared by its
        ratio, so the metrics' units cancel and each metric weighs the same."""
        return geometric_mean(self.values(block))


_THROUGHPUT = Metric("throughput_gbps", "Throughput", "Gbit/s")
_EFFICIENCY = Metric("gbit_per_cpu_s", "Efficiency", "Gbit per CPU-second")

METRICS: dict[MetricName, Metric] = {metric.name: metric for metric in (_THROUGHPUT, _EFFICIENCY)}
OBJECTIVES: dict[ObjectiveName, Objective] = {
    objective.name: objective
    for objective in (
        Objective("throughput", "Throughput", (_THROUGHPUT,)),
        Objective("efficiency", "Gbit per CPU-second", (_EFFICIENCY,)),
        Objective("pareto", "Throughput and efficiency", (_THROUGHPUT, _EFFICIENCY)),
    )
}


def block_metrics(samples: Sequence[Sample]) -> BlockMetrics:
    """Reduces the samples of one block. Raises ValueError when there is none."""
    if not samples:
        raise ValueError("a block needs at least one sample")

    def mean(value: Callable[[Sample], float]) -> float:
        return geometric_mean([value(sample) for sample in samples])

    return BlockMetrics(
        throughput_gbps=mean(lambda sample: sample.throughput_gbps),
        gbit_per_cpu_s=mean(lambda sample: sample.gbit_per_cpu_s),
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean; 0 as soon as one value is 0, because a link that is dead one way is dead."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(sum(math.log(value) for value in values) / len(values))
