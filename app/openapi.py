"""The OpenAPI document: FastAPI's, with the problem and event schemas that no route names by type."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.errors import Problem
from app.events.schemas import EventView


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application."""
    if app.openapi_schema is None:
        api = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info=app.license_info,
        )
        _, extra = models_json_schema(
            [(Problem, "serialization"), (EventView, "serialization")], ref_template="#/components/schemas/{model}"
        )
        api["components"]["schemas"].update(extra["$defs"])
        _describe_streams(api)
        app.openapi_schema = api
    return app.openapi_schema


def _describe_streams(api: dict[str, Any]) -> None:
    """FastAPI writes OpenAPI 3.2's itemSchema; in a 3.1 document a stream is a string of EventView lines."""
    for operations in api["paths"].values():
        for operation in operations.values():
            content = operation["responses"].get("200", {}).get("content", {})
            if "text/event-stream" in content:
                content["text/event-stream"] = {
                    "schema": {"type": "string", "description": "events whose `data` is an EventView"},
                    "example": _EXAMPLE,
                }


_EXAMPLE = 'event: study.state\ndata: {"id":7,"type":"study.state","data":{"state":"searching"}}\nid: 7\n\n'


def as_text(app: FastAPI) -> str:
    """The document as stable JSON text."""
    return json.dumps(document(app), indent=2, ensure_ascii=False) + "\n"
