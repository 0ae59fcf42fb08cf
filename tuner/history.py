"""What a study has done so far: the record that `app` keeps and from which every decision of the tuner follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import Candidate
from tuner.constraints import Constraint, checks
from tuner.objectives import BlockMetrics, ObjectiveName, median_metrics
from tuner.outcomes import Failed, Infeasible, Measured, Outcome
from tuner.tunables import Params

Phase = Literal["baseline", "search", "playoff", "verdict", "explain"]
"""baseline: before the search; search: trials, with the baseline in between; playoff: the best few and the baseline,
interleaved, to choose one; verdict: that one and the baseline, interleaved, to report; explain: the candidates between
the two, interleaved, to say which change gains what."""

Arm = int | str | None
"""Who is measured: a trial by its number, a candidate of the ablation path by its key, or None, the baseline."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcedureSettings(_Value):
    """How a study spends its budget."""

    objective: ObjectiveName = "throughput"
    trials: int = Field(40, ge=1, le=10_000, description="candidates to try, the baseline not counted")
    constraints: tuple[Constraint, ...] = Field((), max_length=16, description="limits that a candidate must keep to")
    racing: bool = Field(True, description="a trial or finalist that cannot win any more gets no further block")
    repeats: int = Field(4, ge=1, le=50, description="most blocks a trial; without racing every trial gets as many")
    baseline_blocks: int = Field(3, ge=1, le=50, description="blocks of the baseline before the search")
    baseline_every: int = Field(5, ge=1, le=1000, description="trials between two baseline blocks, to see drift")
    finalists: int = Field(5, ge=1, le=10, description="most candidates that a round of the playoff measures")
    playoff_rounds: int = Field(
        10, ge=1, le=100, description="most rounds of finalists and baseline; they choose the best"
    )
    verdict_rounds: int = Field(8, ge=3, le=1000, description="rounds of best and baseline; only these are reported")
    explain_rounds: int = Field(
        4, ge=0, le=100, description="rounds of the path from baseline to winner, after the verdict; 0: not measured"
    )
    time_budget_s: float | None = Field(None, gt=0, description="wall time for everything; null: no limit")
    attempts: int = Field(3, ge=1, le=10, description="times a block is tried when the lab fails")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="order within the rounds")
    least_gain: float = Field(
        0.01, ge=0, le=1, description="a difference below this ratio is not worth measuring: races end there"
    )
    stop_when_unlikely: bool = Field(
        True, description="end the search when the surrogate expects less than half of least_gain of any further trial"
    )


class TrialRecord(_Value):
    """A candidate that the search asked for."""

    number: int = Field(ge=0, description="as `StudySearch.ask` numbered it")
    candidate: Candidate
    params: Params = Field(default_factory=dict, description="value of each tunable that applies")
    expected_gain: float | None = Field(
        None, ge=0, description="what the search expected any untried candidate to add to the best, as a ratio"
    )
    told: bool = Field(False, description="`StudySearch.tell` has had its outcome")


class BlockRecord(_Value):
    """One attempt at measuring one block, also the failed ones."""

    phase: Phase
    trial_number: int | None = Field(description="null: the baseline, or a candidate of the ablation path")
    ablation_key: str | None = Field(None, description="key of a candidate of the ablation path that is no trial")
    index: int = Field(ge=0, description="repeat within the trial, or round of playoff or verdict")
    outcome: Outcome
    started_s: float = Field(ge=0, description="seconds since the study began")
    duration_s: float = Field(ge=0, description="wall time of the block, applying included")

    @property
    def arm(self) -> Arm:
        """Who was measured."""
        return self.trial_number if self.ablation_key is None else self.ablation_key


class History(_Value):
    """Everything asked, measured and told, in order."""

    trials: tuple[TrialRecord, ...] = ()
    blocks: tuple[BlockRecord, ...] = ()
    space_exhausted: bool = Field(False, description="`StudySearch.ask` had nothing left to try")
    forgiven_blocks: int = Field(
        0, ge=0, description="faults among this many first blocks no longer count: set when the user resumes the study"
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A validated copy; Pydantic's own would keep the cached indexes below."""
        return type(self)(**({name: getattr(self, name) for name in type(self).model_fields} | dict(update or {})))

    @cached_property
    def trials_by_number(self) -> dict[int, TrialRecord]:
        """The trials by their number."""
        return {trial.number: trial for trial in self.trials}

    @cached_property
    def counted(self) -> tuple[BlockRecord, ...]:
        """The blocks without forgiven faults."""
        return tuple(
            block
            for position, block in enumerate(self.blocks)
            if position >= self.forgiven_blocks or not isinstance(block.outcome, Failed)
        )

    @cached_property
    def searched(self) -> tuple[BlockRecord, ...]:
        """Counted blocks of baseline and search."""
        return tuple(block for block in self.counted if block.phase in ("baseline", "search"))

    @cached_property
    def _by_arm(self) -> dict[tuple[Arm, Phase], list[BlockRecord]]:
        arms: dict[tuple[Arm, Phase], list[BlockRecord]] = {}
        for block in self.counted:
            arms.setdefault((block.arm, block.phase), []).append(block)
        return arms

    def of(self, arm: Arm, *phases: Phase) -> tuple[BlockRecord, ...]:
        """Counted blocks of one arm in the given phases, phase by phase."""
        return tuple(block for phase in phases for block in self._by_arm.get((arm, phase), ()))

    def measured(self, arm: Arm, *phases: Phase) -> tuple[Measured, ...]:
        """The outcomes of `of` that are measurements."""
        blocks = self.of(arm, *phases)
        return tuple(block.outcome for block in blocks if isinstance(block.outcome, Measured))

    def trial_outcome(
        self, number: int, constraints: Sequence[Constraint] = ()
    ) -> Measured | Infeasible | Failed | None:
        """What the search blocks of a trial say together: infeasible if one of them is or if their median violates a
        constraint, the median of those measured, else the last fault; None before the first block."""
        return self.judged(number, constraints, "search")

    def is_infeasible(self, number: int, constraints: Sequence[Constraint] = ()) -> bool:
        """Whether `trial_outcome` is infeasible."""
        if constraints:
            return isinstance(self.trial_outcome(number, constraints), Infeasible)
        return any(isinstance(block.outcome, Infeasible) for block in self.of(number, "search"))

    def judged(
        self, number: int, constraints: Sequence[Constraint], *phases: Phase
    ) -> Measured | Infeasible | Failed | None:
        """The same of the blocks of some phases."""
        blocks = self.of(number, *phases)
        for block in blocks:
            if isinstance(block.outcome, Infeasible):
                return block.outcome
        measured = [outcome.metrics for outcome in self.measured(number, *phases)]
        if measured:
            return self._within(constraints, median_metrics(measured))
        return next((block.outcome for block in reversed(blocks) if isinstance(block.outcome, Failed)), None)

    def _within(self, constraints: Sequence[Constraint], metrics: BlockMetrics) -> Measured | Infeasible:
        baseline = self.baseline_metrics
        if constraints and baseline is not None:
            violations = tuple(check for check in checks(constraints, metrics, baseline) if check.violation > 0)
            if violations:
                return Infeasible(
                    reason="; ".join(f"violates {check.words}: {check.value:.4g}" for check in violations),
                    violated=tuple(check.constraint.metric for check in violations),
                    violations=violations,
                    metrics=metrics,
                )
        return Measured(metrics=metrics)

    @cached_property
    def baseline_metrics(self) -> BlockMetrics | None:
        """Median of the baseline's blocks so far, to which relative constraints refer."""
        measured = [outcome.metrics for outcome in self.measured(None, "baseline", "search", "playoff", "verdict")]
        return median_metrics(measured) if measured else None

    def last_reason(self) -> str:
        """Why the last block that was not measured was not."""
        outcomes = (block.outcome for block in reversed(self.blocks))
        return next((outcome.reason for outcome in outcomes if not isinstance(outcome, Measured)), "")
