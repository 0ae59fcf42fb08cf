"""Why the winner wins: importance of the tunables, the ablation path; from the study's tables, at any time."""

from __future__ import annotations

from app.lab.driver import ProvisionedTestbed
from app.studies.models import Study
from app.studies.procedure import history_of, procedure_settings
from app.studies.schemas import Explanation, StudyCreate
from app.studies.space import search_space
from app.studies.states import FINISHED, StudyState
from tuner.candidate import Candidate
from tuner.importance import importance
from tuner.procedure import Procedure


def explanation_of(study: Study) -> Explanation | None:
    """What is known so far; None before the testbed was provisioned. Trials, blocks and samples must be loaded."""
    baseline = next((trial for trial in study.trials if trial.is_baseline), None)
    if study.provisioned is None or baseline is None:
        return None
    spec = StudyCreate.model_validate(study.spec)
    space = search_space(spec, ProvisionedTestbed.model_validate(study.provisioned))
    procedure = Procedure(procedure_settings(spec), Candidate.model_validate(baseline.candidate))
    history = history_of(study)
    finished = StudyState(study.state) in {StudyState.BUNDLING, *FINISHED}
    return Explanation(
        importance=importance(procedure.scored_trials(history), space.describe()),
        ablation=procedure.ablation(history, finished=finished) if study.verdict else None,
    )
