"""A Gaussian process over the tunables: what every measured candidate says about the others, and about untried ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from scipy.linalg import lapack

Array = NDArray[np.float64]

_OWN_SD = 0.01
"""What no tunable explains, as a ratio: a candidate may differ from its neighbours by so much of its own."""
_AMPLITUDES = (0.1, 0.2, 0.4, 0.8)
_RATES = (0.02, 0.1, 0.4, 1.5)
_LIKELY_RATE, _RATE_SPREAD = 0.2, 1.5
_SWEEPS = 2


class Surrogate:
    """Log merit as a function of the parameters.

    The covariance of two candidates falls exponentially with their distance in each tunable: 1 for another name, the
    share of the range for a number (on a logarithmic scale), 1 where the tunable applies to one of them only. How fast
    it falls is chosen for each tunable by the likelihood of what was measured. Deterministic.
    """

    def __init__(self, params: Sequence[Mapping[str, Any]], merits: Sequence[float], variances: Sequence[float]):
        """Element k of each: one candidate, its mean log merit, and the variance of that mean."""
        self._names = sorted({name for point in params for name in point})
        self._columns = [_Column([point.get(name) for point in params]) for name in self._names]
        self._merits = np.asarray(merits, dtype=float)
        self._variances = np.asarray(variances, dtype=float) + 1e-8
        self._distances = np.array([column.distances(column.own) for column in self._columns])
        self._flat_distances = self._distances.reshape(len(self._names), self._merits.size**2)
        self._merits_and_ones = np.asfortranarray(np.column_stack([self._merits, np.ones_like(self._merits)]))
        self._amplitude, self._rates = self._most_likely()
        self._solve()

    # -- how smooth -----------------------------------------------------------------------------------------------

    def _most_likely(self) -> tuple[float, Array]:
        amplitude, rates = 0.2, np.full(len(self._names), _LIKELY_RATE)
        varying = [k for k, matrix in enumerate(self._distances) if matrix.any()]
        best = self._log_likelihood(amplitude, rates)
        for _ in range(_SWEEPS if self._merits.size > 2 else 0):
            for choice in _AMPLITUDES:
                found = self._log_likelihood(choice, rates)
                if found > best:
                    best, amplitude = found, choice
            for k in varying:
                for choice in _RATES:
                    trial = rates.copy()
                    trial[k] = choice
                    found = self._log_likelihood(amplitude, trial)
                    if found > best:
                        best, rates = found, trial
        return amplitude, rates

    def _log_likelihood(self, amplitude: float, rates: Array) -> float:
        # LAPACK itself: scipy's checks take longer than matrices of this size do.
        lower, failed = lapack.dpotrf(self._covariance(amplitude, rates, self._variances).T, lower=1, overwrite_a=1)
        if failed:
            return -math.inf
        whitened, _ = lapack.dtrtrs(lower, self._merits_and_ones, lower=1)
        merits, ones = whitened[:, 0], whitened[:, 1]
        residual = merits - ones * (ones @ merits) / (ones @ ones)
        prior = ((np.log(rates / _LIKELY_RATE) / _RATE_SPREAD) ** 2).sum() + (math.log(amplitude / 0.2)) ** 2
        return float(-0.5 * (residual @ residual) - np.log(lower.diagonal()).sum() - 0.5 * prior)

    def _covariance(self, amplitude: float, rates: Array, variances: Array | float = 0.0) -> Array:
        """Of the true log merits; with `variances` of what was measured."""
        count = self._merits.size
        covariance: Array = np.exp(-(rates @ self._flat_distances)).reshape(count, count)
        covariance *= amplitude**2
        covariance.flat[:: count + 1] += _OWN_SD**2 + variances
        return covariance

    # -- what follows ---------------------------------------------------------------------------------------------

    def _solve(self) -> None:
        self._prior = self._covariance(self._amplitude, self._rates)
        self._factor = linalg.cho_factor(self._prior + np.diag(self._variances), lower=True, check_finite=False)
        ones = np.ones_like(self._merits)
        weights = linalg.cho_solve(self._factor, ones, check_finite=False)
        self.mean_merit = float(weights @ self._merits / (weights @ ones))
        self._alpha = linalg.cho_solve(self._factor, self._merits - self.mean_merit, check_finite=False)

    def measured(self) -> tuple[Array, Array]:
        """Posterior mean and covariance of the log merits of the measured candidates."""
        mean = self.mean_merit + self._prior @ self._alpha
        return mean, self._prior - self._prior @ linalg.cho_solve(self._factor, self._prior, check_finite=False)

    def predict(self, params: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of the log merits of candidates that were not measured."""
        exponent = np.zeros((len(params), self._merits.size))
        for name, column, rate in zip(self._names, self._columns, self._rates, strict=True):
            exponent += rate * column.distances(column.code([point.get(name) for point in params]))
        cross = self._amplitude**2 * np.exp(-exponent)
        whitened = linalg.solve_triangular(self._factor[0], cross.T, lower=True, check_finite=False)
        variance = self._amplitude**2 + _OWN_SD**2 - (whitened**2).sum(axis=0)
        return self.mean_merit + cross @ self._alpha, np.sqrt(np.maximum(variance, 1e-12))


class _Column:
    """The values of one tunable over the measured candidates."""

    def __init__(self, values: Sequence[Any]) -> None:
        numbers = [value for value in values if _is_number(value)]
        self._has_numbers = bool(numbers)
        self._least = min((value for value in numbers if value > 0), default=1) / 2  # What zero counts as.
        known = [self._log(value) for value in numbers]
        self._range = max(known) - min(known) if known and max(known) > min(known) else 1.0
        self._names: dict[Any, int] = {}
        self.own = self.code(values)

    def code(self, values: Sequence[Any]) -> Array:
        """Numbers for the values; nan where the tunable does not apply, and for the one word among numbers ("as it
        is"), which is as far from each of them."""
        if self._has_numbers:
            return np.array([self._log(value) / self._range if _is_number(value) else math.nan for value in values])
        for value in values:
            self._names.setdefault(value, len(self._names))
        return np.array([math.nan if value is None else float(self._names[value]) for value in values])

    def _log(self, value: float) -> float:
        return math.log2(max(value, self._least))

    def distances(self, others: Array) -> Array:
        """Distance of each of the others to each measured candidate."""
        apart = np.abs(others[:, None] - self.own[None, :])
        if not self._has_numbers:
            apart = np.where(apart > 0, 1.0, apart)
        absent = np.isnan(others)[:, None] != np.isnan(self.own)[None, :]
        return np.asarray(np.where(absent, 1.0, np.nan_to_num(np.minimum(apart, 2.0))))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def expected_improvement(mean: Array, sd: Array, best: float) -> Array:
    """By how much each candidate is expected to beat `best`, counting nothing where it does not."""
    z = (mean - best) / sd
    return np.asarray((mean - best) * special.ndtr(z) + sd * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
