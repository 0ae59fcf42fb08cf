"""The testbed's drift, estimated from the baseline's interleaved blocks and taken out of everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
            fit = self._fit
            while spare and np.abs(fit.contradictions).max() > _DISTURBED_SD:
                fit, spare = fit.without_worst(), spare - 1
            if fit is self._fit:
                break
            self._fit = _best_fit(fit.times, fit.merit, noise_sd)

    @property
    def level(self) -> float:
        """What it is without drift."""
        return self._fit.level

    def at(self, times_s: ArrayLike) -> Array:
        """The baseline's log merit at these moments."""
        times, fit = np.asarray(times_s, dtype=float), self._fit
        if fit.amplitude == 0.0:
            return np.full(times.size, fit.level)
        return np.asarray(fit.level + _kernel(times, fit.times, fit.amplitude, fit.length_s) @ fit.weights)


@dataclass(frozen=True)
class _Fit:
    """A Gaussian process of one amplitude and length through the baseline's blocks."""

    times: Array
    merit: Array
    noise_sd: float
    amplitude: float
    length_s: float

    @cached_property
    def _covariance(self) -> Array:
        return _kernel(self.times, self.times, self.amplitude, self.length_s) + np.eye(self.merit.size) * (
            self.noise_sd**2 + 1e-8
        )

    @cached_property
    def _inverse(self) -> Array:
        return np.asarray(np.linalg.inv(self._covariance))

    @cached_property
    def level(self) -> float:
        """The mean that fits best."""
        weights = self._inverse.sum(axis=0)
        return float(weights @ self.merit / weights.sum()) if self.merit.size else 0.0

    @cached_property
    def weights(self) -> Array:
        """By which the kernel predicts."""
        return np.asarray(self._inverse @ (self.merit - self.level))

    @cached_property
    def log_likelihood(self) -> float:
        """Up to a constant."""
        return float(-0.5 * (self.merit - self.level) @ self.weights - 0.5 * np.linalg.slogdet(self._covariance)[1])

    @cached_property
    def contradictions(self) -> Array:
        """How far each block is from what the others say, in standard deviations."""
        return np.asarray(self.weights / np.sqrt(np.diag(self._inverse)))

    def without_worst(self) -> _Fit:
        """The same through all blocks but the one that the others contradict most."""
        worst = int(np.argmax(np.abs(self.contradictions)))
        return replace(self, times=np.delete(self.times, worst), merit=np.delete(self.merit, worst))


def _best_fit(times: Array, merit: Array, noise_sd: float) -> _Fit:
    best = _Fit(times, merit, noise_sd, 0.0, 1.0)
    if merit.size < _LEAST_BLOCKS:
        return best
    least = best.log_likelihood + _WORTH_LOG_LIKELIHOOD
    for amplitude, length_s in product(_AMPLITUDES, _LENGTHS_S):
        fit = _Fit(times, merit, noise_sd, amplitude, length_s)
        if fit.log_likelihood > max(least, best.log_likelihood):
            best = fit
    return best


def _kernel(one: Array, other: Array, amplitude: float, length_s: float) -> Array:
    return np.asarray(amplitude**2 * np.exp(-0.5 * ((one[:, None] - other[None, :]) / length_s) ** 2))


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
