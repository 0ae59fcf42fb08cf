from __future__ import annotations

import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.rate_search import (
    NextTrial,
    RateGoal,
    RateTrial,
    classify,
    conditional_throughput_pps,
    next_trial,
    relevant_bounds,
    result_of,
    search_rate,
)

NDR, PDR = RateGoal.named("ndr"), RateGoal.named("pdr")


class Device:
    """Forwards up to `capacity_pps` without loss, and nothing above it; now and then it hiccups and loses `spike`."""

    def __init__(self, capacity_pps: float, *, spike_rate: float = 0.0, spike: float = 0.02, seed: int = 0) -> None:
        self.capacity_pps, self._spike_rate, self._spike = capacity_pps, spike_rate, spike
        self._random = random.Random(seed)
        self.trials: list[NextTrial] = []

    def measure(self, trial: NextTrial) -> float:
        self.trials.append(trial)
        loss = max(0.0, 1 - self.capacity_pps / trial.load_pps)
        if self._random.random() < self._spike_rate:
            loss = max(loss, self._spike * self._random.random())
        return loss

    def rate_pps(self, goal: RateGoal) -> float:
        """The true answer: the load at which the loss ratio is just that of the goal."""
        return self.capacity_pps / (1 - goal.loss_ratio)


goals = st.builds(
    lambda loss, final, repeats, exceed, width, share: RateGoal(
        loss_ratio=loss,
        final_trial_duration_s=final,
        duration_sum_s=final * repeats,
        exceed_ratio=exceed,
        width=width,
        initial_trial_duration_s=None if share is None else final * share,
    ),
    st.sampled_from([0.0, 0.001, 0.005, 0.1]),
    st.sampled_from([0.5, 1.0, 60.0]),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    st.floats(0.005, 0.3),
    st.sampled_from([None, 0.1, 0.5, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(goals, st.floats(2e4, 2e7), st.floats(1.02, 100))
def test_a_quiet_device_is_bracketed_within_the_goals_width(goal: RateGoal, capacity: float, overload: float) -> None:
    device = Device(capacity)
    result = search_rate(goal, round(device.rate_pps(goal) * overload), device.measure)
    assert result.is_regular
    assert result.lower_bound_pps is not None
    assert result.upper_bound_pps is not None
    assert result.lower_bound_pps <= device.rate_pps(goal) * 1.0001 < result.upper_bound_pps * 1.0002
    assert (result.upper_bound_pps - result.lower_bound_pps) / result.upper_bound_pps <= goal.width
    assert result.conditional_throughput_pps == pytest.approx(min(result.lower_bound_pps, capacity))


@settings(max_examples=100, deadline=None)
@given(goals, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_it_ends_and_keeps_its_bounds_apart_whatever_the_device_does(goal: RateGoal, seed: int, chance: float) -> None:
    source = random.Random(seed)
    result = search_rate(goal, 1e6, lambda _: source.random() if source.random() < chance else 0.0)
    assert len(result.trials) < 4000
    assert (result.lower_bound_pps, result.upper_bound_pps) == relevant_bounds(goal, result.trials)
    by_load = {trial.load_pps for trial in result.trials}
    for load in by_load:
        kind = classify(goal, [trial for trial in result.trials if trial.load_pps == load])
        if kind == "upper":
            assert result.upper_bound_pps is not None
            assert result.upper_bound_pps <= load
    if result.lower_bound_pps is not None and result.upper_bound_pps is not None:
        assert result.lower_bound_pps < result.upper_bound_pps


@pytest.mark.parametrize("goal", [NDR, PDR], ids=["NDR", "PDR"])
@pytest.mark.parametrize("spike_rate", [0.05, 0.2])
def test_hiccups_in_a_fifth_of_the_trials_move_the_rate_little(goal: RateGoal, spike_rate: float) -> None:
    found = []
    for seed in range(200):
        device = Device(700_000, spike_rate=spike_rate, seed=seed)
        result = search_rate(goal, 2_000_000, device.measure)
        found.append((result.conditional_throughput_pps or 0.0) / device.rate_pps(goal))
    assert max(found) <= 1.0001, "never more than the device can do"
    assert median(found) > 1 - goal.width
    assert sum(ratio > 1 - 2 * goal.width for ratio in found) >= 0.75 * len(found)


def test_a_mean_of_one_trial_is_fooled_where_the_median_of_three_is_not() -> None:
    """What the exceed ratio and the duration sum are for."""
    single = RateGoal(loss_ratio=0, final_trial_duration_s=1, duration_sum_s=1, exceed_ratio=0)
    ratios = {
        goal: [
            (search_rate(goal, 2e6, Device(7e5, spike_rate=0.2, seed=seed).measure).conditional_throughput_pps or 0)
            / 7e5
            for seed in range(100)
        ]
        for goal in (single, NDR)
    }
    assert sum(ratio < 0.9 for ratio in ratios[single]) > 2 * sum(ratio < 0.9 for ratio in ratios[NDR])


def test_a_device_faster_than_the_generator_gives_a_lower_bound_only() -> None:
    result = search_rate(NDR, 1e6, Device(3e6).measure)
    assert (result.lower_bound_pps, result.upper_bound_pps, result.is_regular) == (1e6, None, False)
    assert "at least 1,000.0 kpps" in result.in_words()


def test_a_device_that_always_loses_has_no_rate() -> None:
    result = search_rate(NDR, 1e6, lambda _: 0.01)
    assert result.lower_bound_pps is None
    assert result.conditional_throughput_pps is None
    assert "no load met the goal" in result.in_words()
    assert min(trial.load_pps for trial in result.trials) == 1000


def test_the_usual_search_is_short() -> None:
    """A change that makes searches longer shows here: seconds of traffic for a rate within 5%."""
    spent = []
    for capacity in (5e4, 2e5, 9e5):
        device = Device(capacity)
        search_rate(NDR, 1e6, device.measure)
        spent.append(sum(trial.duration_s for trial in device.trials))
    assert max(spent) <= 10


def test_it_can_be_continued_from_its_trials_alone() -> None:
    device = Device(432_100)
    trials: list[RateTrial] = []
    while (asked := next_trial(PDR, 2e6, list(trials))) is not None:
        trials.append(RateTrial(load_pps=asked.load_pps, duration_s=asked.duration_s, loss_ratio=device.measure(asked)))
    assert result_of(PDR, trials) == search_rate(PDR, 2e6, Device(432_100).measure)


def trial(loss: float, duration_s: float = 1.0) -> RateTrial:
    return RateTrial(load_pps=1000, duration_s=duration_s, loss_ratio=loss)


@pytest.mark.parametrize(
    ("trials", "kind"),
    [
        ([], "undecided"),
        ([trial(0)], "undecided"),
        ([trial(0), trial(0)], "lower"),  # the third cannot change it
        ([trial(0), trial(0.1)], "undecided"),
        ([trial(0.1), trial(0.1)], "upper"),
        ([trial(0), trial(0.1), trial(0)], "lower"),
        ([trial(0.1, 0.5), trial(0.1, 0.5), trial(0.1, 0.5), trial(0.1, 0.5)], "upper"),  # short ones can condemn …
        ([trial(0, 0.5)] * 6, "undecided"),  # … and cannot acquit
        ([trial(0.1, 0.5)] * 4 + [trial(0, 0.5)] * 4, "undecided"),
    ],
)
def test_a_load_is_classified_as_appendix_a_says(trials: list[RateTrial], kind: str) -> None:
    goal = RateGoal(duration_sum_s=3, initial_trial_duration_s=0.5)
    assert classify(goal, trials) == kind


def test_conditional_throughput_takes_the_quantile_of_the_losses() -> None:
    """Appendix B: of three trials, more than half must do as well; the median loss counts."""
    goal = RateGoal(loss_ratio=0.05, duration_sum_s=3)
    assert conditional_throughput_pps(goal, 1000, [trial(0.5), trial(0.01), trial(0.04)]) == pytest.approx(960)
    assert conditional_throughput_pps(goal, 1000, [trial(0.01)]) == 0, "what was not measured counts as lost"
    assert conditional_throughput_pps(goal, 1000, [trial(0.0, 0.2), trial(0.01), trial(0.02)]) == pytest.approx(980)


@pytest.mark.parametrize(
    "impossible",
    [
        {"duration_sum_s": 0.5},
        {"initial_trial_duration_s": 2},
        {"exceed_ratio": 1},
        {"width": 0},
        {"loss_ratio": 1},
        {"x": 1},
    ],
)
def test_impossible_goals_are_refused(impossible: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="RateGoal"):
        RateGoal.model_validate(impossible)


def test_the_goal_is_said_and_never_called_rfc_2544() -> None:
    words = result_of(PDR, []).goal_words
    assert words.startswith("RFC 9971 goal: loss ratio 0.005, final trials of 1 s")
    assert "2544" not in words
