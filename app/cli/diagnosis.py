"""`wiretune doctor`: the list, worst news visible, and an exit code for scripts."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.failures import CommandError, Exit
from app.system.service import capabilities

_STYLE = {"ok": "green", "degraded": "yellow", "missing": "red"}


def print_diagnosis(as_json: bool) -> None:
    """Print what this machine can do. Raises CommandError when the netns testbed cannot work."""
    found = capabilities()
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        table = Table("", "", "found", "what to do", box=None, header_style="bold")
        for item in found.items:
            state = Text(item.state, style=_STYLE[item.state])
            table.add_row(state, Text(item.title), Text(item.detail), Text(item.hint))
        Console().print(table)
    if not found.can_tune_netns:
        missing = ", ".join(item.title for item in found.items if item.required)
        raise CommandError(f"`wiretune tune` cannot work here: {missing}", code=Exit.MACHINE)
