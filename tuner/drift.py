"""The testbed's drift, estimated from the baseline's interleaved blocks and taken out of everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

_AMPLITUDES = (0.02, 0.05, 0.15)
_LENGTHS_S = (150.0, 500.0, 1500.0)
_WORTH_LOG_LIKELIHOOD = 1.5
"""A drift must explain the baseline's blocks so much better than none before it is believed."""
_LEAST_BLOCKS = 4
_DISTURBED_SD = 3.0
_DISTURBED_SHARE = 0.34
_STEP_WEIGHT = 2 / 3
"""Degrees of freedom of a step among several: steps share their blocks (von Neumann's estimator)."""

Array = NDArray[np.float64]


class Trend:
    """Log merit of the baseline over time: constant, or a Gaussian process where its blocks say that it moves."""

    def __init__(self, times_s: ArrayLike, merits: ArrayLike, noise_sd: float) -> None:
        """The baseline's blocks: when, what, and the noise of one block. No block at all is a trend of zero."""
        times, merit = np.asarray(times_s, dtype=float), np.asarray(merits, dtype=float)
        self._fit = _best_fit(times, merit, noise_sd)
        # A block that all others contradict was disturbed by something else, and must not bend the trend.
        spare = int(_DISTURBED_SHARE * merit.size)
        while spare:
            kept = self._fit.uncontradicted(spare)
            if kept.size == self._fit.merit.size:
                break
            spare -= self._fit.merit.size - kept.size
            self._fit = _best_fit(self._fit.times[kept], self._fit.merit[kept], noise_sd)

    @property
    def level(self) -> float:
        """What it is without drift."""
        return self._fit.level

    def at(self, times_s: ArrayLike) -> Array:
        """The baseline's log merit at these moments."""
        times, fit = np.asarray(times_s, dtype=float), self._fit
        if fit.amplitude == 0.0:
            return np.full(times.size, fit.level)
        return np.asarray(fit.level + fit.amplitude**2 * _correlation(times, fit.times, fit.length_s) @ fit.weights)


@dataclass(frozen=True)
class _Fit:
    """A Gaussian process of one amplitude and length through the baseline's blocks."""

    times: Array
    merit: Array
    noise_sd: float
    amplitude: float
    length_s: float
    correlation: Array
    """Of the blocks with each other, at this length."""

    @cached_property
    def _factor(self) -> Array:
        """Cholesky's, the lower one, of the covariance."""
        covariance = self.amplitude**2 * self.correlation
        covariance.flat[:: self.merit.size + 1] += self.noise_sd**2 + 1e-8
        return np.asarray(linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False))

    @cached_property
    def _whitened(self) -> tuple[Array, Array]:
        """The merits, and as many ones."""
        columns = np.column_stack([self.merit, np.ones_like(self.merit)])
        white = linalg.solve_triangular(self._factor, columns, lower=True, check_finite=False)
        return white[:, 0], white[:, 1]

    @cached_property
    def level(self) -> float:
        """The mean that fits best."""
        merits, ones = self._whitened
        return float(ones @ merits / (ones @ ones)) if self.merit.size else 0.0

    @cached_property
    def weights(self) -> Array:
        """By which the kernel predicts."""
        return np.asarray(linalg.cho_solve((self._factor, True), self.merit - self.level, check_finite=False))

    @cached_property
    def log_likelihood(self) -> float:
        """Up to a constant."""
        merits, ones = self._whitened
        residual = merits - self.level * ones
        return float(-0.5 * residual @ residual - np.log(self._factor.diagonal()).sum())

    def uncontradicted(self, most: int) -> NDArray[np.intp]:
        """Which blocks stay when the one that the others contradict most is left out, up to so many times."""
        kept, merit = np.arange(self.merit.size), self.merit
        inverse = linalg.cho_solve((self._factor, True), np.eye(merit.size), check_finite=False)
        for _ in range(most):
            totals = inverse.sum(axis=0)
            away = np.abs(inverse @ (merit - totals @ merit / totals.sum())) / np.sqrt(inverse.diagonal())
            worst = int(np.argmax(away))
            if away[worst] <= _DISTURBED_SD:
                break
            rest = np.arange(kept.size) != worst
            column = inverse[rest, worst]
            # The inverse of the covariance of those that stay (Schur complement).
            inverse = inverse[np.ix_(rest, rest)] - np.outer(column, column) / inverse[worst, worst]
            kept, merit = kept[rest], merit[rest]
        return kept


def _best_fit(times: Array, merit: Array, noise_sd: float) -> _Fit:
    best = _Fit(times, merit, noise_sd, 0.0, 1.0, np.zeros((merit.size, merit.size)))
    if merit.size < _LEAST_BLOCKS:
        return best
    least = best.log_likelihood + _WORTH_LOG_LIKELIHOOD
    correlations = [(length_s, _correlation(times, times, length_s)) for length_s in _LENGTHS_S]
    for amplitude, (length_s, correlation) in product(_AMPLITUDES, correlations):
        fit = _Fit(times, merit, noise_sd, amplitude, length_s, correlation)
        if fit.log_likelihood > max(least, best.log_likelihood):
            best = fit
    return best


def _correlation(one: Array, other: Array, length_s: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((one[:, None] - other[None, :]) / length_s) ** 2))


def noise_sd(
    groups: Sequence[Sequence[float]], series: Sequence[float], prior_sd: float, prior_weight: float
) -> tuple[float, float]:
    """Noise of one block's log merit and the degrees of freedom behind it, from candidates measured several times in a
    row, and from one that was measured now and then: from each block of the series to the next, drift is small.

    A race repeats the fewer blocks the less noise it believes in; the series goes on whatever is believed, so that a
    start that looked quiet by chance is found out.

    Robust: half of the steps decide, so that a disturbed block in a few does not blow it up; a prior carries the start,
    where hardly anything was repeated.
    """
    # From each block to the next: deviations from the mean or median of a few are too small.
    steps = [abs(later - earlier) / math.sqrt(2) for blocks in (*groups, series) for earlier, later in pairwise(blocks)]
    freedom = sum(
        (len(blocks) - 1) * (1.0 if len(blocks) == 2 else _STEP_WEIGHT) for blocks in (*groups, series) if blocks
    )
    if not freedom:
        return prior_sd, prior_weight
    robust = float(np.median(steps)) / 0.6745
    plain = math.sqrt(float(np.mean(np.square(steps))))
    # The median of a handful of steps is itself noise; the plain deviation then counts as well.
    estimate = robust if freedom >= 12 else math.sqrt((robust**2 + plain**2) / 2)
    total = prior_weight + freedom
    return math.sqrt((prior_weight * prior_sd**2 + freedom * estimate**2) / total), total
