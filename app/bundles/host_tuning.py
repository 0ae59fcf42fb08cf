"""Host settings of a bundle: a service that makes them on each gateway, by the code that made them to be measured."""

from __future__ import annotations

from pathlib import Path

from app.bundles.placed_file import PlacedFile
from tuner.candidate import Gateway

UNIT = "wiretune-host-tuning.service"
FOLDER = "/etc/wiretune/host-tuning"
FOLDERS = (f"{FOLDER}/wiretune_agent", FOLDER)
PROGRAMS = ("/usr/bin/python3", "tc", "ethtool", "systemd-run")
_AGENT = Path(__file__).resolve().parents[2] / "playbooks" / "agent" / "wiretune_agent"
_MODULES = ("__init__.py", "command.py", "errors.py", "host_settings.py", "host_tuning.py")


def placed_files(name: Gateway) -> tuple[PlacedFile, ...]:
    """What gateway `name` gets: the settings and the service of its own, the program as both do."""
    return (
        PlacedFile(
            f"{name}/host-tuning.json", "/etc/wiretune/host-tuning.json", "host-tuning.json.j2", "the host settings"
        ),
        PlacedFile(
            f"{name}/{UNIT}", f"/etc/systemd/system/{UNIT}", f"{UNIT}.j2", "makes them at every start of the host"
        ),
        *(
            PlacedFile(f"host-tuning/{file}", f"{FOLDER}/{file}", path, "the program that makes them")
            for file, path in _program()
        ),
    )


def _program() -> tuple[tuple[str, Path | str], ...]:
    own = Path(__file__).parent / "templates" / "host_tuning_service.py"
    return (("__main__.py", own), *((f"wiretune_agent/{module}", _AGENT / module) for module in _MODULES))
