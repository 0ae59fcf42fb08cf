from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.importance import Importance, ScoredTrial, importance, ranking

TUNABLES = [{"name": name, "label": name.title()} for name in ("mode", "lanes", "batch", "workers")]


def random_trials(rng: np.random.Generator, count: int, *, lanes_effect: float, noise: float) -> list[ScoredTrial]:
    """Trials at random points, where lanes alone matter; workers exist in one mode only."""
    trials = []
    for _ in range(count):
        mode, lanes = str(rng.choice(["inline", "pipelined"])), int(rng.choice([1, 2, 4]))
        params: dict[str, str | int] = {"mode": mode, "lanes": lanes, "batch": int(rng.choice([16, 64, 128]))}
        if mode == "pipelined":
            params["workers"] = int(rng.choice([1, 2]))
        score = np.exp(lanes_effect * np.log2(lanes) + rng.normal(scale=noise))
        trials.append(ScoredTrial(params, float(score)))
    return trials


def by_name(found: Importance) -> dict[str, float | None]:
    return {one.name: one.share for one in found.tunables}


def test_the_tunable_that_matters_is_found_and_said() -> None:
    found = importance(random_trials(np.random.default_rng(1), 30, lanes_effect=0.4, noise=0.1), TUNABLES)
    first = found.tunables[0]
    assert (first.name, first.certainty, first.best_value) == ("lanes", "clear", 4)
    assert first.share is not None
    assert first.share_low is not None
    assert first.share_high is not None
    assert 0.5 < first.share_low < first.share < first.share_high <= 1
    assert "Lanes" in found.words
    assert "nothing for sure" in found.words


def test_equal_candidates_are_called_important_in_at_most_five_percent_of_studies() -> None:
    """Over all tunables together, also with noise that has outliers."""
    rng = np.random.default_rng(2)
    wrong = 0
    for study in range(400):
        trials = random_trials(rng, 12 + study % 20, lanes_effect=0, noise=0.05)
        trials = [ScoredTrial(one.params, one.score * (1.0 if rng.random() > 0.1 else 0.8)) for one in trials]
        wrong += any(one.certainty == "clear" for one in importance(trials, TUNABLES).tunables)
    assert wrong <= 0.05 * 400 + 2.5 * (400 * 0.05 * 0.95) ** 0.5


def test_the_interval_holds_the_true_share() -> None:
    """Truth: lanes 1, 2, 4 at random give ln-scores 0, e, 2e; their variance is 2/3 e squared."""
    rng, effect, noise, runs = np.random.default_rng(3), 0.2, 0.2, 300
    truth = (2 / 3 * effect**2) / (2 / 3 * effect**2 + noise**2)
    inside = 0
    for _ in range(runs):
        found = importance(random_trials(rng, 24, lanes_effect=effect, noise=noise), TUNABLES)
        lanes = next(one for one in found.tunables if one.name == "lanes")
        assert lanes.share_low is not None
        assert lanes.share_high is not None
        inside += lanes.share_low <= truth <= lanes.share_high
    assert inside / runs > 0.9


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_trials_give_no_share(count: int) -> None:
    found = importance(random_trials(np.random.default_rng(4), count, lanes_effect=1, noise=0.1), TUNABLES)
    assert "too few" in found.words
    assert all(one.certainty == "unknown" for one in found.tunables)


def test_a_few_trials_do_not_overclaim() -> None:
    found = importance(random_trials(np.random.default_rng(5), 8, lanes_effect=0.02, noise=0.1), TUNABLES)
    assert all(one.certainty != "clear" for one in found.tunables)
    assert "do not show clearly" in found.words


def test_a_simulation_without_noise_explains_everything() -> None:
    trials = [ScoredTrial({"lanes": lanes, "batch": batch}, 2.0**lanes) for lanes in (1, 2) for batch in (8, 16, 32)]
    assert by_name(importance(trials, TUNABLES)) == {"lanes": 1.0, "batch": 0.0, "mode": None, "workers": None}
    assert ranking(trials) == {"lanes": 1.0, "batch": 0.0}


def test_a_conditional_tunable_counts_only_for_what_it_varies() -> None:
    """All variation is between the modes; workers within one of them explain none of it."""
    inline = [ScoredTrial({"mode": "inline"}, 10.0 + 0.01 * k) for k in range(6)]
    pipelined = [ScoredTrial({"mode": "pipelined", "workers": 1 + k % 2}, 5.0 + 0.01 * (k % 2)) for k in range(6)]
    shares = by_name(importance([*inline, *pipelined], TUNABLES))
    assert shares["mode"] == pytest.approx(1, abs=0.01)
    assert shares["workers"] == pytest.approx(0, abs=0.01)


def test_trials_that_broke_are_named_by_what_they_share_and_change_no_share() -> None:
    measured = random_trials(np.random.default_rng(1), 30, lanes_effect=0.1, noise=0.02)
    broken = [{**one.params, "lanes": 64} for one in measured[:3]]
    without, found = importance(measured, TUNABLES), importance(measured, TUNABLES, broken)
    assert found.tunables == without.tunables
    assert found.words == without.words + (
        " 3 that broke are not counted; all of them, and none that could be measured, had Lanes 64."
    )
    assert importance(measured, TUNABLES, broken[:1]).words == without.words + " 1 that broke is not counted."


def test_a_race_that_stops_losers_early_makes_no_tunable_clear_where_none_matters() -> None:
    """Means of few blocks are noisier, and low by selection; both hit all values of a tunable alike."""
    rng = np.random.default_rng(8)
    clear = 0
    for _ in range(400):
        best, raced = -9.0, []
        for one in random_trials(rng, 30, lanes_effect=0.0, noise=0.0):
            blocks = [rng.normal(0, 0.1)]
            while len(blocks) < 4 and np.mean(blocks) > best - 0.05:
                blocks.append(rng.normal(0, 0.1))
            best = max(best, float(np.mean(blocks)))
            raced.append(ScoredTrial(one.params, math.exp(float(np.mean(blocks)))))
        clear += any(tunable.certainty == "clear" for tunable in importance(raced, TUNABLES).tunables)
    assert clear <= 0.05 * 400 + 3 * (0.05 * 0.95 * 400) ** 0.5
