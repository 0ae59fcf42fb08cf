"""Single measurements: queued, cancelled, shown. Also what the workflow records about them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database import Database, now
from app.errors import ConflictError, NotFoundError
from app.events import service as events
from app.jobs import Jobs
from app.lab.driver import TrialResult
from app.measurements.models import Measurement
from app.measurements.schemas import MeasurementCreate, MeasurementState, MeasurementView
from app.pagination import Page
from app.testbeds.service import TestbedService
from tuner.candidate import Candidate

S = MeasurementState
FINISHED = frozenset({S.COMPLETED, S.INFEASIBLE, S.CANCELLED, S.FAILED})
CANCELLABLE = frozenset({S.QUEUED, S.RUNNING})


class MeasurementService:
    """Measurements of one database."""

    def __init__(self, database: Database, jobs: Jobs, testbeds: TestbedService) -> None:
        self._database, self._jobs, self._testbeds = database, jobs, testbeds

    # -- for the API ----------------------------------------------------------------------------------------------

    def create(self, body: MeasurementCreate) -> MeasurementView:
        """Queue a measurement. Raises NotFoundError, ConflictError and InvalidError of its testbed."""
        testbed = self._testbeds.for_new_work(body.testbed, [body.candidate.engine], [body.candidate])
        row = Measurement(
            id=secrets.token_hex(6),
            testbed=body.testbed,
            state=S.QUEUED,
            simulated=testbed.simulated,
            candidate=body.candidate.model_dump(mode="json"),
            workloads=[workload.model_dump(mode="json") for workload in body.workloads],
            created_at=now(),
        )
        with self._database.writing() as session:
            session.add(row)
            _tell_state(session, row)
        self._jobs.measure(row.id, row.testbed)
        return _view(row)

    def list(self, testbed: str | None, limit: int, offset: int) -> Page[MeasurementView]:
        """Measurements, newest first."""
        query, count = select(Measurement), select(func.count()).select_from(Measurement)
        if testbed is not None:
            query, count = query.where(Measurement.testbed == testbed), count.where(Measurement.testbed == testbed)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(Measurement.created_at.desc()).limit(limit).offset(offset)).all()
            total = session.scalar(count) or 0
        return Page(items=[_view(row) for row in rows], total=total)

    def get(self, measurement_id: str) -> MeasurementView:
        """One measurement. Raises NotFoundError."""
        with self._database.reading() as session:
            return _view(_existing(session, measurement_id))

    def cancel(self, measurement_id: str) -> MeasurementView:
        """Stop it. Raises NotFoundError; ConflictError when it is finished or being cancelled."""
        with self._database.writing() as session:
            row = _existing(session, measurement_id)
            if row.state not in CANCELLABLE:
                raise ConflictError(
                    f"Measurement {measurement_id} is {row.state}; only a waiting or running one can be cancelled."
                )
            if row.state == S.QUEUED:
                row.state, row.finished_at = S.CANCELLED, now()
            else:
                row.state = S.CANCELLING
            _tell_state(session, row)
        return _view(row)

    def is_active_on(self, testbed: str) -> bool:
        """Whether a measurement on this testbed is not finished."""
        with self._database.reading() as session:
            query = select(Measurement.id).where(Measurement.testbed == testbed, Measurement.state.not_in(FINISHED))
            return session.scalars(query.limit(1)).first() is not None

    # -- for the workflow -----------------------------------------------------------------------------------------

    def unfinished(self) -> Sequence[tuple[str, str]]:
        """Id and testbed of every measurement that is not finished, oldest first."""
        query = select(Measurement).where(Measurement.state.not_in(FINISHED)).order_by(Measurement.created_at)
        with self._database.reading() as session:
            return [(row.id, row.testbed) for row in session.scalars(query)]

    def record_running(self, measurement_id: str) -> None:
        """The lab begins with it, perhaps for the second time after a crash."""
        with self._database.writing() as session:
            row = _existing(session, measurement_id)
            if row.state == S.QUEUED:
                row.state = S.RUNNING
                _tell_state(session, row)

    def record_phase(self, measurement_id: str, phase: str, message: str) -> None:
        """What the lab does now."""
        with self._database.writing() as session:
            row = _existing(session, measurement_id)
            row.phase = f"{phase}: {message}"[:200]
            events.append(
                session,
                "measurement.phase",
                testbed=row.testbed,
                measurement_id=row.id,
                phase=phase,
                message=message[:500],
            )

    def record_end(
        self,
        measurement_id: str,
        state: MeasurementState,
        result: TrialResult | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        """How it ended. Ending twice is harmless."""
        with self._database.writing() as session:
            row = _existing(session, measurement_id)
            if row.state in FINISHED:
                return
            row.state, row.phase, row.finished_at = state, None, now()
            row.result = result.model_dump(mode="json") if result else None
            row.detail, row.hint = detail, hint or None
            _tell_state(session, row)


def _existing(session: Session, measurement_id: str) -> Measurement:
    row = session.get(Measurement, measurement_id)
    if row is None:
        raise NotFoundError(f"There is no measurement {measurement_id}.")
    return row


def _tell_state(session: Session, row: Measurement) -> None:
    events.append(
        session,
        "measurement.state",
        testbed=row.testbed,
        measurement_id=row.id,
        state=row.state,
        detail=row.detail,
        hint=row.hint,
    )


def _view(row: Measurement) -> MeasurementView:
    result: dict[str, Any] = row.result or {}
    return MeasurementView.model_validate(
        {
            "id": row.id,
            "testbed": row.testbed,
            "state": row.state,
            "simulated": row.simulated,
            "candidate": row.candidate,
            "words": Candidate.model_validate(row.candidate).in_words(),
            "workloads": row.workloads,
            "samples": result.get("samples", []),
            "read_back": result.get("read_back", {}),
            "timings": result.get("timings"),
            "lab_phase": row.phase,
            "detail": row.detail,
            "hint": row.hint,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )
