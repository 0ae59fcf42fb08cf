"""A gateway's fingerprint: what must be the same for two measurements to be comparable. Untrusted, hence bounded."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from importlib import metadata
from typing import TYPE_CHECKING, Any

from app import __version__

if TYPE_CHECKING:
    from app.lab.agent_messages import Facts

MAX_BYTES = 64 << 10
MAX_CHARACTERS = 1500
MAX_DEPTH = 4
MAX_ITEMS = 128
CONTROLLER_PACKAGES = ("ansible-core", "ansible-runner")


def bounded(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """The fingerprint with every text on one line and cut, fit to be shown and stored.

    Raises ValueError for one that no honest agent sends: too large, too deep, or of too many items.
    """
    if len(json.dumps(fingerprint)) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return {on_one_line(name): _bounded(value, 1) for name, value in _few(fingerprint.items())}


def with_controller(facts: Facts) -> Facts:
    """The facts with the programs of this machine that act on the gateway in their fingerprint."""
    versions = {name: metadata.version(name) for name in CONTROLLER_PACKAGES}
    controller = {"controller": {"wiretune": __version__, **versions}}
    return facts.model_copy(update={"fingerprint": facts.fingerprint | controller})


def fingerprint_hash(facts: Facts) -> str:
    """16 hex digits; equal when hardware, kernel, settings and program versions are."""
    value = {"fingerprint": facts.fingerprint, "topology": facts.topology.model_dump(mode="json")}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bounded(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {on_one_line(name): _bounded(item, depth + 1) for name, item in _few(value.items())}
    if isinstance(value, list | tuple):
        return [_bounded(item, depth + 1) for item in _few(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that JSON has no word for")
    return on_one_line(value) if isinstance(value, str) else value


def _few(items: Any) -> list[Any]:
    listed = list(items)
    if len(listed) > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} items")
    return listed


def on_one_line(text: str) -> str:
    """Without what moves a cursor, hides or reverses text (Unicode's category C); cut."""
    shown = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    return shown if len(shown) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 1] + "…"
