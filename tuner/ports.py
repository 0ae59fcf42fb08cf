"""What the tuner needs from the outside. `app` implements these; the tuner knows nothing else of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tuner.candidate import Candidate
from tuner.samples import Sample, Workload


class Measurer(Protocol):
    """Applies a candidate and measures it."""

    def measure(self, candidate: Candidate, workloads: Sequence[Workload]) -> Sequence[Sample]:
        """One sample a workload, in order.

        Raises tuner.ports.CandidateBrokenError when the candidate itself cannot run (it then counts as infeasible), and
        any other exception when the infrastructure failed (the trial is then never scored).
        """
        ...


class Clock(Protocol):
    """Time that the caller owns."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary moment, never going back."""
        ...


class CandidateBrokenError(Exception):
    """The candidate could not be applied, or broke while it was measured: infeasible, and not a fault of the lab."""
