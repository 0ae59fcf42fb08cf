"""Real kernels in two virtual machines: both engines, NUMA placement, kernel pktgen, a study, identical settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from vm_gateway import Machine, different, flooding
from vm_placement import in_words, pages_of, threads_of
from vm_study import begin_study, blocks_in, completed, make_testbed, told

from app.lab.driver import ProvisionedTestbed, TrialResult
from app.lab.vm import VmDriver
from tuner.candidate import Candidate, Gateway, GatewayCpuSets, StageCpuSets, parse_cpulist
from tuner.samples import Sample, Workload
from tuner.topology import Topology

TCP = Workload(duration_s=2, flows=2)
PACKETS = Workload(tool="pktgen", protocol="udp", packet_bytes=512, duration_s=2, flows=2, offered_load_pps=200)


def both(**stages: str) -> GatewayCpuSets:
    return GatewayCpuSets(a=StageCpuSets(**stages), b=StageCpuSets(**stages))


KERNEL = Candidate(engine="kernel", mode=None, lanes=2, threaded_napi=True, cpu_sets=both(napi="1,3"))
WIRELANE = Candidate(lanes=2, cpu_sets=both(tx="0,2", rx="1,3"), numa_policy="bind")


def topology_of(provisioned: ProvisionedTestbed, name: Gateway) -> Topology:
    return Topology.model_validate(provisioned.gateways[name].topology)


def shares(sample: Sample) -> str:
    return " and ".join(f"{share:.0%}" for share in sample.lane_shares)


def run(driver: VmDriver, candidate: Candidate, *workloads: Workload) -> TrialResult:
    return driver.run_trial(candidate, workloads, lambda *_: None, lambda: False)


@pytest.mark.quick
def test_machines_are_what_they_were_made_to_be(
    driver: VmDriver, provisioned: ProvisionedTestbed, show: Callable[[str], None]
) -> None:
    assert not provisioned.shared_machine
    for name, gateway in provisioned.gateways.items():
        topology = Topology.model_validate(gateway.topology)
        assert topology.nodes == (0, 1)
        assert len(topology.usable_cpus) == 4
        assert {"kernel", "wirelane"} <= set(gateway.engines)
        assert gateway.host_key.startswith("SHA256:")
        cpus = "; ".join(
            f"node {node}: CPUs {', '.join(str(cpu.cpu) for cpu in topology.cpus if cpu.node == node)}"
            for node in topology.nodes
        )
        kernel, emulated = gateway.fingerprint["kernel"], "emulated" if provisioned.emulated else "by KVM"
        show(f"gateway {name}: Linux {kernel}, {emulated}, {cpus}; engines {', '.join(gateway.engines)}")
        boot = Machine.of(driver, name).ssh("systemd-analyze time").stdout.partition("\n")[0]
        show(f"gateway {name}: {boot}")
    a, b = provisioned.gateways["a"], provisioned.gateways["b"]
    assert a.host_key != b.host_key


@pytest.mark.quick
def test_kernel_threads_and_pktgen(
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine, show: Callable[[str], None]
) -> None:
    """The receiving threads are where they were put, as the guest's kernel says; its own pktgen sends the packets."""
    before = gateway_a.settings()
    result = run(driver, KERNEL, TCP, PACKETS)
    tcp, packets = result.samples
    assert tcp.emulated is packets.emulated is provisioned.emulated
    assert len(tcp.lane_shares) == 2
    assert min(tcp.lane_shares) > 0
    assert tcp.throughput_gbps > 0
    assert packets.tool_version.endswith("pktgen")
    assert "dd" in packets.argv[0], "testpmd sent them"
    assert packets.packets_per_s > 0
    reported = result.read_back["a"]["threads"]
    assert [thread["cpus"] for thread in reported] == ["1", "3"]
    threads = [thread for one in reported for thread in threads_of(gateway_a, one["tid"])]
    assert [thread.name.partition("-")[0] for thread in threads] == ["napi/wl0", "napi/wl1"]
    assert [thread.cpus for thread in threads] == ["1", "3"]
    for thread in threads:
        show(f"gateway a, in-tree WireGuard: {thread.told(topology_of(provisioned, 'a'))}")
    show(f"TCP over both lanes carried {tcp.throughput_gbps * 1000:.1f} Mbit/s, {shares(tcp)} of it by lane")
    show(
        f"{packets.tool_version} on gateway a: 512 B, {packets.offered_pps:.0f} packets/s sent into the tunnel,"
        f" {packets.packets_per_s:.0f} counted behind gateway b, loss {packets.loss_ratio:.1%}"
    )
    driver.rollback()
    after = gateway_a.settings()
    assert different(before, after) == []
    show(f"gateway a after the rollback: all {len(after)} lines of its settings as before")


@pytest.mark.quick
def test_wirelane_on_two_numa_nodes(
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine, show: Callable[[str], None]
) -> None:
    """Each thread runs where it was put, and its buffers are on the node of its CPU, as the guest's kernel says."""
    before = gateway_a.settings()
    result = run(driver, WIRELANE, TCP)
    for threads in (result.read_back[name]["threads"] for name in "ab"):
        stages = {(thread["stage"], thread["cpus"]) for thread in threads}
        assert {("tx", "0"), ("tx", "2"), ("rx", "1"), ("rx", "3")} <= stages
    topology, pid = topology_of(provisioned, "a"), gateway_a.output("pidof wirelane").strip()
    for thread in threads_of(gateway_a, pid):
        assert thread.ran_on in parse_cpulist(thread.cpus)
        show(f"gateway a, wirelane: {thread.told(topology)}")
    pages = pages_of(gateway_a, pid)
    for line in in_words(pages):
        show(f"gateway a, wirelane: {line}")
    for node in (0, 1):
        assert pages[f"bind:{node}"][node] > 0
        assert pages[f"bind:{node}"][1 - node] == 0
    driver.rollback()
    after = gateway_a.settings()
    assert different(before, after) == []
    show(f"gateway a after the rollback: all {len(after)} lines of its settings as before")


def test_a_sample_beside_other_traffic_says_so(
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_b: Machine, show: Callable[[str], None]
) -> None:
    """Few packets are offered, so that the other traffic is a large share of the link on a machine of any speed."""
    assert provisioned
    sizes: tuple[dict[str, Any], ...] = (
        {"packet_bytes": 64},
        {"packet_bytes": 1400},
        {"packet_bytes": None, "imix": True},
    )
    workloads = [PACKETS.model_copy(update=size) for size in sizes]
    with flooding(gateway_b, driver._gateways["a"].underlay):
        samples = run(driver, WIRELANE, *workloads).samples
    for sample in samples:
        found = {unfit.gateway: unfit.words for unfit in sample.unfit if unfit.kind == "foreign_traffic"}
        assert set(found) == {"a", "b"}, sample.unfit
        assert sample.tool_version.endswith("pktgen")
        assert sample.packets_per_s > 0
        show(f"{sample.workload.name} beside other traffic is marked: {'; '.join(found.values())}")
    driver.rollback()


def test_a_study_leaves_the_settings_as_they_were(
    driver: VmDriver, provisioned: ProvisionedTestbed, client: httpx.Client, show: Callable[[str], None]
) -> None:
    """Kernel WireGuard as the baseline, wirelane as what is tried; everything is marked as emulated."""
    machines = [Machine.of(driver, name) for name in ("a", "b")]
    before = [machine.settings() for machine in machines]
    testbed = make_testbed(client, driver.name, driver="vm")
    assert (testbed["state"], testbed["emulated"]) == ("ready", provisioned.emulated), testbed
    result = completed(client, begin_study(client, driver.name))
    assert (result["emulated"], result["simulated"]) == (provisioned.emulated, False)
    samples = [sample for block in blocks_in(result, "completed") for sample in block["samples"]]
    assert len(samples) >= 8, "a block of each in the search, and three rounds of both"
    assert all(sample["emulated"] is provisioned.emulated and sample["throughput_gbps"] > 0 for sample in samples)
    for machine, wanted in zip(machines, before, strict=True):
        assert different(machine.settings(), wanted) == []
        machine.await_no_process(60)
    show(told(result))
    show(f"dumps of settings before and after are identical on both machines ({len(before[0])} lines on gateway a)")
