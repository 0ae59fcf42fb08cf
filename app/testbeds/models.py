"""Table of testbeds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class Testbed(Base):
    """A pair of gateways; `provisioned` is what the driver reported (app.lab.driver.ProvisionedTestbed).

    `job` names the newest provisioning or teardown; older ones that still wait in the queue do nothing.
    """

    __tablename__ = "testbeds"

    name: Mapped[str] = mapped_column(String(15), primary_key=True)
    driver: Mapped[str] = mapped_column(String(16))
    simulation: Mapped[dict[str, Any] | None]
    ssh: Mapped[dict[str, Any] | None]
    vm: Mapped[dict[str, Any] | None]
    state: Mapped[str] = mapped_column(String(16))
    provisioned: Mapped[dict[str, Any] | None]
    job: Mapped[str] = mapped_column(String(12))
    detail: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str | None] = mapped_column(Text)
    phase: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    provisioned_at: Mapped[datetime | None]
