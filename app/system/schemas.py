"""What the service says of itself and of its machine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """The service answers; whether anything runs its jobs is another matter."""

    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])
    jobs: Literal["running", "no_worker", "unknown"] = Field(
        description="no_worker: what is asked for stays queued; unknown: the database does not answer"
    )
    hint: str | None = Field(None, description="what to do about it")


class Capability(BaseModel):
    """One thing that this machine can or cannot do."""

    name: str = Field(examples=["tun_uso"])
    title: str = Field(examples=["UDP segmentation offload on TUN devices"])
    state: Literal["ok", "degraded", "missing"]
    required: bool = Field(description="the netns testbed cannot work without it")
    detail: str = Field(examples=["Linux 6.18 offers TUN_F_USO4 and TUN_F_USO6"])
    hint: str = Field("", description="what to install or change")


class Capabilities(BaseModel):
    """The doctor's list."""

    version: str
    can_tune_netns: bool = Field(description="everything required is there")
    items: list[Capability]
