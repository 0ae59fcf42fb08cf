"""From the paired blocks of a study's last phase to its verdict, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tuner.candidate import Candidate
from tuner.constraints import ConstraintCheck
from tuner.history import TrialRecord
from tuner.objectives import COMPARED, BlockMetrics, Objective
from tuner.statistics import LEAST_PAIRS, Gain, MetricComparison, Verdict, paired_gain


def compare(
    objective: Objective,
    baseline: Candidate,
    best: TrialRecord,
    pairs: Sequence[tuple[BlockMetrics, BlockMetrics]],
    *,
    constraints: tuple[ConstraintCheck, ...] = (),
    drift_percent_per_hour: float | None = None,
) -> Verdict:
    """The verdict on paired blocks (baseline, best) that took no part in choosing the best. Raises ValueError for fewer
    than LEAST_PAIRS pairs."""
    baseline_scores = tuple(objective.score(base) for base, _ in pairs)
    best_scores = tuple(objective.score(other) for _, other in pairs)
    gain = paired_gain(baseline_scores, best_scores)
    return Verdict(
        conclusion=gain.conclusion,
        words=_in_words(objective, best.candidate, gain),
        baseline=baseline,
        best=best.candidate,
        best_trial_number=best.number,
        decided_on=objective.label,
        gain=gain.gain,
        gain_low=gain.gain_low,
        gain_high=gain.gain_high,
        p_value=gain.p_value,
        rounds=gain.pairs,
        baseline_scores=baseline_scores,
        best_scores=best_scores,
        metrics=_compare_metrics(pairs),
        constraints=constraints,
        drift_percent_per_hour=drift_percent_per_hour,
        simulated=any(base.simulated or other.simulated for base, other in pairs),
    )


def _compare_metrics(pairs: Sequence[tuple[BlockMetrics, BlockMetrics]]) -> tuple[MetricComparison, ...]:
    comparisons = []
    for metric in COMPARED:
        known = [(getattr(a, metric.name), getattr(b, metric.name)) for a, b in pairs]
        known = [(a, b) for a, b in known if a is not None and b is not None]
        if len(known) < LEAST_PAIRS:
            continue
        baseline, best = zip(*known, strict=True)
        better = (baseline, best) if metric.direction == "maximize" else (best, baseline)
        comparisons.append(
            MetricComparison(
                **paired_gain(*better).model_dump(),
                metric=metric.name,
                label=metric.label,
                unit=metric.unit,
                baseline_median=median(baseline),
                best_median=median(best),
            )
        )
    return tuple(comparisons)


def _in_words(objective: Objective, best: Candidate, gain: Gain) -> str:
    interval = f"{_percent(gain.gain_low)} to {_percent(gain.gain_high)}"
    what = f"{best.in_words()}, over {gain.pairs} interleaved rounds"
    if gain.conclusion != "no_significant_difference":
        change = f"{_percent(gain.gain)} ({gain.conclusion} than the baseline; 95% interval {interval})"
        return f"{objective.label}: {change} with {what}."
    return f"{objective.label}: no significant difference from the baseline (95% interval {interval}) with {what}."


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f}%"
