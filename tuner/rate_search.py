"""The highest packet rate that a device forwards within a loss goal: NDR and PDR by the goals of RFC 9971 (MLRsearch).

Pure: from the trials measured so far follows the next one (`next_trial`), and in the end the result (`result_of`). Who
measures is the caller's business. A short search has a short goal and is reported with it; it is not RFC 2544's
throughput, which asks for 60 seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PDR_LOSS_RATIO = 0.005
"""What is customary for the partial drop rate: half a percent."""
LEAST_LOAD_RATIO = 0.001
"""A search gives up below this share of its maximal load."""

Bound = Literal["lower", "upper", "undecided"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RateGoal(_Value):
    """When a load counts as carried. The attributes of a Search Goal of RFC 9971, under their names there."""

    loss_ratio: float = Field(0.0, ge=0, lt=1, description="goal loss ratio: 0 for the NDR, 0.005 for the PDR")
    final_trial_duration_s: float = Field(1.0, gt=0, le=3600, description="goal final trial duration")
    duration_sum_s: float = Field(1.0, gt=0, le=36_000, description="goal duration sum: traffic that decides on a load")
    exceed_ratio: float = Field(0.5, ge=0, lt=1, description="goal exceed ratio: share of it that may lose more")
    width: float = Field(0.05, gt=0, lt=1, description="goal width: (upper - lower) / upper at the end")
    initial_trial_duration_s: float | None = Field(
        None, gt=0, le=3600, description="length of the trials that narrow the range at first; null: as the final ones"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.duration_sum_s < self.final_trial_duration_s:
            raise ValueError("duration_sum_s cannot be shorter than one final trial")
        if (self.initial_trial_duration_s or 0) > self.final_trial_duration_s:
            raise ValueError("initial_trial_duration_s cannot be longer than a final trial")
        return self

    @classmethod
    def named(cls, name: Literal["ndr", "pdr"], trial_duration_s: float = 1.0) -> Self:
        """The usual goal for NDR or PDR: three trials a load, of which more than half must keep to the loss ratio."""
        return cls(
            loss_ratio=0.0 if name == "ndr" else PDR_LOSS_RATIO,
            final_trial_duration_s=trial_duration_s,
            duration_sum_s=3 * trial_duration_s,
            initial_trial_duration_s=trial_duration_s / 2,
        )

    @property
    def name(self) -> str:
        """ "NDR", "PDR", or "loss ratio 0.02" for other goals."""
        return {0.0: "NDR", PDR_LOSS_RATIO: "PDR"}.get(self.loss_ratio, f"loss ratio {self.loss_ratio:g}")

    def in_words(self) -> str:
        """The goal for people, to stand beside every figure that was found under it."""
        return (
            f"RFC 9971 goal: loss ratio {self.loss_ratio:g}, final trials of {self.final_trial_duration_s:g} s,"
            f" duration sum {self.duration_sum_s:g} s, exceed ratio {self.exceed_ratio:g}, width {self.width:g}"
        )

    @property
    def stages(self) -> tuple[RateGoal, ...]:
        """A coarse goal of short trials, where there is one, then the goal itself."""
        short_s = self.initial_trial_duration_s
        if short_s is None or short_s == self.final_trial_duration_s:
            return (self,)
        coarse = {"final_trial_duration_s": short_s, "duration_sum_s": short_s, "initial_trial_duration_s": None}
        return (self.model_copy(update=coarse), self)


class RateTrial(_Value):
    """One trial: a load, offered for a duration, and the share of it that was lost."""

    load_pps: float = Field(gt=0, description="intended load, inner packets/s")
    duration_s: float = Field(gt=0, description="asked for; what is short and what is long goes by this")
    loss_ratio: float = Field(ge=0, le=1)


class RateResult(_Value):
    """What a search found, with the goal that it was found under."""

    goal: RateGoal
    goal_words: str
    lower_bound_pps: float | None = Field(description="relevant lower bound; null: no load met the goal")
    upper_bound_pps: float | None = Field(description="relevant upper bound; null: the generator's most met the goal")
    conditional_throughput_pps: float | None = Field(
        description="what arrives at the lower bound (RFC 9971, appendix B); null without one"
    )
    is_regular: bool = Field(description="both bounds are there, no farther apart than the goal's width")
    trials: tuple[RateTrial, ...]

    def in_words(self) -> str:
        """One line for people."""
        if self.conditional_throughput_pps is None:
            return f"{self.goal.name}: no load met the goal"
        at_least = "" if self.upper_bound_pps is not None else "at least "
        return f"{self.goal.name}: {at_least}{self.conditional_throughput_pps / 1e3:,.1f} kpps"


@dataclass(frozen=True, slots=True)
class NextTrial:
    """The trial that a search asks for."""

    load_pps: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Sums:
    """Durations of the trials at one load, long or short, within the loss goal (good) or not (bad)."""

    good_long_s: float
    bad_long_s: float
    good_short_s: float
    bad_short_s: float


def classify(goal: RateGoal, at_load: Iterable[RateTrial]) -> Bound:
    """Whether a load is a lower or an upper bound, from its trials alone (RFC 9971, appendix A)."""
    sums = _sums(goal, at_load)
    forgiven_s = sums.good_short_s * goal.exceed_ratio / (1 - goal.exceed_ratio)
    bad_s = sums.bad_long_s + max(0.0, sums.bad_short_s - forgiven_s)
    whole_s = max(sums.good_long_s + bad_s, goal.duration_sum_s)
    allowed_s = whole_s * goal.exceed_ratio
    # Whether it is a lower bound if all that is still to be measured turns out well, and if it turns out badly.
    at_best, at_worst = bad_s <= allowed_s, whole_s - sums.good_long_s <= allowed_s
    if at_best != at_worst:
        return "undecided"
    return "lower" if at_best else "upper"


def relevant_bounds(goal: RateGoal, trials: Sequence[RateTrial]) -> tuple[float | None, float | None]:
    """The relevant bounds (RFC 9971): the smallest upper bound, and the largest lower bound below it."""
    by_load = _by_load(trials)
    upper = min((load for load, at_load in by_load.items() if classify(goal, at_load) == "upper"), default=None)
    below = [load for load in by_load if upper is None or load < upper]
    return max((load for load in below if classify(goal, by_load[load]) == "lower"), default=None), upper


def conditional_throughput_pps(goal: RateGoal, load_pps: float, at_load: Iterable[RateTrial]) -> float:
    """What arrives of a load in all but the `exceed_ratio` worst of its long trials (RFC 9971, appendix B)."""
    long = sorted(
        (trial for trial in at_load if trial.duration_s >= goal.final_trial_duration_s), key=lambda one: one.loss_ratio
    )
    needed_s = max(goal.duration_sum_s, sum(trial.duration_s for trial in long)) * (1 - goal.exceed_ratio)
    covered_s, loss_ratio = 0.0, 1.0
    for trial in long:
        covered_s += trial.duration_s
        if covered_s >= needed_s:
            loss_ratio = trial.loss_ratio
            break
    return load_pps * (1 - loss_ratio)


def next_trial(goal: RateGoal, max_load_pps: float, trials: Sequence[RateTrial]) -> NextTrial | None:
    """What to measure next; None when the search is over. Deterministic, and it ends whatever the trials say: every
    load is measured until it is decided, and a new one lies between the bounds or beyond all that were tried."""
    hints: tuple[float | None, float | None] = (None, max_load_pps)
    has_final = any(trial.duration_s >= goal.final_trial_duration_s for trial in trials)
    for stage in goal.stages:
        if stage == goal or not has_final:  # the coarse stage gives a first idea; it is not gone back to
            load = _undecided(stage, trials) or _next_load(stage, max_load_pps, trials, hints)
            if load is not None:
                return NextTrial(load, stage.final_trial_duration_s)
        hints = relevant_bounds(stage, trials)
    return None


def result_of(goal: RateGoal, trials: Sequence[RateTrial]) -> RateResult:
    """What the trials say under the goal."""
    lower, upper = relevant_bounds(goal, trials)
    throughput = None
    if lower is not None:
        throughput = conditional_throughput_pps(goal, lower, _by_load(trials)[lower])
    return RateResult(
        goal=goal,
        goal_words=goal.in_words(),
        lower_bound_pps=lower,
        upper_bound_pps=upper,
        conditional_throughput_pps=throughput,
        is_regular=lower is not None and upper is not None and _is_narrow(goal, lower, upper),
        trials=tuple(trials),
    )


def search_rate(goal: RateGoal, max_load_pps: float, measure: Callable[[NextTrial], float]) -> RateResult:
    """Search over a measurer that returns the loss ratio of a trial. Its exceptions pass through."""
    trials: list[RateTrial] = []
    while (asked := next_trial(goal, max_load_pps, trials)) is not None:
        loss_ratio = measure(asked)
        trials.append(RateTrial(load_pps=asked.load_pps, duration_s=asked.duration_s, loss_ratio=loss_ratio))
    return result_of(goal, trials)


def _sums(goal: RateGoal, at_load: Iterable[RateTrial]) -> _Sums:
    sums = {(long, good): 0.0 for long in (True, False) for good in (True, False)}
    for trial in at_load:
        is_long = trial.duration_s >= goal.final_trial_duration_s
        sums[is_long, trial.loss_ratio <= goal.loss_ratio] += trial.duration_s
    return _Sums(sums[True, True], sums[True, False], sums[False, True], sums[False, False])


def _by_load(trials: Iterable[RateTrial]) -> dict[float, list[RateTrial]]:
    by_load: dict[float, list[RateTrial]] = {}
    for trial in trials:
        by_load.setdefault(trial.load_pps, []).append(trial)
    return by_load


def _undecided(stage: RateGoal, trials: Sequence[RateTrial]) -> float | None:
    """The load that this stage has begun to measure and not finished."""
    begun = {trial.load_pps for trial in trials if trial.duration_s >= stage.final_trial_duration_s}
    by_load = _by_load(trials)
    return next((load for load in by_load if load in begun and classify(stage, by_load[load]) == "undecided"), None)


def _next_load(
    stage: RateGoal, max_load_pps: float, trials: Sequence[RateTrial], hints: tuple[float | None, float | None]
) -> float | None:
    """A load that narrows this stage's bounds; None when they are narrow, or cannot be narrowed."""
    lower, upper = relevant_bounds(stage, trials)
    if upper is None:
        return None if lower == max_load_pps else _load_above(stage, max_load_pps, trials, lower, hints)
    if lower is None:
        return _load_below(stage, max_load_pps, trials, upper, hints[0])
    middle = _rounded((lower * upper) ** 0.5)
    return middle if not _is_narrow(stage, lower, upper) and lower < middle < upper else None


def _load_above(
    stage: RateGoal,
    max_load_pps: float,
    trials: Sequence[RateTrial],
    lower: float | None,
    hints: tuple[float | None, float | None],
) -> float:
    """A load that may be an upper bound, where there is none yet."""
    likely = hints[1] if hints[1] is not None else hints[0]
    if likely is not None and likely > (lower or 0.0):
        return likely
    return _rounded(min(max_load_pps, (lower or max_load_pps) / _reach(stage, trials)))


def _load_below(
    stage: RateGoal, max_load_pps: float, trials: Sequence[RateTrial], upper: float, likely: float | None
) -> float | None:
    """A load that may be a lower bound, where there is none yet; None where no load is worth trying any more."""
    least = _rounded(max_load_pps * LEAST_LOAD_RATIO)
    if upper <= least:
        return None
    if likely is None and len(_by_load(trials)) == 1:
        likely = _rounded(upper * (1 - trials[0].loss_ratio))  # what came through is a good guess
    if likely is not None and least < likely < upper:
        return likely
    return max(least, _rounded(upper * _reach(stage, trials)))


def _reach(stage: RateGoal, trials: Sequence[RateTrial]) -> float:
    """How far the next load lies from a bound that has no counterpart: twice as far with every load tried in vain."""
    decided = sum(1 for at_load in _by_load(trials).values() if classify(stage, at_load) != "undecided")
    return 1 - min(0.75, stage.width * 2.0 ** max(0, decided - 1))


def _is_narrow(goal: RateGoal, lower: float, upper: float) -> bool:
    return (upper - lower) / upper <= goal.width


def _rounded(load_pps: float) -> float:
    """Whole packets/s: a load that is tried again must be equal to itself."""
    return float(max(1, round(load_pps)))
