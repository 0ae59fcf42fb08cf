from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.objectives import OBJECTIVES, BlockMetrics, block_metrics, geometric_mean, median_metrics
from tuner.statistics import drift_percent_per_hour, paired_gain

RUNS = 2000
ROUNDS = 8


def rounds(rng: np.random.Generator, true_gain: float, noise: float) -> tuple[list[float], list[float]]:
    """Paired blocks with noise of their own, under a drift that each round shares."""
    shared = np.exp(np.cumsum(rng.normal(0, 0.05, ROUNDS)))
    baseline = 5.0 * shared * np.exp(rng.normal(0, noise, ROUNDS))
    candidate = 5.0 * true_gain * shared * np.exp(rng.normal(0, noise, ROUNDS))
    return list(baseline), list(candidate)


@pytest.mark.parametrize(("true_gain", "noise"), [(1.0, 0.01), (1.08, 0.05), (0.7, 0.2)])
def test_interval_holds_the_true_gain_in_95_percent_of_runs(true_gain: float, noise: float) -> None:
    rng = np.random.default_rng(7)
    gains = [paired_gain(*rounds(rng, true_gain, noise)) for _ in range(RUNS)]
    coverage = sum(gain.gain_low <= true_gain <= gain.gain_high for gain in gains) / RUNS
    assert 0.93 <= coverage <= 0.97


def test_better_is_claimed_of_equals_in_at_most_5_percent_of_runs() -> None:
    rng = np.random.default_rng(11)
    conclusions = [paired_gain(*rounds(rng, 1.0, 0.1)).conclusion for _ in range(RUNS)]
    assert conclusions.count("better") / RUNS <= 0.05
    assert conclusions.count("worse") / RUNS <= 0.05
    assert conclusions.count("no_significant_difference") / RUNS >= 0.93


@pytest.mark.parametrize("pairs", range(6, 16))
def test_the_interval_of_ranks_leaves_1_out_exactly_where_the_test_is_significant(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    for shift in np.linspace(0, 0.15, 60):
        gain = paired_gain([1.0] * pairs, list(np.exp(rng.normal(shift, 0.1, pairs))))
        assert (gain.conclusion == "no_significant_difference") == (gain.p_value > 0.05)


def test_a_clear_gain_is_found() -> None:
    rng = np.random.default_rng(13)
    found = [paired_gain(*rounds(rng, 1.2, 0.05)).conclusion == "better" for _ in range(200)]
    assert sum(found) / 200 > 0.95


def test_what_a_round_shares_cancels() -> None:
    gain = paired_gain([1.0, 10.0, 100.0, 1000.0], [1.5, 15.0, 150.0, 1500.0])
    assert gain.gain == pytest.approx(1.5)
    assert gain.gain_low == pytest.approx(1.5)
    assert gain.conclusion == "better"


def test_known_interval() -> None:
    # log ratios 0.1, 0.2, 0.3: mean 0.2, standard error 0.1/sqrt(3), t(0.975, 2) = 4.3027
    gain = paired_gain([1.0, 1.0, 1.0], [math.exp(0.1), math.exp(0.2), math.exp(0.3)])
    assert math.log(gain.gain_high) == pytest.approx(0.2 + 4.30265 * 0.1 / math.sqrt(3), rel=1e-4)
    assert gain.p_value == pytest.approx(0.0742, abs=1e-3)
    assert gain.conclusion == "no_significant_difference"


def test_identical_blocks_are_no_difference() -> None:
    gain = paired_gain([5.0] * 4, [5.0] * 4)
    assert (gain.gain, gain.p_value, gain.conclusion) == (1.0, 1.0, "no_significant_difference")


@pytest.mark.parametrize(
    ("baseline", "candidate", "message"),
    [
        ([1, 2, 3], [1, 2], "equal numbers"),
        ([1, 2], [1, 2], "2 pairs are too few"),
        ([1, 2, 0], [1, 2, 3], "positive and finite"),
        ([1, 2, math.inf], [1, 2, 3], "positive and finite"),
        ([1, 2, math.nan], [1, 2, 3], "positive and finite"),
    ],
)
def test_impossible_pairs_are_refused(baseline: list[float], candidate: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_gain(baseline, candidate)


def test_drift_is_the_trend_and_shrugs_off_an_outlier() -> None:
    times = [0.0, 900.0, 1800.0, 2700.0, 3600.0]
    values = [10.0 * 0.9 ** (time / 3600) for time in times]
    assert drift_percent_per_hour(times, values) == pytest.approx(-10)
    values[2] = 1.0
    assert drift_percent_per_hour(times, values) == pytest.approx(-10, abs=1)
    assert drift_percent_per_hour([0.0, 1.0], [1.0, 2.0]) is None
    assert drift_percent_per_hour([5.0, 5.0, 5.0], [1.0, 2.0, 3.0]) is None


# -- objectives -------------------------------------------------------------------------------------------------------


def block(throughput: float, efficiency: float | None) -> BlockMetrics:
    return BlockMetrics(throughput_gbps=throughput, gbit_per_cpu_s=efficiency)


def test_objectives_read_their_metrics() -> None:
    measured = block(4.0, 9.0)
    assert OBJECTIVES["throughput"].values(measured) == (4.0,)
    assert OBJECTIVES["efficiency"].values(measured) == (9.0,)
    assert OBJECTIVES["pareto"].values(measured) == (4.0, 9.0)
    assert OBJECTIVES["pareto"].score(measured) == pytest.approx(6.0)
    with pytest.raises(ValueError, match="gbit_per_cpu_s"):
        OBJECTIVES["efficiency"].values(block(4.0, None))


def test_geometric_mean_is_dead_when_one_direction_is() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([2.0, 0.0]) == 0.0


def test_median_of_blocks_ignores_missing_telemetry() -> None:
    median = median_metrics([block(1, None), block(5, 2.0), block(3, 4.0)])
    assert (median.throughput_gbps, median.gbit_per_cpu_s) == (3, 3.0)
    assert median_metrics([block(1, None)]).gbit_per_cpu_s is None


def test_empty_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        block_metrics([])
    with pytest.raises(ValueError, match="at least one block"):
        median_metrics([])
