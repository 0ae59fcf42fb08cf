"""SIGINT and SIGTERM end a command in order: the first one interrupts it, later ones do not interrupt its clean-up."""

from __future__ import annotations

import signal
from types import FrameType

from app.cli.failures import Interrupted

_ENDING = (signal.SIGINT, signal.SIGTERM)


def raise_when_interrupted() -> None:
    """From now on the first signal raises Interrupted in the main thread."""
    for number in _ENDING:
        signal.signal(number, _interrupt)


def ignore_interrupts() -> None:
    """A clean-up begins that must run to its end."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    ignore_interrupts()
    raise Interrupted
