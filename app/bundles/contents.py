"""What goes into a bundle: the result of a study as plain values. Text from hosts is untrusted and stays data."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.bundles.site import Site
from tuner.candidate import Candidate, Gateway
from tuner.samples import Sample

SCHEMA_VERSION = 1
StudyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredGateway(_Value):
    """What one gateway was when it was measured."""

    fingerprint: dict[str, Any] = Field(description="as the host reported it: untrusted")
    fingerprint_hash: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    topology: dict[str, Any] = Field(description="input of tuner.topology.Topology.model_validate")
    lane_public_keys: tuple[str, ...] = Field((), description="the testbed's; production keys are made on the hosts")


class MeasuredBlock(_Value):
    """One candidate measured once: samples taken back to back, in the search or in the confirm phase."""

    trial: int = Field(ge=0)
    phase: Literal["search", "confirm"]
    block: int = Field(ge=0, description="counts the blocks of its phase, in the order they were measured")
    candidate: Candidate
    samples: tuple[Sample, ...] = ()
    read_back: dict[str, Any] = Field(default_factory=dict, description="what was really set, as the hosts reported it")
    error: str | None = Field(None, description="why it could not be measured")


class Verdict(_Value):
    """Winner against baseline in the confirm phase, on one metric."""

    metric: str = Field(max_length=80, description="throughput, Gbit per CPU-second")
    unit: str = Field(max_length=40)
    baseline: float = Field(description="median of the baseline's confirm blocks")
    winner: float = Field(description="median of the winner's confirm blocks")
    gain_ratio: float = Field(description="paired: winner over baseline, 1 is no difference")
    gain_low: float = Field(description="lower end of the interval")
    gain_high: float = Field(description="upper end of the interval")
    confidence: float = Field(0.95, gt=0, lt=1)
    paired_blocks: int = Field(ge=0)
    significant: bool = Field(description="false: no significant difference, which is an answer too")


class BundleSource(_Value):
    """Everything that a bundle is made of. Equal sources make equal bytes."""

    study_id: StudyId
    study_name: str = Field("", max_length=200, description="free text of a user: untrusted")
    testbed: str = Field(max_length=100)
    driver: str = Field(max_length=40)
    ended_at: AwareDatetime = Field(description="when the study ended; every file of the bundle carries this time")
    simulated: bool
    objective: str = Field(max_length=80)
    winner: Candidate
    baseline: Candidate
    verdicts: tuple[Verdict, ...] = Field(min_length=1, description="the study's objective first")
    gateways: dict[Gateway, MeasuredGateway]
    blocks: tuple[MeasuredBlock, ...]
    versions: dict[str, str] = Field(description="name to version: wiretune, wirelane, python, ansible-core, …")
    result: dict[str, Any] = Field(description="the study's result document, as the API answers it")
    site: Site

    @property
    def name(self) -> str:
        """Name of the bundle and of the one folder in it."""
        return f"wiretune-{self.study_id}-{self.winner.key}"

    @property
    def ended_at_s(self) -> int:
        """Seconds since the epoch, whole."""
        return int(self.ended_at.timestamp())


class BundleInfo(_Value):
    """A bundle that was written."""

    name: str
    path: str
    sha256: str
    size_bytes: int
    files: int
    candidate_key: str
    built_from: datetime = Field(description="end of the study, the time that the files carry")
