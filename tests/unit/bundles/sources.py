"""Bundle sources for the tests: a finished study of two inline lanes on the netns testbed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.bundles.contents import BundleSource
from app.studies.schemas import BlockView, StudyCreate, StudyResult, TrialDetail
from app.testbeds.schemas import GatewayView
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.samples import GatewayUsage, Sample, Workload
from tuner.statistics import MetricComparison, Verdict, paired_gain
from tuner.topology import Topology

PUBLIC_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
STUDY = "4f9c1d2ab07e"
STARTED_AT = datetime(2026, 11, 20, 9, 0, 5, 250_000, tzinfo=UTC)
BASELINE = Candidate(mode="pipelined", crypto_workers=2, lanes=1)
INLINE = Candidate(
    lanes=2, cpu_sets=GatewayCpuSets(a=StageCpuSets(tx="0", rx="1"), b=StageCpuSets(tx="2", rx="3")), numa_policy="bind"
)
WIREGUARD_GO = Candidate(
    engine="wireguard-go",
    mode=None,
    lanes=2,
    cpu_sets=GatewayCpuSets(a=StageCpuSets(process="0"), b=StageCpuSets(process="1")),
)
KERNEL = Candidate(
    engine="kernel",
    mode=None,
    lanes=3,
    threaded_napi=True,
    cpu_sets=GatewayCpuSets(a=StageCpuSets(napi="0-1"), b=StageCpuSets(napi="2")),
)


def sample(throughput_gbps: float) -> Sample:
    """One TCP sample, as the lab would have measured it."""
    usage = GatewayUsage(cpu_busy_ratio={0: 0.9, 1: 0.8}, data_plane_cpu_s=1.2)
    return Sample(
        workload=Workload(flows=2, duration_s=2),
        started_at=STARTED_AT,
        duration_s=2.0,
        throughput_gbps=throughput_gbps,
        packets_per_s=100_000,
        loss_ratio=None,
        retransmits=3,
        lane_shares=(0.5, 0.5),
        gateways={"a": usage, "b": usage},
        data_plane_cpu_s_per_gbit=0.2,
        argv=(("iperf3", "--client", "198.19.2.1", "--json"), ("iperf3", "--server", "--one-off")),
        tool_version="iperf 3.12",
    )


def block(phase: str, index: int, throughput_gbps: float, **changes: Any) -> BlockView:
    """One measured block."""
    fields = {
        "phase": phase,
        "index": index,
        "attempt": 1,
        "state": "completed",
        "samples": [sample(throughput_gbps)],
        "read_back": {"a": {"mtu": 1420}, "b": {"mtu": 1420}},
        "timings": {},
        "overhead_s": 1.1,
        "detail": None,
        "started_at": STARTED_AT + timedelta(seconds=10 * index),
        "finished_at": STARTED_AT + timedelta(seconds=10 * index + 3),
    }
    return BlockView.model_validate(fields | changes)


def trial(number: int | None, candidate: Candidate, measured: list[BlockView]) -> TrialDetail:
    """One trial; number None is the baseline."""
    return TrialDetail(
        id=1 if number is None else number + 2,
        study_id=STUDY,
        number=number,
        is_baseline=number is None,
        candidate=candidate,
        candidate_key=candidate.key,
        words=candidate.in_words(),
        origin=None,
        params={},
        state="completed",
        metrics=None,
        gain=None,
        standing=None,
        constraints=[],
        points=[],
        blocks=len(measured),
        detail=None,
        overhead_s=None,
        started_at=STARTED_AT,
        finished_at=STARTED_AT,
        measured=measured,
    )


def gateway(**fingerprint: Any) -> GatewayView:
    """A gateway with four CPUs on two NUMA nodes."""
    return GatewayView(
        fingerprint={
            "cpu": {"model": "Imagined CPU", "flags": ["avx2"]},
            "kernel": "6.1.0",
            "distribution": "Debian GNU/Linux 12 (bookworm)",
            **fingerprint,
        },
        fingerprint_hash="0123456789abcdef",
        topology=Topology.uniform(nodes=2, cores_per_node=2).model_dump(mode="json"),
        engines=["wirelane"],
        notices=[],
        proposals=[],
        host_tunables=[],
    )


def result(winner: Candidate = INLINE, **changes: Any) -> StudyResult:
    """A complete result; `changes` replace fields."""
    base, best = [4.0, 4.1, 3.9, 4.05], [6.2, 6.1, 6.3, 6.25]
    gain = paired_gain(base, best)
    throughput = MetricComparison(
        **gain.model_dump(),
        metric="throughput_gbps",
        label="Throughput",
        unit="Gbit/s",
        baseline_median=4.025,
        best_median=6.225,
    )
    verdict = Verdict(
        conclusion=gain.conclusion,
        words="better",
        baseline=BASELINE,
        best=winner,
        best_trial_number=0,
        decided_on="Throughput",
        gain=gain.gain,
        gain_low=gain.gain_low,
        gain_high=gain.gain_high,
        p_value=gain.p_value,
        rounds=gain.pairs,
        baseline_scores=tuple(base),
        best_scores=tuple(best),
        metrics=(throughput,),
        drift_percent_per_hour=None,
        simulated=False,
    )
    trials = [
        trial(None, BASELINE, [block("baseline", 0, 4.0), *(block("verdict", i, x) for i, x in enumerate(base))]),
        trial(0, winner, [block("search", 0, 6.4), *(block("verdict", i, x) for i, x in enumerate(best))]),
    ]
    fields: dict[str, Any] = {
        "wiretune_version": "0.1.0",
        "study": STUDY,
        "testbed": "demo",
        "driver": "netns",
        "simulated": False,
        "emulated": False,
        "state": "bundling",
        "objective": "throughput",
        "spec": StudyCreate(testbed="demo", label="Main link"),
        "verdict": verdict,
        "gain": None,
        "explanation": None,
        "warm_start": None,
        "fitness": {"samples": 8, "unfit": 0, "reasons": [], "words": "No disturbance was seen."},
        "baseline": trials[0],
        "best": trials[1],
        "trials": trials,
        "gateways": {"a": gateway(), "b": gateway()},
        "trial_overhead_median_s": 1.1,
        "overhead": None,
        "failure": None,
        "created_at": STARTED_AT,
        "started_at": STARTED_AT,
        "finished_at": None,
    }
    return StudyResult.model_validate(fields | changes)


def source(winner: Candidate = INLINE, **changes: Any) -> BundleSource:
    """A complete source; `changes` replace fields of the result."""
    return BundleSource(result=result(winner, **changes), versions={"python": "3.11.2"}, public_keys=(PUBLIC_KEY,))
