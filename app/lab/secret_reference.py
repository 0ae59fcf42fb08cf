"""Secrets by reference: what is stored and shown names the place of a password, never the password."""

from __future__ import annotations

import os
import re
from pathlib import Path

from app.lab.driver import LabError

PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]{0,63}|file:/[A-Za-z0-9._/-]{1,200})$"
MAX_SECRET_BYTES = 1024


def secret_of(reference: str) -> str:
    """The secret that a reference names: "env:NAME" of the service, or "file:PATH" readable by its owner only.

    Raises LabError that says what is wrong with the reference, and never what it holds.
    """
    if not re.fullmatch(PATTERN, reference, re.ASCII):
        raise LabError("a password is given by reference", hint="write env:NAME or file:/PATH")
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise LabError(
                f"the service has no environment variable {name}", hint="set it where the service is started"
            )
        return os.environ[name]
    path = Path(name)
    try:
        if path.stat().st_mode & 0o077:
            raise LabError(f"{name} can be read by others than its owner", hint=f"chmod 600 {name}")
        return path.read_text()[:MAX_SECRET_BYTES].rstrip("\n")
    except OSError as error:
        raise LabError(f"the password file {name} cannot be read: {error.strerror}") from error
