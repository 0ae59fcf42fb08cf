"""Where the programs of the engines are looked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _wirelane() -> tuple[str, ...]:
    built = REPOSITORY / "dataplane/target/release/wirelane"
    return tuple(filter(None, (os.environ.get("WIRETUNE_WIRELANE"), str(built), "wirelane")))


def _wireguard_go() -> tuple[str, ...]:
    return tuple(filter(None, (os.environ.get("WIRETUNE_WIREGUARD_GO"), "wireguard-go", "wireguard")))


@dataclass(frozen=True)
class EnginePrograms:
    """Programs to try for each engine, in this order: names on the gateway's PATH, or paths on it."""

    wirelane: tuple[str, ...] = field(default_factory=_wirelane)
    wireguard_go: tuple[str, ...] = field(default_factory=_wireguard_go)

    def of(self, engine: str) -> tuple[str, ...]:
        """The programs to try for an engine of a candidate; none for the kernel's."""
        return {"wirelane": self.wirelane, "wireguard-go": self.wireguard_go}.get(engine, ())
