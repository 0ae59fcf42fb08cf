"""What a bundle is made of, and what it is once written. Text from hosts and users is untrusted and stays data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.bundles.site import NETNS_SITE, Site
from app.studies.schemas import StudyResult
from tuner.candidate import Candidate
from tuner.statistics import Verdict

SCHEMA_VERSION = 1


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleSource(_Value):
    """Everything that a bundle is made of. Equal sources make equal bytes."""

    result: StudyResult = Field(description="of a study that has a verdict")
    site: Site = Field(NETNS_SITE, description="where the configuration is going to run")
    versions: dict[str, str] = Field(
        default_factory=dict, description="name to version: wirelane, python, ansible-core"
    )
    public_keys: tuple[str, ...] = Field(
        (), description="lane keys of the testbed: the only key-like text that the evidence may hold"
    )

    @model_validator(mode="after")
    def _has_verdict(self) -> Self:
        if self.result.verdict is None:
            raise ValueError("the study has no verdict, so there is no configuration to put into production")
        return self

    @property
    def verdict(self) -> Verdict:
        """Best candidate against baseline."""
        if self.result.verdict is None:
            raise AssertionError("checked when the source was made")
        return self.result.verdict

    @property
    def winner(self) -> Candidate:
        """The configuration that the bundle puts into production."""
        return self.verdict.best

    @property
    def name(self) -> str:
        """Name of the bundle and of the one folder in it."""
        return f"wiretune-{self.result.study}-{self.winner.key}"

    def known_public_keys(self) -> set[str]:
        """The testbed's lane keys, and what read-backs name so: a testbed that was healed mid-way had others before."""
        read_backs = [block.read_back for trial in self.result.trials for block in trial.measured]
        return {*self.public_keys, *_values_named("public_key", read_backs)}

    @property
    def measured_until(self) -> datetime:
        """When the study's last block ended; every file of the bundle carries this time."""
        ends = [block.finished_at for trial in self.result.trials for block in trial.measured]
        return max(ends, default=self.result.created_at).astimezone(UTC).replace(microsecond=0)


def _values_named(name: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        found = value.get(name)
        if isinstance(found, str):
            yield found
        for item in value.values():
            yield from _values_named(name, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values_named(name, item)


class BundleInfo(_Value):
    """A bundle that was written."""

    name: str
    filename: str
    sha256: str
    size_bytes: int
    files: int
    candidate_key: str
