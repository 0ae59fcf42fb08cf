"""How the candidates of a study stand: drift taken out, each with its interval, and which of them can still win.

Everything follows from the history. Log merits are used throughout: sums of them are products of gains, and noise on a
rate is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tuner.drift import Trend, noise_sd
from tuner.history import BlockRecord, History, ProcedureSettings
from tuner.objectives import OBJECTIVES, Objective
from tuner.outcomes import Infeasible, Measured
from tuner.surrogate import Surrogate

Race = Literal["racing", "finished", "stopped", "infeasible", "failed"]
"""racing: gets further blocks; finished: had all it needs; stopped: could not win any more; infeasible: broke, or
violates a constraint; failed: the lab could not measure it."""

LOSING_CHANCE = 0.25
"""A candidate is stopped when its chance to beat the leader is below this. A lower one buys certainty about losers; the
surrogate and the playoff correct most of what a race gets wrong, for less."""
_PRIOR_NOISE_SD, _PRIOR_NOISE_WEIGHT = 0.05, 1.0
_MOST_MODELLED = 100
_CAUCHY = 2.4
"""Scale of Cauchy's weights, in standard deviations (95% efficient under normal noise)."""
_MUCH_EXPECTED = 0.05
"""So much more than the best, as a ratio, is much for the search to expect."""
_CONTRADICTION_SD = 4.0
"""Two blocks that lie so far apart contradict each other."""
_MOST_LOST = 0.7
"""Log merit that a disturbance may take from a block: half."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the search is told of a trial: log merits over the baseline, one a metric, drift taken out."""

    merits: tuple[float, ...]
    standard_error: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One trial among the others. Gains are ratios to the baseline; for charts and racing, never a result."""

    number: int
    race: Race
    blocks: int
    gain: float | None
    gain_low: float | None
    """Ends of its 95% interval at the study's noise level."""
    gain_high: float | None
    chance: float | None
    """Probability that it is better than the leader of the search; of the leader itself 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class _Arm:
    """Search blocks of one trial: their mean, robustly, and its standard error."""

    number: int
    mean: float
    standard_error: float
    blocks: int


@dataclass(frozen=True)
class Standings:
    """The state of the race at one moment of the history."""

    settings: ProcedureSettings
    history: History

    @property
    def objective(self) -> Objective:
        """What the study optimises."""
        return OBJECTIVES[self.settings.objective]

    def holds_for(self, history: History) -> bool:
        """Whether a history differs from this one only in what came after the search and changes nothing here."""
        if history is self.history:
            return True
        if history.trials != self.history.trials or history.searched != self.history.searched:
            return False
        return not self.settings.constraints or history.baseline_metrics == self.history.baseline_metrics

    # -- noise and drift ------------------------------------------------------------------------------------------

    @cached_property
    def _noise(self) -> tuple[float, float]:
        """Standard deviation of one block's log score, and degrees of freedom. Blocks of a trial follow one another, so
        that drift is no part of it."""
        groups = [self._raw_scores(blocks) for blocks in self._blocks.values()]
        series = self._raw_scores(self.history.of(None, "baseline", "search"))
        return noise_sd(groups, series, _PRIOR_NOISE_SD, _PRIOR_NOISE_WEIGHT)

    @property
    def noise_sd(self) -> float:
        """Noise of one block, as a ratio."""
        return self._noise[0]

    def _raw_scores(self, blocks: Sequence[BlockRecord]) -> list[float]:
        merits = (self.objective.log_merits(b.outcome.metrics) for b in blocks if isinstance(b.outcome, Measured))
        return [fmean(each) for each in merits]

    @cached_property
    def _blocks(self) -> dict[int, tuple[BlockRecord, ...]]:
        """Measured search blocks of each trial."""
        return {
            trial.number: tuple(b for b in self.history.of(trial.number, "search") if isinstance(b.outcome, Measured))
            for trial in self.history.trials
        }

    @cached_property
    def _scores(self) -> dict[int, NDArray[np.float64]]:
        """Log merit over the baseline of each measured search block of each trial, metrics averaged."""
        merits = self.merits([block for blocks in self._blocks.values() for block in blocks]).mean(axis=1)
        ends = np.cumsum([len(blocks) for blocks in self._blocks.values()])
        return dict(zip(self._blocks, np.split(merits, ends[:-1]), strict=True)) if self._blocks else {}

    @cached_property
    def _trends(self) -> tuple[Trend, ...]:
        """Of each metric: the baseline over the time before the verdict."""
        times, merits = self._raw(self.history.of(None, "baseline", "search"))
        return tuple(Trend(times, merits[:, k], self.noise_sd) for k in range(len(self.objective.metrics)))

    def merits(self, blocks: Sequence[BlockRecord]) -> NDArray[np.float64]:
        """Log merit over the baseline at that time: one row a measured block, one column a metric."""
        times, raw = self._raw(blocks)
        return raw - np.column_stack([trend.at(times) for trend in self._trends])

    def _raw(self, blocks: Sequence[BlockRecord]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the measured blocks: the middle of each in time, and its log merits, one column a metric."""
        found = [
            (block.started_s + block.duration_s / 2, self.objective.log_merits(block.outcome.metrics))
            for block in blocks
            if isinstance(block.outcome, Measured)
        ]
        shape = (len(found), len(self.objective.metrics))
        return np.array([time_s for time_s, _ in found]), np.array([merits for _, merits in found]).reshape(shape)

    # -- the arms -------------------------------------------------------------------------------------------------

    def _arm(self, number: int) -> _Arm | None:
        scores = self._scores[number]
        if not scores.size:
            return None
        return _Arm(number, robust_mean(scores, self.noise_sd), self.noise_sd / math.sqrt(scores.size), scores.size)

    def merit(self, number: int) -> float | None:
        """Mean log merit of a trial over the baseline of that time, feasible or not; None where it was not measured."""
        arm = self._arm(number)
        return None if arm is None else arm.mean

    @cached_property
    def arms(self) -> dict[int, _Arm]:
        """Every trial that was measured and is not infeasible."""
        arms = {}
        for trial in self.history.trials:
            if not self.history.is_infeasible(trial.number, self.settings.constraints):
                arm = self._arm(trial.number)
                if arm is not None:
                    arms[trial.number] = arm
        return arms

    @cached_property
    def leader(self) -> int | None:
        """The trial that is best even if its mean is a standard error too high; None before the first."""

        def sure(number: int) -> tuple[float, int]:
            return self.arms[number].mean - self.arms[number].standard_error, -number

        return max(self.arms, key=sure, default=None)

    def chance(self, number: int) -> float:
        """Probability that the trial's candidate is worth more than the leader's: by a relevant margin, since of two
        that are alike either may win."""
        if self.leader is None or number == self.leader:
            return 1.0
        arm, leader = self.arms[number], self.arms[self.leader]
        ahead = arm.mean - leader.mean - self.settings.least_gain
        return float(special.stdtr(self._noise[1], ahead / math.hypot(arm.standard_error, leader.standard_error)))

    def is_decided(self, number: int) -> bool:
        """Whether a trial needs no further block: it cannot win, or is known as well as matters."""
        arm = self.arms[number]
        if 2 * arm.standard_error < self.settings.least_gain:
            return True
        return not self._is_doubtful(number) and self.chance(number) < LOSING_CHANCE

    def _is_doubtful(self, number: int) -> bool:
        """Whether a disturbed block may well hide a good candidate: one of two blocks that contradict each other, or
        the only one of a candidate from which much was expected, if it lacks what a disturbance may take."""
        scores = self._scores[number]
        if scores.size == 1 and self.leader is not None:
            expected = self.history.trials_by_number[number].expected_gain
            lacking = self.arms[self.leader].mean - float(scores[0])
            return lacking < _MOST_LOST and (expected is None or expected >= _MUCH_EXPECTED)
        return scores.size == 2 and bool(np.ptp(scores) > _CONTRADICTION_SD * self.noise_sd)

    def estimate(self, number: int) -> Estimate | None:
        """What the search is told; None when nothing was measured."""
        merits = self.merits(self.history.of(number, "search"))
        if not len(merits):
            return None
        means = tuple(robust_mean(column, self.noise_sd) for column in merits.T)
        return Estimate(means, self.noise_sd / math.sqrt(len(merits)))

    # -- who is best ----------------------------------------------------------------------------------------------

    @cached_property
    def posterior(self) -> tuple[tuple[int, ...], NDArray[np.float64], NDArray[np.float64]]:
        """Trials (the best hundred), mean and covariance of their log merits, by what all say about each other.

        It takes the luck out of a lucky block: a candidate stands out only as far as its neighbours and its repeats
        make it likely.
        """
        ranked = sorted(self.arms.values(), key=lambda arm: (-arm.mean, arm.number))[:_MOST_MODELLED]
        if not ranked:
            return (), np.zeros(0), np.zeros((0, 0))
        surrogate = Surrogate(
            [self.history.trials_by_number[arm.number].params for arm in ranked],
            [arm.mean for arm in ranked],
            [arm.standard_error**2 for arm in ranked],
        )
        mean, covariance = surrogate.measured()
        return tuple(arm.number for arm in ranked), mean, covariance

    @cached_property
    def ranking(self) -> tuple[int, ...]:
        """Trials by posterior mean, best first."""
        numbers, mean, _ = self.posterior
        order = sorted(range(len(numbers)), key=lambda k: (-mean[k], numbers[k]))
        return tuple(numbers[k] for k in order)

    # -- for people -----------------------------------------------------------------------------------------------

    def standings(self) -> tuple[Standing, ...]:
        """Every trial as it stands, in order of its number."""
        return tuple(self._standing(trial.number, trial.told) for trial in self.history.trials)

    def _standing(self, number: int, told: bool) -> Standing:
        outcome = self.history.trial_outcome(number, self.settings.constraints)
        arm = self._arm(number)
        interval: tuple[float | None, float | None, float | None] = (None, None, None)
        if arm is not None:
            reach = float(special.stdtrit(self._noise[1], 0.975)) * arm.standard_error
            interval = (math.exp(arm.mean), math.exp(arm.mean - reach), math.exp(arm.mean + reach))
        race, reason, chance = self._race(number, told, outcome)
        return Standing(number, race, arm.blocks if arm else 0, *interval, chance, reason)

    def _race(self, number: int, told: bool, outcome: object) -> tuple[Race, str, float | None]:
        if isinstance(outcome, Infeasible):
            return "infeasible", outcome.reason, None
        if number not in self.arms:
            return ("failed", "the lab could not measure it", None) if told else ("racing", "not measured yet", None)
        chance = self.chance(number)
        if not told:
            return "racing", f"chance to beat the leader {chance:.0%}", chance
        if number == self.leader:
            return "finished", "leads the search", chance
        if self.settings.racing and self.arms[number].blocks < self.settings.repeats and chance < LOSING_CHANCE:
            blocks = self.arms[number].blocks
            return "stopped", f"after {blocks} block{'s' if blocks > 1 else ''}: could not win any more", chance
        return "finished", f"chance to beat the leader {chance:.0%}", chance


def robust_mean(values: NDArray[np.float64], sd: float) -> float:
    """Mean in which a value counts the less the further it is from the others (Cauchy's weights); of two values the
    plain mean, since nothing says which of them is disturbed."""
    if values.size < 3:
        return float(values.sum()) / values.size
    centre = float(np.median(values))
    for _ in range(8):
        weights = 1 / (1 + ((values - centre) / (_CAUCHY * sd + 1e-12)) ** 2)
        centre = float(weights @ values / weights.sum())
    return centre
