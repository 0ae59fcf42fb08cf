"""What the trials of a search say so far. Each is read from Optuna once: a finished trial changes no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from tuner.tunables import Params

# User attributes of an Optuna trial. A trial without a number was never handed out.
NUMBER, CANDIDATE_KEY, PARAMS, ORIGIN = "number", "candidate_key", "params", "origin"
STANDARD_ERROR = "standard_error"
_LIKELY_ERROR = 0.02
_DOOMED_AFTER = 3


@dataclass(frozen=True, slots=True)
class ToldTrial:
    """A trial that was told, in log merit over the baseline."""

    frozen: FrozenTrial
    key: str
    params: Params
    merit: float
    standard_error: float
    is_feasible: bool

    @classmethod
    def of(cls, trial: FrozenTrial) -> ToldTrial:
        """Of a complete trial."""
        return cls(
            frozen=trial,
            key=trial.user_attrs[CANDIDATE_KEY],
            params=trial.user_attrs[PARAMS],
            merit=fmean(trial.values),
            standard_error=trial.user_attrs.get(STANDARD_ERROR, _LIKELY_ERROR),
            is_feasible=all(violation <= 0 for violation in trial.constraints.values()),
        )


class Known:
    """What one ask needs to know of the trials so far. `memory`: what earlier asks have read, by Optuna's number."""

    def __init__(self, trials: Sequence[FrozenTrial], memory: dict[int, ToldTrial]) -> None:
        told: list[ToldTrial] = []
        running: list[FrozenTrial] = []
        self.waiting = False
        self.warm_starts = 0
        self.next_number = 0
        for trial in trials:
            self.waiting = self.waiting or trial.state == TrialState.WAITING
            self.warm_starts += trial.user_attrs.get(ORIGIN) == "warm_start"
            self.next_number = max(self.next_number, 1 + trial.user_attrs.get(NUMBER, -1))
            if trial.state == TrialState.COMPLETE:
                if trial.number not in memory:
                    memory[trial.number] = ToldTrial.of(trial)
                told.append(memory[trial.number])
            elif trial.state == TrialState.RUNNING and NUMBER in trial.user_attrs:
                running.append(trial)
        self.told = told
        self.tried = {trial.key for trial in told} | {trial.user_attrs[CANDIDATE_KEY] for trial in running}
        handed_out = [*(trial.frozen for trial in told), *running]
        self.beyond_warm_starts = sum(trial.user_attrs[ORIGIN] != "warm_start" for trial in handed_out)
        self.feasible = sorted((trial for trial in told if trial.is_feasible), key=lambda trial: -trial.merit)
        self.infeasible = [trial for trial in told if not trial.is_feasible]

    @cached_property
    def doomed(self) -> set[tuple[str, str | int]]:
        """Values of tunables with which several candidates were infeasible and none was not."""
        broken = Counter(value for trial in self.infeasible for value in trial.params.items())
        doomed = {value for value, times in broken.items() if times >= _DOOMED_AFTER}
        return {value for value in doomed if not any(trial.params.get(value[0]) == value[1] for trial in self.feasible)}

    def window(self, best: int, latest: int) -> list[FrozenTrial]:
        """The best trials and the latest of the others, as a sampler of densities needs them."""
        leaders = self.feasible[:best]
        chosen = {trial.frozen.number for trial in leaders}
        others = [trial for trial in self.told if trial.frozen.number not in chosen][-latest:]
        return [trial.frozen for trial in (*leaders, *others)]
