"""Endpoints of testbeds."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status

from app.errors import problem_responses
from app.pagination import Limit, Offset, Page
from app.testbeds.schemas import TestbedCreate, TestbedView
from app.testbeds.service import TestbedService

router = APIRouter(prefix="/testbeds", tags=["testbeds"])

Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,14}$", max_length=15, examples=["demo"])]


def testbed_service(request: Request) -> TestbedService:
    """The service of the running application."""
    return cast(TestbedService, request.app.state.testbeds)


Forget = Annotated[
    bool,
    Query(description="the hosts are gone for good: forget a testbed whose deletion has failed, without reaching them"),
]
Testbeds = Annotated[TestbedService, Depends(testbed_service)]


@router.post("", status_code=status.HTTP_202_ACCEPTED, operation_id="createTestbed", responses=problem_responses(409))
def create_testbed(body: TestbedCreate, testbeds: Testbeds, response: Response) -> TestbedView:
    """Add a testbed and start to provision it; `Location` shows when it is ready."""
    created = testbeds.create(body)
    response.headers["Location"] = f"/api/v1/testbeds/{created.name}"
    return created


@router.get("", operation_id="listTestbeds")
def list_testbeds(testbeds: Testbeds, limit: Limit = 200, offset: Offset = 0) -> Page[TestbedView]:
    """All testbeds by name."""
    return testbeds.list(limit, offset)


@router.get("/{name}", operation_id="getTestbed", responses=problem_responses(404))
def get_testbed(name: Name, testbeds: Testbeds) -> TestbedView:
    """One testbed: its state, both gateways' fingerprints and topology, the engines that run there."""
    return testbeds.get(name)


@router.delete(
    "/{name}",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="deleteTestbed",
    responses=problem_responses(404, 409),
)
def delete_testbed(name: Name, testbeds: Testbeds, response: Response, forget: Forget = False) -> TestbedView:
    """Remove everything the testbed made on its hosts, then forget it. Its studies stay.

    409 while a study or a measurement on it is not finished: cancel that first. With `forget` the hosts keep what
    `footprint` names; 409 unless the testbed has failed, since one whose hosts answer is better deleted.
    """
    deleting = testbeds.forget(name) if forget else testbeds.delete(name)
    response.headers["Location"] = f"/api/v1/testbeds/{name}"
    return deleting
