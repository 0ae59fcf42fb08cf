"""Table of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class Event(Base):
    """Something that happened; ids ascend in the order of commits."""

    __tablename__ = "events"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  ids are never used twice

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(32))
    testbed: Mapped[str | None] = mapped_column(String(15))
    study_id: Mapped[str | None] = mapped_column(String(12), index=True)
    measurement_id: Mapped[str | None] = mapped_column(String(12), index=True)
    data: Mapped[dict[str, Any]]
