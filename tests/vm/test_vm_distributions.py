"""Gateways of other distributions, with other network cards: older and newer kernels, Python, iproute2 and iperf3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_vm_study import KERNEL, PACKETS, TCP, WIRELANE, run, shares
from vm_gateway import Machine, different, provisioned_or_failed

from app.lab.distribution import Distribution
from app.lab.driver import ProvisionedTestbed
from app.lab.vm import Nic, VmDriver
from tuner.candidate import Candidate
from tuner.host_tuning import HostTuning

NAME = "vmother"
KINDS: tuple[tuple[Distribution, Nic], ...] = (
    ("debian-13", "vmxnet3"),
    ("ubuntu-22.04", "e1000e"),
    ("ubuntu-24.04", "virtio"),
)
REFUSED: dict[Nic, set[str]] = {"vmxnet3": set(), "e1000e": set(), "virtio": {"coalesce_us"}}
"""What a driver tells, and takes as it is, and refuses to change: nobody can know before."""
TUNING = HostTuning(
    channels=2,
    ring_packets=128,
    coalesce_us=100,
    gro=False,
    tso=False,
    udp_gro_forwarding=True,
    qdisc="fq",
    irq_cpus="1-2",
    rps_cpus="0-3",
    xps_cpus="0-3",
    socket_buffer_max_bytes=4 << 20,
    netdev_budget=600,
    netdev_budget_us=16_000,
    netdev_max_backlog=2000,
    busy_poll_us=50,
    busy_read_us=50,
    underlay_mtu=1400,
)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def other(request: pytest.FixtureRequest) -> Iterator[VmDriver]:
    distribution, nic = request.param
    driver = VmDriver(NAME, distribution=distribution, nic=nic)
    driver.teardown()
    yield driver
    driver.teardown()


@pytest.fixture(scope="module")
def other_provisioned(other: VmDriver) -> ProvisionedTestbed:
    return provisioned_or_failed(other)


def variables_of(driver: VmDriver, tuning: HostTuning) -> dict[str, Any]:
    candidate = Candidate(engine="kernel", mode=None, mtu=1280, host=tuning)
    return {**driver._trial_variables(candidate, [])["b"]["gateway_candidate"], "lease_s": 600}


def test_both_engines_carry_traffic_and_leave_no_trace(
    other: VmDriver, other_provisioned: ProvisionedTestbed, show: Callable[[str], None]
) -> None:
    for name, gateway in other_provisioned.gateways.items():
        fingerprint = gateway.fingerprint
        nic, programs = fingerprint["nic"]["driver"], fingerprint["programs"]
        show(f"gateway {name}: {fingerprint['distribution']}, Linux {fingerprint['kernel']}, {nic}")
        show(f"gateway {name}: Python {fingerprint['python']}, {', '.join(filter(None, programs.values()))}")
        assert {"kernel", "wirelane"} <= set(gateway.engines)
    machines = [Machine.of(other, name) for name in ("a", "b")]
    before = [machine.settings() for machine in machines]
    for candidate, workloads in ((KERNEL, (TCP, PACKETS)), (WIRELANE, (TCP,))):
        result = run(other, candidate, *workloads)
        tcp = result.samples[0]
        assert tcp.throughput_gbps > 0
        assert min(tcp.lane_shares) > 0
        show(f"{candidate.engine}: TCP carried {tcp.throughput_gbps * 1000:.1f} Mbit/s, {shares(tcp)} of it by lane")
        for packets in result.samples[1:]:
            assert packets.tool_version.endswith("pktgen")
            assert packets.packets_per_s > 0
            show(f"{packets.tool_version}: {packets.packets_per_s:.0f} packets/s counted behind gateway b")
    other.rollback()
    for machine, wanted in zip(machines, before, strict=True):
        assert different(machine.settings(), wanted) == []
        machine.await_no_process(60)
    show(f"dumps of settings before and after are identical on both machines ({len(before[0])} lines on gateway a)")


def test_every_setting_that_is_offered_is_made_and_undone_or_refused(
    other: VmDriver, other_provisioned: ProvisionedTestbed, show: Callable[[str], None]
) -> None:
    """Gateway b, which tries no lane out: nothing but the settings is at stake."""
    offered = set(other_provisioned.gateways["b"].host_tunables)
    refused = REFUSED[other._nic] & offered
    tuning = HostTuning(**{name: value for name, value in TUNING.used().items() if name in offered - refused})
    assert len(tuning.used()) >= 10, offered
    gateway_b = Machine.of(other, "b")
    before = gateway_b.settings()
    for name in refused:
        answer = gateway_b.agent("apply", variables_of(other, HostTuning(**{name: getattr(TUNING, name)})))
        assert answer["error"]["blame"] == "candidate", answer
        show(f"gateway b: {answer['msg']}")
        gateway_b.agent("rollback", {"state_folder": gateway_b.state_folder})
        assert different(gateway_b.settings(), before) == []
    variables = variables_of(other, tuning)
    answer = gateway_b.agent("apply", variables)
    assert "failed" not in answer, answer
    read_back = gateway_b.agent("verify", variables)
    assert "failed" not in read_back, read_back
    assert gateway_b.output("sysctl -n net.core.netdev_budget").strip() == "600"
    assert len(different(gateway_b.settings(), before)) >= len(tuning.used())
    assert gateway_b.agent("rollback", {"state_folder": gateway_b.state_folder})["changed"]
    assert different(gateway_b.settings(), before) == []
    show(f"gateway b: made, read back and undone: {', '.join(tuning.used())}; not offered: "
         f"{', '.join(sorted(set(TUNING.used()) - offered)) or 'none'}")  # fmt: skip
