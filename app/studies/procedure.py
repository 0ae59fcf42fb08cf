"""A study as the tuner sees it: its settings, and everything asked and measured so far."""

from __future__ import annotations

from app.studies.models import Study
from app.studies.schemas import StudyCreate
from tuner.candidate import Candidate
from tuner.history import BlockRecord, History, ProcedureSettings, TrialRecord

LAB_ATTEMPTS = 2
"""A block that the lab failed is tried once more on the healed testbed, then recorded as failed and never scored."""


def procedure_settings(spec: StudyCreate) -> ProcedureSettings:
    """How the study spends its budget."""
    return ProcedureSettings(
        objective=spec.objective,
        trials=spec.trials,
        constraints=spec.constraints,
        racing=spec.racing,
        stop_when_unlikely=spec.stop_when_unlikely,
        repeats=spec.repeats,
        finalists=spec.finalists,
        playoff_rounds=spec.playoff_rounds,
        verdict_rounds=spec.verdict_rounds,
        explain_rounds=spec.explain_rounds,
        time_budget_s=spec.time_budget_s,
        attempts=LAB_ATTEMPTS,
        seed=spec.seed or 0,
    )


def history_of(study: Study) -> History:
    """The study's trials and blocks, which must be loaded, without the lab failures of earlier runs."""
    trials = tuple(
        TrialRecord(
            number=trial.number,
            candidate=Candidate.model_validate(trial.candidate),
            params=trial.params,
            expected_gain=trial.expected_gain,
            told=trial.told,
        )
        for trial in study.trials
        if trial.number is not None
    )
    rows = sorted(((block, trial) for trial in study.trials for block in trial.measured), key=lambda pair: pair[0].id)
    blocks = tuple(
        BlockRecord.model_validate(
            {
                "phase": block.phase,
                "trial_number": trial.number,
                "ablation_key": trial.ablation_key,
                "index": block.index,
                "outcome": block.outcome,
                "started_s": block.started_s,
                "duration_s": block.duration_s,
            }
        )
        for block, trial in rows
        if block.run == study.run or block.outcome["kind"] != "failed"
    )
    return History(trials=trials, blocks=blocks, space_exhausted=study.space_exhausted)
