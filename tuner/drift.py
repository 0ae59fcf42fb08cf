"""The testbed's drift, estimated from the baseline's interleaved blocks and taken out of everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

_AMPLITUDES = (0.02, 0.05, 0.15)
_LENGTHS_S = (60.0, 300.0, 1500.0)
_WORTH_LOG_LIKELIHOOD = 1.5
"""A drift must explain the baseline's blocks so much better than none before it is believed."""
_STEP_WEIGHT = 2 / 3
"""Degrees of freedom of a step of the series: steps share their blocks (von Neumann's estimator)."""


class Trend:
    """Log merit of the baseline over time: constant, or a Gaussian process where its blocks say that it moves."""

    def __init__(self, times_s: ArrayLike, merits: ArrayLike, noise_sd: float) -> None:
        """The baseline's blocks: when, what, and the noise of one block. No block at all is a trend of zero."""
        self._times, merit = np.asarray(times_s, dtype=float), np.asarray(merits, dtype=float)
        self.level = float(np.median(merit)) if merit.size else 0.0
        # A block that something else disturbed must not bend the trend.
        deviation = np.clip(merit - self.level, -4 * max(noise_sd, 0.05), 4 * max(noise_sd, 0.05))
        variance = noise_sd**2 + 1e-8
        self._amplitude, self._length_s, self._alpha = 0.0, 1.0, np.zeros_like(deviation)
        if merit.size < 4:
            self.level += float(deviation.mean()) if merit.size else 0.0
            return
        best = _log_likelihood(np.eye(merit.size) * variance, deviation)[0] + _WORTH_LOG_LIKELIHOOD
        self.level += float(deviation.mean())
        for amplitude, length_s in product(_AMPLITUDES, _LENGTHS_S):
            covariance = _kernel(self._times, self._times, amplitude, length_s) + np.eye(merit.size) * variance
            found, mean, alpha = _log_likelihood(covariance, deviation)
            if found > best:
                best, self._amplitude, self._length_s, self._alpha = found, amplitude, length_s, alpha
                self.level = float(np.median(merit)) + mean

    def at(self, times_s: ArrayLike) -> NDArray[np.float64]:
        """The baseline's log merit at these moments."""
        times = np.asarray(times_s, dtype=float)
        if self._amplitude == 0.0:
            return np.full(times.size, self.level)
        return np.asarray(self.level + _kernel(times, self._times, self._amplitude, self._length_s) @ self._alpha)


def _kernel(
    one: NDArray[np.float64], other: NDArray[np.float64], amplitude: float, length_s: float
) -> NDArray[np.float64]:
    return np.asarray(amplitude**2 * np.exp(-0.5 * ((one[:, None] - other[None, :]) / length_s) ** 2))


def _log_likelihood(
    covariance: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Log likelihood with the mean fitted, that mean, and the weights that predict."""
    lower = np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(covariance)
    ones = np.ones_like(values)
    mean = float(ones @ inverse @ values / (ones @ inverse @ ones))
    alpha = inverse @ (values - mean)
    return float(-0.5 * (values - mean) @ alpha - np.log(np.diag(lower)).sum()), mean, alpha


def noise_sd(
    groups: Sequence[Sequence[float]], series: Sequence[float], prior_sd: float, prior_weight: float
) -> tuple[float, float]:
    """Noise of one block's log merit and the degrees of freedom behind it, from candidates measured several times in a
    row, and from one that was measured now and then: from each block of the series to the next, drift is small.

    A race repeats the fewer blocks the less noise it believes in; the series goes on whatever is believed, so that a
    start that looked quiet by chance is found out.

    Robust: half of the deviations decide, so that a disturbed block in a few does not blow it up; a prior carries the
    start, where hardly anything was repeated.
    """
    deviations: list[float] = []
    freedom = 0.0
    for group in groups:
        if len(group) > 1:
            centre = float(np.mean(group)) if len(group) < 3 else float(np.median(group))
            # Deviations from a mean of n are too small by the square root of (n - 1) / n.
            stretch = math.sqrt(len(group) / (len(group) - 1))
            deviations += [abs(value - centre) * stretch for value in group]
            freedom += len(group) - 1
    deviations += [abs(later - earlier) / math.sqrt(2) for earlier, later in pairwise(series)]
    freedom += _STEP_WEIGHT * max(0, len(series) - 1)
    if not freedom:
        return prior_sd, prior_weight
    robust = float(np.median(deviations)) / 0.6745
    plain = math.sqrt(float(np.mean(np.square(deviations))))
    # The median of a handful of deviations is itself noise; the plain deviation then counts as well.
    estimate = robust if freedom >= 12 else math.sqrt((robust**2 + plain**2) / 2)
    total = prior_weight + freedom
    return math.sqrt((prior_weight * prior_sd**2 + freedom * estimate**2) / total), total
