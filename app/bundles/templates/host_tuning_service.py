"""`python3 -B /etc/wiretune/host-tuning apply|verify|restore`: the host settings of a bundle from Wiretune.

apply    make the settings of /etc/wiretune/host-tuning.json; what they were before is written down first
verify   say which of them are not, or no longer, as apply has made them
restore  put everything back as it was
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from wiretune_agent import host_tuning
from wiretune_agent.command import attempt
from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import udp_flow

SETTINGS = Path("/etc/wiretune/host-tuning.json")
RECORD_FOLDER = "/run/wiretune-host-tuning"
ROUTE_TIMEOUT_S = 30.0


def main(argv: list[str]) -> str | int:
    """What to tell sys.exit."""
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", RECORD_FOLDER))
    try:
        if argv == ["apply"]:
            return _apply(folder)
        if argv == ["verify"]:
            return _verify(folder)
        if argv == ["restore"]:
            host_tuning.restore(folder)
            return 0
    except AgentError as error:
        return f"host-tuning: {error.message}{'; ' if error.hint else ''}{error.hint}"
    return str(__doc__)


def _apply(folder: Path) -> int:
    settings, toward = _settings()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        host_tuning.apply(settings, _interface_toward(toward), udp_flow(toward), folder)
    except AgentError:
        host_tuning.restore(folder)
        raise
    for name, value in host_tuning.observed(folder).items():
        print(f"{name} = {value}")  # noqa: T201 - for the journal
    return 0


def _verify(folder: Path) -> str | int:
    if not (folder / host_tuning.RECORD).exists():
        return "host-tuning: no settings are made; systemctl start wiretune-host-tuning makes them"
    return "\n".join(host_tuning.differences(folder)) or 0


def _settings() -> tuple[dict[str, Any], str]:
    try:
        content = json.loads(SETTINGS.read_text())
        return dict(content["settings"]), str(content["toward"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AgentError(f"{SETTINGS} cannot be read: {error!r}") from error


def _interface_toward(address: str) -> str:
    """The interface on the way to the other gateway. A host that has just started may not have the route yet."""
    deadline = time.monotonic() + ROUTE_TIMEOUT_S
    while True:
        asked = attempt(["ip", "-j", "route", "get", address])
        if asked.returncode == 0:
            device = str(json.loads(asked.stdout)[0]["dev"])
            if device == "lo":
                raise AgentError(f"{address}, the other gateway's address, is this host's own")
            return device
        if time.monotonic() > deadline:
            raise AgentError(f"there is no route to the other gateway, {address}: {asked.stderr.strip()[:200]}")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
