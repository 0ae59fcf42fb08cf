"""Whether the hosts were fit to measure while a sample was taken: thresholds, and what is said when one is exceeded.

Pure. An unfit sample is kept: comparisons are paired and interleaved, so that a disturbance hits both sides alike. It
says so, for whoever reads the result. docs/measurement.md explains the thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.lab.agent_messages import Surroundings
from app.lab.driver import ProvisionedTestbed, TrialResult
from tuner.samples import GatewayUsage, Sample, Unfitness, Workload

STEAL_LIMIT = 0.02
"""Share of the CPUs' time that the hypervisor gave to others."""
FOREIGN_LOAD_LIMIT = 0.05
"""Share of the host's CPU time that processes used which are not ours."""
FOREIGN_CPUS_LIMIT = 0.5
"""The same in CPUs: on a large host one busy process may sit on a CPU of the data plane."""
LIMITED_LIMIT = 0.01
"""Share of the time in which the CPU limit of the control group held us back."""
FOREIGN_TRAFFIC_LIMIT = 0.05
"""Share of the link's bytes that no tunnel of ours explains."""
FOREIGN_TRAFFIC_BYTES_PER_S = 125_000
"""Less (1 Mbit/s) is never foreign traffic: neighbour discovery, and our own coordination."""
CANARY_LIMIT = 1.10
"""How much longer than at provisioning the canary may take."""

TCP_AND_IPV4_BYTES = 52
OUTER_BYTES_PER_SEGMENT = 160
"""Most that a segment costs on the link beyond the lane's count: Ethernet 18, IPv6 40, UDP 8, WireGuard 32, padding 15,
and an inner header of up to 40 that a super-packet has once only."""


def unfitness(
    workload: Workload,
    mtu: int,
    usage: Mapping[str, GatewayUsage],
    surroundings: Mapping[str, Surroundings | None],
) -> tuple[Unfitness, ...]:
    """Everything that disturbed one sample."""
    found: list[Unfitness] = []
    for gateway, far in (("a", "b"), ("b", "a")):
        steal = usage[gateway].steal_ratio
        if steal > STEAL_LIMIT:
            found.append(
                _unfit("steal", gateway, steal, STEAL_LIMIT, f"the hypervisor took {steal:.1%} of the CPU time")
            )
        near_around, far_around = surroundings[gateway], surroundings[far]
        if near_around is not None:
            found += _load(gateway, near_around, len(usage[gateway].cpu_busy_ratio))
            found += _throttling(gateway, near_around)
            if near_around.undone:
                words = f"a setting was undone meanwhile: {'; '.join(near_around.undone)[:400]}"
                found.append(_unfit("undone_setting", gateway, len(near_around.undone), 0, words))
            if far_around is not None:
                segment_bytes = workload.mean_packet_bytes(mtu - TCP_AND_IPV4_BYTES)
                found += _traffic(gateway, near_around, far_around, segment_bytes)
    return tuple(found)


def compared(result: TrialResult, testbed: ProvisionedTestbed) -> TrialResult:
    """The result with the fingerprints that it was measured on, and whether CPUs are as fast as at provisioning."""
    hashes = {name: gateway.fingerprint_hash for name, gateway in testbed.gateways.items()}

    def marked(sample: Sample) -> Sample:
        found = (*sample.unfit, *_canary(sample, testbed))
        return sample.model_copy(update={"fingerprints": hashes, "unfit": found})

    return result.model_copy(update={"samples": tuple(map(marked, result.samples))})


def on_hosts_of(result: TrialResult, began_with: ProvisionedTestbed) -> TrialResult:
    """The result, marked where a gateway is no longer what it was when the study began."""
    first = {name: gateway.fingerprint_hash for name, gateway in began_with.gateways.items()}

    def marked(sample: Sample) -> Sample:
        found = [
            _unfit("changed_host", name, 1, 0, f"its fingerprint is {now}, and was {first[name]} as the study began")
            for name, now in sample.fingerprints.items()
            if now != first[name]
        ]
        return sample.model_copy(update={"unfit": (*sample.unfit, *found)}) if found else sample

    return result.model_copy(update={"samples": tuple(map(marked, result.samples))})


def _canary(sample: Sample, testbed: ProvisionedTestbed) -> Iterator[Unfitness]:
    for name, gateway in testbed.gateways.items():
        now_ms = sample.gateways[name].canary_ms
        if now_ms is None or gateway.canary_ms is None:
            continue
        ratio = now_ms / gateway.canary_ms
        if ratio > CANARY_LIMIT:
            words = f"a CPU takes {ratio:.2f} times as long for the canary as when the testbed was provisioned"
            yield _unfit("canary", name, ratio, CANARY_LIMIT, words)


def _load(gateway: str, around: Surroundings, cpus: int) -> Iterator[Unfitness]:
    used_cpus = around.foreign_cpu_s / around.window_s
    limit_cpus = min(FOREIGN_LOAD_LIMIT * max(1, cpus), FOREIGN_CPUS_LIMIT)
    if used_cpus > limit_cpus:
        names = ", ".join(name for name, _ in around.foreign_busiest)
        words = f"other processes used {used_cpus:.2f} CPUs ({names})"
        yield _unfit("foreign_load", gateway, used_cpus, limit_cpus, words)


def _throttling(gateway: str, around: Surroundings) -> Iterator[Unfitness]:
    events = around.throttled.get("thermal_events", 0)
    if events > 0:
        yield _unfit("throttling", gateway, events, 0, f"CPUs were slowed down for their heat {events} times")
    limited = around.throttled.get("limited_us", 0) / 1e6 / around.window_s
    if limited > LIMITED_LIMIT:
        words = f"the CPU limit of the control group held processes back for {limited:.1%} of the time"
        yield _unfit("throttling", gateway, limited, LIMITED_LIMIT, words)


def _traffic(gateway: str, near: Surroundings, far: Surroundings, segment_bytes: float) -> Iterator[Unfitness]:
    """What is sent may be dropped before it is received, never the other way round: each direction is held against
    what the lanes of its sender took in."""
    sent, received = _on_link(near, segment_bytes), _on_link(far, segment_bytes)
    foreign = max(0.0, near.link.get("tx_bytes", 0) - sent) + max(0.0, near.link.get("rx_bytes", 0) - received)
    total = sum(near.link.values())
    if total > 0 and foreign > max(FOREIGN_TRAFFIC_LIMIT * total, FOREIGN_TRAFFIC_BYTES_PER_S * near.window_s):
        words = f"{foreign * 8 / 1e6 / near.window_s:.1f} Mbit/s on the link are not of the tunnels"
        yield _unfit("foreign_traffic", gateway, foreign / total, FOREIGN_TRAFFIC_LIMIT, words)


def _on_link(sender: Surroundings, segment_bytes: float) -> float:
    """Most bytes that the sender's lanes can have become on the link."""
    carried = sender.lanes.get("tx_bytes", 0)
    segments = max(sender.lanes.get("tx_packets", 0), carried / segment_bytes)
    return carried + segments * OUTER_BYTES_PER_SEGMENT


def _unfit(kind: str, gateway: str, value: float, limit: float, words: str) -> Unfitness:
    return Unfitness.model_validate(
        {"kind": kind, "gateway": gateway, "value": value, "limit": limit, "words": f"gateway {gateway}: {words}"}
    )
