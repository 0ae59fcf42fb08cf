"""Bundles of studies: what the study workflow calls once a study has its verdict, and again when somebody asks."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from app.bundles.builder import build_bundle
from app.bundles.contents import BundleInfo, BundleSource
from app.bundles.site import NETNS_SITE, Site
from app.studies.schemas import StudyResult

_PACKAGES = ("ansible-core", "ansible-runner", "optuna", "numpy", "scipy")


def bundle_of_study(
    result: StudyResult, folder: Path, *, site: Site = NETNS_SITE, public_keys: tuple[str, ...] = ()
) -> BundleInfo:
    """Writes the bundle of a study into `folder`; `public_keys` are the lane keys of its testbed.

    Raises pydantic.ValidationError for a study without a verdict, and what builder.build_bundle raises.
    """
    source = BundleSource(result=result, site=site, versions=software_versions(), public_keys=public_keys)
    return build_bundle(source, folder / f"{source.name}.tar.gz")


def software_versions() -> dict[str, str]:
    """Versions of what measured and decided on this machine, besides those in the samples and fingerprints."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        **{package: version(package) for package in _PACKAGES},
    }
