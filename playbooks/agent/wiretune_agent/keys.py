"""Key pairs of the lanes. The private half is written on the gateway, 0600, and never leaves it."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from wiretune_agent.command import run

KEY_BYTES = 32


def ensure(state_folder: Path, lanes: int) -> list[str]:
    """Public keys of lanes 0 to `lanes` - 1; key pairs that are missing or damaged are made anew."""
    folder = state_folder / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return [_ensure_lane(folder, lane) for lane in range(lanes)]


def path(state_folder: Path, lane: int) -> Path:
    """File with the private key of a lane."""
    return state_folder / "keys" / f"lane{lane}"


def _ensure_lane(folder: Path, lane: int) -> str:
    private, public = folder / f"lane{lane}", folder / f"lane{lane}.pub"
    if not (_is_key(private) and _is_key(public)):
        private_key = run(["wg", "genkey"]).strip()
        public.unlink(missing_ok=True)
        private.unlink(missing_ok=True)
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(private_key + "\n")
        public.write_text(run(["wg", "pubkey"], stdin=private_key).strip() + "\n")
    private.chmod(0o600)
    return public.read_text().strip()


def _is_key(file: Path) -> bool:
    try:
        return len(base64.b64decode(file.read_text().strip(), validate=True)) == KEY_BYTES
    except (OSError, ValueError, binascii.Error):
        return False
