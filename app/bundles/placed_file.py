"""A file of a bundle that has a place on a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane as one gateway sees it."""

    number: int
    interface: str
    port: int
    address: str
    key_file: str
    far_key: str
    far_endpoint: str
    allowed_ips: list[str]


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """Where a file comes from and where it goes."""

    source: str
    destination: str
    template: str | Path
    """The name of a template, or the path of a file that is taken as it is."""
    purpose: str
    lane: Lane | None = None
    carries_keys: bool = False
    validate: str | None = None

    def for_play(self) -> dict[str, str]:
        """What apply.yml needs to know of it."""
        entry = {"source": self.source, "destination": self.destination, "mode": "0644"}
        return entry if self.validate is None else entry | {"validate": self.validate}
