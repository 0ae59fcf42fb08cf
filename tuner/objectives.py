"""From the samples of one block to the numbers that a study optimises, constrains and compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.rate_search import RateGoal
from tuner.samples import Sample, Workload

ObjectiveName = Literal["throughput", "efficiency", "latency", "packet_rate", "pareto", "pareto_latency", "ndr", "pdr"]
MetricName = Literal[
    "throughput_gbps",
    "gbit_per_cpu_s",
    "latency_p99_ms",
    "packets_per_s",
    "ndr_pps",
    "pdr_pps",
    "loss_ratio",
    "data_plane_cpus",
]


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
    latency_p99_ms: float | None = Field(
        None, gt=0, description="99th percentile of the round trip under load, of the worst workload; null: not probed"
    )
    packets_per_s: float | None = Field(None, gt=0, description="geometric mean over workloads of 64 B; null: none")
    loss_ratio: float | None = Field(None, ge=0, le=1, description="of the worst workload; null: tcp only")
    data_plane_cpus: float | None = Field(
        None, ge=0, description="CPUs that the data planes of both ends keep busy, of the worst workload"
    )
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that says how good a candidate is, with what the UI needs to show it."""

    name: MetricName
    label: str
    unit: str
    direction: Literal["maximize", "minimize"] = "maximize"

    def log_merit(self, value: float) -> float:
        """Logarithm of a value, with the sign that makes more better. Differences of it are relative, and unit-free."""
        return math.log(value) if self.direction == "maximize" else -math.log(value)


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

    def log_merits(self, block: BlockMetrics) -> tuple[float, ...]:
        """Log merit of each metric. Raises ValueError for a metric not known."""
        values = self.values(block)
        return tuple(metric.log_merit(value) for metric, value in zip(self.metrics, values, strict=True))

    def score(self, block: BlockMetrics) -> float:
        """One number to rank by, larger is better: the geometric mean of the metrics, of those to minimise inverted.
        Candidates are compared by its ratio, so the metrics' units cancel and each metric weighs the same."""
        merits = self.log_merits(block)
        return math.exp(sum(merits) / len(merits))


_THROUGHPUT = Metric("throughput_gbps", "Throughput", "Gbit/s")
_EFFICIENCY = Metric("gbit_per_cpu_s", "Efficiency", "Gbit per CPU-second")
_NDR = Metric("ndr_pps", "NDR", "packets/s")
_PDR = Metric("pdr_pps", "PDR", "packets/s")
_LATENCY = Metric("latency_p99_ms", "p99 latency under load", "ms", "minimize")
_PACKET_RATE = Metric("packets_per_s", "Packets at 64 B", "packets/s")
_LOSS = Metric("loss_ratio", "Loss", "ratio", "minimize")
_CPUS = Metric("data_plane_cpus", "Data-plane CPUs", "CPUs", "minimize")

COMPARED: tuple[Metric, ...] = (_THROUGHPUT, _EFFICIENCY, _LATENCY, _PACKET_RATE, _NDR, _PDR)
"""What a verdict compares beside the objective; a loss ratio may be 0, of which there is no ratio."""
METRICS: dict[MetricName, Metric] = {metric.name: metric for metric in (*COMPARED, _LOSS, _CPUS)}
OBJECTIVES: dict[ObjectiveName, Objective] = {
    objective.name: objective
    for objective in (
        Objective("throughput", "Throughput", (_THROUGHPUT,)),
        Objective("efficiency", "Gbit per CPU-second", (_EFFICIENCY,)),
        Objective("latency", "p99 latency under load", (_LATENCY,)),
        Objective("packet_rate", "Packets/s at 64 B", (_PACKET_RATE,)),
        Objective("pareto", "Throughput and efficiency", (_THROUGHPUT, _EFFICIENCY)),
        Objective("ndr", "Non-drop rate", (_NDR,)),
        Objective("pdr", "Partial-drop rate", (_PDR,)),
        Objective("pareto_latency", "Throughput and p99 latency", (_THROUGHPUT, _LATENCY)),
    )
}


def default_workload(objective: ObjectiveName, sample_seconds: float) -> Workload:
    """What a study measures where nothing else is asked for. A rate search spends `sample_seconds` on each decision
    about a load, in three trials."""
    if objective in ("ndr", "pdr"):
        trial_s = sample_seconds / 3
        goal = RateGoal.named("ndr" if objective == "ndr" else "pdr", trial_s)
        return Workload(tool="pktgen", protocol="udp", packet_bytes=64, duration_s=trial_s, rate_search=goal)
    if objective == "packet_rate":
        return Workload(tool="pktgen", protocol="udp", packet_bytes=64, duration_s=sample_seconds)
    return Workload(duration_s=sample_seconds, latency_probe=objective in ("latency", "pareto_latency"))


def check_workloads(objective: ObjectiveName, workloads: Sequence[Workload]) -> None:
    """Raises ValueError when the workloads cannot tell the objective's metrics."""
    goals = [workload.rate_search for workload in workloads if workload.rate_search is not None]
    if objective == "ndr" and not any(goal.loss_ratio == 0 for goal in goals):
        raise ValueError("objective ndr needs a workload with a rate_search whose loss_ratio is 0")
    if objective == "pdr" and not any(goal.loss_ratio > 0 for goal in goals):
        raise ValueError("objective pdr needs a workload with a rate_search whose loss_ratio is above 0")
    if objective in ("latency", "pareto_latency") and not any(workload.latency_probe for workload in workloads):
        raise ValueError(f"objective {objective} needs a workload with a latency_probe")
    if objective == "packet_rate" and not all(workload.packet_bytes == 64 for workload in workloads):
        raise ValueError("objective packet_rate needs workloads of 64-byte packets (pktgen, packet_bytes 64), only")


def block_metrics(samples: Sequence[Sample]) -> BlockMetrics:
    """Reduces the samples of one block. Raises ValueError when there is none, or when one carried no traffic."""
    if not samples:
        raise ValueError("a block needs at least one sample")
    efficiency = geometric_mean([sample.gbit_per_cpu_s for sample in samples])
    small = [sample.packets_per_s for sample in samples if sample.workload.packet_bytes == 64 and sample.rate is None]
    return BlockMetrics(
        throughput_gbps=geometric_mean([sample.throughput_gbps for sample in samples]),
        gbit_per_cpu_s=efficiency if efficiency > 0 else None,
        ndr_pps=_rate_pps(samples, lossless=True),
        pdr_pps=_rate_pps(samples, lossless=False),
        latency_p99_ms=max((sample.latency.p99_ms for sample in samples if sample.latency), default=None),
        packets_per_s=(geometric_mean(small) or None) if small else None,
        loss_ratio=max((sample.loss_ratio for sample in samples if sample.loss_ratio is not None), default=None),
        data_plane_cpus=max(sample.data_plane_cpus for sample in samples),
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
    medians = {}
    for name in METRICS:
        known = [value for block in blocks if (value := getattr(block, name)) is not None]
        medians[name] = median(known) if known else None
    return BlockMetrics(**medians, simulated=any(block.simulated for block in blocks))


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean; 0 as soon as one value is 0, because a link that is dead one way is dead."""
    if any(value <= 0 for value in values):
        return 0.0
    return math.exp(sum(math.log(value) for value in values) / len(values))
