"""Samples from raw results: the arithmetic, and what is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.lab.agent_messages import FarReference, FarWorkload, LeadReference, LeadWorkload, Moment
from app.lab.driver import CandidateFailed, LabError
from app.lab.sampling import gateway_usage, latency_of, reference_of, sample_of
from tuner.candidate import Candidate
from tuner.samples import Workload

DATA = Path(__file__).parents[2] / "data"
HEAD = "Inter-|   Receive |  Transmit\n face |bytes packets\n"


def net_dev(**interfaces: tuple[int, int, int, int]) -> str:
    rows = [
        f"{name}: {received} {received_packets} 0 0 0 0 0 0 {sent} {sent_packets} 0 0 0 0 0 0\n"
        for name, (received, received_packets, sent, sent_packets) in interfaces.items()
    ]
    return HEAD + "".join(rows)


def moment(at_s: float, busy: int, engine: int, **interfaces: tuple[int, int, int, int]) -> dict[str, Any]:
    return {
        "monotonic_s": at_s,
        "unix_time_s": 1_700_000_000 + at_s,
        "ticks_per_s": 100,
        "proc_stat": f"cpu0 {busy} 0 0 {1000 - busy} 0 0 0 {busy // 10} 0 0\n",
        "process_stats": [f"7 (wirelane) S {'0 ' * 10}{engine} {engine} 0"],
        "net_dev": net_dev(**interfaces),
    }


def lead(outputs: list[str], end: dict[str, Any], start: dict[str, Any]) -> LeadWorkload:
    return LeadWorkload.model_validate(
        {
            "opened": start,
            "closed": end,
            "outputs": outputs,
            "reversed": [False] * len(outputs),
            "argv": [["iperf3", "-c", "x"]],
            "tool_version": "iperf 3.12",
        }
    )


ZERO = (0, 0, 0, 0)


def test_kernel_engine_is_charged_with_softirqs_and_the_workers_that_lived_throughout() -> None:
    kernel_a = {"process_stats": [], "proc_stat": "cpu0 0 0 0 900 0 0 40 0 0 0\n"}
    start = moment(0, 0, 0, wl0=ZERO) | kernel_a | {"kernel_worker_ticks": {7: 10, 8: 99}}
    later = {"proc_stat": "cpu0 0 0 0 1000 0 0 100 0 0 0\n", "kernel_worker_ticks": {7: 50, 9: 400}}
    end = moment(2, 0, 0, wl0=(9, 9, 9, 9)) | kernel_a | later
    output = (DATA / "iperf3-3.12-tcp-forward.json").read_text()
    far = FarWorkload.model_validate({"opened": start, "closed": end, "argv": []})
    sample = sample_of(Candidate(engine="kernel", mode=None), Workload(flows=1), lead([output], end, start), far)
    assert sample.gateways["a"].data_plane_cpu_s == pytest.approx((60 + 40) / 100)
    assert any("softirqs" in warning for warning in sample.warnings)


def test_tcp_over_two_lanes() -> None:
    output = (DATA / "iperf3-3.12-tcp-forward.json").read_text()
    a = lead([output, output], moment(2, 300, 50, wl0=ZERO, wl1=ZERO), moment(0, 100, 0, wl0=ZERO, wl1=ZERO))
    b = FarWorkload.model_validate(
        {
            "opened": moment(10, 100, 0, wl0=ZERO, wl1=ZERO),
            "closed": moment(12, 200, 100, wl0=(3000, 3, 0, 0), wl1=(1000, 1, 0, 0)),
        }
    )
    sample = sample_of(Candidate(lanes=2), Workload(), a, b)
    assert sample.throughput_gbps == pytest.approx(2 * 2.415, rel=0.01)
    assert sample.lane_shares == (0.75, 0.25)
    assert sample.retransmits == 8
    assert sample.gateways["a"].data_plane_cpu_s == 1.0
    assert sample.gateways["b"].data_plane_cpu_s == 2.0
    assert sample.data_plane_cpu_s_per_gbit == pytest.approx(3.0 / (sample.throughput_gbps * sample.duration_s))
    assert sample.gateways["a"].steal_ratio > 0
    assert sample.packets_per_s == pytest.approx(sample.throughput_gbps * 1e9 / 8 / 1368)


def generated(arrived: int, offered: int) -> tuple[LeadWorkload, FarWorkload]:
    nothing = {"wl0": ZERO, "inside": ZERO, "gen": ZERO}
    a = lead([], moment(2, 200, 9, **{**nothing, "inside": (0, offered, 0, 0)}), moment(0, 100, 0, **nothing))
    b = FarWorkload.model_validate(
        {
            "opened": moment(0, 100, 0, **nothing),
            "closed": moment(2, 200, 9, wl0=(5, 1, 0, 0), inside=ZERO, gen=(0, arrived, 0, 0)),
        }
    )
    return a, b


SMALL = Workload(tool="pktgen", protocol="udp", packet_bytes=64)


def test_generated_packets_are_counted_at_the_far_side() -> None:
    sample = sample_of(Candidate(), SMALL, *generated(arrived=150, offered=200))
    assert sample.packets_per_s == 75
    assert sample.loss_ratio == pytest.approx(0.25)
    assert sample.throughput_gbps == pytest.approx(75 * 64 * 8 / 1e9)


def test_nothing_arrived_is_the_candidates_fault() -> None:
    with pytest.raises(CandidateFailed, match="nothing arrived"):
        sample_of(Candidate(), SMALL, *generated(arrived=0, offered=200))


def test_nothing_offered_is_the_labs_fault() -> None:
    with pytest.raises(LabError, match="offered no packet") as caught:
        sample_of(Candidate(), SMALL, *generated(arrived=1, offered=0))
    assert not isinstance(caught.value, CandidateFailed)


@pytest.mark.parametrize("sent_bytes", [10_000, 6_500_000])
def test_counters_overrule_a_loss_that_iperf3_does_not_see(sent_bytes: int) -> None:
    output = (DATA / "iperf3-3.12-udp-reverse.json").read_text()
    a = lead([output], moment(1, 200, 9, wl0=(5_000, 9, 0, 0)), moment(0, 100, 0, wl0=ZERO))
    b = FarWorkload.model_validate(
        {"opened": moment(0, 100, 0, wl0=ZERO), "closed": moment(1, 200, 9, wl0=(0, 0, sent_bytes, 9))}
    )
    sample = sample_of(Candidate(), Workload(protocol="udp", direction="reverse"), a, b)
    assert sample.loss_ratio == pytest.approx(1 - 5_000 / sent_bytes)
    assert "counters" in sample.warnings[0]


def test_a_lane_that_vanished_is_an_error() -> None:
    output = (DATA / "iperf3-3.12-tcp-forward.json").read_text()
    a = lead([output], moment(1, 200, 9, wl0=ZERO), moment(0, 100, 0, wl0=ZERO))
    b = FarWorkload.model_validate({"opened": moment(0, 100, 0), "closed": moment(1, 200, 9)})
    with pytest.raises(LabError, match="cannot be read"):
        sample_of(Candidate(), Workload(), a, b)


def test_stages_and_drops_between_two_moments() -> None:
    threads = [{"tid": 7, "stage": "tx", "cpu_s": 1.0}, {"tid": 8, "stage": "rx", "cpu_s": 1.0}]
    later = [
        {"tid": 7, "stage": "tx", "cpu_s": 2.5},
        {"tid": 8, "stage": "rx", "cpu_s": 1.2},
        {"tid": 9, "stage": "rx", "cpu_s": 0.4},
    ]
    opened = Moment.model_validate(moment(0, 100, 0) | {"threads": threads, "drops": {"replay": 4, "auth": 1}})
    closed = Moment.model_validate(moment(2, 200, 10) | {"threads": later, "drops": {"replay": 9, "auth": 1}})
    usage = gateway_usage(opened, closed)
    assert usage.drops == {"replay": 5}
    assert usage.stages["tx"].model_dump() == {
        "threads": 1,
        "busy_cpus": pytest.approx(0.75),
        "busiest_thread_ratio": pytest.approx(0.75),
    }
    assert usage.stages["rx"].threads == 2
    assert usage.stages["rx"].busy_cpus == pytest.approx(0.3)
    assert usage.stages["rx"].busiest_thread_ratio == pytest.approx(0.2)


def test_the_reference_is_what_arrived_and_what_each_gateway_encrypts() -> None:
    output = (DATA / "iperf3-3.12-tcp-forward.json").read_text()
    rate = {"backend": "ifma", "packet_bytes": 1420, "gbit_per_s": 26.4}
    far = FarReference.model_validate({"argv": [["iperf3", "-s"]], "aead": rate | {"gbit_per_s": 20.0}})
    given = {"argv": [["iperf3", "-c", "x"]], "outputs": [output, output], "tool_version": "iperf 3.12", "aead": rate}
    found = reference_of(LeadReference.model_validate(given), far)
    assert found.raw_gbps == pytest.approx(2 * 2.415, rel=0.01)
    assert found.aead_gbps == {"a": 26.4, "b": 20.0}
    assert found.detail is None
    without = reference_of(LeadReference.model_validate(given | {"aead": None}), far)
    assert without.aead_gbps == {"b": 20.0}
    assert without.detail is not None
    with pytest.raises(LabError, match="without a tunnel"):
        reference_of(LeadReference.model_validate(given | {"outputs": ["no JSON"]}), far)


def test_latency_percentiles_are_those_of_the_nearest_rank() -> None:
    latency = latency_of([float(k) for k in range(100, 0, -1)], 103)
    assert latency is not None
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms) == (50, 90, 99, 100)
    assert (latency.sent, latency.lost) == (103, 3)
    assert latency_of([], 10) is None
