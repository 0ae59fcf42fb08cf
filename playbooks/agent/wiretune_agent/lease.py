"""Commit-confirmed apply: a candidate is there on lease, and a watcher on the host takes it away when the lease ends.

The lease is armed before the first change and is short; `confirm`, which comes over a new connection, makes it as long
as the trial. A controller that dies, or that a change has cut off, confirms nothing: the host heals without it. The
watcher is a transient systemd unit where there is systemd, a detached process elsewhere. All of it is in the state
folder on /run, so that a reboot ends it too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiretune_agent.command import attempt
from wiretune_agent.errors import AgentError
from wiretune_agent.processes import Process

LEASE = "lease.json"
WATCHER = "lease-watcher.json"
ENDED = "lease-ended.json"
SYSTEMD = Path("/run/systemd/system")
POLL_S = 0.5
WATCHER_START_TIMEOUT_S = 30.0


def arm(state_folder: Path, lease_s: float) -> None:
    """Begin or renew the lease; returns when a watcher has it in view. Raises AgentError when none can be started."""
    (state_folder / ENDED).unlink(missing_ok=True)
    _write(state_folder, lease_s)
    if _watched(state_folder):
        return
    agent = str(Path(__file__).resolve().parents[1])
    argv = [sys.executable, agent, "lease", str(state_folder)]
    unit = f"wiretune-lease-{state_folder.name}"
    if SYSTEMD.exists():
        attempt(["systemctl", "stop", f"{unit}.service"], timeout_s=60)
        options = ["--quiet", "--collect", f"--unit={unit}", "--property=Restart=on-failure"]
        result = attempt(["systemd-run", *options, *argv], timeout_s=60)
        if result.returncode != 0:
            raise AgentError(f"the host cannot be made to heal by itself: {result.stderr.strip()[:300]}")
    else:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + WATCHER_START_TIMEOUT_S
    while not _watched(state_folder):
        if time.monotonic() > deadline:
            raise AgentError("the watcher that would heal the host did not start; nothing was changed")
        time.sleep(0.02)


def confirm(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make the lease as long as the trial. `arguments`: state_folder, lease_s. Raises AgentError where it has ended."""
    folder = Path(arguments["state_folder"])
    if not (folder / LEASE).exists():
        raise AgentError(
            "the host has taken the candidate away again, because it was not confirmed in time",
            hint="a change cut the management connection for a while, or the host is very slow",
        )
    _write(folder, arguments["lease_s"])
    return {}


def end(state_folder: Path) -> None:
    """Give the lease back: the watcher ends without doing anything."""
    (state_folder / LEASE).unlink(missing_ok=True)


def watch(state_folder: Path) -> None:
    """The watcher: returns when there is no lease, and rolls the candidate back when one has ended.

    It strikes itself off before it looks for a lease once more; `arm` writes the lease before it looks for a watcher.
    In whatever order these come, a lease has a watcher that stays.
    """
    from wiretune_agent import gateway  # noqa: PLC0415 - gateway arms leases

    record = state_folder / WATCHER
    while _left_s(state_folder) is not None:
        record.write_text(json.dumps(Process.of(os.getpid())))
        while (left_s := _left_s(state_folder)) is not None:
            if left_s > 0:
                time.sleep(min(POLL_S, left_s))
            else:
                gateway.rollback({"state_folder": str(state_folder)})
                (state_folder / ENDED).write_text(json.dumps({"unix_time_s": time.time()}))
        record.unlink(missing_ok=True)


def _left_s(state_folder: Path) -> float | None:
    try:
        ends_at_s = float(json.loads((state_folder / LEASE).read_text())["ends_at_s"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return 0.0  # A damaged lease is none that anybody holds: heal.
    return ends_at_s - time.clock_gettime(time.CLOCK_BOOTTIME)


def _write(state_folder: Path, lease_s: float) -> None:
    ends_at_s = time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s
    new = state_folder / f"{LEASE}.new"
    new.write_text(json.dumps({"ends_at_s": ends_at_s}))
    new.replace(state_folder / LEASE)


def _watched(state_folder: Path) -> bool:
    try:
        return Process(*json.loads((state_folder / WATCHER).read_text())).alive
    except (FileNotFoundError, ValueError, TypeError):
        return False
