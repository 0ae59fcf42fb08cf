"""What the services ask of the workflow engine. `app.workflows` implements it; the services know nothing else of it."""

from __future__ import annotations

from typing import Protocol

from app.bundles.site import Site


class Jobs(Protocol):
    """Long work, one job a testbed at a time. Every call returns at once.

    A job that runs looks at the tables, again and again, whether it was cancelled.
    """

    def provision(self, testbed: str, job: str) -> None:
        """Make a testbed ready."""
        ...

    def teardown(self, testbed: str, job: str) -> None:
        """Remove a testbed from its hosts, then forget it."""
        ...

    def tune(self, study_id: str, testbed: str, run: int) -> None:
        """Run a study, or continue it where it stopped."""
        ...

    def measure(self, measurement_id: str, testbed: str) -> None:
        """Measure one candidate once."""
        ...

    def rebuild_bundle(self, study_id: str, site: Site | None) -> None:
        """Build a study's bundle again, for this site or for its testbed."""
        ...
