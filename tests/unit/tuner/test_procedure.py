from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_loop import WORKLOADS, Measure, Outcome, Study, host_space, measured, simulated

from tuner.candidate import Candidate
from tuner.constraints import Constraint
from tuner.history import History, ProcedureSettings
from tuner.model import GatewayModel
from tuner.outcomes import Failed, Infeasible
from tuner.procedure import Procedure
from tuner.search import StudySearch
from tuner.simulation import Noise, Simulation
from tuner.space import SearchSpace
from tuner.steps import AskTrial, Finish, MeasureBlock, TellTrial
from tuner.topology import Topology
from tuner.tunables import Narrowing

HOST = Topology.uniform(cores_per_node=2)
SPACE = host_space(HOST, shared=True)
MODEL = GatewayModel({"a": HOST, "b": HOST}, shared_machine=True)


def study(
    path: Path,
    measure: Measure | None = None,
    *,
    space: SearchSpace = SPACE,
    noise: Noise | None = None,
    **given: object,
) -> Study:
    """A study on the two-core machine, measured by the model unless told otherwise."""
    plan = ProcedureSettings.model_validate({"trials": 8, "verdict_rounds": 4, "seed": 3} | given)
    procedure = Procedure(plan, space.baseline())
    search = StudySearch.open(path / "study", "s", space, procedure.objective, seed=plan.seed)
    return Study(procedure, search, measure or simulated(Simulation(MODEL, noise, plan.seed), procedure))


def by_lanes(candidate: Candidate, _: MeasureBlock) -> Outcome:
    return measured(5.0 * candidate.lanes)


def test_a_study_goes_through_its_phases_and_finds_the_gain(tmp_path: Path) -> None:
    one = study(tmp_path)
    finish = one.run()
    assert finish.reason == "complete"
    phases = [block.phase for block in one.history.blocks]
    assert phases == sorted(phases, key=("baseline", "search", "playoff", "verdict", "explain").index)
    counts = Counter(phases)
    assert counts["baseline"] == 3
    assert 8 + 1 <= counts["search"] < 8 * 4 + 1, "the baseline once after five trials, and losers get fewer blocks"
    assert counts["playoff"] <= 12 * 6
    assert counts["verdict"] == 2 * 4
    path = one.procedure.path(one.history)
    assert counts["explain"] == (4 * (len(path) + 1) if len(path) > 1 else 0), "four rounds of the path"
    assert all(trial.told for trial in one.history.trials)
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    assert verdict.conclusion == "better"
    truth = [MODEL.predict(c, w).throughput_gbps for c in (verdict.best, verdict.baseline) for w in WORKLOADS]
    assert verdict.gain_low < truth[0] / truth[1] < verdict.gain_high
    assert verdict.simulated
    assert verdict.rounds == 4
    assert {metric.metric for metric in verdict.metrics} == {"throughput_gbps", "gbit_per_cpu_s"}
    assert "4 interleaved rounds" in verdict.words


def test_rounds_measure_every_arm_once_in_an_order_that_varies(tmp_path: Path) -> None:
    one = study(tmp_path, playoff_rounds=6, verdict_rounds=6, racing=False)
    one.run()
    for phase, arms in (("playoff", 6), ("verdict", 2)):
        rounds: dict[int, list[int | None]] = {}
        for block in one.history.blocks:
            if block.phase == phase:
                rounds.setdefault(block.index, []).append(block.trial_number)
        assert len(rounds) == 6
        assert all(len(set(order)) == len(order) == arms and None in order for order in rounds.values())
        assert len({tuple(order) for order in rounds.values()}) > 1


def test_the_verdict_rests_on_its_own_rounds_only(tmp_path: Path) -> None:
    """A candidate that was lucky until the verdict is reported as what it is then."""

    def lucky(candidate: Candidate, step: MeasureBlock) -> Outcome:
        return measured(5.0 if step.trial_number is None or step.phase == "verdict" else 9.0)

    one = study(tmp_path, lucky)
    one.run()
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    assert verdict.gain == pytest.approx(1.0)
    assert verdict.conclusion == "no_significant_difference"
    assert "no significant difference" in verdict.words


def test_the_same_history_gives_the_same_step(tmp_path: Path) -> None:
    """The property that lets a durable workflow replay."""
    one = study(tmp_path)
    one.run()
    history, replayed = History(), []
    for step in one.steps:
        replayed.append(one.procedure.next_step(history, one.block_s * len(history.blocks)))
        assert replayed[-1] == one.procedure.next_step(history, one.block_s * len(history.blocks))
        history = _advance(history, step, one.history)
    assert replayed == one.steps


def _advance(history: History, step: object, full: History) -> History:
    match step:
        case AskTrial():
            new = full.trials[len(history.trials)].model_copy(update={"told": False})
            return history.model_copy(update={"trials": (*history.trials, new)})
        case MeasureBlock():
            return history.model_copy(update={"blocks": full.blocks[: len(history.blocks) + 1]})
        case TellTrial(number=number):
            told = [t.model_copy(update={"told": t.told or t.number == number}) for t in history.trials]
            return history.model_copy(update={"trials": tuple(told)})
    return history


def test_a_crash_between_ask_and_record_loses_nothing(tmp_path: Path) -> None:
    one = study(tmp_path, by_lanes)
    for step in one:
        if isinstance(step, AskTrial) and len(one.history.trials) == 3:
            break
    one.search.ask()  # asked, and then the process died before it was recorded
    one.search.close()
    two = study(tmp_path, by_lanes)
    two.history = one.history
    two.search.abandon_stale(keep=[trial.number for trial in one.history.trials])
    assert two.run().reason == "complete"
    assert len(two.history.trials) == 8
    assert len({trial.candidate.key for trial in two.history.trials}) == 8


def test_of_candidates_that_are_as_good_the_one_with_fewest_changes_wins(tmp_path: Path) -> None:
    """Only lanes matter: whatever else a winner changed would have no reason."""
    one = study(tmp_path, by_lanes)
    one.run()
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    trials = one.history.trials
    known = [trial for trial in trials if one.history.measured(trial.number, "playoff")] or trials
    as_good = [trial.candidate for trial in known if trial.candidate.lanes == verdict.best.lanes]
    changes = [candidate.changes_from(verdict.baseline) for candidate in as_good]
    assert verdict.best.lanes == max(trial.candidate.lanes for trial in known)
    assert verdict.best.changes_from(verdict.baseline) == min(changes)
    assert max(changes) > min(changes), "else the test says nothing"


def test_infeasible_candidates_are_told_at_once_and_never_win(tmp_path: Path) -> None:
    def inline_breaks(candidate: Candidate, _: MeasureBlock) -> Outcome:
        return Infeasible(reason="died") if candidate.mode == "inline" else measured(1.0 + candidate.lanes)

    one = study(tmp_path, inline_breaks, trials=12)
    assert one.run().reason == "complete"
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    assert verdict.best.mode != "inline"
    broken = [trial for trial in one.history.trials if trial.candidate.mode == "inline"]
    assert broken
    assert all(len(one.history.of(trial.number, "search")) == 1 for trial in broken)


def test_faults_of_the_lab_are_retried_and_not_scored(tmp_path: Path) -> None:
    rng = random.Random(4)

    def flaky(candidate: Candidate, step: MeasureBlock) -> Outcome:
        return Failed(reason="cable") if rng.random() < 0.3 else by_lanes(candidate, step)

    one = study(tmp_path, flaky)
    assert one.run().reason == "complete"
    retries = [step for step in one.steps if isinstance(step, MeasureBlock) and step.attempt > 1]
    assert retries
    assert one.procedure.verdict(one.history) is not None


def test_a_broken_lab_ends_the_study_and_a_resumed_one_forgives(tmp_path: Path) -> None:
    broken = False

    def lab(candidate: Candidate, step: MeasureBlock) -> Outcome:
        return Failed(reason="no cable") if broken else by_lanes(candidate, step)

    one = study(tmp_path, lab)
    for _ in one:
        if len(one.history.blocks) == 6:
            break
    broken = True
    finish = one.run()
    assert finish.reason == "lab_failing"
    assert "no cable" in finish.message
    broken = False
    assert one.run().reason == "lab_failing", "it stays so until the user resumes"
    one.history = one.history.model_copy(update={"forgiven_blocks": len(one.history.blocks)})
    assert one.run().reason == "complete"


def test_an_unusable_baseline_ends_the_study(tmp_path: Path) -> None:
    finish = study(tmp_path, lambda *_: Infeasible(reason="no route")).run()
    assert finish == Finish("baseline_unusable", "the baseline could not be measured: no route")


def test_nothing_feasible(tmp_path: Path) -> None:
    def only_baseline(_: Candidate, step: MeasureBlock) -> Outcome:
        return measured(1.0) if step.trial_number is None else Infeasible(reason="died")

    one = study(tmp_path, only_baseline)
    assert one.run().reason == "nothing_feasible"
    assert one.procedure.verdict(one.history) is None


def test_limits_that_nothing_keeps_to_are_said_with_the_nearest_candidate(tmp_path: Path) -> None:
    within = Constraint(metric="throughput_gbps", at_least=100)
    one = study(tmp_path, by_lanes, constraints=(within,))
    finish = one.run()
    assert finish.reason == "limits_unmet"
    assert "violates Throughput at least 100 Gbit/s: " in finish.message
    nearest = 5 * max(trial.candidate.lanes for trial in one.history.trials)
    assert finish.message.endswith(f": {nearest}")


def test_a_winner_that_breaks_in_the_verdict_is_replaced_and_rounds_are_fresh(tmp_path: Path) -> None:
    one = study(tmp_path, by_lanes)
    winner: list[int] = []

    def breaks_late(candidate: Candidate, step: MeasureBlock) -> Outcome:
        if step.phase == "verdict" and step.trial_number is not None and step.index == 1:
            winner.append(step.trial_number)
            return Infeasible(reason="died")
        return by_lanes(candidate, step)

    one.measure = breaks_late
    assert one.run().reason == "complete"
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    assert winner[0] != verdict.best_trial_number
    assert verdict.rounds == 4
    best = {b.index for b in one.history.of(verdict.best_trial_number, "verdict")}
    assert min(best) == 2


def test_a_search_that_offers_only_the_baseline_is_an_a_a_study(tmp_path: Path) -> None:
    fixed = Narrowing.model_validate(
        {
            "engine": "wireguard-go",
            "lanes": 1,
            "mtu": 1420,
            "placement": "unpinned",
            "baseline": {"engine": "wireguard-go", "mode": None},
        }
    )
    space = host_space(HOST, shared=True, narrowing=fixed)
    conclusions = []
    for seed in range(25):
        path = tmp_path / str(seed)
        path.mkdir()
        one = study(path, space=space, noise=Noise(spread=0.1), seed=seed)
        assert one.run().reason == "complete"
        one.search.close()
        verdict = one.procedure.verdict(one.history)
        assert verdict is not None
        assert verdict.best == verdict.baseline
        conclusions.append(verdict.conclusion)
    assert conclusions.count("no_significant_difference") >= 20, "95% of 25; fewer than 20 has odds of 1 to 800"


def test_the_time_budget_leaves_room_for_confirming(tmp_path: Path) -> None:
    one = study(tmp_path, trials=1000, time_budget_s=300, noise=Noise())
    assert one.run().reason == "complete"
    assert 2 < len(one.history.trials) < 30
    assert one.procedure.verdict(one.history) is not None
    # What is kept for playoff and confirming is the most they can take; a playoff that is clear at once leaves some.
    assert 200 <= one.elapsed_s <= 310


def test_progress_counts_down_to_nothing(tmp_path: Path) -> None:
    one = study(tmp_path, explain_rounds=0)
    assert one.procedure.progress(one.history, 0).remaining_s is None
    totals = []
    for _ in one:
        progress = one.procedure.progress(one.history, one.elapsed_s)
        totals.append(progress.blocks_done + progress.blocks_remaining)
        assert progress.trials_total == 8
    assert totals[-1] == progress.blocks_done
    most = 3 + 1 + 8 * 4 + 12 * 6 + 2 * 8
    assert max(totals) < 0.7 * most, "the most that the races may take was never likely"
    end = one.procedure.progress(one.history, one.elapsed_s)
    assert (end.phase, end.trials_done, end.blocks_done) == ("done", 8, len(one.history.blocks))
    assert end.best_ratio is not None
    assert end.best_ratio > 1


def test_progress_is_exact_where_nothing_is_a_race(tmp_path: Path) -> None:
    one = study(tmp_path, explain_rounds=0, racing=False, trials=6)
    totals = set()
    for _ in one:
        progress = one.procedure.progress(one.history, one.elapsed_s)
        totals.add(progress.blocks_done + progress.blocks_remaining)
    assert totals == {len(one.history.blocks)}


def test_pareto_studies_compare_the_mean_of_both_metrics(tmp_path: Path) -> None:
    one = study(tmp_path, objective="pareto", trials=10)
    assert one.run().reason == "complete"
    verdict = one.procedure.verdict(one.history)
    assert verdict is not None
    assert verdict.decided_on == "Throughput and efficiency"
    gains = {metric.metric: metric.gain for metric in verdict.metrics}
    assert verdict.gain == pytest.approx((gains["throughput_gbps"] * gains["gbit_per_cpu_s"]) ** 0.5)


def test_drift_of_the_baseline_is_reported(tmp_path: Path) -> None:
    one = study(tmp_path, noise=Noise(spread=0.01, drift_per_hour=-0.5), trials=40)
    one.run()
    drift = one.procedure.drift_percent_per_hour(one.history)
    assert drift is not None
    assert -70 < drift < -30


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.floats(0, 0.6), st.floats(0, 0.6), st.integers(1, 3), st.integers(1, 4))
def test_every_study_ends(
    tmp_path_factory: pytest.TempPathFactory, seed: int, fails: float, breaks: float, repeats: int, finalists: int
) -> None:
    rng = random.Random(seed)

    def unlucky(candidate: Candidate, step: MeasureBlock) -> Outcome:
        luck = rng.random()
        if luck < fails:
            return Failed(reason="lab")
        return Infeasible(reason="died") if luck < fails + breaks else by_lanes(candidate, step)

    path = tmp_path_factory.mktemp("study")
    one = study(path, unlucky, repeats=repeats, finalists=finalists, trials=5, verdict_rounds=3)
    finish = one.run()
    one.search.close()
    assert isinstance(one.procedure.next_step(one.history, one.elapsed_s), Finish)
    assert finish.reason in ("complete", "baseline_unusable", "lab_failing", "nothing_feasible")
    assert one.procedure.progress(one.history, one.elapsed_s).phase == "done"


def test_the_ablation_path_is_measured_in_rounds_and_adds_up(tmp_path: Path) -> None:
    one = study(tmp_path, explain_rounds=5, verdict_rounds=5)
    assert one.run().reason == "complete"
    verdict = one.procedure.verdict(one.history)
    found = one.procedure.ablation(one.history, finished=True)
    assert verdict is not None
    assert found is not None
    assert found.state == "complete"
    assert found.rounds == 5
    assert found.steps[-1].candidate == verdict.best
    assert len(found.steps) > 1
    for before, step in zip([verdict.baseline, *(step.candidate for step in found.steps)], found.steps, strict=False):
        truth = [MODEL.predict(candidate, WORKLOADS[0]).throughput_gbps for candidate in (before, step.candidate)]
        assert step.gain is not None
        assert step.gain.gain_low * 0.95 < truth[1] / truth[0] < step.gain.gain_high * 1.05
    product = math.prod(step.gain.gain for step in found.steps if step.gain)
    assert found.steps[-1].total is not None
    assert product == pytest.approx(found.steps[-1].total.gain)
    rounds = Counter(block.index for block in one.history.blocks if block.phase == "explain")
    assert set(rounds.values()) == {len(found.steps) + 1}


def test_a_candidate_of_the_path_that_breaks_is_left_out_of_it(tmp_path: Path) -> None:
    def breaks_between(candidate: Candidate, step: MeasureBlock) -> Outcome:
        if step.ablation_key is not None and step.ablation_key == broken.get("key", step.ablation_key):
            broken["key"] = step.ablation_key
            return Infeasible(reason="the middle of the path does not run")
        return measured(5.0 * candidate.lanes + (1 if candidate.mode == "inline" else 0))

    broken: dict[str, str] = {}
    one = study(tmp_path, breaks_between, explain_rounds=3)
    assert one.run().reason == "complete"
    found = one.procedure.ablation(one.history, finished=True)
    assert found is not None
    assert [step.detail for step in found.steps if step.candidate.key == broken["key"]] == [
        "the middle of the path does not run"
    ]
    assert sum(block.ablation_key == broken["key"] for block in one.history.blocks) == 1, "not measured again"
    worked = [step.gain.gain for step in found.steps if step.gain]
    assert found.steps[-1].total is not None
    assert math.prod(worked) == pytest.approx(found.steps[-1].total.gain)


def test_nothing_is_explained_where_nothing_was_gained(tmp_path: Path) -> None:
    one = study(tmp_path, lambda *_: measured(5.0))
    one.run()
    assert not any(block.phase == "explain" for block in one.history.blocks)
    found = one.procedure.ablation(one.history, finished=True)
    assert found is not None
    assert found.state == "skipped"


def test_a_lab_that_fails_while_explaining_does_not_take_the_verdict_away(tmp_path: Path) -> None:
    def fails_late(candidate: Candidate, step: MeasureBlock) -> Outcome:
        faster = measured(5.0 * candidate.lanes + (1 if candidate.mode == "inline" else 0))
        return Failed(reason="unplugged") if step.phase == "explain" else faster

    one = study(tmp_path, fails_late)
    finish = one.run()
    assert finish.reason == "complete"
    assert "unplugged" in finish.message
    assert one.procedure.verdict(one.history) is not None
