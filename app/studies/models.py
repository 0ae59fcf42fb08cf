"""Tables of studies, trials, blocks and samples."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base

ABLATION = "ablation"
"""Origin of a candidate between the baseline and the winner."""


class Study(Base):
    """A search on one testbed. `testbed` is a name, not a key: a study outlives its testbed."""

    __tablename__ = "studies"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    label: Mapped[str] = mapped_column(String(120))
    testbed: Mapped[str] = mapped_column(String(15), index=True)
    driver: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), index=True)
    run: Mapped[int] = mapped_column(default=1)
    simulated: Mapped[bool]
    spec: Mapped[dict[str, Any]]
    provisioned: Mapped[dict[str, Any] | None]
    reference: Mapped[dict[str, Any] | None]
    warm_start: Mapped[dict[str, Any] | None]
    progress: Mapped[dict[str, Any] | None]
    progress_at: Mapped[datetime | None]
    running: Mapped[dict[str, Any] | None]
    verdict: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    bundle: Mapped[dict[str, Any] | None]
    baseline: Mapped[dict[str, Any] | None]
    space_exhausted: Mapped[bool] = mapped_column(default=False)
    elapsed_s: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    trials: Mapped[list[Trial]] = relationship(back_populates="study", order_by="Trial.id", lazy="raise")

    @property
    def emulated(self) -> bool:
        """Whether the gateways' CPUs were emulated; false until the testbed is ready."""
        return bool(self.provisioned and self.provisioned.get("emulated"))


class Trial(Base):
    """One candidate of a study; `number` is the search's, and null for the baseline and for what only the ablation path
    measures."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    number: Mapped[int | None]
    candidate: Mapped[dict[str, Any]]
    candidate_key: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str | None] = mapped_column(String(16))
    params: Mapped[dict[str, Any]]
    expected_gain: Mapped[float | None]
    state: Mapped[str] = mapped_column(String(16))
    told: Mapped[bool] = mapped_column(default=False)
    detail: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship(back_populates="trials", lazy="raise")

    @property
    def is_baseline(self) -> bool:
        """What the study compares with."""
        return self.number is None and self.origin is None

    @property
    def ablation_key(self) -> str | None:
        """Key of a candidate that only the ablation path measures."""
        return self.candidate_key if self.origin == ABLATION else None

    measured: Mapped[list[Block]] = relationship(back_populates="trial", order_by="Block.id", lazy="raise")


class Block(Base):
    """One attempt at running a candidate's workloads back to back; `outcome` is a tuner.outcomes.Outcome.

    `run` counts the study's resumes: lab failures of an earlier run do not use up the attempts of a later one.
    """

    __tablename__ = "blocks"
    __table_args__ = (UniqueConstraint("trial_id", "phase", "index", "run", "attempt"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), index=True)
    phase: Mapped[str] = mapped_column(String(16))
    index: Mapped[int]
    run: Mapped[int]
    attempt: Mapped[int]
    outcome: Mapped[dict[str, Any]]
    read_back: Mapped[dict[str, Any]]
    timings: Mapped[dict[str, Any]]
    started_s: Mapped[float]
    duration_s: Mapped[float]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]

    trial: Mapped[Trial] = relationship(back_populates="measured", lazy="raise")
    samples: Mapped[list[StoredSample]] = relationship(
        back_populates="block", order_by="StoredSample.position", lazy="raise"
    )


class StoredSample(Base):
    """One workload, one duration; `sample` is a tuner.samples.Sample."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("block_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    block_id: Mapped[int] = mapped_column(ForeignKey("blocks.id"), index=True)
    position: Mapped[int]
    throughput_gbps: Mapped[float]
    sample: Mapped[dict[str, Any]]

    block: Mapped[Block] = relationship(back_populates="samples", lazy="raise")
