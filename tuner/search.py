"""Ask/tell over Optuna, in a storage of its own: which candidate to try next, and what came of it."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.candidate import Candidate
from tuner.journal import StudyJournal
from tuner.objectives import Objective
from tuner.outcomes import Failed, Infeasible, Measured
from tuner.space import SearchSpace
from tuner.tunables import Params

SamplerName = Literal["tpe", "random", "grid"]
Origin = Literal["warm_start", "sampler", "neighbour", "grid"]
"""Why a candidate is tried: an expert or an earlier study names it; the sampler chose it; the sampler chose one that
was tried before and this is next to it; it is the next point of the grid."""

# Optuna announces every study, and that `group` may change its interface; neither concerns a user of Wiretune.
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", message="Argument ``group``", category=optuna.exceptions.ExperimentalWarning)

# User attributes of an Optuna trial. A trial without a number was never handed out.
_NUMBER, _CANDIDATE_KEY, _PARAMS, _ORIGIN = "number", "candidate_key", "params", "origin"
# Names of constraints; Optuna calls a trial feasible while all are at most 0, and every told trial needs a value.
_FEASIBLE = "feasible"
# User attribute of the study: its space and objective.
_SHAPE = "shape"
_STARTUP_TRIALS = 6
_NEIGHBOUR_SHARE = 0.5
_LEADERS = 30
_DOOMED_AFTER = 3
_SCANNED_POINTS = 20_000
_GUESSES = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A candidate to try."""

    number: int
    """Ascending from 0; a gap only where a crash lost a trial before its caller recorded it."""
    candidate: Candidate
    origin: Origin
    params: Params


def _is_feasible(trial: FrozenTrial) -> bool:
    return bool(min(trial.values) > 0)


class _Known:
    """What one ask needs to know of the trials so far."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        told = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        running = [trial for trial in trials if trial.state == TrialState.RUNNING and _NUMBER in trial.user_attrs]
        feasible = [trial for trial in told if _is_feasible(trial)]
        self.numbers = [trial.user_attrs[_NUMBER] for trial in trials if _NUMBER in trial.user_attrs]
        self.waiting = any(trial.state == TrialState.WAITING for trial in trials)
        self.tried = {trial.user_attrs[_CANDIDATE_KEY] for trial in (*told, *running)}
        self.warm_starts = sum(trial.user_attrs.get(_ORIGIN) == "warm_start" for trial in trials)
        self.beyond_warm_starts = sum(trial.user_attrs[_ORIGIN] != "warm_start" for trial in (*told, *running))
        self.leaders: list[Params] = [
            trial.user_attrs[_PARAMS] for trial in sorted(feasible, key=lambda trial: -math.prod(trial.values))
        ]
        worked = {value for params in self.leaders for value in params.items()}
        broken = Counter(
            value for trial in told if not _is_feasible(trial) for value in trial.user_attrs[_PARAMS].items()
        )
        # Values of tunables with which several candidates were infeasible and none was not.
        self.doomed = {value for value, times in broken.items() if times >= _DOOMED_AFTER and value not in worked}


class StudySearch:
    """The search of one study. Not for use by several threads at once; several objects for one study are fine.

    In a journal file each ask and tell is one transaction: after `kill -9`, open it again, `abandon_stale`, and go on.
    What is asked next is a function of the storage and the seed alone, so that a restart changes nothing.
    """

    def __init__(
        self,
        study: optuna.Study,
        journal: StudyJournal | None,
        space: SearchSpace,
        objective: Objective,
        *,
        sampler: SamplerName,
        seed: int,
    ) -> None:
        """Use `open`."""
        self._study, self._journal, self._space, self._objective = study, journal, space, objective
        self._sampler, self._seed = sampler, seed
        self._keys: dict[tuple[tuple[str, str | int], ...], str] = {}

    @classmethod
    def open(
        cls,
        storage: str | Path,
        study_id: str,
        space: SearchSpace,
        objective: Objective,
        *,
        sampler: SamplerName = "tpe",
        seed: int = 0,
        warm_starts: Sequence[Candidate] | None = None,
    ) -> Self:
        """Opens the study, or creates it. `storage`: path of a journal file, or an SQLAlchemy URL, for Optuna alone.

        `warm_starts` are tried first (None: `space.expert_candidates()`; not with the grid and random samplers, which
        are there for comparison); those that the space does not hold raise ValueError. Raises ValueError, too, when
        the stored study has another space or objective.
        """
        journal = None if isinstance(storage, str) and "://" in storage else StudyJournal(Path(storage))
        backend = RDBStorage(str(storage)) if journal is None else JournalStorage(journal)
        study = optuna.create_study(
            storage=backend,
            study_name=study_id,
            directions=[metric.direction for metric in objective.metrics],
            load_if_exists=True,
        )
        search = cls(study, journal, space, objective, sampler=sampler, seed=seed)
        shape = json.dumps([objective.name, space.describe()], sort_keys=True)
        stored = study.user_attrs.get(_SHAPE)
        if stored is None:
            with search._transaction():
                search._queue_warm_starts(space.expert_candidates() if warm_starts is None else warm_starts)
                study.set_user_attr(_SHAPE, shape)
        elif stored != shape:
            raise ValueError(f"study {study_id} was started with another search space or objective")
        return search

    def _queue_warm_starts(self, candidates: Sequence[Candidate]) -> None:
        if self._sampler != "tpe":
            return
        queued = [trial.system_attrs.get("fixed_params") for trial in self._trials()]
        for candidate in candidates:
            params = self._space.params_of(candidate)
            if self._space.optuna_params(params) not in queued:
                self._enqueue(params, "warm_start")

    def _enqueue(self, params: Mapping[str, str | int], origin: Origin) -> None:
        self._study.enqueue_trial(self._space.optuna_params(params), {_ORIGIN: origin}, skip_if_exists=False)

    # -- ask ------------------------------------------------------------------------------------------------------

    def ask(self) -> Asked | None:
        """The next candidate, one not tried before; None when the space has no more.

        A candidate whose trial the lab failed counts as not tried.
        """
        with self._transaction():
            return self._ask()

    def _ask(self) -> Asked | None:
        trials = self._trials()
        known = _Known(trials)
        rng = random.Random(f"{self._seed} {len(trials)}")  # noqa: S311 (choices of a search, not secrets)
        if not known.waiting:
            params = self._own_proposal(known, rng)
            if params is not None:
                self._enqueue(params, "grid" if self._sampler == "grid" else "neighbour")
            elif self._sampler == "grid":
                return None
        while True:
            self._study.sampler = self._make_sampler(known, rng.getrandbits(32))
            trial = self._study.ask()
            candidate = self._space.suggest(trial)
            if candidate.key not in known.tried:
                return self._hand_out(trial, candidate, 1 + max(known.numbers, default=-1))
            self._study.tell(trial, state=TrialState.FAIL)
            untried = self._untried(known, rng)
            if untried is None:
                return None
            self._enqueue(untried, "neighbour")

    def _hand_out(self, trial: optuna.Trial, candidate: Candidate, number: int) -> Asked:
        origin: Origin = trial.user_attrs.get(_ORIGIN, "sampler")
        params = self._space.params_of(candidate)
        for name, value in ((_CANDIDATE_KEY, candidate.key), (_ORIGIN, origin), (_PARAMS, params), (_NUMBER, number)):
            trial.set_user_attr(name, value)
        return Asked(number, candidate, origin, params)

    def _own_proposal(self, known: _Known, rng: random.Random) -> Params | None:
        """What to try in place of the sampler's choice: a point of the grid, or now and then a neighbour of a leader,
        because a sampler of densities passes by the last step to the best of a space of steps."""
        if self._sampler == "grid":
            return next(self._grid_points(known.tried), None)
        if self._sampler == "random" or known.beyond_warm_starts < _STARTUP_TRIALS or rng.random() >= _NEIGHBOUR_SHARE:
            return None
        return next(self._neighbours_of_leaders(known, rng), None)

    def _make_sampler(self, known: _Known, seed: int) -> BaseSampler:
        if self._sampler == "random":
            return RandomSampler(seed=seed)
        # What the experts would try says little about the rest of the space.
        startup = _STARTUP_TRIALS + known.warm_starts
        # group: conditional tunables are modelled together with those they depend on.
        return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seed)

    def _untried(self, known: _Known, rng: random.Random) -> Params | None:
        """Parameters of a candidate not tried yet: next to a leader, else any, else None."""
        near = self._neighbours_of_leaders(known, rng) if self._sampler == "tpe" else iter(())
        guesses = (self._space.grid_params(rng.randrange(self._space.grid_size)) for _ in range(_GUESSES))
        return next(chain(near, self._worth_trying(guesses, known), self._grid_points(known.tried)), None)

    def _neighbours_of_leaders(self, known: _Known, rng: random.Random) -> Iterator[Params]:
        """Untried parameters one step from the best trials, those of the best one first."""
        for leader in known.leaders[:_LEADERS]:
            neighbours = list(self._space.neighbours(leader))
            rng.shuffle(neighbours)
            yield from self._worth_trying(neighbours, known)

    def _worth_trying(self, proposals: Iterable[Params], known: _Known) -> Iterator[Params]:
        for params in proposals:
            if known.doomed.isdisjoint(params.items()) and self._key(params) not in known.tried:
                yield params

    def _grid_points(self, tried: Collection[str]) -> Iterator[Params]:
        """Untried points of the grid, in an order that depends on the seed only; a sample of a very large grid."""
        size = self._space.grid_size
        order = random.Random(self._seed).sample(range(size), min(size, _SCANNED_POINTS))  # noqa: S311
        for index in order:
            params = self._space.grid_params(index)
            if self._key(params) not in tried:
                yield params

    def _key(self, params: Params) -> str:
        """Key of the candidate with these parameters; remembered, since the leaders' neighbours are looked at often."""
        point = tuple(params.items())
        if point not in self._keys:
            self._keys[point] = self._space.candidate(params).key
        return self._keys[point]

    # -- tell -----------------------------------------------------------------------------------------------------

    def tell(self, number: int, outcome: Measured | Infeasible | Failed) -> None:
        """Records what came of a trial. Telling again changes nothing. Raises KeyError for an unknown number."""
        with self._transaction():
            self._tell(number, outcome)

    def _tell(self, number: int, outcome: Measured | Infeasible | Failed) -> None:
        frozen = self._find(number)
        if frozen.state.is_finished():
            return
        if isinstance(outcome, Failed):
            self._study.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)
            return
        if isinstance(outcome, Infeasible):
            # A failed state would be invisible to the sampler, which would then propose the candidate again and again.
            values: tuple[float, ...] = (0.0,) * len(self._objective.metrics)
            violations = dict.fromkeys(outcome.violated, 1.0) | {_FEASIBLE: 1.0}
        else:
            values = self._objective.values(outcome.metrics)
            violations = {_FEASIBLE: 0.0}
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        for name, violation in violations.items():
            # A crash between constraint and value may have left it there; Optuna keeps the first one.
            if f"constraints:{name}" not in frozen.system_attrs:
                trial.set_constraint(name, violation)
        self._study.tell(frozen.number, values, skip_if_finished=True)

    def abandon_stale(self, keep: Collection[int] = ()) -> tuple[int, ...]:
        """Gives up trials that a crash left running, except those in `keep` (which the caller knows and goes on with).

        A warm start among them is queued again. Returns the numbers given up; those never handed out have none.
        """
        with self._transaction():
            return self._abandon_stale(keep)

    def _abandon_stale(self, keep: Collection[int]) -> tuple[int, ...]:
        given_up = []
        for trial in self._trials():
            number = trial.user_attrs.get(_NUMBER)
            if trial.state != TrialState.RUNNING or number in keep:
                continue
            if trial.user_attrs.get(_ORIGIN) == "warm_start":
                fixed = trial.system_attrs["fixed_params"]
                self._study.enqueue_trial(fixed, {_ORIGIN: "warm_start"}, skip_if_exists=False)
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            if number is not None:
                given_up.append(number)
        return tuple(given_up)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _find(self, number: int) -> FrozenTrial:
        for trial in reversed(self._trials()):
            if trial.user_attrs.get(_NUMBER) == number:
                return trial
        raise KeyError(f"trial {number} was never asked in study {self._study.study_name}")

    def _transaction(self) -> AbstractContextManager[None]:
        return self._journal.transaction() if self._journal else nullcontext()

    def close(self) -> None:
        """Closes the storage."""
        if self._journal:
            self._journal.close()
        else:
            self._study._storage.remove_session()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
