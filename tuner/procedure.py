"""What a study does next: a pure, deterministic state machine over its history. The caller is a dumb loop:

    while True:
        step = procedure.next_step(history, elapsed_s)
        match step:
            case AskTrial():      search.ask(), append a TrialRecord (or set space_exhausted when it returned None)
            case MeasureBlock():  apply, measure, append a BlockRecord with what came of it
            case TellTrial():     search.tell(step.number, step.outcome), mark the TrialRecord told
            case Finish():        break

Phases: baseline → search → playoff → verdict → explain. Each step may be repeated after a crash: the same history gives
the same step, telling twice is harmless, and `StudySearch.abandon_stale` gives up a trial that was asked but never
recorded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

from tuner.ablation import MAX_STEPS, Ablation, AblationState, PathStep, ablation, ablation_path, path_arms
from tuner.candidate import Candidate
from tuner.constraints import checks
from tuner.history import Arm, History, Phase, ProcedureSettings
from tuner.importance import ScoredTrial, ranking
from tuner.objectives import OBJECTIVES, BlockMetrics, Objective, median_metrics
from tuner.outcomes import Failed, Infeasible, Measured, none_is_within_limits
from tuner.playoff import Playoff
from tuner.progress import Progress, Remaining
from tuner.standings import Standing, Standings
from tuner.statistics import LEAST_PAIRS, Verdict, drift_percent_per_hour
from tuner.steps import AskTrial, Finish, MeasureBlock, Step, TellTrial
from tuner.tunables import Params
from tuner.verdict import compare

FAILED_BLOCKS_IN_A_ROW = 3
"""Blocks in a row of which the lab failed every attempt before the study gives up: the testbed is broken then, not the
candidates. A caller that resumes such a study forgives its faults: `History.forgiven_blocks`."""

_COMPARED = "the best candidate was compared with the baseline"
UNPROMISING_IN_A_ROW = 5
LEAST_TRIALS = 20
"""Trials in a row of which the search expected nothing, and trials at least, before it ends by itself."""


@dataclass(frozen=True)
class Procedure:
    """The plan of one study."""

    settings: ProcedureSettings
    baseline: Candidate
    _latest: dict[str, Standings] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _standings(self, history: History) -> Standings:
        """The race at this moment, worked out once for the several questions of one step and for all that follows the
        search."""
        latest = self._latest.get("")
        if latest is None or not latest.holds_for(history):
            latest = self._latest[""] = Standings(self.settings, history)
        return latest

    @property
    def objective(self) -> Objective:
        """What the study optimises."""
        return OBJECTIVES[self.settings.objective]

    # -- what next ------------------------------------------------------------------------------------------------

    def next_step(self, history: History, elapsed_s: float) -> Step:
        """The step that follows this history. `elapsed_s`: wall time since the study began; pass the same value when
        replaying."""
        if self._lab_is_failing(history):
            is_decided = history.blocks[-1].phase == "explain"
            return Finish(
                "complete" if is_decided else "lab_failing", f"the lab keeps failing: {history.last_reason()}"
            )
        block = self._baseline_block(history, "baseline", self.settings.baseline_blocks)
        if block is not None:
            return block
        if not history.measured(None, "baseline"):
            return Finish("baseline_unusable", f"the baseline could not be measured: {history.last_reason()}")
        open_trial = next((trial for trial in history.trials if not trial.told), None)
        if open_trial is not None:
            return self._continue_trial(open_trial.number, history, elapsed_s)
        if not self._search_is_over(history, elapsed_s):
            return self._interleaved_baseline(history) or AskTrial()
        return self._confirm(history, elapsed_s)

    def _baseline_block(self, history: History, phase: Phase, blocks: int) -> MeasureBlock | None:
        for index in range(blocks):
            step = self._block(history, phase, None, index)
            if step is not None:
                return step
        return None

    def _block(self, history: History, phase: Phase, arm: Arm, index: int) -> MeasureBlock | None:
        """The step that measures this block, or None when it is settled: measured, infeasible, or out of attempts."""
        attempts = [block for block in history.of(arm, phase) if block.index == index]
        if len(attempts) >= self.settings.attempts or any(not isinstance(b.outcome, Failed) for b in attempts):
            return None
        return MeasureBlock(phase, arm, self.candidate(arm, history), index, len(attempts) + 1)

    def candidate(self, arm: Arm, history: History) -> Candidate:
        """The candidate of an arm. Raises KeyError for a trial that was never asked, or a key that is on no path."""
        if isinstance(arm, str):
            return {step.candidate.key: step.candidate for step in self.path(history)}[arm]
        return self.baseline if arm is None else history.trials_by_number[arm].candidate

    def _continue_trial(self, number: int, history: History, elapsed_s: float) -> Step:
        for index in range(self.settings.repeats):
            step = self._block(history, "search", number, index)
            if step is None:
                continue
            if index > 0 and self._needs_no_block(number, history, elapsed_s):
                break
            return step
        outcome = history.trial_outcome(number, self.settings.constraints)
        estimate = self._standings(history).estimate(number)
        return TellTrial(number, outcome or Failed(reason="never measured"), estimate)

    def _needs_no_block(self, number: int, history: History, elapsed_s: float) -> bool:
        outcome = history.trial_outcome(number)
        if isinstance(outcome, Infeasible):
            return True
        if not isinstance(outcome, Measured):
            return False
        if self._out_of_search_time(history, elapsed_s):
            return True
        if not self.settings.racing:
            return False
        if isinstance(history.trial_outcome(number, self.settings.constraints), Infeasible):
            # A second block, since one that violates may have been disturbed.
            return len(history.measured(number, "search")) > 1
        return self._standings(history).is_decided(number)

    def _interleaved_baseline(self, history: History) -> MeasureBlock | None:
        due = len(history.trials) // self.settings.baseline_every
        return self._baseline_block(history, "search", due)

    # -- when to stop searching -----------------------------------------------------------------------------------

    def _search_is_over(self, history: History, elapsed_s: float) -> bool:
        if any(block.phase in ("playoff", "verdict", "explain") for block in history.blocks):
            return True
        if history.space_exhausted or len(history.trials) >= self.settings.trials:
            return True
        if self.settings.stop_when_unlikely and self._nothing_better_is_likely(history):
            return True
        return self._out_of_search_time(history, elapsed_s)

    def _out_of_search_time(self, history: History, elapsed_s: float) -> bool:
        """True when only the time that confirming needs is left of the budget."""
        if self.settings.time_budget_s is None:
            return False
        # Half of a short budget is for searching; the playoff then ends early.
        confirm_s = min(self._confirm_blocks() * _mean_duration_s(history), self.settings.time_budget_s / 2)
        return elapsed_s + confirm_s >= self.settings.time_budget_s

    def _nothing_better_is_likely(self, history: History) -> bool:
        """True when the search expected next to nothing of any further trial, several times in a row."""
        last = history.trials[-UNPROMISING_IN_A_ROW:]
        return len(history.trials) >= LEAST_TRIALS and all(
            trial.expected_gain is not None and trial.expected_gain < self.settings.least_gain / 2 for trial in last
        )

    def _confirm_blocks(self) -> int:
        playoff = self.settings.playoff_rounds * (self.settings.finalists + 1)
        if self.settings.racing:
            playoff = -(-playoff // 2)  # most races end early
        return playoff + self.settings.verdict_rounds * 2 + self._longest_explanation_blocks

    def _lab_is_failing(self, history: History) -> bool:
        last = history.counted[-FAILED_BLOCKS_IN_A_ROW * self.settings.attempts :]
        return len(last) == FAILED_BLOCKS_IN_A_ROW * self.settings.attempts and all(
            isinstance(block.outcome, Failed) for block in last
        )

    # -- confirming -----------------------------------------------------------------------------------------------

    def _confirm(self, history: History, elapsed_s: float) -> Step:
        contenders = self._contenders(history)
        if not self.finalists(history):
            outcomes = [history.trial_outcome(trial.number, self.settings.constraints) for trial in history.trials]
            if limits := none_is_within_limits(outcomes):
                return Finish("limits_unmet", limits)
            return Finish(
                "nothing_feasible", "no trial could be measured; there is nothing to compare the baseline with"
            )
        if len(contenders) > 1 and not any(block.phase == "verdict" for block in history.blocks):
            step = self._playoff_block(contenders, history)
            if step is not None and not self._out_of_playoff_time(step, history, elapsed_s):
                return step
        best = self.best(history)
        if best is None:
            return Finish("nothing_feasible", "every finalist broke when it was measured again")
        out_of_time = self.settings.time_budget_s is not None and elapsed_s >= self.settings.time_budget_s
        if not (out_of_time and len(_paired(history, best)) > LEAST_PAIRS):
            step = self._rounds(history, "verdict", (None, best), self.settings.verdict_rounds)
            if step is not None:
                return step
        explain = None if out_of_time else self._explain(history)
        return explain or Finish("complete", _COMPARED)

    def _out_of_playoff_time(self, step: MeasureBlock, history: History, elapsed_s: float) -> bool:
        """True when a round has been played and only the time that verdict and explanation need is left."""
        if self.settings.time_budget_s is None or step.index == 0:
            return False
        after = 2 * self.settings.verdict_rounds + self._longest_explanation_blocks
        return elapsed_s + after * _mean_duration_s(history) >= self.settings.time_budget_s

    def _playoff(self, contenders: Sequence[int], history: History) -> Playoff:
        seats = self.settings.finalists
        return Playoff(self._standings(history), history, tuple(contenders), seats, self.baseline)

    def _playoff_block(self, contenders: Sequence[int], history: History) -> MeasureBlock | None:
        """The next block of the playoff: rounds of the baseline, the leader and those that may well beat it."""
        playoff = self._playoff(contenders, history)
        # Rounds before the last one that was begun are over.
        for index in range(max(0, playoff.rounds - 1), self.settings.playoff_rounds):
            arms = playoff.arms(index) if self.settings.racing else tuple(contenders[: self.settings.finalists])
            if len(arms) < 2:
                return None
            step = self._round_block(history, "playoff", (None, *arms), index)
            if step is not None:
                return step
        return None

    def _rounds(self, history: History, phase: Phase, arms: Sequence[Arm], rounds: int) -> MeasureBlock | None:
        """The next block of a randomised complete block design: every arm once a round, in an order drawn by seed."""
        # Rounds that measured another arm, since broken, are not fresh for the one that takes its place.
        used = [b.index for b in history.blocks if b.phase == phase and b.arm not in arms]
        first = max(used, default=-1) + 1
        for index in range(first, first + rounds):
            step = self._round_block(history, phase, arms, index)
            if step is not None:
                return step
        return None

    def _round_block(self, history: History, phase: Phase, arms: Sequence[Arm], index: int) -> MeasureBlock | None:
        order = list(arms)
        random.Random(f"{self.settings.seed} {phase} {index}").shuffle(order)  # noqa: S311 (an order, not a secret)
        for arm in order:
            step = None if arm is not None and self._broke(history, arm) else self._block(history, phase, arm, index)
            if step is not None:
                return step
        return None

    def finalists(self, history: History) -> tuple[int, ...]:
        """Trial numbers of the best distinct candidates of the search, best first, by their posterior mean."""
        return self._ranked(history)[: self.settings.finalists]

    def _ranked(self, history: History) -> tuple[int, ...]:
        """Every distinct candidate of the search.

        The baseline is its own arm; a trial of the very same candidate is among them only when the search had nothing
        else to offer (an A/A study).
        """
        ranked: dict[str, int] = {}
        for number in self._standings(history).ranking:
            ranked.setdefault(history.trials_by_number[number].candidate.key, number)
        others = tuple(number for key, number in ranked.items() if key != self.baseline.key)
        return others or tuple(ranked.values())

    def _contenders(self, history: History) -> tuple[int, ...]:
        """Those that may be measured again, best first: all that did not break, or, with one finalist, that one."""
        ranked = self._ranked(history) if self.settings.finalists > 1 else self.finalists(history)
        return tuple(number for number in ranked if not self._broke(history, number))

    def best(self, history: History) -> int | None:
        """Trial number of the contender that is best by search and playoff together; None when each of them broke.

        Search and playoff are weighed by how much is known from each, and the search's luck is taken out of it before:
        see `Standings.posterior`.
        """
        contenders = self._contenders(history)
        if len(contenders) < 2:
            return contenders[0] if contenders else None
        return self._playoff(contenders, history).best

    def standings(self, history: History) -> tuple[Standing, ...]:
        """How every trial stands: its interval, its chance to win, and whether it was stopped; never a result."""
        return self._standings(history).standings()

    def _broke(self, history: History, arm: Arm) -> bool:
        """Whether a finalist broke when it was measured again, or violates a constraint by all its blocks."""
        phases: tuple[Phase, ...] = ("explain",) if isinstance(arm, str) else ("playoff", "verdict")
        if any(isinstance(block.outcome, Infeasible) for block in history.of(arm, *phases)):
            return True
        if not isinstance(arm, int):
            return False
        if not self.settings.constraints or not history.of(arm, "playoff"):
            return False
        # What the verdict's blocks say of a constraint is reported; it does not choose another winner.
        outcome = history.judged(arm, self.settings.constraints, "search", "playoff")
        return isinstance(outcome, Infeasible)

    # -- explaining -----------------------------------------------------------------------------------------------

    @property
    def _longest_explanation_blocks(self) -> int:
        return self.settings.explain_rounds * (MAX_STEPS + 1)

    def _explain(self, history: History) -> MeasureBlock | None:
        """The next block of the ablation path. A path of one step is the verdict's own comparison."""
        path = self.path(history)
        if len(path) < 2:
            return None
        arms = (None, *path_arms(path, self._winner(history)))
        return self._rounds(history, "explain", arms, self.settings.explain_rounds)

    def _winner(self, history: History) -> int:
        verdict = self.verdict(history)
        assert verdict is not None  # noqa: S101  there is a path
        return verdict.best_trial_number

    def path(self, history: History) -> tuple[PathStep, ...]:
        """The way from the baseline to the winner, known from the verdict on; empty where nothing is to be explained.
        The blocks of the search decide its order."""
        verdict = self.verdict(history)
        if verdict is None or verdict.conclusion == "no_significant_difference" or not self.settings.explain_rounds:
            return ()
        return ablation_path(verdict.baseline, verdict.best, ranking(self.scored_trials(history)))

    def scored_trials(self, history: History) -> tuple[ScoredTrial, ...]:
        """Parameters of every trial that the search measured, those that violate a constraint among them, and its gain
        over the baseline of that time."""
        standings = self._standings(history)
        scores = [
            (trial.params, standings.merit(trial.number))
            for trial in history.trials
            if trial.params and isinstance(history.trial_outcome(trial.number), Measured)
        ]
        return tuple(ScoredTrial(params, math.exp(merit)) for params, merit in scores if merit is not None)

    def broken_trials(self, history: History) -> tuple[Params, ...]:
        """Parameters of the trials that broke: they have no score."""
        broke = (trial for trial in history.trials if isinstance(history.trial_outcome(trial.number), Infeasible))
        return tuple(trial.params for trial in broke if trial.params)

    def ablation(self, history: History, *, finished: bool) -> Ablation | None:
        """The ablation path as far as it is measured; None before the verdict."""
        if not history.trials or self.verdict(history) is None:
            return None
        path = self.path(history)
        if not path:
            return ablation((), self.baseline, 0, history=history, objective=self.objective, state="skipped")
        state: AblationState = "complete" if finished else "measuring"
        winner = self._winner(history)
        return ablation(path, self.baseline, winner, history=history, objective=self.objective, state=state)

    # -- what to report -------------------------------------------------------------------------------------------

    def verdict(self, history: History) -> Verdict | None:
        """The comparison of the best candidate with the baseline, from the verdict rounds only; None while there are
        fewer than LEAST_PAIRS rounds in which both were measured."""
        best = self.best(history) if history.trials else None
        pairs = [] if best is None else _paired(history, best)
        if best is None or len(pairs) < LEAST_PAIRS:
            return None
        return compare(
            self.objective,
            self.baseline,
            history.trials_by_number[best],
            pairs,
            constraints=checks(
                self.settings.constraints,
                median_metrics([other for _, other in pairs]),
                median_metrics([base for base, _ in pairs]),
            ),
            drift_percent_per_hour=self.drift_percent_per_hour(history),
        )

    def drift_percent_per_hour(self, history: History) -> float | None:
        """Trend of the baseline's blocks over the whole study; None while there are too few of them."""
        blocks = [
            (block.started_s, self.objective.score(block.outcome.metrics))
            for block in history.of(None, "baseline", "search", "playoff", "verdict", "explain")
            if isinstance(block.outcome, Measured)
        ]
        return drift_percent_per_hour([start for start, _ in blocks], [score for _, score in blocks])

    def progress(self, history: History, elapsed_s: float) -> Progress:
        """How far the study is and how long it will take, judged by the blocks so far."""
        step = self.next_step(history, elapsed_s)
        remaining = 0 if isinstance(step, Finish) else self._blocks_remaining(history, elapsed_s)
        mean_s = _mean_duration_s(history)
        remaining_s = remaining * mean_s if history.blocks else None
        if remaining_s is not None and self.settings.time_budget_s is not None:
            remaining_s = min(remaining_s, max(0.0, self.settings.time_budget_s - elapsed_s))
        leaders = self.finalists(history)
        return Progress(
            phase=self._phase(step, history),
            trials_done=sum(trial.told for trial in history.trials),
            trials_total=self.settings.trials,
            blocks_done=len(history.blocks),
            blocks_remaining=remaining,
            remaining_s=remaining_s,
            best_trial_number=leaders[0] if leaders else None,
            best_ratio=self.search_ratio(leaders[0], history) if leaders else None,
        )

    def search_ratio(self, trial_number: int, history: History) -> float | None:
        """Median score of a trial's search blocks over that of the baseline's; for charts, never a result."""
        trial = [self.objective.score(m.metrics) for m in history.measured(trial_number, "search")]
        base = [self.objective.score(m.metrics) for m in history.measured(None, "baseline", "search")]
        return median(trial) / median(base) if trial and base else None

    @staticmethod
    def _phase(step: Step, history: History) -> Phase | Literal["done"]:
        if isinstance(step, Finish):
            return "done"
        return step.phase if isinstance(step, MeasureBlock) else "search"

    def _blocks_remaining(self, history: History, elapsed_s: float) -> int:
        path_steps = len(self.path(history)) if self.verdict(history) is not None else None
        return Remaining(self.settings, history, self._search_is_over(history, elapsed_s), path_steps).blocks


def _paired(history: History, best: int) -> list[tuple[BlockMetrics, BlockMetrics]]:
    """Metrics of baseline and best in each verdict round that measured both, in order of the rounds."""
    by_arm: dict[Arm, dict[int, BlockMetrics]] = {None: {}, best: {}}
    for block in history.blocks:
        if block.phase == "verdict" and block.arm in by_arm and isinstance(block.outcome, Measured):
            by_arm[block.arm][block.index] = block.outcome.metrics
    return [(by_arm[None][index], by_arm[best][index]) for index in sorted(by_arm[None].keys() & by_arm[best].keys())]


def _mean_duration_s(history: History) -> float:
    return fmean(block.duration_s for block in history.blocks) if history.blocks else 0.0
