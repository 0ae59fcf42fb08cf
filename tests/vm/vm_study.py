"""A small study as the tests of this folder run it: through the API of a service of their own."""

from __future__ import annotations

from typing import Any

import httpx

from tests.contract.service_process import SMALL, finished, wait_for

PATIENCE_S = 1200.0
SPACE = {
    "engine": "wirelane",
    "mode": "inline",
    "lanes": 1,
    "mtu": 1420,
    "baseline": {"engine": "kernel", "mode": None},
}
"""Kernel WireGuard as the baseline, wirelane as what is tried."""


def make_testbed(client: httpx.Client, name: str, **body: Any) -> dict[str, Any]:
    """A testbed that is provisioned, or that was refused."""
    client.post("/testbeds", json={"name": name, **body}).raise_for_status()
    testbed = wait_for(client, f"/testbeds/{name}", lambda testbed: testbed["state"] != "provisioning", PATIENCE_S)
    return dict(testbed)


def begin_study(client: httpx.Client, testbed: str) -> str:
    """Two candidates, as few rounds as give a verdict; its path."""
    spec = {**SMALL, "testbed": testbed, "trials": 1, "finalists": 1, "sample_seconds": 1, "space": SPACE}
    created = client.post("/studies", json=spec)
    assert created.status_code == 202, created.text
    return f"/studies/{created.json()['id']}"


def completed(client: httpx.Client, path: str) -> dict[str, Any]:
    """The result of a study that ends with a verdict."""
    study = wait_for(client, path, finished, PATIENCE_S)
    assert study["state"] == "completed", study["failure"]
    result: dict[str, Any] = client.get(f"{path}/result").json()
    assert result["verdict"] is not None
    assert {trial["candidate"]["engine"] for trial in result["trials"]} == {"kernel", "wirelane"}
    return result


def blocks_in(result: dict[str, Any], state: str) -> list[dict[str, Any]]:
    """The blocks in a state, of all trials."""
    return [block for trial in result["trials"] for block in trial["measured"] if block["state"] == state]


def told(result: dict[str, Any]) -> str:
    """What was measured and what came of it, in words."""
    samples = sum(len(block["samples"]) for block in blocks_in(result, "completed"))
    candidates = " and ".join(trial["words"] for trial in result["trials"])
    return f"a study of {candidates}: {samples} samples, {len(blocks_in(result, 'failed'))} blocks failed and repeated"


def await_phase(client: httpx.Client, path: str, phase: str, blocks_done: int) -> None:
    """Returns as the lab is in a phase of a block, once so many blocks are done."""

    def reached(study: dict[str, Any]) -> bool:
        progress = study["progress"]
        running = progress["running"] or {}
        return finished(study) or (progress["blocks_done"] >= blocks_done and running.get("lab_phase") == phase)

    study = wait_for(client, path, reached, PATIENCE_S)
    assert not finished(study), f"the study ended before {phase} of block {blocks_done}: {study['failure']}"
