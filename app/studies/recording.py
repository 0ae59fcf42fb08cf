"""What the tune workflow records about a study. Every call is a transaction, and repeating one changes nothing.

The tables are the truth: the tuner's history is read back from them, so a study goes on from what was recorded whatever
happened to the process that ran it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.database import Database, now
from app.events import service as events
from app.events.schemas import EventType
from app.lab.driver import PhaseTimings, ProvisionedTestbed, TrialResult
from app.studies.earlier import earlier_studies, hosts_of
from app.studies.models import ABLATION, Block, StoredSample, Study, Trial
from app.studies.procedure import history_of
from app.studies.race import StudyRace
from app.studies.schemas import BestSoFar, BundleView, Origin, RunningBlock, StudyCreate, StudyFailure
from app.studies.service import change_state, existing_study
from app.studies.states import FINISHED, StudyState
from app.studies.views import OUTCOME, overhead_of, trial_view
from tuner.candidate import Candidate
from tuner.history import Arm, History
from tuner.outcomes import Failed, Infeasible, Measured
from tuner.progress import Progress
from tuner.samples import Reference
from tuner.space import SearchSpace
from tuner.statistics import Verdict
from tuner.steps import MeasureBlock
from tuner.warm_start import WarmStart, warm_start


@dataclass(frozen=True)
class StudySnapshot:
    """A study as the workflow needs it."""

    id: str
    testbed: str
    state: StudyState
    run: int
    spec: StudyCreate
    provisioned: ProvisionedTestbed | None
    history: History
    elapsed_s: float
    has_reference: bool
    warm_start: WarmStart | None


@dataclass(frozen=True)
class FinishedBlock:
    """What came of a MeasureBlock step."""

    step: MeasureBlock
    outcome: Measured | Infeasible | Failed
    result: TrialResult | None
    started_at: datetime
    duration_s: float


class StudyRecorder:
    """Writes what happens to studies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unfinished(self) -> Sequence[tuple[str, str, int]]:
        """Id, testbed and run of every study that is not finished, oldest first."""
        query = select(Study).where(Study.state.not_in(FINISHED)).order_by(Study.created_at)
        with self._database.reading() as session:
            return [(study.id, study.testbed, study.run) for study in session.scalars(query)]

    def is_current(self, study_id: str, run: int) -> bool:
        """Whether this is the newest run of the study, and nobody wants it to stop."""
        with self._database.reading() as session:
            study = existing_study(session, study_id)
            return study.run == run and study.state not in (StudyState.CANCELLING, *FINISHED)

    def next_run(self, study_id: str) -> int:
        """Number of a new run, for a study whose last run ended with the process."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            study.run += 1
            return study.run

    def snapshot(self, study_id: str) -> StudySnapshot:
        """The study with its history. Lab failures of earlier runs are left out of it: a resumed study tries again."""
        with self._database.reading() as session:
            study = session.get_one(Study, study_id, options=[selectinload(Study.trials).selectinload(Trial.measured)])
            provisioned = ProvisionedTestbed.model_validate(study.provisioned) if study.provisioned else None
            return StudySnapshot(
                id=study.id,
                testbed=study.testbed,
                state=StudyState(study.state),
                run=study.run,
                spec=StudyCreate.model_validate(study.spec),
                provisioned=provisioned,
                history=history_of(study),
                elapsed_s=study.elapsed_s,
                has_reference=study.reference is not None,
                warm_start=WarmStart.model_validate(study.warm_start) if study.warm_start else None,
            )

    def enter(self, study_id: str, state: StudyState) -> None:
        """Go to a running state, unless it is there already or was cancelled meanwhile."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.state in (state, StudyState.CANCELLING, *FINISHED):
                return
            if study.started_at is None:
                study.started_at = now()
            change_state(session, study, state)

    def record_provisioned(self, study_id: str, provisioned: ProvisionedTestbed) -> None:
        """Keep the first fingerprint and topology: the search space of the study rests on them."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.provisioned is None:
                study.provisioned = provisioned.model_dump(mode="json")

    def record_warm_start(self, study_id: str, space: SearchSpace) -> None:
        """Where the search begins, by what is known at this moment; once a study, since the search must not change."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.warm_start is not None or study.provisioned is None:
                return
            spec = StudyCreate.model_validate(study.spec)
            if spec.sampler in ("random", "grid"):
                return  # they are there for comparison, and begin anywhere
            earlier = earlier_studies(session, but=study_id) if spec.warm_start else ()
            hosts = hosts_of(ProvisionedTestbed.model_validate(study.provisioned))
            found = warm_start(space, hosts, spec.objective, spec.workloads or (), earlier)
            study.warm_start = found.model_dump(mode="json")

    def record_reference(self, study_id: str, reference: Reference) -> None:
        """What the hosts can do without a tunnel; once a study."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.reference is None:
                study.reference = reference.model_dump(mode="json")

    def record_asked(
        self,
        study_id: str,
        number: int,
        candidate: Candidate,
        *,
        origin: Origin,
        params: dict[str, str | int],
        expected_gain: float | None,
    ) -> None:
        """The search asked for this trial."""
        with self._database.writing() as session:
            trial = _trial(session, existing_study(session, study_id), number, candidate)
            trial.origin, trial.params, trial.expected_gain = origin, dict(params), expected_gain

    def record_baseline(self, study_id: str, candidate: Candidate, params: dict[str, str | int]) -> None:
        """What the study compares with."""
        with self._database.writing() as session:
            _trial(session, existing_study(session, study_id), None, candidate).params = dict(params)

    def record_space_exhausted(self, study_id: str) -> None:
        """The search has nothing left to try."""
        with self._database.writing() as session:
            existing_study(session, study_id).space_exhausted = True

    def record_block_started(self, study_id: str, step: MeasureBlock) -> None:
        """The lab begins with a block."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            trial = _trial(session, study, step.arm, step.candidate)
            running = RunningBlock(
                trial_id=trial.id,
                number=step.trial_number,
                is_baseline=trial.is_baseline,
                phase=step.phase,
                block=step.index,
                attempt=step.attempt,
                candidate=step.candidate,
                words=step.candidate.in_words(),
                lab_phase=None,
                message=None,
                started_at=now(),
            ).model_dump(mode="json")
            study.running = running
            _tell(session, study, "block.started", **running)

    def record_phase(self, study_id: str, phase: str, message: str) -> None:
        """What the lab does now."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.running is not None:
                study.running = {**study.running, "lab_phase": phase, "message": message[:500]}
            number = study.running["number"] if study.running else None
            _tell(session, study, "block.phase", phase=phase, message=message[:500], number=number)

    def record_block(self, study_id: str, block: FinishedBlock) -> None:
        """What came of a block, with its samples. Recording one twice is refused by the table's unique key."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            trial = _trial(session, study, block.step.arm, block.step.candidate)
            session.add(_block_row(study, trial, block))
            study.running = None
            study.elapsed_s += block.duration_s
            if trial.number is None and (isinstance(block.outcome, Measured) or not trial.is_baseline):
                _end_trial(trial, block.outcome)
            if isinstance(block.outcome, Failed):
                _tell(session, study, "lab.fault", trial_id=trial.id, number=trial.number, message=block.outcome.reason)
            _tell(session, study, "block.finished", **_block_event(trial, block))

    def record_told(self, study_id: str, number: int, outcome: Measured | Infeasible | Failed) -> None:
        """The search knows what came of a trial."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            trial = session.scalars(select(Trial).where(Trial.study_id == study_id, Trial.number == number)).one()
            if trial.told:
                return
            trial.told = True
            _end_trial(trial, outcome)
            _tell(
                session,
                study,
                "trial.finished",
                trial_id=trial.id,
                number=number,
                state=trial.state,
                detail=trial.detail,
                metrics=outcome.metrics.model_dump(mode="json") if isinstance(outcome, Measured) else None,
            )

    def record_progress(self, study_id: str, progress: Progress) -> None:
        """How far the study is."""
        with self._database.writing() as session:
            study = session.get_one(Study, study_id, options=[selectinload(Study.trials).selectinload(Trial.measured)])
            best = _best_so_far(study, progress)
            overhead = overhead_of(block for trial in study.trials for block in trial.measured)
            study.progress = {
                "trials_done": progress.trials_done,
                "trials_total": progress.trials_total,
                "blocks_done": progress.blocks_done,
                "blocks_total": progress.blocks_done + progress.blocks_remaining,
                "best": best.model_dump(mode="json") if best else None,
                "eta_s": progress.remaining_s,
                "trial_overhead_median_s": overhead.total_s if overhead else None,
                "overhead": overhead.model_dump() if overhead else None,
            }
            study.progress_at = now()
            _tell(session, study, "study.progress", **study.progress)

    def record_verdict(self, study_id: str, verdict: Verdict) -> None:
        """What the verdict rounds found; final once it is recorded."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if study.verdict is not None:
                return
            study.verdict = verdict.model_dump(mode="json")
            _tell(session, study, "study.verdict", verdict=study.verdict)

    def record_bundle(self, study_id: str, bundle: BundleView) -> None:
        """The bundle is on disk."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            study.bundle = bundle.model_dump(mode="json")
            _tell(session, study, "study.bundle", bundle=study.bundle)

    def record_bundle_failure(self, study_id: str, message: str) -> None:
        """Building a completed study's bundle again did not work."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            _tell(session, study, "study.bundle", bundle=study.bundle, failure=message)

    def end(self, study_id: str, state: StudyState, failure: StudyFailure | None = None) -> None:
        """The study is completed, cancelled or failed. Ending twice is harmless."""
        with self._database.writing() as session:
            study = existing_study(session, study_id)
            if StudyState(study.state) in FINISHED:
                return
            study.failure = failure.model_dump() if failure else None
            change_state(session, study, state)


def _trial(session: Session, study: Study, arm: Arm, candidate: Candidate) -> Trial:
    """The trial's row, made when it is not there yet."""
    number = arm if isinstance(arm, int) else None
    of_path = isinstance(arm, str)
    same = [Trial.number.is_(None), Trial.origin.is_(None)] if number is None else [Trial.number == number]
    if of_path:
        same = [Trial.origin == ABLATION, Trial.candidate_key == arm]
    trial = session.scalars(select(Trial).where(Trial.study_id == study.id, *same)).first()
    if trial is None:
        trial = Trial(
            study_id=study.id,
            number=number,
            origin=ABLATION if of_path else None,
            candidate=candidate.model_dump(mode="json"),
            candidate_key=candidate.key,
            state="running",
            params={},
            told=False,
            started_at=now(),
        )
        session.add(trial)
        session.flush()
        _tell(
            session,
            study,
            "trial.started",
            trial_id=trial.id,
            number=number,
            is_baseline=trial.is_baseline,
            candidate=trial.candidate,
            words=candidate.in_words(),
        )
    return trial


def _end_trial(trial: Trial, outcome: Measured | Infeasible | Failed) -> None:
    trial.state = "completed" if isinstance(outcome, Measured) else outcome.kind
    trial.detail = None if isinstance(outcome, Measured) else outcome.reason
    trial.finished_at = now()


def _block_row(study: Study, trial: Trial, block: FinishedBlock) -> Block:
    result = block.result
    samples = result.samples if result else ()
    return Block(
        trial_id=trial.id,
        phase=block.step.phase,
        index=block.step.index,
        run=study.run,
        attempt=block.step.attempt,
        outcome=OUTCOME.dump_python(block.outcome, mode="json"),
        read_back=dict(result.read_back) if result else {},
        timings=(result.timings if result else PhaseTimings()).model_dump(),
        started_s=study.elapsed_s,
        duration_s=block.duration_s,
        started_at=block.started_at,
        finished_at=now(),
        samples=[
            StoredSample(
                position=position,
                throughput_gbps=sample.throughput_gbps,
                sample=sample.model_dump(mode="json"),
            )
            for position, sample in enumerate(samples)
        ],
    )


def _block_event(trial: Trial, block: FinishedBlock) -> dict[str, Any]:
    outcome = block.outcome
    return {
        "trial_id": trial.id,
        "number": trial.number,
        "is_baseline": trial.is_baseline,
        "phase": block.step.phase,
        "block": block.step.index,
        "attempt": block.step.attempt,
        "state": "completed" if isinstance(outcome, Measured) else outcome.kind,
        "metrics": outcome.metrics.model_dump(mode="json") if isinstance(outcome, Measured) else None,
        "detail": None if isinstance(outcome, Measured) else outcome.reason,
        "overhead_s": block.result.timings.overhead_s if block.result else None,
        "duration_s": block.duration_s,
    }


def _best_so_far(study: Study, progress: Progress) -> BestSoFar | None:
    trial = next((trial for trial in study.trials if trial.number == progress.best_trial_number), None)
    if trial is None or trial.number is None:
        return None
    view = trial_view(trial, StudyRace(study))
    if view.metrics is None:
        return None
    return BestSoFar(
        trial_id=trial.id,
        number=trial.number,
        candidate=view.candidate,
        words=view.words,
        metrics=view.metrics,
        gain=view.gain,
    )


def _tell(session: Session, study: Study, type_: EventType, **data: Any) -> None:
    events.append(session, type_, testbed=study.testbed, study_id=study.id, **data)
