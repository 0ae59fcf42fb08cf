"""Endpoints of single measurements."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status

from app.errors import problem_responses
from app.measurements.schemas import MeasurementCreate, MeasurementView
from app.measurements.service import MeasurementService
from app.pagination import Limit, Offset, Page

router = APIRouter(prefix="/measurements", tags=["measurements"])

Id = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["91c40be7f2d3"])]


def measurement_service(request: Request) -> MeasurementService:
    """The service of the running application."""
    return cast(MeasurementService, request.app.state.measurements)


Measurements = Annotated[MeasurementService, Depends(measurement_service)]


@router.post(
    "", status_code=status.HTTP_202_ACCEPTED, operation_id="createMeasurement", responses=problem_responses(404, 409)
)
def create_measurement(body: MeasurementCreate, measurements: Measurements, response: Response) -> MeasurementView:
    """Queue one candidate with some workloads; `Location` shows the samples when they are there."""
    created = measurements.create(body)
    response.headers["Location"] = f"/api/v1/measurements/{created.id}"
    return created


@router.get("", operation_id="listMeasurements")
def list_measurements(
    measurements: Measurements,
    testbed: Annotated[str | None, Query(max_length=15, description="only those of this testbed")] = None,
    limit: Limit = 200,
    offset: Offset = 0,
) -> Page[MeasurementView]:
    """All measurements, newest first."""
    return measurements.list(testbed, limit, offset)


@router.get("/{measurement_id}", operation_id="getMeasurement", responses=problem_responses(404))
def get_measurement(measurement_id: Id, measurements: Measurements) -> MeasurementView:
    """One measurement: its state and, when completed, one sample a workload."""
    return measurements.get(measurement_id)


@router.post(
    "/{measurement_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="cancelMeasurement",
    responses=problem_responses(404, 409),
)
def cancel_measurement(measurement_id: Id, measurements: Measurements, response: Response) -> MeasurementView:
    """Stop a measurement within about a second and roll its hosts back."""
    cancelled = measurements.cancel(measurement_id)
    response.headers["Location"] = f"/api/v1/measurements/{measurement_id}"
    return cancelled
