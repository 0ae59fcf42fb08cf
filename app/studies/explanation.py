"""Why the winner wins: importance of the tunables, ablation path, bottlenecks; from the study's tables, at any time."""

from __future__ import annotations

from app.lab.driver import ProvisionedTestbed
from app.studies.models import Study, Trial
from app.studies.procedure import history_of, procedure_settings
from app.studies.schemas import Explanation, StudyCreate
from app.studies.space import search_space
from app.studies.states import FINISHED, StudyState
from tuner.bottleneck import Bottleneck, bottleneck
from tuner.candidate import Candidate
from tuner.importance import importance
from tuner.procedure import Procedure
from tuner.samples import Reference, Sample


def explanation_of(study: Study) -> Explanation | None:
    """What is known so far; None before the testbed was provisioned. Trials, blocks and samples must be loaded."""
    baseline = next((trial for trial in study.trials if trial.is_baseline), None)
    if study.provisioned is None or baseline is None:
        return None
    provisioned = ProvisionedTestbed.model_validate(study.provisioned)
    spec = StudyCreate.model_validate(study.spec)
    space = search_space(spec, provisioned)
    procedure = Procedure(procedure_settings(spec), Candidate.model_validate(baseline.candidate))
    history = history_of(study)
    finished = StudyState(study.state) in {StudyState.BUNDLING, *FINISHED}
    reference = Reference.model_validate(study.reference) if study.reference else None
    best_number = study.verdict["best_trial_number"] if study.verdict else None
    best = next((trial for trial in study.trials if trial.number == best_number and not trial.is_baseline), None)
    limits = [
        _bottleneck(trial, provisioned.shared_machine, reference) if trial is not None else None
        for trial in (baseline, best if study.verdict else None)
    ]
    return Explanation(
        importance=importance(procedure.scored_trials(history), space.describe(), procedure.broken_trials(history)),
        ablation=procedure.ablation(history, finished=finished) if study.verdict else None,
        bottleneck_baseline=limits[0],
        bottleneck_best=limits[1],
        reference=reference,
    )


def _bottleneck(trial: Trial, shared_machine: bool, reference: Reference | None) -> Bottleneck | None:
    """From the verdict's samples, which were taken side by side; before them from all there are."""
    confirmed = [block for block in trial.measured if block.phase == "verdict"]
    samples = [
        Sample.model_validate(stored.sample) for block in confirmed or trial.measured for stored in block.samples
    ]
    candidate = Candidate.model_validate(trial.candidate)
    return bottleneck(candidate, samples, shared_machine=shared_machine, reference=reference)
