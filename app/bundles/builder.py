"""Builds a bundle: one deterministic tar.gz that puts a study's winner into production, with its evidence."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.bundles import archive
from app.bundles.contents import BundleInfo, BundleSource
from app.bundles.key_guard import refuse_secrets
from app.bundles.rendering import render


def build_bundle(source: BundleSource, output: Path) -> BundleInfo:
    """Writes the bundle of a study to `output`, whole or not at all; equal sources give equal bytes.

    Raises key_guard.SecretInBundleError when something in it looks like a secret key, and errors.StorageError when it
    cannot be written, for example because the disk is full.
    """
    files = render(source)
    refuse_secrets(files, source.known_public_keys())
    files["SHA256SUMS"] = archive.checksums(files)
    content = archive.tar_gz(source.name, files, int(source.measured_until.timestamp()))
    archive.write_atomically(output, content)
    return BundleInfo(
        name=source.name,
        filename=output.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        files=len(files),
        candidate_key=source.winner.key,
    )
