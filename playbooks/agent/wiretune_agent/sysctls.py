"""Kernel settings, with a snapshot of what they were before the first change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from wiretune_agent import large_receive
from wiretune_agent.errors import AgentError

SNAPSHOT = "sysctl-snapshot.json"
FORWARDING = "net.ipv4.ip_forward"
SENDS_REDIRECTS = "net.ipv4.conf.all.send_redirects"
"""In-tree WireGuard turns it off for the whole host as its first device comes up (wg_open), and never on again."""


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
    """Set values; those that change for the first time are remembered for `restore`, with what changes along."""
    path = state_folder / SNAPSHOT
    snapshot: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    before = {name: read(name) for name in settings}
    along = [SENDS_REDIRECTS]
    if before.get(FORWARDING) != settings.get(FORWARDING):
        along += _changed_by_forwarding()
        large_receive.note(state_folder)
    before |= {name: read(name) for name in along if os.access(_path(name), os.W_OK)}
    new = {name: value for name, value in before.items() if name not in snapshot}
    if new:
        path.write_text(json.dumps(snapshot | new))
    for name, value in settings.items():
        if before[name] != value:
            write(name, value)


def restore(state_folder: Path) -> None:
    """Put back every value that `apply` has changed, and forget the snapshot. What went meanwhile, as settings of an
    interface go with it, has nothing to put back."""
    path = state_folder / SNAPSHOT
    if path.exists():
        for name, value in json.loads(path.read_text()).items():
            if _path(name).exists() and read(name) != value:
                write(name, value)
        path.unlink()
    large_receive.restore(state_folder)  # Last: forwarding, while it is on, keeps it off.


def _changed_by_forwarding() -> Iterator[str]:
    """What the kernel resets as forwarding is switched: "this variable is special, its change resets all configuration
    parameters" (Documentation/networking/ip-sysctl.rst). A hardened host would accept redirects afterwards."""
    yield "net.ipv4.conf.all.accept_redirects"
    for folder in sorted(_path("net.ipv4.conf").iterdir()):
        if folder.name != "all":  # That one is ip_forward by another name.
            yield f"net.ipv4.conf.{folder.name.replace('.', '/')}.forwarding"


def _path(name: str) -> Path:
    """As sysctl(8) has it, a slash in a name stands for a dot, which names of interfaces may have."""
    return Path("/proc/sys", *(part.replace("/", ".") for part in name.split(".")))
