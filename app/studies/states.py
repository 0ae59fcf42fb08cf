"""The states of a study: one enum, one transition table. docs/study-states.md is generated from it."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Where a study is in its life."""

    QUEUED = "queued"
    PROVISIONING = "provisioning"
    BASELINE = "baseline"
    SEARCHING = "searching"
    CONFIRMING = "confirming"
    EXPLAINING = "explaining"
    BUNDLING = "bundling"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


S = StudyState

RUNNING = frozenset({S.PROVISIONING, S.BASELINE, S.SEARCHING, S.CONFIRMING, S.EXPLAINING, S.BUNDLING})
FINISHED = frozenset({S.COMPLETED, S.CANCELLED, S.FAILED})
RESUMABLE = frozenset({S.CANCELLED, S.FAILED})
CANCELLABLE = RUNNING | {S.QUEUED}

_ABORTS = {S.CANCELLING, S.FAILED}

TRANSITIONS: dict[StudyState, frozenset[StudyState]] = {
    S.QUEUED: frozenset({S.PROVISIONING, S.CANCELLED, S.FAILED}),
    S.PROVISIONING: frozenset({S.BASELINE, S.SEARCHING, S.CONFIRMING, S.EXPLAINING, S.BUNDLING, *_ABORTS}),
    S.BASELINE: frozenset({S.SEARCHING, S.CONFIRMING, *_ABORTS}),
    S.SEARCHING: frozenset({S.CONFIRMING, *_ABORTS}),
    S.CONFIRMING: frozenset({S.EXPLAINING, S.BUNDLING, *_ABORTS}),
    S.EXPLAINING: frozenset({S.BUNDLING, *_ABORTS}),
    S.BUNDLING: frozenset({S.COMPLETED, *_ABORTS}),
    S.CANCELLING: frozenset({S.CANCELLED, S.FAILED}),
    S.COMPLETED: frozenset(),
    S.CANCELLED: frozenset({S.QUEUED}),
    S.FAILED: frozenset({S.QUEUED}),
}


def allowed(before: StudyState, after: StudyState) -> bool:
    """Whether a study may go from one state to the other."""
    return after in TRANSITIONS[before]


def mermaid() -> str:
    """The transition table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for before, afters in TRANSITIONS.items():
        lines += [f"    {before} --> {after}" for after in StudyState if after in afters]
    lines.append("    completed --> [*]")
    return "\n".join(lines) + "\n"
