"""Composition root of the HTTP application: service → routers → dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, Depends, FastAPI
from fastapi.concurrency import run_in_threadpool

from app import __version__, openapi
from app.errors import add_error_handlers, problem_responses
from app.events import endpoints as events
from app.headers import SecurityHeaders
from app.measurements import endpoints as measurements
from app.service import Service
from app.settings import Settings
from app.studies import endpoints as studies
from app.system import endpoints as system
from app.testbeds import endpoints as testbeds
from app.tokens import endpoints as tokens

API = "/api/v1"
_DESCRIPTION = """\
Finds the fastest safe way to run a site-to-site WireGuard link on your two hosts, and proves it.

Long work answers `202 Accepted` with a `Location` to look at. Errors are problem details (RFC 9457). Events are
Server-Sent Events that resume after `Last-Event-ID`.
"""
_TAGS = [
    {"name": "studies", "description": "A search on one testbed: baseline, trials, playoff, verdict."},
    {"name": "testbeds", "description": "Two gateways, a link, and a driver."},
    {"name": "measurements", "description": "One candidate, some workloads, no search."},
    {"name": "bundles", "description": "What puts the winner into production, and takes it out again."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "tokens", "description": "Who may ask."},
    {"name": "system", "description": "The service and its machine."},
]


def make_app(service: Service | None = None) -> FastAPI:
    """The HTTP application. Without a service it has nothing behind it, which is enough for its OpenAPI document."""
    settings = service.settings if service else Settings()
    app = FastAPI(
        title="Wiretune",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=_TAGS,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=settings.max_body_bytes,
        lifespan=partial(_lifespan, service) if service else None,
    )
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    app.add_middleware(SecurityHeaders)
    add_error_handlers(app)
    app.include_router(system.public, prefix=API)
    app.include_router(_protected())
    if service and (settings.resolved_web_dist / "index.html").is_file():
        app.frontend("/", directory=settings.resolved_web_dist, fallback="index.html")
    return app


def _protected() -> APIRouter:
    router = APIRouter(prefix=API, dependencies=[Depends(tokens.require_token)], responses=problem_responses(401, 422))
    for part in (
        studies.router,
        studies.trials_router,
        testbeds.router,
        measurements.router,
        events.router,
        tokens.router,
        system.router,
    ):
        router.include_router(part)
    return router


@asynccontextmanager
async def _lifespan(service: Service, app: FastAPI) -> AsyncIterator[None]:
    try:
        await run_in_threadpool(service.start)
    except Exception as error:
        service.start_error = error  # the server that runs this only logs it
        raise
    app.state.database = service.database
    app.state.tokens, app.state.feed = service.tokens, service.feed
    app.state.testbeds, app.state.studies = service.testbeds, service.studies
    app.state.measurements = service.measurements
    yield
    await run_in_threadpool(service.stop)
