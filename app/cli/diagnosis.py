"""`wiretune doctor`: the list, worst news visible, and an exit code for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from app import __version__
from app.cli.client import health_at, service_url
from app.cli.failures import CommandError, Exit
from app.settings import Settings
from app.system.schemas import Capability, Health
from app.system.service import capabilities

_STYLE = {"ok": "green", "degraded": "yellow", "missing": "red"}


_JOBS = {
    "running": "a worker takes jobs, the database answers",
    "no_worker": "the database answers, but no worker runs its jobs",
    "unknown": "the database does not answer",
}


def running_services() -> Iterator[Capability]:
    """How the service is that commands here would talk to; nothing where there is none."""
    try:
        url = service_url(Settings())
        if url is None:
            return
        health = Health.model_validate(health_at(url))
    except (CommandError, ValidationError) as error:
        message = error.message if isinstance(error, CommandError) else f"what answers at {url} is no Wiretune"
        hint = (error.hint if isinstance(error, CommandError) else "") or "Look at WIRETUNE_URL."
        yield Capability(name="service", title="Service", state="degraded", required=False, detail=message, hint=hint)
        return
    same = health.version == __version__
    yield Capability(
        name="service",
        title="Service",
        state="ok" if same and health.jobs == "running" else "degraded",
        required=False,
        detail=f"version {health.version} at {url}: {_JOBS[health.jobs]}",
        hint=health.hint or ("" if same else f"This is version {__version__}: restart the service."),
    )


def print_diagnosis(as_json: bool) -> None:
    """Print what this machine can do, and how its service is, if there is one. Raises CommandError when the netns
    testbed cannot work."""
    found = capabilities()
    found.items += running_services()
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
