"""Single measurements as the API shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.lab.driver import PhaseTimings
from app.testbeds.schemas import TestbedName
from tuner.candidate import Candidate
from tuner.samples import Sample, Workload

MeasurementId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


class MeasurementState(StrEnum):
    """Where a measurement is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    INFEASIBLE = "infeasible"
    CANCELLED = "cancelled"
    FAILED = "failed"


class MeasurementCreate(BaseModel):
    """One candidate, some workloads, no search."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "testbed": "demo",
                    "candidate": {"engine": "wirelane", "mode": "inline", "lanes": 2},
                    "workloads": [{"tool": "iperf3", "protocol": "tcp", "direction": "both", "duration_s": 3}],
                }
            ]
        },
    )

    testbed: TestbedName
    candidate: Candidate = Candidate()
    workloads: list[Workload] = Field(default_factory=lambda: [Workload()], min_length=1, max_length=16)


class MeasurementView(BaseModel):
    """A measurement and what it found."""

    id: MeasurementId
    testbed: TestbedName
    state: MeasurementState
    simulated: bool
    candidate: Candidate
    words: str
    workloads: list[Workload]
    samples: list[Sample]
    read_back: dict[str, Any]
    timings: PhaseTimings | None
    lab_phase: str | None = Field(description="what the lab does now")
    detail: str | None = Field(description="why it is infeasible or failed")
    hint: str | None
    created_at: datetime
    finished_at: datetime | None
