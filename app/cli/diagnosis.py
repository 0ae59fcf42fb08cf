"""`wiretune doctor`: the list, worst news visible, and an exit code for scripts."""

from __future__ import annotations

import sys

from rich.console import Console
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
        console = Console()
        for item in found.items:
            line = Text(f"{item.state:9}", style=_STYLE[item.state]) + Text(
                f"{item.title}: {item.detail}", style="default"
            )
            console.print(line, soft_wrap=True)
            if item.hint:
                console.print(Text(f"          → {item.hint}", style="dim"), soft_wrap=True)
    if not found.can_tune_netns:
        missing = ", ".join(item.title for item in found.items if item.required and item.state != "ok")
        raise CommandError(f"`wiretune tune` cannot work here: {missing}", code=Exit.MACHINE)
