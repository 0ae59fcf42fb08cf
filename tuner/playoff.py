"""The playoff: what search and playoff say together of the finalists, and which of them can still win."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tuner.history import History
from tuner.outcomes import Measured
from tuner.standings import LOSING_CHANCE, Standings

_VAGUE_PRECISION = 1e-4
_HUBER = 1.5
_REWEIGHTINGS = 6


@dataclass(frozen=True)
class Playoff:
    """Finalists, measured in rounds. A block's log merit is its candidate's, plus what its round shares, plus noise;
    candidates start from the posterior of the search. Blocks far off count less (Huber), for a disturbed one must not
    choose the winner."""

    standings: Standings
    history: History
    """Of the playoff; the standings are those of the search."""
    finalists: tuple[int, ...]
    out: frozenset[int]
    """Finalists that broke."""

    def racing_in(self, round_index: int) -> tuple[int, ...]:
        """Finalists that are measured in this round: those that could still win after the rounds before it."""
        left = tuple(number for number in self.finalists if number not in self.out)
        for before in range(1, round_index + 1):
            chances = self._chances(left, before)
            left = tuple(number for number in left if chances[number] >= LOSING_CHANCE)
        return left

    @property
    def best(self) -> int:
        """The finalist with the best posterior mean, of those that are not out."""
        mean, _ = self._posterior(self._rounds)
        left = [number for number in self.finalists if number not in self.out]
        return max(left, key=lambda number: (mean[self.finalists.index(number)], -number))

    def _chances(self, left: tuple[int, ...], rounds: int) -> dict[int, float]:
        """Probability that each is better than the leader by a relevant margin; the leader's is 1."""
        mean, covariance = self._posterior(rounds)
        at = {number: self.finalists.index(number) for number in left}
        leader = max(left, key=lambda number: mean[at[number]])
        chances = {}
        for number, k in at.items():
            j = at[leader]
            spread = np.sqrt(max(1e-12, covariance[k, k] + covariance[j, j] - 2 * covariance[k, j]))
            ahead = mean[k] - mean[j] - self.standings.settings.least_gain
            chances[number] = 1.0 if number == leader else float(special.ndtr(ahead / spread))
        return chances

    @cached_property
    def _observations(self) -> list[tuple[int, int, float]]:
        """(round, arm, log score) of every measured block; arm 0 is the baseline, k + 1 the finalist k."""
        objective = self.standings.objective
        found = []
        for k, number in enumerate((None, *self.finalists)):
            for block in self.history.of(number, "playoff"):
                if isinstance(block.outcome, Measured):
                    merits = objective.log_merits(block.outcome.metrics)
                    found.append((block.index, k, sum(merits) / len(merits)))
        return found

    @property
    def _rounds(self) -> int:
        return max((index for index, _, _ in self._observations), default=-1) + 1

    def _posterior(self, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance of the finalists' log merits after this many rounds."""
        numbers, prior_mean, prior_covariance = self.standings.posterior
        rows = [numbers.index(number) for number in self.finalists]
        centre, prior = prior_mean[rows], np.linalg.inv(prior_covariance[np.ix_(rows, rows)] + 1e-8 * np.eye(len(rows)))
        seen = [(index, k, merit) for index, k, merit in self._observations if index < rounds]
        if not seen:
            return centre, np.linalg.inv(prior)
        # Unknowns: the finalists, then one level a round. The baseline's merit is 0 by definition.
        count = len(rows)
        design = np.zeros((len(seen), count + rounds))
        for row, (index, k, _) in enumerate(seen):
            design[row, count + index] = 1
            if k > 0:
                design[row, k - 1] = 1
        level = float(np.median([merit for _, _, merit in seen]))
        merits = np.array([merit for _, _, merit in seen]) - level
        precision = np.diag(np.full(count + rounds, _VAGUE_PRECISION))
        precision[:count, :count] = prior
        known = np.concatenate([prior @ centre, np.zeros(rounds)])
        weights, sd = np.ones(len(seen)), self.standings.noise_sd
        for _ in range(_REWEIGHTINGS):
            weighted = design.T * (weights / sd**2)
            covariance = np.linalg.inv(precision + weighted @ design)
            solution = covariance @ (known + weighted @ merits)
            away = np.abs(merits - design @ solution)
            weights = np.minimum(1.0, _HUBER * sd / np.maximum(away, 1e-12))
        return np.asarray(solution[:count]), np.asarray(covariance[:count, :count], dtype=float)
