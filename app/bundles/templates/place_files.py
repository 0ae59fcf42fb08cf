"""Puts the files of one gateway in place: first all are written and checked, then each that differs takes its place.

apply.yml runs it on the gateway. Standard input is JSON: files (each: destination, mode, perhaps validate), contents in
the same order, far_side and far_keys (the other gateway and the public keys of its lanes), root (a folder to go under
instead of /) and whether to validate. It prints the destination of each file that has changed.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

PART = ".wiretune-part"


def main(wanted: dict[str, Any]) -> str | int:
    """What to tell sys.exit."""
    parts: list[tuple[Path, Path]] = []
    try:
        for file, content in zip(wanted["files"], wanted["contents"], strict=True):
            filled = _filled(content, wanted["far_side"], wanted["far_keys"]).encode()
            destination, mode = Path(wanted["root"] + file["destination"]), int(file["mode"], 8)
            if _is_there(destination, filled, mode):
                continue
            destination.parent.mkdir(parents=True, exist_ok=True)
            part = destination.with_name(destination.name + PART)
            parts.append((part, destination))
            part.write_bytes(filled)
            part.chmod(mode)
            if wanted["validate"] and (refusal := _refusal(part, file.get("validate"))):
                return f"{destination} is not valid: {refusal}"
        for part, destination in parts:
            part.replace(destination)
            print(destination)  # noqa: T201 - for the playbook
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
    return 0


def _filled(content: str, side: str, keys: list[str]) -> str:
    for lane, key in enumerate(keys):
        content = content.replace(f"@PUBLIC_KEY_{side.upper()}_LANE_{lane}@", key)
    return content


def _is_there(path: Path, content: bytes, mode: int) -> bool:
    try:
        return not path.is_symlink() and path.stat().st_mode & 0o7777 == mode and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _refusal(path: Path, check: str | None) -> str:
    """What a program has against the file; `check`: its command line, with %s for the path."""
    if check is None:
        return ""
    argv = [str(path) if word == "%s" else word for word in shlex.split(check)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"{argv[0]} refuses it"


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
