"""One shape for every list that the API answers."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

Limit = Annotated[int, Query(ge=1, le=1000, description="most items to answer")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="items to skip")]


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A window of a list."""

    items: list[Item]
    total: int = Field(ge=0, description="items there are in all")
