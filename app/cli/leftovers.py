"""`wiretune cleanup`: what killed runs left on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from app.cli.child_service import service_for_one_command
from app.cli.failures import CommandError, Exit
from app.cli.tune import remove_abandoned
from app.lab.driver import LabError
from app.settings import Settings

_NAMESPACES = Path("/run/netns")
_STATE_FOLDERS = Path("/run/wiretune")
_NAMESPACE = re.compile(r"^wt-([a-z][a-z0-9-]{0,14})-[ab]$")
_STATE_FOLDER = re.compile(r"^([a-z][a-z0-9-]{0,14})-[ab]$")


def remove_leftovers(everything: bool) -> None:
    """Remove what killed runs of this data folder left, or every netns testbed of this machine. Raises CommandError."""
    console = Console()
    if everything:
        _tear_down_all(console)
        return
    with service_for_one_command(Settings()) as (api, _):
        # Starting a service already rolls back what a killed one left half-done.
        removed = remove_abandoned(api, console)
    console.print(f"Removed {removed} abandoned testbed{'' if removed == 1 else 's'}.")


def _tear_down_all(console: Console) -> None:
    from app.lab.netns import NetnsDriver  # noqa: PLC0415

    names = _named(_NAMESPACES, _NAMESPACE) | _named(_STATE_FOLDERS, _STATE_FOLDER)
    for name in sorted(names):
        try:
            NetnsDriver(name).teardown()
        except LabError as error:
            raise CommandError(
                f"testbed {name} could not be removed: {error.message}", hint=error.hint, code=Exit.MACHINE
            ) from error
        console.print(f"Removed testbed {name}.", highlight=False)
    if not names:
        console.print("There is no netns testbed on this machine.")


def _named(folder: Path, pattern: re.Pattern[str]) -> set[str]:
    entries = folder.iterdir() if folder.is_dir() else ()
    return {found.group(1) for entry in entries if (found := pattern.match(entry.name))}
