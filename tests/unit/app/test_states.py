"""The transition table of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.studies.states import CANCELLABLE, FINISHED, RESUMABLE, RUNNING, TRANSITIONS, StudyState, allowed, mermaid

DIAGRAM = Path(__file__).resolve().parents[3] / "docs" / "study-states.md"


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(StudyState)


def test_every_state_can_be_reached_and_left() -> None:
    reached, frontier = {StudyState.QUEUED}, [StudyState.QUEUED]
    while frontier:
        new = TRANSITIONS[frontier.pop()] - reached
        reached |= new
        frontier += new
    assert reached == set(StudyState)
    for state in StudyState:
        assert bool(TRANSITIONS[state]) == (state is not StudyState.COMPLETED)


def test_what_runs_can_be_cancelled_and_what_is_finished_cannot() -> None:
    for state in RUNNING:
        assert allowed(state, StudyState.CANCELLING)
        assert allowed(state, StudyState.FAILED)
    assert CANCELLABLE.isdisjoint(FINISHED)
    assert not allowed(StudyState.COMPLETED, StudyState.QUEUED)
    for state in RESUMABLE:
        assert TRANSITIONS[state] == {StudyState.QUEUED}


def test_completed_only_after_a_bundle() -> None:
    before = [state for state in StudyState if allowed(state, StudyState.COMPLETED)]
    assert before == [StudyState.BUNDLING]


@pytest.mark.parametrize("state", list(StudyState))
def test_no_state_follows_itself(state: StudyState) -> None:
    assert not allowed(state, state)


def test_diagram_in_the_documents_is_the_table() -> None:
    assert f"```mermaid\n{mermaid()}```" in DIAGRAM.read_text()
