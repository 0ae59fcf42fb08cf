"""Large receive offload (LRO): forwarding, as it is switched on, turns it off on every NIC (dev_disable_lro).
Switched off, it does not turn it on again: what the host had chosen has to be put back."""

from __future__ import annotations

import json
from pathlib import Path

from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import NETWORK, Setting, read, write

SNAPSHOT = "lro-snapshot.json"


def note(state_folder: Path) -> None:
    """Write down the interfaces that have it on and need not, unless that was done already."""
    path = state_folder / SNAPSHOT
    if not path.exists():
        path.write_text(json.dumps([folder.name for folder in sorted(NETWORK.iterdir()) if _is_on(folder.name)]))


def restore(state_folder: Path) -> None:
    """Turn it on where it was, and forget the note; an interface that went meanwhile has nothing to put back. Raises
    AgentError that names those on which it stays off, after all others."""
    path = state_folder / SNAPSHOT
    if not path.exists():
        return
    failures = []
    for interface in json.loads(path.read_text()):
        try:
            if (NETWORK / interface).exists() and not _is_on(interface):
                write(_setting(interface), "on")
        except AgentError as error:
            failures.append(error.message)
    if failures:
        raise AgentError(
            f"large receive offload could not be put back: {'; '.join(failures)[:1000]}",
            hint="set it by hand: ethtool -K INTERFACE lro on; a reboot resets it too",
        )
    path.unlink()


def _is_on(interface: str) -> bool:
    try:
        return read(_setting(interface)) == "on"
    except AgentError:
        return False  # It has none, or nobody can change it.


def _setting(interface: str) -> Setting:
    return Setting("feature", f"{interface} lro")
