"""What a testbed leaves on this machine, and waiting for something to happen: shared by the tests of the lab."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def traces(testbed: str) -> dict[str, list[str]]:
    """Everything on this machine that carries the testbed's name, and all of its interfaces in our own namespace."""
    state = Path("/run/wiretune")
    links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True, text=True).stdout)
    return {
        "namespaces": sorted(path.name for path in Path("/run/netns").glob(f"wt-{testbed}-*")),
        "links": sorted(link["ifname"] for link in links if link["ifname"] in ("underlay", "inside", "gen", "wl0")),
        "folders": sorted(path.name for path in state.glob(f"{testbed}-*")) if state.exists() else [],
        "processes": sorted(processes_mentioning(f"wt-{testbed}-", f"/run/wiretune/{testbed}-")),
    }


NOTHING: dict[str, list[str]] = {"namespaces": [], "links": [], "folders": [], "processes": []}


def processes_mentioning(*words: str) -> list[str]:
    """Command lines of the living processes that contain one of the words, this one apart."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # It ended while we looked.
        if int(folder.name) != os.getpid() and any(word in command for word in words):
            found.append(f"{folder.name} {command}")
    return found


def processes_inside(namespace: str) -> list[str]:
    """Names of the processes in a network namespace; empty when there is no such namespace."""
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, check=False, text=True).stdout
    names = []
    for pid in pids.split():
        try:
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue  # It ended while we looked.
    return sorted(names)


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Returns as soon as the condition holds; fails the test when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing of it within {timeout_s} s"
        time.sleep(0.02)
