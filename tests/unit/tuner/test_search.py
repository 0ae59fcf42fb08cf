from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_loop import host_space, measured

from tuner.candidate import Candidate
from tuner.journal import StudyJournal
from tuner.objectives import OBJECTIVES
from tuner.outcomes import Failed, Infeasible
from tuner.search import StudySearch
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Narrowing

SPACE = host_space(Topology.uniform(cores_per_node=2), shared=True)
TINY = host_space(
    Topology.uniform(cores_per_node=2),
    shared=True,
    engines=("wireguard-go",),
    narrowing=Narrowing(mtu=[1280, 1420], placement=["unpinned", "near"]),
)
THROUGHPUT = OBJECTIVES["throughput"]


def opened(path: Path, space: SearchSpace = SPACE, **rest: object) -> StudySearch:
    return StudySearch.open(path / "study", "s", space, THROUGHPUT, **rest)  # type: ignore[arg-type]


def ask_all(search: StudySearch, limit: int = 10_000) -> list[Candidate]:
    """Asks and tells until nothing is left."""
    candidates: list[Candidate] = []
    while len(candidates) < limit and (asked := search.ask()) is not None:
        candidates.append(asked.candidate)
        search.tell(asked.number, measured(1.0 + asked.candidate.lanes))
    return candidates


def test_experts_come_first_then_the_sampler(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        experts = SPACE.expert_candidates()
        asked = []
        for _ in range(len(experts) + 1):
            one = search.ask()
            assert one is not None
            asked.append(one)
            search.tell(one.number, measured(1.0))
    assert [one.candidate for one in asked[:-1]] == list(experts)
    assert [one.origin for one in asked] == ["warm_start"] * len(experts) + ["sampler"]
    assert [one.number for one in asked] == list(range(len(experts) + 1))
    assert all(SPACE.candidate(one.params) == one.candidate for one in asked)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_every_candidate_once_then_none(tmp_path: Path, sampler: str) -> None:
    everything = {TINY.candidate(TINY.grid_params(index)).key for index in range(TINY.grid_size)}
    with opened(tmp_path, TINY, sampler=sampler) as search:
        asked = [candidate.key for candidate in ask_all(search)]
        assert search.ask() is None
    assert len(asked) == len(set(asked))
    assert set(asked) == everything


def test_no_duplicates_in_a_long_search(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        keys = [candidate.key for candidate in ask_all(search, limit=60)]
    assert len(set(keys)) == 60


def test_telling_twice_is_harmless_and_unknown_numbers_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path, TINY) as search:
        asked = search.ask()
        assert asked is not None
        search.tell(asked.number, measured(3.0))
        search.tell(asked.number, measured(99.0))
        search.tell(asked.number, Failed(reason="late"))
        with pytest.raises(KeyError, match="trial 7 was never asked"):
            search.tell(7, measured(1.0))
        rest = [candidate.key for candidate in ask_all(search)]
    assert asked.candidate.key not in rest


def test_a_trial_that_the_lab_failed_is_tried_again_and_an_infeasible_one_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, TINY, sampler="grid") as search:
        failed, broken = search.ask(), search.ask()
        assert failed is not None
        assert broken is not None
        search.tell(failed.number, Failed(reason="cable pulled"))
        search.tell(broken.number, Infeasible(reason="died", violated=("runs",)))
        rest = [candidate.key for candidate in ask_all(search)]
    assert failed.candidate.key in rest
    assert broken.candidate.key not in rest


def test_infeasible_candidates_steer_the_sampler_away(tmp_path: Path) -> None:
    """More than half of the space breaks: after some trials the search must propose mostly from the rest."""
    proposals = []
    luck = random.Random(1)
    with opened(tmp_path, warm_starts=()) as search:
        for _ in range(50):
            asked = search.ask()
            assert asked is not None
            pipelined = asked.candidate.mode == "pipelined"
            proposals.append(pipelined)
            search.tell(asked.number, Infeasible(reason="died") if pipelined else measured(5.0 + luck.random()))
    assert sum(proposals[20:]) < 30 / 4


def test_a_restart_asks_what_would_have_been_asked(tmp_path: Path) -> None:
    def run(path: Path, *, restart: bool) -> list[str]:
        keys: list[str] = []
        path.mkdir()
        search = opened(path, seed=5)
        for _ in range(20):
            if restart:
                search.close()
                search = opened(path, seed=5)
            keys += [candidate.key for candidate in ask_all(search, limit=1)]
        search.close()
        return keys

    straight = run(tmp_path / "straight", restart=False)
    assert run(tmp_path / "restarted", restart=True) == straight


def test_stale_trials_are_given_up_and_warm_starts_come_again(tmp_path: Path) -> None:
    search = opened(tmp_path)
    known, lost = search.ask(), search.ask()
    assert known is not None
    assert lost is not None
    search.close()
    with opened(tmp_path) as search:
        assert search.abandon_stale(keep={known.number}) == (lost.number,)
        assert search.abandon_stale(keep={known.number}) == ()
        search.tell(known.number, measured(2.0))
        search.tell(lost.number, measured(2.0))  # a late word on a lost trial changes nothing
        later = ask_all(search, limit=10)
    assert lost.candidate.key in {candidate.key for candidate in later}
    assert known.candidate.key not in {candidate.key for candidate in later}


def test_another_space_or_objective_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(ValueError, match="another search space or objective"):
        opened(tmp_path, TINY)
    with pytest.raises(ValueError, match="another search space or objective"):
        StudySearch.open(tmp_path / "study", "s", SPACE, OBJECTIVES["efficiency"])


def test_a_warm_start_outside_the_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the search space"):
        opened(tmp_path, warm_starts=[Candidate(batch_packets=3)])


def test_an_sqlalchemy_url_works_as_well(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    with StudySearch.open(url, "s", TINY, THROUGHPUT) as search:
        first = search.ask()
        assert first is not None
        search.tell(first.number, measured(1.0))
    with StudySearch.open(url, "s", TINY, THROUGHPUT) as search:
        second = search.ask()
        assert second is not None
    assert second.number == 1
    assert second.candidate != first.candidate


def test_two_objectives(tmp_path: Path) -> None:
    with StudySearch.open(tmp_path / "p", "p", SPACE, OBJECTIVES["pareto"]) as search:
        for _ in range(15):
            asked = search.ask()
            assert asked is not None
            search.tell(asked.number, measured(asked.candidate.lanes, 1 / asked.candidate.lanes))


# -- the journal ------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    search = opened(tmp_path, TINY)
    first = search.ask()
    search.close()
    path = tmp_path / "study"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[-40:-1])
    with opened(tmp_path, TINY) as search:
        second = search.ask()
    assert first is not None
    assert second is not None
    assert second.number == 1
    assert all(isinstance(json.loads(line), list) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("content", [b"hello\n", b'{"a": 1}\n', b"\xff\xfe\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study").write_bytes(content)
    with pytest.raises(ValueError, match="not the journal of a study"):
        opened(tmp_path)
    assert (tmp_path / "study").read_bytes() == content


def test_two_handles_see_each_other(tmp_path: Path) -> None:
    with opened(tmp_path, TINY) as one, opened(tmp_path, TINY) as other:
        first = one.ask()
        second = other.ask()
        assert first is not None
        assert second is not None
        assert (first.number, second.number) == (0, 1)
        assert first.candidate != second.candidate
        other.tell(first.number, measured(1.0))
        one.tell(first.number, measured(2.0))
        assert one.ask() is not None


def test_records_of_a_failed_transaction_are_kept(tmp_path: Path) -> None:
    """The storage in front has applied them, so that file and memory must agree."""
    journal = StudyJournal(tmp_path / "j")
    with pytest.raises(RuntimeError), journal.transaction():
        journal.append_logs([{"op_code": 1}])
        raise RuntimeError("in the middle")
    journal.close()
    assert list(StudyJournal(tmp_path / "j").read_logs(0)) == [{"op_code": 1}]


KILLED = """
import sys, signal, os
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_search import opened, measured, SPACE
search = opened(Path(sys.argv[1]))
while True:
    asked = search.ask()
    print(asked.number, asked.candidate.key, flush=True)
    search.tell(asked.number, measured(1.0 + asked.candidate.lanes))
"""


def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    seen = [child.stdout.readline().split() for _ in range(12)]
    time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    seen += [line.split() for line in child.stdout]
    child.wait()
    with opened(tmp_path) as search:
        search.abandon_stale(keep=[int(number) for number, _ in seen])
        for number, _ in seen:
            search.tell(int(number), measured(1.0))
        keys = {key for _, key in seen}
        for _ in range(5):
            asked = search.ask()
            assert asked is not None
            assert asked.number >= len(seen)
            assert asked.candidate.key not in keys
            keys.add(asked.candidate.key)
            search.tell(asked.number, measured(1.0))
