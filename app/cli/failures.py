"""Exit codes, and errors that end a command with one clear line and a hint instead of a traceback."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MACHINE = 3
    SERVICE = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command: one line for people, a hint what to do, an exit code."""

    def __init__(self, message: str, *, hint: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code


class Interrupted(BaseException):
    """SIGINT or SIGTERM came."""
