"""What the tuner needs to decide about a study, made from the study alone: equal after every restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from app.studies.procedure import procedure_settings
from app.studies.recording import StudySnapshot
from app.studies.space import search_space
from tuner.candidate import Candidate
from tuner.procedure import Procedure
from tuner.space import SearchSpace
from tuner.tunables import Params

if TYPE_CHECKING:
    from tuner.search import StudySearch


@dataclass(frozen=True)
class Plan:
    """Search space and procedure of one study."""

    space: SearchSpace
    procedure: Procedure

    @classmethod
    def of(cls, study: StudySnapshot) -> Self:
        """The plan of a study whose testbed was provisioned. Raises ValueError when the space is impossible there."""
        if study.provisioned is None:
            raise ValueError(f"study {study.id} has no provisioned testbed")
        space = search_space(study.spec, study.provisioned)
        return cls(space, Procedure(procedure_settings(study.spec), space.baseline()))


def params_in(space: SearchSpace, candidate: Candidate) -> Params:
    """The candidate's value of each tunable; empty for a baseline of the user's own that the space does not hold."""
    return space.params_of(candidate) if candidate in space else {}


class Searches:
    """The open Optuna storages of running studies."""

    def __init__(self, storage: Callable[[str], str | Path]) -> None:
        """`storage`: the file or the SQLAlchemy URL that a study is kept in."""
        self._storage = storage
        self._open: dict[str, StudySearch] = {}

    def open(self, study: StudySnapshot, plan: Plan) -> StudySearch:
        """The search of a study. Trials that a crash lost before they were recorded are given up."""
        if study.id not in self._open:
            from tuner.search import StudySearch  # noqa: PLC0415  Optuna takes a second to import

            storage = self._storage(study.id)
            if isinstance(storage, Path):
                storage.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            search = StudySearch.open(
                storage,
                study.id,
                plan.space,
                plan.procedure.objective,
                sampler=study.spec.sampler,
                constraints=study.spec.constraints,
                seed=study.spec.seed or 0,
                warm_starts=study.warm_start.candidates if study.warm_start else None,
            )
            search.abandon_stale(keep=[trial.number for trial in study.history.trials])
            self._open[study.id] = search
        return self._open[study.id]

    def close(self, study_id: str) -> None:
        """Give the storage back."""
        search = self._open.pop(study_id, None)
        if search is not None:
            search.close()
