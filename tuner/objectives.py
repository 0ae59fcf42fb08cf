"""From the samples of one block to the numbers that a study optimises and compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.samples import Sample

ObjectiveName = Literal["throughput", "efficiency", "pareto"]
MetricName = Literal["throughput_gbps", "gbit_per_cpu_s"]


class BlockMetrics(BaseModel):
    """One block (every workload once, back to back on one candidate), reduced to one number a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    throughput_gbps: float = Field(gt=0, description="geometric mean over the block's workloads, Gbit/s")
    gbit_per_cpu_s: float | None = Field(
        gt=0, description="geometric mean of Gbit carried per data-plane CPU-second of both ends; null: not known"
    )
    simulated: bool = False


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

    def values(self, block: BlockMetrics) -> tuple[float, ...]:
        """The block's value of each metric, in the order of `metrics`. Raises ValueError for a metric not known."""
        values = [getattr(block, metric.name) for metric in self.metrics]
        if None in values:
            raise ValueError(f"the block has no {self.metrics[values.index(None)].name}")
        return tuple(map(float, values))

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
    """Reduces the samples of one block. Raises ValueError when there is none, or when one carried no traffic."""
    if not samples:
        raise ValueError("a block needs at least one sample")
    efficiency = geometric_mean([sample.gbit_per_cpu_s for sample in samples])
    return BlockMetrics(
        throughput_gbps=geometric_mean([sample.throughput_gbps for sample in samples]),
        gbit_per_cpu_s=efficiency if efficiency > 0 else None,
        simulated=any(sample.simulated for sample in samples),
    )


def median_metrics(blocks: Sequence[BlockMetrics]) -> BlockMetrics:
    """The median of each metric over several blocks of one candidate. Raises ValueError when there is none."""
    if not blocks:
        raise ValueError("a median needs at least one block")
    efficiencies = [block.gbit_per_cpu_s for block in blocks if block.gbit_per_cpu_s is not None]
    return BlockMetrics(
        throughput_gbps=median(block.throughput_gbps for block in blocks),
        gbit_per_cpu_s=median(efficiencies) if efficiencies else None,
        simulated=any(block.simulated for block in blocks),
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean; 0 as soon as one value is 0, because a link that is dead one way is dead."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(sum(math.log(value) for value in values) / len(values))
