"""From the raw results of a measurement to samples: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from app.lab.agent_messages import (
    AeadRate,
    FarReference,
    FarWorkload,
    LeadReference,
    LeadWorkload,
    Moment,
    Surroundings,
)
from app.lab.driver import CandidateFailed, LabError
from app.lab.fitness import unfitness
from app.lab.parsers.iperf3 import FlowReport, parse_client
from app.lab.parsers.proc import InterfaceCounters, parse_net_dev, parse_process_ticks, parse_stat
from app.lab.parsers.queues import parse_queues, parse_softnet
from tuner.candidate import Candidate
from tuner.samples import GatewayUsage, Latency, Reference, Sample, SoftnetUsage, StageUsage, Workload

TCP_AND_IPV4_BYTES = 52
"""IPv4 and TCP headers with the timestamp option, which Linux always negotiates."""
ETHERNET_BYTES = 14
FORWARD, REVERSE = (("a", "b"),), (("b", "a"),)
KERNEL_COST = (
    "CPU time of kernel WireGuard is that of all softirqs and kernel workers of the host, the traffic's included"
)
LOSS_DISAGREEMENT = 0.02
"""Interface counters and iperf3 see slightly different moments; a larger gap is iperf3's fault (before 3.21)."""


def sample_of(candidate: Candidate, workload: Workload, a: LeadWorkload, b: FarWorkload) -> Sample:
    """The sample of one workload. Raises LabError for unreadable results, CandidateFailed if nothing arrived."""
    try:
        window_s = {"a": _window_s(a), "b": _window_s(b)}
        counters = {"a": _interfaces(a), "b": _interfaces(b)}
        in_kernel = candidate.engine == "kernel"
        usage = {
            "a": around(gateway_usage(a.opened, a.closed, in_kernel=in_kernel), a.surroundings),
            "b": around(gateway_usage(b.opened, b.closed, in_kernel=in_kernel), b.surroundings),
        }
        shares = lane_shares(candidate, workload, counters, {"a": a, "b": b})
        if workload.tool == "pktgen":
            traffic = _generated(workload, candidate.mtu, counters, window_s)
        else:
            traffic = _iperf3(workload, candidate, [parse_client(text) for text in a.outputs], counters)
    except (ValueError, KeyError, OverflowError) as error:
        raise LabError(f"the measurement of {workload.name} cannot be read: {error}") from error
    if traffic.gbps <= 0:
        raise CandidateFailed(f"nothing arrived in {workload.name}", hint="the tunnel forwards no traffic of this kind")
    data_plane_cpu_s = sum(gateway.data_plane_cpu_s for gateway in usage.values())
    return Sample(
        workload=workload,
        started_at=datetime.fromtimestamp(a.opened.unix_time_s, UTC),
        duration_s=traffic.duration_s,
        throughput_gbps=traffic.gbps,
        packets_per_s=traffic.packets_per_s,
        offered_pps=traffic.offered_pps,
        loss_ratio=traffic.loss_ratio,
        retransmits=traffic.retransmits,
        latency=latency_of(a.round_trips_ms, a.echoes_sent) if workload.latency_probe else None,
        lane_shares=shares,
        gateways={"a": usage["a"], "b": usage["b"]},
        unfit=unfitness(workload, candidate.mtu, usage, {"a": a.surroundings, "b": b.surroundings}),
        data_plane_cpu_s_per_gbit=data_plane_cpu_s / (traffic.gbps * traffic.duration_s),
        argv=a.argv + b.argv,
        tool_version=a.tool_version,
        warnings=a.warnings + traffic.warnings + ((KERNEL_COST,) if in_kernel else ()),
    )


def latency_of(round_trips_ms: Sequence[float], sent: int) -> Latency | None:
    """Percentiles of the round trips (nearest rank), without those that were still under way; None without any."""
    if not round_trips_ms:
        return None
    ordered = sorted(round_trips_ms)
    p50, p90, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.99))
    lost = max(0, sent - len(ordered))
    return Latency(p50_ms=p50, p90_ms=p90, p99_ms=p99, max_ms=ordered[-1], sent=max(1, sent), lost=lost)


def gateway_usage(opened: Moment, closed: Moment, *, in_kernel: bool = False) -> GatewayUsage:
    """What one gateway spent between two moments. Raises ValueError where they do not belong together.

    `in_kernel`: the data plane has no process. Softirqs and kernel workers are counted as its own, whatever they did.
    """
    before, after = parse_stat(opened.proc_stat), parse_stat(closed.proc_stat)
    busy: dict[int, float] = {}
    softirq: dict[int, float] = {}
    total_ticks = steal_ticks = softirq_ticks = 0
    for cpu in sorted(before.keys() & after.keys()):
        total = after[cpu].total - before[cpu].total
        idle = after[cpu].idle - before[cpu].idle
        in_softirq = max(0, after[cpu].softirq - before[cpu].softirq)
        softirq[cpu] = min(1.0, in_softirq / total) if total > 0 else 0.0
        busy[cpu] = min(1.0, max(0.0, 1 - idle / total)) if total > 0 else 0.0
        total_ticks += max(0, total)
        steal_ticks += max(0, after[cpu].steal - before[cpu].steal)
        softirq_ticks += in_softirq
    if len(opened.process_stats) != len(closed.process_stats):
        raise ValueError("the engine's processes changed during the measurement")
    engine_ticks = sum(map(parse_process_ticks, closed.process_stats)) - sum(
        map(parse_process_ticks, opened.process_stats)
    )
    if in_kernel:
        workers = opened.kernel_worker_ticks.keys() & closed.kernel_worker_ticks.keys()
        worked = (closed.kernel_worker_ticks[pid] - opened.kernel_worker_ticks[pid] for pid in workers)
        engine_ticks += softirq_ticks + sum(max(0, ticks) for ticks in worked)
    return GatewayUsage(
        cpu_busy_ratio=busy,
        softirq_ratio=softirq,
        data_plane_cpu_s=max(0, engine_ticks) / closed.ticks_per_s,
        steal_ratio=min(1.0, steal_ticks / total_ticks) if total_ticks else 0.0,
        stages=stage_usage(opened, closed),
        drops={
            reason: count - opened.drops.get(reason, 0)
            for reason, count in closed.drops.items()
            if count > opened.drops.get(reason, 0)
        },
    )


def around(usage: GatewayUsage, seen: Surroundings | None) -> GatewayUsage:
    """The usage with what each CPU and each queue received, as the looks before and after the sample saw it."""
    if seen is None:
        return usage
    before, after = map(parse_softnet, seen.softnet)
    early, late = map(parse_queues, seen.queues)
    return usage.model_copy(
        update={
            "canary_ms": seen.canary_ms,
            "softnet": {
                cpu: SoftnetUsage(
                    packets=_wrapped(after[cpu].processed - before[cpu].processed),
                    backlog_drops=_wrapped(after[cpu].dropped - before[cpu].dropped),
                    budget_exhausted=_wrapped(after[cpu].squeezed - before[cpu].squeezed),
                )
                for cpu in sorted(before.keys() & after.keys())
            },
            "queues": {
                queue: {name: late[queue][name] - count for name, count in early[queue].items() if name in late[queue]}
                for queue in early
                if queue in late
            },
        }
    )


def _wrapped(difference: int) -> int:
    """The kernel's counters by CPU have 32 bits."""
    return difference % (1 << 32)


def stage_usage(opened: Moment, closed: Moment) -> dict[str, StageUsage]:
    """CPU time of each stage's threads between two moments. Raises ValueError for a window without length."""
    window_s = closed.monotonic_s - opened.monotonic_s
    if window_s <= 0:
        raise ValueError("the window has no length")
    before = {thread.tid: thread.cpu_s for thread in opened.threads}
    busy: dict[str, list[float]] = {}
    for thread in closed.threads:
        spent_s = thread.cpu_s - before.get(thread.tid, 0.0)
        busy.setdefault(thread.stage, []).append(max(0.0, spent_s) / window_s)
    return {
        stage: StageUsage(threads=len(each), busy_cpus=sum(each), busiest_thread_ratio=max(each))
        for stage, each in busy.items()
    }


def reference_of(a: LeadReference, b: FarReference) -> Reference:
    """What the hosts do without a tunnel. Raises LabError for unreadable results."""
    try:
        raw_gbps = sum(parse_client(text).received_gbps for text in a.outputs)
    except ValueError as error:
        raise LabError(f"the measurement without a tunnel cannot be read: {error}") from error
    rates: dict[Literal["a", "b"], AeadRate] = {}
    for gateway, aead in (("a", a.aead), ("b", b.aead)):
        if aead is not None:
            rates[gateway] = aead  # type: ignore[index]  # its names are the two above
    return Reference(
        raw_gbps=raw_gbps or None,
        aead_gbps={gateway: rate.gbit_per_s for gateway, rate in rates.items()},
        aead_backend={gateway: rate.backend for gateway, rate in rates.items()},
        packet_bytes=next((rate.packet_bytes for rate in rates.values()), None),
        argv=a.argv + b.argv,
        tool_version=a.tool_version,
        detail=None if len(rates) == 2 else "a gateway's wirelane cannot measure its AEAD",
    )


def lane_shares(
    candidate: Candidate,
    workload: Workload,
    counters: Mapping[str, Mapping[str, InterfaceCounters]],
    moments: Mapping[str, FarWorkload],
) -> tuple[float, ...]:
    """Each lane's share of the inner bytes that its receiving end counted, in the direction of the data; in a bond,
    whose lanes have no device, as wirelane counted them."""
    receivers = {"forward": "b", "reverse": "a", "both": "ab"}[workload.direction]
    lanes = candidate.lanes

    def bytes_of(gateway: str, lane: int) -> int:
        if candidate.spread == "ecmp":
            return counters[gateway][f"wl{lane}"].received_bytes
        opened, closed = moments[gateway].opened, moments[gateway].closed
        return closed.lane_received_bytes[lane] - opened.lane_received_bytes[lane]

    received = [sum(bytes_of(gateway, lane) for gateway in receivers) for lane in range(lanes)]
    total = sum(received)
    return tuple(amount / total if total else 1 / lanes for amount in received)


class _Traffic:
    """What a tool and the counters say of the traffic that arrived."""

    def __init__(
        self,
        *,
        duration_s: float,
        gbps: float,
        packets_per_s: float,
        loss_ratio: float | None,
        retransmits: int | None,
        offered_pps: float | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.duration_s, self.gbps, self.packets_per_s = duration_s, gbps, packets_per_s
        self.loss_ratio, self.retransmits, self.warnings = loss_ratio, retransmits, warnings
        self.offered_pps = offered_pps


def _generated(
    workload: Workload, mtu: int, counters: dict[str, dict[str, InterfaceCounters]], window_s: dict[str, float]
) -> _Traffic:
    """Packets that arrived at the far gateway's `gen`, against those that entered the near one's `inside`: exact, since
    the counters were read before the first packet and after the last one."""
    near, far = ("a", "b") if workload.direction == "forward" else ("b", "a")
    offered, arrived = counters[near]["inside"].received_packets, counters[far]["gen"].received_packets
    if offered <= 0:
        raise ValueError("the generator offered no packet during the window")
    packets_per_s = arrived / window_s[near]
    # Large packets of a mix are lost more easily than small ones: the bytes that arrived are counted.
    of_mix = counters[far]["gen"].received_bytes / arrived - ETHERNET_BYTES if arrived else 0.0
    arrived_bytes = of_mix if workload.imix else workload.packet_bytes or mtu
    return _Traffic(
        duration_s=window_s[near],
        gbps=packets_per_s * arrived_bytes * 8 / 1e9,
        packets_per_s=packets_per_s,
        offered_pps=offered / window_s[near],
        loss_ratio=min(1.0, max(0.0, 1 - arrived / offered)),
        retransmits=None,
    )


def _iperf3(
    workload: Workload,
    candidate: Candidate,
    reports: Sequence[FlowReport],
    counters: dict[str, dict[str, InterfaceCounters]],
) -> _Traffic:
    duration_s = max(report.duration_s for report in reports)
    gbps = sum(report.received_gbps for report in reports)
    if workload.protocol == "tcp":
        # A TUN device counts a super-packet of many segments as one packet, so the segments are worked out.
        segment_bytes = candidate.mtu - TCP_AND_IPV4_BYTES
        known = [report.retransmits for report in reports if report.retransmits is not None]
        return _Traffic(
            duration_s=duration_s,
            gbps=gbps,
            packets_per_s=gbps * 1e9 / 8 / segment_bytes,
            loss_ratio=None,
            retransmits=sum(known) if known else None,
        )
    sent = sum(report.sent_packets or 0 for report in reports)
    arrived = sum(report.received_packets or 0 for report in reports)
    loss_ratio = min(1.0, max(0.0, 1 - arrived / sent)) if sent else 0.0
    warnings: tuple[str, ...] = ()
    counted = counted_loss_ratio(workload, candidate.devices, counters)
    if counted - loss_ratio > LOSS_DISAGREEMENT:
        warnings = (f"iperf3 says loss {loss_ratio:.3f}, the lanes' counters {counted:.3f}: the counters are used",)
        loss_ratio = counted
    return _Traffic(
        duration_s=duration_s,
        gbps=gbps,
        packets_per_s=arrived / duration_s,
        offered_pps=sent / duration_s,
        loss_ratio=loss_ratio,
        retransmits=None,
        warnings=warnings,
    )


def counted_loss_ratio(workload: Workload, devices: int, counters: dict[str, dict[str, InterfaceCounters]]) -> float:
    """Share of the inner bytes that entered the lanes and did not leave them at the far end.

    Bytes, since a receiver that joins packets counts fewer of them, and joined packets share their headers: what is
    taken for loss in this way stays below the header's share of a packet.
    """
    sent = arrived = 0
    for near, far in {"forward": FORWARD, "reverse": REVERSE, "both": FORWARD + REVERSE}[workload.direction]:
        sent += sum(counters[near][f"wl{lane}"].sent_bytes for lane in range(devices))
        arrived += sum(counters[far][f"wl{lane}"].received_bytes for lane in range(devices))
    return min(1.0, max(0.0, 1 - arrived / sent)) if sent else 0.0


def _window_s(workload: FarWorkload) -> float:
    length_s = workload.closed.monotonic_s - workload.opened.monotonic_s
    if length_s <= 0:
        raise ValueError("the window has no length")
    return length_s


def _interfaces(workload: FarWorkload) -> dict[str, InterfaceCounters]:
    """Differences of the interface counters over the window."""
    before, after = (
        parse_net_dev(text) for text in (workload.opened.net_dev, workload.drained_net_dev or workload.closed.net_dev)
    )
    return {
        name: InterfaceCounters(*(late - early for early, late in zip(before[name], after[name], strict=True)))
        for name in before.keys() & after.keys()
    }
