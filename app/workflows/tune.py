"""Tuning a study: the dumb loop around tuner.procedure. Every turn is one durable step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import structlog

from app.database import now
from app.errors import NotFoundError, ServiceError
from app.lab.driver import CandidateFailed, LabCancelled, LabError, ShouldCancel, TrialResult
from app.lab.fitness import on_hosts_of
from app.studies.recording import FinishedBlock, StudyRecorder, StudySnapshot
from app.studies.schemas import BundleView, StudyFailure
from app.studies.states import FINISHED, StudyState
from app.workflows.interrupts import Interrupts
from app.workflows.lab import Lab
from app.workflows.plan import Plan, Searches, params_in
from tuner.outcomes import Failed, Infeasible, Measured, outcome_of
from tuner.samples import Reference, Workload
from tuner.steps import AskTrial, Finish, MeasureBlock, TellTrial

log = structlog.get_logger(__name__)

Turn = Literal["again", "over"]
BuildBundle = Callable[[str], BundleView]

_REFERENCE_S = 2.0
"""The measurement without a tunnel is for distances only; it does not need the precision of a sample."""
_HINTS = {"limits_unmet": "Start a study with wider limits, or with more trials."}

_STATE_OF_PHASE = {
    "baseline": StudyState.BASELINE,
    "search": StudyState.SEARCHING,
    "playoff": StudyState.CONFIRMING,
    "verdict": StudyState.CONFIRMING,
    "explain": StudyState.EXPLAINING,
}


class StudyRunner:
    """Takes one step of a study at a time. A step that is repeated after a crash changes nothing twice."""

    def __init__(
        self,
        recorder: StudyRecorder,
        lab: Lab,
        interrupts: Interrupts,
        searches: Searches,
        build_bundle: BuildBundle,
    ) -> None:
        self._recorder, self._lab, self._interrupts = recorder, lab, interrupts
        self._searches, self._build_bundle = searches, build_bundle

    def provision(self, study_id: str, run: int) -> Turn:
        """Make the testbed ready for the study."""
        study = self._recorder.snapshot(study_id)
        if self._is_over(study, run):
            return "over"
        if study.state is StudyState.QUEUED:
            self._recorder.enter(study_id, StudyState.PROVISIONING)
        try:
            driver_phase = self._on_phase(study_id)
            provisioned = self._lab.look_again(study.testbed, driver_phase, self._should_cancel(study))
            self._recorder.record_provisioned(study_id, provisioned)
            plan = Plan.of(self._recorder.snapshot(study_id))
            baseline = plan.procedure.baseline
            self._recorder.record_baseline(study_id, baseline, params_in(plan.space, baseline))
            self._recorder.record_warm_start(study_id, plan.space)
            self._measure_reference(study)
        except LabCancelled:
            return self._interrupted(study)
        except LabError as error:
            self._lab.damaged(study.testbed)
            return self._fail(study_id, f"The testbed could not be made ready: {error.message}", error.hint)
        except NotFoundError as error:  # the testbed was deleted while the study waited
            return self._fail(study_id, error.detail, error.hint or "")
        except ValueError as error:
            return self._fail(study_id, f"The search space is impossible on this testbed: {error}", "")
        return "again"

    def _measure_reference(self, study: StudySnapshot) -> None:
        """What the link and the AEAD do without a tunnel. The study goes on without it: distances are then unknown."""
        if study.has_reference:
            return
        first = (study.spec.workloads or [Workload()])[0]
        workload = first.model_copy(update={"duration_s": min(first.duration_s, _REFERENCE_S)})
        try:
            driver = self._lab.driver(study.testbed)
            reference = driver.reference(workload, self._on_phase(study.id), self._should_cancel(study))
        except LabCancelled:
            raise
        except LabError as error:
            log.warning("no reference", study=study.id, error=error.message, detail=error.detail)
            reference = Reference(detail=_reason(error))
        self._recorder.record_reference(study.id, reference)

    def advance(self, study_id: str, run: int) -> Turn:
        """Take the next step of the procedure, whatever it is."""
        study = self._recorder.snapshot(study_id)
        if self._is_over(study, run):
            return "over"
        if self._interrupts.stopping:
            return self._interrupted(study)
        plan = Plan.of(study)
        step = plan.procedure.next_step(study.history, study.elapsed_s)
        match step:
            case MeasureBlock():
                return self._measure(study, plan, step)
            case AskTrial():
                self._ask(study, plan)
            case TellTrial():
                self._searches.open(study, plan).tell(step.number, step.outcome, step.estimate)
                self._recorder.record_told(study.id, step.number, step.outcome)
                self._record_progress(study_id, plan)
            case Finish():
                return self._finish(study, plan, step)
        return "again"

    def fail(self, study_id: str, error: Exception) -> None:
        """End the study because of a defect of ours: say so, and keep the details in the log."""
        log.error("study failed", study=study_id, exc_info=error)
        self._fail(study_id, f"Internal error: {type(error).__name__}: {error}", "The service's log says more.")

    # -- steps ----------------------------------------------------------------------------------------------------

    def _ask(self, study: StudySnapshot, plan: Plan) -> None:
        self._recorder.enter(study.id, StudyState.SEARCHING)
        asked = self._searches.open(study, plan).ask()
        if asked is None:
            self._recorder.record_space_exhausted(study.id)
        else:
            self._recorder.record_asked(
                study.id,
                asked.number,
                asked.candidate,
                origin=asked.origin,
                params=asked.params,
                expected_gain=asked.expected_gain,
            )

    def _measure(self, study: StudySnapshot, plan: Plan, step: MeasureBlock) -> Turn:
        if step.phase == "explain":
            self._record_verdict(study, plan)
        self._recorder.enter(study.id, _STATE_OF_PHASE[step.phase])
        self._recorder.record_block_started(study.id, step)
        started_at, started_s = now(), time.monotonic()
        outcome: Measured | Infeasible | Failed
        result: TrialResult | None = None
        try:
            result = self._run(study, step)
            outcome = outcome_of(result.samples, plan.procedure.objective)
        except LabCancelled:
            return self._interrupted(study)
        except CandidateFailed as error:
            self._lab.rollback(study.testbed)
            outcome = Infeasible(reason=_reason(error))
        except LabError as error:
            log.warning("lab fault", study=study.id, error=error.message, detail=error.detail)
            self._lab.damaged(study.testbed)
            outcome = Failed(reason=_reason(error))
        duration_s = time.monotonic() - started_s
        self._recorder.record_block(study.id, FinishedBlock(step, outcome, result, started_at, duration_s))
        self._record_progress(study.id, plan)
        return "again"

    def _run(self, study: StudySnapshot, step: MeasureBlock) -> TrialResult:
        on_phase, should_cancel = self._on_phase(study.id), self._should_cancel(study)
        workloads = study.spec.workloads or ()
        result = self._lab.run_trial(study.testbed, step.candidate, workloads, on_phase, should_cancel)
        return on_hosts_of(result, study.provisioned) if study.provisioned else result

    def _finish(self, study: StudySnapshot, plan: Plan, finish: Finish) -> Turn:
        self._lab.rollback(study.testbed)
        if finish.reason != "complete" or not self._record_verdict(study, plan):
            message = finish.message if finish.reason != "complete" else "too few verdict rounds could be measured"
            reason = study.history.last_reason()
            if reason and finish.reason != "limits_unmet" and reason not in message:
                message += f"; the last reason: {reason}"
            hint = _HINTS.get(finish.reason, "Resuming the study tries again.")
            return self._fail(study.id, message[:1].upper() + message[1:], hint)
        if study.state is StudyState.SEARCHING:  # every finalist broke but one: nothing was left to play off
            self._recorder.enter(study.id, StudyState.CONFIRMING)
        self._recorder.enter(study.id, StudyState.BUNDLING)
        try:
            self._recorder.record_bundle(study.id, self._build_bundle(study.id))
        except (ServiceError, OSError) as error:
            hint = getattr(error, "hint", None) or "Everything measured is kept: resume the study to build the bundle."
            return self._fail(study.id, f"The bundle could not be built: {error}", hint)
        if self._recorder.snapshot(study.id).state is StudyState.CANCELLING:
            self._recorder.end(study.id, StudyState.CANCELLED)
        else:
            self._recorder.end(study.id, StudyState.COMPLETED)
        self._searches.close(study.id)
        return "over"

    def _record_verdict(self, study: StudySnapshot, plan: Plan) -> bool:
        """Whether there is one."""
        verdict = plan.procedure.verdict(study.history)
        if verdict is not None:
            self._recorder.record_verdict(study.id, verdict)
        return verdict is not None

    # -- ends -----------------------------------------------------------------------------------------------------

    def _is_over(self, study: StudySnapshot, run: int) -> bool:
        """Whether this run has nothing to do: the study is finished or cancelled, or a newer run has taken over."""
        if study.state is StudyState.CANCELLING and study.run == run:
            self._interrupted(study)
            return True
        return study.state in FINISHED or study.run != run

    def _interrupted(self, study: StudySnapshot) -> Turn:
        """Roll back. A cancelled study ends; one whose service stops keeps its state and goes on after the restart."""
        self._lab.rollback(study.testbed)
        if self._recorder.snapshot(study.id).state is StudyState.CANCELLING:
            self._recorder.end(study.id, StudyState.CANCELLED)
            self._searches.close(study.id)
        return "over"

    def _fail(self, study_id: str, message: str, hint: str) -> Turn:
        self._recorder.end(study_id, StudyState.FAILED, StudyFailure(message=message, hint=hint or None))
        self._searches.close(study_id)
        return "over"

    def _record_progress(self, study_id: str, plan: Plan) -> None:
        study = self._recorder.snapshot(study_id)
        self._recorder.record_progress(study_id, plan.procedure.progress(study.history, study.elapsed_s))

    def _should_cancel(self, study: StudySnapshot) -> ShouldCancel:
        return self._interrupts.should_cancel(lambda: not self._recorder.is_current(study.id, study.run))

    def _on_phase(self, study_id: str) -> Callable[[str, str], None]:
        return lambda phase, message: self._recorder.record_phase(study_id, phase, message)


def _reason(error: LabError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
