"""Private folders of killed runs: removed once nobody holds them, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.lab import playbook_runner
from app.lab.playbook_runner import PREFIX, remove_abandoned_folders

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from app.lab.playbook_runner import _held
with _held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(playbook_runner, "UNLOCKED_S", -1)
    return tmp_path


def test_a_folder_goes_once_its_run_was_killed(temporary: Path) -> None:
    folder = temporary / f"{PREFIX}one"
    (folder / "project").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stdout.readline() == b"held\n"
        assert remove_abandoned_folders() == 0 and folder.exists()
        run.kill()
    assert remove_abandoned_folders() == 1 and not folder.exists()


def test_links_and_what_only_looks_alike_stay(temporary: Path) -> None:
    victim = temporary / "victim"
    victim.mkdir()
    (victim / "precious").write_text("")
    (temporary / f"{PREFIX}link").symlink_to(victim)
    (temporary / f"{PREFIX}file").write_text("")
    inside = temporary / f"{PREFIX}two"
    inside.mkdir()
    (inside / "link").symlink_to(victim)
    assert remove_abandoned_folders() == 1
    assert (victim / "precious").exists() and (temporary / f"{PREFIX}link").is_symlink()
    assert (temporary / f"{PREFIX}file").exists() and not inside.exists()


def test_a_folder_that_its_run_is_about_to_lock_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playbook_runner, "UNLOCKED_S", 3600)
    (temporary / f"{PREFIX}new").mkdir()
    assert remove_abandoned_folders() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a folder to somebody else")
def test_somebody_elses_stays(temporary: Path) -> None:
    other = temporary / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    assert remove_abandoned_folders() == 0 and other.exists()
