"""Studies, trials and results as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.lab.driver import PhaseTimings
from app.studies.examples import EXPLANATION
from app.studies.states import StudyState
from app.testbeds.schemas import Driver, GatewayView, TestbedName
from tuner.ablation import Ablation
from tuner.bottleneck import Bottleneck
from tuner.candidate import Candidate, Engine, Gateway
from tuner.constraints import Constraint, ConstraintCheck, check_constraints, workload_for
from tuner.history import Phase
from tuner.importance import Importance
from tuner.objectives import BlockMetrics, ObjectiveName, check_workloads
from tuner.samplers import check_sampler
from tuner.samples import Reference, Sample, Unfitness, Workload
from tuner.standings import Race
from tuner.statistics import MetricComparison, Verdict
from tuner.tunables import Narrowing
from tuner.warm_start import WarmStart

Sampler = Literal["tpe", "gp", "random", "grid"]
Origin = Literal["warm_start", "sampler", "neighbour", "grid", "ablation"]
TrialState = Literal["running", "completed", "infeasible", "failed"]
BlockState = Literal["completed", "infeasible", "failed"]
StudyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]


class StudyCreate(BaseModel):
    """What to search, on which testbed, for how long."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"testbed": "demo"},
                {
                    "testbed": "demo",
                    "objective": "efficiency",
                    "engines": ["wirelane"],
                    "space": {"lanes": [1, 2], "mtu": 1420},
                    "trials": 20,
                    "repeats": 2,
                    "sample_seconds": 3,
                },
            ]
        },
    )

    testbed: TestbedName
    label: str = Field("", max_length=120, description="free text for people")
    objective: ObjectiveName = "throughput"
    engines: list[Engine] | None = Field(None, min_length=1, max_length=8, description="default: all that can run")
    space: Narrowing | None = Field(None, description="narrows the space that the testbed's topology gives")
    workloads: list[Workload] | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="default: iperf3 TCP forward, sample_seconds long; for ndr and pdr a rate search"
        " over pktgen at 64 bytes",
    )
    trials: int = Field(12, ge=1, le=10_000, description="candidates to try, the baseline not counted")
    sample_seconds: float = Field(3.0, gt=0, le=3600, description="length of one sample in seconds")
    constraints: tuple[Constraint, ...] = Field(
        (),
        max_length=16,
        description="limits that the winner must keep to; a candidate beyond one is infeasible, whatever it gains",
        examples=[[{"metric": "data_plane_cpus", "at_most": 1.1, "of_baseline": True}]],
    )
    racing: bool = Field(True, description="stop measuring a candidate that cannot win any more")
    repeats: int = Field(
        4, ge=1, le=50, description="most blocks a trial during the search; without racing every trial gets as many"
    )
    finalists: int = Field(
        5, ge=1, le=10, description="most candidates that a round of the playoff measures beside the baseline"
    )
    playoff_rounds: int = Field(
        10, ge=1, le=100, description="most interleaved rounds that choose the best; fewer where it is clear"
    )
    verdict_rounds: int = Field(
        8, ge=3, le=1000, description="fresh interleaved rounds of best and baseline; only these are reported"
    )
    explain_rounds: int = Field(
        4,
        ge=0,
        le=100,
        description="rounds of the path from baseline to winner after the verdict, one changed tunable at a time; 3 are"
        " the least for an interval; 0: the path is not measured",
    )
    time_budget_s: float | None = Field(
        None, gt=0, le=30 * 86400, description="wall time for everything; null: no limit"
    )
    stop_when_unlikely: bool = Field(
        True, description="end the search early when nothing better is likely, after 20 trials at least"
    )
    warm_start: bool = Field(
        True,
        description="begin with what an expert would try and with the winners of earlier studies on hosts like these;"
        " false: with the expert's rules alone",
    )
    sampler: Sampler = Field("tpe", description="random and grid are for comparison; gp needs wiretune[gp]")
    seed: int | None = Field(None, ge=0, lt=2**32, description="default: random, and recorded")

    @model_validator(mode="after")
    def _unique(self) -> Self:
        if self.engines is not None and len(set(self.engines)) != len(self.engines):
            raise ValueError("engines names an engine twice")
        if self.engines is not None and self.space is not None and self.space.engine is not None:
            raise ValueError("name the engines once: in engines or in space.engine")
        if self.workloads is not None:
            check_workloads(self.objective, self.workloads)
        check_constraints(self.constraints, self.workloads or (self.default_workload,))
        check_sampler(self.sampler)
        return self

    @property
    def default_workload(self) -> Workload:
        """What is measured where nothing else is asked for."""
        return workload_for(self.objective, self.constraints, self.sample_seconds)


class BestSoFar(BaseModel):
    """The best trial of the search until now; only the verdict rounds decide."""

    trial_id: int
    number: int
    candidate: Candidate
    words: str
    metrics: BlockMetrics
    gain: float | None = Field(
        description="ratio of the objective to the baseline's: 1.1 is 10% more; null before both"
    )


class RunningBlock(BaseModel):
    """What the lab measures at this moment."""

    trial_id: int
    number: int | None = Field(description="null: the baseline, or a candidate of the ablation path")
    is_baseline: bool
    phase: Phase
    block: int = Field(ge=0, description="repeat within the trial, or round of playoff, verdict or explain")
    attempt: int = Field(ge=1, description="above 1: repeats a block that the lab failed")
    candidate: Candidate
    words: str
    lab_phase: str | None = Field(description="apply, verify, measure, collect or rollback", examples=["measure"])
    message: str | None
    started_at: datetime


class BlockOverhead(BaseModel):
    """Seconds of a block that were not spent measuring, by what they went to; medians over the measured blocks."""

    start_s: float = Field(description="starting Ansible, and what else is done before and after the gateways' tasks")
    apply_s: float = Field(description="applying the candidate to both gateways")
    verify_s: float = Field(description="reading back what is set, and comparing")
    collect_s: float = Field(description="starting and stopping the workloads, and collecting what they say")
    total_s: float = Field(description="all of it; a median of sums, not the sum of medians")
    blocks: int = Field(ge=1, description="measured blocks that the medians are taken over")


class StudyProgress(BaseModel):
    """How far a study is."""

    trials_done: int
    trials_total: int
    blocks_done: int
    blocks_total: int = Field(description="estimate; it moves with what the search finds")
    best: BestSoFar | None
    running: RunningBlock | None
    eta_s: float | None = Field(description="estimated seconds to the end; null when unknown or finished")
    trial_overhead_median_s: float | None = Field(description="median time of a block that was not spent measuring")
    overhead: BlockOverhead | None = Field(None, description="the same by what it was spent on")


class BundleView(BaseModel):
    """The bundle of a study."""

    filename: str
    size_bytes: int
    sha256: str
    created_at: datetime


class StudyFailure(BaseModel):
    """Why a study failed."""

    message: str
    hint: str | None = None


class StudyView(BaseModel):
    """A study, with its progress."""

    id: StudyId
    label: str
    testbed: TestbedName
    driver: Driver
    state: StudyState
    simulated: bool
    emulated: bool = Field(
        description="the gateways' CPUs were emulated: the behaviour is real, the speed means nothing"
    )
    spec: StudyCreate = Field(description="the request, with every default filled in")
    progress: StudyProgress
    fingerprints: dict[Gateway, str] = Field(
        description="hash of each gateway's fingerprint as the study began; empty until then"
    )
    warm_start: WarmStart | None = Field(
        description="where the search begins: earlier studies with how well their hosts match, used or refused, and the"
        " expert's rules; null before the testbed is ready, and for the samplers random and grid"
    )
    verdict: Verdict | None = Field(description="what the verdict rounds found")
    failure: StudyFailure | None
    bundle: BundleView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class BlockView(BaseModel):
    """Samples of one candidate taken back to back: one sample a workload."""

    phase: Phase
    index: int = Field(description="repeat within the trial, or round of playoff, verdict or explain")
    attempt: int
    state: BlockState
    samples: list[Sample]
    read_back: dict[str, Any]
    timings: PhaseTimings
    overhead_s: float = Field(description="time of the block that was not spent measuring")
    detail: str | None = Field(description="why it is infeasible or failed")
    started_at: datetime
    finished_at: datetime


class BlockPoint(BaseModel):
    """One measured block reduced to its metrics: a point of a chart, an item of a spread."""

    phase: Phase
    index: int = Field(description="repeat within the trial, or round of playoff, verdict or explain")
    metrics: BlockMetrics


class Standing(BaseModel):
    """One trial in the race of the search, drift taken out. For charts; only the verdict rounds decide."""

    model_config = ConfigDict(from_attributes=True)

    race: Race = Field(
        description="racing: gets further blocks; finished: had all it needs; stopped: early, it could not win any"
        " more; infeasible: broke, or violates a constraint; failed: the lab could not measure it"
    )
    blocks: int = Field(ge=0, description="blocks measured in the search")
    gain: float | None = Field(description="ratio to the baseline: 1.1 is 10% more; null before a block is measured")
    gain_low: float | None = Field(description="lower end of its 95% interval, at the study's noise level")
    gain_high: float | None = Field(description="upper end of its 95% interval")
    chance: float | None = Field(ge=0, le=1, description="probability that it is better than the leader of the search")
    reason: str = Field(examples=["after 1 block: could not win any more"])


class TrialView(BaseModel):
    """One candidate, however often measured."""

    id: int
    study_id: StudyId
    number: int | None = Field(ge=0, description="order in which the search asked for it; null: it did not")
    is_baseline: bool
    candidate: Candidate
    candidate_key: str
    words: str
    origin: Origin | None = Field(description="why it is tried; null: the baseline; ablation: on its way to the winner")
    params: dict[str, str | int] = Field(description="value of each tunable that applies, for charts")
    state: TrialState
    metrics: BlockMetrics | None = Field(
        description="median over the blocks of the search (ablation: of its path); null until one is finished"
    )
    gain: float | None = Field(description="ratio of the objective to the baseline's: 1.1 is 10% more")
    standing: Standing | None = Field(
        description="in the race of the search; null for the baseline and the ablation path"
    )
    constraints: list[ConstraintCheck] = Field(
        description="the study's constraints, by these metrics; a violation above 0 is beyond one"
    )
    blocks: int = Field(description="finished blocks, of every phase")
    points: list[BlockPoint] = Field(description="every measured block, in order")
    detail: str | None = Field(description="why it is infeasible or failed")
    overhead_s: float | None = Field(description="median over its blocks")
    started_at: datetime
    finished_at: datetime | None


class TrialDetail(TrialView):
    """A trial with its blocks and samples."""

    measured: list[BlockView]


class GainView(BaseModel):
    """Paired gain of the confirmed best over the baseline: 1.10 is 10% more."""

    gain: float = Field(gt=0)
    gain_low: float = Field(gt=0, description="lower end of the 95% interval")
    gain_high: float = Field(gt=0, description="upper end of the 95% interval")
    decided_on: str = Field(examples=["Throughput"])
    rounds: int = Field(description="paired blocks it rests on")
    metrics: list[MetricComparison]


class UnfitSamples(BaseModel):
    """Samples that one disturbance of one gateway has touched."""

    samples: int
    worst: Unfitness


class FitnessView(BaseModel):
    """Were the hosts fit to measure? Of the verdict's samples once there are any, of all samples before."""

    samples: int
    unfit: int = Field(description="samples taken while a host was disturbed; they are kept, since blocks are paired")
    reasons: list[UnfitSamples] = Field(description="most frequent first")
    words: str


class StudyHosts(BaseModel):
    """The gateways that a study measures."""

    fitness: FitnessView
    gateways: dict[Gateway, GatewayView] = Field(description="as they were when the study began")


class Explanation(BaseModel):
    """Why the winner wins."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXPLANATION]})

    importance: Importance = Field(description="of each tunable, from the trials of the search")
    ablation: Ablation | None = Field(description="from baseline to winner, step by step; null before the verdict")
    bottleneck_baseline: Bottleneck | None = Field(description="what holds the baseline back")
    bottleneck_best: Bottleneck | None = Field(description="what holds the winner back; null before the verdict")
    reference: Reference | None = Field(description="what the hosts can do without a tunnel; null: not measured")


class StudyResult(BaseModel):
    """Everything a study found: the content of result.json."""

    schema_version: Literal[1] = 1
    wiretune_version: str
    study: StudyId
    testbed: TestbedName
    driver: Driver
    simulated: bool
    emulated: bool = Field(
        description="the gateways' CPUs were emulated: the behaviour is real, the speed means nothing"
    )
    state: StudyState
    objective: ObjectiveName
    spec: StudyCreate
    warm_start: WarmStart | None = Field(description="where the search began, and what it refused to learn from")
    verdict: Verdict | None = Field(description="null until the verdict rounds are over")
    gain: GainView | None = Field(description="of the best over the baseline in what decides, with its 95% interval")
    fitness: FitnessView
    explanation: Explanation | None = Field(description="why the winner wins; null before the baseline is measured")
    baseline: TrialDetail | None
    best: TrialDetail | None = Field(description="the confirmed winner, with every block and sample of it")
    trials: list[TrialDetail]
    gateways: dict[Gateway, GatewayView] = Field(description="fingerprints, as of provisioning")
    trial_overhead_median_s: float | None
    overhead: BlockOverhead | None = Field(description="the same by what it was spent on")
    failure: StudyFailure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
