"""Real kernels in two virtual machines: both engines, NUMA placement, kernel pktgen, a study, identical settings."""

from __future__ import annotations

import re

import httpx
import pytest
from vm_gateway import Machine, different
from vm_study import begin_study, blocks_in, completed, make_testbed

from app.lab.driver import ProvisionedTestbed, TrialResult
from app.lab.vm import VmDriver
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.samples import Workload
from tuner.topology import Topology

TCP = Workload(duration_s=2, flows=2)
PACKETS = Workload(tool="pktgen", protocol="udp", packet_bytes=512, duration_s=2, flows=2, offered_load_pps=200)


def both(**stages: str) -> GatewayCpuSets:
    return GatewayCpuSets(a=StageCpuSets(**stages), b=StageCpuSets(**stages))


KERNEL = Candidate(engine="kernel", mode=None, lanes=2, threaded_napi=True, cpu_sets=both(napi="1,3"))
WIRELANE = Candidate(lanes=2, cpu_sets=both(tx="0,2", rx="1,3"), numa_policy="bind")


def run(driver: VmDriver, candidate: Candidate, *workloads: Workload) -> TrialResult:
    return driver.run_trial(candidate, workloads, lambda *_: None, lambda: False)


@pytest.mark.quick
def test_machines_are_what_they_were_made_to_be(provisioned: ProvisionedTestbed) -> None:
    assert not provisioned.shared_machine
    for gateway in provisioned.gateways.values():
        topology = Topology.model_validate(gateway.topology)
        assert topology.nodes == (0, 1)
        assert len(topology.usable_cpus) == 4
        assert {"kernel", "wirelane"} <= set(gateway.engines)
        assert gateway.host_key.startswith("SHA256:")
    a, b = provisioned.gateways["a"], provisioned.gateways["b"]
    assert a.host_key != b.host_key


@pytest.mark.quick
def test_kernel_threads_and_pktgen(driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine) -> None:
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
    threads = result.read_back["a"]["threads"]
    assert [thread["cpus"] for thread in threads] == ["1", "3"]
    status = [gateway_a.output(f"cat /proc/{thread['tid']}/status") for thread in threads]
    assert [re.findall(r"^Name:\tnapi/wl(\d)-", text, re.MULTILINE) for text in status] == [["0"], ["1"]]
    assert [re.findall(r"^Cpus_allowed_list:\t(.*)", text, re.MULTILINE) for text in status] == [["1"], ["3"]]
    driver.rollback()
    assert different(before, gateway_a.settings()) == []


@pytest.mark.quick
def test_wirelane_on_two_numa_nodes(driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine) -> None:
    """Each thread runs where it was put, and its buffers are on the node of its CPU, as the guest's kernel says."""
    assert provisioned
    before = gateway_a.settings()
    result = run(driver, WIRELANE, TCP)
    for threads in (result.read_back[name]["threads"] for name in "ab"):
        stages = {(thread["stage"], thread["cpus"]) for thread in threads}
        assert {("tx", "0"), ("tx", "2"), ("rx", "1"), ("rx", "3")} <= stages
    pages = gateway_a.output("cat /proc/$(pidof wirelane)/numa_maps")
    for node in (0, 1):
        bound = [line for line in pages.splitlines() if f" bind:{node} " in line]
        assert any(re.search(rf" N{node}=[1-9]", line) for line in bound), pages
        assert not any(re.search(rf" N{1 - node}=[1-9]", line) for line in bound), pages
    driver.rollback()
    assert different(before, gateway_a.settings()) == []


def test_a_study_leaves_the_settings_as_they_were(
    driver: VmDriver, provisioned: ProvisionedTestbed, client: httpx.Client
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
