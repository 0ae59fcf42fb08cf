"""What a study may do next: the words in which `Procedure.next_step` tells its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.candidate import Candidate
from tuner.history import Arm, BlockRecord, Phase
from tuner.outcomes import Failed, Infeasible, Measured
from tuner.standings import Estimate


@dataclass(frozen=True, slots=True)
class AskTrial:
    """Ask the search for the next candidate."""


@dataclass(frozen=True, slots=True)
class MeasureBlock:
    """Apply the candidate and measure every workload once."""

    phase: Phase
    arm: Arm
    candidate: Candidate
    index: int
    attempt: int  # from 1; above 1 it repeats a block that the lab failed

    @property
    def trial_number(self) -> int | None:
        """None: the baseline, or a candidate of the ablation path."""
        return self.arm if isinstance(self.arm, int) else None

    @property
    def ablation_key(self) -> str | None:
        """Key of a candidate of the ablation path that is neither a trial nor the baseline."""
        return self.arm if isinstance(self.arm, str) else None

    def record(self, outcome: Measured | Infeasible | Failed, *, started_s: float, duration_s: float) -> BlockRecord:
        """The history entry for what came of this step."""
        return BlockRecord(
            phase=self.phase,
            trial_number=self.trial_number,
            ablation_key=self.ablation_key,
            index=self.index,
            outcome=outcome,
            started_s=started_s,
            duration_s=duration_s,
        )


@dataclass(frozen=True, slots=True)
class TellTrial:
    """Tell the search what came of a trial."""

    number: int
    outcome: Measured | Infeasible | Failed
    estimate: Estimate | None  # None: nothing was measured


FinishReason = Literal["complete", "baseline_unusable", "lab_failing", "nothing_feasible", "limits_unmet"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The study is over. `complete` has a verdict, unless too few rounds of it could be measured."""

    reason: FinishReason
    message: str


Step = AskTrial | MeasureBlock | TellTrial | Finish
