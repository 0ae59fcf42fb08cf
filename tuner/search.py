"""Ask/tell over Optuna, in a storage of its own: which candidate to try next, and what came of it."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.candidate import Candidate
from tuner.constraints import Constraint
from tuner.journal import StudyJournal
from tuner.known import CANDIDATE_KEY, NUMBER, ORIGIN, PARAMS, STANDARD_ERROR, Known, ToldTrial
from tuner.objectives import Objective
from tuner.outcomes import Failed, Infeasible, Measured
from tuner.samplers import SamplerName, make_sampler
from tuner.space import SearchSpace
from tuner.standings import Estimate
from tuner.surrogate import Surrogate, expected_improvement
from tuner.tunables import Params

Origin = Literal["warm_start", "sampler", "neighbour", "grid"]
"""Why a candidate is tried: an expert or an earlier study names it; the sampler chose it; the sampler chose one that
was tried before and this is next to it; it is the next point of the grid."""

# Optuna announces every study, and that `group` may change its interface; neither concerns a user of Wiretune.
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", message="Argument ``group``", category=optuna.exceptions.ExperimentalWarning)

# Names of constraints; Optuna calls a trial feasible while all are at most 0, and every told trial needs a value.
_FEASIBLE = "feasible"
# User attribute of the study: its space and objective.
_SHAPE = "shape"
_STARTUP_TRIALS = 3
_BASELINE_ERROR = 0.02
_SURROGATE_SHARE = 0.95
_MODELLED = 60
# A sampler of densities sees all trials up to so many, then the best and the latest of them: its time grows with them.
_SAMPLED, _SAMPLED_BEST = 200, 50
_LEADERS = 6
_TWICE_REMOVED = 60
_RANDOM_POINTS = 600
_VALUES = "log merits"
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
    expected_gain: float | None = None
    """What the surrogate expected the most promising untried candidate to add to the best, as a ratio; None: not
    enough is known, or the sampler is one for comparison."""


@dataclass(frozen=True, slots=True)
class _Promise:
    pool: list[Params]  # most promising first, also tried ones
    expected_gain: float


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
        constraints: Sequence[Constraint] = (),
    ) -> None:
        """Use `open`."""
        self._constraints = [constraint.in_words for constraint in constraints]
        self._study, self._journal, self._space, self._objective = study, journal, space, objective
        self._sampler, self._seed = sampler, seed
        self._told: dict[int, ToldTrial] = {}
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
        constraints: Sequence[Constraint] = (),
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
            directions=["maximize"] * len(objective.metrics),
            load_if_exists=True,
        )
        search = cls(study, journal, space, objective, sampler=sampler, seed=seed, constraints=constraints)
        shape = json.dumps([_VALUES, objective.name, space.describe()], sort_keys=True)
        stored = study.user_attrs.get(_SHAPE)
        if stored is None:
            with search._transaction():
                search._queue_warm_starts(space.expert_candidates() if warm_starts is None else warm_starts)
                study.set_user_attr(_SHAPE, shape)
        elif stored != shape:
            raise ValueError(f"study {study_id} was started with another search space or objective")
        return search

    def _queue_warm_starts(self, candidates: Sequence[Candidate]) -> None:
        if self._sampler not in ("tpe", "gp"):
            return
        queued = [trial.system_attrs.get("fixed_params") for trial in self._trials()]
        for candidate in candidates:
            params = self._space.params_of(candidate)
            if self._space.optuna_params(params) not in queued:
                self._enqueue(params, "warm_start")

    def _enqueue(self, params: Mapping[str, str | int], origin: Origin) -> None:
        self._study.enqueue_trial(self._space.optuna_params(params), {ORIGIN: origin}, skip_if_exists=False)

    # -- ask ------------------------------------------------------------------------------------------------------

    def ask(self) -> Asked | None:
        """The next candidate, one not tried before; None when the space has no more.

        A candidate whose trial the lab failed counts as not tried.
        """
        with self._transaction():
            return self._ask()

    def _ask(self) -> Asked | None:
        trials = self._trials()
        known = Known(trials, self._told)
        rng = random.Random(f"{self._seed} {len(trials)}")  # noqa: S311 (choices of a search, not secrets)
        promise = self._promise(known, rng) if self._sampler in ("tpe", "gp") else None
        if not known.waiting:
            params = self._own_proposal(known, promise, rng)
            if params is not None:
                self._enqueue(params, "grid" if self._sampler == "grid" else "neighbour")
            elif self._sampler == "grid":
                return None
            elif self._sampler == "tpe" and len(known.told) > _SAMPLED:
                self._enqueue(self._sampled(known, rng), "sampler")
        while True:
            # What the experts would try says little about the rest of the space.
            startup = _STARTUP_TRIALS + known.warm_starts
            self._study.sampler = make_sampler(self._sampler, startup, rng.getrandbits(32))
            trial = self._study.ask()
            candidate = self._space.suggest(trial)
            if candidate.key not in known.tried:
                asked = self._hand_out(trial, candidate, known.next_number)
                return replace(asked, expected_gain=promise.expected_gain if promise else None)
            self._study.tell(trial, state=TrialState.FAIL)
            untried = self._untried(known, promise, rng)
            if untried is None:
                return None
            self._enqueue(untried, "neighbour")

    def _sampled(self, known: Known, rng: random.Random) -> Params:
        """What the sampler chooses by the trials that matter."""
        few = optuna.create_study(
            directions=self._study.directions, sampler=make_sampler(self._sampler, 0, rng.getrandbits(32))
        )
        few.add_trials(known.window(_SAMPLED_BEST, _SAMPLED - _SAMPLED_BEST))
        return self._space.params_of(self._space.suggest(few.ask()))

    def _promise(self, known: Known, rng: random.Random) -> _Promise | None:
        """Untried candidates around the best and at random, by what they are expected to add; None at the start."""
        if known.beyond_warm_starts < _STARTUP_TRIALS or len(known.feasible) < 3:
            return None
        # Merits are relative to the baseline: its own is 0, and what is near it is worth a look while little beats it.
        baseline = [(0.0, params, _BASELINE_ERROR)] if (params := self._baseline_params) else []
        points = baseline + [(t.merit, t.params, t.standard_error) for t in known.feasible[:_MODELLED]]
        surrogate = Surrogate([p for _, p, _ in points], [m for m, _, _ in points], [e**2 for _, _, e in points])
        leaders = sorted(points, key=lambda point: -point[0])[:_LEADERS]
        pool = [near for _, leader, _ in leaders for near in self._space.neighbours(leader)]
        once = [rng.choice(pool) for _ in range(_TWICE_REMOVED)]
        steps = [(params, moves) for params in once if (moves := self._space.moves(params))]
        pool += [self._space.moved(params, rng.choice(moves)) for params, moves in steps]
        pool += [self._space.grid_params(rng.randrange(self._space.grid_size)) for _ in range(_RANDOM_POINTS)]
        mean, sd = surrogate.predict(pool)
        gain = expected_improvement(mean, sd, float(surrogate.measured()[0].max()))
        if known.infeasible:
            gain = gain * self._likely_feasible(known, pool)
        order = [int(k) for k in np.argsort(-gain, kind="stable")]
        untried = [k for k in order if known.doomed.isdisjoint(pool[k].items())]
        first = next((k for k in untried if self._key(pool[k]) not in known.tried), None)
        return _Promise([pool[k] for k in untried], math.expm1(gain[first]) if first is not None else 0.0)

    @cached_property
    def _baseline_params(self) -> Params | None:
        """Parameters of the baseline; None where the space does not hold it."""
        baseline = self._space.baseline()
        return self._space.params_of(baseline) if baseline in self._space else None

    @staticmethod
    def _likely_feasible(known: Known, pool: Sequence[Params]) -> NDArray[np.float64]:
        """Probability, roughly, that each is feasible: 1 of the feasible and 0 of the others, smoothed."""
        told = [
            *((trial, 1.0) for trial in known.feasible[:_MODELLED]),
            *((t, 0.0) for t in known.infeasible[-_MODELLED:]),
        ]
        smooth = Surrogate([t.params for t, _ in told], [value for _, value in told], [0.02] * len(told))
        return np.clip(smooth.predict(pool)[0], 0.01, 1.0)

    def _hand_out(self, trial: optuna.Trial, candidate: Candidate, number: int) -> Asked:
        origin: Origin = trial.user_attrs.get(ORIGIN, "sampler")
        params = self._space.params_of(candidate)
        for name, value in ((CANDIDATE_KEY, candidate.key), (ORIGIN, origin), (PARAMS, params), (NUMBER, number)):
            trial.set_user_attr(name, value)
        return Asked(number, candidate, origin, params)

    def _own_proposal(self, known: Known, promise: _Promise | None, rng: random.Random) -> Params | None:
        """What to try in place of the sampler's choice: a point of the grid, or the most promising one near the best,
        because a sampler of densities passes by the last step to the best of a space of steps."""
        if self._sampler == "grid":
            return next(self._grid_points(known.tried), None)
        if self._sampler != "tpe" or promise is None or rng.random() >= _SURROGATE_SHARE:
            return None
        return next(self._worth_trying(promise.pool, known), None)

    def _untried(self, known: Known, promise: _Promise | None, rng: random.Random) -> Params | None:
        """Parameters of a candidate not tried yet: the most promising, else next to a leader, else any, else None."""
        near: Iterator[Params] = iter(())
        if self._sampler in ("tpe", "gp"):
            near = chain(
                self._worth_trying(promise.pool if promise else (), known), self._neighbours_of_leaders(known, rng)
            )
        guesses = (self._space.grid_params(rng.randrange(self._space.grid_size)) for _ in range(_GUESSES))
        return next(chain(near, self._worth_trying(guesses, known), self._grid_points(known.tried)), None)

    def _neighbours_of_leaders(self, known: Known, rng: random.Random) -> Iterator[Params]:
        """Untried parameters one step from the best trials, those of the best one first."""
        for leader in known.feasible[:_LEADERS]:
            neighbours = list(self._space.neighbours(leader.params))
            rng.shuffle(neighbours)
            yield from self._worth_trying(neighbours, known)

    def _worth_trying(self, proposals: Iterable[Params], known: Known) -> Iterator[Params]:
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

    def tell(self, number: int, outcome: Measured | Infeasible | Failed, estimate: Estimate | None = None) -> None:
        """Records what came of a trial: its log merits as `estimate` has them without drift, else as they are. Telling
        again changes nothing. Raises KeyError for an unknown number."""
        with self._transaction():
            self._tell(number, outcome, estimate)

    def _tell(self, number: int, outcome: Measured | Infeasible | Failed, estimate: Estimate | None) -> None:
        frozen = self._find(number)
        if frozen.state.is_finished():
            return
        if isinstance(outcome, Failed):
            self._study.tell(frozen.number, state=TrialState.FAIL, skip_if_finished=True)
            return
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        for name, violation in self._violations(outcome).items():
            # A crash between constraint and value may have left it there; Optuna keeps the first one.
            if f"constraints:{name}" not in frozen.system_attrs:
                trial.set_constraint(name, violation)
        if estimate is not None:
            trial.set_user_attr(STANDARD_ERROR, estimate.standard_error)
        self._study.tell(frozen.number, self._merits(outcome, estimate), skip_if_finished=True)

    def _violations(self, outcome: Measured | Infeasible) -> dict[str, float]:
        """How far beyond each limit; Optuna's samplers need every constraint of every trial."""
        violations = {_FEASIBLE: 0.0} | dict.fromkeys(self._constraints, 0.0)
        if isinstance(outcome, Infeasible):
            if outcome.violations:
                return violations | {check.constraint.in_words: check.violation for check in outcome.violations}
            violations[_FEASIBLE] = 1.0
        return violations

    def _merits(self, outcome: Measured | Infeasible, estimate: Estimate | None) -> tuple[float, ...]:
        if estimate is not None:
            return estimate.merits
        if outcome.metrics is not None:
            return self._objective.log_merits(outcome.metrics)
        # It broke, and so has no merit. A failed state would be invisible to the sampler, which would then propose it
        # again and again; an extreme value would flatten what the sampler sees of the others.
        told = [trial.values for trial in self._trials() if trial.state == TrialState.COMPLETE]
        return tuple(min(values) - 0.1 for values in zip(*told, strict=True)) or (0.0,) * len(self._objective.metrics)

    def abandon_stale(self, keep: Collection[int] = ()) -> tuple[int, ...]:
        """Gives up trials that a crash left running, except those in `keep` (which the caller knows and goes on with).

        A warm start among them is queued again. Returns the numbers given up; those never handed out have none.
        """
        with self._transaction():
            return self._abandon_stale(keep)

    def _abandon_stale(self, keep: Collection[int]) -> tuple[int, ...]:
        given_up = []
        for trial in self._trials():
            number = trial.user_attrs.get(NUMBER)
            if trial.state != TrialState.RUNNING or number in keep:
                continue
            if trial.user_attrs.get(ORIGIN) == "warm_start":
                fixed = trial.system_attrs["fixed_params"]
                self._study.enqueue_trial(fixed, {ORIGIN: "warm_start"}, skip_if_exists=False)
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            if number is not None:
                given_up.append(number)
        return tuple(given_up)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _find(self, number: int) -> FrozenTrial:
        for trial in reversed(self._trials()):
            if trial.user_attrs.get(NUMBER) == number:
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
