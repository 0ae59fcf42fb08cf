"""Kernel settings, with a snapshot of what they were before the first change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from wiretune_agent.errors import AgentError

SNAPSHOT = "sysctl-snapshot.json"


def read(name: str) -> str:
    """The value of a setting such as "net.ipv4.ip_forward". Raises AgentError where the kernel has none."""
    try:
        return " ".join(_path(name).read_text().split())
    except OSError as error:
        raise AgentError(f"cannot read sysctl {name}: {error.strerror}") from error


def write(name: str, value: str) -> None:
    """Set one value. Raises AgentError where the kernel refuses it."""
    try:
        _path(name).write_text(value)
    except OSError as error:
        raise AgentError(f"cannot set sysctl {name} to {value}: {error.strerror}") from error


def apply(settings: Mapping[str, str], state_folder: Path) -> None:
    """Set values; those that change for the first time are remembered for `restore`."""
    path = state_folder / SNAPSHOT
    snapshot: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    before = {name: read(name) for name in settings}
    new = {name: value for name, value in before.items() if name not in snapshot}
    if new:
        path.write_text(json.dumps(snapshot | new))
    for name, value in settings.items():
        if before[name] != value:
            write(name, value)


def restore(state_folder: Path) -> None:
    """Put back every value that `apply` has changed, and forget the snapshot."""
    path = state_folder / SNAPSHOT
    if not path.exists():
        return
    for name, value in json.loads(path.read_text()).items():
        if read(name) != value:
            write(name, value)
    path.unlink()


def _path(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))
