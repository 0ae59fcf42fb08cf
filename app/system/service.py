"""What this machine can do, as app.lab.doctor finds out."""

from __future__ import annotations

from app.system.schemas import Capabilities


def capabilities() -> Capabilities:
    raise RuntimeError
