"""From the samples of one block to the numbers that a study optimises and compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.rate_search import RateGoal
from tuner.samples import Sample, Workload

ObjectiveName = Literal["throughput", "efficiency", "pareto", "ndr", "pdr"]
MetricName = Literal["throughput_gbps", "gbit_per_cpu_s", "ndr_pps", "pdr_pps"]


class BlockMetrics(BaseModel):
    """One block (every workload once, back to back on one candidate), reduced to one number a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    throughput_gbps: float = Field(gt=0, description="geometric mean over the block's workloads, Gbit/s")
    gbit_per_cpu_s: float | None = Field(
        gt=0, description="geometric mean of Gbit carried per data-plane CPU-second of both ends; null: not known"
    )
    ndr_pps: float | None = Field(
        None, gt=0, description="packets/s without loss: conditional throughput of the rate searches; null: none ran"
    )
    pdr_pps: float | None = Field(None, gt=0, description="the same with a goal loss ratio above 0")
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
_NDR = Metric("ndr_pps", "NDR", "packets/s")
_PDR = Metric("pdr_pps", "PDR", "packets/s")

METRICS: dict[MetricName, Metric] = {metric.name: metric for metric in (_THROUGHPUT, _EFFICIENCY, _NDR, _PDR)}
OBJECTIVES: dict[ObjectiveName, Objective] = {
    objective.name: objective
    for objective in (
        Objective("throughput", "Throughput", (_THROUGHPUT,)),
        Objective("efficiency", "Gbit per CPU-second", (_EFFICIENCY,)),
        Objective("pareto", "Throughput and efficiency", (_THROUGHPUT, _EFFICIENCY)),
        Objective("ndr", "Non-drop rate", (_NDR,)),
        Objective("pdr", "Partial-drop rate", (_PDR,)),
    )
}


def default_workload(objective: ObjectiveName, sample_seconds: float) -> Workload:
    """What a study measures where nothing else is asked for. A rate search spends `sample_seconds` on each decision
    about a load, in three trials."""
    if objective in ("ndr", "pdr"):
        trial_s = sample_seconds / 3
        goal = RateGoal.named("ndr" if objective == "ndr" else "pdr", trial_s)
        return Workload(tool="pktgen", protocol="udp", packet_bytes=64, duration_s=trial_s, rate_search=goal)
    return Workload(duration_s=sample_seconds)


def check_workloads(objective: ObjectiveName, workloads: Sequence[Workload]) -> None:
    """Raises ValueError when the workloads cannot tell the objective's metrics."""
    goals = [workload.rate_search for workload in workloads if workload.rate_search is not None]
    if objective == "ndr" and not any(goal.loss_ratio == 0 for goal in goals):
        raise ValueError("objective ndr needs a workload with a rate_search whose loss_ratio is 0")
    if objective == "pdr" and not any(goal.loss_ratio > 0 for goal in goals):
        raise ValueError("objective pdr needs a workload with a rate_search whose loss_ratio is above 0")


def block_metrics(samples: Sequence[Sample]) -> BlockMetrics:
    """Reduces the samples of one block. Raises ValueError when there is none, or when one carried no traffic."""
    if not samples:
        raise ValueError("a block needs at least one sample")
    efficiency = geometric_mean([sample.gbit_per_cpu_s for sample in samples])
    return BlockMetrics(
        throughput_gbps=geometric_mean([sample.throughput_gbps for sample in samples]),
        gbit_per_cpu_s=efficiency if efficiency > 0 else None,
        ndr_pps=_rate_pps(samples, lossless=True),
        pdr_pps=_rate_pps(samples, lossless=False),
        simulated=any(sample.simulated for sample in samples),
    )


def _rate_pps(samples: Sequence[Sample], *, lossless: bool) -> float | None:
    """Geometric mean of what the rate searches of one kind found; None where there was none, or one found nothing."""
    rates = [
        sample.rate.conditional_throughput_pps or 0.0
        for sample in samples
        if sample.rate is not None and (sample.rate.goal.loss_ratio == 0) == lossless
    ]
    return geometric_mean(rates) or None if rates else None


def median_metrics(blocks: Sequence[BlockMetrics]) -> BlockMetrics:
    """The median of each metric over several blocks of one candidate. Raises ValueError when there is none."""
    if not blocks:
        raise ValueError("a median needs at least one block")

    def of_known(name: MetricName) -> float | None:
        known = [getattr(block, name) for block in blocks if getattr(block, name) is not None]
        return median(known) if known else None

    return BlockMetrics(
        throughput_gbps=median(block.throughput_gbps for block in blocks),
        gbit_per_cpu_s=of_known("gbit_per_cpu_s"),
        ndr_pps=of_known("ndr_pps"),
        pdr_pps=of_known("pdr_pps"),
        simulated=any(block.simulated for block in blocks),
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean; 0 as soon as one value is 0, because a link that is dead one way is dead."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(sum(math.log(value) for value in values) / len(values))
