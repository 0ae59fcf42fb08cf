"""Files that commands are given and write: what is wrong with one is said in a line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from app.cli.failures import CommandError, Exit

MOST_BYTES = 16 << 20
"""No file that a command takes comes near it; a device without end goes past it."""


def read_file(path: Path) -> bytes:
    """The whole file. Raises CommandError."""
    try:
        with path.open("rb") as file:
            found = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", code=Exit.USAGE) from error
    if len(found) > MOST_BYTES:
        raise CommandError(f"cannot read {path}: it is larger than {MOST_BYTES >> 20} MiB", code=Exit.USAGE)
    return found


def check_outputs(*paths: Path | None) -> None:
    """Refuse now what would fail after minutes of measuring."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir():
            raise CommandError(f"cannot write {path}: no such folder, or it is a folder itself", code=Exit.USAGE)
        if not os.access(path.parent, os.W_OK):
            raise CommandError(f"cannot write {path}: permission denied", code=Exit.USAGE)


def write_json(path: Path, value: Any) -> None:
    """Write a file, whole or not at all. Raises CommandError."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
