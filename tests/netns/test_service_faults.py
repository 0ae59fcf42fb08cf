"""Faults that need root: the service killed in the middle of a trial, a namespace deleted, a full disk, a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from lab_testbed import NOTHING, processes_inside, traces, wait_until

from tests.contract.service_process import ROOT, ServiceProcess, finished, make_study, make_testbed, wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

NAME = f"svc{os.getpid()}"
SPACE = {"engine": "wirelane", "mode": "inline", "lanes": [1, 2], "numa_policy": "local"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service of this test alone, and no trace of its testbed afterwards."""
    service = ServiceProcess(tmp_path / "data")
    service.data_dir.mkdir(mode=0o700)
    service.start()
    yield service
    if service.process is not None and service.process.poll() is not None:
        service.start()
    with service.client() as client:
        for study in client.get("/studies").json()["items"]:
            client.post(f"/studies/{study['id']}/cancel")
            wait_for(client, f"/studies/{study['id']}", finished)
        client.delete(f"/testbeds/{NAME}")
        wait_for(client, f"/testbeds/{NAME}", lambda answer: answer.get("status") == 404)
    assert service.stop() == 0
    assert traces(NAME) == NOTHING


def make_netns(client: httpx.Client) -> None:
    assert client.post("/testbeds", json={"name": NAME, "driver": "netns"}).status_code == 202
    testbed = wait_for(client, f"/testbeds/{NAME}", lambda testbed: testbed["state"] != "provisioning", 90)
    assert testbed["state"] == "ready", testbed["detail"]


def blocks_of(client: httpx.Client, study_id: str) -> list[tuple[Any, ...]]:
    """What was measured, by what it is of."""
    return [
        (trial["number"], block["phase"], block["index"], block["attempt"], block["state"])
        for trial in client.get(f"/studies/{study_id}/result").json()["trials"]
        for block in trial["measured"]
    ]


def test_study_goes_on_after_kill_in_the_middle_of_a_trial(service: ServiceProcess) -> None:
    with service.client() as client:
        make_netns(client)
        study_id = make_study(client, NAME, trials=1, sample_seconds=1, space=SPACE)
        path = f"/studies/{study_id}"
        wait_for(
            client,
            path,
            lambda study: (
                study["progress"]["blocks_done"] >= 1
                and (study["progress"]["running"] or {}).get("lab_phase") == "measure"
            ),
            120,
        )
        before = blocks_of(client, study_id)
        service.kill()
    service.start()
    with service.client() as client:
        study = wait_for(client, path, finished, 240)
        assert study["state"] == "completed", study["failure"]
        after = blocks_of(client, study_id)
        assert set(before) <= set(after)
        assert len(after) == len(set(after))
        assert processes_inside(f"wt-{NAME}-a") == []
        assert processes_inside(f"wt-{NAME}-b") == []


def test_namespace_deleted_during_a_study_is_healed(service: ServiceProcess) -> None:
    with service.client() as client:
        make_netns(client)
        study_id = make_study(client, NAME, trials=1, sample_seconds=1, space=SPACE)
        wait_for(
            client,
            f"/studies/{study_id}",
            lambda study: (study["progress"]["running"] or {}).get("lab_phase") == "measure",
            120,
        )
        subprocess.run(["ip", "netns", "delete", f"wt-{NAME}-b"], check=True)
        for pid in subprocess.run(
            ["ip", "netns", "pids", f"wt-{NAME}-a"], capture_output=True, check=True, text=True
        ).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        study = wait_for(client, f"/studies/{study_id}", finished, 300)
        assert study["state"] == "completed", study["failure"]
        assert "failed" in {block[-1] for block in blocks_of(client, study_id)}
        assert Path(f"/run/netns/wt-{NAME}-b").exists()


def test_full_disk_for_the_bundle(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data")
    bundles = service.data_dir / "bundles"
    bundles.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "wiretune-test", bundles], check=True)
    try:
        service.start()
        with service.client() as client:
            make_testbed(client, "sim")
            study_id = make_study(client, "sim")
            study = wait_for(client, f"/studies/{study_id}", finished)
    finally:
        subprocess.run(["umount", bundles], check=True)
    assert study["state"] == "failed"
    assert "bundle could not be built" in study["failure"]["message"]
    assert "disk is full" in study["failure"]["message"]
    with service.client() as client:
        before = client.get(f"/studies/{study_id}/result").json()["trials"]
        client.post(f"/studies/{study_id}/resume")
        assert wait_for(client, f"/studies/{study_id}", finished)["state"] == "completed"
        assert client.get(f"/studies/{study_id}/result").json()["trials"] == before
        assert client.get(f"/studies/{study_id}/bundle/download").status_code == 200
        other = make_study(client, "sim")
        assert wait_for(client, f"/studies/{other}", finished)["state"] == "completed"
    assert service.stop() == 0


def test_interrupted_tune_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "tune", "--seconds", "20"],
        cwd=ROOT,
        env={**os.environ, "WIRETUNE_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    testbed = f"tune-{process.pid}"
    wait_until(lambda: processes_inside(f"wt-{testbed}-a"), 120)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert traces(testbed) == NOTHING
