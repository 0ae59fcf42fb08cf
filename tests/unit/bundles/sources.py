"""Bundle sources for the tests: a study of two inline lanes on the netns testbed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.bundles.contents import BundleSource, MeasuredBlock, MeasuredGateway, Verdict
from app.bundles.site import NETNS_SITE
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.samples import GatewayUsage, Sample, Workload
from tuner.topology import Topology

PUBLIC_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
ENDED_AT = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)
INLINE = Candidate(
    lanes=2, cpu_sets=GatewayCpuSets(a=StageCpuSets(tx="0", rx="1"), b=StageCpuSets(tx="2", rx="3")), numa_policy="bind"
)
PIPELINED = Candidate(mode="pipelined", crypto_workers=2, lanes=1)
WIREGUARD_GO = Candidate(
    engine="wireguard-go",
    mode=None,
    lanes=2,
    cpu_sets=GatewayCpuSets(a=StageCpuSets(process="0"), b=StageCpuSets(process="1")),
)


def sample(throughput_gbps: float) -> Sample:
    """One TCP sample, as the lab would have measured it."""
    usage = GatewayUsage(cpu_busy_ratio={0: 0.9, 1: 0.8}, data_plane_cpu_s=1.2)
    return Sample(
        workload=Workload(flows=2, duration_s=2),
        started_at=ENDED_AT,
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


def gateway(**fingerprint: Any) -> MeasuredGateway:
    """A gateway with four CPUs on two NUMA nodes."""
    facts = {"cpu_model": "Imagined CPU", "kernel": "6.1.0", **fingerprint}
    topology = Topology.uniform(nodes=2, cores_per_node=2).model_dump(mode="json")
    return MeasuredGateway(
        fingerprint=facts, fingerprint_hash="0123456789abcdef", topology=topology, lane_public_keys=(PUBLIC_KEY,)
    )


def source(winner: Candidate = INLINE, **changes: Any) -> BundleSource:
    """A complete source; `changes` replace fields."""
    verdict = Verdict(
        metric="throughput",
        unit="Gbit/s",
        baseline=4.0,
        winner=6.2,
        gain_ratio=1.55,
        gain_low=1.41,
        gain_high=1.69,
        paired_blocks=6,
        significant=True,
    )
    fields: dict[str, Any] = {
        "study_id": "4f9c1d2ab07e",
        "study_name": "Main link",
        "testbed": "demo",
        "driver": "netns",
        "ended_at": ENDED_AT,
        "simulated": False,
        "objective": "throughput",
        "winner": winner,
        "baseline": PIPELINED,
        "verdicts": (verdict,),
        "gateways": {"a": gateway(), "b": gateway()},
        "blocks": (
            MeasuredBlock(trial=0, phase="search", block=0, candidate=PIPELINED, samples=(sample(4.0),)),
            MeasuredBlock(trial=1, phase="search", block=1, candidate=winner, samples=(sample(6.0),)),
            MeasuredBlock(trial=1, phase="confirm", block=0, candidate=winner, samples=(sample(6.2),)),
        ),
        "versions": {"wiretune": "0.1.0", "wirelane": "0.1.0"},
        "result": {"gain": 1.55, "public_key": PUBLIC_KEY},
        "site": NETNS_SITE,
    }
    return BundleSource(**(fields | changes))
