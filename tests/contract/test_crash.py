"""`kill -9` of the service in the middle of a study, then a restart: the study goes on where it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.service_process import (
    ServiceProcess,
    blocks_of,
    event_stream,
    finished,
    make_study,
    make_testbed,
    wait_for,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service of these tests alone."""
    service = ServiceProcess(tmp_path_factory.mktemp("crash") / "data")
    service.data_dir.mkdir(mode=0o700)
    service.start()
    yield service
    service.stop()


def test_study_survives_kill_and_stop(service: ServiceProcess) -> None:
    with service.client() as client:
        make_testbed(client, "sim", sample_time_ratio=0.05)
        study_id = make_study(client, "sim", trials=3, sample_seconds=5)
        waiting_id = make_study(client, "sim", trials=1)
        path = f"/studies/{study_id}"
        wait_for(client, path, lambda study: study["progress"]["blocks_done"] >= 3 and study["progress"]["running"])
        service.kill()

    before = _read_result(service, path, start=True)
    with service.client() as client:
        wait_for(client, path, lambda study: study["progress"]["blocks_done"] >= 6)
        assert service.stop() == 0
    stopped = _read_result(service, path, start=True)
    assert stopped["state"] not in ("failed", "cancelled")

    with service.client() as client:
        study = wait_for(client, path, finished)
        assert study["state"] == "completed", study["failure"]
        after = client.get(f"{path}/result").json()
        for earlier in (before, stopped):
            now = blocks_of(after)
            for key, blocks in blocks_of(earlier).items():
                assert now[key] == blocks, "a finished block was lost or measured again"
        assert all(len(blocks) == 1 for blocks in blocks_of(after).values())
        assert [trial["number"] for trial in after["trials"]] == [None, 0, 1, 2]

        with event_stream(client, f"{path}/events?until_finished=true") as stream:
            done = Counter(
                (event["data"]["number"], event["data"]["phase"], event["data"]["block"])
                for event in stream
                if event["type"] == "block.finished"
            )
        assert set(done.values()) == {1}
        assert wait_for(client, f"/studies/{waiting_id}", finished)["state"] == "completed"
    logged = [line for line in service.log.splitlines() if service.token in line]
    assert len(logged) == 2, "the greeting of the first start, and nothing else"


def _read_result(service: ServiceProcess, path: str, *, start: bool) -> dict[str, Any]:
    if start:
        service.start()
    with service.client() as client:
        return dict(client.get(f"{path}/result").json())


def test_explaining_survives_kill(service: ServiceProcess) -> None:
    """The verdict is in by then, and stays as it is; the ablation path goes on where it was."""
    with service.client() as client:
        make_testbed(client, "path", sample_time_ratio=0.03, noise_ratio=0.005)
        study_id = make_study(client, "path", trials=4, explain_rounds=3, sample_seconds=3, seed=11)
        path = f"/studies/{study_id}"
        wait_for(client, path, lambda study: study["state"] == "explaining" and study["progress"]["running"])
        wait_for(client, f"{path}/result", lambda result: len(explain_blocks(result)) >= 2)
        service.kill()
    before = _read_result(service, path, start=True)
    with service.client() as client:
        study = wait_for(client, path, finished)
        assert study["state"] == "completed", study["failure"]
        after = client.get(f"{path}/result").json()
    assert before["verdict"] == after["verdict"] == study["verdict"]
    assert blocks_of(before).items() <= blocks_of(after).items(), "a finished block was lost or measured again"
    assert all(len(blocks) == 1 for blocks in blocks_of(after).values())
    steps = after["explanation"]["ablation"]["steps"]
    assert len(steps) > 1
    assert len(explain_blocks(after)) == 3 * (len(steps) + 1)
    assert all(step["gain"]["pairs"] == 3 for step in steps)


def explain_blocks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Blocks of the ablation path, in whatever trial they are."""
    return [block for trial in result["trials"] for block in trial["measured"] if block["phase"] == "explain"]


def test_cancelling_survives_kill(service: ServiceProcess) -> None:
    with service.client() as client:
        make_testbed(client, "other", sample_time_ratio=0.05)
        study_id = make_study(client, "other", sample_seconds=10)
        wait_for(client, f"/studies/{study_id}", lambda study: study["progress"]["running"])
        client.post(f"/studies/{study_id}/cancel")
        service.kill()
    service.start()
    with service.client() as client:
        assert wait_for(client, f"/studies/{study_id}", finished)["state"] == "cancelled"
