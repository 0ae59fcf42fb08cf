"""The ablation path: the way from the baseline to the winner, one changed tunable at a time, and what each step gains.

The path is pure: it follows from the two candidates and an order. The procedure measures its candidates in interleaved
rounds, and `ablation` makes paired gains of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import Candidate
from tuner.history import Arm, BlockRecord, History, Phase
from tuner.objectives import Objective
from tuner.outcomes import Infeasible, Measured
from tuner.statistics import LEAST_PAIRS, Gain, paired_gain
from tuner.tunables import HOST_PREFIX

MAX_STEPS = 4
"""Steps of a path at most; what mattered least in the search is changed together in the last one."""

_LABELS = {
    "engine": "engine",
    "mode": "mode",
    "lanes": "lanes",
    "spread": "spread",
    "crypto_workers": "crypto workers",
    "threaded_napi": "threaded NAPI",
    "cpu_sets": "CPU sets",
    "numa_policy": "NUMA policy",
    "mtu": "MTU",
    "batch_packets": "batch",
    "socket_buffer_bytes": "socket buffers",
    "host": "host settings",
}
# Fields that may have to change in the same step, since a candidate with only one of them changed is none.
_BOUND = ("engine", "mode", "spread", "crypto_workers", "threaded_napi", "cpu_sets")

AblationState = Literal["measuring", "complete", "skipped"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Value):
    """One tunable that a step changes."""

    name: str = Field(examples=["mode"])
    label: str = Field(examples=["mode"])
    before: str = Field(examples=["pipelined"])
    after: str = Field(examples=["inline"])


class AblationStep(_Value):
    """From one candidate of the path to the next."""

    changes: tuple[Change, ...]
    candidate: Candidate = Field(description="what is measured after the step; the last one is the winner")
    words: str = Field(description="the changes in words", examples=["mode inline instead of pipelined"])
    gain: Gain | None = Field(description="over the step before, paired by round; null: not measured (yet)")
    total: Gain | None = Field(description="over the baseline, paired by round")
    detail: str | None = Field(None, description="why it was not measured")


class Ablation(_Value):
    """The measured path."""

    state: AblationState
    steps: tuple[AblationStep, ...]
    rounds: int = Field(ge=0, description="rounds in which every candidate of the path was measured once")
    words: str


@dataclass(frozen=True, slots=True)
class PathStep:
    """A step of the path before anything is measured."""

    fields: tuple[str, ...]
    candidate: Candidate


def ablation_path(baseline: Candidate, best: Candidate, importance: Mapping[str, float]) -> tuple[PathStep, ...]:
    """Steps that turn the baseline into the best candidate; the last ends there. Empty for equal candidates.

    `importance` by tunable decides the order, the most important first; what it does not name comes last, in the order
    of the candidate's fields. Each step changes one field, and those without which it would make no legal candidate.
    """
    fields = list(Candidate.model_fields)
    changed = [name for name in fields if getattr(baseline, name) != getattr(best, name)]
    changed.sort(key=lambda name: (-_importance_of(name, importance), fields.index(name)))
    steps: list[PathStep] = []
    at = baseline
    while changed:
        move = _legal_move(at, best, changed)
        at = at.model_copy(update={name: getattr(best, name) for name in move})
        changed = [name for name in changed if name not in move]
        steps.append(PathStep(move, at))
    if len(steps) > MAX_STEPS:
        last = tuple(name for step in steps[MAX_STEPS - 1 :] for name in step.fields)
        steps = [*steps[: MAX_STEPS - 1], PathStep(last, best)]
    return tuple(steps)


def _importance_of(field: str, importance: Mapping[str, float]) -> float:
    """The search space calls CPU sets by the name of a placement, perhaps one for each gateway, and searches each host
    setting by itself."""
    prefix = {"cpu_sets": "placement", "host": HOST_PREFIX}.get(field)
    of_field = (value for name, value in importance.items() if name == field or (prefix and name.startswith(prefix)))
    return max(of_field, default=-1.0)


def _legal_move(at: Candidate, best: Candidate, changed: Sequence[str]) -> tuple[str, ...]:
    """The first changed field, and as few others as it takes; all that is left in the end, which is always legal."""
    # A bond needs several lanes: its spread and their number may have to go together.
    may_come = (*_BOUND, "lanes") if "spread" in changed else _BOUND
    bound = [name for name in changed if name in may_come and name != changed[0]]
    moves = [(changed[0], *bound[:count]) for count in range(len(bound) + 1)]
    pairs = [(changed[0], name) for name in bound]
    for move in [moves[0], *pairs, *moves[1:]]:
        try:
            at.model_copy(update={name: getattr(best, name) for name in move})
        except ValueError:
            continue
        return tuple(sorted(move, key=list(Candidate.model_fields).index))
    return tuple(changed)


def ablation(
    path: Sequence[PathStep],
    baseline: Candidate,
    best_number: int,
    *,
    history: History,
    objective: Objective,
    state: AblationState,
) -> Ablation:
    """What the blocks of the explain phase say of the path; a path of one step was measured by the verdict. A candidate
    of the path that broke has no gain, and the step after it is compared with the last one that worked."""
    phase: Phase = "explain" if len(path) > 1 else "verdict"
    arms = path_arms(path, best_number)
    scores = {arm: _scores(history.of(arm, phase), objective) for arm in (None, *arms)}
    steps = []
    at, previous = baseline, None
    for step, arm in zip(path, arms, strict=True):
        changes = tuple(_changes(step.fields, at, step.candidate))
        broken = next((b.outcome.reason for b in history.of(arm, phase) if isinstance(b.outcome, Infeasible)), None)
        steps.append(
            AblationStep(
                changes=changes,
                candidate=step.candidate,
                words=_changes_in_words(changes),
                gain=None if broken else _paired(scores[previous], scores[arm]),
                total=None if broken else _paired(scores[None], scores[arm]),
                detail=broken,
            )
        )
        at = step.candidate
        previous = previous if broken else arm
    complete = set.intersection(*(set(measured) for measured in scores.values())) if path else set()
    return Ablation(state=state, steps=tuple(steps), rounds=len(complete), words=_in_words(steps, state))


def path_arms(path: Sequence[PathStep], best_number: int) -> tuple[Arm, ...]:
    """The arms that measure the candidates after each step: by key, and the last one as the trial that it is."""
    return (*(step.candidate.key for step in path[:-1]), best_number) if path else ()


def _scores(blocks: Sequence[BlockRecord], objective: Objective) -> dict[int, float]:
    return {
        block.index: objective.score(block.outcome.metrics) for block in blocks if isinstance(block.outcome, Measured)
    }


def _paired(before: Mapping[int, float], after: Mapping[int, float]) -> Gain | None:
    rounds = sorted(before.keys() & after.keys())
    if len(rounds) < LEAST_PAIRS:
        return None
    return paired_gain([before[index] for index in rounds], [after[index] for index in rounds])


def _changes(fields: Sequence[str], before: Candidate, after: Candidate) -> Iterator[Change]:
    for name in fields:
        old, new = getattr(before, name), getattr(after, name)
        yield Change(
            name=name, label=_LABELS[name], before=_value_in_words(name, old), after=_value_in_words(name, new)
        )


def _value_in_words(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name == "socket_buffer_bytes":
        return f"{value / (1 << 20):g} MiB"
    if name == "host":
        return ", ".join(value.in_words()) or "as they are"
    if name != "cpu_sets":
        return str(value)
    sides = {side: ", ".join(f"{stage} {cpus}" for stage, cpus in getattr(value, side).used().items()) for side in "ab"}
    if sides["a"] == sides["b"]:
        return sides["a"] or "unpinned"
    return "; ".join(f"{side}: {words or 'unpinned'}" for side, words in sides.items())


def _changes_in_words(changes: Sequence[Change]) -> str:
    """What stops applying goes without saying: crypto workers, once the mode is inline."""
    said = [change for change in changes if change.after != "none"] or changes
    return ", ".join(f"{change.label} {change.after} instead of {change.before}" for change in said)


def _in_words(steps: Sequence[AblationStep], state: AblationState) -> str:
    if state == "skipped" or not steps:
        return "The path from the baseline to the winner was not measured: it is switched off, or there is no gain."
    known = [(step, step.gain) for step in steps if step.gain is not None]
    if not known:
        if state == "measuring":
            return "The path from the baseline to the winner is being measured."
        return "Too few rounds of the path from the baseline to the winner could be measured."
    decided = [(step, gain) for step, gain in known if gain.conclusion != "no_significant_difference"]
    decided.sort(key=lambda pair: pair[1].gain, reverse=True)
    if not decided:
        return "No single step of the path differs significantly from the one before it."
    words = "; ".join(f"{step.words}: {(gain.gain - 1) * 100:+.1f}%" for step, gain in decided)
    words = words[:1].upper() + words[1:] + "."
    if len(known) > len(decided):
        rest = "; ".join(step.words for step, gain in known if gain.conclusion == "no_significant_difference")
        words += f" No significant difference: {rest}."
    if any(gain.conclusion == "worse" for _, gain in decided):
        words += " A step that loses hints at a better candidate than the winner: a longer search may find it."
    return words
