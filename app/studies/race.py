"""How the trials of a study stand: to each other, to its baseline, to its constraints. For charts; never a result."""

from __future__ import annotations

from functools import cached_property
from statistics import median

from app.studies.models import Study, Trial
from app.studies.procedure import history_of, procedure_settings
from app.studies.schemas import Standing, StudyCreate
from tuner.candidate import Candidate
from tuner.constraints import ConstraintCheck, checks
from tuner.history import History
from tuner.objectives import OBJECTIVES, BlockMetrics, Objective
from tuner.procedure import Procedure


class StudyRace:
    """What one study's trials are held against. Trials and their blocks must be loaded."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._spec = StudyCreate.model_validate(study.spec)

    @property
    def objective(self) -> Objective:
        """What the study optimises."""
        return OBJECTIVES[self._spec.objective]

    @cached_property
    def _history(self) -> History:
        return history_of(self._study)

    @cached_property
    def _baseline_score(self) -> float | None:
        """Median score of the baseline's blocks before and during the search."""
        scores = [self.objective.score(m.metrics) for m in self._history.measured(None, "baseline", "search")]
        return median(scores) if scores else None

    def gain(self, metrics: BlockMetrics) -> float | None:
        """Ratio to the baseline's median, drift and all; None before the baseline is measured."""
        return self.objective.score(metrics) / self._baseline_score if self._baseline_score else None

    def checks(self, metrics: BlockMetrics) -> tuple[ConstraintCheck, ...]:
        """Each constraint of the study against these metrics; none before the baseline is measured."""
        baseline = self._history.baseline_metrics
        return checks(self._spec.constraints, metrics, baseline) if baseline is not None else ()

    def standing(self, trial: Trial) -> Standing | None:
        """How a trial of the search stands; None for the baseline and for the ablation path."""
        return self._standings.get(trial.number) if trial.number is not None else None

    @cached_property
    def _standings(self) -> dict[int, Standing]:
        baseline = next((trial for trial in self._study.trials if trial.is_baseline), None)
        if baseline is None:
            return {}
        procedure = Procedure(procedure_settings(self._spec), Candidate.model_validate(baseline.candidate))
        return {one.number: Standing.model_validate(one) for one in procedure.standings(self._history)}
