"""The program that puts a bundle's files in place on a gateway: all of them or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.bundles.rendering import TEMPLATES
from tests.unit.bundles.sources import PUBLIC_KEY

PROGRAM = TEMPLATES / "place_files.py"
FILES = [
    {"destination": "/etc/first.conf", "mode": "0644"},
    {"destination": "/etc/deep/second.conf", "mode": "0600", "validate": "grep -q {word} %s"},
]


def place(root: Path, word: str = "peer", **changes: Any) -> subprocess.CompletedProcess[str]:
    files = [{name: value.replace("{word}", word) for name, value in file.items()} for file in FILES]
    wanted = {
        "files": files,
        "contents": ["one\n", "peer @PUBLIC_KEY_B_LANE_0@\n"],
        "far_side": "b",
        "far_keys": [PUBLIC_KEY],
        "root": str(root),
        "validate": True,
    }
    argv = [sys.executable, str(PROGRAM)]
    return subprocess.run(argv, input=json.dumps(wanted | changes), capture_output=True, text=True, check=False)


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_files_are_placed_once(tmp_path: Path) -> None:
    first = place(tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == [f"{tmp_path}/etc/first.conf", f"{tmp_path}/etc/deep/second.conf"]
    assert content(tmp_path) == {"etc/first.conf": "one\n", "etc/deep/second.conf": f"peer {PUBLIC_KEY}\n"}
    assert (tmp_path / "etc/deep/second.conf").stat().st_mode & 0o7777 == 0o600
    assert place(tmp_path).stdout == ""
    (tmp_path / "etc/first.conf").chmod(0o600)
    assert place(tmp_path).stdout == f"{tmp_path}/etc/first.conf\n"


def test_one_that_is_refused_leaves_all_as_they_were(tmp_path: Path) -> None:
    place(tmp_path)
    before = content(tmp_path)
    refused = place(tmp_path, word="nobody", contents=["two\n", "peer\n"])
    assert refused.returncode == 1
    assert "second.conf is not valid: grep refuses it" in refused.stderr
    assert content(tmp_path) == before
    assert place(tmp_path, word="nobody", contents=["two\n", "peer\n"], validate=False).returncode == 0


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "elsewhere").write_text("one\n")
    (tmp_path / "etc/first.conf").symlink_to(tmp_path / "elsewhere")
    assert place(tmp_path, contents=["two\n", "peer\n"]).returncode == 0
    assert (tmp_path / "elsewhere").read_text() == "one\n"
    assert not (tmp_path / "etc/first.conf").is_symlink()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no folder\n")
    failed = place(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{tmp_path}/etc")
