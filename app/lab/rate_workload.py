"""A workload with a rate search: one offered load after the other on the applied candidate, until the goal is met."""

from __future__ import annotations

from collections.abc import Callable

from tuner.candidate import Candidate
from tuner.rate_search import NextTrial, RateGoal, RateTrial, next_trial, result_of
from tuner.samples import Sample, Workload

UDP_AND_IPV4_BYTES = 28
OFFERED_TOLERANCE = 0.05
"""A generator that misses the intended load by more than this is worth a warning."""

MeasureOnce = Callable[[Workload], Sample]


def search_rate_of(candidate: Candidate, workload: Workload, measure: MeasureOnce) -> Sample:
    """The sample of the trial at the lower bound, with what the search found. Where no load meets the goal, that of the
    lowest load tried. `measure` runs one ordinary workload; its errors pass through."""
    goal = workload.rate_search
    assert goal is not None  # noqa: S101 - the caller looks at it to get here
    samples: list[tuple[NextTrial, Sample]] = []
    trials: list[RateTrial] = []
    max_load_pps = _given_load_pps(candidate, workload) or _most_pps(workload, goal, measure)
    while (asked := next_trial(goal, max_load_pps, trials)) is not None:
        sample = measure(_at_load(candidate, workload, asked))
        samples.append((asked, sample))
        loss_ratio = sample.loss_ratio or 0.0
        trials.append(RateTrial(load_pps=asked.load_pps, duration_s=asked.duration_s, loss_ratio=loss_ratio))
    result = result_of(goal, trials)
    shown_pps = result.lower_bound_pps or min(trial.load_pps for trial in trials)
    shown = [sample for asked, sample in samples if asked.load_pps == shown_pps][-1]
    warnings = tuple(dict.fromkeys(shown.warnings + _missed(samples)))
    return shown.model_copy(update={"workload": workload, "rate": result, "warnings": warnings})


def plain(workload: Workload, duration_s: float) -> Workload:
    """The same traffic without the search."""
    return workload.model_copy(update={"rate_search": None, "duration_s": duration_s})


def _most_pps(workload: Workload, goal: RateGoal, measure: MeasureOnce) -> float:
    """What the generator really sends when it sends as fast as it can."""
    short_s = goal.initial_trial_duration_s or goal.final_trial_duration_s
    offered = measure(plain(workload, short_s)).offered_pps
    return float(max(1, round(offered or 0)))


def _at_load(candidate: Candidate, workload: Workload, trial: NextTrial) -> Workload:
    update: dict[str, float] = {"offered_load_pps": trial.load_pps}
    if workload.tool == "iperf3":
        update = {"offered_load_gbps": trial.load_pps * _payload_bytes(candidate, workload) * 8 / 1e9}
    return plain(workload, trial.duration_s).model_copy(update=update)


def _given_load_pps(candidate: Candidate, workload: Workload) -> float | None:
    if workload.offered_load_gbps is not None:
        return float(round(workload.offered_load_gbps * 1e9 / 8 / _payload_bytes(candidate, workload)))
    return workload.offered_load_pps


def _payload_bytes(candidate: Candidate, workload: Workload) -> int:
    return (workload.packet_bytes or candidate.mtu) - UDP_AND_IPV4_BYTES


def _missed(samples: list[tuple[NextTrial, Sample]]) -> tuple[str, ...]:
    ratios = [sample.offered_pps / asked.load_pps for asked, sample in samples if sample.offered_pps is not None]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1), default=1.0)
    if abs(worst - 1) <= OFFERED_TOLERANCE:
        return ()
    return (f"the generator missed an intended load: it offered {worst:.0%} of it",)
