"""What holds a candidate back: which end, stage and core is saturated; how far it is from what the hosts could do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import GATEWAYS, Candidate, Gateway, parse_cpulist
from tuner.samples import Reference, Sample

# Judgements, fitted to nothing: what is saturated waits now and then all the same, for the other end, a full window or
# the pauses of iperf3, and /proc counts in ticks of 10 ms. A thread waits most, since it alone serves its queue; a CPU
# least, since other threads fill its gaps.
SATURATED_CPUS = 0.92
"""Mean busy ratio of a host's CPUs above which they are all said to be busy."""
SATURATED_THREAD = 0.88
SATURATED_CPU = 0.95
AT_THE_LINK = 0.92
"""Share of the raw link's goodput; the tunnel's headers alone take 4% of it."""
AT_THE_OFFERED_LOAD = 0.97

Kind = Literal["offered_load", "link", "all_cpus", "thread", "cpu", "none"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageLoad(_Value):
    """CPU time of one stage at one end."""

    gateway: Gateway
    stage: str = Field(examples=["rx"])
    threads: int = Field(ge=0)
    busy_cpus: float = Field(ge=0, description="CPUs that all threads of the stage keep busy together")
    busiest_thread_ratio: float = Field(ge=0, description="share of one CPU that its busiest thread uses")


class Bottleneck(_Value):
    """What limits one candidate under one workload. Figures are medians over its samples."""

    workload: str = Field(description="the workload with the least throughput", examples=["tcp forward"])
    kind: Kind
    words: str = Field(description="for people")
    gateway: Gateway | None = Field(description="the saturated end; null: both share a machine, or neither is")
    stage: str | None = Field(description="the saturated stage, or the one that uses most CPU time")
    cpu: int | None = Field(description="the saturated CPU; null unless kind is cpu")
    throughput_gbps: float
    cpu_busy_ratio: dict[Gateway, dict[int, float]] = Field(description="per CPU number of each gateway")
    stages: tuple[StageLoad, ...] = Field(description="empty where the engine does not tell its threads apart")
    data_plane_cpus: dict[Gateway, float] = Field(description="CPUs that the data plane keeps busy at each end")
    drops: dict[str, int] = Field(description="packets that the engines dropped in one sample, by reason")
    raw_share: float | None = Field(description="throughput over that of the link without tunnel; null: not measured")
    aead_share: float | None = Field(
        description="share of the data plane's CPU time that encrypting and decrypting alone would take at the rate of"
        " the hosts' AEAD; null: not measured"
    )


def bottleneck(
    candidate: Candidate, samples: Sequence[Sample], *, shared_machine: bool, reference: Reference | None
) -> Bottleneck | None:
    """Judges the samples of one candidate by those of the workload that carried least; None without samples."""
    of_workload = _slowest(samples)
    if not of_workload:
        return None
    throughput = median(sample.throughput_gbps for sample in of_workload)
    busy = {gateway: _busy(gateway, of_workload) for gateway in GATEWAYS}
    stages = tuple(stage for gateway in GATEWAYS for stage in _stages(gateway, of_workload))
    raw_share = throughput / reference.raw_gbps if reference and reference.raw_gbps else None
    cpus = {
        gateway: median(one.gateways[gateway].data_plane_cpu_s / one.duration_s for one in of_workload)
        for gateway in GATEWAYS
    }
    aead_share = _aead_share(throughput, sum(cpus.values()), reference)
    judged = _Evidence(candidate, of_workload[0], throughput, busy, stages, shared_machine, raw_share)
    kind, gateway, stage, cpu, words = judged.judge()
    return Bottleneck(
        workload=of_workload[0].workload.name,
        kind=kind,
        words=words + _distances(raw_share, aead_share),
        gateway=gateway,
        stage=stage,
        cpu=cpu,
        throughput_gbps=throughput,
        cpu_busy_ratio=busy,
        stages=stages,
        data_plane_cpus=cpus,
        drops=_drops(of_workload),
        raw_share=raw_share,
        aead_share=aead_share,
    )


_Judgement = tuple[Kind, Gateway | None, str | None, int | None, str]
"""Kind, gateway, stage, CPU and words."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The medians of one candidate under one workload."""

    candidate: Candidate
    sample: Sample
    throughput_gbps: float
    busy: Mapping[Gateway, Mapping[int, float]]
    stages: Sequence[StageLoad]
    shared_machine: bool
    raw_share: float | None

    def judge(self) -> _Judgement:
        """What limits from outside first, then the hosts from whole to part."""
        offered = self._offered_gbps()
        if offered is not None and self.throughput_gbps >= AT_THE_OFFERED_LOAD * offered:
            return "offered_load", None, None, None, f"All of the offered load of {offered:.3g} Gbit/s arrives"
        if self.raw_share is not None and self.raw_share >= AT_THE_LINK:
            return "link", None, None, None, "The link itself is the limit"
        return self._busy_host() or self._busy_thread() or self._busy_cpu() or self._nothing()

    def _offered_gbps(self) -> float | None:
        workload = self.sample.workload
        if workload.offered_load_pps is not None:
            return workload.offered_load_pps * workload.mean_packet_bytes(self.candidate.mtu) * 8 / 1e9
        return workload.offered_load_gbps

    def _busy_host(self) -> _Judgement | None:
        means = {gateway: sum(busy.values()) / len(busy) for gateway, busy in self.busy.items() if busy}
        if not means or max(means.values()) < SATURATED_CPUS:
            return None
        gateway = max(means, key=lambda name: means[name])
        count = len(self.busy[gateway])
        largest = max(self.stages, key=lambda stage: stage.busy_cpus, default=None)
        if self.shared_machine:
            planes = sum(stage.busy_cpus for stage in self.stages)
            where, at = f"the machine that both gateways share ({count} CPUs, {means[gateway]:.0%} busy)", None
        else:
            planes = sum(stage.busy_cpus for stage in self.stages if stage.gateway == gateway)
            where, at = f"gateway {gateway} ({count} CPUs, {means[gateway]:.0%} busy)", gateway
            largest = max(
                (one for one in self.stages if one.gateway == gateway), key=lambda one: one.busy_cpus, default=None
            )
        words = f"All CPUs of {where} are the limit"
        if largest is not None:
            words += (
                f": the data plane keeps {planes:.2f} of them busy, most of it in stage {largest.stage} of gateway"
                f" {largest.gateway} ({largest.busy_cpus:.2f}); the rest is traffic generators and the kernel"
            )
        return "all_cpus", at, largest.stage if largest else None, None, words

    def _busy_thread(self) -> _Judgement | None:
        busiest = max(self.stages, key=lambda stage: stage.busiest_thread_ratio, default=None)
        if busiest is None or busiest.busiest_thread_ratio < SATURATED_THREAD:
            return None
        words = (
            f"One thread of stage {busiest.stage} at gateway {busiest.gateway} is the limit: it is busy"
            f" {min(1.0, busiest.busiest_thread_ratio):.0%} of the time"
        )
        return "thread", busiest.gateway, busiest.stage, None, words

    def _busy_cpu(self) -> _Judgement | None:
        loads = [(ratio, gateway, cpu) for gateway, busy in self.busy.items() for cpu, ratio in busy.items()]
        ratio, gateway, cpu = max(loads, default=(0.0, "a", 0))
        if ratio < SATURATED_CPU:
            return None
        sets = getattr(self.candidate.cpu_sets, gateway).used()
        pinned = [stage for stage, cpus in sets.items() if cpu in parse_cpulist(cpus)]
        here = f", where {' and '.join(pinned)} run," if pinned else ""
        where = "the shared machine" if self.shared_machine else f"gateway {gateway}"
        words = f"CPU {cpu} of {where}{here} is the limit: it is busy {ratio:.0%} of the time, and others are not"
        return "cpu", None if self.shared_machine else gateway, pinned[0] if pinned else None, cpu, words

    def _nothing(self) -> _Judgement:
        highest = max((ratio for busy in self.busy.values() for ratio in busy.values()), default=0.0)
        words = (
            f"No CPU and no thread is saturated (the busiest CPU {highest:.0%}): hand-offs between threads, wake-ups or"
            " the flows' own windows are the limit"
        )
        return "none", None, None, None, words


def _slowest(samples: Sequence[Sample]) -> list[Sample]:
    by_workload: dict[str, list[Sample]] = {}
    for sample in samples:
        by_workload.setdefault(sample.workload.model_dump_json(), []).append(sample)
    return min(by_workload.values(), key=lambda group: median(one.throughput_gbps for one in group), default=[])


def _busy(gateway: Gateway, samples: Iterable[Sample]) -> dict[int, float]:
    ratios: dict[int, list[float]] = {}
    for sample in samples:
        for cpu, ratio in sample.gateways[gateway].cpu_busy_ratio.items():
            ratios.setdefault(cpu, []).append(ratio)
    return {cpu: median(values) for cpu, values in sorted(ratios.items())}


def _stages(gateway: Gateway, samples: Sequence[Sample]) -> Iterable[StageLoad]:
    names = dict.fromkeys(stage for sample in samples for stage in sample.gateways[gateway].stages)
    for name in names:
        loads = [stages[name] for sample in samples if name in (stages := sample.gateways[gateway].stages)]
        yield StageLoad(
            gateway=gateway,
            stage=name,
            threads=max(load.threads for load in loads),
            busy_cpus=median(load.busy_cpus for load in loads),
            busiest_thread_ratio=median(load.busiest_thread_ratio for load in loads),
        )


def _drops(samples: Sequence[Sample]) -> dict[str, int]:
    """Median over the samples of both ends' drops together, reasons without any left out."""
    reasons = {reason for sample in samples for usage in sample.gateways.values() for reason in usage.drops}
    counts = {
        reason: round(median(sum(u.drops.get(reason, 0) for u in sample.gateways.values()) for sample in samples))
        for reason in sorted(reasons)
    }
    return {reason: count for reason, count in counts.items() if count}


def _aead_share(throughput_gbps: float, data_plane_cpus: float, reference: Reference | None) -> float | None:
    """Each bit is encrypted at one end and decrypted at the other, for about the same."""
    if reference is None or set(reference.aead_gbps) != set(GATEWAYS) or data_plane_cpus <= 0:
        return None
    floor = sum(throughput_gbps / rate for rate in reference.aead_gbps.values())
    return min(1.0, floor / data_plane_cpus)


def _distances(raw_share: float | None, aead_share: float | None) -> str:
    words = "."
    if raw_share is not None:
        words += f" It carries {raw_share:.0%} of what the link carries without a tunnel."
    if aead_share is not None:
        words += f" Encryption alone would take {aead_share:.0%} of the data plane's CPU time."
    return words
