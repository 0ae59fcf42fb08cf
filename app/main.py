"""Composition root: settings → database → workflows → services → routers."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Depends, FastAPI

from app import __version__, openapi
from app.errors import add_error_handlers, problem_responses
from app.events import endpoints as events
from app.measurements import endpoints as measurements
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


def make_app() -> FastAPI:
    """The HTTP application, without anything behind it: enough for its OpenAPI document."""
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
        max_body_size=1 << 20,
    )
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    add_error_handlers(app)
    app.include_router(system.public, prefix=API)
    protected = APIRouter(
        prefix=API, dependencies=[Depends(tokens.require_token)], responses=problem_responses(401, 422)
    )
    for router in (
        studies.router,
        studies.trials_router,
        testbeds.router,
        measurements.router,
        events.router,
        tokens.router,
        system.router,
    ):
        protected.include_router(router)
    app.include_router(protected)
    return app
