"""Measurements of the cost model instead of hosts: seeded noise, drift and outliers. Always marked simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import GATEWAYS, Candidate
from tuner.model import GatewayModel, Prediction
from tuner.samples import GatewayUsage, Latency, Sample, StageUsage, Workload


class Noise(BaseModel):
    """How a simulated testbed is worse than its model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spread: float = Field(0.03, ge=0, le=1, description="standard deviation of a sample's logarithm: 0.03 is about 3%")
    drift_per_hour: float = Field(0.0, gt=-1, le=10, description="trend of the whole testbed: -0.1 loses 10% an hour")
    swing: float = Field(0.0, ge=0, lt=1, description="amplitude of a slow wave, as a neighbour's load")
    swing_period_s: float = Field(600.0, gt=0)
    outlier_rate: float = Field(0.0, ge=0, le=1, description="share of samples that something else disturbs")
    outlier_loss: float = Field(0.4, ge=0, lt=1, description="part of the throughput that a disturbed sample loses")


class Simulation:
    """A gateway pair that exists only in the model. Equal seeds and calls give equal samples."""

    def __init__(self, model: GatewayModel, noise: Noise | None = None, seed: int = 0) -> None:
        self._model, self._noise, self._seed, self._calls = model, noise or Noise(), seed, 0

    def measure(
        self, candidate: Candidate, workloads: Sequence[Workload], *, elapsed_s: float, started_at: datetime
    ) -> list[Sample]:
        """One sample a workload, in order. `elapsed_s`: time since the testbed began, for drift; `started_at` is what
        the samples say of themselves."""
        samples = []
        for workload in workloads:
            samples.append(self._sample(candidate, workload, elapsed_s, started_at))
            elapsed_s += workload.duration_s
            started_at += timedelta(seconds=workload.duration_s)
        return samples

    def _sample(self, candidate: Candidate, workload: Workload, elapsed_s: float, started_at: datetime) -> Sample:
        self._calls += 1
        rng = np.random.default_rng([self._seed, self._calls])
        prediction = self._model.predict(candidate, workload)
        capacity_factor = self._weather(elapsed_s) * math.exp(rng.normal(0, self._noise.spread))
        if rng.random() < self._noise.outlier_rate:
            capacity_factor *= 1 - self._noise.outlier_loss
        throughput_factor = capacity_factor
        if workload.offered_load_gbps is not None or workload.offered_load_pps is not None:
            # A fixed load arrives whole as long as the capacity, on a bad day too, is larger.
            arrives = min(prediction.offered_gbps, prediction.capacity_gbps * capacity_factor)
            throughput_factor = arrives / prediction.throughput_gbps
        # CPU accounting is steadier than throughput.
        cost_factor = math.exp(rng.normal(0, self._noise.spread / 3))
        return _sample_of(
            candidate, prediction, workload, started_at, throughput_factor=throughput_factor, cost_factor=cost_factor
        )

    def _weather(self, elapsed_s: float) -> float:
        noise = self._noise
        wave = 1 + noise.swing * math.sin(2 * math.pi * elapsed_s / noise.swing_period_s)
        return float((1 + noise.drift_per_hour) ** (elapsed_s / 3600)) * wave


def _sample_of(
    candidate: Candidate,
    prediction: Prediction,
    workload: Workload,
    started_at: datetime,
    *,
    throughput_factor: float,
    cost_factor: float,
) -> Sample:
    throughput = prediction.throughput_gbps * throughput_factor
    busy_s = {
        gateway: prediction.data_plane_cpus(gateway) * throughput_factor * cost_factor * workload.duration_s
        for gateway in GATEWAYS
    }
    carried_gbit = throughput * workload.duration_s
    lossy = workload.protocol == "udp"
    offered_pps = prediction.packets_per_s * prediction.offered_gbps / prediction.throughput_gbps
    return Sample(
        workload=workload,
        started_at=started_at.astimezone(UTC),
        duration_s=workload.duration_s,
        throughput_gbps=throughput,
        packets_per_s=prediction.packets_per_s * throughput_factor,
        offered_pps=offered_pps if lossy else None,
        loss_ratio=min(1.0, max(0.0, 1 - throughput / prediction.offered_gbps)) if lossy else None,
        retransmits=None if lossy else 0,
        latency=_latency_of(candidate, throughput) if workload.latency_probe else None,
        lane_shares=prediction.lane_shares,
        gateways={
            gateway: GatewayUsage(
                cpu_busy_ratio={
                    cpu: min(1.0, ratio * throughput_factor)
                    for cpu, ratio in prediction.cpu_busy_ratio[gateway].items()
                },
                data_plane_cpu_s=busy_s[gateway],
                stages={
                    stage: StageUsage(
                        threads=len(cpus),
                        busy_cpus=sum(cpus) * throughput_factor * cost_factor,
                        busiest_thread_ratio=min(1.0, max(cpus) * throughput_factor * cost_factor),
                    )
                    for (owner, stage), cpus in prediction.thread_cpus.items()
                    if owner == gateway and stage != "process"
                },
            )
            for gateway in GATEWAYS
        },
        data_plane_cpu_s_per_gbit=sum(busy_s.values()) / carried_gbit,
        argv=(),
        tool_version="simulated",
        warnings=(f"simulated by the cost model; limited by {prediction.bottleneck}",),
        simulated=True,
    )


def _latency_of(candidate: Candidate, throughput_gbps: float) -> Latency:
    """Round trip under a load that fills the queues: a quarter of the socket buffer and a batch at each hand-off."""
    stages = 3 if candidate.mode == "pipelined" else 1
    queued_bytes = candidate.socket_buffer_bytes / 4 + 2 * stages * candidate.batch_packets * candidate.mtu
    typical_ms = 0.05 + queued_bytes * 8 / (throughput_gbps * 1e9) * 1e3 / 2
    return Latency(
        p50_ms=typical_ms,
        p90_ms=1.5 * typical_ms,
        p99_ms=2 * typical_ms,
        max_ms=3 * typical_ms,
        sent=200,
        lost=0,
    )
