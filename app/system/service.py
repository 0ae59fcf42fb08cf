"""What this machine can do: the lab's doctor, as the API shows it."""

from __future__ import annotations

from app import __version__
from app.lab.doctor import can_tune, examine
from app.system.schemas import Capabilities, Capability


def capabilities() -> Capabilities:
    """Look at this machine; takes about a second."""
    checks = examine()
    return Capabilities(
        version=__version__,
        can_tune_netns=can_tune(checks),
        items=[Capability.model_validate(check.model_dump()) for check in checks],
    )
