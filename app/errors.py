"""Typed service errors and the one place that turns errors into RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

log = structlog.get_logger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"
_SHOWN_INPUT_CHARACTERS = 100


class FieldProblem(BaseModel):
    """One rejected field of a request."""

    location: str = Field(description="where: body.trials, query.limit, path.name", examples=["body.sample_seconds"])
    message: str = Field(examples=["Input should be greater than 0"])
    kind: str = Field(description="machine-readable kind of the problem", examples=["greater_than"])


class Problem(BaseModel):
    """Problem details (RFC 9457 section 3)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="URN that names the kind of problem", examples=["urn:wiretune:not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(examples=["There is no study 4f9c1d2ab07e."])
    instance: str = Field(description="path of the request", examples=["/api/v1/studies/4f9c1d2ab07e"])
    hint: str | None = Field(None, description="what to do about it")
    errors: list[FieldProblem] | None = Field(None, description="for invalid input: one entry a field")


class ServiceError(Exception):
    """An error a caller can act on. Subclasses fix the kind and the HTTP status."""

    kind = "error"
    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


class NotFoundError(ServiceError):
    """The thing asked for does not exist."""

    kind = "not-found"
    status = HTTPStatus.NOT_FOUND


class ConflictError(ServiceError):
    """The state of the thing does not allow what was asked."""

    kind = "conflict"
    status = HTTPStatus.CONFLICT


class InvalidError(ServiceError):
    """Well-formed input that makes no sense here, such as a CPU the testbed does not have."""

    kind = "invalid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UnauthorizedError(ServiceError):
    """No valid bearer token came with the request."""

    kind = "unauthorized"
    status = HTTPStatus.UNAUTHORIZED


class StorageError(ServiceError):
    """The service could not write what it must keep, for example because a disk is full."""

    kind = "storage"
    status = HTTPStatus.INSUFFICIENT_STORAGE


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of the given statuses, each a problem document."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def _respond(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    *,
    hint: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=f"urn:wiretune:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        hint=hint,
        errors=errors,
    )
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=headers,
    )


def _field_problems(errors: Sequence[Any]) -> list[FieldProblem]:
    """Pydantic's errors without the rejected input, which may be huge or secret."""
    return [
        FieldProblem(
            location=".".join(str(part)[:_SHOWN_INPUT_CHARACTERS] for part in error["loc"]),
            message=str(error["msg"]).removeprefix("Value error, ")[:500],
            kind=str(error["type"]),
        )
        for error in errors[:50]
    ]


async def _handle(request: Request, error: Exception) -> JSONResponse:
    match error:
        case ServiceError():
            headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
            return _respond(request, error.status, error.kind, error.detail, hint=error.hint, headers=headers)
        case RequestValidationError():
            errors = _field_problems(error.errors())
            detail = "; ".join(f"{field.location}: {field.message}" for field in errors[:3])
            return _respond(request, 422, "invalid", detail, errors=errors)
        case HTTPException(status_code=HTTPStatus.BAD_REQUEST):
            # FastAPI's word for a body that is no text at all; text that is no JSON is 422 already.
            return _respond(request, 422, "invalid", "body: it is not JSON in UTF-8")
        case HTTPException():
            kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            headers = dict(error.headers) if error.headers else None
            return _respond(request, error.status_code, kind, str(error.detail), headers=headers)
        case _:
            log.error("request failed", path=request.url.path, exc_info=error)
            return _respond(
                request, 500, "internal", "The service failed to answer.", hint="The service's log says more."
            )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    for error in (ServiceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, _handle)
