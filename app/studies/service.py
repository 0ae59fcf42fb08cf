"""Studies as the API uses them: created, cancelled, resumed, shown."""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from app.bundles.site import Site
from app.database import Database, now
from app.errors import ConflictError, InvalidError, NotFoundError
from app.events import service as events
from app.jobs import Jobs
from app.pagination import Page
from app.studies.explanation import explanation_of
from app.studies.fitness import fitness_of
from app.studies.models import Block, Study, Trial
from app.studies.race import StudyRace
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
from app.studies.space import search_space
from app.studies.states import CANCELLABLE, FINISHED, RESUMABLE, StudyState, allowed
from app.studies.views import gateways_of, study_result, study_view, trial_detail, trial_view
from app.testbeds.service import TestbedService


class StudyService:
    """Studies of one database."""

    def __init__(self, database: Database, jobs: Jobs, testbeds: TestbedService, bundles_dir: Path) -> None:
        self._database, self._jobs, self._testbeds, self._bundles_dir = database, jobs, testbeds, bundles_dir

    def create(self, body: StudyCreate) -> StudyView:
        """Queue a study. Raises NotFoundError, ConflictError and InvalidError of its testbed."""
        testbed = self._testbeds.for_new_work(body.testbed, body.engines or ())
        spec = body.model_copy(
            update={
                "workloads": body.workloads or [body.default_workload],
                "seed": secrets.randbits(32) if body.seed is None else body.seed,
            }
        )
        provisioned = self._testbeds.provisioned(body.testbed)
        if provisioned is not None:
            try:
                search_space(spec, provisioned)
            except ValueError as error:
                raise InvalidError(f"The search space is impossible on testbed {body.testbed}: {error}") from error
        study = Study(
            id=secrets.token_hex(6),
            label=body.label,
            testbed=body.testbed,
            driver=testbed.driver,
            state=StudyState.QUEUED,
            run=1,
            simulated=testbed.simulated,
            spec=spec.model_dump(mode="json"),
            space_exhausted=False,
            elapsed_s=0.0,
            created_at=now(),
        )
        with self._database.writing() as session:
            session.add(study)
            tell_state(session, study)
        self._jobs.tune(study.id, study.testbed, study.run)
        return study_view(study)

    def list(self, testbed: str | None, limit: int, offset: int) -> Page[StudyView]:
        """Studies, newest first."""
        query, count = select(Study), select(func.count()).select_from(Study)
        if testbed is not None:
            query, count = query.where(Study.testbed == testbed), count.where(Study.testbed == testbed)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(Study.created_at.desc()).limit(limit).offset(offset)).all()
            total = session.scalar(count) or 0
        return Page(items=[study_view(row) for row in rows], total=total)

    def get(self, study_id: str) -> StudyView:
        """One study. Raises NotFoundError."""
        with self._database.reading() as session:
            return study_view(existing_study(session, study_id))

    def is_finished(self, study_id: str) -> bool:
        """Whether nothing happens to it any more, unless somebody resumes it."""
        with self._database.reading() as session:
            return StudyState(existing_study(session, study_id).state) in FINISHED

    def is_active_on(self, testbed: str) -> bool:
        """Whether a study on this testbed is not finished."""
        with self._database.reading() as session:
            query = select(Study.id).where(Study.testbed == testbed, Study.state.not_in(FINISHED))
            return session.scalars(query.limit(1)).first() is not None

    def cancel(self, study_id: str) -> StudyView:
        """Stop a study. Raises NotFoundError; ConflictError when it is finished or being cancelled."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if StudyState(study.state) not in CANCELLABLE:
                raise ConflictError(
                    f"Study {study_id} is {study.state}; only a waiting or running study can be cancelled."
                )
            waits = study.state == StudyState.QUEUED
            change_state(session, study, StudyState.CANCELLED if waits else StudyState.CANCELLING)
        return study_view(study)

    def resume(self, study_id: str) -> StudyView:
        """Continue a cancelled or failed study where it stopped. Raises NotFoundError, ConflictError."""
        study = self._load(study_id)
        if StudyState(study.state) not in RESUMABLE:
            raise ConflictError(f"Study {study_id} is {study.state}; only a cancelled or failed study can be resumed.")
        self._testbeds.for_new_work(study.testbed, study.spec["engines"] or ())
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            change_state(session, study, StudyState.QUEUED)
            study.run += 1
            study.failure = study.finished_at = None
        self._jobs.tune(study.id, study.testbed, study.run)
        return study_view(study)

    def trials(self, study_id: str, limit: int, offset: int) -> Page[TrialView]:
        """The trials of a study in the order they began. Raises NotFoundError."""
        with self._database.reading() as session:
            study = _with_blocks(session, study_id)
        race = StudyRace(study)
        items = [trial_view(trial, race) for trial in study.trials[offset : offset + limit]]
        return Page(items=items, total=len(study.trials))

    def trial(self, trial_id: int) -> TrialDetail:
        """One trial with its blocks and samples. Raises NotFoundError."""
        samples = selectinload(Trial.measured).selectinload(Block.samples)
        with self._database.reading() as session:
            trial = session.get(Trial, trial_id, options=[samples])
            if trial is None:
                raise NotFoundError(f"There is no trial {trial_id}.")
            race = StudyRace(_with_blocks(session, trial.study_id))
            return trial_detail(trial, race)

    def result(self, study_id: str) -> StudyResult:
        """Everything a study found. Raises NotFoundError."""
        return study_result(self._with_samples(study_id))

    def explanation(self, study_id: str) -> Explanation:
        """Why its winner wins, as far as it is known. Raises NotFoundError for no study, and before its baseline."""
        found = explanation_of(self._with_samples(study_id))
        if found is None:
            raise NotFoundError(
                f"Study {study_id} has no baseline yet.", hint="Ask again when it has begun to measure."
            )
        return found

    def hosts(self, study_id: str) -> StudyHosts:
        """Its gateways. Raises NotFoundError for no study, and before they were provisioned."""
        study = self._with_samples(study_id)
        gateways = gateways_of(study)
        if not gateways:
            raise NotFoundError(
                f"The hosts of study {study_id} are not known yet.", hint="Ask again when it is provisioned."
            )
        return StudyHosts(gateways=gateways, fitness=fitness_of(study))

    def _with_samples(self, study_id: str) -> Study:
        samples = selectinload(Study.trials).selectinload(Trial.measured).selectinload(Block.samples)
        with self._database.reading() as session:
            study = session.get(Study, study_id, options=[samples])
            if study is None:
                raise _no_study(study_id)
        return study

    def bundle(self, study_id: str) -> BundleView:
        """The bundle's description. Raises NotFoundError while there is none."""
        bundle = self.get(study_id).bundle
        if bundle is None:
            raise NotFoundError(f"Study {study_id} has no bundle.", hint="A bundle is built when a study completes.")
        return bundle

    def bundle_path(self, study_id: str) -> Path:
        """The bundle's file. Raises NotFoundError."""
        path = self._bundles_dir / self.bundle(study_id).filename
        if not path.is_file():
            raise NotFoundError(
                f"The bundle of study {study_id} is not on disk any more.",
                hint=f"POST /api/v1/studies/{study_id}/bundle builds it again.",
            )
        return path

    def rebuild_bundle(self, study_id: str, site: Site | None = None) -> StudyView:
        """Build the bundle again, for this site or for its testbed.

        Raises NotFoundError; ConflictError unless the study is completed.
        """
        study = self.get(study_id)
        if study.state is not StudyState.COMPLETED:
            raise ConflictError(f"Study {study_id} is {study.state}; only a completed study has a bundle.")
        self._jobs.rebuild_bundle(study_id, site)
        return study

    def _load(self, study_id: str) -> Study:
        with self._database.reading() as session:
            return existing_study(session, study_id)


def existing_study(session: Session, study_id: str) -> Study:
    """The study's row. Raises NotFoundError."""
    study = session.get(Study, study_id)
    if study is None:
        raise _no_study(study_id)
    return study


def _with_blocks(session: Session, study_id: str) -> Study:
    """The study's row with its trials and their blocks. Raises NotFoundError."""
    blocks = selectinload(Study.trials).selectinload(Trial.measured)
    study = session.get(Study, study_id, options=[blocks])
    if study is None:
        raise _no_study(study_id)
    return study


def _no_study(study_id: str) -> NotFoundError:
    return NotFoundError(f"There is no study {study_id}.", hint="`wiretune study list` shows what there is.")


def change_state(session: Session, study: Study, state: StudyState) -> None:
    """Go to another state by the transition table, and tell it. Raises ConflictError where the table forbids it."""
    before = StudyState(study.state)
    if not allowed(before, state):
        raise ConflictError(f"Study {study.id} cannot go from {before} to {state}.")
    study.state = state
    if state in FINISHED:
        study.finished_at, study.running = now(), None
    tell_state(session, study)


def tell_state(session: Session, study: Study) -> None:
    """Record the state as an event."""
    events.append(
        session, "study.state", testbed=study.testbed, study_id=study.id, state=study.state, failure=study.failure
    )
