"""How many of a study's samples were taken while a host was unfit to measure, and why."""

from __future__ import annotations

from collections.abc import Iterable

from app.studies.models import Study
from app.studies.schemas import FitnessView, UnfitSamples
from tuner.samples import Sample, Unfitness


def fitness_of(study: Study) -> FitnessView:
    """Of the verdict's samples once there are any, of all samples before. Trials, blocks and samples must be loaded."""
    blocks = [block for trial in study.trials for block in trial.measured]
    phase = "verdict" if any(block.phase == "verdict" for block in blocks) else None
    chosen = [block for block in blocks if phase in (None, block.phase)]
    return summary(
        (Sample.model_validate(stored.sample) for block in chosen for stored in block.samples), phase or "the study"
    )


def summary(samples: Iterable[Sample], of: str) -> FitnessView:
    """The samples counted; `of` names what they are samples of."""
    total = unfit = 0
    reasons: dict[tuple[str, str], list[Unfitness]] = {}
    for sample in samples:
        total, unfit = total + 1, unfit + bool(sample.unfit)
        for key, found in {(one.kind, one.gateway): one for one in sample.unfit}.items():
            reasons.setdefault(key, []).append(found)
    listed = [
        UnfitSamples(samples=len(found), worst=max(found, key=lambda one: one.value))
        for found in sorted(reasons.values(), key=len, reverse=True)
    ]
    of_what = "of the verdict" if of == "verdict" else f"of {of}"
    if not unfit:
        words = f"No disturbance was seen in the {total} samples {of_what}."
    else:
        each = "; ".join(f"in {one.samples} {one.worst.words}" for one in listed)
        words = f"{unfit} of {total} samples {of_what} were taken on a host unfit to measure: {each} at worst."
    return FitnessView(samples=total, unfit=unfit, reasons=listed, words=words)
