"""Fits the cost model to measurements of a host, and says how far off it is where it was not fitted.

Least squares on logarithms: a prediction that is twice or half the measurement is equally wrong. A few measurements
cannot tell every cost from every other one, so each parameter is drawn to its default by a weak prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import median
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import Candidate, Gateway
from tuner.model import CostParameters, GatewayModel
from tuner.samples import Sample, Workload
from tuner.topology import Topology

FITTED = (
    "aead_ns_per_byte",
    "aead_ns_per_packet",
    "io_ns_per_byte",
    "io_ns_per_packet",
    "io_ns_per_batch",
    "unsegmented_ns_per_packet",
    "hand_off_ns_per_packet",
    "hand_off_ns_per_batch",
    "wireguard_go_ratio",
    "kernel_serial_ns_per_packet",
    "generator_ns_per_byte",
    "generator_udp_ns_per_packet",
    "alternation_ratio",
    "unpinned_ratio",
)
"""What the calibration cases can tell something about. The rest (NUMA, SMT, memory, NIC) keeps its default."""
PRIOR_WEIGHT = 0.15
MOST_CHANGE = 12.0
"""A cost that must change by more than this factor is a sign of a wrong model, not of another host."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(_Value):
    """One candidate under one workload, as measured."""

    candidate: Candidate
    workload: Workload
    packets_per_s: float = Field(gt=0)
    cpu_us_per_packet: float | None = Field(gt=0, description="data planes of both ends; null: not accounted")
    held_out: bool = Field(False, description="took no part in the fit")

    @classmethod
    def of(cls, candidate: Candidate, samples: Sequence[Sample], *, held_out: bool) -> Self:
        """The median of repeated samples of one workload."""
        spent = [
            sum(usage.data_plane_cpu_s for usage in one.gateways.values()) / (one.packets_per_s * one.duration_s) * 1e6
            for one in samples
        ]
        return cls(
            candidate=candidate,
            workload=samples[0].workload,
            packets_per_s=median(one.packets_per_s for one in samples),
            cpu_us_per_packet=median(spent) or None,
            held_out=held_out,
        )

    @property
    def name(self) -> str:
        """One line for people."""
        return f"{self.workload.name}: {self.candidate.in_words()}"


class Residual(_Value):
    """How far the model is off in one case: predicted over measured, 1.1 is 10% too much."""

    name: str
    held_out: bool
    measured_pps: float
    predicted_pps: float
    rate_ratio: float
    cpu_ratio: float | None


class Calibration(_Value):
    """Costs of one host, with what they were fitted to."""

    costs: dict[str, float]
    fingerprint_hash: str = ""
    created_at: str = ""
    simulated: bool = False
    residuals: tuple[Residual, ...]
    cases: tuple[Case, ...]

    def parameters(self) -> CostParameters:
        """The costs for a model. Raises ValueError for a name or a value that is none."""
        defaults = asdict(CostParameters())
        stray = set(self.costs) - set(defaults)
        if stray or not all(math.isfinite(value) and value >= 0 for value in self.costs.values()):
            raise ValueError(f"not a calibration: {sorted(stray) or 'a cost is negative or infinite'}")
        return replace(CostParameters(), **self.costs)  # type: ignore[arg-type]

    def typical_error(self, *, held_out: bool) -> float | None:
        """Median of |predicted / measured - 1| of the rates; None where there is no case."""
        errors = [abs(one.rate_ratio - 1) for one in self.residuals if one.held_out == held_out]
        return median(errors) if errors else None


def calibrate(
    topologies: Mapping[Gateway, Topology], shared_machine: bool, cases: Sequence[Case], **facts: Any
) -> Calibration:
    """Fits to the cases that are not held out. `facts`: fingerprint_hash, created_at, simulated. Raises ValueError
    when there are fewer than three."""
    from scipy.optimize import least_squares  # noqa: PLC0415  takes half a second to import

    fitted = [case for case in cases if not case.held_out]
    if len(fitted) < 3:
        raise ValueError(f"{len(fitted)} measurements are too few to fit a model; 3 are the least")
    defaults = asdict(CostParameters())

    def costs_at(logs: Sequence[float]) -> dict[str, float]:
        return {name: defaults[name] * math.exp(log) for name, log in zip(FITTED, logs, strict=True)}

    def model_with(costs: Mapping[str, float]) -> GatewayModel:
        return GatewayModel(topologies, shared_machine, replace(CostParameters(), **costs))  # type: ignore[arg-type]

    def errors(logs: Sequence[float]) -> list[float]:
        model = model_with(costs_at(logs))
        found = [PRIOR_WEIGHT * float(log) for log in logs]
        for one in (residual(model, case) for case in fitted):
            found.append(math.log(one.rate_ratio))
            found.append(math.log(one.cpu_ratio) if one.cpu_ratio else 0.0)
        return found

    most = math.log(MOST_CHANGE)
    # Ratios such as the unpinned one would turn absurd long before they are twelve times as large.
    upper = [math.log(3) if name.endswith("_ratio") else most for name in FITTED]
    fit = least_squares(errors, [0.0] * len(FITTED), bounds=([-most] * len(FITTED), upper), diff_step=1e-3)
    costs = {name: float(f"{value:.5g}") for name, value in costs_at(fit.x).items()}
    model = model_with(costs)
    return Calibration(
        costs=costs, residuals=tuple(residual(model, case) for case in cases), cases=tuple(cases), **facts
    )


def residual(model: GatewayModel, case: Case) -> Residual:
    """The model's prediction beside the measurement."""
    prediction = model.predict(case.candidate, case.workload)
    spent_us = sum(prediction.stage_cpus.values()) / prediction.packets_per_s * 1e6
    return Residual(
        name=case.name,
        held_out=case.held_out,
        measured_pps=case.packets_per_s,
        predicted_pps=prediction.packets_per_s,
        rate_ratio=prediction.packets_per_s / case.packets_per_s,
        cpu_ratio=spent_us / case.cpu_us_per_packet if case.cpu_us_per_packet else None,
    )


def calibration_plan(
    topologies: Mapping[Gateway, Topology], engines: Sequence[str], seconds: float, *, has_pktgen: bool
) -> tuple[dict[str, Candidate], tuple[Workload, ...], frozenset[str]]:
    """Candidates by name, the workloads for each of them, and the names of those that are held out of the fit."""
    cpus = min(len(topology.usable_cpus) for topology in topologies.values())
    lanes, workers = max(2, min(cpus, 8)), max(2, min(cpus, 16))
    candidates: dict[str, Candidate] = {}
    if "wirelane" in engines:
        candidates |= {
            "inline-1": Candidate(),
            f"inline-{lanes}": Candidate(lanes=lanes),
            "pipelined-1": Candidate(mode="pipelined", crypto_workers=workers),
            "small-batch": Candidate(batch_packets=8),
            f"pipelined-{lanes}": Candidate(mode="pipelined", lanes=lanes, crypto_workers=1),
            f"small-batch-{lanes}": Candidate(lanes=lanes, batch_packets=16),
        }
    for engine in ("kernel", "wireguard-go"):
        if engine in engines:
            candidates[engine] = Candidate(engine=engine, mode=None)
    workloads = [Workload(flows=2 * lanes, duration_s=seconds)]
    if has_pktgen:
        workloads += [
            Workload(tool="pktgen", protocol="udp", packet_bytes=size, flows=2 * lanes, duration_s=seconds)
            for size in (64, 1280)
        ]
    else:
        workloads.append(Workload(protocol="udp", packet_bytes=1280, flows=2 * lanes, duration_s=seconds))
    held_out = {name for name in candidates if name in (f"pipelined-{lanes}", f"small-batch-{lanes}")}
    return candidates, tuple(workloads), frozenset(held_out)
