"""Events: what happened, in order, as clients follow it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

EventType = Literal[
    "testbed.state",
    "testbed.phase",
    "testbed.deleted",
    "study.state",
    "study.progress",
    "study.verdict",
    "study.bundle",
    "trial.started",
    "trial.finished",
    "block.started",
    "block.phase",
    "block.finished",
    "lab.fault",
    "measurement.state",
    "measurement.phase",
]


class EventView(BaseModel):
    """One event; `id` orders all events of the service and is what Last-Event-ID refers to."""

    id: int
    at: datetime
    type: EventType
    testbed: str | None
    study_id: str | None
    measurement_id: str | None
    data: dict[str, Any] = Field(description="details that depend on the type")
