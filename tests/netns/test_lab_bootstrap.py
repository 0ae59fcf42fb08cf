"""Bringing the agent to a host whose memory file system is full: nothing stays, and what was there can still go."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[2] / "playbooks/plugins/modules/bootstrap.py"
SIZE_BYTES = 256 << 10
AGENT = os.urandom(20_000)
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system"),
]


@pytest.fixture
def run_folder(tmp_path: Path) -> Iterator[Path]:
    """A small `/run` of our own."""
    folder = tmp_path / "run"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "wiretune-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def bootstrap(state_folder: Path, archive: bytes) -> dict[str, Any]:
    """As Ansible runs a module of this kind on a host: its arguments filled in, down a pipe."""
    arguments = {
        "state_folder": str(state_folder),
        "programs_folder": str(state_folder / "programs"),
        "archive": base64.b64encode(archive).decode(),
    }
    module = MODULE.read_text().replace('"<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>"', repr(json.dumps(arguments)))
    done = subprocess.run([sys.executable, "-"], input=module, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_host_that_is_full_keeps_nothing(run_folder: Path) -> None:
    (run_folder / "ballast").write_bytes(bytes(SIZE_BYTES - 8192))
    answer = bootstrap(run_folder / "wiretune/full-a", AGENT)
    assert answer["failed"] and "free some space" in answer["error"]["hint"]
    assert sorted(path.name for path in run_folder.iterdir()) == ["ballast"]


def test_an_agent_that_is_there_needs_no_space(run_folder: Path) -> None:
    folder = run_folder / "wiretune/full-a"
    assert not bootstrap(folder, AGENT).get("failed")
    (run_folder / "ballast").write_bytes(bytes(SIZE_BYTES - len(AGENT) - 16384))
    assert not bootstrap(folder, AGENT).get("failed"), "a testbed could not be taken off a host that is full"
    assert bootstrap(folder, os.urandom(100_000))["failed"]
    assert (folder / "programs/agent.zip").read_bytes() == AGENT, "what was there must stay whole"
    assert list((folder / "programs").iterdir()) == [folder / "programs/agent.zip"]
