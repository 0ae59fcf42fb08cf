"""How far a study is, and how many blocks it is likely to take yet by how it has gone so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Literal

from tuner.ablation import MAX_STEPS
from tuner.history import History, Phase, ProcedureSettings
from tuner.outcomes import Failed

_LIKELY_SHARE = 0.5
"""Of the most that a race may take, before anything is known of it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a study is."""

    phase: Phase | Literal["done"]
    trials_done: int
    trials_total: int
    blocks_done: int
    blocks_remaining: int
    remaining_s: float | None  # None before the first block is over
    best_trial_number: int | None
    best_ratio: float | None  # median score of the best trial so far over the baseline's; not a result


@dataclass(frozen=True)
class Remaining:
    """Blocks that are still expected. Exact where the number is fixed: without racing, and for the verdict."""

    settings: ProcedureSettings
    history: History
    search_is_over: bool
    path_steps: int | None
    """Steps of the ablation path; None: not known before the verdict."""

    @property
    def blocks(self) -> int:
        """Of all phases."""
        return ceil(self._baseline + self._trials) + ceil(self._playoff) + self._verdict + ceil(self._explain)

    def _settled(self, *phases: Phase) -> int:
        return sum(block.phase in phases and not isinstance(block.outcome, Failed) for block in self.history.blocks)

    def _has_begun(self, *phases: Phase) -> bool:
        return any(block.phase in phases for block in self.history.blocks)

    @property
    def _baseline(self) -> int:
        if self.search_is_over:
            return 0
        settings = self.settings
        before = len(self.history.of(None, "baseline"))
        # The last baseline block of the search falls due with the last trial, when the search is over.
        between = (settings.trials - 1) // settings.baseline_every - len(self.history.of(None, "search"))
        return max(0, settings.baseline_blocks - before) + max(0, between)

    @property
    def _trials(self) -> float:
        """At as many blocks each as those so far got, infeasible ones among them."""
        spent = [len(self.history.of(trial.number, "search")) for trial in self.history.trials if trial.told]
        likely = (1 + self.settings.repeats) / 2 if self.settings.racing else float(self.settings.repeats)
        each = fmean([likely, *spent]) if self.settings.racing or not spent else fmean(spent)
        running = [len(self.history.of(trial.number, "search")) for trial in self.history.trials if not trial.told]
        coming = 0 if self.search_is_over else self.settings.trials - len(self.history.trials)
        return coming * each + sum(max(0.0, each - blocks) for blocks in running)

    @property
    def _playoff(self) -> float:
        settings = self.settings
        if settings.finalists < 2 or self._has_begun("verdict", "explain"):
            return 0.0
        most = settings.playoff_rounds * (settings.finalists + 1) - self._settled("playoff")
        return max(0, most) * (_LIKELY_SHARE if settings.racing else 1.0)

    @property
    def _verdict(self) -> int:
        return 0 if self._has_begun("explain") else max(0, 2 * self.settings.verdict_rounds - self._settled("verdict"))

    @property
    def _explain(self) -> float:
        if self.path_steps is None:
            return self.settings.explain_rounds * (MAX_STEPS + 1) * _LIKELY_SHARE
        if self.path_steps < 2:
            return 0.0  # the verdict itself says it all
        return max(0, self.settings.explain_rounds * (self.path_steps + 1) - self._settled("explain"))
