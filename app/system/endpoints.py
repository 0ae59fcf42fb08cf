"""Health without a token; what this machine can do with one."""

from __future__ import annotations

from fastapi import APIRouter

from app import __version__
from app.system.schemas import Capabilities, Health
from app.system.service import capabilities

public = APIRouter(tags=["system"])
router = APIRouter(tags=["system"])


@public.get("/health", operation_id="getHealth")
def get_health() -> Health:
    """Whether the service answers; needs no token."""
    return Health(version=__version__)


@router.get("/capabilities", operation_id="getCapabilities")
def get_capabilities() -> Capabilities:
    """What this machine can do, and what to install for the rest: the doctor's list."""
    return capabilities()
