"""Deterministic tar.gz files, written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.errors import StorageError

SCRIPT_SUFFIX = ".sh"


def checksums(files: Mapping[str, bytes]) -> bytes:
    """A SHA256SUMS file of the given files, in the format that `sha256sum --check` reads."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode()


def tar_gz(folder: str, files: Mapping[str, bytes], modified_at_s: int) -> bytes:
    """Bytes of an archive that has `files` under `folder`; equal arguments give equal bytes."""
    archive = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=archive, mtime=modified_at_s) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.PAX_FORMAT) as tar,
    ):
        for parent in _folders(folder, files):
            tar.addfile(_entry(parent, modified_at_s, kind=tarfile.DIRTYPE, mode=0o755))
        for name, content in sorted(files.items()):
            mode = 0o755 if name.endswith(SCRIPT_SUFFIX) else 0o644
            entry = _entry(f"{folder}/{name}", modified_at_s, kind=tarfile.REGTYPE, mode=mode)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _folders(folder: str, files: Mapping[str, bytes]) -> list[str]:
    found = {folder}
    for name in files:
        parts = name.split("/")[:-1]
        found.update("/".join([folder, *parts[: depth + 1]]) for depth in range(len(parts)))
    return sorted(found)


def _entry(name: str, modified_at_s: int, *, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.type, entry.mode = modified_at_s, kind, mode
    return entry


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` by `content`, durably; a failure leaves what was there before and no partial file.

    Raises StorageError when the disk is full or the folder cannot be written.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise _storage_error(path, len(content), error) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(path: Path, size_bytes: int, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"The disk is full: {path} needs {size_bytes} bytes.",
            hint=f"Free some space under {path.parent} and build the bundle again; the study itself is kept.",
        )
    return StorageError(f"{path} cannot be written: {error.strerror or error}.")
