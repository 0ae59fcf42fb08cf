"""Builds the bundle of a finished study and keeps it in the data folder."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from app.bundles.builder import build_bundle
from app.bundles.contents import BundleSource
from app.bundles.site import NETNS_SITE, Site
from app.database import now
from app.errors import ServiceError
from app.studies.recording import StudyRecorder
from app.studies.schemas import BundleView
from app.studies.service import StudyService

log = structlog.get_logger(__name__)

_TOOLS = ("ansible-core", "ansible-runner", "optuna", "scipy")


class Bundling:
    """Bundles of one data folder."""

    def __init__(self, studies: StudyService, recorder: StudyRecorder, directory: Path) -> None:
        self._studies, self._recorder, self._directory = studies, recorder, directory

    def build(self, study_id: str, site: Site = NETNS_SITE) -> BundleView:
        """Build the bundle of a study that has a verdict. Raises StorageError or another ServiceError, OSError."""
        provisioned = self._recorder.snapshot(study_id).provisioned
        gateways = provisioned.gateways.values() if provisioned else ()
        source = BundleSource(
            result=self._studies.result(study_id),
            site=site,
            versions={"python": platform.python_version(), **{tool: version(tool) for tool in _TOOLS}},
            public_keys=tuple(key for gateway in gateways for key in gateway.lane_public_keys),
        )
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = build_bundle(source, self._directory / f"{source.name}.tar.gz")
        return BundleView(filename=info.filename, size_bytes=info.size_bytes, sha256=info.sha256, created_at=now())

    def rebuild(self, study_id: str, site: dict[str, Any] | None) -> None:
        """Build a completed study's bundle again and record it, or why that did not work. `site` is a Site as JSON."""
        try:
            view = self.build(study_id, NETNS_SITE if site is None else Site.model_validate(site))
            self._recorder.record_bundle(study_id, view)
        except (ServiceError, OSError) as error:
            log.error("bundle failed", study=study_id, exc_info=error)
            self._recorder.record_bundle_failure(study_id, str(error))
