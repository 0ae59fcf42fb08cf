"""Table of single measurements."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class Measurement(Base):
    """One candidate measured once; `result` is an app.lab.driver.TrialResult."""

    __tablename__ = "measurements"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    testbed: Mapped[str] = mapped_column(String(15), index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    simulated: Mapped[bool]
    candidate: Mapped[dict[str, Any]]
    workloads: Mapped[list[Any]]
    result: Mapped[dict[str, Any] | None]
    phase: Mapped[str | None] = mapped_column(String(200))
    detail: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
