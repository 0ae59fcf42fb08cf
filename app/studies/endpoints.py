"""Endpoints of studies, their trials, result, events and bundle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.bundles.schemas import BundleRequest
from app.errors import problem_responses
from app.events.endpoints import Feed, LastEventId, as_sse
from app.pagination import Limit, Offset, Page
from app.studies.schemas import (
    BundleView,
    Explanation,
    StudyCreate,
    StudyHosts,
    StudyResult,
    StudyView,
    TrialDetail,
    TrialView,
)
from app.studies.service import StudyService

router = APIRouter(prefix="/studies", tags=["studies"])
trials_router = APIRouter(prefix="/trials", tags=["studies"])

Id = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["4f9c1d2ab07e"])]


def study_service(request: Request) -> StudyService:
    """The service of the running application."""
    return cast(StudyService, request.app.state.studies)


Studies = Annotated[StudyService, Depends(study_service)]


def existing_study(study_id: Id, studies: Studies) -> str:
    """The id, once it is known to exist: a stream cannot answer 404 any more when it has begun."""
    return studies.get(study_id).id


@router.post(
    "", status_code=status.HTTP_202_ACCEPTED, operation_id="createStudy", responses=problem_responses(404, 409)
)
def create_study(body: StudyCreate, studies: Studies, response: Response) -> StudyView:
    """Queue a study: baseline, search, confirm, verdict, bundle. Studies of one testbed run one after the other."""
    created = studies.create(body)
    response.headers["Location"] = f"/api/v1/studies/{created.id}"
    return created


@router.get("", operation_id="listStudies")
def list_studies(
    studies: Studies,
    testbed: Annotated[str | None, Query(max_length=15, description="only studies of this testbed")] = None,
    limit: Limit = 200,
    offset: Offset = 0,
) -> Page[StudyView]:
    """All studies, newest first."""
    return studies.list(testbed, limit, offset)


@router.get("/{study_id}", operation_id="getStudy", responses=problem_responses(404))
def get_study(study_id: Id, studies: Studies) -> StudyView:
    """One study with its progress: what runs now, best so far, time left."""
    return studies.get(study_id)


@router.post(
    "/{study_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="cancelStudy",
    responses=problem_responses(404, 409),
)
def cancel_study(study_id: Id, studies: Studies, response: Response) -> StudyView:
    """Stop a study within about a second and roll its hosts back. 409 when it is already finished or cancelling."""
    cancelled = studies.cancel(study_id)
    response.headers["Location"] = f"/api/v1/studies/{study_id}"
    return cancelled


@router.post(
    "/{study_id}/resume",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="resumeStudy",
    responses=problem_responses(404, 409),
)
def resume_study(study_id: Id, studies: Studies, response: Response) -> StudyView:
    """Continue a cancelled or failed study where it stopped; finished blocks are not measured again."""
    resumed = studies.resume(study_id)
    response.headers["Location"] = f"/api/v1/studies/{study_id}"
    return resumed


@router.get("/{study_id}/trials", operation_id="listTrials", responses=problem_responses(404))
def list_trials(study_id: Id, studies: Studies, limit: Limit = 1000, offset: Offset = 0) -> Page[TrialView]:
    """The trials of a study in the order they began, the baseline first."""
    return studies.trials(study_id, limit, offset)


@router.get("/{study_id}/result", operation_id="getResult", responses=problem_responses(404))
def get_result(study_id: Id, studies: Studies) -> StudyResult:
    """Everything found so far: baseline, best, gain with its interval, every trial with its samples, fingerprints.

    `verdict` and `best` are null until the verdict rounds have ended: the maximum of a noisy search is not a result.
    """
    return studies.result(study_id)


@router.get("/{study_id}/explanation", operation_id="getExplanation", responses=problem_responses(404))
def get_explanation(study_id: Id, studies: Studies) -> Explanation:
    """Why the winner wins: importance of each tunable, the ablation path from the baseline to the winner, and what
    holds both back."""
    return studies.explanation(study_id)


@router.get("/{study_id}/hosts", operation_id="getHosts", responses=problem_responses(404))
def get_hosts(study_id: Id, studies: Studies) -> StudyHosts:
    """Both gateways as they were when the study began: fingerprints, topology, engines."""
    return studies.hosts(study_id)


@router.get(
    "/{study_id}/events",
    response_class=EventSourceResponse,
    operation_id="followStudy",
    responses=problem_responses(404),
)
async def follow_study(
    study_id: Annotated[str, Depends(existing_study)],
    studies: Studies,
    feed: Feed,
    last_event_id: LastEventId = None,
    until_finished: Annotated[bool, Query(description="end the stream when the study is finished")] = False,
) -> AsyncIterator[ServerSentEvent]:
    """Follow one study (Server-Sent Events), from its first event or after `Last-Event-ID`."""
    is_finished = partial(studies.is_finished, study_id) if until_finished else None
    async for event in feed.follow(after=last_event_id or 0, study_id=study_id, is_finished=is_finished):
        yield as_sse(event)


@router.get("/{study_id}/bundle", operation_id="getBundle", responses=problem_responses(404), tags=["bundles"])
def get_bundle(study_id: Id, studies: Studies) -> BundleView:
    """Name, size and checksum of the study's bundle."""
    return studies.bundle(study_id)


@router.post(
    "/{study_id}/bundle",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="rebuildBundle",
    responses=problem_responses(404, 409),
    tags=["bundles"],
)
def rebuild_bundle(study_id: Id, studies: Studies, response: Response, body: BundleRequest | None = None) -> StudyView:
    """Build the bundle of a completed study again, with the addresses of your site."""
    rebuilding = studies.rebuild_bundle(study_id, body.site if body else None)
    response.headers["Location"] = f"/api/v1/studies/{study_id}/bundle"
    return rebuilding


@router.get(
    "/{study_id}/bundle/download",
    operation_id="downloadBundle",
    response_class=FileResponse,
    responses={200: {"content": {"application/gzip": {}}, "description": "tar.gz"}, **problem_responses(404)},
    tags=["bundles"],
)
def download_bundle(study_id: Id, studies: Studies) -> FileResponse:
    """The bundle as a tar.gz."""
    path = studies.bundle_path(study_id)
    return FileResponse(path, media_type="application/gzip", filename=path.name)


@trials_router.get("/{trial_id}", operation_id="getTrial", responses=problem_responses(404))
def get_trial(trial_id: Annotated[int, Path(ge=1, le=2**53)], studies: Studies) -> TrialDetail:
    """One trial with its blocks and samples."""
    return studies.trial(trial_id)
