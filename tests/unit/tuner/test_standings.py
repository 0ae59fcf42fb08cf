from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from study_loop import Outcome, Study, host_space, measured

from tuner.candidate import Candidate
from tuner.drift import Trend, noise_sd
from tuner.history import BlockRecord, History, ProcedureSettings, TrialRecord
from tuner.procedure import Procedure
from tuner.search import StudySearch
from tuner.standings import Standings
from tuner.steps import MeasureBlock
from tuner.surrogate import Surrogate
from tuner.topology import Topology

SPACE = host_space(Topology.uniform(cores_per_node=4), shared=True)


def run(path: Path, noise: float, **given: object) -> Study:
    rng = random.Random(3)

    def lanes_and_luck(candidate: Candidate, _: MeasureBlock) -> Outcome:
        return measured(5.0 * candidate.lanes * math.exp(rng.gauss(0, noise)))

    plan = ProcedureSettings.model_validate({"trials": 12, "verdict_rounds": 3, "explain_rounds": 0} | given)
    procedure = Procedure(plan, SPACE.baseline())
    with StudySearch.open(path / "study", "s", SPACE, procedure.objective, seed=1) as search:
        one = Study(procedure, search, lanes_and_luck)
        assert one.run().reason == "complete"
    return one


def test_losers_are_stopped_early_and_contenders_measured_on(tmp_path: Path) -> None:
    one = run(tmp_path, 0.05)
    standings = one.procedure.standings(one.history)
    losers = [s for s in standings if one.history.trials_by_number[s.number].candidate.lanes == 1]
    assert losers
    assert all(s.race == "stopped" and s.blocks == 1 and "could not win" in s.reason for s in losers)
    leader = max(standings, key=lambda s: s.chance or 0)
    assert (leader.race, leader.blocks) == ("finished", 4)
    for standing in standings:
        assert standing.gain_low is not None
        assert standing.gain is not None
        assert standing.gain_high is not None
        assert standing.gain_low < standing.gain < standing.gain_high


def test_without_racing_every_trial_gets_as_many_blocks(tmp_path: Path) -> None:
    one = run(tmp_path, 0.05, racing=False, repeats=3)
    assert {len(one.history.of(trial.number, "search")) for trial in one.history.trials} == {3}


def test_the_noise_of_blocks_is_found_despite_disturbed_ones() -> None:
    rng = np.random.default_rng(1)
    groups = [list(rng.normal(0, 0.05, 3)) for _ in range(40)]
    for group in groups[::8]:
        group[0] -= 0.5
    found, freedom = noise_sd(groups, (), 0.2, 1.0)
    assert found == pytest.approx(0.05, rel=0.35)
    assert freedom == pytest.approx(1 + 40 * 2 * 2 / 3)  # the two steps of three blocks share one


def test_noise_is_found_where_nothing_was_repeated_since_the_baseline_was_measured_now_and_then() -> None:
    rng = np.random.default_rng(4)
    drifting = [list(np.linspace(0, 0.3, 11) + rng.normal(0, 0.2, 11)) for _ in range(200)]
    found = [noise_sd([], series, 0.05, 1.0)[0] for series in drifting]
    assert np.median(found) == pytest.approx(0.2, rel=0.15)
    assert np.quantile(found, 0.05) > 0.1


def test_a_wave_of_the_baseline_is_followed_and_noise_is_not() -> None:
    rng = np.random.default_rng(2)
    times = np.arange(0.0, 600.0, 25.0)
    wave = 0.15 * np.sin(2 * np.pi * times / 600)
    trend = Trend(times, wave + rng.normal(0, 0.02, times.size), 0.02)
    assert np.abs(trend.at(times) - wave).max() < 0.06
    still = Trend(times, rng.normal(0, 0.05, times.size), 0.05)
    assert np.ptp(still.at(times)) == 0


def test_a_disturbed_block_of_the_baseline_makes_no_trend_and_bends_none() -> None:
    rng = np.random.default_rng(8)
    times = np.arange(0.0, 600.0, 40.0)
    for _ in range(20):
        disturbed = rng.normal(0, 0.03, times.size)
        disturbed[rng.integers(times.size)] -= 0.5
        assert np.abs(Trend(times, disturbed, 0.03).at(times)).max() < 0.05
        wave = 0.15 * np.sin(2 * np.pi * times / 600)
        found = Trend(times, wave + disturbed, 0.03).at(times)
        assert np.sqrt(np.mean((found - wave) ** 2)) < 0.06


@pytest.mark.parametrize(
    ("blocks", "expected_gain", "decided"),
    [
        ([1.2], 0.08, False),  # the leader's throughput, disturbed
        ([1.2], 0.01, True),  # not worth a second look
        ([0.8], 0.08, True),  # no disturbance takes so much
        ([1.2, 1.2], 0.08, True),
        ([2.0, 1.2], 0.01, False),  # which of them was disturbed?
        ([2.0, 1.2, 1.2], 0.01, True),
    ],
)
def test_a_block_that_may_have_been_disturbed_dismisses_no_candidate(
    blocks: list[float], expected_gain: float, decided: bool
) -> None:
    leader, rival = SPACE.expert_candidates()[:2]
    trials = (
        TrialRecord(number=0, candidate=leader, told=True),
        TrialRecord(number=1, candidate=rival, expected_gain=expected_gain),
    )
    scores = [
        (None, 1.0),
        (None, 1.01),
        (None, 0.99),
        (0, 2.02),
        (0, 1.98),
        (0, 2.0),
        *((1, score) for score in blocks),
    ]
    records = tuple(
        BlockRecord(
            phase="baseline" if number is None else "search",
            trial_number=number,
            index=index,
            outcome=measured(score),
            started_s=5.0 * index,
            duration_s=5.0,
        )
        for index, (number, score) in enumerate(scores)
    )
    standings = Standings(ProcedureSettings(), History(trials=trials, blocks=records))
    assert standings.is_decided(1) == decided


@pytest.mark.parametrize("choices", [(False, True), (0, 50, 100), ("as it is", 300, 600), ("as it is", 0), ("", "0-1")])
def test_the_surrogate_takes_any_value_of_a_host_setting(choices: tuple[object, ...]) -> None:
    for known in (choices, choices[:1], choices[1:]):
        points = [{"lanes": 1 + number % 2, "host": choice} for number, choice in enumerate(known * 4)]
        merits = [0.5 if point["host"] == choices[-1] else 0.0 for point in points]
        mean, sd = Surrogate(points, merits, [0.01] * len(points)).predict(
            [{"lanes": 1, "host": one} for one in choices]
        )
        assert np.isfinite(mean).all() and (sd > 0).all()
        if known == choices:
            assert mean.argmax() == len(choices) - 1 and mean[-1] > mean[0] + 0.2


def test_the_surrogate_learns_what_matters_from_few_noisy_candidates() -> None:
    rng = random.Random(5)
    points = [{"lanes": rng.choice([1, 2, 4, 8]), "mode": rng.choice("ab"), "mtu": 1420} for _ in range(25)]

    def truth(point: dict[str, object]) -> float:
        return 0.3 * math.log2(float(str(point["lanes"]))) + (0.5 if point["mode"] == "a" else 0.0)

    noisy = [truth(point) + rng.gauss(0, 0.15) for point in points]
    surrogate = Surrogate(points, noisy, [0.15**2] * len(points))
    every = [{"lanes": lanes, "mode": mode, "mtu": 1420} for lanes in (1, 2, 4, 8) for mode in "ab"]
    mean, sd = surrogate.predict(every)
    assert np.abs(mean - [truth(point) for point in every]).max() < 0.25
    assert (sd > 0).all()
    posterior, _ = surrogate.measured()
    assert np.std(posterior - [truth(p) for p in points]) < np.std(np.subtract(noisy, [truth(p) for p in points]))
