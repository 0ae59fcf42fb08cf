"""From the tables of studies to what the API shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from pydantic import TypeAdapter

from app import __version__
from app.database import now
from app.lab.driver import PhaseTimings, ProvisionedTestbed
from app.studies.explanation import explanation_of
from app.studies.fitness import fitness_of
from app.studies.models import ABLATION, Block, Study, Trial
from app.studies.race import StudyRace
from app.studies.schemas import (
    BlockOverhead,
    BlockPoint,
    GainView,
    StudyCreate,
    StudyProgress,
    StudyResult,
    StudyView,
    TrialDetail,
    TrialView,
)
from app.studies.states import RUNNING, StudyState
from app.testbeds.schemas import GatewayView
from app.testbeds.service import gateway_views
from tuner.candidate import Candidate, Gateway
from tuner.objectives import BlockMetrics, median_metrics
from tuner.outcomes import Infeasible, Measured, Outcome
from tuner.statistics import Verdict

OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def study_view(study: Study) -> StudyView:
    """One study with its progress."""
    return StudyView.model_validate(
        {
            "id": study.id,
            "label": study.label,
            "testbed": study.testbed,
            "driver": study.driver,
            "state": study.state,
            "simulated": study.simulated,
            "emulated": study.emulated,
            "spec": study.spec,
            "progress": _progress(study),
            "fingerprints": {name: gateway.fingerprint_hash for name, gateway in gateways_of(study).items()},
            "warm_start": study.warm_start,
            "verdict": study.verdict,
            "failure": study.failure,
            "bundle": study.bundle,
            "created_at": study.created_at,
            "started_at": study.started_at,
            "finished_at": study.finished_at,
        }
    )


def gateways_of(study: Study) -> dict[Gateway, GatewayView]:
    """Both gateways as they were when the study began; empty before."""
    return gateway_views(ProvisionedTestbed.model_validate(study.provisioned) if study.provisioned else None)


def _progress(study: Study) -> dict[str, Any]:
    if study.progress is None:
        empty = StudyProgress(
            trials_done=0,
            trials_total=study.spec["trials"],
            blocks_done=0,
            blocks_total=0,
            best=None,
            running=None,
            eta_s=None,
            trial_overhead_median_s=None,
            overhead=None,
        )
        return {**empty.model_dump(), "running": study.running}
    eta_s = study.progress["eta_s"]
    if StudyState(study.state) not in RUNNING:
        eta_s = None
    elif eta_s is not None and study.progress_at is not None:
        eta_s = max(0.0, eta_s - (now() - study.progress_at).total_seconds())
    return {**study.progress, "eta_s": eta_s, "running": study.running}


def trial_view(trial: Trial, race: StudyRace) -> TrialView:
    """One trial among the others of its study."""
    return TrialView.model_validate(_trial_fields(trial, race))


def trial_detail(trial: Trial, race: StudyRace) -> TrialDetail:
    """One trial with its blocks and samples, which must be loaded."""
    blocks = [_block_view(block) for block in trial.measured]
    return TrialDetail.model_validate({**_trial_fields(trial, race), "measured": blocks})


def _trial_fields(trial: Trial, race: StudyRace) -> dict[str, Any]:
    candidate = Candidate.model_validate(trial.candidate)
    phases = ("baseline", "search") if trial.is_baseline else ("search",)
    metrics = _median_metrics(_measured(trial, *(phases if trial.origin != ABLATION else ("explain",))))
    return {
        "id": trial.id,
        "study_id": trial.study_id,
        "number": trial.number,
        "is_baseline": trial.is_baseline,
        "candidate": candidate,
        "candidate_key": trial.candidate_key,
        "words": candidate.in_words(),
        "origin": trial.origin,
        "params": trial.params,
        "state": trial.state,
        "metrics": metrics,
        "gain": race.gain(metrics) if metrics else None,
        "standing": race.standing(trial),
        "constraints": race.checks(metrics) if metrics else [],
        "blocks": len(trial.measured),
        "points": list(_points(trial)),
        "detail": trial.detail,
        "overhead_s": overhead_median_s(trial.measured),
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
    }


def _block_view(block: Block) -> dict[str, Any]:
    outcome = OUTCOME.validate_python(block.outcome)
    timings = PhaseTimings.model_validate(block.timings)
    return {
        "phase": block.phase,
        "index": block.index,
        "attempt": block.attempt,
        "state": {"measured": "completed"}.get(outcome.kind, outcome.kind),
        "samples": [stored.sample for stored in block.samples],
        "read_back": block.read_back,
        "timings": timings.model_dump(),
        "overhead_s": timings.overhead_s,
        "detail": None if isinstance(outcome, Measured) else outcome.reason,
        "started_at": block.started_at,
        "finished_at": block.finished_at,
    }


def _points(trial: Trial) -> Iterator[BlockPoint]:
    for block in trial.measured:
        outcome = OUTCOME.validate_python(block.outcome)
        if isinstance(outcome, Measured):
            yield BlockPoint.model_validate({"phase": block.phase, "index": block.index, "metrics": outcome.metrics})


def _measured(trial: Trial, *phases: str) -> list[BlockMetrics]:
    outcomes = [OUTCOME.validate_python(block.outcome) for block in trial.measured if block.phase in phases]
    if any(isinstance(outcome, Infeasible) for outcome in outcomes):
        return []
    return [outcome.metrics for outcome in outcomes if isinstance(outcome, Measured)]


def _median_metrics(blocks: list[BlockMetrics]) -> BlockMetrics | None:
    return median_metrics(blocks) if blocks else None


def overhead_of(blocks: Iterable[Block]) -> BlockOverhead | None:
    """What the measured blocks cost beyond measuring; None before the first."""
    known = [PhaseTimings.model_validate(block.timings) for block in blocks if block.timings.get("total_s")]
    if not known:
        return None
    return BlockOverhead(
        start_s=median(timings.start_s for timings in known),
        apply_s=median(timings.apply_s for timings in known),
        verify_s=median(timings.verify_s for timings in known),
        collect_s=median(timings.collect_s for timings in known),
        total_s=median(timings.overhead_s for timings in known),
        blocks=len(known),
    )


def overhead_median_s(blocks: Iterable[Block]) -> float | None:
    """Median over the measured blocks of the time that was not spent measuring."""
    overhead = overhead_of(blocks)
    return overhead.total_s if overhead else None


def study_result(study: Study) -> StudyResult:
    """Everything a study found. Trials, blocks and samples must be loaded."""
    spec = StudyCreate.model_validate(study.spec)
    race = StudyRace(study)
    trials = [trial_detail(trial, race) for trial in study.trials]
    overhead = overhead_of(block for trial in study.trials for block in trial.measured)
    verdict = Verdict.model_validate(study.verdict) if study.verdict else None
    best_number = verdict.best_trial_number if verdict else -1
    return StudyResult.model_validate(
        {
            "wiretune_version": __version__,
            "study": study.id,
            "testbed": study.testbed,
            "driver": study.driver,
            "simulated": study.simulated,
            "emulated": study.emulated,
            "state": study.state,
            "objective": spec.objective,
            "spec": spec,
            "warm_start": study.warm_start,
            "verdict": verdict,
            "gain": _gain(verdict) if verdict else None,
            "fitness": fitness_of(study),
            "explanation": explanation_of(study),
            "baseline": next((trial for trial in trials if trial.is_baseline), None),
            "best": next((trial for trial in trials if trial.number == best_number), None),
            "trials": trials,
            "gateways": gateways_of(study),
            "trial_overhead_median_s": overhead.total_s if overhead else None,
            "overhead": overhead,
            "failure": study.failure,
            "created_at": study.created_at,
            "started_at": study.started_at,
            "finished_at": study.finished_at,
        }
    )


def _gain(verdict: Verdict) -> GainView:
    return GainView(
        gain=verdict.gain,
        gain_low=verdict.gain_low,
        gain_high=verdict.gain_high,
        decided_on=verdict.decided_on,
        rounds=verdict.rounds,
        metrics=list(verdict.metrics),
    )
