"""Is B really better than A? Paired comparison of interleaved blocks, and drift. Method: docs/measurement.md."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import special  # scipy.stats has the same functions and takes a second to import

from tuner.candidate import Candidate
from tuner.constraints import ConstraintCheck

CONFIDENCE = 0.95
LEAST_PAIRS = 3
"""With fewer pairs there is no spread worth the name; no verdict is given."""
LEAST_RANKED = 6
"""With fewer pairs even the widest interval of ranks is no 95% interval."""
LEAST_DRIFT_SPAN_S = 30.0
"""A trend over less time than this, drawn out to an hour, is noise (and overflows for a simulation that takes none)."""

Conclusion = Literal["better", "worse", "no_significant_difference"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gain(_Value):
    """Ratio of B to A from paired blocks: 1.10 is 10% more. The interval holds the true ratio in 95% of studies."""

    gain: float = Field(gt=0, description="centre of the paired ratios: pseudo-median, of few the geometric mean")
    gain_low: float = Field(gt=0, description="lower end of the 95% interval")
    gain_high: float = Field(gt=0, description="upper end of the 95% interval")
    p_value: float = Field(ge=0, le=1, description="two-sided, of the signed-rank test; of few the t-test")
    pairs: int = Field(ge=LEAST_PAIRS)

    @property
    def conclusion(self) -> Conclusion:
        """Better or worse only when the whole interval is on one side of 1."""
        if self.gain_low > 1:
            return "better"
        return "worse" if self.gain_high < 1 else "no_significant_difference"


class MetricComparison(Gain):
    """The gain in one metric, with the medians behind it. Above 1 is always better: of a metric to minimise, such as
    latency, it is the baseline's value over the best candidate's."""

    metric: str
    label: str
    unit: str
    baseline_median: float
    best_median: float


class Verdict(_Value):
    """What a study concludes: the best candidate against the baseline, from blocks that took no part in choosing it."""

    conclusion: Conclusion
    words: str = Field(description="the conclusion in one or two sentences for people")
    baseline: Candidate
    best: Candidate
    best_trial_number: int
    decided_on: str = Field(description="label of the metric that decides; for Pareto studies the mean of all")
    gain: float
    gain_low: float
    gain_high: float
    p_value: float
    rounds: int = Field(description="paired blocks that the verdict rests on")
    baseline_scores: tuple[float, ...] = Field(description="score of the baseline's block in each round")
    best_scores: tuple[float, ...] = Field(description="score of the best candidate's block in each round")
    metrics: tuple[MetricComparison, ...] = Field(description="every metric that is known, whatever was optimised")
    constraints: tuple[ConstraintCheck, ...] = Field((), description="the study's constraints, by the verdict's blocks")
    drift_percent_per_hour: float | None = Field(description="how the baseline itself moved during the study")
    simulated: bool


def paired_gain(baseline: Sequence[float], candidate: Sequence[float], confidence: float = CONFIDENCE) -> Gain:
    """Gain of the candidate over the baseline; element k of both was measured in the same round.

    On log ratios: what a round shares (drift, a noisy neighbour) cancels in its ratio. From LEAST_RANKED pairs on the
    interval is the exact one of Wilcoxon's signed ranks (Hodges and Lehmann 1963): it needs no normal noise, only that
    both candidates' noise has one shape, so disturbed blocks widen it less than Student's. With fewer pairs, Student's.
    Raises ValueError for unequal lengths, fewer than LEAST_PAIRS pairs, or values that are not positive.
    """
    a, b = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values must come in equal numbers, not {a.size} and {b.size}")
    if a.size < LEAST_PAIRS:
        raise ValueError(f"{a.size} pairs are too few for an interval; {LEAST_PAIRS} are the least")
    if not (np.isfinite(a).all() and np.isfinite(b).all() and (a > 0).all() and (b > 0).all()):
        raise ValueError("paired values must be positive and finite")
    interval = _by_ranks if a.size >= LEAST_RANKED else _by_student
    centre, low, high, p_value = interval(np.log(b / a), confidence)
    return Gain(
        gain=float(np.exp(centre)),
        gain_low=float(np.exp(low)),
        gain_high=float(np.exp(high)),
        p_value=min(1.0, p_value),
        pairs=int(a.size),
    )


def _by_student(log_ratios: NDArray[np.float64], confidence: float) -> tuple[float, float, float, float]:
    """Centre, ends of the interval and two-sided p-value of the t-test."""
    mean, standard_error = float(log_ratios.mean()), float(log_ratios.std(ddof=1) / np.sqrt(log_ratios.size))
    if standard_error == 0:
        # Every round agrees to the last digit (a simulation without noise): the interval is a point.
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    half_width = float(special.stdtrit(log_ratios.size - 1, (1 + confidence) / 2)) * standard_error
    p_value = float(2 * special.stdtr(log_ratios.size - 1, -abs(mean) / standard_error))
    return mean, mean - half_width, mean + half_width, p_value


def _by_ranks(log_ratios: NDArray[np.float64], confidence: float) -> tuple[float, float, float, float]:
    """The same of the signed-rank test: median of the means of all pairs of ratios (Walsh averages), and the two of
    them between which the centre lies with at least this confidence."""
    size = log_ratios.size
    one, other = np.triu_indices(size)
    walsh = np.sort((log_ratios[one] + log_ratios[other]) / 2)
    below = np.cumsum(_signed_rank_probabilities(size))
    # The largest rank sum that is as rare as an end of the interval may be wrong: so many averages lie outside.
    cut = int(np.searchsorted(below, (1 - confidence) / 2, side="right")) - 1
    positive = int((walsh > 0).sum())
    negative = int((walsh < 0).sum())
    p_value = 1.0 if not positive + negative else float(2 * below[min(positive, negative)])
    return float(np.median(walsh)), float(walsh[cut]), float(walsh[-1 - cut]), p_value


@cache
def _signed_rank_probabilities(size: int) -> NDArray[np.float64]:
    """Probability of each sum of the positive ranks of `size` values that are symmetric about 0."""
    ways = np.ones(1)
    for rank in range(1, size + 1):
        longer = np.zeros(ways.size + rank)
        longer[: ways.size] += ways / 2
        longer[rank:] += ways / 2
        ways = longer
    return ways


def drift_percent_per_hour(elapsed_s: Sequence[float], values: Sequence[float]) -> float | None:
    """Trend of repeated measurements of one candidate, in percent per hour; None for fewer than three of them,
    or when they lie less than LEAST_DRIFT_SPAN_S apart.

    Theil-Sen slope of the logarithms: the median of all pairwise slopes, so that an outlier does not make a trend.
    """
    if len(values) < LEAST_PAIRS or max(elapsed_s) - min(elapsed_s) < LEAST_DRIFT_SPAN_S:
        return None
    times, logs = np.asarray(elapsed_s, dtype=float), np.log(np.asarray(values, dtype=float))
    earlier, later = np.triu_indices(times.size, k=1)
    apart = times[earlier] != times[later]
    slopes = (logs[later] - logs[earlier])[apart] / (times[later] - times[earlier])[apart]
    return float(np.expm1(np.median(slopes) * 3600) * 100)
