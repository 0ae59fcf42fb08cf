"""Bearer tokens as the API shows them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class TokenCreate(BaseModel):
    """A name for a new token."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ci"}]})

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .:@-]+$", examples=["ci"])


class TokenView(BaseModel):
    """A token, without the secret: the service keeps its SHA-256 only."""

    id: int
    name: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenCreated(TokenView):
    """A new token; the only time its secret is shown."""

    token: str = Field(examples=["wt_…"])
