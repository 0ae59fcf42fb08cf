"""How much each tunable mattered in a search: its share of the variation between trials, and how sure that is.

A marginal analysis of variance on the logarithm of the score, one tunable at a time, chosen because it stays honest
with a dozen trials: a random forest (fANOVA) or a density ratio (PED-ANOVA, which leaves conditional tunables out)
gives a ranking from any number of trials and does not say when it is one of noise. What it cannot do is part two
tunables that the search always moved together; the ablation path (`tuner.ablation`) does. Method: docs/measurement.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from tuner.statistics import CONFIDENCE

LEAST_SPARE_TRIALS = 2
"""Trials above the number of a tunable's values; with fewer there is nothing left to estimate the noise from."""

Certainty = Literal["clear", "unclear", "unknown"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TunableImportance(_Value):
    """What the trials say of one tunable."""

    name: str = Field(examples=["lanes"])
    label: str = Field(examples=["Lanes"])
    share: float | None = Field(
        ge=0,
        le=1,
        description="share of the variation between trials that goes with it, chance taken off; null: unknown",
    )
    share_low: float | None = Field(ge=0, le=1, description="lower end of the 95% interval")
    share_high: float | None = Field(ge=0, le=1, description="upper end of the 95% interval")
    p_value: float | None = Field(
        ge=0, le=1, description="of its having no effect, corrected for the number of tunables"
    )
    certainty: Certainty = Field(
        description="clear: p below 0.05; unknown: too few trials, or only one value was tried"
    )
    trials: int = Field(ge=0, description="measured trials to which it applies")
    best_value: str | int | None = Field(
        description="the value with the highest mean; null where the effect is not clear"
    )


class Importance(_Value):
    """Every tunable of a search space, the most important first."""

    tunables: tuple[TunableImportance, ...]
    trials: int = Field(ge=0, description="measured trials that it rests on")
    words: str = Field(description="what may and may not be concluded, in one or two sentences")


@dataclass(frozen=True, slots=True)
class ScoredTrial:
    """A measured trial: the value of each tunable that applies, and its score (larger is better, above 0)."""

    params: Mapping[str, str | int]
    score: float


def importance(
    trials: Sequence[ScoredTrial],
    tunables: Sequence[Mapping[str, Any]],
    broken: Sequence[Mapping[str, str | int]] = (),
) -> Importance:
    """Importance of the tunables (as `SearchSpace.describe` lists them), from trials that were measured. `broken`:
    parameters of those that could not be; they have no place in the shares, and what they have in common is said."""
    found = [_one(trials, str(tunable["name"]), str(tunable["label"])) for tunable in tunables]
    corrected = _holm([one.p_value for one in found])
    judged = [_judged(one, p, trials) for one, p in zip(found, corrected, strict=True)]
    judged.sort(key=lambda one: -1.0 if one.share is None else one.share, reverse=True)
    return Importance(
        tunables=tuple(judged),
        trials=len(trials),
        words=_in_words(judged, len(trials)) + _of_the_broken(trials, tunables, broken),
    )


def ranking(trials: Sequence[ScoredTrial]) -> dict[str, float]:
    """Estimated share of each tunable that varied; the order of the ablation path."""
    names = {name for trial in trials for name in trial.params}
    found = [_one(trials, name, name) for name in sorted(names)]
    return {one.name: one.share for one in found if one.share is not None}


def _one(trials: Sequence[ScoredTrial], name: str, label: str) -> TunableImportance:
    """Share and interval of one tunable among the trials to which it applies; the p-value is not corrected yet."""
    applies = [trial for trial in trials if name in trial.params]
    logs = np.log([trial.score for trial in applies])
    values = [trial.params[name] for trial in applies]
    groups = [logs[[value == chosen for value in values]] for chosen in dict.fromkeys(values)]
    spare = len(applies) - len(groups)
    share = low = high = p_value = None
    if len(groups) > 1 and spare >= LEAST_SPARE_TRIALS:
        total = float(((logs - logs.mean()) ** 2).sum())
        within = float(sum(((group - group.mean()) ** 2).sum() for group in groups))
        # A conditional tunable explains at most the variation among the trials that have it.
        every = np.log([trial.score for trial in trials])
        of_all = min(1.0, total / float(((every - every.mean()) ** 2).sum())) if total > 0 else 0.0
        share, low, high, p_value = _effect(total, within, len(groups) - 1, spare)
        share, low, high = share * of_all, low * of_all, high * of_all
    return TunableImportance(
        name=name,
        label=label,
        share=share,
        share_low=low,
        share_high=high,
        p_value=p_value,
        certainty="unknown" if share is None else "unclear",
        trials=len(applies),
        best_value=None,
    )


def _effect(total: float, within: float, between_df: int, within_df: int) -> tuple[float, float, float, float]:
    """Explained share (epsilon squared), its 95% interval, and the p-value of the F test.

    The interval inverts the noncentral F distribution (Steiger 2004, Psychological Methods 9, 164-182): the share of a
    noncentrality x is x / (x + n).
    """
    if total <= 0 or within >= total:
        return 0.0, 0.0, 1 - math.exp(-1.0 * between_df / within_df), 1.0
    n = between_df + within_df + 1
    if within <= total * 1e-12:
        return 1.0, 1.0, 1.0, 0.0  # every trial of a value scores alike: a simulation without noise
    f = (total - within) / between_df / (within / within_df)
    adjusted = 1 - (within / within_df) / (total / (n - 1))
    tail = (1 - CONFIDENCE) / 2
    low, high = (max(0.0, _noncentrality(between_df, within_df, probability, f)) for probability in (1 - tail, tail))
    return max(0.0, adjusted), low / (low + n), high / (high + n), float(special.fdtrc(between_df, within_df, f))


def _noncentrality(between_df: int, within_df: int, probability: float, f: float) -> float:
    """Noncentrality at which F stays below f with this probability; 0 where even none makes it less likely."""
    if special.fdtr(between_df, within_df, f) <= probability:
        return 0.0
    low, high = 0.0, 1.0
    while special.ncfdtr(between_df, within_df, high, f) > probability and high < 1e7:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if special.ncfdtr(between_df, within_df, middle, f) > probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None stays None."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[index] = largest
    return corrected


def _judged(one: TunableImportance, p_value: float | None, trials: Sequence[ScoredTrial]) -> TunableImportance:
    if p_value is None or p_value >= 1 - CONFIDENCE:
        return one.model_copy(update={"p_value": p_value})
    by_value: dict[str | int, list[float]] = {}
    for trial in trials:
        if one.name in trial.params:
            by_value.setdefault(trial.params[one.name], []).append(math.log(trial.score))
    best = max(by_value, key=lambda value: sum(by_value[value]) / len(by_value[value]))
    return one.model_copy(update={"p_value": p_value, "certainty": "clear", "best_value": best})


def _in_words(tunables: Sequence[TunableImportance], trials: int) -> str:
    clear = [one for one in tunables if one.certainty == "clear"]
    if not any(one.share is not None for one in tunables):
        return f"{trials} measured trials are too few to say which tunable matters."
    if not clear:
        return (
            f"{trials} measured trials do not show clearly which tunable matters: the shares are guesses within wide"
            " intervals."
        )
    names = ", ".join(f"{one.label} ({one.share:.0%} of the variation)" for one in clear)
    rest = "" if len(clear) == len(tunables) else " Of the others these trials say nothing for sure."
    return f"Over {trials} measured trials {names} clearly mattered.{rest}"


def _of_the_broken(
    trials: Sequence[ScoredTrial],
    tunables: Sequence[Mapping[str, Any]],
    broken: Sequence[Mapping[str, str | int]],
) -> str:
    """What the broken trials have in common that no measured one has."""
    if not broken:
        return ""
    words = f" {len(broken)} that broke {'is' if len(broken) == 1 else 'are'} not counted"
    shared = set(broken[0].items()).intersection(*(params.items() for params in broken))
    shared -= {value for trial in trials for value in trial.params.items()}
    labels = {str(tunable["name"]): str(tunable["label"]) for tunable in tunables}
    named = ", ".join(f"{labels.get(name, name)} {value}" for name, value in sorted(shared))
    if len(broken) < LEAST_SPARE_TRIALS or not named:
        return words + "."
    return f"{words}; all of them, and none that could be measured, had {named}."
