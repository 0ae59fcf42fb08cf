"""The playoff: what search and playoff say together of all contenders, and whom the next round measures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tuner.candidate import Candidate
from tuner.history import History
from tuner.outcomes import Measured
from tuner.standings import Standings
from tuner.surrogate import expected_improvement

_VAGUE_PRECISION = 1e-4
_WORTH_SHARE = 0.9
"""Of what measuring all rivals is expected to gain: the fewest that have so much of it are measured."""
_ALIKE_SD = 0.5
"""A contender that lies no more than so many standard deviations of their difference behind the leader is as good as
that one for all that is known."""
_HUBER = 1.5
_REWEIGHTINGS = 6


@dataclass(frozen=True)
class Playoff:
    """Contenders, measured in rounds. A block's log merit is its candidate's, plus what its round shares, plus noise;
    candidates start from the posterior of the search, so that a block says something of similar contenders as well.
    Blocks far off count less (Huber), for a disturbed one must not choose the winner."""

    standings: Standings
    history: History
    """Of the playoff; the standings are those of the search."""
    contenders: tuple[int, ...]
    """Best first by the search; those that broke are not among them. At least one."""
    seats: int
    """Contenders that a round measures at most."""
    baseline: Candidate

    def arms(self, round_index: int) -> tuple[int, ...]:
        """Whom this round measures, by the rounds before it: the leader and those that are expected to beat it by most;
        none when of no rival so much is expected as a further trial of the search would have to promise."""
        mean, covariance = self._posterior(round_index)
        leader = int(np.argmax(mean))
        spread = _spread(covariance, leader)
        gain = expected_improvement(mean, spread, float(mean[leader]))
        gain[leader] = 0.0
        if gain.max() < self.standings.settings.least_gain / 2:
            return ()
        rivals = np.argsort(-gain, kind="stable")[: self.seats - 1]
        rivals = rivals[: 1 + int(np.searchsorted(np.cumsum(gain[rivals]), _WORTH_SHARE * gain.sum()))]
        return tuple(self.contenders[k] for k in (leader, *rivals))

    @property
    def best(self) -> int:
        """The contender with the best posterior mean or, of those that are as good as that one for all that is known
        and were measured in as fresh a round, if there was one, the one with the fewest changes from the baseline.

        A change that shows no gain is not worth making; and the luckiest of many that are alike is more often a worse
        one with luck than one that departs the least from what is known to work.
        """
        mean, covariance = self._posterior(self.rounds)
        leader = int(np.argmax(mean))
        behind = (mean[leader] - mean) / _spread(covariance, leader)
        known = {k - 1 for _, k, _ in self._observations} or set(range(len(mean)))
        alike = [k for k in map(int, np.flatnonzero(behind <= _ALIKE_SD)) if k == leader or k in known]
        return self.contenders[min(alike, key=lambda k: (self._changes(k), -mean[k]))]

    def _changes(self, contender: int) -> int:
        trial = self.standings.history.trials_by_number[self.contenders[contender]]
        return trial.candidate.changes_from(self.baseline)

    @cached_property
    def _observations(self) -> list[tuple[int, int, float]]:
        """(round, arm, log score) of every measured block; arm 0 is the baseline, k + 1 the contender k."""
        objective = self.standings.objective
        found = []
        for k, number in enumerate((None, *self.contenders)):
            for block in self.history.of(number, "playoff"):
                if isinstance(block.outcome, Measured):
                    merits = objective.log_merits(block.outcome.metrics)
                    found.append((block.index, k, sum(merits) / len(merits)))
        return found

    @property
    def rounds(self) -> int:
        """Rounds of which something was measured."""
        return max((index for index, _, _ in self._observations), default=-1) + 1

    def _posterior(self, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance of the contenders' log merits after this many rounds."""
        numbers, prior_mean, prior_covariance = self.standings.posterior
        at = {number: k for k, number in enumerate(numbers)}
        rows = [at[number] for number in self.contenders]
        mean, covariance = prior_mean[rows], prior_covariance[np.ix_(rows, rows)]
        seen = [(index, k, merit) for index, k, merit in self._observations if index < rounds]
        if not seen:
            return mean, covariance
        # Rows pick the contender of each block; the baseline's merit is 0 by definition. What a round shares is a level
        # of its own with a vague prior.
        design = np.zeros((len(seen), len(rows)))
        for row, (_, k, _) in enumerate(seen):
            if k > 0:
                design[row, k - 1] = 1
        same_round = np.equal.outer([index for index, _, _ in seen], [index for index, _, _ in seen])
        merits = np.array([merit for _, _, merit in seen])
        residual = merits - float(np.median(merits)) - design @ mean
        explained = covariance @ design.T
        shared = design @ explained + same_round / _VAGUE_PRECISION
        weights, sd = np.ones(len(seen)), self.standings.noise_sd
        for _ in range(_REWEIGHTINGS):
            noise = sd**2 / weights
            solved = np.linalg.solve(shared + np.diag(noise), np.column_stack([residual, explained.T]))
            away = np.abs(noise * solved[:, 0])  # what neither candidates nor rounds explain
            weights = np.minimum(1.0, _HUBER * sd / np.maximum(away, 1e-12))
        return mean + explained @ solved[:, 0], covariance - explained @ solved[:, 1:]


def _spread(covariance: NDArray[np.float64], leader: int) -> NDArray[np.float64]:
    """Standard deviation of each contender's difference from the leader."""
    variance = covariance.diagonal() + covariance[leader, leader] - 2 * covariance[leader]
    return np.asarray(np.sqrt(np.maximum(1e-12, variance)))
