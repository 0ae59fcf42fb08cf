"""Health without a token; what this machine can do with one."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request

from app.database import Database
from app.system.schemas import Capabilities, Health
from app.system.service import capabilities, health

public = APIRouter(tags=["system"])
router = APIRouter(tags=["system"])


@public.get("/health", operation_id="getHealth")
def get_health(request: Request) -> Health:
    """Whether the service answers, and whether anything runs its jobs; needs no token."""
    return health(cast(Database, request.app.state.database))


@router.get("/capabilities", operation_id="getCapabilities")
def get_capabilities() -> Capabilities:
    """What this machine can do, and what to install for the rest: the doctor's list."""
    return capabilities()
